//! A node that stops: readiness off, a while for balancers to notice, no new connections, every client told when to come back
//! (in paced batches), everything accepted answered, the store closed. All within one deadline.
//!
//! What happens when is decided in `plan` (pure).

mod plan;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use self::plan::Bounds;
use super::Node;
use crate::config::Config;
use crate::hub::{Connection, ConnectionId};
use crate::telemetry::labels::DrainOutcome;

/// Between two looks for connections that were still entering when their turn came.
const LATECOMERS_PAUSE: Duration = Duration::from_millis(50);

/// Time to tell the other nodes.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// What a drain came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections that were told and closed in time.
    pub clean: usize,
    /// Connections whose clients took no goodbye, and those that were cut at the deadline.
    pub forced: usize,
}

/// How this node drains.
#[derive(Debug)]
pub(super) struct Drain(Bounds);

impl Drain {
    pub(super) fn new(config: &Config) -> Self {
        let limits = &config.limits;
        // A developer who stops a node has no balancer that must notice.
        let notice_ms = if config.server.dev { 0 } else { limits.drain_notice_ms };
        Self(Bounds {
            deadline: Duration::from_millis(limits.drain_deadline_ms),
            notice: Duration::from_millis(notice_ms),
            batch_connections: limits.drain_batch_connections,
            reconnects_per_second: limits.drain_reconnects_per_second,
        })
    }
}

impl Node {
    /// Stops in order; see the module.
    pub async fn drain(self) -> DrainReport {
        let begun = Instant::now();
        let bounds = self.drain.0;
        let metrics = Arc::clone(self.sessions.service.metrics());
        metrics.draining.set(1);
        self.sessions.farewell.leave();
        // Others deliver what is not under way.
        self.outbox.stop();
        info!(connections = self.sessions.open(), notice_ms = bounds.notice().as_millis(), "draining: not ready");
        tokio::time::sleep(bounds.notice()).await;
        self.sessions.tasks.stop();
        let open = self.sessions.open();
        let told = async {
            self.tell_all().await;
            self.sessions.tasks.ended().await;
        };
        let sessions_end = bounds.sessions_end().saturating_sub(begun.elapsed());
        let in_time = tokio::time::timeout(sessions_end, told).await.is_ok();
        let cut = if in_time { 0 } else { self.sessions.open() };
        (0..cut).for_each(|_| metrics.drained.add(DrainOutcome::Forced));
        let forced = cut + self.sessions.farewell.cut();
        let left = || bounds.deadline.saturating_sub(begun.elapsed());
        // The others hear that this node's people are gone, unless the bus does not answer.
        let _ = tokio::time::timeout(FAREWELL_MAX.min(left()), self.sessions.service.cluster().farewell()).await;
        self.core.stop();
        let stop_core = async {
            self.outbox.ended().await;
            self.core.ended().await;
            self.store.close().await;
        };
        if tokio::time::timeout(left(), stop_core).await.is_err() {
            warn!("the store or a task that uses it did not end in time");
        }
        let report = DrainReport { clean: open.saturating_sub(forced), forced };
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        info!(clean = report.clean, forced = report.forced, took_ms, "drained");
        report
    }

    /// Tells everybody that it is time to go, batch by batch, the oldest connections first. Never ends before the sessions do:
    /// one that was entering hears of it a moment later.
    async fn tell_all(&self) {
        let farewell = &self.sessions.farewell;
        let mut connections = self.sessions.service.hub().connections();
        connections.sort_unstable_by_key(|connection| connection.id);
        let schedule = self.drain.0.schedule(connections.len());
        let mut batches = connections.chunks(schedule.batch).enumerate().peekable();
        while let Some((number, batch)) = batches.next() {
            let (from, spread) = schedule.reconnect(number);
            let up_to = batch.last().map_or(ConnectionId(0), |connection| connection.id);
            farewell.tell(up_to, millis(from), millis(spread));
            wake(batch);
            if batches.peek().is_some() {
                tokio::time::sleep(schedule.interval).await;
            }
        }
        drop(connections);
        let (from, spread) = schedule.reconnect(schedule.batches - 1);
        farewell.tell(ConnectionId(u64::MAX), millis(from), millis(spread));
        while self.sessions.open() > 0 {
            wake(&self.sessions.service.hub().connections());
            tokio::time::sleep(LATECOMERS_PAUSE).await;
        }
    }
}

fn wake(connections: &[Arc<Connection>]) {
    connections.iter().for_each(|connection| connection.outbound.wake());
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
