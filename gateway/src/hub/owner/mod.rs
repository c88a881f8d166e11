//! An owner: the task that alone orders its share of the streams.
//!
//! Here are its loop, births, attaches and deliveries. `messages` is what it is told, `reads` what it reads from the log, `claims`
//! what others read for it, `sequencer` (pure) the order of one stream, `readers` (pure) the lanes that follow it.
//!
//! **Invariant:** each attach that is sent to a lane comes back as exactly one `Left`, when the pair that it began has ended,
//! or at once if it began none. So what is counted here is never less than what follows there, across epochs too, and
//! nobody has to remember who follows what.

mod claims;
mod messages;
mod readers;
mod reads;
mod sequencer;
#[cfg(test)]
mod stepped;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hallway_protocol::event::MembershipChanged;
use hallway_protocol::frame::{Reset, ResetReason};
use hallway_protocol::{Epoch, EventBody, Seq, StreamId};

pub(in crate::hub) use self::claims::{ClaimStreams, Unclaim};
pub use self::claims::{Claims, Known};
pub use self::messages::{Attach, LogPage, LogRead, LogReader};
pub(in crate::hub) use self::messages::{ListStreams, OwnerMessage};
use self::readers::Readers;
use self::sequencer::Sequencer;
#[cfg(test)]
pub(in crate::hub) use self::stepped::Reading;
use super::connection::Join;
use super::facade::Shared;
use super::lane::{LaneAttach, LaneMessage};
use super::{Connection, Inbox, LiveEvent, Ring};
use crate::sabotage::{Mutant, is_on};
use crate::tasks::Tasks;
use crate::telemetry::labels::GapCause;

/// Messages taken from the inbox at once.
const DRAIN_MAX_MESSAGES: usize = 256;
/// Pause after a failed read of the log, and between attempts to tell a full lane what it missed.
const RETRY_PAUSE: Duration = Duration::from_millis(50);
/// Tables of so many entries are not worth making smaller.
const TABLE_KEPT_ENTRIES: usize = 1024;
/// How often streams without readers are looked at.
const SWEEP_PERIOD: Duration = Duration::from_secs(1);

/// A stream. Every user has one, so what few streams need is elsewhere: in the owner's tables, or in boxes.
struct Entry {
    id: StreamId,
    sequencer: Sequencer,
    ring: Arc<Ring>,
    readers: Readers,
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
    /// Streams that may want a read.
    open: BTreeSet<u32>,
    /// Streams whose head is wanted, and the attaches that wait for it.
    newborns: BTreeMap<u32, Vec<Attach>>,
    /// Streams that somebody reads, and under which number.
    claims: BTreeMap<u32, u64>,
    tickets: u64,
    /// Streams that nobody follows, and since when.
    idle: BTreeMap<u32, Instant>,
    /// (lane, stream slot) that missed events because the lane's inbox was full.
    overflowed: BTreeSet<(usize, u32)>,
    /// When those lanes are told next.
    tell_at: Instant,
    read_after: Instant,
}

impl Owner {
    pub(super) fn new(shared: Arc<Shared>, inbox: Arc<Inbox<OwnerMessage>>, now: Instant) -> Self {
        Self {
            shared,
            inbox,
            entries: Vec::new(),
            free: Vec::new(),
            slot_of: HashMap::new(),
            open: BTreeSet::new(),
            newborns: BTreeMap::new(),
            claims: BTreeMap::new(),
            tickets: 0,
            idle: BTreeMap::new(),
            overflowed: BTreeSet::new(),
            tell_at: now,
            read_after: now,
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
                let held_max = usize::try_from(self.shared.limits.held_events_max).unwrap_or(usize::MAX);
                for event in events {
                    let Some(slot) = self.slot_of.get(event.stream()).copied() else { continue };
                    let Some(entry) = self.entries[slot as usize].as_mut() else { continue };
                    let ready = entry.sequencer.event(event, held_max, now);
                    self.deliver(slot, ready);
                }
            }
            OwnerMessage::Heads(heads, cause) => {
                for (stream, seq) in heads {
                    let Some(slot) = self.slot_of.get(&stream).copied() else { continue };
                    let Some(entry) = self.entries[slot as usize].as_mut() else { continue };
                    entry.sequencer.head(seq, cause, now);
                    self.open.insert(slot);
                }
            }
            OwnerMessage::Enter(stream) => {
                let slot = self.enter(stream);
                // Its reader attaches soon; until then it counts as idle, so that it is forgotten if nobody does.
                self.idle_from(slot, now);
            }
            OwnerMessage::Seed(stream, head) => {
                let slot = self.enter(stream);
                self.seed(slot, head, now);
            }
            OwnerMessage::Claim(asked) => self.claim(asked),
            OwnerMessage::Unclaim(back) => self.unclaim(back, now),
            OwnerMessage::Attach(attach) => self.attach(*attach, now),
            OwnerMessage::Left(lane, stream) => self.left(lane, &stream, now),
            OwnerMessage::Clear => self.clear(now),
            OwnerMessage::Followed(reply) => {
                let followed = |entry: &Entry| entry.id.room().filter(|_| !entry.readers.is_empty()).cloned();
                let rooms = self.entries.iter().flatten().filter_map(followed).collect();
                // Who asked may have stopped meanwhile.
                let _ = reply.send(rooms);
            }
            OwnerMessage::List(list) => self.list(list),
        }
    }

    fn enter(&mut self, stream: StreamId) -> u32 {
        if let Some(slot) = self.slot_of.get(&stream).copied() {
            // Wanted again: if nobody follows it, it lingers from now on.
            self.idle.remove(&slot);
            return slot;
        }
        let entry = Entry {
            id: stream.clone(),
            sequencer: Sequencer::newborn(),
            ring: Arc::new(Ring::new(&self.shared.ring_bounds)),
            readers: Readers::default(),
        };
        if let Some(room) = stream.room() {
            self.shared.rings.insert(room.clone(), Arc::clone(&entry.ring));
        }
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
        let waiting = self.newborns.remove(&slot).unwrap_or_default();
        let Some(entry) = self.entries[slot as usize].as_mut() else { return };
        entry.sequencer.seed(head, now);
        // One that was following already may not have heard of it yet.
        entry.sequencer.head(head, GapCause::Head, now);
        self.open.insert(slot);
        for attach in waiting {
            self.attach_now(slot, attach);
        }
        // Those who waited may all be gone.
        self.idle_from(slot, now);
    }

    fn attach(&mut self, attach: Attach, now: Instant) {
        if attach.connection.is_closed() {
            return;
        }
        let slot = self.enter(attach.stream.clone());
        let Some(entry) = self.entries[slot as usize].as_mut() else { return };
        entry.sequencer.head(attach.head, GapCause::Head, now);
        self.open.insert(slot);
        if entry.sequencer.delivered().is_some() {
            self.attach_now(slot, attach);
        } else {
            self.newborns.entry(slot).or_default().push(attach);
        }
    }

    fn attach_now(&mut self, slot: u32, mut attach: Attach) {
        let Some(entry) = self.entries[slot as usize].as_mut() else { return };
        let Some(cursor) = entry.sequencer.delivered() else { return };
        if attach.connection.is_closed() {
            return;
        }
        if is_on(Mutant::ReadWithoutConnectProof) && attach.next > attach.head {
            attach.next = attach.next.max(cursor + 1);
        }
        if let (true, Some(room), Some(watch)) = (entry.readers.is_empty(), entry.id.room(), self.shared.room_watch()) {
            watch.followed(room, true);
        }
        let lane = self.shared.lane_of(attach.connection.id);
        entry.readers.add(lane, self.shared.lanes.len());
        self.shared.lanes[lane].push(LaneMessage::Attach(LaneAttach {
            // The same bytes as here, not another copy of the same name.
            stream: entry.id.clone(),
            connection: attach.connection.id,
            next: attach.next,
            joined_seq: attach.joined_seq,
            cursor,
            ring: Arc::clone(&entry.ring),
            reset: attach.reset,
            missed: attach.missed,
            again: attach.again,
        }));
    }

    /// An attach that was sent to a lane has ended there.
    fn left(&mut self, lane: usize, stream: &StreamId, now: Instant) {
        let Some(slot) = self.slot_of.get(stream).copied() else { return };
        if let Some(entry) = self.entries[slot as usize].as_mut() {
            entry.readers.remove(lane);
            self.idle_from(slot, now);
        }
    }

    /// Notes a stream that nobody follows, nor is about to.
    fn idle_from(&mut self, slot: u32, now: Instant) {
        if self.is_unwanted(slot) {
            self.idle.entry(slot).or_insert(now);
        }
    }

    fn is_unwanted(&self, slot: u32) -> bool {
        let is_read_for = self.newborns.contains_key(&slot) || self.claims.contains_key(&slot);
        !is_read_for && self.entries[slot as usize].as_ref().is_some_and(|entry| entry.readers.is_empty())
    }

    /// Hands events that are in order to the ring, the lanes, and to what their content means for this node.
    fn deliver(&mut self, slot: u32, ready: Vec<Arc<LiveEvent>>) {
        self.open.insert(slot);
        for event in ready {
            let Some(entry) = self.entries[slot as usize].as_ref() else { return };
            entry.ring.push(&event);
            for lane in entry.readers.lanes() {
                if !self.shared.lanes[lane].offer_quietly(LaneMessage::Event(Arc::clone(&event))) {
                    self.shared.metrics.lane_overflows.add(1);
                    self.overflowed.insert((lane, slot));
                }
            }
            // Who is removed is taken out by the lane, at this event; it says so when it has.
            match event.body() {
                Some(EventBody::MembershipChanged(change)) => {
                    self.membership_changed(event.stream(), change, event.seq());
                }
                Some(body) if let StreamId::User(user) = event.stream() => self.shared.told_user(user, body),
                Some(EventBody::MemberJoined(_) | EventBody::MemberRemoved(_)) => {
                    if let (StreamId::Room(room), Some(watch)) = (event.stream(), self.shared.room_watch()) {
                        watch.members(room);
                    }
                }
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
        // Who hung up while the log could not be read waits for nothing.
        let newborns: Vec<u32> = self.newborns.keys().copied().collect();
        for slot in newborns {
            let Some(waiting) = self.newborns.get_mut(&slot) else { continue };
            waiting.retain(|attach| !attach.connection.is_closed());
            if waiting.is_empty() {
                self.newborns.remove(&slot);
                self.idle_from(slot, now);
            }
        }
        let linger = Duration::from_millis(self.shared.limits.stream_linger_ms);
        let over: Vec<u32> =
            self.idle.extract_if(.., |_, since| now.duration_since(*since) >= linger).map(|(slot, _)| slot).collect();
        for slot in over {
            if let (Some(room), Some(watch)) =
                (self.entries[slot as usize].as_ref().and_then(|entry| entry.id.room()), self.shared.room_watch())
            {
                watch.followed(room, false);
            }
            self.forget(slot);
        }
        give_back(&mut self.slot_of);
    }

    fn forget(&mut self, slot: u32) {
        let Some(entry) = self.entries[slot as usize].take() else { return };
        if let Some(room) = entry.id.room() {
            self.shared.rings.remove(room);
        }
        self.slot_of.remove(&entry.id);
        self.open.remove(&slot);
        self.free.push(slot);
        self.shared.metrics.streams.add(-1);
    }

    /// All streams of some slots, also those that nobody follows now: who attaches to one relies on what it was told.
    fn list(&self, list: ListStreams) {
        let from = (list.from_slot as usize).min(self.entries.len());
        let to = from.saturating_add(list.slots as usize).min(self.entries.len());
        let streams = self.entries[from..to].iter().flatten().map(|entry| entry.id.clone()).collect();
        let next = (to < self.entries.len()).then(|| u32::try_from(to).ok()).flatten();
        // Whoever asked may be gone.
        let _ = list.reply.send((streams, next));
    }

    /// Everything here belongs to a store that is no more. The lanes forget with us, in order with what they are sent: their
    /// pairs come back as `Left`, so the counts stay, and all else begins anew.
    fn clear(&mut self, now: Instant) {
        self.open.clear();
        self.newborns.clear();
        self.claims.clear();
        self.overflowed.clear();
        for slot in 0..self.entries.len() {
            let Some(entry) = self.entries[slot].as_mut() else { continue };
            entry.sequencer = Sequencer::newborn();
            entry.ring = Arc::new(Ring::new(&self.shared.ring_bounds));
            if let Some(room) = entry.id.room() {
                self.shared.rings.insert(room.clone(), Arc::clone(&entry.ring));
            }
            for lane in &self.shared.lanes {
                lane.push(LaneMessage::Drop(entry.id.clone()));
            }
            self.idle_from(u32::try_from(slot).unwrap_or(u32::MAX), now);
        }
    }
}

/// A table that was much larger once does not keep its memory for ever.
fn give_back<K: Eq + std::hash::Hash, V>(table: &mut HashMap<K, V>) {
    if table.capacity() > 4 * table.len() + TABLE_KEPT_ENTRIES {
        table.shrink_to(2 * table.len());
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
        missed: Vec::new(),
        again: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// See the table in `docs/performance.md`, "Memory: what one connection costs".
    #[test]
    fn what_every_users_stream_costs_stays_small() {
        assert!(size_of::<Option<Entry>>() <= 80, "an entry has {} bytes", size_of::<Option<Entry>>());
        assert!(size_of::<Ring>() <= 24, "an empty ring has {} bytes", size_of::<Ring>());
        // 8 of these are the way to what `session.list` tells, which lies in a box of its own; 8 say what kind of wire it has.
        assert!(size_of::<Connection>() <= 72, "a connection has {} bytes", size_of::<Connection>());
    }
}
