//! An owner: the task that alone orders its share of the streams.
//!
//! Here are its loop, births, attaches and deliveries. `messages` is what it is told, `reads` what it reads from the log,
//! `sequencer` (pure) the order of one stream.

mod messages;
mod reads;
mod sequencer;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hallway_protocol::event::MembershipChanged;
use hallway_protocol::frame::{Reset, ResetReason};
use hallway_protocol::{Epoch, EventBody, Seq, StreamId, UserId};

pub(in crate::hub) use self::messages::OwnerMessage;
pub use self::messages::{Attach, LogPage, LogRead, LogReader};
use self::sequencer::Sequencer;
use super::connection::Join;
use super::facade::Shared;
use super::lane::{LaneAttach, LaneMessage};
use super::{Connection, ConnectionId, Inbox, LiveEvent, Ring};
use crate::tasks::Tasks;

/// Messages taken from the inbox at once.
const DRAIN_MAX_MESSAGES: usize = 256;
/// How long a gap waits for the fast path to fill it.
const GAP_PATIENCE: Duration = Duration::from_millis(25);
/// Pause after a failed read of the log, and between attempts to tell a full lane what it missed.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// How often streams without readers are looked at.
const SWEEP_PERIOD: Duration = Duration::from_secs(1);

struct Entry {
    id: StreamId,
    sequencer: Sequencer,
    ring: Arc<Ring>,
    /// Attached connections per lane.
    readers: Vec<u32>,
    /// Attaches that wait for the head.
    waiting: Vec<Attach>,
    idle_since: Option<Instant>,
}

enum ReadKind {
    Birth,
    Gap,
}

/// A slot that is read for, and the stream that it held then.
type ReadSlot = (u32, ReadKind, StreamId);
type ReadDone = (Vec<ReadSlot>, Option<Vec<LogPage>>);

/// The owner's tables: plain, touched by its task only.
pub(super) struct Owner {
    shared: Arc<Shared>,
    inbox: Arc<Inbox<OwnerMessage>>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    slot_of: HashMap<StreamId, u32>,
    followed_by: HashMap<ConnectionId, Vec<(u32, Seq)>>,
    /// Streams that may want a read.
    open: BTreeSet<u32>,
    newborns: BTreeSet<u32>,
    /// (lane, stream slot) that missed events because the lane's inbox was full.
    overflowed: HashSet<(usize, u32)>,
    /// When those lanes are told next.
    tell_at: Instant,
    read_after: Instant,
}

impl Owner {
    pub(super) fn new(shared: Arc<Shared>, inbox: Arc<Inbox<OwnerMessage>>) -> Self {
        Self {
            shared,
            inbox,
            entries: Vec::new(),
            free: Vec::new(),
            slot_of: HashMap::new(),
            followed_by: HashMap::new(),
            open: BTreeSet::new(),
            newborns: BTreeSet::new(),
            overflowed: HashSet::new(),
            tell_at: Instant::now(),
            read_after: Instant::now(),
        }
    }

    pub(super) async fn run(mut self, tasks: Tasks) {
        let inbox = Arc::clone(&self.inbox);
        let shared = Arc::clone(&self.shared);
        let mut batch = Vec::with_capacity(DRAIN_MAX_MESSAGES);
        let mut read: Option<Pin<Box<dyn Future<Output = ReadDone> + Send + '_>>> = None;
        let mut sweep = tokio::time::interval(SWEEP_PERIOD);
        loop {
            // Whatever the last round handed to the lanes leaves.
            shared.drive();
            let now = Instant::now();
            self.tell_overflowed(now);
            if read.is_none() {
                read = self.next_read(now).map(|(slots, reads)| {
                    let future: Pin<Box<dyn Future<Output = ReadDone> + Send + '_>> =
                        Box::pin(async { (slots, shared.log.read(reads).await) });
                    future
                });
            }
            let wake_at = self.wake_at(now, read.is_some());
            tokio::select! {
                () = inbox.receive(&mut batch, DRAIN_MAX_MESSAGES) => {
                    let now = Instant::now();
                    for message in batch.drain(..) {
                        self.take(message, now);
                    }
                }
                done = async { match read.as_mut() { Some(read) => read.await, None => std::future::pending().await } } => {
                    read = None;
                    self.read_done(done, Instant::now());
                }
                () = tokio::time::sleep_until(wake_at.into()) => {}
                _ = sweep.tick() => self.sweep(Instant::now()),
                () = tasks.stopped() => return,
            }
        }
    }

    fn take(&mut self, message: OwnerMessage, now: Instant) {
        match message {
            OwnerMessage::Committed(events) => {
                for event in events {
                    let Some(slot) = self.slot_of.get(event.stream()).copied() else { continue };
                    let Some(entry) = self.entries[slot as usize].as_mut() else { continue };
                    let ready = entry.sequencer.event(event, now);
                    self.deliver(slot, ready);
                }
            }
            OwnerMessage::Heads(heads) => {
                for (stream, seq) in heads {
                    let Some(slot) = self.slot_of.get(&stream).copied() else { continue };
                    let Some(entry) = self.entries[slot as usize].as_mut() else { continue };
                    entry.sequencer.head(seq, now);
                    self.open.insert(slot);
                }
            }
            OwnerMessage::Enter(stream) => {
                let slot = self.enter(stream);
                // Its reader attaches soon; until then it counts as idle, so that it is forgotten if nobody does.
                if let Some(entry) = self.entries[slot as usize].as_mut()
                    && entry.is_idle()
                {
                    entry.idle_since = Some(now);
                }
            }
            OwnerMessage::Seed(stream, head) => {
                let slot = self.enter(stream);
                self.seed(slot, head, now);
            }
            OwnerMessage::Attach(attach) => self.attach(*attach, now),
            OwnerMessage::Gone(connection) => self.gone(connection, now),
            OwnerMessage::Clear => self.clear(),
        }
    }

    fn enter(&mut self, stream: StreamId) -> u32 {
        if let Some(slot) = self.slot_of.get(&stream) {
            return *slot;
        }
        let limits = &self.shared.limits;
        let entry = Entry {
            id: stream.clone(),
            sequencer: Sequencer::newborn(limits.held_events_max),
            ring: Arc::new(Ring::new(limits.ring_events_max, limits.ring_max_bytes, Arc::clone(&self.shared.metrics))),
            readers: vec![0; self.shared.lanes.len()],
            waiting: Vec::new(),
            idle_since: None,
        };
        self.shared.metrics.streams.add(1);
        let slot = match self.free.pop() {
            Some(slot) => {
                self.entries[slot as usize] = Some(entry);
                slot
            }
            None => {
                self.entries.push(Some(entry));
                u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.slot_of.insert(stream, slot);
        slot
    }

    fn seed(&mut self, slot: u32, head: Seq, now: Instant) {
        self.newborns.remove(&slot);
        let Some(entry) = self.entries[slot as usize].as_mut() else { return };
        entry.sequencer.seed(head, now);
        // One that was following already may not have heard of it yet.
        entry.sequencer.head(head, now);
        self.open.insert(slot);
        for attach in std::mem::take(&mut entry.waiting) {
            self.attach_now(slot, attach);
        }
    }

    fn attach(&mut self, attach: Attach, now: Instant) {
        if attach.connection.is_closed() {
            return;
        }
        let slot = self.enter(attach.stream.clone());
        let Some(entry) = self.entries[slot as usize].as_mut() else { return };
        let id = attach.connection.id;
        let followed = self.followed_by.entry(id).or_default();
        match followed.iter_mut().find(|(followed, _)| *followed == slot) {
            Some((_, joined_seq)) if *joined_seq == attach.joined_seq && !attach.again => return,
            Some((_, joined_seq)) => *joined_seq = attach.joined_seq,
            None => {
                followed.push((slot, attach.joined_seq));
                entry.readers[self.shared.lane_of(id)] += 1;
            }
        }
        entry.idle_since = None;
        entry.sequencer.head(attach.head, now);
        self.open.insert(slot);
        if entry.sequencer.delivered().is_some() {
            self.attach_now(slot, attach);
        } else {
            entry.waiting.push(attach);
            self.newborns.insert(slot);
        }
    }

    fn attach_now(&mut self, slot: u32, attach: Attach) {
        let Some(entry) = self.entries[slot as usize].as_ref() else { return };
        let Some(cursor) = entry.sequencer.delivered() else { return };
        self.shared.lane(attach.connection.id).push(LaneMessage::Attach(LaneAttach {
            stream: attach.stream,
            connection: attach.connection.id,
            next: attach.next,
            joined_seq: attach.joined_seq,
            cursor,
            ring: Arc::clone(&entry.ring),
            reset: attach.reset,
        }));
    }

    fn gone(&mut self, connection: ConnectionId, now: Instant) {
        let lane = self.shared.lane_of(connection);
        for (slot, _) in self.followed_by.remove(&connection).unwrap_or_default() {
            let Some(entry) = self.entries[slot as usize].as_mut() else { continue };
            entry.waiting.retain(|attach| attach.connection.id != connection);
            entry.reader_left(lane, now);
        }
    }

    /// Hands events that are in order to the ring, the lanes, and to what their content means for this node.
    fn deliver(&mut self, slot: u32, ready: Vec<Arc<LiveEvent>>) {
        self.open.insert(slot);
        for event in ready {
            let Some(entry) = self.entries[slot as usize].as_ref() else { return };
            entry.ring.push(&event);
            for (lane, readers) in entry.readers.iter().enumerate() {
                if *readers > 0 && !self.shared.lanes[lane].offer_quietly(LaneMessage::Event(Arc::clone(&event))) {
                    self.shared.metrics.lane_overflows.add(1);
                    self.overflowed.insert((lane, slot));
                }
            }
            match event.body() {
                Some(EventBody::MembershipChanged(change)) => {
                    self.membership_changed(event.stream(), change, event.seq())
                }
                Some(EventBody::MemberRemoved(removed)) => self.member_removed(slot, &removed.user, event.seq()),
                _ => {}
            }
        }
    }

    /// A user's own stream says that a membership changed: their sockets here begin to follow the room.
    fn membership_changed(&self, stream: &StreamId, change: &MembershipChanged, version: Seq) {
        let StreamId::User(user) = stream else { return };
        self.shared.people.learn_change(user, change, version);
        if change.role.is_none() {
            return;
        }
        for connection in self.shared.people.connections(user) {
            let join = Join { room: change.room.clone(), joined_seq: change.joined_seq };
            if !connection.defer(join.clone()) {
                self.shared.join(&connection, &join);
            }
        }
    }

    /// The lane ends the pairs itself, at this event; here only the count follows.
    fn member_removed(&mut self, slot: u32, user: &UserId, seq: Seq) {
        for connection in self.shared.people.connections(user) {
            let lane = self.shared.lane_of(connection.id);
            let Some(followed) = self.followed_by.get_mut(&connection.id) else { continue };
            let Some(index) = followed.iter().position(|(followed, joined)| *followed == slot && *joined < seq) else {
                continue;
            };
            followed.swap_remove(index);
            if let Some(entry) = self.entries[slot as usize].as_mut() {
                entry.reader_left(lane, Instant::now());
            }
        }
    }

    /// Tells lanes whose inbox was full how far their streams have come.
    fn tell_overflowed(&mut self, now: Instant) {
        if self.overflowed.is_empty() || now < self.tell_at {
            return;
        }
        self.tell_at = now + RETRY_PAUSE;
        let (entries, lanes) = (&self.entries, &self.shared.lanes);
        self.overflowed.retain(|(lane, slot)| {
            let Some(entry) = entries[*slot as usize].as_ref() else { return false };
            let Some(delivered) = entry.sequencer.delivered() else { return false };
            !lanes[*lane].offer(LaneMessage::Head(entry.id.clone(), delivered))
        });
    }

    fn sweep(&mut self, now: Instant) {
        let linger = Duration::from_millis(self.shared.limits.stream_linger_ms);
        for slot in 0..self.entries.len() {
            let over = self.entries[slot]
                .as_ref()
                .is_some_and(|entry| entry.idle_since.is_some_and(|since| now.duration_since(since) >= linger));
            if over && let Some(entry) = self.entries[slot].take() {
                let slot = u32::try_from(slot).unwrap_or(u32::MAX);
                self.slot_of.remove(&entry.id);
                self.newborns.remove(&slot);
                self.open.remove(&slot);
                self.free.push(slot);
                self.shared.metrics.streams.add(-1);
            }
        }
    }

    /// Everything here belongs to a store that is no more. The lanes forget with us, in order with what they are sent.
    fn clear(&mut self) {
        for entry in self.entries.iter().flatten() {
            for lane in &self.shared.lanes {
                lane.push(LaneMessage::Drop(entry.id.clone()));
            }
        }
        self.shared.metrics.streams.add(-(self.slot_of.len() as i64));
        self.entries.clear();
        self.free.clear();
        self.slot_of.clear();
        self.followed_by.clear();
        self.open.clear();
        self.newborns.clear();
        self.overflowed.clear();
    }
}

impl Entry {
    fn reader_left(&mut self, lane: usize, now: Instant) {
        self.readers[lane] = self.readers[lane].saturating_sub(1);
        if self.is_idle() {
            self.idle_since = Some(now);
        }
    }

    fn is_idle(&self) -> bool {
        self.readers.iter().all(|readers| *readers == 0)
    }
}

/// The attach of a membership that began while the person is connected.
pub(super) fn attach_of_join(connection: &Arc<Connection>, join: &Join, epoch: &Epoch) -> Attach {
    let stream = StreamId::Room(join.room.clone());
    let before = join.joined_seq.saturating_sub(1);
    Attach {
        reset: Some(Reset { stream: stream.clone(), epoch: epoch.clone(), seq: before, reason: ResetReason::Joined }),
        stream,
        connection: Arc::clone(connection),
        next: join.joined_seq,
        joined_seq: join.joined_seq,
        head: join.joined_seq,
        again: false,
    }
}
