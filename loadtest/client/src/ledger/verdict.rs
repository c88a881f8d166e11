//! What the judge says.

use std::collections::BTreeMap;

use serde::Serialize;

/// Most violations of one invariant that are told in words.
const TOLD_MAX: usize = 10;

/// The invariants, by their names in the promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Invariant {
    /// No loss.
    I1,
    /// No phantom.
    I2,
    /// No duplicate.
    I3,
    /// One order.
    I4,
    /// Continuity.
    I5,
    /// Real time.
    I6,
    /// Liveness.
    I7,
    /// Authorization.
    I8,
    /// Bounds.
    I9,
    /// Jobs: tasks change by their rules only, and everybody is notified once.
    I10,
}

/// One broken promise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub invariant: Invariant,
    pub what: String,
}

/// How much was checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub publishes: u64,
    pub acknowledged: u64,
    /// Every attempt definitely refused.
    pub failed: u64,
    /// Neither acknowledged nor definitely refused.
    pub unknown: u64,
    pub received: u64,
    /// Events that clients dropped because their position said so.
    pub raw_repeats: u64,
    pub resets: u64,
    pub sessions: u64,
    /// Connections beyond the first of each session.
    pub reconnects: u64,
    pub final_reads: u64,
    /// Changes of tasks that were committed.
    pub task_changes: u64,
    /// Notifications that were owed to somebody.
    pub owed: u64,
}

/// The judgement of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// At most ten of each invariant in words.
    pub violations: Vec<Violation>,
    /// All of them, by invariant.
    pub violation_counts: BTreeMap<Invariant, u64>,
    /// Why the run proves nothing, whatever else it says.
    pub invalid: Option<String>,
    pub counts: Counts,
}

impl Verdict {
    /// Nothing is broken and the run proves it.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violation_counts.is_empty() && self.invalid.is_none()
    }

    /// Whether this invariant was broken.
    #[must_use]
    pub fn names(&self, invariant: Invariant) -> bool {
        self.violation_counts.contains_key(&invariant)
    }
}

#[derive(Debug, Default)]
pub(super) struct Report {
    violations: Vec<Violation>,
    counts: BTreeMap<Invariant, u64>,
}

impl Report {
    pub(super) fn add(&mut self, invariant: Invariant, what: impl FnOnce() -> String) {
        let count = self.counts.entry(invariant).or_insert(0);
        *count += 1;
        if *count <= TOLD_MAX as u64 {
            self.violations.push(Violation { invariant, what: what() });
        }
    }

    pub(super) fn finish(mut self, counts: Counts, invalid: Option<String>) -> Verdict {
        self.violations.sort_by_key(|violation| violation.invariant);
        Verdict { violations: self.violations, violation_counts: self.counts, invalid, counts }
    }
}
