//! Who is there, seen from other nodes.

use std::sync::atomic::Ordering;

use hallway_gateway::bus::Channel;
use hallway_protocol::ServerFrame;
use hallway_protocol::model::PresenceState;
use serde_json::{Value, json};

use super::house::{House, invite, meet};
use super::node::PATIENCE;
use super::seat::Seat;

/// Reads presence frames of this person until one is as wanted.
async fn until(seat: &mut Seat, user: &str, state: PresenceState, devices: u32) {
    let of_user = |frame: &ServerFrame| matches!(frame, ServerFrame::Presence(person) if person.user.as_str() == user);
    loop {
        match seat.take(&format!("{user} {state:?} with {devices}"), of_user).await {
            ServerFrame::Presence(person) if (person.state, person.devices) == (state, devices) => return,
            _ => {}
        }
    }
}

/// Asks until the answer is as wanted.
async fn get_until(seat: &mut Seat, room: &str, wanted: impl Fn(&Value) -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    loop {
        let got = seat.done("presence.get", json!({"room": room})).await;
        if wanted(&got) {
            return;
        }
        assert!(tokio::time::Instant::now() < end, "{room} stays at {got}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

fn is(online: u64, away: u64) -> impl Fn(&Value) -> bool {
    move |got| got["online"] == online && got["away"] == away && got["counts_complete"] == true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_at_several_nodes_are_one_person_whom_other_nodes_see() {
    let house = House::start(2, |_| {}).await;
    let mut ada = house.seat(0, "ada").await;
    let mut ben = house.seat(1, "ben").await;
    meet("hall", &mut ada, &mut [&mut ben]).await;
    let watched = ada.done("presence.watch", json!({"users": ["ben"]})).await;
    assert_eq!(watched["people"], json!([{"user": "ben", "state": "online", "devices": 1}]));
    let laptop = house.nodes[0].connect("ben").await;
    until(&mut ada, "ben", PresenceState::Online, 2).await;
    ben.done("presence.set", json!({"away": true})).await;
    get_until(&mut ada, "hall", is(2, 0)).await;
    drop(laptop);
    until(&mut ada, "ben", PresenceState::Away, 1).await;
    get_until(&mut ada, "hall", is(1, 1)).await;
    drop(ben);
    until(&mut ada, "ben", PresenceState::Offline, 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_of_a_node_that_is_gone_are_offline_after_its_lease_unless_they_are_elsewhere() {
    let house = House::start(2, |config| {
        config.limits.node_heartbeat_ms = 100;
        config.limits.node_lease_ms = 1_000;
    })
    .await;
    let mut ada = house.seat(0, "ada").await;
    let mut ben = house.seat(1, "ben").await;
    let mut cleo = house.seat(1, "cleo").await;
    meet("hall", &mut ada, &mut [&mut ben, &mut cleo]).await;
    let _cleo_elsewhere = house.nodes[0].connect("cleo").await;
    house.knows("cleo", 2).await;
    ada.done("presence.watch", json!({"users": ["ben", "cleo"]})).await;
    house.buses[1].loses.store(true, Ordering::SeqCst);
    until(&mut ada, "ben", PresenceState::Offline, 0).await;
    until(&mut ada, "cleo", PresenceState::Online, 1).await;
    get_until(&mut ada, "hall", is(2, 0)).await;
    // It was only cut off.
    house.buses[1].loses.store(false, Ordering::SeqCst);
    until(&mut ada, "ben", PresenceState::Online, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_room_is_counted_by_all_nodes_and_everybody_in_it_once() {
    let house = House::start(2, |config| config.limits.large_room_threshold_members = 5).await;
    let mut ada = house.seat(0, "ada").await;
    let mut ben = house.seat(1, "ben").await;
    meet("hall", &mut ada, &mut [&mut ben]).await;
    for number in 0..10 {
        invite("hall", &mut ada, &format!("guest{number}")).await;
    }
    let _at_both = (house.nodes[0].connect("guest3").await, house.nodes[1].connect("guest3").await);
    let _at_one = house.nodes[1].connect("guest4").await;
    ben.done("presence.set", json!({"away": true})).await;
    house.knows("guest3", 2).await;
    house.knows("guest4", 1).await;
    get_until(&mut ada, "hall", is(3, 1)).await;
    get_until(&mut ben, "hall", is(3, 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connect_costs_one_message_whatever_the_rooms() {
    let house = House::start(2, |config| {
        // Nothing else is said meanwhile.
        config.limits.node_heartbeat_ms = 60_000;
        config.limits.node_lease_ms = 600_000;
    })
    .await;
    let mut ada = house.seat(0, "ada").await;
    for number in 0..40 {
        ada.create(&format!("room{number}"), "public").await;
        invite(&format!("room{number}"), &mut ada, "ben").await;
    }
    let own = Channel::Node(house.nodes[0].node().service().cluster().node());
    // Who leaves is told as well: nobody does.
    let mut seats = Vec::new();
    for user in ["ben", "nobody"] {
        house.nodes[0].metric_until("hallway_requests_in_flight", "", |waiting| waiting == 0.0).await;
        house.buses[0].take_published();
        seats.push(house.seat(0, user).await);
        let published = house.buses[0].take_published();
        // The probe goes to the node itself.
        let told: Vec<Channel> = published.into_iter().map(|(to, _)| to).filter(|to| *to != own).collect();
        assert_eq!(told, [Channel::All], "the connect of {user}");
    }
}
