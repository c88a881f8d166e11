//! Measures the embedded store; run by hand:
//! `cargo test --release -p hallway-store --test sqlite_measure -- --ignored --nocapture`
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Instant;

use hallway_protocol::command::TaskOrder;
use hallway_protocol::{History, StreamId, TaskId, Visibility};
use hallway_store::conformance::kit::{self, Shared};
use hallway_store::conformance::task_kit::create_with;
use hallway_store::conformance::task_lists::{all_for, all_of};
use hallway_store::conformance::{notes_kit, task_kit};
use hallway_store::sqlite::{DATABASE_FILE, SqliteStore};
use hallway_store::{Action, MissedQuery, PageRequest, ResolveQuery, TaskQuery};
use tempfile::TempDir;

const ROOMS: usize = 200;
const MESSAGES: usize = 50_000;

#[tokio::test]
#[ignore = "a measurement, not a promise"]
async fn bytes_per_message_and_commits_per_second() {
    let text = "x".repeat(128);
    for batch in [1, 10, 100, 1000] {
        let directory = TempDir::new().unwrap();
        let store: Shared = Arc::new(SqliteStore::open(directory.path()).unwrap());
        let users: Vec<_> = (0..10).map(|number| kit::user("u", &number.to_string())).collect();
        let rooms: Vec<_> = (0..ROOMS).map(|number| kit::room("room", &number.to_string())).collect();
        for room in &rooms {
            kit::channel(&store, &users[0], room, Visibility::Public, History::All).await;
            let join = |user| kit::write(user, Action::Join { room: room.clone() });
            kit::commit(&store, users[1..].iter().map(join).collect()).await;
        }
        let before = size(directory.path());
        let messages = if batch == 1 { 2_000 } else { MESSAGES };
        let start = Instant::now();
        for turn in 0..messages / batch {
            let write = |number| {
                let place = turn * batch + number;
                kit::write(&users[place % 10], kit::send(&rooms[(place * 7) % ROOMS], &text))
            };
            let results = kit::commit(&store, (0..batch).map(write).collect()).await;
            assert!(results.iter().all(Result::is_ok));
        }
        let seconds = start.elapsed().as_secs_f64();
        store.close().await;
        let bytes = (size(directory.path()) - before) / messages as u64;
        println!("batches of {batch}: {:.0} messages/s, {bytes} bytes each", messages as f64 / seconds);
    }
}

/// Bytes of the database once its log is written back.
fn size(directory: &std::path::Path) -> u64 {
    std::fs::metadata(directory.join(DATABASE_FILE)).unwrap().len()
}

/// How long the reads of tasks take with 100,000 tasks in 100 rooms of ten people.
#[tokio::test]
#[ignore = "a measurement, not a promise"]
async fn times_of_the_reads_of_tasks() {
    let directory = TempDir::new().unwrap();
    let store: Shared = Arc::new(SqliteStore::open(directory.path()).unwrap());
    let users: Vec<_> = (0..10).map(|number| kit::user("u", &number.to_string())).collect();
    let rooms: Vec<_> = (0..100).map(|number| kit::room("room", &number.to_string())).collect();
    let mut last = TaskId::generate();
    let start = Instant::now();
    for room in &rooms {
        kit::channel(&store, &users[0], room, Visibility::Public, History::All).await;
        let join = |user| kit::write(user, Action::Join { room: room.clone() });
        kit::commit(&store, users[1..].iter().map(join).collect()).await;
        let mut batch = Vec::new();
        for number in 0..1_000 {
            last = TaskId::generate();
            let mut action = create_with(room, last, &[&users[number % 10]], &[]);
            if let Action::CreateTask { title, due_at_ms, .. } = &mut action {
                *title = format!("Task {number} about thing{}", number % 77);
                *due_at_ms = (number % 2 == 0).then_some(1_000_000 + number as u64);
            }
            batch.push(kit::write(&users[0], action));
        }
        assert!(kit::commit(&store, batch).await.iter().all(Result::is_ok));
    }
    println!("100,000 tasks written in {:.1} s", start.elapsed().as_secs_f64());
    let (ann, room) = (&users[0], &rooms[50]);
    let of_person = |order| TaskQuery { order, ..all_for(ann) };
    let of_room = |order| TaskQuery { order, ..all_of(room) };
    for order in [TaskOrder::Newest, TaskOrder::Due, TaskOrder::Priority] {
        time(&format!("list of a room, {order:?}"), async || {
            drop(store.list_tasks(ann, of_room(order)).await.unwrap())
        })
        .await;
        time(&format!("list of a person, {order:?}"), async || {
            drop(store.list_tasks(ann, of_person(order)).await.unwrap());
        })
        .await;
    }
    time("task", async || drop(store.task(ann, &rooms[99], last).await.unwrap().unwrap())).await;
    time("summary of a room", async || drop(store.task_summary(ann, Some(room)).await.unwrap())).await;
    time("summary of 100 rooms", async || drop(store.task_summary(ann, None).await.unwrap())).await;
    for text in ["thing7", "task 99", "u.", "t"] {
        let query = ResolveQuery::Named { text: text.to_owned(), what: None, room: Some(room.clone()) };
        time(&format!("resolve {text:?}"), async || drop(store.resolve(ann, vec![query.clone()]).await.unwrap())).await;
    }
    store.close().await;
}

/// How long it takes to read what somebody missed in 50 rooms: 20 messages and 4 tasks in each, and 100 notices; and pages of events
/// that show many tasks, or one many times.
#[tokio::test]
#[ignore = "a measurement, not a promise"]
async fn times_of_what_was_missed() {
    let directory = TempDir::new().unwrap();
    let store: Shared = Arc::new(SqliteStore::open(directory.path()).unwrap());
    let users: Vec<_> = (0..10).map(|number| kit::user("u", &number.to_string())).collect();
    let (ann, bob) = (&users[0], &users[1]);
    let rooms: Vec<_> = (0..50).map(|number| kit::room("room", &number.to_string())).collect();
    let mut after = Vec::new();
    for room in &rooms {
        kit::channel(&store, ann, room, Visibility::Public, History::All).await;
        let join = |user| kit::write(user, Action::Join { room: room.clone() });
        kit::commit(&store, users[1..].iter().map(join).collect()).await;
        after.push((StreamId::Room(room.clone()), task_kit::head(&store, room).await));
        let said = (0..20).map(|number| kit::write(bob, kit::send(room, &format!("a message of some words {number}"))));
        let tasks = (0..4).map(|_| kit::write(bob, create_with(room, TaskId::generate(), &[bob, &users[2]], &[])));
        assert!(kit::commit(&store, said.chain(tasks).collect()).await.iter().all(Result::is_ok));
    }
    let busy = &rooms[7];
    let id = task_kit::new_task(&store, bob, busy, "busy").await;
    let begin = task_kit::head(&store, busy).await;
    let edits =
        (1..=200).map(|number| kit::write(bob, task_kit::retitle(busy, id, number, &format!("title {number}"))));
    assert!(kit::commit(&store, edits.collect()).await.iter().all(Result::is_ok));
    for room in &rooms[..1] {
        let tasks = (0..200).map(|_| kit::write(bob, create_with(room, TaskId::generate(), &[bob, &users[2]], &[])));
        assert!(kit::commit(&store, tasks.collect()).await.iter().all(Result::is_ok));
    }
    let own = StreamId::User(ann.clone());
    let head = store.connect(ann).await.unwrap().user.last_seq;
    for number in 0..100 {
        notes_kit::tell(&store, bob, ann, notes_kit::notice(&format!("notice {number}"))).await;
    }
    after.push((own, head));
    let query = MissedQuery { after: after[1..].to_vec(), newest: Some(100), events_max: 2_000, bytes_max: 1 << 20 };
    time("connect with what was missed", async || drop(store.connect_after(ann, query.clone()).await.unwrap())).await;
    time("connect", async || drop(store.connect(ann).await.unwrap())).await;
    let page = async |stream: StreamId, after| {
        let pages = store.pages(vec![PageRequest { stream, after, limit: 200 }]).await.unwrap().pages;
        assert!(pages[0].events.len() >= 100);
    };
    time("page of one task", async || page(StreamId::Room(busy.clone()), begin).await).await;
    time("page of 200 tasks", async || page(after[0].0.clone(), after[0].1 + 24).await).await;
    time("page of notices", async || page(after[50].0.clone(), after[50].1).await).await;
    store.close().await;
}

async fn time(what: &str, run: impl AsyncFn()) {
    let mut times = Vec::new();
    for _ in 0..50 {
        let start = Instant::now();
        run().await;
        times.push(start.elapsed());
    }
    times.sort();
    println!("{what}: p50 {:?}, p99 {:?}", times[25], times[49]);
}
