//! What one node commits, others hear at once.

use hallway_gateway::bus::Channel;
use hallway_protocol::ServerFrame;
use serde_json::json;

use super::house::{House, everybody_hears, invite, meet};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_reaches_members_on_all_nodes_without_the_tail() {
    let house = House::start(3, |_| {}).await;
    let mut ada = house.seat(0, "ada").await;
    let mut bob = house.seat(1, "bob").await;
    let mut eve = house.seat(2, "eve").await;
    meet("hall", &mut ada, &mut [&mut bob, &mut eve]).await;
    bob.event("hall", 4).await;
    for _ in 0..20 {
        everybody_hears("hall", &mut ada, &mut [&mut bob, &mut eve]).await;
        everybody_hears("hall", &mut bob, &mut [&mut ada, &mut eve]).await;
    }
    for node in 0..3 {
        assert_eq!(house.found_by_tail(node).await, 0.0, "node {node}");
        let direct = house.came(node, "direct").await;
        assert!(direct >= 20.0, "{direct} events came to node {node} directly");
    }
    assert_eq!(house.nodes[0].metric("hallway_bus_refused_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_the_bus_leaves_in_one_message_for_each_target() {
    let house = House::start(3, |_| {}).await;
    let mut ada = house.seat(0, "ada").await;
    let mut bob = house.seat(1, "bob").await;
    let mut eve = house.seat(2, "eve").await;
    meet("hall", &mut ada, &mut [&mut bob, &mut eve]).await;
    everybody_hears("hall", &mut ada, &mut [&mut bob, &mut eve]).await;
    let before = house.came(1, "direct").await;

    let bus = &house.buses[0];
    bus.hangs(true);
    drop(bus.take_published());
    let mut seqs = Vec::new();
    for number in 0..100 {
        // Nobody waits for the bus: every one is acknowledged while it hangs.
        seqs.push(ada.say("hall", &format!("number {number}")).await);
    }
    let targets = [1, 2].map(|node: usize| Channel::Node(house.nodes[node].node().service().cluster().node()));
    let hanging = bus.take_published();
    bus.hangs(false);
    for seat in [&mut bob, &mut eve] {
        seat.events("hall", seqs[0]..=seqs[99]).await;
    }
    house.nodes[1].metric_until("hallway_bus_events_received_total", "direct", |came| came - before >= 100.0).await;
    let messages: Vec<(Channel, bytes::Bytes)> = hanging.into_iter().chain(bus.take_published()).collect();
    for target in &targets {
        let count = messages.iter().filter(|(channel, _)| channel == target).count();
        // The one that hung, and one with everything that gathered behind it.
        assert!((1..=2).contains(&count), "{count} messages to one target for 100 events");
    }
    let inboxes = messages.iter().filter(|(channel, _)| matches!(channel, Channel::Node(_))).count();
    assert!(inboxes <= 6, "{inboxes} messages to inboxes, probes included");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typing_and_signals_cross_nodes() {
    let house = House::start(2, |_| {}).await;
    let mut ada = house.seat(0, "ada").await;
    let mut bob = house.seat(1, "bob").await;
    meet("hall", &mut ada, &mut [&mut bob]).await;
    everybody_hears("hall", &mut ada, &mut [&mut bob]).await;
    ada.done("typing", json!({"room": "hall", "active": true})).await;
    let typing = bob.take("typing", |frame| matches!(frame, ServerFrame::Typing(_))).await;
    assert!(matches!(typing, ServerFrame::Typing(typing) if typing.user.as_str() == "ada" && typing.active));
    bob.done("signal", json!({"room": "hall", "name": "wave", "data": {"n": 1}})).await;
    let signal = ada.take("signal", |frame| matches!(frame, ServerFrame::Signal(_))).await;
    assert!(matches!(signal, ServerFrame::Signal(signal) if signal.user.as_str() == "bob" && signal.name == "wave"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_concerns_a_person_reaches_their_devices_on_other_nodes() {
    let house = House::start(3, |_| {}).await;
    let mut ada = house.seat(0, "ada").await;
    let mut bob = house.seat(1, "bob").await;
    ada.create("den", "private").await;
    let seq = invite("den", &mut ada, "bob").await;
    // Bob's own stream tells him; from then on he follows the room.
    bob.event("den", seq).await;
    let said = everybody_hears("den", &mut ada, &mut [&mut bob]).await;
    let mut tablet = house.nodes[2].connect("bob").await;
    house.knows("bob", 2).await;
    bob.done("read.mark", json!({"room": "den", "seq": said})).await;
    let marked = |frame: &ServerFrame| matches!(frame, ServerFrame::Event(event) if event.body.name() == "read.marked");
    tablet.take("the read marker", marked).await;
    for node in 0..3 {
        assert_eq!(house.found_by_tail(node).await, 0.0, "node {node}");
    }
    assert!(bob.welcome.session.starts_with(&format!("{}-", house.nodes[1].node().service().cluster().node())));
}
