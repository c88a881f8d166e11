//! Redis is gone for a while: what becomes of messages that were acknowledged meanwhile?
//!
//! The same load on a cluster of Hallway and on one of Socket.IO with its Redis adapter: rooms whose members are spread over all
//! nodes, one sender in each. Redis is killed under load, comes back empty, and the load goes on. Counted is, for every
//! message that a sender saw acknowledged, which members got it, how often, in which order and how late. For Socket.IO an
//! acknowledgement is its own (the server has emitted); for Hallway it means stored.
//!
//! Reading order: `tally` (pure: what was lost), `socketio` and `hallway` (one cluster of each), this file.

mod hallway;
mod socketio;
mod table;
mod tally;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use loadtest_cluster::TemporaryRedis;
use loadtest_cluster::cluster::blocking;
use serde_json::json;
use tokio::sync::watch;

use crate::arguments::parse_duration;
use crate::report::Outcome;
use crate::run::Failure;
use tally::{Phases, Tally};

/// Time that everything which is still on its way gets at the end.
const SETTLE: Duration = Duration::from_secs(5);
/// A message that a sender waits for no longer.
const ACKNOWLEDGE_WITHIN: Duration = Duration::from_secs(5);
/// The fast path must be in use again this long after Redis is back.
const FAST_AGAIN_WITHIN: Duration = Duration::from_secs(2);

/// Whose cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Who {
    Hallway,
    Socketio,
}

/// `loadtest outage`.
#[derive(Debug, Args)]
pub(crate) struct OutageArguments {
    /// Whose clusters, one after the other.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "hallway,socketio")]
    only: Vec<Who>,
    /// Nodes of each cluster.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=8))]
    nodes: u32,
    /// Rooms, with one sender each.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    rooms: u32,
    /// Members of each room, spread over the nodes.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(2..=50))]
    members: u32,
    /// Messages per second, all rooms together.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// Load before Redis is killed, and after it is back.
    #[arg(long, default_value = "8s", value_parser = parse_duration)]
    around: Duration,
    /// How long Redis is gone.
    #[arg(long, default_value = "20s", value_parser = parse_duration)]
    down: Duration,
    /// The gateway's program.
    #[arg(long, default_value = "target/release/hallway")]
    hallway_bin: PathBuf,
    /// `loadtest/peers`, where its `install` was run.
    #[arg(long, default_value = "loadtest/peers")]
    peers_dir: PathBuf,
    /// Write the figures here as well.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What the members of one cluster share.
#[derive(Clone)]
struct Shared {
    began: Instant,
    tally: Arc<Mutex<Tally>>,
    /// Messages are sent while this is true.
    is_sending: watch::Receiver<bool>,
    /// Between two messages of one room.
    period: Duration,
}

impl Shared {
    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }
}

/// A member of a room: which one, and on which node.
#[derive(Debug, Clone, Copy)]
struct Place {
    room: u32,
    member: u32,
    node: usize,
}

/// Every member, so that each room has some on every node and senders sit on all of them.
fn places(arguments: &OutageArguments) -> Vec<Place> {
    let nodes = arguments.nodes as usize;
    let member = |room: u32, member: u32| Place { room, member, node: (room as usize + member as usize) % nodes };
    (0..arguments.rooms).flat_map(|room| (0..arguments.members).map(move |index| member(room, index))).collect()
}

/// The text of a message: its number in its room, and when it was sent, microseconds since the beginning.
fn body(room: u32, number: u32, sent_at: Duration) -> String {
    format!("{room}:{number}:{}", sent_at.as_micros())
}

/// Reads a text back.
fn read_body(text: &str) -> Option<(u32, u32, Duration)> {
    let mut parts = text.split(':');
    let (room, number, sent_at_us) = (parts.next()?, parts.next()?, parts.next()?);
    Some((room.parse().ok()?, number.parse().ok()?, Duration::from_micros(sent_at_us.parse().ok()?)))
}

/// Runs the experiment on each cluster that was asked for.
pub(crate) async fn run(arguments: &OutageArguments) -> Result<Outcome, Failure> {
    let mut results = Vec::new();
    for who in &arguments.only {
        println!("{who:?}: {} nodes, {} rooms of {}", arguments.nodes, arguments.rooms, arguments.members);
        results.push((*who, experiment(arguments, *who).await?));
    }
    table::print(arguments.down, &results);
    if let Some(path) = &arguments.json {
        let of = |(who, tally): &(Who, Tally)| json!({ "who": format!("{who:?}"), "figures": tally.figures() });
        let figures: Vec<_> = results.iter().map(of).collect();
        std::fs::write(path, serde_json::to_vec_pretty(&figures)?)?;
    }
    let ours = results.iter().find(|(who, _)| *who == Who::Hallway);
    Ok(match ours {
        Some((_, tally)) if !tally.is_clean() => Outcome::Ledger,
        Some((_, tally)) if !tally.has_bitten() => Outcome::Invalid,
        Some((_, tally)) if !tally.is_in_time() => Outcome::Threshold,
        _ => Outcome::Pass,
    })
}

async fn experiment(arguments: &OutageArguments, who: Who) -> Result<Tally, Failure> {
    let redis = blocking(TemporaryRedis::start).await?;
    let redis = Arc::new(redis);
    let (sending, is_sending) = watch::channel(true);
    let shared = Shared {
        began: Instant::now(),
        tally: Arc::new(Mutex::new(Tally::new(arguments.members))),
        is_sending,
        period: Duration::from_secs(1) * arguments.rooms / arguments.rate,
    };
    match who {
        Who::Socketio => {
            let cluster = socketio::Cluster::start(arguments, &redis.url()).await?;
            let members = cluster.join(&places(arguments), &shared).await?;
            outage(arguments, &redis, &shared).await?;
            let _ = sending.send(false);
            tokio::time::sleep(SETTLE).await;
            members.end().await;
        }
        Who::Hallway => {
            let cluster = hallway::Cluster::start(arguments, &redis.url()).await?;
            let members = cluster.join(&places(arguments), &shared).await?;
            outage(arguments, &redis, &shared).await?;
            let _ = sending.send(false);
            tokio::time::sleep(SETTLE).await;
            members.end().await;
        }
    }
    Ok(std::mem::take(&mut *shared.tally()))
}

/// Load, no Redis, load.
async fn outage(arguments: &OutageArguments, redis: &Arc<TemporaryRedis>, shared: &Shared) -> Result<(), Failure> {
    tokio::time::sleep(arguments.around).await;
    let killed = Arc::clone(redis);
    blocking(move || killed.kill9()).await?;
    let down_at = shared.now();
    tokio::time::sleep(arguments.down).await;
    let started = Arc::clone(redis);
    blocking(move || started.restart()).await?;
    let back_at = shared.now();
    shared.tally().set_phases(Phases { down_at, back_at, fast_again_at: back_at + FAST_AGAIN_WITHIN });
    tokio::time::sleep(arguments.around).await;
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_back_as_it_was_written() {
        let at = Duration::from_micros(1_234_567);
        assert_eq!(read_body(&body(3, 14, at)).unwrap(), (3, 14, at));
        assert_eq!(read_body("3:x:1"), None);
        assert_eq!(read_body(""), None);
    }
}
