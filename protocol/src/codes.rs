//! Every error code and close code in one table each, with what a client should do about it.
//!
//! `docs/protocol.md` lists the same codes; a test compares the two.

use serde::{Deserialize, Serialize};

/// Whether a refused command may have happened all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It did not happen, by this attempt.
    Definite,
    /// It may have happened. Repeat it with the same nonce to find out.
    Unknown,
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident $wire:literal $retryable:literal $outcome:ident;)*) => {
        /// What went wrong, as a stable word.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum ErrorCode { $($(#[$doc])* #[serde(rename = $wire)] $variant,)* }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The code on the wire.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $wire,)* }
            }

            /// Whether the same command may succeed later, unchanged.
            #[must_use]
            pub fn retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)* }
            }

            /// Whether the command may have happened.
            #[must_use]
            pub fn outcome(self) -> Outcome {
                match self { $(Self::$variant => Outcome::$outcome,)* }
            }
        }
    };
}

error_codes! {
    /// The frame is not what its subprotocol says: not JSON, not a request, a wrong length or version.
    BadFrame "bad_frame" false Definite;
    /// No command of this name or kind.
    UnknownCommand "unknown_command" false Definite;
    /// A parameter is missing, of the wrong type or out of its limits.
    InvalidArgument "invalid_argument" false Definite;
    /// The frame is larger than the node takes.
    TooLarge "too_large" false Definite;
    /// `hello` must come first, and only once.
    NotIdentified "not_identified" false Definite;
    /// The token is missing, malformed, wrongly signed, for someone else or expired.
    Unauthenticated "unauthenticated" false Definite;
    /// The token's scope or the member's role does not allow it.
    Forbidden "forbidden" false Definite;
    /// No such room, message, task, notification or user, or none that you may see.
    NotFound "not_found" false Definite;
    /// The room can be seen but only members may do this: join first.
    NotAMember "not_a_member" false Definite;
    /// The room id is taken.
    RoomExists "room_exists" false Definite;
    /// The room was archived: it can be read, not written.
    RoomArchived "room_archived" false Definite;
    /// The id of the message, task or comment is taken.
    IdTaken "id_taken" false Definite;
    /// The nonce was used before with another body.
    NonceConflict "nonce_conflict" false Definite;
    /// The message has changed since the version that was given.
    VersionConflict "version_conflict" false Definite;
    /// The message was deleted.
    MessageDeleted "message_deleted" false Definite;
    /// A channel keeps at least one owner.
    LastOwner "last_owner" false Definite;
    /// A named limit is reached (rooms per user, reactions per message, comments per task, …).
    LimitReached "limit_reached" false Definite;
    /// Too fast. Wait `retry_after_ms`.
    RateLimited "rate_limited" true Definite;
    /// The node has too much to do; nothing was handed to the store.
    Overloaded "overloaded" true Definite;
    /// The store cannot be reached; nothing was handed to it.
    StoreUnavailable "store_unavailable" true Definite;
    /// The store did not answer in time: the command may have been carried out.
    OutcomeUnknown "outcome_unknown" true Unknown;
    /// The node is stopping. Reconnect and repeat.
    ShuttingDown "shutting_down" true Definite;
    /// A fault of the node; repeat with the same nonce.
    Internal "internal" true Unknown;
    /// They are banned from the room, for `retry_after_ms` more or until they are let in again. (Minor 1.)
    Banned "banned" false Definite;
    /// The member is muted in the room, for `retry_after_ms` more or until they are let speak again. (Minor 1.)
    Muted "muted" false Definite;
    /// The task was deleted. (Minor 2.)
    TaskDeleted "task_deleted" false Definite;
    /// A task cannot go from its status to that one; the message names those that it can go to. (Minor 2.)
    IllegalMove "illegal_move" false Definite;
    /// The task cannot be done while those that it waits on are open; the message names them. (Minor 2.)
    TaskWaits "task_waits" false Definite;
    /// The task would wait on itself. (Minor 2.)
    TaskCycle "task_cycle" false Definite;
}

impl ErrorCode {
    /// The code that says this to a client of that minor: the released encodings cannot skip a code they do not know.
    #[must_use]
    pub fn for_minor(self, minor: u16) -> Self {
        match self {
            Self::Banned | Self::Muted if minor < 1 => Self::Forbidden,
            // They answer commands of that minor only; an older client has no way to them.
            Self::TaskDeleted | Self::IllegalMove | Self::TaskWaits | Self::TaskCycle if minor < 2 => Self::Forbidden,
            code => code,
        }
    }
}

/// An error as the client sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    pub code: ErrorCode,
    /// For people: what was wrong and what to do.
    pub message: String,
    pub retryable: bool,
    pub outcome: Outcome,
    pub retry_after_ms: Option<u64>,
}

impl ErrorBody {
    /// An error with the table's advice for its code.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retryable: code.retryable(),
            outcome: code.outcome(),
            retry_after_ms: None,
        }
    }

    /// The same error in codes that a client of that minor knows. Of a definite error only.
    #[must_use]
    pub fn for_minor(mut self, minor: u16) -> Self {
        self.code = self.code.for_minor(minor);
        self
    }

    /// The same error with a time to wait.
    #[must_use]
    pub fn retry_after(mut self, milliseconds: u64) -> Self {
        self.retry_after_ms = Some(milliseconds);
        self
    }
}

macro_rules! close_codes {
    ($($(#[$doc:meta])* $variant:ident $code:literal $reason:literal;)*) => {
        /// Why a connection ends. Reconnect after 1001, 3000–3499 and 4000–4499; do not after 3500–3999 and 4500–4999.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum CloseCode { $($(#[$doc])* $variant,)* }

        impl CloseCode {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The number in the close frame.
            #[must_use]
            pub fn code(self) -> u16 {
                match self { $(Self::$variant => $code,)* }
            }

            /// The reason in the close frame: a stable word.
            #[must_use]
            pub fn reason(self) -> &'static str {
                match self { $(Self::$variant => $reason,)* }
            }
        }
    };
}

close_codes! {
    /// The client said goodbye.
    Normal 1000 "normal";
    /// Broken WebSocket framing.
    ProtocolError 1002 "protocol_error";
    /// A kind of frame that the subprotocol does not have (binary for JSON, text for postcard).
    UnsupportedData 1003 "unsupported_data";
    /// A text frame that is not UTF-8.
    InvalidUtf8 1007 "invalid_utf8";
    /// A message larger than the node takes.
    TooLarge 1009 "too_large";
    /// The node is stopping; another one is ready.
    Draining 4000 "draining";
    /// Nothing was heard from the client for too long.
    HeartbeatTimeout 4001 "heartbeat_timeout";
    /// The client took no byte for too long.
    WriteTimeout 4002 "write_timeout";
    /// The node ran out of memory for slow readers, and this one was the slowest.
    MemoryBudget 4003 "memory_budget";
    /// `hello` did not come in time.
    HelloTimeout 4004 "hello_timeout";
    /// The token expired on the live connection. Reconnect with a fresh one.
    TokenExpired 4005 "token_expired";
    /// The store cannot be reached, so nobody can be identified.
    StoreUnavailable 4006 "store_unavailable";
    /// A fault of the node.
    Internal 4007 "internal";
    /// The store began a new life (a restore): say hello again.
    EpochChanged 4008 "epoch_changed";
    /// The token was refused.
    Unauthenticated 4500 "unauthenticated";
    /// The client did not follow the protocol (no `hello`, too many bad frames).
    BadClient 4501 "bad_client";
    /// The client floods: fragments, control frames or requests far beyond the limits.
    Flood 4502 "flood";
    /// This session was revoked.
    SessionRevoked 4503 "session_revoked";
    /// The user's sessions and tokens were revoked.
    UserRevoked 4504 "user_revoked";
}

impl CloseCode {
    /// Whether the client should come back.
    #[must_use]
    pub fn reconnect(self) -> bool {
        matches!(self.code(), 1001 | 3000..=3499 | 4000..=4499)
    }
}
