//! More clients than the store can take come at once: they wait or are told when to come back, and all get in.

use std::time::{Duration, Instant};

use hallway_protocol::ServerFrame;
use loadtest_client::{ClientError, ConnectOptions, Connection};
use tokio::task::JoinSet;

use crate::node::{PATIENCE, TestNode, http_get};
use crate::seat::Seat;

/// What became of one client.
struct Entered {
    _seat: Seat,
    /// From the upgrade to the end of its sync.
    synced_after: Duration,
    refusals: usize,
}

/// Comes back when it is told, as the client library does.
async fn enter(options: ConnectOptions) -> Entered {
    let mut refusals = 0;
    loop {
        let connected = Connection::connect(&options).await;
        match connected {
            Ok(mut connection) => {
                let admitted = Instant::now();
                let welcome = connection.hello(&options).await.unwrap();
                let mut seat = Seat::new(connection, welcome);
                seat.take("sync_end", |frame| matches!(frame, ServerFrame::SyncEnd(_))).await;
                return Entered { _seat: seat, synced_after: admitted.elapsed(), refusals };
            }
            Err(error @ ClientError::UpgradeRefused { status: 503, .. }) => {
                refusals += 1;
                tokio::time::sleep(error.retry_after().expect("when to come back")).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_beyond_what_the_store_takes_is_spread_out_and_all_get_in() {
    const CLIENTS: usize = 600;
    let (node, store) = TestNode::start_with_faults(|config| {
        config.limits.admission_queue_max = 50;
        config.limits.admission_wait_max_ms = 500;
    })
    .await;
    // A hundred and twenty a second, so that eight are what it can take within the target.
    store.connects_take(Duration::from_millis(8));
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        clients.spawn(enter(node.options(&format!("user-{number}"))));
    }
    let mut entered = Vec::new();
    while let Some(client) = clients.join_next().await {
        entered.push(client.unwrap());
    }
    let took = begun.elapsed();
    let refusals: usize = entered.iter().map(|client| client.refusals).sum();
    let most = entered.iter().map(|client| client.refusals).max().unwrap();
    let mut synced: Vec<Duration> = entered.iter().map(|client| client.synced_after).collect();
    synced.sort_unstable();
    let (p50, p90) = (synced[CLIENTS / 2], synced[CLIENTS * 90 / 100]);
    println!(
        "all in after {took:?}; {refusals} refusals, at most {most} of one; synced after p50 {p50:?}, p90 {p90:?}"
    );
    assert!(took < PATIENCE * 2, "{took:?}");
    assert!(refusals > 0 && most < 60, "{refusals} refusals, {most} of one");
    // Without admission the last of six hundred would have waited five seconds.
    assert!(p50 < Duration::from_millis(500), "{p50:?}");
    assert!(p90 < Duration::from_secs(1), "{p90:?}");
    assert_eq!(node.metric("hallway_admitted_total").await, CLIENTS as f64);
    assert!(node.metric("hallway_admission_limit").await < 32.0);
    assert!(node.metric_of("hallway_connections_refused_total", "busy").await >= refusals as f64);
    assert_eq!(node.metric("hallway_admission_waiting").await, 0.0);

    // When the store is quick again, so is the door.
    store.connects_take(Duration::ZERO);
    for number in 0..200 {
        enter(node.options(&format!("late-{number}"))).await;
    }
    assert!(node.metric("hallway_admission_limit").await >= 8.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_finds_no_place_is_told_in_whole_seconds_and_in_milliseconds() {
    let (node, store) = TestNode::start_with_faults(|config| {
        config.limits.admission_max = 8;
        config.limits.admission_queue_max = 0;
    })
    .await;
    store.connects_take(Duration::from_millis(300));
    let mut clients = JoinSet::new();
    for number in 0..8 {
        clients.spawn(enter(node.options(&format!("user-{number}"))));
    }
    node.metric_until("hallway_admitted_total", "", |admitted| admitted == 8.0).await;
    let upgrade = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let answer = http_get(node.address(), "/v1/ws", &upgrade).await;
    assert_eq!(answer.status, 503, "{}", answer.head);
    let header = |name: &str| -> u64 {
        let line = answer.head.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name} in {}", answer.head)).trim().parse().unwrap()
    };
    let (seconds, milliseconds) = (header("retry-after:"), header("retry-after-ms:"));
    assert!(
        seconds >= 1 && milliseconds > 0 && seconds == milliseconds.div_ceil(1000),
        "{seconds} s, {milliseconds} ms"
    );
    clients.join_all().await;
}
