//! A node that stops says when to come back, answers what it accepted, and loses nothing.

use std::time::{Duration, Instant};

use hallway_protocol::ServerFrame;
use serde_json::json;
use tokio::task::JoinSet;

use crate::fault_store::Commits;
use crate::node::{TestNode, http_get};
use crate::seat::Seat;

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
async fn a_node_that_leaves_serves_on_until_it_was_noticed() {
    let node = TestNode::start(|config| {
        config.limits.drain_notice_ms = 1500;
        config.limits.drain_deadline_ms = 8000;
    })
    .await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    let (admin, ben) = (node.admin_address(), node.options("ben"));
    let begun = Instant::now();
    let drain = node.drain();
    let clients = async {
        while http_get(admin, "/readyz", &[]).await.status == 200 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Not every balancer has seen that yet: who still comes is served like everybody.
        let (connection, welcome) = loadtest_client::Connection::open(&ben).await.unwrap();
        let mut ben = Seat::new(connection, welcome);
        ben.join("lobby").await;
        let seq = ada.say("lobby", "still here").await;
        ben.event("lobby", seq).await;
        assert!(begun.elapsed() < Duration::from_millis(1500), "the machine is too slow for this test");
        for seat in [&mut ada, &mut ben] {
            assert_eq!(seat.end().await.code, Some(4000));
        }
        assert!(begun.elapsed() >= Duration::from_millis(1500));
    };
    let (report, ()) = tokio::join!(drain, clients);
    assert_eq!((report.clean, report.forced), (2, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_of_a_drain_are_sent_back_spread_over_their_number() {
    const CLIENTS: usize = 200;
    let node = TestNode::start(|config| {
        config.limits.drain_batch_connections = 20;
        config.limits.drain_reconnects_per_second = 50;
        config.limits.drain_deadline_ms = 8000;
    })
    .await;
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let mut seat = node.connect(&format!("user-{number}")).await;
        clients.spawn(async move {
            let closing = seat.take("closing", |frame| matches!(frame, ServerFrame::Closing(_))).await;
            let ServerFrame::Closing(closing) = closing else { unreachable!() };
            let told = Instant::now();
            assert_eq!(seat.end().await.code, Some(4000));
            (told, Duration::from_millis(closing.reconnect_after_ms.unwrap()))
        });
    }
    let begun = Instant::now();
    let report = node.drain().await;
    assert_eq!((report.clean, report.forced), (CLIENTS, 0));
    let told = clients.join_all().await;
    let last = told.iter().map(|(told, _)| told.duration_since(begun)).max().unwrap();
    assert!(last > Duration::from_millis(500) && last < Duration::from_secs(6), "the last was told after {last:?}");
    // Four seconds at fifty a second: no half second has more than twice its share.
    let mut returns = [0; 12];
    for (told, after) in &told {
        let half_second = (told.duration_since(begun) + *after).as_millis() / 500;
        returns[usize::try_from(half_second).unwrap().min(11)] += 1;
    }
    println!("told within {last:?}; returns by half seconds: {returns:?}");
    assert!(returns.iter().all(|count| *count <= 50), "{returns:?}");
    assert!(returns[6..].iter().sum::<usize>() > 20, "{returns:?}");
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
