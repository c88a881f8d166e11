//! Pure: how a drain spreads what it does over the time that it has.
//!
//! ```text
//!   SIGTERM   notice      telling (batches)      closing, answers    flush
//!   ├──────────┼───────────────┬──────────────────────┼───────────────┤ deadline
//! ```

use std::time::Duration;

/// Part of the deadline that is kept for what comes behind the sessions: the last batch, the store's end.
const FLUSH_SHARE: u32 = 5;
/// More than this is not kept for it.
const FLUSH_MAX: Duration = Duration::from_secs(4);
/// Clients are never told to come back later than this.
const WINDOW_MAX: Duration = Duration::from_secs(30);
/// Few clients are spread over at least this time.
const SPREAD_MIN: Duration = Duration::from_millis(200);

/// What a drain may do.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) deadline: Duration,
    pub(super) notice: Duration,
    pub(super) batch_connections: u64,
    pub(super) reconnects_per_second: u64,
}

impl Bounds {
    /// Time for balancers to notice: at most half of the whole.
    pub(super) fn notice(&self) -> Duration {
        self.notice.min(self.deadline / 2)
    }

    /// When sessions that are still open are cut, from the beginning.
    pub(super) fn sessions_end(&self) -> Duration {
        self.deadline - (self.deadline / FLUSH_SHARE).min(FLUSH_MAX)
    }

    /// How to tell so many connections.
    pub(super) fn schedule(&self, connections: usize) -> Schedule {
        let batch = usize::try_from(self.batch_connections.max(1)).unwrap_or(usize::MAX);
        let batches = connections.div_ceil(batch).max(1);
        let rate = self.reconnects_per_second.max(1);
        let window = millis((connections as u64).saturating_mul(1000) / rate).min(WINDOW_MAX);
        // Half of what is left is for telling, the other half for those who were told last.
        let telling_max = self.sessions_end().saturating_sub(self.notice()) / 2;
        let per_batch = u32::try_from(batches).unwrap_or(u32::MAX);
        Schedule { batch, batches, interval: (window / per_batch).min(telling_max / per_batch), window }
    }
}

/// Who is told when, and when they are to come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Schedule {
    /// Connections in each batch but the last.
    pub(super) batch: usize,
    pub(super) batches: usize,
    /// Between two batches.
    pub(super) interval: Duration,
    /// In which all come back, from the first batch on.
    pub(super) window: Duration,
}

impl Schedule {
    /// When the clients of a batch come back, from when they are told: from this time, spread over that one. All batches
    /// together fill the window evenly, however quickly they are told.
    pub(super) fn reconnect(&self, batch: usize) -> (Duration, Duration) {
        let slot = self.window / u32::try_from(self.batches).unwrap_or(u32::MAX);
        let number = u32::try_from(batch).unwrap_or(u32::MAX);
        let from = slot.saturating_mul(number).saturating_sub(self.interval.saturating_mul(number));
        (from, slot.max(SPREAD_MIN))
    }
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However many there are and whatever the limits: everybody has a turn, all turns lie within the deadline with time
        /// left for those who are told last, and the returns fill their window evenly.
        #[test]
        fn everybody_is_told_in_time_and_comes_back_spread_out(
            connections in 0..200_000_usize, deadline_ms in 100..600_000_u64, notice_ms in 0..60_000_u64,
            batch_connections in 1..100_000_u64, reconnects_per_second in 1..100_000_u64,
        ) {
            let bounds = Bounds {
                deadline: millis(deadline_ms), notice: millis(notice_ms), batch_connections, reconnects_per_second,
            };
            let schedule = bounds.schedule(connections);
            prop_assert!(schedule.batch * schedule.batches >= connections);
            prop_assert!(schedule.batch * (schedule.batches - 1) <= connections);
            prop_assert!(bounds.notice() <= bounds.deadline / 2 && bounds.sessions_end() < bounds.deadline);
            let told = bounds.notice() + schedule.interval * u32::try_from(schedule.batches).unwrap();
            let left = bounds.sessions_end() - bounds.notice();
            prop_assert!(told <= bounds.notice() + left / 2, "told after {told:?} of {bounds:?}");
            prop_assert!(schedule.window <= WINDOW_MAX);
            let mut last = Duration::ZERO;
            let steps = (schedule.batches / 100).max(1);
            for batch in (0..schedule.batches).step_by(steps) {
                let (from, spread) = schedule.reconnect(batch);
                let told = schedule.interval * u32::try_from(batch).unwrap();
                prop_assert!(told + from >= last, "batch {batch} comes back before the one before it");
                last = told + from;
                prop_assert!(last + spread <= schedule.window + spread + millis(1));
                prop_assert!(spread >= SPREAD_MIN);
            }
        }
    }

    #[test]
    fn ten_thousand_clients_are_told_within_seconds_and_return_within_ten() {
        let bounds = Bounds {
            deadline: Duration::from_secs(20),
            notice: Duration::from_secs(3),
            batch_connections: 200,
            reconnects_per_second: 1000,
        };
        let schedule = bounds.schedule(10_000);
        assert_eq!((schedule.batches, schedule.window), (50, Duration::from_secs(10)));
        assert!(schedule.interval * 50 <= Duration::from_secs(7), "{schedule:?}");
        let (first, spread) = schedule.reconnect(0);
        assert_eq!((first, spread), (Duration::ZERO, Duration::from_millis(200)));
        let (from, _) = schedule.reconnect(49);
        assert!(from >= Duration::from_secs(3), "the last come back {from:?} after they were told");
    }

    #[test]
    fn few_clients_are_told_at_once() {
        let bounds = Bounds {
            deadline: Duration::from_secs(20),
            notice: Duration::ZERO,
            batch_connections: 200,
            reconnects_per_second: 1000,
        };
        let schedule = bounds.schedule(3);
        assert_eq!((schedule.batches, schedule.reconnect(0).1), (1, SPREAD_MIN));
    }
}
