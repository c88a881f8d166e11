//! Pure: puts one stream's events in order, notices what is missing and says what to read.
//!
//! It knows nothing until it was told the head: it never starts from the first event that it happens to see.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hallway_protocol::Seq;

use crate::hub::LiveEvent;
use crate::sabotage::{Mutant, is_on};
use crate::telemetry::labels::GapCause;

/// What the sequencer needs from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Nothing.
    Nothing,
    /// Events after this number, as soon as this time is reached (the fast path may bring them before).
    EventsAfter(Seq, Instant),
}

/// The order of one stream on this node. Most streams have no gap at any moment: what a gap needs is in a box.
#[derive(Debug)]
pub(super) struct Sequencer {
    /// Everything up to here was handed on. `None` until the head is known.
    delivered: Option<Seq>,
    /// Greatest number that anyone mentioned.
    heard: Seq,
    gap: Option<Box<Gap>>,
}

/// What is known beyond a number that is missing.
#[derive(Debug)]
struct Gap {
    since: Instant,
    /// What told of it first.
    cause: GapCause,
    reading: bool,
    held: BTreeMap<Seq, Arc<LiveEvent>>,
}

impl Sequencer {
    /// A newborn: it remembers only the greatest number that it hears of, until [`Sequencer::seed`].
    #[must_use]
    pub(super) fn newborn() -> Self {
        Self { delivered: None, heard: 0, gap: None }
    }

    /// Everything up to here was handed on; `None` while newborn.
    #[must_use]
    pub(super) fn delivered(&self) -> Option<Seq> {
        if is_on(Mutant::SequencerStartsAtFirstEvent) {
            return self.delivered.or(Some(self.heard));
        }
        self.delivered
    }

    /// Tells a newborn the head, as a snapshot that was read after its birth says. Ignored afterwards.
    pub(super) fn seed(&mut self, head: Seq, now: Instant) {
        if is_on(Mutant::SequencerStartsAtFirstEvent) {
            self.heard = self.heard.max(head);
        } else if self.delivered.is_none() {
            self.delivered = Some(head);
            self.note_gap(GapCause::Head, now);
        }
    }

    /// Takes an event from anywhere, in any order, any number of times; returns what is now in order. Beyond a gap at most
    /// `held_max` events are held.
    pub(super) fn event(&mut self, event: Arc<LiveEvent>, held_max: usize, now: Instant) -> Vec<Arc<LiveEvent>> {
        let seq = event.seq();
        self.heard = self.heard.max(seq);
        if is_on(Mutant::SequencerStartsAtFirstEvent) {
            self.delivered.get_or_insert(seq - 1);
        }
        let Some(delivered) = self.delivered else { return Vec::new() };
        if seq <= delivered {
            return Vec::new();
        }
        if seq == delivered + 1 {
            return self.advance(vec![event], now);
        }
        self.note_gap(GapCause::Event, now);
        if let Some(gap) = self.gap.as_mut().filter(|gap| gap.held.len() < held_max) {
            gap.held.insert(seq, event);
        }
        Vec::new()
    }

    /// Someone says that the stream has at least this head.
    pub(super) fn head(&mut self, seq: Seq, cause: GapCause, now: Instant) {
        self.heard = self.heard.max(seq);
        self.note_gap(cause, now);
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
        self.read_over();
        self.heard = self.heard.max(last_seq);
        let Some(delivered) = self.delivered else { return Vec::new() };
        if first_seq > delivered + 1 {
            // Pairs that stood before it find the same when they read, and are told `reset`.
            self.delivered = Some(first_seq - 1);
        }
        let ready = self.advance(events, now);
        if self.delivered == Some(delivered)
            && let Some(gap) = self.gap.as_mut()
        {
            // The log knows less than was heard (a replica that lags, say): to ask again at once would spin.
            gap.since = now;
        }
        ready
    }

    /// Reading failed; it is wanted again after another wait.
    pub(super) fn page_failed(&mut self, now: Instant) {
        self.read_over();
        if let Some(gap) = self.gap.as_mut() {
            gap.since = now;
        }
    }

    /// What to read, given how long to wait for the fast path.
    #[must_use]
    pub(super) fn want(&self, patience: Duration) -> Want {
        match (self.delivered, &self.gap) {
            (Some(delivered), Some(gap)) if !gap.reading => Want::EventsAfter(delivered, gap.since + patience),
            _ => Want::Nothing,
        }
    }

    /// What told of the gap that there is.
    #[must_use]
    pub(super) fn gap_cause(&self) -> Option<GapCause> {
        self.gap.as_ref().map(|gap| gap.cause)
    }

    /// The wanted read is under way; says what told of the gap.
    pub(super) fn reading(&mut self) -> Option<GapCause> {
        let gap = self.gap.as_mut()?;
        gap.reading = true;
        Some(gap.cause)
    }

    fn read_over(&mut self) {
        if let Some(gap) = self.gap.as_mut() {
            gap.reading = false;
        }
    }

    /// Hands on what comes next, of what came and of what was held.
    fn advance(&mut self, came: Vec<Arc<LiveEvent>>, now: Instant) -> Vec<Arc<LiveEvent>> {
        let Some(mut delivered) = self.delivered else { return Vec::new() };
        let mut ready = Vec::new();
        for event in came {
            if event.seq() == delivered + 1 {
                delivered += 1;
                ready.push(event);
            }
        }
        if let Some(gap) = self.gap.as_mut() {
            gap.held = gap.held.split_off(&(delivered + 1));
            while let Some(event) = gap.held.remove(&(delivered + 1)) {
                delivered += 1;
                ready.push(event);
            }
            if !ready.is_empty() {
                gap.since = now;
            }
        }
        self.delivered = Some(delivered);
        self.heard = self.heard.max(delivered);
        self.note_gap(GapCause::Event, now);
        ready
    }

    fn note_gap(&mut self, cause: GapCause, now: Instant) {
        match self.delivered {
            Some(delivered) if delivered < self.heard => {
                self.gap
                    .get_or_insert_with(|| Box::new(Gap { since: now, cause, reading: false, held: BTreeMap::new() }));
            }
            _ => self.gap = None,
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
        let mut sequencer = Sequencer::newborn();
        assert!(sequencer.event(event(7), 8, now).is_empty());
        sequencer.seed(5, now);
        assert_eq!(sequencer.want(Duration::ZERO), Want::EventsAfter(5, now));
    }

    #[test]
    fn a_log_that_knows_less_than_was_heard_is_asked_again_but_not_at_once() {
        let (now, patience) = (Instant::now(), Duration::from_millis(25));
        let mut sequencer = Sequencer::newborn();
        sequencer.seed(5, now);
        sequencer.head(7, GapCause::Head, now);
        let later = now + Duration::from_secs(1);
        sequencer.reading();
        assert!(sequencer.page(1, 5, Vec::new(), later).is_empty());
        assert_eq!(sequencer.want(patience), Want::EventsAfter(5, later + patience));
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
            steps in steps(60), seed_at in 0..50_usize, born_at in 0..=60_u64, held_max in 0..10_usize, page in 1..20_u64,
        ) {
            let last = 60;
            let now = Instant::now();
            let mut sequencer = Sequencer::newborn();
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
                    Step::Event(seq) => sequencer.event(event(seq), held_max, now),
                    Step::Head(seq) => { sequencer.head(seq, GapCause::Head, now); Vec::new() }
                    Step::Read => read(&mut sequencer),
                    Step::ReadFails => { sequencer.page_failed(now); Vec::new() }
                };
                out.extend(ready.iter().map(|event| event.seq()));
            }
            sequencer.seed(born_at, now);
            sequencer.head(last, GapCause::Tail, now);
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
