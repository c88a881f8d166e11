//! Why the store did not do it.

use hallway_protocol::TaskId;
use hallway_protocol::ids::InvalidId;
use hallway_protocol::task::{Task, TaskStatus};

use crate::Ending;

/// One write was refused; the rest of its batch was not. Always definite.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The room does not exist, or is private and the actor is no member.
    #[error("no such room")]
    RoomNotFound,
    /// The room is public, but only members may do this.
    #[error("not a member of the room")]
    NotAMember,
    /// The member's role does not allow it, or the room's kind does not have it.
    #[error("the role does not allow it")]
    Forbidden,
    #[error("the room is archived")]
    RoomArchived,
    #[error("the room id is taken")]
    RoomExists,
    #[error("no such message")]
    MessageNotFound,
    #[error("the message was deleted")]
    MessageDeleted,
    #[error("the message id is taken")]
    IdTaken,
    #[error("the nonce was used with another body")]
    NonceConflict,
    /// The message has this version now.
    #[error("the message has version {current} now")]
    VersionConflict { current: u32 },
    #[error("the user to act on is not a member")]
    TargetNotAMember,
    #[error("a channel keeps at least one owner")]
    LastOwner,
    /// A user is a member of [`crate::USER_ROOMS_MAX`] rooms.
    #[error("the user is in too many rooms")]
    TooManyRooms,
    /// A message has [`crate::REACTIONS_MAX_PER_MESSAGE`] reactions.
    #[error("the message has too many reactions")]
    TooManyReactions,
    /// Someone else held a lock on the room for longer than the store waits. The same write may succeed later.
    #[error("the room is locked by someone else")]
    Locked,
    /// It was left out because of another's lock, behind an earlier write of the same actor. The same write may succeed later.
    #[error("it comes behind a write whose room is locked")]
    BehindLocked,
    /// The actor may not come (back).
    #[error("banned from the room")]
    Banned(Ending),
    /// The actor is a member who may write nothing.
    #[error("muted in the room")]
    Muted(Ending),
    #[error("the user to act on is banned from the room")]
    TargetBanned,
    #[error("no such task")]
    TaskNotFound,
    #[error("the task was deleted")]
    TaskDeleted,
    /// The task has changed since the version that was given. This is the task now.
    #[error("the task has version {} now", .0.version)]
    TaskStale(Box<Task>),
    /// [`TaskStatus::next`] of `from` does not name it.
    #[error("a task does not go from {} to that status", from.as_str())]
    IllegalMove { from: TaskStatus },
    /// Those that it waits on and that are neither done nor cancelled, in the order of their ids.
    #[error("the task waits on others")]
    TaskWaits(Vec<TaskId>),
    #[error("the task would wait on itself")]
    TaskCycle,
    /// A task has [`crate::COMMENTS_MAX_PER_TASK`] comments.
    #[error("the task has too many comments")]
    TooManyComments,
    /// A task has 50 assignees, or waits on 50 tasks.
    #[error("the task has too many assignees or waits on too many tasks")]
    TooManyLinks,
    #[error("no such notification")]
    NotificationNotFound,
}

/// The store could not answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was handed over, or nothing was changed: definite.
    #[error("the store cannot be reached: {0}")]
    Unavailable(#[source] Cause),
    /// It was handed over and not answered: it may have been carried out.
    #[error("the store did not answer; the outcome is unknown: {0}")]
    OutcomeUnknown(#[source] Cause),
    /// The store refused the data of the statement as a whole; nothing was changed.
    #[error("the store refused the statement: {0}")]
    Refused(#[source] Cause),
    /// What was read back is not what this version writes.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
    /// The store cannot be opened as it is; says what to do.
    #[error("{0}")]
    Unusable(String),
}

/// What a driver said.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

impl From<InvalidId> for StoreError {
    fn from(error: InvalidId) -> Self {
        Self::Corrupt(error.to_string())
    }
}
