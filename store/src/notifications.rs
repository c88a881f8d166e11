//! What is asked about notifications, and what is done about them without being asked.

use async_trait::async_trait;
use hallway_protocol::command::Preferences;
use hallway_protocol::notification::{Level, Notification, NotificationKind, Trace};
use hallway_protocol::{Epoch, Event, Meta, NotificationId, RoomId, Seq, SessionId, UserId};

use crate::StoreError;

/// Recipients up to which notifications are written with their cause; above, one fan-out job is.
pub const RECIPIENTS_WITH_CAUSE_MAX: usize = 50;
/// Recipients of one step of a fan-out job.
pub const FAN_OUT_CHUNK_USERS: u32 = 500;
/// An urgent notification that nobody acknowledged for so long is handed out, unless its cause says otherwise.
pub const URGENT_ACKNOWLEDGE_MS: u64 = 30_000;
/// Numbers of a person's stream that one [`Delivery`] spans at most: a trace looks no further for those that hold its own.
pub const DELIVERY_SEQS_MAX: u64 = 256;
/// Most connections and most webhooks that a trace names, each.
pub const TRACE_ROWS_MAX: u32 = 100;

/// What a dead job says whose last lease ran out.
pub const LAST_ATTEMPT_LOST: &str = "its last attempt was not heard of again";

/// What a store does about the application's webhooks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HandOutRules {
    /// Whether there is anybody to hand notifications to; otherwise no hand-out is ever noted.
    pub hands_out: bool,
    /// After this long a notification is looked at for the first time: its person may be offline.
    pub first_look_ms: u64,
}

impl Default for HandOutRules {
    fn default() -> Self {
        Self { hands_out: false, first_look_ms: 2_000 }
    }
}

/// Notifications as they are now, and the work that waits in the store.
#[async_trait]
pub trait Notifications: Send + Sync {
    /// A person's notifications, newest first, and how many are unread, of one snapshot.
    async fn notifications(&self, user: &UserId, query: NotificationQuery) -> Result<NotificationsPage, StoreError>;

    /// What a person is notified of.
    async fn preferences(&self, user: &UserId) -> Result<Preferences, StoreError>;

    /// Carries out one step of one fan-out job, urgent ones first, of at most [`FAN_OUT_CHUNK_USERS`] people, in one transaction: whoever calls
    /// this at the same time gets another job or nothing to do. A step that died is repeated; nobody is notified twice,
    /// because their notifications have keys.
    async fn fan_out(&self) -> Result<Progress, StoreError>;

    /// Notifies of the due times of at most so many tasks that have come, once each: assignees (of a task without any, its
    /// creator) who are members.
    async fn fire_due(&self, tasks_max: u32) -> Result<Progress, StoreError>;

    /// Claims at most `limit` notifications that are to be looked at, for `lease_ms`: whoever dies meanwhile loses them to
    /// others.
    async fn claim_hand_outs(&self, limit: u32, lease_ms: u64) -> Result<Vec<HandOut>, StoreError>;

    /// Says what is to become of claimed notifications. Jobs are written in the same transaction.
    async fn settle_hand_outs(
        &self,
        settled: Vec<(NotificationId, HandOutFate)>,
        jobs: Vec<NewJob>,
    ) -> Result<(), StoreError>;

    /// Notes which notifications were handed to which connections. A diary: what is noted twice stands there once, and a trace
    /// names each connection once, as it was first noted.
    async fn note_deliveries(&self, deliveries: Vec<Delivery>) -> Result<(), StoreError>;

    /// What became of a notification.
    async fn trace(&self, id: NotificationId) -> Result<Option<Trace>, StoreError>;
}

/// Webhooks that are to be delivered.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Claims at most `limit` jobs that are ready, of higher priority first, for `lease_ms`, leaving out some targets. Each
    /// claim counts as an attempt. A job whose lease ran out is claimed again; one that has no attempt left becomes dead.
    async fn claim_jobs(&self, claim: JobClaim) -> Result<Vec<Job>, StoreError>;

    /// Says what became of claimed jobs. What another claim has taken over meanwhile is left alone.
    async fn finish_jobs(&self, results: Vec<JobResult>) -> Result<(), StoreError>;

    /// Jobs that were given up, by number downwards, with number below `before`.
    async fn dead_jobs(&self, before: Option<u64>, limit: u32) -> Result<DeadJobsPage, StoreError>;

    /// Makes jobs that were given up ready again, as if they were new: these, or (empty) the oldest `most`. How many.
    async fn replay_jobs(&self, jobs: Vec<u64>, most: u32) -> Result<u64, StoreError>;

    /// Drops delivered jobs beyond the newest `done_kept`, and dead ones beyond the newest `dead_kept`, in bounded steps; whether
    /// there is more to do.
    async fn trim_jobs(&self, done_kept: u32, dead_kept: u32) -> Result<bool, StoreError>;
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationQuery {
    pub unread_only: bool,
    /// With `seq` below.
    pub before: Option<u64>,
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotificationsPage {
    /// Newest first.
    pub notifications: Vec<Notification>,
    pub unread: u64,
    pub more: bool,
}

/// A step of the work that waits in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub epoch: Epoch,
    /// What was written to people's streams.
    pub events: Vec<Event>,
    /// There is more to do at once.
    pub more: bool,
}

/// Whom an announcement or notice addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addressed {
    Users(Vec<UserId>),
    Room(RoomId),
    Everyone,
}

/// What an announcement or notice says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub title: String,
    pub text: Option<String>,
    pub data: Option<Meta>,
    pub urgent: bool,
    /// Nobody gets two of the same key; without it the writing command's nonce stands for it.
    pub key: Option<String>,
    /// Of an urgent one.
    pub acknowledge_within_ms: Option<u64>,
}

/// Of an [`crate::Action::Prefer`]: in a room, or wherever nothing is said about the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preference {
    pub room: Option<RoomId>,
    pub level: Option<Level>,
}

/// A notification that may have to be handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandOut {
    pub user: UserId,
    pub notification: Notification,
    /// Until the time by which it must be acknowledged, by the store's clock; 0 when it has passed. `None`: it need not be.
    pub acknowledge_in_ms: Option<u64>,
}

/// What is to become of a claimed notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandOutFate {
    /// It was handed out, or need not be: it is not looked at again.
    Settled,
    /// It is looked at again after so long.
    Again { after_ms: u64 },
}

/// A job to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// The name of its target in the configuration.
    pub target: String,
    /// Greater ones first.
    pub priority: u8,
    pub attempts_max: u32,
    /// The body of the request: JSON.
    pub body: String,
    /// The notifications that it carries, for traces.
    pub notifications: Vec<NotificationId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobClaim {
    pub limit: u32,
    pub lease_ms: u64,
    /// The targets that the claimer delivers to; jobs of all others are left alone.
    pub targets: Vec<String>,
}

/// A claimed job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub number: u64,
    pub target: String,
    pub body: String,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    pub attempts_max: u32,
    pub created_at_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobResult {
    pub number: u64,
    /// Of the claim.
    pub attempt: u32,
    pub outcome: JobOutcome,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobOutcome {
    Delivered,
    /// It is tried again after so long, unless this was the last attempt: then it is dead.
    Failed {
        retry_after_ms: u64,
        error: String,
    },
    /// It cannot succeed: dead at once.
    Refused {
        error: String,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadJobsPage {
    pub jobs: Vec<hallway_protocol::notification::JobTrace>,
    pub more: bool,
}

/// Notifications of one person were handed to a connection: all from a number of their stream on up to one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// At most [`DELIVERY_SEQS_MAX`] numbers from here to the last one, both counted.
    pub from_seq: Seq,
    pub last: NotificationId,
    pub session: SessionId,
    pub at_ms: u64,
}

/// Whether a person wants a notification of this kind at this level.
#[must_use]
pub fn wants(level: Level, kind: &NotificationKind, urgent: bool) -> bool {
    match level {
        Level::All => true,
        Level::Mentions => urgent || !matches!(kind, NotificationKind::TaskChanged | NotificationKind::Announcement),
        Level::None => urgent,
    }
}
