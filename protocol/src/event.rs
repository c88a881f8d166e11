//! What happened in a stream.

use serde::{Deserialize, Serialize};

use crate::ids::{MessageId, NotificationId, RoomId, SessionId, TaskId, UserId};
use crate::model::{Message, Role, RoomInfo};
use crate::notification::{Level, Notification, QuietHours};
use crate::position::{Seq, StreamId};
use crate::task::{Comment, Task, TaskChange};

/// One durable change. It was committed before anyone heard of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    pub stream: StreamId,
    pub seq: Seq,
    /// The store's clock, milliseconds since 1970. Not an order.
    pub at_ms: u64,
    pub body: EventBody,
}

/// Defines [`EventBody`] with its table of wire names and kind numbers.
macro_rules! events {
    ($($(#[$doc:meta])* $kind:literal $wire:literal $variant:ident { $($(#[$fdoc:meta])* $field:ident: $type:ty),* $(,)? })*) => {
        /// Kinds of event, as JSON sees them: `{"message.created": {…}}`.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub enum EventBody {
            $($(#[$doc])* #[serde(rename = $wire)] $variant($variant),)*
        }

        $($(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub struct $variant { $($(#[$fdoc])* pub $field: $type,)* })*

        impl EventBody {
            /// Every kind number with its wire name.
            pub const KINDS: &'static [(u16, &'static str)] = &[$(($kind, $wire)),*];

            /// Number of this kind in binary frames. Released numbers never change.
            #[must_use]
            pub fn kind(&self) -> u16 {
                match self { $(Self::$variant(_) => $kind,)* }
            }

            /// Name of this kind in JSON.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $wire,)* }
            }

            pub(crate) fn write_postcard(&self, out: Vec<u8>) -> postcard::Result<Vec<u8>> {
                match self { $(Self::$variant(body) => postcard::to_extend(body, out),)* }
            }

            /// Reads the body of a known kind; `None` for a kind that this version does not know.
            pub(crate) fn read_postcard(kind: u16, bytes: &[u8]) -> Option<postcard::Result<(Self, &[u8])>> {
                match kind {
                    $($kind => Some(crate::codec::take::<$variant>(bytes).map(|(body, rest)| (Self::$variant(body), rest))),)*
                    _ => None,
                }
            }
        }
    };
}

events! {
    /// A room's first event.
    1 "room.created" RoomCreated { info: RoomInfo, by: UserId }
    /// Settings changed; the room as it is now.
    2 "room.updated" RoomUpdated { info: RoomInfo, by: UserId }
    /// Nothing can be written any more; everything can still be read.
    3 "room.archived" RoomArchived { by: UserId }
    /// Someone became a member.
    4 "member.joined" MemberJoined { user: UserId, role: Role, by: UserId }
    /// A member's role changed.
    5 "member.updated" MemberUpdated { user: UserId, role: Role, by: UserId }
    /// Someone left (`by` themselves) or was removed. The last event that they get.
    6 "member.removed" MemberRemoved { user: UserId, by: UserId }
    /// A new message. In a sync it is the message as it is now.
    7 "message.created" MessageCreated { message: Message }
    /// A message was edited; it as it is now.
    8 "message.edited" MessageEdited { message: Message }
    /// A message was deleted; its text is gone everywhere.
    9 "message.deleted" MessageDeleted { id: MessageId, version: u32, by: UserId }
    /// An emoji was put under a message, or taken away.
    10 "message.reacted" MessageReacted { id: MessageId, user: UserId, emoji: String, removed: bool }
    /// User stream: the own membership of a room began, changed or (`role: null`) ended.
    11 "membership.changed" MembershipChanged {
        room: RoomId,
        role: Option<Role>,
        /// Event of the room's stream that this is about. Of two, the greater holds.
        room_seq: Seq,
        /// As in the room list; 0 when the membership ended.
        joined_seq: Seq,
        visible_from_seq: Seq,
    }
    /// User stream: the read marker of a room moved on one of the own devices.
    12 "read.marked" ReadMarked { room: RoomId, read_seq: Seq, unread: u64 }
    /// Someone may not come (back) until then, or (null) until `member.unbanned`. Of a member, `member.removed` follows.
    13 "member.banned" MemberBanned { user: UserId, until_ms: Option<u64>, by: UserId }
    /// Someone may come back.
    14 "member.unbanned" MemberUnbanned { user: UserId, by: UserId }
    /// A member can write nothing until then, or (null) until `member.unmuted`.
    15 "member.muted" MemberMuted { user: UserId, until_ms: Option<u64>, by: UserId }
    /// A member can write again.
    16 "member.unmuted" MemberUnmuted { user: UserId, by: UserId }
    /// User stream: this connection is closed, wherever it is.
    17 "session.revoked" SessionRevoked { session: SessionId, by: UserId }
    /// User stream: all connections whose token was issued before are closed, and such tokens are refused.
    18 "user.revoked" UserRevoked { by: UserId, before_ms: u64 }
    /// User stream: the own mute in a room began, changed or ended.
    19 "mute.changed" MuteChanged {
        room: RoomId,
        muted: bool,
        /// When it ends by itself; null: it does not, or there is none.
        until_ms: Option<u64>,
        /// Event of the room's stream that this is about. Of two, the greater holds.
        room_seq: Seq,
    }
    /// A new task. In a sync it is the task as it is now.
    20 "task.created" TaskCreated { task: Task }
    /// A task changed; it as it is now.
    21 "task.changed" TaskChanged { task: Task, change: TaskChange, by: UserId }
    /// Somebody commented on a task. The task's version stays.
    22 "task.commented" TaskCommented {
        comment: Comment,
        /// Comments of the task now, or when this one was made: it replaces what one holds, so that events which come after a task
        /// as it is now count nothing twice.
        comment_count: u32,
    }
    /// A task was deleted; what it said is gone everywhere.
    23 "task.deleted" TaskDeleted { id: TaskId, version: u32, by: UserId }
    /// User stream: a new notification. In a sync it is the notification as it is now.
    24 "notification.created" NotificationCreated {
        notification: Notification,
        /// Unread notifications after it.
        unread: u64,
    }
    /// User stream: notifications were read on one of the own devices.
    25 "notification.read" NotificationsRead {
        /// These.
        ids: Vec<NotificationId>,
        /// All whose `seq` is at most this.
        up_to_seq: Option<Seq>,
        unread: u64,
    }
    /// User stream: an urgent notification was acknowledged on one of the own devices; it is read, too.
    26 "notification.acknowledged" NotificationAcknowledged { id: NotificationId, unread: u64 }
    /// User stream: what one is notified of changed, in a room or (null) wherever nothing is said about the room.
    27 "preference.changed" PreferenceChanged {
        room: Option<RoomId>,
        /// Null: nothing is said about the room any more.
        level: Option<Level>,
    }
    /// User stream: the quiet hours changed; null: there are none.
    28 "quiet.changed" QuietChanged { hours: Option<QuietHours> }
    /// User stream: the own name changed; null: there is none.
    29 "profile.changed" ProfileChanged { name: Option<String> }
}
