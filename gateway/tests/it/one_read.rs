//! Somebody who comes back costs the store one call, whatever they missed, and a crowd that comes back to one room one read.

use hallway_protocol::Position;
use serde_json::json;

use crate::node::TestNode;
use crate::seat::{Seat, room_stream};

const ROOMS: usize = 50;
/// Said in each room while the person is away, beside what is edited and reacted to.
const MISSED: u64 = 4;

fn room(number: usize) -> String {
    format!("room-{number}")
}

/// Ben is a member of many rooms of Ada's, and goes; what he stands at then.
async fn absent_ben(node: &TestNode, ada: &mut Seat) -> Vec<Position> {
    for number in 0..ROOMS {
        ada.create(&room(number), "private").await;
        ada.done("room.invite", json!({"room": room(number), "user": "ben", "role": "member"})).await;
    }
    let mut ben = node.enter(&node.options("ben")).await;
    let positions = ben.synced().await;
    assert_eq!(positions.len(), ROOMS + 1);
    positions
}

/// So much that 200 events are more than the rooms' talk: edits and reactions.
async fn go_on_without(ada: &mut Seat) {
    for number in 0..ROOMS {
        let room = room(number);
        let said = ada.done("message.send", json!({"room": room, "text": "without ben"})).await;
        ada.done("message.edit", json!({"room": room, "id": said["id"], "text": "edited"})).await;
        ada.done("message.react", json!({"room": room, "id": said["id"], "emoji": "+1"})).await;
        ada.done("message.send", json!({"room": room, "text": "and more"})).await;
    }
}

/// Everything that Ben missed has come, and his positions are where the streams are.
async fn came_back(node: &TestNode, positions: Vec<Position>) {
    let mut ben = node.enter(&node.options("ben").positions(positions.clone())).await;
    let reached = ben.synced().await;
    assert_eq!(reached.len(), ROOMS + 1);
    for number in 0..ROOMS {
        let room = room(number);
        let before = positions.iter().find(|position| position.stream == room_stream(&room)).unwrap().seq;
        let events = ben.events(&room, before + 1..=before + MISSED).await;
        assert!(format!("{:?}", events[0]).contains("edited"), "a message is as it is now: {:?}", events[0]);
        assert_eq!(ben.take_reset_if_any(&room), None);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_missed_something_in_fifty_rooms_comes_back_with_one_call_of_the_store() {
    let (node, _) = TestNode::start_with_faults(|_| {}).await;
    let mut ada = node.connect("ada").await;
    let positions = absent_ben(&node, &mut ada).await;
    go_on_without(&mut ada).await;
    drop(ada);
    // Nothing of it is in the memory of a node that has just begun.
    let (node, store) = node.restart_with_faults().await;
    store.take_reads();
    came_back(&node, positions.clone()).await;
    assert_eq!(store.take_reads(), 1, "one call brings the rooms and all that was missed");
    assert!(node.metric("hallway_store_missed_events_total").await >= (ROOMS as u64 * MISSED) as f64);
    // What the first one read is in the rings: the second device asks for the rooms only.
    came_back(&node, positions).await;
    assert_eq!((store.take_reads(), store.take_page_requests()), (1, vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_missed_tasks_and_notifications_as_well_comes_back_with_one_call_of_the_store() {
    const TASKS_PER_ROOM: usize = 4;
    let (node, _) = TestNode::start_with_faults(|_| {}).await;
    let mut ada = node.connect("ada").await;
    let positions = absent_ben(&node, &mut ada).await;
    for number in 0..ROOMS {
        let room = room(number);
        for task in 0..TASKS_PER_ROOM {
            // One is his, and he is told of it and of its move: of a hundred things in all.
            let assignees = if task == 0 { json!(["ben"]) } else { json!([]) };
            let create = json!({"room": room, "title": "give Anna the report", "assignees": assignees});
            let made = ada.done("task.create", create).await;
            ada.done("task.move", json!({"room": room, "id": made["id"], "version": 1, "status": "in_progress"})).await;
        }
    }
    drop(ada);
    let (node, store) = node.restart_with_faults().await;
    store.take_reads();
    let mut ben = node.enter(&node.options("ben").positions(positions.clone())).await;
    assert_eq!(ben.synced().await.len(), ROOMS + 1);
    for number in 0..ROOMS {
        let room = room(number);
        let before = positions.iter().find(|position| position.stream == room_stream(&room)).unwrap().seq;
        let events = ben.events(&room, before + 1..=before + 2 * TASKS_PER_ROOM as u64).await;
        assert!(format!("{:?}", events[0]).contains("InProgress"), "a task is as it is now: {:?}", events[0]);
    }
    let mut told = Vec::new();
    while told.len() < 2 * ROOMS {
        let (notification, unread) = ben.notified().await;
        assert_eq!(unread, told.len() as u64 + 1);
        told.push(notification.id);
    }
    assert_eq!(store.take_reads(), 1, "one call brings rooms, tasks and notifications");
    let listed = ben.done("notification.list", json!({})).await;
    assert_eq!(listed["unread"], told.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_beyond_the_bound_of_one_call_comes_in_pages_without_a_gap() {
    let (node, _) = TestNode::start_with_faults(|config| config.limits.page_events_max = 50).await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "private").await;
    let mut head = 0;
    for number in 0..300 {
        head = ada.say("lobby", &format!("message {number}")).await;
    }
    let position = ada.at("lobby", 2);
    drop(ada);
    let (node, store) = node.restart_with_faults().await;
    store.take_reads();
    let mut ada = node.connect_with(&node.options("ada").positions(vec![position])).await;
    ada.events("lobby", 3..=head).await;
    assert_eq!(node.metric("hallway_store_missed_events_total").await, 100.0);
    assert!(store.take_reads() > 1, "the rest is read from the log");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_of_a_live_connection_is_one_call_of_the_store_as_well() {
    let (node, store) = TestNode::start_with_faults(|config| config.limits.ring_events_max = 1).await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "private").await;
    let mut head = 0;
    for number in 0..40 {
        head = ada.say("lobby", &format!("message {number}")).await;
    }
    ada.events("lobby", 3..=head).await;
    store.take_reads();
    let position = json!({"stream": "room:lobby", "epoch": ada.welcome.epoch.as_str(), "seq": 2});
    ada.done("sync", json!({"positions": [position]})).await;
    ada.synced().await;
    ada.events("lobby", 3..=head).await;
    assert_eq!(store.take_reads(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_that_anyone_made_up_leave_nothing_in_a_node() {
    let node = TestNode::start(|_| {}).await;
    let ada = node.connect("ada").await;
    let streams = node.metric("hallway_streams").await;
    let positions = (0..900).map(|number| ada.at(&format!("made-up-{number}"), 3)).collect();
    let mut ben = node.enter(&node.options("ben").positions(positions)).await;
    assert_eq!(ben.synced().await.len(), 1);
    node.metric_until("hallway_streams", "", |open| open <= streams + 1.0).await;
}
