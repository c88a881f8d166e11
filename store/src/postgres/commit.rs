//! The writing side of [`crate::Log`].
//!
//! A batch becomes *runs*: message sends, set-based and fast, alternate with other writes, one by one. Each run is one call
//! of a stored function and so its own transaction (a long one of other writes several); a write goes into the earliest run
//! that keeps it behind every earlier write of the same room or by the same person. Most batches are one run, and hardly any
//! are more than three.
//!
//! A run that waited in vain for a lock is tried once more without the writes of the locked rooms (`locked`, pure), which are
//! answered [`Refusal::Locked`]: who waits for someone else's lock waits alone.
//!
//! **Invariant:** when a later run fails, the whole batch is of unknown outcome: earlier runs are committed. Repeating it is
//! safe, because every write carries a nonce.

use std::borrow::Cow;
use std::collections::HashMap;

use hallway_protocol::{Epoch, Event, ObjectId, RoomId, UserId};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::concerns::Concerns;
use super::connection::{Connections, Kind};
use super::locked::Waiting;
use super::rows::{corrupt, signed};
use super::sends::send;
use super::words::Said;
use super::{statements, words};
use crate::{
    Action, BATCH_MAX_WRITES, CommitBatch, Committed, Mark, MarkBatch, MarkResult, REACTIONS_MAX_PER_MESSAGE, Refusal,
    StoreError, USER_ROOMS_MAX, Write,
};

/// Most writes of one call that are carried out one by one. What one transaction writes again and again (the head of a room)
/// costs more each time, and a call must end long before the statement time-out.
const ACTS_MAX_PER_CALL: usize = 100;
/// How often a run is tried while it meets rooms that someone else has locked. Each attempt may wait for the lock time-out.
pub(super) const LOCK_ATTEMPTS_MAX: usize = 2;

pub(super) type Answer = Result<Committed, Refusal>;

/// The results of a batch while its runs are carried out.
pub(super) struct Answers {
    epoch: Option<Epoch>,
    pub(super) results: Vec<Option<Answer>>,
}

impl Answers {
    pub(super) fn take_epoch(&mut self, epoch: &str) -> Result<(), StoreError> {
        let epoch = Epoch::new(epoch)?;
        match &self.epoch {
            Some(known) if *known != epoch => {
                Err(StoreError::OutcomeUnknown("a new epoch began inside the batch".into()))
            }
            _ => {
                self.epoch = Some(epoch);
                Ok(())
            }
        }
    }

    /// These wait: for their own room, or behind one that does.
    fn wait(&mut self, writes: &[usize], batch: &[Write], waiting: &Waiting<'_>) {
        for index in writes {
            let is_locked = waiting.is_locked(&batch[*index]);
            self.results[*index] = Some(Err(if is_locked { Refusal::Locked } else { Refusal::BehindLocked }));
        }
    }
}

pub(super) async fn commit(connections: &Connections, batch: Vec<Write>) -> Result<CommitBatch, StoreError> {
    if batch.len() > BATCH_MAX_WRITES {
        return Err(StoreError::Refused(format!("a batch has at most {BATCH_MAX_WRITES} writes").into()));
    }
    let mut answers = Answers { epoch: None, results: batch.iter().map(|_| None).collect() };
    let mut waiting = Waiting::default();
    for (number, run) in runs(&batch).into_iter().enumerate() {
        let is_sends = number % 2 == 0;
        for part in run.chunks(if is_sends { BATCH_MAX_WRITES } else { ACTS_MAX_PER_CALL }) {
            let outcome = carry_out(connections, &batch, is_sends, part.to_vec(), &mut answers, &mut waiting).await;
            outcome.map_err(|error| if answers.epoch.is_some() { unknown(error) } else { error })?;
        }
    }
    let epoch = match answers.epoch {
        Some(epoch) => epoch,
        None => super::upkeep::epoch(connections, false).await?,
    };
    let results = answers.results.into_iter().map(|answer| answer.ok_or_else(|| corrupt("a write got no answer")));
    Ok(CommitBatch { epoch, results: results.collect::<Result<_, _>>()? })
}

/// Carries out a run; what is locked is left out, and answered so.
async fn carry_out<'a>(
    connections: &Connections,
    batch: &'a [Write],
    is_sends: bool,
    run: Vec<usize>,
    answers: &mut Answers,
    waiting: &mut Waiting<'a>,
) -> Result<(), StoreError> {
    let (mut run, behind) = waiting.split(batch, run);
    answers.wait(&behind, batch, waiting);
    for _ in 0..LOCK_ATTEMPTS_MAX {
        let outcome = if is_sends {
            send(connections, batch, run.clone(), answers).await
        } else {
            act(connections, batch, &run, answers).await
        };
        match outcome {
            Err(error) if is_lock_timeout(&error) => tracing::debug!(%error, "a batch waited in vain for a lock"),
            other => return other,
        }
        run.retain(|index| answers.results[*index].is_none());
        waiting.lock(locked_rooms(connections, batch, &run).await?);
        let (on, behind) = waiting.split(batch, run);
        answers.wait(&behind, batch, waiting);
        run = on;
    }
    answers.wait(&run, batch, waiting);
    Ok(())
}

/// Which rooms of a run someone else has locked at this moment. Waits for nobody.
pub(super) async fn locked_rooms<'a>(
    connections: &Connections,
    batch: &'a [Write],
    run: &[usize],
) -> Result<Vec<&'a str>, StoreError> {
    let mut rooms: Vec<&'a str> =
        run.iter().filter_map(|index| batch[*index].action.room().map(RoomId::as_str)).collect();
    rooms.sort_unstable();
    rooms.dedup();
    // Nothing is written, so it can be asked again like a read.
    let rows = connections.run(Kind::Read, statements::LOCKED_ROOMS, &[&rooms]).await?;
    let locked: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    rooms.retain(|room| locked.iter().any(|other| other == room));
    Ok(rooms)
}

/// The server gave up waiting for a row that someone else has locked: nothing of the statement was done.
pub(super) fn is_lock_timeout(error: &StoreError) -> bool {
    let StoreError::Unavailable(cause) = error else { return false };
    let code = cause.downcast_ref::<tokio_postgres::Error>().and_then(tokio_postgres::Error::code);
    code == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

/// Something of the batch is committed already.
fn unknown(error: StoreError) -> StoreError {
    match error {
        StoreError::Unavailable(cause) | StoreError::Refused(cause) => StoreError::OutcomeUnknown(cause),
        StoreError::Corrupt(text) | StoreError::Unusable(text) => StoreError::OutcomeUnknown(text.into()),
        unknown @ StoreError::OutcomeUnknown(_) => unknown,
    }
}

/// Indexes of the writes of each run; even runs are sends, odd ones the others. Runs may be empty.
fn runs(batch: &[Write]) -> Vec<Vec<usize>> {
    let mut runs: Vec<Vec<usize>> = Vec::new();
    let mut last_of_room: HashMap<Cow<'_, str>, usize> = HashMap::new();
    let mut last_of_actor: HashMap<&str, usize> = HashMap::new();
    for (index, write) in batch.iter().enumerate() {
        let room = last_of_room.entry(write.action.place()).or_default();
        let actor = last_of_actor.entry(write.actor.as_str()).or_default();
        let mut run = (*room).max(*actor);
        if run % 2 != usize::from(!matches!(write.action, Action::SendMessage { .. })) {
            run += 1;
        }
        (*room, *actor) = (run, run);
        if runs.len() <= run {
            runs.resize(run + 1, Vec::new());
        }
        runs[run].push(index);
    }
    runs
}

/// What names an intent in the store: 16 bytes of a hash over stream, sender and nonce.
pub(super) fn key(write: &Write) -> Uuid {
    let mut hash = Sha256::new();
    for part in [&*write.action.place(), write.actor.as_str(), write.nonce.as_str()] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    Uuid::from_bytes(bytes)
}

pub(super) fn joined(mentions: &[UserId]) -> Option<String> {
    let names: Vec<&str> = mentions.iter().map(UserId::as_str).collect();
    (!names.is_empty()).then(|| names.join(" "))
}

/// What `hallway_act_v8` answers.
#[derive(Deserialize)]
pub(super) struct Acted {
    pub(super) epoch: Epoch,
    pub(super) at_ms: u64,
    pub(super) results: Vec<ActedOne>,
}

#[derive(Deserialize)]
pub(super) struct ActedOne {
    refused: Option<String>,
    #[serde(flatten)]
    said: Said,
    seq: Option<u64>,
    at_ms: Option<u64>,
    object: Option<ObjectId>,
    #[serde(default)]
    repeated: bool,
    #[serde(default)]
    events: Vec<Event>,
    #[serde(default)]
    fans_out: bool,
}

impl ActedOne {
    /// The answer to a write, of a run that was carried out then.
    pub(super) fn answer(self, action: &Action, at_ms: u64) -> Result<Answer, StoreError> {
        match (self.refused, self.seq) {
            (Some(name), _) => words::refusal(&name, self.said).map(Err),
            (None, Some(seq)) => Ok(Ok(Committed {
                stream: action.stream(),
                seq,
                at_ms: self.at_ms.unwrap_or(at_ms),
                id: if self.repeated { self.object } else { action.object() },
                repeated: self.repeated,
                events: self.events,
                fans_out: self.fans_out,
            })),
            (None, None) => Err(corrupt("an answer that says nothing")),
        }
    }
}

/// Has a run of writes carried out: in order, or all or none.
pub(super) async fn carry_out_acts(
    connections: &Connections,
    is_together: bool,
    writes: &[&Write],
) -> Result<Acted, StoreError> {
    let c = Concerns::of(writes);
    let described = Value::Array(writes.iter().map(|write| words::described(write)).collect());
    let rooms_max = i32::try_from(USER_ROOMS_MAX).unwrap_or(i32::MAX);
    let reactions_max = i32::try_from(REACTIONS_MAX_PER_MESSAGE).unwrap_or(i32::MAX);
    let first_look = connections.first_look_ms().map(|ms| ms.to_string()).unwrap_or_default();
    let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&described, &rooms_max, &reactions_max, &first_look];
    parameters.extend([&c.is_any as &(dyn ToSql + Sync), &c.keys, &c.rooms, &c.named_in, &c.named]);
    parameters.extend([&c.tasks_in as &(dyn ToSql + Sync), &c.tasks, &c.replies_in, &c.replies, &c.direct]);
    let statement = if is_together { statements::TOGETHER } else { statements::ACT };
    let row = connections.run_one(Kind::Write, statement, &parameters).await?;
    serde_json::from_str(row.get(0)).map_err(corrupt)
}

async fn act(
    connections: &Connections,
    batch: &[Write],
    run: &[usize],
    answers: &mut Answers,
) -> Result<(), StoreError> {
    if run.is_empty() {
        return Ok(());
    }
    let writes: Vec<&Write> = run.iter().map(|index| &batch[*index]).collect();
    let acted = carry_out_acts(connections, false, &writes).await?;
    answers.take_epoch(acted.epoch.as_str())?;
    if acted.results.len() != run.len() {
        return Err(corrupt(format!("{} answers to {} writes", acted.results.len(), run.len())));
    }
    for (one, index) in acted.results.into_iter().zip(run) {
        answers.results[*index] = Some(one.answer(&batch[*index].action, acted.at_ms)?);
    }
    Ok(())
}

/// What `hallway_mark_read_v1` answers.
#[derive(Deserialize)]
struct Marked {
    epoch: Epoch,
    results: Vec<Option<MarkedOne>>,
}

#[derive(Deserialize)]
struct MarkedOne {
    read_seq: u64,
    unread: u64,
    event: Option<Event>,
}

pub(super) async fn mark_read(connections: &Connections, marks: Vec<Mark>) -> Result<MarkBatch, StoreError> {
    let users: Vec<&str> = marks.iter().map(|mark| mark.user.as_str()).collect();
    let rooms: Vec<&str> = marks.iter().map(|mark| mark.room.as_str()).collect();
    let seqs: Vec<i64> = marks.iter().map(|mark| signed(mark.seq)).collect();
    let row = connections.run_one(Kind::Write, statements::MARK_READ, &[&users, &rooms, &seqs]).await?;
    let marked: Marked = serde_json::from_str(row.get(0)).map_err(corrupt)?;
    let results = marked
        .results
        .into_iter()
        .map(|one| one.map(|one| MarkResult { read_seq: one.read_seq, unread: one.unread, event: one.event }));
    Ok(MarkBatch { epoch: marked.epoch, results: results.collect() })
}
