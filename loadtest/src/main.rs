//! Drives load at a node, judges latency, and checks with the ledger that nothing was lost, repeated or reordered.
//!
//! Reading order: `arguments` (the command line), `scenario` (what is done), `member` (one client: its latencies and
//! its lines in the ledger), `run` (what all scenarios share), `metrics` and `threshold`, `report` (what is said).
//! `fanout` and `idle` measure the server rather than the client: `driver` (sockets by the thousand) and `sample`
//! (what the server costs). `peers` does the same to Hallway and to servers like it.

mod arguments;
mod driver;
mod member;
mod metrics;
mod outage;
mod peers;
mod progress;
mod report;
mod run;
mod sample;
mod scenario;
mod schedule;
mod storm;
mod threshold;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Scenario, What};
use report::Outcome;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are no mistakes; everything else is. If even printing fails, the code still tells.
            let _ = error.print();
            return if error.use_stderr() { Outcome::Usage.into() } else { Outcome::Pass.into() };
        }
    };
    match start(&arguments) {
        Ok(outcome) => outcome.into(),
        Err(error) => {
            eprintln!("loadtest: {}", run::with_causes(error.as_ref()));
            match error.downcast_ref::<arguments::UsageError>() {
                Some(_) => Outcome::Usage.into(),
                None => Outcome::Error.into(),
            }
        }
    }
}

fn start(arguments: &Arguments) -> Result<Outcome, run::Failure> {
    let (ordinary, scenario) = match &arguments.what {
        What::Chat(ordinary) => (ordinary, Scenario::Chat),
        What::Reconnect(ordinary) => (ordinary, Scenario::Reconnect),
        What::Slow(ordinary) => (ordinary, Scenario::Slow),
        What::Tasks(ordinary) => (ordinary, Scenario::Tasks),
        What::Notify(ordinary) => (ordinary, Scenario::Notify),
        What::Sync(ordinary) => (ordinary, Scenario::Sync),
        What::Fanout(fanout) => return scenario::fanout::run(fanout),
        What::Idle(idle) => return scenario::idle::run(idle),
        What::Peers(peers) => return peers::compare::run(peers),
        What::Outage(outage) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            return runtime.block_on(outage::run(outage));
        }
        What::Cluster(cluster) => return scenario::cluster::run(cluster),
        What::Chaos(chaos) => return scenario::chaos::run(chaos),
        What::Storm(storm) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            return runtime.block_on(storm::run(storm));
        }
        What::StormWorker => return storm::worker::run().map(|()| Outcome::Pass),
        What::Across(across) => return scenario::across::run(across),
        What::Bare(bare) => return Ok(peers::bare::run(bare).map(|()| Outcome::Pass)?),
        What::Worker => return driver::worker::run().map(|()| Outcome::Pass),
    };
    let settings = ordinary.settings(scenario)?;
    let runtime = match settings.threads {
        // Hand-overs between threads cost more than they save.
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build()?,
        threads => tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build()?,
    };
    runtime.block_on(scenario::run(settings))
}
