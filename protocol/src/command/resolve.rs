//! Turns what people say into ids. Since minor 2.

use serde::{Deserialize, Serialize};

use crate::ids::{MessageId, RoomId, TaskId, UserId};

/// Resolves up to 20 phrases in one round trip, within what the asker may see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolve {
    pub phrases: Vec<Phrase>,
    /// The room that is spoken in: `here`. People in it come first.
    #[serde(default)]
    pub room: Option<RoomId>,
    /// The task that is spoken of: `this task`, `everyone on the task`.
    #[serde(default)]
    pub task: Option<TaskId>,
}

/// What somebody said: `me`, `here`, `this task`, `last message`, `everyone on the task`, a name, or the beginning of one. Case
/// does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phrase {
    /// 1 to 200 bytes.
    pub text: String,
    /// What it is the name of; without it anything.
    #[serde(default)]
    pub what: Option<What>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Person,
    Room,
    Task,
    Message,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// In the order of the phrases.
    pub resolutions: Vec<Resolution>,
}

/// What a phrase means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// This.
    One(Candidate),
    /// All of these: `everyone on the task`.
    All(Vec<Candidate>),
    /// One of these, the likeliest first; at most 10.
    Candidates(Vec<Candidate>),
    /// Nothing that the asker may see.
    Nothing,
}

/// Something with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Candidate {
    Person { user: UserId, name: Option<String> },
    Room { room: RoomId, name: Option<String> },
    Task { room: RoomId, task: TaskId, title: String },
    Message { room: RoomId, message: MessageId },
}
