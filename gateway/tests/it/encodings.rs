//! JSON and postcard clients in one room, requests that are sent without waiting, goodbyes, and a restored store.

use futures_util::{SinkExt, StreamExt};
use hallway_gateway::config::Config;
use hallway_protocol::Seq;
use hallway_protocol::codec::Codec;
use hallway_protocol::frame::ResetReason;
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;

use crate::node::{PATIENCE, TestNode};
use crate::seat::{Seat, room_stream};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_encodings_see_the_same_room() {
    let node = TestNode::start(|_| {}).await;
    let mut text = node.connect("ada").await;
    let mut binary = node.connect_with(&node.options("ben").codec(Codec::Postcard)).await;
    text.create("lobby", "public").await;
    binary.join("lobby").await;
    text.event("lobby", 3).await;
    let full = json!({"room": "lobby", "text": "Ωμέγα 🌹", "mentions": ["ben"], "meta": {"a": [1, 2.5, null]}});
    let sent = text.done("message.send", full).await;
    binary.done("message.react", json!({"room": "lobby", "id": sent["id"], "emoji": "🌹"})).await;
    let events = text.events("lobby", 4..=5).await;
    assert_eq!(binary.events("lobby", 4..=5).await, events);
    let history = json!({"room": "lobby", "direction": "newer"});
    assert_eq!(text.done("message.history", history.clone()).await, binary.done("message.history", history).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_sees_what_was_sent_before_it_without_waiting() {
    let node = TestNode::start(|_| {}).await;
    let mut seat = node.connect("ada").await;
    let mut reads = Vec::new();
    seat.send("room.create", json!({"room": "lobby", "visibility": "public"})).await;
    for number in 1..=20 {
        seat.send("message.send", json!({"room": "lobby", "text": format!("message {number}")})).await;
        let history = json!({"room": "lobby", "direction": "older", "limit": 1});
        reads.push((number, seat.send("message.history", history).await));
    }
    for (number, id) in reads {
        let page = seat.answer(id).await.unwrap();
        let newest = page["messages"][0]["ordinal"].as_u64().unwrap();
        assert!(newest >= number, "message {number} was sent before, the newest seen is {newest}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_pages_meet_without_overlap_in_both_directions() {
    let node = TestNode::start(|_| {}).await;
    let mut seat = node.connect("ada").await;
    seat.create("lobby", "public").await;
    for number in 1..=25 {
        seat.say("lobby", &format!("message {number}")).await;
    }
    for direction in ["older", "newer"] {
        let mut seen = Vec::new();
        let mut cursor = json!(null);
        loop {
            let arguments = json!({"room": "lobby", "direction": direction, "limit": 10, "cursor": cursor});
            let page = seat.done("message.history", arguments).await;
            let mut seqs: Vec<u64> =
                page["messages"].as_array().unwrap().iter().map(|message| message["seq"].as_u64().unwrap()).collect();
            assert!(seqs.is_sorted());
            if direction == "older" {
                seqs.extend(std::mem::take(&mut seen));
                seen = seqs;
            } else {
                seen.extend(seqs);
            }
            cursor = page[direction].clone();
            if cursor.is_null() {
                break;
            }
        }
        assert_eq!(seen, (3..=27).collect::<Vec<u64>>(), "{direction}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_goodbye_is_answered_and_counted_as_the_clients_own() {
    let node = TestNode::start(|_| {}).await;
    let socket = tokio::net::TcpStream::connect(node.address()).await.unwrap();
    let (mut socket, _) = tokio_tungstenite::client_async(node.url(), socket).await.unwrap();
    let hello = json!({"id": 1, "command": {"hello": {"token": node.token("ada")}}});
    socket.send(Message::text(hello.to_string())).await.unwrap();
    socket.send(Message::Close(None)).await.unwrap();
    let goodbye = async {
        while let Some(message) = socket.next().await {
            if message.unwrap().is_close() {
                return true;
            }
        }
        false
    };
    assert!(tokio::time::timeout(PATIENCE, goodbye).await.unwrap(), "the goodbye is answered");
    node.metric_until("hallway_connections_closed_total", "reason=\"client\"", |closed| closed == 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_began_a_new_life_sends_everybody_through_a_fresh_hello() {
    let (node, store) = TestNode::start_with_faults(|_| {}).await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    ada.say("lobby", "before").await;
    let old = ada.at("lobby", 3);
    let epoch = hallway_store::Upkeep::new_epoch(&*store).await.unwrap();
    assert_eq!(ada.end().await.code, Some(4008));
    let mut ada = node.connect_with(&node.options("ada").positions(vec![old])).await;
    assert_eq!(ada.welcome.epoch, epoch);
    let reset = ada.reset("lobby").await;
    assert_eq!((reset.reason, reset.epoch), (ResetReason::Epoch, epoch));
    assert_eq!(ada.say("lobby", "after").await, 4);
    ada.event("lobby", 4).await;
}

fn small_buffers(config: &mut Config) {
    config.limits.backlog_max_bytes = 16_384;
    config.limits.socket_send_buffer_bytes = 8192;
}

/// A sleeper joins ada's private room and reads nothing until it lags. Returns both, and the number of the joining.
async fn lagging_reader(node: &TestNode) -> (Seat, Seat, Seq) {
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "private").await;
    let mut options = node.options("sleeper");
    options.receive_buffer_bytes = Some(4096);
    let sleeper = node.connect_with(&options).await;
    let invite = json!({"room": "lobby", "user": "sleeper", "role": "member"});
    let joined = ada.done("room.invite", invite).await["seq"].as_u64().unwrap();
    let text = "x".repeat(8000);
    while node.metric("hallway_lagging_total").await < 1.0 {
        ada.say("lobby", &text).await;
    }
    // And more than backlog and kernel take together, so that it does not catch up by itself.
    for _ in 0..20 {
        ada.say("lobby", &text).await;
    }
    (ada, sleeper, joined)
}

/// The same, and then ada removes it. Returns the number of that, too.
async fn remove_a_lagging_reader(node: &TestNode) -> (Seat, Seat, Seq, Seq) {
    let (mut ada, sleeper, joined) = lagging_reader(node).await;
    let remove = json!({"room": "lobby", "user": "sleeper"});
    let removed = ada.done("room.remove", remove).await["seq"].as_u64().unwrap();
    (ada, sleeper, joined, removed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_that_is_removed_gets_everything_up_to_that_and_nothing_after() {
    let node = TestNode::start(small_buffers).await;
    let (mut ada, mut sleeper, joined, removed) = remove_a_lagging_reader(&node).await;
    for _ in 0..10 {
        ada.say("lobby", "a secret of those who stayed").await;
    }
    sleeper.events("lobby", joined..=removed).await;
    sleeper.ping().await;
    assert_eq!(sleeper.unread_events_of("lobby"), 0);
    assert_eq!(node.metric("hallway_backlog_bytes").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_whose_removal_was_trimmed_gets_nothing_from_after_it() {
    let (node, store) = TestNode::start_with_faults(|config| {
        small_buffers(config);
        config.limits.ring_max_bytes = 1024;
    })
    .await;
    let (mut ada, mut sleeper, _, removed) = remove_a_lagging_reader(&node).await;
    let secrets = [ada.say("lobby", "a secret").await, ada.say("lobby", "another").await];
    assert_eq!(secrets, [removed + 1, removed + 2]);
    hallway_store::Upkeep::trim(&*store, &room_stream("lobby"), secrets[1]).await.unwrap();
    store.take_page_requests();
    // It reads on: first what waits for it, then the node reads the log for it, once.
    let mut reads = Vec::new();
    while reads.is_empty() {
        sleeper.ping().await;
        let requests = store.take_page_requests().into_iter();
        reads.extend(requests.filter(|request| request.stream == room_stream("lobby")));
    }
    assert!(reads[0].after < removed, "the reader was not behind the removal: {reads:?}");
    for _ in 0..50 {
        sleeper.ping().await;
    }
    let seen = sleeper.unread_numbers_of("lobby");
    assert!(seen.iter().all(|seq| *seq <= removed), "events from after the removal at {removed}: {seen:?}");
}

/// A reader of a log that is trimmed behind what they have, and then holds more than the 64 pages (of one event each) in which the end
/// of a membership is looked for. With the joining, the first number that is kept, and the last one before a removal.
async fn trimmed_before_a_lagging_reader(is_removed: bool) -> (TestNode, Seat, Seq, Seq, Seq) {
    let (node, store) = TestNode::start_with_faults(|config| {
        small_buffers(config);
        config.limits.ring_max_bytes = 1024;
        config.limits.page_events_max = 1;
    })
    .await;
    let (mut ada, sleeper, joined) = lagging_reader(&node).await;
    let kept_from = ada.say("lobby", "the first that is kept").await;
    let mut last = kept_from;
    for number in 0..70 {
        last = ada.say("lobby", &format!("{number}")).await;
    }
    if is_removed {
        ada.done("room.remove", json!({"room": "lobby", "user": "sleeper"})).await;
    }
    hallway_store::Upkeep::trim(&*store, &room_stream("lobby"), kept_from).await.unwrap();
    (node, sleeper, joined, kept_from, last)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_membership_that_is_too_far_on_in_a_trimmed_log_is_not_looked_for_without_end() {
    let (node, mut sleeper, joined, kept_from, _) = trimmed_before_a_lagging_reader(true).await;
    let until = tokio::time::Instant::now() + PATIENCE;
    while node.metric("hallway_membership_looks_cut_short_total").await < 1.0 {
        sleeper.ping().await;
        assert!(tokio::time::Instant::now() < until, "only {:?} came", sleeper.unread_numbers_of("lobby"));
    }
    for _ in 0..50 {
        sleeper.ping().await;
    }
    let seen = sleeper.unread_numbers_of("lobby");
    assert!(!seen.is_empty() && seen.iter().all(|seq| (joined..kept_from).contains(seq)), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_membership_that_lasts_is_not_looked_for_in_a_trimmed_log() {
    let (node, mut sleeper, joined, kept_from, last) = trimmed_before_a_lagging_reader(false).await;
    let until = tokio::time::Instant::now() + PATIENCE;
    while sleeper.unread_numbers_of("lobby").last() < Some(&last) {
        sleeper.ping().await;
        assert!(tokio::time::Instant::now() < until, "only {:?} came", sleeper.unread_numbers_of("lobby"));
    }
    let resets = [sleeper.reset("lobby").await, sleeper.reset("lobby").await];
    let expected = [(joined - 1, ResetReason::Joined), (kept_from - 1, ResetReason::Trimmed)];
    assert_eq!(resets.map(|reset| (reset.seq, reset.reason)), expected);
    assert_eq!(node.metric("hallway_membership_looks_cut_short_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_left_and_came_back_goes_on_although_the_log_is_trimmed_while_they_catch_up() {
    comes_back_while_the_log_is_trimmed(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_came_back_and_is_removed_gets_all_up_to_that_although_the_log_is_trimmed_while_they_catch_up() {
    comes_back_while_the_log_is_trimmed(true).await;
}

/// In a room that shows everything to everybody: who comes back catches up on what was said while they were away.
async fn comes_back_while_the_log_is_trimmed(is_removed: bool) {
    let (node, store) = TestNode::start_with_faults(|config| {
        config.limits.page_events_max = 10;
        config.limits.ring_events_max = 1;
    })
    .await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    let mut ben = node.connect("ben").await;
    let left_at = ben.join("lobby").await;
    ben.done("room.leave", json!({"room": "lobby"})).await;
    drop(ben);
    for number in 0..60 {
        ada.say("lobby", &format!("while ben is away, {number}")).await;
    }
    let back = node.connect("ben").await.join("lobby").await;
    let head = ada.say("lobby", "welcome back").await;
    // What does not come with the hello itself is read in pages; the first of them is held up.
    store.pages_work(false);
    store.take_page_requests();
    let mut ben = node.enter(&node.options("ben").positions(vec![ada.at("lobby", left_at)])).await;
    let asked = loop {
        let requests = store.take_page_requests().into_iter();
        let after = requests.filter(|request| request.stream == room_stream("lobby")).map(|request| request.after);
        if let Some(after) = after.min() {
            break after;
        }
        ada.ping().await;
    };
    let kept_from = asked + 5;
    assert!(kept_from < back, "the log is trimmed before the joining at {back}, not from {kept_from} on");
    let removed = if is_removed {
        ada.done("room.remove", json!({"room": "lobby", "user": "ben"})).await;
        Some(head + 1)
    } else {
        None
    };
    hallway_store::Upkeep::trim(&*store, &room_stream("lobby"), kept_from).await.unwrap();
    store.pages_work(true);
    ben.synced().await;
    let reset = ben.reset("lobby").await;
    assert_eq!((reset.seq, reset.reason), (kept_from - 1, ResetReason::Trimmed));
    let live = ada.say("lobby", "and live").await;
    let last = removed.unwrap_or(live);
    let until = tokio::time::Instant::now() + PATIENCE;
    while ben.unread_numbers_of("lobby").last() < Some(&last) {
        ben.ping().await;
        assert!(tokio::time::Instant::now() < until, "only {:?} came", ben.unread_numbers_of("lobby"));
    }
    for _ in 0..20 {
        ben.ping().await;
    }
    let expected: Vec<u64> = (left_at + 1..=asked).chain(kept_from..=last).collect();
    assert_eq!(ben.unread_numbers_of("lobby"), expected);
}
