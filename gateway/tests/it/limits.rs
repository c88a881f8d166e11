//! Limits of connections and requests: each row of `config/limits.rs` does what it says when it is reached.

use std::time::Duration;

use hallway_protocol::{ErrorCode, ServerFrame};
use loadtest_client::{ClientError, Connection};
use serde_json::json;

use crate::node::{PATIENCE, TestNode};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_node_says_503_and_when_to_come_back() {
    let node = TestNode::start(|config| config.limits.connections_max = 2).await;
    let first = node.connect("ada").await;
    let _second = node.connect("ben").await;
    match Connection::open(&node.options("cy")).await {
        Err(ClientError::UpgradeRefused { status: 503, retry_after: Some(after) }) => assert!(!after.is_zero()),
        other => panic!("{:?}", other.map(|_| ())),
    }
    assert!(node.metric_of("hallway_connections_refused_total", "full").await >= 1.0);
    first.connection.close().await;
    node.metric_until("hallway_connections_open", "", |open| open < 2.0).await;
    node.connect("cy").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sockets_that_never_authenticate_are_capped_and_closed() {
    let node = TestNode::start(|config| {
        config.limits.unidentified_max = 2;
        config.limits.hello_timeout_ms = 1500;
    })
    .await;
    let mut silent = Vec::new();
    for _ in 0..2 {
        silent.push(Connection::connect(&node.options("mute")).await.unwrap());
    }
    let refused = Connection::connect(&node.options("ada")).await;
    assert!(matches!(refused, Err(ClientError::UpgradeRefused { status: 503, .. })), "{:?}", refused.map(|_| ()));
    for mut connection in silent {
        assert_eq!(connection.wait_for_end(PATIENCE).await.unwrap().code, Some(4004));
    }
    node.metric_until("hallway_connections_closed_total", "hello_timeout", |closed| closed == 2.0).await;
    node.metric_until("hallway_connections_open", "", |open| open == 0.0).await;
    let _identified = [node.connect("ada").await, node.connect("ben").await, node.connect("cy").await];
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_has_a_bounded_number_of_devices() {
    let node = TestNode::start(|config| config.limits.user_connections_max = 2).await;
    let one = node.connect("ada").await;
    let _two = node.connect("ada").await;
    match Connection::open(&node.options("ada")).await {
        Err(ClientError::HelloRefused(error)) => assert_eq!(error.code, ErrorCode::LimitReached),
        other => panic!("{:?}", other.map(|_| ())),
    }
    node.connect("ben").await;
    one.connection.close().await;
    node.metric_until("hallway_connections_identified", "", |count| count <= 1.0).await;
    node.connect("ada").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_only_rubbish_is_closed() {
    let node = TestNode::start(|config| config.limits.bad_frames_max = 3).await;
    let mut seat = node.connect("ada").await;
    for _ in 0..2 {
        seat.connection.send_text("rubbish").await.unwrap();
    }
    // A good request in between begins the count anew.
    seat.ping().await;
    for _ in 0..3 {
        seat.connection.send_text("rubbish").await.unwrap();
    }
    assert_eq!(seat.end().await.code, Some(4501));
    let errors = seat.unread.iter().filter(|frame| matches!(frame, ServerFrame::Error(_))).count();
    assert_eq!(errors, 5, "each bad frame is answered");
    node.metric_until("hallway_connections_closed_total", "bad_client", |closed| closed == 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_client_is_closed_by_the_heartbeat() {
    let node = TestNode::start(|config| {
        config.limits.heartbeat_interval_ms = 200;
        config.limits.heartbeat_timeout_ms = 1000;
    })
    .await;
    let mut live = node.connect("ada").await;
    let silent = node.connect("mute").await;
    // The live one answers pings as long as it reads; the silent one does not read, so it answers none.
    let begun = std::time::Instant::now();
    let closed = node.metric_until("hallway_connections_closed_total", "heartbeat_timeout", |closed| closed > 0.0);
    let reading = live.connection.wait_for_end(PATIENCE);
    tokio::select! {
        _ = closed => {}
        end = reading => panic!("the live one ended: {end:?}"),
    }
    assert!(begun.elapsed() >= Duration::from_millis(800), "{:?}", begun.elapsed());
    live.ping().await;
    let mut silent = silent;
    assert_eq!(silent.end().await.code, Some(4001));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_beyond_the_limit_wait_and_are_all_answered() {
    let (node, store) = TestNode::start_with_faults(|config| config.limits.requests_in_flight_max = 4).await;
    let mut seat = node.connect("ada").await;
    seat.create("lobby", "public").await;
    store.commits(crate::fault_store::Commits::WaitBefore);
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(seat.send("message.send", json!({"room": "lobby", "text": format!("message {number}")})).await);
    }
    node.metric_until("hallway_requests_in_flight", "", |count| count == 4.0).await;
    store.commits(crate::fault_store::Commits::Work);
    for (id, seq) in ids.into_iter().zip(3..) {
        assert_eq!(seat.answer(id).await.unwrap()["seq"], seq, "answered, in the order in which they were sent");
    }
    seat.events("lobby", 3..=22).await;
    assert_eq!(node.metric("hallway_requests_in_flight").await, 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_flood_is_told_when_to_come_back() {
    let node = TestNode::start(|config| config.limits.requests_per_second_max = 5).await;
    let mut seat = node.connect("ada").await;
    let mut ids = Vec::new();
    for _ in 0..30 {
        ids.push(seat.send("ping", json!({})).await);
    }
    let mut wait_ms = 0;
    for id in ids {
        if let Err(error) = seat.answer(id).await {
            assert_eq!((error.code, error.retryable), (ErrorCode::RateLimited, true));
            wait_ms = error.retry_after_ms.expect("when to come back");
        }
    }
    assert!((1..=1000).contains(&wait_ms), "{wait_ms}");
    tokio::time::sleep(Duration::from_millis(wait_ms + 50)).await;
    seat.ping().await;
    assert!(node.metric_of("hallway_errors_total", "rate_limited").await >= 20.0);
}
