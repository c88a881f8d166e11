//! The writing commands about tasks. What they come to is decided by [`crate::task_rules`].

use hallway_protocol::event::{TaskChanged, TaskCommented, TaskCreated, TaskDeleted};
use hallway_protocol::notification::NotificationKind;
use hallway_protocol::task::{Comment, Task, TaskStatus};
use hallway_protocol::{CommentId, EventBody, Meta, Role, RoomId, Seq, TaskId, UserId};
use rusqlite::params;

use super::rows::{bytes, find_task, get_status, get_task_id, priority_number, status_number};
use crate::sqlite::batch::Batch;
use crate::sqlite::commit::{Done, Stop, one};
use crate::sqlite::notes::{self, Cause};
use crate::sqlite::tables::{get_user, int, to_json};
use crate::sqlite::words::{self, Named};
use crate::task_rules::{self, Around, Changed, Moment, Told};
use crate::{Action, Refusal, StoreError};

/// The room that a write is about, and who writes.
pub(in crate::sqlite) struct At<'a> {
    pub(in crate::sqlite) room: &'a RoomId,
    pub(in crate::sqlite) number: i64,
    pub(in crate::sqlite) head: Seq,
    pub(in crate::sqlite) actor: &'a UserId,
    pub(in crate::sqlite) role: Role,
}

/// What the rules ask about the room.
struct Surroundings<'a, 'b> {
    batch: &'a mut Batch<'b>,
    at: &'a At<'a>,
}

impl Around for Surroundings<'_, '_> {
    type Error = Stop;

    fn is_member(&mut self, user: &UserId) -> Result<bool, Stop> {
        Ok(self.batch.member(self.at.room, user)?.is_some())
    }

    fn status(&mut self, task: TaskId) -> Result<Option<TaskStatus>, Stop> {
        let mut statement = self
            .batch
            .connection
            .prepare_cached("SELECT status FROM tasks WHERE room = ?1 AND id = ?2 AND deleted = 0")?;
        let mut rows = statement.query(params![self.at.number, bytes(task)])?;
        Ok(rows.next()?.map(|row| get_status(row, 0)).transpose()?)
    }

    fn waits_on(&mut self, task: TaskId) -> Result<Vec<TaskId>, Stop> {
        let mut statement = self
            .batch
            .connection
            .prepare_cached("SELECT waits_on FROM task_dependencies WHERE room = ?1 AND task = ?2")?;
        let mut rows = statement.query(params![self.at.number, bytes(task)])?;
        let mut waits_on = Vec::new();
        while let Some(row) = rows.next()? {
            waits_on.push(get_task_id(row, 0)?);
        }
        Ok(waits_on)
    }
}

/// Carries out a write about a task, by somebody who may write in the room.
pub(in crate::sqlite) fn act(batch: &mut Batch<'_>, at: &At<'_>, action: &Action) -> Result<Done, Stop> {
    if let Action::CreateTask { id, .. } = action {
        return create(batch, at, *id, action);
    }
    let id = action.task().ok_or(Refusal::Forbidden)?;
    let task = find_task(batch.connection, (at.room, at.number), id)?.ok_or(Refusal::TaskNotFound)?;
    match action {
        Action::DeleteTask { version, .. } => delete(batch, at, &task, *version),
        Action::CommentTask { .. } => comment(batch, at, &task, action),
        Action::FollowTask { follow: true, .. } => {
            task_rules::present(&task)?;
            follow(batch, at, id, at.actor)?;
            Ok(Done::nothing(at.head))
        }
        Action::FollowTask { .. } => {
            task_rules::present(&task)?;
            batch
                .connection
                .prepare_cached("DELETE FROM task_followers WHERE room = ?1 AND task = ?2 AND user = ?3")?
                .execute(params![at.number, bytes(id), at.actor.as_str()])?;
            Ok(Done::nothing(at.head))
        }
        action => change(batch, at, &task, action),
    }
}

fn create(batch: &mut Batch<'_>, at: &At<'_>, id: TaskId, action: &Action) -> Result<Done, Stop> {
    if find_task(batch.connection, (at.room, at.number), id)?.is_some() {
        return Err(Refusal::IdTaken.into());
    }
    let moment = Moment { seq: at.head + 1, at_ms: batch.at_ms };
    let task = task_rules::create(at.actor, action, moment, &mut Surroundings { batch, at })?;
    batch
        .connection
        .prepare_cached(
            "INSERT INTO tasks (room, id, seq, title, text, status, priority, due_at_ms, creator, at_ms, changed_at_ms, meta)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11)",
        )?
        .execute(params![
            at.number,
            bytes(id),
            int(task.seq),
            task.title,
            task.text,
            status_number(task.status),
            priority_number(task.priority),
            task.due_at_ms.map(int),
            task.creator.as_str(),
            int(task.at_ms),
            task.meta.as_ref().map(Meta::as_json)
        ])?;
    assign(batch, at, &task)?;
    link(batch, at, &task)?;
    words::change(batch.connection, &Named::Task(at.number, id), None, Some(&task.title))?;
    follow(batch, at, id, at.actor)?;
    for user in &task.assignees {
        follow(batch, at, id, user)?;
    }
    let done = one(batch, at.room, EventBody::TaskCreated(TaskCreated { task: task.clone() }))?;
    tell(batch, at, done, (id, None), &Told::of(at.actor, &[], &task.assignees, &[]), &key(&task))
}

fn change(batch: &mut Batch<'_>, at: &At<'_>, old: &Task, action: &Action) -> Result<Done, Stop> {
    let at_ms = batch.at_ms;
    let Some(changed) = task_rules::change(old, action, at_ms, &mut Surroundings { batch, at })? else {
        return Ok(Done::nothing(at.head));
    };
    let Changed { task, change, assigned } = changed;
    update(batch, at, &task)?;
    let listed = |task: &Task| (task.assignees.clone(), task.status, task.priority, task.due_at_ms);
    if listed(old) != listed(&task) {
        assign(batch, at, &task)?;
    }
    if old.waits_on != task.waits_on {
        link(batch, at, &task)?;
    }
    if old.title != task.title {
        words::change(batch.connection, &Named::Task(at.number, task.id), Some(&old.title), Some(&task.title))?;
    }
    for user in &assigned {
        follow(batch, at, task.id, user)?;
    }
    let told = Told::of(at.actor, &followers(batch, at, task.id)?, &assigned, &[]);
    let (id, key) = (task.id, key(&task));
    let done = one(batch, at.room, EventBody::TaskChanged(TaskChanged { task, change, by: at.actor.clone() }))?;
    tell(batch, at, done, (id, None), &told, &key)
}

/// Writes what a task is now; who has it and what it waits on stand elsewhere. Another due time is told again.
fn update(batch: &Batch<'_>, at: &At<'_>, task: &Task) -> Result<(), Stop> {
    batch
        .connection
        .prepare_cached(
            "UPDATE tasks SET version = ?3, title = ?4, text = ?5, status = ?6, priority = ?7, due_at_ms = ?8,
             changed_at_ms = ?9, meta = ?10, deleted = ?11,
             due_fired = CASE WHEN due_at_ms IS ?8 THEN due_fired ELSE 0 END WHERE room = ?1 AND id = ?2",
        )?
        .execute(params![
            at.number,
            bytes(task.id),
            task.version,
            task.title,
            task.text,
            status_number(task.status),
            priority_number(task.priority),
            task.due_at_ms.map(int),
            int(task.changed_at_ms),
            task.meta.as_ref().map(Meta::as_json),
            task.deleted
        ])?;
    Ok(())
}

/// Writes who has the task, and what their lists need to know of it.
fn assign(batch: &Batch<'_>, at: &At<'_>, task: &Task) -> Result<(), Stop> {
    batch
        .connection
        .prepare_cached("DELETE FROM task_assignees WHERE room = ?1 AND task = ?2")?
        .execute(params![at.number, bytes(task.id)])?;
    let mut insert = batch.connection.prepare_cached(
        "INSERT INTO task_assignees (room, task, user, status, priority, due_at_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    for user in &task.assignees {
        insert.execute(params![
            at.number,
            bytes(task.id),
            user.as_str(),
            status_number(task.status),
            priority_number(task.priority),
            task.due_at_ms.map(int)
        ])?;
    }
    Ok(())
}

/// Writes what the task waits on.
fn link(batch: &Batch<'_>, at: &At<'_>, task: &Task) -> Result<(), Stop> {
    batch
        .connection
        .prepare_cached("DELETE FROM task_dependencies WHERE room = ?1 AND task = ?2")?
        .execute(params![at.number, bytes(task.id)])?;
    let mut insert =
        batch.connection.prepare_cached("INSERT INTO task_dependencies (room, task, waits_on) VALUES (?1, ?2, ?3)")?;
    for other in &task.waits_on {
        insert.execute(params![at.number, bytes(task.id), bytes(*other)])?;
    }
    Ok(())
}

fn delete(batch: &mut Batch<'_>, at: &At<'_>, old: &Task, version: u32) -> Result<Done, Stop> {
    let task = task_rules::delete(old, version, at.actor, at.role, batch.at_ms)?;
    update(batch, at, &task)?;
    words::change(batch.connection, &Named::Task(at.number, task.id), Some(&old.title), None)?;
    for statement in [
        "DELETE FROM task_assignees WHERE room = ?1 AND task = ?2",
        "DELETE FROM task_followers WHERE room = ?1 AND task = ?2",
        "DELETE FROM task_dependencies WHERE room = ?1 AND task = ?2",
        "DELETE FROM task_dependencies WHERE room = ?1 AND waits_on = ?2",
        "UPDATE task_comments SET text = '', mentions = NULL WHERE room = ?1 AND task = ?2",
    ] {
        batch.connection.prepare_cached(statement)?.execute(params![at.number, bytes(task.id)])?;
    }
    let body = TaskDeleted { id: task.id, version: task.version, by: at.actor.clone() };
    one(batch, at.room, EventBody::TaskDeleted(body))
}

fn comment(batch: &mut Batch<'_>, at: &At<'_>, task: &Task, action: &Action) -> Result<Done, Stop> {
    let Action::CommentTask { comment: id, text, mentions, .. } = action else {
        return Err(Refusal::Forbidden.into());
    };
    task_rules::comment(task)?;
    let comment = Comment {
        id: *id,
        task: task.id,
        seq: at.head + 1,
        sender: at.actor.clone(),
        at_ms: batch.at_ms,
        text: text.clone(),
        mentions: mentions.clone(),
    };
    let kept_mentions = if mentions.is_empty() { None } else { Some(to_json(mentions)?) };
    // The key (room, seq) is new, so that only a taken id is ignored here.
    let written = batch
        .connection
        .prepare_cached(
            "INSERT OR IGNORE INTO task_comments (room, seq, id, task, sender, at_ms, text, mentions)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            at.number,
            int(comment.seq),
            id.as_uuid().as_bytes(),
            bytes(task.id),
            at.actor.as_str(),
            int(batch.at_ms),
            text,
            kept_mentions
        ])?;
    if written == 0 {
        return Err(Refusal::IdTaken.into());
    }
    batch
        .connection
        .prepare_cached("UPDATE tasks SET comment_count = comment_count + 1 WHERE room = ?1 AND id = ?2")?
        .execute(params![at.number, bytes(task.id)])?;
    follow(batch, at, task.id, at.actor)?;
    let told = Told::of(at.actor, &followers(batch, at, task.id)?, &[], mentions);
    let done = one(
        batch,
        at.room,
        EventBody::TaskCommented(TaskCommented { comment, comment_count: task.comment_count + 1 }),
    )?;
    tell(batch, at, done, (task.id, Some(*id)), &told, &format!("c:{id}"))
}

fn follow(batch: &Batch<'_>, at: &At<'_>, task: TaskId, user: &UserId) -> Result<(), Stop> {
    batch
        .connection
        .prepare_cached("INSERT OR IGNORE INTO task_followers (room, task, user) VALUES (?1, ?2, ?3)")?
        .execute(params![at.number, bytes(task), user.as_str()])?;
    Ok(())
}

fn followers(batch: &Batch<'_>, at: &At<'_>, task: TaskId) -> Result<Vec<UserId>, StoreError> {
    let mut statement =
        batch.connection.prepare_cached("SELECT user FROM task_followers WHERE room = ?1 AND task = ?2")?;
    let mut rows = statement.query(params![at.number, bytes(task)])?;
    let mut users = Vec::new();
    while let Some(row) = rows.next()? {
        users.push(get_user(row, 0)?);
    }
    Ok(users)
}

/// Of notifications of a task's version.
fn key(task: &Task) -> String {
    format!("t:{}:{}", task.id, task.version)
}

/// Notifies of what was done.
fn tell(
    batch: &mut Batch<'_>,
    at: &At<'_>,
    mut done: Done,
    (task, comment): (TaskId, Option<CommentId>),
    told: &Told,
    key: &str,
) -> Result<Done, Stop> {
    let kinds = [
        (NotificationKind::Assigned, &told.assigned),
        (NotificationKind::Mention, &told.mentioned),
        (NotificationKind::TaskChanged, &told.changed),
    ];
    for (kind, users) in kinds.into_iter().filter(|(_, users)| !users.is_empty()) {
        let cause = Cause::about_task(kind, (at.room, task), Some(at.actor), users, key.to_owned());
        let cause = Cause { comment, ..cause };
        done = done.with(notes::notify(batch, &cause)?);
    }
    Ok(done)
}
