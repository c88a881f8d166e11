//! From what Postgres answers to what the model says.

use hallway_protocol::event::{NotificationCreated, TaskCommented};
use hallway_protocol::model::{Reaction, RoomKind};
use hallway_protocol::notification::{Notification, NotificationKind};
use hallway_protocol::task::{Comment, Priority, Task, TaskStatus};
use hallway_protocol::{
    CommentId, EventBody, History, Message, MessageId, Meta, NotificationId, Role, RoomId, RoomInfo, TaskId, UserId,
    Visibility,
};
use serde::Deserialize;
use tokio_postgres::Row;
use tokio_postgres::types::FromSql;
use uuid::Uuid;

use crate::StoreError;

/// Numbers in the store are signed and never negative.
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A number for the store; what is beyond its range is beyond every head as well.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn corrupt(what: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt(what.to_string())
}

pub(super) fn json<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(corrupt)
}

pub(super) fn role(number: i16) -> Result<Role, StoreError> {
    match number {
        0 => Ok(Role::Guest),
        1 => Ok(Role::Member),
        2 => Ok(Role::Admin),
        3 => Ok(Role::Owner),
        _ => Err(corrupt(format!("role {number}"))),
    }
}

pub(super) fn role_number(role: Role) -> i16 {
    match role {
        Role::Guest => 0,
        Role::Member => 1,
        Role::Admin => 2,
        Role::Owner => 3,
    }
}

pub(super) fn status(number: i16) -> Result<TaskStatus, StoreError> {
    let index = usize::try_from(number).map_err(corrupt)?;
    TaskStatus::ALL.get(index).copied().ok_or_else(|| corrupt(format!("status {number}")))
}

pub(super) fn status_number(status: TaskStatus) -> i16 {
    match status {
        TaskStatus::Open => 0,
        TaskStatus::InProgress => 1,
        TaskStatus::Blocked => 2,
        TaskStatus::Done => 3,
        TaskStatus::Cancelled => 4,
    }
}

pub(super) fn priority(number: i16) -> Result<Priority, StoreError> {
    match number {
        0 => Ok(Priority::Low),
        1 => Ok(Priority::Normal),
        2 => Ok(Priority::High),
        3 => Ok(Priority::Urgent),
        _ => Err(corrupt(format!("priority {number}"))),
    }
}

pub(super) fn priority_number(priority: Priority) -> i16 {
    match priority {
        Priority::Low => 0,
        Priority::Normal => 1,
        Priority::High => 2,
        Priority::Urgent => 3,
    }
}

/// A room in the column that holds it as JSON.
pub(super) fn info(row: &Row, column: usize) -> Result<RoomInfo, StoreError> {
    json(row.try_get(column).map_err(corrupt)?)
}

/// A column of what is shown, by where it stands from the first of them.
fn at<'a, T: FromSql<'a>>(row: &'a Row, first: usize, column: usize) -> Result<T, StoreError> {
    row.try_get(first + column).map_err(corrupt)
}

// Where columns of what is shown stand from their first (statements/pages.rs); a message's end with `EXTRA`.
const SEQ: usize = 0;
const AT_MS: usize = 1;
const ID: usize = 2;
const BY: usize = 3;
const TEXT: usize = 4;
const META: usize = 5;
const COUNT: usize = 6;
const VERSION: usize = 7;
const CHANGED_AT_MS: usize = 8;
const IS_DELETED: usize = 9;
const OF: usize = 10;
const PEOPLE: usize = 11;
const EXTRA: usize = 12;
const TITLE: usize = 13;
const STATUS: usize = 14;
const PRIORITY: usize = 15;
const DUE_AT_MS: usize = 16;
const THINGS: usize = 17;
const ROOM: usize = 18;

fn number(row: &Row, first: usize, column: usize) -> Result<u64, StoreError> {
    at(row, first, column).map(unsigned)
}

fn number_option(row: &Row, first: usize, column: usize) -> Result<Option<u64>, StoreError> {
    Ok(at::<Option<i64>>(row, first, column)?.map(unsigned))
}

fn meta(row: &Row, first: usize) -> Result<Option<Meta>, StoreError> {
    at::<Option<&str>>(row, first, META)?.map(Meta::from_json).transpose().map_err(corrupt)
}

fn version(row: &Row, first: usize) -> Result<u32, StoreError> {
    u32::try_from(at::<i32>(row, first, VERSION)?).map_err(corrupt)
}

fn count(row: &Row, first: usize) -> Result<u32, StoreError> {
    u32::try_from(at::<i64>(row, first, COUNT)?).map_err(corrupt)
}

fn people(row: &Row, first: usize) -> Result<Vec<UserId>, StoreError> {
    let names: Option<Vec<&str>> = at(row, first, PEOPLE)?;
    Ok(names.unwrap_or_default().into_iter().map(UserId::new).collect::<Result<_, _>>()?)
}

fn room_id(row: &Row, first: usize) -> Result<Option<RoomId>, StoreError> {
    Ok(at::<Option<&str>>(row, first, ROOM)?.map(RoomId::new).transpose()?)
}

/// The message whose columns begin at `first`, if there is one.
pub(super) fn message(row: &Row, first: usize) -> Result<Option<Message>, StoreError> {
    let Some(id) = at::<Option<Uuid>>(row, first, ID)? else { return Ok(None) };
    let reactions: Option<&str> = at(row, first, EXTRA)?;
    Ok(Some(Message {
        id: MessageId::from_uuid(id)?,
        seq: number(row, first, SEQ)?,
        ordinal: number(row, first, COUNT)?,
        sender: UserId::new(at(row, first, BY)?)?,
        at_ms: number(row, first, AT_MS)?,
        text: at(row, first, TEXT)?,
        reply_to: at::<Option<Uuid>>(row, first, OF)?.map(MessageId::from_uuid).transpose()?,
        mentions: people(row, first)?,
        meta: meta(row, first)?,
        version: version(row, first)?,
        edited_at_ms: number_option(row, first, CHANGED_AT_MS)?,
        deleted: at(row, first, IS_DELETED)?,
        reactions: reactions.map(json::<Vec<Reaction>>).transpose()?.unwrap_or_default(),
    }))
}

/// The task whose columns begin at `first`, if there is one.
pub(super) fn task(row: &Row, first: usize) -> Result<Option<Task>, StoreError> {
    let Some(id) = at::<Option<Uuid>>(row, first, ID)? else { return Ok(None) };
    let things: Vec<Uuid> = at(row, first, THINGS)?;
    Ok(Some(Task {
        id: TaskId::from_uuid(id)?,
        room: room_id(row, first)?.ok_or_else(|| corrupt(format!("task {id} has no room")))?,
        seq: number(row, first, SEQ)?,
        version: version(row, first)?,
        title: at(row, first, TITLE)?,
        text: at(row, first, TEXT)?,
        status: status(at(row, first, STATUS)?)?,
        priority: priority(at(row, first, PRIORITY)?)?,
        due_at_ms: number_option(row, first, DUE_AT_MS)?,
        creator: UserId::new(at(row, first, BY)?)?,
        at_ms: number(row, first, AT_MS)?,
        changed_at_ms: number(row, first, CHANGED_AT_MS)?,
        assignees: people(row, first)?,
        waits_on: things.into_iter().map(TaskId::from_uuid).collect::<Result<_, _>>()?,
        comment_count: count(row, first)?,
        meta: meta(row, first)?,
        deleted: at(row, first, IS_DELETED)?,
    }))
}

/// A room whose columns begin at `first`.
pub(super) fn room(row: &Row, first: usize) -> Result<RoomInfo, StoreError> {
    Ok(RoomInfo {
        room: room_id(row, first)?.ok_or_else(|| corrupt("a room without an id"))?,
        kind: if at::<i16>(row, first, STATUS)? == 1 { RoomKind::Direct } else { RoomKind::Channel },
        visibility: if at::<i16>(row, first, PRIORITY)? == 1 { Visibility::Public } else { Visibility::Private },
        history: if at::<i32>(row, first, VERSION)? == 1 { History::All } else { History::SinceJoin },
        name: at(row, first, TITLE)?,
        archived: at(row, first, IS_DELETED)?,
        created_at_ms: number(row, first, AT_MS)?,
    })
}

/// A comment on a task, and when its event was.
pub(super) fn comment(row: &Row, first: usize) -> Result<TaskCommented, StoreError> {
    let comment = Comment {
        id: CommentId::from_uuid(at(row, first, ID)?)?,
        task: TaskId::from_uuid(at(row, first, OF)?)?,
        seq: number(row, first, SEQ)?,
        sender: UserId::new(at(row, first, BY)?)?,
        at_ms: number(row, first, CHANGED_AT_MS)?,
        text: at(row, first, TEXT)?,
        mentions: people(row, first)?,
    };
    Ok(TaskCommented { comment, comment_count: count(row, first)? })
}

/// A notification as its event shows it; `signs` stand in the column of numbers.
pub(super) fn notification(row: &Row, first: usize, signs: usize) -> Result<NotificationCreated, StoreError> {
    #[derive(serde::Deserialize)]
    struct After {
        unread: u64,
    }
    let kind: Vec<String> = at(row, first, PEOPLE)?;
    let things: Vec<Option<Uuid>> = at(row, first, THINGS)?;
    let signs: Vec<i64> = row.try_get(signs).map_err(corrupt)?;
    let (Some(kind), [task, comment], [urgent, silent, read, acknowledged]) =
        (kind.into_iter().next(), things.as_slice(), signs.as_slice())
    else {
        return Err(corrupt("a notification lacks columns"));
    };
    let After { unread } = json(at(row, first, EXTRA)?)?;
    let notification = Notification {
        id: NotificationId::from_uuid(at(row, first, ID)?)?,
        seq: number(row, first, SEQ)?,
        kind: NotificationKind::from(kind),
        urgent: *urgent == 1,
        silent: *silent == 1,
        room: room_id(row, first)?,
        message: at::<Option<Uuid>>(row, first, OF)?.map(MessageId::from_uuid).transpose()?,
        task: task.map(TaskId::from_uuid).transpose()?,
        comment: comment.map(CommentId::from_uuid).transpose()?,
        by: at::<Option<&str>>(row, first, BY)?.map(UserId::new).transpose()?,
        at_ms: number(row, first, CHANGED_AT_MS)?,
        title: at(row, first, TITLE)?,
        text: at(row, first, TEXT)?,
        data: meta(row, first)?,
        acknowledge_by_ms: number_option(row, first, DUE_AT_MS)?,
        read: *read == 1,
        acknowledged: *acknowledged == 1,
    };
    Ok(NotificationCreated { notification, unread })
}

/// An event of the log, without what it shows.
pub(super) struct Logged<'a> {
    pub(super) seq: u64,
    pub(super) at_ms: u64,
    pub(super) kind: u16,
    pub(super) object: Option<Uuid>,
    actor: Option<&'a str>,
    detail: Option<&'a str>,
}

impl<'a> Logged<'a> {
    pub(super) fn of(row: &'a Row, first: usize) -> Result<Self, StoreError> {
        Ok(Self {
            seq: number(row, first, SEQ)?,
            at_ms: number(row, first, AT_MS)?,
            kind: u16::try_from(at::<i64>(row, first, COUNT)?).map_err(corrupt)?,
            object: at(row, first, ID)?,
            actor: at(row, first, BY)?,
            detail: at(row, first, EXTRA)?,
        })
    }

    pub(super) fn lacks(&self, what: &str) -> StoreError {
        corrupt(format!("event {} of kind {} lacks {what}", self.seq, self.kind))
    }

    /// What is in the detail, which must be there.
    pub(super) fn detail<T: Deserialize<'a>>(&self) -> Result<T, StoreError> {
        json(self.detail.ok_or_else(|| self.lacks("its detail"))?)
    }

    /// An edit of a message that was created before what is kept: the message is gone, and a tombstone stands for it.
    pub(super) fn trimmed_edit(&self) -> Result<Message, StoreError> {
        #[derive(Deserialize)]
        struct Detail {
            seq: u64,
            ordinal: u64,
            version: u32,
        }
        let detail: Detail = self.detail()?;
        Ok(Message {
            id: MessageId::from_uuid(self.object.ok_or_else(|| self.lacks("its message"))?)?,
            seq: detail.seq,
            ordinal: detail.ordinal,
            sender: UserId::new(self.actor.ok_or_else(|| self.lacks("its actor"))?)?,
            at_ms: self.at_ms,
            text: String::new(),
            reply_to: None,
            mentions: Vec::new(),
            meta: None,
            version: detail.version,
            edited_at_ms: Some(self.at_ms),
            deleted: true,
            reactions: Vec::new(),
        })
    }

    /// The body of which the detail is the whole.
    pub(super) fn body(&self) -> Result<EventBody, StoreError> {
        let name = EventBody::KINDS.iter().find(|(kind, _)| *kind == self.kind).map(|(_, name)| name);
        let name = name.ok_or_else(|| corrupt(format!("event kind {}", self.kind)))?;
        let detail = self.detail.ok_or_else(|| self.lacks("its detail"))?;
        json(&format!("{{\"{name}\":{detail}}}"))
    }
}
