//! Where a client stands decides what it gets: exactly what it missed, or a reset with the true reason.

use hallway_protocol::frame::{Reset, ResetReason};
use hallway_protocol::{Epoch, Position};
use serde_json::json;

use crate::node::TestNode;
use crate::seat::{Seat, room_stream};

/// A room whose last seq is `head`.
async fn room_with(node: &TestNode, head: u64) -> Seat {
    let mut seat = node.connect("ada").await;
    seat.create("lobby", "public").await;
    for number in 3..=head {
        assert_eq!(seat.say("lobby", &format!("message {number}")).await, number);
    }
    seat
}

/// Connects with these positions and says the reset that came for the room, if any.
async fn reset_for(node: &TestNode, user: &str, positions: Vec<Position>, limit: Option<u32>) -> (Seat, Option<Reset>) {
    let mut options = node.options(user).positions(positions);
    options.limit = limit;
    let mut seat = node.connect_with(&options).await;
    // The sync is complete: a reset, if there is one, has come.
    let reset = seat.take_reset_if_any("lobby");
    (seat, reset)
}

fn says(reset: Option<Reset>) -> Option<(u64, ResetReason)> {
    reset.map(|reset| (reset.seq, reset.reason))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_kind_of_position_gets_what_it_missed_or_a_reset_with_its_reason() {
    let node = TestNode::start(|_| {}).await;
    let seat = room_with(&node, 80).await;
    let epoch = seat.welcome.epoch.clone();
    let at = |epoch: &Epoch, seq| vec![Position { stream: room_stream("lobby"), epoch: epoch.clone(), seq }];
    let old = Epoch::new("another-life").unwrap();

    let (mut caught_up, reset) = reset_for(&node, "ada", at(&epoch, 80), None).await;
    assert_eq!(says(reset), None);
    assert_eq!(caught_up.unread_events_of("lobby"), 0);
    assert_eq!(caught_up.say("lobby", "one more").await, 81);
    caught_up.events("lobby", 81..=81).await;

    let cases = [
        ("missed", at(&epoch, 10), None, None, 11),
        ("from the first", at(&epoch, 0), None, None, 1),
        ("new", vec![], None, Some((31, ResetReason::New)), 32),
        ("new, with a limit", vec![], Some(5), Some((76, ResetReason::New)), 77),
        ("beyond its limit", at(&epoch, 10), Some(20), Some((61, ResetReason::Limit)), 62),
        ("within its limit", at(&epoch, 61), Some(20), None, 62),
        ("another epoch", at(&old, 80), None, Some((31, ResetReason::Epoch)), 32),
        ("ahead", at(&epoch, 1000), None, Some((31, ResetReason::Ahead)), 32),
    ];
    for (what, positions, limit, expected, first) in cases {
        let (mut seat, reset) = reset_for(&node, "ada", positions, limit).await;
        assert_eq!(says(reset), expected, "{what}");
        seat.events("lobby", first..=81).await;
        assert_eq!(seat.unread_events_of("lobby"), 0, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_longer_kept_is_a_reset_and_never_a_silent_hole() {
    let (node, store) = TestNode::start_with_faults(|config| config.limits.ring_events_max = 1).await;
    let seat = room_with(&node, 30).await;
    hallway_store::Upkeep::trim(&*store, &room_stream("lobby"), 21).await.unwrap();
    let (mut behind, reset) = reset_for(&node, "ada", vec![seat.at("lobby", 10)], None).await;
    assert_eq!(says(reset), Some((20, ResetReason::Trimmed)));
    behind.events("lobby", 21..=30).await;
    let (mut edge, reset) = reset_for(&node, "ada", vec![seat.at("lobby", 20)], None).await;
    assert_eq!(says(reset), None);
    edge.events("lobby", 21..=30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_from_before_the_own_joining_is_a_reset_to_the_joining() {
    let node = TestNode::start(|_| {}).await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "private").await;
    ada.say("lobby", "before ben").await;
    let invited = ada.done("room.invite", json!({"room": "lobby", "user": "ben", "role": "member"})).await;
    let joined = invited["seq"].as_u64().unwrap();
    let head = ada.say("lobby", "with ben").await;
    let (mut ben, reset) = reset_for(&node, "ben", vec![ada.at("lobby", 1)], None).await;
    assert_eq!(says(reset), Some((joined - 1, ResetReason::Joined)));
    ben.events("lobby", joined..=head).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_on_a_live_connection_gives_each_event_again_exactly_from_the_position() {
    let node = TestNode::start(|_| {}).await;
    let mut seat = room_with(&node, 40).await;
    seat.events("lobby", 3..=40).await;
    for (from, limit) in [(20, None), (0, None), (40, None), (35, Some(10))] {
        let position = json!({"stream": "room:lobby", "epoch": seat.welcome.epoch.as_str(), "seq": from});
        let reply = seat.done("sync", json!({"positions": [position], "limit": limit})).await;
        assert_eq!(reply["epoch"], seat.welcome.epoch.as_str());
        let positions = seat.synced().await;
        let expected = vec![seat.at("lobby", 40)];
        assert_eq!(positions, expected, "from {from}: only the stream that was named");
        seat.events("lobby", from + 1..=40).await;
        assert_eq!(seat.unread_events_of("lobby"), 0);
    }
    assert_eq!(seat.say("lobby", "live again").await, 41);
    seat.events("lobby", 41..=41).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn syncs_that_overlap_each_end() {
    let node = TestNode::start(|_| {}).await;
    let mut seat = room_with(&node, 40).await;
    seat.events("lobby", 3..=40).await;
    seat.done("room.create", json!({"room": "attic", "visibility": "public"})).await;
    let position = |room: &str, seq| json!({"positions": [{"stream": format!("room:{room}"), "epoch": seat.welcome.epoch.as_str(), "seq": seq}]});
    let (first, second) = (position("lobby", 0), position("attic", 0));
    let one = seat.send("sync", first).await;
    let two = seat.send("sync", second).await;
    for id in [one, two] {
        seat.answer(id).await.unwrap();
    }
    let mut ended = Vec::new();
    for _ in 0..2 {
        ended.extend(seat.synced().await.into_iter().map(|position| (position.stream.to_string(), position.seq)));
    }
    ended.sort();
    assert_eq!(ended, [("room:attic".to_owned(), 2), ("room:lobby".to_owned(), 40)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn positions_of_streams_of_others_are_ignored() {
    let node = TestNode::start(|_| {}).await;
    let seat = room_with(&node, 5).await;
    let mut positions = vec![seat.at("lobby", 0), seat.at("nowhere", 3)];
    positions.push(Position { stream: "user:ada".parse().unwrap(), epoch: seat.welcome.epoch.clone(), seq: 0 });
    let mut ben = node.enter(&node.options("ben").positions(positions)).await;
    let reached: Vec<String> = ben.synced().await.into_iter().map(|position| position.stream.to_string()).collect();
    assert_eq!(reached, ["user:ben"]);
    assert_eq!(ben.unread_events_of("lobby"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_absence_comes_in_pages_without_a_gap() {
    let node = TestNode::start(|config| {
        config.limits.page_events_max = 10;
        config.limits.ring_events_max = 4;
    })
    .await;
    let seat = room_with(&node, 300).await;
    let pages = node.metric("hallway_store_pages_total").await;
    let mut absent = node.enter(&node.options("ada").positions(vec![seat.at("lobby", 0)])).await;
    absent.events("lobby", 1..=300).await;
    absent.synced().await;
    // Two pages' worth came with the rooms.
    assert!(node.metric("hallway_store_pages_total").await - pages >= 28.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_node_has_in_memory_is_not_read_again_however_little_a_socket_takes() {
    let node = TestNode::start(|config| {
        config.limits.socket_send_buffer_bytes = 16_384;
        config.limits.backlog_max_bytes = 16_384;
        config.limits.ring_max_bytes = 16_777_216;
    })
    .await;
    let mut seat = room_with(&node, 2).await;
    for number in 3..=200 {
        assert_eq!(seat.say("lobby", &"x".repeat(4_000)).await, number);
    }
    seat.events("lobby", 3..=200).await;
    let streams = node.metric("hallway_store_page_streams_total").await;
    let mut absent = node.enter(&node.options("ada").positions(vec![seat.at("lobby", 2)])).await;
    absent.events("lobby", 3..=200).await;
    absent.synced().await;
    assert_eq!(node.metric("hallway_store_page_streams_total").await, streams, "800 KB in pieces of 16 KB");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_sync_a_message_comes_as_it_is_now_and_deleted_text_is_gone() {
    for ring_events_max in [1, 256] {
        let node = TestNode::start(|config| config.limits.ring_events_max = ring_events_max).await;
        let mut seat = room_with(&node, 2).await;
        let secret = seat.done("message.send", json!({"room": "lobby", "text": "a secret"})).await;
        seat.done("message.delete", json!({"room": "lobby", "id": secret["id"]})).await;
        let mut absent = node.connect_with(&node.options("ada").positions(vec![seat.at("lobby", 0)])).await;
        let events = absent.events("lobby", 1..=4).await;
        assert!(!format!("{events:?}").contains("a secret"), "ring of {ring_events_max}: {events:?}");
        let history = absent.done("message.history", json!({"room": "lobby", "direction": "older"})).await;
        assert_eq!((&history["messages"][0]["deleted"], &history["messages"][0]["text"]), (&json!(true), &json!("")));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_does_not_end_before_its_events_however_busy_the_other_rooms_are() {
    let node = TestNode::start(|_| {}).await;
    let mut seat = room_with(&node, 10).await;
    seat.events("lobby", 3..=10).await;
    let mut busy = node.connect("ben").await;
    busy.create("busy", "public").await;
    seat.join("busy").await;
    for _ in 0..50 {
        let mut ids = Vec::new();
        for _ in 0..10 {
            ids.push(busy.send("message.send", json!({"room": "busy", "text": "x"})).await);
        }
        let position = json!({"stream": "room:lobby", "epoch": seat.welcome.epoch.as_str(), "seq": 0});
        seat.done("sync", json!({"positions": [position]})).await;
        seat.synced().await;
        assert_eq!(seat.unread_events_of("lobby"), 10, "all events come before sync_end");
        seat.events("lobby", 1..=10).await;
        for id in ids {
            busy.answer(id).await.unwrap();
        }
    }
}
