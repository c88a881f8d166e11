//! Group commit: one batch at a time, no timer. While a batch is being committed, the next one gathers. Writes that someone
//! else's lock in the store holds up wait apart (`parking`, pure), and are tried again beside the batches.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hallway_protocol::{ErrorBody, ErrorCode, EventBody, StreamId, UserId};
use hallway_store::{Action, BATCH_MAX_WRITES, CommitBatch, Committed, Refusal, Store, StoreError, Write};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use super::parking::{Admit, Keyed, Left, Parking, split_behind};
use super::{Publisher, answers};
use crate::config::Limits;
use crate::hub::LiveEvent;
use crate::sabotage::{FailPoint, Mutant, is_on, pass};
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

/// Batches whose answer came too late and is still awaited.
const LATE_BATCHES_MAX: usize = 64;
/// Between attempts to learn what became of a batch of unknown outcome.
const HEADS_RETRY_PAUSE: Duration = Duration::from_millis(250);

/// A batch that failed after this share of the store's time-out was left waiting.
const LEFT_WAITING_SHARE: u32 = 3;

/// Pause between two attempts with writes whose rooms are locked. The store waits for the lock in each.
const PARKED_PAUSE: Duration = Duration::from_millis(20);

/// What became of a part of a batch.
enum Part {
    /// Everybody has an answer, but for those that the store left out because of a lock.
    Settled(Vec<Left<Entry>>),
    /// Everybody has an answer, but the store let them wait for it in vain.
    LeftWaiting,
    /// Refused as a whole, and more than one: to be halved.
    Refused(Vec<Entry>),
}

/// What a write came to.
pub(super) type Written = Result<Committed, ErrorBody>;

struct Entry {
    write: Write,
    /// Of the write's action.
    stream: StreamId,
    queued_at: Instant,
    reply: oneshot::Sender<Written>,
}

impl Keyed for Entry {
    type Room = StreamId;
    type Actor = UserId;

    fn room(&self) -> &StreamId {
        &self.stream
    }

    fn actor(&self) -> &UserId {
        &self.write.actor
    }
}

/// What became of a batch.
#[derive(Default)]
struct Outcome {
    /// The store let it wait in vain.
    is_left_waiting: bool,
    /// What the store left out because of a lock, in order: these have no answer yet.
    left: Vec<Left<Entry>>,
}

/// The way to the writer task.
#[derive(Clone)]
pub(super) struct Writer {
    queue: mpsc::Sender<Entry>,
}

impl Writer {
    pub(super) fn start(
        store: Arc<dyn Store>,
        publisher: Publisher,
        limits: &Limits,
        metrics: Arc<Metrics>,
        tasks: &Tasks,
    ) -> Self {
        let (queue, entries) = mpsc::channel(usize::try_from(limits.writer_queue_max).unwrap_or(usize::MAX));
        let task = WriterTask {
            store,
            publisher,
            metrics,
            wait_max: Duration::from_millis(limits.writer_wait_max_ms),
            store_timeout: Duration::from_millis(limits.store_timeout_ms),
            tasks: tasks.clone(),
            late: Arc::new(tokio::sync::Semaphore::new(LATE_BATCHES_MAX)),
            parking: Arc::new(Mutex::new(Parking::new(usize::try_from(limits.writer_queue_max).unwrap_or(usize::MAX)))),
        };
        tasks.spawn(task.run(entries));
        Self { queue }
    }

    /// Queues a write, in the order of the calls. The answer comes through the receiver; dropping it takes nothing back.
    pub(super) fn submit(&self, write: Write) -> Result<oneshot::Receiver<Written>, ErrorBody> {
        let (reply, answer) = oneshot::channel();
        let entry = Entry { stream: write.action.stream(), write, queued_at: Instant::now(), reply };
        match self.queue.try_send(entry) {
            Ok(()) => Ok(answer),
            Err(mpsc::error::TrySendError::Full(_)) => Err(overloaded()),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                Err(ErrorBody::new(ErrorCode::ShuttingDown, "the node is stopping: reconnect and repeat"))
            }
        }
    }
}

#[derive(Clone)]
struct WriterTask {
    store: Arc<dyn Store>,
    publisher: Publisher,
    metrics: Arc<Metrics>,
    wait_max: Duration,
    store_timeout: Duration,
    tasks: Tasks,
    late: Arc<tokio::sync::Semaphore>,
    /// Writes that wait for locked rooms.
    parking: Arc<Mutex<Parking<Entry>>>,
}

impl WriterTask {
    async fn run(self, mut entries: mpsc::Receiver<Entry>) {
        let mut batch = Vec::with_capacity(BATCH_MAX_WRITES);
        loop {
            tokio::select! {
                biased;
                count = entries.recv_many(&mut batch, BATCH_MAX_WRITES) => if count == 0 { return },
                // Sessions end first; what they handed over was taken by the arm above.
                () = self.tasks.stopped() => entries.close(),
            }
            let batch = self.admit(std::mem::take(&mut batch));
            let outcome = self.write(batch, self.wait_max).await;
            if outcome.is_left_waiting {
                self.refuse_waiting(&mut entries);
            }
            if !outcome.left.is_empty() {
                self.parking().put_back(outcome.left, Instant::now());
            }
            self.try_parked();
        }
    }

    fn parking(&self) -> MutexGuard<'_, Parking<Entry>> {
        self.parking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that need not wait behind a locked room.
    fn admit(&self, batch: Vec<Entry>) -> Vec<Entry> {
        let now = Instant::now();
        let mut goes = Vec::with_capacity(batch.len());
        let mut parking = self.parking();
        for entry in batch {
            match parking.admit(entry, now) {
                Admit::Go(entry) => goes.push(entry),
                Admit::Parked => {}
                Admit::Full(entry) => {
                    let _ = entry.reply.send(Err(overloaded()));
                }
            }
        }
        goes
    }

    /// Tries what waits for locked rooms again, beside the batches, until nothing waits any more.
    fn try_parked(&self) {
        let begun = self.parking().try_again(BATCH_MAX_WRITES, Instant::now());
        let Some(mut parked) = begun else { return };
        let this = self.clone();
        // An attempt takes up to a third of what may be waited in all: the answer comes in time.
        let wait_max = self.wait_max * 2 / 3;
        self.tasks.spawn(async move {
            loop {
                this.metrics.writes_parked.set(i64::try_from(this.parking().len()).unwrap_or(i64::MAX));
                let keys = parked.iter().map(|entry| (entry.room().clone(), entry.actor().clone())).collect();
                let outcome = this.write(parked, wait_max).await;
                this.parking().tried(keys, outcome.left, Instant::now());
                tokio::time::sleep(PARKED_PAUSE).await;
                let next = this.parking().try_again(BATCH_MAX_WRITES, Instant::now());
                match next {
                    Some(next) => parked = next,
                    None => break,
                }
            }
            this.metrics.writes_parked.set(i64::try_from(this.parking().len()).unwrap_or(i64::MAX));
        });
    }

    /// What queued up behind a batch that the store left waiting is told now: after a second wait of that length the
    /// error would come too late.
    fn refuse_waiting(&self, entries: &mut mpsc::Receiver<Entry>) {
        for _ in 0..entries.len() {
            let Ok(entry) = entries.try_recv() else { return };
            let _ = entry.reply.send(Err(answers::unavailable()));
        }
    }

    /// Commits a batch; one that the store refuses for its data is halved until the culprit stands alone.
    async fn write(&self, batch: Vec<Entry>, wait_max: Duration) -> Outcome {
        let mut outcome = Outcome::default();
        let mut parts = VecDeque::from([batch]);
        while let Some(part) = parts.pop_front() {
            let (part, behind) = split_behind(self.drop_overdue(part, wait_max), &outcome.left);
            outcome.left.extend(behind);
            if part.is_empty() {
                continue;
            }
            match self.write_part(part).await {
                Part::Settled(locked) => outcome.left.extend(locked),
                Part::LeftWaiting => {
                    for part in parts {
                        refuse(part, &answers::unavailable());
                    }
                    outcome.is_left_waiting = true;
                    return outcome;
                }
                Part::Refused(mut first) => {
                    let second = first.split_off(first.len() / 2);
                    parts.push_front(second);
                    parts.push_front(first);
                }
            }
        }
        outcome
    }

    fn drop_overdue(&self, part: Vec<Entry>, wait_max: Duration) -> Vec<Entry> {
        let (in_time, overdue): (Vec<_>, Vec<_>) =
            part.into_iter().partition(|entry| entry.queued_at.elapsed() <= wait_max);
        for entry in overdue {
            let _ = entry.reply.send(Err(answers::unavailable()));
        }
        in_time
    }

    async fn write_part(&self, part: Vec<Entry>) -> Part {
        let writes: Vec<Write> = part.iter().map(|entry| entry.write.clone()).collect();
        let streams: Vec<StreamId> = writes.iter().map(|write| write.action.stream()).collect();
        self.metrics.commit_batch_writes.record(writes.len());
        let part = if is_on(Mutant::AcknowledgeBeforeCommit) { self.acknowledge_unheard(part).await } else { part };
        pass(FailPoint::BeforeCommit);
        let begun = Instant::now();
        let store = Arc::clone(&self.store);
        let mut commit: Pin<Box<dyn Future<Output = Result<CommitBatch, StoreError>> + Send>> =
            Box::pin(async move { store.commit(writes).await });
        let result = tokio::time::timeout(self.store_timeout, &mut commit).await;
        self.metrics.commit_duration.record(begun.elapsed());
        match result {
            Ok(Ok(batch)) => return Part::Settled(self.acknowledge(part, batch).await),
            Ok(Err(StoreError::Refused(cause))) => {
                if part.len() > 1 {
                    return Part::Refused(part);
                }
                warn!(%cause, "the store refused a write");
                refuse(part, &answers::store_error(&StoreError::Refused(cause)));
            }
            Ok(Err(failure)) => {
                error!(error = %failure, writes = part.len(), "a batch failed");
                refuse(part, &answers::store_error(&failure));
                if matches!(failure, StoreError::OutcomeUnknown(_)) {
                    self.look_for(streams);
                }
                if begun.elapsed() > self.store_timeout / LEFT_WAITING_SHARE {
                    return Part::LeftWaiting;
                }
            }
            Err(_) => {
                error!(writes = part.len(), "the store did not answer in time; the outcome is unknown");
                refuse(part, &answers::unknown());
                self.await_late(commit, streams);
                return Part::LeftWaiting;
            }
        }
        Part::Settled(Vec::new())
    }

    /// [`Mutant::AcknowledgeBeforeCommit`]: answers with the numbers that the messages would get.
    async fn acknowledge_unheard(&self, part: Vec<Entry>) -> Vec<Entry> {
        let mut unheard = Vec::with_capacity(part.len());
        for (place, entry) in part.into_iter().enumerate() {
            let Action::SendMessage { room, id, .. } = &entry.write.action else {
                unheard.push(entry);
                continue;
            };
            let stream = StreamId::Room(room.clone());
            let heads = self.store.heads(vec![stream.clone()]).await;
            let last_seq = heads.map_or(0, |batch| batch.heads.first().map_or(0, |head| head.last_seq));
            let seq = last_seq + 1 + place as u64;
            let id = Some((*id).into());
            let events = Vec::new();
            let committed = Committed { stream, seq, at_ms: 0, id, repeated: false, events, fans_out: false };
            drop(entry.reply.send(Ok(committed)));
            unheard.push(Entry {
                stream: entry.stream,
                write: entry.write,
                queued_at: entry.queued_at,
                reply: oneshot::channel().0,
            });
        }
        unheard
    }

    /// Publishes, then answers. Says what was left out because of a lock.
    async fn acknowledge(&self, part: Vec<Entry>, batch: CommitBatch) -> Vec<Left<Entry>> {
        pass(FailPoint::AfterCommitBeforePublish);
        self.publisher.hub.set_epoch(&batch.epoch);
        let results = self.publish(batch).await;
        pass(FailPoint::AfterPublishBeforeAcknowledge);
        let mut left = Vec::new();
        for (entry, result) in part.into_iter().zip(results) {
            match result {
                Err(Refusal::Locked) => left.push(Left { write: entry, is_locked: true }),
                Err(Refusal::BehindLocked) => left.push(Left { write: entry, is_locked: false }),
                // A publisher that hung up does not read its answer; the event is out all the same.
                result => drop(entry.reply.send(result.map_err(answers::refusal))),
            }
        }
        left
    }

    async fn publish(&self, batch: CommitBatch) -> Vec<Result<Committed, Refusal>> {
        let mut events = Vec::new();
        let mut results = batch.results;
        for committed in results.iter_mut().flatten() {
            for event in committed.events.drain(..) {
                if let (StreamId::User(user), EventBody::MembershipChanged(change)) = (&event.stream, &event.body) {
                    self.publisher.hub.learn_change(user, change, event.seq);
                }
                events.push(Arc::new(LiveEvent::new(event)));
            }
        }
        self.metrics.events_committed.add(events.len() as u64);
        self.publisher.publish(events).await;
        results
    }

    /// The answer came too late for the publishers. When it comes, its events are published all the same.
    fn await_late(
        &self,
        commit: Pin<Box<dyn Future<Output = Result<CommitBatch, StoreError>> + Send>>,
        streams: Vec<StreamId>,
    ) {
        let Ok(permit) = Arc::clone(&self.late).try_acquire_owned() else {
            self.look_for(streams);
            return;
        };
        let this = self.clone();
        self.tasks.spawn(async move {
            let _permit = permit;
            tokio::select! {
                result = commit => match result {
                    Ok(batch) => {
                        this.publisher.hub.set_epoch(&batch.epoch);
                        this.publish(batch).await;
                    }
                    Err(_) => this.look(streams).await,
                },
                () = this.tasks.stopped() => {}
            }
        });
    }

    /// Nobody knows whether the batch was committed: the heads of its streams tell, once the store answers.
    fn look_for(&self, streams: Vec<StreamId>) {
        let this = self.clone();
        self.tasks.spawn(async move { this.look(streams).await });
    }

    async fn look(&self, mut streams: Vec<StreamId>) {
        streams.sort();
        streams.dedup();
        loop {
            if let Ok(batch) = self.store.heads(streams.clone()).await {
                self.publisher.hub.heads(batch.heads.into_iter().map(|head| (head.stream, head.last_seq)).collect());
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(HEADS_RETRY_PAUSE) => {}
                () = self.tasks.stopped() => return,
            }
        }
    }
}

fn overloaded() -> ErrorBody {
    let message = "too many writes are waiting for the store; nothing was written: try again";
    ErrorBody::new(ErrorCode::Overloaded, message).retry_after(200)
}

fn refuse(part: Vec<Entry>, error: &ErrorBody) {
    for entry in part {
        let _ = entry.reply.send(Err(error.clone()));
    }
}
