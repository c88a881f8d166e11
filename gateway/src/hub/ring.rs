//! The newest events of a stream, in memory, bounded in number and bytes.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use hallway_protocol::event::MessageCreated;
use hallway_protocol::event::MessageEdited;
use hallway_protocol::{Event, EventBody, Message, MessageId, Seq, ServerFrame};

use super::LiveEvent;
use crate::telemetry::metrics::Metrics;

/// Written by the stream's owner, read by lanes. Holds consecutive numbers only.
#[derive(Debug)]
pub struct Ring {
    inner: Mutex<Inner>,
    events_max: usize,
    bytes_max: usize,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct Inner {
    events: VecDeque<Arc<LiveEvent>>,
    bytes: usize,
}

impl Ring {
    /// An empty ring.
    #[must_use]
    pub fn new(events_max: u64, bytes_max: u64, metrics: Arc<Metrics>) -> Self {
        Self {
            inner: Mutex::default(),
            events_max: usize::try_from(events_max).unwrap_or(usize::MAX),
            bytes_max: usize::try_from(bytes_max).unwrap_or(usize::MAX),
            metrics,
        }
    }

    /// Appends the next event; one that does not follow the last empties the ring first.
    pub fn push(&self, event: &Arc<LiveEvent>) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let before = inner.bytes;
        if inner.events.back().is_some_and(|last| last.seq() + 1 != event.seq()) {
            inner.events.clear();
            inner.bytes = 0;
        }
        if let Some(EventBody::MessageDeleted(deleted)) = event.body() {
            forget_content(&mut inner, deleted.id);
        }
        inner.bytes += event.size_bytes();
        inner.events.push_back(Arc::clone(event));
        while inner.events.len() > self.events_max || (inner.bytes > self.bytes_max && inner.events.len() > 1) {
            if let Some(oldest) = inner.events.pop_front() {
                // An encoding may have been added since it was counted; the count is an estimate and never underflows.
                inner.bytes = inner.bytes.saturating_sub(oldest.size_bytes());
            }
        }
        self.metrics.ring_bytes.add(inner.bytes as i64 - before as i64);
    }

    /// Events `from..=to`, when all of them are here.
    #[must_use]
    pub fn range(&self, from: Seq, to: Seq) -> Option<Vec<Arc<LiveEvent>>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
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
        let bytes = self.inner.lock().unwrap_or_else(PoisonError::into_inner).bytes;
        self.metrics.ring_bytes.add(-(bytes as i64));
    }
}

/// Replaces what a deleted message's events said by its tombstone: deleted text is gone from memory too.
fn forget_content(inner: &mut Inner, id: MessageId) {
    for slot in &mut inner.events {
        let ServerFrame::Event(event) = slot.frame().content() else { continue };
        let body = match &event.body {
            EventBody::MessageCreated(created) if created.message.id == id => {
                EventBody::MessageCreated(MessageCreated { message: tombstone(&created.message) })
            }
            EventBody::MessageEdited(edited) if edited.message.id == id => {
                EventBody::MessageEdited(MessageEdited { message: tombstone(&edited.message) })
            }
            _ => continue,
        };
        let replaced = LiveEvent::new(Event { body, ..event.clone() });
        inner.bytes = inner.bytes.saturating_sub(slot.size_bytes()) + replaced.size_bytes();
        *slot = Arc::new(replaced);
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
