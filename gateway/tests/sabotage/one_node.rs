//! One node in this process.

use hallway_gateway::sabotage::Mutant;
use hallway_protocol::{Reply, UserId};
use loadtest_client::ledger::{Invariant, Ledger, Verdict};
use serde_json::json;

use super::fault_store::Commits;
use super::node::TestNode;
use super::seat::{command, room_stream};
use super::witness::{Witness, publish};
use super::{break_nodes, expect_clean, expect_red};

const ROOM: &str = "lobby";

/// The store refuses for a while.
async fn talk_while_the_store_refuses() -> Verdict {
    let (node, store) = TestNode::start_with_faults(|_| {}).await;
    node.connect("ada").await.create(ROOM, "public").await;
    let ledger = Ledger::new();
    let stream = room_stream(ROOM);
    ledger.history_is_for_all(stream.clone());
    let user = UserId::new("ada").unwrap();
    ledger.recorder().joined(&stream, &user, 1);
    let ada = Witness::connect(&node, &ledger, "ada", ROOM).await;
    store.commits(Commits::FailBefore);
    let talking = {
        let (client, user, mut recorder) = (ada.client.clone(), user.clone(), ledger.recorder());
        tokio::task::spawn(async move {
            let mut head = 0;
            for number in 0..20 {
                head = publish(&client, &mut recorder, &user, ROOM, &format!("message {number}")).await.unwrap();
            }
            head
        })
    };
    store.batches_begun(5).await;
    store.commits(Commits::Work);
    talking.await.unwrap();
    // The head as the store has it, whatever was acknowledged.
    let head = node.connect("ada").await.welcome.rooms[0].last_seq;
    let mut ada = ada;
    ada.reaches(head).await;
    ledger.recorder().done(ada.session);
    ada.close().await;
    Witness::final_read(&node, &ledger, "ada", ROOM, head).await;
    ledger.judge()
}

/// Eve asks for the history of a room that she is not in; bob is removed, and the others go on.
async fn look_from_outside() -> Verdict {
    let node = TestNode::start(|_| {}).await;
    let mut ada = node.connect("ada").await;
    ada.create(ROOM, "private").await;
    let invited = ada.done("room.invite", json!({"room": ROOM, "user": "bob", "role": "member"})).await;
    let ledger = Ledger::new();
    let stream = room_stream(ROOM);
    ledger.history_is_for_all(stream.clone());
    let user = UserId::new("ada").unwrap();
    let mut recorder = ledger.recorder();
    recorder.joined(&stream, &user, 1);
    recorder.joined(&stream, &UserId::new("bob").unwrap(), invited["seq"].as_u64().unwrap());
    let talker = Witness::connect(&node, &ledger, "ada", ROOM).await;
    let mut bob = Witness::connect(&node, &ledger, "bob", ROOM).await;
    let heard = publish(&talker.client, &mut recorder, &user, ROOM, "with bob").await.unwrap();
    bob.reaches(heard).await;
    let removed = ada.done("room.remove", json!({"room": ROOM, "user": "bob"})).await["seq"].as_u64().unwrap();
    let mut head = 0;
    for number in 0..3 {
        let text = format!("without bob {number}");
        head = publish(&talker.client, &mut recorder, &user, ROOM, &text).await.unwrap();
    }
    bob.reaches(removed).await;
    let eve = Witness::connect(&node, &ledger, "eve", ROOM).await;
    let asked = eve.client.request(command("message.history", json!({"room": ROOM, "direction": "newer"}))).await;
    if let Ok(Reply::MessageHistory(page)) = asked {
        recorder.read_history(eve.session, &stream, &page.messages);
    }
    let mut talker = talker;
    talker.reaches(head).await;
    recorder.done(talker.session);
    // What follows for bob would come before the answer to this.
    let _ = bob.client.request(command("ping", json!({}))).await;
    for witness in [&talker, &bob, &eve] {
        witness.close().await;
    }
    Witness::final_read(&node, &ledger, "ada", ROOM, head).await;
    drop(recorder);
    ledger.judge()
}

/// A client that never reads, and much to read for it.
async fn talk_to_one_who_never_reads() -> Verdict {
    const BACKLOG_MAX_BYTES: u64 = 64 * 1024;
    let node = TestNode::start(|config| {
        config.limits.backlog_max_bytes = BACKLOG_MAX_BYTES;
        config.limits.socket_send_buffer_bytes = 16 * 1024;
    })
    .await;
    node.connect("ada").await.create(ROOM, "public").await;
    let mut deaf = node.connect("bob").await;
    deaf.join(ROOM).await;
    let ledger = Ledger::new();
    let stream = room_stream(ROOM);
    ledger.history_is_for_all(stream.clone());
    let user = UserId::new("ada").unwrap();
    let mut recorder = ledger.recorder();
    recorder.joined(&stream, &user, 1);
    let mut ada = Witness::connect(&node, &ledger, "ada", ROOM).await;
    let (mut head, mut most) = (0, 0.0_f64);
    // More than both kernels' buffers take.
    for _ in 0..1_500 {
        head = publish(&ada.client, &mut recorder, &user, ROOM, &"x".repeat(16_000)).await.unwrap();
        if head % 50 == 0 {
            most = most.max(node.metric("hallway_backlog_bytes").await);
        }
    }
    // Two sockets; one frame may lie beyond the bound of each.
    let bound = 2 * (BACKLOG_MAX_BYTES + 20_000);
    ledger.measured("bytes that wait for two sockets", most as u64, bound);
    assert!(most > 0.0, "nothing ever waited: the run proves nothing");
    ada.reaches(head).await;
    recorder.done(ada.session);
    ada.close().await;
    Witness::final_read(&node, &ledger, "ada", ROOM, head).await;
    drop((recorder, deaf));
    ledger.judge()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_store_refuses_is_not_acknowledged() {
    expect_clean(&talk_while_the_store_refuses().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_before_the_commit_is_a_loss() {
    break_nodes(Mutant::AcknowledgeBeforeCommit);
    expect_red(Mutant::AcknowledgeBeforeCommit, &talk_while_the_store_refuses().await, Invariant::I1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_in_a_room_reads_nothing_of_it() {
    expect_clean(&look_from_outside().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_without_membership_is_named() {
    break_nodes(Mutant::HistoryWithoutMembership);
    expect_red(Mutant::HistoryWithoutMembership, &look_from_outside().await, Invariant::I8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_that_is_not_applied_is_named() {
    break_nodes(Mutant::RemovalWithoutItsNumber);
    expect_red(Mutant::RemovalWithoutItsNumber, &look_from_outside().await, Invariant::I8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_one_who_never_reads_is_bounded() {
    expect_clean(&talk_to_one_who_never_reads().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_without_bound_is_named() {
    break_nodes(Mutant::UnboundedQueue);
    expect_red(Mutant::UnboundedQueue, &talk_to_one_who_never_reads().await, Invariant::I9);
}

#[test]
fn a_mutant_or_fail_point_that_does_not_exist_is_refused() {
    use hallway_gateway::sabotage::choose;
    for text in ["mutant:unknown", "failpoint:unknown=kill", "failpoint:before_commit", "no_tail"] {
        assert!(choose(text).is_err(), "{text} was taken");
    }
}
