//! The Postgres back end, for a cluster.
//!
//! Every write is one call of a versioned stored function in its own transaction: it locks the rooms in the order of
//! their ids, then the users, and only then, in a new statement with a new snapshot, looks and writes. Every read is one
//! statement. The tail finds what other nodes committed by the transaction that wrote it.
//!
//! Reading order: `migrations/postgres` (the tables and functions), [`statements`], `commit`, `reads`, `connection`.
//!
//! **Invariant:** nothing here holds a lock longer than one round trip; a client that dies leaves nothing open.
//!
//! **Invariant:** rooms are locked before users, each in the order of their ids; read markers last, by room and user.

mod audiences;
mod commit;
mod connection;
#[cfg(feature = "fault-injection")]
mod fault;
mod locked;
mod migrations;
mod options;
mod people;
mod reads;
mod rows;
pub mod statements;
mod upkeep;
mod words;

use async_trait::async_trait;
use hallway_protocol::{Epoch, RoomId, StreamId, UserId};

#[cfg(feature = "fault-injection")]
pub use fault::look_for_nonces_before_the_locks;
pub use options::PostgresOptions;

use crate::{
    AudienceBatch, AuditPage, AuditQuery, BanQuery, BansPage, CommitBatch, ConnectState, Durability, Ending, HeadBatch,
    HistoryQuery, Log, Mark, MarkBatch, MemberQuery, MembersPage, MessagesPage, MissedQuery, PageBatch, PageRequest,
    People, RoomQuery, RoomView, Rooms, RoomsPage, StoreError, StreamHead, Tail, TailCursor, Upkeep, Write,
};
use connection::{Connections, Kind};

/// A store in a Postgres database.
#[derive(Clone)]
pub struct PostgresStore {
    connections: Connections,
}

impl PostgresStore {
    /// Connects, brings the tables up to date and begins a new epoch when this is another life of the store.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when the URL or the database cannot be used as it is, [`StoreError::Unavailable`] when
    /// the server cannot be reached.
    pub async fn open(url: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        let config = options::parse(url, &options)?;
        migrations::migrate(&config).await?;
        let connections = Connections::new(options::for_work(config, &options), &options).await?;
        let store = Self { connections };
        store.epoch().await?;
        store.trim_nonces().await?;
        Ok(store)
    }
}

#[async_trait]
impl Log for PostgresStore {
    async fn commit(&self, batch: Vec<Write>) -> Result<CommitBatch, StoreError> {
        commit::commit(&self.connections, batch).await
    }

    async fn mark_read(&self, marks: Vec<Mark>) -> Result<MarkBatch, StoreError> {
        commit::mark_read(&self.connections, marks).await
    }

    async fn pages(&self, requests: Vec<PageRequest>) -> Result<PageBatch, StoreError> {
        reads::pages(&self.connections, requests).await
    }

    async fn heads(&self, streams: Vec<StreamId>) -> Result<HeadBatch, StoreError> {
        reads::heads(&self.connections, streams).await
    }

    async fn tail(&self, cursor: TailCursor) -> Result<Tail, StoreError> {
        reads::tail(&self.connections, cursor).await
    }
}

#[async_trait]
impl Rooms for PostgresStore {
    async fn connect_after(&self, user: &UserId, missed: MissedQuery) -> Result<ConnectState, StoreError> {
        reads::connect(&self.connections, user, &missed).await
    }

    async fn room(&self, user: &UserId, room: &RoomId) -> Result<Option<RoomView>, StoreError> {
        reads::room(&self.connections, user, room).await
    }

    async fn list_rooms(&self, user: &UserId, query: RoomQuery) -> Result<RoomsPage, StoreError> {
        reads::list_rooms(&self.connections, user, query).await
    }

    async fn members(&self, user: &UserId, query: MemberQuery) -> Result<Option<MembersPage>, StoreError> {
        reads::members(&self.connections, user, query).await
    }

    async fn history(&self, user: &UserId, query: HistoryQuery) -> Result<Option<MessagesPage>, StoreError> {
        reads::history(&self.connections, user, query).await
    }

    async fn audiences(&self, rooms: Vec<RoomId>, members_max: u32) -> Result<AudienceBatch, StoreError> {
        audiences::audiences(&self.connections, rooms, members_max).await
    }

    async fn acquaintances(&self, user: &UserId, others: Vec<UserId>) -> Result<Vec<UserId>, StoreError> {
        audiences::acquaintances(&self.connections, user, others).await
    }
}

#[async_trait]
impl crate::Tasks for PostgresStore {}

#[async_trait]
impl crate::Notifications for PostgresStore {}

#[async_trait]
impl crate::Outbox for PostgresStore {}

#[async_trait]
impl People for PostgresStore {
    async fn mute(&self, user: &UserId, room: &RoomId) -> Result<Option<Ending>, StoreError> {
        people::mute(&self.connections, user, room).await
    }

    async fn bans(&self, user: &UserId, query: BanQuery) -> Result<Option<BansPage>, StoreError> {
        people::bans(&self.connections, user, query).await
    }

    async fn audit(&self, viewer: Option<&UserId>, query: AuditQuery) -> Result<Option<AuditPage>, StoreError> {
        people::audit(&self.connections, viewer, query).await
    }

    async fn trim_records(&self) -> Result<bool, StoreError> {
        people::trim_records(&self.connections).await
    }
}

#[async_trait]
impl Upkeep for PostgresStore {
    async fn probe(&self) -> Result<(), StoreError> {
        self.connections.run(Kind::Read, statements::PROBE, &[]).await.map(|_| ())
    }

    async fn epoch(&self) -> Result<Epoch, StoreError> {
        upkeep::epoch(&self.connections, false).await
    }

    async fn new_epoch(&self) -> Result<Epoch, StoreError> {
        upkeep::epoch(&self.connections, true).await
    }

    async fn durability(&self) -> Result<Durability, StoreError> {
        connection::durability(&self.connections).await
    }

    async fn trim(&self, stream: &StreamId, keep_from_seq: u64) -> Result<StreamHead, StoreError> {
        upkeep::trim(&self.connections, stream, keep_from_seq).await
    }

    async fn expired(&self, older_than_ms: u64, limit: u32) -> Result<Vec<(StreamId, u64)>, StoreError> {
        upkeep::expired(&self.connections, older_than_ms, limit).await
    }

    async fn trim_nonces(&self) -> Result<bool, StoreError> {
        upkeep::trim_nonces(&self.connections).await
    }

    async fn close(&self) {
        // A commit that returned is on the server's disk; connections close when the last clone is dropped.
    }
}
