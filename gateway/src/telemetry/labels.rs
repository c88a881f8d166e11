//! Which values a label can take: fixed sets, so that the number of time series is bounded.

use hallway_protocol::frame::ResetReason;
use hallway_protocol::notification::NotificationKind;
use hallway_protocol::{CloseCode, Command, ErrorCode};

/// One value of a label.
pub trait Label: Copy {
    /// Name of the label.
    const NAME: &'static str;

    /// Every value, in the order of [`Label::index`].
    fn values() -> Vec<&'static str>;

    /// Place of this value among all.
    fn index(self) -> usize;
}

impl Label for ErrorCode {
    const NAME: &'static str = "code";

    fn values() -> Vec<&'static str> {
        Self::ALL.iter().map(|code| code.as_str()).collect()
    }

    fn index(self) -> usize {
        self as usize
    }
}

impl Label for ResetReason {
    const NAME: &'static str = "reason";

    fn values() -> Vec<&'static str> {
        // In the order of declaration; the match in `index` fails to compile when one is added.
        vec!["new", "limit", "epoch", "trimmed", "joined", "ahead"]
    }

    fn index(self) -> usize {
        match self {
            Self::New => 0,
            Self::Limit => 1,
            Self::Epoch => 2,
            Self::Trimmed => 3,
            Self::Joined => 4,
            Self::Ahead => 5,
        }
    }
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The node closed it with this code.
    Code(CloseCode),
    /// The client sent a close frame.
    Client,
    /// The line was cut without a close frame.
    Lost,
}

impl From<CloseCode> for CloseReason {
    fn from(code: CloseCode) -> Self {
        Self::Code(code)
    }
}

impl Label for CloseReason {
    const NAME: &'static str = "reason";

    fn values() -> Vec<&'static str> {
        CloseCode::ALL.iter().map(|code| code.reason()).chain(["client", "lost"]).collect()
    }

    fn index(self) -> usize {
        match self {
            Self::Code(code) => code as usize,
            Self::Client => CloseCode::ALL.len(),
            Self::Lost => CloseCode::ALL.len() + 1,
        }
    }
}

/// Defines a label of our own with its words.
macro_rules! label {
    ($(#[$doc:meta])* $name:ident $label:literal { $($(#[$vdoc:meta])* $variant:ident $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl Label for $name {
            const NAME: &'static str = $label;

            fn values() -> Vec<&'static str> {
                vec![$($word),*]
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

label! {
    /// Why a connection was turned away before or at the upgrade.
    RefusedReason "reason" {
        /// `limits.connections_max`: 503.
        Full "full",
        /// `limits.unidentified_max`: 503.
        Unidentified "unidentified",
        /// The node is stopping: 503.
        Draining "draining",
        /// The Origin is not allowed: 403.
        Origin "origin",
        /// The token in the `Authorization` header was refused: 401.
        Token "token",
        /// No known subprotocol among those offered: 400.
        Subprotocol "subprotocol",
        /// No WebSocket upgrade of version 13, or a broken one: 400.
        BadRequest "bad_request",
        /// The process has no file left for it.
        Files "files",
        /// More come than the store can take: 503.
        Busy "busy",
    }
}

label! {
    /// Why a stream's sequencer had to read the store.
    GapCause "cause" {
        /// An event came before one that did not.
        Event "event",
        /// A snapshot, an attach or another node knew a later head.
        Head "head",
        /// The store's tail knew a later head: nobody had told this node.
        Tail "tail",
    }
}

label! {
    /// Which way something takes between nodes.
    BusPath "path" {
        /// To the inbox of one node.
        Direct "direct",
        /// To those who follow a large room.
        Room "room",
        /// To every node.
        All "all",
    }
}

label! {
    /// Why something from the bus was not taken.
    BusRefused "reason" {
        /// It is no envelope.
        Malformed "malformed",
        /// It is larger than an envelope may be.
        TooLarge "too_large",
        /// It is an envelope of another major version.
        Version "version",
        /// It is not sealed with the cluster's secret, or was changed.
        Signature "signature",
        /// It was heard before.
        Replayed "replayed",
        /// A part of it cannot be read.
        Frame "frame",
        /// It belongs to another life of the store.
        Epoch "epoch",
    }
}

label! {
    /// How a drain took leave of a connection.
    DrainOutcome "outcome" {
        /// Its client was told, and it was closed in time.
        Clean "clean",
        /// Its client did not take the goodbye, or the deadline came first.
        Forced "forced",
    }
}

label! {
    /// What an attempt to deliver a webhook came to.
    WebhookOutcome "outcome" {
        /// The target took it.
        Delivered "delivered",
        /// It is tried again.
        Failed "failed",
        /// It was given up: the last attempt, or nothing that a repetition could change.
        Dead "dead",
    }
}

label! {
    /// What became of a notification that was looked at for the application.
    HandOutLabel "fate" {
        /// It is in a webhook.
        HandedOut "handed_out",
        /// There was no need.
        Settled "settled",
        /// It is looked at again later.
        Again "again",
    }
}

label! {
    /// Work that waits in the store and that nobody asks for.
    WorkLabel "work" {
        /// Notifications of many people.
        FanOut "fan_out",
        /// Due times of tasks that have come.
        Due "due",
    }
}

impl WorkLabel {
    /// Its word, for logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::values()[self.index()]
    }
}

/// The kind of a notification; those of a later version are one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotificationLabel(usize);

impl From<&NotificationKind> for NotificationLabel {
    fn from(kind: &NotificationKind) -> Self {
        let known = NotificationKind::KNOWN;
        Self(known.iter().position(|known| known == kind).unwrap_or(known.len()))
    }
}

impl Label for NotificationLabel {
    const NAME: &'static str = "kind";

    fn values() -> Vec<&'static str> {
        NotificationKind::KNOWN.iter().map(NotificationKind::as_str).chain(["other"]).collect()
    }

    fn index(self) -> usize {
        self.0
    }
}

/// A command by its place in the protocol's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandLabel(usize);

impl From<&Command> for CommandLabel {
    fn from(command: &Command) -> Self {
        let kind = command.kind();
        // The table holds every kind of the enum: both come from one macro.
        Self(Command::KINDS.iter().position(|(number, _)| *number == kind).unwrap_or_default())
    }
}

impl Label for CommandLabel {
    const NAME: &'static str = "command";

    fn values() -> Vec<&'static str> {
        Command::KINDS.iter().map(|(_, name)| *name).collect()
    }

    fn index(self) -> usize {
        self.0
    }
}
