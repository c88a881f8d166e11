//! A cluster under load is hurt on purpose, one fault after the other, and everything that clients saw is judged.
//!
//! Each fault is an experiment with people of its own ([`world`]), a ledger of its own, and a time before, during and after
//! the fault ([`inject`]). Some rooms fall silent at the moment of the fault, some at the moment of healing: nobody writes there any
//! more, and their last message must arrive all the same. Afterwards it is measured how soon everything worked again
//! ([`settle`]), every room is read from the beginning on every node, and the ledger judges ([`judge`]). A fault that nobody felt
//! proves nothing, is told as that, and is done again a few times; whatever breaks a promise counts, felt or not.
//!
//! Reading order: [`fault`], [`plan`] (pure: which fault when), [`world`], [`load`], [`inject`], [`settle`], [`judge`] (pure), [`table`].
//!
//! **Invariant:** a seed alone chooses the schedule, the rooms, their members and who is hurt; what depends on the moment
//! (which command is on its way when a node dies) does not come again, so a red run is told with everything it saw.

mod fault;
mod guest;
mod inject;
mod judge;
mod load;
mod plan;
mod settle;
mod table;
mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use loadtest_cluster::{Cluster, ClusterSettings};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::json;

pub(crate) use fault::Fault;
use fault::Needs;
use inject::Scene;
use judge::Limits;
use plan::{Experiment, Plan};
use table::Row;
use world::{Size, World};

use crate::arguments::UsageError;
use crate::arguments::cluster::ChaosArguments;
use crate::report::Outcome;
use crate::run::Failure;

/// Load before the fault.
const BEFORE: Duration = Duration::from_millis(1000);
/// Load after it.
const AFTER: Duration = Duration::from_millis(2000);
/// Members who come and go by the way, per second.
const CHURN_RATE: f64 = 2.0;
/// A client that hears nothing for twice as long looks for another node.
const HEARTBEAT_MS: &str = "2000";

/// Runs the experiments to the summary.
pub(crate) fn run(arguments: &ChaosArguments) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        tokio::select! {
            outcome = chaos(arguments) => outcome,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted?;
                Err("interrupted".into())
            }
        }
    })
}

async fn chaos(arguments: &ChaosArguments) -> Result<Outcome, Failure> {
    let began = Instant::now();
    let seed = arguments.seed.unwrap_or_else(rand::random);
    let faults = faults(arguments)?;
    let mut settings = arguments.parts.settings();
    settings.environment = environment();
    let nodes = settings.nodes;
    let mut cluster = start(settings).await?;
    println!("{nodes} nodes ready after {:.1?}; seed {seed}; {} faults", began.elapsed(), faults.len());
    let planned = faults.len();
    let mut rows: Vec<Row> = Vec::new();
    for mut experiment in Plan::new(faults, arguments.long, seed) {
        let time_is_over = arguments.duration.is_some_and(|duration| began.elapsed() >= duration);
        let all_done = arguments.duration.is_none() && rows.len() == planned;
        if !rows.is_empty() && (time_is_over || all_done) {
            break;
        }
        if let Some(seed) = arguments.experiment_seed {
            experiment.seed = seed;
        }
        rows.push(until_felt(&mut cluster, experiment, arguments).await?);
    }
    table::print(&rows);
    let outcome = rows.iter().fold(Outcome::Pass, |worst, row| judge::worse(worst, row.outcome));
    let again = match done_again(&rows) {
        0 => String::new(),
        again => format!(", {again} of them done again because nobody felt the fault"),
    };
    println!("\n{} (seed {seed}, {} experiments{again}, {:.0?})", table::word(outcome), rows.len(), began.elapsed());
    if let Some(path) = &arguments.json {
        let report = json!({
            "outcome": outcome,
            "version": env!("CARGO_PKG_VERSION"),
            "seed": seed,
            "nodes": nodes,
            "clients": arguments.clients,
            "rooms": arguments.rooms,
            "rate": arguments.rate,
            "long": arguments.long,
            "done_again": done_again(&rows),
            "experiments": rows.iter().map(Row::json).collect::<Vec<_>>(),
        });
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(outcome)
}

/// Experiments whose first attempt proved nothing.
fn done_again(rows: &[Row]) -> usize {
    rows.iter().filter(|row| row.attempts > 1).count()
}

/// Performs it, and again with the next seed while nobody felt the fault.
async fn until_felt(
    cluster: &mut Cluster,
    mut experiment: Experiment,
    arguments: &ChaosArguments,
) -> Result<Row, Failure> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let mut row = perform(cluster, experiment, arguments).await.map_err(|error| {
            Failure::from(format!("{} (experiment seed {}): {error}", experiment.fault, experiment.seed))
        })?;
        row.attempts = attempts;
        row.print();
        // A seed that was asked for is to be seen as it is.
        if arguments.experiment_seed.is_some() || !judge::is_worth_another(row.outcome, attempts) {
            return Ok(row);
        }
        experiment.seed = experiment.seed.wrapping_add(1);
    }
}

fn environment() -> Vec<(String, String)> {
    let pairs = [
        ("HALLWAY__LIMITS__HEARTBEAT_INTERVAL_MS", HEARTBEAT_MS),
        ("HALLWAY__LOG__FILTER", "info"),
        // Few clients here do the work of many.
        ("HALLWAY__LIMITS__REQUESTS_PER_SECOND_MAX", "100000"),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

async fn start(settings: ClusterSettings) -> Result<Cluster, Failure> {
    Ok(Cluster::start(settings).await?)
}

/// What was asked for, or everything that can be done to this cluster.
fn faults(arguments: &ChaosArguments) -> Result<Vec<Fault>, UsageError> {
    let parts = &arguments.parts;
    let lacks = |fault: &Fault| match fault.needs() {
        Needs::Nodes if parts.nodes < 2 => Some("more than one node"),
        Needs::OwnPostgres if parts.has_postgres() => Some("a Postgres of its own: leave --postgres away"),
        Needs::Redis | Needs::OwnRedis if parts.without_redis => Some("a Redis"),
        Needs::OwnRedis if parts.has_redis() => Some("a Redis of its own: leave --redis away"),
        _ => None,
    };
    if arguments.faults.is_empty() {
        return Ok(Fault::ALL.into_iter().filter(|fault| lacks(fault).is_none()).collect());
    }
    for fault in &arguments.faults {
        if let Some(what) = lacks(fault) {
            return Err(UsageError(format!("{fault} needs {what}")));
        }
    }
    Ok(arguments.faults.clone())
}

/// One fault, from healthy to healthy.
async fn perform(cluster: &mut Cluster, experiment: Experiment, arguments: &ChaosArguments) -> Result<Row, Failure> {
    let began = Instant::now();
    let size = Size { clients: arguments.clients, rooms: arguments.rooms, rate: arguments.rate };
    let world = World::set_up(cluster.urls(), cluster.secret.clone(), size, experiment.seed).await?;
    world.ledger.fault_planned(experiment.fault.name());
    let talking = tokio::spawn(load::talk(Arc::clone(&world), size.rate, experiment.seed));
    let churning = tokio::spawn(load::churn(Arc::clone(&world), 0, CHURN_RATE, experiment.seed, None));
    tokio::time::sleep(BEFORE).await;
    let random = StdRng::seed_from_u64(experiment.seed);
    let mut scene = Scene { cluster, world: &world, random, lasts: experiment.lasts };
    let felt = inject::inject(experiment.fault, &mut scene).await?;
    let over_at = felt.healed_at.max(felt.began_at + experiment.lasts);
    let (ready, ()) = tokio::join!(settle::readiness(cluster), tokio::time::sleep(AFTER));
    world.stopped.store(true, Ordering::Relaxed);
    talking.await?;
    churning.await?;
    settle::quiesce(&world).await;
    let recovery = settle::recovery(&world, &felt, ready);
    let lateness = [
        settle::lateness(&world, None, Some(felt.began_at)),
        settle::lateness(&world, Some(felt.began_at), Some(over_at)),
        settle::lateness(&world, Some(over_at), None),
    ];
    settle::final_read(&world).await?;
    world.close_book();
    if felt.bit {
        world.ledger.fault_bit(experiment.fault.name());
    }
    let limits = if arguments.lenient { Limits::LENIENT } else { Limits::PROMISED };
    let verdict = judge::judge(world.ledger.judge(), &felt, &recovery, limits);
    let outcome = judge::outcome(&verdict);
    Ok(Row { experiment, attempts: 1, felt, recovery, lateness, verdict, outcome, took: began.elapsed() })
}
