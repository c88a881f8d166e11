//! How one kind of server is spoken to: all that differs between Hallway and its peers.
//!
//! The engine frames and unframes WebSocket messages itself (RFC 6455) and finds stamped bodies in whatever payload bytes
//! arrive, so an adapter only says what is sent and when a connection counts as ready.

/// One of a run's connections.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(crate) struct Who {
    /// Unique in the run.
    pub(crate) user: String,
    /// The rooms it is in; the first one is the room that it talks in.
    pub(crate) rooms: Vec<String>,
    /// Signed for this user, where the server checks one.
    pub(crate) token: Option<String>,
}

/// A WebSocket message, not yet framed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    Text(Vec<u8>),
    Binary(Vec<u8>),
}

/// One step from the upgrade to being ready: say something (or nothing), then wait for a message that contains something (or
/// for nothing).
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) say: Option<Message>,
    pub(crate) wait_for: Option<Vec<u8>>,
}

/// A kind of server.
pub(crate) trait Adapter: Send {
    /// Path and query of the upgrade request.
    fn path(&self, who: &Who) -> String;

    /// Headers of the upgrade request besides those that every WebSocket client sends.
    fn headers(&self, _who: &Who) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// What makes an upgraded connection a member of its rooms.
    fn greeting(&self, who: &Who) -> Vec<Step>;

    /// The message that publishes a body (ASCII letters and digits only) to everybody else in a room.
    fn publish(&self, who: &Who, room: &str, body: &str) -> Message;

    /// What must be answered to a message (a keep-alive of the server's own protocol), if anything.
    fn answer(&self, _payload: &[u8]) -> Option<Message> {
        None
    }

    /// Whether a message says that something which was sent is refused. A run with refusals is no measurement.
    fn refused(&self, _payload: &[u8]) -> bool {
        false
    }
}
