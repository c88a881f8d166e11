//! Notifications: what a person should know, in their own stream. Since minor 2.

use serde::{Deserialize, Serialize};

use crate::ids::{CommentId, MessageId, NotificationId, RoomId, SessionId, TaskId, UserId};
use crate::meta::Meta;
use crate::position::Seq;
use crate::words::words;

words! {
    /// Why somebody is notified.
    NotificationKind {
        /// A message or comment names them.
        Mention "mention",
        /// A message answers one of theirs.
        Reply "reply",
        /// A message in a direct room.
        Direct "direct",
        /// A task was given to them.
        Assigned "assigned",
        /// The time of a task of theirs has come.
        TaskDue "task_due",
        /// A task that they follow changed.
        TaskChanged "task_changed",
        /// Somebody addressed everybody, or everybody in a room.
        Announcement "announcement",
        /// A back end addressed them.
        Notice "notice",
    }
}

/// A notification as it is now. It names what it is about and never repeats its text, except where it is all there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notification {
    pub id: NotificationId,
    /// Its event in the person's stream.
    pub seq: Seq,
    pub kind: NotificationKind,
    /// Delivered at once, passes quiet hours, and wants to be acknowledged.
    pub urgent: bool,
    /// It came in the person's quiet hours: show it, and make no noise.
    pub silent: bool,
    pub room: Option<RoomId>,
    pub message: Option<MessageId>,
    pub task: Option<TaskId>,
    /// The comment that names them, or that made the task change.
    pub comment: Option<CommentId>,
    /// Who caused it; null: time did.
    pub by: Option<UserId>,
    pub at_ms: u64,
    /// Of an announcement or notice, at most 200 bytes.
    pub title: Option<String>,
    /// Of an announcement or notice, at most 4 KiB.
    pub text: Option<String>,
    /// Of an announcement or notice.
    pub data: Option<Meta>,
    /// An urgent one that nobody acknowledged by then is handed to the application.
    pub acknowledge_by_ms: Option<u64>,
    pub read: bool,
    pub acknowledged: bool,
}

/// What one is notified of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing but what is urgent.
    None,
    /// What is meant for oneself: not `task_changed` and `announcement`.
    Mentions,
    /// Everything.
    All,
}

/// A time of every day in which notifications make no noise, unless they are urgent. May pass midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct QuietHours {
    /// Minutes after midnight, 0 to 1,439.
    pub from_minute: u16,
    /// The first minute that is not quiet any more, 0 to 1,439.
    pub to_minute: u16,
    /// What the person's clock is ahead of UTC, in minutes: -720 to 840.
    pub utc_offset_minutes: i16,
}

impl QuietHours {
    /// Whether a time lies in them, milliseconds since 1970.
    #[must_use]
    pub fn contain(self, at_ms: u64) -> bool {
        let minute = i64::try_from(at_ms / 60_000).unwrap_or(i64::MAX - 1_000) + i64::from(self.utc_offset_minutes);
        let minute = minute.rem_euclid(24 * 60);
        let (from, to) = (i64::from(self.from_minute), i64::from(self.to_minute));
        if from <= to { (from..to).contains(&minute) } else { minute >= from || minute < to }
    }
}

/// What became of one notification, for operators.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    pub user: UserId,
    pub notification: Notification,
    pub read_at_ms: Option<u64>,
    pub acknowledged_at_ms: Option<u64>,
    /// To which connections it was handed and when, the first 100.
    pub deliveries: Vec<Delivered>,
    /// The webhooks that carried it, the first 100.
    pub jobs: Vec<JobTrace>,
}

/// A notification was handed to a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    pub session: SessionId,
    pub at_ms: u64,
}

/// A webhook, as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobTrace {
    /// Its number.
    pub job: u64,
    /// The name of its target in the configuration.
    pub target: String,
    pub state: JobState,
    /// How often it was tried.
    pub attempts: u32,
    pub created_at_ms: u64,
    /// When it was delivered or given up.
    pub finished_at_ms: Option<u64>,
    /// Why the last attempt failed.
    pub error: Option<String>,
}

words! {
    /// Where a webhook stands.
    JobState {
        /// It waits for its (next) attempt.
        Waiting "waiting",
        /// A node is delivering it.
        Claimed "claimed",
        /// The target took it.
        Done "done",
        /// It was given up; it can be replayed.
        Dead "dead",
    }
}
