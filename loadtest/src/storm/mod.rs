//! A node dies and its clients come back to the others, all at once.
//!
//! Several thousand whole clients sit on each node of a cluster and talk a little; one node is killed. Measured is how long it
//! takes until everybody is back and in sync, how long a sync takes once its connect was let in (from the answer to the upgrade
//! to `sync_end`), how often the store was read for it, and what the ledger says of everything that was sent meanwhile.
//!
//! Reading order: `job` (what coordinator and workers say to each other), `worker` (the process with the clients), this file
//! (the coordinator).

mod fleet;
mod job;
pub(crate) mod worker;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use hdrhistogram::Histogram;
use loadtest_cluster::{Cluster, ClusterSettings};
use serde_json::json;

use crate::arguments::parse_duration;
use crate::driver::fleet::distribution;
use crate::report::{Outcome, human};
use crate::run::Failure;
use fleet::Fleet;
use job::{Ended, Job};

/// Time between the last client's joining and the kill, so that the first syncs are over.
const REST: Duration = Duration::from_secs(3);
/// How long the storm is waited for, whatever is allowed.
const GIVE_UP_AFTER: Duration = Duration::from_secs(120);
/// Time that the clients go on talking after everybody is back.
const AFTERWARDS: Duration = Duration::from_secs(5);
/// What a sync may take once its connect was let in, at the 99th percentile.
const SYNC_MAX: Duration = Duration::from_millis(100);
/// The metric that counts streams in reads of the store's log.
const STORE_READS: &str = "hallway_store_page_streams_total";

/// `loadtest storm`.
#[derive(Debug, Args)]
pub(crate) struct StormArguments {
    /// Nodes of the cluster; the last one is killed.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=8))]
    nodes: u32,
    /// Clients on each node.
    #[arg(long, default_value_t = 6000, value_parser = clap::value_parser!(u32).range(1..=18_000))]
    clients: u32,
    /// Members of each room, spread over the nodes.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(2..=100))]
    members: u32,
    /// Messages per second, all rooms together.
    #[arg(long, default_value_t = 60.0)]
    rate: f64,
    /// Processes that hold the clients.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=16))]
    workers: u32,
    /// Everybody must be back within this time.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    within: Duration,
    /// Redis dies with the node and starts again, empty.
    #[arg(long)]
    restart_redis: bool,
    /// The gateway's program.
    #[arg(long, default_value = "target/release/hallway")]
    hallway_bin: PathBuf,
    /// Write the figures here as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What came of it.
struct Storm {
    lost: u64,
    back_after: Option<Duration>,
    syncs: Histogram<u64>,
    store_reads: f64,
    rooms: u32,
    ended: Ended,
}

/// Runs the experiment.
pub(crate) async fn run(arguments: &StormArguments) -> Result<Outcome, Failure> {
    let settings = ClusterSettings {
        nodes: arguments.nodes as usize,
        binary: Some(std::path::absolute(&arguments.hallway_bin)?),
        ..ClusterSettings::default()
    };
    let mut cluster = Cluster::start(settings).await?;
    let storm = storm(arguments, &mut cluster).await?;
    let outcome = judge(arguments, &storm);
    print(arguments, &storm);
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&figures(&storm, outcome))?)?;
    }
    println!("{}", serde_json::to_string(&outcome)?.trim_matches('"'));
    Ok(outcome)
}

async fn storm(arguments: &StormArguments, cluster: &mut Cluster) -> Result<Storm, Failure> {
    let per_worker = arguments.nodes * arguments.clients / arguments.workers;
    let rooms_per_worker = per_worker.div_ceil(arguments.members);
    let began = Instant::now();
    let job = Job {
        targets: cluster.urls(),
        secret: cluster.secret.clone(),
        rooms: rooms_per_worker,
        members: arguments.members,
        rate: arguments.rate / f64::from(arguments.workers),
    };
    let mut fleet = Fleet::start(&vec![job; arguments.workers as usize])?;
    let clients = fleet.ready().await?;
    println!("{clients} clients on {} nodes after {:.1?}", arguments.nodes, began.elapsed());
    tokio::time::sleep(REST).await;
    let reads_before = store_reads(cluster).await;
    let victim = cluster.nodes.len() - 1;
    let killed_at = Instant::now();
    cluster.nodes[victim].process.kill9()?;
    if let Some(redis) = cluster.redis.as_ref().filter(|_| arguments.restart_redis) {
        redis.kill9()?;
        redis.restart()?;
    }
    let (lost, back_after) = fleet.storm(victim, killed_at + GIVE_UP_AFTER).await?;
    let store_reads = store_reads(cluster).await - reads_before;
    tokio::time::sleep(AFTERWARDS).await;
    // Everything is read once more from every node, also from the one that was dead.
    cluster.nodes[victim].process.start()?;
    cluster.nodes[victim].process.wait_ready(GIVE_UP_AFTER).await?;
    let ended = fleet.end().await?;
    let rooms = rooms_per_worker * arguments.workers;
    let back_after = back_after.map(|at| at.duration_since(killed_at));
    Ok(Storm { lost, back_after, syncs: distribution(&ended.syncs), store_reads, rooms, ended })
}

/// Streams read from the store by all nodes that live.
async fn store_reads(cluster: &Cluster) -> f64 {
    let mut sum = 0.0;
    for node in &cluster.nodes[..cluster.nodes.len() - 1] {
        sum += node.process.metric(STORE_READS).await.unwrap_or_default();
    }
    sum
}

fn judge(arguments: &StormArguments, storm: &Storm) -> Outcome {
    let p99 = Duration::from_micros(storm.syncs.value_at_quantile(0.99));
    match () {
        () if storm.ended.violations > 0 || storm.ended.not_absorbed > 0 => Outcome::Ledger,
        () if storm.lost == 0 || storm.ended.acknowledged == 0 || storm.ended.invalid.is_some() => Outcome::Invalid,
        () if storm.back_after.is_none_or(|after| after > arguments.within) || p99 > SYNC_MAX => Outcome::Threshold,
        () => Outcome::Pass,
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts of a run are below 2^53")]
fn print(arguments: &StormArguments, storm: &Storm) {
    match storm.back_after {
        Some(after) => println!("{} clients lost their node; all are back and in sync after {after:.1?}", storm.lost),
        None => println!("of {} clients not all came back within {GIVE_UP_AFTER:?}", storm.lost),
    }
    let at = |quantile: f64| human(storm.syncs.value_at_quantile(quantile));
    println!(
        "sync once let in: p50 {}, p90 {}, p99 {}, max {} ({} syncs)",
        at(0.5),
        at(0.9),
        at(0.99),
        human(storm.syncs.max()),
        storm.syncs.len()
    );
    println!(
        "store reads: {:.0} streams, {:.2} for each of {} rooms, {:.2} for each client that came back",
        storm.store_reads,
        storm.store_reads / f64::from(storm.rooms.max(1)),
        storm.rooms,
        storm.store_reads / (storm.lost.max(1) as f64)
    );
    println!(
        "sent {}, acknowledged {}, not absorbed {}, ledger violations {}{}; allowed {:?}",
        storm.ended.sent,
        storm.ended.acknowledged,
        storm.ended.not_absorbed,
        storm.ended.violations,
        storm.ended.first_violation.as_deref().map(|text| format!(" ({text})")).unwrap_or_default(),
        arguments.within,
    );
}

fn figures(storm: &Storm, outcome: Outcome) -> serde_json::Value {
    let at = |quantile: f64| storm.syncs.value_at_quantile(quantile);
    json!({
        "outcome": outcome, "lost": storm.lost, "back_after_s": storm.back_after.map(|after| after.as_secs_f64()),
        "sync_us": { "p50": at(0.5), "p90": at(0.9), "p99": at(0.99), "max": storm.syncs.max(), "count": storm.syncs.len() },
        "store_reads_streams": storm.store_reads, "rooms": storm.rooms, "sent": storm.ended.sent,
        "acknowledged": storm.ended.acknowledged, "not_absorbed": storm.ended.not_absorbed,
        "violations": storm.ended.violations,
    })
}
