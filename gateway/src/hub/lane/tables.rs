//! Plain tables of a lane: slots that are used again, so that a pair is a few bytes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hallway_protocol::{Epoch, Seq, StreamId};

use super::pairs::Pair;
use crate::hub::{Connection, LiveEvent, Ring};

/// Syncs of one connection that are told apart while they overlap.
const WATCHES_MAX: usize = 16;

pub(super) struct Follower {
    pub(super) connection: Arc<Connection>,
    pub(super) streams: Vec<u32>,
    pub(super) pending: Vec<Bytes>,
    /// Stream slot and number of each pending frame; number 0: may be dropped.
    pub(super) pending_of: Vec<(u32, Seq)>,
    /// Syncs that have not ended, in the order in which they were asked for.
    pub(super) watches: VecDeque<Watch>,
    pub(super) touched: bool,
    /// A removal of this person is among the pending frames.
    pub(super) ending: bool,
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
    /// A sync began. Beyond a bound it ends together with the one before it.
    pub(super) fn watch(&mut self, epoch: Epoch, targets: HashMap<StreamId, Seq>, begun: Instant) {
        let streams: Vec<StreamId> = targets.keys().cloned().collect();
        let targets = targets.into_iter().map(|(stream, seq)| (stream, Target { seq, attached: false }));
        if self.watches.len() >= WATCHES_MAX
            && let Some(last) = self.watches.back_mut()
        {
            last.targets.extend(targets);
            last.streams.extend(streams);
            last.streams.sort();
            last.streams.dedup();
            return;
        }
        self.watches.push_back(Watch { epoch, targets: targets.collect(), streams, begun });
    }

    /// An attach came: the first sync that waits for one of this stream has it.
    pub(super) fn attached(&mut self, stream: &StreamId) {
        let mut targets = self.watches.iter_mut().filter_map(|watch| watch.targets.get_mut(stream));
        if let Some(target) = targets.find(|target| !target.attached) {
            target.attached = true;
        }
    }

    /// The stream is no longer this connection's: no sync waits for it.
    pub(super) fn unwatch(&mut self, stream: &StreamId) {
        for watch in &mut self.watches {
            watch.targets.remove(stream);
        }
    }
}

pub(super) struct Stream {
    pub(super) id: StreamId,
    pub(super) cursor: Seq,
    pub(super) ring: Arc<Ring>,
    pub(super) pairs: Vec<Pair>,
}

pub(super) fn insert<T>(slots: &mut Vec<Option<T>>, free: &mut Vec<u32>, value: T) -> u32 {
    if let Some(slot) = free.pop() {
        slots[slot as usize] = Some(value);
        return slot;
    }
    slots.push(Some(value));
    u32::try_from(slots.len() - 1).unwrap_or(u32::MAX)
}

pub(super) fn append(follower: &mut Follower, touched: &mut Vec<u32>, slot: u32, stream_slot: u32, event: &LiveEvent) {
    follower.pending.push(event.frame().bytes(follower.connection.codec).clone());
    follower.pending_of.push((stream_slot, event.seq()));
    touch(follower, touched, slot);
}

pub(super) fn touch(follower: &mut Follower, touched: &mut Vec<u32>, slot: u32) {
    if !follower.touched {
        follower.touched = true;
        touched.push(slot);
    }
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
            follower.connection.request(&stream.id, pair.next());
        }
    }
}
