//! The wire of Hallway, shared by the server, the Rust client and the tools.
//!
//! What a client and a node say to each other, and nothing else: no async, no I/O, no store, no socket.
//!
//! Reading order:
//! 1. [`ids`]: the names of things, each with its limits, checked when it is parsed.
//! 2. [`position`]: a stream, its dense sequence numbers, and where a client stands in it.
//! 3. [`command`]: what a client may ask; one table of wire names, kind numbers, parameters and replies.
//! 4. [`event`]: what happened in a stream. [`model`], [`task`] and [`notification`]: what the two speak of.
//! 5. [`frame`]: what a node sends: replies, errors, events and the brackets of a sync.
//! 6. [`codes`]: every error code and close code, with what a client should do about it.
//! 7. [`codec`]: the two encodings, JSON text and postcard binary, of the same types.
//! 8. [`check`](mod@check): limits of arguments that the types do not express.
//! 9. [`cursor`]: where a page continues; opaque to clients.
//!
//! **Invariant:** the wire only grows. A released postcard struct never changes; new things are new variants with
//! new kind numbers, and the golden fixtures in `protocol/fixtures/v1` hold what was released.
//!
//! **Invariant:** no `tag`, `flatten`, `untagged` or `skip_serializing_if`: postcard mis-decodes them silently.

pub mod check;
pub mod codec;
pub mod codes;
pub mod command;
pub mod cursor;
pub mod event;
pub mod frame;
pub mod ids;
pub mod meta;
pub mod model;
pub mod notification;
pub mod position;
pub mod task;
pub mod words;

pub use codes::{CloseCode, ErrorBody, ErrorCode, Outcome};
pub use command::{Command, Reply, Request};
pub use event::{Event, EventBody};
pub use frame::ServerFrame;
pub use ids::{
    CommentId, Epoch, InvalidId, MessageId, Nonce, NotificationId, ObjectId, RoomId, SessionId, TaskId, UserId,
};
pub use meta::Meta;
pub use model::{History, Message, Role, RoomInfo, RoomKind, Visibility};
pub use position::{Position, Seq, StreamId};

/// Minor version of protocol v1 that this crate speaks. A node sends only what the client's minor knows; only events are
/// sent to everyone, since an event of a kind that a client does not know still moves its position.
///
/// 1: `session.*`, `user.revoke`, `room.kick` to `room.bans`, `audit.list` and `presence.*`, their events, the frame
/// `presence`, the error codes `banned` and `muted`.
///
/// 2: `task.*`, `notification.*`, `notify`, `profile.set`, `outbox.*`, `actions` and `resolve`, their events, and the error
/// codes `task_deleted`, `illegal_move`, `task_waits` and `task_cycle`.
pub const PROTOCOL_MINOR: u16 = 2;
