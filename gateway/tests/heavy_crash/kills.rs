//! kill -9 at random moments under load, also while the node starts.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use loadtest_cluster::TemporaryPostgres;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::load::{Bite, Load, Size, expect_clean};
use crate::process::{NodeProcess, READY_WITHIN, Settings};
use crate::setting;

const KILLS_DEFAULT: u64 = 20;
/// One kill in this many comes while the node starts.
const KILLS_PER_KILLED_START: u32 = 4;
/// After one kill in this many a reader starts again as well.
const KILLS_PER_RESTARTED_READER: u32 = 4;
/// Starts of a node that was never there before that are killed.
const VIRGIN_KILLS: u32 = 3;
/// At least one kill in this many must meet messages on their way.
const BITING_SHARE: u64 = 3;
/// How long a node may take to acknowledge again after a start.
const TALKS_AGAIN_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_killed_at_random_moments_under_load_the_embedded_store_keeps_every_acknowledged_message() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    kill_again_and_again(Settings::new(directory.path()), "embedded store").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_killed_at_random_moments_under_load_a_node_on_postgres_keeps_every_acknowledged_message() {
    let postgres = TemporaryPostgres::start().expect("a Postgres of our own");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut settings = Settings::new(directory.path());
    settings.store_url = Some(postgres.database().await.expect("an empty database"));
    kill_again_and_again(settings, "Postgres").await;
}

async fn kill_again_and_again(settings: Settings, what: &str) {
    let kills = setting("HALLWAY_TEST_KILLS", KILLS_DEFAULT);
    let seed = setting("HALLWAY_TEST_SEED", rand::random());
    println!("{what}: {kills} kills, HALLWAY_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut node = NodeProcess::spawn(settings);
    for _ in 0..VIRGIN_KILLS {
        pause(&mut random, 0..200).await;
        node.kill9();
        node.start();
    }
    node.wait_ready(READY_WITHIN).await;
    let mut load = Load::enter(&node.settings, Size::default()).await;
    load.talk(seed, Bite::UnknownOutcome);
    let began = Instant::now();
    let (mut during_start, mut bit, mut unknown_before) = (0, 0, 0);
    for kill in 1..=kills {
        if random.random_ratio(1, KILLS_PER_KILLED_START) {
            during_start += 1;
            pause(&mut random, 0..300).await;
        } else {
            node.wait_ready(READY_WITHIN).await;
            if random.random_ratio(1, KILLS_PER_RESTARTED_READER) {
                load.restart_a_reader(&mut random).await;
            }
            load.wait_for_acknowledgements(1, TALKS_AGAIN_WITHIN).await;
            pause(&mut random, 50..900).await;
        }
        // What the kill before this one left unknown is known as such by now.
        let unknown = load.counters().unknown.load(Ordering::Relaxed);
        bit += u64::from(unknown > unknown_before);
        unknown_before = unknown;
        node.kill9();
        node.start();
        if kill.is_multiple_of(20) {
            println!("{what}: {kill} kills after {:.1?}, {} acknowledged", began.elapsed(), load.acknowledged());
        }
    }
    node.wait_ready(READY_WITHIN).await;
    load.wait_for_acknowledgements(50, TALKS_AGAIN_WITHIN).await;
    let took = began.elapsed();
    let (unknown, refused) = (&load.counters().unknown, &load.counters().refused);
    let (unknown, refused) = (unknown.load(Ordering::Relaxed), refused.load(Ordering::Relaxed));
    println!("{what}: {kills} kills in {took:.1?}, {during_start} of them during start");
    bit += u64::from(unknown > unknown_before);
    println!("{what}: {bit} kills met messages on their way; attempts of unknown outcome {unknown}, refused {refused}");
    assert!(bit * BITING_SHARE >= kills, "only {bit} of {kills} kills met a message on its way: the run proves little");
    expect_clean(&load.finish().await, what);
}

async fn pause(random: &mut StdRng, milliseconds: std::ops::Range<u64>) {
    tokio::time::sleep(Duration::from_millis(random.random_range(milliseconds))).await;
}
