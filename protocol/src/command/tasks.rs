//! Commands about tasks. Since minor 2.
//!
//! Every change but a comment names the version that it was made on. When the task has another one by now, nothing is done and
//! the answer is the task as it is: [`TaskOutcome::Stale`].

use serde::{Deserialize, Serialize};

use super::Committed;
use crate::ids::{CommentId, Nonce, RoomId, TaskId, UserId};
use crate::meta::Meta;
use crate::task::{Comment, Priority, Task, TaskStatus};

/// Makes a task, in status `open`. Its creator and its assignees follow it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCreate {
    pub nonce: Nonce,
    pub room: RoomId,
    /// Chosen by the client, or by the server when left out.
    #[serde(default)]
    pub id: Option<TaskId>,
    /// 1 to 200 bytes.
    pub title: String,
    /// At most 16 KiB.
    #[serde(default)]
    pub text: String,
    #[serde(default)]
    pub priority: Priority,
    #[serde(default)]
    pub due_at_ms: Option<u64>,
    /// Members of the room, at most 50.
    #[serde(default)]
    pub assignees: Vec<UserId>,
    /// Tasks of the same room, at most 50.
    #[serde(default)]
    pub waits_on: Vec<TaskId>,
    #[serde(default)]
    pub meta: Option<Meta>,
}

/// A due time, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Due {
    /// Milliseconds since 1970.
    AtMs(u64),
    /// It is due at no time.
    Never,
}

/// Changes what is given, leaves the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskUpdate {
    pub nonce: Nonce,
    pub room: RoomId,
    pub id: TaskId,
    pub version: u32,
    #[serde(default)]
    pub title: Option<String>,
    #[serde(default)]
    pub text: Option<String>,
    #[serde(default)]
    pub priority: Option<Priority>,
    #[serde(default)]
    pub due: Option<Due>,
    #[serde(default)]
    pub meta: Option<Meta>,
}

/// Gives a task another status. Which ones it can go to is in docs/protocol.md; others are refused with `illegal_move`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskMove {
    pub nonce: Nonce,
    pub room: RoomId,
    pub id: TaskId,
    pub version: u32,
    pub status: TaskStatus,
}

/// Gives a task to members of its room, and takes it from others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskAssign {
    pub nonce: Nonce,
    pub room: RoomId,
    pub id: TaskId,
    pub version: u32,
    #[serde(default)]
    pub add: Vec<UserId>,
    #[serde(default)]
    pub remove: Vec<UserId>,
}

/// Lets a task wait on others of its room, and on some no longer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDepend {
    pub nonce: Nonce,
    pub room: RoomId,
    pub id: TaskId,
    pub version: u32,
    #[serde(default)]
    pub add: Vec<TaskId>,
    #[serde(default)]
    pub remove: Vec<TaskId>,
}

/// Deletes a task: its creator may, and admins. Nothing waits on it any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDelete {
    pub nonce: Nonce,
    pub room: RoomId,
    pub id: TaskId,
    pub version: u32,
}

/// Says something about a task. Who comments follows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskComment {
    pub nonce: Nonce,
    pub room: RoomId,
    pub id: TaskId,
    /// Chosen by the client, or by the server when left out.
    #[serde(default)]
    pub comment: Option<CommentId>,
    /// 1 byte to 16 KiB.
    pub text: String,
    /// At most 50.
    #[serde(default)]
    pub mentions: Vec<UserId>,
}

/// Whether one wants to be notified when a task changes. No event: nobody else sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFollow {
    pub nonce: Nonce,
    pub room: RoomId,
    pub id: TaskId,
    pub follow: bool,
}

/// What a change of a task came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskOutcome {
    /// It was made; the task's version is one more than the one that was given.
    Committed(Committed),
    /// Nothing was done: the task has changed since that version. This is the task now.
    Stale(Task),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskGet {
    pub room: RoomId,
    pub id: TaskId,
}

/// A task with the last that was said about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskDetail {
    pub task: Task,
    /// The tasks that it waits on, as they are now.
    pub waits_on: Vec<Task>,
    /// The newest 50, ascending by `seq`.
    pub comments: Vec<Comment>,
    /// Continues `task.comments` before the first of them; null when there are no older ones.
    pub older: Option<String>,
    /// Whether the asker follows it.
    pub following: bool,
}

/// Comments of a task, newest page first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCommentList {
    pub room: RoomId,
    pub id: TaskId,
    #[serde(default)]
    pub cursor: Option<String>,
    /// 1 to 100; without it 50.
    #[serde(default)]
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comments {
    /// Ascending by `seq`.
    pub comments: Vec<Comment>,
    /// Continues before the first.
    pub older: Option<String>,
}

/// In which order tasks are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskOrder {
    /// The newest first.
    #[default]
    Newest,
    /// What is due first, first; only tasks with a due time.
    Due,
    /// The most urgent first, of those the newest.
    Priority,
}

/// Lists tasks: of a room, or (without one) those of somebody in all rooms of the asker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskList {
    /// Without it: `assignee` is needed.
    #[serde(default)]
    pub room: Option<RoomId>,
    #[serde(default)]
    pub assignee: Option<UserId>,
    /// Any of these; empty: all.
    #[serde(default)]
    pub status: Vec<TaskStatus>,
    #[serde(default)]
    pub priority: Option<Priority>,
    /// Due at or after.
    #[serde(default)]
    pub due_from_ms: Option<u64>,
    /// Due before.
    #[serde(default)]
    pub due_until_ms: Option<u64>,
    #[serde(default)]
    pub order: TaskOrder,
    #[serde(default)]
    pub cursor: Option<String>,
    /// 1 to 100; without it 50.
    #[serde(default)]
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tasks {
    pub tasks: Vec<Task>,
    pub next: Option<String>,
}

/// How many tasks there are: in a room, or (without one) in all rooms of the asker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSummaryGet {
    #[serde(default)]
    pub room: Option<RoomId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSummary {
    pub open: u64,
    pub in_progress: u64,
    pub blocked: u64,
    pub done: u64,
    pub cancelled: u64,
    /// Neither done nor cancelled, and due before now.
    pub overdue: u64,
    /// Who has how much to do, the most loaded first; at most 100.
    pub assignees: Vec<TaskWorkload>,
}

/// What is left for somebody to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskWorkload {
    pub user: UserId,
    /// Neither done nor cancelled.
    pub unfinished: u64,
    pub overdue: u64,
}
