//! What goes into the store and what comes out of it.

use hallway_protocol::command::Due;
use hallway_protocol::model::Member;
use hallway_protocol::notification::QuietHours;
use hallway_protocol::task::{Priority, TaskStatus};
use hallway_protocol::{
    CommentId, Epoch, Event, History, Message, MessageId, Meta, Nonce, NotificationId, ObjectId, Role, RoomId,
    RoomInfo, RoomKind, Seq, SessionId, StreamId, TaskId, UserId, Visibility,
};

use crate::{Addressed, Notice, Preference, Refusal};

/// Most writes in one batch.
pub const BATCH_MAX_WRITES: usize = 1024;
/// Most writes that are carried out together.
pub const TOGETHER_MAX_WRITES: usize = 50;
/// Most rooms that a user is a member of.
pub const USER_ROOMS_MAX: u32 = 1000;
/// Most reactions (emoji × user) under one message.
pub const REACTIONS_MAX_PER_MESSAGE: usize = 200;
/// Most events that one poll of the tail looks at. When there are more, its heads are not all of them.
pub const TAIL_MAX_ROWS: u64 = 50_000;
/// How long a nonce is remembered at least.
pub const DEDUP_WINDOW_MS: u64 = 24 * 60 * 60 * 1000;
/// Bytes of a body's hash.
pub const BODY_HASH_BYTES: usize = 16;

/// One writing command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    pub actor: UserId,
    pub nonce: Nonce,
    /// Of the command as the client sent it; tells a repeat from another command under the same nonce.
    pub body_hash: [u8; BODY_HASH_BYTES],
    pub action: Action,
}

/// What to do. Everything that a stream can hold comes from one of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The actor becomes owner. Events: `room.created`, `member.joined`.
    CreateRoom { room: RoomId, visibility: Visibility, history: History, name: Option<String> },
    /// Makes the room and both memberships if they are not there. Events when made: `room.created`, `member.joined` twice.
    /// When it is there already: no event, `seq` is the actor's `joined_seq`.
    OpenDirect { room: RoomId, other: UserId },
    /// Admins. Changes what is `Some`. Event: `room.updated`.
    UpdateRoom { room: RoomId, name: Option<String>, visibility: Option<Visibility> },
    /// Owners. Event: `room.archived`.
    ArchiveRoom { room: RoomId },
    /// Public channels. Event: `member.joined` with role member. A member already: no event, `seq` = `joined_seq`.
    Join { room: RoomId },
    /// Event: `member.removed`. The last owner cannot leave while others remain.
    Leave { room: RoomId },
    /// Admins, with a role not above their own; of a present member with another role (not above the actor's either):
    /// `member.updated`; the same role: no event. Otherwise `member.joined`. The last owner cannot be demoted.
    Invite { room: RoomId, user: UserId, role: Role },
    /// Admins, of members whose role is below theirs; owners, of anyone else. Event: `member.removed`.
    Remove { room: RoomId, user: UserId },
    /// Members. Event: `message.created`; the message counts; the actor's read marker moves to it (without an event).
    SendMessage {
        room: RoomId,
        id: MessageId,
        text: String,
        reply_to: Option<MessageId>,
        mentions: Vec<UserId>,
        meta: Option<Meta>,
    },
    /// The sender. Event: `message.edited`.
    EditMessage {
        room: RoomId,
        id: MessageId,
        text: String,
        mentions: Vec<UserId>,
        meta: Option<Meta>,
        /// Refused with `VersionConflict` when the message has another.
        version: Option<u32>,
    },
    /// The sender, or an admin. Event: `message.deleted`; text, meta, mentions and reactions are gone.
    DeleteMessage { room: RoomId, id: MessageId },
    /// Members. Event: `message.reacted`; putting what is there, or taking what is not: no event, `seq` is the head.
    React { room: RoomId, id: MessageId, emoji: String, remove: bool },
    /// As [`Action::Remove`], with a record.
    Kick { room: RoomId, user: UserId, reason: Option<String> },
    /// Admins, of anyone whose role is not theirs or above; owners, of anyone else. Nobody banned joins or is invited until
    /// then. Events: `member.banned`, and of a member `member.removed`. Banning again replaces the end and the reason.
    Ban { room: RoomId, user: UserId, until_ms: Option<u64>, reason: Option<String> },
    /// Event: `member.unbanned`. Of someone who is not banned: no event, `seq` is the head.
    Unban { room: RoomId, user: UserId },
    /// Of members, as [`Action::Remove`]. They write nothing until then, also when they leave and come back. Events:
    /// `member.muted`, `mute.changed` for the user. Muting again replaces the end and the reason.
    Mute { room: RoomId, user: UserId, until_ms: Option<u64>, reason: Option<String> },
    /// Events: `member.unmuted`, `mute.changed` for the user. Of someone who is not muted: no event, `seq` is the head.
    Unmute { room: RoomId, user: UserId },
    /// Whether the actor may is the caller's to decide. Event: `session.revoked` of the user's stream.
    RevokeSession { user: UserId, session: SessionId },
    /// Whether the actor may is the caller's to decide. Event: `user.revoked` of the user's stream; from then on `connect`
    /// says so.
    RevokeUser { user: UserId, reason: Option<String> },
    /// Members. Event: `task.created`. Assignees are members (else `TargetNotAMember`), and are notified; tasks to wait on are of
    /// the room and not deleted (else `TaskNotFound`).
    CreateTask {
        room: RoomId,
        id: TaskId,
        title: String,
        text: String,
        priority: Priority,
        due_at_ms: Option<u64>,
        assignees: Vec<UserId>,
        waits_on: Vec<TaskId>,
        meta: Option<Meta>,
    },
    /// Members. This and the other changes of a task are refused with `TaskStale` unless they name its version, make one
    /// version more, notify its followers, and are one event `task.changed`. Changes what is `Some`.
    EditTask {
        room: RoomId,
        id: TaskId,
        version: u32,
        title: Option<String>,
        text: Option<String>,
        priority: Option<Priority>,
        due: Option<Due>,
        meta: Option<Meta>,
    },
    /// Members. `IllegalMove` unless [`TaskStatus::next`] names it; to the status that it has: no event, `seq` is the head;
    /// to done while it waits on tasks that are not closed: `TaskWaits`.
    MoveTask { room: RoomId, id: TaskId, version: u32, status: TaskStatus },
    /// Members. Those to add are members of the room. New assignees are notified of it, and follow the task.
    AssignTask { room: RoomId, id: TaskId, version: u32, add: Vec<UserId>, remove: Vec<UserId> },
    /// Members. `TaskCycle` when the task would wait on itself, over whichever others.
    LinkTask { room: RoomId, id: TaskId, version: u32, add: Vec<TaskId>, remove: Vec<TaskId> },
    /// Its creator, and admins. Event: `task.deleted`. What it said, its comments' texts, assignees, followers and links go.
    DeleteTask { room: RoomId, id: TaskId, version: u32 },
    /// Members. Event: `task.commented`; the task keeps its version, and the actor follows it. Mentioned members and the
    /// other followers are notified.
    CommentTask { room: RoomId, id: TaskId, comment: CommentId, text: String, mentions: Vec<UserId> },
    /// Anyone in the room. No event: `seq` is the head.
    FollowTask { room: RoomId, id: TaskId, follow: bool },
    /// To a room: its admins, unless `may_any`; otherwise whether the actor may is the caller's to decide. Up to
    /// [`crate::RECIPIENTS_WITH_CAUSE_MAX`] recipients: a notification each; above: a fan-out job. No event of its own: `seq` is the
    /// head of the room, or of the actor's stream. Nobody is notified of what they did themselves.
    Notify { from: UserId, to: Addressed, notice: Notice, may_any: bool },
    /// The actor's. Event of the user's stream: `notification.read`; when nothing was unread: no event, `seq` is the head. What
    /// is urgent counts as acknowledged.
    ReadNotifications { user: UserId, ids: Vec<NotificationId>, up_to_seq: Option<Seq> },
    /// The actor's. Event of the user's stream: `notification.acknowledged`; a second time: no event, `seq` is the head.
    AcknowledgeNotification { user: UserId, id: NotificationId },
    /// The actor's. Event of the user's stream: `preference.changed`; of a room of which they are a member.
    Prefer { user: UserId, preference: Preference },
    /// The actor's. Event of the user's stream: `quiet.changed`.
    SetQuietHours { user: UserId, hours: Option<QuietHours> },
    /// The actor's. Event of the user's stream: `profile.changed`.
    SetProfile { user: UserId, name: Option<String> },
}

impl Action {
    /// The stream by whose event it is acknowledged.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        match self {
            Self::RevokeSession { user, .. }
            | Self::RevokeUser { user, .. }
            | Self::ReadNotifications { user, .. }
            | Self::AcknowledgeNotification { user, .. }
            | Self::Prefer { user, .. }
            | Self::SetQuietHours { user, .. }
            | Self::SetProfile { user, .. }
            | Self::Notify { from: user, to: Addressed::Users(_) | Addressed::Everyone, .. } => {
                StreamId::User(user.clone())
            }
            action => action.room().map_or(StreamId::System, |room| StreamId::Room(room.clone())),
        }
    }

    /// The room that it is about; `None` for an act on a user wherever they are.
    #[must_use]
    pub fn room(&self) -> Option<&RoomId> {
        Some(match self {
            Self::RevokeSession { .. }
            | Self::RevokeUser { .. }
            | Self::ReadNotifications { .. }
            | Self::AcknowledgeNotification { .. }
            | Self::Prefer { .. }
            | Self::SetQuietHours { .. }
            | Self::SetProfile { .. }
            | Self::Notify { to: Addressed::Users(_) | Addressed::Everyone, .. } => return None,
            Self::CreateRoom { room, .. }
            | Self::OpenDirect { room, .. }
            | Self::UpdateRoom { room, .. }
            | Self::ArchiveRoom { room }
            | Self::Join { room }
            | Self::Leave { room }
            | Self::Invite { room, .. }
            | Self::Remove { room, .. }
            | Self::SendMessage { room, .. }
            | Self::EditMessage { room, .. }
            | Self::DeleteMessage { room, .. }
            | Self::React { room, .. }
            | Self::Kick { room, .. }
            | Self::Ban { room, .. }
            | Self::Unban { room, .. }
            | Self::Mute { room, .. }
            | Self::Unmute { room, .. }
            | Self::CreateTask { room, .. }
            | Self::EditTask { room, .. }
            | Self::MoveTask { room, .. }
            | Self::AssignTask { room, .. }
            | Self::LinkTask { room, .. }
            | Self::DeleteTask { room, .. }
            | Self::CommentTask { room, .. }
            | Self::FollowTask { room, .. }
            | Self::Notify { to: Addressed::Room(room), .. } => room,
        })
    }

    /// What names its stream in a key: the room's id, or a user's behind a mark that no room id can hold.
    #[must_use]
    pub(crate) fn place(&self) -> std::borrow::Cow<'_, str> {
        match (self.room(), self.stream()) {
            (None, StreamId::User(user)) => format!("@{user}").into(),
            (room, _) => room.map_or("", RoomId::as_str).into(),
        }
    }

    /// The message that it is about.
    #[must_use]
    pub fn message(&self) -> Option<MessageId> {
        match self {
            Self::SendMessage { id, .. }
            | Self::EditMessage { id, .. }
            | Self::DeleteMessage { id, .. }
            | Self::React { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// The task that it is about.
    #[must_use]
    pub fn task(&self) -> Option<TaskId> {
        match self {
            Self::CreateTask { id, .. }
            | Self::EditTask { id, .. }
            | Self::MoveTask { id, .. }
            | Self::AssignTask { id, .. }
            | Self::LinkTask { id, .. }
            | Self::DeleteTask { id, .. }
            | Self::CommentTask { id, .. }
            | Self::FollowTask { id, .. } => Some(*id),
            _ => None,
        }
    }

    /// What its acknowledgement names: the message, the comment or the task that it is about.
    #[must_use]
    pub fn object(&self) -> Option<ObjectId> {
        match self {
            Self::CommentTask { comment, .. } => Some((*comment).into()),
            _ => self.message().map(ObjectId::from).or_else(|| self.task().map(ObjectId::from)),
        }
    }
}

/// Answers of a batch, in its order.
#[derive(Debug)]
pub struct CommitBatch {
    pub epoch: Epoch,
    pub results: Vec<Result<Committed, Refusal>>,
}

/// An accepted write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// The stream of [`Action::stream`].
    pub stream: StreamId,
    /// Its last event, or what [`Action`] says where it made none.
    pub seq: Seq,
    pub at_ms: u64,
    /// As [`Action::object`], also when the repeat named another (the server chooses ids of those that name none).
    pub id: Option<ObjectId>,
    pub repeated: bool,
    /// What was written to streams, in order; empty when repeated. Includes `membership.changed` of user streams, and
    /// `notification.created` of whom it notified.
    pub events: Vec<Event>,
    /// It left a fan-out job behind.
    pub fans_out: bool,
}

/// Answer of [`crate::Log::commit_together`].
#[derive(Debug)]
pub struct TogetherBatch {
    pub epoch: Epoch,
    /// One for each write, in order; or the first that was refused, and why: then nothing was done.
    pub result: Result<Vec<Committed>, (usize, Refusal)>,
}

/// A read marker to move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    pub user: UserId,
    pub room: RoomId,
    pub seq: Seq,
}

/// Answers of [`crate::Log::mark_read`], in order.
#[derive(Debug)]
pub struct MarkBatch {
    pub epoch: Epoch,
    pub results: Vec<Option<MarkResult>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MarkResult {
    pub read_seq: Seq,
    pub unread: u64,
    /// `read.marked` of the user's stream, when the marker moved.
    pub event: Option<Event>,
}

/// Events of `stream` with `seq > after`, at most `limit`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PageRequest {
    pub stream: StreamId,
    pub after: Seq,
    pub limit: u32,
}

/// First and last event of a stream. `first_seq` is `last_seq + 1` when none is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamHead {
    pub stream: StreamId,
    pub first_seq: Seq,
    pub last_seq: Seq,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadBatch {
    pub epoch: Epoch,
    /// In the order asked for.
    pub heads: Vec<StreamHead>,
}

/// One stream's events. Complete when its last event is `head.last_seq`. A page that does not begin at `after + 1`, or is
/// empty below the head, is a reset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub head: StreamHead,
    pub after: Seq,
    pub events: Vec<Event>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageBatch {
    pub epoch: Epoch,
    /// In the order asked for.
    pub pages: Vec<Page>,
}

/// Where the tail of the store was read to. Opaque; begin with [`TailCursor::default`], which starts at now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TailCursor(pub Option<u64>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tail {
    pub epoch: Epoch,
    pub next: TailCursor,
    /// Streams with events since the cursor, and the greatest seq among those. Not all of them when `rows` is above
    /// [`TAIL_MAX_ROWS`].
    pub heads: Vec<(StreamId, Seq)>,
    /// Events since the cursor that were looked at: at most [`TAIL_MAX_ROWS`] and one.
    pub rows: u64,
}

/// A room and the asker's membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomView {
    pub info: RoomInfo,
    pub member: Option<Member>,
}

/// Which rooms to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomQuery {
    /// The asker's own, or all public channels that are not archived.
    pub mine: bool,
    /// Ids greater than this.
    pub after: Option<RoomId>,
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomsPage {
    pub rooms: Vec<RoomInfo>,
    pub more: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberQuery {
    pub room: RoomId,
    pub after: Option<UserId>,
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembersPage {
    pub members: Vec<Member>,
    pub more: bool,
}

/// Where a history page begins; both exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HistoryFrom {
    /// Messages with `seq` below; `None`: from the newest.
    Before(Option<Seq>),
    /// Messages with `seq` above; `None`: from the oldest.
    After(Option<Seq>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryQuery {
    pub room: RoomId,
    pub from: HistoryFrom,
    pub limit: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagesPage {
    /// Ascending by `seq`.
    pub messages: Vec<Message>,
    /// There are visible messages before the first.
    pub older: bool,
    /// There are messages after the last.
    pub newer: bool,
}

/// Answers of [`crate::Rooms::audiences`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudienceBatch {
    pub epoch: Epoch,
    /// In the order asked for.
    pub audiences: Vec<Audience>,
}

/// Whom a room concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audience {
    pub room: RoomId,
    /// Its head; 0 when there is no such room.
    pub last_seq: Seq,
    /// How many members it has; counted up to one beyond what was asked for.
    pub members: u32,
    /// All of them in the order of their ids; none when they are too many.
    pub people: Vec<UserId>,
}

/// What a store does so that a commit survives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durability {
    /// Name and value of each setting that matters, for the log.
    pub settings: Vec<(String, String)>,
    /// Settings that make an acknowledgement worthless, each with what to do.
    pub unsafe_settings: Vec<String>,
    /// Settings that are worth a warning.
    pub warnings: Vec<String>,
}

impl Durability {
    /// Whether an acknowledgement means anything.
    #[must_use]
    pub fn safe(&self) -> bool {
        self.unsafe_settings.is_empty()
    }
}

/// Kind of the room that an id names.
#[must_use]
pub fn kind_of(room: &RoomId) -> RoomKind {
    if room.is_direct() { RoomKind::Direct } else { RoomKind::Channel }
}
