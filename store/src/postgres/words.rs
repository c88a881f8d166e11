//! Writes and refusals in the words of the stored functions.

use hallway_protocol::{History, Visibility};
use serde_json::{Value, json};
use uuid::Uuid;

use super::commit::{joined, key};
use super::rows::{corrupt, role_number, unsigned};
use crate::{Action, Ending, Refusal, StoreError, Write};

/// The refusal that a stored function names.
pub(super) fn refusal(name: &str, current: Option<u32>, left_ms: Option<i64>) -> Result<Refusal, StoreError> {
    let ending = Ending { left_ms: left_ms.map(unsigned) };
    Ok(match name {
        "room_not_found" => Refusal::RoomNotFound,
        "not_a_member" => Refusal::NotAMember,
        "forbidden" => Refusal::Forbidden,
        "room_archived" => Refusal::RoomArchived,
        "room_exists" => Refusal::RoomExists,
        "message_not_found" => Refusal::MessageNotFound,
        "message_deleted" => Refusal::MessageDeleted,
        "id_taken" => Refusal::IdTaken,
        "nonce_conflict" => Refusal::NonceConflict,
        "version_conflict" => Refusal::VersionConflict { current: current.unwrap_or_default() },
        "target_not_a_member" => Refusal::TargetNotAMember,
        "last_owner" => Refusal::LastOwner,
        "too_many_rooms" => Refusal::TooManyRooms,
        "too_many_reactions" => Refusal::TooManyReactions,
        "banned" => Refusal::Banned(ending),
        "muted" => Refusal::Muted(ending),
        "target_banned" => Refusal::TargetBanned,
        "notification_not_found" => Refusal::NotificationNotFound,
        _ => return Err(corrupt(format!("refusal {name}"))),
    })
}

/// A write as `hallway_act_v2` reads it.
pub(super) fn described(write: &Write) -> Value {
    let public = |visibility: &Visibility| if *visibility == Visibility::Public { "public" } else { "private" };
    let mut fields = match &write.action {
        Action::CreateRoom { visibility, history, name, .. } => json!({
            "op": "create_room", "visibility": public(visibility), "name": name,
            "history": if *history == History::All { "all" } else { "since_join" },
        }),
        Action::OpenDirect { other, .. } => json!({"op": "open_direct", "user": other}),
        Action::UpdateRoom { name, visibility, .. } => {
            json!({"op": "update_room", "name": name, "visibility": visibility.as_ref().map(public)})
        }
        Action::ArchiveRoom { .. } => json!({"op": "archive_room"}),
        Action::Join { .. } => json!({"op": "join"}),
        Action::Leave { .. } => json!({"op": "leave"}),
        Action::Invite { user, role, .. } => json!({"op": "invite", "user": user, "role": role_number(*role)}),
        Action::Remove { user, .. } => json!({"op": "remove", "user": user}),
        Action::SendMessage { .. } => json!({"op": "send_message"}),
        Action::EditMessage { text, mentions, meta, version, .. } => json!({
            "op": "edit_message", "text": text, "mentions": joined(mentions),
            "meta": meta.as_ref().map(|meta| meta.as_json()), "version": version,
        }),
        Action::DeleteMessage { .. } => json!({"op": "delete_message"}),
        Action::React { emoji, remove, .. } => json!({"op": "react", "emoji": emoji, "taken": remove}),
        Action::Kick { user, reason, .. } => json!({"op": "kick", "user": user, "reason": reason}),
        Action::Ban { user, until_ms, reason, .. } => {
            json!({"op": "ban", "user": user, "until_ms": until_ms, "reason": reason})
        }
        Action::Unban { user, .. } => json!({"op": "unban", "user": user}),
        Action::Mute { user, until_ms, reason, .. } => {
            json!({"op": "mute", "user": user, "until_ms": until_ms, "reason": reason})
        }
        Action::Unmute { user, .. } => json!({"op": "unmute", "user": user}),
        Action::RevokeSession { user, session } => json!({"op": "revoke_session", "user": user, "session": session}),
        Action::RevokeUser { user, reason } => json!({"op": "revoke_user", "user": user, "reason": reason}),
        _ => super::notes::described(write).unwrap_or_else(|| json!({"op": "unknown"})),
    };
    fields["room"] = json!(write.action.room());
    fields["actor"] = json!(write.actor);
    fields["message"] = json!(write.action.message());
    fields["key"] = json!(key(write));
    fields["hash"] = json!(Uuid::from_bytes(write.body_hash));
    fields
}
