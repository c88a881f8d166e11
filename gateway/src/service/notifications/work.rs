//! What waits in the store and nobody asks for: fan-out jobs, and due times that have come. Every node asks; the store gives a
//! step to one of them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hallway_store::{Progress, Store, StoreError};
use tokio::sync::Notify;
use tracing::warn;

use super::super::Publisher;
use crate::config::Limits;
use crate::hub::LiveEvent;
use crate::tasks::Tasks;
use crate::telemetry::labels::WorkLabel;
use crate::telemetry::metrics::Metrics;

/// Tasks whose due time is told of in one step. Each has up to 50 assignees.
const DUE_STEP_TASKS: u32 = 50;
/// Pause after a step that wrote nothing while there is more to do: another node is at it.
const OTHERS_PAUSE: Duration = Duration::from_millis(20);
/// Longest pause after failures in a row.
const FAILED_PAUSE_MAX: Duration = Duration::from_secs(30);

/// Says that there is a fan-out job. Cheap to clone.
#[derive(Clone, Default)]
pub(in crate::service) struct Work {
    fan_out: Arc<Notify>,
}

type Step<'a> = Pin<Box<dyn Future<Output = Result<Progress, StoreError>> + Send + 'a>>;

impl Work {
    /// A fan-out job was written: it is begun at once.
    pub(in crate::service) fn fan_out_soon(&self) {
        self.fan_out.notify_one();
    }

    /// Starts the tasks that do the work.
    pub(in crate::service) fn start(
        &self,
        store: &Arc<dyn Store>,
        publisher: &Publisher,
        limits: &Limits,
        metrics: &Arc<Metrics>,
        tasks: &Tasks,
    ) {
        let worker = |period_ms: u64, label| Worker {
            store: Arc::clone(store),
            publisher: publisher.clone(),
            metrics: Arc::clone(metrics),
            period: Duration::from_millis(period_ms),
            label,
        };
        let (fan_out, stop) = (Arc::clone(&self.fan_out), tasks.clone());
        let worker_of_jobs = worker(limits.fan_out_poll_ms, WorkLabel::FanOut);
        tasks.spawn(async move { worker_of_jobs.run(&fan_out, |store| store.fan_out(), &stop).await });
        let stop = tasks.clone();
        let worker_of_times = worker(limits.due_poll_ms, WorkLabel::Due);
        // Nobody pokes it: time does not commit.
        let never = Notify::new();
        tasks.spawn(async move { worker_of_times.run(&never, |store| store.fire_due(DUE_STEP_TASKS), &stop).await });
    }
}

struct Worker {
    store: Arc<dyn Store>,
    publisher: Publisher,
    metrics: Arc<Metrics>,
    period: Duration,
    label: WorkLabel,
}

impl Worker {
    /// Takes steps, at once while there is more to do, else when poked or after a pause.
    async fn run(self, poke: &Notify, step: impl for<'a> Fn(&'a dyn Store) -> Step<'a>, tasks: &Tasks) {
        let mut failures = 0;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause(self.period, failures)) => {}
                // A store that fails is left alone, whoever pokes.
                () = poke.notified(), if failures == 0 => {}
                () = tasks.stopped() => return,
            }
            let mut written = None;
            loop {
                // The store bounds how long a step takes. It is not cut short here: its events would be heard of late. What the
                // last one wrote is told meanwhile.
                let taking = async {
                    tokio::select! {
                        progress = step(&*self.store) => Some(progress),
                        () = tasks.stopped() => None,
                    }
                };
                // The step is asked for first: telling keeps this thread busy.
                let (progress, ()) = tokio::join!(biased; taking, self.publish(written.take()));
                let next = match progress {
                    None => return,
                    Some(Ok(progress)) => {
                        failures = 0;
                        let next = Next::after(&progress);
                        written = Some(progress);
                        next
                    }
                    Some(Err(error)) => {
                        failures += 1;
                        warn!(%error, work = self.label.word(), failures, "a step of the store's own work failed");
                        Next::Nothing
                    }
                };
                if next != Next::AtOnce || tasks.is_stopped() {
                    self.publish(written.take()).await;
                }
                match next {
                    Next::Nothing => break,
                    Next::AtOnce if tasks.is_stopped() => return,
                    Next::AtOnce => {}
                    Next::Others => tokio::select! {
                        () = tokio::time::sleep(OTHERS_PAUSE) => {}
                        () = tasks.stopped() => return,
                    },
                }
            }
        }
    }

    /// Tells what a step wrote, if it wrote anything.
    async fn publish(&self, written: Option<Progress>) {
        let Some(progress) = written else { return };
        self.publisher.hub.set_epoch(&progress.epoch);
        if progress.events.is_empty() {
            return;
        }
        self.metrics.work_steps.add(self.label);
        self.metrics.events_committed.add(progress.events.len() as u64);
        let events = progress.events.into_iter().map(|event| Arc::new(LiveEvent::new(event)));
        self.publisher.publish(events.collect()).await;
    }
}

/// What a worker does after a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// Wait until it is time, or somebody pokes.
    Nothing,
    /// Take the next step.
    AtOnce,
    /// Look again soon.
    Others,
}

impl Next {
    fn after(progress: &Progress) -> Self {
        match (progress.more, progress.events.is_empty()) {
            (false, _) => Self::Nothing,
            (true, false) => Self::AtOnce,
            (true, true) => Self::Others,
        }
    }
}

/// How long to wait before the next look: twice as long after each failure in a row.
fn pause(period: Duration, failures: u32) -> Duration {
    if failures == 0 {
        period
    } else {
        (period * 2_u32.saturating_pow(failures.min(16))).min(FAILED_PAUSE_MAX.max(period))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_fails_is_asked_less_and_less_often() {
        let second = Duration::from_secs(1);
        let pauses: Vec<u64> = (0..8).map(|failures| pause(second, failures).as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 30, 30, 30]);
        assert_eq!(
            pause(Duration::from_secs(60), 3),
            Duration::from_secs(60),
            "never more often than without failures"
        );
    }
}
