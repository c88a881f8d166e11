//! Acts on people: kicks, bans, mutes and revocations, and the record of them.

use hallway_protocol::event::{
    MemberBanned, MemberMuted, MemberUnbanned, MemberUnmuted, MuteChanged, SessionRevoked, UserRevoked,
};
use hallway_protocol::model::{AuditEntry, Ban};
use hallway_protocol::{Event, EventBody, Role, RoomId, Seq, SessionId, UserId};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::batch::Batch;
use super::commit::{Done, Stop, end_membership, one};
use super::tables::{find_member, get, get_room, get_u64, get_u64_option, get_user, int, role_code};
use crate::people::{RECORDS_PER_STEP, kept, shown};
use crate::{AUDIT_KEPT_MS, Action, AuditPage, AuditQuery, BanQuery, BansPage, Ending, Refusal, StoreError, rules};

const BAN: i64 = 1;
const MUTE: i64 = 2;

/// What the record says of an act beside when and by whom.
#[derive(Default)]
struct Entry<'a> {
    action: &'static str,
    room: Option<&'a RoomId>,
    target: Option<&'a UserId>,
    session: Option<&'a SessionId>,
    until_ms: Option<u64>,
    reason: Option<&'a str>,
}

fn record(batch: &Batch<'_>, actor: &UserId, entry: &Entry<'_>) -> Result<(), StoreError> {
    batch
        .connection
        .prepare_cached(
            "INSERT INTO audit (at_ms, actor, action, room, target, session, until_ms, reason)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            int(batch.at_ms),
            actor.as_str(),
            entry.action,
            entry.room.map(RoomId::as_str),
            entry.target.map(UserId::as_str),
            entry.session.map(SessionId::as_str),
            entry.until_ms.map(int),
            entry.reason
        ])?;
    Ok(())
}

/// The end of a sanction that is in force.
fn until(batch: &Batch<'_>, kind: i64, room: &RoomId, user: &UserId) -> Result<Option<u64>, StoreError> {
    let mut statement = batch
        .connection
        .prepare_cached("SELECT until_ms FROM sanctions WHERE room = ?1 AND kind = ?2 AND user = ?3")?;
    let found: Option<i64> =
        statement.query_row(params![room.as_str(), kind, user.as_str()], |row| row.get(0)).optional()?;
    Ok(found.map(i64::unsigned_abs).filter(|until| *until > batch.at_ms))
}

/// The ban of a user that is in force.
pub(super) fn ban(batch: &Batch<'_>, room: &RoomId, user: &UserId) -> Result<Option<Ending>, StoreError> {
    Ok(until(batch, BAN, room, user)?.and_then(|until| Ending::at(until, batch.at_ms)))
}

/// Someone who became a member is muted still, if they were when they left.
pub(super) fn mute_again(
    batch: &mut Batch<'_>,
    room: &RoomId,
    user: &UserId,
    room_seq: Seq,
) -> Result<Option<Event>, StoreError> {
    let Some(until_ms) = until(batch, MUTE, room, user)? else { return Ok(None) };
    batch.set_muted_until(room, user, until_ms)?;
    tell(batch, room, user, Some(until_ms), room_seq).map(Some)
}

/// Writes `mute.changed` into the user's own stream.
fn tell(
    batch: &mut Batch<'_>,
    room: &RoomId,
    user: &UserId,
    until_ms: Option<u64>,
    room_seq: Seq,
) -> Result<Event, StoreError> {
    let (muted, until_ms) = (until_ms.is_some(), until_ms.and_then(shown));
    batch.append_user(user, EventBody::MuteChanged(MuteChanged { room: room.clone(), muted, until_ms, room_seq }))
}

struct Sanction<'a> {
    kind: i64,
    room: &'a RoomId,
    user: &'a UserId,
    until_ms: u64,
    reason: Option<&'a str>,
}

fn impose(batch: &Batch<'_>, actor: &UserId, sanction: &Sanction<'_>) -> Result<(), StoreError> {
    batch
        .connection
        .prepare_cached(
            "INSERT INTO sanctions (room, kind, user, until_ms, at_ms, actor, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (room, kind, user) DO UPDATE SET until_ms = excluded.until_ms, at_ms = excluded.at_ms,
             actor = excluded.actor, reason = excluded.reason",
        )?
        .execute(params![
            sanction.room.as_str(),
            sanction.kind,
            sanction.user.as_str(),
            int(sanction.until_ms),
            int(batch.at_ms),
            actor.as_str(),
            sanction.reason
        ])?;
    Ok(())
}

/// Takes a sanction back; whether it was in force.
fn lift(batch: &Batch<'_>, kind: i64, room: &RoomId, user: &UserId) -> Result<bool, StoreError> {
    let lifted = batch
        .connection
        .prepare_cached("DELETE FROM sanctions WHERE room = ?1 AND kind = ?2 AND user = ?3 AND until_ms > ?4")?
        .execute(params![room.as_str(), kind, user.as_str(), int(batch.at_ms)])?;
    Ok(lifted > 0)
}

/// Acts of an admin on somebody in a room. `head` is the room's.
pub(super) fn act(
    batch: &mut Batch<'_>,
    room: &RoomId,
    head: Seq,
    actor: &UserId,
    role: Role,
    action: &Action,
) -> Result<Done, Stop> {
    let by = || actor.clone();
    match action {
        Action::Kick { user, reason, .. } => {
            rules::remove(role, target(batch, room, user)?, user == actor)?;
            record(batch, actor, &entry("room.kick", room, user, None, reason.as_deref()))?;
            end_membership(batch, room, user, actor)
        }
        Action::Ban { user, until_ms, reason, .. } => {
            let present = target(batch, room, user)?;
            rules::act_on(role, present, user == actor)?;
            let sanction = Sanction { kind: BAN, room, user, until_ms: kept(*until_ms), reason: reason.as_deref() };
            impose(batch, actor, &sanction)?;
            record(batch, actor, &entry("room.ban", room, user, *until_ms, reason.as_deref()))?;
            let body = MemberBanned { user: user.clone(), until_ms: shown(sanction.until_ms), by: by() };
            let mut done = one(batch, room, EventBody::MemberBanned(body))?;
            if present.is_some() {
                let removed = end_membership(batch, room, user, actor)?;
                done.seq = removed.seq;
                done.events.extend(removed.events);
            }
            Ok(done)
        }
        Action::Unban { user, .. } => {
            rules::act_on(role, target(batch, room, user)?, user == actor)?;
            if !lift(batch, BAN, room, user)? {
                return Ok(Done::nothing(head));
            }
            record(batch, actor, &entry("room.unban", room, user, None, None))?;
            one(batch, room, EventBody::MemberUnbanned(MemberUnbanned { user: user.clone(), by: by() }))
        }
        Action::Mute { user, until_ms, reason, .. } => {
            rules::remove(role, target(batch, room, user)?, user == actor)?;
            let sanction = Sanction { kind: MUTE, room, user, until_ms: kept(*until_ms), reason: reason.as_deref() };
            impose(batch, actor, &sanction)?;
            batch.set_muted_until(room, user, sanction.until_ms)?;
            record(batch, actor, &entry("room.mute", room, user, *until_ms, reason.as_deref()))?;
            let body = MemberMuted { user: user.clone(), until_ms: shown(sanction.until_ms), by: by() };
            let mut done = one(batch, room, EventBody::MemberMuted(body))?;
            done.events.push(tell(batch, room, user, Some(sanction.until_ms), done.seq)?);
            Ok(done)
        }
        Action::Unmute { user, .. } => {
            rules::act_on(role, target(batch, room, user)?, user == actor)?;
            if !lift(batch, MUTE, room, user)? {
                return Ok(Done::nothing(head));
            }
            batch.set_muted_until(room, user, 0)?;
            record(batch, actor, &entry("room.unmute", room, user, None, None))?;
            let body = MemberUnmuted { user: user.clone(), by: by() };
            let mut done = one(batch, room, EventBody::MemberUnmuted(body))?;
            done.events.push(tell(batch, room, user, None, done.seq)?);
            Ok(done)
        }
        _ => Err(Refusal::Forbidden.into()),
    }
}

fn entry<'a>(
    action: &'static str,
    room: &'a RoomId,
    target: &'a UserId,
    until_ms: Option<u64>,
    reason: Option<&'a str>,
) -> Entry<'a> {
    Entry { action, room: Some(room), target: Some(target), until_ms, reason, ..Entry::default() }
}

fn target(batch: &mut Batch<'_>, room: &RoomId, user: &UserId) -> Result<Option<Role>, StoreError> {
    Ok(batch.member(room, user)?.map(|member| member.role))
}

/// Acts on a user wherever they are.
pub(super) fn revoke(batch: &mut Batch<'_>, actor: &UserId, action: &Action) -> Result<Done, Stop> {
    let (user, entry, body) = match action {
        Action::RevokeSession { user, session } => {
            let body = SessionRevoked { session: session.clone(), by: actor.clone() };
            let entry = Entry { action: "session.revoke", session: Some(session), ..Entry::default() };
            (user, entry, EventBody::SessionRevoked(body))
        }
        Action::RevokeUser { user, reason } => {
            let body = UserRevoked { by: actor.clone(), before_ms: batch.at_ms };
            let entry = Entry { action: "user.revoke", reason: reason.as_deref(), ..Entry::default() };
            (user, entry, EventBody::UserRevoked(body))
        }
        _ => return Err(Refusal::Forbidden.into()),
    };
    record(batch, actor, &Entry { target: Some(user), ..entry })?;
    let event = batch.append_user(user, body)?;
    if matches!(action, Action::RevokeUser { .. }) {
        batch
            .connection
            .prepare_cached("UPDATE users SET revoked_before_ms = max(revoked_before_ms, ?2) WHERE id = ?1")?
            .execute(params![user.as_str(), int(batch.at_ms)])?;
    }
    Ok(Done::of(event.seq, vec![event]))
}

pub(super) fn mute(
    connection: &Connection,
    now_ms: u64,
    user: &UserId,
    room: &RoomId,
) -> Result<Option<Ending>, StoreError> {
    Ok(find_member(connection, room, user)?.and_then(|row| Ending::at(row.muted_until_ms, now_ms)))
}

fn is_admin(connection: &Connection, room: &RoomId, user: &UserId) -> Result<bool, StoreError> {
    let row = find_member(connection, room, user)?;
    Ok(row.is_some_and(|row| role_code(row.member.role) >= role_code(Role::Admin)))
}

pub(super) fn bans(
    connection: &Connection,
    now_ms: u64,
    user: &UserId,
    query: &BanQuery,
) -> Result<Option<BansPage>, StoreError> {
    if !is_admin(connection, &query.room, user)? {
        return Ok(None);
    }
    let mut statement = connection.prepare_cached(
        "SELECT user, actor, at_ms, until_ms, reason FROM sanctions
         WHERE room = ?1 AND kind = 1 AND user > ?2 AND until_ms > ?3 ORDER BY user LIMIT ?4",
    )?;
    let after = query.after.as_ref().map_or("", UserId::as_str);
    let size = i64::from(query.limit) + 1;
    let mut rows = statement.query(params![query.room.as_str(), after, int(now_ms), size])?;
    let mut bans = Vec::new();
    while let Some(row) = rows.next()? {
        bans.push(Ban {
            user: get_user(row, 0)?,
            by: get_user(row, 1)?,
            at_ms: get_u64(row, 2)?,
            until_ms: shown(get_u64(row, 3)?),
            reason: get(row, 4)?,
        });
    }
    let more = bans.len() > query.limit as usize;
    bans.truncate(query.limit as usize);
    Ok(Some(BansPage { bans, more }))
}

/// The list, by what it is narrowed to: a room, a user.
const AUDIT_LISTS: [[&str; 2]; 2] = [
    [
        "SELECT number, at_ms, actor, action, room, target, session, until_ms, reason FROM audit
         WHERE ?1 IS NULL AND ?2 IS NULL AND number < ?3 ORDER BY number DESC LIMIT ?4",
        "SELECT number, at_ms, actor, action, room, target, session, until_ms, reason FROM audit
         WHERE ?1 IS NULL AND target = ?2 AND number < ?3 ORDER BY number DESC LIMIT ?4",
    ],
    [
        "SELECT number, at_ms, actor, action, room, target, session, until_ms, reason FROM audit
         WHERE room = ?1 AND ?2 IS NULL AND number < ?3 ORDER BY number DESC LIMIT ?4",
        "SELECT number, at_ms, actor, action, room, target, session, until_ms, reason FROM audit
         WHERE room = ?1 AND target = ?2 AND number < ?3 ORDER BY number DESC LIMIT ?4",
    ],
];

pub(super) fn audit(
    connection: &Connection,
    viewer: Option<&UserId>,
    query: &AuditQuery,
) -> Result<Option<AuditPage>, StoreError> {
    if let Some(viewer) = viewer {
        let Some(room) = &query.room else { return Ok(None) };
        if !is_admin(connection, room, viewer)? {
            return Ok(None);
        }
    }
    let list = AUDIT_LISTS[usize::from(query.room.is_some())][usize::from(query.target.is_some())];
    let (room, target) = (query.room.as_ref().map(RoomId::as_str), query.target.as_ref().map(UserId::as_str));
    let size = i64::from(query.limit) + 1;
    let mut statement = connection.prepare_cached(list)?;
    let mut rows = statement.query(params![room, target, query.before.map_or(i64::MAX, int), size])?;
    let (mut entries, mut numbers) = (Vec::new(), Vec::new());
    while let Some(row) = rows.next()? {
        numbers.push(get_u64(row, 0)?);
        entries.push(audit_entry(row)?);
    }
    let more = entries.len() > query.limit as usize;
    entries.truncate(query.limit as usize);
    let next = if more { numbers.get(entries.len().wrapping_sub(1)).copied() } else { None };
    Ok(Some(AuditPage { entries, next }))
}

fn audit_entry(row: &Row<'_>) -> Result<AuditEntry, StoreError> {
    let is_some = |column| get::<Option<String>>(row, column).map(|value| value.is_some());
    Ok(AuditEntry {
        at_ms: get_u64(row, 1)?,
        actor: get_user(row, 2)?,
        action: get(row, 3)?,
        room: if is_some(4)? { Some(get_room(row, 4)?) } else { None },
        target: if is_some(5)? { Some(get_user(row, 5)?) } else { None },
        session: get::<Option<String>>(row, 6)?.map(|session| SessionId::new(&session)).transpose()?,
        until_ms: get_u64_option(row, 7)?,
        reason: get(row, 8)?,
    })
}

/// Notes that there is such a user, so that what is said to everyone reaches them.
pub(super) fn make_known(connection: &Connection, user: &UserId) -> Result<(), StoreError> {
    connection.prepare_cached("INSERT OR IGNORE INTO users (id) VALUES (?1)")?.execute([user.as_str()])?;
    Ok(())
}

/// Drops one step of what has ended and of what is too old; whether there may be more.
pub(super) fn trim_records(connection: &Connection, now_ms: u64) -> Result<bool, StoreError> {
    let ended = connection
        .prepare_cached(
            "DELETE FROM sanctions WHERE (room, kind, user) IN
             (SELECT room, kind, user FROM sanctions WHERE until_ms <= ?1 ORDER BY until_ms LIMIT ?2)",
        )?
        .execute(params![int(now_ms), RECORDS_PER_STEP])?;
    let old = connection
        .prepare_cached(
            "DELETE FROM audit WHERE at_ms < ?1 AND number IN (SELECT number FROM audit ORDER BY number LIMIT ?2)",
        )?
        .execute(params![int(now_ms.saturating_sub(AUDIT_KEPT_MS)), RECORDS_PER_STEP])?;
    Ok(ended.max(old) >= RECORDS_PER_STEP as usize)
}
