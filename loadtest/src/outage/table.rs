//! What is printed at the end.

use std::time::Duration;

use super::Who;
use super::tally::{Phase, Tally};

/// A table as `docs/reliability.md` shows it.
pub(super) fn print(down: Duration, results: &[(Who, Tally)]) {
    println!("\nRedis gone for {down:?}; deliveries owed for acknowledged messages, by when these were sent:\n");
    println!("| cluster | phase | acknowledged | owed | lost | late p50 / p99 / max ms |");
    println!("|---|---|---|---|---|---|");
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    for (who, tally) in results {
        for phase in Phase::ALL {
            let row = tally.row(phase);
            println!(
                "| {who:?} | {} | {} | {} | {} | {:.1} / {:.1} / {:.1} |",
                name(phase),
                row.acknowledged,
                row.owed,
                row.lost,
                ms(row.p50),
                ms(row.p99),
                ms(row.max)
            );
        }
        println!(
            "| {who:?} | all | repeated {}, reordered {}, refused {}, reconnects {} | | | |",
            tally.repeated, tally.reordered, tally.refused, tally.reconnects
        );
    }
}

fn name(phase: Phase) -> &'static str {
    match phase {
        Phase::Before => "before",
        Phase::Down => "without Redis",
        Phase::Returning => "first 2 s with it",
        Phase::After => "after",
    }
}
