//! A lane: alone appends stream events to its share of the connections.
//!
//! Here are what a lane is told and what it does about it. `shared` is the lane as others see it: its inbox, who may work
//! on it when, its task. `deal` hands what came to sockets, `straight` the batch of a stream that alone has something;
//! `batch` (pure) joins frames that go together; `catch_up` serves pairs that are Behind and says `sync_end`; `pairs` (pure)
//! is the state of one connection in one stream; `tables` are plain slots.
//!
//! **Invariant:** what comes for a stream is handed out in the order in which it came, stored or not, to each connection.
//!
//! **Invariant:** between two turns nothing is due to anyone: what was handed out is with the kernel, in a backlog, or its
//! pair is Behind.

mod batch;
mod catch_up;
mod deal;
mod pairs;
mod shared;
mod straight;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use foldhash::fast::RandomState;
use hallway_protocol::frame::Reset;
use hallway_protocol::{CloseCode, Epoch, Seq, ServerFrame, StreamId};

use self::batch::Item;
use self::pairs::Pair;
pub(super) use self::shared::SharedLane;
use self::tables::{Counts, Dues, Follower, Stream, Work, advance_cursor, insert, note_place};
use super::facade::Owners;
use super::owner::OwnerMessage;
use super::{Connection, ConnectionId, Diary, LiveEvent, Ring};
use crate::connection::{Encoded, data_frame};
use crate::telemetry::metrics::Metrics;

/// What a lane is told.
pub enum LaneMessage {
    /// A connection belongs to this lane from now on.
    Register(Arc<Connection>),
    /// It is gone.
    Forget(ConnectionId),
    /// A connection follows a stream; sent by the stream's owner, in order with its events.
    Attach(LaneAttach),
    /// The next event of a stream.
    Event(Arc<LiveEvent>),
    /// Events up to here were sent, but may not have fitted into this inbox.
    Head(StreamId, Seq),
    /// The stream's numbers mean nothing any more (a new epoch); its readers are being closed.
    Drop(StreamId),
    /// What was read from the log for a pair that is Behind.
    Page(PageForPair),
    /// Tell the connection when it has everything up to these numbers. Comes before the attaches that it is about.
    Watch { connection: ConnectionId, epoch: Epoch, targets: HashMap<StreamId, Seq>, begun: Instant },
    /// Not stored, may be dropped.
    Ephemeral { stream: StreamId, frame: Arc<Encoded>, except: Option<ConnectionId> },
    /// Ends a connection, after what was handed to this lane before.
    Close(Arc<Connection>, CloseCode),
}

/// An attach on its way from owner to lane.
pub struct LaneAttach {
    pub stream: StreamId,
    pub connection: ConnectionId,
    pub next: Seq,
    pub joined_seq: Seq,
    /// What the owner had handed to this lane's inbox before.
    pub cursor: Seq,
    pub ring: Arc<Ring>,
    /// Said before the first event.
    pub reset: Option<Reset>,
    /// Events from `next` on that were read for it already, as far as they were.
    pub missed: Vec<Arc<LiveEvent>>,
    /// Replaces what the pair was doing; otherwise an attach of the same membership is ignored.
    pub again: bool,
}

/// Events from the log for one pair.
pub struct PageForPair {
    pub connection: ConnectionId,
    pub stream: StreamId,
    /// The number that was asked for.
    pub from: Seq,
    /// Of the membership for which it was asked.
    pub joined_seq: Seq,
    /// The log no longer has it: this is said first, and the pair goes on after it.
    pub reset: Option<Reset>,
    /// With a reset: that membership ended in what the log no longer has.
    pub is_over: bool,
    pub events: Vec<Arc<LiveEvent>>,
}

/// The lane's tables: plain, touched by whoever holds the lane.
pub(super) struct Lane {
    /// Which one it is.
    index: usize,
    owners: Arc<Owners>,
    followers: Vec<Option<Follower>>,
    free_followers: Vec<u32>,
    follower_of: HashMap<ConnectionId, u32, RandomState>,
    streams: Vec<Option<Stream>>,
    free_streams: Vec<u32>,
    stream_of: HashMap<StreamId, u32, RandomState>,
    /// Streams that have something to hand out, in turn. One may be gone meanwhile.
    active: VecDeque<u32>,
    /// The one whose slice ended the last turn: next after all others.
    cut_short: Option<u32>,
    /// Frames that those have.
    queued_frames: usize,
    #[expect(clippy::vec_box, reason = "a stream holds its work in a box, so that one without work is small")]
    spare_works: Vec<Box<Work>>,
    /// Connections to close once they were handed what their user's stream brought before.
    closing: Vec<(Arc<Connection>, CloseCode)>,
    dues: Dues,
    /// Places of the pairs that are written to next. Empty between steps.
    whole: Vec<usize>,
    counts: Counts,
    metrics: Arc<Metrics>,
    diary: Arc<Diary>,
}

impl Lane {
    pub(super) fn new(index: usize, owners: Arc<Owners>, metrics: Arc<Metrics>, diary: Arc<Diary>) -> Self {
        Self {
            index,
            owners,
            followers: Vec::new(),
            free_followers: Vec::new(),
            follower_of: HashMap::default(),
            streams: Vec::new(),
            free_streams: Vec::new(),
            stream_of: HashMap::default(),
            active: VecDeque::new(),
            cut_short: None,
            queued_frames: 0,
            spare_works: Vec::new(),
            closing: Vec::new(),
            dues: Dues::default(),
            whole: Vec::new(),
            counts: Counts::default(),
            metrics,
            diary,
        }
    }

    pub(super) fn take(&mut self, message: LaneMessage) {
        match message {
            LaneMessage::Register(connection) => self.register(connection),
            LaneMessage::Forget(connection) => self.forget(connection),
            LaneMessage::Attach(attach) => self.attach(attach),
            LaneMessage::Event(event) => self.event(event),
            LaneMessage::Head(stream, seq) => self.head(&stream, seq),
            LaneMessage::Drop(stream) => self.drop_stream(&stream),
            LaneMessage::Page(page) => self.page(page),
            LaneMessage::Watch { connection, epoch, targets, begun } => {
                if let Some(slot) = self.follower_of.get(&connection).copied()
                    && let Some(follower) = self.followers[slot as usize].as_mut()
                {
                    follower.watch(epoch, targets, begun);
                    self.check_watch(slot, None);
                }
            }
            LaneMessage::Ephemeral { stream, frame, except } => self.ephemeral(&stream, frame, except),
            LaneMessage::Close(connection, code) => self.closing.push((connection, code)),
        }
    }

    fn register(&mut self, connection: Arc<Connection>) {
        let id = connection.id;
        let slot = insert(&mut self.followers, &mut self.free_followers, Follower::new(connection));
        self.follower_of.insert(id, slot);
    }

    fn forget(&mut self, connection: ConnectionId) {
        let Some(slot) = self.follower_of.remove(&connection) else { return };
        let Some(follower) = self.followers[slot as usize].take() else { return };
        self.free_followers.push(slot);
        for seat in follower.seats {
            self.remove_pair(seat.stream, seat.place as usize);
        }
    }

    fn attach(&mut self, attach: LaneAttach) {
        let Some(slot) = self.follower_of.get(&attach.connection).copied() else { return self.left(&attach.stream) };
        // What is queued for the old state of this pair must leave before the new state begins. It may end the pair, and with
        // the last pair the stream's slot: so first this, then the slot.
        if let Some(stream_slot) = self.stream_of.get(&attach.stream).copied() {
            self.deal_now(stream_slot, slot);
        }
        let stream_slot = self.stream_slot(&attach);
        let Some(stream) = self.streams[stream_slot as usize].as_mut() else { return };
        if attach.cursor > stream.cursor {
            // Something before this attach did not fit into the inbox.
            advance_cursor(stream, &self.followers, attach.cursor);
        }
        let present = self.followers[slot as usize].as_ref().and_then(|follower| follower.place(stream_slot));
        let present_since = present.map(|place| stream.pairs[place].joined_seq());
        if present_since == Some(attach.joined_seq) && !attach.again {
            return self.left(&attach.stream);
        }
        let Some(follower) = self.followers[slot as usize].as_mut() else { return };
        if present_since.is_some_and(|present| present > attach.joined_seq) {
            // A sync looked at the store before the person left and came back.
            follower.attached(&attach.stream);
            self.left(&attach.stream);
            return self.check_watch(slot, Some(stream_slot));
        }
        if let Some(reset) = attach.reset {
            let frame = data_frame(follower.connection.codec, &ServerFrame::Reset(reset));
            follower.connection.outbound.push_position(frame);
        }
        follower.attached(&attach.stream);
        let pair = Pair::new(slot, attach.next, attach.joined_seq, stream.cursor);
        match present {
            Some(place) => {
                stream.pairs[place] = pair;
                self.left(&attach.stream);
            }
            None => stream.seat(pair, |slot, place| note_place(&mut self.followers, slot, stream_slot, place)),
        }
        if pair.is_behind() {
            self.serve_missed(stream_slot, slot, &attach.missed);
            self.catch_up(stream_slot, slot);
        }
        self.check_watch(slot, Some(stream_slot));
    }

    /// Tells a stream's owner that an attach has ended: one for each that it sent.
    fn left(&self, stream: &StreamId) {
        self.owners.of(stream).push(OwnerMessage::Left(self.index, stream.clone()));
    }

    fn stream_slot(&mut self, attach: &LaneAttach) -> u32 {
        if let Some(slot) = self.stream_of.get(&attach.stream) {
            return *slot;
        }
        let stream = Stream {
            id: attach.stream.clone(),
            cursor: attach.cursor,
            ring: Arc::clone(&attach.ring),
            pairs: Vec::new(),
            work: None,
        };
        let slot = insert(&mut self.streams, &mut self.free_streams, stream);
        self.stream_of.insert(attach.stream.clone(), slot);
        slot
    }

    fn event(&mut self, event: Arc<LiveEvent>) {
        let Some(slot) = self.stream_of.get(event.stream()).copied() else { return };
        let Some(stream) = self.streams[slot as usize].as_mut() else { return };
        if event.seq() > stream.cursor {
            stream.cursor = event.seq();
            self.queue(slot, Item::event(event));
        }
    }

    fn head(&mut self, stream: &StreamId, seq: Seq) {
        let Some(slot) = self.stream_of.get(stream).copied() else { return };
        if let Some(stream) = self.streams[slot as usize].as_mut() {
            advance_cursor(stream, &self.followers, seq);
        }
    }

    fn drop_stream(&mut self, stream: &StreamId) {
        let Some(stream_slot) = self.stream_of.get(stream).copied() else { return };
        let pairs = self.streams[stream_slot as usize].as_ref().map(|stream| stream.pairs.clone()).unwrap_or_default();
        for pair in pairs {
            // What is queued names the slot, which may soon be another stream's.
            self.deal_now(stream_slot, pair.slot);
            self.end_pair(stream_slot, pair.slot);
        }
    }

    fn ephemeral(&mut self, stream: &StreamId, frame: Arc<Encoded>, except: Option<ConnectionId>) {
        let Some(slot) = self.stream_of.get(stream).copied() else { return };
        let Some(after) = self.streams[slot as usize].as_ref().map(|stream| stream.cursor) else { return };
        self.queue(slot, Item::ephemeral(frame, after, except));
    }

    fn end_pair(&mut self, stream_slot: u32, slot: u32) {
        let Some(id) = self.streams[stream_slot as usize].as_ref().map(|stream| stream.id.clone()) else { return };
        let Some(follower) = self.followers[slot as usize].as_mut() else { return };
        let Some(place) = follower.place(stream_slot) else { return };
        follower.seats.retain(|seat| seat.stream != stream_slot);
        follower.unwatch(&id);
        self.remove_pair(stream_slot, place);
    }

    fn remove_pair(&mut self, stream_slot: u32, place: usize) {
        let Some(stream) = self.streams[stream_slot as usize].as_mut() else { return };
        stream.unseat(place, |slot, place| note_place(&mut self.followers, slot, stream_slot, place));
        self.owners.of(&stream.id).push(OwnerMessage::Left(self.index, stream.id.clone()));
        if stream.pairs.is_empty() {
            self.queued_frames -= stream.work.as_deref().map_or(0, Work::frames);
            self.stream_of.remove(&stream.id);
            self.streams[stream_slot as usize] = None;
            self.free_streams.push(stream_slot);
        }
    }
}
