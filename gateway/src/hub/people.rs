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

/// What was heard last of a person in a room: 16 bytes for each membership on the node.
#[derive(Debug, Clone, Copy)]
struct Known {
    room: RoomKey,
    /// `None`: no member any more. Remembered, because what was so before may still be heard afterwards.
    role: Option<Role>,
    muted: bool,
    /// How often something was heard of a mute, modulo 256.
    mutes_heard: u8,
    /// Number of the user-stream event that said so; of two, the greater holds. Mutes are told in the order of the stream and
    /// have no number here.
    version: Seq,
}

#[derive(Default)]
struct Person {
    connections: Vec<Arc<Connection>>,
    rooms: Rooms,
}

/// The memberships of one person, in the order of their keys. Each holds its room's key.
#[derive(Default)]
struct Rooms(Vec<Known>);

/// `user → connections and rooms`. Guards never leave this file. The keys are locked last, and under the guard of the person
/// whose key is looked at: what a person holds keeps its meaning while one looks.
#[derive(Default)]
pub(super) struct People {
    map: DashMap<UserId, Person>,
    keys: RwLock<RoomKeys>,
}

impl Rooms {
    fn find(&self, room: RoomKey) -> Result<usize, usize> {
        self.0.binary_search_by_key(&room, |known| known.room)
    }

    /// Takes a whole snapshot; what is newer than it stays.
    fn replace(&mut self, rooms: &[MyRoom], muted: &[RoomId], version: Seq, keys: &mut RoomKeys) {
        let mut known: Vec<Known> = Vec::with_capacity(rooms.len());
        known.extend(rooms.iter().map(|room| Known {
            room: keys.hold(&room.info.room),
            role: Some(room.role),
            muted: muted.contains(&room.info.room),
            mutes_heard: 0,
            version,
        }));
        known.sort_unstable_by_key(|known| known.room);
        let old = std::mem::replace(&mut self.0, known);
        for old in old {
            if old.version <= version {
                keys.release(old.room);
                continue;
            }
            match self.find(old.room) {
                Ok(index) => {
                    keys.release(old.room);
                    self.0[index] = old;
                }
                Err(index) => self.0.insert(index, old),
            }
        }
    }

    /// Takes one change.
    fn change(&mut self, change: &MembershipChanged, version: Seq, keys: &mut RoomKeys) {
        let room = keys.hold(&change.room);
        let mut known = Known { room, role: change.role, muted: false, mutes_heard: 0, version };
        match self.find(room) {
            Ok(index) => {
                // It is held already.
                keys.release(room);
                let old = self.0[index];
                if old.version < version {
                    known.muted = old.muted && change.role.is_some();
                    known.mutes_heard = old.mutes_heard;
                    self.0[index] = known;
                }
            }
            Err(index) => {
                // One at a time they come seldom: no more room than that.
                self.0.reserve_exact(1);
                self.0.insert(index, known);
            }
        }
        if change.role.is_none() {
            self.forget_old_removals(keys);
        }
    }

    /// Takes the beginning or the end of a mute.
    fn mute(&mut self, room: RoomKey, muted: bool) {
        let Ok(index) = self.find(room) else { return };
        let known = &mut self.0[index];
        known.muted = muted;
        known.mutes_heard = known.mutes_heard.wrapping_add(1);
    }

    fn forget_old_removals(&mut self, keys: &mut RoomKeys) {
        let removals = || self.0.iter().enumerate().filter(|(_, known)| known.role.is_none());
        if removals().count() > REMOVALS_MAX
            && let Some((oldest, _)) = removals().min_by_key(|(_, known)| known.version)
        {
            keys.release(self.0.remove(oldest).room);
        }
    }
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
            person.rooms.0.iter().for_each(|known| keys.release(known.room));
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
            let known = person.rooms.0.iter().filter(|known| known.role.is_some());
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
        let known = person.rooms.0[person.rooms.find(key).ok()?];
        let mute = known.muted.then_some(MuteHeard(known.mutes_heard));
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
            && person.rooms.0[index].mutes_heard == heard.0
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
