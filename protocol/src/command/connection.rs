//! Commands about the connection itself: who is there, where they stand, are you there.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, UserId};
use crate::model::MyRoom;
use crate::position::Position;

/// First command of every connection: who is there, and where they stand.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// JWT. May be left out when it came in the `Authorization` header.
    #[serde(default)]
    pub token: Option<String>,
    /// Name of the client library or application, at most 64 bytes.
    #[serde(default)]
    pub client_name: Option<String>,
    /// Its version, at most 64 bytes.
    #[serde(default)]
    pub client_version: Option<String>,
    /// Highest minor of protocol v1 that the client knows.
    #[serde(default)]
    pub protocol_minor: u16,
    /// One for each stream that the client already holds, at most 1,001.
    #[serde(default)]
    pub positions: Vec<Position>,
    /// "Too far behind, give me the latest": most missed events that the client wants per stream. Without it: all.
    #[serde(default)]
    pub limit: Option<u32>,
}

impl fmt::Debug for Hello {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Hello")
            .field("token", &self.token.as_ref().map(|_| Hidden))
            .field("client_name", &self.client_name)
            .field("client_version", &self.client_version)
            .field("protocol_minor", &self.protocol_minor)
            .field("positions", &self.positions)
            .field("limit", &self.limit)
            .finish()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Names this connection in logs.
    pub session: String,
    pub user: UserId,
    pub epoch: Epoch,
    /// The smaller of both sides' minors.
    pub protocol_minor: u16,
    pub server_version: String,
    /// The server pings this often; a client that hears nothing for twice as long should reconnect.
    pub heartbeat_interval_ms: u64,
    /// When the token ends; refresh it before with `auth.refresh`.
    pub token_expires_at_ms: u64,
    /// All rooms of this person.
    pub rooms: Vec<MyRoom>,
}

/// Brings the given streams up to date again, as `hello` did; other streams stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sync {
    pub positions: Vec<Position>,
    #[serde(default)]
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncStarted {
    pub epoch: Epoch,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ping {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pong {
    /// The node's clock, milliseconds since 1970.
    pub at_ms: u64,
}

#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthRefresh {
    pub token: String,
}

impl fmt::Debug for AuthRefresh {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("AuthRefresh").field("token", &Hidden).finish()
    }
}

/// Stands for a token wherever a command is printed: tokens are in no log.
struct Hidden;

impl fmt::Debug for Hidden {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("(hidden)")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refreshed {
    pub token_expires_at_ms: u64,
}
