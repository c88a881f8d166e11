//! What only Postgres can get wrong: locks, snapshots, lost connections, plans. The rest is the conformance suite's.
#![cfg(feature = "conformance")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod postgres_kit;

use std::time::{Duration, Instant};

use hallway_protocol::{EventBody, StreamId};
use hallway_store::postgres::{PostgresOptions, PostgresStore, statements};
use hallway_store::{Action, Log, Refusal, StoreError, Tail, TailCursor, Upkeep, Write};
use loadtest_cluster::TemporaryPostgres;
use postgres_kit::{Side, commit, create, events_of, one, room, send, store, until, write};

/// Waits for locks much longer than a test takes.
fn patient() -> PostgresOptions {
    let long = Duration::from_secs(60);
    PostgresOptions { lock_timeout: long, statement_timeout: long, ..PostgresOptions::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_that_write_the_same_rooms_leave_no_hole() {
    const NODES: usize = 3;
    const BATCHES: usize = 8;
    const ROOMS: usize = 5;
    let (server, url, _) = store().await;
    let fresh = server.database().await.unwrap();
    // All open an empty database at once: the migrations must bear that, too.
    let opened = (0..NODES).map(|_| tokio::spawn(PostgresStore::open(fresh.clone().leak(), patient())));
    let mut nodes = Vec::new();
    for node in opened.collect::<Vec<_>>() {
        nodes.push(node.await.unwrap().unwrap());
    }
    assert_ne!(fresh, url);
    commit(&nodes[0], (0..ROOMS).map(|n| create("ada", &format!("r{n}"))).collect()).await;
    let mut writers = Vec::new();
    for (number, node) in nodes.iter().cloned().enumerate() {
        writers.push(tokio::spawn(async move {
            for batch in 0..BATCHES {
                // Each node names the rooms in an order of its own: only the lock order keeps them from a deadlock.
                let sends = (0..ROOMS * 4).map(|n| {
                    let place = if number == 1 { ROOMS * 4 - n } else { n + number };
                    send("ada", &format!("r{}", place % ROOMS), &format!("{number}-{batch}-{n}"))
                });
                let results = commit(&node, sends.collect()).await;
                assert!(results.iter().all(Result::is_ok), "{results:?}");
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for n in 0..ROOMS {
        let events = events_of(&nodes[0], &format!("r{n}")).await;
        let expected = u64::try_from(2 + NODES * BATCHES * 4).unwrap();
        assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), (1..=expected).collect::<Vec<_>>());
        let ordinals = events.iter().filter_map(|event| match &event.body {
            EventBody::MessageCreated(created) => Some(created.message.ordinal),
            _ => None,
        });
        assert_eq!(ordinals.collect::<Vec<_>>(), (1..=expected - 2).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_commits_after_its_node_was_killed_is_not_repeated() {
    let (_server, url, _store) = store().await;
    let node = PostgresStore::open(&url, patient()).await.unwrap();
    one(&node, create("ada", "lobby")).await.unwrap();
    let side = Side::open(&url).await;
    side.run("BEGIN; SELECT 1 FROM rooms WHERE id = 'lobby' FOR UPDATE").await;
    let message = send("ada", "lobby", "n");
    let waiting = tokio::spawn({
        let (node, message) = (node.clone(), message.clone());
        async move { node.commit(vec![message]).await }
    });
    side.until("SELECT count(*) FROM pg_locks WHERE NOT granted", 1).await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    side.run("COMMIT").await;
    let other = PostgresStore::open(&url, PostgresOptions::default()).await.unwrap();
    side.until("SELECT last_seq FROM rooms WHERE id = 'lobby'", 3).await;
    let again = one(&other, message.clone()).await.unwrap();
    assert_eq!((again.seq, again.id, again.repeated), (3, message.action.object(), true));
    assert_eq!(events_of(&other, "lobby").await.len(), 3);
    // The abandoned connection was thrown away, and the node goes on.
    assert_eq!(one(&node, send("ada", "lobby", "m")).await.unwrap().seq, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_is_not_answered_in_time_is_of_unknown_outcome() {
    let (_server, url, store) = store().await;
    one(&store, create("ada", "lobby")).await.unwrap();
    let side = Side::open(&url).await;
    // The server's own time-out comes first and is definite: nothing was done.
    let short = PostgresOptions { statement_timeout: Duration::from_millis(200), ..patient() };
    let node = PostgresStore::open(&url, short).await.unwrap();
    side.run("BEGIN; SELECT 1 FROM rooms WHERE id = 'lobby' FOR UPDATE").await;
    let error = node.commit(vec![send("ada", "lobby", "n")]).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    // A connection that is cut while it waits says nothing about what was done.
    let node = PostgresStore::open(&url, patient()).await.unwrap();
    let waiting = tokio::spawn(async move { node.commit(vec![send("ada", "lobby", "n")]).await });
    side.until("SELECT count(*) FROM pg_locks WHERE NOT granted", 1).await;
    side.run("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE NOT granted").await;
    let error = waiting.await.unwrap().unwrap_err();
    assert!(matches!(error, StoreError::OutcomeUnknown(_)), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_the_server_closed_while_they_were_idle_fail_nobody() {
    const AT_ONCE: usize = 6;
    let (_server, url, _) = store().await;
    let node = PostgresStore::open(&url, patient()).await.unwrap();
    one(&node, create("ada", "lobby")).await.unwrap();
    let say_at_once = |round: &str| -> Vec<_> {
        let messages = (0..AT_ONCE).map(|n| send("ada", "lobby", &format!("{round}-{n}")));
        let say = |message| {
            let node = node.clone();
            tokio::spawn(async move { node.commit(vec![message]).await })
        };
        messages.map(say).collect()
    };
    let side = Side::open(&url).await;
    side.run("BEGIN; SELECT 1 FROM rooms WHERE id = 'lobby' FOR UPDATE").await;
    let first = say_at_once("first");
    side.until("SELECT count(*) FROM pg_locks WHERE NOT granted", AT_ONCE.try_into().unwrap()).await;
    side.run("COMMIT").await;
    for said in first {
        said.await.unwrap().unwrap();
    }
    let others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()";
    side.run(&format!("SELECT pg_terminate_backend(pid) {others}")).await;
    side.until(&format!("SELECT count(*) {others}"), 0).await;
    // What this process was told of the closed sockets comes before the answers to these.
    for _ in 0..100 {
        side.run("SELECT 1").await;
    }
    for said in say_at_once("second") {
        let batch = said.await.unwrap().unwrap();
        assert!(batch.results.iter().all(Result::is_ok), "{:?}", batch.results);
    }
    let other = PostgresStore::open(&url, PostgresOptions::default()).await.unwrap();
    assert_eq!(events_of(&other, "lobby").await.len(), 2 + 2 * AT_ONCE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_room_refuses_definitely_within_the_lock_timeout() {
    let (_server, url, store) = store().await;
    one(&store, create("ada", "lobby")).await.unwrap();
    let side = Side::open(&url).await;
    side.run("BEGIN; SELECT 1 FROM rooms WHERE id = 'lobby' FOR UPDATE").await;
    let began = Instant::now();
    assert_eq!(one(&store, send("ada", "lobby", "n")).await, Err(Refusal::Locked));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(events_of(&store, "lobby").await.len(), 2, "readers do not wait for it");
    side.run("COMMIT").await;
    let done = one(&store, send("ada", "lobby", "n")).await.unwrap();
    assert_eq!((done.seq, done.repeated), (3, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_but_the_locked_rooms_of_a_batch_are_written() {
    let (_server, url, store) = store().await;
    let rooms = ["a", "b", "c", "d"];
    commit(&store, rooms.iter().map(|name| create("ada", name)).collect()).await;
    let joins = ["bob", "eve"].iter().flat_map(|user| rooms.iter().map(move |name| join(user, name)));
    assert!(commit(&store, joins.collect()).await.iter().all(Result::is_ok));
    let side = Side::open(&url).await;
    side.run("BEGIN; SELECT 1 FROM rooms WHERE id IN ('b', 'd') FOR UPDATE").await;
    let batch = || {
        vec![
            send("ada", "a", "1"),
            send("ada", "b", "2"),
            // Behind the one before it, although nobody locked its room.
            send("ada", "c", "3"),
            send("bob", "c", "4"),
            join("carl", "d"),
            join("carl", "a"),
            join("dora", "a"),
            send("eve", "d", "5"),
        ]
    };
    let began = Instant::now();
    let results = commit(&store, batch()).await;
    // Sends wait for the lock once, and so do the other writes.
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let done: Vec<bool> = results.iter().map(Result::is_ok).collect();
    assert_eq!(done, [true, false, false, true, false, false, true, false], "{results:?}");
    let refusals: Vec<Refusal> = results.iter().filter_map(|result| result.as_ref().err().cloned()).collect();
    let (locked, behind) = (|| Refusal::Locked, || Refusal::BehindLocked);
    assert_eq!(refusals, [locked(), behind(), locked(), behind(), locked()]);
    side.run("COMMIT").await;
    let again = commit(&store, batch()).await;
    let repeated: Vec<bool> = again.iter().map(|result| result.as_ref().unwrap().repeated).collect();
    assert_eq!(repeated, [true, false, false, true, false, false, true, false], "{again:?}");
    for name in rooms {
        let seqs: Vec<_> = events_of(&store, name).await.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=u64::try_from(seqs.len()).unwrap()).collect::<Vec<_>>(), "{name} has no hole");
    }
}

fn join(actor: &str, name: &str) -> Write {
    write(actor, &format!("join-{name}"), Action::Join { room: room(name) })
}

#[tokio::test]
async fn the_tail_finds_a_commit_whose_transaction_began_earlier_and_ended_later() {
    let (_server, url, store) = store().await;
    commit(&store, vec![create("ada", "early"), create("ada", "late")]).await;
    let start = store.tail(TailCursor::default()).await.unwrap();
    assert!(start.heads.is_empty() && start.next.0.is_some(), "{start:?}");
    let side = Side::open(&url).await;
    side.run(
        "BEGIN; SELECT * FROM hallway_send_v1('{late}', '{ada}', ARRAY[gen_random_uuid()], ARRAY[gen_random_uuid()], \
         ARRAY['01890000-0000-7000-8000-000000000001'::uuid], '{text}', ARRAY[NULL::uuid], ARRAY[NULL], ARRAY[NULL])",
    )
    .await;
    one(&store, send("ada", "early", "n")).await.unwrap();
    let first = store.tail(start.next).await.unwrap();
    let has = |tail: &Tail, name: &str| tail.heads.contains(&(StreamId::Room(room(name)), 3));
    assert!(has(&first, "early") && !has(&first, "late"), "{first:?}");
    side.run("COMMIT").await;
    let second = store.tail(first.next).await.unwrap();
    assert!(has(&second, "late"), "{second:?}");
    // Once every transaction of the server that was open then has ended, nothing is seen twice.
    until(|| async {
        let next = store.tail(first.next).await.unwrap().next;
        store.tail(next).await.unwrap().heads.is_empty()
    })
    .await;
}

#[tokio::test]
async fn another_life_of_the_store_is_another_epoch_for_every_node() {
    let (_server, url, store) = store().await;
    let first = store.epoch().await.unwrap();
    let reopened = PostgresStore::open(&url, PostgresOptions::default()).await.unwrap();
    assert_eq!(reopened.epoch().await.unwrap(), first, "opening it again is no new life");
    let side = Side::open(&url).await;
    side.run("UPDATE meta SET fingerprint = 'before the restore'").await;
    let restored = PostgresStore::open(&url, PostgresOptions::default()).await.unwrap();
    let second = restored.epoch().await.unwrap();
    assert_ne!(second, first);
    let batch = store.commit(vec![create("ada", "lobby")]).await.unwrap();
    assert_eq!(batch.epoch, second, "a node that was open hears it with its next batch");
    assert_eq!(store.tail(TailCursor::default()).await.unwrap().epoch, second);
    let third = restored.new_epoch().await.unwrap();
    assert_eq!(store.heads(vec![StreamId::System]).await.unwrap().epoch, third);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_a_kill_of_the_server_and_the_epoch_stays() {
    let server = TemporaryPostgres::start().unwrap();
    let store = PostgresStore::open(&server.url(), PostgresOptions::default()).await.unwrap();
    let epoch = store.epoch().await.unwrap();
    one(&store, create("ada", "lobby")).await.unwrap();
    let mut acknowledged = 0;
    for round in 0..3 {
        acknowledged = one(&store, send("ada", "lobby", &format!("n{round}"))).await.unwrap().seq;
        server.kill9().unwrap();
        // A back end that has not noticed yet may still commit, durably; otherwise it is an error, never a false yes.
        match store.commit(vec![send("ada", "lobby", &format!("late{round}"))]).await {
            Ok(batch) => acknowledged = batch.results[0].as_ref().unwrap().seq,
            Err(StoreError::Unavailable(_) | StoreError::OutcomeUnknown(_)) => {}
            Err(error) => panic!("{error}"),
        }
        server.restart().unwrap();
        until(|| async { store.probe().await.is_ok() }).await;
        let events = events_of(&store, "lobby").await;
        let seqs: Vec<_> = events.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, (1..=u64::try_from(seqs.len()).unwrap()).collect::<Vec<_>>());
        assert!(seqs.len() >= usize::try_from(acknowledged).unwrap());
    }
    assert!(acknowledged > 4);
    assert_eq!(store.epoch().await.unwrap(), epoch);
}

#[tokio::test]
async fn a_store_that_does_not_sync_is_called_unsafe() {
    let (_server, url, store) = store().await;
    let durability = store.durability().await.unwrap();
    assert!(durability.safe() && durability.warnings.is_empty(), "{durability:?}");
    let careless = format!("{url}?options=-c%20synchronous_commit%3Doff");
    let store = PostgresStore::open(&careless, PostgresOptions::default()).await.unwrap();
    let durability = store.durability().await.unwrap();
    assert!(durability.unsafe_settings[0].contains("synchronous_commit = on"), "{durability:?}");
}

#[tokio::test]
async fn nonces_are_forgotten_in_whole_partitions_after_the_window() {
    let (_server, url, store) = store().await;
    one(&store, create("ada", "lobby")).await.unwrap();
    let side = Side::open(&url).await;
    let partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'dedupe'::regclass";
    side.until(partitions, 3).await;
    side.run("CREATE TABLE dedupe_5 PARTITION OF dedupe FOR VALUES FROM (144000000) TO (172800000)").await;
    side.run("INSERT INTO dedupe SELECT gen_random_uuid(), gen_random_uuid(), NULL, 1, at FROM unnest('{1,144000001}'::bigint[]) at")
        .await;
    assert!(!store.trim_nonces().await.unwrap());
    side.until(partitions, 3).await;
    side.until("SELECT count(*) FROM dedupe", 1).await;
    assert!(one(&store, create("ada", "lobby")).await.unwrap().repeated, "what is younger stays");
}

/// Fifty thousand rows in the tables that grow, in the shape that they have in service.
const FILL: &str = "
    INSERT INTO rooms (id, kind, public, history_all, created_at_ms, last_seq, message_count)
        SELECT 'r' || n, 0, true, true, 1, 251, 250 FROM generate_series(1, 200) n;
    INSERT INTO members (room, user_id, role, joined_seq, since_seq)
        SELECT 'r' || n, 'u' || m, 1, 1, 1 FROM generate_series(1, 200) n, generate_series(1, 10) m;
    INSERT INTO users (id) SELECT 'u' || m FROM generate_series(1, 10) m;
    INSERT INTO read_markers (room, user_id, read_seq, ordinal) SELECT room, user_id, 1, 0 FROM members;
    INSERT INTO messages (room, id, seq, ordinal, sender, at_ms, text)
        SELECT 'r' || n, gen_random_uuid(), s + 1, s, 'u1', 1000 * s + n, 'text'
        FROM generate_series(1, 250) s, generate_series(1, 200) n;
    INSERT INTO events (stream, seq, at_ms, kind, message) SELECT 'room:' || room, seq, at_ms, 7, id FROM messages ORDER BY at_ms;
    INSERT INTO dedupe SELECT gen_random_uuid(), gen_random_uuid(), id, seq, hallway_now_v1() FROM messages;";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_statement_scans_a_growing_table() {
    let (_server, url, store) = store().await;
    let side = Side::open(&url).await;
    let alone = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
    // Making a partition scans it for its index; that is counted when the session ends.
    drop(store);
    side.until(alone, 1).await;
    side.run(FILL).await;
    side.run("VACUUM ANALYZE").await;
    side.run("SET plan_cache_mode = force_generic_plan").await;
    for (name, sql) in statements::all() {
        let parameters = (1..20).rev().find(|n| sql.contains(&format!("${n}"))).unwrap_or(0);
        let arguments =
            if parameters == 0 { String::new() } else { format!("({})", vec!["NULL"; parameters].join(", ")) };
        side.run(&format!("PREPARE p AS {sql}")).await;
        let plan = side.text(&format!("EXPLAIN EXECUTE p{arguments}")).await;
        side.run("DEALLOCATE p").await;
        for table in ["events", "messages", "dedupe"] {
            assert!(!plan.contains(&format!("Seq Scan on {table}")), "{name} scans {table}:\n{plan}");
        }
    }
    // Inside the functions: the statistics of a session are there when it has ended, or when it is told to hand them in.
    side.run("SELECT pg_stat_force_next_flush()").await;
    let scans = "SELECT relname || ': ' || seq_scan FROM pg_stat_user_tables \
        WHERE (relname IN ('events', 'messages') OR relname ~ '^dedupe_[0-9]+$') AND n_live_tup > 1000 ORDER BY 1";
    let before = side.text(scans).await;
    let store = PostgresStore::open(&url, PostgresOptions::default()).await.unwrap();
    for n in 0..8 {
        let results =
            commit(&store, vec![send("u1", "r7", &format!("n{n}")), send("u2", "r8", &format!("n{n}"))]).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        postgres_kit::amend_and_mark(&store, "u1", "r7", results[0].as_ref().unwrap()).await;
    }
    store.trim(&StreamId::Room(room("r9")), 100).await.unwrap();
    drop(store);
    side.until(alone, 1).await;
    assert_eq!(side.text(scans).await, before, "a function scans a growing table");
}
