//! Pure: what was sent, acknowledged and received, and what became of it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use serde_json::{Value, json};

/// Ours must not be later than this during the outage, at the 99th percentile.
const LATE_MAX: Duration = Duration::from_secs(1);
/// What is later than this cannot have come by Redis.
const FAST_MAX: Duration = Duration::from_millis(250);

/// When Redis died and came back, since the beginning.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Phases {
    pub(super) down_at: Duration,
    pub(super) back_at: Duration,
    pub(super) fast_again_at: Duration,
}

/// When a message was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Before,
    Down,
    /// Redis is back, the nodes find that out.
    Returning,
    After,
}

impl Phase {
    pub(super) const ALL: [Self; 4] = [Self::Before, Self::Down, Self::Returning, Self::After];
}

#[derive(Debug, Clone, Copy)]
struct Sent {
    at: Duration,
    acknowledged: bool,
}

#[derive(Debug, Default)]
struct Receiver {
    got: HashSet<u32>,
    greatest: Option<u32>,
}

/// Everything that was seen on one cluster.
#[derive(Debug, Default)]
pub(super) struct Tally {
    members: u32,
    phases: Phases,
    /// By room and number.
    sent: HashMap<(u32, u32), Sent>,
    /// By room and member.
    receivers: HashMap<(u32, u32), Receiver>,
    lateness: Vec<(Duration, Duration)>,
    pub(super) repeated: u64,
    pub(super) reordered: u64,
    pub(super) refused: u64,
    pub(super) reconnects: u64,
}

/// What became of the messages of one phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) acknowledged: u64,
    /// Deliveries that were owed for them, and those that never came.
    pub(super) owed: u64,
    pub(super) lost: u64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) max: Duration,
}

impl Tally {
    /// Nothing yet, in rooms of so many members.
    pub(super) fn new(members: u32) -> Self {
        Self { members, ..Self::default() }
    }

    pub(super) fn set_phases(&mut self, phases: Phases) {
        self.phases = phases;
    }

    pub(super) fn sent(&mut self, room: u32, number: u32, at: Duration) {
        self.sent.insert((room, number), Sent { at, acknowledged: false });
    }

    pub(super) fn acknowledged(&mut self, room: u32, number: u32) {
        if let Some(sent) = self.sent.get_mut(&(room, number)) {
            sent.acknowledged = true;
        }
    }

    /// A member that did not send it got it.
    pub(super) fn received(&mut self, room: u32, member: u32, number: u32, sent_at: Duration, now: Duration) {
        let receiver = self.receivers.entry((room, member)).or_default();
        if !receiver.got.insert(number) {
            self.repeated += 1;
            return;
        }
        if receiver.greatest.is_some_and(|greatest| number < greatest) {
            self.reordered += 1;
        }
        receiver.greatest = receiver.greatest.max(Some(number));
        self.lateness.push((sent_at, now.saturating_sub(sent_at)));
    }

    fn phase_of(&self, at: Duration) -> Phase {
        let Phases { down_at, back_at, fast_again_at } = self.phases;
        match at {
            at if at < down_at => Phase::Before,
            at if at < back_at => Phase::Down,
            at if at < fast_again_at => Phase::Returning,
            _ => Phase::After,
        }
    }

    /// What became of the messages that were sent in a phase.
    pub(super) fn row(&self, phase: Phase) -> Row {
        let mut row = Row::default();
        // The first member of each room is its sender.
        let receivers = 1..self.members;
        for ((room, number), sent) in &self.sent {
            if !sent.acknowledged || self.phase_of(sent.at) != phase {
                continue;
            }
            row.acknowledged += 1;
            row.owed += u64::from(self.members - 1);
            let got = |member: &u32| self.receivers.get(&(*room, *member)).is_some_and(|r| r.got.contains(number));
            row.lost += receivers.clone().filter(|member| !got(member)).count() as u64;
        }
        let mut late: Vec<Duration> =
            self.lateness.iter().filter(|(at, _)| self.phase_of(*at) == phase).map(|(_, late)| *late).collect();
        late.sort_unstable();
        let at = |part: usize| late.get(((late.len() * part) / 100).min(late.len().saturating_sub(1))).copied();
        row.p50 = at(50).unwrap_or_default();
        row.p99 = at(99).unwrap_or_default();
        row.max = late.last().copied().unwrap_or_default();
        row
    }

    /// Nothing that was acknowledged was lost, and nothing came twice or in another order.
    pub(super) fn is_clean(&self) -> bool {
        self.repeated == 0 && self.reordered == 0 && Phase::ALL.iter().all(|phase| self.row(*phase).lost == 0)
    }

    /// The outage was felt: without Redis some were later than Redis ever is, and there was something to feel.
    pub(super) fn has_bitten(&self) -> bool {
        let (before, down, after) = (self.row(Phase::Before), self.row(Phase::Down), self.row(Phase::After));
        before.acknowledged > 0 && down.acknowledged > 0 && after.acknowledged > 0 && down.p99 > before.p50 * 2
    }

    /// At most a second late while Redis is gone, and fast again two seconds after it is back.
    pub(super) fn is_in_time(&self) -> bool {
        self.row(Phase::Down).p99 <= LATE_MAX && self.row(Phase::After).p99 <= FAST_MAX
    }

    /// For machines.
    pub(super) fn figures(&self) -> Value {
        let rows = Phase::ALL.map(|phase| {
            let row = self.row(phase);
            json!({
                "phase": format!("{phase:?}"), "acknowledged": row.acknowledged, "owed": row.owed, "lost": row.lost,
                "p50_ms": row.p50.as_secs_f64() * 1e3, "p99_ms": row.p99.as_secs_f64() * 1e3,
                "max_ms": row.max.as_secs_f64() * 1e3,
            })
        });
        json!({
            "phases": rows, "repeated": self.repeated, "reordered": self.reordered, "refused": self.refused,
            "reconnects": self.reconnects,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn tally() -> Tally {
        let mut tally = Tally::new(3);
        tally.set_phases(Phases { down_at: ms(1000), back_at: ms(2000), fast_again_at: ms(3000) });
        tally
    }

    fn delivered(tally: &mut Tally, number: u32, at: u64, late: u64) {
        tally.sent(0, number, ms(at));
        tally.acknowledged(0, number);
        for member in 1..3 {
            tally.received(0, member, number, ms(at), ms(at + late));
        }
    }

    #[test]
    fn what_was_acknowledged_and_did_not_come_is_lost_in_its_phase() {
        let mut tally = tally();
        delivered(&mut tally, 1, 0, 1);
        tally.sent(0, 2, ms(1500));
        tally.acknowledged(0, 2);
        tally.received(0, 1, 2, ms(1500), ms(1900));
        // Never acknowledged: nothing is owed.
        tally.sent(0, 3, ms(1600));
        assert_eq!((tally.row(Phase::Before).lost, tally.row(Phase::Before).owed), (0, 2));
        assert_eq!((tally.row(Phase::Down).lost, tally.row(Phase::Down).owed), (1, 2));
        assert!(!tally.is_clean());
    }

    #[test]
    fn what_comes_twice_or_before_an_older_one_is_counted() {
        let mut tally = tally();
        tally.received(0, 1, 2, ms(0), ms(1));
        tally.received(0, 1, 1, ms(0), ms(2));
        tally.received(0, 1, 2, ms(0), ms(3));
        assert_eq!((tally.repeated, tally.reordered), (1, 1));
        assert!(!tally.is_clean());
    }

    #[test]
    fn late_ones_are_told_and_an_outage_that_nobody_felt_proves_nothing() {
        let mut tally = tally();
        delivered(&mut tally, 1, 0, 2);
        delivered(&mut tally, 2, 1500, 2);
        delivered(&mut tally, 3, 3500, 2);
        assert!(tally.is_clean() && tally.is_in_time() && !tally.has_bitten());
        delivered(&mut tally, 4, 1600, 600);
        assert!(tally.is_clean() && tally.is_in_time() && tally.has_bitten());
        delivered(&mut tally, 5, 1700, 1600);
        assert!(!tally.is_in_time());
    }
}
