//! What is delivered when the bus is not what it should be.

use std::sync::atomic::Ordering;

use super::house::{House, everybody_hears, meet};
use super::node::http_get;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_loses_everything_loses_nothing_for_members() {
    let house = House::start(2, |_| {}).await;
    let mut ada = house.seat(0, "ada").await;
    let mut bob = house.seat(1, "bob").await;
    meet("hall", &mut ada, &mut [&mut bob]).await;
    house.buses.iter().for_each(|bus| bus.loses.store(true, Ordering::SeqCst));
    let before = house.came(1, "direct").await;
    for _ in 0..3 {
        everybody_hears("hall", &mut ada, &mut [&mut bob]).await;
        everybody_hears("hall", &mut bob, &mut [&mut ada]).await;
    }
    assert!(house.found_by_tail(0).await >= 1.0 && house.found_by_tail(1).await >= 1.0);
    assert!(house.came(1, "direct").await - before <= 1.0, "the bus brought nothing but what was on its way");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_does_not_answer_keeps_nobody_waiting_and_the_tail_delivers() {
    let house = House::start(2, |config| config.limits.bus_queue_max_messages = 8).await;
    let mut ada = house.seat(0, "ada").await;
    let mut bob = house.seat(1, "bob").await;
    meet("hall", &mut ada, &mut [&mut bob]).await;
    house.buses[0].hangs(true);
    let first = ada.say("hall", "first").await;
    let mut last = first;
    for number in 0..40 {
        last = ada.say("hall", &format!("number {number}")).await;
    }
    bob.events("hall", first..=last).await;
    assert!(house.nodes[0].metric("hallway_bus_queue_drops_total").await > 0.0, "the queue was full");
    // A stuck publish is a sick bus, too: the node does not hear itself.
    house.nodes[0].metric_until("hallway_bus_up", "", |up| up == 0.0).await;
    house.buses[0].hangs(false);
    house.nodes[0].metric_until("hallway_bus_up", "", |up| up == 1.0).await;
    everybody_hears("hall", &mut ada, &mut [&mut bob]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_deaf_is_degraded_and_ready_and_delivers() {
    let house = House::start(2, |_| {}).await;
    let mut ada = house.seat(0, "ada").await;
    let mut bob = house.seat(1, "bob").await;
    meet("hall", &mut ada, &mut [&mut bob]).await;
    let ready = http_get(house.nodes[1].admin_address(), "/readyz", &[]).await;
    assert_eq!((ready.status, ready.body.as_str()), (200, "ready\n"));

    house.buses[1].is_deaf.store(true, Ordering::SeqCst);
    house.nodes[1].metric_until("hallway_bus_up", "", |up| up == 0.0).await;
    let degraded = http_get(house.nodes[1].admin_address(), "/readyz", &[]).await;
    assert!(degraded.status == 200 && degraded.body.starts_with("ready, degraded: the bus"), "{}", degraded.body);
    for _ in 0..3 {
        everybody_hears("hall", &mut ada, &mut [&mut bob]).await;
    }
    assert!(house.found_by_tail(1).await >= 1.0);
    assert_eq!(house.nodes[0].metric("hallway_bus_up").await, 1.0, "the other one hears");

    house.buses[1].is_deaf.store(false, Ordering::SeqCst);
    house.nodes[1].metric_until("hallway_bus_up", "", |up| up == 1.0).await;
    let before = house.came(1, "direct").await;
    everybody_hears("hall", &mut ada, &mut [&mut bob]).await;
    house.nodes[1].metric_until("hallway_bus_events_received_total", "direct", |came| came > before).await;
}
