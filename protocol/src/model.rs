//! What rooms, members and messages look like on the wire.

use serde::{Deserialize, Serialize};

use crate::ids::{MessageId, RoomId, SessionId, UserId};
use crate::meta::Meta;
use crate::position::Seq;

/// What a member may do in a room; each role may do all that the ones below it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads, marks as read.
    Guest,
    /// Writes messages, edits and deletes their own.
    Member,
    /// Invites, removes, changes settings, deletes anyone's messages.
    Admin,
    /// Archives the room; there is always at least one in a channel.
    Owner,
}

/// A channel has roles and settings; a direct room has exactly two members for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomKind {
    Channel,
    Direct,
}

/// Who may find and join a room without an invitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Visibility {
    /// Anyone may find and join it.
    Public,
    /// For those who are not members it does not exist.
    Private,
}

/// How far back a member may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum History {
    /// Everything that is kept.
    All,
    /// From the own joining on.
    SinceJoin,
}

/// A room as everyone who may see it sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomInfo {
    pub room: RoomId,
    pub kind: RoomKind,
    pub visibility: Visibility,
    pub history: History,
    /// Display name, at most 200 bytes.
    pub name: Option<String>,
    pub archived: bool,
    pub created_at_ms: u64,
}

/// A room from the point of view of one of its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MyRoom {
    pub info: RoomInfo,
    pub role: Role,
    /// Sequence number of the event that made this person a member.
    pub joined_seq: Seq,
    /// Oldest event that this member may see: 1, or `joined_seq` with `history: since_join`.
    pub visible_from_seq: Seq,
    /// Oldest event that is still kept; `last_seq + 1` when none is.
    pub first_seq: Seq,
    /// Newest event; 0 when there is none.
    pub last_seq: Seq,
    /// Messages after the read marker.
    pub unread: u64,
    /// The read marker.
    pub read_seq: Seq,
}

/// A member of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub user: UserId,
    pub role: Role,
    pub joined_seq: Seq,
}

/// A message as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub id: MessageId,
    /// Sequence number of the event that created it: its place in the room.
    pub seq: Seq,
    /// Counts the room's messages, from 1.
    pub ordinal: u64,
    pub sender: UserId,
    pub at_ms: u64,
    /// Empty when deleted.
    pub text: String,
    pub reply_to: Option<MessageId>,
    pub mentions: Vec<UserId>,
    pub meta: Option<Meta>,
    /// 1 when created, one more with each edit and with the deletion.
    pub version: u32,
    pub edited_at_ms: Option<u64>,
    pub deleted: bool,
    pub reactions: Vec<Reaction>,
}

/// One emoji under a message and who put it there, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaction {
    pub emoji: String,
    pub users: Vec<UserId>,
}

/// A connection of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    pub session: SessionId,
    pub user: UserId,
    /// The node that holds it: sixteen hexadecimal digits.
    pub node: String,
    /// By that node's clock.
    pub connected_at_ms: u64,
    /// As the client named itself in `hello`.
    pub client_name: Option<String>,
    pub client_version: Option<String>,
    pub away: bool,
    /// It is the one that asks.
    pub current: bool,
}

/// Someone who is kept out of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    pub user: UserId,
    pub by: UserId,
    pub at_ms: u64,
    /// Null: until they are let in again.
    pub until_ms: Option<u64>,
    pub reason: Option<String>,
}

/// One act on a person, as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    pub at_ms: u64,
    /// Who did it.
    pub actor: UserId,
    /// Name of the command. Text, so that it can grow.
    pub action: String,
    pub room: Option<RoomId>,
    /// To whom.
    pub target: Option<UserId>,
    /// Which of their sessions.
    pub session: Option<SessionId>,
    /// When it ends, where that was said.
    pub until_ms: Option<u64>,
    pub reason: Option<String>,
}

/// Whether somebody is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PresenceState {
    /// At least one connection is not away.
    Online,
    /// There are connections, and all are away.
    Away,
    Offline,
}

/// A person, as they are right now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    pub user: UserId,
    pub state: PresenceState,
    /// Their connections.
    pub devices: u32,
}
