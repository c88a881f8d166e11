//! Whom rooms concern, for the node that decides where to send what; and who knows whom by them.

use hallway_protocol::{RoomId, StreamId, UserId};
use rusqlite::{Connection, params};

use super::tables::get_user;
use super::{life, reads};
use crate::{Audience, AudienceBatch, StoreError};

pub(super) fn audiences(
    connection: &Connection,
    rooms: &[RoomId],
    members_max: u32,
) -> Result<AudienceBatch, StoreError> {
    let mut statement = connection.prepare_cached("SELECT user FROM members WHERE room = ?1 ORDER BY user LIMIT ?2")?;
    let mut audiences = Vec::with_capacity(rooms.len());
    for room in rooms {
        let mut rows = statement.query(params![room.as_str(), i64::from(members_max) + 1])?;
        let mut people = Vec::new();
        while let Some(row) = rows.next()? {
            people.push(get_user(row, 0)?);
        }
        let members = u32::try_from(people.len()).unwrap_or(u32::MAX);
        if members > members_max {
            people = Vec::new();
        }
        let last_seq = reads::head(connection, &StreamId::Room(room.clone()))?.last_seq;
        audiences.push(Audience { room: room.clone(), last_seq, members, people });
    }
    Ok(AudienceBatch { epoch: life::epoch(connection)?, audiences })
}

pub(super) fn acquaintances(
    connection: &Connection,
    user: &UserId,
    others: Vec<UserId>,
) -> Result<Vec<UserId>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT 1 FROM members theirs JOIN members mine ON mine.room = theirs.room AND mine.user = ?1
         WHERE theirs.user = ?2 LIMIT 1",
    )?;
    let mut known = Vec::new();
    for other in others {
        if other == *user || statement.exists(params![user.as_str(), other.as_str()])? {
            known.push(other);
        }
    }
    Ok(known)
}
