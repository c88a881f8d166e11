//! The writing commands about notifications.

use hallway_protocol::event::{NotificationAcknowledged, NotificationsRead, PreferenceChanged, QuietChanged};
use hallway_protocol::notification::{Level, NotificationKind, QuietHours};
use hallway_protocol::{Event, EventBody, NotificationId, RoomId, Seq, UserId, Visibility};
use rusqlite::{OptionalExtension, params};

use super::fan_out::{self, Whom};
use super::{Cause, Notified, notify};
use crate::rules::{self, Standing};
use crate::sqlite::batch::Batch;
use crate::sqlite::commit::{Done, Stop};
use crate::sqlite::tables::{int, level_code};
use crate::{Action, Addressed, Ending, Notice, Preference, RECIPIENTS_WITH_CAUSE_MAX, Refusal, StoreError, Write};

/// Carries out a write that is about notifications; `None` for any other.
pub(in crate::sqlite) fn act(batch: &mut Batch<'_>, write: &Write) -> Result<Option<Done>, Stop> {
    let actor = &write.actor;
    match &write.action {
        Action::Notify { to, notice, .. } => {
            let seq = allow(batch, actor, &write.action)?;
            let key = match &notice.key {
                Some(key) => format!("k:{key}"),
                None => format!("n:{actor}:{}", write.nonce),
            };
            Ok(Some(Done::nothing(seq).with(announce(batch, actor, to, notice, key)?)))
        }
        Action::ReadNotifications { user, ids, up_to_seq } => read(batch, user, ids, *up_to_seq).map(Some),
        Action::AcknowledgeNotification { user, id } => acknowledge(batch, user, *id).map(Some),
        Action::Prefer { user, preference } => prefer(batch, user, preference).map(Some),
        Action::SetQuietHours { user, hours } => set_quiet_hours(batch, user, *hours).map(Some),
        _ => Ok(None),
    }
}

/// Decides a [`Action::Notify`]; the head of the stream that acknowledges it.
fn allow(batch: &mut Batch<'_>, actor: &UserId, action: &Action) -> Result<Seq, Stop> {
    let Some(room) = action.room() else { return Ok(batch.user(actor)?.last_seq) };
    let (role, muted_until_ms) =
        batch.member_row(room, actor)?.map_or((None, 0), |row| (Some(row.member.role), row.muted_until_ms));
    let now_ms = batch.at_ms;
    let row = batch.room(room)?.ok_or(Refusal::RoomNotFound)?;
    let standing = Standing {
        kind: row.info.kind,
        visibility: row.info.visibility,
        archived: row.info.archived,
        role,
        mute: Ending::at(muted_until_ms, now_ms),
    };
    rules::allow(action, standing)?;
    Ok(row.last_seq)
}

fn announce(
    batch: &mut Batch<'_>,
    actor: &UserId,
    to: &Addressed,
    notice: &Notice,
    key: String,
) -> Result<Notified, Stop> {
    let kept = fan_out::keep_notice(batch, notice)?;
    let (kind, room) = match to {
        Addressed::Users(_) => (NotificationKind::Notice, None),
        Addressed::Room(room) => (NotificationKind::Announcement, Some(room)),
        Addressed::Everyone => (NotificationKind::Announcement, None),
    };
    let cause = Cause {
        kind,
        room,
        by: Some(actor),
        urgent: notice.urgent,
        key,
        notice: Some(&kept),
        acknowledge_within_ms: notice.acknowledge_within_ms,
        ..Cause::NOTHING
    };
    let notified = match to {
        Addressed::Users(users) => notify(batch, &Cause { users, ..cause })?,
        Addressed::Room(_) => to_all(batch, &cause, Whom::Room)?,
        Addressed::Everyone => to_all(batch, &cause, Whom::Everyone)?,
    };
    if notified.events.is_empty() && !notified.fans_out {
        fan_out::drop_notice(batch.connection, kept.number)?;
    }
    Ok(notified)
}

/// Notifies few people at once, and leaves a job for many.
fn to_all(batch: &mut Batch<'_>, cause: &Cause<'_>, whom: Whom) -> Result<Notified, Stop> {
    // One more for the actor, and one that tells that they are too many.
    let people = fan_out::people(batch.connection, &whom, cause.room, "", RECIPIENTS_WITH_CAUSE_MAX + 2)?;
    if people.iter().filter(|user| cause.by != Some(user)).count() > RECIPIENTS_WITH_CAUSE_MAX {
        fan_out::begin(batch, cause, whom)?;
        return Ok(Notified { events: Vec::new(), fans_out: true });
    }
    notify(batch, &Cause { users: &people, key: cause.key.clone(), kind: cause.kind.clone(), ..*cause })
}

/// Marks as read; what is urgent counts as acknowledged, and none of them is looked at again.
fn read(batch: &mut Batch<'_>, user: &UserId, ids: &[NotificationId], up_to_seq: Option<Seq>) -> Result<Done, Stop> {
    let (number, head) = (batch.user(user)?.number, batch.user(user)?.last_seq);
    let up_to_seq = up_to_seq.map(|seq| seq.min(head));
    let mut flipped = 0;
    for id in ids {
        flipped += batch
            .connection
            .prepare_cached(
                "UPDATE notifications SET read_at_ms = ?3, hand_out_at_ms = NULL,
                 acknowledged_at_ms = CASE WHEN urgent THEN ifnull(acknowledged_at_ms, ?3) ELSE acknowledged_at_ms END
                 WHERE id = ?1 AND user = ?2 AND read_at_ms IS NULL",
            )?
            .execute(params![id.as_uuid().as_bytes(), number, int(batch.at_ms)])?;
    }
    if let Some(seq) = up_to_seq {
        flipped += batch
            .connection
            .prepare_cached(
                "UPDATE notifications INDEXED BY notifications_unread SET read_at_ms = ?3, hand_out_at_ms = NULL,
                 acknowledged_at_ms = CASE WHEN urgent THEN ifnull(acknowledged_at_ms, ?3) ELSE acknowledged_at_ms END
                 WHERE user = ?1 AND seq <= ?2 AND read_at_ms IS NULL",
            )?
            .execute(params![number, int(seq), int(batch.at_ms)])?;
    }
    if flipped == 0 {
        return Ok(Done::nothing(head));
    }
    let unread = less_unread(batch, user, flipped)?;
    told(batch, user, EventBody::NotificationsRead(NotificationsRead { ids: ids.to_vec(), up_to_seq, unread }))
}

fn acknowledge(batch: &mut Batch<'_>, user: &UserId, id: NotificationId) -> Result<Done, Stop> {
    let (number, head) = (batch.user(user)?.number, batch.user(user)?.last_seq);
    let found: Option<(bool, bool)> = batch
        .connection
        .prepare_cached(
            "SELECT read_at_ms IS NOT NULL, acknowledged_at_ms IS NOT NULL FROM notifications WHERE id = ?1 AND user = ?2",
        )?
        .query_row(params![id.as_uuid().as_bytes(), number], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (was_read, acknowledged) = found.ok_or(Refusal::NotificationNotFound)?;
    if acknowledged {
        return Ok(Done::nothing(head));
    }
    batch
        .connection
        .prepare_cached(
            "UPDATE notifications SET acknowledged_at_ms = ?2, read_at_ms = ifnull(read_at_ms, ?2), hand_out_at_ms = NULL
             WHERE id = ?1",
        )?
        .execute(params![id.as_uuid().as_bytes(), int(batch.at_ms)])?;
    let unread = less_unread(batch, user, usize::from(!was_read))?;
    told(batch, user, EventBody::NotificationAcknowledged(NotificationAcknowledged { id, unread }))
}

/// Takes what was read from the counter; what is left.
fn less_unread(batch: &mut Batch<'_>, user: &UserId, flipped: usize) -> Result<u64, StoreError> {
    let row = batch.user(user)?;
    let left = row.unread.checked_sub(u64::try_from(flipped).unwrap_or(u64::MAX));
    row.unread = left.ok_or_else(|| StoreError::Corrupt("more notifications were read than were unread".to_owned()))?;
    Ok(row.unread)
}

fn told(batch: &mut Batch<'_>, user: &UserId, body: EventBody) -> Result<Done, Stop> {
    let event: Event = batch.append_user(user, body)?;
    Ok(Done::of(event.seq, vec![event]))
}

fn prefer(batch: &mut Batch<'_>, user: &UserId, preference: &Preference) -> Result<Done, Stop> {
    let Preference { room, level } = preference;
    match room {
        Some(room) => prefer_in(batch, user, room, *level)?,
        None => batch.user(user)?.level = *level,
    }
    told(batch, user, EventBody::PreferenceChanged(PreferenceChanged { room: room.clone(), level: *level }))
}

fn prefer_in(batch: &mut Batch<'_>, user: &UserId, room: &RoomId, level: Option<Level>) -> Result<(), Stop> {
    let visibility = batch.room(room)?.ok_or(Refusal::RoomNotFound)?.info.visibility;
    if batch.member(room, user)?.is_none() {
        let hidden = visibility == Visibility::Private;
        return Err(if hidden { Refusal::RoomNotFound } else { Refusal::NotAMember }.into());
    }
    // What was said about rooms that were left goes with the next preference, so that they stay few.
    batch
        .connection
        .prepare_cached(
            "DELETE FROM preferences WHERE user = ?1 AND (room = ?2 OR NOT EXISTS
             (SELECT 1 FROM members m WHERE m.room = preferences.room AND m.user = ?1))",
        )?
        .execute([user.as_str(), room.as_str()])?;
    if let Some(level) = level {
        batch
            .connection
            .prepare_cached("INSERT INTO preferences (user, room, level) VALUES (?1, ?2, ?3)")?
            .execute(params![user.as_str(), room.as_str(), level_code(level)])?;
    }
    Ok(())
}

fn set_quiet_hours(batch: &mut Batch<'_>, user: &UserId, hours: Option<QuietHours>) -> Result<Done, Stop> {
    batch.user(user)?.quiet = hours;
    told(batch, user, EventBody::QuietChanged(QuietChanged { hours }))
}
