//! Which nodes there are, which people have sockets on which of them, and how present they are.
//!
//! Pure: everything here takes what was heard and the time, and returns what to say. Each node tells the others what changes
//! at its own door ([`Notice`]); who missed some of it asks for the whole ([`Told::Ask`]). A node that was not heard of for a
//! lease is gone, with everybody on it.
//!
//! **Invariant:** what is said here is a hint: a stale entry makes something late, never lost.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use hallway_protocol::UserId;
use serde::{Deserialize, Serialize};

use crate::node::NodeId;

/// A person at one node. No devices: not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Devices {
    /// Sockets of theirs.
    pub devices: u16,
    /// How many of them say that nobody is looking.
    pub away: u16,
}

/// What a node tells others. Travels in postcard: a released variant never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// It lives; its table has come to this version.
    Heartbeat { version: u64 },
    /// Its table went from `version - 1` to `version` by these changes.
    Delta { version: u64, changes: Vec<(UserId, Devices)> },
    /// Its whole table as of `version`, in `parts` parts.
    Snapshot { version: u64, part: u32, parts: u32, people: Vec<(UserId, Devices)> },
    /// Tell me yours.
    Ask,
    /// It stops: nobody is here any more.
    Farewell,
}

/// What to do after something was heard or time has passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A node is there that was not.
    Joined(NodeId),
    /// A node is gone, with everybody on it.
    Left(NodeId),
    /// Somebody's devices changed, anywhere.
    Changed(UserId),
    /// Send [`Notice::Ask`] to this node: something of it was missed.
    Ask(NodeId),
    /// Send these to this node: it asked.
    Answer(NodeId, Vec<Notice>),
}

#[derive(Debug, Default)]
struct Peer {
    people: HashMap<UserId, Devices>,
    heard_at: Option<Instant>,
}

/// The directory of one node.
#[derive(Debug)]
pub struct Directory {
    own: HashMap<UserId, Devices>,
    peers: BTreeMap<NodeId, Peer>,
    node_lease: Duration,
    version: u64,
    changes: HashMap<UserId, Devices>,
}

impl Directory {
    /// Nobody is known. A node that was not heard of for `node_lease` is gone.
    #[must_use]
    pub fn new(node_lease: Duration) -> Self {
        Self { own: HashMap::new(), peers: BTreeMap::new(), node_lease, version: 0, changes: HashMap::new() }
    }

    /// Somebody's devices at this node are these now. Told to the others with the next [`Directory::delta`].
    pub fn set_own(&mut self, user: &UserId, devices: Devices) -> Vec<Told> {
        if devices.devices == 0 {
            self.own.remove(user);
        } else {
            self.own.insert(user.clone(), devices);
        }
        self.changes.insert(user.clone(), devices);
        vec![Told::Changed(user.clone())]
    }

    /// What to tell everybody, if anything changed here since the last time.
    pub fn delta(&mut self) -> Option<Notice> {
        if self.changes.is_empty() {
            return None;
        }
        self.version += 1;
        Some(Notice::Delta { version: self.version, changes: self.changes.drain().collect() })
    }

    /// What to tell everybody now and then, several times in a lease.
    #[must_use]
    pub fn heartbeat(&self) -> Notice {
        Notice::Heartbeat { version: self.version }
    }

    /// Takes what another node said.
    pub fn hear(&mut self, from: NodeId, notice: Notice, now: Instant) -> Vec<Told> {
        let mut told = Vec::new();
        if !self.peers.contains_key(&from) {
            told.push(Told::Joined(from));
        }
        let peer = self.peers.entry(from).or_default();
        peer.heard_at = Some(now);
        if let Notice::Delta { changes, .. } = notice {
            for (user, devices) in changes {
                peer.people.insert(user.clone(), devices);
                told.push(Told::Changed(user));
            }
        }
        told
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Told> {
        let lease = self.node_lease;
        let gone = |peer: &Peer| peer.heard_at.is_none_or(|at| now.saturating_duration_since(at) > lease);
        self.peers.extract_if(.., |_, peer| gone(peer)).map(|(node, _)| Told::Left(node)).collect()
    }

    /// The other nodes that live.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.keys().copied()
    }

    /// The other nodes where somebody has sockets.
    pub fn nodes_of<'a>(&'a self, user: &'a UserId) -> impl Iterator<Item = NodeId> + 'a {
        self.peers.iter().filter(|(_, peer)| peer.people.contains_key(user)).map(|(node, _)| *node)
    }

    /// Somebody's devices on all nodes together.
    #[must_use]
    pub fn devices(&self, user: &UserId) -> Devices {
        let here = self.own.get(user).copied().unwrap_or_default();
        self.peers.values().filter_map(|peer| peer.people.get(user)).fold(here, |sum, there| Devices {
            devices: sum.devices.saturating_add(there.devices),
            away: sum.away.saturating_add(there.away),
        })
    }
}
