//! Events as rows, and pages of them joined with the messages as they are now.

use hallway_protocol::event::{
    MemberBanned, MemberJoined, MemberMuted, MemberRemoved, MemberUnbanned, MemberUnmuted, MemberUpdated,
    MembershipChanged, MessageCreated, MessageDeleted, MessageEdited, MessageReacted, MuteChanged, ProfileChanged,
    ReadMarked, RoomArchived, RoomCreated, RoomUpdated, SessionRevoked, UserRevoked,
};
use hallway_protocol::{
    Event, EventBody, Message, MessageId, Role, RoomId, RoomInfo, Seq, SessionId, StreamId, UserId,
};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use super::notes;
use super::tables::{
    empty_head, find_room, find_stream, from_json, get, get_u64, int, message_columns, message_id, read_message,
    role_code, role_from, to_json,
};
use super::tasks;
use crate::{Page, PageRequest, StoreError};

/// What `membership.changed` keeps beside the room.
#[derive(Serialize, Deserialize)]
struct Membership(Option<i64>, Seq, Seq, Seq);

/// What of an event stands in its row.
#[derive(Default)]
struct Record<'a> {
    object: Option<ToSqlOutput<'a>>,
    message_seq: Option<i64>,
    actor: Option<&'a str>,
    detail: Option<String>,
}

fn name(text: &str) -> Option<ToSqlOutput<'_>> {
    Some(ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())))
}

fn id(id: MessageId) -> Option<ToSqlOutput<'static>> {
    Some(ToSqlOutput::Owned(Value::Blob(id.as_uuid().as_bytes().to_vec())))
}

fn record(body: &EventBody) -> Result<Record<'_>, StoreError> {
    let none = Record::default();
    Ok(match body {
        EventBody::RoomCreated(body) => Record { actor: Some(body.by.as_str()), ..none },
        EventBody::RoomUpdated(body) => Record { actor: Some(body.by.as_str()), ..none },
        EventBody::RoomArchived(body) => Record { actor: Some(body.by.as_str()), ..none },
        EventBody::MemberJoined(MemberJoined { user, role, by })
        | EventBody::MemberUpdated(MemberUpdated { user, role, by }) => Record {
            object: name(user.as_str()),
            actor: Some(by.as_str()),
            detail: Some(role_code(*role).to_string()),
            ..none
        },
        EventBody::MemberRemoved(MemberRemoved { user, by })
        | EventBody::MemberUnbanned(MemberUnbanned { user, by })
        | EventBody::MemberUnmuted(MemberUnmuted { user, by }) => {
            Record { object: name(user.as_str()), actor: Some(by.as_str()), ..none }
        }
        // Its message has its seq, so nothing else is needed to find it.
        EventBody::MessageCreated(_) => none,
        EventBody::MessageEdited(MessageEdited { message }) => Record {
            object: id(message.id),
            message_seq: Some(int(message.seq)),
            actor: Some(message.sender.as_str()),
            detail: Some(to_json(&(message.ordinal, message.version))?),
        },
        EventBody::MessageDeleted(body) => Record {
            object: id(body.id),
            actor: Some(body.by.as_str()),
            detail: Some(body.version.to_string()),
            ..none
        },
        EventBody::MessageReacted(body) => Record {
            object: id(body.id),
            actor: Some(body.user.as_str()),
            detail: Some(to_json(&(&body.emoji, body.removed))?),
            ..none
        },
        EventBody::MembershipChanged(body) => {
            let role = body.role.map(role_code);
            let kept = Membership(role, body.room_seq, body.joined_seq, body.visible_from_seq);
            Record { object: name(body.room.as_str()), detail: Some(to_json(&kept)?), ..none }
        }
        EventBody::ReadMarked(body) => {
            Record { object: name(body.room.as_str()), detail: Some(to_json(&(body.read_seq, body.unread))?), ..none }
        }
        EventBody::MemberBanned(MemberBanned { user, until_ms, by })
        | EventBody::MemberMuted(MemberMuted { user, until_ms, by }) => {
            Record { object: name(user.as_str()), actor: Some(by.as_str()), detail: Some(to_json(until_ms)?), ..none }
        }
        EventBody::SessionRevoked(body) => {
            Record { object: name(body.session.as_str()), actor: Some(body.by.as_str()), ..none }
        }
        EventBody::UserRevoked(body) => {
            Record { actor: Some(body.by.as_str()), detail: Some(body.before_ms.to_string()), ..none }
        }
        EventBody::MuteChanged(body) => {
            let kept = (body.muted, body.until_ms, body.room_seq);
            Record { object: name(body.room.as_str()), detail: Some(to_json(&kept)?), ..none }
        }
        EventBody::ProfileChanged(body) => Record { detail: Some(to_json(&body.name)?), ..none },
        other if let Some((object, actor, detail)) = tasks::event_kept(other) => {
            let object = Some(ToSqlOutput::Owned(Value::Blob(object.to_vec())));
            Record { object, actor, detail, ..none }
        }
        other => match notes::event_detail(other)? {
            Some(detail) => Record { detail: Some(detail), ..none },
            None => return Err(StoreError::Corrupt(format!("{} cannot be kept", other.name()))),
        },
    })
}

/// Writes an event under its number.
pub(super) fn insert(connection: &Connection, stream: i64, event: &Event) -> Result<(), StoreError> {
    let record = record(&event.body)?;
    connection
        .prepare_cached(
            "INSERT INTO events (stream, seq, kind, at_ms, object, message_seq, actor, detail)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            stream,
            int(event.seq),
            event.body.kind(),
            int(event.at_ms),
            record.object,
            record.message_seq,
            record.actor,
            record.detail
        ])?;
    Ok(())
}

/// One stream's page, in the snapshot of the connection's transaction.
pub(super) fn page(connection: &Connection, request: &PageRequest) -> Result<Page, StoreError> {
    let Some((number, head)) = find_stream(connection, &request.stream)? else {
        return Ok(Page { head: empty_head(&request.stream), after: request.after, events: Vec::new() });
    };
    let mut events = Vec::new();
    if request.after < head.last_seq {
        let mut statement = connection.prepare_cached(concat!(
            "SELECT e.seq, e.kind, e.at_ms, e.object, e.message_seq, e.actor, e.detail, ",
            message_columns!(),
            " FROM events e
             LEFT JOIN messages m ON e.kind IN (7, 8) AND m.room = e.stream AND m.seq = ifnull(e.message_seq, e.seq)
             WHERE e.stream = ?1 AND e.seq > ?2 ORDER BY e.seq LIMIT ?3"
        ))?;
        let mut rows = statement.query(params![number, int(request.after), request.limit])?;
        let mut shown = Shown::default();
        while let Some(row) = rows.next()? {
            events.push(event(connection, (&request.stream, number), row, &mut shown)?);
        }
    }
    Ok(Page { head, after: request.after, events })
}

/// What events of a page show as it is now, each read once: the room, and tasks.
#[derive(Default)]
struct Shown<'a> {
    room: Option<RoomInfo>,
    tasks: tasks::Held<'a>,
}

fn event<'a>(
    connection: &'a Connection,
    (stream, number): (&StreamId, i64),
    row: &Row<'_>,
    shown: &mut Shown<'a>,
) -> Result<Event, StoreError> {
    let (seq, at_ms) = (get_u64(row, 0)?, get_u64(row, 2)?);
    let body = match get::<u16>(row, 1)? {
        1 => EventBody::RoomCreated(RoomCreated {
            info: room_now(connection, stream, &mut shown.room)?,
            by: actor(row)?,
        }),
        2 => EventBody::RoomUpdated(RoomUpdated {
            info: room_now(connection, stream, &mut shown.room)?,
            by: actor(row)?,
        }),
        3 => EventBody::RoomArchived(RoomArchived { by: actor(row)? }),
        4 => EventBody::MemberJoined(MemberJoined { user: object_user(row)?, role: role(row)?, by: actor(row)? }),
        5 => EventBody::MemberUpdated(MemberUpdated { user: object_user(row)?, role: role(row)?, by: actor(row)? }),
        6 => EventBody::MemberRemoved(MemberRemoved { user: object_user(row)?, by: actor(row)? }),
        7 => EventBody::MessageCreated(MessageCreated { message: read_message(row, MESSAGE_AT)? }),
        8 => EventBody::MessageEdited(MessageEdited { message: edited(row, at_ms)? }),
        9 => EventBody::MessageDeleted(MessageDeleted {
            id: object_message(row)?,
            version: from_json(&detail(row)?)?,
            by: actor(row)?,
        }),
        10 => {
            let (emoji, removed) = from_json(&detail(row)?)?;
            EventBody::MessageReacted(MessageReacted { id: object_message(row)?, user: actor(row)?, emoji, removed })
        }
        11 => {
            let Membership(role, room_seq, joined_seq, visible_from_seq) = from_json(&detail(row)?)?;
            let role = role.map(role_from).transpose()?;
            let room = object_room(row)?;
            EventBody::MembershipChanged(MembershipChanged { room, role, room_seq, joined_seq, visible_from_seq })
        }
        12 => {
            let (read_seq, unread) = from_json(&detail(row)?)?;
            EventBody::ReadMarked(ReadMarked { room: object_room(row)?, read_seq, unread })
        }
        kind => match act_on_people(kind, row)? {
            Some(body) => body,
            None => match tasks::event_body(connection, (stream, number), kind, row, &mut shown.tasks)? {
                Some(body) => body,
                None => notes::event_body(connection, (stream, number), (seq, kind), row, 6)?
                    .ok_or_else(|| StoreError::Corrupt(format!("{stream} has an event of kind {kind} at {seq}")))?,
            },
        },
    };
    Ok(Event { stream: stream.clone(), seq, at_ms, body })
}

/// The events of acts on people, and of people's names; `None` for a kind that is none of them.
fn act_on_people(kind: u16, row: &Row<'_>) -> Result<Option<EventBody>, StoreError> {
    Ok(Some(match kind {
        13 => EventBody::MemberBanned(MemberBanned {
            user: object_user(row)?,
            until_ms: from_json(&detail(row)?)?,
            by: actor(row)?,
        }),
        14 => EventBody::MemberUnbanned(MemberUnbanned { user: object_user(row)?, by: actor(row)? }),
        15 => EventBody::MemberMuted(MemberMuted {
            user: object_user(row)?,
            until_ms: from_json(&detail(row)?)?,
            by: actor(row)?,
        }),
        16 => EventBody::MemberUnmuted(MemberUnmuted { user: object_user(row)?, by: actor(row)? }),
        17 => {
            let session = SessionId::new(&get::<String>(row, 3)?)?;
            EventBody::SessionRevoked(SessionRevoked { session, by: actor(row)? })
        }
        18 => EventBody::UserRevoked(UserRevoked { by: actor(row)?, before_ms: from_json(&detail(row)?)? }),
        19 => {
            let (muted, until_ms, room_seq) = from_json(&detail(row)?)?;
            EventBody::MuteChanged(MuteChanged { room: object_room(row)?, muted, until_ms, room_seq })
        }
        29 => EventBody::ProfileChanged(ProfileChanged { name: from_json(&detail(row)?)? }),
        _ => return Ok(None),
    }))
}

/// Where a message's columns begin in a page's row.
const MESSAGE_AT: usize = 7;

fn room_now(connection: &Connection, stream: &StreamId, held: &mut Option<RoomInfo>) -> Result<RoomInfo, StoreError> {
    if held.is_none() {
        *held = match stream.room() {
            Some(room) => find_room(connection, room)?.map(|row| row.info),
            None => None,
        };
    }
    held.clone().ok_or_else(|| StoreError::Corrupt(format!("{stream} holds an event about no room")))
}

/// The edited message as it is now. Where it was trimmed while its edit is still kept, a tombstone.
fn edited(row: &Row<'_>, at_ms: u64) -> Result<Message, StoreError> {
    if get::<Option<i64>>(row, MESSAGE_AT + 1)?.is_some() {
        return read_message(row, MESSAGE_AT);
    }
    let (ordinal, version) = from_json(&detail(row)?)?;
    Ok(Message {
        id: object_message(row)?,
        seq: get_u64(row, 4)?,
        ordinal,
        sender: actor(row)?,
        at_ms,
        text: String::new(),
        reply_to: None,
        mentions: Vec::new(),
        meta: None,
        version,
        edited_at_ms: Some(at_ms),
        deleted: true,
        reactions: Vec::new(),
    })
}

fn object_user(row: &Row<'_>) -> Result<UserId, StoreError> {
    Ok(UserId::new(&get::<String>(row, 3)?)?)
}

fn object_room(row: &Row<'_>) -> Result<RoomId, StoreError> {
    Ok(RoomId::new(&get::<String>(row, 3)?)?)
}

fn object_message(row: &Row<'_>) -> Result<MessageId, StoreError> {
    message_id(&get::<Vec<u8>>(row, 3)?)
}

fn actor(row: &Row<'_>) -> Result<UserId, StoreError> {
    Ok(UserId::new(&get::<String>(row, 5)?)?)
}

fn role(row: &Row<'_>) -> Result<Role, StoreError> {
    role_from(from_json(&detail(row)?)?)
}

fn detail(row: &Row<'_>) -> Result<String, StoreError> {
    get(row, 6)
}
