//! A cluster in this process: nodes on one database, over one exchange.

use std::sync::Arc;
use std::time::Duration;

use hallway_gateway::bus::local::LocalExchange;
use hallway_gateway::config::{Config, StoreUrl};
use hallway_gateway::server::{Given, open_store};
use hallway_protocol::Seq;
use loadtest_cluster::TemporaryPostgres;
use serde_json::json;

use super::fault_bus::FaultBus;
use super::fault_store::FaultStore;
use super::node::{PATIENCE, TestNode};
use super::seat::Seat;

/// The cluster.
pub(crate) struct House {
    pub(crate) nodes: Vec<TestNode>,
    pub(crate) buses: Vec<Arc<FaultBus>>,
    pub(crate) exchange: LocalExchange,
    url: String,
    /// How old what a connect read from the store is when a node gets it.
    connect_answers_take: Duration,
    _postgres: Arc<TemporaryPostgres>,
}

impl House {
    /// So many nodes that know each other.
    pub(crate) async fn start(count: usize, change: impl Fn(&mut Config)) -> Self {
        Self::start_with_late_connects(count, Duration::ZERO, change).await
    }

    /// The same, where what a connect read from the store is a while old when the node gets it.
    pub(crate) async fn start_with_late_connects(
        count: usize,
        connect_answers_take: Duration,
        change: impl Fn(&mut Config),
    ) -> Self {
        let postgres = TemporaryPostgres::shared().unwrap();
        let url = postgres.database().await.unwrap();
        let (nodes, buses, exchange) = (Vec::new(), Vec::new(), LocalExchange::default());
        let mut house = Self { nodes, buses, exchange, url, connect_answers_take, _postgres: postgres };
        for _ in 0..count {
            house.add(&change).await;
        }
        house.complete().await;
        house
    }

    /// One node more.
    pub(crate) async fn add(&mut self, change: impl Fn(&mut Config)) {
        let bus = Arc::new(FaultBus::new(Arc::new(self.exchange.join())));
        let url = StoreUrl::parse(&self.url).unwrap();
        let prepare = |config: &mut Config| {
            config.store.url = Some(url.clone());
            config.store.pool_connections = 4;
            config.server.dev = true;
            change(config);
        };
        let mut given = Given { bus: Some(Arc::clone(&bus) as _), ..Given::default() };
        if !self.connect_answers_take.is_zero() {
            let mut config = Config::default();
            prepare(&mut config);
            let store = FaultStore::new(open_store(&config).await.unwrap());
            store.connect_answers_take(self.connect_answers_take);
            given.store = Some(Arc::new(store));
        }
        self.nodes.push(TestNode::start_with(prepare, given).await);
        self.buses.push(bus);
    }

    /// Waits until every node knows all others.
    pub(crate) async fn complete(&self) {
        let count = self.nodes.len() as f64;
        for node in &self.nodes {
            node.metric_until("hallway_cluster_nodes", "", |nodes| nodes == count).await;
        }
    }

    /// Waits until every node knows that this person is at so many nodes besides it.
    pub(crate) async fn knows(&self, user: &str, at: usize) {
        let user = hallway_protocol::UserId::new(user).unwrap();
        let until = tokio::time::Instant::now() + PATIENCE;
        for node in &self.nodes {
            let cluster = node.node().service().cluster();
            loop {
                let here = node.node().service().hub().connections_of(&user) > 0;
                if cluster.nodes_of(&user).len() + usize::from(here) == at {
                    break;
                }
                assert!(tokio::time::Instant::now() < until, "{user} is not known at {at} nodes");
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    }

    /// A person at a node, known to all.
    pub(crate) async fn seat(&self, node: usize, user: &str) -> Seat {
        let seat = self.nodes[node].connect(user).await;
        self.knows(user, 1).await;
        seat
    }

    /// Streams whose events a node had to read because only the tail told of them.
    pub(crate) async fn found_by_tail(&self, node: usize) -> f64 {
        self.nodes[node].metric_of("hallway_gaps_total", "cause=\"tail\"").await
    }

    /// Events that came to a node this way.
    pub(crate) async fn came(&self, node: usize, path: &str) -> f64 {
        self.nodes[node].metric_of("hallway_bus_events_received_total", &format!("path=\"{path}\"")).await
    }
}

/// Makes a public room that the others join.
pub(crate) async fn meet(room: &str, owner: &mut Seat, others: &mut [&mut Seat]) {
    owner.create(room, "public").await;
    for other in others {
        let seq = other.join(room).await;
        owner.event(room, seq).await;
    }
}

/// Says something; everybody must hear it as the next event. Returns its number.
pub(crate) async fn everybody_hears(room: &str, from: &mut Seat, others: &mut [&mut Seat]) -> Seq {
    let seq = from.say(room, "hello").await;
    from.event(room, seq).await;
    for other in others {
        other.event(room, seq).await;
    }
    seq
}

/// Joins somebody who need not be connected, by invitation.
pub(crate) async fn invite(room: &str, owner: &mut Seat, user: &str) -> Seq {
    owner.done("room.invite", json!({"room": room, "user": user, "role": "member"})).await["seq"].as_u64().unwrap()
}
