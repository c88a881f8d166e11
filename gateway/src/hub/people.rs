//! The control plane: who is connected here, with which sockets, and which rooms they are known to be in.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use dashmap::DashMap;
use hallway_protocol::event::MembershipChanged;
use hallway_protocol::model::MyRoom;
use hallway_protocol::{Role, RoomId, Seq, UserId};

use super::room_keys::{RoomKey, RoomKeys};
use super::{Connection, ConnectionId};

/// Removals that are remembered of one person; the oldest of more is forgotten.
const REMOVALS_MAX: usize = 64;

/// What this node knows of a membership: good for quick answers, never for the decision (the store decides).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    pub role: Role,
    /// Present when the member was muted: whether they are still is the store's to say, which has the clock.
    pub mute: Option<MuteHeard>,
}

/// Tells one hearing of a mute from a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MuteHeard(u8);

/// What was heard last of a person in a room: 8 bytes for each membership on the node.
#[derive(Debug, Clone, Copy)]
struct Known {
    room: RoomKey,
    /// Which user-stream event said so, counted from [`Rooms::as_of`]; of two, the greater holds. Mutes are told in the order
    /// of the stream and have no number here.
    later: u16,
    /// `None`: no member any more. Remembered, because what was so before may still be heard afterwards.
    role: Option<Role>,
    /// How often something was heard of a mute, modulo 128; the last bit says whether it holds.
    mutes: u8,
}

#[derive(Default)]
struct Person {
    connections: Vec<Arc<Connection>>,
    rooms: Rooms,
}

/// The memberships of one person.
#[derive(Default)]
struct Rooms {
    /// What is told of the time up to this event of the user's stream is no news.
    as_of: Seq,
    /// In the order of their keys. Each holds its room's key.
    known: Box<[Known]>,
}

/// `user → connections and rooms`. Guards never leave this file. The keys are locked last, and under the guard of the person
/// whose key is looked at: what a person holds keeps its meaning while one looks.
#[derive(Default)]
pub(super) struct People {
    map: DashMap<UserId, Person>,
    keys: RwLock<RoomKeys>,
}

impl Known {
    fn is_muted(self) -> bool {
        self.mutes & 1 == 1
    }

    fn hear_mute(&mut self, muted: bool) {
        self.mutes = (self.mutes & !1).wrapping_add(2) | u8::from(muted);
    }
}

impl Rooms {
    fn find(&self, room: RoomKey) -> Result<usize, usize> {
        self.known.binary_search_by_key(&room, |known| known.room)
    }

    /// Takes a whole snapshot; what is newer than it stays.
    fn replace(&mut self, rooms: &[MyRoom], muted: &[RoomId], version: Seq, keys: &mut RoomKeys) {
        let Some(passed) = version.checked_sub(self.as_of) else { return };
        let mut known: Vec<Known> = Vec::with_capacity(rooms.len());
        known.extend(rooms.iter().map(|room| Known {
            room: keys.hold(&room.info.room),
            later: 0,
            role: Some(room.role),
            mutes: u8::from(muted.contains(&room.info.room)),
        }));
        known.sort_unstable_by_key(|known| known.room);
        for old in std::mem::take(&mut self.known) {
            let later = later_by(old.later, passed);
            match known.binary_search_by_key(&old.room, |known| known.room) {
                _ if later == 0 => keys.release(old.room),
                Ok(index) => {
                    keys.release(old.room);
                    known[index] = Known { later, ..old };
                }
                Err(index) => known.insert(index, Known { later, ..old }),
            }
        }
        self.as_of = version;
        self.known = known.into_boxed_slice();
    }

    /// Takes one change.
    fn change(&mut self, change: &MembershipChanged, version: Seq, keys: &mut RoomKeys) {
        if version <= self.as_of {
            return;
        }
        let later = self.later(version);
        let room = keys.hold(&change.room);
        let mut known = Known { room, later, role: change.role, mutes: 0 };
        match self.find(room) {
            Ok(index) => {
                // It is held already.
                keys.release(room);
                let old = self.known[index];
                if old.later < later {
                    known.mutes = if change.role.is_some() { old.mutes } else { old.mutes & !1 };
                    self.known[index] = known;
                }
            }
            Err(index) => {
                // One at a time they come seldom: no more room than that.
                let mut all = std::mem::take(&mut self.known).into_vec();
                all.reserve_exact(1);
                all.insert(index, known);
                self.known = all.into_boxed_slice();
            }
        }
        if change.role.is_none() {
            self.forget_old_removals(keys);
        }
    }

    /// A version, counted from `as_of`. That moves on where the distance does not fit: what was told so many events ago is
    /// as good as a snapshot of then.
    fn later(&mut self, version: Seq) -> u16 {
        let distance = version.saturating_sub(self.as_of);
        if let Ok(later) = u16::try_from(distance) {
            return later;
        }
        let later = u16::MAX / 2;
        let passed = distance - Seq::from(later);
        self.as_of += passed;
        for known in &mut self.known {
            known.later = later_by(known.later, passed);
        }
        later
    }

    /// Takes the beginning or the end of a mute.
    fn mute(&mut self, room: RoomKey, muted: bool) {
        if let Ok(index) = self.find(room) {
            self.known[index].hear_mute(muted);
        }
    }

    fn forget_old_removals(&mut self, keys: &mut RoomKeys) {
        let removals = || self.known.iter().enumerate().filter(|(_, known)| known.role.is_none());
        if removals().count() > REMOVALS_MAX
            && let Some((oldest, _)) = removals().min_by_key(|(_, known)| known.later)
        {
            let mut all = std::mem::take(&mut self.known).into_vec();
            keys.release(all.remove(oldest).room);
            self.known = all.into_boxed_slice();
        }
    }
}

/// How much later something is than what has passed meanwhile; 0 when it is not.
fn later_by(later: u16, passed: Seq) -> u16 {
    u16::try_from(passed).map_or(0, |passed| later.saturating_sub(passed))
}

impl People {
    /// Adds a connection unless the user has `max` already; returns whether it was added.
    pub(super) fn enter(&self, connection: &Arc<Connection>, max: u64) -> bool {
        let mut person = self.map.entry(connection.user.clone()).or_default();
        if person.connections.len() as u64 >= max {
            return false;
        }
        person.connections.reserve_exact(1);
        person.connections.push(Arc::clone(connection));
        true
    }

    /// Removes exactly this connection; forgets the person with the last one.
    pub(super) fn leave(&self, user: &UserId, id: ConnectionId) {
        if let Some(mut person) = self.map.get_mut(user) {
            person.connections.retain(|connection| connection.id != id);
        }
        if let Some((_, person)) = self.map.remove_if(user, |_, person| person.connections.is_empty()) {
            let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
            person.rooms.known.iter().for_each(|known| keys.release(known.room));
        }
    }

    /// The connections of a user on this node.
    pub(super) fn connections(&self, user: &UserId) -> Vec<Arc<Connection>> {
        self.map.get(user).map(|person| person.connections.clone()).unwrap_or_default()
    }

    /// How many connections a user has on this node.
    pub(super) fn connection_count(&self, user: &UserId) -> usize {
        self.map.get(user).map_or(0, |person| person.connections.len())
    }

    /// A user's connections on this node, and how many of them are away.
    pub(super) fn devices(&self, user: &UserId) -> (usize, usize) {
        let Some(person) = self.map.get(user) else { return (0, 0) };
        let away = person.connections.iter().filter(|connection| connection.is_away()).count();
        (person.connections.len(), away)
    }

    /// Who of those connected here is a member of which of these rooms: the room's place in the list, and the person. What
    /// changes meanwhile may be seen or not.
    pub(super) fn members_here(&self, rooms: &[RoomId]) -> Vec<(usize, UserId)> {
        let index_of: HashMap<RoomKey, usize> = {
            let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
            rooms.iter().enumerate().filter_map(|(index, room)| Some((keys.get(room)?, index))).collect()
        };
        let mut members = Vec::new();
        for person in &self.map {
            let known = person.rooms.known.iter().filter(|known| known.role.is_some());
            let found = known.filter_map(|known| index_of.get(&known.room));
            members.extend(found.map(|index| (*index, person.key().clone())));
        }
        members
    }

    /// Everybody who is connected here.
    pub(super) fn everybody(&self) -> Vec<UserId> {
        self.map.iter().map(|person| person.key().clone()).collect()
    }

    /// Every connection of the node.
    pub(super) fn all_connections(&self) -> Vec<Arc<Connection>> {
        self.map.iter().flat_map(|person| person.connections.clone()).collect()
    }

    /// A membership as this node knows it.
    pub(super) fn membership(&self, user: &UserId, room: &RoomId) -> Option<Membership> {
        let person = self.map.get(user)?;
        let key = self.keys.read().unwrap_or_else(PoisonError::into_inner).get(room)?;
        let known = person.rooms.known[person.rooms.find(key).ok()?];
        let mute = known.is_muted().then_some(MuteHeard(known.mutes));
        known.role.map(|role| Membership { role, mute })
    }

    /// Takes the beginning or the end of a mute, as the user's stream tells it.
    pub(super) fn learn_mute(&self, user: &UserId, room: &RoomId, muted: bool) {
        let Some(mut person) = self.map.get_mut(user) else { return };
        let Some(key) = self.keys.read().unwrap_or_else(PoisonError::into_inner).get(room) else { return };
        person.rooms.mute(key, muted);
    }

    /// The store says that a mute has ended by itself. What was heard since holds.
    pub(super) fn forget_mute(&self, user: &UserId, room: &RoomId, heard: MuteHeard) {
        let Some(mut person) = self.map.get_mut(user) else { return };
        let Some(key) = self.keys.read().unwrap_or_else(PoisonError::into_inner).get(room) else { return };
        if let Ok(index) = person.rooms.find(key)
            && person.rooms.known[index].mutes == heard.0
        {
            person.rooms.mute(key, false);
        }
    }

    /// Takes all memberships as a snapshot of the store had them when the user's stream ended at `version`.
    pub(super) fn learn_rooms(&self, user: &UserId, rooms: &[MyRoom], muted: &[RoomId], version: Seq) {
        let Some(mut person) = self.map.get_mut(user) else { return };
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        person.rooms.replace(rooms, muted, version, &mut keys);
    }

    /// The store began another life: what is known of memberships belongs to the one before, and so do its numbers.
    pub(super) fn forget_rooms(&self) {
        for mut person in self.map.iter_mut() {
            let rooms = std::mem::take(&mut person.rooms);
            let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
            rooms.known.iter().for_each(|known| keys.release(known.room));
        }
    }

    /// Takes one change, as the user's stream tells it.
    pub(super) fn learn_change(&self, user: &UserId, change: &MembershipChanged, version: Seq) {
        let Some(mut person) = self.map.get_mut(user) else { return };
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        person.rooms.change(change, version, &mut keys);
    }
}

#[cfg(test)]
#[path = "people_tests.rs"]
mod tests;
