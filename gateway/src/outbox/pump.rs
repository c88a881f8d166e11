//! Pure: what to claim next, so that no more than so many webhooks are under way, no target gets what it is not to get, and
//! one that is slow does not take every place.

use std::collections::BTreeMap;
use std::time::Instant;

use hallway_store::JobClaim;

use super::breaker::{Admitted, Breaker, BreakerRules};
use super::verdict::Blame;

/// What is under way, and what is known of each target.
#[derive(Debug)]
pub(super) struct Pump {
    places_max: u32,
    lease_ms: u64,
    targets: BTreeMap<String, Lane>,
    /// Under way to targets that the configuration does not have.
    astray: u32,
}

#[derive(Debug)]
struct Lane {
    breaker: Breaker,
    under_way: u32,
}

impl Pump {
    pub(super) fn new(
        names: impl IntoIterator<Item = String>,
        places_max: u32,
        lease_ms: u64,
        rules: BreakerRules,
    ) -> Self {
        let lane = |name| (name, Lane { breaker: Breaker::new(rules), under_way: 0 });
        Self { places_max: places_max.max(1), lease_ms, targets: names.into_iter().map(lane).collect(), astray: 0 }
    }

    /// Jobs under way.
    pub(super) fn under_way(&self) -> u32 {
        self.astray + self.targets.values().map(|lane| lane.under_way).sum::<u32>()
    }

    /// Targets that are left alone, or tried again but not known to work.
    pub(super) fn resting(&self) -> usize {
        self.targets.values().filter(|lane| lane.breaker.is_resting()).count()
    }

    /// The places that one target may take: every other one finds one free.
    fn places_of_one(&self) -> u32 {
        let others = u32::try_from(self.targets.len()).unwrap_or(u32::MAX).saturating_sub(1);
        self.places_max.saturating_sub(others).max(1)
    }

    /// What to claim now, one after the other; together no more than there are places.
    pub(super) fn claims(&self, now: Instant) -> Vec<JobClaim> {
        let mut free = self.places_max.saturating_sub(self.under_way());
        let mut claims = Vec::new();
        let mut open = Vec::new();
        let mut least_room = u32::MAX;
        let claim = |limit, targets| JobClaim { limit, lease_ms: self.lease_ms, targets };
        for (name, lane) in &self.targets {
            let room = self.places_of_one().saturating_sub(lane.under_way);
            match lane.breaker.admits(now) {
                Admitted::Any if room > 0 => {
                    least_room = least_room.min(room);
                    open.push(name.clone());
                }
                Admitted::One if free > 0 => {
                    free -= 1;
                    claims.push(claim(1, vec![name.clone()]));
                }
                _ => {}
            }
        }
        if !open.is_empty() && free > 0 {
            claims.push(claim(free.min(least_room), open));
        }
        claims
    }

    /// A claimed job is on its way.
    pub(super) fn begun(&mut self, target: &str, now: Instant) {
        match self.targets.get_mut(target) {
            Some(lane) => {
                lane.under_way += 1;
                lane.breaker.trying(now);
            }
            None => self.astray += 1,
        }
    }

    /// An attempt has ended.
    pub(super) fn ended(&mut self, target: &str, blame: Blame, now: Instant) {
        match self.targets.get_mut(target) {
            Some(lane) => {
                lane.under_way = lane.under_way.saturating_sub(1);
                match blame {
                    Blame::Works => lane.breaker.succeeded(),
                    Blame::Fails => lane.breaker.failed(now),
                    Blame::None => lane.breaker.unjudged(now),
                }
            }
            None => self.astray = self.astray.saturating_sub(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const RULES: BreakerRules = BreakerRules { failures_max: 2, rest: Duration::from_secs(30) };

    fn pump(names: &[&str], places_max: u32) -> Pump {
        Pump::new(names.iter().map(|name| (*name).to_owned()), places_max, 1_000, RULES)
    }

    #[test]
    fn a_target_that_rests_is_left_out_and_then_tried_with_one() {
        let now = Instant::now();
        let mut pump = pump(&["mail", "push"], 10);
        for _ in 0..2 {
            pump.begun("push", now);
            pump.ended("push", Blame::Fails, now);
        }
        let claims = pump.claims(now);
        assert_eq!(claims, [JobClaim { limit: 9, lease_ms: 1_000, targets: vec!["mail".to_owned()] }]);
        let later = now + RULES.rest;
        let claims = pump.claims(later);
        assert_eq!((claims[0].limit, &claims[0].targets), (1, &vec!["push".to_owned()]));
        assert_eq!((claims[1].limit, &claims[1].targets), (9, &vec!["mail".to_owned()]));
        pump.begun("push", later);
        assert_eq!(pump.claims(later).len(), 1, "one at a time");
        assert_eq!(pump.resting(), 1);
        pump.ended("push", Blame::Works, later);
        assert_eq!((pump.claims(later).len(), pump.resting()), (1, 0));
    }

    #[test]
    fn one_target_never_takes_the_last_place_of_another() {
        let now = Instant::now();
        let mut pump = pump(&["mail", "push"], 3);
        pump.begun("push", now);
        pump.begun("push", now);
        assert_eq!(pump.claims(now), [JobClaim { limit: 1, lease_ms: 1_000, targets: vec!["mail".to_owned()] }]);
    }

    proptest! {
        /// Whatever the answers are, the places are never exceeded and never lost.
        #[test]
        fn claims_fit_into_the_places_and_places_come_back(
            places_max in 1..12_u32,
            turns in prop::collection::vec((0..3_usize, 0..4_u8, 0..40_u64), 0..200),
        ) {
            let names = ["a", "b", "gone"];
            let mut pump = pump(&names[..2], places_max);
            let mut now = Instant::now();
            let mut begun: Vec<&str> = Vec::new();
            for (name, what, seconds) in turns {
                now += Duration::from_secs(seconds);
                let claimed: u32 = pump.claims(now).iter().map(|claim| claim.limit).sum();
                prop_assert!(pump.under_way() + claimed <= places_max);
                prop_assert_eq!(pump.under_way() as usize, begun.len());
                if what == 0 && claimed > 0 {
                    pump.begun(names[name], now);
                    begun.push(names[name]);
                } else if let Some(target) = begun.pop() {
                    let blame = [Blame::None, Blame::Works, Blame::Fails, Blame::Fails][usize::from(what)];
                    pump.ended(target, blame, now);
                }
            }
            for target in begun.drain(..) {
                pump.ended(target, Blame::None, now);
            }
            prop_assert_eq!(pump.under_way(), 0);
            prop_assert!(!pump.claims(now + RULES.rest).is_empty(), "nothing is stuck");
        }
    }
}
