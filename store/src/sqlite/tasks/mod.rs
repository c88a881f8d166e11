//! Tasks: rows beside the room's messages, written with their events, and read with all that belongs to them.
//!
//! Reading order: `rows` (how they stand in columns), `write` (the writing commands), `reads` (a task, its comments, the
//! summary), `lists`. What a change comes to is decided by [`crate::task_rules`].
//!
//! **Invariant:** `task_assignees` repeats its task's status, priority and due time, so that a person's list needs no other
//! table to find its page.
//!
//! **Invariant:** every read is one statement that judges the asker's membership itself.

mod lists;
mod reads;
mod rows;
mod write;

use async_trait::async_trait;
use hallway_protocol::command::{Candidate, TaskSummary};
use hallway_protocol::{RoomId, TaskId, UserId};

pub(super) use rows::{Held, bytes, event_body, event_kept, get_task_id};
pub(super) use write::{At, act};

use super::upkeep::now_ms;
use super::{SqliteStore, resolve};
use crate::{CommentQuery, CommentsPage, ResolveQuery, StoreError, TaskQuery, TaskView, Tasks, TasksPage};

#[async_trait]
impl Tasks for SqliteStore {
    async fn task(&self, user: &UserId, room: &RoomId, id: TaskId) -> Result<Option<TaskView>, StoreError> {
        let (user, room) = (user.clone(), room.clone());
        self.readers.run(move |connection| reads::task(connection, &user, &room, id)).await
    }

    async fn task_comments(&self, user: &UserId, query: CommentQuery) -> Result<Option<CommentsPage>, StoreError> {
        let user = user.clone();
        self.readers.run(move |connection| reads::comments(connection, &user, &query)).await
    }

    async fn list_tasks(&self, user: &UserId, query: TaskQuery) -> Result<Option<TasksPage>, StoreError> {
        let user = user.clone();
        self.readers.run(move |connection| lists::list(connection, &user, &query)).await
    }

    async fn task_summary(&self, user: &UserId, room: Option<&RoomId>) -> Result<Option<TaskSummary>, StoreError> {
        let (user, room) = (user.clone(), room.cloned());
        self.readers.run(move |connection| reads::summary(connection, now_ms(), &user, room.as_ref())).await
    }

    async fn resolve(&self, user: &UserId, queries: Vec<ResolveQuery>) -> Result<Vec<Vec<Candidate>>, StoreError> {
        let user = user.clone();
        self.readers
            .run(move |connection| queries.iter().map(|query| resolve::resolve(connection, &user, query)).collect())
            .await
    }
}
