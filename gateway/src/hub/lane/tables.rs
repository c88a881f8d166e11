//! Plain tables of a lane: slots that are used again, so that a pair is a few bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hallway_protocol::codec::Codec;
use hallway_protocol::{Epoch, NotificationId, Seq, StreamId};

use super::batch::{Batch, Item};
use super::pairs::Pair;
use crate::connection::Outbound;
use crate::hub::{Connection, Ring};

/// Syncs of one connection that are told apart while they overlap.
const WATCHES_MAX: usize = 16;

/// A follower to whom nothing is due.
const NOTHING_DUE: u32 = u32::MAX;

/// A line of the processor's cache, and no more: every delivery needs it.
#[repr(align(64))]
pub(super) struct Follower {
    pub(super) connection: Arc<Connection>,
    /// Two things of the connection that every delivery needs: one place less to fetch from memory.
    pub(super) outbound: Arc<Outbound>,
    pub(super) codec: Codec,
    /// Its pairs, and where they are.
    pub(super) seats: Vec<Seat>,
    /// Syncs that have not ended, in the order in which they were asked for. `None`: there are none.
    #[expect(clippy::box_collection, reason = "most connections sync once in their life")]
    pub(super) watches: Option<Box<VecDeque<Watch>>>,
    /// Its entry in [`Dues`].
    due: u32,
}

/// The place of a pair among the pairs of a stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    pub(super) stream: u32,
    pub(super) place: u32,
}

pub(super) struct Watch {
    pub(super) epoch: Epoch,
    pub(super) targets: HashMap<StreamId, Target>,
    pub(super) streams: Vec<StreamId>,
    pub(super) begun: Instant,
}

/// Where a stream must come to before a sync ends.
pub(super) struct Target {
    pub(super) seq: Seq,
    /// The attach that the sync is about has come. What the pair did before it (it may have been further) does not count.
    pub(super) attached: bool,
}

impl Follower {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self {
            outbound: Arc::clone(&connection.outbound),
            codec: connection.codec,
            connection,
            seats: Vec::new(),
            watches: None,
            due: NOTHING_DUE,
        }
    }

    pub(super) fn nothing_is_due(&mut self) {
        self.due = NOTHING_DUE;
    }

    pub(super) fn place(&self, stream: u32) -> Option<usize> {
        self.seats.iter().find(|seat| seat.stream == stream).map(|seat| seat.place as usize)
    }

    /// A sync began. Beyond a bound it ends together with the one before it.
    pub(super) fn watch(&mut self, epoch: Epoch, targets: HashMap<StreamId, Seq>, begun: Instant) {
        if self.seats.is_empty() {
            // Those that are about to come: one piece of memory, as large as it must be.
            self.seats.reserve_exact(targets.len());
        }
        let streams: Vec<StreamId> = targets.keys().cloned().collect();
        let targets = targets.into_iter().map(|(stream, seq)| (stream, Target { seq, attached: false }));
        let watches = self.watches.get_or_insert_default();
        if watches.len() >= WATCHES_MAX
            && let Some(last) = watches.back_mut()
        {
            last.targets.extend(targets);
            last.streams.extend(streams);
            last.streams.sort();
            last.streams.dedup();
            return;
        }
        watches.push_back(Watch { epoch, targets: targets.collect(), streams, begun });
    }

    /// An attach came: the first sync that waits for one of this stream has it.
    pub(super) fn attached(&mut self, stream: &StreamId) {
        let mut targets = self
            .watches
            .iter_mut()
            .flat_map(|watches| watches.iter_mut())
            .filter_map(|watch| watch.targets.get_mut(stream));
        if let Some(target) = targets.find(|target| !target.attached) {
            target.attached = true;
        }
    }

    /// The stream is no longer this connection's: no sync waits for it.
    pub(super) fn unwatch(&mut self, stream: &StreamId) {
        for watch in self.watches.iter_mut().flat_map(|watches| watches.iter_mut()) {
            watch.targets.remove(stream);
        }
    }
}

pub(super) struct Stream {
    pub(super) id: StreamId,
    /// The last number that was taken from the inbox, whether it was handed out yet or not.
    pub(super) cursor: Seq,
    pub(super) ring: Arc<Ring>,
    pub(super) pairs: Vec<Pair>,
    /// What is not handed to all pairs yet.
    pub(super) work: Option<Box<Work>>,
}

/// Frames of a stream on their way to its pairs, a slice of them at a time.
#[derive(Default)]
pub(super) struct Work {
    /// What the pairs before `place` have, and those from there on get next.
    pub(super) batch: Batch,
    pub(super) place: usize,
    /// What comes after the batch.
    pub(super) queued: VecDeque<Item>,
}

impl Work {
    pub(super) fn frames(&self) -> usize {
        self.batch.items().len() + self.queued.len()
    }
}

impl Stream {
    /// Adds a pair. It has what the lane has taken so far (or is Behind): the batch on its way is not for it.
    pub(super) fn seat(&mut self, pair: Pair, moved: impl FnMut(u32, usize)) {
        push_tightly(&mut self.pairs, pair);
        let mut from = self.pairs.len() - 1;
        if let Some(work) = self.work.as_deref_mut()
            && !work.batch.items().is_empty()
        {
            self.pairs.swap(from, work.place);
            from = work.place;
            work.place += 1;
        }
        self.tell_places([from, self.pairs.len() - 1], moved);
    }

    /// Takes a pair out. Pairs that have the batch on its way stay before those that do not.
    pub(super) fn unseat(&mut self, place: usize, moved: impl FnMut(u32, usize)) {
        let mut hole = place;
        if let Some(work) = self.work.as_deref_mut()
            && hole < work.place
        {
            work.place -= 1;
            self.pairs.swap(hole, work.place);
            hole = work.place;
        }
        self.pairs.swap_remove(hole);
        self.tell_places([place, hole], moved);
    }

    fn tell_places(&self, places: [usize; 2], mut moved: impl FnMut(u32, usize)) {
        for place in places {
            if let Some(pair) = self.pairs.get(place) {
                moved(pair.slot, place);
            }
        }
    }
}

/// Grows by an eighth, not twofold: these tables are many and grow seldom, and most of a user's streams have one reader.
fn push_tightly<T>(table: &mut Vec<T>, value: T) {
    if table.len() == table.capacity() {
        table.reserve_exact(table.len() / 8 + 1);
    }
    table.push(value);
}

/// Says where a pair of that stream is now.
pub(super) fn note_place(followers: &mut [Option<Follower>], slot: u32, stream: u32, place: usize) {
    let Some(follower) = followers[slot as usize].as_mut() else { return };
    let place = u32::try_from(place).unwrap_or(u32::MAX);
    match follower.seats.iter_mut().find(|seat| seat.stream == stream) {
        Some(seat) => seat.place = place,
        None => push_tightly(&mut follower.seats, Seat { stream, place }),
    }
}

/// What is due for one socket: leaves in one system call.
#[derive(Default)]
pub(super) struct Due {
    pub(super) slot: u32,
    pub(super) runs: Vec<Bytes>,
    pub(super) parts: Vec<Part>,
    /// A removal of this person is among it.
    pub(super) ending: bool,
}

/// Some of the frames that are due: whose they are, and where their numbers stand in [`Dues::seqs`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub(super) stream: u32,
    pub(super) first: usize,
    pub(super) frames: usize,
}

/// What is due for sockets within one turn. Empty between turns, so that an idle connection needs none of it.
#[derive(Default)]
pub(super) struct Dues {
    entries: Vec<Due>,
    used: usize,
    /// Numbers of frames; 0: may be dropped.
    pub(super) seqs: Vec<Seq>,
    /// Notifications among them, for the diary. Only people's own streams have any.
    pub(super) notifications: Vec<DueNotification>,
}

/// A notification that is due for a socket.
#[derive(Debug, Clone, Copy)]
pub(super) struct DueNotification {
    pub(super) stream: u32,
    pub(super) slot: u32,
    pub(super) seq: Seq,
    pub(super) id: NotificationId,
}

impl Dues {
    pub(super) fn of(&mut self, follower: &mut Follower, slot: u32) -> &mut Due {
        if follower.due == NOTHING_DUE {
            if self.used == self.entries.len() {
                self.entries.push(Due::default());
            }
            follower.due = u32::try_from(self.used).unwrap_or(NOTHING_DUE);
            self.entries[self.used].slot = slot;
            self.used += 1;
        }
        &mut self.entries[follower.due as usize]
    }

    /// Notes the number of a frame; where.
    pub(super) fn note(&mut self, seq: Seq) -> usize {
        self.seqs.push(seq);
        self.seqs.len() - 1
    }

    pub(super) fn len(&self) -> usize {
        self.used
    }

    pub(super) fn entry(&mut self, index: usize) -> &mut Due {
        &mut self.entries[index]
    }

    /// Everything was written; the entries are empty.
    pub(super) fn reset(&mut self) {
        self.used = 0;
        self.seqs.clear();
    }
}

/// What is added to the metrics once a turn: they are shared by all threads, and each addition costs as much as a lookup.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) deliveries: u64,
    pub(super) writes: u64,
    pub(super) written_bytes: u64,
    pub(super) lagging: u64,
}

pub(super) fn insert<T>(slots: &mut Vec<Option<T>>, free: &mut Vec<u32>, value: T) -> u32 {
    if let Some(slot) = free.pop() {
        slots[slot as usize] = Some(value);
        return slot;
    }
    slots.push(Some(value));
    u32::try_from(slots.len() - 1).unwrap_or(u32::MAX)
}

/// Events up to `seq` exist that this lane never saw: every pair that wants one of them is Behind.
pub(super) fn advance_cursor(stream: &mut Stream, followers: &[Option<Follower>], seq: Seq) {
    if seq <= stream.cursor {
        return;
    }
    stream.cursor = seq;
    for pair in &mut stream.pairs {
        if !pair.is_behind()
            && pair.settle(seq)
            && let Some(follower) = followers[pair.slot as usize].as_ref()
        {
            follower.connection.request(pair.wants(&stream.id));
        }
    }
}
