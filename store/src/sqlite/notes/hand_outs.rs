//! What is handed to the application when nobody looks, and the diary that tells what became of a notification.

use hallway_protocol::notification::{Delivered, Trace};
use hallway_protocol::{NotificationId, SessionId};
use rusqlite::{Connection, params};

use super::rows::{self, NOTIFICATION_COLUMN_COUNT, notification_columns};
use crate::sqlite::outbox;
use crate::sqlite::tables::{get, get_u64, get_u64_option, get_user, int};
use crate::{Delivery, HandOut, HandOutFate, NewJob, StoreError, TRACE_ROWS_MAX};

/// Claims what is to be looked at, those that wait longest first.
pub(super) fn claim(
    connection: &Connection,
    now_ms: u64,
    limit: u32,
    lease_ms: u64,
) -> Result<Vec<HandOut>, StoreError> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        notification_columns!(),
        ", u.id FROM notifications n INDEXED BY notifications_hand_out JOIN users u ON u.number = n.user
         LEFT JOIN notices x ON x.number = n.notice
         WHERE n.hand_out_at_ms <= ?1 ORDER BY n.hand_out_at_ms LIMIT ?2"
    ))?;
    let mut found = statement.query(params![int(now_ms), limit])?;
    let mut claimed = Vec::new();
    while let Some(row) = found.next()? {
        let notification = rows::read(row)?;
        let acknowledge_in_ms = notification.acknowledge_by_ms.map(|by_ms| by_ms.saturating_sub(now_ms));
        claimed.push(HandOut { user: get_user(row, NOTIFICATION_COLUMN_COUNT)?, notification, acknowledge_in_ms });
    }
    for one in &claimed {
        look_again(connection, one.notification.id, Some(now_ms.saturating_add(lease_ms)))?;
    }
    Ok(claimed)
}

/// Sets when a notification is looked at again; not of one that was read meanwhile.
fn look_again(connection: &Connection, id: NotificationId, at_ms: Option<u64>) -> Result<(), StoreError> {
    connection
        .prepare_cached("UPDATE notifications SET hand_out_at_ms = ?2 WHERE id = ?1 AND hand_out_at_ms IS NOT NULL")?
        .execute(params![id.as_uuid().as_bytes(), at_ms.map(int)])?;
    Ok(())
}

pub(super) fn settle(
    connection: &Connection,
    now_ms: u64,
    settled: &[(NotificationId, HandOutFate)],
    jobs: &[NewJob],
) -> Result<(), StoreError> {
    for (id, fate) in settled {
        let at_ms = match fate {
            HandOutFate::Settled => None,
            HandOutFate::Again { after_ms } => Some(now_ms.saturating_add(*after_ms)),
        };
        look_again(connection, *id, at_ms)?;
    }
    jobs.iter().try_for_each(|job| outbox::insert(connection, now_ms, job))
}

/// Notes what was handed to whom, of each notification as much as a trace names.
pub(super) fn note(connection: &Connection, deliveries: &[Delivery]) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO deliveries (notification, session, at_ms)
         SELECT id, ?2, ?3 FROM notifications WHERE id = ?1
         AND (SELECT count(*) FROM deliveries d WHERE d.notification = ?1) < ?4
         ON CONFLICT DO NOTHING",
    )?;
    for Delivery { notification, session, at_ms } in deliveries {
        statement.execute(params![notification.as_uuid().as_bytes(), session.as_str(), int(*at_ms), TRACE_ROWS_MAX])?;
    }
    Ok(())
}

pub(super) fn trace(connection: &Connection, id: NotificationId) -> Result<Option<Trace>, StoreError> {
    let mut statement = connection.prepare_cached(concat!(
        "SELECT ",
        notification_columns!(),
        ", u.id FROM notifications n JOIN users u ON u.number = n.user LEFT JOIN notices x ON x.number = n.notice
         WHERE n.id = ?1"
    ))?;
    let mut found = statement.query([id.as_uuid().as_bytes()])?;
    let Some(row) = found.next()? else { return Ok(None) };
    Ok(Some(Trace {
        user: get_user(row, NOTIFICATION_COLUMN_COUNT)?,
        notification: rows::read(row)?,
        read_at_ms: get_u64_option(row, rows::READ_AT)?,
        acknowledged_at_ms: get_u64_option(row, rows::ACKNOWLEDGED_AT)?,
        deliveries: deliveries(connection, id)?,
        jobs: outbox::of_notification(connection, id)?,
    }))
}

/// The first of them.
fn deliveries(connection: &Connection, id: NotificationId) -> Result<Vec<Delivered>, StoreError> {
    let mut statement =
        connection.prepare_cached("SELECT session, at_ms FROM deliveries WHERE notification = ?1 LIMIT ?2")?;
    let mut found = statement.query(params![id.as_uuid().as_bytes(), TRACE_ROWS_MAX])?;
    let mut deliveries = Vec::new();
    while let Some(row) = found.next()? {
        let session = SessionId::new(&get::<String>(row, 0)?)?;
        deliveries.push(Delivered { session, at_ms: get_u64(row, 1)? });
    }
    deliveries.sort_by_key(|one| one.at_ms);
    Ok(deliveries)
}
