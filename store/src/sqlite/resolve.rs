//! What people say, turned into ids: within what the asker may see, in the snapshot of one read transaction.

use std::collections::BTreeMap;

use hallway_protocol::command::{Candidate, What};
use hallway_protocol::event::ProfileChanged;
use hallway_protocol::{EventBody, RoomId, TaskId, UserId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::batch::Batch;
use super::commit::{Done, Stop};
use super::reads;
use super::tables::{find_member, find_room, get, get_room, get_user, int, message_id, visible_from};
use super::tasks::get_task_id;
use super::words::{self, Named};
use crate::names::{self, Rank};
use crate::{CANDIDATES_MAX, ResolveQuery, StoreError};

/// Gives somebody a name, or takes it.
pub(super) fn set_profile(batch: &mut Batch<'_>, user: &UserId, new: Option<&str>) -> Result<Done, Stop> {
    let old = name_of(batch.connection, user)?;
    let body = EventBody::ProfileChanged(ProfileChanged { name: new.map(str::to_owned) });
    let event = batch.append_user(user, body)?;
    batch
        .connection
        .prepare_cached("UPDATE users SET name = ?2 WHERE id = ?1")?
        .execute(params![user.as_str(), new])?;
    let number = batch.user(user)?.number;
    words::change(batch.connection, &Named::Person(number), old.as_deref(), new)?;
    Ok(Done::of(event.seq, vec![event]))
}

fn name_of(connection: &Connection, user: &UserId) -> Result<Option<String>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT name FROM users WHERE id = ?1")?;
    Ok(statement.query_row([user.as_str()], |row| row.get(0)).optional()?.flatten())
}

pub(super) fn resolve(
    connection: &Connection,
    asker: &UserId,
    query: &ResolveQuery,
) -> Result<Vec<Candidate>, StoreError> {
    match query {
        ResolveQuery::Named { text, what, room } => named(connection, asker, text, *what, room.as_ref()),
        ResolveQuery::Room(room) => {
            let seen = reads::room(connection, asker, room)?;
            Ok(seen.map(|view| Candidate::Room { room: view.info.room, name: view.info.name }).into_iter().collect())
        }
        ResolveQuery::Task { room, task } => task_of(connection, asker, room.as_ref(), *task),
        ResolveQuery::LastMessage(room) => last_message(connection, asker, room),
        ResolveQuery::AssigneesOf { room, task } => assignees(connection, asker, room.as_ref(), *task),
        ResolveQuery::Me => Ok(vec![Candidate::Person { user: asker.clone(), name: name_of(connection, asker)? }]),
    }
}

/// The likeliest of those that were found.
struct Found<'a> {
    phrase: &'a str,
    /// Those of this room come first.
    room: Option<&'a RoomId>,
    /// By what settles ties, too: what it is, and the room that it is of.
    best: BTreeMap<(Rank, u8, Option<RoomId>), Candidate>,
}

impl Found<'_> {
    fn take(&mut self, (id, name): (&str, Option<&str>), of_room: bool, candidate: Candidate) {
        let Some(rank) = Rank::of(self.phrase, (id, name), of_room) else { return };
        let (kind, place) = match &candidate {
            Candidate::Person { .. } => (0, None),
            Candidate::Room { .. } => (1, None),
            Candidate::Task { room, .. } => (2, Some(room.clone())),
            Candidate::Message { room, .. } => (3, Some(room.clone())),
        };
        self.best.insert((rank, kind, place), candidate);
        if self.best.len() > usize::try_from(CANDIDATES_MAX).unwrap_or(usize::MAX) {
            self.best.pop_last();
        }
    }
}

fn named(
    connection: &Connection,
    asker: &UserId,
    text: &str,
    what: Option<What>,
    room: Option<&RoomId>,
) -> Result<Vec<Candidate>, StoreError> {
    let phrase = names::fold(text);
    if phrase.is_empty() {
        return Ok(Vec::new());
    }
    // What stands in a room says nothing to those who are not in it.
    let room = match room {
        Some(room) if find_member(connection, room, asker)?.is_some() => Some(room),
        _ => None,
    };
    let mut found = Found { phrase: &phrase, room, best: BTreeMap::new() };
    if matches!(what, None | Some(What::Person)) {
        people(connection, asker, &mut found)?;
    }
    if matches!(what, None | Some(What::Room)) {
        rooms(connection, asker, &mut found)?;
    }
    if matches!(what, None | Some(What::Task)) {
        tasks(connection, asker, &mut found)?;
    }
    Ok(found.best.into_values().collect())
}

fn people(connection: &Connection, asker: &UserId, found: &mut Found<'_>) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT u.id, u.name, EXISTS (SELECT 1 FROM members h WHERE h.room = ?4 AND h.user = u.id)
         FROM (SELECT object AS number FROM words WHERE kind = 1 AND place = 0 AND word >= ?2 AND word < ?3
               UNION ALL SELECT number FROM users WHERE lower(id) >= ?2 AND lower(id) < ?3) found
         JOIN users u ON u.number = found.number
         WHERE u.id = ?1 OR EXISTS (SELECT 1 FROM members theirs JOIN members mine
                                    ON mine.room = theirs.room AND mine.user = ?1 WHERE theirs.user = u.id)",
    )?;
    let room = found.room.map(RoomId::as_str);
    let mut rows = statement.query(params![asker.as_str(), found.phrase, names::beyond(found.phrase), room])?;
    while let Some(row) = rows.next()? {
        let (user, name): (UserId, Option<String>) = (get_user(row, 0)?, get(row, 1)?);
        let candidate = Candidate::Person { user: user.clone(), name: name.clone() };
        found.take((user.as_str(), name.as_deref()), get(row, 2)?, candidate);
    }
    Ok(())
}

fn rooms(connection: &Connection, asker: &UserId, found: &mut Found<'_>) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT r.id, r.name
         FROM (SELECT object AS number FROM words WHERE kind = 2 AND place = 0 AND word >= ?2 AND word < ?3
               UNION ALL SELECT number FROM rooms WHERE lower(id) >= ?2 AND lower(id) < ?3) found
         JOIN rooms r ON r.number = found.number
         WHERE (r.kind = 1 AND r.visibility = 1 AND r.archived = 0)
            OR EXISTS (SELECT 1 FROM members m WHERE m.room = r.id AND m.user = ?1)",
    )?;
    let mut rows = statement.query(params![asker.as_str(), found.phrase, names::beyond(found.phrase)])?;
    while let Some(row) = rows.next()? {
        let (room, name): (RoomId, Option<String>) = (get_room(row, 0)?, get(row, 1)?);
        let here = found.room == Some(&room);
        let candidate = Candidate::Room { room: room.clone(), name: name.clone() };
        found.take((room.as_str(), name.as_deref()), here, candidate);
    }
    Ok(())
}

fn tasks(connection: &Connection, asker: &UserId, found: &mut Found<'_>) -> Result<(), StoreError> {
    let take = |found: &mut Found<'_>, row: &Row<'_>| -> Result<(), StoreError> {
        let (room, task, title): (RoomId, TaskId, String) = (get_room(row, 0)?, get_task_id(row, 1)?, get(row, 2)?);
        let here = found.room == Some(&room);
        let candidate = Candidate::Task { room, task, title: title.clone() };
        found.take((&task.to_string(), Some(&title)), here, candidate);
        Ok(())
    };
    let mut statement = connection.prepare_cached(
        "SELECT m.room, t.id, t.title FROM members m JOIN rooms r ON r.id = m.room
         CROSS JOIN words w CROSS JOIN tasks t ON t.room = r.number AND t.id = w.object
         WHERE m.user = ?1 AND w.kind = 3 AND w.place = r.number AND w.word >= ?2 AND w.word < ?3",
    )?;
    let mut rows = statement.query(params![asker.as_str(), found.phrase, names::beyond(found.phrase)])?;
    while let Some(row) = rows.next()? {
        take(found, row)?;
    }
    let Some((first, last)) = names::uuids(found.phrase) else { return Ok(()) };
    let mut statement = connection.prepare_cached(
        "SELECT m.room, t.id, t.title FROM members m JOIN rooms r ON r.id = m.room
         CROSS JOIN tasks t ON t.room = r.number AND t.id >= ?2 AND t.id <= ?3
         WHERE m.user = ?1 AND t.deleted = 0",
    )?;
    let mut rows = statement.query(params![asker.as_str(), first, last])?;
    while let Some(row) = rows.next()? {
        take(found, row)?;
    }
    Ok(())
}

fn task_of(
    connection: &Connection,
    asker: &UserId,
    room: Option<&RoomId>,
    task: TaskId,
) -> Result<Vec<Candidate>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT m.room, t.title FROM members m JOIN rooms r ON r.id = m.room
         CROSS JOIN tasks t ON t.room = r.number AND t.id = ?3
         WHERE m.user = ?1 AND (?2 IS NULL OR m.room = ?2) AND t.deleted = 0 ORDER BY m.room LIMIT ?4",
    )?;
    let room = room.map(RoomId::as_str);
    let mut rows = statement.query(params![asker.as_str(), room, task.as_uuid().as_bytes(), CANDIDATES_MAX])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Candidate::Task { room: get_room(row, 0)?, task, title: get(row, 1)? });
    }
    Ok(found)
}

fn assignees(
    connection: &Connection,
    asker: &UserId,
    room: Option<&RoomId>,
    task: TaskId,
) -> Result<Vec<Candidate>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT a.user, u.name FROM members m JOIN rooms r ON r.id = m.room
         CROSS JOIN task_assignees a ON a.room = r.number AND a.task = ?3 LEFT JOIN users u ON u.id = a.user
         WHERE m.user = ?1 AND (?2 IS NULL OR m.room = ?2)",
    )?;
    let mut rows = statement.query(params![asker.as_str(), room.map(RoomId::as_str), task.as_uuid().as_bytes()])?;
    let mut people = BTreeMap::new();
    while let Some(row) = rows.next()? {
        people.insert(get_user(row, 0)?, get::<Option<String>>(row, 1)?);
    }
    Ok(people.into_iter().map(|(user, name)| Candidate::Person { user, name }).collect())
}

fn last_message(connection: &Connection, asker: &UserId, room: &RoomId) -> Result<Vec<Candidate>, StoreError> {
    let Some(member) = find_member(connection, room, asker)?.map(|row| row.member) else { return Ok(Vec::new()) };
    let Some(row) = find_room(connection, room)? else { return Ok(Vec::new()) };
    let from = int(visible_from(row.info.history, member.joined_seq));
    let id: Option<Vec<u8>> = connection
        .prepare_cached(
            "SELECT id FROM messages WHERE room = ?1 AND seq >= ?2 AND deleted = 0 ORDER BY seq DESC LIMIT 1",
        )?
        .query_row(params![row.number, from], |row| row.get(0))
        .optional()?;
    let message = id.map(|id| message_id(&id)).transpose()?;
    Ok(message.map(|message| Candidate::Message { room: room.clone(), message }).into_iter().collect())
}
