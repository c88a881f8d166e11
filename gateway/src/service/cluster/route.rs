//! Pure: which way what was committed here takes to the other nodes.
//!
//! A room whose members are known and few goes *direct*, to the nodes where its members are. A *cold* one, of whose members
//! nothing is known yet, goes to every node. A large one goes into its own channel, which the nodes that follow it hear. While a
//! room turns from small to large or back, it goes both ways: whoever has not noticed yet is reached the way he expects.
//!
//! Routes are hints. Who is reached by none of them is told by the store's tail.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

use hallway_protocol::{EventBody, RoomId, StreamId, UserId};
use hallway_store::Audience;

use crate::bus::Channel;
use crate::directory::Directory;
use crate::hub::LiveEvent;
use crate::node::NodeId;

/// How long a room that turned large or small goes both ways.
pub(super) const BOTH_WAYS: Duration = Duration::from_secs(5);
/// Lists are kept up to so many times the size from which a room is large, so that one that grows past it still has a list.
const LISTED_TIMES_LARGE: u32 = 2;

/// What is to be sent, as far as its way is concerned.
#[derive(Debug, Clone)]
pub(super) enum Outgoing<'a> {
    /// A committed event.
    Event(&'a LiveEvent),
    /// To whoever follows a room right now.
    Ephemeral(&'a RoomId),
    /// Its way is known.
    To(&'a Channel),
}

/// What is known of a room's members.
#[derive(Debug, Clone)]
struct Members {
    /// Counted up to one beyond the longest list.
    count: u32,
    /// All of them, or nobody when they are too many for a list.
    people: Vec<UserId>,
    is_large: bool,
    /// When it turned large or small, if that was not long ago.
    turned_at: Option<Instant>,
    /// Where they are, as the directory said at this moment of its life.
    nodes: Option<(u64, Vec<NodeId>)>,
}

impl Members {
    /// What it takes of the bound.
    fn weight(&self) -> usize {
        self.people.len() + 1
    }
}

/// The known members of rooms, bounded: what was not used for long is forgotten first.
#[derive(Debug)]
pub(super) struct Routes {
    large_from: u32,
    people_max: usize,
    /// Rooms used lately, and those used before them: when the first are half of what may be kept, the second are forgotten.
    young: HashMap<RoomId, Members>,
    old: HashMap<RoomId, Members>,
    young_weight: usize,
    old_weight: usize,
    /// Rooms whose members are wanted.
    wanted: HashSet<RoomId>,
    /// Rooms whose members are being read, and who joined since that began.
    loading: HashMap<RoomId, Vec<UserId>>,
    /// Grows when the directory changes.
    moment: u64,
}

impl Routes {
    /// Nothing is known. A room is large from `large_from` members on; lists hold at most `people_max` people together.
    #[must_use]
    pub(super) fn new(large_from: u32, people_max: usize) -> Self {
        Self {
            large_from,
            people_max,
            young: HashMap::new(),
            old: HashMap::new(),
            young_weight: 0,
            old_weight: 0,
            wanted: HashSet::new(),
            loading: HashMap::new(),
            moment: 0,
        }
    }

    /// Most members of a room that has a list.
    #[must_use]
    pub(super) fn listed_max(&self) -> u32 {
        self.large_from.saturating_mul(LISTED_TIMES_LARGE)
    }

    /// Someone came to a node or left it: where members are must be looked up again.
    pub(super) fn directory_changed(&mut self) {
        self.moment += 1;
    }

    /// For each target what goes there: places in the batch, in its order. Wants the members of rooms that are cold.
    pub(super) fn plan(
        &mut self,
        batch: &[Outgoing<'_>],
        directory: &Directory,
        now: Instant,
    ) -> Vec<(Channel, Vec<usize>)> {
        let mut targets: BTreeMap<Channel, Vec<usize>> = BTreeMap::new();
        let mut ways: HashMap<&RoomId, Vec<Channel>> = HashMap::new();
        for (place, outgoing) in batch.iter().enumerate() {
            let mut send = |channel: &Channel| {
                let places = targets.entry(channel.clone()).or_default();
                if places.last() != Some(&place) {
                    places.push(place);
                }
            };
            match outgoing {
                Outgoing::To(channel) => send(channel),
                Outgoing::Ephemeral(room) => {
                    ways.entry(room).or_insert_with(|| self.ways(room, directory, now)).iter().for_each(send);
                }
                Outgoing::Event(event) => match event.stream() {
                    StreamId::System => send(&Channel::All),
                    StreamId::User(user) => {
                        directory.nodes_of(user).for_each(|node| send(&Channel::Node(node)));
                    }
                    StreamId::Room(room) => {
                        if self.note(event, now) {
                            ways.remove(room);
                        }
                        ways.entry(room).or_insert_with(|| self.ways(room, directory, now)).iter().for_each(&mut send);
                        // The list may have been read when they were in it no more.
                        let removed = event.removed_user().into_iter().flat_map(|user| directory.nodes_of(user));
                        removed.for_each(|node| send(&Channel::Node(node)));
                    }
                },
            }
        }
        targets.into_iter().collect()
    }

    /// Takes what a room's event says about its members, before the store is asked; whether that changed anything here.
    pub(super) fn note(&mut self, event: &LiveEvent, now: Instant) -> bool {
        let (StreamId::Room(room), Some(EventBody::MemberJoined(joined))) = (event.stream(), event.body()) else {
            return false;
        };
        if let Some(since) = self.loading.get_mut(room) {
            since.push(joined.user.clone());
        }
        let Some(mut members) = self.remove(room) else { return false };
        join(&mut members, &joined.user, self.listed_max());
        turn(&mut members, self.large_from, now);
        self.insert(room.clone(), members);
        true
    }

    /// The members of a room changed: they are wanted again if they are of any use here.
    pub(super) fn changed(&mut self, room: &RoomId) {
        if self.young.contains_key(room) || self.old.contains_key(room) {
            self.wanted.insert(room.clone());
        }
    }

    /// Nothing that is known can be trusted: everything is cold.
    pub(super) fn forget_all(&mut self) {
        self.young.clear();
        self.old.clear();
        (self.young_weight, self.old_weight) = (0, 0);
    }

    /// Whether the members of any room are wanted.
    #[must_use]
    pub(super) fn wants(&self) -> bool {
        !self.wanted.is_empty()
    }

    /// Takes at most `most` of the rooms whose members are wanted. Each comes back with [`Routes::loaded`] or
    /// [`Routes::not_loaded`].
    pub(super) fn take_wanted(&mut self, most: usize) -> Vec<RoomId> {
        let rooms: Vec<RoomId> =
            self.wanted.iter().filter(|room| !self.loading.contains_key(*room)).take(most).cloned().collect();
        for room in &rooms {
            self.wanted.remove(room);
            self.loading.insert(room.clone(), Vec::new());
        }
        rooms
    }

    /// The members of a room as the store had them.
    pub(super) fn loaded(&mut self, audience: Audience, now: Instant) {
        let Some(joined) = self.loading.remove(&audience.room) else { return };
        let before = self.remove(&audience.room);
        let mut members = Members {
            count: audience.members,
            people: audience.people,
            // One that was cold and is large goes both ways for a while: others may be about to notice, too.
            is_large: before.as_ref().is_some_and(|before| before.is_large),
            turned_at: before.and_then(|before| before.turned_at),
            nodes: None,
        };
        for user in &joined {
            join(&mut members, user, self.listed_max());
        }
        turn(&mut members, self.large_from, now);
        self.insert(audience.room, members);
    }

    /// They could not be read: they are wanted still.
    pub(super) fn not_loaded(&mut self, rooms: Vec<RoomId>) {
        for room in rooms {
            self.loading.remove(&room);
            self.wanted.insert(room);
        }
    }

    /// People in all lists together, and a place for each room.
    #[must_use]
    pub(super) fn weight(&self) -> usize {
        self.young_weight + self.old_weight
    }

    /// The channels that a room's events go to.
    fn ways(&mut self, room: &RoomId, directory: &Directory, now: Instant) -> Vec<Channel> {
        let moment = self.moment;
        let is_wanted_at_all = !self.wanted.contains(room) && !self.loading.contains_key(room);
        let Some(mut members) = self.remove(room) else {
            // What waits for the store is bounded by what may be kept of it.
            if is_wanted_at_all && self.wanted.len() < self.people_max {
                self.wanted.insert(room.clone());
            }
            return vec![Channel::All];
        };
        if members.turned_at.is_some_and(|at| now.saturating_duration_since(at) > BOTH_WAYS) {
            members.turned_at = None;
        }
        let both = members.turned_at.is_some();
        let mut ways = Vec::new();
        if members.is_large || both {
            ways.push(Channel::Room(room.clone()));
        }
        if !members.is_large || both {
            if members.people.is_empty() && members.count > 0 {
                ways.push(Channel::All);
            } else {
                if members.nodes.as_ref().is_none_or(|(at, _)| *at != moment) {
                    let nodes: BTreeSet<NodeId> =
                        members.people.iter().flat_map(|user| directory.nodes_of(user)).collect();
                    members.nodes = Some((moment, nodes.into_iter().collect()));
                }
                let nodes = members.nodes.iter().flat_map(|(_, nodes)| nodes);
                ways.extend(nodes.map(|node| Channel::Node(*node)));
            }
        }
        self.insert(room.clone(), members);
        ways
    }

    fn remove(&mut self, room: &RoomId) -> Option<Members> {
        if let Some(members) = self.young.remove(room) {
            self.young_weight -= members.weight();
            return Some(members);
        }
        let members = self.old.remove(room)?;
        self.old_weight -= members.weight();
        Some(members)
    }

    fn insert(&mut self, room: RoomId, members: Members) {
        if self.young_weight + members.weight() > self.people_max / 2 {
            self.old = std::mem::take(&mut self.young);
            self.old_weight = std::mem::take(&mut self.young_weight);
        }
        self.young_weight += members.weight();
        self.young.insert(room, members);
    }
}

fn join(members: &mut Members, user: &UserId, listed_max: u32) {
    if members.people.contains(user) {
        return;
    }
    if members.count < listed_max && (!members.people.is_empty() || members.count == 0) {
        members.people.push(user.clone());
    } else {
        members.people = Vec::new();
    }
    members.count = members.count.saturating_add(1).min(listed_max.saturating_add(1));
    members.nodes = None;
}

/// Large or small, as its members are counted now.
fn turn(members: &mut Members, large_from: u32, now: Instant) {
    let is_large = members.count >= large_from;
    if is_large != members.is_large {
        members.is_large = is_large;
        members.turned_at = Some(now);
    }
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
