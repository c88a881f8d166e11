//! How values of the model stand in columns.

use hallway_protocol::model::{Member, Reaction};
use hallway_protocol::notification::Level;
use hallway_protocol::{
    History, Message, MessageId, Meta, Role, RoomId, RoomInfo, RoomKind, Seq, StreamId, UserId, Visibility,
};
use rusqlite::types::FromSql;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row};
use uuid::Uuid;

use crate::{StoreError, StreamHead};

/// Columns of a [`RoomRow`], of a table called `r`.
macro_rules! room_columns {
    () => {
        "r.number, r.id, r.kind, r.visibility, r.history, r.name, r.archived, r.created_at_ms, r.first_seq, r.last_seq, \
         r.message_count, r.oldest_at_ms"
    };
}
pub(super) use room_columns;

/// Columns of a [`Message`], of a table called `m`.
macro_rules! message_columns {
    () => {
        "m.id, m.seq, m.ordinal, m.sender, m.at_ms, m.text, m.reply_to, m.mentions, m.meta, m.version, m.edited_at_ms, \
         m.deleted, m.reactions"
    };
}
pub(super) use message_columns;

/// An unsigned number as a column holds it; numbers beyond its range stand for "the greatest".
pub(super) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn unsigned(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|_| StoreError::Corrupt(format!("a number is negative: {number}")))
}

/// Reads a column.
pub(super) fn get<T: FromSql>(row: &Row<'_>, column: usize) -> Result<T, StoreError> {
    row.get(column).map_err(StoreError::from)
}

/// Reads a column that holds an unsigned number.
pub(super) fn get_u64(row: &Row<'_>, column: usize) -> Result<u64, StoreError> {
    unsigned(get(row, column)?)
}

/// Reads a column that may hold an unsigned number.
pub(super) fn get_u64_option(row: &Row<'_>, column: usize) -> Result<Option<u64>, StoreError> {
    get::<Option<i64>>(row, column)?.map(unsigned).transpose()
}

/// Reads a column that holds a user id.
pub(super) fn get_user(row: &Row<'_>, column: usize) -> Result<UserId, StoreError> {
    Ok(UserId::new(text(row, column)?)?)
}

/// Reads a column that holds a room id.
pub(super) fn get_room(row: &Row<'_>, column: usize) -> Result<RoomId, StoreError> {
    Ok(RoomId::new(text(row, column)?)?)
}

fn text<'row>(row: &'row Row<'_>, column: usize) -> Result<&'row str, StoreError> {
    row.get_ref(column)?.as_str().map_err(|error| StoreError::Corrupt(error.to_string()))
}

/// Reads a message id from its 16 bytes.
pub(super) fn message_id(bytes: &[u8]) -> Result<MessageId, StoreError> {
    Ok(MessageId::from_uuid(uuid(bytes)?)?)
}

/// Reads what an id is made of from its 16 bytes.
pub(super) fn uuid(bytes: &[u8]) -> Result<Uuid, StoreError> {
    Uuid::from_slice(bytes).map_err(|error| StoreError::Corrupt(error.to_string()))
}

fn corrupt_json(error: serde_json::Error) -> StoreError {
    StoreError::Corrupt(format!("a column is not the JSON it should be: {error}"))
}

/// JSON as this back end writes it.
pub(super) fn from_json<'a, T: serde::Deserialize<'a>>(text: &'a str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(corrupt_json)
}

/// JSON for a column.
pub(super) fn to_json<T: serde::Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(corrupt_json)
}

macro_rules! codes {
    ($type:ident, $to:ident, $from:ident, $($variant:ident = $code:literal),*) => {
        pub(super) fn $to(value: $type) -> i64 {
            match value { $($type::$variant => $code,)* }
        }
        pub(super) fn $from(code: i64) -> Result<$type, StoreError> {
            match code {
                $($code => Ok($type::$variant),)*
                _ => Err(StoreError::Corrupt(format!(concat!("no ", stringify!($type), " has the code {}"), code))),
            }
        }
    };
}

codes!(RoomKind, kind_code, kind_from, Channel = 1, Direct = 2);
codes!(Visibility, visibility_code, visibility_from, Public = 1, Private = 2);
codes!(History, history_code, history_from, All = 1, SinceJoin = 2);
codes!(Level, level_code, level_from, None = 1, Mentions = 2, All = 3);
codes!(Role, role_code, role_from, Guest = 1, Member = 2, Admin = 3, Owner = 4);

/// A row of `rooms`.
#[derive(Debug, Clone)]
pub(super) struct RoomRow {
    pub(super) number: i64,
    pub(super) info: RoomInfo,
    pub(super) first_seq: Seq,
    pub(super) last_seq: Seq,
    pub(super) message_count: u64,
    pub(super) oldest_at_ms: Option<u64>,
}

/// How many columns `room_columns!` has.
pub(super) const ROOM_COLUMN_COUNT: usize = 12;

pub(super) fn read_room(row: &Row<'_>) -> Result<RoomRow, StoreError> {
    Ok(RoomRow {
        number: get(row, 0)?,
        info: RoomInfo {
            room: get_room(row, 1)?,
            kind: kind_from(get(row, 2)?)?,
            visibility: visibility_from(get(row, 3)?)?,
            history: history_from(get(row, 4)?)?,
            name: get(row, 5)?,
            archived: get(row, 6)?,
            created_at_ms: get_u64(row, 7)?,
        },
        first_seq: get_u64(row, 8)?,
        last_seq: get_u64(row, 9)?,
        message_count: get_u64(row, 10)?,
        oldest_at_ms: get_u64_option(row, 11)?,
    })
}

/// A room by its id.
pub(super) fn find_room(connection: &Connection, room: &RoomId) -> Result<Option<RoomRow>, StoreError> {
    let mut statement =
        connection.prepare_cached(concat!("SELECT ", room_columns!(), " FROM rooms r WHERE r.id = ?1"))?;
    let mut rows = statement.query([room.as_str()])?;
    rows.next()?.map(read_room).transpose()
}

/// A row of `members`.
#[derive(Debug, Clone)]
pub(super) struct MemberRow {
    pub(super) member: Member,
    /// 0: never muted.
    pub(super) muted_until_ms: u64,
}

/// A membership.
pub(super) fn find_member(
    connection: &Connection,
    room: &RoomId,
    user: &UserId,
) -> Result<Option<MemberRow>, StoreError> {
    let mut statement = connection
        .prepare_cached("SELECT role, since_seq, muted_until_ms FROM members WHERE room = ?1 AND user = ?2")?;
    let mut rows = statement.query([room.as_str(), user.as_str()])?;
    rows.next()?
        .map(|row| {
            let member = Member { user: user.clone(), role: role_from(get(row, 0)?)?, joined_seq: get_u64(row, 1)? };
            Ok(MemberRow { member, muted_until_ms: get_u64_option(row, 2)?.unwrap_or(0) })
        })
        .transpose()
}

/// A stream's number in the database, and its head. `None` for a stream that does not exist.
pub(super) fn find_stream(connection: &Connection, stream: &StreamId) -> Result<Option<(i64, StreamHead)>, StoreError> {
    let (statement, name, sign) = match stream {
        StreamId::Room(room) => ("SELECT number, first_seq, last_seq FROM rooms WHERE id = ?1", room.as_str(), 1),
        StreamId::User(user) => ("SELECT number, first_seq, last_seq FROM users WHERE id = ?1", user.as_str(), -1),
        StreamId::System => return Ok(None),
    };
    let found: Option<(i64, i64, i64)> = connection
        .prepare_cached(statement)?
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .optional()?;
    found
        .map(|(number, first, last)| {
            let head = StreamHead { stream: stream.clone(), first_seq: unsigned(first)?, last_seq: unsigned(last)? };
            Ok((sign * number, head))
        })
        .transpose()
}

/// The head of a stream that nobody ever wrote to.
pub(super) fn empty_head(stream: &StreamId) -> StreamHead {
    StreamHead { stream: stream.clone(), first_seq: 1, last_seq: 0 }
}

/// Reads a message whose columns begin at `from`.
pub(super) fn read_message(row: &Row<'_>, from: usize) -> Result<Message, StoreError> {
    let bytes: Option<Vec<u8>> = get(row, from + 6)?;
    let mentions: Option<String> = get(row, from + 7)?;
    let meta: Option<String> = get(row, from + 8)?;
    let reactions: Option<String> = get(row, from + 12)?;
    Ok(Message {
        id: message_id(&get::<[u8; 16]>(row, from)?)?,
        seq: get_u64(row, from + 1)?,
        ordinal: get_u64(row, from + 2)?,
        sender: get_user(row, from + 3)?,
        at_ms: get_u64(row, from + 4)?,
        text: get(row, from + 5)?,
        reply_to: bytes.map(|bytes| message_id(&bytes)).transpose()?,
        mentions: mentions.map(|text| from_json(&text)).transpose()?.unwrap_or_default(),
        meta: meta
            .map(|text| Meta::from_json(&text).map_err(|error| StoreError::Corrupt(error.to_string())))
            .transpose()?,
        version: get(row, from + 9)?,
        edited_at_ms: get_u64_option(row, from + 10)?,
        deleted: get(row, from + 11)?,
        reactions: reactions.map(|text| reactions_from_json(&text)).transpose()?.unwrap_or_default(),
    })
}

/// A message by its id.
pub(super) fn find_message(connection: &Connection, room: i64, id: MessageId) -> Result<Option<Message>, StoreError> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        message_columns!(),
        " FROM messages m WHERE m.room = ?1 AND m.id = ?2"
    ))?;
    let mut rows = statement.query(rusqlite::params![room, id.as_uuid().as_bytes()])?;
    rows.next()?.map(|row| read_message(row, 0)).transpose()
}

fn reactions_from_json(text: &str) -> Result<Vec<Reaction>, StoreError> {
    let pairs: Vec<(String, Vec<UserId>)> = from_json(text)?;
    Ok(pairs.into_iter().map(|(emoji, users)| Reaction { emoji, users }).collect())
}

/// Reactions for their column; nothing where there are none.
pub(super) fn reactions_to_json(reactions: &[Reaction]) -> Result<Option<String>, StoreError> {
    if reactions.is_empty() {
        return Ok(None);
    }
    let pairs: Vec<(&str, &[UserId])> = reactions.iter().map(|one| (one.emoji.as_str(), &*one.users)).collect();
    to_json(&pairs).map(Some)
}

/// Oldest event that a member may see.
pub(super) fn visible_from(history: History, joined_seq: Seq) -> Seq {
    match history {
        History::All => 1,
        History::SinceJoin => joined_seq,
    }
}

impl From<rusqlite::Error> for StoreError {
    /// For everything but COMMIT: a statement that failed is rolled back, so this is definite.
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch) => {
                Self::Refused(error.into())
            }
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(error.to_string()),
            Some(_) => Self::Unavailable(error.into()),
            None => Self::Corrupt(error.to_string()),
        }
    }
}
