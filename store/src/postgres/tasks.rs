//! Tasks as they are now: each question is one statement.

use hallway_protocol::command::{TaskOrder, TaskSummary, TaskWorkload};
use hallway_protocol::task::{Comment, Priority, Task, TaskStatus};
use hallway_protocol::{RoomId, TaskId, UserId};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::connection::{Connections, Kind};
use super::reads::cut;
use super::rows::{self, corrupt, json, priority_number, signed, status_number, unsigned};
use super::statements::tasks as statements;
use crate::{
    COMMENTS_WITH_TASK, CommentQuery, CommentsPage, StoreError, TaskQuery, TaskView, TasksPage, WORKLOADS_MAX,
};

/// Every priority.
const PRIORITIES: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Urgent];

pub(super) async fn task(
    connections: &Connections,
    user: &UserId,
    room: &RoomId,
    id: TaskId,
) -> Result<Option<TaskView>, StoreError> {
    let size = i64::from(COMMENTS_WITH_TASK) + 1;
    let parameters: [&(dyn ToSql + Sync); 4] = [&user.as_str(), &room.as_str(), &id.as_uuid(), &size];
    let rows = connections.run(Kind::Read, statements::TASK, &parameters).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let waits_on: Option<&str> = row.try_get(1).map_err(corrupt)?;
    let CommentsPage { comments, older } = newest(row.try_get(2).map_err(corrupt)?, COMMENTS_WITH_TASK)?;
    Ok(Some(TaskView {
        task: json(row.try_get(0).map_err(corrupt)?)?,
        waits_on: waits_on.map(json::<Vec<Task>>).transpose()?.unwrap_or_default(),
        comments,
        older,
        following: row.try_get(3).map_err(corrupt)?,
    }))
}

/// The newest comments of those read, of which the oldest may be one too many.
fn newest(text: Option<&str>, limit: u32) -> Result<CommentsPage, StoreError> {
    let mut comments = text.map(json::<Vec<Comment>>).transpose()?.unwrap_or_default();
    comments.reverse();
    let older = cut(&mut comments, limit);
    comments.reverse();
    Ok(CommentsPage { comments, older })
}

pub(super) async fn comments(
    connections: &Connections,
    user: &UserId,
    query: CommentQuery,
) -> Result<Option<CommentsPage>, StoreError> {
    let before = query.before.map_or(i64::MAX, signed);
    let size = i64::from(query.limit) + 1;
    let parameters: [&(dyn ToSql + Sync); 5] =
        [&user.as_str(), &query.room.as_str(), &query.task.as_uuid(), &before, &size];
    let rows = connections.run(Kind::Read, statements::TASK_COMMENTS, &parameters).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    newest(row.try_get(0).map_err(corrupt)?, query.limit).map(Some)
}

pub(super) async fn list(
    connections: &Connections,
    user: &UserId,
    query: TaskQuery,
) -> Result<Option<TasksPage>, StoreError> {
    let statuses = if query.status.is_empty() { TaskStatus::ALL } else { &query.status };
    let mut statuses: Vec<i16> = statuses.iter().map(|status| status_number(*status)).collect();
    statuses.sort_unstable();
    statuses.dedup();
    let priorities: Vec<i16> = PRIORITIES
        .into_iter()
        .filter(|one| query.priority.is_none_or(|only| only == *one))
        .map(priority_number)
        .collect();
    let room = query.room.as_ref().map(RoomId::as_str);
    let (due_from, due_until) = (query.due_from_ms.map(signed), query.due_until_ms.map(signed));
    // Where nothing was listed yet: before everything.
    let (first_rank, first_id) = match query.order {
        TaskOrder::Newest => (0, Uuid::max()),
        TaskOrder::Due => (-1, Uuid::nil()),
        TaskOrder::Priority => (i64::from(i16::MAX), Uuid::max()),
    };
    let (rank, id) = query.after.map_or((first_rank, first_id), |key| (signed(key.rank), key.id.as_uuid()));
    let size = i64::from(query.limit) + 1;
    let user = user.as_str();
    let mut parameters: Vec<&(dyn ToSql + Sync)> =
        vec![&user, &room, &statuses, &priorities, &due_from, &due_until, &rank, &id, &size];
    let assignee = query.assignee.as_ref().map(UserId::as_str);
    let sql = match (&assignee, query.order) {
        (None, TaskOrder::Newest) => statements::ROOM_TASKS_NEWEST,
        (None, TaskOrder::Due) => statements::ROOM_TASKS_DUE,
        (None, TaskOrder::Priority) => statements::ROOM_TASKS_PRIORITY,
        (Some(_), TaskOrder::Newest) => statements::ASSIGNED_NEWEST,
        (Some(_), TaskOrder::Due) => statements::ASSIGNED_DUE,
        (Some(_), TaskOrder::Priority) => statements::ASSIGNED_PRIORITY,
    };
    if let Some(assignee) = &assignee {
        parameters.push(assignee);
    }
    let found = connections.run(Kind::Read, sql, &parameters).await?;
    if found.is_empty() {
        return Ok(None);
    }
    let mut tasks = found.iter().filter_map(|row| rows::task(row, 0).transpose()).collect::<Result<Vec<_>, _>>()?;
    let more = cut(&mut tasks, query.limit);
    Ok(Some(TasksPage { tasks, more }))
}

pub(super) async fn summary(
    connections: &Connections,
    user: &UserId,
    room: Option<&RoomId>,
) -> Result<Option<TaskSummary>, StoreError> {
    let parameters: [&(dyn ToSql + Sync); 3] = [&user.as_str(), &room.map(RoomId::as_str), &i64::from(WORKLOADS_MAX)];
    let rows = connections.run(Kind::Read, statements::TASK_SUMMARY, &parameters).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let count = |column: usize| unsigned(first.get(column));
    let mut assignees = Vec::with_capacity(rows.len());
    for row in &rows {
        if let Some(name) = row.get::<_, Option<&str>>(6) {
            let (unfinished, overdue) = (unsigned(row.get(7)), unsigned(row.get(8)));
            assignees.push(TaskWorkload { user: UserId::new(name)?, unfinished, overdue });
        }
    }
    Ok(Some(TaskSummary {
        open: count(0),
        in_progress: count(1),
        blocked: count(2),
        done: count(3),
        cancelled: count(4),
        overdue: count(5),
        assignees,
    }))
}
