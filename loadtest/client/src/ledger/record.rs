//! What is written down. Streams, users and epochs are numbers here: a run holds millions of these.

use hallway_protocol::Seq;
use hallway_protocol::frame::ResetReason;
use hallway_protocol::task::TaskStatus;

/// What an event was, as far as the invariants ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EventKind {
    Created,
    Edited,
    Deleted,
    Joined,
    Removed,
    Other,
}

/// An event as a client received it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received {
    pub session: u32,
    pub stream: u32,
    pub epoch: u32,
    /// The sender, or whose membership it is.
    pub user: u32,
    pub seq: Seq,
    pub id: u128,
    pub checksum: u64,
    pub version: u32,
    pub kind: EventKind,
    /// The client's positions told it to drop this one.
    pub repeat: bool,
}

/// One line of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Record {
    /// A message is about to be sent for the first time.
    Invoke {
        publish: u32,
        at_ns: u64,
        stream: u32,
        sender: u32,
        id: u128,
        checksum: u64,
    },
    /// The same, again.
    Retry {
        publish: u32,
    },
    Ok {
        publish: u32,
        at_ns: u64,
        epoch: u32,
        seq: Seq,
    },
    /// A definite refusal of one attempt.
    Fail {
        publish: u32,
    },
    Unknown {
        publish: u32,
    },
    Member {
        stream: u32,
        user: u32,
        joined: bool,
        seq: Seq,
    },
    /// A session begins. `node`: a final read from this node. `limited`: the client gave a limit of its own.
    Open {
        session: u32,
        user: u32,
        node: Option<u32>,
        limited: bool,
    },
    /// The session has a connection (again).
    Connected {
        session: u32,
    },
    /// What the session holds of the streams that it held and that are not named by a [`Record::Follows`] of the same
    /// connection is no longer its own: the memberships ended while it was away.
    Welcomed {
        session: u32,
    },
    /// The room is one of the session's, as the node said when it connected.
    Follows {
        session: u32,
        stream: u32,
    },
    /// The session begins with this position.
    Position {
        session: u32,
        stream: u32,
        epoch: u32,
        seq: Seq,
    },
    Receive(Received),
    Reset {
        session: u32,
        stream: u32,
        epoch: u32,
        seq: Seq,
        reason: ResetReason,
        before: Option<(u32, Seq)>,
    },
    /// A `sync_end` named this position.
    Synced {
        session: u32,
        stream: u32,
        epoch: u32,
        seq: Seq,
    },
    /// The session had every chance to read to the end.
    Done {
        session: u32,
    },
    /// A change of a task was committed: made on this version, by the event at `seq`. `moved`: to which status.
    TaskCommitted {
        stream: u32,
        task: u128,
        base: u32,
        moved: Option<TaskStatus>,
        seq: Seq,
    },
    /// A change of a task whose outcome nobody knows.
    TaskUnknown {
        task: u128,
    },
    /// The session saw a task, as it was then.
    TaskSeen {
        session: u32,
        task: u128,
        version: u32,
        status: TaskStatus,
    },
    /// Somebody is to be notified, once, of what has this key.
    Owed {
        user: u32,
        key: u64,
    },
    /// A session was notified of what has this key. `repeat` as in [`Received`].
    Notified {
        session: u32,
        notification: u128,
        key: u64,
        repeat: bool,
    },
    /// What the node says of a user's unread notifications, and how many there must be.
    Unread {
        user: u32,
        told: u64,
        counted: u64,
    },
}
