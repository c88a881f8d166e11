//! The node-wide bound on bytes that wait for slow readers.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Counts the waiting bytes of all connections and wakes the janitor when they are too many.
#[derive(Debug)]
pub struct Budget {
    used_bytes: AtomicU64,
    max_bytes: u64,
    exceeded: Notify,
}

impl Budget {
    /// A budget of that many bytes.
    #[must_use]
    pub fn new(max_bytes: u64) -> Self {
        Self { used_bytes: AtomicU64::new(0), max_bytes, exceeded: Notify::new() }
    }

    pub(super) fn add(&self, bytes: usize) {
        let before = self.used_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        if before + bytes as u64 > self.max_bytes {
            self.exceeded.notify_one();
        }
    }

    pub(super) fn sub(&self, bytes: usize) {
        self.used_bytes.fetch_sub(bytes as u64, Ordering::Relaxed);
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
