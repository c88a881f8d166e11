//! Commands about who is there right now. Ephemeral: nothing of it is in a stream. Since minor 1.

use serde::{Deserialize, Serialize};

use crate::ids::{RoomId, UserId};
use crate::model::Presence;

/// Says that the person at this connection is away, or is back. A connection begins as not away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceSet {
    pub away: bool,
}

/// Who of a room is there: the counts of the whole room and one page of its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceGet {
    pub room: RoomId,
    #[serde(default)]
    pub cursor: Option<String>,
    /// 1 to 100; without it 50.
    #[serde(default)]
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomPresence {
    /// Members with at least one connection that is not away.
    pub online: u64,
    /// Members whose connections are all away.
    pub away: u64,
    /// False when the counts are not of the whole room: it is too large, or a node was not heard of for a while.
    pub counts_complete: bool,
    /// Members in the order of their ids, also those who are offline.
    pub members: Vec<Presence>,
    pub next: Option<String>,
}

/// Whose presence this connection is told of from now on, by `presence` frames; replaces the list before. People who share
/// no room with the asker are shown as offline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PresenceWatch {
    /// At most 500.
    pub users: Vec<UserId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watched {
    /// As they are now, in the order asked for.
    pub people: Vec<Presence>,
}
