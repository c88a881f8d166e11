//! Due times of tasks: each is told once, to whoever has to do with it.

use hallway_protocol::notification::NotificationKind;
use hallway_protocol::{Event, RoomId, TaskId, UserId};
use rusqlite::{Connection, params};

use super::{Cause, tell};
use crate::StoreError;
use crate::sqlite::batch::Batch;
use crate::sqlite::tables::{get, get_room, get_u64, get_user, int};
use crate::sqlite::tasks::{bytes, get_task_id};

/// A task whose time has come.
struct Due {
    room_number: i64,
    room: RoomId,
    task: TaskId,
    due_at_ms: u64,
    creator: UserId,
}

fn due(connection: &Connection, now_ms: u64, tasks_max: u32) -> Result<Vec<Due>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT t.room, r.id, t.id, t.due_at_ms, t.creator FROM tasks t INDEXED BY tasks_to_fire
         JOIN rooms r ON r.number = t.room
         WHERE t.deleted = 0 AND t.due_fired = 0 AND t.status < 3 AND t.due_at_ms IS NOT NULL AND t.due_at_ms <= ?1
         ORDER BY t.due_at_ms LIMIT ?2",
    )?;
    let mut rows = statement.query(params![int(now_ms), tasks_max])?;
    let mut due = Vec::new();
    while let Some(row) = rows.next()? {
        due.push(Due {
            room_number: get(row, 0)?,
            room: get_room(row, 1)?,
            task: get_task_id(row, 2)?,
            due_at_ms: get_u64(row, 3)?,
            creator: get_user(row, 4)?,
        });
    }
    Ok(due)
}

fn assignees(connection: &Connection, room: i64, task: TaskId) -> Result<Vec<UserId>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT user FROM task_assignees WHERE room = ?1 AND task = ?2 ORDER BY user")?;
    let mut rows = statement.query(params![room, bytes(task)])?;
    let mut users = Vec::new();
    while let Some(row) = rows.next()? {
        users.push(get_user(row, 0)?);
    }
    Ok(users)
}

/// Tells the due times that have come, of so many tasks, and marks them as told; whether there may be more.
pub(super) fn fire(batch: &mut Batch<'_>, tasks_max: u32) -> Result<(Vec<Event>, bool), StoreError> {
    let due = due(batch.connection, batch.at_ms, tasks_max)?;
    let mut events = Vec::new();
    for Due { room_number, room, task, due_at_ms, creator } in &due {
        let mut users = assignees(batch.connection, *room_number, *task)?;
        if users.is_empty() {
            users.push(creator.clone());
        }
        let key = format!("due:{task}:{due_at_ms}");
        // At most 50 people: never a job.
        let cause = Cause::about_task(NotificationKind::TaskDue, (room, *task), None, &users, key);
        for user in &users {
            events.extend(tell(batch, &cause, user)?);
        }
        batch
            .connection
            .prepare_cached("UPDATE tasks SET due_fired = 1 WHERE room = ?1 AND id = ?2")?
            .execute(params![room_number, bytes(*task)])?;
    }
    Ok((events, due.len() >= tasks_max as usize))
}
