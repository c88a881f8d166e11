//! Pure: the directory of one node.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use hallway_protocol::model::PresenceState;
use hallway_protocol::{RoomId, UserId};

use super::interest::Interest;
use super::own::Untold;
use super::peer::{Entries, Peer, Step};
use super::table::{NodeIndex, OWN, Table};
use super::{Devices, NODES_MAX, Notice, RoomCounts, Told};
use crate::node::NodeId;

/// A node that said farewell is not heard for this many leases: what it said before may still come.
const FAREWELL_LEASES: u32 = 2;

/// The directory of one node.
#[derive(Debug)]
pub struct Directory {
    people: Table<UserId, Devices>,
    rooms: Table<RoomId, RoomCounts>,
    peers: BTreeMap<NodeId, Peer>,
    /// Which node an index stands for; the first is this one.
    node_at: Vec<Option<NodeId>>,
    /// Nodes that said farewell, and until when they are not heard.
    parted: BTreeMap<NodeId, Instant>,
    node_lease: Duration,
    version: u64,
    untold_people: Untold<UserId, Devices>,
    untold_rooms: Untold<RoomId, RoomCounts>,
    interest: Interest,
    refused: u64,
}

impl Directory {
    /// Nobody is known. A node that was not heard of for `node_lease` is gone.
    #[must_use]
    pub fn new(node_lease: Duration) -> Self {
        Self {
            people: Table::default(),
            rooms: Table::default(),
            peers: BTreeMap::new(),
            node_at: vec![None],
            parted: BTreeMap::new(),
            node_lease,
            version: 0,
            untold_people: Untold::default(),
            untold_rooms: Untold::default(),
            interest: Interest::default(),
            refused: 0,
        }
    }

    /// This is the node's own id: what it hears of itself is ignored.
    #[must_use]
    pub fn of_node(mut self, own: NodeId) -> Self {
        self.node_at[usize::from(OWN.0)] = Some(own);
        self
    }

    /// Somebody's devices at this node are these now. Told to the others with the next [`Directory::delta`].
    pub fn set_own(&mut self, user: &UserId, devices: Devices) -> Vec<Told> {
        let before = self.people.at(user, OWN);
        let is_seen = self.people.set(user, OWN, devices);
        self.untold_people.note(user, before, self.people.at(user, OWN));
        if is_seen { vec![Told::Changed(user.clone())] } else { Vec::new() }
    }

    /// So many people of a room are counted by this node now. Told to the others with the next [`Directory::delta`].
    pub fn set_own_room(&mut self, room: &RoomId, counts: RoomCounts) {
        let before = self.rooms.at(room, OWN);
        self.rooms.set(room, OWN, counts);
        self.untold_rooms.note(room, before, counts);
    }

    /// What to tell everybody, if anything changed here since the last time. Of bounded size: call it until there is nothing
    /// more to tell.
    pub fn delta(&mut self) -> Option<Notice> {
        if self.untold_people.len() > 0 {
            self.version += 1;
            return Some(Notice::Delta { version: self.version, changes: self.untold_people.take(&self.people) });
        }
        if self.untold_rooms.len() > 0 {
            self.version += 1;
            return Some(Notice::RoomDelta { version: self.version, changes: self.untold_rooms.take(&self.rooms) });
        }
        let rooms = self.interest.take_unsaid();
        (!rooms.is_empty()).then_some(Notice::Want { rooms })
    }

    /// What to tell everybody now and then, several times in a lease.
    #[must_use]
    pub fn heartbeat(&self) -> Notice {
        Notice::Heartbeat { version: self.version }
    }

    /// Takes what another node said.
    pub fn hear(&mut self, from: NodeId, notice: Notice, now: Instant) -> Vec<Told> {
        let is_self = self.node_at[usize::from(OWN.0)] == Some(from);
        if is_self || self.parted.get(&from).is_some_and(|until| now < *until) {
            return Vec::new();
        }
        if notice == Notice::Farewell {
            return self.farewell(from, now);
        }
        let mut told = Vec::new();
        if !self.peers.contains_key(&from) {
            let Some(index) = self.free_index() else {
                self.refused += 1;
                return told;
            };
            self.node_at[usize::from(index.0)] = Some(from);
            self.peers.insert(from, Peer::new(index, now));
            told.push(Told::Joined(from));
            told.push(Told::Answer(from, vec![self.heartbeat()]));
        }
        let Some(peer) = self.peers.get_mut(&from) else { return told };
        peer.heard(now);
        let index = peer.index;
        let steps = match notice {
            Notice::Heartbeat { version } => {
                peer.head(version);
                Vec::new()
            }
            Notice::Delta { version, changes } => peer.delta(version, Entries::People(changes)),
            Notice::RoomDelta { version, changes } => peer.delta(version, Entries::Rooms(changes)),
            Notice::Snapshot { version, part, parts, people } => {
                peer.part(version, part, parts, Entries::People(people), now)
            }
            Notice::RoomSnapshot { version, part, parts, rooms } => {
                peer.part(version, part, parts, Entries::Rooms(rooms), now)
            }
            Notice::Ask => {
                if peer.answer(now) {
                    told.push(Told::Answer(from, self.snapshot()));
                }
                Vec::new()
            }
            Notice::Want { rooms } => {
                self.interest.heard(rooms, now);
                Vec::new()
            }
            Notice::Farewell => Vec::new(),
        };
        let changed = self.apply(index, steps);
        told.extend(changed.into_iter().map(Told::Changed));
        if self.peers.get_mut(&from).is_some_and(|peer| peer.ask(now)) {
            told.push(Told::Ask(from));
        }
        told
    }

    fn free_index(&mut self) -> Option<NodeIndex> {
        if self.peers.len() >= NODES_MAX {
            return None;
        }
        let others = self.node_at.iter().enumerate().skip(1);
        let index = others.into_iter().find(|(_, node)| node.is_none()).map(|(index, _)| index);
        let index = index.unwrap_or_else(|| {
            self.node_at.push(None);
            self.node_at.len() - 1
        });
        u16::try_from(index).ok().map(NodeIndex)
    }

    /// Returns those of whom something else is seen than before.
    fn apply(&mut self, node: NodeIndex, steps: Vec<Step>) -> Vec<UserId> {
        let mut changed = Vec::new();
        for step in steps {
            match step {
                Step::Change(Entries::People(people)) => {
                    for (user, devices) in people {
                        if self.people.set(&user, node, devices) {
                            changed.push(user);
                        }
                    }
                }
                Step::Change(Entries::Rooms(rooms)) => {
                    for (room, counts) in rooms {
                        self.rooms.set(&room, node, counts);
                    }
                }
                Step::Replace(parts) => {
                    let (mut people, mut rooms) = (HashMap::new(), HashMap::new());
                    for part in parts {
                        match part {
                            Entries::People(entries) => people.extend(entries),
                            Entries::Rooms(entries) => rooms.extend(entries),
                        }
                    }
                    changed.extend(self.people.replace(node, people));
                    self.rooms.replace(node, rooms);
                }
            }
        }
        changed
    }

    fn snapshot(&self) -> Vec<Notice> {
        let (people, rooms) = (self.untold_people.parts(&self.people), self.untold_rooms.parts(&self.rooms));
        let version = self.version;
        let parts = u32::try_from(people.len() + rooms.len()).unwrap_or(u32::MAX).max(1);
        if people.is_empty() && rooms.is_empty() {
            return vec![Notice::Snapshot { version, part: 0, parts, people: Vec::new() }];
        }
        let numbers = 0..parts;
        let people = people.into_iter().map(Entries::People);
        let all = people.chain(rooms.into_iter().map(Entries::Rooms));
        numbers
            .zip(all)
            .map(|(part, entries)| match entries {
                Entries::People(people) => Notice::Snapshot { version, part, parts, people },
                Entries::Rooms(rooms) => Notice::RoomSnapshot { version, part, parts, rooms },
            })
            .collect()
    }

    fn farewell(&mut self, from: NodeId, now: Instant) -> Vec<Told> {
        while self.parted.len() >= NODES_MAX
            && let Some(oldest) = self.parted.iter().min_by_key(|(_, until)| **until).map(|(node, _)| *node)
        {
            self.parted.remove(&oldest);
        }
        self.parted.insert(from, now + self.node_lease * FAREWELL_LEASES);
        self.forget(from)
    }

    fn forget(&mut self, node: NodeId) -> Vec<Told> {
        let Some(peer) = self.peers.remove(&node) else { return Vec::new() };
        let changed = self.people.replace(peer.index, HashMap::new());
        self.rooms.replace(peer.index, HashMap::new());
        self.node_at[usize::from(peer.index.0)] = None;
        std::iter::once(Told::Left(node)).chain(changed.into_iter().map(Told::Changed)).collect()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Told> {
        self.parted.retain(|_, until| now < *until);
        for room in self.interest.tick(now) {
            self.set_own_room(&room, RoomCounts::default());
        }
        let gone: Vec<NodeId> =
            self.peers.iter().filter(|(_, peer)| peer.is_gone(self.node_lease, now)).map(|(node, _)| *node).collect();
        let mut told: Vec<Told> = gone.into_iter().flat_map(|node| self.forget(node)).collect();
        let asked = self.peers.iter_mut().filter_map(|(node, peer)| peer.ask(now).then_some(Told::Ask(*node)));
        told.extend(asked);
        told
    }

    /// The other nodes that live.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.keys().copied()
    }

    /// The other nodes where somebody has sockets.
    pub fn nodes_of<'a>(&'a self, user: &'a UserId) -> impl Iterator<Item = NodeId> + 'a {
        let others = self.people.nodes(user).filter(|index| *index != OWN);
        others.filter_map(|index| self.node_at[usize::from(index.0)])
    }

    /// Somebody's devices on all nodes together.
    #[must_use]
    pub fn devices(&self, user: &UserId) -> Devices {
        self.people.sum(user)
    }

    /// Whether this node is the one that counts somebody, and as what: of all nodes where they are, the one of the least id.
    #[must_use]
    pub fn counted_here(&self, user: &UserId) -> Option<PresenceState> {
        let own = self.node_at[usize::from(OWN.0)];
        let mut least = None;
        let mut is_here = false;
        for index in self.people.nodes(user) {
            is_here |= index == OWN;
            least = least.max(self.node_at[usize::from(index.0)].map(Reverse));
        }
        let is_least = least.is_none() || least == own.map(Reverse);
        (is_here && is_least).then(|| self.devices(user).presence())
    }

    /// Somebody asks for the counts of a large room: from now on, and for a while, all nodes count it. `false` when too many
    /// rooms are counted already.
    pub fn want_room(&mut self, room: &RoomId, now: Instant) -> bool {
        let is_counted = self.is_counted(room);
        self.interest.asked(room, is_counted, now)
    }

    /// The rooms that are to be counted at this node.
    pub fn wanted_rooms(&self) -> impl Iterator<Item = &RoomId> {
        self.interest.rooms()
    }

    /// Whether this node counts a room, and has.
    #[must_use]
    pub fn is_counted_here(&self, room: &RoomId) -> bool {
        self.interest.contains(room) && self.rooms.at(room, OWN).nodes > 0
    }

    /// What the nodes counted in a room.
    #[must_use]
    pub fn room_counts(&self, room: &RoomId) -> RoomCounts {
        self.rooms.sum(room)
    }

    /// Whether all nodes counted a room, as far as is known.
    #[must_use]
    pub fn is_counted(&self, room: &RoomId) -> bool {
        usize::from(self.room_counts(room).nodes) > self.peers.len() && self.incomplete_count() == 0
    }

    /// How many people are known to have sockets anywhere.
    #[must_use]
    pub fn people_count(&self) -> usize {
        self.people.len()
    }

    /// Nodes of which something is missing that was asked for, or will be.
    #[must_use]
    pub fn incomplete_count(&self) -> usize {
        self.peers.values().filter(|peer| !peer.is_complete()).count()
    }

    /// Notices of nodes that were not heard because there are too many nodes.
    #[must_use]
    pub fn refused_count(&self) -> u64 {
        self.refused
    }

    #[cfg(test)]
    pub(super) fn peer(&self, node: NodeId) -> Option<&Peer> {
        self.peers.get(&node)
    }

    #[cfg(test)]
    pub(super) fn table_bytes(&self) -> usize {
        self.people.bytes()
    }
}
