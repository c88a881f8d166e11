//! Commands that act on people: on their sessions, on what they may do in a room, and the record of both. Since minor 1.

use serde::{Deserialize, Serialize};

use crate::ids::{Nonce, RoomId, SessionId, UserId};
use crate::model::{AuditEntry, Ban, Session};

/// Lists the connections of a user: one's own, or with the scope `admin` anyone's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionList {
    /// Without it: the asker.
    #[serde(default)]
    pub user: Option<UserId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sessions {
    pub sessions: Vec<Session>,
    /// False when a node of the cluster did not answer in time: its sessions are missing.
    pub complete: bool,
}

/// Ends one connection, wherever it is. It is told not to come back, but its token stays good: see [`UserRevoke`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRevoke {
    pub nonce: Nonce,
    /// As `hello` and `session.list` named it.
    pub session: SessionId,
    /// Whose it is. Without it: the asker's own; another's needs the scope `admin`.
    #[serde(default)]
    pub user: Option<UserId>,
}

/// Ends all connections of a user, and refuses every token that was issued before. Another's needs the scope `admin`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRevoke {
    pub nonce: Nonce,
    pub user: UserId,
    /// For the record, at most 500 bytes.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Removes a member, who may come back the way they came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomKick {
    pub nonce: Nonce,
    pub room: RoomId,
    pub user: UserId,
    /// For the record, at most 500 bytes.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Removes someone, if they are a member, and keeps them out. Banning again replaces the end and the reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomBan {
    pub nonce: Nonce,
    pub room: RoomId,
    pub user: UserId,
    /// When it ends by itself. Without it: with `room.unban`.
    #[serde(default)]
    pub until_ms: Option<u64>,
    /// For the record, at most 500 bytes.
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomUnban {
    pub nonce: Nonce,
    pub room: RoomId,
    pub user: UserId,
}

/// A muted member reads and writes nothing. Muting again replaces the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomMute {
    pub nonce: Nonce,
    pub room: RoomId,
    pub user: UserId,
    /// When it ends by itself. Without it: with `room.unmute`.
    #[serde(default)]
    pub until_ms: Option<u64>,
    /// For the record, at most 500 bytes.
    #[serde(default)]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomUnmute {
    pub nonce: Nonce,
    pub room: RoomId,
    pub user: UserId,
}

/// Who is banned from a room, for its admins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomBans {
    pub room: RoomId,
    #[serde(default)]
    pub cursor: Option<String>,
    /// 1 to 100; without it 50.
    #[serde(default)]
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bans {
    pub bans: Vec<Ban>,
    pub next: Option<String>,
}

/// What was done to people, newest first: in one room (for its admins), or anywhere (with the scope `admin`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditList {
    /// Only what was done in this room.
    #[serde(default)]
    pub room: Option<RoomId>,
    /// Only what was done to this user.
    #[serde(default)]
    pub user: Option<UserId>,
    #[serde(default)]
    pub cursor: Option<String>,
    /// 1 to 100; without it 50.
    #[serde(default)]
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntries {
    pub entries: Vec<AuditEntry>,
    pub next: Option<String>,
}
