//! Under what names people, rooms and tasks are found: rows of `words`, kept as [`crate::names`] says.

use hallway_protocol::TaskId;
use rusqlite::types::Value;
use rusqlite::{Connection, params};

use super::tables::get;
use crate::{StoreError, names};

pub(super) const PERSON: i64 = 1;
pub(super) const ROOM: i64 = 2;
pub(super) const TASK: i64 = 3;

/// What has a name, by its number in the database.
pub(super) enum Named {
    Person(i64),
    Room(i64),
    /// Of the room with this number.
    Task(i64, TaskId),
}

impl Named {
    fn place(&self) -> (i64, i64, Value) {
        match self {
            Self::Person(number) => (PERSON, 0, Value::Integer(*number)),
            Self::Room(number) => (ROOM, 0, Value::Integer(*number)),
            Self::Task(room, id) => (TASK, *room, Value::Blob(id.as_uuid().as_bytes().to_vec())),
        }
    }
}

/// Notes that something is called otherwise than before.
pub(super) fn change(
    connection: &Connection,
    named: &Named,
    old: Option<&str>,
    new: Option<&str>,
) -> Result<(), StoreError> {
    let (kind, place, object) = named.place();
    let entries = |name: Option<&str>| name.map(names::entries).unwrap_or_default();
    let (old, new) = (entries(old), entries(new));
    let mut delete =
        connection.prepare_cached("DELETE FROM words WHERE kind = ?1 AND place = ?2 AND word = ?3 AND object = ?4")?;
    for word in old.iter().filter(|word| !new.contains(word)) {
        delete.execute(params![kind, place, word, object])?;
    }
    let mut insert =
        connection.prepare_cached("INSERT OR IGNORE INTO words (kind, place, word, object) VALUES (?1, ?2, ?3, ?4)")?;
    for word in new.iter().filter(|word| !old.contains(word)) {
        insert.execute(params![kind, place, word, object])?;
    }
    Ok(())
}

/// Writes the words of rooms that are older than the words.
pub(super) fn complete(connection: &Connection) -> Result<(), StoreError> {
    let mut rooms: Vec<(i64, Option<String>)> = Vec::new();
    let mut statement =
        connection.prepare("SELECT number, name FROM rooms INDEXED BY rooms_not_worded WHERE worded = 0")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        rooms.push((get(row, 0)?, get(row, 1)?));
    }
    for (number, name) in rooms {
        change(connection, &Named::Room(number), None, name.as_deref())?;
        connection.prepare_cached("UPDATE rooms SET worded = 1 WHERE number = ?1")?.execute([number])?;
    }
    Ok(())
}
