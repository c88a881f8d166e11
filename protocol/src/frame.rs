//! What a node sends. In JSON the one key of a frame says what it is: `ok`, `error`, `event`, `reset`, …

use serde::{Deserialize, Serialize};

use crate::codes::ErrorBody;
use crate::command::Reply;
use crate::event::Event;
use crate::ids::{Epoch, RoomId, UserId};
use crate::meta::Meta;
use crate::model::Presence;
use crate::position::{Position, Seq, StreamId};

/// Everything that a node sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerFrame {
    /// The command was carried out.
    Ok(OkFrame),
    /// The command was refused, or (with no `id`) the connection is about to end.
    Error(ErrorFrame),
    /// Moves the position of its stream to its `seq`.
    Event(Event),
    /// Events of the streams asked for follow, then `sync_end`. Live events of other streams may lie between.
    SyncBegin(SyncBegin),
    /// Everything that had been committed when the sync was read is here: these are the positions.
    SyncEnd(SyncEnd),
    /// Forget everything you hold of this stream; the next event is `seq + 1`.
    Reset(Reset),
    /// Ephemeral.
    Typing(TypingFrame),
    /// Ephemeral.
    Signal(SignalFrame),
    /// The connection ends soon; come back after this long.
    Closing(Closing),
    /// Ephemeral: somebody whom this connection watches came, went or is away.
    Presence(Presence),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OkFrame {
    pub id: u64,
    pub reply: Reply,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorFrame {
    /// Which request; null when it could not be read.
    pub id: Option<u64>,
    pub error: ErrorBody,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncBegin {
    pub epoch: Epoch,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncEnd {
    pub positions: Vec<Position>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    pub stream: StreamId,
    pub epoch: Epoch,
    pub seq: Seq,
    pub reason: ResetReason,
}

/// Why continuity could not be kept, or was not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResetReason {
    /// The client gave no position for this stream.
    New,
    /// The client missed more than the `limit` it gave.
    Limit,
    /// The store began a new life (a restore): older positions mean nothing.
    Epoch,
    /// Events after the client's position are no longer kept.
    Trimmed,
    /// The client's position lies before what it may see since it joined (again).
    Joined,
    /// The client's position lies beyond the stream's end: it is from elsewhere.
    Ahead,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypingFrame {
    pub room: RoomId,
    pub user: UserId,
    pub active: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignalFrame {
    pub room: RoomId,
    pub user: UserId,
    pub name: String,
    pub data: Option<Meta>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    pub code: u16,
    pub reason: String,
    /// Null: do not come back.
    pub reconnect_after_ms: Option<u64>,
}
