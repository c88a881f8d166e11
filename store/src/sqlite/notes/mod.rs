//! Notifications: a row, an event of the person's stream and their unread counter, in the transaction of what causes them.
//!
//! [`notify`] writes them; a cause with more people than [`RECIPIENTS_WITH_CAUSE_MAX`] becomes a job, which `fan_out` carries
//! out in steps. Reading order: this, `rows` (how they stand in columns), `acts` (the writing commands), `fan_out` (jobs),
//! `due` (due times), `hand_outs` (what is handed to the application, and the diary), `reads` (lists, and what goes at trims).
//!
//! **Invariant:** `users.unread` is the number of the person's rows without `read_at_ms`.
//!
//! **Invariant:** a row stands as long as its event, and a notice as long as a row or a job names it.

mod acts;
mod due;
mod fan_out;
mod hand_outs;
mod reads;
mod rows;
#[cfg(all(test, feature = "conformance"))]
mod tests;

use std::collections::BTreeSet;

use async_trait::async_trait;
use hallway_protocol::command::Preferences;
use hallway_protocol::event::NotificationCreated;
use hallway_protocol::notification::{Level, Notification, NotificationKind, Trace};
use hallway_protocol::{CommentId, Event, EventBody, Message, MessageId, Meta, NotificationId, RoomId, TaskId, UserId};
use rusqlite::{OptionalExtension, params};

use super::batch::Batch;
use super::commit::Stop;
use super::tables::{find_message, get_user, level_from};
use super::upkeep::now_ms;
use super::{SqliteStore, life};
use crate::{
    Delivery, HandOut, HandOutFate, NewJob, NotificationQuery, Notifications, NotificationsPage, Progress,
    RECIPIENTS_WITH_CAUSE_MAX, StoreError, URGENT_ACKNOWLEDGE_MS, wants,
};

pub(super) use acts::act;
pub(super) use reads::trim;
pub(super) use rows::{event_body, event_detail};

/// Why people are notified, and who.
pub(super) struct Cause<'a> {
    pub(super) kind: NotificationKind,
    /// Whoever of these wants it: the actor, repeats and (with a room) those who are not its members are left out here.
    pub(super) users: &'a [UserId],
    pub(super) room: Option<&'a RoomId>,
    pub(super) message: Option<MessageId>,
    pub(super) task: Option<TaskId>,
    /// Who caused it; `None`: time did.
    pub(super) by: Option<&'a UserId>,
    pub(super) urgent: bool,
    /// Nobody gets two of the same key.
    pub(super) key: String,
    /// What an announcement or notice says.
    pub(super) notice: Option<&'a KeptNotice>,
    /// Of an urgent one.
    pub(super) acknowledge_within_ms: Option<u64>,
    /// Beside the task.
    pub(super) comment: Option<CommentId>,
}

/// A row of `notices`.
pub(super) struct KeptNotice {
    number: i64,
    title: String,
    text: Option<String>,
    data: Option<Meta>,
}

impl<'a> Cause<'a> {
    /// Something about a task; `key` is what the kind says about keys.
    pub(super) fn about_task(
        kind: NotificationKind,
        (room, task): (&'a RoomId, TaskId),
        by: Option<&'a UserId>,
        users: &'a [UserId],
        key: String,
    ) -> Self {
        Self { kind, users, room: Some(room), task: Some(task), by, key, ..Self::NOTHING }
    }

    const NOTHING: Self = Self {
        kind: NotificationKind::Notice,
        users: &[],
        room: None,
        message: None,
        task: None,
        by: None,
        urgent: false,
        key: String::new(),
        notice: None,
        acknowledge_within_ms: None,
        comment: None,
    };
}

/// What a cause came to.
#[derive(Default)]
pub(super) struct Notified {
    /// `notification.created`, of each person who was notified.
    pub(super) events: Vec<Event>,
    /// They are too many: a fan-out job was left instead.
    pub(super) fans_out: bool,
}

/// Notifies people of something. Refuses nothing; an error is the whole batch's.
pub(super) fn notify(batch: &mut Batch<'_>, cause: &Cause<'_>) -> Result<Notified, Stop> {
    let people: BTreeSet<&UserId> = cause.users.iter().filter(|user| cause.by != Some(user)).collect();
    if people.len() > RECIPIENTS_WITH_CAUSE_MAX {
        fan_out::begin(batch, cause, fan_out::Whom::Users(people.into_iter().cloned().collect()))?;
        return Ok(Notified { events: Vec::new(), fans_out: true });
    }
    let mut events = Vec::new();
    for user in people {
        events.extend(tell(batch, cause, user)?);
    }
    Ok(Notified { events, fans_out: false })
}

/// Notifies one person, if it is for them and they want it and have none of the key.
fn tell(batch: &mut Batch<'_>, cause: &Cause<'_>, user: &UserId) -> Result<Option<Event>, StoreError> {
    if let Some(room) = cause.room
        && batch.member(room, user)?.is_none()
    {
        return Ok(None);
    }
    let of_room = level_in(batch, cause.room, user)?;
    let (at_ms, hand_outs) = (batch.at_ms, batch.hand_outs);
    let row = batch.user(user)?;
    let level = of_room.or(row.level).unwrap_or(Level::All);
    if !wants(level, &cause.kind, cause.urgent) {
        return Ok(None);
    }
    let (number, seq, quiet) = (row.number, row.last_seq + 1, row.quiet);
    if has_one(batch, number, &cause.key)? {
        return Ok(None);
    }
    let silent = !cause.urgent && quiet.is_some_and(|hours| hours.contain(at_ms));
    let within_ms = cause.acknowledge_within_ms.unwrap_or(URGENT_ACKNOWLEDGE_MS);
    let notification = Notification {
        id: NotificationId::generate(),
        seq,
        kind: cause.kind.clone(),
        urgent: cause.urgent,
        silent,
        room: cause.room.cloned(),
        message: cause.message,
        task: cause.task,
        by: cause.by.cloned(),
        at_ms,
        title: cause.notice.map(|notice| notice.title.clone()),
        text: cause.notice.and_then(|notice| notice.text.clone()),
        data: cause.notice.and_then(|notice| notice.data.clone()),
        acknowledge_by_ms: cause.urgent.then(|| at_ms.saturating_add(within_ms)),
        read: false,
        acknowledged: false,
        comment: cause.comment,
    };
    let hand_out_at_ms = (hand_outs.hands_out && !silent).then(|| at_ms.saturating_add(hand_outs.first_look_ms));
    let row = batch.user(user)?;
    row.unread += 1;
    let body = NotificationCreated { notification: notification.clone(), unread: row.unread };
    let event = batch.append_user(user, EventBody::NotificationCreated(body))?;
    let number = batch.user(user)?.number;
    rows::insert(batch, number, cause, &notification, hand_out_at_ms)?;
    Ok(Some(event))
}

/// What the person said about the room.
fn level_in(batch: &Batch<'_>, room: Option<&RoomId>, user: &UserId) -> Result<Option<Level>, StoreError> {
    let Some(room) = room else { return Ok(None) };
    let level: Option<i64> = batch
        .connection
        .prepare_cached("SELECT level FROM preferences WHERE user = ?1 AND room = ?2")?
        .query_row([user.as_str(), room.as_str()], |row| row.get(0))
        .optional()?;
    level.map(level_from).transpose()
}

fn has_one(batch: &Batch<'_>, number: i64, key: &str) -> Result<bool, StoreError> {
    let mut statement = batch.connection.prepare_cached("SELECT 1 FROM notifications WHERE user = ?1 AND key = ?2")?;
    Ok(statement.query_row(params![number, key], |_| Ok(())).optional()?.is_some())
}

/// Notifies those whom a new message names, answers or (in a direct room) is for, each of the first of these.
pub(super) fn of_message(
    batch: &mut Batch<'_>,
    (room, number): (&RoomId, i64),
    message: &Message,
) -> Result<Notified, Stop> {
    let mut told: BTreeSet<UserId> = BTreeSet::new();
    let mut all = Notified::default();
    let mut say = |batch: &mut Batch<'_>, kind: NotificationKind, users: &[UserId]| -> Result<(), Stop> {
        let users: Vec<UserId> = users.iter().filter(|user| !told.contains(*user)).cloned().collect();
        let cause = Cause {
            kind,
            users: &users,
            room: Some(room),
            message: Some(message.id),
            by: Some(&message.sender),
            key: format!("m:{}", message.id),
            ..Cause::NOTHING
        };
        let Notified { events, fans_out } = notify(batch, &cause)?;
        all.events.extend(events);
        all.fans_out |= fans_out;
        told.extend(users);
        Ok(())
    };
    if !message.mentions.is_empty() {
        say(batch, NotificationKind::Mention, &message.mentions)?;
    }
    if let Some(answered) = message.reply_to
        && let Some(answered) = find_message(batch.connection, number, answered)?
    {
        say(batch, NotificationKind::Reply, &[answered.sender])?;
    }
    if room.is_direct()
        && let Some(other) = other_of(batch, room, &message.sender)?
    {
        say(batch, NotificationKind::Direct, &[other])?;
    }
    Ok(all)
}

/// The other one in a direct room.
fn other_of(batch: &Batch<'_>, room: &RoomId, user: &UserId) -> Result<Option<UserId>, StoreError> {
    let mut statement =
        batch.connection.prepare_cached("SELECT user FROM members WHERE room = ?1 AND user <> ?2 LIMIT 1")?;
    let mut rows = statement.query([room.as_str(), user.as_str()])?;
    rows.next()?.map(|row| get_user(row, 0)).transpose()
}

#[async_trait]
impl Notifications for SqliteStore {
    async fn notifications(&self, user: &UserId, query: NotificationQuery) -> Result<NotificationsPage, StoreError> {
        let user = user.clone();
        self.readers.run(move |connection| reads::list(connection, &user, &query)).await
    }

    async fn preferences(&self, user: &UserId) -> Result<Preferences, StoreError> {
        let user = user.clone();
        self.readers.run(move |connection| reads::preferences(connection, &user)).await
    }

    async fn fan_out(&self) -> Result<Progress, StoreError> {
        self.progress(fan_out::step).await
    }

    async fn fire_due(&self, tasks_max: u32) -> Result<Progress, StoreError> {
        self.progress(move |batch| due::fire(batch, tasks_max)).await
    }

    async fn claim_hand_outs(&self, limit: u32, lease_ms: u64) -> Result<Vec<HandOut>, StoreError> {
        self.write(move |connection| hand_outs::claim(connection, now_ms(), limit, lease_ms)).await
    }

    async fn settle_hand_outs(
        &self,
        settled: Vec<(NotificationId, HandOutFate)>,
        jobs: Vec<NewJob>,
    ) -> Result<(), StoreError> {
        self.write(move |connection| hand_outs::settle(connection, now_ms(), &settled, &jobs)).await
    }

    async fn note_deliveries(&self, deliveries: Vec<Delivery>) -> Result<(), StoreError> {
        self.write(move |connection| hand_outs::note(connection, &deliveries)).await
    }

    async fn trace(&self, id: NotificationId) -> Result<Option<Trace>, StoreError> {
        self.readers.run(move |connection| hand_outs::trace(connection, id)).await
    }
}

impl SqliteStore {
    /// Carries out a step of the work that waits.
    async fn progress(
        &self,
        step: impl FnOnce(&mut Batch<'_>) -> Result<(Vec<Event>, bool), StoreError> + Send + 'static,
    ) -> Result<Progress, StoreError> {
        let hand_outs = self.hand_outs;
        self.write(move |connection| {
            let mut batch = Batch::new(connection, now_ms(), hand_outs);
            let (events, more) = step(&mut batch)?;
            batch.flush()?;
            Ok(Progress { epoch: life::epoch(connection)?, events, more })
        })
        .await
    }
}
