//! What Hallway remembers.
//!
//! Every durable change is an event in a stream with a dense sequence number, committed here before anyone hears of it.
//! Two back ends keep the same contract, and one conformance suite ([`conformance`], behind a feature) proves it on both:
//! [`sqlite`], the embedded default, and [`postgres`], for a cluster. Nothing here knows a socket or a bus.
//!
//! Reading order: [`model`] (what goes in and comes out), the traits below and in [`tasks`], [`notifications`] and [`people`], one back end.
//!
//! **Invariant:** a stream's numbers begin at 1 and have no holes, whatever commits, fails, repeats or dies.
//!
//! **Invariant:** a commit that returned survives `kill -9` and power loss.
//!
//! **Invariant:** every read returns the epoch and, per stream, `first_seq` and `last_seq` of its own snapshot.

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod connect;
pub mod error;
pub mod model;
pub mod names;
pub mod notifications;
pub mod people;
pub mod postgres;
pub mod rules;
pub mod sqlite;
pub mod task_rules;
pub mod tasks;

use async_trait::async_trait;
use hallway_protocol::{Epoch, RoomId, StreamId, UserId};

pub use connect::{ConnectState, MissedQuery};
pub use error::{Refusal, StoreError};
pub use model::*;
pub use notifications::*;
pub use people::{AUDIT_KEPT_MS, AuditPage, AuditQuery, BanQuery, BansPage, Ending};
pub use tasks::*;

/// The streams: the one way in, and the reads that sync rests on.
#[async_trait]
pub trait Log: Send + Sync {
    /// Carries out a batch, durable when it returns: the writes of one room, and those of one actor, in their order. Each
    /// is accepted or refused on its own; a refusal leaves nothing behind. At most [`BATCH_MAX_WRITES`] writes. A back end
    /// may use several transactions (Postgres: one for each run of like writes); a failure after the first of them is an
    /// unknown outcome of the whole batch. A write that someone else's lock holds up is
    /// refused with [`Refusal::Locked`], and the later ones of its actor with [`Refusal::BehindLocked`], while the others go on;
    /// handed in again, they are tried again.
    ///
    /// Sender, role and archived state are checked under the lock that numbers the event; a nonce seen within the dedup
    /// window returns its first result (`repeated`), also when the sender has since lost the right, and
    /// [`Refusal::NonceConflict`] when its body differs.
    ///
    /// # Errors
    /// The whole batch: [`StoreError::Unavailable`] when nothing was handed over, [`StoreError::OutcomeUnknown`] when it
    /// may have been committed, [`StoreError::Refused`] when the store refused the data (halve the batch to find which).
    async fn commit(&self, batch: Vec<Write>) -> Result<CommitBatch, StoreError>;

    /// Carries out at most [`TOGETHER_MAX_WRITES`] writes of one actor in their order, all of them or none, in one transaction;
    /// durable when it returns. A repeat of writes that were carried out together answers with their first results. Waits for
    /// other people's locks as a batch does: [`Refusal::Locked`].
    ///
    /// # Errors
    /// As [`Log::commit`].
    async fn commit_together(&self, writes: Vec<Write>) -> Result<TogetherBatch, StoreError>;

    /// Whether calls of [`Log::commit`] and [`Log::commit_together`] that come at once are carried out side by side. A store
    /// with one writer is served best by one large batch after another.
    fn commits_side_by_side(&self) -> bool {
        false
    }

    /// Moves read markers forward: `GREATEST(old, LEAST(new, head))`. A marker that moved is an event of the user's
    /// stream. Marks of non-members are answered with `None`.
    async fn mark_read(&self, marks: Vec<Mark>) -> Result<MarkBatch, StoreError>;

    /// Events after a position, of several streams, in one snapshot. Carries no membership: who may see what is the
    /// caller's to decide. Streams that do not exist have `last_seq` 0 and `first_seq` 1.
    async fn pages(&self, requests: Vec<PageRequest>) -> Result<PageBatch, StoreError>;

    /// Heads of several streams in one snapshot.
    async fn heads(&self, streams: Vec<StreamId>) -> Result<HeadBatch, StoreError>;

    /// What was committed since a cursor, by anyone, in whatever order the transactions ended; seeing a commit twice is
    /// allowed, missing one is not. A store with a single writer has no need of it and answers with no heads.
    async fn tail(&self, cursor: TailCursor) -> Result<Tail, StoreError>;
}

/// Rooms, members and messages as they are now.
#[async_trait]
pub trait Rooms: Send + Sync {
    /// Everything that a connecting user needs, in one snapshot, with what they missed of the streams that they name and that
    /// are theirs in that snapshot, never below what they may see. Makes the user's stream known if it is not.
    async fn connect_after(&self, user: &UserId, missed: MissedQuery) -> Result<ConnectState, StoreError>;

    /// The same for a user who has nothing.
    async fn connect(&self, user: &UserId) -> Result<ConnectState, StoreError> {
        self.connect_after(user, MissedQuery::default()).await
    }

    /// One room with the asker's membership, if any. `None` when it does not exist or is private and not theirs.
    async fn room(&self, user: &UserId, room: &RoomId) -> Result<Option<RoomView>, StoreError>;

    /// Rooms in the order of their ids.
    async fn list_rooms(&self, user: &UserId, query: RoomQuery) -> Result<RoomsPage, StoreError>;

    /// Members in the order of their ids. `None` when the asker is no member (and the room is not public).
    async fn members(&self, user: &UserId, query: MemberQuery) -> Result<Option<MembersPage>, StoreError>;

    /// Messages of a room by their creating `seq`; never below what the member may see. `None` when the asker is no
    /// member, judged in the same snapshot.
    async fn history(&self, user: &UserId, query: HistoryQuery) -> Result<Option<MessagesPage>, StoreError>;

    /// Whom several rooms concern, in one snapshot and in the order asked for: who their members are while they are at most
    /// `members_max`, else only that they are more. Reads at most one member beyond that of each room. Carries no right: it is
    /// for a node that decides where to send what.
    async fn audiences(&self, rooms: Vec<RoomId>, members_max: u32) -> Result<AudienceBatch, StoreError>;

    /// Those of `others` who share a room with somebody, in the order asked for. Everybody shares one with themselves.
    async fn acquaintances(&self, user: &UserId, others: Vec<UserId>) -> Result<Vec<UserId>, StoreError>;
}

/// Acts on people: what is in force, and the record of them.
#[async_trait]
pub trait People: Send + Sync {
    /// The mute of a member that is in force, by the store's clock.
    async fn mute(&self, user: &UserId, room: &RoomId) -> Result<Option<Ending>, StoreError>;

    /// Bans in force, in the order of the user ids. `None` unless the asker is an admin of the room, judged in the same
    /// snapshot.
    async fn bans(&self, user: &UserId, query: BanQuery) -> Result<Option<BansPage>, StoreError>;

    /// The record, newest first. With a `viewer` only that of a room that they are an admin of, judged in the same
    /// snapshot; `None` when they are not. Without one, any: whether the asker may is the caller's to decide.
    async fn audit(&self, viewer: Option<&UserId>, query: AuditQuery) -> Result<Option<AuditPage>, StoreError>;

    /// Drops bans and mutes that have ended and entries older than [`AUDIT_KEPT_MS`], in bounded steps; returns whether
    /// there is more to do.
    async fn trim_records(&self) -> Result<bool, StoreError>;
}

/// The store's own health and housekeeping.
#[async_trait]
pub trait Upkeep: Send + Sync {
    /// One cheap statement.
    async fn probe(&self) -> Result<(), StoreError>;

    /// The present epoch, as every batch carries it.
    async fn epoch(&self) -> Result<Epoch, StoreError>;

    /// Begins a new epoch: after a disk snapshot was put back.
    async fn new_epoch(&self) -> Result<Epoch, StoreError>;

    /// What the store does for durability. A node refuses to serve on one that is not [`Durability::safe`].
    async fn durability(&self) -> Result<Durability, StoreError>;

    /// Drops the events of a stream below `keep_from_seq` (at most to its head + 1) together with the messages that were
    /// created there, and sets `first_seq`, in one transaction.
    async fn trim(&self, stream: &StreamId, keep_from_seq: u64) -> Result<StreamHead, StoreError>;

    /// Streams that hold events older than a time, with the seq to trim them to; at most `limit`, for retention by age.
    async fn expired(&self, older_than_ms: u64, limit: u32) -> Result<Vec<(StreamId, u64)>, StoreError>;

    /// Drops nonces older than the dedup window, in bounded steps; returns whether there is more to do.
    async fn trim_nonces(&self) -> Result<bool, StoreError>;

    /// Closes the store; all that was committed is on disk.
    async fn close(&self);
}

/// All of it.
pub trait Store: Log + Rooms + Tasks + Notifications + Outbox + People + Upkeep {}
impl<T: Log + Rooms + Tasks + Notifications + Outbox + People + Upkeep> Store for T {}
