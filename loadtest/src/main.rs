//! Drives load at a node, judges latency, and checks with the ledger that nothing was lost, repeated or reordered.
//!
//! Reading order: `arguments` (the command line), `scenario` (what is done), `member` (one client: its latencies and
//! its lines in the ledger), `run` (what all scenarios share), `metrics` and `threshold`, `report` (what is said).

mod arguments;
#[expect(dead_code, reason = "the engine comes next")]
mod driver;
mod member;
mod metrics;
mod peers;
mod report;
mod run;
mod scenario;
mod schedule;
mod threshold;

use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;
use report::Outcome;

fn main() -> ExitCode {
    // These have command lines of their own.
    let mut words = std::env::args_os();
    if let Some(code) = words.nth(1).and_then(|word| peers::main(word.to_str()?, words)) {
        return code;
    }
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
    let settings = arguments.settings()?;
    // One thread: the tool shares the machine with the node, and hand-overs between threads cost more than they save.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(scenario::run(settings))
}
