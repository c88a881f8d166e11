//! Pure: what nodes tell each other, and what a node is told by its own directory.

use hallway_protocol::model::PresenceState;
use hallway_protocol::{RoomId, UserId};
use serde::{Deserialize, Serialize};

use crate::node::NodeId;

/// A person at one node, or at all of them. No devices: not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Devices {
    /// Sockets of theirs.
    pub devices: u16,
    /// How many of them say that nobody is looking.
    pub away: u16,
}

impl Devices {
    /// How present somebody with these devices is.
    #[must_use]
    pub const fn presence(self) -> PresenceState {
        if self.devices == 0 {
            PresenceState::Offline
        } else if self.away >= self.devices {
            PresenceState::Away
        } else {
            PresenceState::Online
        }
    }
}

/// People of one room who have sockets, as counted by one node or by all of them. Somebody who is at several nodes is counted
/// by one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RoomCounts {
    /// Those with a device that is looked at.
    pub online: u32,
    /// Those whose devices are all away.
    pub away: u32,
    /// How many nodes have counted: 1 at a node that has, also when it found nobody.
    pub nodes: u16,
}

/// What a node tells others. Travels in postcard: a released variant never changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Notice {
    /// It lives; its table has come to this version.
    Heartbeat { version: u64 },
    /// Its table went from `version - 1` to `version` by these changes.
    Delta { version: u64, changes: Vec<(UserId, Devices)> },
    /// Its whole table as of `version`, in `parts` parts. The same version is always cut into the same parts.
    Snapshot { version: u64, part: u32, parts: u32, people: Vec<(UserId, Devices)> },
    /// Tell me yours.
    Ask,
    /// It stops: nobody is here any more.
    Farewell,
    /// A delta of rooms: the table went from `version - 1` to `version` by these changes.
    RoomDelta { version: u64, changes: Vec<(RoomId, RoomCounts)> },
    /// A part of a snapshot that holds rooms; parts are counted together with those that hold people.
    RoomSnapshot { version: u64, part: u32, parts: u32, rooms: Vec<(RoomId, RoomCounts)> },
    /// Somebody asks who is in these rooms: count them for a while.
    Want { rooms: Vec<RoomId> },
}

/// What to do after something was heard or time has passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// A node is there that was not.
    Joined(NodeId),
    /// A node is gone, with everybody on it.
    Left(NodeId),
    /// What can be seen of somebody changed, anywhere: how many devices, or how present.
    Changed(UserId),
    /// Send [`Notice::Ask`] to this node: something of it was missed.
    Ask(NodeId),
    /// Send these to this node: it asked, or has just come and should know us.
    Answer(NodeId, Vec<Notice>),
}
