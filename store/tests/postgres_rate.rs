//! Measurements, run by hand: `cargo test -p hallway-store --features conformance --test postgres_rate -- --ignored
//! --nocapture`.
#![cfg(feature = "conformance")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod postgres_kit;

use std::time::Instant;

use hallway_protocol::task::{Priority, TaskStatus};
use hallway_protocol::{MessageId, TaskId};
use hallway_store::postgres::{PostgresOptions, PostgresStore};
use hallway_store::{Action, Addressed, Log, Notice, Notifications, Write};
use postgres_kit::{Side, commit, create, room, store, user, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a promise"]
async fn sends_per_second_and_bytes_per_message() {
    let (_server, url, store) = store().await;
    commit(&store, (0..200).map(|n| create("ada", &format!("r{n}"))).collect()).await;
    let side = Side::open(&url).await;
    let mut number = 0;
    for size in [1, 100, 1000] {
        let (began, first) = (Instant::now(), number);
        while began.elapsed().as_secs() < 4 {
            let batch = (0..size).map(|_| {
                number += 1;
                let (room, id) = (room(&format!("r{}", number % 200)), MessageId::generate());
                let text = "x".repeat(128);
                let action = Action::SendMessage { room, id, text, reply_to: None, mentions: Vec::new(), meta: None };
                write("ada", &format!("n{number}"), action)
            });
            assert!(commit(&store, batch.collect()).await.iter().all(Result::is_ok));
        }
        println!("batches of {size}: {:.0} sends/s", f64::from(number - first) / began.elapsed().as_secs_f64());
    }
    let sizes = "SELECT relname || ': ' || pg_total_relation_size(oid) FROM pg_class \
        WHERE relkind = 'r' AND (relname IN ('events', 'messages') OR relname ~ '^dedupe_') ORDER BY 1";
    println!("{number} messages of 128 bytes; bytes with indexes:\n{}", side.text(sizes).await);
}

/// Rooms of the measurement below, each with its own owner and another member, who follows every task.
const ROOMS: u64 = 100;
const ROUNDS: u64 = 200;

fn place(number: u64) -> hallway_protocol::RoomId {
    room(&format!("r{}", number % ROOMS))
}

fn owner(number: u64) -> String {
    format!("o{}", number % ROOMS)
}

fn message(number: u64, mentions: &[&str]) -> Write {
    let mentions = mentions.iter().map(|name| user(name)).collect();
    let (room, id) = (place(number), MessageId::generate());
    let action = Action::SendMessage { room, id, text: "x".repeat(128), reply_to: None, mentions, meta: None };
    write(&owner(number), &unique(), action)
}

fn unique() -> String {
    MessageId::generate().to_string()
}

/// Made by one, and changed by the other: each change notifies the first.
fn make(number: u64, id: TaskId) -> Write {
    let action = Action::CreateTask {
        room: place(number),
        id,
        title: "Book the room, tell the team".to_owned(),
        text: String::new(),
        priority: Priority::Normal,
        due_at_ms: None,
        assignees: Vec::new(),
        waits_on: Vec::new(),
        meta: None,
    };
    write("ada", &unique(), action)
}

fn begin(number: u64, id: TaskId) -> Write {
    let action = Action::MoveTask { room: place(number), id, version: 1, status: TaskStatus::InProgress };
    write(&owner(number), &unique(), action)
}

/// Processor time of the store's one connection at the server.
async fn server_ns(side: &Side) -> u64 {
    let pid = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'hallway'";
    let text = std::fs::read_to_string(format!("/proc/{}/schedstat", side.number(pid).await)).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

/// What the server's process took, in microseconds: the median of the rounds.
async fn took<F: Future<Output = ()>>(side: &Side, name: &str, rounds: u64, work: impl Fn(u64) -> F) {
    let mut times = Vec::new();
    for number in 0..rounds + 5 {
        let before = server_ns(side).await;
        work(number).await;
        if number >= 5 {
            times.push((server_ns(side).await - before) / 1000);
        }
    }
    times.sort_unstable();
    println!("{name:<40} {:>8} us, least {:>8}", times[times.len() / 2], times[0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a promise"]
async fn processor_time_of_the_server_for_each_kind_of_write() {
    let (_server, url, shared) = store().await;
    drop(shared);
    let options = PostgresOptions { connections_max: 1, ..PostgresOptions::default() };
    let store = PostgresStore::open(&url, options).await.unwrap();
    let side = Side::open(&format!("{url}?application_name=side")).await;
    commit(&store, (0..ROOMS).map(|n| create(&owner(n), &format!("r{n}"))).collect()).await;
    let joins = (0..ROOMS).map(|n| write("ada", &unique(), Action::Join { room: place(n) })).collect();
    assert!(commit(&store, joins).await.iter().all(Result::is_ok));
    side.run("INSERT INTO users (id) SELECT 'p' || n FROM generate_series(1, 10000) n").await;
    side.run("VACUUM ANALYZE").await;
    let all = |batch: Vec<Write>| async { assert!(commit(&store, batch).await.iter().all(Result::is_ok)) };
    for size in [1, 5, 100] {
        let run = |n: u64| all((0..size).map(|k| message(n + k, &[])).collect());
        took(&side, &format!("{size} messages"), ROUNDS, run).await;
        let run = |n: u64| all((0..size).map(|k| message(n + k, &["ada"])).collect());
        took(&side, &format!("{size} messages that mention one"), ROUNDS, run).await;
    }
    let tasks: Vec<TaskId> = (0..ROUNDS + 5).map(|_| TaskId::generate()).collect();
    let index = |n: u64| usize::try_from(n).unwrap();
    took(&side, "a task is made", ROUNDS, |n| all(vec![make(n, tasks[index(n)])])).await;
    took(&side, "a task is moved, and one is told", ROUNDS, |n| all(vec![begin(n, tasks[index(n)])])).await;
    took(&side, "a change that is stale", ROUNDS, |n| {
        let write = begin(n, tasks[index(n)]);
        async { assert!(commit(&store, vec![write]).await[0].is_err()) }
    })
    .await;
    took(&side, "20 tasks are made and moved in one batch", ROUNDS / 10, |n| {
        let pairs = (0..20).map(|k| (n * 20 + k, TaskId::generate()));
        all(pairs.flat_map(|(n, id)| [make(n, id), begin(n, id)]).collect())
    })
    .await;
    took(&side, "five actions together", ROUNDS, |n| {
        let id = TaskId::generate();
        let says = (0..3).map(|_| Write { actor: user("ada"), ..message(n, &[&owner(n)]) });
        let batch = [make(n, id), Write { actor: user("ada"), ..begin(n, id) }].into_iter().chain(says).collect();
        async { assert!(store.commit_together(batch).await.unwrap().result.is_ok()) }
    })
    .await;
    let notice =
        Notice { title: "x".into(), text: None, data: None, urgent: false, key: None, acknowledge_within_ms: None };
    for _ in 0..2 {
        let (to, notice) = (Addressed::Everyone, notice.clone());
        let announce = Action::Notify { from: user("ada"), to, notice, may_any: true };
        assert!(commit(&store, vec![write("ada", &unique(), announce)]).await[0].is_ok());
    }
    took(&side, "500 people of a fan-out", 30, |_| async { assert!(store.fan_out().await.unwrap().more) }).await;
}
