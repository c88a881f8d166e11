//! Conveniences for tasks and notifications, under fresh nonces and repeated until their outcome is known.

use std::time::Duration;

use hallway_protocol::command::{
    Committed, NotificationList, Notifications, Notify, Recipients, TaskCreate, TaskList, TaskMove, TaskOrder,
    TaskOutcome, Tasks,
};
use hallway_protocol::task::{Priority, TaskStatus};
use hallway_protocol::{Command, Reply, RoomId, TaskId};

use super::Client;
use super::commands::{nonce, retry_until_known};
use crate::error::RequestError;

/// How long a convenience tries before it gives up.
const TRY_FOR: Duration = Duration::from_secs(30);

impl Client {
    /// Makes a task of a title.
    ///
    /// # Errors
    /// [`RequestError`] when it is refused or its outcome stays unknown.
    pub async fn create_task(&self, room: &RoomId, id: TaskId, title: &str) -> Result<Committed, RequestError> {
        self.commit(Command::TaskCreate(TaskCreate {
            nonce: nonce(),
            room: room.clone(),
            id: Some(id),
            title: title.to_owned(),
            text: String::new(),
            priority: Priority::Normal,
            due_at_ms: None,
            assignees: Vec::new(),
            waits_on: Vec::new(),
            meta: None,
        }))
        .await
    }

    /// Gives a task another status, if it still has this version.
    ///
    /// # Errors
    /// [`RequestError`] when it is refused or its outcome stays unknown.
    pub async fn move_task(
        &self,
        room: &RoomId,
        id: TaskId,
        version: u32,
        status: TaskStatus,
    ) -> Result<TaskOutcome, RequestError> {
        let command = Command::TaskMove(TaskMove { nonce: nonce(), room: room.clone(), id, version, status });
        match retry_until_known(self, command, TRY_FOR).await? {
            Reply::TaskMove(outcome) => Ok(outcome),
            other => Err(answered_as("task.move", &other)),
        }
    }

    /// The newest tasks of a room.
    ///
    /// # Errors
    /// [`RequestError`] when it is refused or nobody answers.
    pub async fn tasks(&self, room: &RoomId) -> Result<Tasks, RequestError> {
        let list = TaskList {
            room: Some(room.clone()),
            assignee: None,
            status: Vec::new(),
            priority: None,
            due_from_ms: None,
            due_until_ms: None,
            order: TaskOrder::Newest,
            cursor: None,
            limit: None,
        };
        match retry_until_known(self, Command::TaskList(list), TRY_FOR).await? {
            Reply::TaskList(tasks) => Ok(tasks),
            other => Err(answered_as("task.list", &other)),
        }
    }

    /// Notifies people of a title.
    ///
    /// # Errors
    /// [`RequestError`] when it is refused or its outcome stays unknown.
    pub async fn notify(&self, to: Recipients, title: &str, urgent: bool) -> Result<Committed, RequestError> {
        self.commit(Command::Notify(Notify {
            nonce: nonce(),
            to,
            title: title.to_owned(),
            text: None,
            data: None,
            urgent,
            key: None,
            acknowledge_within_ms: None,
        }))
        .await
    }

    /// The newest of the own notifications, and how many are unread.
    ///
    /// # Errors
    /// [`RequestError`] when it is refused or nobody answers.
    pub async fn notifications(&self) -> Result<Notifications, RequestError> {
        let list = NotificationList { unread_only: false, cursor: None, limit: Some(1) };
        match retry_until_known(self, Command::NotificationList(list), TRY_FOR).await? {
            Reply::NotificationList(notifications) => Ok(notifications),
            other => Err(answered_as("notification.list", &other)),
        }
    }
}

fn answered_as(name: &str, reply: &Reply) -> RequestError {
    RequestError::Unknown(format!("{name} was answered as command {}", reply.kind()))
}
