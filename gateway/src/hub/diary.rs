//! Which notifications were handed to which connections, until somebody writes it down. Bounded: what does not fit is lost and
//! counted; nothing rests on it.
//!
//! A note is a run: the connection was handed every number of its person's stream from one notification on up to another. So a
//! person who comes back to a hundred notifications is one note, and one row in the store.
//!
//! **Invariant:** a note holds no number that was not handed to its connection. Those between two notifications may be other
//! events; they were handed over as well.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use hallway_protocol::{NotificationId, Seq};

use super::ConnectionId;
use crate::telemetry::metrics::Metrics;

/// Numbers of a stream that one note spans at most: whoever looks for those that hold a number looks no further.
pub const NOTE_SEQS_MAX: u64 = 256;
/// Notes that are joined are no further apart: as much later than it was a notification may seem to have been handed over.
const JOINED_WITHIN_MS: u64 = 1_000;

/// Notifications were handed to a connection, from a number of its person's stream on up to the last one: their bytes are with the
/// kernel or in the backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    pub connection: ConnectionId,
    pub from_seq: Seq,
    pub to_seq: Seq,
    /// The notification of the number `to_seq`.
    pub last: NotificationId,
    /// When the last of them was, by this node's clock.
    pub at_ms: u64,
}

/// A notification that was handed to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Handed {
    pub(super) connection: ConnectionId,
    pub(super) seq: Seq,
    pub(super) id: NotificationId,
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

    /// These were handed over just now. Between two that follow each other here and are of one connection, it was handed every
    /// number.
    pub(super) fn note(&self, handed: impl Iterator<Item = Handed>) {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.note_at(handed, u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX));
    }

    fn note_at(&self, handed: impl Iterator<Item = Handed>, at_ms: u64) {
        let mut notes = self.notes();
        let mut dropped = 0;
        let mut write = |run: Note| {
            if notes.len() < self.notes_max {
                notes.push_back(run);
            } else {
                dropped += 1;
            }
        };
        let mut open: Option<Note> = None;
        for Handed { connection, seq, id } in handed {
            match &mut open {
                Some(run) if run.connection == connection && run.to_seq < seq && seq - run.from_seq < NOTE_SEQS_MAX => {
                    (run.to_seq, run.last) = (seq, id);
                }
                _ => {
                    let next = Note { connection, from_seq: seq, to_seq: seq, last: id, at_ms };
                    open.replace(next).into_iter().for_each(&mut write);
                }
            }
        }
        open.into_iter().for_each(&mut write);
        drop(notes);
        if dropped > 0 {
            self.metrics.delivery_notes_dropped.add(dropped);
        }
    }

    /// Takes the oldest notes, at most so many; those that follow each other are joined.
    #[must_use]
    pub fn take(&self, most: usize) -> Vec<Note> {
        let mut notes = self.notes();
        let count = notes.len().min(most);
        let taken = notes.drain(..count).collect();
        if notes.is_empty() {
            // A burst is over; its memory is not kept.
            notes.shrink_to(64);
        }
        drop(notes);
        joined(taken)
    }

    fn notes(&self) -> MutexGuard<'_, VecDeque<Note>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Joins notes of one connection of which one begins with the number after the other's last.
fn joined(mut notes: Vec<Note>) -> Vec<Note> {
    notes.sort_unstable_by_key(|note| (note.connection, note.from_seq, note.at_ms));
    let mut runs: Vec<Note> = Vec::new();
    let mut earliest_ms = 0;
    for note in notes {
        let (first_ms, last_ms) = match runs.last() {
            Some(run) => (note.at_ms.min(earliest_ms), note.at_ms.max(run.at_ms)),
            None => (note.at_ms, note.at_ms),
        };
        match runs.last_mut() {
            Some(run)
                if run.connection == note.connection
                    && run.to_seq + 1 == note.from_seq
                    && note.to_seq - run.from_seq < NOTE_SEQS_MAX
                    && last_ms - first_ms <= JOINED_WITHIN_MS =>
            {
                (run.to_seq, run.last, run.at_ms) = (note.to_seq, note.last, last_ms);
                earliest_ms = first_ms;
            }
            _ => {
                earliest_ms = note.at_ms;
                runs.push(note);
            }
        }
    }
    runs
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test panics")]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn handed(connection: u64, seqs: impl IntoIterator<Item = Seq>) -> Vec<Handed> {
        let one = |seq| Handed { connection: ConnectionId(connection), seq, id: NotificationId::generate() };
        seqs.into_iter().map(one).collect()
    }

    fn runs(notes: &[Note]) -> Vec<(u64, Seq, Seq)> {
        notes.iter().map(|note| (note.connection.0, note.from_seq, note.to_seq)).collect()
    }

    fn diary(notes_max: u64) -> (Arc<Diary>, Arc<Metrics>) {
        let (metrics, _exporter) = Metrics::new().unwrap();
        (Diary::new(notes_max, Arc::clone(&metrics)), metrics)
    }

    #[test]
    fn a_full_diary_drops_notes_and_says_how_many() {
        let (diary, metrics) = diary(3);
        let to_five: Vec<Handed> = (1..=5).flat_map(|connection| handed(connection, [7, 8])).collect();
        diary.note(to_five.into_iter());
        assert_eq!(metrics.delivery_notes_dropped.get(), 2);
        assert_eq!(runs(&diary.take(2)), [(1, 7, 8), (2, 7, 8)]);
        diary.note(handed(8, [1]).into_iter());
        assert_eq!(runs(&diary.take(10)), [(3, 7, 8), (8, 1, 1)]);
        assert_eq!(metrics.delivery_notes_dropped.get(), 2);
    }

    #[test]
    fn who_comes_back_to_many_is_one_note_and_no_note_is_longer_than_it_may_be() {
        let (diary, _metrics) = diary(100);
        // Other events stand between them; the page ends in the middle.
        diary.note(handed(1, (0..100).map(|n| 10 + n * 2)).into_iter());
        diary.note(handed(1, 209..=210).into_iter());
        diary.note(handed(1, [212]).into_iter());
        let taken = diary.take(10);
        assert_eq!(runs(&taken), [(1, 10, 210), (1, 212, 212)], "211 is not known to have been handed over");
        diary.note(handed(1, 1..=NOTE_SEQS_MAX * 2 + 1).into_iter());
        let max = NOTE_SEQS_MAX;
        assert_eq!(runs(&diary.take(10)), [(1, 1, max), (1, max + 1, max * 2), (1, max * 2 + 1, max * 2 + 1)]);
    }

    /// One hand-over to a connection: so many numbers are left out before it, so many are handed over, of which those are
    /// notifications whose bit is set; so much later, and whether somebody takes what is noted before.
    #[derive(Debug, Clone)]
    struct Turn {
        connection: u64,
        skipped: u64,
        seqs: u64,
        notifications: u64,
        later_ms: u64,
        takes: bool,
    }

    fn turn() -> impl Strategy<Value = Turn> {
        let skipped = prop_oneof![3 => Just(0), 1 => 0..3_u64];
        let later_ms = prop_oneof![0..50_u64, 0..3_000_u64];
        (0..3_u64, skipped, 0..130_u64, any::<u64>(), later_ms, prop::bool::weighted(0.1)).prop_map(
            |(connection, skipped, seqs, notifications, later_ms, takes)| Turn {
                connection,
                skipped,
                seqs,
                notifications,
                later_ms,
                takes,
            },
        )
    }

    proptest! {
        #[test]
        fn notes_tell_of_exactly_what_was_handed_over(turns in prop::collection::vec(turn(), 0..60)) {
            let (diary, _metrics) = diary(10_000);
            let mut at_ms = 1_000_000;
            let mut next: BTreeMap<u64, Seq> = BTreeMap::new();
            // What each connection was handed at all, and the notifications among it: when, and which.
            let mut all: BTreeSet<(u64, Seq)> = BTreeSet::new();
            let mut notifications: BTreeMap<(u64, Seq), (u64, NotificationId)> = BTreeMap::new();
            let mut notes = Vec::new();
            for turn in turns {
                if turn.takes {
                    notes.extend(diary.take(10_000));
                }
                at_ms += turn.later_ms;
                let next = next.entry(turn.connection).or_insert(1);
                let from = *next + turn.skipped;
                *next = from + turn.seqs;
                all.extend((from..*next).map(|seq| (turn.connection, seq)));
                let told = handed(turn.connection, (from..*next).filter(|seq| turn.notifications >> (seq % 64) & 1 == 1));
                notifications.extend(told.iter().map(|one| ((turn.connection, one.seq), (at_ms, one.id))));
                diary.note_at(told.into_iter(), at_ms);
            }
            notes.extend(diary.take(10_000));
            let mut named = BTreeSet::new();
            for note in notes {
                prop_assert!(note.to_seq - note.from_seq < NOTE_SEQS_MAX, "{:?}", note);
                prop_assert_eq!(notifications[&(note.connection.0, note.to_seq)].1, note.last);
                for seq in note.from_seq..=note.to_seq {
                    let key = (note.connection.0, seq);
                    prop_assert!(all.contains(&key), "{} was not handed over: {:?}", seq, note);
                    let Some((at_ms, _)) = notifications.get(&key) else { continue };
                    prop_assert!((*at_ms..=*at_ms + JOINED_WITHIN_MS).contains(&note.at_ms), "{:?}, not {}", note, at_ms);
                    prop_assert!(named.insert(key), "{:?} is named twice", key);
                }
            }
            prop_assert_eq!(named, notifications.into_keys().collect::<BTreeSet<_>>());
        }
    }
}
