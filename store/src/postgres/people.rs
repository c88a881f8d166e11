//! Acts on people: what is in force, and the record of them.

use hallway_protocol::model::{AuditEntry, Ban};
use hallway_protocol::{RoomId, SessionId, UserId};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::connection::{Connections, Kind};
use super::reads::cut;
use super::rows::{signed, unsigned};
use super::statements;
use crate::people::{RECORDS_PER_STEP, shown};
use crate::{AUDIT_KEPT_MS, AuditPage, AuditQuery, BanQuery, BansPage, Ending, StoreError};

pub(super) async fn mute(
    connections: &Connections,
    user: &UserId,
    room: &RoomId,
) -> Result<Option<Ending>, StoreError> {
    let rows = connections.run(Kind::Read, statements::MUTE, &[&user.as_str(), &room.as_str()]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let until_ms: Option<i64> = row.get(0);
    Ok(until_ms.and_then(|until_ms| Ending::at(unsigned(until_ms), unsigned(row.get(1)))))
}

pub(super) async fn bans(
    connections: &Connections,
    user: &UserId,
    query: BanQuery,
) -> Result<Option<BansPage>, StoreError> {
    let after = query.after.as_ref().map_or("", UserId::as_str);
    let size = i64::from(query.limit) + 1;
    let parameters: [&(dyn ToSql + Sync); 4] = [&user.as_str(), &query.room.as_str(), &after, &size];
    let rows = connections.run(Kind::Read, statements::BANS, &parameters).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut bans = Vec::with_capacity(rows.len());
    for row in &rows {
        if let Some(name) = row.get::<_, Option<&str>>(0) {
            bans.push(Ban {
                user: UserId::new(name)?,
                by: UserId::new(row.get(1))?,
                at_ms: unsigned(row.get(2)),
                until_ms: shown(unsigned(row.get(3))),
                reason: row.get(4),
            });
        }
    }
    let more = cut(&mut bans, query.limit);
    Ok(Some(BansPage { bans, more }))
}

pub(super) async fn audit(
    connections: &Connections,
    viewer: Option<&UserId>,
    query: AuditQuery,
) -> Result<Option<AuditPage>, StoreError> {
    let before = query.before.map_or(i64::MAX, signed);
    let size = i64::from(query.limit) + 1;
    let viewer = viewer.map(UserId::as_str);
    let target = query.target.as_ref().map_or("", UserId::as_str);
    let Some(room) = query.room.as_ref().map(RoomId::as_str) else {
        if viewer.is_some() {
            return Ok(None);
        }
        let rows = match query.target {
            None => connections.run(Kind::Read, statements::AUDIT_ALL, &[&before, &size]).await?,
            Some(_) => connections.run(Kind::Read, statements::AUDIT_TARGET, &[&before, &size, &target]).await?,
        };
        return page(&rows, query.limit).map(Some);
    };
    let rows = match query.target {
        None => connections.run(Kind::Read, statements::AUDIT_ROOM, &[&before, &size, &room, &viewer]).await?,
        Some(_) => {
            let parameters: [&(dyn ToSql + Sync); 5] = [&before, &size, &room, &viewer, &target];
            connections.run(Kind::Read, statements::AUDIT_ROOM_TARGET, &parameters).await?
        }
    };
    if rows.is_empty() { Ok(None) } else { page(&rows, query.limit).map(Some) }
}

fn page(rows: &[Row], limit: u32) -> Result<AuditPage, StoreError> {
    let found = rows.iter().filter(|row| row.get::<_, Option<i64>>(0).is_some());
    let mut entries =
        found.map(|row| Ok((unsigned(row.get(0)), entry(row)?))).collect::<Result<Vec<_>, StoreError>>()?;
    let more = cut(&mut entries, limit);
    let next = entries.last().filter(|_| more).map(|(number, _)| *number);
    Ok(AuditPage { entries: entries.into_iter().map(|(_, entry)| entry).collect(), next })
}

fn entry(row: &Row) -> Result<AuditEntry, StoreError> {
    Ok(AuditEntry {
        at_ms: unsigned(row.get(1)),
        actor: UserId::new(row.get(2))?,
        action: row.get(3),
        room: row.get::<_, Option<&str>>(4).map(RoomId::new).transpose()?,
        target: row.get::<_, Option<&str>>(5).map(UserId::new).transpose()?,
        session: row.get::<_, Option<&str>>(6).map(SessionId::new).transpose()?,
        until_ms: row.get::<_, Option<i64>>(7).map(unsigned),
        reason: row.get(8),
    })
}

pub(super) async fn trim_records(connections: &Connections) -> Result<bool, StoreError> {
    let (kept, most) = (signed(AUDIT_KEPT_MS), i64::from(RECORDS_PER_STEP));
    let row = connections.run_one(Kind::Write, statements::TRIM_RECORDS, &[&kept, &most]).await?;
    Ok(row.get(0))
}
