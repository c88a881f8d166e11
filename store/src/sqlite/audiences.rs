//! Whom rooms concern, for the node that decides where to send what.

use hallway_protocol::{RoomId, StreamId};
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
