//! Group commit: one batch at a time, no timer. While a batch is being committed, the next one gathers.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hallway_protocol::{ErrorBody, ErrorCode, EventBody, StreamId};
use hallway_store::{BATCH_MAX_WRITES, CommitBatch, Committed, Store, StoreError, Write};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use super::{Publisher, answers};
use crate::config::Limits;
use crate::hub::LiveEvent;
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

/// Batches whose answer came too late and is still awaited.
const LATE_BATCHES_MAX: usize = 64;
/// Between attempts to learn what became of a batch of unknown outcome.
const HEADS_RETRY_PAUSE: Duration = Duration::from_millis(250);

/// A batch that failed after this share of the store's time-out was left waiting.
const LEFT_WAITING_SHARE: u32 = 3;

/// What became of a part of a batch.
enum Part {
    /// Everybody has an answer.
    Settled,
    /// The same, but the store let them wait for it in vain.
    LeftWaiting,
    /// Refused as a whole, and more than one: to be halved.
    Refused(Vec<Entry>),
}

/// What a write came to.
pub(super) type Written = Result<Committed, ErrorBody>;

struct Entry {
    write: Write,
    queued_at: Instant,
    reply: oneshot::Sender<Written>,
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
        };
        tasks.spawn(task.run(entries));
        Self { queue }
    }

    /// Queues a write, in the order of the calls. The answer comes through the receiver; dropping it takes nothing back.
    pub(super) fn submit(&self, write: Write) -> Result<oneshot::Receiver<Written>, ErrorBody> {
        let (reply, answer) = oneshot::channel();
        let entry = Entry { write, queued_at: Instant::now(), reply };
        match self.queue.try_send(entry) {
            Ok(()) => Ok(answer),
            Err(mpsc::error::TrySendError::Full(_)) => {
                let message = "too many writes are waiting for the store; nothing was written: try again";
                Err(ErrorBody::new(ErrorCode::Overloaded, message).retry_after(200))
            }
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
            if self.write(std::mem::take(&mut batch)).await {
                self.refuse_waiting(&mut entries);
            }
        }
    }

    /// What queued up behind a batch that the store left waiting is told now: after a second wait of that length the
    /// error would come too late.
    fn refuse_waiting(&self, entries: &mut mpsc::Receiver<Entry>) {
        for _ in 0..entries.len() {
            let Ok(entry) = entries.try_recv() else { return };
            let _ = entry.reply.send(Err(answers::unavailable()));
        }
    }

    /// Commits a batch; one that the store refuses for its data is halved until the culprit stands alone. Says whether
    /// the store left it waiting.
    async fn write(&self, batch: Vec<Entry>) -> bool {
        let mut parts = VecDeque::from([batch]);
        while let Some(part) = parts.pop_front() {
            let part = self.drop_overdue(part);
            if part.is_empty() {
                continue;
            }
            match self.write_part(part).await {
                Part::Settled => {}
                Part::LeftWaiting => {
                    for part in parts {
                        refuse(part, &answers::unavailable());
                    }
                    return true;
                }
                Part::Refused(mut first) => {
                    let second = first.split_off(first.len() / 2);
                    parts.push_front(second);
                    parts.push_front(first);
                }
            }
        }
        false
    }

    fn drop_overdue(&self, part: Vec<Entry>) -> Vec<Entry> {
        let (in_time, overdue): (Vec<_>, Vec<_>) =
            part.into_iter().partition(|entry| entry.queued_at.elapsed() <= self.wait_max);
        for entry in overdue {
            let _ = entry.reply.send(Err(answers::unavailable()));
        }
        in_time
    }

    async fn write_part(&self, part: Vec<Entry>) -> Part {
        let writes: Vec<Write> = part.iter().map(|entry| entry.write.clone()).collect();
        let streams: Vec<StreamId> = writes.iter().map(|write| StreamId::Room(write.action.room().clone())).collect();
        self.metrics.commit_batch_writes.record(writes.len());
        let begun = Instant::now();
        let store = Arc::clone(&self.store);
        let mut commit: Pin<Box<dyn Future<Output = Result<CommitBatch, StoreError>> + Send>> =
            Box::pin(async move { store.commit(writes).await });
        let result = tokio::time::timeout(self.store_timeout, &mut commit).await;
        self.metrics.commit_duration.record(begun.elapsed());
        match result {
            Ok(Ok(batch)) => self.acknowledge(part, batch).await,
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
        Part::Settled
    }

    async fn acknowledge(&self, part: Vec<Entry>, batch: CommitBatch) {
        self.publisher.hub.set_epoch(&batch.epoch);
        let results = self.publish(batch).await;
        for (entry, result) in part.into_iter().zip(results) {
            // A publisher that hung up does not read its answer; the event is out all the same.
            let _ = entry.reply.send(result.map_err(answers::refusal));
        }
    }

    async fn publish(&self, batch: CommitBatch) -> Vec<Result<Committed, hallway_store::Refusal>> {
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

fn refuse(part: Vec<Entry>, error: &ErrorBody) {
    for entry in part {
        let _ = entry.reply.send(Err(error.clone()));
    }
}
