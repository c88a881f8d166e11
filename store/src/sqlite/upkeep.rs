//! Read markers, retention, and what is said about durability.

use std::time::{SystemTime, UNIX_EPOCH};

use hallway_protocol::event::ReadMarked;
use hallway_protocol::{EventBody, RoomId, Seq, StreamId, UserId};
use rusqlite::{Connection, OptionalExtension, params};

use super::batch::{Batch, Marker};
use super::notes;
use super::tables::{empty_head, find_stream, get, get_u64, int};
use crate::{DEDUP_WINDOW_MS, Durability, Mark, MarkResult, StoreError, StreamHead};

/// `synchronous` from which on COMMIT waits for the disk in WAL mode.
const SYNCHRONOUS_FULL: i64 = 2;
/// Nonces dropped in one step.
const NONCES_PER_STEP: i64 = 5_000;
/// Events of one stream that one answer of [`expired`] covers, so that a trim stays short.
const EXPIRED_PER_STREAM: i64 = 10_000;

/// The store's clock.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Whether the fault is on that the test of durability must notice. Never in a build without the feature.
pub(super) fn sync_off() -> bool {
    cfg!(feature = "fault-injection")
        && std::env::var("HALLWAY_FAULT").is_ok_and(|faults| faults.split(',').any(|fault| fault == "sqlite-sync-off"))
}

pub(super) fn durability(connection: &Connection) -> Result<Durability, StoreError> {
    let journal: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0))?;
    let actual: i64 = connection.pragma_query_value(None, "synchronous", |row| row.get(0))?;
    // With the fault on, the report lies too: the proof must come from outside.
    let synchronous = if sync_off() { SYNCHRONOUS_FULL } else { actual };
    let mut unsafe_settings = Vec::new();
    if synchronous < SYNCHRONOUS_FULL {
        unsafe_settings
            .push(format!("synchronous is {synchronous}: a commit does not wait for the disk; it must be FULL (2)"));
    }
    let name = match synchronous {
        0 => "off",
        1 => "normal",
        2 => "full",
        _ => "extra",
    };
    let settings = [("journal_mode", journal.as_str()), ("synchronous", name), ("fsync", "on")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Ok(Durability { settings, unsafe_settings, warnings: Vec::new() })
}

/// Moves one read marker forward.
pub(super) fn mark(batch: &mut Batch<'_>, mark: &Mark) -> Result<Option<MarkResult>, StoreError> {
    let Mark { user, room, seq } = mark;
    if batch.member(room, user)?.is_none() {
        return Ok(None);
    }
    let Some(row) = batch.room(room)? else { return Ok(None) };
    let (number, head, count) = (row.number, row.last_seq, row.message_count);
    let old = batch.marker(room, user)?.unwrap_or(Marker { seq: 0, ordinal: 0 });
    let seq = (*seq).min(head);
    if seq <= old.seq {
        return Ok(Some(MarkResult { read_seq: old.seq, unread: count.saturating_sub(old.ordinal), event: None }));
    }
    let ordinal = ordinal_at(batch.connection, number, seq, count)?;
    let unread = count.saturating_sub(ordinal);
    batch.set_marker(room, user, Marker { seq, ordinal });
    let event = read_marked(batch, user, room, seq, unread)?;
    Ok(Some(MarkResult { read_seq: seq, unread, event: Some(event) }))
}

fn read_marked(
    batch: &mut Batch<'_>,
    user: &UserId,
    room: &RoomId,
    read_seq: Seq,
    unread: u64,
) -> Result<hallway_protocol::Event, StoreError> {
    batch.append_user(user, EventBody::ReadMarked(ReadMarked { room: room.clone(), read_seq, unread }))
}

/// How many messages were created at or before `seq`; trimmed ones count.
fn ordinal_at(connection: &Connection, room: i64, seq: Seq, count: u64) -> Result<u64, StoreError> {
    let number = |statement: &str| -> Result<Option<i64>, StoreError> {
        Ok(connection.prepare_cached(statement)?.query_row(params![room, int(seq)], |row| row.get(0)).optional()?)
    };
    if let Some(ordinal) =
        number("SELECT ordinal FROM messages WHERE room = ?1 AND seq <= ?2 ORDER BY seq DESC LIMIT 1")?
    {
        return Ok(ordinal.unsigned_abs());
    }
    let next = number("SELECT ordinal FROM messages WHERE room = ?1 AND seq > ?2 ORDER BY seq LIMIT 1")?;
    Ok(next.map_or(count, |next| next.unsigned_abs().saturating_sub(1)))
}

/// Drops the old end of a stream.
pub(super) fn trim(connection: &Connection, stream: &StreamId, keep_from_seq: u64) -> Result<StreamHead, StoreError> {
    let Some((number, head)) = find_stream(connection, stream)? else { return Ok(empty_head(stream)) };
    let first_seq = keep_from_seq.clamp(head.first_seq, head.last_seq + 1);
    if first_seq == head.first_seq {
        return Ok(head);
    }
    connection
        .prepare_cached("DELETE FROM events WHERE stream = ?1 AND seq < ?2")?
        .execute(params![number, int(first_seq)])?;
    let oldest: Option<i64> = connection
        .prepare_cached("SELECT at_ms FROM events WHERE stream = ?1 AND seq = ?2")?
        .query_row(params![number, int(first_seq)], |row| row.get(0))
        .optional()?;
    let update = if number > 0 {
        connection
            .prepare_cached("DELETE FROM messages WHERE room = ?1 AND seq < ?2")?
            .execute(params![number, int(first_seq)])?;
        "UPDATE rooms SET first_seq = ?2, oldest_at_ms = ?3 WHERE number = ?1"
    } else {
        notes::trim(connection, -number, first_seq)?;
        "UPDATE users SET first_seq = ?2, oldest_at_ms = ?3 WHERE number = ?1"
    };
    connection.prepare_cached(update)?.execute(params![number.abs(), int(first_seq), oldest])?;
    Ok(StreamHead { first_seq, ..head })
}

/// Streams whose oldest event is older than a time, oldest first, and where to trim them.
pub(super) fn expired(
    connection: &Connection,
    older_than_ms: u64,
    limit: u32,
) -> Result<Vec<(StreamId, u64)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT * FROM (SELECT number AS stream, id, oldest_at_ms FROM rooms INDEXED BY rooms_oldest
                        WHERE oldest_at_ms < ?1 ORDER BY oldest_at_ms LIMIT ?2)
         UNION ALL
         SELECT * FROM (SELECT -number, id, oldest_at_ms FROM users INDEXED BY users_oldest
                        WHERE oldest_at_ms < ?1 ORDER BY oldest_at_ms LIMIT ?2)
         ORDER BY 3 LIMIT ?2",
    )?;
    let mut rows = statement.query(params![int(older_than_ms), limit])?;
    let mut streams = Vec::new();
    while let Some(row) = rows.next()? {
        let number: i64 = get(row, 0)?;
        let id: String = get(row, 1)?;
        let stream = if number > 0 { StreamId::Room(RoomId::new(&id)?) } else { StreamId::User(UserId::new(&id)?) };
        if let Some(keep_from_seq) = first_kept(connection, number, older_than_ms)? {
            streams.push((stream, keep_from_seq));
        }
    }
    Ok(streams)
}

/// The seq after the leading events that are older than a time, as far as one step goes.
fn first_kept(connection: &Connection, number: i64, older_than_ms: u64) -> Result<Option<u64>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT seq, at_ms FROM events WHERE stream = ?1 ORDER BY seq LIMIT ?2")?;
    let mut rows = statement.query(params![number, EXPIRED_PER_STREAM])?;
    let mut keep_from_seq = None;
    while let Some(row) = rows.next()? {
        if get_u64(row, 1)? >= older_than_ms {
            break;
        }
        keep_from_seq = Some(get_u64(row, 0)? + 1);
    }
    Ok(keep_from_seq)
}

/// Drops one step of the nonces that are older than the window; whether there may be more.
pub(super) fn trim_nonces(connection: &Connection, now_ms: u64) -> Result<bool, StoreError> {
    let dropped = connection
        .prepare_cached(
            "DELETE FROM dedupe WHERE at_ms < ?1 AND number IN (SELECT number FROM dedupe ORDER BY number LIMIT ?2)",
        )?
        .execute(params![int(now_ms.saturating_sub(DEDUP_WINDOW_MS)), NONCES_PER_STEP])?;
    Ok(i64::try_from(dropped).unwrap_or(i64::MAX) >= NONCES_PER_STEP)
}
