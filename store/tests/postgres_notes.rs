//! Notifications where several nodes write at once, and what they cost; the rest is the conformance suite's.
#![cfg(feature = "conformance")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod postgres_kit;

use std::collections::BTreeMap;
use std::time::Duration;

use hallway_protocol::task::Priority;
use hallway_protocol::{
    EventBody, MessageId, Nonce, NotificationId, Role, SessionId, StreamId, TaskId, UserId, notification::Notification,
};
use hallway_store::postgres::{PostgresOptions, PostgresStore};
use hallway_store::{
    Action, Addressed, Delivery, FAN_OUT_CHUNK_USERS, HandOutFate, HandOutRules, Log, Mark, Notice, NotificationQuery,
    Notifications, Upkeep, Write,
};
use postgres_kit::{Side, commit, create, one, room, store, user, write};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_postgres::{AsyncMessage, NoTls};

/// Waits for locks much longer than a test takes: what waits in a circle is found out by the server.
fn patient() -> PostgresOptions {
    let long = Duration::from_secs(60);
    PostgresOptions { lock_timeout: long, statement_timeout: long, ..PostgresOptions::default() }
}

fn notice(title: &str) -> Notice {
    Notice { title: title.to_owned(), text: None, data: None, urgent: false, key: None, acknowledge_within_ms: None }
}

fn announce(from: &str, nonce: &str) -> Write {
    let action = Action::Notify { from: user(from), to: Addressed::Everyone, notice: notice(nonce), may_any: true };
    write(from, nonce, action)
}

/// All that a person has, and their counter.
async fn inbox(store: &PostgresStore, who: &UserId) -> (Vec<Notification>, u64) {
    let query = NotificationQuery { unread_only: false, before: None, limit: 10_000 };
    let page = store.notifications(who, query).await.unwrap();
    (page.notifications, page.unread)
}

/// Counters, numbers and events agree, for everybody.
async fn everything_adds_up(side: &Side) {
    for (what, wrong) in [
        (
            "unread counters",
            "SELECT count(*) FROM users u WHERE u.unread <> (SELECT count(*) FROM notifications n \
             WHERE n.user_id = u.id AND n.read_at_ms IS NULL)",
        ),
        (
            "streams of people have holes",
            "SELECT count(*) FROM users u WHERE u.last_seq - u.first_seq + 1 <> \
             (SELECT count(*) FROM events e WHERE e.stream = 'user:' || u.id AND e.seq BETWEEN u.first_seq AND u.last_seq)",
        ),
        (
            "events and notifications",
            "SELECT count(*) FROM events e FULL JOIN notifications n ON e.stream = 'user:' || n.user_id AND e.seq = n.seq \
             AND e.message = n.id WHERE (e.kind = 24 AND n.id IS NULL) OR e.seq IS NULL AND n.id IS NOT NULL",
        ),
        (
            "notices that nothing names",
            "SELECT count(*) FROM notices t WHERE NOT EXISTS (SELECT 1 FROM notifications n WHERE n.notice = t.number) \
             AND NOT EXISTS (SELECT 1 FROM fan_outs f WHERE f.notice = t.number)",
        ),
    ] {
        assert_eq!(side.number(wrong).await, 0, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announcement_to_ten_thousand_costs_chunks_and_not_people() {
    let (_server, url, store) = store().await;
    let side = Side::open(&url).await;
    side.run("INSERT INTO users (id) SELECT 'u' || n FROM generate_series(1, 10000) n").await;
    side.run("VACUUM ANALYZE users").await;
    let done = one(&store, announce("u1", "all")).await.unwrap();
    assert!(done.fans_out && done.events.is_empty(), "{done:?}");
    let (mut steps, mut told) = (0, 0);
    loop {
        let step = store.fan_out().await.unwrap();
        assert!(step.events.len() <= FAN_OUT_CHUNK_USERS as usize);
        told += step.events.len();
        steps += 1;
        if !step.more {
            break;
        }
    }
    assert_eq!(told, 9_999, "all but who said it");
    assert!(steps <= 21, "{steps} steps");
    let transactions = side.number("SELECT count(DISTINCT tx) FROM events WHERE kind = 24").await;
    assert!(transactions <= 20, "{transactions} transactions");
    everything_adds_up(&side).await;
    assert_eq!(side.number("SELECT count(*) FROM fan_outs").await, 0);
    // What a step does is the same however many people it is for.
    let few = statements_of_a_step(&store, &url, "few", 5).await;
    let many = statements_of_a_step(&store, &url, "many", 500).await;
    assert_eq!(few, many, "statements of a step");
    assert!(many.len() <= 12, "{many:#?}");
}

/// What the server runs inside one step of a job, each in its first words.
async fn statements_of_a_step(store: &PostgresStore, url: &str, nonce: &str, people: u32) -> Vec<String> {
    assert!(one(store, announce("u1", nonce)).await.unwrap().fans_out);
    let (client, mut connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let driver = tokio::spawn(async move {
        let mut said = Vec::new();
        while let Some(Ok(message)) = std::future::poll_fn(|context| connection.poll_message(context)).await {
            if let AsyncMessage::Notice(notice) = message {
                said.push(notice.message().to_owned());
            }
        }
        said
    });
    client
        .batch_execute(
            "LOAD 'auto_explain'; SET auto_explain.log_min_duration = 0; SET auto_explain.log_nested_statements = on; \
             SET plan_cache_mode = force_generic_plan; SET enable_seqscan = off; SET client_min_messages = log",
        )
        .await
        .unwrap();
    client.query(&format!("SELECT * FROM hallway_fan_out_v11({people}, NULL)"), &[]).await.unwrap();
    drop(client);
    let heard = driver.await.unwrap();
    let queries = heard.iter().filter_map(|text| text.split_once("Query Text: "));
    let mut said: Vec<String> =
        queries.map(|(_, query)| query.split_whitespace().take(6).collect::<Vec<_>>().join(" ")).collect();
    while store.fan_out().await.unwrap().more {}
    said.retain(|one| !one.contains("LOAD") && !one.starts_with("SELECT * FROM hallway_fan_out_v11("));
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_tell_of_each_due_time_once_and_one_that_changed_again() {
    const TASKS: usize = 40;
    let (_server, url, first) = store().await;
    let second = PostgresStore::open(&url, patient()).await.unwrap();
    commit(&first, vec![create("ada", "lobby"), join("bob", "lobby"), join("eve", "lobby")]).await;
    let ids: Vec<TaskId> = (0..TASKS).map(|_| TaskId::generate()).collect();
    for (n, id) in ids.iter().enumerate() {
        let assignees = if n % 2 == 0 { vec![user("bob")] } else { Vec::new() };
        one(&first, task("ada", &format!("t{n}"), *id, Some(1_000), assignees)).await.unwrap();
    }
    let later = TaskId::generate();
    one(&first, task("ada", "later", later, Some(9_000_000_000_000), vec![user("bob")])).await.unwrap();
    let mut workers = Vec::new();
    for node in [first.clone(), second.clone(), first.clone(), second] {
        workers.push(tokio::spawn(async move { while node.fire_due(7).await.unwrap().more {} }));
    }
    for worker in workers {
        worker.await.unwrap();
    }
    while first.fire_due(100).await.unwrap().more {}
    let told = |list: &[Notification]| -> BTreeMap<TaskId, usize> {
        let due = list.iter().filter(|n| n.kind.as_str() == "task_due");
        due.fold(BTreeMap::new(), |mut counts, n| {
            *counts.entry(n.task.unwrap()).or_default() += 1;
            counts
        })
    };
    let even = ids.iter().step_by(2).map(|id| (*id, 1)).collect();
    let odd = ids.iter().skip(1).step_by(2).map(|id| (*id, 1)).collect();
    assert_eq!(told(&inbox(&first, &user("bob")).await.0), even, "whom it was assigned to");
    assert_eq!(told(&inbox(&first, &user("ada")).await.0), odd, "without assignees, who made it");
    assert!(inbox(&first, &user("eve")).await.0.is_empty());
    // Another time is told of again.
    let due = Some(hallway_protocol::command::Due::AtMs(2_000));
    let action = Action::EditTask {
        room: room("lobby"),
        id: ids[0],
        version: 1,
        title: None,
        text: None,
        priority: None,
        due,
        meta: None,
    };
    one(&first, write("ada", "edit", action)).await.unwrap();
    let again = first.fire_due(10).await.unwrap();
    assert_eq!((again.events.len(), again.more), (1, false));
    assert!(first.fire_due(10).await.unwrap().events.is_empty());
}

fn join(actor: &str, name: &str) -> Write {
    write(actor, &format!("join-{name}"), Action::Join { room: room(name) })
}

fn task(actor: &str, nonce: &str, id: TaskId, due_at_ms: Option<u64>, assignees: Vec<UserId>) -> Write {
    let action = Action::CreateTask {
        room: room("lobby"),
        id,
        title: "Book the room".to_owned(),
        text: String::new(),
        priority: Priority::Normal,
        due_at_ms,
        assignees,
        waits_on: Vec::new(),
        meta: None,
    };
    write(actor, nonce, action)
}

const PEOPLE: usize = 12;
const ROOMS: usize = 4;

fn person(n: usize) -> String {
    format!("p{n}")
}

/// Does one thing of those that lock people and rooms, in whatever order names come.
async fn step(node: &PostgresStore, random: &mut StdRng, tasks: &[TaskId], nonce: &str) {
    let who = person(random.random_range(0..PEOPLE));
    let mut some = || (0..random.random_range(1..6)).map(|_| user(&person(random.random_range(0..PEOPLE)))).collect();
    let (mentions, more): (Vec<UserId>, Vec<UserId>) = (some(), some());
    let place = room(&format!("r{}", random.random_range(0..ROOMS)));
    let task = tasks[random.random_range(0..tasks.len())];
    let action = match random.random_range(0..12) {
        0..=2 => {
            let sends = mentions.iter().enumerate().map(|(n, other)| {
                let place = room(&format!("r{}", random.random_range(0..ROOMS)));
                let text = "to you".to_owned();
                let (id, mentions) = (MessageId::generate(), vec![other.clone(), more[0].clone()]);
                let action = Action::SendMessage { room: place, id, text, reply_to: None, mentions, meta: None };
                write(other.as_str(), &format!("{nonce}-{n}"), action)
            });
            node.commit(sends.collect()).await.unwrap();
            return;
        }
        3 => Action::CommentTask {
            room: room("r0"),
            id: task,
            comment: hallway_protocol::CommentId::generate(),
            text: "done?".to_owned(),
            mentions,
        },
        4 => Action::AssignTask { room: room("r0"), id: task, version: 1, add: mentions, remove: more },
        5 => Action::Notify { from: user(&who), to: Addressed::Users(mentions), notice: notice(nonce), may_any: true },
        6 => Action::Notify { from: user(&who), to: Addressed::Everyone, notice: notice(nonce), may_any: true },
        7 => {
            let marks = mentions.into_iter().map(|user| Mark { user, room: place.clone(), seq: u64::MAX });
            node.mark_read(marks.collect()).await.unwrap();
            return;
        }
        8 => {
            let (list, _) = inbox(node, &user(&who)).await;
            let ids: Vec<NotificationId> = list.iter().take(5).map(|one| one.id).collect();
            let up_to_seq = random.random_bool(0.3).then_some(list.get(3).map_or(0, |one| one.seq));
            Action::ReadNotifications { user: user(&who), ids, up_to_seq }
        }
        9 => {
            let claimed = node.claim_hand_outs(50, 20).await.unwrap();
            let fates = claimed.iter().rev().map(|one| (one.notification.id, HandOutFate::Again { after_ms: 1 }));
            node.settle_hand_outs(fates.collect(), Vec::new()).await.unwrap();
            return;
        }
        10 => {
            let stream = StreamId::User(user(&who));
            let head = node.heads(vec![stream.clone()]).await.unwrap().heads.remove(0).last_seq;
            node.trim(&stream, head.saturating_sub(random.random_range(0..30))).await.unwrap();
            return;
        }
        _ => {
            node.fan_out().await.unwrap();
            node.fire_due(5).await.unwrap();
            return;
        }
    };
    // Whether it is refused is no matter here; an error would be a deadlock.
    node.commit(vec![write(&who, nonce, action)]).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_at_once_nobody_waits_in_a_circle_and_all_counters_are_exact() {
    const WORKERS: u64 = 6;
    const STEPS: usize = 60;
    let seed = std::env::var("HALLWAY_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    println!("seed {seed}: repeat with HALLWAY_TEST_SEED={seed}");
    let (_server, url, _) = store().await;
    let rules = HandOutRules { hands_out: true, first_look_ms: 0 };
    let mut nodes = Vec::new();
    for _ in 0..2 {
        nodes.push(PostgresStore::open(&url, patient()).await.unwrap().with_hand_outs(rules));
    }
    for n in 0..ROOMS {
        commit(&nodes[0], vec![create(&person(0), &format!("r{n}"))]).await;
        let invite = |other: usize| Action::Invite {
            room: room(&format!("r{n}")),
            user: user(&person(other)),
            role: Role::Member,
        };
        let writes = (1..PEOPLE).map(|other| write(&person(0), &format!("i{n}-{other}"), invite(other))).collect();
        assert!(commit(&nodes[0], writes).await.iter().all(Result::is_ok));
    }
    let tasks: Vec<TaskId> = (0..6).map(|_| TaskId::generate()).collect();
    for (n, id) in tasks.iter().enumerate() {
        let due = Some(u64::try_from(n).unwrap() + 1);
        let Write { action, .. } = task(&person(n), "x", *id, due, vec![user(&person(n + 1))]);
        let Action::CreateTask { title, text, priority, due_at_ms, assignees, waits_on, meta, id, .. } = action else {
            unreachable!()
        };
        let room = room("r0");
        let action = Action::CreateTask { room, id, title, text, priority, due_at_ms, assignees, waits_on, meta };
        one(&nodes[0], write(&person(n), &format!("task{n}"), action)).await.unwrap();
    }
    let mut workers = Vec::new();
    for worker in 0..WORKERS {
        let (node, tasks) = (nodes[usize::try_from(worker).unwrap() % 2].clone(), tasks.clone());
        let mut random = StdRng::seed_from_u64(seed.wrapping_add(worker));
        workers.push(tokio::spawn(async move {
            for n in 0..STEPS {
                step(&node, &mut random, &tasks, &format!("{worker}-{n}")).await;
            }
        }));
    }
    for worker in workers {
        worker.await.unwrap();
    }
    while nodes[0].fan_out().await.unwrap().more {}
    let side = Side::open(&url).await;
    everything_adds_up(&side).await;
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(side.number(deadlocks).await, 0);
    let (list, unread) = inbox(&nodes[1], &user(&person(1))).await;
    assert_eq!(u64::try_from(list.iter().filter(|one| !one.read).count()).unwrap(), unread);
    assert!(side.number("SELECT count(*) FROM notifications").await > 50, "the fault must have had a chance");
}

#[tokio::test]
async fn a_plain_send_is_carried_out_by_the_function_that_locks_nobody() {
    let (_server, url, store) = store().await;
    commit(&store, vec![create("ada", "lobby"), join("bob", "lobby")]).await;
    let side = Side::open(&url).await;
    // Somebody holds the lock of a person: only who would notify them waits for it.
    side.run("BEGIN; SELECT 1 FROM users WHERE id = 'bob' FOR UPDATE").await;
    let message = |nonce: &str, mentions: Vec<UserId>| {
        let (room, id) = (room("lobby"), MessageId::generate());
        let action = Action::SendMessage { room, id, text: "hello".to_owned(), reply_to: None, mentions, meta: None };
        Write { nonce: Nonce::new(nonce).unwrap(), ..write("ada", nonce, action) }
    };
    assert!(one(&store, message("plain", Vec::new())).await.is_ok());
    assert!(one(&store, message("mention", vec![user("bob")])).await.is_err(), "it waits for the lock, and gives up");
    side.run("COMMIT").await;
    let done = one(&store, message("mention", vec![user("bob")])).await.unwrap();
    assert!(matches!(&done.events[..], [first, second] if matches!(first.body, EventBody::MessageCreated(_))
        && matches!(second.body, EventBody::NotificationCreated(_))));
}

/// Nodes of the last release note each delivery alone, beside nodes of this one that note ranges.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deliveries_that_a_node_of_the_last_release_noted_are_told_and_all_of_them_go_with_their_notifications() {
    let (_server, url, store) = store().await;
    let side = Side::open(&url).await;
    side.run("INSERT INTO users (id) VALUES ('u1'), ('u2')").await;
    for nonce in ["first", "second"] {
        one(&store, announce("u1", nonce)).await.unwrap();
        while store.fan_out().await.unwrap().more {}
    }
    let (mut told, _) = inbox(&store, &user("u2")).await;
    told.reverse();
    let (first, second) = (&told[0], &told[1]);
    let as_before = |session: &str, at_ms: u64| {
        format!(
            "INSERT INTO deliveries (notification, session, at_ms) VALUES ('{}', '{session}', {at_ms})",
            first.id.as_uuid()
        )
    };
    side.run(&as_before("a", 3)).await;
    side.run(&as_before("b", 1)).await;
    let session = |name: &str| SessionId::new(name).unwrap();
    let range = |name: &str, at_ms| Delivery { from_seq: first.seq, last: second.id, session: session(name), at_ms };
    store.note_deliveries(vec![range("a", 2), range("c", 4)]).await.unwrap();
    for (id, expected) in [(first.id, vec![("b", 1), ("a", 2), ("c", 4)]), (second.id, vec![("a", 2), ("c", 4)])] {
        let told = store.trace(id).await.unwrap().unwrap().deliveries;
        let told: Vec<_> = told.iter().map(|one| (one.session.as_str(), one.at_ms)).collect();
        assert_eq!(told, expected);
    }
    let counted = "SELECT (SELECT count(*) FROM deliveries) * 10 + (SELECT count(*) FROM delivery_ranges)";
    for (keep_from_seq, left) in [(first.seq, 22), (second.seq, 2), (second.seq + 1, 0)] {
        store.trim(&StreamId::User(user("u2")), keep_from_seq).await.unwrap();
        assert_eq!(side.number(counted).await, left);
    }
}
