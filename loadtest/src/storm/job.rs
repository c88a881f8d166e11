//! What coordinator and workers say to each other, one JSON object a line.

use serde::{Deserialize, Serialize};

/// A worker's share: rooms with all of their members.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Job {
    pub(super) targets: Vec<String>,
    pub(super) secret: Vec<u8>,
    pub(super) rooms: u32,
    pub(super) members: u32,
    /// Messages per second.
    pub(super) rate: f64,
}

/// What a worker is told after its job.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    /// The node of this number was killed: say when everybody who sat there is back.
    Lost { node: usize },
    /// Stop talking, read everything once more, judge.
    End,
}

/// What a worker says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// So many clients are connected and in their rooms.
    Ready {
        clients: u64,
    },
    /// So many of those who lost their node are in sync again.
    Back {
        lost: u64,
        back: u64,
    },
    Ended(Box<Ended>),
    Failed(String),
}

/// What a worker saw.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Ended {
    /// Times from the answer to the upgrade to `sync_end`, of all that came back: microseconds and how often.
    pub(super) syncs: Vec<(u64, u64)>,
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    /// Publishes that were never acknowledged, and clients that gave up.
    pub(super) not_absorbed: u64,
    pub(super) violations: u64,
    pub(super) first_violation: Option<String>,
    pub(super) invalid: Option<String>,
}

impl Ended {
    /// Adds what another worker saw.
    pub(super) fn add(&mut self, other: Self) {
        self.syncs.extend(other.syncs);
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.not_absorbed += other.not_absorbed;
        self.violations += other.violations;
        self.first_violation = self.first_violation.take().or(other.first_violation);
        self.invalid = self.invalid.take().or(other.invalid);
    }
}
