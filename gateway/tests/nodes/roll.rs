//! Who is there.

use std::sync::atomic::Ordering;

use hallway_protocol::UserId;

use super::house::House;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_gone_is_missed_after_its_lease() {
    let house = House::start(2, |config| {
        config.limits.node_heartbeat_ms = 50;
        config.limits.node_lease_ms = 400;
    })
    .await;
    let _bob = house.seat(1, "bob").await;
    let bob = UserId::new("bob").unwrap();
    let cluster = house.nodes[0].node().service().cluster();
    assert_eq!(cluster.devices(&bob).devices, 1);
    house.buses[1].loses.store(true, Ordering::SeqCst);
    house.nodes[0].metric_until("hallway_cluster_nodes", "", |nodes| nodes == 1.0).await;
    assert_eq!((cluster.nodes_of(&bob), cluster.devices(&bob).devices), (vec![], 0));
    // It lived all the time: whoever hears it again knows who is there.
    house.buses[1].loses.store(false, Ordering::SeqCst);
    house.complete().await;
    house.knows("bob", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_says_so_and_one_that_comes_learns_who_is_there() {
    let mut house = House::start(2, |config| {
        config.limits.node_lease_ms = 600_000;
        config.limits.node_heartbeat_ms = 60_000;
    })
    .await;
    let _ada = house.seat(0, "ada").await;
    let gone = house.nodes.remove(1);
    gone.drain().await;
    house.nodes[0].metric_until("hallway_cluster_nodes", "", |nodes| nodes == 1.0).await;
    house.add(|_| {}).await;
    house.complete().await;
    house.knows("ada", 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_and_goes_is_known_everywhere() {
    let house = House::start(3, |_| {}).await;
    let phone = house.nodes[0].connect("bob").await;
    let tablet = house.nodes[1].connect("bob").await;
    house.knows("bob", 2).await;
    drop(phone);
    house.knows("bob", 1).await;
    drop(tablet);
    house.knows("bob", 0).await;
}
