//! From what Postgres answers to what the model says.

use hallway_protocol::event::{MessageCreated, MessageEdited, NotificationCreated, TaskChanged, TaskCreated};
use hallway_protocol::model::Reaction;
use hallway_protocol::task::{Priority, TaskChange, TaskStatus};
use hallway_protocol::{Event, EventBody, Message, MessageId, Meta, Role, RoomInfo, StreamId, UserId};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio_postgres::Row;
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

pub(super) fn json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
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

/// The message whose columns begin at `first`, if there is one.
pub(super) fn message(row: &Row, first: usize) -> Result<Option<Message>, StoreError> {
    let Some(id) = row.try_get::<_, Option<Uuid>>(first).map_err(corrupt)? else { return Ok(None) };
    let mentions: Option<Vec<&str>> = row.get(first + 7);
    let meta: Option<&str> = row.get(first + 8);
    let reactions: Option<&str> = row.get(first + 12);
    Ok(Some(Message {
        id: MessageId::from_uuid(id)?,
        seq: unsigned(row.get(first + 1)),
        ordinal: unsigned(row.get(first + 2)),
        sender: UserId::new(row.get(first + 3))?,
        at_ms: unsigned(row.get(first + 4)),
        text: row.get(first + 5),
        reply_to: row.get::<_, Option<Uuid>>(first + 6).map(MessageId::from_uuid).transpose()?,
        mentions: mentions.unwrap_or_default().into_iter().map(UserId::new).collect::<Result<_, _>>()?,
        meta: meta.map(Meta::from_json).transpose().map_err(corrupt)?,
        version: u32::try_from(row.get::<_, i32>(first + 9)).map_err(corrupt)?,
        edited_at_ms: row.get::<_, Option<i64>>(first + 10).map(unsigned),
        deleted: row.get(first + 11),
        reactions: reactions.map(json::<Vec<Reaction>>).transpose()?.unwrap_or_default(),
    }))
}

/// Columns of an event in a page: seq, at_ms, kind, actor, message, detail, what it is about as JSON, and the message's own.
pub(super) fn event(row: &Row, first: usize, stream: &StreamId) -> Result<Option<Event>, StoreError> {
    let Some(seq) = row.try_get::<_, Option<i64>>(first).map_err(corrupt)? else { return Ok(None) };
    let kind = u16::try_from(row.get::<_, i16>(first + 2)).map_err(corrupt)?;
    let detail: Option<&str> = row.get(first + 5);
    let lacks = |what: &str| corrupt(format!("event {seq} of kind {kind} in {stream} lacks {what}"));
    let body = match kind {
        1 | 2 => {
            #[derive(serde::Deserialize)]
            struct By<'a> {
                by: &'a str,
            }
            let by: By<'_> = serde_json::from_str(detail.ok_or_else(|| lacks("its detail"))?).map_err(corrupt)?;
            let (info, by) = (info(row, first + 6)?, UserId::new(by.by)?);
            if kind == 1 {
                EventBody::RoomCreated(hallway_protocol::event::RoomCreated { info, by })
            } else {
                EventBody::RoomUpdated(hallway_protocol::event::RoomUpdated { info, by })
            }
        }
        7 => EventBody::MessageCreated(MessageCreated {
            message: message(row, first + 7)?.ok_or_else(|| lacks("its message"))?,
        }),
        8 => {
            let message = message(row, first + 7)?.map_or_else(|| trimmed_edit(row, first), Ok)?;
            EventBody::MessageEdited(MessageEdited { message })
        }
        20 => EventBody::TaskCreated(TaskCreated { task: json(row.try_get(first + 6).map_err(corrupt)?)? }),
        21 => {
            let TaskDetail { change, by } = json(detail.ok_or_else(|| lacks("its detail"))?)?;
            EventBody::TaskChanged(TaskChanged { task: json(row.try_get(first + 6).map_err(corrupt)?)?, change, by })
        }
        22 => EventBody::TaskCommented(json(row.try_get(first + 6).map_err(corrupt)?)?),
        24 => {
            #[derive(serde::Deserialize)]
            struct After {
                unread: u64,
            }
            let After { unread } = json(detail.ok_or_else(|| lacks("its detail"))?)?;
            let notification: Option<&str> = row.try_get("notification").map_err(corrupt)?;
            let notification = json(notification.ok_or_else(|| lacks("its notification"))?)?;
            EventBody::NotificationCreated(NotificationCreated { notification, unread })
        }
        _ => body(kind, detail.ok_or_else(|| lacks("its detail"))?)?,
    };
    Ok(Some(Event { stream: stream.clone(), seq: unsigned(seq), at_ms: unsigned(row.get(first + 1)), body }))
}

/// What the log keeps of a change of a task.
#[derive(serde::Deserialize)]
struct TaskDetail {
    change: TaskChange,
    by: UserId,
}

/// An edit of a message that was created before what is kept: the message is gone, and a tombstone stands for it.
fn trimmed_edit(row: &Row, first: usize) -> Result<Message, StoreError> {
    #[derive(serde::Deserialize)]
    struct Detail {
        seq: u64,
        ordinal: u64,
        version: u32,
    }
    let detail: Detail = json(row.try_get(first + 5).map_err(corrupt)?)?;
    let at_ms = unsigned(row.get(first + 1));
    Ok(Message {
        id: MessageId::from_uuid(row.try_get(first + 4).map_err(corrupt)?)?,
        seq: detail.seq,
        ordinal: detail.ordinal,
        sender: UserId::new(row.try_get(first + 3).map_err(corrupt)?)?,
        at_ms,
        text: String::new(),
        reply_to: None,
        mentions: Vec::new(),
        meta: None,
        version: detail.version,
        edited_at_ms: Some(at_ms),
        deleted: true,
        reactions: Vec::new(),
    })
}

/// An event body whose detail is the whole of it.
fn body(kind: u16, detail: &str) -> Result<EventBody, StoreError> {
    let (_, name) = EventBody::KINDS
        .iter()
        .find(|(number, _)| *number == kind)
        .ok_or_else(|| corrupt(format!("event kind {kind}")))?;
    let raw = RawValue::from_string(detail.to_owned()).map_err(corrupt)?;
    json(&serde_json::to_string(&std::collections::HashMap::from([(*name, raw)])).map_err(corrupt)?)
}
