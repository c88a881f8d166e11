//! How the way over Redis is doing.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counted since the start. Numbers only grow.
#[derive(Debug, Default)]
pub struct RedisHealth {
    pub(super) publishes: AtomicBool,
    pub(super) hears: AtomicBool,
    pub(super) lost: AtomicU64,
    pub(super) deaf: AtomicU64,
    pub(super) lagged: AtomicU64,
}

impl RedisHealth {
    /// Whether the node can publish and all its subscriptions stand.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.publishes.load(Ordering::Acquire) && self.hears.load(Ordering::Acquire)
    }

    /// Connections that ended, fell silent or were deaf, and were replaced.
    #[must_use]
    pub fn connections_lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// How many of them heard nothing of what was published, though they answered.
    #[must_use]
    pub fn connections_deaf(&self) -> u64 {
        self.deaf.load(Ordering::Relaxed)
    }

    /// Messages that came faster than this node took them, and were lost.
    #[must_use]
    pub fn messages_lagged(&self) -> u64 {
        self.lagged.load(Ordering::Relaxed)
    }
}
