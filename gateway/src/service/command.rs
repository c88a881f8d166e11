//! One command of one identified person.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hallway_protocol::check::PAGE_LIMIT_DEFAULT;
use hallway_protocol::codec::{Codec, encode_request};
use hallway_protocol::command::{Committed, Direction, Done, HistoryPage, Members, MessageHistory, Pong, Rooms};
use hallway_protocol::cursor::{Cursor, InvalidCursor};
use hallway_protocol::frame::{SignalFrame, TypingFrame};
use hallway_protocol::{
    Command, ErrorBody, ErrorCode, EventBody, History, MessageId, Nonce, Reply, Request, Role, RoomId, ServerFrame,
    StreamId, UserId, Visibility,
};
use hallway_store::{
    Action, BODY_HASH_BYTES, HistoryFrom, HistoryQuery, Mark, MemberQuery, MessagesPage, PageRequest, RoomQuery,
    StoreError, Write,
};
use sha2::{Digest, Sha256};

use super::rooms::direct_room;
use super::{Service, answers, people};
use crate::auth::{Scopes, now_ms};
use crate::connection::Encoded;
use crate::hub::Connection;
use crate::sabotage::{Mutant, is_on};

/// Who asks.
#[derive(Clone)]
pub struct Actor {
    pub scopes: Scopes,
    pub connection: Arc<Connection>,
}

/// The answer to a command, now or later. What it does was begun when this was returned, so commands take effect in the
/// order in which they were given here.
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
        )
    }

    /// Carries out a command whose arguments were checked. `hello`, `sync` and `auth.refresh` are the session's own.
    pub fn execute(&self, actor: &Actor, command: Command) -> Answer {
        if let Err(error) = check_scope(actor.scopes, &command).and_then(|()| people::check(actor, &command)) {
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
            | Command::AuditList(_) => self.read(actor, command),
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

    fn write(&self, actor: &Actor, command: Command) -> Answer {
        let user = actor.connection.user.clone();
        let body_hash = body_hash(&command);
        let (nonce, action, reply) = match action(&user, command) {
            Ok(parts) => parts,
            Err(error) => return Answer::Now(Err(error)),
        };
        match self.inner.writer.submit(Write { actor: user, nonce, body_hash, action }) {
            Err(error) => Answer::Now(Err(error)),
            Ok(answer) => {
                let hub = self.inner.hub.clone();
                later(async move {
                    let committed = answer.await.map_err(|_| answers::unknown())??;
                    Ok(reply(Committed {
                        stream: committed.stream,
                        epoch: hub.epoch(),
                        seq: committed.seq,
                        at_ms: committed.at_ms,
                        id: committed.id,
                        repeated: committed.repeated,
                    }))
                })
            }
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

    fn read(&self, actor: &Actor, command: Command) -> Answer {
        let service = self.clone();
        let user = actor.connection.user.clone();
        let is_admin = actor.scopes.contains(Scopes::ADMIN);
        later(async move {
            let timeout = std::time::Duration::from_millis(service.inner.limits.store_timeout_ms);
            let answer = tokio::time::timeout(timeout, service.answer_read(&user, is_admin, command)).await;
            answer.unwrap_or_else(|_| Err(answers::unavailable()))
        })
    }

    async fn answer_read(&self, user: &UserId, is_admin: bool, command: Command) -> Result<Reply, ErrorBody> {
        let store = &self.inner.store;
        match command {
            Command::RoomList(list) => {
                let cursor = Cursor::from(list.scope);
                let after = text_cursor(cursor, list.cursor.as_deref(), RoomId::new)?;
                let mine = list.scope == hallway_protocol::command::RoomScope::Mine;
                let limit = list.limit.unwrap_or(PAGE_LIMIT_DEFAULT);
                let page = store.list_rooms(user, RoomQuery { mine, after, limit }).await.map_err(failed)?;
                let last = page.rooms.last().filter(|_| page.more);
                let next = last.map(|room| cursor.encode_text(room.room.as_str()));
                Ok(Reply::RoomList(Rooms { next, rooms: page.rooms }))
            }
            Command::RoomMembers(list) => {
                let after = text_cursor(Cursor::Members, list.cursor.as_deref(), UserId::new)?;
                let limit = list.limit.unwrap_or(PAGE_LIMIT_DEFAULT);
                let query = MemberQuery { room: list.room.clone(), after, limit };
                let Some(page) = store.members(user, query).await.map_err(failed)? else {
                    return Err(self.not_for(user, &list.room).await);
                };
                let last = page.members.last().filter(|_| page.more);
                let next = last.map(|member| Cursor::Members.encode_text(member.user.as_str()));
                Ok(Reply::RoomMembers(Members { next, members: page.members }))
            }
            Command::MessageHistory(history) => self.answer_history(user, history).await,
            Command::RoomBans(list) => self.answer_bans(user, list).await,
            Command::AuditList(list) => self.answer_audit(user, is_admin, list).await,
            _ => Err(ErrorBody::new(ErrorCode::Internal, "not a reading command")),
        }
    }

    /// Why somebody is refused who is no member, or no admin where one is needed: whether a private room exists is nobody
    /// else's business.
    pub(super) async fn not_for(&self, user: &UserId, room: &RoomId) -> ErrorBody {
        let timeout = std::time::Duration::from_millis(self.inner.limits.store_timeout_ms);
        match tokio::time::timeout(timeout, self.inner.store.room(user, room)).await {
            // A member is kept from what is for admins only.
            Ok(Ok(Some(view))) if view.member.is_some() => answers::refusal(hallway_store::Refusal::Forbidden),
            Ok(Ok(Some(_))) => answers::refusal(hallway_store::Refusal::NotAMember),
            Ok(Ok(None)) => answers::refusal(hallway_store::Refusal::RoomNotFound),
            Ok(Err(error)) => failed(error),
            Err(_) => answers::unavailable(),
        }
    }

    /// [`Mutant::HistoryWithoutMembership`]: what the log has, for anybody.
    async fn history_of_all(&self, room: &RoomId) -> Option<MessagesPage> {
        let request = PageRequest { stream: StreamId::Room(room.clone()), after: 0, limit: PAGE_LIMIT_DEFAULT };
        let page = self.inner.store.pages(vec![request]).await.ok()?.pages.pop()?;
        let messages = page.events.into_iter().filter_map(|event| match event.body {
            EventBody::MessageCreated(created) => Some(created.message),
            _ => None,
        });
        Some(MessagesPage { messages: messages.collect(), older: false, newer: false })
    }

    async fn answer_history(&self, user: &UserId, history: MessageHistory) -> Result<Reply, ErrorBody> {
        let list = Cursor::from(history.direction);
        let at = history.cursor.as_deref().map(|cursor| list.decode_seq(cursor)).transpose().map_err(bad_cursor)?;
        let from = match history.direction {
            Direction::Older => HistoryFrom::Before(at),
            Direction::Newer => HistoryFrom::After(at),
        };
        let limit = history.limit.unwrap_or(PAGE_LIMIT_DEFAULT);
        let query = HistoryQuery { room: history.room.clone(), from, limit };
        let page = match self.inner.store.history(user, query).await.map_err(failed)? {
            None if is_on(Mutant::HistoryWithoutMembership) => self.history_of_all(&history.room).await,
            page => page,
        };
        let Some(page) = page else {
            return Err(self.not_for(user, &history.room).await);
        };
        let first = page.messages.first().filter(|_| page.older).map(|message| Cursor::Older.encode_seq(message.seq));
        let last = page.messages.last().filter(|_| page.newer).map(|message| Cursor::Newer.encode_seq(message.seq));
        Ok(Reply::MessageHistory(HistoryPage { older: first, newer: last, messages: page.messages }))
    }
}

pub(super) type ToReply = fn(Committed) -> Reply;

/// Turns a writing command into what the store is to do, and how its answer is called.
fn action(user: &UserId, command: Command) -> Result<(Nonce, Action, ToReply), ErrorBody> {
    Ok(match command {
        Command::RoomCreate(create) => {
            let history = create.history.unwrap_or(match create.visibility {
                Visibility::Public => History::All,
                Visibility::Private => History::SinceJoin,
            });
            let action =
                Action::CreateRoom { room: create.room, visibility: create.visibility, history, name: create.name };
            (create.nonce, action, Reply::RoomCreate)
        }
        Command::RoomUpdate(update) => {
            let action = Action::UpdateRoom { room: update.room, name: update.name, visibility: update.visibility };
            (update.nonce, action, Reply::RoomUpdate)
        }
        Command::RoomArchive(archive) => {
            (archive.nonce, Action::ArchiveRoom { room: archive.room }, Reply::RoomArchive)
        }
        Command::RoomJoin(join) => (join.nonce, Action::Join { room: join.room }, Reply::RoomJoin),
        Command::RoomLeave(leave) => (leave.nonce, Action::Leave { room: leave.room }, Reply::RoomLeave),
        Command::RoomInvite(invite) => {
            let action = Action::Invite { room: invite.room, user: invite.user, role: invite.role };
            (invite.nonce, action, Reply::RoomInvite)
        }
        Command::RoomRemove(remove) => {
            (remove.nonce, Action::Remove { room: remove.room, user: remove.user }, Reply::RoomRemove)
        }
        Command::DirectOpen(open) => {
            let room = direct_room(user, &open.user)?;
            (open.nonce, Action::OpenDirect { room, other: open.user }, Reply::DirectOpen)
        }
        Command::MessageSend(send) => {
            let action = Action::SendMessage {
                room: send.room,
                id: send.id.unwrap_or_else(MessageId::generate),
                text: send.text,
                reply_to: send.reply_to,
                mentions: send.mentions,
                meta: send.meta,
            };
            (send.nonce, action, Reply::MessageSend)
        }
        Command::MessageEdit(edit) => {
            let action = Action::EditMessage {
                room: edit.room,
                id: edit.id,
                text: edit.text,
                mentions: edit.mentions,
                meta: edit.meta,
                version: edit.version,
            };
            (edit.nonce, action, Reply::MessageEdit)
        }
        Command::MessageDelete(delete) => {
            (delete.nonce, Action::DeleteMessage { room: delete.room, id: delete.id }, Reply::MessageDelete)
        }
        Command::MessageReact(react) => {
            let action = Action::React { room: react.room, id: react.id, emoji: react.emoji, remove: react.remove };
            (react.nonce, action, Reply::MessageReact)
        }
        command => return people::action(user, command),
    })
}

fn check_scope(scopes: Scopes, command: &Command) -> Result<(), ErrorBody> {
    let (wanted, name) = match command {
        Command::Ping(_) | Command::Hello(_) | Command::AuthRefresh(_) => return Ok(()),
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
        | Command::PresenceWatch(_) => (Scopes::READ, "read"),
        _ => (Scopes::WRITE, "write"),
    };
    if scopes.contains(wanted) || scopes.contains(Scopes::ADMIN) { Ok(()) } else { Err(answers::scope(name)) }
}

/// The command as the client sent it, in one canonical encoding.
fn body_hash(command: &Command) -> [u8; BODY_HASH_BYTES] {
    let bytes = encode_request(Codec::Postcard, &Request { id: 0, command: command.clone() });
    let mut hash = [0; BODY_HASH_BYTES];
    hash.copy_from_slice(&Sha256::digest(&bytes)[..BODY_HASH_BYTES]);
    hash
}

pub(super) fn later(future: impl Future<Output = Result<Reply, ErrorBody>> + Send + 'static) -> Answer {
    Answer::Later(Box::pin(future))
}

pub(super) fn bad_cursor(error: InvalidCursor) -> ErrorBody {
    ErrorBody::new(ErrorCode::InvalidArgument, format!("cursor: {error}"))
}

pub(super) fn text_cursor<T, E>(
    list: Cursor,
    cursor: Option<&str>,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, ErrorBody> {
    let Some(cursor) = cursor else { return Ok(None) };
    let text = list.decode_text(cursor).map_err(bad_cursor)?;
    parse(&text).map(Some).map_err(|_| bad_cursor(InvalidCursor::Malformed))
}

pub(super) fn failed(error: StoreError) -> ErrorBody {
    tracing::warn!(%error, "a read of the store failed");
    match error {
        // A read changes nothing, so its outcome is never unknown.
        StoreError::OutcomeUnknown(_) => answers::unavailable(),
        error => answers::store_error(&error),
    }
}
