//! Notifications: a row, an event of the person's stream and their unread counter, in the transaction of what causes them.

use hallway_protocol::notification::NotificationKind;
use hallway_protocol::{Event, MessageId, RoomId, TaskId, UserId};

use super::batch::Batch;
use super::commit::Stop;

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
    /// What an announcement or notice says; its number in `notices`.
    pub(super) notice: Option<i64>,
    /// Of an urgent one.
    pub(super) acknowledge_within_ms: Option<u64>,
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
        Self {
            kind,
            users,
            room: Some(room),
            message: None,
            task: Some(task),
            by,
            urgent: false,
            key,
            notice: None,
            acknowledge_within_ms: None,
        }
    }
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
    let _ = (batch, cause);
    Ok(Notified::default())
}
