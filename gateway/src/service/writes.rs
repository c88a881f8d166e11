//! Commands that write: turned into what the store is to do, queued for the writer, answered.

use hallway_protocol::codec::{Codec, encode_request};
use hallway_protocol::command::{Committed, TaskOutcome};
use hallway_protocol::task::Task;
use hallway_protocol::{Command, ErrorBody, History, MessageId, Nonce, Reply, Request, UserId, Visibility};
use hallway_store::{Action, BODY_HASH_BYTES, Write};
use sha2::{Digest, Sha256};

use super::command::{Actor, Answer, later};
use super::rooms::direct_room;
use super::writer::Unwritten;
use super::{Service, answers, notifications, people, tasks};

/// How the answer to a plain write is called.
pub(super) type ToReply = fn(Committed) -> Reply;

/// How the answer to a write is called.
#[derive(Clone, Copy)]
pub(super) enum Replies {
    Committed(ToReply),
    /// Of a change of a task, which may come too late.
    Outcome(fn(TaskOutcome) -> Reply),
}

impl Replies {
    fn committed(self, committed: Committed) -> Reply {
        match self {
            Self::Committed(reply) => reply(committed),
            Self::Outcome(reply) => reply(TaskOutcome::Committed(committed)),
        }
    }

    fn stale(self, task: Task) -> Result<Reply, ErrorBody> {
        match self {
            Self::Committed(_) => Err(answers::refusal(hallway_store::Refusal::TaskStale(Box::new(task)))),
            Self::Outcome(reply) => Ok(reply(TaskOutcome::Stale(task))),
        }
    }
}

/// A nonce, what is to be done under it, and how the answer is called.
pub(super) type Parts = (Nonce, Action, Replies);

/// What a writing command comes to.
pub(super) struct Prepared {
    pub(super) write: Write,
    pub(super) replies: Replies,
}

/// What the store is to do for a command that the actor's token allows.
pub(super) fn prepare(actor: &Actor, command: Command) -> Result<Prepared, ErrorBody> {
    let user = actor.connection.user.clone();
    let body_hash = body_hash(&command);
    let (nonce, action, replies) = parts(actor, command)?;
    Ok(Prepared { write: Write { actor: user, nonce, body_hash, action }, replies })
}

impl Service {
    pub(super) fn write(&self, actor: &Actor, command: Command) -> Answer {
        let prepared = match prepare(actor, command) {
            Ok(prepared) => prepared,
            Err(error) => return Answer::Now(Err(error)),
        };
        match self.inner.writer.submit(prepared.write) {
            Err(error) => Answer::Now(Err(error)),
            Ok(answer) => {
                let (service, replies) = (self.clone(), prepared.replies);
                later(async move {
                    match answer.await.map_err(|_| answers::unknown())? {
                        Ok(committed) => Ok(replies.committed(service.acknowledged(committed))),
                        Err(Unwritten::Stale(task)) => replies.stale(*task),
                        Err(Unwritten::Error(error)) => Err(error),
                    }
                })
            }
        }
    }

    /// A commit as its client is told of it.
    pub(super) fn acknowledged(&self, committed: hallway_store::Committed) -> Committed {
        Committed {
            stream: committed.stream,
            epoch: self.inner.hub.epoch(),
            seq: committed.seq,
            at_ms: committed.at_ms,
            id: committed.id,
            repeated: committed.repeated,
        }
    }
}

/// Turns a writing command into what the store is to do, and how its answer is called.
fn parts(actor: &Actor, command: Command) -> Result<Parts, ErrorBody> {
    match command {
        Command::TaskCreate(_)
        | Command::TaskUpdate(_)
        | Command::TaskMove(_)
        | Command::TaskAssign(_)
        | Command::TaskDepend(_)
        | Command::TaskDelete(_)
        | Command::TaskComment(_)
        | Command::TaskFollow(_) => tasks::action(command),
        Command::NotificationRead(_)
        | Command::NotificationAcknowledge(_)
        | Command::NotificationPrefer(_)
        | Command::NotificationQuiet(_)
        | Command::Notify(_)
        | Command::ProfileSet(_) => notifications::action(actor, command),
        command => {
            let (nonce, action, reply) = action(&actor.connection.user, command)?;
            Ok((nonce, action, Replies::Committed(reply)))
        }
    }
}

/// The same for rooms and messages.
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

/// The command as the client sent it, in one canonical encoding.
fn body_hash(command: &Command) -> [u8; BODY_HASH_BYTES] {
    let bytes = encode_request(Codec::Postcard, &Request { id: 0, command: command.clone() });
    let mut hash = [0; BODY_HASH_BYTES];
    hash.copy_from_slice(&Sha256::digest(&bytes)[..BODY_HASH_BYTES]);
    hash
}
