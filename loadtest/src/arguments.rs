//! The command line, and what it means. What the raw driver's scenarios take is in [`raw`].

pub(crate) mod cluster;
pub(crate) mod raw;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hallway_protocol::codec::Codec;
use serde::Serialize;

use crate::threshold::Threshold;

/// Most users, each with a connection of its own; beyond that, users share rooms.
const USERS_MAX: u32 = 5000;
/// Most deliveries that one run may ask for: each is a line in the ledger.
const DELIVERIES_MAX: f64 = 60_000_000.0;
/// Files that a run needs besides its connections.
const SPARE_FILES: u64 = 64;

/// Drives load at a Hallway node and checks that it keeps its word.
#[derive(Debug, Parser)]
#[command(
    name = "loadtest",
    version,
    after_help = "Exit codes: 0 pass, 1 error, 2 usage, 3 threshold missed, \
    4 this client was the bottleneck, 5 the ledger found a broken promise, 6 the run proves nothing."
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) what: What,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Members of rooms talk at a steady rate.
    Chat(Ordinary),
    /// A user who missed events comes back, again and again.
    Reconnect(Ordinary),
    /// One member stops reading for a while; what does that cost the others?
    Slow(Ordinary),
    /// Members of rooms talk, work on tasks, read, and notify each other.
    Tasks(Ordinary),
    /// Announcements to everybody, of whom some are online; urgent notices among them.
    Notify(Ordinary),
    /// People come back to messages, tasks and notifications that they missed.
    Sync(Ordinary),
    /// Raw load: how much processor time does a delivery cost, and how long does it take?
    Fanout(raw::Fanout),
    /// Raw load: how much memory does a connection cost that does nothing?
    Idle(raw::Idle),
    /// The same load for Hallway and for servers like it; `loadtest/peers/install` installs them.
    Peers(crate::peers::compare::PeersArguments),
    /// Redis gone under load, for a cluster of Hallway and one of Socket.IO: what was lost, repeated, reordered, late.
    Outage(crate::outage::OutageArguments),
    /// Starts a cluster on this machine, from nothing, and keeps it until Ctrl-C.
    Cluster(cluster::ClusterArguments),
    /// Starts a cluster, hurts it under load, one fault after the other, and judges what clients saw.
    Chaos(cluster::ChaosArguments),
    /// A node with thousands of clients is killed: how soon all are back and in sync on the others.
    Storm(crate::storm::StormArguments),
    /// One of the processes that hold the clients of `storm`.
    #[command(hide = true)]
    StormWorker,
    /// Starts a cluster and measures deliveries from one node to another, with Redis and, if wanted, while it is away.
    Across(cluster::AcrossArguments),
    /// A broadcaster that does nothing else: the floor that `peers` compares with.
    #[command(hide = true)]
    Bare(crate::peers::bare::BareArguments),
    /// One of the processes that make raw load: started by the others, not by people.
    #[command(hide = true)]
    Worker,
}

/// Options of the scenarios that work with whole clients and the whole ledger.
#[derive(Debug, Args)]
pub(crate) struct Ordinary {
    /// WebSocket address of a node. Given several times, the members of each room are spread over the nodes.
    #[arg(long, required = true)]
    target: Vec<String>,
    /// File with the secret that signs tokens: DIR/dev-secret of a development node.
    #[arg(long)]
    secret_file: PathBuf,
    /// Processes whose CPU is told at the end: nodes, a store, a Redis.
    #[arg(long, value_delimiter = ',')]
    server_pid: Vec<u32>,
    /// Rooms [default: chat 200, reconnect 50, slow 4, tasks 100, sync 50].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rooms: Option<u32>,
    /// Members of each room.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=5000))]
    members: u32,
    /// Messages (tasks: operations; sync: people who come back) per second, all rooms together [default: 2000, tasks 1000,
    /// sync 100].
    #[arg(long)]
    rate: Option<f64>,
    /// How long messages are sent: 500ms, 30s, 5m.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    duration: Duration,
    /// Time over which the connections are made.
    #[arg(long, default_value = "0s", value_parser = parse_duration)]
    ramp: Duration,
    /// Bytes of text in each message.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(24..=16384))]
    payload: u32,
    /// json or postcard.
    #[arg(long, value_enum, default_value = "json")]
    codec: CodecName,
    /// For example 'delivery.p99<50ms'; may be given more than once.
    #[arg(long)]
    threshold: Vec<Threshold>,
    /// Writes everything there, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// reconnect: events missed in each room.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    missed: u32,
    /// reconnect: how many are measured.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    reconnects: u32,
    /// notify: people who are notified.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    recipients: u32,
    /// notify: how many of them are connected.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    online: u32,
    /// notify: announcements, one after the other.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    announcements: u32,
    /// sync: tasks that were made and changed in the meantime, all rooms together.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    tasks: u32,
    /// sync: notifications of each person in the meantime.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    notifications: u32,
    /// Threads that drive the load [default: 1, since the tool shares the machine with the node; sync 2: a person who comes back
    /// is several milliseconds of reading, in which others would wait].
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: Option<u16>,
    /// Chooses who sends what; without it a fresh one, which is printed.
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scenario {
    Chat,
    Reconnect,
    Slow,
    Tasks,
    Notify,
    Sync,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CodecName {
    Json,
    Postcard,
}

/// A command line that cannot be meant.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Why a run could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the secret file {path}")]
struct SecretError {
    path: String,
    source: std::io::Error,
}

/// A run, ready to start.
#[derive(Clone, Serialize)]
pub(crate) struct Settings {
    pub(crate) scenario: Scenario,
    pub(crate) targets: Vec<String>,
    pub(crate) server_pids: Vec<u32>,
    #[serde(skip)]
    pub(crate) secret: Vec<u8>,
    pub(crate) rooms: u32,
    pub(crate) members: u32,
    pub(crate) users: u32,
    pub(crate) rate: f64,
    pub(crate) duration: Duration,
    pub(crate) ramp: Duration,
    pub(crate) payload: usize,
    #[serde(serialize_with = "codec_name")]
    pub(crate) codec: Codec,
    #[serde(serialize_with = "as_text")]
    pub(crate) thresholds: Vec<Threshold>,
    #[serde(skip)]
    pub(crate) json: Option<PathBuf>,
    pub(crate) missed: u32,
    pub(crate) reconnects: u32,
    pub(crate) recipients: u32,
    pub(crate) online: u32,
    pub(crate) announcements: u32,
    pub(crate) tasks: u32,
    pub(crate) notifications: u32,
    pub(crate) threads: usize,
    pub(crate) seed: u64,
}

fn codec_name<S: serde::Serializer>(codec: &Codec, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(codec.subprotocol())
}

fn as_text<S: serde::Serializer>(thresholds: &[Threshold], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(thresholds.iter().map(ToString::to_string))
}

impl Ordinary {
    /// Checks what the parser cannot, and reads the secret.
    pub(crate) fn settings(&self, scenario: Scenario) -> Result<Settings, crate::run::Failure> {
        let rooms = self.rooms.unwrap_or(match scenario {
            Scenario::Chat => 200,
            Scenario::Reconnect => 50,
            Scenario::Slow => 4,
            Scenario::Tasks => 100,
            Scenario::Sync => 50,
            Scenario::Notify => 1,
        });
        let rate = self.rate.unwrap_or(match scenario {
            Scenario::Tasks => 1000.0,
            Scenario::Sync => 100.0,
            _ => 2000.0,
        });
        if !(rate.is_finite() && rate > 0.0 && rate <= 1_000_000.0) {
            return Err(UsageError(format!("--rate {rate} is not between 0 and 1000000")).into());
        }
        if self.duration.is_zero() || self.duration > Duration::from_secs(24 * 3600) {
            return Err(UsageError("--duration must lie between 1ms and 24h".to_owned()).into());
        }
        if scenario == Scenario::Slow && self.members < 2 {
            return Err(UsageError("slow needs --members 2 at least: the slow one and a neighbour".to_owned()).into());
        }
        if matches!(scenario, Scenario::Reconnect | Scenario::Sync) && rooms > 1000 {
            return Err(UsageError(format!("--rooms {rooms}: a user has at most 1000 rooms")).into());
        }
        let users = match scenario {
            Scenario::Notify => self.online.min(self.recipients),
            Scenario::Sync => self.members,
            _ => rooms.saturating_mul(self.members).min(USERS_MAX),
        };
        let deliveries = match scenario {
            Scenario::Reconnect => f64::from(rooms) * f64::from(self.missed) * f64::from(self.reconnects),
            Scenario::Sync => {
                let each = f64::from(rooms) * f64::from(self.missed) + 2.0 * f64::from(self.tasks);
                (each + f64::from(self.notifications)) * f64::from(self.reconnects)
            }
            Scenario::Notify => f64::from(self.recipients) * f64::from(self.announcements),
            Scenario::Chat | Scenario::Slow | Scenario::Tasks => {
                rate * self.duration.as_secs_f64() * f64::from(self.members)
            }
        };
        if deliveries > DELIVERIES_MAX {
            let message = format!(
                "this run would deliver {deliveries:.0} events; the ledger holds at most 60000000: \
                lower --rate, --members or --duration"
            );
            return Err(UsageError(message).into());
        }
        if scenario != Scenario::Reconnect {
            check_files(u64::from(users) + SPARE_FILES)?;
        }
        let secret = read_secret(&self.secret_file)?;
        Ok(Settings {
            scenario,
            targets: self.target.clone(),
            server_pids: self.server_pid.clone(),
            secret,
            rooms,
            members: self.members,
            users,
            rate,
            duration: self.duration,
            ramp: self.ramp,
            payload: self.payload as usize,
            codec: match self.codec {
                CodecName::Json => Codec::Json,
                CodecName::Postcard => Codec::Postcard,
            },
            thresholds: self.threshold.clone(),
            json: self.json.clone(),
            missed: self.missed,
            reconnects: self.reconnects,
            threads: usize::from(self.threads.unwrap_or(if scenario == Scenario::Sync { 2 } else { 1 })),
            recipients: self.recipients,
            online: self.online,
            announcements: self.announcements,
            tasks: self.tasks,
            notifications: self.notifications,
            seed: self.seed.unwrap_or_else(rand::random),
        })
    }
}

/// The secret that signs tokens.
fn read_secret(path: &Path) -> Result<Vec<u8>, crate::run::Failure> {
    let secret = std::fs::read(path).map_err(|source| SecretError { path: path.display().to_string(), source })?;
    Ok(secret.trim_ascii().to_vec())
}

/// How many files this process may open. Only Linux tells it here; elsewhere the system speaks up by itself.
fn files_allowed() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()
}

/// The limit on open files is found out now rather than in the middle of the run.
fn check_files(needed: u64) -> Result<(), UsageError> {
    match files_allowed() {
        Some(soft) if soft < needed => Err(UsageError(format!(
            "this run needs {needed} open files and the limit is {soft}: run `ulimit -n {needed}` first, \
             or lower --rooms or --members"
        ))),
        _ => Ok(()),
    }
}

/// Reads `500ms`, `30s`, `5m`, `1h`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration: write 500ms, 30s, 5m or 1h");
    let split = text.find(|letter: char| letter.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_runs_with_target_and_secret_file_alone() {
        for scenario in ["chat", "reconnect", "slow", "tasks", "notify", "sync"] {
            let line = ["loadtest", scenario, "--target", "ws://127.0.0.1:1/v1/ws", "--secret-file", "/x"];
            assert!(Arguments::try_parse_from(line).is_ok());
        }
    }

    #[test]
    fn durations_are_read_with_their_units() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1.5s"), Ok(Duration::from_millis(1500)));
        assert!(parse_duration("5").is_err());
        assert!(parse_duration("-5s").is_err());
    }

    #[test]
    fn a_wrong_threshold_is_a_usage_error_that_names_the_right_ones() {
        let base = ["loadtest", "chat", "--target", "ws://h/v1/ws", "--secret-file", "/x", "--threshold"];
        for wrong in ["latency.p99<5ms", "delivery.p42<5ms", "delivery.p99>5ms", "delivery.p99<5"] {
            let line: Vec<&str> = base.iter().copied().chain([wrong]).collect();
            let message = Arguments::try_parse_from(line).map(|_| ()).map_err(|error| error.to_string());
            assert!(message.is_err_and(|text| text.contains("delivery") && text.contains("p99.9")), "{wrong}");
        }
    }
}
