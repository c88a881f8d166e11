//! The use cases: the only place where hub and store meet. Knows no socket.
//!
//! `command` answers one command of an identified person, with `people` for acts on people. Writes go through `writer` (group commit, then publish, then
//! acknowledge), reads of the log through `reader` (what many want at once is read once), a hello or sync through `sync`
//! (plan in `sync_plan`, pure), read markers through `marks`. `tail` probes the store and follows what it committed (when
//! to ask what is decided in `tail/plan`, pure), `upkeep` trims it.
//!
//! **Invariant:** persist, then publish, then acknowledge; a publisher that hangs up takes nothing along.

mod answers;
mod command;
mod marks;
mod parking;
mod people;
mod reader;
mod rooms;
mod sync;
mod sync_plan;
mod tail;
mod upkeep;
mod writer;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use hallway_store::Store;
use tokio::sync::Notify;

use crate::config::Limits;
use crate::hub::Hub;
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

pub use command::{Actor, Answer};
pub use reader::PageReader;
pub use sync::SyncStart;
pub use upkeep::Readiness;

use marks::Marks;
use writer::Writer;

/// The use cases of one node. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    hub: Hub,
    writer: Writer,
    marks: Marks,
    limits: Limits,
    metrics: Arc<Metrics>,
    store_up: Arc<AtomicBool>,
    tail_poke: Notify,
}

impl Service {
    /// Starts the service's tasks; they end with `tasks`, the writer after everything that it accepted.
    #[must_use]
    pub fn start(store: Arc<dyn Store>, hub: Hub, limits: Limits, metrics: Arc<Metrics>, tasks: &Tasks) -> Self {
        let writer = Writer::start(Arc::clone(&store), hub.clone(), &limits, Arc::clone(&metrics), tasks);
        let marks = Marks::start(Arc::clone(&store), hub.clone(), &limits, tasks);
        let store_up = Arc::new(AtomicBool::new(true));
        metrics.store_up.set(1);
        Self {
            inner: Arc::new(Inner { store, hub, writer, marks, limits, metrics, store_up, tail_poke: Notify::new() }),
        }
    }

    /// The hub, for sessions.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.inner.hub
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.inner.limits
    }

    /// The metrics.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.metrics
    }

    /// Whether the store answers.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        Readiness { store_up: self.inner.store_up.load(std::sync::atomic::Ordering::Relaxed) }
    }
}
