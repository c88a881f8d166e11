//! Pairs that are Behind: served from the ring, or from the log by their session, until they are Live again; and the
//! `sync_end` that says so.

use std::collections::HashMap;
use std::sync::Arc;

use hallway_protocol::frame::SyncEnd;
use hallway_protocol::{Position, Seq, ServerFrame, StreamId};

use super::tables::{Seat, Target};
use super::{Lane, PageForPair};
use crate::connection::data_frame;
use crate::hub::LiveEvent;

impl Lane {
    pub(super) fn page(&mut self, page: PageForPair) {
        let Some(slot) = self.follower_of.get(&page.connection).copied() else { return };
        let Some(stream_slot) = self.stream_of.get(&page.stream).copied() else { return };
        let Some(pair) = self.pair(stream_slot, slot) else { return };
        if !pair.is_behind() {
            return;
        }
        if (pair.next(), pair.joined_seq()) != (page.from, page.joined_seq) {
            // The pair went back meanwhile (something did not fit), or is another: read again from there.
            self.ask_log(stream_slot, slot);
            return;
        }
        if let Some(reset) = page.reset {
            if page.is_over {
                // Its end is no longer in the log. Whoever came back is attached anew.
                self.end_pair(stream_slot, slot);
                self.check_watch(slot, None);
                return;
            }
            self.metrics.resets.add(reset.reason);
            let seq = reset.seq;
            if let Some(follower) = self.followers[slot as usize].as_ref() {
                let frame = data_frame(follower.connection.codec, &ServerFrame::Reset(reset));
                follower.connection.outbound.push_position(frame);
            }
            if let Some(pair) = self.pair(stream_slot, slot) {
                pair.skip_to(seq + 1);
            }
        }
        self.serve(stream_slot, slot, &page.events);
        self.catch_up(stream_slot, slot);
        self.check_watch(slot, Some(stream_slot));
    }

    /// Serves what was read before the attach. What does not fit is asked of the log, as everything that is not there.
    pub(super) fn serve_missed(&mut self, stream_slot: u32, slot: u32, events: &[Arc<LiveEvent>]) {
        let follower = self.followers[slot as usize].as_ref();
        if !events.is_empty() && follower.is_some_and(|follower| follower.connection.outbound.is_half_empty()) {
            self.serve(stream_slot, slot, events);
        }
    }

    /// Brings a pair that may be Behind to the cursor from the ring, or asks its session to read the log.
    pub(super) fn catch_up(&mut self, stream_slot: u32, slot: u32) {
        let Some(stream) = self.streams[stream_slot as usize].as_ref() else { return };
        let (cursor, ring) = (stream.cursor, Arc::clone(&stream.ring));
        let Some(pair) = self.pair(stream_slot, slot) else { return };
        if !pair.settle(cursor) {
            return;
        }
        let next = pair.next();
        let Some(follower) = self.followers[slot as usize].as_ref() else { return };
        let has_room = follower.connection.outbound.is_half_empty();
        if let Some(events) = has_room.then(|| ring.range(next, cursor)).flatten() {
            self.serve(stream_slot, slot, &events);
        }
        // Whatever did not fit is asked of the log, when the backlog has room again.
        let Some(pair) = self.pair(stream_slot, slot) else { return };
        if pair.settle(cursor) {
            self.ask_log(stream_slot, slot);
        }
    }

    fn ask_log(&self, stream_slot: u32, slot: u32) {
        let Some(stream) = self.streams[stream_slot as usize].as_ref() else { return };
        let Some(follower) = self.followers[slot as usize].as_ref() else { return };
        if let Some(place) = follower.place(stream_slot) {
            follower.connection.request(stream.pairs[place].wants(&stream.id));
        }
    }

    /// Notes whether a stream has reached its target; `None` looks at all of them. Says `sync_end` for each sync whose
    /// streams all have, in the order of the syncs.
    pub(super) fn check_watch(&mut self, slot: u32, stream_slot: Option<u32>) {
        let mut look_at = stream_slot;
        loop {
            let Some(follower) = self.followers[slot as usize].as_mut() else { return };
            let Some(watch) = follower.watches.as_mut().and_then(|watches| watches.front_mut()) else { return };
            let reached = |seat: &Seat, targets: &mut HashMap<StreamId, Target>| {
                let Some(stream) = self.streams[seat.stream as usize].as_ref() else { return };
                let Some(target) = targets.get(&stream.id).filter(|target| target.attached) else { return };
                if stream.pairs[seat.place as usize].next() > target.seq {
                    targets.remove(&stream.id);
                }
            };
            let seats = follower.seats.iter().filter(|seat| look_at.is_none_or(|stream| stream == seat.stream));
            seats.for_each(|seat| reached(seat, &mut watch.targets));
            if !watch.targets.is_empty() {
                return;
            }
            self.end_watch(slot);
            // The next one was not looked at before.
            look_at = None;
        }
    }

    /// Says `sync_end` for the oldest sync.
    fn end_watch(&mut self, slot: u32) {
        let Some(follower) = self.followers[slot as usize].as_mut() else { return };
        let Some(watches) = follower.watches.as_mut() else { return };
        let Some(watch) = watches.pop_front() else { return };
        if watches.is_empty() {
            // Most connections never sync again.
            follower.watches = None;
        }
        let position = |stream: &StreamId| -> Option<Seq> {
            let stream_slot = *self.stream_of.get(stream)?;
            let place = follower.place(stream_slot)?;
            Some(self.streams[stream_slot as usize].as_ref()?.pairs[place].next() - 1)
        };
        let positions = watch
            .streams
            .iter()
            .filter_map(|stream| {
                let seq = position(stream)?;
                Some(Position { stream: stream.clone(), epoch: watch.epoch.clone(), seq })
            })
            .collect();
        let frame = data_frame(follower.connection.codec, &ServerFrame::SyncEnd(SyncEnd { positions }));
        follower.connection.outbound.push_position(frame);
        if let Some(permit) = follower.connection.take_permit() {
            permit.synced();
        }
        self.metrics.sync_duration.record(watch.begun.elapsed());
    }
}
