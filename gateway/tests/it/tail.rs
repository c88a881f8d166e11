//! The store's tail carries what no bus carries, also while a long transaction on the server holds it up.
//!
//! Method: two nodes on one Postgres, and nothing else between them: what the second delivers, its tail has found.

use std::time::{Duration, Instant};

use hallway_gateway::config::{Config, StoreUrl};
use loadtest_cluster::TemporaryPostgres;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_postgres::NoTls;

use crate::node::TestNode;
use crate::seat::Seat;

/// A message that only the tail finds takes an interval and a read; the rest is a busy machine.
const FOUND_WITHIN: Duration = Duration::from_secs(2);

/// A transaction that has written something and stays open.
struct OpenTransaction {
    client: tokio_postgres::Client,
    _driver: JoinSet<Result<(), tokio_postgres::Error>>,
}

impl OpenTransaction {
    async fn begin(url: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        client.batch_execute("CREATE TABLE long_work (n int); BEGIN; INSERT INTO long_work VALUES (1)").await.unwrap();
        Self { client, _driver: driver }
    }

    async fn end(self) {
        self.client.batch_execute("COMMIT").await.unwrap();
    }
}

async fn nodes(server: &TemporaryPostgres, change: impl Fn(&mut Config)) -> (TestNode, TestNode) {
    let url = server.database().await.unwrap();
    let start = async || {
        TestNode::start(|config| {
            config.store.url = Some(StoreUrl::parse(&url).unwrap());
            change(config);
        })
        .await
    };
    (start().await, start().await)
}

/// One message at a time; says how long the slowest took to be found by the other node.
async fn talk(ada: &mut Seat, ben: &mut Seat, until: Instant, least: usize) -> Duration {
    let (mut slowest, mut said) = (Duration::ZERO, 0);
    while said < least || Instant::now() < until {
        let began = Instant::now();
        let seq = ada.say("lobby", "who hears me?").await;
        ben.event("lobby", seq).await;
        slowest = slowest.max(began.elapsed());
        said += 1;
    }
    slowest
}

struct Stall {
    /// Time for the talk while the transaction is open.
    open_for: Duration,
    /// Messages sent at once, so that each poll would cover many rows.
    burst: u64,
}

async fn a_stall(stall: Stall, change: impl Fn(&mut Config)) {
    let server = TemporaryPostgres::shared().unwrap();
    let (near, far) = nodes(&server, change).await;
    let mut ada = near.connect("ada").await;
    ada.create("lobby", "public").await;
    let mut ben = far.connect("ben").await;
    ben.join("lobby").await;
    assert!(talk(&mut ada, &mut ben, Instant::now(), 2).await < FOUND_WITHIN);
    assert_eq!(far.metric("hallway_tail_stalled").await, 0.0);

    let other = server.database().await.unwrap();
    let transaction = OpenTransaction::begin(&other).await;
    let opened = Instant::now();
    let mut last = 0;
    for number in 0..stall.burst {
        ada.send("message.send", json!({"room": "lobby", "text": format!("{number}")})).await;
    }
    for _ in 0..stall.burst {
        last = ben.next_event("lobby").await.seq;
    }
    assert!(last > stall.burst, "they came in order up to {last}");
    ada.unread.clear();
    let slowest = talk(&mut ada, &mut ben, opened + stall.open_for, 2).await;
    assert!(slowest < FOUND_WITHIN, "a message was found after {slowest:?}");
    far.metric_until("hallway_tail_stalled", "", |stalled| stalled == 1.0).await;

    // While it is held up, no poll looks at a row again, and each asks for the heads of this node's few streams.
    let (rows, heads) = (far.metric("hallway_tail_rows_total").await, far.metric("hallway_tail_heads_total").await);
    let slowest_held_up = talk(&mut ada, &mut ben, Instant::now() + Duration::from_secs(2), 3).await;
    assert!(slowest_held_up < FOUND_WITHIN, "a message was found after {slowest_held_up:?}");
    assert_eq!(far.metric("hallway_tail_rows_total").await, rows);
    let asked = far.metric("hallway_tail_heads_total").await - heads;
    assert!((2.0..=60.0).contains(&asked), "{asked} heads were asked for");
    assert!(far.metric("hallway_tail_age_seconds").await >= 1.0);
    println!("{rows} rows in all; slowest {slowest:?} before, {slowest_held_up:?} while held up; {asked} heads");

    transaction.end().await;
    far.metric_until("hallway_tail_stalled", "", |stalled| stalled == 0.0).await;
    assert!(talk(&mut ada, &mut ben, Instant::now(), 2).await < FOUND_WITHIN);
    assert!(far.metric("hallway_tail_rows_total").await > rows, "the tail is read again");
    assert_eq!(ben.unread_numbers_of("lobby"), Vec::<u64>::new(), "nothing came twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_transaction_elsewhere_stops_nothing_and_polls_stay_cheap() {
    let many_rows = Stall { open_for: Duration::ZERO, burst: 100 };
    a_stall(many_rows, |config| config.limits.tail_rows_max = 50).await;
    let long = Stall { open_for: Duration::from_secs(3), burst: 1 };
    a_stall(long, |config| config.limits.tail_stall_ms = 1500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_a_transaction_open_for_a_minute_stops_nothing() {
    a_stall(Stall { open_for: Duration::from_secs(60), burst: 500 }, |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poked_tail_is_read_at_once_but_not_as_often_as_it_is_poked() {
    let server = TemporaryPostgres::shared().unwrap();
    let (near, far) = nodes(&server, |_| {}).await;
    let mut ada = near.connect("ada").await;
    ada.create("lobby", "public").await;
    let mut ben = far.connect("ben").await;
    ben.join("lobby").await;
    let mut quickest = Duration::MAX;
    for _ in 0..10 {
        let seq = ada.say("lobby", "quick").await;
        let began = Instant::now();
        far.service().poke_tail();
        ben.event("lobby", seq).await;
        quickest = quickest.min(began.elapsed());
    }
    assert!(quickest < Duration::from_millis(300), "the quickest of ten took {quickest:?}");
}
