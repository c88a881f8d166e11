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
mod concerns;
mod connection;
#[cfg(feature = "fault-injection")]
mod fault;
mod locked;
mod migrations;
mod notes;
mod options;
mod outbox;
mod pages;
mod people;
mod reads;
mod resolve;
mod rows;
mod sends;
pub mod statements;
mod tasks;
mod tls;
mod together;
mod upkeep;
mod words;

use async_trait::async_trait;
use hallway_protocol::command::{Candidate, Preferences, TaskSummary};
use hallway_protocol::notification::Trace;
use hallway_protocol::{Epoch, NotificationId, RoomId, StreamId, TaskId, UserId};

#[cfg(feature = "fault-injection")]
pub use fault::look_for_nonces_before_the_locks;
pub use options::{PostgresOptions, checks_server};

use crate::{
    AudienceBatch, AuditPage, AuditQuery, BanQuery, BansPage, CommentQuery, CommentsPage, CommitBatch, ConnectState,
    DeadJobsPage, Delivery, Durability, Ending, HandOut, HandOutFate, HandOutRules, HeadBatch, HistoryQuery, Job,
    JobClaim, JobResult, Log, Mark, MarkBatch, MemberQuery, MembersPage, MessagesPage, MissedQuery, NewJob,
    NotificationQuery, Notifications, NotificationsPage, Outbox, PageBatch, PageRequest, People, Progress,
    ResolveQuery, RoomQuery, RoomView, Rooms, RoomsPage, StoreError, StreamHead, Tail, TailCursor, TaskQuery, TaskView,
    Tasks, TasksPage, TogetherBatch, Upkeep, Write,
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
        let server = options::parse(url, &options)?;
        if server.is_anybody {
            tracing::warn!(
                "connections to Postgres are encrypted, but nobody checks who answers: sslmode=verify-full does"
            );
        }
        migrations::migrate(&server).await?;
        let connections = Connections::new(options::for_work(server, &options), &options).await?;
        let store = Self { connections };
        store.epoch().await?;
        store.trim_nonces().await?;
        Ok(store)
    }

    /// The same store, which notes what may have to be handed to webhooks by these rules.
    #[must_use]
    pub fn with_hand_outs(mut self, rules: HandOutRules) -> Self {
        self.connections.hand_outs = rules;
        self
    }
}

#[async_trait]
impl Log for PostgresStore {
    async fn commit(&self, batch: Vec<Write>) -> Result<CommitBatch, StoreError> {
        commit::commit(&self.connections, batch).await
    }

    async fn commit_together(&self, writes: Vec<Write>) -> Result<TogetherBatch, StoreError> {
        together::commit_together(&self.connections, writes).await
    }

    fn commits_side_by_side(&self) -> bool {
        true
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
impl Tasks for PostgresStore {
    async fn task(&self, user: &UserId, room: &RoomId, id: TaskId) -> Result<Option<TaskView>, StoreError> {
        tasks::task(&self.connections, user, room, id).await
    }

    async fn task_comments(&self, user: &UserId, query: CommentQuery) -> Result<Option<CommentsPage>, StoreError> {
        tasks::comments(&self.connections, user, query).await
    }

    async fn list_tasks(&self, user: &UserId, query: TaskQuery) -> Result<Option<TasksPage>, StoreError> {
        tasks::list(&self.connections, user, query).await
    }

    async fn task_summary(&self, user: &UserId, room: Option<&RoomId>) -> Result<Option<TaskSummary>, StoreError> {
        tasks::summary(&self.connections, user, room).await
    }

    async fn resolve(&self, user: &UserId, queries: Vec<ResolveQuery>) -> Result<Vec<Vec<Candidate>>, StoreError> {
        resolve::resolve(&self.connections, user, queries).await
    }
}

#[async_trait]
impl Notifications for PostgresStore {
    async fn notifications(&self, user: &UserId, query: NotificationQuery) -> Result<NotificationsPage, StoreError> {
        notes::notifications(&self.connections, user, query).await
    }

    async fn preferences(&self, user: &UserId) -> Result<Preferences, StoreError> {
        notes::preferences(&self.connections, user).await
    }

    async fn fan_out(&self) -> Result<Progress, StoreError> {
        notes::fan_out(&self.connections).await
    }

    async fn fire_due(&self, tasks_max: u32) -> Result<Progress, StoreError> {
        notes::fire_due(&self.connections, tasks_max).await
    }

    async fn claim_hand_outs(&self, limit: u32, lease_ms: u64) -> Result<Vec<HandOut>, StoreError> {
        notes::claim_hand_outs(&self.connections, limit, lease_ms).await
    }

    async fn settle_hand_outs(
        &self,
        settled: Vec<(NotificationId, HandOutFate)>,
        jobs: Vec<NewJob>,
    ) -> Result<(), StoreError> {
        notes::settle_hand_outs(&self.connections, settled, jobs).await
    }

    async fn note_deliveries(&self, deliveries: Vec<Delivery>) -> Result<(), StoreError> {
        notes::note_deliveries(&self.connections, deliveries).await
    }

    async fn trace(&self, id: NotificationId) -> Result<Option<Trace>, StoreError> {
        notes::trace(&self.connections, id).await
    }
}

#[async_trait]
impl Outbox for PostgresStore {
    async fn claim_jobs(&self, claim: JobClaim) -> Result<Vec<Job>, StoreError> {
        outbox::claim_jobs(&self.connections, claim).await
    }

    async fn finish_jobs(&self, results: Vec<JobResult>) -> Result<(), StoreError> {
        outbox::finish_jobs(&self.connections, results).await
    }

    async fn dead_jobs(&self, before: Option<u64>, limit: u32) -> Result<DeadJobsPage, StoreError> {
        outbox::dead_jobs(&self.connections, before, limit).await
    }

    async fn replay_jobs(&self, jobs: Vec<u64>, most: u32) -> Result<u64, StoreError> {
        outbox::replay_jobs(&self.connections, jobs, most).await
    }

    async fn trim_jobs(&self, done_kept: u32, dead_kept: u32) -> Result<bool, StoreError> {
        outbox::trim_jobs(&self.connections, done_kept, dead_kept).await
    }
}

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
