//! Conveniences: commands with fresh nonces, repeated until their outcome is known.

use std::time::{Duration, Instant};

use hallway_protocol::command::{Committed, MessageSend, RoomCreate, RoomInvite, RoomJoin, TaskOutcome};
use hallway_protocol::{Command, ErrorCode, MessageId, Nonce, Reply, Role, RoomId, UserId, Visibility};

use super::Client;
use crate::error::RequestError;

/// How long a convenience tries before it gives up.
const TRY_FOR: Duration = Duration::from_secs(30);
/// Pause before a repeat when the node names none.
const PAUSE: Duration = Duration::from_millis(50);

/// A nonce that nobody else has.
#[must_use]
#[expect(clippy::expect_used, reason = "a UUID is 36 visible characters, which every nonce may be")]
pub fn nonce() -> Nonce {
    Nonce::new(&uuid::Uuid::now_v7().to_string()).expect("a UUID is a nonce")
}

/// Repeats a command, nonce and all, until it is done, refused for good, or `limit` has passed. After an unknown
/// attempt a refusal proves nothing about that attempt, so the outcome stays unknown until an `ok`.
///
/// # Errors
/// [`RequestError`] of the last attempt, or `Unknown` when any attempt was.
pub async fn retry_until_known(client: &Client, command: Command, limit: Duration) -> Result<Reply, RequestError> {
    let until = Instant::now() + limit;
    let mut unknown: Option<RequestError> = None;
    loop {
        let error = match client.request(command.clone()).await {
            Ok(reply) => return Ok(reply),
            Err(error) => error,
        };
        let advised = match &error {
            RequestError::Refused(body) => body.retry_after_ms.map(Duration::from_millis),
            RequestError::Unknown(_) | RequestError::Closed(_) => None,
        };
        let again = error.retryable();
        if matches!(error, RequestError::Unknown(_)) {
            unknown = Some(error.clone());
        }
        let pause = advised.unwrap_or_else(|| PAUSE.mul_f64(rand::random_range(0.5..=1.5)));
        if !again || Instant::now() + pause >= until {
            return Err(unknown.unwrap_or(error));
        }
        tokio::time::sleep(pause).await;
    }
}

impl Client {
    /// Makes a channel.
    ///
    /// # Errors
    /// [`RequestError`] when it is refused (`room_exists`, …) or its outcome stays unknown.
    pub async fn create_room(&self, room: &RoomId, visibility: Visibility) -> Result<Committed, RequestError> {
        self.commit(Command::RoomCreate(RoomCreate {
            nonce: nonce(),
            room: room.clone(),
            visibility,
            history: None,
            name: None,
        }))
        .await
    }

    /// Joins a public room.
    ///
    /// # Errors
    /// [`RequestError`] when it is refused or its outcome stays unknown.
    pub async fn join(&self, room: &RoomId) -> Result<Committed, RequestError> {
        self.commit(Command::RoomJoin(RoomJoin { nonce: nonce(), room: room.clone() })).await
    }

    /// Joins a public room; makes it when there is none.
    ///
    /// # Errors
    /// [`RequestError`] when it is refused or its outcome stays unknown.
    pub async fn join_or_create(&self, room: &RoomId) -> Result<Committed, RequestError> {
        match self.join(room).await {
            Err(RequestError::Refused(body)) if body.code == ErrorCode::NotFound => {}
            other => return other,
        }
        match self.create_room(room, Visibility::Public).await {
            // Somebody was quicker.
            Err(RequestError::Refused(body)) if body.code == ErrorCode::RoomExists => self.join(room).await,
            other => other,
        }
    }

    /// Makes someone a member.
    ///
    /// # Errors
    /// [`RequestError`] when it is refused or its outcome stays unknown.
    pub async fn invite(&self, room: &RoomId, user: &UserId, role: Role) -> Result<Committed, RequestError> {
        let invite = RoomInvite { nonce: nonce(), room: room.clone(), user: user.clone(), role };
        self.commit(Command::RoomInvite(invite)).await
    }

    /// Sends a message.
    ///
    /// # Errors
    /// [`RequestError`] when it is refused or its outcome stays unknown.
    pub async fn send_message(&self, room: &RoomId, text: impl Into<String>) -> Result<Committed, RequestError> {
        self.commit(message(room, MessageId::generate(), text)).await
    }

    /// Repeats a writing command until its outcome is known.
    ///
    /// # Errors
    /// [`RequestError`] when it is refused or its outcome stays unknown.
    pub async fn commit(&self, command: Command) -> Result<Committed, RequestError> {
        let name = command.name();
        committed(name, retry_until_known(self, command, TRY_FOR).await?)
    }
}

/// A plain message under a fresh nonce.
#[must_use]
pub fn message(room: &RoomId, id: MessageId, text: impl Into<String>) -> Command {
    Command::MessageSend(MessageSend {
        nonce: nonce(),
        room: room.clone(),
        id: Some(id),
        text: text.into(),
        reply_to: None,
        mentions: Vec::new(),
        meta: None,
    })
}

/// The acknowledgement in a writing command's reply.
///
/// # Errors
/// [`RequestError::Unknown`] when the node answered as another command.
pub fn committed(name: &str, reply: Reply) -> Result<Committed, RequestError> {
    match reply {
        Reply::RoomCreate(committed)
        | Reply::RoomUpdate(committed)
        | Reply::RoomArchive(committed)
        | Reply::RoomJoin(committed)
        | Reply::RoomLeave(committed)
        | Reply::RoomInvite(committed)
        | Reply::RoomRemove(committed)
        | Reply::DirectOpen(committed)
        | Reply::MessageSend(committed)
        | Reply::MessageEdit(committed)
        | Reply::MessageDelete(committed)
        | Reply::MessageReact(committed)
        | Reply::SessionRevoke(committed)
        | Reply::UserRevoke(committed)
        | Reply::RoomKick(committed)
        | Reply::RoomBan(committed)
        | Reply::RoomUnban(committed)
        | Reply::RoomMute(committed)
        | Reply::RoomUnmute(committed)
        | Reply::TaskCreate(committed)
        | Reply::TaskComment(committed)
        | Reply::TaskFollow(committed)
        | Reply::NotificationRead(committed)
        | Reply::NotificationAcknowledge(committed)
        | Reply::Notify(committed)
        | Reply::TaskUpdate(TaskOutcome::Committed(committed))
        | Reply::TaskMove(TaskOutcome::Committed(committed))
        | Reply::TaskAssign(TaskOutcome::Committed(committed))
        | Reply::TaskDepend(TaskOutcome::Committed(committed))
        | Reply::TaskDelete(TaskOutcome::Committed(committed)) => Ok(committed),
        other => Err(RequestError::Unknown(format!("{name} was answered as command {}", other.kind()))),
    }
}
