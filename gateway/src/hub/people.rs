//! The control plane: who is connected here, with which sockets, and which rooms they are known to be in.

use std::collections::HashMap;
use std::sync::Arc;

use dashmap::DashMap;
use hallway_protocol::event::MembershipChanged;
use hallway_protocol::model::MyRoom;
use hallway_protocol::{Role, RoomId, Seq, UserId};

use super::{Connection, ConnectionId};

/// What this node knows of a membership: good for quick answers, never for the decision (the store decides).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    pub role: Role,
    pub joined_seq: Seq,
    /// Number of the user-stream event that said so; of two, the greater holds.
    version: Seq,
}

#[derive(Default)]
struct Person {
    connections: Vec<Arc<Connection>>,
    rooms: HashMap<RoomId, Membership>,
}

/// `user → connections and rooms`. Guards never leave this file.
#[derive(Default)]
pub(super) struct People {
    map: DashMap<UserId, Person>,
}

impl People {
    /// Adds a connection unless the user has `max` already; returns whether it was added.
    pub(super) fn enter(&self, connection: &Arc<Connection>, max: u64) -> bool {
        let mut person = self.map.entry(connection.user.clone()).or_default();
        if person.connections.len() as u64 >= max {
            return false;
        }
        person.connections.push(Arc::clone(connection));
        true
    }

    /// Removes exactly this connection; forgets the person with the last one.
    pub(super) fn leave(&self, user: &UserId, id: ConnectionId) {
        if let Some(mut person) = self.map.get_mut(user) {
            person.connections.retain(|connection| connection.id != id);
        }
        self.map.remove_if(user, |_, person| person.connections.is_empty());
    }

    /// The connections of a user on this node.
    pub(super) fn connections(&self, user: &UserId) -> Vec<Arc<Connection>> {
        self.map.get(user).map(|person| person.connections.clone()).unwrap_or_default()
    }

    /// Every connection of the node.
    pub(super) fn all_connections(&self) -> Vec<Arc<Connection>> {
        self.map.iter().flat_map(|person| person.connections.clone()).collect()
    }

    /// A membership as this node knows it.
    pub(super) fn membership(&self, user: &UserId, room: &RoomId) -> Option<Membership> {
        self.map.get(user).and_then(|person| person.rooms.get(room).copied())
    }

    /// Takes all memberships as a snapshot of the store had them when the user's stream ended at `version`.
    pub(super) fn learn_rooms(&self, user: &UserId, rooms: &[MyRoom], version: Seq) {
        let Some(mut person) = self.map.get_mut(user) else { return };
        let mut known: HashMap<RoomId, Membership> = rooms
            .iter()
            .map(|room| (room.info.room.clone(), Membership { role: room.role, joined_seq: room.joined_seq, version }))
            .collect();
        for (room, newer) in person.rooms.drain().filter(|(_, membership)| membership.version > version) {
            known.insert(room, newer);
        }
        person.rooms = known;
    }

    /// Takes one change, as the user's stream tells it.
    pub(super) fn learn_change(&self, user: &UserId, change: &MembershipChanged, version: Seq) {
        let Some(mut person) = self.map.get_mut(user) else { return };
        if person.rooms.get(&change.room).is_some_and(|known| known.version >= version) {
            return;
        }
        match change.role {
            Some(role) => {
                let membership = Membership { role, joined_seq: change.joined_seq, version };
                person.rooms.insert(change.room.clone(), membership);
            }
            None => {
                person.rooms.remove(&change.room);
            }
        }
    }
}
