//! One command of one identified person: whether their token allows it, and who carries it out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hallway_protocol::command::{Done, Pong};
use hallway_protocol::frame::{SignalFrame, TypingFrame};
use hallway_protocol::{Command, ErrorBody, ErrorCode, Reply, Role, RoomId, ServerFrame};
use hallway_store::Mark;

use super::{Service, answers, notifications, people};
use crate::auth::{Scopes, now_ms};
use crate::connection::Encoded;
use crate::hub::Connection;

/// Who asks.
#[derive(Clone)]
pub struct Actor {
    pub scopes: Scopes,
    pub connection: Arc<Connection>,
}

/// The answer to a command, now or later. What it does was begun when this was returned, so commands take effect in the
/// order in which they were given here.
#[expect(clippy::large_enum_variant, reason = "it is taken apart where it is returned")]
pub enum Answer {
    Now(Result<Reply, ErrorBody>),
    Later(Pin<Box<dyn Future<Output = Result<Reply, ErrorBody>> + Send>>),
}

impl Service {
    /// Whether a command must wait until all earlier ones of its connection are answered: reads do, so that they see what
    /// was written before them. Writes keep their order in the writer's queue and need not wait.
    #[must_use]
    pub fn waits_for_earlier(command: &Command) -> bool {
        matches!(
            command,
            Command::Sync(_)
                | Command::RoomList(_)
                | Command::RoomMembers(_)
                | Command::MessageHistory(_)
                | Command::RoomBans(_)
                | Command::AuditList(_)
                | Command::PresenceGet(_)
                | Command::PresenceWatch(_)
                | Command::TaskGet(_)
                | Command::TaskCommentList(_)
                | Command::TaskList(_)
                | Command::TaskSummaryGet(_)
                | Command::NotificationList(_)
                | Command::NotificationPreferences(_)
                | Command::NotificationTrace(_)
                | Command::OutboxDead(_)
                | Command::Resolve(_)
        )
    }

    /// Carries out a command whose arguments were checked. `hello`, `sync` and `auth.refresh` are the session's own.
    pub fn execute(&self, actor: &Actor, command: Command) -> Answer {
        if let Err(error) = permit(actor, &command) {
            return Answer::Now(Err(error));
        }
        match command {
            Command::Ping(_) => Answer::Now(Ok(Reply::Ping(Pong { at_ms: now_ms() }))),
            Command::Typing(typing) => {
                let user = actor.connection.user.clone();
                let frame = TypingFrame { room: typing.room.clone(), user, active: typing.active };
                self.ephemeral(actor, &typing.room, ServerFrame::Typing(frame), Reply::Typing(Done {}))
            }
            Command::Signal(signal) => {
                let user = actor.connection.user.clone();
                let room = signal.room.clone();
                let frame = SignalFrame { room: signal.room, user, name: signal.name, data: signal.data };
                self.ephemeral(actor, &room, ServerFrame::Signal(frame), Reply::Signal(Done {}))
            }
            Command::ReadMark(mark) => {
                let mark = Mark { user: actor.connection.user.clone(), room: mark.room, seq: mark.seq };
                let service = self.clone();
                later(async move {
                    let (user, room) = (mark.user.clone(), mark.room.clone());
                    match service.inner.marks.mark(mark).await {
                        Ok(Some(marked)) => Ok(Reply::ReadMark(marked)),
                        Ok(None) => Err(service.not_for(&user, &room).await),
                        Err(error) => Err(error),
                    }
                })
            }
            Command::RoomList(_)
            | Command::RoomMembers(_)
            | Command::MessageHistory(_)
            | Command::RoomBans(_)
            | Command::AuditList(_)
            | Command::TaskGet(_)
            | Command::TaskCommentList(_)
            | Command::TaskList(_)
            | Command::TaskSummaryGet(_)
            | Command::NotificationList(_)
            | Command::NotificationPreferences(_)
            | Command::Resolve(_) => self.read(actor, command),
            Command::Actions(actions) => self.act(actor, actions),
            Command::NotificationTrace(_) | Command::OutboxDead(_) | Command::OutboxReplay(_) => {
                self.operate(actor, command)
            }
            Command::SessionList(list) => self.list_sessions(actor, list),
            Command::PresenceSet(_) | Command::PresenceGet(_) | Command::PresenceWatch(_) => {
                self.presence(actor, command)
            }
            Command::Hello(_) | Command::Sync(_) | Command::AuthRefresh(_) => {
                Answer::Now(Err(ErrorBody::new(ErrorCode::NotIdentified, "hello is said once, at the beginning")))
            }
            command => self.write(actor, command),
        }
    }

    fn ephemeral(&self, actor: &Actor, room: &RoomId, frame: ServerFrame, reply: Reply) -> Answer {
        let Some(membership) = self.inner.hub.membership(&actor.connection.user, room) else {
            let (service, user, room) = (self.clone(), actor.connection.user.clone(), room.clone());
            return later(async move { Err(service.not_for(&user, &room).await) });
        };
        if membership.role < Role::Member {
            return Answer::Now(Err(answers::refusal(hallway_store::Refusal::Forbidden)));
        }
        let frame = Arc::new(Encoded::new(frame));
        if let Some(heard) = membership.mute {
            let (service, connection, room) = (self.clone(), Arc::clone(&actor.connection), room.clone());
            return later(async move {
                service.unless_muted(&connection.user, &room, heard).await?;
                service.hand_out(&connection, &room, frame);
                service.inner.hub.drive();
                Ok(reply)
            });
        }
        self.hand_out(&actor.connection, room, frame);
        Answer::Now(Ok(reply))
    }

    fn hand_out(&self, from: &Connection, room: &RoomId, frame: Arc<Encoded>) {
        self.inner.metrics.signals.add(1);
        self.inner.cluster.ephemeral(room, &frame);
        self.inner.hub.ephemeral(room, frame, Some(from.id));
    }
}

/// What is decided before anything is done: the token's scopes, and what can be said without the store.
pub(super) fn permit(actor: &Actor, command: &Command) -> Result<(), ErrorBody> {
    check_scope(actor.scopes, command)?;
    people::check(actor, command)?;
    notifications::check(actor.scopes, command)
}

fn check_scope(scopes: Scopes, command: &Command) -> Result<(), ErrorBody> {
    let (wanted, name) = match command {
        // Of several actions each is looked at by itself.
        Command::Ping(_) | Command::Hello(_) | Command::AuthRefresh(_) | Command::Actions(_) => return Ok(()),
        Command::Notify(_) if scopes.contains(Scopes::NOTIFY) => return Ok(()),
        Command::NotificationTrace(_) | Command::OutboxDead(_) | Command::OutboxReplay(_) => (Scopes::ADMIN, "admin"),
        Command::RoomCreate(_) => (Scopes::ROOMS_CREATE, "rooms:create"),
        Command::Sync(_)
        | Command::RoomList(_)
        | Command::RoomMembers(_)
        | Command::MessageHistory(_)
        | Command::ReadMark(_)
        | Command::SessionList(_)
        | Command::RoomBans(_)
        | Command::AuditList(_)
        | Command::PresenceSet(_)
        | Command::PresenceGet(_)
        | Command::PresenceWatch(_)
        | Command::TaskGet(_)
        | Command::TaskCommentList(_)
        | Command::TaskList(_)
        | Command::TaskSummaryGet(_)
        | Command::NotificationList(_)
        | Command::NotificationRead(_)
        | Command::NotificationAcknowledge(_)
        | Command::NotificationPreferences(_)
        | Command::NotificationPrefer(_)
        | Command::NotificationQuiet(_)
        | Command::Resolve(_) => (Scopes::READ, "read"),
        _ => (Scopes::WRITE, "write"),
    };
    if scopes.contains(wanted) || scopes.contains(Scopes::ADMIN) { Ok(()) } else { Err(answers::scope(name)) }
}

pub(super) fn later(future: impl Future<Output = Result<Reply, ErrorBody>> + Send + 'static) -> Answer {
    Answer::Later(Box::pin(future))
}
