//! Notifications: what is asked about them, what is done about them without being asked, and how they come out of writes.

use hallway_protocol::command::{Preferences, RoomLevel};
use hallway_protocol::event::NotificationCreated;
use hallway_protocol::notification::{Delivered, JobTrace, Level, Notification, QuietHours, Trace};
use hallway_protocol::{Epoch, Event, EventBody, NotificationId, RoomId, SessionId, StreamId, UserId};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::commit::is_lock_timeout;
use super::connection::{Connections, Kind};
use super::reads::cut;
use super::rows::{corrupt, json as read, signed, unsigned};
use super::statements::notes as statements;
use crate::{
    DELIVERY_SEQS_MAX, Delivery, FAN_OUT_CHUNK_USERS, HandOut, HandOutFate, NewJob, NotificationQuery,
    NotificationsPage, Progress, StoreError, TRACE_ROWS_MAX,
};

/// What a write made known: the events of notifications, and whether a fan-out job was left.
pub(super) fn written(text: Option<&str>) -> Result<(Vec<Event>, bool), StoreError> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum One {
        Event(Box<Event>),
        FansOut { fans_out: bool },
    }
    let mut events = Vec::new();
    let mut is_fanned_out = false;
    for one in text.map(read::<Vec<One>>).transpose()?.unwrap_or_default() {
        match one {
            One::Event(event) => events.push(*event),
            One::FansOut { fans_out } => is_fanned_out |= fans_out,
        }
    }
    Ok((events, is_fanned_out))
}

pub(super) async fn notifications(
    connections: &Connections,
    user: &UserId,
    query: NotificationQuery,
) -> Result<NotificationsPage, StoreError> {
    let sql = if query.unread_only { statements::NOTIFICATIONS_UNREAD } else { statements::NOTIFICATIONS };
    let (before, size) = (query.before.map_or(i64::MAX, signed), i64::from(query.limit) + 1);
    let rows = connections.run(Kind::Read, sql, &[&user.as_str(), &before, &size]).await?;
    let unread = rows.first().map_or(0, |row| unsigned(row.get(0)));
    let found = rows.iter().filter_map(|row| row.get::<_, Option<&str>>(1));
    let mut notifications = found.map(read).collect::<Result<Vec<Notification>, _>>()?;
    let more = cut(&mut notifications, query.limit);
    Ok(NotificationsPage { notifications, unread, more })
}

fn level(number: i16) -> Result<Level, StoreError> {
    match number {
        0 => Ok(Level::None),
        1 => Ok(Level::Mentions),
        2 => Ok(Level::All),
        _ => Err(corrupt(format!("level {number}"))),
    }
}

pub(super) async fn preferences(connections: &Connections, user: &UserId) -> Result<Preferences, StoreError> {
    let rows = connections.run(Kind::Read, statements::PREFERENCES, &[&user.as_str()]).await?;
    let mut preferences = Preferences { level: Level::All, rooms: Vec::new(), quiet: None };
    for row in &rows {
        if let Some(number) = row.get::<_, Option<i16>>(0) {
            preferences.level = level(number)?;
        }
        preferences.quiet = quiet(row)?;
        if let Some(room) = row.get::<_, Option<&str>>(4) {
            preferences.rooms.push(RoomLevel { room: RoomId::new(room)?, level: level(row.get(5))? });
        }
    }
    Ok(preferences)
}

fn quiet(row: &Row) -> Result<Option<QuietHours>, StoreError> {
    let minute = |column: usize| row.get::<_, Option<i16>>(column);
    let (Some(from), Some(to), Some(utc_offset_minutes)) = (minute(1), minute(2), minute(3)) else { return Ok(None) };
    let (from_minute, to_minute) = (u16::try_from(from).map_err(corrupt)?, u16::try_from(to).map_err(corrupt)?);
    Ok(Some(QuietHours { from_minute, to_minute, utc_offset_minutes }))
}

/// What a step of the work that waits answers.
#[derive(Deserialize)]
struct Stepped {
    epoch: Epoch,
    events: Vec<Event>,
    more: bool,
}

async fn step(
    connections: &Connections,
    sql: &'static str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Progress, StoreError> {
    let row = connections.run_one(Kind::Write, sql, parameters).await?;
    let Stepped { epoch, events, more } = read(row.get(0))?;
    Ok(Progress { epoch, events, more })
}

pub(super) async fn fan_out(connections: &Connections) -> Result<Progress, StoreError> {
    let people_max = i32::try_from(FAN_OUT_CHUNK_USERS).unwrap_or(i32::MAX);
    let parameters: [&(dyn ToSql + Sync); 2] = [&people_max, &connections.first_look_ms()];
    let row = connections.run_one(Kind::Write, statements::FAN_OUT, &parameters).await?;
    let (epoch, more) = (Epoch::new(row.get(0))?, row.get(1));
    let Some(first) = row.get::<_, Option<&str>>(2) else { return Ok(Progress { epoch, events: Vec::new(), more }) };
    let first: Notification = read(first)?;
    let (people, seqs): (Vec<&str>, Vec<i64>) = (row.get(3), row.get(4));
    let (ids, silences, unreads): (Vec<Uuid>, Vec<bool>, Vec<i64>) = (row.get(5), row.get(6), row.get(7));
    let told = people.iter().zip(seqs).zip(ids).zip(silences).zip(unreads);
    let events = told.map(|((((user, seq), id), silent), unread)| {
        let seq = unsigned(seq);
        let notification = Notification { id: NotificationId::from_uuid(id)?, seq, silent, ..first.clone() };
        let body = EventBody::NotificationCreated(NotificationCreated { notification, unread: unsigned(unread) });
        Ok(Event { stream: StreamId::User(UserId::new(user)?), seq, at_ms: first.at_ms, body })
    });
    Ok(Progress { epoch, events: events.collect::<Result<_, StoreError>>()?, more })
}

/// Waits for locked rooms like every write; when one is locked for too long, the others go on without it.
pub(super) async fn fire_due(connections: &Connections, tasks_max: u32) -> Result<Progress, StoreError> {
    let (most, first) = (i64::from(tasks_max), connections.first_look_ms());
    match step(connections, statements::FIRE_DUE, &[&most, &first, &true]).await {
        Err(error) if is_lock_timeout(&error) => {
            tracing::debug!(%error, "due times waited in vain for a lock");
            step(connections, statements::FIRE_DUE, &[&most, &first, &false]).await
        }
        other => other,
    }
}

pub(super) async fn claim_hand_outs(
    connections: &Connections,
    limit: u32,
    lease_ms: u64,
) -> Result<Vec<HandOut>, StoreError> {
    let parameters: [&(dyn ToSql + Sync); 2] = [&i64::from(limit), &signed(lease_ms)];
    let rows = connections.run(Kind::Write, statements::CLAIM_HAND_OUTS, &parameters).await?;
    let claimed = rows.iter().map(|row| {
        Ok(HandOut {
            user: UserId::new(row.get(0))?,
            notification: read(row.get(1))?,
            acknowledge_in_ms: row.get::<_, Option<i64>>(2).map(unsigned),
        })
    });
    claimed.collect()
}

pub(super) async fn settle_hand_outs(
    connections: &Connections,
    settled: Vec<(NotificationId, HandOutFate)>,
    jobs: Vec<NewJob>,
) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = settled.iter().map(|(id, _)| id.as_uuid()).collect();
    let again = |fate: &HandOutFate| match fate {
        HandOutFate::Settled => None,
        HandOutFate::Again { after_ms } => Some(signed(*after_ms)),
    };
    let after: Vec<Option<i64>> = settled.iter().map(|(_, fate)| again(fate)).collect();
    let jobs: Vec<Value> = jobs.iter().map(job).collect();
    let parameters: [&(dyn ToSql + Sync); 3] = [&ids, &after, &Value::Array(jobs)];
    connections.run_one(Kind::Write, statements::SETTLE_HAND_OUTS, &parameters).await.map(|_| ())
}

fn job(job: &NewJob) -> Value {
    json!({
        "target": job.target, "priority": job.priority, "attempts_max": job.attempts_max, "body": job.body,
        "notifications": job.notifications,
    })
}

pub(super) async fn note_deliveries(connections: &Connections, deliveries: Vec<Delivery>) -> Result<(), StoreError> {
    let last: Vec<Uuid> = deliveries.iter().map(|delivery| delivery.last.as_uuid()).collect();
    let sessions: Vec<&str> = deliveries.iter().map(|delivery| delivery.session.as_str()).collect();
    let from: Vec<i64> = deliveries.iter().map(|delivery| signed(delivery.from_seq)).collect();
    let times: Vec<i64> = deliveries.iter().map(|delivery| signed(delivery.at_ms)).collect();
    connections.run(Kind::Write, statements::NOTE_DELIVERIES, &[&last, &sessions, &from, &times]).await.map(|_| ())
}

pub(super) async fn trace(connections: &Connections, id: NotificationId) -> Result<Option<Trace>, StoreError> {
    #[derive(Deserialize)]
    struct Handed {
        session: SessionId,
        at_ms: u64,
    }
    let parameters: [&(dyn ToSql + Sync); 3] = [&id.as_uuid(), &i64::from(TRACE_ROWS_MAX), &signed(DELIVERY_SEQS_MAX)];
    let rows = connections.run(Kind::Read, statements::TRACE, &parameters).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let handed: Vec<Handed> = read(row.get(4))?;
    let jobs: Vec<JobTrace> = read(row.get(5))?;
    Ok(Some(Trace {
        user: UserId::new(row.get(0))?,
        notification: read(row.get(1))?,
        read_at_ms: row.get::<_, Option<i64>>(2).map(unsigned),
        acknowledged_at_ms: row.get::<_, Option<i64>>(3).map(unsigned),
        deliveries: handed.into_iter().map(|one| Delivered { session: one.session, at_ms: one.at_ms }).collect(),
        jobs,
    }))
}
