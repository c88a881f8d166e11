//! The newest events of a stream, in memory, bounded in number and bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hallway_protocol::event::{MessageCreated, MessageEdited, TaskChanged, TaskCommented, TaskCreated};
use hallway_protocol::task::{Comment, Task};
use hallway_protocol::{Event, EventBody, Message, Seq, ServerFrame};

use super::LiveEvent;
use crate::telemetry::metrics::Metrics;

/// How much a ring holds, and where that is counted: one for all rings of a node.
#[derive(Debug)]
pub struct RingBounds {
    events_max: usize,
    bytes_max: usize,
    metrics: Arc<Metrics>,
}

impl RingBounds {
    /// Bounds in number and bytes.
    #[must_use]
    pub fn new(events_max: u64, bytes_max: u64, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            events_max: usize::try_from(events_max).unwrap_or(usize::MAX),
            bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
            metrics,
        })
    }
}

/// Written by the stream's owner, read by lanes. Holds consecutive numbers only. Every user has a stream, and most of them
/// are silent: an empty ring is little more than two pointers.
#[derive(Debug)]
pub struct Ring {
    /// `None` until the first event.
    inner: Mutex<Option<Box<Inner>>>,
    bounds: Arc<RingBounds>,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Arc<LiveEvent>>,
    bytes: usize,
}

impl Ring {
    /// An empty ring.
    #[must_use]
    pub fn new(bounds: &Arc<RingBounds>) -> Self {
        Self { inner: Mutex::default(), bounds: Arc::clone(bounds) }
    }

    fn inner(&self) -> MutexGuard<'_, Option<Box<Inner>>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends the next event; one that does not follow the last empties the ring first.
    pub fn push(&self, event: &Arc<LiveEvent>) {
        let mut inner = self.inner();
        let inner = inner.get_or_insert_default();
        let before = inner.bytes;
        if inner.events.back().is_some_and(|last| last.seq() + 1 != event.seq()) {
            inner.events.clear();
            inner.bytes = 0;
        }
        if let Some(deletion @ (EventBody::MessageDeleted(_) | EventBody::TaskDeleted(_))) = event.body() {
            forget_content(inner, deletion);
        }
        inner.bytes += event.size_bytes();
        inner.events.push_back(Arc::clone(event));
        let RingBounds { events_max, bytes_max, ref metrics } = *self.bounds;
        while inner.events.len() > events_max || (inner.bytes > bytes_max && inner.events.len() > 1) {
            if let Some(oldest) = inner.events.pop_front() {
                inner.bytes = inner.bytes.saturating_sub(oldest.size_bytes());
            }
        }
        metrics.ring_bytes.add(inner.bytes as i64 - before as i64);
    }

    /// Whether everything from a number on is here, as far as this node has come; nothing, if that is before it.
    #[must_use]
    pub fn reaches(&self, from: Seq) -> bool {
        let inner = self.inner();
        let events = inner.as_ref().map(|inner| &inner.events);
        let ends = events.and_then(|events| Some((events.front()?.seq(), events.back()?.seq())));
        ends.is_some_and(|(first, last)| first <= from || last < from)
    }

    /// Whether events `from..=to` are all here.
    #[must_use]
    pub fn covers(&self, from: Seq, to: Seq) -> bool {
        let inner = self.inner();
        let events = inner.as_ref().map(|inner| &inner.events);
        events.is_some_and(|events| match (events.front(), events.back()) {
            (Some(first), Some(last)) => first.seq() <= from && from <= to && to <= last.seq(),
            _ => false,
        })
    }

    /// Everything from a number on, as far as this node has come; `None` when that begins before what is here, or after it.
    #[must_use]
    pub fn from(&self, from: Seq) -> Option<Vec<Arc<LiveEvent>>> {
        let inner = self.inner();
        let events = &inner.as_ref()?.events;
        let start = usize::try_from(from.checked_sub(events.front()?.seq())?).ok()?;
        (start < events.len()).then(|| events.range(start..).cloned().collect())
    }

    /// Events `from..=to`, when all of them are here.
    #[must_use]
    pub fn range(&self, from: Seq, to: Seq) -> Option<Vec<Arc<LiveEvent>>> {
        let inner = self.inner();
        let inner = inner.as_ref()?;
        let first = inner.events.front()?.seq();
        let last = inner.events.back()?.seq();
        if from < first || to > last || from > to {
            return None;
        }
        let start = usize::try_from(from - first).ok()?;
        let end = usize::try_from(to - first).ok()?;
        Some(inner.events.range(start..=end).cloned().collect())
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let bytes = self.inner().as_ref().map_or(0, |inner| inner.bytes);
        self.bounds.metrics.ring_bytes.add(-(bytes as i64));
    }
}

/// Replaces what the events of a deleted message or task said by its tombstone: deleted text is gone from memory too.
fn forget_content(inner: &mut Inner, deletion: &EventBody) {
    for slot in &mut inner.events {
        let ServerFrame::Event(event) = slot.frame().content() else { continue };
        let Some(body) = forgotten(&event.body, deletion) else { continue };
        let replaced = LiveEvent::new(Event { body, ..event.clone() });
        inner.bytes = inner.bytes.saturating_sub(slot.size_bytes()) + replaced.size_bytes();
        *slot = Arc::new(replaced);
    }
}

/// What is left of an event after a deletion; `None`: it is about something else.
fn forgotten(body: &EventBody, deletion: &EventBody) -> Option<EventBody> {
    Some(match (deletion, body) {
        (EventBody::MessageDeleted(deleted), EventBody::MessageCreated(created))
            if created.message.id == deleted.id =>
        {
            EventBody::MessageCreated(MessageCreated { message: tombstone(&created.message) })
        }
        (EventBody::MessageDeleted(deleted), EventBody::MessageEdited(edited)) if edited.message.id == deleted.id => {
            EventBody::MessageEdited(MessageEdited { message: tombstone(&edited.message) })
        }
        (EventBody::TaskDeleted(deleted), EventBody::TaskCreated(created)) if created.task.id == deleted.id => {
            EventBody::TaskCreated(TaskCreated { task: task_tombstone(&created.task, deleted.version) })
        }
        (EventBody::TaskDeleted(deleted), EventBody::TaskChanged(changed)) if changed.task.id == deleted.id => {
            let task = task_tombstone(&changed.task, deleted.version);
            EventBody::TaskChanged(TaskChanged { task, ..changed.clone() })
        }
        (EventBody::TaskDeleted(deleted), EventBody::TaskCommented(commented))
            if commented.comment.task == deleted.id =>
        {
            let comment = Comment { text: String::new(), mentions: Vec::new(), ..commented.comment.clone() };
            EventBody::TaskCommented(TaskCommented { comment, ..commented.clone() })
        }
        _ => return None,
    })
}

fn task_tombstone(task: &Task, version: u32) -> Task {
    Task {
        title: String::new(),
        text: String::new(),
        assignees: Vec::new(),
        waits_on: Vec::new(),
        due_at_ms: None,
        meta: None,
        deleted: true,
        version,
        ..task.clone()
    }
}

fn tombstone(message: &Message) -> Message {
    Message {
        text: String::new(),
        mentions: Vec::new(),
        meta: None,
        reactions: Vec::new(),
        deleted: true,
        version: message.version + 1,
        ..message.clone()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test panics")]
    use hallway_protocol::codec::Codec;
    use hallway_protocol::{MessageId, StreamId, UserId};

    use super::*;

    fn message(seq: Seq, bytes: usize) -> Arc<LiveEvent> {
        let message = Message {
            id: MessageId::generate(),
            seq,
            ordinal: seq,
            sender: UserId::new("ada").unwrap(),
            at_ms: 0,
            text: "x".repeat(bytes),
            reply_to: None,
            mentions: Vec::new(),
            meta: None,
            version: 1,
            edited_at_ms: None,
            deleted: false,
            reactions: Vec::new(),
        };
        let body = EventBody::MessageCreated(MessageCreated { message });
        Arc::new(LiveEvent::new(Event { stream: StreamId::System, seq, at_ms: 0, body }))
    }

    #[test]
    fn from_a_number_on_comes_all_of_it_or_nothing() {
        let (metrics, _) = Metrics::new().unwrap();
        let ring = Ring::new(&RingBounds::new(4, 1_000_000, metrics));
        let from = |seq| ring.from(seq).map(|events| events.iter().map(|event| event.seq()).collect::<Vec<_>>());
        assert_eq!(from(1), None, "nothing is here");
        (1..=10).for_each(|seq| ring.push(&message(seq, 10)));
        assert_eq!([from(0), from(1), from(6)], [None, None, None], "forgotten");
        assert_eq!(from(7), Some(vec![7, 8, 9, 10]));
        assert_eq!(from(10), Some(vec![10]));
        assert_eq!([from(11), from(u64::MAX)], [None, None], "not here yet");
    }

    #[test]
    fn the_count_of_bytes_holds_although_events_are_encoded_after_they_came() {
        let (metrics, _) = Metrics::new().unwrap();
        let ring = Ring::new(&RingBounds::new(1000, 100_000, Arc::clone(&metrics)));
        for seq in 1..=500 {
            let event = message(seq, 1000);
            ring.push(&event);
            Codec::ALL.iter().for_each(|codec| drop(event.frame().bytes(*codec).clone()));
            let kept = ring.inner().as_ref().unwrap().events.iter().map(|event| event.size_bytes()).sum::<usize>();
            assert_eq!(usize::try_from(metrics.ring_bytes.get()).unwrap(), kept, "after {seq} events");
            assert!(kept <= 100_000, "{kept} bytes after {seq} events");
        }
        let held: usize = Codec::ALL.iter().map(|codec| message(1, 1000).frame().bytes(*codec).len()).sum();
        assert!(message(1, 1000).size_bytes() >= 1000 + held, "the estimate covers both encodings");
        drop(ring);
        assert_eq!(metrics.ring_bytes.get(), 0);
    }
}
