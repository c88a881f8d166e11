//! What only shows inside: rows that nothing names, and steps that die half-way.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use hallway_protocol::{StreamId, UserId};
use tempfile::TempDir;

use super::*;
use crate::conformance::kit::{self, Shared, one};
use crate::conformance::notes_kit::{counts, fan_out as fan_out_all, notice, notify, tell, to, told, urgent};
use crate::{Action, Addressed, HandOutRules, Notice, Upkeep};

fn open(rules: HandOutRules) -> (Arc<SqliteStore>, TempDir) {
    let directory = TempDir::new().unwrap();
    (Arc::new(SqliteStore::open(directory.path()).unwrap().with_hand_outs(rules)), directory)
}

async fn count(store: &SqliteStore, statement: &'static str) -> i64 {
    store.readers.run(move |connection| Ok(connection.query_row(statement, [], |row| row.get(0))?)).await.unwrap()
}

const NOTICES: &str = "SELECT count(*) FROM notices";

#[tokio::test]
async fn a_notice_goes_with_the_last_notification_of_it() {
    let (store, _directory) = open(HandOutRules::default());
    let shared: Shared = store.clone();
    let (ann, bob, cas) = (kit::user("n", "ann"), kit::user("n", "bob"), kit::user("n", "cas"));
    one(&shared, &ann, notify(&ann, to(&[&bob, &cas]), notice("both"))).await;
    tell(&shared, &ann, &bob, Notice { key: Some("k".to_owned()), ..notice("bob") }).await;
    assert_eq!(count(&store, NOTICES).await, 2, "once, however many get it");
    one(&shared, &ann, notify(&ann, to(&[&bob]), Notice { key: Some("k".to_owned()), ..notice("again") })).await;
    one(&shared, &ann, notify(&ann, to(&[&ann]), notice("to myself"))).await;
    assert_eq!(count(&store, NOTICES).await, 2, "what nobody gets is not kept");
    store.trim(&StreamId::User(bob), 3).await.unwrap();
    assert_eq!(count(&store, NOTICES).await, 1, "the other one has it still");
    store.trim(&StreamId::User(cas), 2).await.unwrap();
    assert_eq!(count(&store, NOTICES).await, 0);

    let crowd: Vec<UserId> = (0..60).map(|n| kit::user("n", &format!("p{n}"))).collect();
    let keyed = Notice { key: Some("c".to_owned()), ..notice("crowd") };
    for _ in 0..2 {
        one(&shared, &ann, notify(&ann, Addressed::Users(crowd.clone()), keyed.clone())).await;
        assert_eq!(count(&store, "SELECT count(*) FROM fan_outs").await, 1);
        fan_out_all(&shared).await;
        assert_eq!(count(&store, NOTICES).await, 1, "a job that reached nobody takes its notice along");
        assert_eq!(count(&store, "SELECT count(*) FROM fan_outs").await, 0);
    }
    store.close().await;
}

#[tokio::test]
async fn a_step_that_dies_half_way_is_repeated_and_notifies_nobody_twice() {
    let (store, _directory) = open(HandOutRules::default());
    let shared: Shared = store.clone();
    let ann = kit::user("dies", "ann");
    let crowd: Vec<UserId> = (0..700).map(|n| kit::user("dies", &format!("p{n:03}"))).collect();
    one(&shared, &ann, notify(&ann, Addressed::Users(crowd.clone()), notice("crowd"))).await;
    let mut reached = 0;
    for step in 0..2 {
        let died = store.write(move |connection| -> Result<(), StoreError> {
            let mut batch = Batch::new(connection, now_ms(), HandOutRules::default());
            let (events, _) = fan_out::step(&mut batch)?;
            assert_eq!(events.len(), if step == 0 { 500 } else { 200 });
            batch.flush()?;
            panic!("killed before COMMIT");
        });
        died.await.unwrap_err();
        assert_eq!(counts(&shared, &crowd[500 * step]).await, (0, 0));
        reached += told(&store.fan_out().await.unwrap().events).len();
    }
    assert_eq!(reached, 700);
    for user in [&crowd[0], &crowd[499], &crowd[500], &crowd[699]] {
        assert_eq!(counts(&shared, user).await, (1, 1));
    }
    store.close().await;
}

#[tokio::test]
async fn nothing_is_handed_out_without_somebody_to_hand_it_to_and_nothing_before_the_first_look() {
    let later = HandOutRules { hands_out: true, first_look_ms: 600_000 };
    for (rules, noted) in [(HandOutRules::default(), 0), (later, 2)] {
        let (store, _directory) = open(rules);
        let shared: Shared = store.clone();
        let (ann, bob) = (kit::user("look", "ann"), kit::user("look", "bob"));
        tell(&shared, &ann, &bob, urgent("x")).await;
        tell(&shared, &ann, &bob, notice("x")).await;
        assert!(store.claim_hand_outs(10, 0).await.unwrap().is_empty());
        let waiting = "SELECT count(*) FROM notifications WHERE hand_out_at_ms > at_ms";
        assert_eq!(count(&store, waiting).await, noted);
        store.close().await;
    }
}

#[tokio::test]
async fn what_is_left_of_rooms_that_were_left_goes_with_the_next_preference() {
    let (store, _directory) = open(HandOutRules::default());
    let shared: Shared = store.clone();
    let bob = kit::user("prefers", "bob");
    for n in 0..5 {
        let room = kit::room("prefers", &format!("r{n}"));
        let (visibility, history) = (hallway_protocol::Visibility::Public, hallway_protocol::History::All);
        kit::channel(&shared, &bob, &room, visibility, history).await;
        one(&shared, &bob, crate::conformance::notes_kit::prefer(&bob, Some(&room), Some(Level::None))).await;
        one(&shared, &bob, Action::Leave { room }).await;
        assert_eq!(count(&store, "SELECT count(*) FROM preferences").await, 1);
    }
    assert!(shared.preferences(&bob).await.unwrap().rooms.is_empty());
    store.close().await;
}

#[tokio::test]
async fn deliveries_of_before_there_were_ranges_are_told_and_all_of_them_go_with_their_notifications() {
    let (store, _directory) = open(HandOutRules::default());
    let shared: Shared = store.clone();
    let (ann, bob) = (kit::user("old", "ann"), kit::user("old", "bob"));
    let (first, second) = (tell(&shared, &ann, &bob, notice("x")).await, tell(&shared, &ann, &bob, notice("x")).await);
    let old = first.id;
    let rows = store.write(move |connection| {
        let mut statement = connection.prepare("INSERT INTO deliveries VALUES (?1, ?2, ?3)")?;
        for (session, at_ms) in [("a", 3), ("b", 1)] {
            statement.execute(params![old.as_uuid().as_bytes(), session, at_ms])?;
        }
        Ok(())
    });
    rows.await.unwrap();
    let session = |name: &str| hallway_protocol::SessionId::new(name).unwrap();
    let range = |name: &str, at_ms| Delivery { from_seq: first.seq, last: second.id, session: session(name), at_ms };
    store.note_deliveries(vec![range("a", 2), range("c", 4)]).await.unwrap();
    for (id, expected) in [(first.id, vec![("b", 1), ("a", 2), ("c", 4)]), (second.id, vec![("a", 2), ("c", 4)])] {
        let told = store.trace(id).await.unwrap().unwrap().deliveries;
        let told: Vec<_> = told.iter().map(|one| (one.session.as_str(), one.at_ms)).collect();
        assert_eq!(told, expected);
    }
    let counted = "SELECT (SELECT count(*) FROM deliveries) * 10 + (SELECT count(*) FROM delivery_ranges)";
    for (keep_from_seq, left) in [(first.seq, 22), (second.seq, 2), (second.seq + 1, 0)] {
        store.trim(&StreamId::User(bob.clone()), keep_from_seq).await.unwrap();
        assert_eq!(count(&store, counted).await, left);
    }
    store.close().await;
}
