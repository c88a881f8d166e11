//! The writing commands on messages; see `commit` for the others.

use hallway_protocol::event::{MessageCreated, MessageDeleted, MessageEdited, MessageReacted};
use hallway_protocol::model::Reaction;
use hallway_protocol::{EventBody, Message, MessageId, Role, RoomId, Seq, UserId};
use rusqlite::params;

use super::batch::{Batch, Marker};
use super::commit::{Done, Stop, one};
use super::notes;
use super::tables::{find_message, int, reactions_to_json, to_json};
use crate::{Action, REACTIONS_MAX_PER_MESSAGE, Refusal, StoreError};

/// The room that a write is about, as its member sees it.
pub(super) struct Place {
    pub(super) number: i64,
    pub(super) head: Seq,
    pub(super) visible_from: Seq,
}

impl Place {
    /// A message that the member may see; others do not exist.
    fn message(&self, batch: &Batch<'_>, id: MessageId) -> Result<Message, Stop> {
        let found = find_message(batch.connection, self.number, id)?;
        found.filter(|message| message.seq >= self.visible_from).ok_or(Stop::Refused(Refusal::MessageNotFound))
    }
}

fn mentions_json(mentions: &[UserId]) -> Result<Option<String>, StoreError> {
    if mentions.is_empty() { Ok(None) } else { to_json(&mentions).map(Some) }
}

pub(super) fn send(batch: &mut Batch<'_>, number: i64, actor: &UserId, action: &Action) -> Result<Done, Stop> {
    let Action::SendMessage { room, id, text, reply_to, mentions, meta } = action else {
        return Err(Refusal::Forbidden.into());
    };
    let row = batch.room(room)?.ok_or(Refusal::RoomNotFound)?;
    let (seq, ordinal) = (row.last_seq + 1, row.message_count + 1);
    // The key (room, seq) is new, so that only a taken id is ignored here.
    let written = batch
        .connection
        .prepare_cached(
            "INSERT OR IGNORE INTO messages (room, seq, id, ordinal, sender, at_ms, text, reply_to, mentions, meta)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            number,
            int(seq),
            id.as_uuid().as_bytes(),
            int(ordinal),
            actor.as_str(),
            int(batch.at_ms),
            text,
            reply_to.map(|id| *id.as_uuid().as_bytes()),
            mentions_json(mentions)?,
            meta.as_ref().map(hallway_protocol::Meta::as_json)
        ])?;
    if written == 0 {
        return Err(Refusal::IdTaken.into());
    }
    batch.count_message(room)?;
    let message = Message {
        id: *id,
        seq,
        ordinal,
        sender: actor.clone(),
        at_ms: batch.at_ms,
        text: text.clone(),
        reply_to: *reply_to,
        mentions: mentions.clone(),
        meta: meta.clone(),
        version: 1,
        edited_at_ms: None,
        deleted: false,
        reactions: Vec::new(),
    };
    let may_notify = !mentions.is_empty() || reply_to.is_some() || room.is_direct();
    let cause = may_notify.then(|| message.clone());
    let done = one(batch, room, EventBody::MessageCreated(MessageCreated { message }))?;
    batch.set_marker(room, actor, Marker { seq, ordinal });
    match cause {
        Some(message) => Ok(done.with(notes::of_message(batch, (room, number), &message)?)),
        None => Ok(done),
    }
}

pub(super) fn edit(batch: &mut Batch<'_>, place: &Place, actor: &UserId, action: &Action) -> Result<Done, Stop> {
    let Action::EditMessage { room, id, text, mentions, meta, version } = action else {
        return Err(Refusal::Forbidden.into());
    };
    let old = place.message(batch, *id)?;
    if old.sender != *actor {
        return Err(Refusal::Forbidden.into());
    }
    if old.deleted {
        return Err(Refusal::MessageDeleted.into());
    }
    if version.is_some_and(|version| version != old.version) {
        return Err(Refusal::VersionConflict { current: old.version }.into());
    }
    let message = Message {
        text: text.clone(),
        mentions: mentions.clone(),
        meta: meta.clone(),
        version: old.version + 1,
        edited_at_ms: Some(batch.at_ms),
        ..old
    };
    batch
        .connection
        .prepare_cached(
            "UPDATE messages SET text = ?3, mentions = ?4, meta = ?5, version = ?6, edited_at_ms = ?7
             WHERE room = ?1 AND seq = ?2",
        )?
        .execute(params![
            place.number,
            int(message.seq),
            text,
            mentions_json(mentions)?,
            meta.as_ref().map(hallway_protocol::Meta::as_json),
            message.version,
            int(batch.at_ms)
        ])?;
    one(batch, room, EventBody::MessageEdited(MessageEdited { message }))
}

pub(super) fn delete(
    batch: &mut Batch<'_>,
    place: &Place,
    room: &RoomId,
    actor: &UserId,
    role: Role,
    id: MessageId,
) -> Result<Done, Stop> {
    let old = place.message(batch, id)?;
    if old.sender != *actor && role < Role::Admin {
        return Err(Refusal::Forbidden.into());
    }
    if old.deleted {
        return Err(Refusal::MessageDeleted.into());
    }
    let version = old.version + 1;
    batch
        .connection
        .prepare_cached(
            "UPDATE messages SET text = '', mentions = NULL, meta = NULL, reactions = NULL, deleted = 1, version = ?3
             WHERE room = ?1 AND seq = ?2",
        )?
        .execute(params![place.number, int(old.seq), version])?;
    one(batch, room, EventBody::MessageDeleted(MessageDeleted { id, version, by: actor.clone() }))
}

pub(super) fn react(
    batch: &mut Batch<'_>,
    at: &Place,
    room: &RoomId,
    actor: &UserId,
    (id, emoji, remove): (MessageId, &str, bool),
) -> Result<Done, Stop> {
    let old = at.message(batch, id)?;
    if old.deleted {
        return Err(Refusal::MessageDeleted.into());
    }
    let mut reactions = old.reactions;
    let count: usize = reactions.iter().map(|reaction| reaction.users.len()).sum();
    let place = reactions.iter().position(|reaction| reaction.emoji == emoji);
    let there = place.is_some_and(|place| reactions[place].users.contains(actor));
    if there != remove {
        return Ok(Done::nothing(at.head));
    }
    match place {
        Some(place) if remove => {
            reactions[place].users.retain(|user| user != actor);
            reactions.retain(|reaction| !reaction.users.is_empty());
        }
        _ if count >= REACTIONS_MAX_PER_MESSAGE => return Err(Refusal::TooManyReactions.into()),
        Some(place) => reactions[place].users.push(actor.clone()),
        None => reactions.push(Reaction { emoji: emoji.to_owned(), users: vec![actor.clone()] }),
    }
    batch
        .connection
        .prepare_cached("UPDATE messages SET reactions = ?3 WHERE room = ?1 AND seq = ?2")?
        .execute(params![at.number, int(old.seq), reactions_to_json(&reactions)?])?;
    let body = MessageReacted { id, user: actor.clone(), emoji: emoji.to_owned(), removed: remove };
    one(batch, room, EventBody::MessageReacted(body))
}
