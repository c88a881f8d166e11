//! Commands about notifications, and for operators about their delivery. Since minor 2.

use serde::{Deserialize, Serialize};

use crate::ids::{Nonce, NotificationId, RoomId, UserId};
use crate::meta::Meta;
use crate::notification::{JobTrace, Level, Notification, QuietHours};
use crate::position::Seq;

/// The own notifications, newest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationList {
    #[serde(default)]
    pub unread_only: bool,
    #[serde(default)]
    pub cursor: Option<String>,
    /// 1 to 100; without it 50.
    #[serde(default)]
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notifications {
    pub notifications: Vec<Notification>,
    /// How many are unread, exactly.
    pub unread: u64,
    pub next: Option<String>,
}

/// Marks as read: one, many, or all up to a position. What is read already, or is not there, changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationRead {
    pub nonce: Nonce,
    /// These, at most 100.
    #[serde(default)]
    pub ids: Vec<NotificationId>,
    /// All whose `seq` is at most this.
    #[serde(default)]
    pub up_to_seq: Option<Seq>,
}

/// The person has seen an urgent notification: it is not handed out. It is read, too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationAcknowledge {
    pub nonce: Nonce,
    pub id: NotificationId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationPreferences {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    /// Wherever nothing is said about the room; without having been set `all`.
    pub level: Level,
    /// In the order of the rooms' ids.
    pub rooms: Vec<RoomLevel>,
    pub quiet: Option<QuietHours>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomLevel {
    pub room: RoomId,
    pub level: Level,
}

/// Sets what one is notified of, in a room or (without one) wherever nothing is said about the room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationPrefer {
    pub nonce: Nonce,
    /// A room of the asker.
    #[serde(default)]
    pub room: Option<RoomId>,
    /// Null: nothing is said about the room any more; without a room: `all`.
    pub level: Option<Level>,
}

/// Sets the quiet hours; null: there are none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationQuiet {
    pub nonce: Nonce,
    pub hours: Option<QuietHours>,
}

/// Whom to notify.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recipients {
    /// These, at most 1,000. Needs the scope `notify`.
    Users(Vec<UserId>),
    /// All members of a room. Its admins may, and who has the scope `notify`.
    Room(RoomId),
    /// Everybody who is known. Needs the scope `notify`.
    Everyone,
}

/// Notifies people: an announcement, or a notice of a back end. Whoever causes it is not notified by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Notify {
    pub nonce: Nonce,
    pub to: Recipients,
    /// 1 to 200 bytes.
    pub title: String,
    /// At most 4 KiB.
    #[serde(default)]
    pub text: Option<String>,
    #[serde(default)]
    pub data: Option<Meta>,
    #[serde(default)]
    pub urgent: bool,
    /// Nobody gets two notifications of the same key: 1 to 64 visible ASCII characters. Without it every one is another.
    #[serde(default)]
    pub key: Option<String>,
    /// Of an urgent one: after this long without an acknowledgement it is handed to the application. 1 s to 1 day; without
    /// it the node's `urgent_acknowledge_ms`.
    #[serde(default)]
    pub acknowledge_within_ms: Option<u64>,
}

/// Sets the own name, by which others find the asker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProfileSet {
    pub nonce: Nonce,
    /// At most 200 bytes; null: none.
    pub name: Option<String>,
}

/// What became of one notification. Needs the scope `admin`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotificationTrace {
    pub id: NotificationId,
}

/// Webhooks that were given up, newest first. Needs the scope `admin`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxDead {
    #[serde(default)]
    pub cursor: Option<String>,
    /// 1 to 100; without it 50.
    #[serde(default)]
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadJobs {
    pub jobs: Vec<JobTrace>,
    pub next: Option<String>,
}

/// Tries webhooks that were given up again, as if they were new. Needs the scope `admin`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboxReplay {
    /// These, at most 100; empty: the oldest 100.
    #[serde(default)]
    pub jobs: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// How many are tried again.
    pub jobs: u64,
}
