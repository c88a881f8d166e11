//! What is asked about notifications, and what goes when a user's stream is trimmed.

use std::collections::BTreeSet;

use hallway_protocol::command::{Preferences, RoomLevel};
use hallway_protocol::notification::Level;
use hallway_protocol::{Seq, UserId};
use rusqlite::{Connection, OptionalExtension, params};

use super::fan_out::drop_notice;
use super::rows::{self, notification_columns};
use crate::sqlite::tables::{from_json, get, get_room, int, level_from};
use crate::{NotificationQuery, NotificationsPage, StoreError};

pub(super) fn list(
    connection: &Connection,
    user: &UserId,
    query: &NotificationQuery,
) -> Result<NotificationsPage, StoreError> {
    let found: Option<(i64, i64)> = connection
        .prepare_cached("SELECT number, unread FROM users WHERE id = ?1")?
        .query_row([user.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let Some((number, unread)) = found else {
        return Ok(NotificationsPage { notifications: Vec::new(), unread: 0, more: false });
    };
    let statement = if query.unread_only {
        concat!(
            "SELECT ",
            notification_columns!(),
            " FROM notifications n INDEXED BY notifications_unread LEFT JOIN notices x ON x.number = n.notice
             WHERE n.user = ?1 AND n.seq < ?2 AND n.read_at_ms IS NULL ORDER BY n.seq DESC LIMIT ?3"
        )
    } else {
        concat!(
            "SELECT ",
            notification_columns!(),
            " FROM notifications n LEFT JOIN notices x ON x.number = n.notice
             WHERE n.user = ?1 AND n.seq < ?2 ORDER BY n.seq DESC LIMIT ?3"
        )
    };
    let mut statement = connection.prepare_cached(statement)?;
    let before = query.before.map_or(i64::MAX, int);
    let mut found = statement.query(params![number, before, i64::from(query.limit) + 1])?;
    let mut notifications = Vec::new();
    while let Some(row) = found.next()? {
        notifications.push(rows::read(row)?);
    }
    let more = notifications.len() > query.limit as usize;
    notifications.truncate(query.limit as usize);
    Ok(NotificationsPage { notifications, unread: unread.unsigned_abs(), more })
}

pub(super) fn preferences(connection: &Connection, user: &UserId) -> Result<Preferences, StoreError> {
    let own: Option<(Option<i64>, Option<String>)> = connection
        .prepare_cached("SELECT level, quiet FROM users WHERE id = ?1")?
        .query_row([user.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (level, quiet) = own.unwrap_or((None, None));
    // Of rooms that were left nothing is said.
    let mut statement = connection.prepare_cached(
        "SELECT p.room, p.level FROM preferences p JOIN members m ON m.room = p.room AND m.user = p.user
         WHERE p.user = ?1 ORDER BY p.room",
    )?;
    let mut found = statement.query([user.as_str()])?;
    let mut rooms = Vec::new();
    while let Some(row) = found.next()? {
        rooms.push(RoomLevel { room: get_room(row, 0)?, level: level_from(get(row, 1)?)? });
    }
    Ok(Preferences {
        level: level.map(level_from).transpose()?.unwrap_or(Level::All),
        rooms,
        quiet: quiet.map(|text| from_json(&text)).transpose()?,
    })
}

/// Drops the notifications of a user's stream below a seq, with what is known of them only; the counter stays exact.
pub(in crate::sqlite) fn trim(connection: &Connection, user: i64, first_seq: Seq) -> Result<(), StoreError> {
    let below = params![user, int(first_seq)];
    let notices: BTreeSet<i64> = connection
        .prepare_cached("SELECT notice FROM notifications WHERE user = ?1 AND seq < ?2 AND notice IS NOT NULL")?
        .query_map(below, |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for statement in [
        "UPDATE users SET unread = unread -
         (SELECT count(*) FROM notifications n INDEXED BY notifications_unread
          WHERE n.user = ?1 AND n.seq < ?2 AND n.read_at_ms IS NULL) WHERE number = ?1",
        "DELETE FROM deliveries WHERE notification IN
         (SELECT n.id FROM notifications n WHERE n.user = ?1 AND n.seq < ?2)",
        "DELETE FROM delivery_ranges WHERE notification IN
         (SELECT n.id FROM notifications n WHERE n.user = ?1 AND n.seq < ?2)",
        "DELETE FROM notifications WHERE user = ?1 AND seq < ?2",
    ] {
        connection.prepare_cached(statement)?.execute(below)?;
    }
    notices.into_iter().try_for_each(|number| drop_notice(connection, number))
}
