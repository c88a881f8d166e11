//! Runs of message sends, set-based and fast; see `commit`.

use hallway_protocol::event::MessageCreated;
use hallway_protocol::{Event, EventBody, Message, MessageId, ObjectId, StreamId};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::commit::{Answer, Answers, joined, key};
use super::connection::{Connections, Kind};
use super::notes::written;
use super::rows::{corrupt, unsigned};
use super::words::Said;
use super::{statements, words};
use crate::{Action, Committed, StoreError, Write};

/// Parameters of [`statements::SEND`].
#[derive(Default)]
struct Sends<'a> {
    rooms: Vec<&'a str>,
    actors: Vec<&'a str>,
    keys: Vec<Uuid>,
    hashes: Vec<Uuid>,
    ids: Vec<Uuid>,
    texts: Vec<&'a str>,
    replies: Vec<Option<Uuid>>,
    mentions: Vec<Option<String>>,
    metas: Vec<Option<&'a str>>,
}

impl<'a> Sends<'a> {
    fn new(batch: &'a [Write], run: &[usize]) -> Self {
        let mut sends = Self::default();
        for write in run.iter().map(|index| &batch[*index]) {
            let Action::SendMessage { room, id, text, reply_to, mentions, meta } = &write.action else { continue };
            sends.rooms.push(room.as_str());
            sends.actors.push(write.actor.as_str());
            sends.keys.push(key(write));
            sends.hashes.push(Uuid::from_bytes(write.body_hash));
            sends.ids.push(id.as_uuid());
            sends.texts.push(text);
            sends.replies.push(reply_to.map(|id| id.as_uuid()));
            sends.mentions.push(joined(mentions));
            sends.metas.push(meta.as_ref().map(|meta| meta.as_json()));
        }
        sends
    }
}

/// Whether somebody may be notified of it. A run without any such is carried out by the function that knows nothing of it, and
/// locks nobody.
fn notifies(action: &Action) -> bool {
    let Action::SendMessage { room, reply_to, mentions, .. } = action else { return false };
    !mentions.is_empty() || reply_to.is_some() || room.is_direct()
}

/// Carries out a run of sends. A repeat inside the batch of a send that was refused is handed in once more.
pub(super) async fn send(
    connections: &Connections,
    batch: &[Write],
    mut run: Vec<usize>,
    answers: &mut Answers,
) -> Result<(), StoreError> {
    let first_look_ms = connections.first_look_ms();
    while !run.is_empty() {
        let s = Sends::new(batch, &run);
        let mut parameters: Vec<&(dyn ToSql + Sync)> =
            vec![&s.rooms, &s.actors, &s.keys, &s.hashes, &s.ids, &s.texts, &s.replies, &s.mentions, &s.metas];
        let does_notify = run.iter().any(|index| notifies(&batch[*index].action));
        let sql = if does_notify {
            parameters.push(&first_look_ms);
            statements::SEND_NOTIFYING
        } else {
            statements::SEND
        };
        let rows = connections.run(Kind::Write, sql, &parameters).await?;
        if rows.len() != run.len() {
            return Err(corrupt(format!("{} answers to {} sends", rows.len(), run.len())));
        }
        let mut again = Vec::new();
        for (row, index) in rows.iter().zip(run) {
            answers.take_epoch(row.get(0))?;
            if row.get::<_, &str>(1) == "again" {
                again.push(index);
            } else {
                answers.results[index] = Some(sent(row, &batch[index], does_notify)?);
            }
        }
        run = again;
    }
    Ok(())
}

fn sent(row: &Row, write: &Write, does_notify: bool) -> Result<Answer, StoreError> {
    let verdict: &str = row.get(1);
    if !matches!(verdict, "new" | "repeated") {
        return words::refusal(verdict, Said::left(row.get(6))).map(Err);
    }
    let Action::SendMessage { room, text, reply_to, mentions, meta, .. } = &write.action else {
        return Err(corrupt("an answer of a send to another write"));
    };
    let (seq, at_ms) = (unsigned(row.get(2)), unsigned(row.get(4)));
    let id = row.get::<_, Option<Uuid>>(5).map(MessageId::from_uuid).transpose()?;
    let stream = StreamId::Room(room.clone());
    let repeated = verdict == "repeated";
    let mut events = Vec::new();
    if let Some(id) = id.filter(|_| !repeated) {
        let message = Message {
            id,
            seq,
            ordinal: unsigned(row.get(3)),
            sender: write.actor.clone(),
            at_ms,
            text: text.clone(),
            reply_to: *reply_to,
            mentions: mentions.clone(),
            meta: meta.clone(),
            version: 1,
            edited_at_ms: None,
            deleted: false,
            reactions: Vec::new(),
        };
        let body = EventBody::MessageCreated(MessageCreated { message });
        events.push(Event { stream: stream.clone(), seq, at_ms, body });
    }
    let (told, fans_out) = if does_notify { written(row.get(7))? } else { (Vec::new(), false) };
    events.extend(told);
    Ok(Ok(Committed { stream, seq, at_ms, id: id.map(ObjectId::from), repeated, events, fans_out }))
}
