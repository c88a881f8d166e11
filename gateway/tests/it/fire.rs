//! Under fire: clients come and go while a room is being written by others at full speed, and members are added and
//! removed. The ledger judges.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hallway_gateway::config::Config;
use hallway_protocol::{Role, RoomId, Visibility};
use loadtest_client::ledger::{Ledger, Recorder};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use crate::node::TestNode;
use crate::seat::room_stream;
use crate::witness::{Witness, publish};

const ROOM: &str = "battlefield";

/// Publishes one message after the other until it is told to stop; keeps the greatest seq.
async fn fire(witness: Arc<Witness>, ledger: Arc<Ledger>, stop: Arc<AtomicBool>, head: Arc<AtomicU64>) -> u64 {
    let mut recorder = ledger.recorder();
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let text = format!("{} {sent}", witness.user);
        if let Some(seq) = publish(&witness.client, &mut recorder, &witness.user, ROOM, &text).await {
            head.fetch_max(seq, Ordering::Relaxed);
            sent += 1;
        }
    }
    sent
}

fn joined(recorder: &mut Recorder, witness: &Witness, seq: u64) {
    recorder.joined(&room_stream(ROOM), &witness.user, seq);
}

/// Every buffer as small as it may be: whatever is rare elsewhere happens all the time.
fn tiny(config: &mut Config) {
    let limits = &mut config.limits;
    limits.lane_inbox_max = 16;
    limits.backlog_max_bytes = 16_384;
    limits.socket_send_buffer_bytes = 4096;
    limits.ring_events_max = 2;
    // Not tiny: a reader must be able to read faster than others write.
    limits.page_events_max = 200;
    limits.held_events_max = 1;
    limits.stream_linger_ms = 0;
    limits.requests_in_flight_max = 8;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_reconnects_under_fire_leave_no_gap() {
    reconnects_under_fire(|_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_reconnects_under_fire_leave_no_gap_where_every_buffer_is_tiny() {
    reconnects_under_fire(tiny).await;
}

async fn reconnects_under_fire(change: impl FnOnce(&mut Config)) {
    let node = TestNode::start(change).await;
    let ledger = Ledger::new();
    ledger.history_is_for_all(room_stream(ROOM));
    let room = RoomId::new(ROOM).unwrap();
    let mut recorder = ledger.recorder();
    let founder = Arc::new(Witness::connect(&node, &ledger, "founder", ROOM).await);
    let created = founder.client.create_room(&room, Visibility::Public).await.unwrap();
    joined(&mut recorder, &founder, created.seq);
    let mut readers = Vec::new();
    for number in 0..8 {
        let reader = Witness::connect(&node, &ledger, &format!("reader-{number}"), ROOM).await;
        let seq = reader.client.join(&room).await.unwrap().seq;
        joined(&mut recorder, &reader, seq);
        readers.push(reader);
    }
    let (stop, head) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut publishers = JoinSet::new();
    for _ in 0..16 {
        publishers.spawn(fire(Arc::clone(&founder), Arc::clone(&ledger), Arc::clone(&stop), Arc::clone(&head)));
    }
    let mut cutters = JoinSet::new();
    for mut reader in readers {
        cutters.spawn(async move {
            for _ in 0..25 {
                reader.comes_back().await;
            }
            reader
        });
    }
    let mut readers = cutters.join_all().await;
    stop.store(true, Ordering::Relaxed);
    let sent: u64 = publishers.join_all().await.into_iter().sum();
    let head = head.load(Ordering::Relaxed);
    for reader in &mut readers {
        reader.reaches(head).await;
        recorder.done(reader.session);
        reader.close().await;
    }
    Witness::final_read(&node, &ledger, "founder", ROOM, head).await;
    founder.close().await;
    drop(recorder);
    let verdict = ledger.judge();
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert!(verdict.counts.reconnects >= 200 && sent > 200, "{sent} messages, {:?}", verdict.counts);
}

/// Adds, removes and cuts members in random order; says who is a member at the end (seq of the last change of each).
async fn churn(
    founder: &Witness,
    members: &[Witness],
    recorder: &mut Recorder,
    random: &mut StdRng,
) -> Vec<(bool, u64)> {
    let room = RoomId::new(ROOM).unwrap();
    let mut present = vec![(false, 0); members.len()];
    for _ in 0..150 {
        let who = random.random_range(0..members.len());
        let member = &members[who];
        if random.random_bool(0.15) {
            member.client.cut();
            continue;
        }
        if !present[who].0 {
            let seq = founder.client.invite(&room, &member.user, Role::Member).await.unwrap().seq;
            joined(recorder, member, seq);
            present[who] = (true, seq);
            continue;
        }
        let arguments = serde_json::json!({"room": ROOM, "user": member.user.as_str()});
        let seq = if random.random_bool(0.5) {
            founder.client.commit(crate::seat::command("room.remove", arguments)).await.unwrap().seq
        } else {
            member.client.commit(crate::seat::command("room.leave", arguments)).await.unwrap().seq
        };
        recorder.removed(&room_stream(ROOM), &member.user, seq);
        present[who] = (false, seq);
    }
    present
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_who_come_and_go_get_every_event_of_their_time_and_no_other() {
    members_come_and_go(|_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_who_come_and_go_get_the_same_where_every_buffer_is_tiny() {
    members_come_and_go(tiny).await;
}

async fn members_come_and_go(change: impl FnOnce(&mut Config)) {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let node = TestNode::start(change).await;
    let ledger = Ledger::new();
    let room = RoomId::new(ROOM).unwrap();
    let mut recorder = ledger.recorder();
    let founder = Arc::new(Witness::connect(&node, &ledger, "founder", ROOM).await);
    let created = founder.client.create_room(&room, Visibility::Private).await.unwrap();
    joined(&mut recorder, &founder, created.seq);
    let mut members = Vec::new();
    for number in 0..5 {
        members.push(Witness::connect(&node, &ledger, &format!("member-{number}"), ROOM).await);
    }
    let (stop, head) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(created.seq)));
    let mut publishers = JoinSet::new();
    for _ in 0..8 {
        publishers.spawn(fire(Arc::clone(&founder), Arc::clone(&ledger), Arc::clone(&stop), Arc::clone(&head)));
    }
    let present = churn(&founder, &members, &mut recorder, &mut random).await;
    stop.store(true, Ordering::Relaxed);
    let sent: u64 = publishers.join_all().await.into_iter().sum();
    let last_change = present.iter().map(|(_, seq)| *seq).max().unwrap();
    let head = head.load(Ordering::Relaxed).max(last_change);
    for (member, (is_member, _)) in members.iter_mut().zip(&present) {
        // Of those who are out, who came back after a cut may never have been told of their removal.
        if *is_member {
            member.reaches(head).await;
            recorder.done(member.session);
        }
        member.close().await;
    }
    Witness::final_read(&node, &ledger, "founder", ROOM, head).await;
    founder.close().await;
    drop(recorder);
    let verdict = ledger.judge();
    assert!(verdict.is_clean(), "seed {seed}: {verdict:#?}");
    assert!(sent > 50, "{sent} messages");
}
