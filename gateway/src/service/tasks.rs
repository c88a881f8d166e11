//! Commands about tasks.

use hallway_protocol::check::PAGE_LIMIT_DEFAULT;
use hallway_protocol::command::{
    Comments, TaskCommentList, TaskDetail, TaskGet, TaskList, TaskOrder, TaskSummaryGet, Tasks,
};
use hallway_protocol::cursor::Cursor;
use hallway_protocol::task::{Comment, Task};
use hallway_protocol::{Command, CommentId, ErrorBody, ErrorCode, Reply, TaskId, UserId};
use hallway_store::{Action, CommentQuery, Refusal, TaskKey, TaskQuery};

use super::reads::{bad_cursor, failed};
use super::writes::{Parts, Replies};
use super::{Service, answers};

/// Turns a change of a task into what the store is to do, and how its answer is called.
pub(super) fn action(command: Command) -> Result<Parts, ErrorBody> {
    Ok(match command {
        Command::TaskCreate(create) => {
            let action = Action::CreateTask {
                room: create.room,
                id: create.id.unwrap_or_else(TaskId::generate),
                title: create.title,
                text: create.text,
                priority: create.priority,
                due_at_ms: create.due_at_ms,
                assignees: create.assignees,
                waits_on: create.waits_on,
                meta: create.meta,
            };
            (create.nonce, action, Replies::Committed(Reply::TaskCreate))
        }
        Command::TaskUpdate(update) => {
            let action = Action::EditTask {
                room: update.room,
                id: update.id,
                version: update.version,
                title: update.title,
                text: update.text,
                priority: update.priority,
                due: update.due,
                meta: update.meta,
            };
            (update.nonce, action, Replies::Outcome(Reply::TaskUpdate))
        }
        Command::TaskMove(moved) => {
            let action =
                Action::MoveTask { room: moved.room, id: moved.id, version: moved.version, status: moved.status };
            (moved.nonce, action, Replies::Outcome(Reply::TaskMove))
        }
        Command::TaskAssign(assign) => {
            let action = Action::AssignTask {
                room: assign.room,
                id: assign.id,
                version: assign.version,
                add: assign.add,
                remove: assign.remove,
            };
            (assign.nonce, action, Replies::Outcome(Reply::TaskAssign))
        }
        Command::TaskDepend(depend) => {
            let action = Action::LinkTask {
                room: depend.room,
                id: depend.id,
                version: depend.version,
                add: depend.add,
                remove: depend.remove,
            };
            (depend.nonce, action, Replies::Outcome(Reply::TaskDepend))
        }
        Command::TaskDelete(delete) => {
            let action = Action::DeleteTask { room: delete.room, id: delete.id, version: delete.version };
            (delete.nonce, action, Replies::Outcome(Reply::TaskDelete))
        }
        Command::TaskComment(comment) => {
            let action = Action::CommentTask {
                room: comment.room,
                id: comment.id,
                comment: comment.comment.unwrap_or_else(CommentId::generate),
                text: comment.text,
                mentions: comment.mentions,
            };
            (comment.nonce, action, Replies::Committed(Reply::TaskComment))
        }
        Command::TaskFollow(follow) => {
            let action = Action::FollowTask { room: follow.room, id: follow.id, follow: follow.follow };
            (follow.nonce, action, Replies::Committed(Reply::TaskFollow))
        }
        command => {
            let message = format!("{} is no change of a task", command.name());
            return Err(ErrorBody::new(ErrorCode::Internal, message));
        }
    })
}

impl Service {
    pub(super) async fn answer_task(&self, user: &UserId, get: TaskGet) -> Result<Reply, ErrorBody> {
        let Some(view) = self.inner.store.task(user, &get.room, get.id).await.map_err(failed)? else {
            return Err(self.why_not(user, &get.room, Refusal::TaskNotFound).await);
        };
        let older = continued(&view.comments, view.older);
        Ok(Reply::TaskGet(TaskDetail {
            task: view.task,
            waits_on: view.waits_on,
            comments: view.comments,
            older,
            following: view.following,
        }))
    }

    pub(super) async fn answer_comments(&self, user: &UserId, list: TaskCommentList) -> Result<Reply, ErrorBody> {
        let before = list.cursor.as_deref().map(|cursor| Cursor::Comments.decode_seq(cursor)).transpose();
        let query = CommentQuery {
            room: list.room.clone(),
            task: list.id,
            before: before.map_err(bad_cursor)?,
            limit: list.limit.unwrap_or(PAGE_LIMIT_DEFAULT),
        };
        let Some(page) = self.inner.store.task_comments(user, query).await.map_err(failed)? else {
            return Err(self.why_not(user, &list.room, Refusal::TaskNotFound).await);
        };
        let older = continued(&page.comments, page.older);
        Ok(Reply::TaskCommentList(Comments { older, comments: page.comments }))
    }

    pub(super) async fn answer_tasks(&self, user: &UserId, list: TaskList) -> Result<Reply, ErrorBody> {
        let cursor = Cursor::from(list.order);
        let after = list.cursor.as_deref().map(|text| cursor.decode_task(text)).transpose().map_err(bad_cursor)?;
        let query = TaskQuery {
            room: list.room.clone(),
            assignee: list.assignee,
            status: list.status,
            priority: list.priority,
            due_from_ms: list.due_from_ms,
            due_until_ms: list.due_until_ms,
            order: list.order,
            after: after.map(|(rank, id)| TaskKey { rank, id }),
            limit: list.limit.unwrap_or(PAGE_LIMIT_DEFAULT),
        };
        let Some(page) = self.inner.store.list_tasks(user, query).await.map_err(failed)? else {
            return Err(self.no_room(user, list.room.as_ref()).await);
        };
        let last = page.tasks.last().filter(|_| page.more);
        let next = last.map(|task| cursor.encode_task(rank(list.order, task), task.id));
        Ok(Reply::TaskList(Tasks { next, tasks: page.tasks }))
    }

    pub(super) async fn answer_summary(&self, user: &UserId, get: TaskSummaryGet) -> Result<Reply, ErrorBody> {
        match self.inner.store.task_summary(user, get.room.as_ref()).await.map_err(failed)? {
            Some(summary) => Ok(Reply::TaskSummaryGet(summary)),
            None => Err(self.no_room(user, get.room.as_ref()).await),
        }
    }

    /// The store said that the asker is no member of the room. One who is by now is told to ask again.
    async fn no_room(&self, user: &UserId, room: Option<&hallway_protocol::RoomId>) -> ErrorBody {
        match room {
            Some(room) => self.why_not(user, room, Refusal::NotAMember).await,
            None => answers::refusal(Refusal::RoomNotFound),
        }
    }
}

/// Where a page of comments goes on.
fn continued(comments: &[Comment], older: bool) -> Option<String> {
    comments.first().filter(|_| older).map(|comment| Cursor::Comments.encode_seq(comment.seq))
}

/// What a list in this order is ordered by, as [`TaskKey`] has it.
fn rank(order: TaskOrder, task: &Task) -> u64 {
    match order {
        TaskOrder::Newest => 0,
        TaskOrder::Due => task.due_at_ms.unwrap_or(0),
        TaskOrder::Priority => task.priority as u64,
    }
}
