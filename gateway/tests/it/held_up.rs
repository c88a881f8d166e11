//! Somebody else holds up the database: a room's row is locked, or the whole server stands still.

use std::time::{Duration, Instant};

use hallway_gateway::config::StoreUrl;
use hallway_protocol::ErrorCode;
use loadtest_cluster::TemporaryPostgres;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_postgres::{Client, NoTls};

use crate::node::{PATIENCE, TestNode, http_get};
use crate::seat::Seat;

/// Promised are three seconds; the rest is a busy machine.
const ANSWERED_WITHIN: Duration = Duration::from_millis(3000 + 750);
/// The lock time-out is half a second, and it is met twice at most before a batch goes on without the room.
const GOES_ON_WITHIN: Duration = Duration::from_millis(1000 + 750);

struct Side {
    client: Client,
    _driver: JoinSet<Result<(), tokio_postgres::Error>>,
}

impl Side {
    async fn open(url: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Self { client, _driver: driver }
    }

    async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }
}

async fn node_on(url: &str) -> TestNode {
    TestNode::start(|config| config.store.url = Some(StoreUrl::parse(url).unwrap())).await
}

/// Says something again and again; how long the slowest took.
async fn talk(seat: &mut Seat, room: &str, for_so_long: Duration) -> Duration {
    let (began, mut slowest) = (Instant::now(), Duration::ZERO);
    while began.elapsed() < for_so_long {
        let said = Instant::now();
        seat.say(room, "on and on").await;
        slowest = slowest.max(said.elapsed());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    slowest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_writes_of_a_locked_room_wait_alone() {
    let server = TemporaryPostgres::shared().unwrap();
    let url = server.database().await.unwrap();
    let node = node_on(&url).await;
    let (mut ada, mut ben) = (node.connect("ada").await, node.connect("ben").await);
    ada.create("locked", "public").await;
    ada.create("free", "public").await;
    ben.create("other", "public").await;
    let side = Side::open(&url).await;

    // Freed in time, they are written, in their order.
    side.run("BEGIN; SELECT 1 FROM rooms WHERE id = 'locked' FOR UPDATE").await;
    let mut asked = Vec::new();
    for number in 0..5 {
        asked.push(ada.send("message.send", json!({"room": "locked", "text": format!("{number}")})).await);
    }
    let behind = ada.send("message.send", json!({"room": "free", "text": "after those"})).await;
    let first = talk(&mut ben, "other", Duration::from_millis(800)).await;
    assert!(first < GOES_ON_WITHIN, "somebody else waited {first:?}");
    node.metric_until("hallway_writes_parked", "", |parked| parked >= 1.0).await;
    let later = talk(&mut ben, "other", Duration::from_millis(400)).await;
    assert!(
        later < Duration::from_millis(400),
        "somebody else waited {later:?} for a room that was known to be locked"
    );
    side.run("COMMIT").await;
    for (number, id) in asked.into_iter().enumerate() {
        assert_eq!(ada.answer(id).await.unwrap()["seq"], 3 + number, "in their order");
    }
    assert_eq!(ada.answer(behind).await.unwrap()["seq"], 3);
    node.metric_until("hallway_writes_parked", "", |parked| parked == 0.0).await;
    ada.say("locked", "as before").await;

    // Not freed, they are told so in time, and all others go on.
    side.run("BEGIN; SELECT 1 FROM rooms WHERE id = 'locked' FOR UPDATE").await;
    let said = Instant::now();
    let id = ada.send("message.send", json!({"room": "locked", "text": "in vain"})).await;
    let (slowest, (error, waited)) = tokio::join!(talk(&mut ben, "other", Duration::from_secs(5)), async {
        let error = ada.answer(id).await.unwrap_err();
        let waited = said.elapsed();
        // It is known for a while that the room is locked: others do not wait for it again.
        ada.refused("message.send", json!({"room": "locked", "text": "in vain again"})).await;
        (error, waited)
    });
    println!("somebody else waited {first:?}, {later:?}, {slowest:?}; the locked one was refused after {waited:?}");
    assert_eq!(error.code, ErrorCode::StoreUnavailable);
    assert!(waited < ANSWERED_WITHIN, "{waited:?}");
    assert!(slowest < GOES_ON_WITHIN, "somebody else waited {slowest:?}");
    side.run("COMMIT").await;
    let seq = ada.say("locked", "at last").await;
    assert_eq!(seq, 9, "nothing was written in vain");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_postgres_is_told_in_time_and_everything_goes_on_when_it_thaws() {
    let server = TemporaryPostgres::start().unwrap();
    let url = server.database().await.unwrap();
    let node = node_on(&url).await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    let mut ben = node.connect("ben").await;
    ben.join("lobby").await;
    server.freeze().unwrap();
    let frozen = Instant::now();
    let message = |nonce: &str| json!({"room": "lobby", "text": nonce, "nonce": nonce});
    let mut nonces = Vec::new();
    let mut slowest = Duration::ZERO;
    while frozen.elapsed() < Duration::from_secs(5) {
        let nonce = format!("while-frozen-{}", nonces.len());
        let said = Instant::now();
        let error = ada.ask("message.send", message(&nonce)).await.unwrap_err();
        slowest = slowest.max(said.elapsed());
        assert!(matches!(error.code, ErrorCode::OutcomeUnknown | ErrorCode::StoreUnavailable), "{error:?}");
        nonces.push(nonce);
    }
    assert!(slowest < ANSWERED_WITHIN, "an answer took {slowest:?}");
    assert_eq!(http_get(node.admin_address(), "/readyz", &[]).await.status, 503);
    assert_eq!(http_get(node.admin_address(), "/healthz", &[]).await.status, 200);
    server.thaw().unwrap();
    let thawed = Instant::now();
    while http_get(node.admin_address(), "/readyz", &[]).await.status != 200 {
        assert!(thawed.elapsed() < PATIENCE, "it stays not ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ready = thawed.elapsed();
    // Under the same nonce the truth comes out, whatever became of the first attempt; and it is delivered once.
    let mut last = 0;
    for nonce in &nonces {
        let seq = loop {
            match ada.ask("message.send", message(nonce)).await {
                Ok(done) => break done["seq"].as_u64().unwrap(),
                Err(error) => assert!(error.retryable && thawed.elapsed() < PATIENCE, "{error:?}"),
            }
        };
        last = last.max(seq);
    }
    println!("{} writes while frozen, the slowest answer took {slowest:?}, ready after {ready:?}", nonces.len());
    let events = ben.events("lobby", 4..=last).await;
    assert_eq!(events.len(), nonces.len(), "each once");
}
