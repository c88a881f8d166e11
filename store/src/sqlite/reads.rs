//! Rooms, members and messages as they are now; each list is one statement by keyset.

use hallway_protocol::model::{Member, MyRoom};
use hallway_protocol::{Message, RoomId, StreamId, UserId, Visibility};
use rusqlite::{Connection, OptionalExtension, params};

use super::tables::{
    MemberRow, ROOM_COLUMN_COUNT, empty_head, find_member, find_room, find_stream, get, get_u64, get_u64_option,
    get_user, int, message_columns, read_message, read_room, role_from, room_columns, visible_from,
};
use super::{events, life};
use crate::connect::text_bytes;
use crate::{
    ConnectState, HistoryFrom, HistoryQuery, MemberQuery, MembersPage, MessagesPage, MissedQuery, Page, PageRequest,
    RoomQuery, RoomView, RoomsPage, StoreError, StreamHead,
};

pub(super) fn head(connection: &Connection, stream: &StreamId) -> Result<StreamHead, StoreError> {
    Ok(find_stream(connection, stream)?.map_or_else(|| empty_head(stream), |(_, head)| head))
}

/// What a connecting user needs, and whether they are known.
pub(super) fn connect(
    connection: &Connection,
    now_ms: u64,
    user: &UserId,
    missed: &MissedQuery,
) -> Result<(ConnectState, bool), StoreError> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        room_columns!(),
        ", m.role, m.since_seq, k.seq, k.ordinal, m.muted_until_ms FROM members m JOIN rooms r ON r.id = m.room
         LEFT JOIN read_markers k ON k.user = m.user AND k.room = m.room
         WHERE m.user = ?1 ORDER BY m.room"
    ))?;
    let mut rows = statement.query([user.as_str()])?;
    let (mut mine, mut muted) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        let room = read_room(row)?;
        let at = ROOM_COLUMN_COUNT;
        let joined_seq = get_u64(row, at + 1)?;
        if get_u64_option(row, at + 4)?.is_some_and(|until| until > now_ms) {
            muted.push(room.info.room.clone());
        }
        mine.push(MyRoom {
            visible_from_seq: visible_from(room.info.history, joined_seq),
            role: role_from(get(row, at)?)?,
            joined_seq,
            first_seq: room.first_seq,
            last_seq: room.last_seq,
            read_seq: get_u64_option(row, at + 2)?.unwrap_or(0),
            unread: room.message_count.saturating_sub(get_u64_option(row, at + 3)?.unwrap_or(0)),
            info: room.info,
        });
    }
    let revoked_before_ms: Option<i64> = connection
        .prepare_cached("SELECT revoked_before_ms FROM users WHERE id = ?1")?
        .query_row([user.as_str()], |row| row.get(0))
        .optional()?;
    let user = head(connection, &StreamId::User(user.clone()))?;
    let known = revoked_before_ms.is_some();
    let revoked_before_ms = revoked_before_ms.map_or(0, i64::unsigned_abs);
    let missed = missed_pages(connection, &user, &mine, missed)?;
    let epoch = life::epoch(connection)?;
    Ok((ConnectState { epoch, user, rooms: mine, muted, revoked_before_ms, missed }, known))
}

/// What is new in the streams that were asked for and are this user's, as far as it fits; those that have little come first.
fn missed_pages(
    connection: &Connection,
    own: &StreamHead,
    mine: &[MyRoom],
    asked: &MissedQuery,
) -> Result<Vec<Page>, StoreError> {
    let mut ranges = Vec::with_capacity(asked.after.len());
    for (stream, after) in &asked.after {
        let (first_seq, last_seq) = match stream {
            // They are in the order of their ids.
            StreamId::Room(room) => match mine.binary_search_by(|mine| mine.info.room.cmp(room)) {
                Ok(found) => (mine[found].visible_from_seq.max(mine[found].first_seq), mine[found].last_seq),
                Err(_) => continue,
            },
            stream if *stream == own.stream => (own.first_seq, own.last_seq),
            _ => continue,
        };
        let after = asked.goes_on_after(*after, first_seq.saturating_sub(1), last_seq);
        if after < last_seq {
            ranges.push((last_seq - after, stream, after));
        }
    }
    ranges.sort_by_key(|(count, _, _)| *count);
    let (mut pages, mut events_left, mut bytes_left) = (Vec::new(), u64::from(asked.events_max), asked.bytes_max);
    for (count, stream, after) in ranges {
        if events_left == 0 {
            break;
        }
        let limit = u32::try_from(count.min(events_left)).unwrap_or(u32::MAX);
        let mut page = events::page(connection, &PageRequest { stream: stream.clone(), after, limit })?;
        events_left = events_left.saturating_sub(u64::from(limit));
        let fits = page.events.iter().take_while(|event| {
            let left = bytes_left.checked_sub(text_bytes(event));
            bytes_left = left.unwrap_or(0);
            left.is_some()
        });
        let fits = fits.count();
        let is_cut = fits < page.events.len();
        page.events.truncate(fits);
        if !page.events.is_empty() {
            pages.push(page);
        }
        if is_cut {
            break;
        }
    }
    Ok(pages)
}

pub(super) fn room(connection: &Connection, user: &UserId, room: &RoomId) -> Result<Option<RoomView>, StoreError> {
    let Some(row) = find_room(connection, room)? else { return Ok(None) };
    let member = find_member(connection, room, user)?.map(|row| row.member);
    let visible = member.is_some() || row.info.visibility == Visibility::Public;
    Ok(visible.then_some(RoomView { info: row.info, member }))
}

pub(super) fn list_rooms(connection: &Connection, user: &UserId, query: &RoomQuery) -> Result<RoomsPage, StoreError> {
    let statement = if query.mine {
        concat!(
            "SELECT ",
            room_columns!(),
            " FROM members m JOIN rooms r ON r.id = m.room
             WHERE m.user = ?1 AND m.room > ?2 ORDER BY m.room LIMIT ?3"
        )
    } else {
        concat!(
            "SELECT ",
            room_columns!(),
            " FROM rooms r WHERE r.kind = 1 AND r.visibility = 1 AND r.archived = 0
             AND r.id > ?2 AND ?1 IS NOT NULL ORDER BY r.id LIMIT ?3"
        )
    };
    let mut statement = connection.prepare_cached(statement)?;
    let after = query.after.as_ref().map_or("", RoomId::as_str);
    let mut rows = statement.query(params![user.as_str(), after, u64_limit(query.limit)])?;
    let mut rooms = Vec::new();
    while let Some(row) = rows.next()? {
        rooms.push(read_room(row)?.info);
    }
    let more = cut(&mut rooms, query.limit);
    Ok(RoomsPage { rooms, more })
}

/// One more than asked for, which tells whether there is more.
fn u64_limit(limit: u32) -> i64 {
    i64::from(limit) + 1
}

fn cut<T>(items: &mut Vec<T>, limit: u32) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    more
}

pub(super) fn members(
    connection: &Connection,
    user: &UserId,
    query: &MemberQuery,
) -> Result<Option<MembersPage>, StoreError> {
    if room(connection, user, &query.room)?.is_none() {
        return Ok(None);
    }
    let mut statement = connection.prepare_cached(
        "SELECT user, role, since_seq FROM members WHERE room = ?1 AND user > ?2 ORDER BY user LIMIT ?3",
    )?;
    let after = query.after.as_ref().map_or("", UserId::as_str);
    let mut rows = statement.query(params![query.room.as_str(), after, u64_limit(query.limit)])?;
    let mut members = Vec::new();
    while let Some(row) = rows.next()? {
        members.push(Member { user: get_user(row, 0)?, role: role_from(get(row, 1)?)?, joined_seq: get_u64(row, 2)? });
    }
    let more = cut(&mut members, query.limit);
    Ok(Some(MembersPage { members, more }))
}

pub(super) fn history(
    connection: &Connection,
    user: &UserId,
    query: &HistoryQuery,
) -> Result<Option<MessagesPage>, StoreError> {
    let Some(MemberRow { member, .. }) = find_member(connection, &query.room, user)? else { return Ok(None) };
    let Some(row) = find_room(connection, &query.room)? else { return Ok(None) };
    let visible = int(visible_from(row.info.history, member.joined_seq));
    let (newest_first, bound) = match query.from {
        HistoryFrom::Before(bound) => (true, bound.map_or(i64::MAX, int)),
        HistoryFrom::After(bound) => (false, bound.map_or(0, int)),
    };
    let statement = if newest_first {
        concat!(
            "SELECT ",
            message_columns!(),
            " FROM messages m WHERE m.room = ?1 AND m.seq >= ?2 AND m.seq < ?3 ORDER BY m.seq DESC LIMIT ?4"
        )
    } else {
        concat!(
            "SELECT ",
            message_columns!(),
            " FROM messages m WHERE m.room = ?1 AND m.seq >= ?2 AND m.seq > ?3 ORDER BY m.seq LIMIT ?4"
        )
    };
    let mut statement = connection.prepare_cached(statement)?;
    let mut rows = statement.query(params![row.number, visible, bound, query.limit])?;
    let mut messages: Vec<Message> = Vec::new();
    while let Some(row) = rows.next()? {
        messages.push(read_message(row, 0)?);
    }
    if newest_first {
        messages.reverse();
    }
    // An empty page lies just beyond its bound.
    let (first, last) = match (messages.first(), messages.last()) {
        (Some(first), Some(last)) => (int(first.seq), int(last.seq)),
        _ if newest_first => (bound, bound.saturating_sub(1)),
        _ => (bound.saturating_add(1), bound),
    };
    let older = exists(connection, row.number, visible, first)?;
    let newer = exists(connection, row.number, visible.max(last.saturating_add(1)), i64::MAX)?;
    Ok(Some(MessagesPage { messages, older, newer }))
}

/// Whether there is a message with `from <= seq < to`.
fn exists(connection: &Connection, room: i64, from: i64, to: i64) -> Result<bool, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT 1 FROM messages WHERE room = ?1 AND seq >= ?2 AND seq < ?3 LIMIT 1")?;
    Ok(statement.query_row(params![room, from, to], |_| Ok(())).optional()?.is_some())
}
