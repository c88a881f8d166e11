//! Several actions in one frame. Since minor 2.

use serde::{Deserialize, Serialize};

use super::{
    Command, Committed, DirectOpen, MessageDelete, MessageEdit, MessageReact, MessageSend, Notify, RoomCreate,
    RoomInvite, TaskAssign, TaskComment, TaskCreate, TaskDelete, TaskDepend, TaskFollow, TaskMove, TaskUpdate,
};
use crate::codes::ErrorBody;
use crate::task::Task;

/// Up to 50 actions, carried out in their order. A later one may name what an earlier one makes, by an id that the client chose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actions {
    /// All of them or none, in one transaction. Otherwise each by itself: one that is refused keeps none of the others back.
    pub atomic: bool,
    pub actions: Vec<ActionItem>,
}

/// One of several actions: a command under its own name. Each carries its own nonce, so the whole can be repeated. An enum of its
/// own, since postcard has no recursion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActionItem {
    #[serde(rename = "message.send")]
    MessageSend(MessageSend),
    #[serde(rename = "message.edit")]
    MessageEdit(MessageEdit),
    #[serde(rename = "message.delete")]
    MessageDelete(MessageDelete),
    #[serde(rename = "message.react")]
    MessageReact(MessageReact),
    #[serde(rename = "task.create")]
    TaskCreate(TaskCreate),
    #[serde(rename = "task.update")]
    TaskUpdate(TaskUpdate),
    #[serde(rename = "task.move")]
    TaskMove(TaskMove),
    #[serde(rename = "task.assign")]
    TaskAssign(TaskAssign),
    #[serde(rename = "task.depend")]
    TaskDepend(TaskDepend),
    #[serde(rename = "task.delete")]
    TaskDelete(TaskDelete),
    #[serde(rename = "task.comment")]
    TaskComment(TaskComment),
    #[serde(rename = "task.follow")]
    TaskFollow(TaskFollow),
    #[serde(rename = "room.create")]
    RoomCreate(RoomCreate),
    #[serde(rename = "room.invite")]
    RoomInvite(RoomInvite),
    #[serde(rename = "direct.open")]
    DirectOpen(DirectOpen),
    #[serde(rename = "notify")]
    Notify(Notify),
}

/// One result for each action, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionsDone {
    pub results: Vec<ActionResult>,
}

/// What became of one of several actions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionResult {
    Committed(Committed),
    /// The task has changed since the version that was given: this is the task now.
    Stale(Task),
    Failed(ErrorBody),
    /// It was not done because another one of an atomic whole failed.
    Skipped,
}

impl From<ActionItem> for Command {
    /// The same as a command of its own.
    fn from(item: ActionItem) -> Self {
        match item {
            ActionItem::MessageSend(item) => Self::MessageSend(item),
            ActionItem::MessageEdit(item) => Self::MessageEdit(item),
            ActionItem::MessageDelete(item) => Self::MessageDelete(item),
            ActionItem::MessageReact(item) => Self::MessageReact(item),
            ActionItem::TaskCreate(item) => Self::TaskCreate(item),
            ActionItem::TaskUpdate(item) => Self::TaskUpdate(item),
            ActionItem::TaskMove(item) => Self::TaskMove(item),
            ActionItem::TaskAssign(item) => Self::TaskAssign(item),
            ActionItem::TaskDepend(item) => Self::TaskDepend(item),
            ActionItem::TaskDelete(item) => Self::TaskDelete(item),
            ActionItem::TaskComment(item) => Self::TaskComment(item),
            ActionItem::TaskFollow(item) => Self::TaskFollow(item),
            ActionItem::RoomCreate(item) => Self::RoomCreate(item),
            ActionItem::RoomInvite(item) => Self::RoomInvite(item),
            ActionItem::DirectOpen(item) => Self::DirectOpen(item),
            ActionItem::Notify(item) => Self::Notify(item),
        }
    }
}
