//! What an experiment proves: pure.

use std::time::Duration;

use loadtest_client::ledger::{Invariant, Verdict, Violation};

use super::inject::Felt;
use super::settle::Recovery;
use crate::report::Outcome;

/// What is still well after a fault (I7).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) publish: Duration,
    pub(crate) last_message: Duration,
    pub(crate) ready: Duration,
}

impl Limits {
    /// What is promised.
    pub(crate) const PROMISED: Self =
        Self { publish: Duration::from_secs(5), last_message: Duration::from_secs(2), ready: Duration::from_secs(10) };
    /// For a machine that does other things as well: what is later is broken, not slow.
    pub(crate) const LENIENT: Self = Self {
        publish: Duration::from_secs(10),
        last_message: Duration::from_secs(10),
        ready: Duration::from_secs(20),
    };
}

/// Adds to the ledger's verdict what the times say.
pub(crate) fn judge(mut verdict: Verdict, felt: &Felt, recovery: &Recovery, limits: Limits) -> Verdict {
    let mut broken = Vec::new();
    let mut late = |what: &str, took: Option<Duration>, limit: Duration| match took {
        Some(took) if took <= limit => {}
        Some(took) => broken.push(format!("{what} took {took:.1?} after the fault; at most {limit:?} is allowed")),
        None => broken.push(format!("{what} did not happen after the fault")),
    };
    late("publishing again", recovery.publish, limits.publish);
    late("being ready again", recovery.ready, limits.ready);
    late("a room's last message", Some(recovery.last_message), limits.last_message);
    broken.extend(recovery.missing.iter().map(|who| format!("a room's last message never came: {who}")));
    if recovery.given_up > 0 {
        broken.push(format!("{} publishes never succeeded", recovery.given_up));
    }
    broken.extend(felt.wrong.clone());
    for what in broken {
        *verdict.violation_counts.entry(Invariant::I7).or_insert(0) += 1;
        verdict.violations.push(Violation { invariant: Invariant::I7, what });
    }
    if !felt.bit {
        verdict.invalid = Some(format!("the fault was not felt: {}", felt.how));
    }
    verdict
}

/// What a verdict means for the exit code.
pub(crate) fn outcome(verdict: &Verdict) -> Outcome {
    match () {
        () if !verdict.violation_counts.is_empty() => Outcome::Ledger,
        () if verdict.invalid.is_some() => Outcome::Invalid,
        () => Outcome::Pass,
    }
}

/// Attempts at an experiment whose fault nobody feels.
const ATTEMPTS_MAX: u32 = 3;

/// Whether an experiment that came to this is done again: what depends on the moment may not happen the first time (a lock that
/// is let go just before its holder is killed), and then nothing was proved. A broken promise stands.
pub(crate) fn is_worth_another(outcome: Outcome, attempts: u32) -> bool {
    outcome == Outcome::Invalid && attempts < ATTEMPTS_MAX
}

/// The worse of two: a broken promise is told before a run that proves nothing.
pub(crate) fn worse(left: Outcome, right: Outcome) -> Outcome {
    let rank = |outcome: Outcome| match outcome {
        Outcome::Pass => 0,
        Outcome::Invalid => 1,
        Outcome::Ledger => 2,
        _ => 3,
    };
    if rank(right) > rank(left) { right } else { left }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Instant;

    use loadtest_client::ledger::Counts;

    use super::*;

    fn felt() -> Felt {
        let now = Instant::now();
        Felt { began_at: now, healed_at: now, bit: true, how: String::new(), wrong: None }
    }

    fn well() -> Recovery {
        let second = Some(Duration::from_secs(1));
        let last_message = Duration::from_secs(1);
        Recovery { publish: second, ready: second, last_message, missing: Vec::new(), given_up: 0 }
    }

    fn clean() -> Verdict {
        Verdict { violations: vec![], violation_counts: BTreeMap::new(), invalid: None, counts: Counts::default() }
    }

    fn judged(felt: &Felt, recovery: &Recovery) -> Verdict {
        judge(clean(), felt, recovery, Limits::PROMISED)
    }

    #[test]
    fn a_cluster_that_came_back_in_time_passes() {
        let verdict = judged(&felt(), &well());
        assert_eq!(outcome(&verdict), Outcome::Pass, "{verdict:?}");
    }

    #[test]
    fn whatever_is_late_missing_or_wrong_is_a_broken_promise_of_liveness() {
        let late = Duration::from_secs(9);
        let worse = [
            Recovery { publish: Some(late), ..well() },
            Recovery { publish: None, ..well() },
            Recovery { ready: None, ..well() },
            Recovery { last_message: late, ..well() },
            Recovery { missing: vec!["ada".to_owned()], ..well() },
            Recovery { given_up: 1, ..well() },
        ];
        for recovery in worse {
            let verdict = judged(&felt(), &recovery);
            assert!(verdict.names(Invariant::I7), "{recovery:?}");
            assert_eq!(outcome(&verdict), Outcome::Ledger);
        }
        let wrong = Felt { wrong: Some("it ended with 1".to_owned()), ..felt() };
        assert!(judged(&wrong, &well()).names(Invariant::I7));
    }

    #[test]
    fn the_lenient_limits_forgive_slowness_and_nothing_else() {
        let slow = Recovery { last_message: Duration::from_secs(9), ..well() };
        assert_eq!(outcome(&judge(clean(), &felt(), &slow, Limits::LENIENT)), Outcome::Pass);
        let lost = Recovery { missing: vec!["ada".to_owned()], ..well() };
        assert_eq!(outcome(&judge(clean(), &felt(), &lost, Limits::LENIENT)), Outcome::Ledger);
    }

    #[test]
    fn a_fault_that_did_not_bite_proves_nothing_and_a_broken_promise_is_told_first() {
        let painless = Felt { bit: false, ..felt() };
        assert_eq!(outcome(&judged(&painless, &well())), Outcome::Invalid);
        assert_eq!(outcome(&judged(&painless, &Recovery { given_up: 1, ..well() })), Outcome::Ledger);
        assert_eq!(worse(Outcome::Ledger, Outcome::Invalid), Outcome::Ledger);
        assert_eq!(worse(Outcome::Pass, Outcome::Invalid), Outcome::Invalid);
    }

    #[test]
    fn only_a_fault_that_nobody_felt_is_tried_again_and_not_for_ever() {
        let painless = outcome(&judged(&Felt { bit: false, ..felt() }, &well()));
        assert!(is_worth_another(painless, 1) && is_worth_another(painless, ATTEMPTS_MAX - 1));
        assert!(!is_worth_another(painless, ATTEMPTS_MAX), "then the run proves nothing");
        let broken = outcome(&judged(&Felt { bit: false, ..felt() }, &Recovery { given_up: 1, ..well() }));
        assert!(!is_worth_another(broken, 1), "a broken promise is not tried again until it holds");
        assert!(!is_worth_another(Outcome::Pass, 1));
    }
}
