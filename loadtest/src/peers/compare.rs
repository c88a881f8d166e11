//! `loadtest peers`: who, in which order, for how long, and what is written down.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde_json::json;

use super::installed::{Installed, Places, find};
use super::kind::{Kind, Role};
use super::measure::{Load, Sample, measure};
use super::shape::{IDLE_STEPS, Shape};
use super::table::{Cell, Table};
use crate::arguments::{UsageError, parse_duration};
use crate::report::Outcome;
use crate::run::{Failure, with_causes};

/// Starting, connecting, draining and ending, on a machine like ours.
const AROUND_S: f64 = 4.0;
/// Until a server's memory has settled after connections were made.
const IDLE_STEP_S: u64 = 3;
/// A run that takes this many times what was expected begins nothing more.
const PATIENCE: f64 = 2.0;

/// The command line.
#[derive(Debug, Args)]
pub(crate) struct PeersArguments {
    /// Only these, of those that are installed [default: all].
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Kind>,
    /// Only these loads [default: all].
    #[arg(long, value_enum, value_delimiter = ',')]
    shapes: Vec<Shape>,
    /// How often everything is measured; medians are shown.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    runs: u32,
    /// The gateway's program.
    #[arg(long, default_value = "target/release/hallway")]
    hallway_bin: PathBuf,
    /// Where the peers are installed.
    #[arg(long, default_value = "loadtest/peers")]
    peers_dir: PathBuf,
    /// How long each load is measured.
    #[arg(long, default_value = "8s", value_parser = parse_duration)]
    duration: Duration,
    /// Load before that, which does not count.
    #[arg(long, default_value = "2s", value_parser = parse_duration)]
    warmup: Duration,
    /// Idle connections at the last step.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(500..=15_000))]
    idle_connections: u32,
    /// Bytes of each body.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(36..=3900))]
    payload: u32,
    /// Speak postcard with all of Hallway's rows, not only with hallway-postcard.
    #[arg(long)]
    postcard: bool,
    /// Writes everything there, as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Who is compared, and why others are not.
struct Field {
    present: Vec<Installed>,
    missing: Vec<(Kind, String)>,
}

/// Compares.
pub(crate) fn run(arguments: &PeersArguments) -> Result<Outcome, Failure> {
    let shapes = if arguments.shapes.is_empty() { Shape::ALL.to_vec() } else { arguments.shapes.clone() };
    let load = Load {
        idle_connections: arguments.idle_connections,
        payload_bytes: arguments.payload as usize,
        postcard: arguments.postcard,
        warmup: arguments.warmup,
        duration: arguments.duration,
    };
    let field = arguments.field()?;
    introduce(&field);
    let expected = expected(&field, &shapes, &load, arguments.runs);
    let deadline = expected.mul_f64(PATIENCE);
    println!(
        "{} runs, interleaved: about {} minutes; after {} nothing more begins",
        arguments.runs,
        minutes(expected),
        minutes(deadline)
    );
    let mut table = Table::default();
    let began = Instant::now();
    let complete = measure_all(&field, &shapes, &load, arguments.runs, deadline, &mut table);
    println!();
    for shape in &shapes {
        println!("{}", table.shown(*shape, &shape.title(load.idle_connections, load.payload_bytes)));
    }
    for (kind, why) in &field.missing {
        println!("not measured: {}: {why}", kind.name());
    }
    if !complete {
        println!("not measured: what was left after {} minutes", minutes(began.elapsed()));
    }
    if let Some(path) = &arguments.json {
        std::fs::write(path, serde_json::to_vec_pretty(&written(&field, &shapes, &load, arguments.runs, &table))?)?;
    }
    Ok(outcome(&table, complete))
}

impl PeersArguments {
    fn field(&self) -> Result<Field, Failure> {
        let peers = std::fs::canonicalize(&self.peers_dir)
            .map_err(|error| UsageError(format!("--peers-dir {}: {error}", self.peers_dir.display())))?;
        // Programs are started in other directories.
        let hallway = std::path::absolute(&self.hallway_bin)?;
        let places = Places { peers, hallway };
        let mut wanted = if self.only.is_empty() { Kind::value_variants().to_vec() } else { self.only.clone() };
        wanted.sort_unstable();
        wanted.dedup();
        let mut field = Field { present: Vec::new(), missing: Vec::new() };
        for kind in wanted {
            match find(kind, &places) {
                Ok(installed) => field.present.push(installed),
                Err(why) => field.missing.push((kind, why)),
            }
        }
        if field.present.is_empty() {
            let why: Vec<String> = field.missing.iter().map(|(kind, why)| format!("{}: {why}", kind.name())).collect();
            return Err(UsageError(format!("nothing of what was asked for is installed: {}", why.join("; "))).into());
        }
        Ok(field)
    }
}

fn introduce(field: &Field) {
    for installed in &field.present {
        println!("{:<16} {}", installed.kind.name(), installed.version);
        println!("{:<16} {}", "", installed.settings);
    }
    for (kind, why) in &field.missing {
        println!("{:<16} SKIPPED: {why}", kind.name());
    }
}

/// How long it will take.
fn expected(field: &Field, shapes: &[Shape], load: &Load, runs: u32) -> Duration {
    let one = |shape: Shape| {
        let around = Duration::from_secs_f64(AROUND_S);
        match shape {
            Shape::Idle => around + Duration::from_secs(IDLE_STEP_S * u64::from(IDLE_STEPS)),
            _ => around + load.warmup + load.duration,
        }
    };
    let all = shapes
        .iter()
        .flat_map(|shape| field.present.iter().filter(|installed| shape.fits(installed.kind)).map(|_| one(*shape)));
    all.sum::<Duration>() * runs
}

fn minutes(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() / 60.0)
}

/// Load by load, and under each everybody in turn, so that what is compared was measured within minutes. Who begins changes
/// from run to run. `false` when time ran out.
fn measure_all(field: &Field, shapes: &[Shape], load: &Load, runs: u32, deadline: Duration, table: &mut Table) -> bool {
    let began = Instant::now();
    for run in 1..=runs {
        for shape in shapes {
            let mut turn: Vec<&Installed> =
                field.present.iter().filter(|installed| shape.fits(installed.kind)).collect();
            let first = run as usize % turn.len().max(1);
            turn.rotate_left(first);
            for installed in turn {
                if began.elapsed() > deadline {
                    return false;
                }
                let result = measure(installed, *shape, load).map_err(|error| with_causes(error.as_ref()));
                println!(
                    "{:5.1} min  run {run}/{runs}  {:<8} {:<16} {}",
                    began.elapsed().as_secs_f64() / 60.0,
                    shape.name(),
                    installed.kind.name(),
                    said(&result)
                );
                table.cells.push(Cell { run, shape: *shape, kind: installed.kind, result });
            }
        }
    }
    true
}

/// One measurement in a line.
fn said(result: &Result<Sample, String>) -> String {
    let sample = match result {
        Ok(sample) => sample,
        Err(why) => return format!("FAILED: {why}"),
    };
    let mut words = Vec::new();
    words.extend(sample.kib_per_connection.map(|kib| format!("{kib:.2} KiB/connection")));
    words.extend(sample.cpu_s_per_million.map(|cpu| format!("{cpu:.3} CPU-s/M")));
    words.extend(sample.deliveries_per_second.map(|rate| format!("{rate:.0}/s")));
    words.extend(sample.p50_ms.zip(sample.p99_ms).map(|(p50, p99)| format!("p50 {p50:.2} p99 {p99:.2} ms")));
    words.push(sample.faults.words());
    words.retain(|word| !word.is_empty());
    words.join("  ")
}

fn written(field: &Field, shapes: &[Shape], load: &Load, runs: u32, table: &Table) -> serde_json::Value {
    let rows: Vec<_> = shapes.iter().flat_map(|shape| table.rows(*shape)).collect();
    let ratios: Vec<_> = shapes.iter().flat_map(|shape| table.ratios(*shape)).collect();
    let missing: Vec<_> = field.missing.iter().map(|(kind, why)| json!({ "kind": kind, "why": why })).collect();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "runs": runs,
        "load": load,
        "servers": field.present,
        "missing": missing,
        "medians": rows,
        "ratios": ratios,
        "cells": table.cells,
    })
}

/// Hallway's own promise is judged; what its peers lose is only told.
fn outcome(table: &Table, complete: bool) -> Outcome {
    let ours = table.cells.iter().filter(|cell| matches!(cell.kind.role(), Role::Subject | Role::Stronger));
    let (mut broken, mut failed) = (false, !complete);
    for cell in ours {
        match &cell.result {
            Err(_) => failed = true,
            Ok(sample) => {
                let faults = sample.faults;
                broken |= faults.lost + faults.repeated + faults.reordered + faults.wrong > 0;
                failed |= faults.refused + faults.closed > 0;
            }
        }
    }
    match () {
        () if broken => Outcome::Ledger,
        () if failed => Outcome::Error,
        () => Outcome::Pass,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::measure::Faults;

    fn table(kind: Kind, faults: Faults) -> Table {
        let sample = Sample { faults, ..Sample::default() };
        Table { cells: vec![Cell { run: 1, shape: Shape::Chat, kind, result: Ok(sample) }] }
    }

    #[test]
    fn a_loss_of_hallways_ends_the_run_badly_and_one_of_a_peers_is_only_told() {
        let lost = Faults { lost: 1, ..Faults::default() };
        let closed = Faults { closed: 1, ..Faults::default() };
        assert_eq!(outcome(&table(Kind::Hallway, lost), true), Outcome::Ledger);
        assert_eq!(outcome(&table(Kind::HallwayDurable, closed), true), Outcome::Error);
        assert_eq!(outcome(&table(Kind::Mosquitto, lost), true), Outcome::Pass);
        assert_eq!(outcome(&table(Kind::Mosquitto, lost), false), Outcome::Error);
    }

    #[test]
    fn the_time_is_known_before_it_is_spent() {
        let installed = |kind: Kind| Installed {
            kind,
            version: String::new(),
            settings: kind.settings(),
            configuration: None,
            program: PathBuf::new(),
            file: None,
        };
        let present = vec![installed(Kind::Hallway), installed(Kind::HallwayDurable)];
        let field = Field { present, missing: Vec::new() };
        let (warmup, duration) = (Duration::from_secs(2), Duration::from_secs(8));
        let load = Load { idle_connections: 5000, payload_bytes: 128, postcard: false, warmup, duration };
        // Two take 14 seconds each; nothing durable is idle.
        assert_eq!(expected(&field, &[Shape::Chat], &load, 5), Duration::from_secs(140));
        assert_eq!(expected(&field, &[Shape::Idle], &load, 1), Duration::from_secs(19));
    }
}
