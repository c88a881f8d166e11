//! The node-wide bound on bytes that wait for slow readers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::telemetry::metrics::Metrics;

/// Counts the waiting bytes of all connections, for itself and in the metrics, and wakes the janitor when they are too many.
pub struct Budget {
    used_bytes: AtomicU64,
    max_bytes: u64,
    exceeded: Notify,
    /// Here, so that a connection needs but one way to what all of them share.
    pub(super) metrics: Arc<Metrics>,
}

impl Budget {
    /// A budget of that many bytes.
    #[must_use]
    pub fn new(max_bytes: u64, metrics: Arc<Metrics>) -> Self {
        Self { used_bytes: AtomicU64::new(0), max_bytes, exceeded: Notify::new(), metrics }
    }

    pub(super) fn add(&self, bytes: usize) {
        let before = self.used_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if before + bytes as u64 > self.max_bytes {
            self.exceeded.notify_one();
        }
        self.metrics.backlog_bytes.add(bytes as i64);
    }

    pub(super) fn sub(&self, bytes: usize) {
        self.used_bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
        self.metrics.backlog_bytes.add(-(bytes as i64));
    }

    /// Bytes waiting now.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Bytes above the bound.
    #[must_use]
    pub fn excess_bytes(&self) -> u64 {
        self.used_bytes().saturating_sub(self.max_bytes)
    }

    /// Resolves when the budget was exceeded since the last call.
    pub async fn exceeded(&self) {
        self.exceeded.notified().await;
    }
}
