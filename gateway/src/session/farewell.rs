//! Who is told when that the node stops: a drain says it here, once for many, and each session looks when it is woken.
//!
//! Connections are numbered in the order in which they came, so "all up to this one" is one number for everybody: nothing is
//! kept per connection, and no task waits for each.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use hallway_protocol::CloseCode;
use rand::RngExt;

use crate::hub::ConnectionId;

/// When clients that were sent away together for another reason than a drain come back: spread over this time.
const RECONNECT_SPREAD_MS: u64 = 2000;

/// A drain as its sessions see it.
#[derive(Debug, Default)]
pub struct Farewell {
    is_leaving: AtomicBool,
    /// Connections up to this one are told; 0: nobody.
    told_up_to: AtomicU64,
    /// When those come back who are told now: from, and spread over so long.
    reconnect_from_ms: AtomicU64,
    reconnect_spread_ms: AtomicU64,
    cut: AtomicUsize,
}

impl Farewell {
    /// The node is about to stop: it is not ready any more, but still serves.
    pub fn leave(&self) {
        self.is_leaving.store(true, Ordering::Release);
    }

    /// Whether it is.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Acquire)
    }

    /// It is the turn of all connections up to this one. They must be woken.
    pub fn tell(&self, up_to: ConnectionId, reconnect_from_ms: u64, reconnect_spread_ms: u64) {
        self.reconnect_from_ms.store(reconnect_from_ms, Ordering::Relaxed);
        self.reconnect_spread_ms.store(reconnect_spread_ms, Ordering::Relaxed);
        self.told_up_to.store(up_to.0, Ordering::Release);
    }

    /// Whether it is this connection's turn.
    pub(super) fn is_told(&self, connection: ConnectionId) -> bool {
        connection.0 <= self.told_up_to.load(Ordering::Acquire)
    }

    /// When a client that is closed with this code comes back. Many are told so at once: they come one after the other.
    pub(super) fn reconnect_after_ms(&self, code: CloseCode) -> Option<u64> {
        code.reconnect().then(|| match code {
            CloseCode::Draining => {
                let from_ms = self.reconnect_from_ms.load(Ordering::Relaxed);
                let spread_ms = self.reconnect_spread_ms.load(Ordering::Relaxed);
                from_ms + rand::rng().random_range(0..=spread_ms)
            }
            CloseCode::StoreUnavailable | CloseCode::EpochChanged | CloseCode::MemoryBudget => {
                rand::rng().random_range(0..RECONNECT_SPREAD_MS)
            }
            _ => 0,
        })
    }

    /// A goodbye did not leave: its client does not read.
    pub(super) fn note_cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    /// How many goodbyes did not leave.
    #[must_use]
    pub fn cut(&self) -> usize {
        self.cut.load(Ordering::Relaxed)
    }
}
