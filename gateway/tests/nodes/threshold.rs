//! Rooms that turn large or small.

use hallway_gateway::bus::Channel;
use hallway_protocol::RoomId;
use serde_json::json;

use super::house::{House, everybody_hears, invite, meet};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_that_crosses_the_threshold_is_not_even_late() {
    let house = House::start(3, |config| config.limits.large_room_threshold_members = 10).await;
    let mut ada = house.seat(0, "ada").await;
    let mut bob = house.seat(1, "bob").await;
    let mut eve = house.seat(2, "eve").await;
    meet("hall", &mut ada, &mut [&mut bob, &mut eve]).await;
    let mut members = 3;
    let channel = Channel::Room(RoomId::new("hall").unwrap());
    let is_used = |house: &House| house.buses[0].take_published().iter().any(|(at, _)| *at == channel);

    // Up, with a message at each size; the channel is heard before it is used.
    while members < 24 {
        everybody_hears("hall", &mut ada, &mut [&mut bob, &mut eve]).await;
        everybody_hears("hall", &mut eve, &mut [&mut ada, &mut bob]).await;
        if members == 8 {
            for node in &house.nodes {
                node.metric_until("hallway_bus_room_subscriptions", "", |rooms| rooms == 1.0).await;
            }
            assert!(!is_used(&house), "at 8 of 10 members the channel is heard and not used");
        }
        hears_of(&house, &mut ada, &mut [&mut bob, &mut eve], members, true).await;
        members += 1;
    }
    assert!(is_used(&house), "a large room's channel is used");
    // Around the threshold, back and forth.
    for size in [12, 9, 10, 9, 11, 8, 12] {
        while members != size {
            let grows = members < size;
            hears_of(&house, &mut ada, &mut [&mut bob, &mut eve], members, grows).await;
            members = if grows { members + 1 } else { members - 1 };
        }
        everybody_hears("hall", &mut bob, &mut [&mut ada, &mut eve]).await;
    }
    // Down to where nobody hears the channel any more.
    while members > 4 {
        hears_of(&house, &mut ada, &mut [&mut bob, &mut eve], members, false).await;
        members -= 1;
        everybody_hears("hall", &mut ada, &mut [&mut bob, &mut eve]).await;
    }
    for node in &house.nodes {
        node.metric_until("hallway_bus_room_subscriptions", "", |rooms| rooms == 0.0).await;
    }
    everybody_hears("hall", &mut eve, &mut [&mut ada, &mut bob]).await;
    for node in 0..3 {
        assert_eq!(house.found_by_tail(node).await, 0.0, "node {node}");
        let times = house.buses[node].subscribed().iter().filter(|at| **at == channel).count();
        assert_eq!(times, 1, "node {node} subscribed once, however the room flapped");
        assert!(house.came(node, "room").await > 0.0);
    }
}

/// Somebody who is not connected joins or leaves: number `members` when it grows, `members - 1` when it shrinks.
async fn hears_of(
    _house: &House,
    ada: &mut super::seat::Seat,
    others: &mut [&mut super::seat::Seat],
    members: u64,
    grows: bool,
) {
    let seq = if grows {
        invite("hall", ada, &format!("guest{members}")).await
    } else {
        let user = format!("guest{}", members - 1);
        ada.done("room.remove", json!({"room": "hall", "user": user})).await["seq"].as_u64().unwrap()
    };
    ada.event("hall", seq).await;
    for other in others {
        other.event("hall", seq).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_room_reaches_who_comes_to_a_node_that_did_not_follow_it() {
    let house = House::start(2, |config| config.limits.large_room_threshold_members = 4).await;
    let mut ada = house.seat(0, "ada").await;
    ada.create("hall", "public").await;
    for number in 0..8 {
        let seq = invite("hall", &mut ada, &format!("guest{number}")).await;
        ada.event("hall", seq).await;
    }
    for number in 0..8 {
        let mut guest = house.nodes[1].connect(&format!("guest{number}")).await;
        // No pause: what is said while the node begins to hear the channel is read from the store, not awaited from the tail.
        everybody_hears("hall", &mut ada, &mut [&mut guest]).await;
    }
    house.nodes[1].metric_until("hallway_bus_room_subscriptions", "", |rooms| rooms == 1.0).await;
}
