//! What is said about each experiment, and about all of them.

use std::time::Duration;

use loadtest_client::ledger::Verdict;
use serde_json::{Value, json};

use super::inject::Felt;
use super::plan::Experiment;
use super::settle::{Lateness, Recovery};
use crate::report::{Outcome, human};

/// One experiment that is over.
pub(crate) struct Row {
    pub(crate) experiment: Experiment,
    /// This one included; all but the last proved nothing.
    pub(crate) attempts: u32,
    pub(crate) felt: Felt,
    pub(crate) recovery: Recovery,
    /// Before the fault, while it lasted, and after it.
    pub(crate) lateness: [Lateness; 3],
    pub(crate) verdict: Verdict,
    pub(crate) outcome: Outcome,
    pub(crate) took: Duration,
}

impl Row {
    fn recovered(&self) -> Option<Duration> {
        Some(self.recovery.publish?.max(self.recovery.ready?).max(self.recovery.last_message))
    }

    /// What is printed once it is over.
    pub(crate) fn print(&self) {
        let counts = &self.verdict.counts;
        println!("{:<26} felt: {}", self.experiment.fault, self.felt.how);
        println!(
            "{:<26} publishing after {}, ready after {}, last messages within {:.2?}",
            "",
            time(self.recovery.publish),
            time(self.recovery.ready),
            self.recovery.last_message
        );
        let [before, during, after] = self.lateness;
        println!(
            "{:<26} lateness p50/p99/max: before {}, during {}, after {}",
            "",
            before.text(),
            during.text(),
            after.text()
        );
        println!(
            "{:<26} {} acknowledged of {}, {} received, {} reconnects, {} final reads, {:.1?}: {}",
            "",
            counts.acknowledged,
            counts.publishes,
            counts.received,
            counts.reconnects,
            counts.final_reads,
            self.took,
            word(self.outcome)
        );
        for violation in &self.verdict.violations {
            println!("{:<26} {:?}: {}", "", violation.invariant, violation.what);
        }
        if let Some(why) = &self.verdict.invalid {
            println!("{:<26} proves nothing: {why}", "");
        }
        if self.outcome != Outcome::Pass {
            let Experiment { fault, seed, .. } = self.experiment;
            println!("{:<26} the same again: loadtest chaos --faults {fault} --experiment-seed {seed}", "");
        }
    }

    pub(crate) fn json(&self) -> Value {
        let milliseconds =
            |time: Option<Duration>| time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        json!({
            "fault": self.experiment.fault,
            "seed": self.experiment.seed,
            "attempts": self.attempts,
            "outcome": self.outcome,
            "bit": self.felt.bit,
            "felt": self.felt.how,
            "lasted_ms": milliseconds(self.felt.healed_at.checked_duration_since(self.felt.began_at)),
            "publish_ms": milliseconds(self.recovery.publish),
            "ready_ms": milliseconds(self.recovery.ready),
            "last_message_ms": milliseconds(Some(self.recovery.last_message)),
            "recovered_ms": milliseconds(self.recovered()),
            "lateness": { "before": self.lateness[0], "during": self.lateness[1], "after": self.lateness[2] },
            "ledger": self.verdict,
        })
    }
}

impl Lateness {
    fn text(self) -> String {
        format!("{}/{}/{}", human(self.p50_us), human(self.p99_us), human(self.max_us))
    }
}

/// The table at the end, as it can be put into a document.
pub(crate) fn print(rows: &[Row]) {
    println!("\n| fault | felt | recovered after | last message | p99 late during | max | verdict |");
    println!("|---|---|---|---|---|---|---|");
    for row in rows {
        println!(
            "| {} | {} | {} | {:.2?} | {} | {} | {} |",
            row.experiment.fault,
            row.felt.how,
            time(row.recovered()),
            row.recovery.last_message,
            human(row.lateness[1].p99_us),
            human(row.lateness.iter().map(|one| one.max_us).max().unwrap_or(0)),
            word(row.outcome)
        );
    }
}

fn time(took: Option<Duration>) -> String {
    took.map_or_else(|| "never".to_owned(), |took| format!("{took:.2?}"))
}

/// An outcome for people.
pub(crate) fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "kept",
        Outcome::Ledger => "BROKEN",
        Outcome::Invalid => "proves nothing",
        _ => "error",
    }
}
