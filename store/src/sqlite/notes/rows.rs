//! How notifications and their events stand in columns.

use hallway_protocol::event::{
    NotificationAcknowledged, NotificationCreated, NotificationsRead, PreferenceChanged, QuietChanged,
};
use hallway_protocol::notification::{Notification, NotificationKind};
use hallway_protocol::{CommentId, EventBody, Meta, NotificationId, Seq, StreamId, TaskId, UserId};
use rusqlite::{Connection, Row, params};

use super::Cause;
use crate::StoreError;
use crate::sqlite::batch::Batch;
use crate::sqlite::tables::{
    from_json, get, get_room, get_u64, get_u64_option, get_user, int, message_id, to_json, uuid,
};

/// Columns of a [`Notification`], of a table called `n` with its notice `x`.
macro_rules! notification_columns {
    () => {
        "n.id, n.seq, n.kind, n.urgent, n.silent, n.room, n.message, n.task, n.actor, n.at_ms, x.title, x.text, x.data, \
         n.acknowledge_by_ms, n.read_at_ms, n.acknowledged_at_ms, n.comment"
    };
}
pub(super) use notification_columns;

/// How many columns `notification_columns!` has.
pub(super) const NOTIFICATION_COLUMN_COUNT: usize = 17;
/// The columns of when it was read and acknowledged.
pub(super) const READ_AT: usize = 14;
pub(super) const ACKNOWLEDGED_AT: usize = 15;

pub(super) fn insert(
    batch: &Batch<'_>,
    user: i64,
    cause: &Cause<'_>,
    notification: &Notification,
    hand_out_at_ms: Option<u64>,
) -> Result<(), StoreError> {
    batch
        .connection
        .prepare_cached(
            "INSERT INTO notifications (user, seq, id, key, kind, urgent, silent, room, message, task, actor, notice, at_ms,
             acknowledge_by_ms, hand_out_at_ms, comment)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
        )?
        .execute(params![
            user,
            int(notification.seq),
            notification.id.as_uuid().as_bytes(),
            cause.key,
            notification.kind.as_str(),
            notification.urgent,
            notification.silent,
            notification.room.as_ref().map(hallway_protocol::RoomId::as_str),
            notification.message.map(|id| *id.as_uuid().as_bytes()),
            notification.task.map(|id| *id.as_uuid().as_bytes()),
            notification.by.as_ref().map(UserId::as_str),
            cause.notice.map(|notice| notice.number),
            int(notification.at_ms),
            notification.acknowledge_by_ms.map(int),
            hand_out_at_ms.map(int),
            notification.comment.map(|id| *id.as_uuid().as_bytes())
        ])?;
    Ok(())
}

/// Reads a notification whose columns are the row's first.
pub(super) fn read(row: &Row<'_>) -> Result<Notification, StoreError> {
    let there = |column| Ok::<_, StoreError>(row.get_ref(column)? != rusqlite::types::ValueRef::Null);
    let data: Option<String> = get(row, 12)?;
    Ok(Notification {
        id: notification_id(row, 0)?,
        seq: get_u64(row, 1)?,
        kind: NotificationKind::from(get::<String>(row, 2)?),
        urgent: get(row, 3)?,
        silent: get(row, 4)?,
        room: if there(5)? { Some(get_room(row, 5)?) } else { None },
        message: get::<Option<[u8; 16]>>(row, 6)?.map(|bytes| message_id(&bytes)).transpose()?,
        task: get::<Option<[u8; 16]>>(row, 7)?.map(|bytes| task_id(&bytes)).transpose()?,
        by: if there(8)? { Some(get_user(row, 8)?) } else { None },
        at_ms: get_u64(row, 9)?,
        title: get(row, 10)?,
        text: get(row, 11)?,
        data: data.map(|text| meta(&text)).transpose()?,
        acknowledge_by_ms: get_u64_option(row, 13)?,
        read: there(READ_AT)?,
        acknowledged: there(ACKNOWLEDGED_AT)?,
        comment: get::<Option<[u8; 16]>>(row, 16)?.map(|bytes| comment_id(&bytes)).transpose()?,
    })
}

pub(super) fn notification_id(row: &Row<'_>, column: usize) -> Result<NotificationId, StoreError> {
    Ok(NotificationId::from_uuid(uuid(&get::<[u8; 16]>(row, column)?)?)?)
}

fn task_id(bytes: &[u8]) -> Result<TaskId, StoreError> {
    Ok(TaskId::from_uuid(uuid(bytes)?)?)
}

fn comment_id(bytes: &[u8]) -> Result<CommentId, StoreError> {
    Ok(CommentId::from_uuid(uuid(bytes)?)?)
}

pub(super) fn meta(text: &str) -> Result<Meta, StoreError> {
    Meta::from_json(text).map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// What an event of these kinds keeps; `None` for other kinds. The notification itself stands under the event's number.
pub(in crate::sqlite) fn event_detail(body: &EventBody) -> Result<Option<String>, StoreError> {
    Ok(Some(match body {
        EventBody::NotificationCreated(body) => to_json(&body.unread)?,
        EventBody::NotificationsRead(body) => to_json(&(&body.ids, body.up_to_seq, body.unread))?,
        EventBody::NotificationAcknowledged(body) => to_json(&(body.id, body.unread))?,
        EventBody::PreferenceChanged(body) => to_json(&(&body.room, body.level))?,
        EventBody::QuietChanged(body) => to_json(&body.hours)?,
        _ => return Ok(None),
    }))
}

/// The body of an event of these kinds; `None` for other kinds. The notification is as it is now.
pub(in crate::sqlite) fn event_body(
    connection: &Connection,
    (stream, number): (&StreamId, i64),
    (seq, kind): (Seq, u16),
    row: &Row<'_>,
    detail_at: usize,
) -> Result<Option<EventBody>, StoreError> {
    if !(24..=28).contains(&kind) {
        return Ok(None);
    }
    let detail: String = get(row, detail_at)?;
    Ok(Some(match kind {
        24 => {
            let notification = now(connection, (stream, number), seq)?;
            EventBody::NotificationCreated(NotificationCreated { notification, unread: from_json(&detail)? })
        }
        25 => {
            let (ids, up_to_seq, unread) = from_json(&detail)?;
            EventBody::NotificationsRead(NotificationsRead { ids, up_to_seq, unread })
        }
        26 => {
            let (id, unread) = from_json(&detail)?;
            EventBody::NotificationAcknowledged(NotificationAcknowledged { id, unread })
        }
        27 => {
            let (room, level) = from_json(&detail)?;
            EventBody::PreferenceChanged(PreferenceChanged { room, level })
        }
        _ => EventBody::QuietChanged(QuietChanged { hours: from_json(&detail)? }),
    }))
}

/// The notification of an event of a user's stream, whose number is the user's with its sign turned.
fn now(connection: &Connection, (stream, number): (&StreamId, i64), seq: Seq) -> Result<Notification, StoreError> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        notification_columns!(),
        " FROM notifications n LEFT JOIN notices x ON x.number = n.notice WHERE n.user = ?1 AND n.seq = ?2"
    ))?;
    let mut rows = statement.query(params![number.saturating_neg(), int(seq)])?;
    let found = rows.next()?.map(read).transpose()?;
    found.ok_or_else(|| StoreError::Corrupt(format!("{stream} holds no notification for its event {seq}")))
}
