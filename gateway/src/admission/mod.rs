//! Who may begin: connections that come beyond what the store can take wait a little for a place, or are told when to come
//! back, before the upgrade.
//!
//! A place is held from the upgrade to the end of the first sync ([`Permit`]); how many there are follows from how long syncs
//! take (`limit`, pure). Nothing of it is left when a connection is in sync.
//!
//! **Invariant:** a permit gives its place back exactly once, whatever becomes of its connection.
//!
//! **Invariant:** whoever waits is served in the order of arrival, for a bounded time, among a bounded number.

mod limit;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::sync::oneshot;

use self::limit::{Limit, Ticket};
use crate::config::Limits;
use crate::telemetry::Metrics;

/// How often one who waits looks for places that nobody gave back.
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// The door of a node.
pub struct Admission {
    state: Mutex<State>,
    queue_max: usize,
    wait_max: Duration,
    metrics: Arc<Metrics>,
}

struct State {
    limit: Limit,
    waiting: VecDeque<oneshot::Sender<Permit>>,
}

/// A place. Dropped, it is given back without having been measured.
pub struct Permit {
    admission: Arc<Admission>,
    /// None: given back.
    ticket: Option<Ticket>,
    admitted_at: Instant,
    begun_at: Option<Instant>,
}

impl Admission {
    /// An open door.
    #[must_use]
    pub fn new(limits: &Limits, metrics: Arc<Metrics>) -> Self {
        let target = Duration::from_millis(limits.admission_target_ms);
        let limit = Limit::new(limits.admission_max, target, Instant::now());
        metrics.admission_limit.set(i64::try_from(limit.in_force()).unwrap_or(i64::MAX));
        Self {
            state: Mutex::new(State { limit, waiting: VecDeque::new() }),
            queue_max: usize::try_from(limits.admission_queue_max).unwrap_or(usize::MAX),
            wait_max: Duration::from_millis(limits.admission_wait_max_ms),
            metrics,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// When to come back, if there is none in time.
    pub async fn admit(self: &Arc<Self>) -> Result<Permit, Duration> {
        let came_at = Instant::now();
        let mut place = {
            let mut state = self.state();
            if state.waiting.is_empty()
                && let Some(ticket) = state.limit.admit(came_at)
            {
                drop(state);
                return Ok(self.permit(ticket, came_at));
            }
            if state.waiting.len() >= self.queue_max {
                return Err(state.return_after(came_at));
            }
            let (sender, place) = oneshot::channel();
            state.waiting.push_back(sender);
            place
        };
        self.metrics.admission_waiting.add(1);
        let found = self.wait(&mut place, came_at).await;
        self.metrics.admission_waiting.add(-1);
        if found.is_ok() {
            self.metrics.admission_wait.record(came_at.elapsed());
        }
        found
    }

    async fn wait(
        self: &Arc<Self>,
        place: &mut oneshot::Receiver<Permit>,
        came_at: Instant,
    ) -> Result<Permit, Duration> {
        while came_at.elapsed() < self.wait_max {
            let left = self.wait_max.saturating_sub(came_at.elapsed());
            if let Ok(Ok(permit)) = tokio::time::timeout(left.min(LOOK_PERIOD), &mut *place).await {
                return Ok(permit);
            }
            self.give_places();
        }
        place.close();
        // It may have come in the last moment.
        place.try_recv().map_err(|_| self.state().return_after(Instant::now()))
    }

    fn permit(self: &Arc<Self>, ticket: Ticket, now: Instant) -> Permit {
        self.metrics.admitted.add(1);
        Permit { admission: Arc::clone(self), ticket: Some(ticket), admitted_at: now, begun_at: None }
    }

    /// Gives free places to those who wait. Nothing is sent while the lock is held: a permit that nobody takes comes back.
    fn give_places(self: &Arc<Self>) {
        loop {
            let now = Instant::now();
            let (sender, ticket) = {
                let mut state = self.state();
                while state.waiting.front().is_some_and(oneshot::Sender::is_closed) {
                    state.waiting.pop_front();
                }
                if state.waiting.is_empty() {
                    return;
                }
                let Some(ticket) = state.limit.admit(now) else { return };
                let Some(sender) = state.waiting.pop_front() else { return };
                (sender, ticket)
            };
            if let Err(mut refused) = sender.send(self.permit(ticket, now)) {
                // Its client has just gone. The place goes to the next one, in this loop.
                if let Some(ticket) = refused.ticket.take() {
                    self.state().limit.gone(ticket, now);
                }
            }
        }
    }

    fn give_back(self: &Arc<Self>, give: impl FnOnce(&mut Limit)) {
        let in_force = {
            let mut state = self.state();
            give(&mut state.limit);
            state.limit.in_force()
        };
        self.metrics.admission_limit.set(i64::try_from(in_force).unwrap_or(i64::MAX));
        self.give_places();
    }
}

impl State {
    fn return_after(&mut self, now: Instant) -> Duration {
        let waiting = self.waiting.len();
        self.limit.return_after(waiting, rand::rng().random_range(0.0..=1.0), now)
    }
}

impl Permit {
    /// The hello of its connection came.
    pub fn begun(&mut self) {
        let now = Instant::now();
        self.begun_at = Some(now);
        if let Some(ticket) = self.ticket {
            self.admission.state().limit.begun(ticket, now);
        }
    }

    /// Its connection is in sync.
    pub fn synced(mut self) {
        let now = Instant::now();
        self.admission.metrics.admitted_sync.record(now.saturating_duration_since(self.admitted_at));
        if let Some(ticket) = self.ticket.take() {
            let took = now.saturating_duration_since(self.begun_at.unwrap_or(self.admitted_at));
            self.admission.give_back(|limit| limit.synced(ticket, took, now));
        }
    }

    /// The store did not answer its connection.
    pub fn failed(mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.admission.give_back(|limit| limit.failed(ticket, Instant::now()));
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            let admission = Arc::clone(&self.admission);
            admission.give_back(|limit| limit.gone(ticket, Instant::now()));
        }
    }
}
