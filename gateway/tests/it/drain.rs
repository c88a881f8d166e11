//! A node that stops says when to come back, answers what it accepted, and loses nothing.

use hallway_protocol::ServerFrame;
use serde_json::json;

use crate::fault_store::Commits;
use crate::node::{TestNode, http_get};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_drains_and_says_when_to_come_back() {
    // What `run` does when the signal comes; the signal itself is sent to a whole process in another test.
    let (node, store) = TestNode::start_with_faults(|_| {}).await;
    let mut seats = Vec::new();
    for user in ["ada", "ben", "cy"] {
        seats.push(node.connect(user).await);
    }
    seats[0].create("lobby", "public").await;
    store.commits(Commits::WaitBefore);
    let before = store.batches();
    let id = seats[0].send("message.send", json!({"nonce": "last", "room": "lobby", "text": "the last words"})).await;
    store.batches_begun(before + 1).await;
    let (address, admin) = (node.address(), node.admin_address());
    let drain = node.drain();
    let clients = async {
        for seat in &mut seats[1..] {
            assert_eq!(seat.end().await.code, Some(4000));
            let closing = seat.take("closing", |frame| matches!(frame, ServerFrame::Closing(_))).await;
            let ServerFrame::Closing(closing) = closing else { unreachable!() };
            assert_eq!(closing.code, 4000);
            assert!(closing.reconnect_after_ms.is_some_and(|ms| ms <= 30_000), "{closing:?}");
        }
        assert_eq!(http_get(admin, "/readyz", &[]).await.status, 503);
        assert!(tokio::net::TcpStream::connect(address).await.is_err() || refuses(address).await);
        store.commits(Commits::Work);
        assert_eq!(seats[0].answer(id).await.unwrap()["seq"], 3, "what was accepted is answered");
        assert_eq!(seats[0].end().await.code, Some(4000));
    };
    let (report, ()) = tokio::join!(drain, clients);
    assert_eq!((report.clean, report.forced), (3, 0));
}

async fn refuses(address: std::net::SocketAddr) -> bool {
    let refused = loadtest_client::Connection::connect(&{
        let mut options = loadtest_client::ConnectOptions::new(format!("ws://{address}/v1/ws"), "");
        options.timeout = std::time::Duration::from_millis(500);
        options
    })
    .await;
    refused.is_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_is_over_by_its_deadline_and_counts_who_was_forced() {
    let (node, store) = TestNode::start_with_faults(|config| {
        config.limits.drain_deadline_ms = 2000;
        config.limits.store_timeout_ms = 60_000;
    })
    .await;
    let mut seat = node.connect("ada").await;
    let _other = node.connect("ben").await;
    seat.create("lobby", "public").await;
    store.commits(Commits::WaitBefore);
    let before = store.batches();
    seat.send("message.send", json!({"room": "lobby", "text": "never answered"})).await;
    store.batches_begun(before + 1).await;
    let begun = std::time::Instant::now();
    let report = node.drain().await;
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    assert_eq!((report.clean, report.forced), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_without_readers_are_forgotten() {
    let node = TestNode::start(|config| config.limits.stream_linger_ms = 100).await;
    let mut seat = node.connect("ada").await;
    for number in 0..10 {
        seat.create(&format!("room-{number}"), "public").await;
    }
    assert_eq!(node.metric("hallway_streams").await, 11.0);
    assert!(node.metric("hallway_ring_bytes").await > 0.0);
    seat.done("room.archive", json!({"room": "room-0"})).await;
    seat.connection.close().await;
    node.metric_until("hallway_streams", "", |streams| streams == 0.0).await;
    node.metric_until("hallway_ring_bytes", "", |bytes| bytes == 0.0).await;
    // Born again, it is whole.
    let mut again = node.connect("ada").await;
    let seq = again.say("room-1", "hello").await;
    again.event("room-1", seq).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rings_are_bounded_in_bytes() {
    let node = TestNode::start(|config| config.limits.ring_max_bytes = 16_384).await;
    let mut seat = node.connect("ada").await;
    seat.create("lobby", "public").await;
    for number in 0..50 {
        let seq = seat.say("lobby", &"x".repeat(4000)).await;
        seat.event("lobby", seq).await;
        let bytes = node.metric("hallway_ring_bytes").await;
        // The person's own stream has a ring too, with a few small events.
        assert!(bytes <= 16_384.0 + 4096.0, "{bytes} bytes after {number} messages");
    }
    // What the ring forgot is read from the store.
    let mut absent = node.connect_with(&node.options("ada").positions(vec![seat.at("lobby", 0)])).await;
    absent.events("lobby", 1..=52).await;
}
