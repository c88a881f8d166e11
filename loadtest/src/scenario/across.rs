//! How long a message takes from one node to the members on another, and what it costs everybody.
//!
//! Connections take turns over the nodes, so a room's members are on all of them. Only deliveries whose sender sits on another node
//! are timed.

use std::net::SocketAddr;
use std::time::Duration;

use loadtest_cluster::{Cluster, ClusterSettings};
use serde_json::{Value, json};

use super::fanout::{Measured, Plan, Run, print_disturbances};
use super::raw;
use crate::arguments::cluster::AcrossArguments;
use crate::driver::clock::in_ns;
use crate::driver::crowd::{Common, Crowd, Senders};
use crate::driver::hallway::Kind;
use crate::driver::job::{Pace, Server};
use crate::progress;
use crate::report::{Outcome, human};
use crate::run::Failure;
use crate::sample::process::Watched;

/// Before what is measured.
const WARMUP: Duration = Duration::from_secs(2);
const PAYLOAD_BYTES: usize = 128;
/// Connections per second: what is measured is not a storm.
const CONNECT_RATE: f64 = 100.0;

/// Starts the cluster, measures, and judges with the light ledger.
pub(crate) fn run(arguments: &AcrossArguments) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let environment = [("HALLWAY__LIMITS__REQUESTS_PER_SECOND_MAX", "1000000"), ("HALLWAY__LOG__FILTER", "warn")];
    let settings = ClusterSettings {
        direct: true,
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        ..arguments.parts.settings()
    };
    let cluster = runtime.block_on(Cluster::start(settings))?;
    let plan = plan(arguments, &cluster)?;
    raw::prepare(&cluster.urls()[0], &cluster.secret, &plan.crowd)?;
    let mut run = Run::start(plan, &|user| raw::sign(&cluster.secret, user))?;
    let mut phases = vec![phase("all well", &mut run, &cluster)?];
    if let (Some(_), Some(redis)) = (arguments.redis_down, &cluster.redis) {
        redis.kill9()?;
        phases.push(phase("Redis is away", &mut run, &cluster)?);
        redis.restart()?;
        phases.push(phase("Redis is back", &mut run, &cluster)?);
    }
    let verdict = run.judge()?;
    progress::clear();
    raw::print_verdict(&verdict);
    let sum = |count: fn(&Measured) -> u64| phases.iter().map(|(measured, _)| count(measured)).sum::<u64>();
    let disturbed = sum(|measured| measured.refused + measured.closed) > 0;
    let outcome = raw::outcome(&verdict, disturbed, sum(|measured| measured.late), sum(|measured| measured.messages));
    println!("{}", serde_json::to_string(&outcome)?.trim_matches('"'));
    if let Some(path) = &arguments.json {
        let phases: Vec<&Value> = phases.iter().map(|(_, json)| json).collect();
        let report = json!({
            "outcome": outcome, "nodes": arguments.parts.nodes, "rooms": arguments.rooms, "members": arguments.members,
            "rate": arguments.rate, "phases": phases, "ledger": verdict,
        });
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(outcome)
}

fn plan(arguments: &AcrossArguments, cluster: &Cluster) -> Result<Plan, Failure> {
    let mut nodes: Vec<SocketAddr> = cluster.nodes.iter().map(|node| node.process.settings.listen).collect();
    if nodes.len() < 2 {
        return Err("nothing goes across with one node".into());
    }
    let target = nodes.remove(0);
    let ids: Vec<u32> = cluster.nodes.iter().filter_map(|node| node.process.id()).collect();
    Ok(Plan {
        common: Common {
            server: Server::Hallway(Kind { path: "/v1/ws".to_owned(), postcard: false, durable: true }),
            target,
            further_targets: nodes,
            host: target.to_string(),
            source_addresses: 1,
            connect_rate: CONNECT_RATE,
            payload_bytes: PAYLOAD_BYTES,
            echoes: true,
        },
        crowd: Crowd {
            name: raw::run_name(),
            groups: arguments.rooms,
            members: arguments.members,
            rooms: 1,
            senders: Senders::Members,
            mutable: 0,
        },
        workers: 1,
        pace: Pace::Rate(arguments.rate),
        warmup_ns: in_ns(WARMUP),
        duration_ns: in_ns(arguments.redis_down.unwrap_or(arguments.duration)),
        watched: Watched::new(&ids),
    })
}

/// One time of talking: what it gave, and what the other processes did meanwhile.
fn phase(name: &str, run: &mut Run, cluster: &Cluster) -> Result<(Measured, Value), Failure> {
    let others = Watched::new(&others(cluster));
    let (cpu_before, published_before) = (others.cpu(), published(cluster));
    let measured = run.talk(false)?;
    let others_cpu = others.cpu().zip(cpu_before).map(|(after, before)| after.since(before).total_s);
    let published = published(cluster).zip(published_before).map(|(after, before)| after.saturating_sub(before));
    let nodes_cpu = measured.cpu.map(|cpu| cpu.total_s);
    let seconds = |time: Option<f64>| time.map_or_else(|| "?".to_owned(), |time| format!("{time:.2}"));
    progress::clear();
    println!(
        "{name}: {} messages, {} deliveries; between nodes p50 {}, p90 {}, p99 {}, max {}; {} of {} sends late",
        measured.messages,
        measured.deliveries,
        human(measured.p50_us),
        human(measured.p90_us),
        human(measured.p99_us),
        human(measured.max_us),
        measured.late,
        measured.messages,
    );
    println!(
        "  processor seconds in {:.1} s: nodes {}, clients {:.2}; Postgres and Redis with the warm-up {}; PUBLISH with the warm-up {}",
        measured.seconds,
        seconds(nodes_cpu),
        measured.client_cpu_s,
        seconds(others_cpu),
        published.map_or_else(|| "?".to_owned(), |count| count.to_string()),
    );
    print_disturbances(&measured);
    let json = json!({ "phase": name, "measured": measured, "servers_cpu_s": others_cpu, "publishes": published });
    Ok((measured, json))
}

/// The servers that were started for the cluster.
fn others(cluster: &Cluster) -> Vec<u32> {
    let postgres = cluster.postgres.as_ref().and_then(loadtest_cluster::TemporaryPostgres::id);
    let redis = cluster.redis.as_ref().and_then(|redis| {
        let about = redis.command(&["INFO", "server"]).ok()?;
        about.text().lines().find_map(|line| line.strip_prefix("process_id:")?.trim().parse().ok())
    });
    postgres.into_iter().chain(redis).collect()
}

/// PUBLISH commands since Redis was started.
fn published(cluster: &Cluster) -> Option<u64> {
    cluster.redis.as_ref()?.publishes().ok()
}
