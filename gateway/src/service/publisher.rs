//! Where what was committed goes: to the hub of this node first, then to the others.

use std::sync::Arc;

use hallway_protocol::EventBody;

use super::Cluster;
use super::notifications::{Batches, Work};
use crate::config::Limits;
use crate::hub::{Hub, LiveEvent};
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(super) struct Publisher {
    pub(super) hub: Hub,
    /// The work that commits leave behind.
    pub(super) work: Work,
    cluster: Cluster,
    batches: Arc<Batches>,
    metrics: Arc<Metrics>,
}

impl Publisher {
    /// Begins to let notifications wait for one another, until `tasks` end.
    pub(super) fn start(hub: Hub, cluster: Cluster, limits: &Limits, metrics: Arc<Metrics>, tasks: &Tasks) -> Self {
        let batches = Arc::new(Batches::new(limits, Arc::clone(&metrics)));
        let publisher = Self { hub, work: Work::default(), cluster, batches: Arc::clone(&batches), metrics };
        tasks.spawn(batches.run(publisher.clone(), tasks.clone()));
        publisher
    }

    /// Hands over what this node committed; notifications may wait for others. Waits for room in the owners' inboxes, and for
    /// nothing of the cluster.
    pub(super) async fn publish(&self, events: Vec<Arc<LiveEvent>>) {
        for event in &events {
            if let Some(EventBody::NotificationCreated(created)) = event.body() {
                self.metrics.notifications_created.add(&created.notification.kind);
            }
        }
        self.send(self.batches.pass(events)).await;
    }

    /// Nothing waits any longer: somebody is about to hear of it another way.
    pub(super) async fn publish_waiting(&self) {
        self.send(self.batches.leave()).await;
    }

    /// The same without a wait.
    pub(super) async fn send(&self, events: Vec<Arc<LiveEvent>>) {
        if events.is_empty() {
            return;
        }
        if self.cluster.is_alone() {
            self.hub.publish(events).await;
            return;
        }
        self.hub.publish(events.clone()).await;
        self.cluster.publish(events);
    }
}
