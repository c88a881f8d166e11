//! Pure: a store in memory: streams with dense numbers, memberships, nonces, snapshots, and a tail by transactions.
//!
//! A commit takes effect at one moment, under all its locks; its transaction was numbered when it began, perhaps long before.
//! So transactions end in another order than they were numbered in, as on Postgres, and the tail must not miss any.

use std::collections::{BTreeMap, BTreeSet};

use hallway_protocol::event::{MemberJoined, MemberRemoved, MembershipChanged, MessageCreated};
use hallway_protocol::model::MyRoom;
use hallway_protocol::{
    Epoch, Event, EventBody, History, Message, MessageId, Role, RoomId, RoomInfo, RoomKind, Seq, StreamId, UserId,
    Visibility,
};
use hallway_store::{ConnectState, MissedQuery, StreamHead};

/// One writing command.
#[derive(Debug, Clone)]
pub(super) struct Write {
    pub(super) actor: UserId,
    pub(super) nonce: u64,
    pub(super) room: RoomId,
    pub(super) action: Action,
}

#[derive(Debug, Clone)]
pub(super) enum Action {
    Send { id: MessageId, text: String },
    Add(UserId),
    Remove(UserId),
}

/// An accepted write. `Err` of a commit: not a member, or nothing to do.
#[derive(Debug, Clone)]
pub(super) struct Done {
    pub(super) seq: Seq,
    pub(super) id: Option<MessageId>,
    pub(super) repeated: bool,
    pub(super) events: Vec<Event>,
}

/// A page, as the log has it at one moment.
#[derive(Debug, Clone)]
pub(super) struct Page {
    pub(super) first_seq: Seq,
    pub(super) last_seq: Seq,
    pub(super) events: Vec<Event>,
}

/// A transaction that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Transaction(u64);

impl Transaction {
    /// None is older.
    pub(super) const FIRST: Self = Self(0);
}

#[derive(Debug, Default)]
struct Stream {
    trimmed: u64,
    /// Each with its transaction.
    events: Vec<(Transaction, Event)>,
}

impl Stream {
    fn first_seq(&self) -> Seq {
        self.trimmed + 1
    }

    fn last_seq(&self) -> Seq {
        self.trimmed + self.events.len() as u64
    }
}

/// Times as a member: from the joining to the removal, both included.
type Times = Vec<(Seq, Option<Seq>)>;

#[derive(Debug)]
struct Room {
    history: History,
    messages: u64,
    members: BTreeMap<UserId, Times>,
}

#[derive(Debug)]
pub(super) struct Store {
    epoch: Epoch,
    streams: BTreeMap<StreamId, Stream>,
    rooms: BTreeMap<RoomId, Room>,
    nonces: BTreeMap<(UserId, u64), Done>,
    next: u64,
    open: BTreeSet<Transaction>,
}

impl Store {
    pub(super) fn new(epoch: Epoch) -> Self {
        Self {
            epoch,
            streams: BTreeMap::new(),
            rooms: BTreeMap::new(),
            nonces: BTreeMap::new(),
            next: 1,
            open: BTreeSet::new(),
        }
    }

    pub(super) fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    pub(super) fn create_room(&mut self, room: &RoomId, history: History) {
        self.rooms.insert(room.clone(), Room { history, messages: 0, members: BTreeMap::new() });
    }

    /// Numbers a transaction.
    pub(super) fn begin(&mut self) -> Transaction {
        let transaction = Transaction(self.next);
        self.next += 1;
        self.open.insert(transaction);
        transaction
    }

    /// Ends one without effect.
    pub(super) fn roll_back(&mut self, transaction: Transaction) {
        self.open.remove(&transaction);
    }

    /// Carries out a batch, at this moment. A write that is refused says `None`.
    pub(super) fn commit(&mut self, transaction: Transaction, writes: &[Write]) -> Vec<Option<Done>> {
        let done = writes.iter().map(|write| self.write(transaction, write)).collect();
        self.open.remove(&transaction);
        done
    }

    fn write(&mut self, transaction: Transaction, write: &Write) -> Option<Done> {
        let key = (write.actor.clone(), write.nonce);
        if let Some(first) = self.nonces.get(&key) {
            return Some(Done { repeated: true, events: Vec::new(), ..first.clone() });
        }
        let done = match &write.action {
            Action::Send { id, text } => self.send(transaction, write, *id, text)?,
            Action::Add(user) => self.add(transaction, write, user)?,
            Action::Remove(user) => self.remove(transaction, write, user)?,
        };
        self.nonces.insert(key, done.clone());
        Some(done)
    }

    fn send(&mut self, transaction: Transaction, write: &Write, id: MessageId, text: &str) -> Option<Done> {
        if !self.is_member(&write.actor, &write.room) {
            return None;
        }
        let stream = StreamId::Room(write.room.clone());
        let seq = self.head(&stream).last_seq + 1;
        let room = self.rooms.get_mut(&write.room)?;
        room.messages += 1;
        let message = Message {
            id,
            seq,
            ordinal: room.messages,
            sender: write.actor.clone(),
            at_ms: 0,
            text: text.to_owned(),
            reply_to: None,
            mentions: Vec::new(),
            meta: None,
            version: 1,
            edited_at_ms: None,
            deleted: false,
            reactions: Vec::new(),
        };
        let event = self.append(transaction, &stream, EventBody::MessageCreated(MessageCreated { message }));
        Some(Done { seq, id: Some(id), repeated: false, events: vec![event] })
    }

    fn add(&mut self, transaction: Transaction, write: &Write, user: &UserId) -> Option<Done> {
        if self.is_member(user, &write.room) {
            return None;
        }
        let role = Role::Member;
        let body = EventBody::MemberJoined(MemberJoined { user: user.clone(), role, by: write.actor.clone() });
        let joined = self.append(transaction, &StreamId::Room(write.room.clone()), body);
        let seq = joined.seq;
        let room = self.rooms.get_mut(&write.room)?;
        room.members.entry(user.clone()).or_default().push((seq, None));
        let visible_from_seq = if room.history == History::All { 1 } else { seq };
        let changed = self.changed(transaction, user, (&write.room, Some(role)), (seq, seq, visible_from_seq));
        Some(Done { seq, id: None, repeated: false, events: vec![joined, changed] })
    }

    fn remove(&mut self, transaction: Transaction, write: &Write, user: &UserId) -> Option<Done> {
        if !self.is_member(user, &write.room) {
            return None;
        }
        let body = EventBody::MemberRemoved(MemberRemoved { user: user.clone(), by: write.actor.clone() });
        let removed = self.append(transaction, &StreamId::Room(write.room.clone()), body);
        let seq = removed.seq;
        let times = self.rooms.get_mut(&write.room)?.members.get_mut(user)?;
        times.last_mut()?.1 = Some(seq);
        let changed = self.changed(transaction, user, (&write.room, None), (seq, 0, 0));
        Some(Done { seq, id: None, repeated: false, events: vec![removed, changed] })
    }

    fn changed(
        &mut self,
        transaction: Transaction,
        user: &UserId,
        (room, role): (&RoomId, Option<Role>),
        (room_seq, joined_seq, visible_from_seq): (Seq, Seq, Seq),
    ) -> Event {
        let body = MembershipChanged { room: room.clone(), role, room_seq, joined_seq, visible_from_seq };
        self.append(transaction, &StreamId::User(user.clone()), EventBody::MembershipChanged(body))
    }

    fn append(&mut self, transaction: Transaction, stream: &StreamId, body: EventBody) -> Event {
        let entry = self.streams.entry(stream.clone()).or_default();
        let event = Event { stream: stream.clone(), seq: entry.last_seq() + 1, at_ms: 0, body };
        entry.events.push((transaction, event.clone()));
        event
    }

    /// The retention drops everything below.
    pub(super) fn trim(&mut self, stream: &StreamId, keep_from_seq: Seq) -> Seq {
        let Some(entry) = self.streams.get_mut(stream) else { return 1 };
        let drop = keep_from_seq.saturating_sub(entry.first_seq()).min(entry.events.len() as u64);
        entry.events.drain(..usize::try_from(drop).unwrap_or(0));
        entry.trimmed += drop;
        entry.first_seq()
    }

    pub(super) fn head(&self, stream: &StreamId) -> StreamHead {
        let (first_seq, last_seq) = self.streams.get(stream).map_or((1, 0), |at| (at.first_seq(), at.last_seq()));
        StreamHead { stream: stream.clone(), first_seq, last_seq }
    }

    /// What stands at a number, if it is still kept.
    pub(super) fn event(&self, stream: &StreamId, seq: Seq) -> Option<&Event> {
        let entry = self.streams.get(stream)?;
        entry.events.get(usize::try_from(seq.checked_sub(entry.first_seq())?).ok()?).map(|(_, event)| event)
    }

    pub(super) fn page(&self, stream: &StreamId, after: Seq, limit: u32) -> Page {
        let StreamHead { first_seq, last_seq, .. } = self.head(stream);
        let from = (after + 1).max(first_seq);
        let to = last_seq.min(from + u64::from(limit) - 1);
        let events = (from..=to).filter_map(|seq| self.event(stream, seq).cloned()).collect();
        Page { first_seq, last_seq, events }
    }

    /// Streams with events of transactions from the cursor on, and the next cursor.
    pub(super) fn tail(&self, cursor: Transaction) -> (Vec<(StreamId, Seq)>, Transaction) {
        let newest = |stream: &Stream| {
            stream.events.iter().rev().find(|(transaction, _)| *transaction >= cursor).map(|(_, event)| event.seq)
        };
        let heads = self.streams.iter().filter_map(|(id, stream)| Some((id.clone(), newest(stream)?))).collect();
        (heads, self.open.first().copied().unwrap_or(Transaction(self.next)))
    }

    pub(super) fn is_member(&self, user: &UserId, room: &RoomId) -> bool {
        self.joined_seq(user, room).is_some()
    }

    /// The event that began the present membership.
    pub(super) fn joined_seq(&self, user: &UserId, room: &RoomId) -> Option<Seq> {
        let times = self.rooms.get(room)?.members.get(user)?;
        times.last().filter(|(_, removed)| removed.is_none()).map(|(joined, _)| *joined)
    }

    /// Whether a person may have what stands at a number: it was said within a membership, or before one in a room whose
    /// past is open to all.
    pub(super) fn may_have(&self, user: &UserId, stream: &StreamId, seq: Seq) -> bool {
        let StreamId::Room(room) = stream else { return *stream == StreamId::User(user.clone()) };
        let Some(room) = self.rooms.get(room) else { return false };
        let is_open = room.history == History::All;
        let times = room.members.get(user).map_or(&[][..], Vec::as_slice);
        times.iter().any(|(from, to)| (is_open || *from <= seq) && to.is_none_or(|to| seq <= to))
    }

    pub(super) fn rooms_of(&self, user: &UserId) -> impl Iterator<Item = &RoomId> {
        self.rooms.keys().filter(move |room| self.is_member(user, room))
    }

    pub(super) fn connect(&self, user: &UserId, missed: &MissedQuery) -> ConnectState {
        let rooms: Vec<MyRoom> = self.rooms_of(user).filter_map(|room| self.my_room(user, room)).collect();
        let own = self.head(&StreamId::User(user.clone()));
        let missed = self.missed(&own, &rooms, missed);
        ConnectState { epoch: self.epoch.clone(), user: own, rooms, muted: Vec::new(), revoked_before_ms: 0, missed }
    }

    fn missed(&self, own: &StreamHead, rooms: &[MyRoom], query: &MissedQuery) -> Vec<hallway_store::Page> {
        let mut left = query.events_max;
        let mut pages = Vec::new();
        for (stream, after) in &query.after {
            let mine = rooms.iter().find(|mine| Some(&mine.info.room) == stream.room());
            let (first_seq, last_seq) = match mine {
                Some(mine) => (mine.first_seq.max(mine.visible_from_seq), mine.last_seq),
                None if *stream == own.stream => (own.first_seq, own.last_seq),
                None => continue,
            };
            let newest = query.newest.map_or(0, |newest| last_seq.saturating_sub(u64::from(newest)));
            let after = newest.max(first_seq - 1).max(*after);
            if after < last_seq && left > 0 {
                let events = self.page(stream, after, left).events;
                left -= u32::try_from(events.len()).unwrap_or(left);
                pages.push(hallway_store::Page { head: self.head(stream), after, events });
            }
        }
        pages
    }

    fn my_room(&self, user: &UserId, room: &RoomId) -> Option<MyRoom> {
        let joined_seq = self.joined_seq(user, room)?;
        let history = self.rooms.get(room)?.history;
        let StreamHead { first_seq, last_seq, .. } = self.head(&StreamId::Room(room.clone()));
        let info = RoomInfo {
            room: room.clone(),
            kind: RoomKind::Channel,
            visibility: Visibility::Public,
            history,
            name: None,
            archived: false,
            created_at_ms: 0,
        };
        let visible_from_seq = if history == History::All { 1 } else { joined_seq };
        Some(MyRoom {
            info,
            role: Role::Member,
            joined_seq,
            visible_from_seq,
            first_seq,
            last_seq,
            unread: 0,
            read_seq: 0,
        })
    }
}
