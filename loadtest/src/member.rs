//! One client of a run: its latencies, and its lines in the ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hallway_protocol::frame::ServerFrame;
use hallway_protocol::notification::Notification;
use hallway_protocol::task::Task;
use hallway_protocol::{EventBody, UserId};
use loadtest_client::ledger::{Ledger, Opening, Recorder, SessionId};
use loadtest_client::{Notice, Observer, Step};
use tokio::sync::watch;

use crate::metrics::{self, Metric, Metrics};

/// Digits at the beginning of each text: its intended send time, nanoseconds since the run's beginning.
pub(crate) const STAMP_DIGITS: usize = 16;
/// Digits behind them: on which of the targets its sender sits.
pub(crate) const TARGET_DIGITS: usize = 2;

/// When the slow reader does not read, in nanoseconds since the run's beginning.
#[derive(Debug, Default)]
pub(crate) struct Window {
    pub(crate) from_ns: AtomicU64,
    pub(crate) to_ns: AtomicU64,
}

impl Window {
    fn contains(&self, at_ns: u64) -> bool {
        (self.from_ns.load(Ordering::Relaxed)..self.to_ns.load(Ordering::Relaxed)).contains(&at_ns)
    }
}

/// What a scenario can see of a member while it runs.
#[derive(Debug, Clone)]
pub(crate) struct Progress {
    /// How many syncs were completed, and when the last one was.
    pub(crate) synced: (u64, Option<Instant>),
}

/// Watches one client.
pub(crate) struct Member {
    recorder: Recorder,
    session: SessionId,
    metrics: Arc<Metrics>,
    /// Times in texts count from here; without it, latencies are not measured.
    started: Option<Instant>,
    neighbour_of: Option<Arc<Window>>,
    untimed: bool,
    progress: watch::Sender<Progress>,
    own_deliveries: Arc<AtomicU64>,
    connections: u32,
    target: usize,
    /// When the present connection was let in.
    upgraded_at: Instant,
}

/// How a member is to be watched.
#[derive(Default)]
pub(crate) struct Watch {
    pub(crate) opening: Opening,
    pub(crate) positions: Vec<hallway_protocol::Position>,
    pub(crate) started: Option<Instant>,
    pub(crate) neighbour_of: Option<Arc<Window>>,
    /// Its deliveries are counted but not timed: it is slow on purpose.
    pub(crate) untimed: bool,
    /// Which of the targets it connects to.
    pub(crate) target: usize,
    /// Much comes at once: it comes back to what it missed.
    pub(crate) catches_up: bool,
}

impl Member {
    pub(crate) fn new(
        ledger: &Arc<Ledger>,
        metrics: &Arc<Metrics>,
        user: &UserId,
        how: Watch,
    ) -> (Self, watch::Receiver<Progress>, Arc<AtomicU64>, SessionId) {
        let mut recorder = ledger.recorder();
        let session = recorder.open(user, how.opening);
        recorder.starts_at(session, &how.positions);
        let (progress, progress_inbox) = watch::channel(Progress { synced: (0, None) });
        let own_deliveries = Arc::new(AtomicU64::new(0));
        let member = Self {
            recorder,
            session,
            metrics: Arc::clone(metrics),
            started: how.started,
            neighbour_of: how.neighbour_of,
            untimed: how.untimed,
            progress,
            own_deliveries: Arc::clone(&own_deliveries),
            connections: 0,
            target: how.target,
            upgraded_at: Instant::now(),
        };
        (member, progress_inbox, own_deliveries, session)
    }

    /// The title of a notice or announcement begins with its intended time.
    fn notified(&self, notification: &Notification) {
        let (Some(started), Some(title)) = (self.started, &notification.title) else { return };
        let Some(at_ns) = title.get(..STAMP_DIGITS).and_then(|stamp| stamp.parse::<u64>().ok()) else { return };
        let metric = if notification.urgent { Metric::Urgent } else { Metric::Notify };
        self.metrics.of(metric).record(started.elapsed().saturating_sub(Duration::from_nanos(at_ns)));
    }

    /// Who reads the past at the end is not timed.
    fn task_came(&self, task: &Task) {
        if self.started.is_some() {
            self.metrics.task_came(task.id, task.version);
        }
    }

    fn delivered(&self, text: &str) {
        let Some(started) = self.started else { return };
        metrics::count(&self.metrics.delivered);
        metrics::count(&self.own_deliveries);
        if self.untimed {
            return;
        }
        let Some(at_ns) = text.get(..STAMP_DIGITS).and_then(|stamp| stamp.parse::<u64>().ok()) else { return };
        let latency = started.elapsed().saturating_sub(Duration::from_nanos(at_ns));
        self.metrics.of(Metric::Delivery).record(latency);
        let sender_target = text.get(STAMP_DIGITS..STAMP_DIGITS + TARGET_DIGITS).and_then(|digits| digits.parse().ok());
        if sender_target.is_some_and(|target: usize| target != self.target) {
            self.metrics.of(Metric::Across).record(latency);
        }
        if let Some(window) = &self.neighbour_of {
            if window.contains(at_ns) {
                self.metrics.neighbours_with.record(latency);
            } else {
                self.metrics.neighbours_without.record(latency);
            }
        }
    }
}

impl Observer for Member {
    fn observe(&mut self, notice: Notice) {
        match &notice {
            Notice::Event { event, step } if *step != Step::Repeat => match &event.body {
                EventBody::MessageCreated(created) => self.delivered(&created.message.text),
                EventBody::TaskCreated(created) => self.task_came(&created.task),
                EventBody::TaskChanged(changed) => self.task_came(&changed.task),
                EventBody::NotificationCreated(created) => self.notified(&created.notification),
                _ => {}
            },
            Notice::Synced { .. } => {
                if self.connections > 1 {
                    self.metrics.resync.record(self.upgraded_at.elapsed());
                }
                self.progress.send_modify(|progress| progress.synced = (progress.synced.0 + 1, Some(Instant::now())));
            }
            Notice::Connected { upgraded_at, .. } => {
                self.connections += 1;
                self.upgraded_at = *upgraded_at;
                if self.connections > 1 {
                    metrics::count(&self.metrics.reconnected);
                }
            }
            Notice::Disconnected { .. } | Notice::Frame(ServerFrame::Error(_)) => {}
            _ => {}
        }
        self.recorder.observe(self.session, &notice);
    }
}
