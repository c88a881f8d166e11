//! One measurement: a server that was just started, one load, and what it cost.

use std::time::Duration;

use serde::Serialize;

use super::installed::Installed;
use super::server::Server;
use super::shape::{IDLE_STEPS, Shape};
use crate::driver::clock::in_ns;
use crate::driver::crowd::Common;
use crate::driver::fleet::Fleet;
use crate::driver::hallway;
use crate::driver::job;
use crate::run::Failure;
use crate::sample::process::Watched;
use crate::sample::regression;
use crate::scenario::fanout::{Plan, Run};
use crate::scenario::idle::settled;
use crate::scenario::raw;

use super::kind::Kind;

/// Hallway's path.
const HALLWAY_PATH: &str = "/v1/ws";

/// What is the same for all measurements of a run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Load {
    pub(crate) idle_connections: u32,
    pub(crate) payload_bytes: usize,
    pub(crate) postcard: bool,
    pub(crate) warmup: Duration,
    pub(crate) duration: Duration,
}

/// What one measurement gave; absent is what this load does not measure.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Sample {
    /// Resident memory of the server for each further connection.
    pub(crate) kib_per_connection: Option<f64>,
    /// How well a straight line explains it.
    pub(crate) r_squared: Option<f64>,
    /// Of the server, for each million deliveries.
    pub(crate) cpu_s_per_million: Option<f64>,
    pub(crate) deliveries_per_second: Option<f64>,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    /// What the ledger found, and what clients saw. All zero where a server keeps even more than it promises.
    pub(crate) faults: Faults,
    /// Sends that left more than 10 ms late, in percent: the client's fault.
    pub(crate) late_percent: f64,
    pub(crate) client_cpu_s: f64,
}

/// What went wrong, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Faults {
    pub(crate) lost: u64,
    pub(crate) repeated: u64,
    pub(crate) reordered: u64,
    /// Said by nobody, or come to somebody outside the room.
    pub(crate) wrong: u64,
    pub(crate) refused: u64,
    pub(crate) closed: u64,
}

impl Faults {
    pub(crate) fn add(&mut self, other: Self) {
        self.lost += other.lost;
        self.repeated += other.repeated;
        self.reordered += other.reordered;
        self.wrong += other.wrong;
        self.refused += other.refused;
        self.closed += other.closed;
    }

    /// In words; nothing when there were none.
    pub(crate) fn words(self) -> String {
        let all = [
            ("lost", self.lost),
            ("repeated", self.repeated),
            ("reordered", self.reordered),
            ("wrong", self.wrong),
            ("refused", self.refused),
            ("closed", self.closed),
        ];
        let some: Vec<String> =
            all.iter().filter(|(_, count)| *count > 0).map(|(name, count)| format!("{count} {name}")).collect();
        some.join(", ")
    }
}

/// Starts the server, loads it, ends it.
pub(crate) fn measure(installed: &Installed, shape: Shape, load: &Load) -> Result<Sample, Failure> {
    let server = Server::start(installed)?;
    let crowd = shape.crowd(raw::run_name(), load.idle_connections);
    let common = Common {
        server: spoken(installed.kind, load.postcard),
        target: server.address,
        further_targets: Vec::new(),
        host: server.address.to_string(),
        source_addresses: 1,
        connect_rate: 0.0,
        payload_bytes: load.payload_bytes,
        echoes: installed.kind.echoes(),
    };
    let secret = match installed.kind.protocol() {
        Some(_) => Vec::new(),
        None => std::fs::read(server.directory().join("dev-secret"))?.trim_ascii().to_vec(),
    };
    let token = |user: &str| match installed.kind.protocol() {
        Some(_) => server.token.clone(),
        None => raw::sign(&secret, user),
    };
    if installed.kind.protocol().is_none() {
        raw::prepare(&format!("ws://{}{HALLWAY_PATH}", server.address), &secret, &crowd)?;
    }
    let watched = Watched::new(&[server.pid()]);
    let result = if shape == Shape::Idle {
        let jobs = crowd.jobs(&common, 1, &token);
        idle(&jobs, crowd.seats(), &watched)
    } else {
        let plan = Plan {
            common,
            crowd,
            workers: 1,
            pace: shape.pace(),
            warmup_ns: in_ns(load.warmup),
            duration_ns: in_ns(load.duration),
            watched,
        };
        talk(plan, &token)
    };
    result.map_err(|error| match server.last_words() {
        words if words.is_empty() => error,
        words => format!("{error}; it said: {words}").into(),
    })
}

fn spoken(kind: Kind, postcard: bool) -> job::Server {
    match kind.protocol() {
        Some(protocol) => job::Server::Peer(protocol),
        None => job::Server::Hallway(hallway::Kind {
            path: HALLWAY_PATH.to_owned(),
            postcard: postcard || kind == Kind::HallwayPostcard,
            durable: kind == Kind::HallwayDurable,
        }),
    }
}

/// Memory at each of a few numbers of connections.
#[expect(clippy::cast_precision_loss, reason = "bytes and connections of one machine are below 2^53")]
fn idle(jobs: &[job::Job], seats: usize, watched: &Watched) -> Result<Sample, Failure> {
    let mut fleet = Fleet::start(jobs, Box::new(|_| ()))?;
    let mut points = Vec::new();
    for step in 1..=IDLE_STEPS as usize {
        let connections = seats * step / IDLE_STEPS as usize;
        fleet.connect_until(connections)?;
        let resident_bytes = settled(&mut fleet, watched)?.ok_or("the server's memory cannot be read")?;
        points.push((connections as f64, resident_bytes as f64));
    }
    fleet.disconnect()?;
    let line = regression::line(&points).ok_or("too few steps")?;
    Ok(Sample { kib_per_connection: Some(line.slope / 1024.0), r_squared: Some(line.r_squared), ..Sample::default() })
}

#[expect(clippy::cast_precision_loss, reason = "microseconds and messages of a run are below 2^53")]
fn talk(plan: Plan, token: &dyn Fn(&str) -> Option<String>) -> Result<Sample, Failure> {
    let mut run = Run::start_with(plan, token, Box::new(|_| ()))?;
    let measured = run.talk(false)?;
    let verdict = run.judge()?;
    if measured.deliveries == 0 {
        return Err("nothing was delivered".into());
    }
    Ok(Sample {
        cpu_s_per_million: measured.cpu_s_per_million_deliveries,
        deliveries_per_second: Some(measured.deliveries_per_second),
        p50_ms: Some(measured.p50_us as f64 / 1e3),
        p99_ms: Some(measured.p99_us as f64 / 1e3),
        faults: Faults {
            lost: verdict.lost,
            repeated: verdict.repeated,
            reordered: verdict.reordered,
            wrong: verdict.phantom + verdict.foreign,
            refused: measured.refused,
            closed: measured.closed,
        },
        late_percent: 100.0 * measured.late as f64 / (measured.messages.max(1)) as f64,
        client_cpu_s: measured.client_cpu_s,
        ..Sample::default()
    })
}
