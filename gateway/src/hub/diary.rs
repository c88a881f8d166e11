//! Which notifications were handed to which connections, until somebody writes it down. Bounded: what does not fit is lost and
//! counted; nothing rests on it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use hallway_protocol::NotificationId;

use super::ConnectionId;
use crate::telemetry::metrics::Metrics;

/// A notification was handed to a connection: its bytes are with the kernel or in the backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    pub notification: NotificationId,
    pub connection: ConnectionId,
    /// By this node's clock.
    pub at_ms: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Diary {
    notes: Mutex<VecDeque<Note>>,
    notes_max: usize,
    metrics: Arc<Metrics>,
}

impl Diary {
    pub(super) fn new(notes_max: u64, metrics: Arc<Metrics>) -> Arc<Self> {
        let notes_max = usize::try_from(notes_max).unwrap_or(usize::MAX);
        Arc::new(Self { notes: Mutex::default(), notes_max, metrics })
    }

    /// These were handed over just now.
    pub(super) fn note(&self, handed: impl Iterator<Item = (NotificationId, ConnectionId)>) {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let at_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        let mut notes = self.notes();
        let mut dropped = 0;
        for (notification, connection) in handed {
            if notes.len() < self.notes_max {
                notes.push_back(Note { notification, connection, at_ms });
            } else {
                dropped += 1;
            }
        }
        drop(notes);
        if dropped > 0 {
            self.metrics.delivery_notes_dropped.add(dropped);
        }
    }

    /// Takes the oldest notes, at most so many.
    #[must_use]
    pub fn take(&self, most: usize) -> Vec<Note> {
        let mut notes = self.notes();
        let count = notes.len().min(most);
        let taken = notes.drain(..count).collect();
        if notes.is_empty() {
            // A burst is over; its memory is not kept.
            notes.shrink_to(64);
        }
        taken
    }

    fn notes(&self) -> MutexGuard<'_, VecDeque<Note>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use super::*;

    #[test]
    fn a_full_diary_drops_notes_and_says_how_many() {
        let (metrics, _exporter) = Metrics::new().unwrap();
        let diary = Diary::new(3, Arc::clone(&metrics));
        let ids: Vec<NotificationId> = (0..5).map(|_| NotificationId::generate()).collect();
        diary.note(ids.iter().map(|id| (*id, ConnectionId(7))));
        assert_eq!(metrics.delivery_notes_dropped.get(), 2);
        let taken = diary.take(2);
        assert_eq!(taken.iter().map(|note| note.notification).collect::<Vec<_>>(), ids[..2]);
        diary.note(std::iter::once((ids[4], ConnectionId(8))));
        let rest: Vec<(NotificationId, ConnectionId)> =
            diary.take(10).iter().map(|note| (note.notification, note.connection)).collect();
        assert_eq!(rest, [(ids[2], ConnectionId(7)), (ids[4], ConnectionId(8))]);
        assert_eq!(metrics.delivery_notes_dropped.get(), 2);
    }
}
