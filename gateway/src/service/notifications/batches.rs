//! The batcher at work: what was committed goes through it, and a task wakes when something waited long enough.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hallway_protocol::{EventBody, StreamId, UserId};
use tokio::sync::Notify;

use super::super::Publisher;
use super::batcher::{BatchRules, Batcher, Left};
use crate::config::Limits;
use crate::hub::LiveEvent;
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

/// The notifications that wait for one another on this node.
pub(in crate::service) struct Batches {
    batcher: Mutex<Batcher<UserId, Arc<LiveEvent>>>,
    /// Something begins to wait.
    begun: Notify,
    metrics: Arc<Metrics>,
}

impl Batches {
    pub(in crate::service) fn new(limits: &Limits, metrics: Arc<Metrics>) -> Self {
        let rules = BatchRules {
            recipients_max: usize::try_from(limits.notification_batch_recipients_max).unwrap_or(usize::MAX),
            wait_max: Duration::from_millis(limits.notification_batch_wait_ms),
        };
        Self { batcher: Mutex::new(Batcher::new(rules)), begun: Notify::new(), metrics }
    }

    /// What of it leaves now, with what it takes along.
    pub(in crate::service) fn pass(&self, events: Vec<Arc<LiveEvent>>) -> Vec<Arc<LiveEvent>> {
        if !events.iter().any(|event| matches!(event.stream(), StreamId::User(_))) {
            return events;
        }
        let now = Instant::now();
        let mut out = Vec::with_capacity(events.len());
        let mut batcher = self.batcher();
        let was_waiting = batcher.wake_at().is_some();
        for event in events {
            let StreamId::User(user) = event.stream().clone() else {
                out.push(event);
                continue;
            };
            if may_wait(&event) {
                let left = batcher.wait(&user, event, now, &mut out);
                self.note(left);
            } else {
                batcher.pass(&user, event, &mut out);
            }
        }
        let is_waiting = batcher.wake_at().is_some();
        drop(batcher);
        if is_waiting && !was_waiting {
            self.begun.notify_one();
        }
        out
    }

    /// Everything that waits: somebody is about to hear of it another way.
    pub(in crate::service) fn leave(&self) -> Vec<Arc<LiveEvent>> {
        let mut out = Vec::new();
        let left = self.batcher().leave(Instant::now(), &mut out);
        self.note(left);
        out
    }

    /// Publishes what waited long enough, until the tasks end; then nothing waits any more.
    pub(in crate::service) async fn run(self: Arc<Self>, publisher: Publisher, tasks: Tasks) {
        loop {
            let wake_at = self.batcher().wake_at();
            let woken = async {
                match wake_at {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => self.begun.notified().await,
                }
            };
            let is_over = tokio::select! {
                () = woken => false,
                () = tasks.stopped() => true,
            };
            let mut out = Vec::new();
            let now = Instant::now();
            let left = if is_over { self.batcher().close(now, &mut out) } else { self.batcher().due(now, &mut out) };
            self.note(left);
            publisher.send(out).await;
            if is_over {
                return;
            }
        }
    }

    fn batcher(&self) -> MutexGuard<'_, Batcher<UserId, Arc<LiveEvent>>> {
        self.batcher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, left: Option<Left>) {
        if let Some(left) = left {
            self.metrics.notification_batch_recipients.record(left.recipients);
            self.metrics.notification_batch_wait.record(left.waited);
        }
    }
}

/// Only notifications, and only those that are not urgent.
fn may_wait(event: &LiveEvent) -> bool {
    matches!(event.body(), Some(EventBody::NotificationCreated(created)) if !created.notification.urgent)
}
