//! The loop that claims jobs, delivers them and says what became of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use hallway_store::{Job, JobClaim, JobOutcome, JobResult, Outbox};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::breaker::BreakerRules;
use super::client::{Bounds, deliver};
use super::pump::Pump;
use super::target::Targets;
use super::verdict::{Attempt, Blame};
use crate::config::Limits;
use crate::sabotage::{FailPoint, pass};
use crate::tasks::Tasks;
use crate::telemetry::labels::WebhookOutcome;
use crate::telemetry::metrics::Metrics;

/// How often it is looked for jobs that are ready, without being told.
const LOOK_PERIOD: Duration = Duration::from_millis(500);
/// A lease is so much longer than the longest attempt: time to say what became of it.
const FINISH_MARGIN: Duration = Duration::from_secs(10);
/// Between two attempts to say what became of a job.
const FINISH_PAUSE: Duration = Duration::from_millis(200);
/// After the stop, what is under way may take so long.
const DRAIN_MAX: Duration = Duration::from_millis(if cfg!(test) { 1_000 } else { 5_000 });

/// The node's webhooks. Cheap to clone.
#[derive(Clone)]
pub struct Webhooks {
    targets: Targets,
    wake: Arc<Notify>,
}

impl Webhooks {
    /// Starts delivering, if there is any target; ends with `tasks`: nothing new is claimed after the stop, and what is under
    /// way is cut after a while.
    #[must_use]
    pub fn start(
        store: Arc<dyn Outbox>,
        targets: Targets,
        limits: &Limits,
        metrics: Arc<Metrics>,
        tasks: &Tasks,
    ) -> Self {
        let wake = Arc::new(Notify::new());
        if !targets.is_empty() {
            let dispatcher = Dispatcher::new(store, targets.clone(), limits, metrics, Arc::clone(&wake));
            let stop = tasks.clone();
            tasks.spawn(async move { dispatcher.run(stop).await });
        }
        Self { targets, wake }
    }

    /// Where to.
    #[must_use]
    pub fn targets(&self) -> &Targets {
        &self.targets
    }

    /// There are new jobs.
    pub fn wake(&self) {
        self.wake.notify_one();
    }
}

/// What every delivery needs.
struct Desk {
    store: Arc<dyn Outbox>,
    targets: Targets,
    bounds: Bounds,
    retry_ms: u64,
    lease: Duration,
    store_timeout: Duration,
    metrics: Arc<Metrics>,
    /// The node does not wait any longer.
    cut: CancellationToken,
}

struct Dispatcher {
    desk: Arc<Desk>,
    pump: Pump,
    wake: Arc<Notify>,
    store_works: bool,
}

/// Something has ended.
enum Ended {
    Claim(Claimed),
    Attempt { target: String, blame: Blame },
}

struct Claimed {
    jobs: Vec<Job>,
    /// There may be more.
    more: bool,
    error: Option<String>,
}

impl Dispatcher {
    fn new(
        store: Arc<dyn Outbox>,
        targets: Targets,
        limits: &Limits,
        metrics: Arc<Metrics>,
        wake: Arc<Notify>,
    ) -> Self {
        let lease = targets.timeout_max() + FINISH_MARGIN;
        let rules = BreakerRules {
            failures_max: limits.webhook_failures_max,
            rest: Duration::from_millis(limits.webhook_rest_ms),
        };
        let places = u32::try_from(limits.webhooks_in_flight_max).unwrap_or(u32::MAX);
        let names: Vec<String> = targets.attempts().map(|(name, _)| name.to_owned()).collect();
        let pump = Pump::new(names, places, u64::try_from(lease.as_millis()).unwrap_or(u64::MAX), rules);
        let bounds = Bounds {
            connect: Duration::from_millis(limits.webhook_connect_timeout_ms),
            response_max_bytes: usize::try_from(limits.webhook_response_max_bytes).unwrap_or(usize::MAX),
        };
        let desk = Desk {
            store,
            targets,
            bounds,
            retry_ms: limits.webhook_retry_ms,
            lease,
            store_timeout: Duration::from_millis(limits.store_timeout_ms),
            metrics,
            cut: CancellationToken::new(),
        };
        Self { desk: Arc::new(desk), pump, wake, store_works: true }
    }

    async fn run(mut self, tasks: Tasks) {
        let mut under_way: FuturesUnordered<BoxFuture<'static, Ended>> = FuturesUnordered::new();
        let (mut is_claiming, mut look_now) = (false, true);
        let mut next_look = tokio::time::Instant::now();
        while !tasks.is_stopped() {
            if look_now && !is_claiming {
                let claims = self.pump.claims(Instant::now());
                look_now = false;
                next_look = tokio::time::Instant::now() + LOOK_PERIOD;
                if !claims.is_empty() {
                    is_claiming = true;
                    under_way.push(Box::pin(Arc::clone(&self.desk).claim(claims)));
                }
            }
            tokio::select! {
                Some(ended) = under_way.next() => match ended {
                    Ended::Claim(claimed) => {
                        is_claiming = false;
                        look_now |= claimed.more;
                        self.begin(claimed, &under_way);
                    }
                    Ended::Attempt { target, blame } => {
                        // A place is free: whoever waits for it is not to wait for the next look.
                        look_now = true;
                        self.end(&target, blame);
                    }
                },
                () = tokio::time::sleep_until(next_look) => look_now = true,
                () = self.wake.notified() => look_now = true,
                () = tasks.stopped() => {}
            }
        }
        self.drain(under_way).await;
    }

    /// Lets what is under way come to its end, and cuts what takes too long.
    async fn drain(&mut self, mut under_way: FuturesUnordered<BoxFuture<'static, Ended>>) {
        let patience = tokio::time::sleep(DRAIN_MAX);
        let mut patience = std::pin::pin!(patience);
        loop {
            tokio::select! {
                ended = under_way.next() => match ended {
                    Some(Ended::Claim(claimed)) => self.begin(claimed, &under_way),
                    Some(Ended::Attempt { target, blame }) => self.end(&target, blame),
                    None => return,
                },
                () = &mut patience, if !self.desk.cut.is_cancelled() => {
                    info!(webhooks = self.pump.under_way(), "webhooks are cut: their leases end, and others deliver them");
                    self.desk.cut.cancel();
                }
            }
        }
    }

    fn begin(&mut self, claimed: Claimed, under_way: &FuturesUnordered<BoxFuture<'static, Ended>>) {
        match (&claimed.error, self.store_works) {
            (Some(error), true) => warn!(%error, "the outbox cannot be read: webhooks wait"),
            (None, false) => info!("the outbox can be read again"),
            _ => {}
        }
        self.store_works = claimed.error.is_none();
        for job in claimed.jobs {
            self.pump.begun(&job.target, Instant::now());
            under_way.push(Box::pin(Arc::clone(&self.desk).carry_out(job)));
        }
        self.note();
    }

    fn end(&mut self, target: &str, blame: Blame) {
        let was_resting = self.pump.resting();
        self.pump.ended(target, blame, Instant::now());
        match self.pump.resting().cmp(&was_resting) {
            std::cmp::Ordering::Greater => warn!(%target, "the target of webhooks fails and is left alone for a while"),
            std::cmp::Ordering::Less => info!(%target, "the target of webhooks works again"),
            std::cmp::Ordering::Equal => {}
        }
        self.note();
    }

    fn note(&self) {
        let metrics = &self.desk.metrics;
        metrics.webhooks_in_flight.set(i64::from(self.pump.under_way()));
        metrics.webhook_targets_resting.set(i64::try_from(self.pump.resting()).unwrap_or(i64::MAX));
    }
}

impl Desk {
    async fn claim(self: Arc<Self>, claims: Vec<JobClaim>) -> Ended {
        let mut claimed = Claimed { jobs: Vec::new(), more: false, error: None };
        for claim in claims {
            let (limit, asked) = (claim.limit, Instant::now());
            match self.store.claim_jobs(claim).await {
                // An answer that took so long may be about leases that have ended.
                Ok(_) if asked.elapsed() > FINISH_MARGIN / 2 => {}
                Ok(jobs) => {
                    claimed.more |= jobs.len() >= limit as usize && limit > 0;
                    claimed.jobs.extend(jobs);
                }
                Err(error) => claimed.error = Some(error.to_string()),
            }
        }
        if !claimed.jobs.is_empty() {
            pass(FailPoint::AfterJobClaim);
        }
        Ended::Claim(claimed)
    }

    async fn carry_out(self: Arc<Self>, job: Job) -> Ended {
        let begun = Instant::now();
        let attempt = match self.targets.get(&job.target) {
            Some(target) => tokio::select! {
                attempt = deliver(&target, &job, self.bounds) => attempt,
                () = self.cut.cancelled() => Attempt::Cut,
            },
            None => Attempt::Unknown,
        };
        pass(FailPoint::AfterWebhook);
        self.metrics.webhook_duration.record(begun.elapsed());
        let blame = attempt.blame();
        let outcome = attempt.outcome(job.attempt, self.retry_ms, rand::random());
        self.count(&job, &outcome);
        self.finish(JobResult { number: job.number, attempt: job.attempt, outcome }, begun + self.lease).await;
        pass(FailPoint::AfterJobFinish);
        Ended::Attempt { target: job.target, blame }
    }

    fn count(&self, job: &Job, outcome: &JobOutcome) {
        let is_last = job.attempt >= job.attempts_max;
        let (label, error) = match outcome {
            JobOutcome::Delivered => (WebhookOutcome::Delivered, None),
            JobOutcome::Failed { error, .. } if !is_last => (WebhookOutcome::Failed, Some(error)),
            JobOutcome::Failed { error, .. } | JobOutcome::Refused { error } => (WebhookOutcome::Dead, Some(error)),
        };
        self.metrics.webhooks.add(label);
        if let Some(error) = error {
            let (job, target, attempt) = (job.number, &job.target, job.attempt);
            let is_dead = label == WebhookOutcome::Dead;
            warn!(job, %target, attempt, is_dead, %error, "a webhook was not delivered");
        }
    }

    /// Says what became of a job until the store takes it, or the lease is over and somebody else has the job.
    async fn finish(&self, result: JobResult, lease_ends: Instant) {
        loop {
            let finished = tokio::time::timeout(self.store_timeout, self.store.finish_jobs(vec![result.clone()])).await;
            let error = match finished {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => "no answer in time".to_owned(),
            };
            if Instant::now() + FINISH_PAUSE > lease_ends || self.cut.is_cancelled() {
                warn!(job = result.number, %error, "what became of a webhook was not written down: it is tried again");
                return;
            }
            tokio::time::sleep(FINISH_PAUSE).await;
        }
    }
}
