//! Doing it: each fault from its beginning to its healing, and how one knows that it was felt.
//!
//! Every injection calls [`Scene::begins`] at the moment of the fault and [`Scene::heals`] just before it heals: from those moments
//! on nobody writes to some of the rooms, whose last message must arrive all the same.

mod clients;
mod nodes;
mod postgres;
mod redis;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use loadtest_cluster::Cluster;
use loadtest_cluster::proxy::{Counts, FaultProxy, Faults};
use rand::RngExt;
use rand::rngs::StdRng;

use super::fault::Fault;
use super::load;
use super::world::World;
use crate::metrics::read;
use crate::run::Failure;

/// Messages that are sent at once, so that a node dies in the middle of some.
const BURST_MESSAGES: usize = 60;
const BURST_PAUSE: Duration = Duration::from_millis(15);

/// What an injection works on.
pub(crate) struct Scene<'a> {
    pub(crate) cluster: &'a mut Cluster,
    pub(crate) world: &'a Arc<World>,
    pub(crate) random: StdRng,
    pub(crate) lasts: Duration,
}

/// What came of it.
#[derive(Debug, Clone)]
pub(crate) struct Felt {
    pub(crate) began_at: Instant,
    /// From here on everything that the fault stopped must work again.
    pub(crate) healed_at: Instant,
    /// Whether it was felt at all; if not, the experiment proves nothing.
    pub(crate) bit: bool,
    /// How one knows.
    pub(crate) how: String,
    /// Something that must not happen, whatever the clients saw.
    pub(crate) wrong: Option<String>,
}

/// Attempts and connections at one moment.
#[derive(Debug, Clone, Copy)]
struct Tally {
    acked: u64,
    refused: u64,
    unknown: u64,
    reconnects: u64,
}

impl Scene<'_> {
    /// The fault happens now.
    fn begins(&self) -> Instant {
        self.world.quiet_at_fault.store(true, Ordering::Relaxed);
        Instant::now()
    }

    /// It is about to heal.
    fn heals(&self) {
        self.world.quiet_at_heal.store(true, Ordering::Relaxed);
    }

    async fn wait(&self) {
        tokio::time::sleep(self.lasts).await;
    }

    fn any_node(&mut self) -> usize {
        self.random.random_range(0..self.cluster.nodes.len())
    }

    fn tally(&self) -> Tally {
        let counters = &self.world.counters;
        Tally {
            acked: read(&counters.acked),
            refused: read(&counters.refused),
            unknown: read(&counters.unknown),
            reconnects: self.world.reconnects(),
        }
    }

    /// What was added since.
    fn since(&self, before: Tally) -> Tally {
        let now = self.tally();
        Tally {
            acked: now.acked - before.acked,
            refused: now.refused - before.refused,
            unknown: now.unknown - before.unknown,
            reconnects: now.reconnects - before.reconnects,
        }
    }

    /// Many messages at once, and a moment later some of them are just being committed.
    async fn burst(&mut self) {
        for _ in 0..BURST_MESSAGES {
            // The small rooms: what is measured is not how long a large one takes.
            let room = self.random.random_range(2..self.world.rooms.len());
            let stayers = self.world.rooms[room].stayers();
            let sender = self.world.guests[stayers[self.random.random_range(0..stayers.len())]].clone();
            tokio::spawn(load::publish(Arc::clone(self.world), sender, room, "at once".to_owned()));
        }
        tokio::time::sleep(BURST_PAUSE).await;
    }

    /// From now on these nodes' links to Redis suffer from this.
    fn set_redis_links(&self, nodes: &[usize], faults: Faults) {
        for link in nodes.iter().filter_map(|node| self.cluster.nodes[*node].redis.as_ref()) {
            link.set(faults);
        }
    }

    /// What happened on the links to Redis of these nodes.
    fn redis_links(&self, nodes: &[usize]) -> Counts {
        let links = nodes.iter().filter_map(|node| self.cluster.nodes[*node].redis.as_ref());
        links.map(FaultProxy::counts).fold(Counts::default(), |sum, counts| sum.plus(&counts))
    }

    fn all_nodes(&self) -> Vec<usize> {
        (0..self.cluster.nodes.len()).collect()
    }

    /// A metric of all nodes together; a node that does not answer counts nothing.
    async fn metric(&self, name: &str) -> f64 {
        let mut sum = 0.0;
        for node in &self.cluster.nodes {
            sum += node.process.metric(name).await.unwrap_or(0.0);
        }
        sum
    }
}

/// Does it, waits, and heals it.
pub(crate) async fn inject(fault: Fault, scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    match fault {
        Fault::NodeKill => nodes::kill(scene).await,
        Fault::NodeDrain => nodes::drain(scene).await,
        Fault::RollingRestart => nodes::rolling_restart(scene).await,
        Fault::BusLag => nodes::lag(scene).await,
        Fault::PostgresKill => postgres::kill(scene).await,
        Fault::PostgresTerminate => postgres::terminate(scene).await,
        Fault::PostgresFreeze => postgres::freeze(scene).await,
        Fault::PostgresSlow => postgres::slow(scene).await,
        Fault::PostgresLocked => postgres::locked(scene).await,
        Fault::PostgresLockedNodeKill => postgres::locked_node_kill(scene).await,
        Fault::SameNonceTwoNodes => clients::same_nonce(scene).await,
        Fault::TwoWritersOneRoom => clients::two_writers(scene).await,
        Fault::MembershipChurn => clients::churn(scene).await,
        Fault::ReconnectStorm => clients::storm(scene).await,
        Fault::SlowReader => clients::slow_reader(scene).await,
        Fault::RedisKill => redis::kill(scene).await,
        Fault::RedisRestartEmpty => redis::restart_empty(scene).await,
        Fault::RedisFreeze => redis::freeze(scene).await,
        Fault::RedisOneWay => redis::one_way(scene).await,
        Fault::RedisDeaf => redis::deaf(scene).await,
        Fault::RedisOverflow => redis::overflow(scene).await,
        Fault::RedisCutOneNode => redis::cut_one_node(scene).await,
    }
}
