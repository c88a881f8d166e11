//! Several servers: a Redis Cluster, and a primary and its replica behind Sentinel.

use std::time::Instant;

use hallway_gateway::bus::{Bus as _, Channel, Heard};
use loadtest_cluster::{TemporaryRedis, TemporaryRedisCluster, TemporarySentinel};

use crate::conformance::all_promises;
use crate::meeting::{Meeting, connected, eventually, hear, heard_at_last, options};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_a_redis_cluster_keeps_all_promises() {
    let cluster = TemporaryRedisCluster::start().unwrap();
    all_promises(&Meeting::redis(&cluster.url())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_a_redis_behind_sentinel_keeps_all_promises() {
    let servers = TemporarySentinel::start().unwrap();
    all_promises(&Meeting::redis(&servers.url())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_after_a_fail_over_the_nodes_meet_at_the_new_primary() {
    let servers = TemporarySentinel::start().unwrap();
    let (writer, reader) = (connected(&options(&servers.url())).await, connected(&options(&servers.url())).await);
    reader.subscribe(vec![Channel::All]).await.unwrap();
    let begun = Instant::now();
    servers.primary().kill9().unwrap();
    assert_eq!(hear(&*reader).await, Heard::Missed);
    heard_at_last(&*writer, &*reader, &Channel::All, "over there").await;
    println!("in use again {:?} after the primary was killed", begun.elapsed());
    assert_eq!(servers.primary_port().unwrap(), servers.replica().port());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_nodes_of_a_redis_cluster_that_die_are_left_for_others() {
    let cluster = TemporaryRedisCluster::start().unwrap();
    let (writer, reader) = (connected(&options(&cluster.url())).await, connected(&options(&cluster.url())).await);
    reader.subscribe(vec![Channel::All]).await.unwrap();
    for (number, node) in cluster.nodes()[..2].iter().enumerate() {
        node.kill9().unwrap();
        let begun = Instant::now();
        let tries = heard_at_last(&*writer, &*reader, &Channel::All, &format!("without {number}")).await;
        println!("heard again {:?} after node {number} was killed, at try {tries}", begun.elapsed());
    }
}

/// The node that a bus is subscribed at.
fn subscribed_at(nodes: &[TemporaryRedis]) -> usize {
    let has_subscriber =
        |node: &TemporaryRedis| node.command(&["CLIENT", "LIST", "TYPE", "pubsub"]).unwrap().text().contains("id=");
    nodes.iter().position(has_subscriber).unwrap()
}

/// Nodes that forgot each other still answer, but what is published at one does not come to the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_a_subscriber_that_answers_but_hears_nothing_is_noticed_and_replaced() {
    let cluster = TemporaryRedisCluster::start().unwrap();
    let bus = connected(&options(&cluster.url())).await;
    bus.subscribe(vec![Channel::All]).await.unwrap();
    let deaf = subscribed_at(cluster.nodes());
    let id_of = |node: &TemporaryRedis| node.command(&["CLUSTER", "MYID"]).unwrap().text().to_owned();
    let deaf_id = id_of(&cluster.nodes()[deaf]);
    for (number, node) in cluster.nodes().iter().enumerate() {
        if number != deaf {
            node.command(&["CLUSTER", "FORGET", &deaf_id]).unwrap();
            cluster.nodes()[deaf].command(&["CLUSTER", "FORGET", &id_of(node)]).unwrap();
        }
    }
    let begun = Instant::now();
    eventually("the deafness is noticed", || bus.health().connections_deaf() > 0).await;
    println!("noticed after {:?}", begun.elapsed());
    assert_eq!(hear(&*bus).await, Heard::Missed);
    heard_at_last(&*bus, &*bus, &Channel::All, "healed").await;
    println!("healed after {:?}", begun.elapsed());
}
