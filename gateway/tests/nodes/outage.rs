//! What is delivered when the bus is not what it should be.

use std::sync::atomic::Ordering;

use serde_json::json;

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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bus_that_loses_repeats_and_reorders_changes_nothing_for_members() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let house = House::start(3, |config| config.limits.large_room_threshold_members = 4).await;
    let mut ada = house.seat(0, "ada").await;
    let mut bob = house.seat(1, "bob").await;
    let mut eve = house.seat(2, "eve").await;
    meet("hall", &mut ada, &mut [&mut bob, &mut eve]).await;
    bob.event("hall", 4).await;
    for (bus, turn) in house.buses.iter().zip(0..) {
        bus.be_unruly(seed.wrapping_add(turn));
    }
    // Three nodes write one room at once, which turns large on the way.
    let mut last = 4;
    for round in 0..60 {
        let mut sent = Vec::new();
        for seat in [&mut ada, &mut bob, &mut eve] {
            sent.push(seat.send("message.send", json!({"room": "hall", "text": format!("round {round}")})).await);
            last += 1;
        }
        for (seat, id) in [&mut ada, &mut bob, &mut eve].into_iter().zip(sent) {
            seat.answer(id).await.unwrap();
        }
        if round % 20 == 10 {
            let guest = json!({"room": "hall", "user": format!("guest{round}"), "role": "member"});
            ada.done("room.invite", guest).await;
            last += 1;
        }
    }
    for seat in [&mut ada, &mut bob, &mut eve] {
        // Each number exactly once, in order.
        seat.events("hall", 5..=last).await;
        assert_eq!(seat.unread_events_of("hall"), 0, "seed {seed}");
    }
    let mut refused = 0.0;
    for node in &house.nodes {
        refused += node.metric_of("hallway_bus_refused_total", "replayed").await;
    }
    assert!(refused > 0.0, "seed {seed}: the bus repeated or reordered something");
}
