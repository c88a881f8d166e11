//! Streams and positions: the one idea of Hallway.
//!
//! Every durable change is an event in a stream. A stream's sequence numbers begin at 1 and have no holes, so a
//! number alone tells what is missing. Only events, `reset` and `sync_end` move a client's position; an
//! acknowledgement or a history page never does.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};

use crate::ids::{Epoch, InvalidId, RoomId, UserId};

/// Number of an event in its stream, from 1 without holes; 0 stands before the first. Below 2^53, so that every
/// JSON reader holds it exactly.
pub type Seq = u64;

/// Largest sequence number that JSON readers hold exactly.
pub const SEQ_MAX: Seq = (1 << 53) - 1;

/// Which log an event belongs to. On the wire and in the store it is text: `room:<id>`, `user:<id>` or `system`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StreamId {
    /// Messages, membership and settings of one room.
    Room(RoomId),
    /// What concerns one person on all their devices: the room list, read markers.
    User(UserId),
    /// What every node follows.
    System,
}

impl StreamId {
    /// The room whose stream this is.
    #[must_use]
    pub fn room(&self) -> Option<&RoomId> {
        match self {
            Self::Room(room) => Some(room),
            Self::User(_) | Self::System => None,
        }
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room(room) => write!(out, "room:{room}"),
            Self::User(user) => write!(out, "user:{user}"),
            Self::System => out.write_str("system"),
        }
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{self}\"")
    }
}

impl FromStr for StreamId {
    type Err = InvalidId;
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if let Some(room) = text.strip_prefix("room:") {
            return RoomId::new(room).map(Self::Room);
        }
        if let Some(user) = text.strip_prefix("user:") {
            return UserId::new(user).map(Self::User);
        }
        if text == "system" {
            return Ok(Self::System);
        }
        Err(InvalidId::new("stream", text, "room:<room id>, user:<user id> or system"))
    }
}

impl Serialize for StreamId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StreamId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = StreamId;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a stream: room:<room id>, user:<user id> or system")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<StreamId, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// Where a client stands in a stream: it has every event up to and including `seq` that it may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Position {
    pub stream: StreamId,
    pub epoch: Epoch,
    pub seq: Seq,
}
