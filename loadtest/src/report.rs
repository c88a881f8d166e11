//! What is said: a line a second, a summary, a JSON file, an exit code.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use loadtest_client::ledger::Verdict;
use serde::Serialize;
use serde_json::{Value, json};

use crate::arguments::Scenario;
use crate::metrics::{self, Latencies, Metric, Stat};
use crate::progress;
use crate::run::Context;

/// More late sends than one in this many, and the client was the bottleneck.
pub(crate) const LATE_ONE_IN: u64 = 100;

/// How a run ended; each is an exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Outcome {
    Pass,
    Error,
    Usage,
    Threshold,
    Bottleneck,
    Ledger,
    Invalid,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Pass => 0,
            Outcome::Error => 1,
            Outcome::Usage => 2,
            Outcome::Threshold => 3,
            Outcome::Bottleneck => 4,
            Outcome::Ledger => 5,
            Outcome::Invalid => 6,
        })
    }
}

/// Prints a line a second until it is dropped.
pub(crate) async fn progress(context: &Context, began: Instant) {
    let counters = || {
        let metrics = &context.metrics;
        [&metrics.sent, &metrics.acked, &metrics.delivered].map(metrics::read)
    };
    let mut before = counters();
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let now = counters();
        let [sent, acked, delivered] = [0, 1, 2].map(|index| now[index] - before[index]);
        before = now;
        let text = format!(
            "{:4.0}s  sent {sent}/s  acks {acked}/s  delivered {delivered}/s  in flight {}  late {}  reconnects {}",
            began.elapsed().as_secs_f64(),
            context.in_flight.load(std::sync::atomic::Ordering::Relaxed),
            metrics::read(&context.metrics.late),
            metrics::read(&context.metrics.reconnected),
        );
        progress::show(Some(share_done(context, began)), &text);
    }
}

/// How much of a run is done, by what it is counted in.
#[expect(clippy::cast_precision_loss, reason = "counts of a run are below 2^53")]
fn share_done(context: &Context, began: Instant) -> f64 {
    let settings = &context.settings;
    match settings.scenario {
        Scenario::Notify => {
            let wanted = f64::from(settings.online) * f64::from(settings.announcements);
            context.metrics.of(Metric::Notify).count() as f64 / wanted
        }
        Scenario::Reconnect | Scenario::Sync => {
            context.metrics.of(Metric::Sync).count() as f64 / f64::from(settings.reconnects)
        }
        Scenario::Chat | Scenario::Slow | Scenario::Tasks => {
            began.elapsed().as_secs_f64() / (settings.ramp + settings.duration).as_secs_f64()
        }
    }
}

/// Judges, prints the summary and writes the JSON file.
pub(crate) fn conclude(context: &Context, scenario: &Value) -> Result<Outcome, std::io::Error> {
    progress::clear();
    let mut verdict = context.ledger.judge();
    if context.settings.scenario == Scenario::Tasks && verdict.counts.task_changes == 0 {
        verdict.invalid.get_or_insert_with(|| "no change of a task was committed".to_owned());
    }
    let metrics = &context.metrics;
    println!();
    println!("{:<10} {:>9} {}", "metric", "count", Stat::ALL.map(|stat| format!("{stat:>10}")).join(" "));
    for metric in Metric::ALL {
        line(&metric.to_string(), metrics.of(metric));
    }
    if metrics.neighbours_with.count() > 0 {
        line("  without", &metrics.neighbours_without);
        line("  with slow", &metrics.neighbours_with);
    }
    let (sent, late) = (metrics::read(&metrics.sent), metrics::read(&metrics.late));
    println!(
        "\nsent {sent}, acknowledged {}, delivered {}, refused attempts {}, unknown attempts {}, late {late}",
        metrics::read(&metrics.acked),
        metrics::read(&metrics.delivered),
        metrics::read(&metrics.refused),
        metrics::read(&metrics.unknown),
    );
    print_verdict(&verdict);
    let missed: Vec<String> = missed_thresholds(context);
    for line in &missed {
        println!("threshold missed: {line}");
    }
    let bottleneck = late * LATE_ONE_IN > sent;
    if bottleneck {
        println!("the client was the bottleneck: {late} of {sent} sends were more than 10 ms late");
    }
    let outcome = match () {
        () if !verdict.violations.is_empty() => Outcome::Ledger,
        () if verdict.invalid.is_some() => Outcome::Invalid,
        () if bottleneck => Outcome::Bottleneck,
        () if !missed.is_empty() => Outcome::Threshold,
        () => Outcome::Pass,
    };
    println!("{} (seed {})", serde_json::to_string(&outcome)?.trim_matches('"'), context.settings.seed);
    if let Some(path) = &context.settings.json {
        let report = json!({
            "outcome": outcome,
            "version": env!("CARGO_PKG_VERSION"),
            "protocol_minor": hallway_protocol::PROTOCOL_MINOR,
            "settings": context.settings,
            "metrics": Metric::ALL.map(|metric| (metric.to_string(), stats(metrics.of(metric)))).into_iter().collect::<BTreeMap<_, _>>(),
            "sent": sent,
            "acknowledged": metrics::read(&metrics.acked),
            "delivered": metrics::read(&metrics.delivered),
            "refused_attempts": metrics::read(&metrics.refused),
            "unknown_attempts": metrics::read(&metrics.unknown),
            "late": late,
            "reconnects": metrics::read(&metrics.reconnected),
            "thresholds_missed": missed,
            "ledger": verdict,
            "scenario": scenario,
        });
        std::fs::write(path, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(outcome)
}

fn missed_thresholds(context: &Context) -> Vec<String> {
    let mut missed = Vec::new();
    for threshold in &context.settings.thresholds {
        let measured = context.metrics.of(threshold.metric).value(threshold.stat);
        if !threshold.holds(measured) {
            let shown =
                measured.map_or_else(|| "nothing was measured".to_owned(), |value| format!("it is {}", human(value)));
            missed.push(format!("{threshold}: {shown}"));
        }
    }
    missed
}

fn print_verdict(verdict: &Verdict) {
    let counts = &verdict.counts;
    println!(
        "ledger: {} publishes, {} acknowledged, {} failed, {} unknown, {} received, {} raw repeats, {} resets, \
         {} sessions, {} reconnects, {} final reads",
        counts.publishes,
        counts.acknowledged,
        counts.failed,
        counts.unknown,
        counts.received,
        counts.raw_repeats,
        counts.resets,
        counts.sessions,
        counts.reconnects,
        counts.final_reads
    );
    for violation in &verdict.violations {
        println!("  {:?}: {}", violation.invariant, violation.what);
    }
    for (invariant, count) in &verdict.violation_counts {
        println!("  {invariant:?} broken {count} times");
    }
    match &verdict.invalid {
        Some(why) => println!("ledger: the run proves nothing: {why}"),
        None if verdict.violations.is_empty() => println!("ledger: clean"),
        None => {}
    }
}

fn line(name: &str, latencies: &Latencies) {
    let values = Stat::ALL.map(|stat| format!("{:>10}", latencies.value(stat).map_or_else(|| "-".to_owned(), human)));
    println!("{name:<10} {:>9} {}", latencies.count(), values.join(" "));
}

/// The stats of a distribution in microseconds, by name.
pub(crate) fn stats(latencies: &Latencies) -> Value {
    let mut map = serde_json::Map::new();
    map.insert("count".to_owned(), latencies.count().into());
    for stat in Stat::ALL {
        map.insert(format!("{stat}_us"), latencies.value(stat).into());
    }
    Value::Object(map)
}

/// Microseconds for people.
pub(crate) fn human(microseconds: u64) -> String {
    match microseconds {
        0..1_000 => format!("{microseconds}us"),
        1_000..1_000_000 => format!("{:.2}ms", Duration::from_micros(microseconds).as_secs_f64() * 1e3),
        _ => format!("{:.2}s", Duration::from_micros(microseconds).as_secs_f64()),
    }
}
