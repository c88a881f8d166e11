//! The same over a real Redis.

use hallway_gateway::config::{BusUrl, Config, StoreUrl};
use hallway_gateway::server::Given;
use loadtest_cluster::{TemporaryPostgres, TemporaryRedis};

use super::house::{everybody_hears, meet};
use super::node::TestNode;

/// Two nodes over a Redis.
async fn two_nodes(postgres: &TemporaryPostgres, redis: &TemporaryRedis) -> [TestNode; 2] {
    let url = postgres.database().await.unwrap();
    let change = |config: &mut Config| {
        config.store.url = Some(StoreUrl::parse(&url).unwrap());
        config.store.pool_connections = 4;
        config.bus.url = Some(BusUrl::parse(&redis.url()).unwrap());
        config.server.dev = true;
    };
    let nodes =
        [TestNode::start_with(change, Given::default()).await, TestNode::start_with(change, Given::default()).await];
    for node in &nodes {
        node.metric_until("hallway_cluster_nodes", "", |count| count == 2.0).await;
    }
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_crosses_redis_and_a_redis_that_dies_takes_nothing_along() {
    let (postgres, redis) = (TemporaryPostgres::shared().unwrap(), TemporaryRedis::start().unwrap());
    let nodes = two_nodes(&postgres, &redis).await;
    let mut ada = nodes[0].connect("ada").await;
    let mut bob = nodes[1].connect("bob").await;
    meet("hall", &mut ada, &mut [&mut bob]).await;
    let came = |node: usize| nodes[node].metric_of("hallway_bus_events_received_total", "direct");
    everybody_hears("hall", &mut ada, &mut [&mut bob]).await;
    nodes[1].metric_until("hallway_bus_events_received_total", "direct", |came| came > 0.0).await;

    redis.kill9().unwrap();
    for _ in 0..5 {
        everybody_hears("hall", &mut ada, &mut [&mut bob]).await;
        everybody_hears("hall", &mut bob, &mut [&mut ada]).await;
    }
    for node in &nodes {
        node.metric_until("hallway_bus_up", "", |up| up == 0.0).await;
    }
    redis.restart().unwrap();
    for node in &nodes {
        node.metric_until("hallway_bus_up", "", |up| up == 1.0).await;
        node.metric_until("hallway_cluster_nodes", "", |count| count == 2.0).await;
    }
    let before = came(1).await;
    everybody_hears("hall", &mut ada, &mut [&mut bob]).await;
    nodes[1].metric_until("hallway_bus_events_received_total", "direct", |now| now > before).await;
}
