//! A storm of reconnects: what many miss is read from the store once.

use std::time::{Duration, Instant};

use hallway_protocol::codec::Received;
use hallway_protocol::{Epoch, Position, ServerFrame};
use loadtest_client::{ConnectOptions, Connection};
use serde_json::json;
use tokio::task::JoinSet;

use crate::node::{PATIENCE, TestNode};
use crate::seat::room_stream;

const CLIENTS: u64 = 2000;
const MISSED: u64 = 20;
const READS_MAX: usize = 20;

/// As clients do: one that is refused for now comes back.
async fn connect(options: &ConnectOptions) -> Connection {
    let begun = Instant::now();
    loop {
        match Connection::open(options).await {
            Ok((connection, _)) => return connection,
            Err(error) if error.retryable() && begun.elapsed() < PATIENCE * 4 => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// All clients connect at once and read what they missed; they stay connected until the last has it.
async fn storm(node: &TestNode, epoch: &Epoch, head: u64) {
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let position = |stream, seq| Position { stream, epoch: epoch.clone(), seq };
        let user = format!("user-{number}");
        let positions =
            vec![position(room_stream("square"), head - MISSED), position(format!("user:{user}").parse().unwrap(), 1)];
        let mut options = node.options(&user).positions(positions);
        options.timeout = PATIENCE * 4;
        clients.spawn(async move {
            let mut connection = connect(&options).await;
            let mut next = head - MISSED + 1;
            loop {
                match connection.receive_within(PATIENCE * 4).await.unwrap() {
                    Received::Frame(ServerFrame::Event(event)) => {
                        assert_eq!((event.stream, event.seq), (room_stream("square"), next));
                        next += 1;
                    }
                    Received::Frame(ServerFrame::SyncEnd(_)) => break,
                    Received::Frame(ServerFrame::Reset(reset)) => panic!("{reset:?}"),
                    _ => {}
                }
            }
            assert_eq!(next, head + 1);
            connection
        });
    }
    let connections = clients.join_all().await;
    println!("{} clients were in sync after {:?}", connections.len(), begun.elapsed());
    drop(connections);
    node.metric_until("hallway_connections_open", "", |open| open == 0.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_a_storm_of_reconnects_costs_few_history_reads() {
    let node = TestNode::start(|config| {
        config.limits.unidentified_max = 4000;
        // What is proved is the number of reads, also on a machine that takes long for them.
        config.limits.hello_timeout_ms = 120_000;
    })
    .await;
    let mut founder = node.connect("founder").await;
    founder.create("square", "public").await;
    let mut ids = Vec::new();
    for number in 0..CLIENTS {
        let invite = json!({"room": "square", "user": format!("user-{number}"), "role": "member"});
        ids.push(founder.send("room.invite", invite).await);
        if ids.len() == 50 || number + 1 == CLIENTS {
            for id in ids.drain(..) {
                founder.answer(id).await.unwrap();
            }
            founder.unread.clear();
        }
    }
    let mut head = 0;
    for number in 0..2 * MISSED {
        head = founder.say("square", &format!("message {number}")).await;
    }
    let epoch = founder.welcome.epoch.clone();
    drop(founder);
    let (node, store) = node.restart_with_faults().await;
    for ring in ["cold", "warm"] {
        store.take_page_requests();
        let before = node.metric("hallway_store_page_streams_total").await;
        storm(&node, &epoch, head).await;
        let counted = node.metric("hallway_store_page_streams_total").await - before;
        let square = room_stream("square");
        let reads = store.take_page_requests().into_iter().filter(|request| request.stream == square).count();
        println!("{ring} ring: {reads} history reads of the room, {counted} pages in all");
        assert!(reads <= READS_MAX, "{ring} ring: {reads} history reads");
        assert!(counted <= READS_MAX as f64, "{ring} ring: {counted} pages in all");
    }
}
