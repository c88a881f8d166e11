//! Slow readers: bounded memory, nothing lost, nobody else harmed.

use hallway_protocol::EventBody;
use loadtest_client::{ConnectOptions, Connection};

use crate::node::TestNode;
use crate::seat::Seat;

const TEXT_BYTES: usize = 8 * 1024;

/// A connection whose own buffers are small, so that the node feels soon that it does not read.
fn narrow(node: &TestNode, user: &str) -> ConnectOptions {
    let mut options = node.options(user);
    options.receive_buffer_bytes = Some(4096);
    options
}

fn small(config: &mut hallway_gateway::config::Config) {
    config.limits.backlog_max_bytes = 65_536;
    config.limits.socket_send_buffer_bytes = 16_384;
    config.limits.write_timeout_ms = 60_000;
}

/// A room with a writer and a reader that has joined and reads no more.
async fn writer_and_sleeper(node: &TestNode) -> (Seat, Seat) {
    let mut writer = node.connect("ada").await;
    writer.create("lobby", "public").await;
    let mut sleeper = node.connect_with(&narrow(node, "sleeper")).await;
    sleeper.join("lobby").await;
    (writer, sleeper)
}

fn text(number: u64) -> String {
    let mut text = format!("message {number} ");
    text.push_str(&"x".repeat(TEXT_BYTES - text.len()));
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_costs_nobody_else_anything() {
    let node = TestNode::start(small).await;
    let (mut writer, mut sleeper) = writer_and_sleeper(&node).await;
    let mut neighbour = node.connect("neighbour").await;
    neighbour.join("lobby").await;
    let mut backlog_max: f64 = 0.0;
    for number in 0..200 {
        assert_eq!(writer.say("lobby", &text(number)).await, 5 + number);
        neighbour.event("lobby", 5 + number).await;
        if number % 10 == 0 {
            backlog_max = backlog_max.max(node.metric("hallway_backlog_bytes").await);
        }
    }
    // 1.6 MiB were sent; the node holds no more than one backlog of it.
    assert!(backlog_max > 0.0 && backlog_max <= 65_536.0 + 1024.0, "{backlog_max}");
    assert!(node.metric("hallway_lagging_total").await >= 1.0);
    for event in sleeper.events("lobby", 4..=204).await.iter().skip(1) {
        let EventBody::MessageCreated(created) = &event.body else { panic!("{event:?}") };
        assert_eq!(created.message.text, text(event.seq - 5));
    }
    sleeper.ping().await;
    assert_eq!(node.metric("hallway_backlog_bytes").await, 0.0);
    assert_eq!(node.metric("hallway_connections_opened_total").await, 3.0, "nobody had to come back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_slow_reader_of_large_texts_gets_is_read_little_more_than_once() {
    let (node, store) = TestNode::start_with_faults(|config| {
        small(config);
        config.limits.ring_events_max = 1;
    })
    .await;
    let (mut writer, mut sleeper) = writer_and_sleeper(&node).await;
    for number in 0..200 {
        writer.say("lobby", &text(number)).await;
    }
    store.take_page_events();
    sleeper.events("lobby", 4..=203).await;
    let read = store.take_page_events();
    println!("{read} events were read from the log for 200 that were delivered");
    // The first page shows how large they are.
    assert!(read <= 500, "{read} events were read for 200 that were delivered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_takes_no_byte_is_closed_by_the_write_timeout() {
    let node = TestNode::start(|config| {
        small(config);
        config.limits.write_timeout_ms = 1000;
    })
    .await;
    let (mut writer, sleeper) = writer_and_sleeper(&node).await;
    let mut number = 0;
    while node.metric("hallway_backlog_bytes").await == 0.0 {
        writer.say("lobby", &text(number)).await;
        number += 1;
    }
    node.metric_until("hallway_connections_closed_total", "write_timeout", |closed| closed == 1.0).await;
    let head = writer.say("lobby", "after").await;
    // It comes back and has everything.
    drop(sleeper);
    let mut again = node.connect_with(&node.options("sleeper").positions(vec![writer.at("lobby", 3)])).await;
    again.events("lobby", 4..=head).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_memory_budget_closes_the_slowest_first() {
    let node = TestNode::start(|config| {
        small(config);
        config.limits.backlog_max_bytes = 786_432;
        config.limits.backlogs_max_bytes = 1_048_576;
    })
    .await;
    let (mut writer, mut first) = writer_and_sleeper(&node).await;
    let mut number = 0;
    while node.metric("hallway_backlog_bytes").await < 100_000.0 {
        writer.say("lobby", &text(number)).await;
        number += 1;
    }
    let mut second = node.connect_with(&narrow(&node, "second")).await;
    second.join("lobby").await;
    while node.metric_of("hallway_connections_closed_total", "memory_budget").await == 0.0 {
        assert!(number < 1000, "the budget closes nobody");
        writer.say("lobby", &text(number)).await;
        number += 1;
    }
    assert!(node.metric("hallway_backlog_bytes").await <= 1_048_576.0 + 65_536.0);
    let head = writer.say("lobby", "the last").await;
    assert_eq!(first.end().await.code, Some(4003), "the one that stood longest");
    second.event("lobby", head).await;
    assert_eq!(node.metric_of("hallway_connections_closed_total", "memory_budget").await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_and_never_reads_is_read_no_more() {
    let node = TestNode::start(small).await;
    let mut seat = node.connect("ada").await;
    seat.create("lobby", "public").await;
    for number in 0..20 {
        seat.say("lobby", &text(number)).await;
    }
    let (mut greedy, _) = Connection::open(&narrow(&node, "ada")).await.unwrap();
    let history = crate::seat::command("message.history", serde_json::json!({"room": "lobby", "direction": "older"}));
    let ask = async {
        for _ in 0..100_000 {
            greedy.send(history.clone()).await.unwrap();
        }
    };
    let begun = tokio::time::Instant::now();
    let watch = async {
        let mut most: f64 = 0.0;
        while begun.elapsed() < std::time::Duration::from_secs(2) {
            most = most.max(node.metric("hallway_backlog_bytes").await);
        }
        most
    };
    let most = tokio::select! {
        () = ask => panic!("100,000 requests were read of a client that reads no answer"),
        most = watch => most,
    };
    // The bound, and the answers of the requests in flight (160 KiB each).
    assert!(most <= 65_536.0 + 65.0 * 180_000.0, "{most}");
    seat.say("lobby", "still here").await;
}
