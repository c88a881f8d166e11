//! Pure: puts one stream's events in order, notices what is missing and says what to read.
//!
//! It knows nothing until it was told the head: it never starts from the first event that it happens to see.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hallway_protocol::Seq;

use crate::hub::LiveEvent;

/// What the sequencer needs from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Nothing.
    Nothing,
    /// Events after this number, as soon as this time is reached (the fast path may bring them before).
    EventsAfter(Seq, Instant),
}

/// The order of one stream on this node.
#[derive(Debug)]
pub(super) struct Sequencer {
    /// Everything up to here was handed on. `None` until the head is known.
    delivered: Option<Seq>,
    /// Greatest number that anyone mentioned.
    heard: Seq,
    held: BTreeMap<Seq, Arc<LiveEvent>>,
    held_max: usize,
    gap_since: Option<Instant>,
    reading: bool,
}

impl Sequencer {
    /// A newborn: it remembers only the greatest number that it hears of, until [`Sequencer::seed`].
    #[must_use]
    pub(super) fn newborn(held_max: u64) -> Self {
        Self {
            delivered: None,
            heard: 0,
            held: BTreeMap::new(),
            held_max: usize::try_from(held_max).unwrap_or(usize::MAX),
            gap_since: None,
            reading: false,
        }
    }

    /// Everything up to here was handed on; `None` while newborn.
    #[must_use]
    pub(super) fn delivered(&self) -> Option<Seq> {
        self.delivered
    }

    /// Tells a newborn the head, as a snapshot that was read after its birth says. Ignored afterwards.
    pub(super) fn seed(&mut self, head: Seq, now: Instant) {
        if self.delivered.is_none() {
            self.delivered = Some(head);
            self.note_gap(now);
        }
    }

    /// Takes an event from anywhere, in any order, any number of times; returns what is now in order.
    pub(super) fn event(&mut self, event: Arc<LiveEvent>, now: Instant) -> Vec<Arc<LiveEvent>> {
        let seq = event.seq();
        self.heard = self.heard.max(seq);
        let Some(delivered) = self.delivered else { return Vec::new() };
        if seq <= delivered {
            return Vec::new();
        }
        if seq == delivered + 1 || self.held.len() < self.held_max {
            self.held.insert(seq, event);
        }
        self.advance(now)
    }

    /// Someone says that the stream has at least this head.
    pub(super) fn head(&mut self, seq: Seq, now: Instant) {
        self.heard = self.heard.max(seq);
        self.note_gap(now);
    }

    /// Takes what was read after [`Want::EventsAfter`]. `first_seq` is the oldest number that the log still has: what lies
    /// between is trimmed, and skipped.
    pub(super) fn page(
        &mut self,
        first_seq: Seq,
        last_seq: Seq,
        events: Vec<Arc<LiveEvent>>,
        now: Instant,
    ) -> Vec<Arc<LiveEvent>> {
        self.reading = false;
        self.heard = self.heard.max(last_seq);
        let Some(delivered) = self.delivered else { return Vec::new() };
        if first_seq > delivered + 1 {
            // Pairs that stood before it find the same when they read, and are told `reset`.
            self.delivered = Some(first_seq - 1);
        }
        for event in events {
            self.held.insert(event.seq(), event);
        }
        self.advance(now)
    }

    /// Reading failed; it is wanted again after another wait.
    pub(super) fn page_failed(&mut self, now: Instant) {
        self.reading = false;
        self.gap_since = None;
        self.note_gap(now);
    }

    /// What to read, given how long to wait for the fast path.
    #[must_use]
    pub(super) fn want(&self, patience: Duration) -> Want {
        match (self.delivered, self.gap_since) {
            (Some(delivered), Some(since)) if !self.reading => Want::EventsAfter(delivered, since + patience),
            _ => Want::Nothing,
        }
    }

    /// The wanted read is under way.
    pub(super) fn reading(&mut self) {
        self.reading = true;
    }

    fn advance(&mut self, now: Instant) -> Vec<Arc<LiveEvent>> {
        let Some(mut delivered) = self.delivered else { return Vec::new() };
        let mut ready = Vec::new();
        self.held = self.held.split_off(&(delivered + 1));
        while let Some(event) = self.held.remove(&(delivered + 1)) {
            delivered += 1;
            ready.push(event);
        }
        self.delivered = Some(delivered);
        self.heard = self.heard.max(delivered);
        if !ready.is_empty() {
            self.gap_since = None;
        }
        self.note_gap(now);
        ready
    }

    fn note_gap(&mut self, now: Instant) {
        match self.delivered {
            Some(delivered) if delivered < self.heard => {
                self.gap_since.get_or_insert(now);
            }
            _ => self.gap_since = None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test panics")]
    use hallway_protocol::event::RoomArchived;
    use hallway_protocol::{Event, EventBody, StreamId, UserId};
    use proptest::prelude::*;

    use super::*;

    fn event(seq: Seq) -> Arc<LiveEvent> {
        let body = EventBody::RoomArchived(RoomArchived { by: UserId::new("u").unwrap() });
        Arc::new(LiveEvent::new(Event { stream: StreamId::System, seq, at_ms: 0, body }))
    }

    #[test]
    fn a_newborn_never_starts_from_the_first_event_it_sees() {
        let now = Instant::now();
        let mut sequencer = Sequencer::newborn(8);
        assert!(sequencer.event(event(7), now).is_empty());
        sequencer.seed(5, now);
        assert_eq!(sequencer.want(Duration::ZERO), Want::EventsAfter(5, now));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Event(Seq),
        Head(Seq),
        Read,
        ReadFails,
    }

    fn steps(last: Seq) -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (1..=last).prop_map(Step::Event),
            1 => (1..=last).prop_map(Step::Head),
            2 => Just(Step::Read),
            1 => Just(Step::ReadFails),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Whatever comes, in whatever order and number, what goes out is dense, and after one last head and enough reads
        /// nothing is missing.
        #[test]
        fn what_goes_out_is_dense_and_in_the_end_complete(
            steps in steps(60), seed_at in 0..50_usize, born_at in 0..=60_u64, held_max in 0..10_u64, page in 1..20_u64,
        ) {
            let last = 60;
            let now = Instant::now();
            let mut sequencer = Sequencer::newborn(held_max);
            let mut out: Vec<Seq> = Vec::new();
            let read = |sequencer: &mut Sequencer| -> Vec<Arc<LiveEvent>> {
                let Want::EventsAfter(after, _) = sequencer.want(Duration::ZERO) else { return Vec::new() };
                sequencer.reading();
                let to = (after + page).min(last);
                sequencer.page(1, last, (after + 1..=to).map(event).collect(), now)
            };
            for (index, step) in steps.into_iter().enumerate() {
                if index == seed_at { sequencer.seed(born_at, now); }
                let ready = match step {
                    Step::Event(seq) => sequencer.event(event(seq), now),
                    Step::Head(seq) => { sequencer.head(seq, now); Vec::new() }
                    Step::Read => read(&mut sequencer),
                    Step::ReadFails => { sequencer.page_failed(now); Vec::new() }
                };
                out.extend(ready.iter().map(|event| event.seq()));
            }
            sequencer.seed(born_at, now);
            sequencer.head(last, now);
            for _ in 0..=last {
                out.extend(read(&mut sequencer).iter().map(|event| event.seq()));
            }
            let first = out.first().copied().unwrap_or(last + 1);
            prop_assert_eq!(first, born_at + 1);
            prop_assert_eq!(out, (born_at + 1..=last).collect::<Vec<_>>());
            prop_assert_eq!(sequencer.want(Duration::ZERO), Want::Nothing);
        }
    }
}
