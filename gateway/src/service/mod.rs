//! The use cases: the only place where hub, bus, directory and store meet. Knows no socket.
//!
//! `command` answers one command of an identified person: `writes` and `reads`, with `people` for acts on people, `tasks`,
//! `notifications`, `actions` (several at once) and `resolve` (what people say, turned into ids). Writes go through `writer` (group
//! commit, then publish, then acknowledge), reads of the log through `reader` (what many want at once is read once), a hello or
//! sync through `sync` (plan in `sync_plan`, pure), read markers through `marks`, who is there through `presence`. `publisher` is
//! where all that was committed goes; there notifications wait for one another for a moment. `tail` probes the store and follows
//! what it committed (when to ask what is decided in `tail/plan`, pure), `upkeep` trims it. `hand_outs` hands to the application what nobody
//! looked at (decided in `hand_out_plan`, pure), `diary` writes down which connection got which notification, and `operations` answers
//! who asks about both. `cluster` is the way to the other nodes.
//!
//! **Invariant:** persist, then publish, then acknowledge; a publisher that hangs up takes nothing along.

mod actions;
mod answers;
pub mod cluster;
mod command;
mod diary;
mod hand_out_plan;
mod hand_outs;
mod marks;
mod notifications;
mod operations;
mod people;
mod presence;
mod publisher;
mod reader;
mod reads;
mod resolve;
mod rooms;
mod sync;
mod sync_plan;
mod tail;
mod tasks;
mod upkeep;
mod writer;
mod writes;

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use hallway_store::Store;

use crate::config::Limits;
use crate::hub::Hub;
use crate::outbox::Webhooks;
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

pub use cluster::Cluster;
pub use command::{Actor, Answer};
pub use reader::PageReader;
pub use sync::SyncStart;
#[cfg(test)]
pub(crate) use sync::{Missed, attaches, resumed, settle};
pub use upkeep::Readiness;

use marks::Marks;
use presence::Presence;
use publisher::Publisher;
use writer::Writer;
#[cfg(test)]
pub(crate) use writer::{Keyed, Kind, Schedule, Scheduled, Ticket};

/// The use cases of one node. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    hub: Hub,
    cluster: Cluster,
    publisher: Publisher,
    writer: Writer,
    marks: Marks,
    presence: Presence,
    limits: Limits,
    metrics: Arc<Metrics>,
    store_up: Arc<AtomicBool>,
    /// Once they were started.
    webhooks: OnceLock<Webhooks>,
}

impl Service {
    /// Starts the service's tasks; they end with `tasks`, the writer after everything that it accepted. The cluster was started
    /// before, or starts nothing.
    #[must_use]
    pub fn start(
        store: Arc<dyn Store>,
        hub: Hub,
        cluster: Cluster,
        limits: Limits,
        metrics: Arc<Metrics>,
        tasks: &Tasks,
    ) -> Self {
        hub.name_node(cluster.node());
        people::answer_others(&cluster, &hub);
        let publisher = Publisher::start(hub.clone(), cluster.clone(), &limits, Arc::clone(&metrics), tasks);
        publisher.work.start(&store, &publisher, &limits, &metrics, tasks);
        let writer = Writer::start(Arc::clone(&store), publisher.clone(), &limits, Arc::clone(&metrics), tasks);
        let marks = Marks::start(Arc::clone(&store), publisher.clone(), &limits, tasks);
        let (near, memory) = (cluster.clone(), Arc::clone(&store));
        let presence = Presence::start(near, memory, hub.clone(), &limits, Arc::clone(&metrics), tasks);
        let store_up = Arc::new(AtomicBool::new(true));
        metrics.store_up.set(1);
        let webhooks = OnceLock::new();
        let inner =
            Inner { store, hub, cluster, publisher, writer, marks, presence, limits, metrics, store_up, webhooks };
        let service = Self { inner: Arc::new(inner) };
        let (diary, stop) = (service.clone(), tasks.clone());
        tasks.spawn(async move { diary.write_diary(stop).await });
        service
    }

    /// The hub, for sessions.
    #[must_use]
    pub fn hub(&self) -> &Hub {
        &self.inner.hub
    }

    /// This node among the others.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.inner.cluster
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

    /// Whether the store answers, and the bus.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        Readiness {
            store_up: self.inner.store_up.load(std::sync::atomic::Ordering::Relaxed),
            bus_up: self.inner.cluster.bus_up().unwrap_or(true),
        }
    }
}
