//! Errors as clients see them.

use hallway_protocol::{ErrorBody, ErrorCode};
use hallway_store::{Ending, Refusal, StoreError};

/// What a refusal of the store says to the client.
pub(super) fn refusal(refusal: Refusal) -> ErrorBody {
    let (code, message) = match refusal {
        Refusal::RoomNotFound => (ErrorCode::NotFound, "no such room, or none that you may see"),
        Refusal::NotAMember => (ErrorCode::NotAMember, "you are not a member of this room: join it first"),
        Refusal::Forbidden => (ErrorCode::Forbidden, "your role in this room does not allow it"),
        Refusal::RoomArchived => (ErrorCode::RoomArchived, "the room is archived: it can be read, not written"),
        Refusal::RoomExists => (ErrorCode::RoomExists, "a room with this id exists: choose another id, or join it"),
        Refusal::MessageNotFound => (ErrorCode::NotFound, "no such message in this room"),
        Refusal::MessageDeleted => (ErrorCode::MessageDeleted, "the message was deleted"),
        Refusal::IdTaken => {
            (ErrorCode::IdTaken, "the room has a message with this id: choose a fresh UUID of version 7")
        }
        Refusal::NonceConflict => {
            (ErrorCode::NonceConflict, "this nonce was used for another command: use a fresh nonce for a new intent")
        }
        Refusal::VersionConflict { current } => {
            let message = format!("the message has version {current} now: look at it and edit that one");
            return ErrorBody::new(ErrorCode::VersionConflict, message);
        }
        Refusal::TargetNotAMember => (ErrorCode::NotFound, "the user is not a member of this room"),
        Refusal::LastOwner => {
            (ErrorCode::LastOwner, "a channel keeps at least one owner: make another member owner first")
        }
        Refusal::TooManyRooms => (ErrorCode::LimitReached, "the user is in 1,000 rooms, which is the most"),
        Refusal::Locked | Refusal::BehindLocked => return locked(),
        Refusal::Banned(Ending { left_ms }) => {
            let message = format!("you are banned from this room {}", how_long(left_ms, "you are unbanned"));
            return ErrorBody { retry_after_ms: left_ms, ..ErrorBody::new(ErrorCode::Banned, message) };
        }
        Refusal::Muted(Ending { left_ms }) => {
            let message = format!("you are muted in this room {}", how_long(left_ms, "you are unmuted"));
            return ErrorBody { retry_after_ms: left_ms, ..ErrorBody::new(ErrorCode::Muted, message) };
        }
        Refusal::TargetBanned => (ErrorCode::Banned, "the user is banned from this room: unban them first"),
        Refusal::TaskNotFound => (ErrorCode::NotFound, "no such task in this room"),
        Refusal::TaskDeleted => (ErrorCode::TaskDeleted, "the task was deleted"),
        Refusal::TaskStale(task) => {
            let message = format!("the task has version {} now: look at it and change that one", task.version);
            return ErrorBody::new(ErrorCode::VersionConflict, message);
        }
        Refusal::IllegalMove { from } => {
            let legal: Vec<&str> = from.next().iter().map(|status| status.as_str()).collect();
            let message = format!("a task that is {} can become {}", from.as_str(), legal.join(", "));
            return ErrorBody::new(ErrorCode::IllegalMove, message);
        }
        Refusal::TaskWaits(on) => {
            let on: Vec<String> = on.iter().map(ToString::to_string).collect();
            let message = format!("the task waits on tasks that are neither done nor cancelled: {}", on.join(", "));
            return ErrorBody::new(ErrorCode::TaskWaits, message);
        }
        Refusal::TaskCycle => (ErrorCode::TaskCycle, "the task would wait on itself: leave out one of its links"),
        Refusal::TooManyComments => (ErrorCode::LimitReached, "the task has 1,000 comments, which is the most"),
        Refusal::TooManyLinks => {
            (ErrorCode::LimitReached, "a task has at most 50 assignees and waits on at most 50 tasks")
        }
        Refusal::NotificationNotFound => (ErrorCode::NotFound, "you have no such notification"),
        Refusal::TooManyReactions => (ErrorCode::LimitReached, "the message has 200 reactions, which is the most"),
    };
    ErrorBody::new(code, message)
}

fn how_long(left_ms: Option<u64>, until: &str) -> String {
    left_ms.map_or_else(|| format!("until {until}"), |left_ms| format!("for {} s more", left_ms.div_ceil(1000)))
}

/// What a failure of the store says to the client. The failure itself was logged where it was handled.
pub(super) fn store_error(error: &StoreError) -> ErrorBody {
    match error {
        StoreError::Unavailable(_) | StoreError::Unusable(_) => unavailable(),
        StoreError::OutcomeUnknown(_) => unknown(),
        StoreError::Refused(_) => {
            ErrorBody::new(ErrorCode::InvalidArgument, "the store refused this data; nothing was written")
        }
        StoreError::Corrupt(_) => {
            ErrorBody::new(ErrorCode::Internal, "the node read something that it cannot understand")
        }
    }
}

/// Nothing was handed to the store.
pub(super) fn unavailable() -> ErrorBody {
    ErrorBody::new(ErrorCode::StoreUnavailable, "the store cannot be reached; nothing was written: try again")
        .retry_after(500)
}

/// Someone else held a lock on the room for longer than a write may wait.
pub(super) fn locked() -> ErrorBody {
    ErrorBody::new(ErrorCode::StoreUnavailable, "the room is locked in the store; nothing was written: try again")
        .retry_after(500)
}

/// It was handed to the store and not answered.
pub(super) fn unknown() -> ErrorBody {
    ErrorBody::new(
        ErrorCode::OutcomeUnknown,
        "the store did not answer in time: it may have been written; repeat with the same nonce to find out",
    )
    .retry_after(500)
}

/// The scope of the token does not allow it.
pub(super) fn scope(name: &str) -> ErrorBody {
    ErrorBody::new(ErrorCode::Forbidden, format!("the token lacks the scope {name:?}"))
}
