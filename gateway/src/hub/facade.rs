//! The hub as the modules above see it.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use dashmap::DashMap;
use foldhash::fast::SeedableRandomState;
use hallway_protocol::event::MembershipChanged;
use hallway_protocol::model::MyRoom;
use hallway_protocol::{CloseCode, Epoch, RoomId, Seq, StreamId, UserId};
use tokio::sync::oneshot;

use super::changes::{PeopleWatch, RoomWatch};
use super::connection::Join;
use super::lane::{LaneMessage, PageForPair, SharedLane};
use super::owner::{
    Attach, ClaimStreams, Claims, ListStreams, LogReader, Owner, OwnerMessage, Unclaim, attach_of_join,
};
use super::people::{Membership, People};
use super::ring::{Ring, RingBounds};
use super::{Connection, ConnectionId, Diary, Inbox, LiveEvent};
use crate::config::Limits;
use crate::connection::Encoded;
use crate::node::NodeId;
use crate::tasks::Tasks;
use crate::telemetry::labels::GapCause;
use crate::telemetry::metrics::Metrics;

/// How long a gap waits for the fast path to fill it, while there is one.
const GAP_PATIENCE: Duration = Duration::from_millis(25);

/// The way to the owners: which one orders a stream.
pub(super) struct Owners {
    inboxes: Vec<Arc<Inbox<OwnerMessage>>>,
    hasher: SeedableRandomState,
}

impl Owners {
    pub(super) fn new(count: usize, inbox_max: u64) -> Self {
        let inboxes = (0..count).map(|_| Arc::new(Inbox::new(inbox_max))).collect();
        // A simulation must be the same each time; anywhere else clients choose names of rooms.
        let hasher = if cfg!(test) { SeedableRandomState::fixed() } else { SeedableRandomState::random() };
        Self { inboxes, hasher }
    }

    fn index_of(&self, stream: &StreamId) -> usize {
        usize::try_from(self.hasher.hash_one(stream) % self.inboxes.len() as u64).unwrap_or(0)
    }

    pub(super) fn of(&self, stream: &StreamId) -> &Inbox<OwnerMessage> {
        &self.inboxes[self.index_of(stream)]
    }

    /// Gives each owner what is about its streams.
    fn shares<T>(
        &self,
        all: Vec<T>,
        stream: impl Fn(&T) -> &StreamId,
    ) -> impl Iterator<Item = (&Inbox<OwnerMessage>, Vec<T>)> {
        let mut shares: Vec<Vec<T>> = self.inboxes.iter().map(|_| Vec::new()).collect();
        for one in all {
            shares[self.index_of(stream(&one))].push(one);
        }
        self.inboxes.iter().map(|owner| &**owner).zip(shares).filter(|(_, share)| !share.is_empty())
    }
}

/// What owners share.
pub(super) struct Shared {
    pub(super) lanes: Vec<Arc<SharedLane>>,
    owners: Arc<Owners>,
    pub(super) people: People,
    pub(super) limits: Limits,
    pub(super) ring_bounds: Arc<RingBounds>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) log: Arc<dyn LogReader>,
    /// Of the rooms that are held here: who comes finds out without asking an owner that nothing needs to be read.
    pub(super) rings: DashMap<RoomId, Arc<Ring>>,
    epoch: Mutex<Epoch>,
    room_watch: OnceLock<Arc<RoomWatch>>,
    people_watch: OnceLock<Arc<PeopleWatch>>,
    diary: Arc<Diary>,
    pub(super) node: OnceLock<NodeId>,
    /// Nothing can be hoped for from the fast path.
    impatient: AtomicBool,
}

impl Shared {
    /// Who wants to know what changes about rooms, if anybody does.
    pub(super) fn room_watch(&self) -> Option<&RoomWatch> {
        self.room_watch.get().map(|watch| &**watch)
    }

    /// How long a gap waits for the fast path to fill it.
    pub(super) fn gap_patience(&self) -> Duration {
        if self.impatient.load(Ordering::Relaxed) { Duration::ZERO } else { GAP_PATIENCE }
    }

    fn tell_person(&self, user: &UserId) {
        if let Some(watch) = self.people_watch.get() {
            watch.note(user);
        }
    }

    pub(super) fn lane_of(&self, connection: ConnectionId) -> usize {
        usize::try_from(connection.0).unwrap_or(0) % self.lanes.len()
    }

    pub(super) fn lane(&self, connection: ConnectionId) -> &SharedLane {
        &self.lanes[self.lane_of(connection)]
    }

    pub(super) fn join(&self, connection: &Arc<Connection>, join: &Join) {
        let attach = attach_of_join(connection, join, &self.epoch());
        self.owners.of(&attach.stream).push(OwnerMessage::Attach(Box::new(attach)));
    }

    pub(super) fn unclaim(&self, back: Vec<Unclaim>) {
        for (owner, back) in self.owners.shares(back, |unclaim| &unclaim.stream) {
            owner.push(OwnerMessage::Unclaim(back));
        }
    }

    /// See [`Hub::drive`].
    pub(super) fn drive(&self) {
        for lane in &self.lanes {
            lane.drive();
        }
    }

    pub(super) fn epoch(&self) -> Epoch {
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Where a listing of the streams held on this node goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FollowedFrom {
    owner: usize,
    slot: u32,
}

/// Who follows what on this node. Cheap to clone.
#[derive(Clone)]
pub struct Hub {
    pub(super) shared: Arc<Shared>,
}

impl Hub {
    /// Starts `lanes` lanes and as many owners; they end with `tasks`.
    #[must_use]
    pub fn start(
        lanes: usize,
        epoch: Epoch,
        limits: Limits,
        metrics: Arc<Metrics>,
        log: Arc<dyn LogReader>,
        tasks: &Tasks,
    ) -> Self {
        let hub = Self::assemble(lanes, epoch, limits, metrics, log);
        let shared = &hub.shared;
        for lane in &shared.lanes {
            tasks.spawn(Arc::clone(lane).run(tasks.clone()));
        }
        for inbox in &shared.owners.inboxes {
            tasks.spawn(Owner::new(Arc::clone(shared), Arc::clone(inbox), Instant::now()).run(tasks.clone()));
        }
        hub
    }

    /// Everything but the tasks that work on it.
    fn assemble(lanes: usize, epoch: Epoch, limits: Limits, metrics: Arc<Metrics>, log: Arc<dyn LogReader>) -> Self {
        let count = lanes.max(1);
        let owners = Arc::new(Owners::new(count, limits.lane_inbox_max));
        let diary = Diary::new(limits.delivery_notes_max, Arc::clone(&metrics));
        let shared = Arc::new(Shared {
            lanes: (0..count)
                .map(|index| {
                    let (owners, metrics) = (Arc::clone(&owners), Arc::clone(&metrics));
                    Arc::new(SharedLane::new(index, limits.lane_inbox_max, owners, metrics, Arc::clone(&diary)))
                })
                .collect(),
            owners,
            people: People::default(),
            ring_bounds: RingBounds::new(limits.ring_events_max, limits.ring_max_bytes, Arc::clone(&metrics)),
            limits,
            metrics,
            log,
            rings: DashMap::new(),
            epoch: Mutex::new(epoch),
            room_watch: OnceLock::new(),
            people_watch: OnceLock::new(),
            diary,
            node: OnceLock::new(),
            impatient: AtomicBool::new(false),
        });
        Self { shared }
    }

    /// The hub without tasks, and its owners: whoever has them works on them turn by turn.
    #[cfg(test)]
    pub(super) fn stepped(
        lanes: usize,
        epoch: Epoch,
        limits: Limits,
        metrics: Arc<Metrics>,
        log: Arc<dyn LogReader>,
        now: Instant,
    ) -> (Self, Vec<Owner>, Vec<Arc<SharedLane>>) {
        let hub = Self::assemble(lanes, epoch, limits, metrics, log);
        let shared = &hub.shared;
        let owners = shared.owners.inboxes.iter().map(|inbox| Owner::new(Arc::clone(shared), Arc::clone(inbox), now));
        let (owners, lanes) = (owners.collect(), shared.lanes.clone());
        (hub, owners, lanes)
    }

    /// The store's life that everything here belongs to.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.shared.epoch()
    }

    /// The store answered with another epoch: forget everything and send everyone through a fresh hello. Returns whether
    /// it was news.
    pub fn set_epoch(&self, epoch: &Epoch) -> bool {
        {
            let mut present = self.shared.epoch.lock().unwrap_or_else(PoisonError::into_inner);
            if *present == *epoch {
                return false;
            }
            *present = epoch.clone();
        }
        self.shared.people.forget_rooms();
        for owner in &self.shared.owners.inboxes {
            owner.push(OwnerMessage::Clear);
        }
        self.close_all(CloseCode::EpochChanged);
        true
    }

    /// Hands over what was committed. Waits for room in the owners' inboxes, never for a client.
    pub async fn publish(&self, events: Vec<Arc<LiveEvent>>) {
        for (owner, events) in self.shared.owners.shares(events, |event| event.stream()) {
            owner.send(OwnerMessage::Committed(events)).await;
        }
    }

    /// The same for who can wait only so long: where an owner stays full it gets the heads. Says whether all took the events.
    pub async fn publish_within(&self, events: Vec<Arc<LiveEvent>>, wait_max: Duration) -> bool {
        let until = Instant::now() + wait_max;
        let mut all = true;
        for (owner, events) in self.shared.owners.shares(events, |event| event.stream()) {
            let heads = events.iter().map(|event| (event.stream().clone(), event.seq())).collect();
            let taken = tokio::time::timeout_at(until.into(), owner.send(OwnerMessage::Committed(events))).await;
            if taken.is_err() {
                owner.push(OwnerMessage::Heads(heads, GapCause::Event));
                all = false;
            }
        }
        all
    }

    /// Someone says how far streams have come; what is missing is read from the log.
    pub fn heads(&self, heads: Vec<(StreamId, Seq)>) {
        self.heads_because(heads, GapCause::Head);
    }

    /// The same, as the store's tail has it.
    pub fn tail_heads(&self, heads: Vec<(StreamId, Seq)>) {
        self.heads_because(heads, GapCause::Tail);
    }

    fn heads_because(&self, heads: Vec<(StreamId, Seq)>, cause: GapCause) {
        for (owner, heads) in self.shared.owners.shares(heads, |(stream, _)| stream) {
            owner.push(OwnerMessage::Heads(heads, cause));
        }
    }

    /// From now on it is noted what changes about rooms.
    #[must_use]
    pub fn watch_rooms(&self) -> Arc<RoomWatch> {
        Arc::clone(self.shared.room_watch.get_or_init(Arc::default))
    }

    /// From now on it is noted who comes, goes and looks away.
    #[must_use]
    pub fn watch_people(&self) -> Arc<PeopleWatch> {
        Arc::clone(self.shared.people_watch.get_or_init(Arc::default))
    }

    /// Which notifications were handed to which connections. For one reader.
    #[must_use]
    pub fn diary(&self) -> &Diary {
        &self.shared.diary
    }

    /// Rooms that have readers here.
    pub async fn followed_rooms(&self) -> Vec<RoomId> {
        let mut rooms = Vec::new();
        for owner in &self.shared.owners.inboxes {
            let (reply, answer) = tokio::sync::oneshot::channel();
            owner.push(OwnerMessage::Followed(reply));
            // An owner that ended follows nothing.
            rooms.extend(answer.await.unwrap_or_default());
        }
        rooms
    }

    /// Everybody who is connected here.
    #[must_use]
    pub fn people(&self) -> Vec<UserId> {
        self.shared.people.everybody()
    }

    /// How many connections a person has here.
    #[must_use]
    pub fn connections_of(&self, user: &UserId) -> usize {
        self.shared.people.connection_count(user)
    }

    /// How many connections a person has here, and how many of them are away.
    #[must_use]
    pub fn devices_of(&self, user: &UserId) -> (usize, usize) {
        self.shared.people.devices(user)
    }

    /// A device says whether somebody is looking at it.
    pub fn set_away(&self, connection: &Connection, away: bool) {
        if connection.set_away(away) {
            self.shared.tell_person(&connection.user);
        }
    }

    /// Who of those connected here is a member of which of these rooms, as this node knows: the room's place in the list, and
    /// the person. Walks through everybody who is connected.
    #[must_use]
    pub fn members_here(&self, rooms: &[RoomId]) -> Vec<(usize, UserId)> {
        self.shared.people.members_here(rooms)
    }

    /// Whether the fast path between nodes works: while it does not, no gap waits for it.
    pub fn set_fast_path(&self, works: bool) {
        self.shared.impatient.store(!works, Ordering::Relaxed);
    }

    /// Some of the streams that are held on this node, at most `slots`, and where to go on. Begin with the default. Nobody is
    /// held up by it for longer than so many names take to copy. `None` when the node is stopping.
    pub async fn followed(&self, from: FollowedFrom, slots: u32) -> Option<(Vec<StreamId>, Option<FollowedFrom>)> {
        let owner = self.shared.owners.inboxes.get(from.owner)?;
        let (reply, answer) = oneshot::channel();
        owner.push(OwnerMessage::List(ListStreams { from_slot: from.slot, slots, reply }));
        let (streams, next_slot) = answer.await.ok()?;
        let next = match next_slot {
            Some(slot) => Some(FollowedFrom { slot, ..from }),
            None if from.owner + 1 < self.shared.owners.inboxes.len() => {
                Some(FollowedFrom { owner: from.owner + 1, slot: 0 })
            }
            None => None,
        };
        Some((streams, next))
    }

    /// First step of a hello, before anything is read: from now on nothing that concerns this person is missed. `false`
    /// when the person has too many connections here.
    #[must_use]
    pub fn enter(&self, connection: &Arc<Connection>) -> bool {
        if !self.shared.people.enter(connection, self.shared.limits.user_connections_max) {
            return false;
        }
        self.shared.tell_person(&connection.user);
        let stream = StreamId::User(connection.user.clone());
        self.shared.owners.of(&stream).push(OwnerMessage::Enter(stream.clone()));
        true
    }

    /// Before the snapshot is read: which of these rooms, had up to these numbers, are to be read with it. Each once. Waits
    /// for nobody while the rings have it all.
    pub async fn claim(&self, mut wanted: Vec<(StreamId, Seq)>) -> Claims {
        wanted.retain(|(stream, after)| {
            let ring = stream.room().and_then(|room| self.shared.rings.get(room));
            ring.is_none_or(|ring| !ring.reaches(*after + 1))
        });
        let mut answers = Vec::new();
        for (owner, wanted) in self.shared.owners.shares(wanted, |(stream, _)| stream) {
            let (reply, answer) = oneshot::channel();
            owner.push(OwnerMessage::Claim(ClaimStreams { wanted, reply }));
            answers.push(answer);
        }
        let mut claims = Claims::none(Arc::clone(&self.shared));
        for answer in answers {
            if let Ok(more) = answer.await {
                claims.join(more);
            }
        }
        claims
    }

    /// Second step, after the snapshot was read.
    pub fn learn(&self, user: &UserId, rooms: &[MyRoom], muted: &[RoomId], user_head: Seq) {
        self.shared.people.learn_rooms(user, rooms, muted, user_head);
        let stream = StreamId::User(user.clone());
        self.shared.owners.of(&stream).push(OwnerMessage::Seed(stream.clone(), user_head));
    }

    /// Third step, after the reply: the connection belongs to its lane.
    pub fn register(&self, connection: &Arc<Connection>) {
        self.shared.lane(connection.id).push(LaneMessage::Register(Arc::clone(connection)));
    }

    /// Asks for `sync_end` once every stream has reached its target. Before the attaches that it is about.
    pub fn watch(&self, connection: ConnectionId, epoch: Epoch, targets: HashMap<StreamId, Seq>) {
        self.shared.lane(connection).push(LaneMessage::Watch { connection, epoch, targets, begun: Instant::now() });
    }

    /// A connection is to follow a stream.
    pub fn attach(&self, attach: Attach) {
        self.shared.owners.of(&attach.stream).push(OwnerMessage::Attach(Box::new(attach)));
    }

    /// Last step of a hello: memberships that began meanwhile. `known` says which were in the snapshot.
    pub fn end_of_hello(&self, connection: &Arc<Connection>, known: impl Fn(&RoomId) -> Option<Seq>) {
        for join in connection.end_of_hello() {
            if known(&join.room).is_none_or(|joined_seq| joined_seq < join.joined_seq) {
                self.shared.join(connection, &join);
            }
        }
    }

    /// What the node has in memory of a room from a number on, so that nobody needs to read it. `None`: not all of it, or
    /// nothing.
    #[must_use]
    pub fn held(&self, stream: &StreamId, from: Seq) -> Option<Vec<Arc<LiveEvent>>> {
        self.shared.rings.get(stream.room()?)?.from(from)
    }

    /// What was read from the log for a pair that is Behind.
    pub fn page(&self, page: PageForPair) {
        self.shared.lane(page.connection).push(LaneMessage::Page(page));
    }

    /// The connection is gone.
    pub fn leave(&self, connection: &Connection) {
        connection.mark_closed();
        self.shared.people.leave(&connection.user, connection.id);
        self.shared.tell_person(&connection.user);
        self.shared.lane(connection.id).push(LaneMessage::Forget(connection.id));
    }

    /// To everyone who follows the room right now, with the next [`Hub::drive`]. Dropped where a lane is full.
    pub fn ephemeral(&self, room: &RoomId, frame: Arc<Encoded>, except: Option<ConnectionId>) {
        for lane in &self.shared.lanes {
            let stream = StreamId::Room(room.clone());
            if !lane.offer_quietly(LaneMessage::Ephemeral { stream, frame: Arc::clone(&frame), except }) {
                self.shared.metrics.lane_overflows.add(1);
            }
        }
    }

    /// Writes out what this task handed to the lanes, as far as that is quick; the lanes' own tasks do the rest. A session calls
    /// it once it has taken everything that its socket had, so that what came together leaves together.
    pub fn drive(&self) {
        self.shared.drive();
    }

    /// A membership as this node knows it: for quick answers, never for the decision.
    #[must_use]
    pub fn membership(&self, user: &UserId, room: &RoomId) -> Option<Membership> {
        self.shared.people.membership(user, room)
    }

    /// A committed change of a membership, told before its acknowledgement so that the next command finds it.
    pub fn learn_change(&self, user: &UserId, change: &MembershipChanged, version: Seq) {
        self.shared.people.learn_change(user, change, version);
    }

    /// Every identified connection.
    #[must_use]
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        self.shared.people.all_connections()
    }

    /// Asks all connections to close.
    pub fn close_all(&self, code: CloseCode) {
        for connection in self.connections() {
            connection.outbound.request_close(code);
        }
    }
}
