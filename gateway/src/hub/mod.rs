//! Who on this node follows which stream, and how committed events reach them.
//!
//! ```text
//!   committed events, heads heard            connections
//!            │                                   │ attach, pages from the log
//!            ▼                                   ▼
//!   owner (one per share of the streams) ──► lane (one per share of the connections) ──► sockets
//!   sequencer: order, gaps, newborn heads     Live | Behind per (connection, stream)
//! ```
//!
//! An *owner* task alone puts a stream's events and attaches into the lanes' inboxes, in one order. A *lane* alone appends
//! stream events to a connection, live or from the log; one thread at a time works on it, so order per connection and stream
//! needs no other lock. A pair that ends is told to its stream's owner.
//!
//! **Invariant:** an event reaches a lane after all smaller numbers of its stream, or the lane learns that they are
//! missing; a pair that missed anything is Behind until it was served from the ring or the log.
//!
//! **Invariant:** removal from a room is applied at its own number: it is the last event that the removed person gets.
//!
//! **Invariant:** nothing here waits for a client.
//!
//! Reading order: `event`, `ring`, `owner` (with its pure `sequencer`), `lane` (with its pure `pairs`), `connection`,
//! `people` (with `room_keys`), `changes` and `diary` (what those above take), `facade`.

mod changes;
mod connection;
mod diary;
mod event;
mod facade;
mod inbox;
mod lane;
mod owner;
mod people;
mod revocations;
mod ring;
mod room_keys;
#[cfg(test)]
mod stepped;

pub use changes::{ChangedPeople, ChangedRooms, PeopleWatch, RoomWatch};
pub use connection::{About, Behind, Connection, ConnectionId};
pub use diary::{Diary, NOTE_SEQS_MAX, Note};
pub use event::LiveEvent;
pub use facade::{FollowedFrom, Hub};
pub use inbox::Inbox;
pub use lane::{LaneMessage, PageForPair};
pub use owner::{Attach, Claims, Known, LogPage, LogRead, LogReader};
pub use people::{Membership, MuteHeard};
pub use ring::Ring;
#[cfg(test)]
pub(crate) use stepped::{OwnerReading, SteppedHub};
