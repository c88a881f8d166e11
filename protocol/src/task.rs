//! Tasks: work that lives in a room's stream like its messages do. Since minor 2.

use serde::{Deserialize, Serialize};

use crate::ids::{CommentId, RoomId, TaskId, UserId};
use crate::meta::Meta;
use crate::position::Seq;
use crate::words::words;

/// Where a task stands. [`TaskStatus::next`] says where it can go from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    Open,
    InProgress,
    /// It cannot go on for now.
    Blocked,
    Done,
    Cancelled,
}

impl TaskStatus {
    /// Every status.
    pub const ALL: &'static [Self] = &[Self::Open, Self::InProgress, Self::Blocked, Self::Done, Self::Cancelled];

    /// Where a task can go from here. What is done or cancelled can be opened again; what is blocked goes on before it is
    /// done.
    #[must_use]
    pub fn next(self) -> &'static [Self] {
        match self {
            Self::Open => &[Self::InProgress, Self::Blocked, Self::Done, Self::Cancelled],
            Self::InProgress => &[Self::Open, Self::Blocked, Self::Done, Self::Cancelled],
            Self::Blocked => &[Self::Open, Self::InProgress, Self::Cancelled],
            Self::Done | Self::Cancelled => &[Self::Open],
        }
    }

    /// Whether nothing is left to do: nothing waits on such a task, and it is never overdue.
    #[must_use]
    pub fn is_closed(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled)
    }

    /// The word on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::InProgress => "in_progress",
            Self::Blocked => "blocked",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
    Urgent,
}

/// A task as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub id: TaskId,
    pub room: RoomId,
    /// Sequence number of the event that created it.
    pub seq: Seq,
    /// 1 when created, one more with each change but comments; a change names the version that it was made on.
    pub version: u32,
    /// 1 to 200 bytes; empty when deleted.
    pub title: String,
    /// At most 16 KiB.
    pub text: String,
    pub status: TaskStatus,
    pub priority: Priority,
    pub due_at_ms: Option<u64>,
    pub creator: UserId,
    pub at_ms: u64,
    /// Of the last change.
    pub changed_at_ms: u64,
    /// In the order of their ids; at most 50.
    pub assignees: Vec<UserId>,
    /// Tasks of the same room that must be done or cancelled before this one can be done, in the order of their ids; at most 50.
    pub waits_on: Vec<TaskId>,
    /// How many comments there are; at most 1,000.
    pub comment_count: u32,
    pub meta: Option<Meta>,
    pub deleted: bool,
}

/// What somebody said about a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comment {
    pub id: CommentId,
    pub task: TaskId,
    /// Sequence number of its event.
    pub seq: Seq,
    pub sender: UserId,
    pub at_ms: u64,
    /// Empty when the task was deleted.
    pub text: String,
    pub mentions: Vec<UserId>,
}

words! {
    /// What was done to a task.
    TaskChange {
        /// Title, text, priority, due time or meta.
        Edited "edited",
        /// It has another status.
        Moved "moved",
        /// It has other assignees.
        Assigned "assigned",
        /// It waits on other tasks.
        Linked "linked",
    }
}
