//! What a client may ask.
//!
//! In JSON a request is `{"id": 1, "command": {"message.send": {…}}}`. Every request gets exactly one reply (or error)
//! with its `id`. Commands that write carry a nonce: repeating one with the same nonce is always safe.

use serde::{Deserialize, Serialize};

use crate::ids::{Epoch, MessageId, Nonce, ObjectId, RoomId, UserId};
use crate::meta::Meta;
use crate::model::{History, Member, Message, Role, RoomInfo, Visibility};
use crate::notification::Trace;
use crate::position::{Seq, StreamId};

mod actions;
mod connection;
mod notifications;
mod people;
mod presence;
mod resolve;
mod tasks;

pub use actions::{ActionItem, ActionResult, Actions, ActionsDone};
pub use connection::{AuthRefresh, Hello, Ping, Pong, Refreshed, Sync, SyncStarted, Welcome};
pub use notifications::{
    DeadJobs, NotificationAcknowledge, NotificationList, NotificationPrefer, NotificationPreferences,
    NotificationQuiet, NotificationRead, NotificationTrace, Notifications, Notify, OutboxDead, OutboxReplay,
    Preferences, ProfileSet, Recipients, Replayed, RoomLevel,
};
pub use people::{
    AuditEntries, AuditList, Bans, RoomBan, RoomBans, RoomKick, RoomMute, RoomUnban, RoomUnmute, SessionList,
    SessionRevoke, Sessions, UserRevoke,
};
pub use presence::{PresenceGet, PresenceSet, PresenceWatch, RoomPresence, Watched};
pub use resolve::{Candidate, Phrase, Resolution, Resolve, Resolved, What};
pub use tasks::{
    Comments, Due, TaskAssign, TaskComment, TaskCommentList, TaskCreate, TaskDelete, TaskDepend, TaskDetail,
    TaskFollow, TaskGet, TaskList, TaskMove, TaskOrder, TaskOutcome, TaskSummary, TaskSummaryGet, TaskUpdate,
    TaskWorkload, Tasks,
};

/// The id of an ephemeral command (`typing`, `signal`) that wants no answer when it is taken. A refusal is answered all the
/// same, and so is every other command with this id.
pub const UNANSWERED_ID: u64 = 0;

/// A command with the number by which its reply is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    pub id: u64,
    pub command: Command,
}

/// Defines [`Command`] and [`Reply`] with their one table of wire names and kind numbers.
macro_rules! commands {
    ($($kind:literal $wire:literal $variant:ident($params:ty) -> $reply:ty;)*) => {
        /// Every command, as JSON sees it: `{"room.join": {…}}`.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Command { $(#[serde(rename = $wire)] $variant($params),)* }

        /// The answer to a command, under the command's own name.
        #[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
        pub enum Reply { $(#[serde(rename = $wire)] $variant($reply),)* }

        impl Command {
            /// Every kind number with its wire name.
            pub const KINDS: &'static [(u16, &'static str)] = &[$(($kind, $wire)),*];

            /// Number of this command in binary frames. Released numbers never change.
            #[must_use]
            pub fn kind(&self) -> u16 {
                match self { $(Self::$variant(_) => $kind,)* }
            }

            /// Name of this command in JSON, documents, metrics and logs.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => $wire,)* }
            }

            pub(crate) fn write_postcard(&self, out: Vec<u8>) -> postcard::Result<Vec<u8>> {
                match self { $(Self::$variant(params) => postcard::to_extend(params, out),)* }
            }

            /// Reads the parameters of a known kind; `None` for a kind that this version does not know.
            pub(crate) fn read_postcard(kind: u16, bytes: &[u8]) -> Option<postcard::Result<(Self, &[u8])>> {
                match kind {
                    $($kind => Some(crate::codec::take::<$params>(bytes).map(|(params, rest)| (Self::$variant(params), rest))),)*
                    _ => None,
                }
            }
        }

        impl Reply {
            /// Number of the command that this answers.
            #[must_use]
            pub fn kind(&self) -> u16 {
                match self { $(Self::$variant(_) => $kind,)* }
            }

            pub(crate) fn write_postcard(&self, out: Vec<u8>) -> postcard::Result<Vec<u8>> {
                match self { $(Self::$variant(reply) => postcard::to_extend(reply, out),)* }
            }

            /// Reads the reply of a known kind; `None` for a kind that this version does not know.
            pub(crate) fn read_postcard(kind: u16, bytes: &[u8]) -> Option<postcard::Result<(Self, &[u8])>> {
                match kind {
                    $($kind => Some(crate::codec::take::<$reply>(bytes).map(|(reply, rest)| (Self::$variant(reply), rest))),)*
                    _ => None,
                }
            }
        }
    };
}

commands! {
    1 "hello" Hello(Hello) -> Welcome;
    2 "sync" Sync(Sync) -> SyncStarted;
    3 "ping" Ping(Ping) -> Pong;
    4 "auth.refresh" AuthRefresh(AuthRefresh) -> Refreshed;
    10 "room.create" RoomCreate(RoomCreate) -> Committed;
    11 "room.update" RoomUpdate(RoomUpdate) -> Committed;
    12 "room.archive" RoomArchive(RoomArchive) -> Committed;
    13 "room.join" RoomJoin(RoomJoin) -> Committed;
    14 "room.leave" RoomLeave(RoomLeave) -> Committed;
    15 "room.invite" RoomInvite(RoomInvite) -> Committed;
    16 "room.remove" RoomRemove(RoomRemove) -> Committed;
    17 "room.list" RoomList(RoomList) -> Rooms;
    18 "room.members" RoomMembers(RoomMembers) -> Members;
    19 "direct.open" DirectOpen(DirectOpen) -> Committed;
    30 "message.send" MessageSend(MessageSend) -> Committed;
    31 "message.edit" MessageEdit(MessageEdit) -> Committed;
    32 "message.delete" MessageDelete(MessageDelete) -> Committed;
    33 "message.react" MessageReact(MessageReact) -> Committed;
    34 "message.history" MessageHistory(MessageHistory) -> HistoryPage;
    40 "read.mark" ReadMark(ReadMark) -> Marked;
    50 "typing" Typing(Typing) -> Done;
    51 "signal" Signal(Signal) -> Done;
    5 "session.list" SessionList(SessionList) -> Sessions;
    6 "session.revoke" SessionRevoke(SessionRevoke) -> Committed;
    7 "user.revoke" UserRevoke(UserRevoke) -> Committed;
    20 "room.kick" RoomKick(RoomKick) -> Committed;
    21 "room.ban" RoomBan(RoomBan) -> Committed;
    22 "room.unban" RoomUnban(RoomUnban) -> Committed;
    23 "room.mute" RoomMute(RoomMute) -> Committed;
    24 "room.unmute" RoomUnmute(RoomUnmute) -> Committed;
    25 "room.bans" RoomBans(RoomBans) -> Bans;
    52 "presence.set" PresenceSet(PresenceSet) -> Done;
    53 "presence.get" PresenceGet(PresenceGet) -> RoomPresence;
    54 "presence.watch" PresenceWatch(PresenceWatch) -> Watched;
    60 "audit.list" AuditList(AuditList) -> AuditEntries;
    70 "task.create" TaskCreate(TaskCreate) -> Committed;
    71 "task.update" TaskUpdate(TaskUpdate) -> TaskOutcome;
    72 "task.move" TaskMove(TaskMove) -> TaskOutcome;
    73 "task.assign" TaskAssign(TaskAssign) -> TaskOutcome;
    74 "task.depend" TaskDepend(TaskDepend) -> TaskOutcome;
    75 "task.delete" TaskDelete(TaskDelete) -> TaskOutcome;
    76 "task.comment" TaskComment(TaskComment) -> Committed;
    77 "task.follow" TaskFollow(TaskFollow) -> Committed;
    78 "task.get" TaskGet(TaskGet) -> TaskDetail;
    79 "task.comments" TaskCommentList(TaskCommentList) -> Comments;
    80 "task.list" TaskList(TaskList) -> Tasks;
    81 "task.summary" TaskSummaryGet(TaskSummaryGet) -> TaskSummary;
    90 "notification.list" NotificationList(NotificationList) -> Notifications;
    91 "notification.read" NotificationRead(NotificationRead) -> Committed;
    92 "notification.acknowledge" NotificationAcknowledge(NotificationAcknowledge) -> Committed;
    93 "notification.preferences" NotificationPreferences(NotificationPreferences) -> Preferences;
    94 "notification.prefer" NotificationPrefer(NotificationPrefer) -> Committed;
    95 "notification.quiet" NotificationQuiet(NotificationQuiet) -> Committed;
    96 "notification.trace" NotificationTrace(NotificationTrace) -> Trace;
    97 "notify" Notify(Notify) -> Committed;
    98 "profile.set" ProfileSet(ProfileSet) -> Committed;
    99 "outbox.dead" OutboxDead(OutboxDead) -> DeadJobs;
    100 "outbox.replay" OutboxReplay(OutboxReplay) -> Replayed;
    110 "actions" Actions(Actions) -> ActionsDone;
    111 "resolve" Resolve(Resolve) -> Resolved;
}

/// A durable change was committed: this is the acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    pub stream: StreamId,
    pub epoch: Epoch,
    /// Number of its (last) event in the stream. It does not move the client's position.
    pub seq: Seq,
    pub at_ms: u64,
    /// The message, task or comment that it is about.
    pub id: Option<ObjectId>,
    /// The same nonce had been committed before; this is the first result again.
    pub repeated: bool,
}

/// Makes a channel; the creator becomes its owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomCreate {
    pub nonce: Nonce,
    pub room: RoomId,
    pub visibility: Visibility,
    /// Without it: `all` for public rooms, `since_join` for private ones.
    #[serde(default)]
    pub history: Option<History>,
    #[serde(default)]
    pub name: Option<String>,
}

/// Changes what is given, leaves the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomUpdate {
    pub nonce: Nonce,
    pub room: RoomId,
    #[serde(default)]
    pub name: Option<String>,
    #[serde(default)]
    pub visibility: Option<Visibility>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomArchive {
    pub nonce: Nonce,
    pub room: RoomId,
}

/// Joins a public room. Joining again changes nothing and answers with the first joining.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomJoin {
    pub nonce: Nonce,
    pub room: RoomId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomLeave {
    pub nonce: Nonce,
    pub room: RoomId,
}

/// Makes someone a member, or changes a member's role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomInvite {
    pub nonce: Nonce,
    pub room: RoomId,
    pub user: UserId,
    pub role: Role,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomRemove {
    pub nonce: Nonce,
    pub room: RoomId,
    pub user: UserId,
}

/// Which rooms to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RoomScope {
    /// Those that the asker is a member of.
    Mine,
    /// Public channels that are not archived.
    Public,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomList {
    pub scope: RoomScope,
    /// `next` of the page before.
    #[serde(default)]
    pub cursor: Option<String>,
    /// 1 to 100; without it 50.
    #[serde(default)]
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rooms {
    pub rooms: Vec<RoomInfo>,
    pub next: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomMembers {
    pub room: RoomId,
    #[serde(default)]
    pub cursor: Option<String>,
    /// 1 to 100; without it 50.
    #[serde(default)]
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Members {
    pub members: Vec<Member>,
    pub next: Option<String>,
}

/// Opens the direct room with someone; always the same room for the same two people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectOpen {
    pub nonce: Nonce,
    pub user: UserId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageSend {
    pub nonce: Nonce,
    pub room: RoomId,
    /// Chosen by the client, or by the server when left out.
    #[serde(default)]
    pub id: Option<MessageId>,
    /// 1 byte to 16 KiB.
    pub text: String,
    #[serde(default)]
    pub reply_to: Option<MessageId>,
    /// At most 50.
    #[serde(default)]
    pub mentions: Vec<UserId>,
    #[serde(default)]
    pub meta: Option<Meta>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageEdit {
    pub nonce: Nonce,
    pub room: RoomId,
    pub id: MessageId,
    pub text: String,
    #[serde(default)]
    pub mentions: Vec<UserId>,
    #[serde(default)]
    pub meta: Option<Meta>,
    /// The version that the edit was made on; a newer one in the store refuses it. Without it: whatever is there.
    #[serde(default)]
    pub version: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageDelete {
    pub nonce: Nonce,
    pub room: RoomId,
    pub id: MessageId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageReact {
    pub nonce: Nonce,
    pub room: RoomId,
    pub id: MessageId,
    /// 1 to 32 bytes, no control characters.
    pub emoji: String,
    /// Takes the emoji away again.
    #[serde(default)]
    pub remove: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Older,
    Newer,
}

/// Messages of a room, page by page, either way. Moves no position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageHistory {
    pub room: RoomId,
    pub direction: Direction,
    /// `older` or `newer` of a page. Without it: from the newest (older) or the oldest (newer) message on.
    #[serde(default)]
    pub cursor: Option<String>,
    /// 1 to 100; without it 50.
    #[serde(default)]
    pub limit: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryPage {
    /// Ascending by `seq`, whatever the direction.
    pub messages: Vec<Message>,
    /// Continues before the first message; null when nothing older may be seen.
    pub older: Option<String>,
    /// Continues after the last message; null when there is nothing newer yet.
    pub newer: Option<String>,
}

/// Everything up to `seq` was read. Only moves forward.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadMark {
    pub room: RoomId,
    pub seq: Seq,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marked {
    pub read_seq: Seq,
    pub unread: u64,
}

/// Ephemeral: not stored, may be dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Typing {
    pub room: RoomId,
    pub active: bool,
}

/// Ephemeral data for everyone who is in the room right now: not stored, may be dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signal {
    pub room: RoomId,
    /// What it is, in the application's words: 1 to 64 visible ASCII characters.
    pub name: String,
    #[serde(default)]
    pub data: Option<Meta>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {}
