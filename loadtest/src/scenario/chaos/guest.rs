//! One client of an experiment: its lines in the ledger, and what it got when.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use hallway_protocol::{EventBody, RoomId, Seq, StreamId, UserId};
use loadtest_client::ledger::{Recorder, SessionId};
use loadtest_client::{Client, Notice, Observer, Step};

/// Rooms by name, the same for all guests of an experiment.
pub(crate) type RoomNumbers = Arc<HashMap<RoomId, usize>>;

/// Something that came: an event, or a reset to a position.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Came {
    pub(crate) room: usize,
    pub(crate) seq: Seq,
    pub(crate) at: Instant,
    /// Since when the line was there on which it came.
    pub(crate) connected_since: Instant,
}

/// What a guest has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) came: Vec<Came>,
    pub(crate) messages: u64,
    pub(crate) connections: u64,
    pub(crate) syncs: u64,
    last: HashMap<usize, Seq>,
    connected_since: Option<Instant>,
}

impl Seen {
    /// The last seq of a room that it has.
    pub(crate) fn stands_at(&self, room: usize) -> Seq {
        self.last.get(&room).copied().unwrap_or(0)
    }

    /// When it first had this seq of a room, or a later one.
    pub(crate) fn reached(&self, room: usize, seq: Seq) -> Option<Instant> {
        self.came.iter().filter(|came| came.room == room && came.seq >= seq).map(|came| came.at).min()
    }

    fn take(&mut self, room: usize, seq: Seq) {
        let at = Instant::now();
        self.last.insert(room, seq);
        self.came.push(Came { room, seq, at, connected_since: self.connected_since.unwrap_or(at) });
    }
}

/// A connected client.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) user: UserId,
    pub(crate) client: Client,
    pub(crate) session: SessionId,
    pub(crate) seen: Arc<Mutex<Seen>>,
}

impl Guest {
    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Watches one client.
pub(crate) struct Watcher {
    pub(crate) recorder: Recorder,
    pub(crate) session: SessionId,
    pub(crate) rooms: RoomNumbers,
    pub(crate) seen: Arc<Mutex<Seen>>,
}

impl Watcher {
    fn came(&self, stream: &StreamId, seq: Seq, is_message: bool) {
        let Some(room) = stream.room().and_then(|room| self.rooms.get(room)) else { return };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.messages += u64::from(is_message);
        seen.take(*room, seq);
    }
}

impl Observer for Watcher {
    fn observe(&mut self, notice: Notice) {
        match &notice {
            Notice::Event { event, step } if *step != Step::Repeat => {
                self.came(&event.stream, event.seq, matches!(event.body, EventBody::MessageCreated(_)));
            }
            Notice::UnknownEvent { stream, seq, step } if *step != Step::Repeat => self.came(stream, *seq, false),
            Notice::Reset { reset, .. } => self.came(&reset.stream, reset.seq, false),
            Notice::Connected { .. } => {
                let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                seen.connections += 1;
                seen.connected_since = Some(Instant::now());
            }
            Notice::Synced { .. } => self.seen.lock().unwrap_or_else(PoisonError::into_inner).syncs += 1,
            _ => {}
        }
        self.recorder.observe(self.session, &notice);
    }
}
