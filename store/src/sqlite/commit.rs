//! The writing commands, each checked in full before it writes anything, so that a refusal leaves nothing behind.

use hallway_protocol::event::{
    MemberJoined, MemberRemoved, MemberUpdated, MembershipChanged, RoomArchived, RoomCreated, RoomUpdated,
};
use hallway_protocol::model::Member;
use hallway_protocol::{
    Event, EventBody, History, ObjectId, Role, RoomId, RoomInfo, RoomKind, Seq, UserId, Visibility,
};
use rusqlite::{OptionalExtension, params};
use sha2::{Digest, Sha256};

use super::batch::{Batch, Marker};
use super::messages::{self, Place};
use super::notes::{self, Notified};
use super::people;
use super::resolve;
use super::tables::{int, message_id, visible_from};
use super::tasks::{self, At};
use crate::rules::{self, Invitation, Standing};
use crate::{Action, Committed, Ending, Refusal, StoreError, USER_ROOMS_MAX, Write};

/// Why a write was not carried out: refused alone, or with the whole batch.
pub(super) enum Stop {
    Refused(Refusal),
    Failed(StoreError),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(error)
    }
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// What a write came to: the seq to acknowledge, and the events.
pub(super) struct Done {
    pub(super) seq: Seq,
    pub(super) events: Vec<Event>,
    /// It left a fan-out job.
    pub(super) fans_out: bool,
}

impl Done {
    pub(super) fn nothing(seq: Seq) -> Self {
        Self::of(seq, Vec::new())
    }

    pub(super) fn of(seq: Seq, events: Vec<Event>) -> Self {
        Self { seq, events, fans_out: false }
    }

    /// Adds those who were notified of it.
    pub(super) fn with(mut self, notified: Notified) -> Self {
        self.events.extend(notified.events);
        self.fans_out |= notified.fans_out;
        self
    }
}

/// Carries out one write, or answers with the first result of its nonce.
pub(super) fn apply(batch: &mut Batch<'_>, write: &Write) -> Result<Committed, Stop> {
    let key = dedupe_key(write);
    if let Some(first) = first_result(batch, &key, write)? {
        return Ok(first);
    }
    let done = match notes::act(batch, write)? {
        Some(done) => done,
        None => carry_out(batch, &write.actor, &write.action)?,
    };
    let Done { seq, events, fans_out } = done;
    let id = write.action.object();
    batch
        .connection
        .prepare_cached("INSERT INTO dedupe (key, body_hash, seq, at_ms, id) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![key, write.body_hash, int(seq), int(batch.at_ms), id.map(|id| *id.as_uuid().as_bytes())])?;
    let stream = write.action.stream();
    Ok(Committed { stream, seq, at_ms: batch.at_ms, id, repeated: false, events, fans_out })
}

/// Half a SHA-256 of stream, sender and nonce; none of them can hold the separator.
fn dedupe_key(write: &Write) -> [u8; 16] {
    let mut hash = Sha256::new();
    for part in [&*write.action.place(), write.actor.as_str(), write.nonce.as_str()] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let whole = hash.finalize();
    std::array::from_fn(|index| whole[index])
}

fn first_result(batch: &Batch<'_>, key: &[u8; 16], write: &Write) -> Result<Option<Committed>, Stop> {
    type First = ([u8; 16], i64, i64, Option<Vec<u8>>);
    let first: Option<First> = batch
        .connection
        .prepare_cached("SELECT body_hash, seq, at_ms, id FROM dedupe WHERE key = ?1")?
        .query_row([key], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))
        .optional()?;
    let Some((body_hash, seq, at_ms, id)) = first else { return Ok(None) };
    if body_hash != write.body_hash {
        return Err(Refusal::NonceConflict.into());
    }
    Ok(Some(Committed {
        stream: write.action.stream(),
        seq: seq.unsigned_abs(),
        at_ms: at_ms.unsigned_abs(),
        id: id.map(|bytes| message_id(&bytes)).transpose()?.map(ObjectId::from),
        repeated: true,
        events: Vec::new(),
        fans_out: false,
    }))
}

fn carry_out(batch: &mut Batch<'_>, actor: &UserId, action: &Action) -> Result<Done, Stop> {
    match action {
        Action::CreateRoom { room, visibility, history, name } => {
            return create_room(batch, actor, room, *visibility, *history, name.as_ref());
        }
        Action::SetProfile { user, name } => return resolve::set_profile(batch, user, name.as_deref()),
        Action::OpenDirect { room, other } => return open_direct(batch, actor, room, other),
        _ => {}
    }
    let Some(room) = action.room() else { return people::revoke(batch, actor, action) };
    let (member, muted_until_ms) =
        batch.member_row(room, actor)?.map_or((None, 0), |row| (Some(row.member.clone()), row.muted_until_ms));
    let now_ms = batch.at_ms;
    let Some(row) = batch.room(room)? else { return Err(Refusal::RoomNotFound.into()) };
    let (number, head) = (row.number, row.last_seq);
    let standing = Standing {
        kind: row.info.kind,
        visibility: row.info.visibility,
        archived: row.info.archived,
        role: member.as_ref().map(|member| member.role),
        mute: Ending::at(muted_until_ms, now_ms),
    };
    let role = rules::allow(action, standing)?;
    if let Action::Join { .. } = action {
        return match member {
            Some(member) => Ok(Done::nothing(member.joined_seq)),
            None => match people::ban(batch, room, actor)? {
                Some(ban) => Err(Refusal::Banned(ban).into()),
                None => join(batch, room, actor, Role::Member, actor),
            },
        };
    }
    let role = role.ok_or(Refusal::NotAMember)?;
    let seen = batch.room(room)?.map_or(History::SinceJoin, |row| row.info.history);
    let place = Place { number, head, visible_from: visible_from(seen, member.map_or(0, |member| member.joined_seq)) };
    match action {
        Action::CreateRoom { .. }
        | Action::OpenDirect { .. }
        | Action::Join { .. }
        | Action::RevokeSession { .. }
        | Action::RevokeUser { .. } => Err(Refusal::Forbidden.into()),
        Action::Kick { .. }
        | Action::Ban { .. }
        | Action::Unban { .. }
        | Action::Mute { .. }
        | Action::Unmute { .. } => people::act(batch, room, head, actor, role, action),
        Action::UpdateRoom { name, visibility, .. } => {
            let info = batch.change_info(room, |info| {
                info.visibility = visibility.unwrap_or(info.visibility);
                info.name = name.clone().or_else(|| info.name.take());
            })?;
            one(batch, room, EventBody::RoomUpdated(RoomUpdated { info, by: actor.clone() }))
        }
        Action::ArchiveRoom { .. } => {
            batch.change_info(room, |info| info.archived = true)?;
            one(batch, room, EventBody::RoomArchived(RoomArchived { by: actor.clone() }))
        }
        Action::Leave { .. } => {
            rules::leave(role, batch.has_other(room, actor, true)?, batch.has_other(room, actor, false)?)?;
            end_membership(batch, room, actor, actor)
        }
        Action::Invite { user, role: wanted, .. } => invite(batch, room, actor, role, user, *wanted),
        Action::Remove { user, .. } => {
            let target = batch.member(room, user)?.map(|member| member.role);
            rules::remove(role, target, user == actor)?;
            end_membership(batch, room, user, actor)
        }
        Action::SendMessage { .. } => messages::send(batch, number, actor, action),
        Action::EditMessage { .. } => messages::edit(batch, &place, actor, action),
        Action::DeleteMessage { id, .. } => messages::delete(batch, &place, room, actor, role, *id),
        Action::React { id, emoji, remove, .. } => messages::react(batch, &place, room, actor, (*id, emoji, *remove)),
        action if action.task().is_some() => tasks::act(batch, &At { room, number, head, actor, role }, action),
        _ => Err(Refusal::Forbidden.into()),
    }
}

pub(super) fn one(batch: &mut Batch<'_>, room: &RoomId, body: EventBody) -> Result<Done, Stop> {
    let event = batch.append_room(room, body)?;
    Ok(Done::of(event.seq, vec![event]))
}

fn has_place(batch: &mut Batch<'_>, user: &UserId) -> Result<(), Stop> {
    if batch.user(user)?.room_count >= u64::from(USER_ROOMS_MAX) { Err(Refusal::TooManyRooms.into()) } else { Ok(()) }
}

fn create_room(
    batch: &mut Batch<'_>,
    actor: &UserId,
    room: &RoomId,
    visibility: Visibility,
    history: History,
    name: Option<&String>,
) -> Result<Done, Stop> {
    if room.is_direct() {
        return Err(Refusal::Forbidden.into());
    }
    if batch.room(room)?.is_some() {
        return Err(Refusal::RoomExists.into());
    }
    has_place(batch, actor)?;
    let info = RoomInfo {
        room: room.clone(),
        kind: RoomKind::Channel,
        visibility,
        history,
        name: name.cloned(),
        archived: false,
        created_at_ms: batch.at_ms,
    };
    batch.insert_room(info.clone())?;
    let mut events = vec![batch.append_room(room, EventBody::RoomCreated(RoomCreated { info, by: actor.clone() }))?];
    let Done { seq, events: joined, .. } = join(batch, room, actor, Role::Owner, actor)?;
    events.extend(joined);
    Ok(Done::of(seq, events))
}

fn open_direct(batch: &mut Batch<'_>, actor: &UserId, room: &RoomId, other: &UserId) -> Result<Done, Stop> {
    if !room.is_direct() || actor == other {
        return Err(Refusal::Forbidden.into());
    }
    if batch.room(room)?.is_some() {
        let member = batch.member(room, actor)?;
        return Ok(Done::nothing(member.ok_or(Refusal::RoomNotFound)?.joined_seq));
    }
    has_place(batch, actor)?;
    has_place(batch, other)?;
    let info = RoomInfo {
        room: room.clone(),
        kind: RoomKind::Direct,
        visibility: Visibility::Private,
        history: History::All,
        name: None,
        archived: false,
        created_at_ms: batch.at_ms,
    };
    batch.insert_room(info.clone())?;
    let mut events = vec![batch.append_room(room, EventBody::RoomCreated(RoomCreated { info, by: actor.clone() }))?];
    let mut last = 0;
    for user in [actor, other] {
        let Done { seq, events: joined, .. } = join(batch, room, user, Role::Member, actor)?;
        last = seq;
        events.extend(joined);
    }
    Ok(Done::of(last, events))
}

/// Makes `user` a member; everything before counts as read.
fn join(batch: &mut Batch<'_>, room: &RoomId, user: &UserId, role: Role, by: &UserId) -> Result<Done, Stop> {
    has_place(batch, user)?;
    let body = EventBody::MemberJoined(MemberJoined { user: user.clone(), role, by: by.clone() });
    let event = batch.append_room(room, body)?;
    let member = Member { user: user.clone(), role, joined_seq: event.seq };
    batch.set_member(room, member.clone())?;
    let ordinal = batch.room(room)?.map_or(0, |row| row.message_count);
    batch.set_marker(room, user, Marker { seq: event.seq, ordinal });
    batch.user(user)?.room_count += 1;
    let told = tell(batch, room, user, Some(&member), event.seq)?;
    let mut done = Done::of(event.seq, vec![event, told]);
    done.events.extend(people::mute_again(batch, room, user, done.seq)?);
    Ok(done)
}

pub(super) fn end_membership(batch: &mut Batch<'_>, room: &RoomId, user: &UserId, by: &UserId) -> Result<Done, Stop> {
    batch.remove_member(room, user)?;
    let row = batch.user(user)?;
    row.room_count = row.room_count.saturating_sub(1);
    let body = EventBody::MemberRemoved(MemberRemoved { user: user.clone(), by: by.clone() });
    let event = batch.append_room(room, body)?;
    let told = tell(batch, room, user, None, event.seq)?;
    Ok(Done::of(event.seq, vec![event, told]))
}

/// Writes `membership.changed` into the user's own stream.
fn tell(
    batch: &mut Batch<'_>,
    room: &RoomId,
    user: &UserId,
    member: Option<&Member>,
    room_seq: Seq,
) -> Result<Event, StoreError> {
    let history = batch.room(room)?.map_or(History::SinceJoin, |row| row.info.history);
    let body = EventBody::MembershipChanged(MembershipChanged {
        room: room.clone(),
        role: member.map(|member| member.role),
        room_seq,
        joined_seq: member.map_or(0, |member| member.joined_seq),
        visible_from_seq: member.map_or(0, |member| visible_from(history, member.joined_seq)),
    });
    batch.append_user(user, body)
}

fn invite(
    batch: &mut Batch<'_>,
    room: &RoomId,
    actor: &UserId,
    role: Role,
    user: &UserId,
    wanted: Role,
) -> Result<Done, Stop> {
    let present = batch.member(room, user)?.cloned();
    let other_owners = batch.has_other(room, user, true)?;
    let outcome = rules::invite(role, present.as_ref().map(|member| member.role), wanted, other_owners)?;
    match (outcome, present) {
        (Invitation::Joins, _) | (_, None) if people::ban(batch, room, user)?.is_some() => {
            Err(Refusal::TargetBanned.into())
        }
        (Invitation::Joins, _) | (_, None) => join(batch, room, user, wanted, actor),
        (Invitation::Nothing, Some(member)) => Ok(Done::nothing(member.joined_seq)),
        (Invitation::Changes, Some(member)) => {
            let member = Member { role: wanted, ..member };
            batch.set_member(room, member.clone())?;
            let body = EventBody::MemberUpdated(MemberUpdated { user: user.clone(), role: wanted, by: actor.clone() });
            let event = batch.append_room(room, body)?;
            let told = tell(batch, room, user, Some(&member), event.seq)?;
            Ok(Done::of(event.seq, vec![event, told]))
        }
    }
}
