//! Group commit without a timer: while a batch is being committed, the next one gathers. What goes into which batch, and which
//! batches are under way side by side, is decided by `schedule` (pure). Several writes that are to be made together (`entry`)
//! keep their place among the others and are a batch of their own. Writes that someone else's lock in the store holds up wait
//! apart (`parking`, pure), and are tried again beside the batches. `late` is what becomes of a batch whose answer did not come
//! in time.
//!
//! **Invariant:** the writes of one actor, and those of one room, reach the store in the order in which they were queued.

mod entry;
mod late;
mod parking;
mod part;
mod schedule;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hallway_protocol::{ErrorBody, ErrorCode, EventBody, StreamId};
use hallway_store::{BATCH_MAX_WRITES, Store, StoreError, Write};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use self::entry::WrittenTogether;
use self::entry::{Entry, parts};
pub(super) use self::entry::{NotTogether, Unwritten, Written};
pub(crate) use self::parking::Keyed;
use self::parking::{Admit, Left, Parking, split_behind};
use self::part::{Answered, Commit, Results, commit, settle_one, settle_together};
#[cfg(test)]
pub(crate) use self::schedule::{Kind, Scheduled};
pub(crate) use self::schedule::{Schedule, Ticket};
use super::{Publisher, answers};
use crate::config::Limits;
use crate::hub::LiveEvent;
use crate::sabotage::{FailPoint, Mutant, is_on, pass};
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

/// Batches whose answer came too late and is still awaited.
const LATE_BATCHES_MAX: usize = 64;
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
    /// Writes in the queue, and how many there may be.
    queued: Arc<AtomicUsize>,
    queued_max: usize,
}

impl Writer {
    pub(super) fn start(
        store: Arc<dyn Store>,
        publisher: Publisher,
        limits: &Limits,
        metrics: Arc<Metrics>,
        tasks: &Tasks,
    ) -> Self {
        let queued_max = usize::try_from(limits.writer_queue_max).unwrap_or(usize::MAX);
        let (queue, entries) = mpsc::channel(queued_max);
        let queued = Arc::new(AtomicUsize::new(0));
        let task = WriterTask {
            store,
            publisher,
            metrics,
            wait_max: Duration::from_millis(limits.writer_wait_max_ms),
            store_timeout: Duration::from_millis(limits.store_timeout_ms),
            tasks: tasks.clone(),
            late: Arc::new(tokio::sync::Semaphore::new(LATE_BATCHES_MAX)),
            parking: Arc::new(Mutex::new(Parking::new(queued_max))),
            queued: Arc::clone(&queued),
        };
        tasks.spawn(task.run(entries));
        Self { queue, queued, queued_max }
    }

    /// Queues a write, in the order of the calls. The answer comes through the receiver; dropping it takes nothing back.
    pub(super) fn submit(&self, write: Write) -> Result<oneshot::Receiver<Written>, ErrorBody> {
        let (reply, answer) = oneshot::channel();
        self.queue(Entry::one(write, reply))?;
        Ok(answer)
    }

    /// The same for several writes of one actor, which are made together or not at all; at least one.
    pub(super) fn submit_together(&self, writes: Vec<Write>) -> Result<oneshot::Receiver<WrittenTogether>, ErrorBody> {
        if writes.is_empty() {
            return Err(ErrorBody::new(ErrorCode::InvalidArgument, "nothing to do: give at least one"));
        }
        let (reply, answer) = oneshot::channel();
        self.queue(Entry::together(writes, reply))?;
        Ok(answer)
    }

    fn queue(&self, entry: Entry) -> Result<(), ErrorBody> {
        let weight = entry.weight();
        if self.queued.fetch_add(weight, Ordering::Relaxed) + weight > self.queued_max.max(weight) {
            self.queued.fetch_sub(weight, Ordering::Relaxed);
            return Err(overloaded());
        }
        self.queue.try_send(entry).map_err(|error| {
            self.queued.fetch_sub(weight, Ordering::Relaxed);
            match error {
                mpsc::error::TrySendError::Full(_) => overloaded(),
                mpsc::error::TrySendError::Closed(_) => {
                    ErrorBody::new(ErrorCode::ShuttingDown, "the node is stopping: reconnect and repeat")
                }
            }
        })
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
    /// Writes in the queue.
    queued: Arc<AtomicUsize>,
}

impl WriterTask {
    async fn run(self, mut entries: mpsc::Receiver<Entry>) {
        let mut schedule = Schedule::new(self.store.commits_side_by_side());
        let mut under_way = FuturesUnordered::new();
        let mut came = Vec::with_capacity(BATCH_MAX_WRITES);
        let (mut is_stopping, mut is_closed) = (false, false);
        while !(is_closed && schedule.is_idle()) {
            tokio::select! {
                biased;
                Some((ticket, outcome)) = under_way.next() => self.over(&mut schedule, &mut entries, &ticket, outcome),
                count = entries.recv_many(&mut came, BATCH_MAX_WRITES), if !is_closed => {
                    is_closed = count == 0;
                    came.drain(..).for_each(|entry| schedule.push(entry));
                }
                // Sessions end first; what they handed over was taken by the arm above.
                () = self.tasks.stopped(), if !is_stopping => {
                    is_stopping = true;
                    entries.close();
                }
                // Not reached: what waits while nothing is under way may go.
                else => return,
            }
            while let Some(batch) = schedule.next(BATCH_MAX_WRITES, |entry| self.admit(entry)) {
                let (writes, ticket) = batch.split();
                under_way.push(async { (ticket, self.write(writes, self.wait_max).await) });
            }
            self.metrics.writer_looks_cut_short.add(schedule.looks_cut_short());
            // Also when all that came was parked, and nothing is under way.
            self.try_parked();
            self.metrics.commits_under_way.set(i64::try_from(under_way.len()).unwrap_or(i64::MAX));
        }
    }

    /// A batch is over: what it left out is parked, and what waited behind it may go.
    fn over(
        &self,
        schedule: &mut Schedule<Entry>,
        entries: &mut mpsc::Receiver<Entry>,
        ticket: &Ticket,
        outcome: Outcome,
    ) {
        if outcome.is_left_waiting {
            // After a second wait of that length the error would come too late.
            for entry in schedule.drain() {
                self.refuse_waiting(entry);
            }
            for _ in 0..entries.len() {
                let Ok(entry) = entries.try_recv() else { break };
                self.refuse_waiting(entry);
            }
        }
        if !outcome.left.is_empty() {
            self.parking().put_back(outcome.left, Instant::now());
        }
        schedule.over(ticket);
    }

    /// What queued up behind a batch that the store left waiting is told now.
    fn refuse_waiting(&self, entry: Entry) {
        self.queued.fetch_sub(entry.weight(), Ordering::Relaxed);
        entry.fail(answers::unavailable());
    }

    fn parking(&self) -> MutexGuard<'_, Parking<Entry>> {
        self.parking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An entry leaves the queue: it goes to the store unless it has to wait behind a locked room.
    fn admit(&self, entry: Entry) -> Option<Entry> {
        self.queued.fetch_sub(entry.weight(), Ordering::Relaxed);
        match self.parking().admit(entry, Instant::now()) {
            Admit::Go(entry) => return Some(entry),
            Admit::Parked => {}
            Admit::Full(entry) => entry.fail(overloaded()),
        }
        None
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
                let keys = parked.iter().map(|entry| (entry.rooms().to_vec(), entry.actor().clone())).collect();
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

    /// Commits a batch; one that the store refuses for its data is halved until the culprit stands alone.
    async fn write(&self, batch: Vec<Entry>, wait_max: Duration) -> Outcome {
        let mut outcome = Outcome::default();
        let mut parts = VecDeque::from(parts(batch));
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
        refuse(overdue, &answers::unavailable());
        in_time
    }

    async fn write_part(&self, part: Vec<Entry>) -> Part {
        let writes: Vec<Write> = part.iter().flat_map(Entry::writes).cloned().collect();
        let streams: Vec<StreamId> = part.iter().flat_map(Keyed::rooms).cloned().collect();
        self.metrics.commit_batch_writes.record(writes.len());
        let together = part.iter().any(Entry::is_together);
        let part = if is_on(Mutant::AcknowledgeBeforeCommit) { self.acknowledge_unheard(part).await } else { part };
        pass(FailPoint::BeforeCommit);
        let begun = Instant::now();
        let mut commit = commit(Arc::clone(&self.store), writes, together);
        let result = tokio::time::timeout(self.store_timeout, &mut commit).await;
        self.metrics.commit_duration.record(begun.elapsed());
        match result {
            Ok(Ok(answered)) => return Part::Settled(self.acknowledge(part, answered).await),
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

    /// Publishes, then answers. Says what was left out because of a lock.
    async fn acknowledge(&self, part: Vec<Entry>, answered: Answered) -> Vec<Left<Entry>> {
        pass(FailPoint::AfterCommitBeforePublish);
        let results = self.publish(answered).await;
        pass(FailPoint::AfterPublishBeforeAcknowledge);
        match results {
            Results::Each(results) => {
                part.into_iter().zip(results).filter_map(|(entry, result)| settle_one(entry, result)).collect()
            }
            Results::Together(result) => {
                part.into_iter().next().and_then(|entry| settle_together(entry, result)).into_iter().collect()
            }
        }
    }

    async fn publish(&self, answered: Answered) -> Results {
        self.publisher.hub.set_epoch(&answered.epoch);
        let mut events = Vec::new();
        let mut results = answered.results;
        let mut fans_out = false;
        for committed in results.committed() {
            fans_out |= committed.fans_out;
            for event in committed.events.drain(..) {
                if let (StreamId::User(user), EventBody::MembershipChanged(change)) = (&event.stream, &event.body) {
                    self.publisher.hub.learn_change(user, change, event.seq);
                }
                events.push(Arc::new(LiveEvent::new(event)));
            }
        }
        self.metrics.events_committed.add(events.len() as u64);
        self.publisher.publish(events).await;
        if fans_out {
            self.publisher.work.fan_out_soon();
        }
        results
    }
}

fn overloaded() -> ErrorBody {
    let message = "too many writes are waiting for the store; nothing was written: try again";
    ErrorBody::new(ErrorCode::Overloaded, message).retry_after(200)
}

fn refuse(part: impl IntoIterator<Item = Entry>, error: &ErrorBody) {
    part.into_iter().for_each(|entry| entry.fail(error.clone()));
}
