//! Pure: whether this node hears itself through the bus. "Connected but deaf" shows here and nowhere else.

use std::time::{Duration, Instant};

use bytes::Bytes;

/// How often the node speaks to itself.
pub(super) const PROBE_PERIOD: Duration = Duration::from_millis(500);
/// How long it may take to hear that.
pub(super) const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// What is known of the way to the others and back.
#[derive(Debug)]
pub(super) struct Health {
    is_up: bool,
    /// The number of the last probe.
    number: u64,
    /// When the last one was wanted, if it did not come back yet.
    waiting_since: Option<Instant>,
    /// The last one as it was sent: nobody who does not know the cluster's secret could have made it.
    sent: Option<(Bytes, Instant)>,
}

impl Health {
    /// At the start, as the first subscriptions went.
    #[must_use]
    pub(super) fn new(is_up: bool) -> Self {
        Self { is_up, number: 0, waiting_since: None, sent: None }
    }

    /// Whether the node hears itself.
    #[must_use]
    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    /// Time has passed: the number of the next probe, unless the last one may still come back.
    pub(super) fn tick(&mut self, now: Instant) -> Option<u64> {
        if let Some(since) = self.waiting_since {
            if now.saturating_duration_since(since) < PROBE_TIMEOUT {
                return None;
            }
            self.is_up = false;
        }
        self.waiting_since = Some(now);
        self.sent = None;
        self.number += 1;
        Some(self.number)
    }

    /// A probe is on its way, sealed so.
    pub(super) fn sent(&mut self, message: Bytes, now: Instant) {
        self.sent = Some((message, now));
    }

    /// The node heard a message of its own in its own inbox; how long that took, if it was the last probe.
    pub(super) fn heard(&mut self, message: &Bytes, now: Instant) -> Option<Duration> {
        let (_, at) = self.sent.take_if(|(sent, _)| sent == message)?;
        self.waiting_since = None;
        self.is_up = true;
        Some(now.saturating_duration_since(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_that_does_not_bring_probes_back_is_sick_after_a_second_and_well_with_the_first_that_comes() {
        let start = Instant::now();
        let mut health = Health::new(true);
        let message = |number: u64| Bytes::from(number.to_be_bytes().to_vec());
        let turn = |turn: u32| start + PROBE_PERIOD * turn;
        assert_eq!(health.tick(turn(0)), Some(1));
        health.sent(message(1), turn(0));
        assert_eq!((health.tick(turn(1)), health.is_up()), (None, true), "it may still come");
        assert_eq!((health.tick(turn(2)), health.is_up()), (Some(2), false));
        health.sent(message(2), turn(2));
        let later = start + Duration::from_secs(9);
        assert_eq!(health.heard(&message(1), later), None, "an old one says nothing");
        assert!(!health.is_up());
        assert_eq!(health.heard(&message(2), later), Some(Duration::from_secs(8)));
        assert!(health.is_up());
        assert_eq!(health.heard(&message(2), later), None, "it counts once");
        assert_eq!((health.tick(later), health.is_up()), (Some(3), true));
    }
}
