//! What a node does for its store while nobody asks: follow its tail (`tail`), and trim it.

use std::time::Duration;

use hallway_store::{StoreError, TailCursor};
use tracing::warn;

use super::Service;
use crate::auth::now_ms;
use crate::tasks::Tasks;

/// How often old nonces and old events are looked for.
const TRIM_PERIOD: Duration = Duration::from_secs(60);
/// Steps in which finished webhooks are trimmed in one round.
const TRIM_JOBS_MAX_STEPS: usize = 100;
/// Streams trimmed in one round.
const TRIM_MAX_STREAMS: u32 = 100;

/// Whether the node can do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Readiness {
    pub store_up: bool,
    /// This node hears the others at once; else it hears them through the store.
    pub bus_up: bool,
}

impl Service {
    /// Starts the housekeeping; it ends with `tasks`. `max_age_hours` 0 keeps events for ever. Returns when the tail is
    /// followed: what is committed from then on, by whomever, is found.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn start_upkeep(&self, max_age_hours: u64, tasks: &Tasks) -> Result<(), StoreError> {
        let cursor = self.inner.store.tail(TailCursor::default()).await?.next;
        let (service, stop) = (self.clone(), tasks.clone());
        tasks.spawn(async move { service.follow_tail(cursor, stop).await });
        let (service, stop) = (self.clone(), tasks.clone());
        tasks.spawn(async move { service.trim_loop(max_age_hours, stop).await });
        Ok(())
    }

    async fn trim_loop(&self, max_age_hours: u64, tasks: Tasks) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(TRIM_PERIOD) => {}
                () = tasks.stopped() => return,
            }
            while let Ok(true) = self.inner.store.trim_nonces().await {
                if tasks.is_stopped() {
                    return;
                }
            }
            while let Ok(true) = self.inner.store.trim_records().await {
                if tasks.is_stopped() {
                    return;
                }
            }
            self.trim_webhooks().await;
            if max_age_hours > 0 {
                self.trim_events(now_ms().saturating_sub(max_age_hours * 3_600_000)).await;
            }
        }
    }

    /// Keeps finished webhooks to their bounds; some of them, if they are too many for one round.
    pub async fn trim_webhooks(&self) {
        let kept = |limit: u64| u32::try_from(limit).unwrap_or(u32::MAX);
        let (done, dead) = (kept(self.inner.limits.webhooks_done_kept), kept(self.inner.limits.webhooks_dead_kept));
        for _ in 0..TRIM_JOBS_MAX_STEPS {
            if !matches!(self.inner.store.trim_jobs(done, dead).await, Ok(true)) {
                return;
            }
        }
    }

    async fn trim_events(&self, older_than_ms: u64) {
        let expired = match self.inner.store.expired(older_than_ms, TRIM_MAX_STREAMS).await {
            Ok(expired) => expired,
            Err(error) => {
                warn!(%error, "looking for old events failed");
                return;
            }
        };
        for (stream, keep_from_seq) in expired {
            if let Err(error) = self.inner.store.trim(&stream, keep_from_seq).await {
                warn!(%error, "trimming a stream failed");
            }
        }
    }
}
