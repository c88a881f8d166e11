//! What is asked about tasks, and what people say.

use async_trait::async_trait;
use hallway_protocol::command::{Candidate, TaskOrder, TaskSummary, What};
use hallway_protocol::task::{Comment, Priority, Task, TaskStatus};
use hallway_protocol::{RoomId, TaskId, UserId};

use crate::StoreError;

/// Most comments on one task.
pub const COMMENTS_MAX_PER_TASK: u32 = 1_000;
/// Comments that come with a task.
pub const COMMENTS_WITH_TASK: u32 = 50;
/// Most people in a summary.
pub const WORKLOADS_MAX: u32 = 100;
/// Most candidates for one phrase.
pub const CANDIDATES_MAX: u32 = 10;

/// Tasks as they are now. Every read is one statement, judges the asker's membership in its own snapshot, and never says more
/// than "no" of what they may not see.
#[async_trait]
pub trait Tasks: Send + Sync {
    /// A task with its last comments. `None` when the asker is no member, or there is no such task in the room. Of a deleted
    /// task the tombstone.
    async fn task(&self, user: &UserId, room: &RoomId, id: TaskId) -> Result<Option<TaskView>, StoreError>;

    /// Comments below a seq, newest first in the choice, ascending in the page. `None` as in [`Tasks::task`].
    async fn task_comments(&self, user: &UserId, query: CommentQuery) -> Result<Option<CommentsPage>, StoreError>;

    /// Tasks that are not deleted: of a room, or of an assignee in all rooms of the asker. `None` when a room is named whose
    /// member the asker is not.
    async fn list_tasks(&self, user: &UserId, query: TaskQuery) -> Result<Option<TasksPage>, StoreError>;

    /// How many there are, of a room or of all rooms of the asker. `None` as in [`Tasks::list_tasks`].
    async fn task_summary(&self, user: &UserId, room: Option<&RoomId>) -> Result<Option<TaskSummary>, StoreError>;

    /// What each of some phrases may mean, within what the asker may see: people who share a room with them (and they
    /// themselves), their rooms and public channels, tasks and messages of their rooms. One answer for each question, in
    /// order, likeliest first: exact before beginnings, of the room that is named before others, then by name and id; at most
    /// [`CANDIDATES_MAX`] each (of [`ResolveQuery::AssigneesOf`] all).
    async fn resolve(&self, user: &UserId, queries: Vec<ResolveQuery>) -> Result<Vec<Vec<Candidate>>, StoreError>;
}

/// A task and what was said about it last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskView {
    pub task: Task,
    /// The tasks that it waits on, as they are now, in the order of their ids.
    pub waits_on: Vec<Task>,
    /// The newest [`COMMENTS_WITH_TASK`], ascending by `seq`.
    pub comments: Vec<Comment>,
    /// There are older ones.
    pub older: bool,
    /// Whether the asker follows it.
    pub following: bool,
}

/// Comments of `task` with `seq < before`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommentQuery {
    pub room: RoomId,
    pub task: TaskId,
    pub before: Option<u64>,
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommentsPage {
    /// Ascending by `seq`.
    pub comments: Vec<Comment>,
    /// There are older ones.
    pub older: bool,
}

/// Which tasks to list. At least one of `room` and `assignee` is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskQuery {
    pub room: Option<RoomId>,
    pub assignee: Option<UserId>,
    /// Any of these; empty: all.
    pub status: Vec<TaskStatus>,
    pub priority: Option<Priority>,
    /// Due at or after.
    pub due_from_ms: Option<u64>,
    /// Due before.
    pub due_until_ms: Option<u64>,
    pub order: TaskOrder,
    /// The last task of the page before.
    pub after: Option<TaskKey>,
    pub limit: u32,
}

/// Where a list of tasks continues: what it is ordered by, and the id, which settles ties. `Newest` goes by id downwards (its
/// time comes first), `Due` by due time and id upwards, `Priority` by priority and id downwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TaskKey {
    /// The due time, or the priority's number from 0; 0 for `Newest`.
    pub rank: u64,
    pub id: TaskId,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TasksPage {
    pub tasks: Vec<Task>,
    pub more: bool,
}

/// One phrase, as far as it is not understood without the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResolveQuery {
    /// Something whose id or name is or begins with this, or (of a name) one of whose words begins with it; case does not
    /// matter. Rooms and tasks by id, name and title.
    Named { text: String, what: Option<What>, room: Option<RoomId> },
    /// The room, if the asker may see it.
    Room(RoomId),
    /// The task, if the asker may see it. Not a deleted one.
    Task { room: Option<RoomId>, task: TaskId },
    /// The newest message that is not deleted of a room of the asker.
    LastMessage(RoomId),
    /// Everybody to whom the task is assigned.
    AssigneesOf { room: Option<RoomId>, task: TaskId },
    /// The asker, by name.
    Me,
}
