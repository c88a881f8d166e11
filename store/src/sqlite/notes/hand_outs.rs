//! What is handed to the application when nobody looks, and the diary that tells what became of a notification.

use hallway_protocol::notification::{Delivered, Trace};
use hallway_protocol::{NotificationId, SessionId};
use rusqlite::{Connection, params};

use super::rows::{self, NOTIFICATION_COLUMN_COUNT, notification_columns};
use crate::sqlite::outbox;
use crate::sqlite::tables::{get, get_u64, get_u64_option, get_user, int};
use crate::{DELIVERY_SEQS_MAX, Delivery, HandOut, HandOutFate, NewJob, StoreError, TRACE_ROWS_MAX};

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

/// Notes what was handed to whom, of ranges with the same end as many as a trace names.
pub(super) fn note(connection: &Connection, deliveries: &[Delivery]) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO delivery_ranges (notification, session, from_seq, at_ms)
         SELECT id, ?2, ?3, ?4 FROM notifications WHERE id = ?1
         AND (SELECT count(*) FROM delivery_ranges d WHERE d.notification = ?1) < ?5
         ON CONFLICT DO NOTHING",
    )?;
    for Delivery { from_seq, last, session, at_ms } in deliveries {
        let (last, session) = (last.as_uuid(), session.as_str());
        statement.execute(params![last.as_bytes(), session, int(*from_seq), int(*at_ms), TRACE_ROWS_MAX])?;
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

/// The first of them: those of the notification alone, which were noted before there were ranges, and those of ranges that hold
/// it. Such a range ends with it or with one of those after it.
fn deliveries(connection: &Connection, id: NotificationId) -> Result<Vec<Delivered>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT session, min(at_ms) FROM (
             SELECT session, at_ms FROM deliveries WHERE notification = ?1
             UNION ALL
             SELECT r.session, r.at_ms FROM notifications n
             CROSS JOIN notifications l ON l.user = n.user AND l.seq >= n.seq AND l.seq < n.seq + ?2
             CROSS JOIN delivery_ranges r ON r.notification = l.id AND r.from_seq <= n.seq
             WHERE n.id = ?1)
         GROUP BY session ORDER BY 2, 1 LIMIT ?3",
    )?;
    let mut found = statement.query(params![id.as_uuid().as_bytes(), int(DELIVERY_SEQS_MAX), TRACE_ROWS_MAX])?;
    let mut deliveries = Vec::new();
    while let Some(row) = found.next()? {
        let session = SessionId::new(&get::<String>(row, 0)?)?;
        deliveries.push(Delivered { session, at_ms: get_u64(row, 1)? });
    }
    Ok(deliveries)
}
