//! Claims: whose read of a person's rooms also brings the events of a stream.
//!
//! A claim is given before the store is asked, and the stream listens from then on: what is read then may tell a newborn its
//! head. It is given to one at a time, and only where the ring does not have what is wanted: of many who come at once to
//! the same rooms one reads for all, and the others are served from the ring, or read together as always.
//!
//! **Invariant:** a stream that is claimed is not forgotten until its claim came back, and every claim comes back once,
//! whatever becomes of who held it.

use std::sync::Arc;
use std::time::Instant;

use hallway_protocol::{Seq, StreamId};
use tokio::sync::oneshot;

use super::Owner;
use crate::hub::LiveEvent;
use crate::hub::facade::Shared;

/// Asks for the streams that the ring does not cover from these numbers on.
pub(in crate::hub) struct ClaimStreams {
    pub(in crate::hub) wanted: Vec<(StreamId, Seq)>,
    pub(in crate::hub) reply: oneshot::Sender<Claims>,
}

/// A claim that came back.
pub(in crate::hub) struct Unclaim {
    pub(in crate::hub) stream: StreamId,
    ticket: u64,
    known: Option<Known>,
}

/// What one snapshot of the store, which was asked for after the claim was given, says of a stream.
pub struct Known {
    pub head: Seq,
    /// Those that were read, without a hole.
    pub events: Vec<Arc<LiveEvent>>,
}

/// Streams to read. Dropping it gives them back unread.
pub struct Claims {
    shared: Arc<Shared>,
    held: Vec<(StreamId, Seq, u64)>,
}

impl Claims {
    pub(in crate::hub) fn none(shared: Arc<Shared>) -> Self {
        Self { shared, held: Vec::new() }
    }

    pub(in crate::hub) fn join(&mut self, mut other: Self) {
        self.held.append(&mut other.held);
    }

    /// The streams, each with the last number that is not wanted.
    #[must_use]
    pub fn streams(&self) -> Vec<(StreamId, Seq)> {
        self.held.iter().map(|(stream, after, _)| (stream.clone(), *after)).collect()
    }

    /// Says what was read. A stream of which nothing is known may not exist, or is not the reader's.
    pub fn settle(mut self, mut known: impl FnMut(&StreamId) -> Option<Known>) {
        self.give_back(&mut known);
    }

    fn give_back(&mut self, known: &mut dyn FnMut(&StreamId) -> Option<Known>) {
        let unclaim = |(stream, _, ticket): (StreamId, Seq, u64)| {
            let known = known(&stream);
            Unclaim { stream, ticket, known }
        };
        let back: Vec<Unclaim> = self.held.drain(..).map(unclaim).collect();
        if !back.is_empty() {
            self.shared.unclaim(back);
        }
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        self.give_back(&mut |_| None);
    }
}

impl Owner {
    pub(super) fn claim(&mut self, asked: ClaimStreams) {
        let mut claims = Claims::none(Arc::clone(&self.shared));
        for (stream, after) in asked.wanted {
            if self.is_provided_for(&stream, after) {
                continue;
            }
            let slot = self.enter(stream.clone());
            self.tickets += 1;
            self.claims.insert(slot, self.tickets);
            claims.held.push((stream, after, self.tickets));
        }
        // Of whoever is gone they come back at once.
        let _ = asked.reply.send(claims);
    }

    /// Whether somebody who has a stream up to a number needs no read, or waits for one that is wanted already.
    fn is_provided_for(&self, stream: &StreamId, after: Seq) -> bool {
        let Some(slot) = self.slot_of.get(stream) else { return false };
        let Some(entry) = self.entries[*slot as usize].as_ref() else { return false };
        let is_awaited = self.claims.contains_key(slot) || self.newborns.contains_key(slot);
        is_awaited
            || entry.sequencer.delivered().is_some_and(|cursor| after >= cursor || entry.ring.covers(after + 1, cursor))
    }

    pub(super) fn unclaim(&mut self, back: Vec<Unclaim>, now: Instant) {
        for Unclaim { stream, ticket, known } in back {
            let Some(slot) = self.slot_of.get(&stream).copied() else { continue };
            if self.claims.get(&slot) != Some(&ticket) {
                // The store began another life meanwhile.
                continue;
            }
            self.claims.remove(&slot);
            let Some(entry) = self.entries[slot as usize].as_ref() else { continue };
            let is_newborn = entry.sequencer.delivered().is_none();
            match known {
                Some(Known { head, events }) if is_newborn => {
                    if events.last().is_some_and(|event| event.seq() == head) {
                        events.iter().for_each(|event| entry.ring.push(event));
                    }
                    self.seed(slot, head, now);
                }
                // Nobody else wants it: a name that anyone may have made up.
                None if is_newborn && stream.room().is_some() && self.is_unwanted(slot) => self.forget(slot),
                _ => self.idle_from(slot, now),
            }
        }
    }
}
