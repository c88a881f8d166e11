//! Causes with many people, carried out in steps.

use hallway_protocol::notification::NotificationKind;
use hallway_protocol::{CommentId, Event, MessageId, RoomId, TaskId, UserId};
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use super::{Cause, KeptNotice, rows, tell};
use crate::sqlite::batch::Batch;
use crate::sqlite::tables::{from_json, get, get_user, to_json};
use crate::{FAN_OUT_CHUNK_USERS, Notice, StoreError};

/// A [`Cause`] as its job keeps it; the notice has a column of its own.
#[derive(Serialize, Deserialize)]
struct KeptCause {
    kind: NotificationKind,
    room: Option<RoomId>,
    message: Option<MessageId>,
    task: Option<TaskId>,
    by: Option<UserId>,
    urgent: bool,
    key: String,
    acknowledge_within_ms: Option<u64>,
    comment: Option<CommentId>,
}

/// Whom a job addresses.
pub(super) enum Whom {
    /// In the order of their ids.
    Users(Vec<UserId>),
    /// The members of the cause's room.
    Room,
    Everyone,
}

impl Whom {
    fn code(&self) -> i64 {
        match self {
            Self::Users(_) => 1,
            Self::Room => 2,
            Self::Everyone => 3,
        }
    }
}

/// Writes down what a notice says.
pub(super) fn keep_notice(batch: &Batch<'_>, notice: &Notice) -> Result<KeptNotice, StoreError> {
    let Notice { title, text, data, .. } = notice;
    batch
        .connection
        .prepare_cached("INSERT INTO notices (title, text, data) VALUES (?1, ?2, ?3)")?
        .execute(params![title, text, data.as_ref().map(hallway_protocol::Meta::as_json)])?;
    let number = batch.connection.last_insert_rowid();
    Ok(KeptNotice { number, title: title.clone(), text: text.clone(), data: data.clone() })
}

/// Drops a notice that nothing names any more.
pub(super) fn drop_notice(connection: &Connection, number: i64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "DELETE FROM notices WHERE number = ?1
             AND NOT EXISTS (SELECT 1 FROM notifications n WHERE n.notice = ?1)
             AND NOT EXISTS (SELECT 1 FROM fan_outs f WHERE f.notice = ?1)",
        )?
        .execute([number])?;
    Ok(())
}

fn read_notice(connection: &Connection, number: i64) -> Result<KeptNotice, StoreError> {
    let mut statement = connection.prepare_cached("SELECT title, text, data FROM notices WHERE number = ?1")?;
    let mut found = statement.query([number])?;
    let row = found.next()?.ok_or_else(|| StoreError::Corrupt(format!("no notice has the number {number}")))?;
    let data: Option<String> = get(row, 2)?;
    let data = data.map(|text| rows::meta(&text)).transpose()?;
    Ok(KeptNotice { number, title: get(row, 0)?, text: get(row, 1)?, data })
}

/// Leaves a job.
pub(super) fn begin(batch: &Batch<'_>, cause: &Cause<'_>, whom: Whom) -> Result<(), StoreError> {
    let kept = KeptCause {
        kind: cause.kind.clone(),
        room: cause.room.cloned(),
        message: cause.message,
        task: cause.task,
        by: cause.by.cloned(),
        urgent: cause.urgent,
        key: cause.key.clone(),
        acknowledge_within_ms: cause.acknowledge_within_ms,
        comment: cause.comment,
    };
    let code = whom.code();
    let users = match whom {
        Whom::Users(users) => Some(to_json(&users)?),
        Whom::Room | Whom::Everyone => None,
    };
    batch
        .connection
        .prepare_cached("INSERT INTO fan_outs (cause, addressed, users, notice, urgent) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![to_json(&kept)?, code, users, cause.notice.map(|notice| notice.number), cause.urgent])?;
    Ok(())
}

/// At most `limit` of those addressed with an id after one, in the order of their ids.
pub(super) fn people(
    connection: &Connection,
    whom: &Whom,
    room: Option<&RoomId>,
    after: &str,
    limit: usize,
) -> Result<Vec<UserId>, StoreError> {
    let statement = match whom {
        Whom::Users(users) => {
            return Ok(users.iter().filter(|user| user.as_str() > after).take(limit).cloned().collect());
        }
        Whom::Room => "SELECT user FROM members WHERE room = ?1 AND user > ?2 ORDER BY user LIMIT ?3",
        Whom::Everyone => "SELECT id FROM users WHERE ?1 IS NOT NULL AND id > ?2 ORDER BY id LIMIT ?3",
    };
    let room = room.map_or("", RoomId::as_str);
    let mut statement = connection.prepare_cached(statement)?;
    let mut rows = statement.query(params![room, after, i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut people = Vec::new();
    while let Some(row) = rows.next()? {
        people.push(get_user(row, 0)?);
    }
    Ok(people)
}

/// A row of `fan_outs`.
struct Job {
    number: i64,
    cause: KeptCause,
    whom: Whom,
    notice: Option<i64>,
    done_to: String,
}

fn next_job(connection: &Connection) -> Result<Option<Job>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, cause, addressed, users, notice, done_to FROM fan_outs WHERE urgent >= 0
         ORDER BY urgent DESC, number LIMIT 1",
    )?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let whom = match (get::<i64>(row, 2)?, get::<Option<String>>(row, 3)?) {
        (1, Some(users)) => Whom::Users(from_json(&users)?),
        (2, _) => Whom::Room,
        (3, _) => Whom::Everyone,
        (code, _) => return Err(StoreError::Corrupt(format!("a fan-out addresses {code}"))),
    };
    Ok(Some(Job {
        number: get(row, 0)?,
        cause: from_json(&get::<String>(row, 1)?)?,
        whom,
        notice: get(row, 4)?,
        done_to: get(row, 5)?,
    }))
}

/// Carries out one step of the next job, urgent ones first; whether there is more to do.
pub(super) fn step(batch: &mut Batch<'_>) -> Result<(Vec<Event>, bool), StoreError> {
    let Some(Job { number, cause: kept, whom, notice, done_to }) = next_job(batch.connection)? else {
        return Ok((Vec::new(), false));
    };
    let said = notice.map(|notice| read_notice(batch.connection, notice)).transpose()?;
    let cause = Cause {
        kind: kept.kind,
        users: &[],
        room: kept.room.as_ref(),
        message: kept.message,
        task: kept.task,
        by: kept.by.as_ref(),
        urgent: kept.urgent,
        key: kept.key,
        notice: said.as_ref(),
        acknowledge_within_ms: kept.acknowledge_within_ms,
        comment: kept.comment,
    };
    let people = people(batch.connection, &whom, cause.room, &done_to, FAN_OUT_CHUNK_USERS as usize)?;
    let mut events = Vec::new();
    for user in people.iter().filter(|user| cause.by != Some(user)) {
        events.extend(tell(batch, &cause, user)?);
    }
    match people.last() {
        Some(last) if people.len() == FAN_OUT_CHUNK_USERS as usize => {
            batch
                .connection
                .prepare_cached("UPDATE fan_outs SET done_to = ?2 WHERE number = ?1")?
                .execute(params![number, last.as_str()])?;
        }
        _ => {
            batch.connection.prepare_cached("DELETE FROM fan_outs WHERE number = ?1")?.execute([number])?;
            if let Some(notice) = notice {
                drop_notice(batch.connection, notice)?;
            }
        }
    }
    let mut more = batch.connection.prepare_cached("SELECT 1 FROM fan_outs WHERE number > 0 LIMIT 1")?;
    let more = more.query_row([], |_| Ok(())).optional()?.is_some();
    Ok((events, more))
}
