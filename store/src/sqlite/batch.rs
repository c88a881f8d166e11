//! The state of one writing transaction: rows are read once, changed in memory, and written back at its end.
//!
//! Events are written at once, numbered from the row in memory; [`Batch::flush`] stores the rows. A batch that is dropped
//! without it belongs to a transaction that is rolled back.

use std::collections::HashMap;

use hallway_protocol::model::Member;
use hallway_protocol::notification::{Level, QuietHours};
use hallway_protocol::{Event, EventBody, RoomId, RoomInfo, Seq, StreamId, UserId};
use rusqlite::{Connection, OptionalExtension, params};

use super::events;
use super::tables::{
    MemberRow, RoomRow, find_member, find_room, get, get_u64, history_code, int, kind_code, role_code,
};
use super::tables::{from_json, get_u64_option, level_code, level_from, to_json, visibility_code};
use super::words::{self, Named};
use crate::{HandOutRules, StoreError};

/// A row of `users`; number 0 until it is written.
#[derive(Debug, Clone, Default)]
pub(super) struct UserRow {
    pub(super) number: i64,
    first_seq: Seq,
    pub(super) last_seq: Seq,
    pub(super) room_count: u64,
    oldest_at_ms: Option<u64>,
    /// Notifications that are not read.
    pub(super) unread: u64,
    pub(super) level: Option<Level>,
    pub(super) quiet: Option<QuietHours>,
    changed: bool,
}

/// Where a member has read to: the marker, and how many messages lie at or before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Marker {
    pub(super) seq: Seq,
    pub(super) ordinal: u64,
}

pub(super) struct Batch<'a> {
    pub(super) connection: &'a Connection,
    pub(super) at_ms: u64,
    pub(super) hand_outs: HandOutRules,
    rooms: HashMap<RoomId, (RoomRow, bool)>,
    users: HashMap<UserId, UserRow>,
    members: HashMap<(RoomId, UserId), Option<MemberRow>>,
    markers: HashMap<(RoomId, UserId), Marker>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(connection: &'a Connection, at_ms: u64, hand_outs: HandOutRules) -> Self {
        Self {
            connection,
            at_ms,
            hand_outs,
            rooms: HashMap::new(),
            users: HashMap::new(),
            members: HashMap::new(),
            markers: HashMap::new(),
        }
    }

    /// The room as this batch left it.
    pub(super) fn room(&mut self, room: &RoomId) -> Result<Option<&RoomRow>, StoreError> {
        if !self.rooms.contains_key(room) {
            match find_room(self.connection, room)? {
                Some(row) => self.rooms.insert(room.clone(), (row, false)),
                None => return Ok(None),
            };
        }
        Ok(self.rooms.get(room).map(|(row, _)| row))
    }

    fn room_mut(&mut self, room: &RoomId) -> Result<&mut RoomRow, StoreError> {
        self.room(room)?;
        let held = self.rooms.get_mut(room);
        let (row, changed) = held.ok_or_else(|| StoreError::Corrupt(format!("room {room} vanished")))?;
        *changed = true;
        Ok(row)
    }

    /// Changes the room's settings.
    pub(super) fn change_info(
        &mut self,
        room: &RoomId,
        change: impl FnOnce(&mut RoomInfo),
    ) -> Result<RoomInfo, StoreError> {
        let connection = self.connection;
        let row = self.room_mut(room)?;
        let old = row.info.name.clone();
        change(&mut row.info);
        if old != row.info.name {
            words::change(connection, &Named::Room(row.number), old.as_deref(), row.info.name.as_deref())?;
        }
        Ok(row.info.clone())
    }

    /// Counts one message more; its ordinal.
    pub(super) fn count_message(&mut self, room: &RoomId) -> Result<u64, StoreError> {
        let row = self.room_mut(room)?;
        row.message_count += 1;
        Ok(row.message_count)
    }

    pub(super) fn insert_room(&mut self, info: RoomInfo) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO rooms (id, kind, visibility, history, name, created_at_ms, worded)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 1)",
            )?
            .execute(params![
                info.room.as_str(),
                kind_code(info.kind),
                visibility_code(info.visibility),
                history_code(info.history),
                info.name,
                int(info.created_at_ms)
            ])?;
        let number = self.connection.last_insert_rowid();
        words::change(self.connection, &Named::Room(number), None, info.name.as_deref())?;
        let row = RoomRow { number, first_seq: 1, last_seq: 0, message_count: 0, oldest_at_ms: None, info };
        self.rooms.insert(row.info.room.clone(), (row, true));
        Ok(())
    }

    /// Writes the room's next event.
    pub(super) fn append_room(&mut self, room: &RoomId, body: EventBody) -> Result<Event, StoreError> {
        let (at_ms, connection) = (self.at_ms, self.connection);
        let row = self.room_mut(room)?;
        row.last_seq += 1;
        if row.first_seq == row.last_seq {
            row.oldest_at_ms = Some(at_ms);
        }
        let event = Event { stream: StreamId::Room(room.clone()), seq: row.last_seq, at_ms, body };
        events::insert(connection, row.number, &event)?;
        Ok(event)
    }

    /// The user as this batch left them; one that is not known yet is not written by this.
    pub(super) fn user(&mut self, user: &UserId) -> Result<&mut UserRow, StoreError> {
        if !self.users.contains_key(user) {
            let mut statement = self.connection.prepare_cached(
                "SELECT number, first_seq, last_seq, room_count, oldest_at_ms, unread, level, quiet FROM users WHERE id = ?1",
            )?;
            let mut rows = statement.query([user.as_str()])?;
            let row = match rows.next()? {
                Some(row) => UserRow {
                    number: get(row, 0)?,
                    first_seq: get_u64(row, 1)?,
                    last_seq: get_u64(row, 2)?,
                    room_count: get_u64(row, 3)?,
                    oldest_at_ms: get_u64_option(row, 4)?,
                    unread: get_u64(row, 5)?,
                    level: get::<Option<i64>>(row, 6)?.map(level_from).transpose()?,
                    quiet: get::<Option<String>>(row, 7)?.map(|text| from_json(&text)).transpose()?,
                    changed: false,
                },
                None => UserRow { first_seq: 1, ..UserRow::default() },
            };
            self.users.insert(user.clone(), row);
        }
        self.users.get_mut(user).ok_or_else(|| StoreError::Corrupt(format!("user {user} vanished")))
    }

    /// Writes the next event of the user's stream.
    pub(super) fn append_user(&mut self, user: &UserId, body: EventBody) -> Result<Event, StoreError> {
        let (at_ms, connection) = (self.at_ms, self.connection);
        let row = self.user(user)?;
        if row.number == 0 {
            connection.prepare_cached("INSERT INTO users (id) VALUES (?1)")?.execute([user.as_str()])?;
            row.number = connection.last_insert_rowid();
        }
        row.changed = true;
        row.last_seq += 1;
        if row.first_seq == row.last_seq {
            row.oldest_at_ms = Some(at_ms);
        }
        let event = Event { stream: StreamId::User(user.clone()), seq: row.last_seq, at_ms, body };
        events::insert(connection, -row.number, &event)?;
        Ok(event)
    }

    pub(super) fn member(&mut self, room: &RoomId, user: &UserId) -> Result<Option<&Member>, StoreError> {
        Ok(self.member_row(room, user)?.map(|row| &row.member))
    }

    /// The membership as this batch left it.
    pub(super) fn member_row(&mut self, room: &RoomId, user: &UserId) -> Result<Option<&MemberRow>, StoreError> {
        let key = (room.clone(), user.clone());
        if !self.members.contains_key(&key) {
            let found = find_member(self.connection, room, user)?;
            self.members.insert(key.clone(), found);
        }
        Ok(self.members.get(&key).and_then(Option::as_ref))
    }

    /// Stores a membership, new or changed.
    pub(super) fn set_member(&mut self, room: &RoomId, member: Member) -> Result<(), StoreError> {
        self.connection
            .prepare_cached(
                "INSERT INTO members (room, user, role, since_seq) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (room, user) DO UPDATE SET role = excluded.role",
            )?
            .execute(params![room.as_str(), member.user.as_str(), role_code(member.role), int(member.joined_seq)])?;
        let key = (room.clone(), member.user.clone());
        let muted_until_ms = self.members.get(&key).and_then(Option::as_ref).map_or(0, |row| row.muted_until_ms);
        self.members.insert(key, Some(MemberRow { member, muted_until_ms }));
        Ok(())
    }

    /// Sets the end of a member's mute; of those who are no members, nothing.
    pub(super) fn set_muted_until(&mut self, room: &RoomId, user: &UserId, until_ms: u64) -> Result<(), StoreError> {
        self.connection
            .prepare_cached("UPDATE members SET muted_until_ms = ?3 WHERE room = ?1 AND user = ?2")?
            .execute(params![room.as_str(), user.as_str(), int(until_ms)])?;
        if let Some(Some(row)) = self.members.get_mut(&(room.clone(), user.clone())) {
            row.muted_until_ms = until_ms;
        }
        Ok(())
    }

    /// Ends a membership; the read marker goes with it.
    pub(super) fn remove_member(&mut self, room: &RoomId, user: &UserId) -> Result<(), StoreError> {
        for statement in [
            "DELETE FROM members WHERE room = ?1 AND user = ?2",
            "DELETE FROM read_markers WHERE room = ?1 AND user = ?2",
        ] {
            self.connection.prepare_cached(statement)?.execute([room.as_str(), user.as_str()])?;
        }
        let key = (room.clone(), user.clone());
        self.markers.remove(&key);
        self.members.insert(key, None);
        Ok(())
    }

    /// Whether the room has a member besides `user`; with `owner`, an owner.
    pub(super) fn has_other(&self, room: &RoomId, user: &UserId, owner: bool) -> Result<bool, StoreError> {
        let statement = if owner {
            "SELECT 1 FROM members WHERE room = ?1 AND user <> ?2 AND role = 4 LIMIT 1"
        } else {
            "SELECT 1 FROM members WHERE room = ?1 AND user <> ?2 LIMIT 1"
        };
        let mut statement = self.connection.prepare_cached(statement)?;
        Ok(statement.query_row([room.as_str(), user.as_str()], |_| Ok(())).optional()?.is_some())
    }

    pub(super) fn set_marker(&mut self, room: &RoomId, user: &UserId, marker: Marker) {
        self.markers.insert((room.clone(), user.clone()), marker);
    }

    pub(super) fn marker(&self, room: &RoomId, user: &UserId) -> Result<Option<Marker>, StoreError> {
        if let Some(marker) = self.markers.get(&(room.clone(), user.clone())) {
            return Ok(Some(*marker));
        }
        let mut statement =
            self.connection.prepare_cached("SELECT seq, ordinal FROM read_markers WHERE user = ?1 AND room = ?2")?;
        let mut rows = statement.query([user.as_str(), room.as_str()])?;
        rows.next()?.map(|row| Ok(Marker { seq: get_u64(row, 0)?, ordinal: get_u64(row, 1)? })).transpose()
    }

    /// Writes back what changed.
    pub(super) fn flush(self) -> Result<(), StoreError> {
        let mut update_room = self.connection.prepare_cached(
            "UPDATE rooms SET visibility = ?2, name = ?3, archived = ?4, last_seq = ?5, message_count = ?6,
             oldest_at_ms = ?7 WHERE number = ?1",
        )?;
        for (row, _) in self.rooms.values().filter(|(_, changed)| *changed) {
            update_room.execute(params![
                row.number,
                visibility_code(row.info.visibility),
                row.info.name,
                row.info.archived,
                int(row.last_seq),
                int(row.message_count),
                row.oldest_at_ms.map(int)
            ])?;
        }
        let mut update_user = self.connection.prepare_cached(
            "UPDATE users SET last_seq = ?2, room_count = ?3, oldest_at_ms = ?4, unread = ?5, level = ?6, quiet = ?7
                 WHERE number = ?1",
        )?;
        for row in self.users.values().filter(|row| row.changed) {
            update_user.execute(params![
                row.number,
                int(row.last_seq),
                int(row.room_count),
                row.oldest_at_ms.map(int),
                int(row.unread),
                row.level.map(level_code),
                row.quiet.as_ref().map(to_json).transpose()?
            ])?;
        }
        let mut set_marker = self.connection.prepare_cached(
            "INSERT INTO read_markers (user, room, seq, ordinal) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT (user, room) DO UPDATE SET seq = excluded.seq, ordinal = excluded.ordinal",
        )?;
        for ((room, user), marker) in &self.markers {
            set_marker.execute(params![user.as_str(), room.as_str(), int(marker.seq), int(marker.ordinal)])?;
        }
        Ok(())
    }
}
