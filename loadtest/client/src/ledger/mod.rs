//! The ledger: what clients did and saw, and whether the node kept its promise.
//!
//! Clients record before a send and after a receive, each into its own [`Recorder`] (a plain vector, no lock on the
//! way); [`Ledger::judge`] merges them and checks the invariants I1 to I6, I8 and I10. The judging is pure.
//!
//! Reading order: [`record`] (what is written down), `index` (put together by publish, session and member), then one
//! file per group of invariants: `publishes` (I1, I2, I6), `streams` (I3, I4, I5), `members` (I8), `jobs` (I10).
//!
//! A *session* is one logical client with its positions: it outlives its connections. A *final read* is a session that
//! reads everything from the beginning, after all else is over; without one there is no verdict on loss.

mod index;
mod jobs;
mod members;
mod publishes;
pub mod record;
mod recorder;
mod streams;
mod verdict;

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hallway_protocol::{Epoch, Seq, StreamId, UserId};

use record::Record;
pub use recorder::{Opening, PublishId, Recorder, SessionId};
pub use verdict::{Counts, Invariant, Verdict, Violation};

/// A reset that the harness itself caused, and which is therefore no violation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// The store was restored, or `new-epoch` was called. Acknowledgements of older epochs may be lost.
    NewEpoch,
    /// The stream was trimmed: this is the first event that was kept.
    Trimmed { stream: StreamId, first_seq: Seq },
}

/// A text's fingerprint (FNV-1a, 64 bits): enough to tell a message that was not sent so.
#[must_use]
pub fn checksum(text: &str) -> u64 {
    let mut words = text.as_bytes().chunks_exact(8);
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for word in words.by_ref() {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        hash = (hash ^ u64::from_le_bytes(bytes)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }
    for byte in words.remainder() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^ text.len() as u64
}

#[derive(Debug, Default)]
struct Names {
    streams: Interned<StreamId>,
    users: Interned<UserId>,
    epochs: Interned<Epoch>,
}

#[derive(Debug)]
struct Interned<T> {
    numbers: HashMap<T, u32>,
    list: Vec<T>,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), list: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Interned<T> {
    fn number(&mut self, value: &T) -> u32 {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let number = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.list.push(value.clone());
        self.numbers.insert(value.clone(), number);
        number
    }
}

#[derive(Debug, Default)]
struct Shared {
    names: Names,
    finished: Vec<Vec<Record>>,
    expected: Vec<Expected>,
    history_all: Vec<StreamId>,
    faults: HashMap<String, u64>,
    /// What was measured, how much of it there was, and how much there may be.
    bounds: Vec<(String, u64, u64)>,
}

/// Everything that was recorded in one run.
#[derive(Debug)]
pub struct Ledger {
    started: Instant,
    next_publish: AtomicU32,
    next_session: AtomicU32,
    shared: Mutex<Shared>,
}

impl Ledger {
    /// An empty one.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            started: Instant::now(),
            next_publish: AtomicU32::new(0),
            next_session: AtomicU32::new(0),
            shared: Mutex::new(Shared::default()),
        })
    }

    /// A place to write to, for one client or worker. What it holds counts once it is dropped.
    #[must_use]
    pub fn recorder(self: &Arc<Self>) -> Recorder {
        Recorder::new(Arc::clone(self))
    }

    /// Members of this stream may read what was before they joined.
    pub fn history_is_for_all(&self, stream: StreamId) {
        self.lock().history_all.push(stream);
    }

    /// The harness is about to cause resets.
    pub fn expect(&self, expected: Expected) {
        self.lock().expected.push(expected);
    }

    /// A fault is part of this run: if nobody ever reports that it [bit](Self::fault_bit), the run is invalid.
    pub fn fault_planned(&self, name: &str) {
        self.lock().faults.entry(name.to_owned()).or_insert(0);
    }

    /// The fault was felt by a client.
    pub fn fault_bit(&self, name: &str) {
        *self.lock().faults.entry(name.to_owned()).or_insert(0) += 1;
    }

    /// The harness measured something that has a bound (I9).
    pub fn measured(&self, what: &str, value: u64, most: u64) {
        self.lock().bounds.push((what.to_owned(), value, most));
    }

    /// Judges what all dropped recorders hold.
    #[must_use]
    pub fn judge(&self) -> Verdict {
        let shared = self.lock();
        let history = index::History::build(&shared);
        let mut report = verdict::Report::default();
        streams::check(&history, &mut report);
        publishes::check(&history, &mut report);
        members::check(&history, &mut report);
        jobs::check(&history, &mut report);
        for (what, value, most) in shared.bounds.iter().filter(|(_, value, most)| value > most) {
            report.add(Invariant::I9, || format!("{what}: {value}, which is above {most}"));
        }
        report.finish(history.counts(), invalid(&shared, &history))
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_publish(&self) -> u32 {
        self.next_publish.fetch_add(1, Ordering::Relaxed)
    }

    fn take_session(&self) -> u32 {
        self.next_session.fetch_add(1, Ordering::Relaxed)
    }
}

fn invalid(shared: &Shared, history: &index::History<'_>) -> Option<String> {
    let mut unfelt: Vec<_> = shared.faults.iter().filter(|(_, bites)| **bites == 0).map(|(name, _)| name).collect();
    unfelt.sort();
    if let Some(name) = unfelt.first() {
        return Some(format!("the fault {name:?} was never felt by a client"));
    }
    let counts = history.counts();
    if counts.publishes > 0 && counts.acknowledged == 0 {
        return Some("nothing was acknowledged".to_owned());
    }
    if let Some(stream) = history.stream_without_final_read() {
        return Some(format!("nobody read {stream} to the end after the run"));
    }
    None
}

#[cfg(test)]
mod jobs_tests;
#[cfg(test)]
mod tests;
