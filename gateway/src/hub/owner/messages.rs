//! What an owner is told, and how it reads the log.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hallway_protocol::frame::Reset;
use hallway_protocol::{Epoch, RoomId, Seq, StreamId};
use tokio::sync::oneshot;

use super::{ClaimStreams, Unclaim};
use crate::hub::{Connection, LiveEvent};
use crate::telemetry::labels::GapCause;

/// A connection is to follow a stream.
pub struct Attach {
    pub stream: StreamId,
    pub connection: Arc<Connection>,
    /// The first number that it wants.
    pub next: Seq,
    /// The event that began the membership (0 for a user's own stream).
    pub joined_seq: Seq,
    /// Said before the first event.
    pub reset: Option<Reset>,
    /// The head as the caller's snapshot had it.
    pub head: Seq,
    /// Events from `next` on that the caller has read, as far as it has.
    pub missed: Vec<Arc<LiveEvent>>,
    /// Replaces what the pair was doing (`sync`); otherwise an attach of the same membership is ignored.
    pub again: bool,
}

/// What an owner is told.
pub(in crate::hub) enum OwnerMessage {
    Committed(Vec<Arc<LiveEvent>>),
    /// How far streams have come, and who says so.
    Heads(Vec<(StreamId, Seq)>, GapCause),
    /// Begin to listen to a stream, before a snapshot is read that will seed it.
    Enter(StreamId),
    Seed(StreamId, Seq),
    /// Somebody is about to ask the store for their rooms: which of these streams are they to read as well?
    Claim(ClaimStreams),
    /// Claims that came back. Before the attaches of whoever held them.
    Unclaim(Vec<Unclaim>),
    Attach(Box<Attach>),
    /// An attach that was sent to this lane has ended there. One for each.
    Left(usize, StreamId),
    /// The store began another life: forget everything.
    Clear,
    /// Which rooms have readers here?
    Followed(oneshot::Sender<Vec<RoomId>>),
    /// Which streams are held here.
    List(ListStreams),
}

/// Asks an owner for some of the streams that it holds: those of so many of its slots. One that is born behind the listing asks
/// the store for its head by itself.
pub(in crate::hub) struct ListStreams {
    pub(in crate::hub) from_slot: u32,
    pub(in crate::hub) slots: u32,
    /// The streams, and the slot to go on at, if there are more.
    pub(in crate::hub) reply: oneshot::Sender<(Vec<StreamId>, Option<u32>)>,
}

/// What an owner reads from the log for itself.
#[derive(Debug, Clone)]
pub struct LogRead {
    pub stream: StreamId,
    pub after: Seq,
    pub limit: u32,
}

/// What came back, in the order asked for.
#[derive(Debug, Clone)]
pub struct LogPage {
    /// The store's life that the numbers belong to.
    pub epoch: Epoch,
    pub first_seq: Seq,
    pub last_seq: Seq,
    pub events: Vec<Arc<LiveEvent>>,
}

/// How an owner reads the log. `None`: it failed and was reported; try again later.
pub trait LogReader: Send + Sync {
    /// Reads events of several streams in one snapshot.
    fn read(&self, reads: Vec<LogRead>) -> Pin<Box<dyn Future<Output = Option<Vec<LogPage>>> + Send + '_>>;
}
