//! Pairs that are Behind: served from the ring, or from the log by their session, until they are Live again; and the
//! `sync_end` that says so.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use hallway_protocol::frame::SyncEnd;
use hallway_protocol::{Position, Seq, ServerFrame, StreamId};

use super::pairs::Step;
use super::tables::{Target, append};
use super::{Lane, PageForPair};
use crate::connection::data_frame;
use crate::hub::LiveEvent;

impl Lane {
    pub(super) fn page(&mut self, page: PageForPair) {
        let Some(slot) = self.follower_of.get(&page.connection).copied() else { return };
        let Some(stream_slot) = self.stream_of.get(&page.stream).copied() else { return };
        self.flush(slot);
        let Some(stream) = self.streams[stream_slot as usize].as_mut() else { return };
        let Some(pair) = stream.pairs.iter_mut().find(|pair| pair.slot == slot) else { return };
        if !pair.is_behind() {
            return;
        }
        if pair.next() != page.from {
            // The pair went back meanwhile (something did not fit): read again from there.
            let next = pair.next();
            if let Some(follower) = self.followers[slot as usize].as_ref() {
                follower.connection.request(&page.stream, next);
            }
            return;
        }
        if page.gone {
            self.end_pair(stream_slot, slot);
            self.check_watch(slot, None);
            return;
        }
        if let Some(reset) = page.reset {
            self.metrics.resets.add(reset.reason);
            let seq = reset.seq;
            if let Some(follower) = self.followers[slot as usize].as_ref() {
                let frame = data_frame(follower.connection.codec, &ServerFrame::Reset(reset));
                follower.connection.outbound.push(frame);
            }
            pair.skip_to(seq + 1);
        }
        self.serve(stream_slot, slot, &page.events);
        self.catch_up(stream_slot, slot);
        self.check_watch(slot, Some(stream_slot));
    }

    /// Hands events to a pair that is Behind, and to the socket at once.
    fn serve(&mut self, stream_slot: u32, slot: u32, events: &[Arc<LiveEvent>]) {
        let Some(stream) = self.streams[stream_slot as usize].as_mut() else { return };
        let Some(follower) = self.followers[slot as usize].as_mut() else { return };
        let Some(pair) = stream.pairs.iter_mut().find(|pair| pair.slot == slot) else { return };
        let mut sent = 0;
        for event in events {
            if pair.serve(event.seq()) != Step::Send {
                continue;
            }
            if event.removed_user() == Some(&follower.connection.user) && event.seq() > pair.joined_seq {
                pair.end();
                follower.ending = true;
            }
            sent += 1;
            append(follower, &mut self.touched, slot, stream_slot, event);
        }
        self.metrics.deliveries.add(sent);
        self.flush(slot);
    }

    /// Brings a pair that may be Behind to the cursor from the ring, or asks its session to read the log.
    pub(super) fn catch_up(&mut self, stream_slot: u32, slot: u32) {
        let Some(stream) = self.streams[stream_slot as usize].as_mut() else { return };
        let cursor = stream.cursor;
        let Some(pair) = stream.pairs.iter_mut().find(|pair| pair.slot == slot) else { return };
        if !pair.settle(cursor) {
            return;
        }
        let next = pair.next();
        let Some(follower) = self.followers[slot as usize].as_ref() else { return };
        let recent = if follower.connection.outbound.is_half_empty() { stream.ring.range(next, cursor) } else { None };
        let Some(events) = recent else {
            follower.connection.request(&stream.id, next);
            return;
        };
        self.serve(stream_slot, slot, &events);
        // Whatever did not fit is asked of the log, when the backlog has room again.
        let Some(stream) = self.streams[stream_slot as usize].as_mut() else { return };
        let Some(pair) = stream.pairs.iter_mut().find(|pair| pair.slot == slot) else { return };
        if pair.settle(cursor)
            && let Some(follower) = self.followers[slot as usize].as_ref()
        {
            follower.connection.request(&stream.id, pair.next());
        }
    }

    /// Notes whether a stream has reached its target; `None` looks at all of them. Says `sync_end` for each sync whose
    /// streams all have, in the order of the syncs.
    pub(super) fn check_watch(&mut self, slot: u32, stream_slot: Option<u32>) {
        let mut look_at = stream_slot;
        loop {
            let Some(follower) = self.followers[slot as usize].as_mut() else { return };
            let Some(watch) = follower.watches.front_mut() else { return };
            let reached = |stream_slot: u32, targets: &mut HashMap<StreamId, Target>| {
                let Some(stream) = self.streams[stream_slot as usize].as_ref() else { return };
                let Some(target) = targets.get(&stream.id).filter(|target| target.attached) else { return };
                if stream.pairs.iter().any(|pair| pair.slot == slot && pair.next() > target.seq) {
                    targets.remove(&stream.id);
                }
            };
            match look_at {
                Some(stream_slot) => reached(stream_slot, &mut watch.targets),
                None => follower.streams.iter().for_each(|stream_slot| reached(*stream_slot, &mut watch.targets)),
            }
            if !watch.targets.is_empty() || !follower.pending.is_empty() {
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
        let Some(watch) = follower.watches.pop_front() else { return };
        if follower.watches.is_empty() {
            // Most connections never sync again.
            follower.watches = VecDeque::new();
        }
        let position = |stream: &StreamId| -> Option<Seq> {
            let stream = self.streams[*self.stream_of.get(stream)? as usize].as_ref()?;
            stream.pairs.iter().find(|pair| pair.slot == slot).map(|pair| pair.next() - 1)
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
        follower.connection.outbound.push(frame);
        self.metrics.sync_duration.record(watch.begun.elapsed());
    }
}
