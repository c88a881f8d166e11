//! A few nodes in this process, on one Postgres, over a bus that loses.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hallway_gateway::sabotage::Mutant;
use hallway_protocol::{MessageId, UserId};
use loadtest_client::client::{committed, message};
use loadtest_client::ledger::{Invariant, Ledger, Verdict};

use super::house::{House, meet};
use super::seat::room_stream;
use super::witness::{Witness, publish};
use super::{break_nodes, expect_clean, expect_red};

const ROOM: &str = "lobby";
/// A reader that was cut off comes back so often.
const RETURNS: usize = 60;
/// What a connect read is that old when its node gets it: the room was written meanwhile.
const CONNECT_ANSWERS_TAKE: Duration = Duration::from_millis(20);
/// Long enough that often nothing is said until the next connect reads, and short enough that something is before its answer comes.
const BETWEEN_MESSAGES: Duration = Duration::from_millis(10);
/// What was lost on the bus is delivered within so long, or never.
const FOUND_WITHIN: Duration = Duration::from_secs(4);
/// A mutant that was not seen by then is not seen.
const RUNS_MAX: usize = 8;

/// Ada talks at one node, bob listens at another and comes back again and again, carl comes to a third node at last; the last
/// messages are lost on the bus.
async fn talk() -> Verdict {
    let house = House::start_with_late_connects(3, CONNECT_ANSWERS_TAKE, |_| {}).await;
    let (mut ada, mut bob) = (house.seat(0, "ada").await, house.seat(1, "bob").await);
    meet(ROOM, &mut ada, &mut [&mut bob]).await;
    let carls = house.nodes[0].connect("carl").await.join(ROOM).await;
    let ledger = Ledger::new();
    let stream = room_stream(ROOM);
    ledger.history_is_for_all(stream.clone());
    let mut recorder = ledger.recorder();
    let user = UserId::new("ada").unwrap();
    recorder.joined(&stream, &user, 1);
    recorder.joined(&stream, &UserId::new("bob").unwrap(), 1);
    recorder.joined(&stream, &UserId::new("carl").unwrap(), carls);
    let talker = Witness::connect(&house.nodes[0], &ledger, "ada", ROOM).await;
    let mut listener = Witness::connect(&house.nodes[1], &ledger, "bob", ROOM).await;
    let stops = Arc::new(AtomicBool::new(false));
    let talking = {
        let (client, mut recorder, user, stops) =
            (talker.client.clone(), ledger.recorder(), user.clone(), Arc::clone(&stops));
        tokio::task::spawn(async move {
            let mut number = 0;
            while !stops.load(Ordering::SeqCst) {
                number += 1;
                publish(&client, &mut recorder, &user, ROOM, &format!("message {number}")).await;
                tokio::time::sleep(BETWEEN_MESSAGES).await;
            }
        })
    };
    for _ in 0..RETURNS {
        listener.comes_back().await;
    }
    stops.store(true, Ordering::SeqCst);
    talking.await.unwrap();
    let mut late = Witness::connect(&house.nodes[2], &ledger, "carl", ROOM).await;
    late.is_synced().await;
    house.buses.iter().for_each(|bus| bus.loses.store(true, Ordering::SeqCst));
    let mut head = 0;
    for number in 0..3 {
        let text = format!("the last but {number}");
        head = publish(&talker.client, &mut recorder, &user, ROOM, &text).await.unwrap();
    }
    // Whoever does not get there is left for the ledger to name.
    for listener in [&mut listener, &mut late] {
        let _ = tokio::time::timeout(FOUND_WITHIN, listener.seen.wait_for(|seen| seen.seq >= head)).await;
    }
    for witness in [&talker, &listener, &late] {
        recorder.done(witness.session);
        witness.close().await;
    }
    for (node, name) in house.nodes.iter().zip(["ada", "bob", "carl"]) {
        Witness::final_read(node, &ledger, name, ROOM, head).await;
    }
    drop(recorder);
    ledger.judge()
}

/// The same message is sent to both nodes at once, again and again.
async fn say_twice() -> Verdict {
    let house = House::start(2, |_| {}).await;
    let (mut ada, mut bob) = (house.seat(0, "ada").await, house.seat(1, "bob").await);
    meet(ROOM, &mut ada, &mut [&mut bob]).await;
    let ledger = Ledger::new();
    let stream = room_stream(ROOM);
    ledger.history_is_for_all(stream.clone());
    let mut recorder = ledger.recorder();
    let user = UserId::new("ada").unwrap();
    recorder.joined(&stream, &user, 1);
    let here = Witness::connect(&house.nodes[0], &ledger, "ada", ROOM).await;
    let there = Witness::connect(&house.nodes[1], &ledger, "ada", ROOM).await;
    let mut head = 0;
    for number in 0..100 {
        let (id, text) = (MessageId::generate(), format!("message {number}"));
        let said = recorder.invoke(&stream, &user, id, &text);
        recorder.retry(said);
        let command = message(stream.room().unwrap(), id, text);
        let (one, two) = tokio::join!(here.client.request(command.clone()), there.client.request(command));
        for answer in [one, two] {
            let committed = answer.and_then(|reply| committed("message.send", reply)).unwrap();
            recorder.ok(said, &committed);
            head = head.max(committed.seq);
        }
    }
    for mut witness in [here, there] {
        witness.reaches(head).await;
        recorder.done(witness.session);
        witness.close().await;
    }
    Witness::final_read(&house.nodes[0], &ledger, "ada", ROOM, head).await;
    drop(recorder);
    ledger.judge()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_that_talk_over_a_bus_that_loses_keep_every_promise() {
    expect_clean(&talk().await);
}

/// A mutant needs its moment: some runs do not give it.
async fn breaks(mutant: Mutant, invariant: Invariant, run: impl AsyncFn() -> Verdict) {
    break_nodes(mutant);
    let mut verdict = run().await;
    for _ in 1..RUNS_MAX {
        if verdict.names(invariant) {
            break;
        }
        verdict = run().await;
    }
    expect_red(mutant, &verdict, invariant);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_stores_tail_what_the_bus_loses_is_lost() {
    breaks(Mutant::NoTail, Invariant::I1, talk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_ignores_what_the_bus_missed_and_the_tail_loses_messages() {
    breaks(Mutant::IgnoreMissedAndNoTail, Invariant::I1, talk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sequencer_that_starts_at_the_first_event_it_sees_loses_the_last() {
    breaks(Mutant::SequencerStartsAtFirstEvent, Invariant::I1, talk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_without_the_connect_proof_leaves_a_hole() {
    breaks(Mutant::ReadWithoutConnectProof, Invariant::I5, talk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reset_that_nobody_caused_is_named() {
    breaks(Mutant::ResumeAlwaysResets, Invariant::I5, talk).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_nonce_at_two_nodes_at_once_is_one_message() {
    expect_clean(&say_twice().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_nonce_looked_up_in_the_locks_snapshot_makes_two_messages_of_one() {
    breaks(Mutant::NonceInTheLocksSnapshot, Invariant::I3, say_twice).await;
}
