//! Plain tables of a lane: slots that are used again, so that a pair is a few bytes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hallway_protocol::{Epoch, Seq, StreamId};

use super::pairs::Pair;
use crate::hub::{Connection, LiveEvent, Ring};

pub(super) struct Follower {
    pub(super) connection: Arc<Connection>,
    pub(super) streams: Vec<u32>,
    pub(super) pending: Vec<Bytes>,
    /// Stream slot and number of each pending frame; number 0: may be dropped.
    pub(super) pending_of: Vec<(u32, Seq)>,
    pub(super) watch: Option<Box<Watch>>,
    pub(super) touched: bool,
    /// A removal of this person is among the pending frames.
    pub(super) ending: bool,
}

pub(super) struct Watch {
    pub(super) epoch: Epoch,
    pub(super) targets: HashMap<StreamId, Seq>,
    pub(super) streams: Vec<StreamId>,
    pub(super) begun: Instant,
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
