//! Postgres dies under a node that lives.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use loadtest_cluster::TemporaryPostgres;

use crate::load::{Bite, Load, Size, expect_clean};
use crate::process::{NodeProcess, Settings};

const OUTAGES: u32 = 2;
/// How long Postgres stays away: longer than the bound on an error.
const OUTAGE: Duration = Duration::from_secs(5);
/// What was committed before the kill has reached its sender after this.
const ON_ITS_WAY: Duration = Duration::from_secs(1);
/// The promise is three seconds; the rest is a busy machine.
const ERROR_WITHIN: Duration = Duration::from_millis(3000 + 750);
const READY_AGAIN_WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_a_killed_postgres_is_an_error_within_three_seconds_and_costs_no_acknowledged_message() {
    let postgres = TemporaryPostgres::start().expect("a Postgres of our own");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut settings = Settings::new(directory.path());
    settings.store_url = Some(postgres.database().await.expect("an empty database"));
    let node = NodeProcess::spawn_ready(settings).await;
    let mut load = Load::enter(&node.settings, Size::default()).await;
    load.talk(1, Bite::AnyError);
    for outage in 1..=OUTAGES {
        load.wait_for_acknowledgements(100, READY_AGAIN_WITHIN).await;
        postgres.kill9().expect("Postgres runs and can be killed");
        let killed = Instant::now();
        tokio::time::sleep(ON_ITS_WAY).await;
        let acknowledged = load.acknowledged();
        node.wait_readiness(false, ERROR_WITHIN).await;
        let noticed = killed.elapsed();
        tokio::time::sleep(OUTAGE.saturating_sub(killed.elapsed())).await;
        assert_eq!(load.acknowledged(), acknowledged, "a message was acknowledged while there was no store");
        let refused = load.counters().refused.load(Ordering::Relaxed);
        let unknown = load.counters().unknown.load(Ordering::Relaxed);
        assert!(refused + unknown > 0, "nobody was told that the store is away");
        postgres.restart().expect("Postgres starts again");
        let ready = node.wait_readiness(true, READY_AGAIN_WITHIN).await;
        let began = Instant::now();
        load.wait_for_acknowledgements(100, READY_AGAIN_WITHIN).await;
        println!(
            "outage {outage}: not ready after {noticed:.1?}, refused {refused}, unknown {unknown}; ready {ready:.1?} and \
             100 acknowledgements {:.1?} after its end",
            began.elapsed()
        );
    }
    let slowest = Duration::from_millis(load.counters().slowest_error_ms.load(Ordering::Relaxed));
    println!("the slowest error took {slowest:.1?}");
    assert!(slowest <= ERROR_WITHIN, "an error took {slowest:.1?}; promised are three seconds");
    expect_clean(&load.finish().await, "killed Postgres");
}
