//! Read markers: coalesced per (user, room), written at most once a second, each mark answered when it was written.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hallway_protocol::command::Marked;
use hallway_protocol::{ErrorBody, ErrorCode, RoomId, Seq, UserId};
use hallway_store::{Mark, Store};
use tokio::sync::{mpsc, oneshot};

use super::{Publisher, answers};
use crate::config::Limits;
use crate::hub::LiveEvent;
use crate::tasks::Tasks;

/// A marker is written at most this often.
const WRITE_PERIOD: Duration = Duration::from_secs(1);
/// Marks that wait for the task.
const QUEUE_MAX_MARKS: usize = 4096;
/// Markers written in one batch.
const BATCH_MAX_MARKS: usize = 500;

type Key = (UserId, RoomId);
/// `None`: not a member.
type Answer = Result<Option<Marked>, ErrorBody>;

struct Pending {
    seq: Seq,
    due: Instant,
    replies: Vec<oneshot::Sender<Answer>>,
}

/// The way to the marks task.
#[derive(Clone)]
pub(super) struct Marks {
    queue: mpsc::Sender<(Mark, oneshot::Sender<Answer>)>,
}

impl Marks {
    pub(super) fn start(store: Arc<dyn Store>, publisher: Publisher, limits: &Limits, tasks: &Tasks) -> Self {
        let (queue, marks) = mpsc::channel(QUEUE_MAX_MARKS);
        let timeout = Duration::from_millis(limits.store_timeout_ms);
        let task = MarksTask { store, publisher, timeout, pending: HashMap::new(), written: HashMap::new() };
        let stop = tasks.clone();
        tasks.spawn(async move { task.run(marks, stop).await });
        Self { queue }
    }

    /// Moves a marker; answers when it was written, at most a second later.
    pub(super) async fn mark(&self, mark: Mark) -> Answer {
        let (reply, answer) = oneshot::channel();
        if self.queue.try_send((mark, reply)).is_err() {
            let message = "too many read markers are waiting; nothing was written: try again";
            return Err(ErrorBody::new(ErrorCode::Overloaded, message).retry_after(1000));
        }
        answer.await.unwrap_or_else(|_| Err(answers::unknown()))
    }
}

struct MarksTask {
    store: Arc<dyn Store>,
    publisher: Publisher,
    timeout: Duration,
    pending: HashMap<Key, Pending>,
    written: HashMap<Key, Instant>,
}

impl MarksTask {
    async fn run(mut self, mut marks: mpsc::Receiver<(Mark, oneshot::Sender<Answer>)>, tasks: Tasks) {
        let mut batch = Vec::new();
        loop {
            let due = self.pending.values().map(|pending| pending.due).min();
            let wake_at = due.unwrap_or_else(|| Instant::now() + WRITE_PERIOD);
            tokio::select! {
                count = marks.recv_many(&mut batch, BATCH_MAX_MARKS) => if count == 0 { return },
                () = tokio::time::sleep_until(wake_at.into()) => {}
                () = tasks.stopped() => return,
            }
            let now = Instant::now();
            for (mark, reply) in batch.drain(..) {
                self.take(mark, reply, now);
            }
            self.write_due(now).await;
            self.written.retain(|_, at| at.elapsed() < WRITE_PERIOD);
        }
    }

    fn take(&mut self, mark: Mark, reply: oneshot::Sender<Answer>, now: Instant) {
        let key = (mark.user, mark.room);
        let due = self.written.get(&key).map_or(now, |at| *at + WRITE_PERIOD);
        let pending = self.pending.entry(key).or_insert_with(|| Pending { seq: 0, due, replies: Vec::new() });
        pending.seq = pending.seq.max(mark.seq);
        pending.replies.push(reply);
    }

    async fn write_due(&mut self, now: Instant) {
        let due: Vec<(Key, Pending)> =
            self.pending.extract_if(|_, pending| pending.due <= now).take(BATCH_MAX_MARKS).collect();
        if due.is_empty() {
            return;
        }
        let marks =
            due.iter().map(|((user, room), pending)| Mark { user: user.clone(), room: room.clone(), seq: pending.seq });
        let result = tokio::time::timeout(self.timeout, self.store.mark_read(marks.collect())).await;
        let batch = match result {
            Ok(Ok(batch)) => batch,
            failed => {
                let error = match failed {
                    Ok(Err(error)) => {
                        tracing::warn!(%error, "writing read markers failed");
                        answers::store_error(&error)
                    }
                    _ => answers::unknown(),
                };
                for reply in due.into_iter().flat_map(|(_, pending)| pending.replies) {
                    let _ = reply.send(Err(error.clone()));
                }
                return;
            }
        };
        self.publisher.hub.set_epoch(&batch.epoch);
        let mut events = Vec::new();
        for ((key, pending), result) in due.into_iter().zip(batch.results) {
            let answer = match result {
                None => Ok(None),
                Some(marked) => {
                    events.extend(marked.event.map(|event| Arc::new(LiveEvent::new(event))));
                    Ok(Some(Marked { read_seq: marked.read_seq, unread: marked.unread }))
                }
            };
            for reply in pending.replies {
                let _ = reply.send(answer.clone());
            }
            self.written.insert(key, now);
        }
        self.publisher.publish(events).await;
    }
}
