//! What the scenarios take that start a whole cluster.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use clap::builder::TypedValueParser as _;
use loadtest_cluster::ClusterSettings;

use super::parse_duration;
use crate::scenario::chaos::Fault;

/// Most nodes on one machine.
const NODES_MAX: u64 = 16;

/// Options of `cluster`.
#[derive(Debug, Args)]
pub(crate) struct ClusterArguments {
    #[command(flatten)]
    pub(crate) parts: Parts,
    /// Nodes listen from this port on, two ports each [default: free ports].
    #[arg(long)]
    base_port: Option<u16>,
}

/// What a cluster is made of.
#[derive(Debug, Args)]
pub(crate) struct Parts {
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=NODES_MAX))]
    pub(crate) nodes: u64,
    /// The gateway [default: the one beside this program].
    #[arg(long)]
    binary: Option<PathBuf>,
    /// A Postgres that is there, with a database for this [default: one is started in a temporary directory].
    #[arg(long)]
    postgres: Option<String>,
    /// A Redis that is there [default: one is started].
    #[arg(long)]
    redis: Option<String>,
    /// No Redis: nodes hear of each other through the store alone.
    #[arg(long, conflicts_with = "redis")]
    pub(crate) without_redis: bool,
}

impl Parts {
    pub(crate) fn has_postgres(&self) -> bool {
        self.postgres.is_some()
    }

    pub(crate) fn has_redis(&self) -> bool {
        self.redis.is_some()
    }

    pub(crate) fn settings(&self) -> ClusterSettings {
        ClusterSettings {
            nodes: usize::try_from(self.nodes).unwrap_or(usize::MAX),
            binary: self.binary.clone(),
            postgres: self.postgres.clone(),
            redis: self.redis.clone(),
            without_redis: self.without_redis,
            ..ClusterSettings::default()
        }
    }
}

impl ClusterArguments {
    pub(crate) fn settings(&self) -> ClusterSettings {
        // Nobody hurts its links: the proxies would only cost.
        ClusterSettings { base_port: self.base_port, direct: true, ..self.parts.settings() }
    }
}

/// Options of `chaos`.
#[derive(Debug, Args)]
pub(crate) struct ChaosArguments {
    #[command(flatten)]
    pub(crate) parts: Parts,
    /// For how long: faults go on in ever new orders until it is over [default: every fault once].
    #[arg(long, value_parser = parse_duration)]
    pub(crate) duration: Option<Duration>,
    /// Chooses the schedule, the rooms and who is hurt; without it a fresh one, which is printed.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Which faults, separated by commas [default: all that this cluster can suffer].
    #[arg(long, value_delimiter = ',')]
    pub(crate) faults: Vec<Fault>,
    /// Each fault lasts as long as the promise says, instead of a few seconds.
    #[arg(long)]
    pub(crate) long: bool,
    /// After a fault only what takes more than ten seconds is a broken promise: for a machine that does other things too.
    #[arg(long)]
    pub(crate) lenient: bool,
    #[arg(long, default_value_t = 150, value_parser = clap::value_parser!(u64).range(120..=3000).map(to_usize))]
    pub(crate) clients: usize,
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(8..=500).map(to_usize))]
    pub(crate) rooms: usize,
    /// Messages per second, all rooms together.
    #[arg(long, default_value_t = 100.0, value_parser = parse_rate)]
    pub(crate) rate: f64,
    /// Does an experiment again that was told as red.
    #[arg(long)]
    pub(crate) experiment_seed: Option<u64>,
    /// Writes everything there, as JSON.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
}

/// Options of `across`.
#[derive(Debug, Args)]
pub(crate) struct AcrossArguments {
    #[command(flatten)]
    pub(crate) parts: Parts,
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) rooms: u32,
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(2..=1000))]
    pub(crate) members: u32,
    /// Messages per second, all rooms together.
    #[arg(long, default_value_t = 2000.0, value_parser = parse_rate)]
    pub(crate) rate: f64,
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub(crate) duration: Duration,
    /// Afterwards Redis is killed, and the same is measured for so long while it is away and once more when it is back.
    #[arg(long, value_parser = parse_duration)]
    pub(crate) redis_down: Option<Duration>,
    /// Writes everything there, as JSON.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
}

fn to_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text.parse().map_err(|_| format!("{text:?} is not a number"))?;
    if rate.is_finite() && (1.0..=5000.0).contains(&rate) { Ok(rate) } else { Err("1 to 5000".to_owned()) }
}
