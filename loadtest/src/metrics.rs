//! What is measured, in microseconds.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hallway_protocol::TaskId;
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::driver::histogram;

/// Longest latency that is told apart.
const LONGEST_US: u64 = 600_000_000;

/// What a latency is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Metric {
    /// From the first SYN to the answer to `hello`.
    Connect,
    /// From the intended send time to the acknowledgement.
    Ack,
    /// From the intended send time to a member's receiving.
    Delivery,
    /// From the first SYN to `sync_end`.
    Sync,
    /// Deliveries to members who sit on another node than the sender.
    Across,
    /// From the intended time of a task's change to a member's receiving.
    Task,
    /// From the intended time of a notification to its receiving.
    Notify,
    /// The same of what is urgent.
    Urgent,
}

impl Metric {
    pub(crate) const ALL: [Self; 8] =
        [Self::Connect, Self::Ack, Self::Delivery, Self::Sync, Self::Across, Self::Task, Self::Notify, Self::Urgent];
}

impl fmt::Display for Metric {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Connect => "connect",
            Self::Ack => "ack",
            Self::Delivery => "delivery",
            Self::Sync => "sync",
            Self::Across => "across",
            Self::Task => "task",
            Self::Notify => "notify",
            Self::Urgent => "urgent",
        })
    }
}

/// Which value of a distribution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stat {
    P50,
    P90,
    P95,
    P99,
    P999,
    Max,
}

impl Stat {
    pub(crate) const ALL: [Self; 6] = [Self::P50, Self::P90, Self::P95, Self::P99, Self::P999, Self::Max];

    fn quantile(self) -> f64 {
        match self {
            Self::P50 => 0.5,
            Self::P90 => 0.9,
            Self::P95 => 0.95,
            Self::P99 => 0.99,
            Self::P999 => 0.999,
            Self::Max => 1.0,
        }
    }
}

impl fmt::Display for Stat {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P95 => "p95",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::Max => "max",
        })
    }
}

/// One distribution. The tool has one thread, so its lock is never waited for.
#[derive(Debug)]
pub(crate) struct Latencies(Mutex<Histogram<u64>>);

impl Default for Latencies {
    #[expect(clippy::expect_used, reason = "the bounds are constants that the library takes")]
    fn default() -> Self {
        Self(Mutex::new(Histogram::new_with_bounds(1, LONGEST_US, 3).expect("valid bounds")))
    }
}

impl Latencies {
    pub(crate) fn record(&self, latency: Duration) {
        let microseconds = u64::try_from(latency.as_micros()).unwrap_or(LONGEST_US);
        self.lock().saturating_record(microseconds.max(1));
    }

    /// In microseconds; `None` when nothing was measured.
    pub(crate) fn value(&self, stat: Stat) -> Option<u64> {
        let histogram = self.lock();
        match stat {
            _ if histogram.is_empty() => None,
            Stat::Max => Some(histogram.max()),
            _ => Some(histogram.value_at_quantile(stat.quantile())),
        }
    }

    /// In microseconds, for any share between 0 and 1; `None` when nothing was measured.
    pub(crate) fn quantile(&self, share: f64) -> Option<u64> {
        let histogram = self.lock();
        (!histogram.is_empty()).then(|| histogram.value_at_quantile(share))
    }

    /// Each value with how often it was seen.
    pub(crate) fn pairs(&self) -> Vec<(u64, u64)> {
        histogram::pairs(&self.lock())
    }

    pub(crate) fn count(&self) -> u64 {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Histogram<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All of them, and the counters that the progress line shows.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    connect: Latencies,
    ack: Latencies,
    delivery: Latencies,
    sync: Latencies,
    across: Latencies,
    task: Latencies,
    notify: Latencies,
    urgent: Latencies,
    /// When each version of a task was meant to be made.
    pub(crate) tasks_due: Mutex<HashMap<(TaskId, u32), Instant>>,
    /// slow: neighbours' deliveries while the slow one reads, and while it does not.
    pub(crate) neighbours_without: Latencies,
    pub(crate) neighbours_with: Latencies,
    /// From the answer to the upgrade to `sync_end`, of those who came back.
    pub(crate) resync: Latencies,
    pub(crate) sent: AtomicU64,
    pub(crate) acked: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unknown: AtomicU64,
    pub(crate) reconnected: AtomicU64,
    /// Sends that left more than 10 ms after their time.
    pub(crate) late: AtomicU64,
}

impl Metrics {
    pub(crate) fn of(&self, metric: Metric) -> &Latencies {
        match metric {
            Metric::Connect => &self.connect,
            Metric::Ack => &self.ack,
            Metric::Delivery => &self.delivery,
            Metric::Sync => &self.sync,
            Metric::Across => &self.across,
            Metric::Task => &self.task,
            Metric::Notify => &self.notify,
            Metric::Urgent => &self.urgent,
        }
    }
}

impl Metrics {
    /// A version of a task is meant to be made at a time.
    pub(crate) fn task_is_due(&self, task: TaskId, version: u32, due: Instant) {
        self.tasks_due.lock().unwrap_or_else(PoisonError::into_inner).insert((task, version), due);
    }

    /// A member has received a version of a task.
    pub(crate) fn task_came(&self, task: TaskId, version: u32) {
        let due = self.tasks_due.lock().unwrap_or_else(PoisonError::into_inner).get(&(task, version)).copied();
        if let Some(due) = due {
            self.task.record(due.elapsed());
        }
    }
}

/// Adds one to a counter.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Reads a counter.
pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
