//! Who may do what in a room: pure rules, the same for every back end.
//!
//! Checked in this order, so that both back ends refuse alike: what one may not see does not exist; then membership; then
//! whether the member is muted; then the room's kind; then the role; then whether it is archived; then the object.

use hallway_protocol::{Role, RoomKind, Visibility};

use crate::{Action, Ending, Refusal};

/// A room as the actor stands to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    pub kind: RoomKind,
    pub visibility: Visibility,
    pub archived: bool,
    /// The actor's role; `None` for those who are not members.
    pub role: Option<Role>,
    /// The actor's mute, if it is in force.
    pub mute: Option<Ending>,
}

/// What an invitation comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Invitation {
    /// The user becomes a member.
    Joins,
    /// A member's role changes.
    Changes,
    /// The role is there already.
    Nothing,
}

/// Least role for an action on a room that exists; `None` where being a member is not needed or enough.
#[must_use]
pub fn least_role(action: &Action) -> Option<Role> {
    match action {
        Action::CreateRoom { .. }
        | Action::OpenDirect { .. }
        | Action::Join { .. }
        | Action::RevokeSession { .. }
        | Action::RevokeUser { .. }
        | Action::ReadNotifications { .. }
        | Action::AcknowledgeNotification { .. }
        | Action::Prefer { .. }
        | Action::SetQuietHours { .. }
        | Action::SetProfile { .. } => None,
        Action::Notify { may_any, .. } => (!may_any).then_some(Role::Admin),
        Action::Leave { .. } | Action::FollowTask { .. } => Some(Role::Guest),
        Action::SendMessage { .. }
        | Action::EditMessage { .. }
        | Action::DeleteMessage { .. }
        | Action::React { .. }
        | Action::CreateTask { .. }
        | Action::EditTask { .. }
        | Action::MoveTask { .. }
        | Action::AssignTask { .. }
        | Action::LinkTask { .. }
        | Action::DeleteTask { .. }
        | Action::CommentTask { .. } => Some(Role::Member),
        Action::UpdateRoom { .. }
        | Action::Invite { .. }
        | Action::Remove { .. }
        | Action::Kick { .. }
        | Action::Ban { .. }
        | Action::Unban { .. }
        | Action::Mute { .. }
        | Action::Unmute { .. } => Some(Role::Admin),
        Action::ArchiveRoom { .. } => Some(Role::Owner),
    }
}

/// Whether direct rooms have this action; their two members and their settings are for ever.
#[must_use]
pub fn in_direct_rooms(action: &Action) -> bool {
    action.message().is_some() || action.task().is_some() || matches!(action, Action::OpenDirect { .. })
}

/// Decides everything about an action on an existing room that its object does not decide; the actor's role, where they
/// are a member.
///
/// # Errors
/// The first [`Refusal`] in the module's order.
pub fn allow(action: &Action, room: Standing) -> Result<Option<Role>, Refusal> {
    let joins = matches!(action, Action::Join { .. });
    if matches!(action, Action::Notify { may_any: true, .. }) {
        // From outside: no membership is asked for, and no mute is in its way.
        return match (in_direct_rooms(action) || room.kind == RoomKind::Channel, room.archived) {
            (false, _) => Err(Refusal::Forbidden),
            (true, true) => Err(Refusal::RoomArchived),
            (true, false) => Ok(room.role),
        };
    }
    match (room.role, room.visibility) {
        (None, Visibility::Private) => return Err(Refusal::RoomNotFound),
        (None, Visibility::Public) if !joins => return Err(Refusal::NotAMember),
        _ => {}
    }
    if let Some(mute) = room.mute
        && !joins
        && !matches!(action, Action::Leave { .. })
    {
        return Err(Refusal::Muted(mute));
    }
    if room.kind == RoomKind::Direct && !in_direct_rooms(action) {
        return Err(Refusal::Forbidden);
    }
    if room.role < least_role(action) {
        return Err(Refusal::Forbidden);
    }
    if room.archived {
        return Err(Refusal::RoomArchived);
    }
    Ok(room.role)
}

/// Decides an invitation by an admin or owner. `other_owners`: the channel has owners besides the invited one.
///
/// # Errors
/// [`Refusal::Forbidden`] above the own role, [`Refusal::LastOwner`] when nobody would own the channel.
pub fn invite(actor: Role, present: Option<Role>, wanted: Role, other_owners: bool) -> Result<Invitation, Refusal> {
    if wanted > actor || present.is_some_and(|present| present > actor) {
        return Err(Refusal::Forbidden);
    }
    match present {
        None => Ok(Invitation::Joins),
        Some(present) if present == wanted => Ok(Invitation::Nothing),
        Some(Role::Owner) if !other_owners => Err(Refusal::LastOwner),
        Some(_) => Ok(Invitation::Changes),
    }
}

/// Decides an act of an admin or owner on a member: a removal, a kick, a mute.
///
/// # Errors
/// [`Refusal::TargetNotAMember`], or [`Refusal::Forbidden`] for oneself and those who are not below.
pub fn remove(actor: Role, target: Option<Role>, oneself: bool) -> Result<(), Refusal> {
    act_on(actor, Some(target.ok_or(Refusal::TargetNotAMember)?), oneself)
}

/// Decides an act of an admin or owner on somebody who need not be a member: a ban, its end, the end of a mute.
///
/// # Errors
/// [`Refusal::Forbidden`] for oneself and members who are not below.
pub fn act_on(actor: Role, target: Option<Role>, oneself: bool) -> Result<(), Refusal> {
    let reaches = actor == Role::Owner || target.is_none_or(|target| target < actor);
    if oneself || !reaches { Err(Refusal::Forbidden) } else { Ok(()) }
}

/// Decides a leaving.
///
/// # Errors
/// [`Refusal::LastOwner`] when others would remain without one.
pub fn leave(role: Role, other_owners: bool, others: bool) -> Result<(), Refusal> {
    if role == Role::Owner && others && !other_owners { Err(Refusal::LastOwner) } else { Ok(()) }
}
