//! A store that is slow, full or failing: every error says truly whether the write may have happened, and nothing that
//! was committed is lost.

use hallway_protocol::{ErrorCode, Outcome};
use serde_json::{Value, json};

use crate::fault_store::{Commits, FaultStore};
use crate::node::TestNode;
use crate::seat::Seat;

fn message(nonce: &str) -> Value {
    json!({"nonce": nonce, "room": "lobby", "text": format!("message {nonce}")})
}

/// Sends one write that hangs in the store, so that all others wait in the queue.
async fn block_the_writer(seat: &mut Seat, store: &FaultStore) -> u64 {
    store.commits(Commits::WaitBefore);
    let before = store.batches();
    let id = seat.send("message.send", message("blocks")).await;
    store.batches_begun(before + 1).await;
    id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_writer_queue_refuses_definitely() {
    let (node, store) = TestNode::start_with_faults(|config| config.limits.writer_queue_max = 3).await;
    let mut seat = node.connect("ada").await;
    seat.create("lobby", "public").await;
    let blocked = block_the_writer(&mut seat, &store).await;
    let mut queued = Vec::new();
    for number in 0..3 {
        queued.push(seat.send("message.send", message(&format!("queued-{number}"))).await);
    }
    let refused = seat.ask("message.send", message("refused")).await.unwrap_err();
    assert_eq!((refused.code, refused.outcome), (ErrorCode::Overloaded, Outcome::Definite));
    assert!(refused.retryable && refused.retry_after_ms.is_some());
    store.commits(Commits::Work);
    for (id, seq) in std::iter::once(blocked).chain(queued).zip(3..) {
        assert_eq!(seat.answer(id).await.unwrap()["seq"], seq);
    }
    // Definite: repeating it is a first attempt.
    let repeated = seat.done("message.send", message("refused")).await;
    assert_eq!((&repeated["seq"], &repeated["repeated"]), (&json!(7), &json!(false)));
    seat.events("lobby", 3..=7).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_waits_too_long_is_refused_definitely() {
    let (node, store) = TestNode::start_with_faults(|config| {
        config.limits.writer_wait_max_ms = 50;
        config.limits.store_timeout_ms = 20_000;
    })
    .await;
    let mut seat = node.connect("ada").await;
    seat.create("lobby", "public").await;
    let blocked = block_the_writer(&mut seat, &store).await;
    let late = seat.send("message.send", message("late")).await;
    seat.ping().await;
    // The write is in the queue; it becomes overdue there.
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    store.commits(Commits::Work);
    assert_eq!(seat.answer(blocked).await.unwrap()["seq"], 3);
    let refused = seat.answer(late).await.unwrap_err();
    assert_eq!((refused.code, refused.outcome), (ErrorCode::StoreUnavailable, Outcome::Definite));
    let repeated = seat.done("message.send", message("late")).await;
    assert_eq!((&repeated["seq"], &repeated["repeated"]), (&json!(4), &json!(false)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_answer_is_an_unknown_outcome() {
    let (node, store) = TestNode::start_with_faults(|config| config.limits.store_timeout_ms = 100).await;
    let mut seat = node.connect("ada").await;
    seat.create("lobby", "public").await;
    for (fault, nonce, seq) in [(Commits::WaitAfter, "after", 3), (Commits::WaitBefore, "before", 4)] {
        store.commits(fault);
        let unknown = seat.ask("message.send", message(nonce)).await.unwrap_err();
        assert_eq!((unknown.code, unknown.outcome), (ErrorCode::OutcomeUnknown, Outcome::Unknown), "{fault:?}");
        store.commits(Commits::Work);
        // The late answer is published all the same, and the repeat finds it.
        seat.event("lobby", seq).await;
        let repeated = seat.done("message.send", message(nonce)).await;
        assert_eq!((&repeated["seq"], &repeated["repeated"]), (&json!(seq), &json!(true)), "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_was_lost_reaches_everybody_and_is_found_by_its_nonce() {
    let (node, store) = TestNode::start_with_faults(|_| {}).await;
    let mut seat = node.connect("ada").await;
    seat.create("lobby", "public").await;
    let mut reader = node.connect("ben").await;
    reader.join("lobby").await;
    store.commits(Commits::FailAfter);
    let unknown = seat.ask("message.send", message("lost")).await.unwrap_err();
    assert_eq!((unknown.code, unknown.outcome), (ErrorCode::OutcomeUnknown, Outcome::Unknown));
    reader.event("lobby", 4).await;
    store.commits(Commits::Work);
    assert_eq!(seat.done("message.send", message("lost")).await["repeated"], true);
    assert_eq!(seat.say("lobby", "next").await, 5);
    reader.events("lobby", 5..=5).await;
    seat.events("lobby", 3..=5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_cannot_be_reached_refuses_definitely_and_works_again_when_it_is_back() {
    let (node, store) = TestNode::start_with_faults(|_| {}).await;
    let mut seat = node.connect("ada").await;
    seat.create("lobby", "public").await;
    store.commits(Commits::FailBefore);
    let refused = seat.ask("message.send", message("early")).await.unwrap_err();
    assert_eq!((refused.code, refused.outcome), (ErrorCode::StoreUnavailable, Outcome::Definite));
    store.commits(Commits::Work);
    let repeated = seat.done("message.send", message("early")).await;
    assert_eq!((&repeated["seq"], &repeated["repeated"]), (&json!(3), &json!(false)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_hangs_up_takes_nothing_along() {
    let (node, store) = TestNode::start_with_faults(|_| {}).await;
    let mut publisher = node.connect("ada").await;
    publisher.create("lobby", "public").await;
    let mut reader = node.connect("ben").await;
    reader.join("lobby").await;
    store.commits(Commits::WaitBefore);
    let before = store.batches();
    publisher.send("message.send", message("gone")).await;
    store.batches_begun(before + 1).await;
    drop(publisher);
    node.metric_until("hallway_connections_open", "", |open| open == 1.0).await;
    store.commits(Commits::Work);
    reader.event("lobby", 4).await;
    let mut again = node.connect("ada").await;
    assert_eq!(again.done("message.send", message("gone")).await["repeated"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_holds_a_bounded_number_of_events() {
    let (node, store) = TestNode::start_with_faults(|config| {
        config.limits.held_events_max = 4;
        config.limits.store_timeout_ms = 100;
    })
    .await;
    let mut seat = node.connect("ada").await;
    seat.create("lobby", "public").await;
    let mut reader = node.connect("ben").await;
    reader.join("lobby").await;
    // The first message is committed, but nobody is told; what follows it lies behind a gap that cannot be read.
    store.pages_work(false);
    store.commits(Commits::WaitAfter);
    let unknown = seat.ask("message.send", message("hidden")).await.unwrap_err();
    assert_eq!(unknown.code, ErrorCode::OutcomeUnknown);
    store.take_page_requests();
    let gaps = node.metric("hallway_gaps_total").await;
    store.commits_without_release();
    for number in 0..20 {
        let seq = seat.done("message.send", message(&format!("held-{number}"))).await["seq"].as_u64().unwrap();
        assert_eq!(seq, 5 + number);
    }
    node.metric_until("hallway_gaps_total", "", |now| now > gaps).await;
    reader.ping().await;
    assert_eq!(reader.unread_events_of("lobby"), 0, "nothing overtakes what is missing");
    store.pages_work(true);
    reader.events("lobby", 4..=24).await;
    seat.events("lobby", 3..=24).await;
}
