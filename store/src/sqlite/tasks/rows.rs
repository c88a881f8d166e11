//! How tasks and comments stand in columns.

use std::collections::HashMap;

use hallway_protocol::event::{TaskChanged, TaskCommented, TaskCreated, TaskDeleted};
use hallway_protocol::task::{Comment, Priority, Task, TaskChange, TaskStatus};
use hallway_protocol::{CommentId, EventBody, Meta, RoomId, Seq, StreamId, TaskId, UserId};
use rusqlite::types::FromSql;
use rusqlite::{CachedStatement, Connection, Row, params};
use uuid::Uuid;

use crate::StoreError;
use crate::sqlite::tables::{from_json, get, get_u64, get_u64_option, get_user, int, uuid};

/// Columns of a [`Task`], of a table called `t`; without its room.
macro_rules! task_columns {
    () => {
        "t.id, t.seq, t.version, t.title, t.text, t.status, t.priority, t.due_at_ms, t.creator, t.at_ms, \
         t.changed_at_ms, t.comment_count, t.meta, t.deleted, \
         (SELECT json_group_array(a.user) FROM task_assignees a WHERE a.room = t.room AND a.task = t.id), \
         (SELECT json_group_array(hex(d.waits_on)) FROM task_dependencies d WHERE d.room = t.room AND d.task = t.id)"
    };
}
pub(in crate::sqlite) use task_columns;

/// How many columns `task_columns!` has.
pub(in crate::sqlite) const TASK_COLUMN_COUNT: usize = 16;

/// Columns of a [`Comment`], of a table called `c`.
macro_rules! comment_columns {
    () => {
        "c.id, c.task, c.seq, c.sender, c.at_ms, c.text, c.mentions"
    };
}
pub(in crate::sqlite) use comment_columns;

/// How many columns `comment_columns!` has.
const COMMENT_COLUMN_COUNT: usize = 7;

macro_rules! numbered {
    ($type:ident, $to:ident, $from:ident, $($variant:ident = $number:literal),*) => {
        pub(in crate::sqlite) fn $to(value: $type) -> i64 {
            match value { $($type::$variant => $number,)* }
        }
        fn $from(number: i64) -> Result<$type, StoreError> {
            match number {
                $($number => Ok($type::$variant),)*
                _ => Err(StoreError::Corrupt(format!(concat!("no ", stringify!($type), " has the number {}"), number))),
            }
        }
    };
}

numbered!(TaskStatus, status_number, status_from, Open = 0, InProgress = 1, Blocked = 2, Done = 3, Cancelled = 4);
numbered!(Priority, priority_number, priority_from, Low = 0, Normal = 1, High = 2, Urgent = 3);

/// Reads a task's status.
pub(super) fn get_status(row: &Row<'_>, column: usize) -> Result<TaskStatus, StoreError> {
    status_from(get(row, column)?)
}

/// The bytes of an id, as columns hold them.
pub(in crate::sqlite) fn bytes(id: TaskId) -> [u8; 16] {
    *id.as_uuid().as_bytes()
}

/// Reads a task id.
pub(in crate::sqlite) fn get_task_id(row: &Row<'_>, column: usize) -> Result<TaskId, StoreError> {
    Ok(TaskId::from_uuid(uuid(&get::<[u8; 16]>(row, column)?)?)?)
}

fn from_hex(text: &str) -> Result<Uuid, StoreError> {
    Uuid::try_parse(text).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// Reads a task whose columns begin at `from`.
pub(in crate::sqlite) fn read_task(row: &Row<'_>, from: usize, room: RoomId) -> Result<Task, StoreError> {
    let meta: Option<String> = get(row, from + 12)?;
    let mut assignees: Vec<UserId> = from_json(&get::<String>(row, from + 14)?)?;
    let waits_on: Vec<String> = from_json(&get::<String>(row, from + 15)?)?;
    let mut waits_on =
        waits_on.iter().map(|id| Ok(TaskId::from_uuid(from_hex(id)?)?)).collect::<Result<Vec<_>, StoreError>>()?;
    assignees.sort_unstable();
    waits_on.sort_unstable();
    Ok(Task {
        id: get_task_id(row, from)?,
        room,
        seq: get_u64(row, from + 1)?,
        version: get(row, from + 2)?,
        title: get(row, from + 3)?,
        text: get(row, from + 4)?,
        status: status_from(get(row, from + 5)?)?,
        priority: priority_from(get(row, from + 6)?)?,
        due_at_ms: get_u64_option(row, from + 7)?,
        creator: get_user(row, from + 8)?,
        at_ms: get_u64(row, from + 9)?,
        changed_at_ms: get_u64(row, from + 10)?,
        assignees,
        waits_on,
        comment_count: get(row, from + 11)?,
        meta: meta
            .map(|text| Meta::from_json(&text).map_err(|error| StoreError::Corrupt(error.to_string())))
            .transpose()?,
        deleted: get(row, from + 13)?,
    })
}

/// Whether a row that need not have a task has one whose columns begin at `from`.
pub(super) fn has<T: FromSql>(row: &Row<'_>, from: usize) -> Result<bool, StoreError> {
    Ok(get::<Option<T>>(row, from)?.is_some())
}

/// Reads a comment whose columns begin at `from`.
pub(in crate::sqlite) fn read_comment(row: &Row<'_>, from: usize) -> Result<Comment, StoreError> {
    let mentions: Option<String> = get(row, from + 6)?;
    Ok(Comment {
        id: CommentId::from_uuid(uuid(&get::<[u8; 16]>(row, from)?)?)?,
        task: get_task_id(row, from + 1)?,
        seq: get_u64(row, from + 2)?,
        sender: get_user(row, from + 3)?,
        at_ms: get_u64(row, from + 4)?,
        text: get(row, from + 5)?,
        mentions: mentions.map(|text| from_json(&text)).transpose()?.unwrap_or_default(),
    })
}

/// Comments as a task's own statement gathers them: newest first.
pub(super) fn comments_from_json(text: &str, task: TaskId) -> Result<Vec<Comment>, StoreError> {
    type Row = (String, Seq, UserId, u64, String, Vec<UserId>);
    let rows: Vec<Row> = from_json(text)?;
    let comment = |(id, seq, sender, at_ms, text, mentions): Row| {
        Ok(Comment { id: CommentId::from_uuid(from_hex(&id)?)?, task, seq, sender, at_ms, text, mentions })
    };
    rows.into_iter().map(comment).collect()
}

const FIND_TASK: &str = concat!("SELECT ", task_columns!(), " FROM tasks t WHERE t.room = ?1 AND t.id = ?2");

/// A task by its id; a deleted one too.
pub(super) fn find_task(connection: &Connection, room: (&RoomId, i64), id: TaskId) -> Result<Option<Task>, StoreError> {
    found_task(&mut connection.prepare_cached(FIND_TASK)?, room, id)
}

fn found_task(
    statement: &mut CachedStatement<'_>,
    (room, number): (&RoomId, i64),
    id: TaskId,
) -> Result<Option<Task>, StoreError> {
    let mut rows = statement.query(params![number, bytes(id)])?;
    rows.next()?.map(|row| read_task(row, 0, room.clone())).transpose()
}

/// What an event about a task keeps: its object, by whom, and what else.
pub(in crate::sqlite) type Kept<'a> = ([u8; 16], Option<&'a str>, Option<String>);

/// What is kept of an event about a task; `None` of another.
pub(in crate::sqlite) fn event_kept(body: &EventBody) -> Option<Kept<'_>> {
    Some(match body {
        EventBody::TaskCreated(TaskCreated { task }) => (bytes(task.id), None, None),
        EventBody::TaskChanged(TaskChanged { task, change, by }) => {
            (bytes(task.id), Some(by.as_str()), Some(change.as_str().to_owned()))
        }
        EventBody::TaskCommented(TaskCommented { comment, .. }) => (*comment.id.as_uuid().as_bytes(), None, None),
        EventBody::TaskDeleted(TaskDeleted { id, version, by }) => {
            (bytes(*id), Some(by.as_str()), Some(version.to_string()))
        }
        _ => return None,
    })
}

/// The tasks that a page has shown so far: each is read once, however many of its events show it.
#[derive(Default)]
pub(in crate::sqlite) struct Held<'a> {
    tasks: HashMap<[u8; 16], Task>,
    statement: Option<CachedStatement<'a>>,
}

impl<'a> Held<'a> {
    /// The task that an event is about.
    fn now(
        &mut self,
        connection: &'a Connection,
        (stream, number): (&StreamId, i64),
        row: &Row<'_>,
    ) -> Result<Task, StoreError> {
        let id: [u8; 16] = get(row, 3)?;
        if let Some(task) = self.tasks.get(&id) {
            return Ok(task.clone());
        }
        let lacks = || StoreError::Corrupt(format!("{stream} holds an event about no task"));
        let room = stream.room().ok_or_else(lacks)?;
        let statement = match &mut self.statement {
            Some(statement) => statement,
            none => none.insert(connection.prepare_cached(FIND_TASK)?),
        };
        let task = found_task(statement, (room, number), TaskId::from_uuid(uuid(&id)?)?)?.ok_or_else(lacks)?;
        self.tasks.insert(id, task.clone());
        Ok(task)
    }
}

/// An event about a task, with the task or comment as it is now; `None` for a kind that is none of them. The columns of the event
/// are those of a page; the stream comes with its number.
pub(in crate::sqlite) fn event_body<'a>(
    connection: &'a Connection,
    stream: (&StreamId, i64),
    kind: u16,
    row: &Row<'_>,
    held: &mut Held<'a>,
) -> Result<Option<EventBody>, StoreError> {
    let by = || get_user(row, 5);
    Ok(Some(match kind {
        20 => EventBody::TaskCreated(TaskCreated { task: held.now(connection, stream, row)? }),
        21 => {
            let change = TaskChange::from(get::<String>(row, 6)?);
            EventBody::TaskChanged(TaskChanged { task: held.now(connection, stream, row)?, change, by: by()? })
        }
        22 => EventBody::TaskCommented(comment_now(connection, stream, get_u64(row, 0)?)?),
        23 => {
            let version = from_json(&get::<String>(row, 6)?)?;
            EventBody::TaskDeleted(TaskDeleted { id: get_task_id(row, 3)?, version, by: by()? })
        }
        _ => return Ok(None),
    }))
}

fn comment_now(
    connection: &Connection,
    (stream, number): (&StreamId, i64),
    seq: Seq,
) -> Result<TaskCommented, StoreError> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        comment_columns!(),
        ", (SELECT o.comment_count FROM tasks o WHERE o.room = c.room AND o.id = c.task)
         FROM task_comments c WHERE c.room = ?1 AND c.seq = ?2"
    ))?;
    let mut rows = statement.query(params![number, int(seq)])?;
    let lacks = || StoreError::Corrupt(format!("{stream} holds no comment for its event {seq}"));
    let row = rows.next()?.ok_or_else(lacks)?;
    Ok(TaskCommented { comment: read_comment(row, 0)?, comment_count: get(row, COMMENT_COLUMN_COUNT)? })
}
