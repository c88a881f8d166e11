//! Options of the scenarios that work with the raw driver.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{CodecName, UsageError, files_allowed, parse_duration, read_secret};
use crate::driver::crowd::{Common, Senders};
use crate::driver::fleet::{FILES_MAX, SPARE_FILES};
use crate::driver::hallway::Kind;
use crate::driver::job::{Pace, Server};
use crate::run::Failure;
use crate::sample::process::Watched;

/// Options of all of them.
#[derive(Debug, Clone, Args)]
pub(crate) struct Raw {
    /// WebSocket address of the node.
    #[arg(long)]
    target: String,
    /// File with the secret that signs tokens: DIR/dev-secret of a development node.
    #[arg(long)]
    secret_file: PathBuf,
    /// Bytes of each body.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(36..=3900))]
    payload: u32,
    /// json or postcard.
    #[arg(long, value_enum, default_value = "json")]
    codec: CodecName,
    /// Worker processes [default: as few as hold the connections].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: Option<u32>,
    /// Connections come from this many addresses of 127.0.0.0/8, in turn [default: one for a thousand connections when
    /// the node is on this machine].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=65_000))]
    source_addresses: Option<u32>,
    /// Connections begun per second; 0: as fast as it goes.
    #[arg(long, default_value_t = 0.0)]
    connect_rate: f64,
    /// Process of the node, whose processor time and memory are measured, with its children; may be given more than once.
    #[arg(long)]
    server_pid: Vec<u32>,
    /// The node's admin address, http://host:port: its metrics are read there.
    #[arg(long)]
    pub(crate) admin: Option<String>,
    /// Writes everything there, as JSON.
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
}

/// Who talks in `fanout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SendersName {
    /// A connection of its own in each room.
    Publisher,
    /// The members, in turn.
    Members,
}

/// Options of `fanout`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Fanout {
    #[command(flatten)]
    pub(crate) raw: Raw,
    /// Rooms.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rooms: u32,
    /// Members of each room.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=19_900))]
    pub(crate) members: u32,
    /// Messages per second, all rooms together, whoever is slow (open loop).
    #[arg(long, conflicts_with = "outstanding")]
    rate: Option<f64>,
    /// Messages of each room that are under way; one is done when every member has it [default: 32].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1024))]
    outstanding: Option<u32>,
    #[arg(long, value_enum, default_value = "publisher")]
    senders: SendersName,
    /// Ephemeral signals: at most once, nothing stored [default].
    #[arg(long, conflicts_with = "durable")]
    signal: bool,
    /// Messages that are committed before anybody gets them.
    #[arg(long)]
    pub(crate) durable: bool,
    /// How long it is measured.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub(crate) duration: Duration,
    /// Talking before that, which does not count.
    #[arg(long, default_value = "1s", value_parser = parse_duration)]
    pub(crate) warmup: Duration,
    /// Share of the members that stop reading in a second phase; the others' latencies are compared with the first.
    #[arg(long, default_value_t = 0.0)]
    pub(crate) never_read: f64,
}

/// Options of `idle`.
#[derive(Debug, Clone, Args)]
pub(crate) struct Idle {
    #[command(flatten)]
    pub(crate) raw: Raw,
    /// Connections at each step, rising; at least five for a regression.
    #[arg(long, value_delimiter = ',', default_value = "1000,4000,8000,12000,15000")]
    pub(crate) connections: Vec<u32>,
    /// Rooms that each connection is in.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) rooms_per_connection: u32,
    /// Members of each room.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=19_900))]
    pub(crate) members: u32,
    /// How often all leave and come back after the steps.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) cycles: u32,
    /// Pause between making the memberships and measuring: longer than the node's stream_linger_ms, so that it has
    /// forgotten what it kept for that.
    #[arg(long, default_value = "0s", value_parser = parse_duration)]
    pub(crate) rest: Duration,
    /// Makes the rooms and memberships, says their name, and ends: what the node kept for that is gone when it starts again.
    #[arg(long, conflicts_with = "prepared")]
    pub(crate) prepare_only: bool,
    /// Measures with rooms and memberships that were made before, by their name. Everything else must be as it was then.
    #[arg(long, value_name = "NAME")]
    pub(crate) prepared: Option<String>,
    /// Measures instead what a further room of a connection costs: rooms per connection at each step.
    #[arg(long, value_delimiter = ',')]
    pub(crate) rooms_steps: Vec<u32>,
    /// Connections at which further rooms are measured.
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(2..=19_900))]
    pub(crate) rooms_connections: u32,
}

impl Raw {
    /// What all jobs have in common, and the secret.
    pub(crate) fn common(&self, durable: bool, seats: usize) -> Result<(Common, Vec<u8>), Failure> {
        if !(self.connect_rate.is_finite() && self.connect_rate >= 0.0) {
            return Err(UsageError(format!("--connect-rate {} is no rate", self.connect_rate)).into());
        }
        let (host, path) = split(&self.target)?;
        let target = resolve(&host)?;
        let kind = Kind { path, postcard: self.codec == CodecName::Postcard, durable };
        let common = Common {
            server: Server::Hallway(kind),
            target,
            further_targets: Vec::new(),
            host,
            source_addresses: self.source_addresses.unwrap_or_else(|| source_addresses_for(target, seats)),
            connect_rate: self.connect_rate,
            payload_bytes: self.payload as usize,
            // An event comes to its sender too, a signal does not.
            echoes: durable,
        };
        Ok((common, read_secret(&self.secret_file)?))
    }

    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    pub(crate) fn watched(&self) -> Watched {
        Watched::new(&self.server_pid)
    }

    /// How many workers hold so many connections.
    pub(crate) fn workers(&self, seats: usize) -> u32 {
        self.workers.unwrap_or_else(|| workers_for(seats))
    }
}

/// Addresses to connect from. Beyond half of an address's 28,000 ports, those that wait after an end included, Linux
/// takes milliseconds to find the next free one.
pub(crate) fn source_addresses_for(target: SocketAddr, seats: usize) -> u32 {
    if target.ip().is_loopback() { u32::try_from(seats.div_ceil(1000)).unwrap_or(1).max(1) } else { 1 }
}

/// As few workers as hold so many connections.
pub(crate) fn workers_for(seats: usize) -> u32 {
    let each = files_allowed().unwrap_or(FILES_MAX).min(FILES_MAX).saturating_sub(SPARE_FILES).max(1);
    u32::try_from((seats as u64).div_ceil(each)).unwrap_or(u32::MAX).max(1)
}

/// `host:port` and path of a `ws://` address.
pub(crate) fn split(target: &str) -> Result<(String, String), UsageError> {
    let wrong = || UsageError(format!("--target {target:?} is not ws://host:port/path"));
    let rest = target.strip_prefix("ws://").ok_or_else(wrong)?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = if host.contains(':') { host.to_owned() } else { format!("{host}:80") };
    Ok((host, if path.is_empty() { "/".to_owned() } else { path.to_owned() }))
}

/// The first address of `host:port`.
pub(crate) fn resolve(host: &str) -> Result<SocketAddr, Failure> {
    let mut addresses = host.to_socket_addrs().map_err(|error| format!("{host} has no address: {error}"))?;
    Ok(addresses.next().ok_or_else(|| format!("{host} has no address"))?)
}

impl Fanout {
    pub(crate) fn pace(&self) -> Result<Pace, UsageError> {
        match (self.rate, self.outstanding) {
            (Some(rate), _) if rate.is_finite() && rate > 0.0 && rate <= 1_000_000.0 => Ok(Pace::Rate(rate)),
            (Some(rate), _) => Err(UsageError(format!("--rate {rate} is not between 0 and 1000000"))),
            (None, outstanding) => Ok(Pace::Outstanding(outstanding.unwrap_or(32))),
        }
    }

    pub(crate) fn senders(&self) -> Senders {
        match self.senders {
            SendersName::Publisher => Senders::Publisher,
            SendersName::Members => Senders::Members,
        }
    }

    /// Members of each room that can be muted.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the members, checked")]
    pub(crate) fn mutable(&self) -> Result<u32, UsageError> {
        if !(0.0..1.0).contains(&self.never_read) {
            return Err(UsageError(format!("--never-read {} is not a share below 1", self.never_read)));
        }
        if self.never_read > 0.0 && self.senders == SendersName::Members {
            return Err(UsageError("--never-read needs --senders publisher: who does not read cannot talk".to_owned()));
        }
        Ok((f64::from(self.members) * self.never_read).round() as u32)
    }
}

impl Idle {
    /// Checks what the parser cannot.
    pub(crate) fn check(&self) -> Result<(), UsageError> {
        if self.connections.len() < 5 {
            return Err(UsageError("--connections needs five steps at least: 1000,4000,8000,12000,15000".to_owned()));
        }
        for (name, steps) in [("--connections", &self.connections), ("--rooms-steps", &self.rooms_steps)] {
            if !steps.is_sorted_by(|one, next| one < next) || steps.first() == Some(&0) {
                return Err(UsageError(format!("{name} must rise from 1 at least: {steps:?}")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_split_into_host_and_path() {
        assert_eq!(split("ws://a:1/v1/ws").unwrap(), ("a:1".to_owned(), "/v1/ws".to_owned()));
        assert_eq!(split("ws://a").unwrap(), ("a:80".to_owned(), "/".to_owned()));
        assert!(split("http://a:1/").is_err());
    }

    #[test]
    fn twenty_thousand_connections_need_two_workers() {
        assert_eq!(workers_for(1), 1);
        assert!(workers_for(20_000) >= 2);
    }
}
