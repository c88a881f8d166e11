//! A lane: the task that alone appends stream events to its share of the connections.
//!
//! Here are what a lane is told, its loop, and the live path: attach, event, flush. `catch_up` serves pairs that are
//! Behind and says `sync_end`; `pairs` (pure) is the state of one connection in one stream; `tables` are plain slots.

mod catch_up;
mod pairs;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use hallway_protocol::frame::Reset;
use hallway_protocol::{Epoch, Seq, ServerFrame, StreamId};

use self::pairs::{Pair, Step};
use self::tables::{Follower, Stream, advance_cursor, append, insert, touch};
use super::facade::Owners;
use super::owner::OwnerMessage;
use super::{Connection, ConnectionId, Inbox, LiveEvent, Ring};
use crate::connection::{Encoded, data_frame};
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

/// Entries taken from the inbox at once: what is due for a socket within them leaves in one system call.
const DRAIN_MAX_ENTRIES: usize = 64;

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
    /// Replaces what the pair was doing; otherwise an attach of the same membership is ignored.
    pub again: bool,
}

/// Events from the log for one pair.
pub struct PageForPair {
    pub connection: ConnectionId,
    pub stream: StreamId,
    /// The number that was asked for.
    pub from: Seq,
    /// The log no longer has it: this is said first, and the pair goes on after it.
    pub reset: Option<Reset>,
    /// The membership ended within what the log no longer has: nothing more is for this pair.
    pub gone: bool,
    pub events: Vec<Arc<LiveEvent>>,
}

/// The lane's tables: plain, touched by its task only.
pub(super) struct Lane {
    /// Which one it is.
    index: usize,
    owners: Arc<Owners>,
    inbox: Arc<Inbox<LaneMessage>>,
    followers: Vec<Option<Follower>>,
    free_followers: Vec<u32>,
    follower_of: HashMap<ConnectionId, u32>,
    streams: Vec<Option<Stream>>,
    free_streams: Vec<u32>,
    stream_of: HashMap<StreamId, u32>,
    touched: Vec<u32>,
    metrics: Arc<Metrics>,
}

impl Lane {
    pub(super) fn new(
        index: usize,
        inbox: Arc<Inbox<LaneMessage>>,
        owners: Arc<Owners>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            index,
            owners,
            inbox,
            followers: Vec::new(),
            free_followers: Vec::new(),
            follower_of: HashMap::new(),
            streams: Vec::new(),
            free_streams: Vec::new(),
            stream_of: HashMap::new(),
            touched: Vec::new(),
            metrics,
        }
    }

    pub(super) async fn run(mut self, tasks: Tasks) {
        let inbox = Arc::clone(&self.inbox);
        let mut batch = Vec::with_capacity(DRAIN_MAX_ENTRIES);
        loop {
            tokio::select! {
                () = inbox.receive(&mut batch, DRAIN_MAX_ENTRIES) => {}
                () = tasks.stopped() => return,
            }
            for message in batch.drain(..) {
                self.take(message);
            }
            self.flush_touched();
            tokio::task::yield_now().await;
        }
    }

    pub(super) fn take(&mut self, message: LaneMessage) {
        match message {
            LaneMessage::Register(connection) => self.register(connection),
            LaneMessage::Forget(connection) => self.forget(connection),
            LaneMessage::Attach(attach) => self.attach(attach),
            LaneMessage::Event(event) => self.event(&event),
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
            LaneMessage::Ephemeral { stream, frame, except } => self.ephemeral(&stream, &frame, except),
        }
    }

    fn register(&mut self, connection: Arc<Connection>) {
        let id = connection.id;
        let follower = Follower {
            connection,
            streams: Vec::new(),
            pending: Vec::new(),
            pending_of: Vec::new(),
            watches: VecDeque::new(),
            touched: false,
            ending: false,
        };
        let slot = insert(&mut self.followers, &mut self.free_followers, follower);
        self.follower_of.insert(id, slot);
    }

    fn forget(&mut self, connection: ConnectionId) {
        let Some(slot) = self.follower_of.remove(&connection) else { return };
        let Some(follower) = self.followers[slot as usize].take() else { return };
        self.free_followers.push(slot);
        self.touched.retain(|touched| *touched != slot);
        for stream in follower.streams {
            self.remove_pair(stream, slot);
        }
    }

    fn attach(&mut self, attach: LaneAttach) {
        let Some(slot) = self.follower_of.get(&attach.connection).copied() else { return self.left(&attach.stream) };
        // What is pending for the old state of this pair must leave before the new state begins. It may end the pair, and
        // with the last pair the stream's slot: so first this, then the slot.
        self.flush(slot);
        let stream_slot = self.stream_slot(&attach);
        let Some(stream) = self.streams[stream_slot as usize].as_mut() else { return };
        if attach.cursor > stream.cursor {
            // Something before this attach did not fit into the inbox.
            advance_cursor(stream, &self.followers, attach.cursor);
        }
        let present = stream.pairs.iter().position(|pair| pair.slot == slot);
        if present.is_some_and(|place| stream.pairs[place].joined_seq == attach.joined_seq && !attach.again) {
            return self.left(&attach.stream);
        }
        let Some(follower) = self.followers[slot as usize].as_mut() else { return };
        if let Some(reset) = attach.reset {
            let frame = data_frame(follower.connection.codec, &ServerFrame::Reset(reset));
            follower.connection.outbound.push(frame);
        }
        follower.attached(&attach.stream);
        let pair = Pair::new(slot, attach.next, attach.joined_seq, stream.cursor);
        match present {
            Some(place) => {
                stream.pairs[place] = pair;
                self.left(&attach.stream);
            }
            None => {
                stream.pairs.push(pair);
                follower.streams.push(stream_slot);
            }
        }
        if pair.is_behind() {
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
        };
        let slot = insert(&mut self.streams, &mut self.free_streams, stream);
        self.stream_of.insert(attach.stream.clone(), slot);
        slot
    }

    fn event(&mut self, event: &Arc<LiveEvent>) {
        let Some(stream_slot) = self.stream_of.get(event.stream()).copied() else { return };
        let Some(stream) = self.streams[stream_slot as usize].as_mut() else { return };
        let seq = event.seq();
        if seq <= stream.cursor {
            return;
        }
        stream.cursor = seq;
        let mut sent = 0;
        for pair in &mut stream.pairs {
            match pair.live(seq) {
                Step::Skip => {}
                Step::FellBehind => {
                    if let Some(follower) = self.followers[pair.slot as usize].as_ref() {
                        self.metrics.lagging.add(1);
                        follower.connection.request(&stream.id, pair.next());
                    }
                }
                Step::Send => {
                    let Some(follower) = self.followers[pair.slot as usize].as_mut() else { continue };
                    if event.removed_user() == Some(&follower.connection.user) && seq > pair.joined_seq {
                        pair.end();
                        follower.ending = true;
                    }
                    sent += 1;
                    append(follower, &mut self.touched, pair.slot, stream_slot, event);
                }
            }
        }
        self.metrics.deliveries.add(sent);
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
            // What is pending names the slot, which may soon be another stream's.
            self.flush(pair.slot);
            self.end_pair(stream_slot, pair.slot);
        }
    }

    fn ephemeral(&mut self, stream: &StreamId, frame: &Encoded, except: Option<ConnectionId>) {
        let Some(stream_slot) = self.stream_of.get(stream).copied() else { return };
        let Some(stream) = self.streams[stream_slot as usize].as_ref() else { return };
        let mut sent = 0;
        for pair in &stream.pairs {
            let Some(follower) = self.followers[pair.slot as usize].as_mut() else { continue };
            if except == Some(follower.connection.id) {
                continue;
            }
            follower.pending.push(frame.bytes(follower.connection.codec).clone());
            follower.pending_of.push((stream_slot, 0));
            touch(follower, &mut self.touched, pair.slot);
            sent += 1;
        }
        self.metrics.deliveries.add(sent);
    }

    fn flush_touched(&mut self) {
        let touched = std::mem::take(&mut self.touched);
        for slot in &touched {
            self.flush(*slot);
            self.check_watch(*slot, None);
        }
        // `flush` touches nobody, so the buffer can be used again.
        self.touched = touched;
        self.touched.clear();
    }

    /// One write for everything that is due for a connection; what does not fit turns its pairs Behind.
    fn flush(&mut self, slot: u32) {
        let Some(follower) = self.followers[slot as usize].as_mut() else { return };
        follower.touched = false;
        if follower.pending.is_empty() {
            return;
        }
        let taken = follower.connection.outbound.push_events(&follower.pending);
        let all = taken == follower.pending.len();
        follower.pending.clear();
        if all && !follower.ending {
            follower.pending_of.clear();
            return;
        }
        follower.ending = false;
        let connection = Arc::clone(&follower.connection);
        let mut of = std::mem::take(&mut follower.pending_of);
        let mut ended = Vec::new();
        for (index, (stream_slot, seq)) in of.iter().copied().enumerate().rev() {
            let Some(stream) = self.streams[stream_slot as usize].as_mut() else { continue };
            let Some(pair) = stream.pairs.iter_mut().find(|pair| pair.slot == slot) else { continue };
            if index >= taken && seq > 0 {
                if pair.unfit(seq) {
                    self.metrics.lagging.add(1);
                }
                connection.request(&stream.id, pair.next());
            } else if pair.has_ended() && !ended.contains(&stream_slot) {
                ended.push(stream_slot);
            }
        }
        of.clear();
        if let Some(follower) = self.followers[slot as usize].as_mut() {
            follower.pending_of = of;
        }
        for stream_slot in ended {
            self.end_pair(stream_slot, slot);
        }
    }

    fn end_pair(&mut self, stream_slot: u32, slot: u32) {
        let Some(id) = self.streams[stream_slot as usize].as_ref().map(|stream| stream.id.clone()) else { return };
        if let Some(follower) = self.followers[slot as usize].as_mut() {
            follower.streams.retain(|stream| *stream != stream_slot);
            follower.unwatch(&id);
        }
        self.remove_pair(stream_slot, slot);
    }

    fn remove_pair(&mut self, stream_slot: u32, slot: u32) {
        let Some(stream) = self.streams[stream_slot as usize].as_mut() else { return };
        if let Some(index) = stream.pairs.iter().position(|pair| pair.slot == slot) {
            stream.pairs.swap_remove(index);
            self.owners.of(&stream.id).push(OwnerMessage::Left(self.index, stream.id.clone()));
        }
        if stream.pairs.is_empty() {
            self.stream_of.remove(&stream.id);
            self.streams[stream_slot as usize] = None;
            self.free_streams.push(stream_slot);
        }
    }
}
