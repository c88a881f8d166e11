//! Writes and refusals in the words of the stored functions.

use hallway_protocol::check::{ASSIGNEES_MAX, WAITS_ON_MAX};
use hallway_protocol::command::Due;
use hallway_protocol::task::{Task, TaskStatus};
use hallway_protocol::{History, Meta, TaskId, Visibility};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::commit::{joined, key};
use super::rows::{corrupt, priority_number, role_number, status, status_number, unsigned};
use crate::{Action, Addressed, COMMENTS_MAX_PER_TASK, Ending, Refusal, StoreError, Write};

/// What a stored function says beside the name of a refusal.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Said {
    current: Option<u32>,
    left_ms: Option<i64>,
    task: Option<Task>,
    from: Option<i16>,
    #[serde(default)]
    waits: Vec<TaskId>,
}

impl Said {
    /// Only when a mute or ban ends.
    pub(super) fn left(left_ms: Option<i64>) -> Self {
        Self { left_ms, ..Self::default() }
    }
}

/// The refusal that a stored function names.
pub(super) fn refusal(name: &str, said: Said) -> Result<Refusal, StoreError> {
    let ending = Ending { left_ms: said.left_ms.map(unsigned) };
    let lacks = |what: &str| corrupt(format!("refusal {name} lacks {what}"));
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
        "version_conflict" => Refusal::VersionConflict { current: said.current.unwrap_or_default() },
        "target_not_a_member" => Refusal::TargetNotAMember,
        "last_owner" => Refusal::LastOwner,
        "too_many_rooms" => Refusal::TooManyRooms,
        "too_many_reactions" => Refusal::TooManyReactions,
        "banned" => Refusal::Banned(ending),
        "muted" => Refusal::Muted(ending),
        "target_banned" => Refusal::TargetBanned,
        "task_not_found" => Refusal::TaskNotFound,
        "task_deleted" => Refusal::TaskDeleted,
        "task_stale" => Refusal::TaskStale(Box::new(said.task.ok_or_else(|| lacks("the task"))?)),
        "illegal_move" => Refusal::IllegalMove { from: status(said.from.ok_or_else(|| lacks("the status"))?)? },
        "task_waits" => Refusal::TaskWaits(said.waits),
        "task_cycle" => Refusal::TaskCycle,
        "too_many_comments" => Refusal::TooManyComments,
        "too_many_links" => Refusal::TooManyLinks,
        "notification_not_found" => Refusal::NotificationNotFound,
        _ => return Err(corrupt(format!("refusal {name}"))),
    })
}

/// A write as `hallway_act_v8` reads it.
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
        Action::SendMessage { text, reply_to, mentions, meta, .. } => json!({
            "op": "send_message", "text": text, "reply_to": reply_to, "mentions": joined(mentions),
            "meta": meta.as_ref().map(Meta::as_json),
        }),
        Action::EditMessage { text, mentions, meta, version, .. } => json!({
            "op": "edit_message", "text": text, "mentions": joined(mentions),
            "meta": meta.as_ref().map(Meta::as_json), "version": version,
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
        action => described_task(action).unwrap_or_else(|| described_personal(action)),
    };
    fields["room"] = json!(write.action.room());
    fields["actor"] = json!(write.actor);
    fields["message"] = json!(write.action.message());
    fields["task"] = json!(write.action.task());
    fields["object"] = json!(write.action.object());
    fields["key"] = json!(key(write));
    fields["hash"] = json!(Uuid::from_bytes(write.body_hash));
    fields
}

/// A write about a task.
fn described_task(action: &Action) -> Option<Value> {
    Some(match action {
        Action::CreateTask { title, text, priority, due_at_ms, assignees, waits_on, meta, .. } => json!({
            "op": "create_task", "title": title, "text": text, "priority": priority_number(*priority),
            "due_at_ms": due_at_ms, "assignees": assignees, "waits_on": waits_on,
            "meta": meta.as_ref().map(Meta::as_json), "most": ASSIGNEES_MAX.min(WAITS_ON_MAX),
        }),
        Action::EditTask { version, title, text, priority, due, meta, .. } => {
            let due_at_ms = match due {
                Some(Due::AtMs(at_ms)) => Some(at_ms),
                Some(Due::Never) | None => None,
            };
            json!({
                "op": "edit_task", "version": version, "title": title, "text": text,
                "priority": priority.map(priority_number), "sets_due": due.is_some(), "due_at_ms": due_at_ms,
                "meta": meta.as_ref().map(Meta::as_json),
            })
        }
        Action::MoveTask { version, status, .. } => {
            let from = TaskStatus::ALL.iter().filter(|from| from.next().contains(status));
            let from: Vec<i16> = from.map(|from| status_number(*from)).collect();
            json!({"op": "move_task", "version": version, "status": status_number(*status), "from": from})
        }
        Action::AssignTask { version, add, remove, .. } => json!({
            "op": "assign_task", "version": version, "add_users": add, "remove_users": remove, "most": ASSIGNEES_MAX,
        }),
        Action::LinkTask { version, add, remove, .. } => json!({
            "op": "link_task", "version": version, "add_tasks": add, "remove_tasks": remove, "most": WAITS_ON_MAX,
        }),
        Action::DeleteTask { version, .. } => json!({"op": "delete_task", "version": version}),
        Action::CommentTask { text, mentions, .. } => json!({
            "op": "comment_task", "text": text, "mentions": joined(mentions), "comments_most": COMMENTS_MAX_PER_TASK,
        }),
        Action::FollowTask { follow, .. } => json!({"op": "follow_task", "follow": follow}),
        _ => return None,
    })
}

/// A write that concerns people wherever they are. `in_room` is not `room`: it is not locked.
fn described_personal(action: &Action) -> Value {
    match action {
        Action::Notify { to, notice, may_any, .. } => json!({
            "op": "notify", "everyone": *to == Addressed::Everyone, "may_any": may_any, "title": notice.title,
            "users": match to { Addressed::Users(users) => Some(users), Addressed::Room(_) | Addressed::Everyone => None },
            "text": notice.text, "data": notice.data.as_ref().map(Meta::as_json), "urgent": notice.urgent,
            "notice_key": notice.key, "acknowledge_within_ms": notice.acknowledge_within_ms,
        }),
        Action::ReadNotifications { user, ids, up_to_seq } => {
            json!({"op": "read_notifications", "user": user, "ids": ids, "up_to_seq": up_to_seq})
        }
        Action::AcknowledgeNotification { user, id } => {
            json!({"op": "acknowledge_notification", "user": user, "notification": id})
        }
        Action::Prefer { user, preference } => {
            json!({"op": "prefer", "user": user, "in_room": preference.room, "level": preference.level})
        }
        Action::SetQuietHours { user, hours } => json!({"op": "set_quiet_hours", "user": user, "hours": hours}),
        Action::SetProfile { user, name } => json!({"op": "set_profile", "user": user, "name": name}),
        _ => json!({"op": "unknown"}),
    }
}
