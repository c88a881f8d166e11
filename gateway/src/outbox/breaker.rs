//! Pure: whether a target is tried. After some failures in a row it is left alone for a while, then tried with one webhook;
//! its jobs wait in the store meanwhile and lose no attempt.

use std::time::{Duration, Instant};

/// When a target is left alone, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BreakerRules {
    /// Failures in a row.
    pub(super) failures_max: u64,
    pub(super) rest: Duration,
}

/// How many webhooks a target may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admitted {
    Any,
    /// One, to find out.
    One,
    None,
}

/// What is known of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Breaker {
    rules: BreakerRules,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It works, but for so many failures since it did.
    Closed { failures: u64 },
    /// It is left alone.
    Open { until: Instant },
    /// It is tried with one webhook.
    HalfOpen,
}

impl Breaker {
    pub(super) fn new(rules: BreakerRules) -> Self {
        Self { rules, state: State::Closed { failures: 0 } }
    }

    /// How many webhooks it may be sent; when one, tell [`Breaker::trying`] that it is sent.
    pub(super) fn admits(&self, now: Instant) -> Admitted {
        match self.state {
            State::Closed { .. } => Admitted::Any,
            State::Open { until } if now >= until => Admitted::One,
            State::Open { .. } | State::HalfOpen => Admitted::None,
        }
    }

    /// The one webhook is on its way.
    pub(super) fn trying(&mut self, now: Instant) {
        if self.admits(now) == Admitted::One {
            self.state = State::HalfOpen;
        }
    }

    /// The target took a webhook.
    pub(super) fn succeeded(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// It did not.
    pub(super) fn failed(&mut self, now: Instant) {
        let until = now + self.rules.rest;
        self.state = match self.state {
            State::Closed { failures } if failures + 1 < self.rules.failures_max => {
                State::Closed { failures: failures + 1 }
            }
            State::Closed { .. } | State::HalfOpen => State::Open { until },
            // One that was on its way before: nothing new.
            State::Open { until } => State::Open { until },
        };
    }

    /// An attempt ended that says nothing about the target. If it was the one that was to find out, another one is.
    pub(super) fn unjudged(&mut self, now: Instant) {
        if self.state == State::HalfOpen {
            self.state = State::Open { until: now };
        }
    }

    /// Whether it is left alone, or tried again but not known to work.
    pub(super) fn is_resting(&self) -> bool {
        !matches!(self.state, State::Closed { .. })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: BreakerRules = BreakerRules { failures_max: 3, rest: Duration::from_secs(30) };

    #[test]
    fn failures_in_a_row_open_it_for_thirty_seconds_and_one_success_closes_it() {
        let begun = Instant::now();
        let at = |seconds| begun + Duration::from_secs(seconds);
        let mut breaker = Breaker::new(RULES);
        breaker.failed(at(0));
        breaker.failed(at(0));
        breaker.succeeded();
        breaker.failed(at(1));
        breaker.failed(at(1));
        assert_eq!(breaker.admits(at(1)), Admitted::Any, "never three in a row");
        breaker.failed(at(2));
        assert_eq!((breaker.admits(at(2)), breaker.admits(at(31))), (Admitted::None, Admitted::None));
        breaker.failed(at(20));
        assert_eq!(breaker.admits(at(32)), Admitted::One, "a late answer does not make the rest longer");
        breaker.trying(at(32));
        assert_eq!(breaker.admits(at(33)), Admitted::None, "one at a time");
        breaker.failed(at(34));
        assert_eq!((breaker.admits(at(63)), breaker.admits(at(64))), (Admitted::None, Admitted::One));
        breaker.trying(at(64));
        breaker.succeeded();
        assert_eq!((breaker.admits(at(64)), breaker.is_resting()), (Admitted::Any, false));
    }

    #[derive(Debug, Clone)]
    enum Turn {
        Try,
        Succeed,
        Fail,
        Wait(u64),
    }

    fn turn() -> impl Strategy<Value = Turn> {
        prop_oneof![
            Just(Turn::Try),
            Just(Turn::Succeed),
            Just(Turn::Fail),
            Just(Turn::Fail),
            (0..20_u64).prop_map(Turn::Wait)
        ]
    }

    proptest! {
        /// It is never closed by failures, never open for ever, and never lets two try at once.
        #[test]
        fn a_target_that_fails_is_tried_once_in_a_while_and_never_given_up(turns in prop::collection::vec(turn(), 0..200)) {
            let mut now = Instant::now();
            let mut breaker = Breaker::new(RULES);
            let mut in_a_row = 0_u64;
            let mut trying = false;
            for turn in turns {
                match turn {
                    Turn::Try => {
                        let admitted = breaker.admits(now);
                        prop_assert!(!(trying && admitted != Admitted::None));
                        if admitted == Admitted::One {
                            breaker.trying(now);
                            trying = true;
                        }
                    }
                    Turn::Succeed => {
                        breaker.succeeded();
                        (in_a_row, trying) = (0, false);
                    }
                    Turn::Fail => {
                        breaker.failed(now);
                        in_a_row += 1;
                        trying = false;
                    }
                    Turn::Wait(seconds) => now += Duration::from_secs(seconds),
                }
                prop_assert_eq!(breaker.is_resting(), in_a_row >= RULES.failures_max);
                if breaker.is_resting() && !trying {
                    prop_assert_eq!(breaker.admits(now + RULES.rest), Admitted::One);
                }
            }
        }
    }
}
