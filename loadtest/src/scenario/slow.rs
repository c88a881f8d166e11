//! One member stops reading for a while; what does that cost the others?

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::chat;
use crate::member::Window;
use crate::metrics::{self, Stat};
use crate::report::{human, stats};
use crate::run::{Context, Failure};

/// Below the time after which a node closes a connection that takes no byte.
const PAUSE_MAX: Duration = Duration::from_secs(20);
/// What a slow reader may cost its neighbours: this much of p50, and of p99 with a little more.
const P50_FACTOR: f64 = 1.25;
const P99_FACTOR: f64 = 1.2;
const P99_EXTRA_US: f64 = 5_000.0;
const FAULT: &str = "slow reader fell behind";

pub(super) async fn run(context: &Arc<Context>) -> Result<Value, Failure> {
    let window = Arc::new(Window::default());
    let epoch = Instant::now();
    let rooms = chat::set_up(context, epoch, Some(&window)).await?;
    let neighbourhood = rooms.first().ok_or("no room")?;
    let slow = Arc::clone(neighbourhood.members.last().ok_or("no member")?);
    let neighbour = Arc::clone(neighbourhood.members.first().ok_or("no member")?);
    let pause = (context.settings.duration / 3).min(PAUSE_MAX);
    context.ledger.fault_planned(FAULT);
    let since_epoch = || u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
    let stop_and_go = async {
        tokio::time::sleep(pause).await;
        slow.client.pause_reading(true);
        window.to_ns.store(u64::MAX, Ordering::Relaxed);
        window.from_ns.store(since_epoch(), Ordering::Relaxed);
        println!("the slow reader stops reading for {pause:?}");
        tokio::time::sleep(pause).await;
        window.to_ns.store(since_epoch(), Ordering::Relaxed);
        let behind = metrics::read(&neighbour.delivered).saturating_sub(metrics::read(&slow.delivered));
        if behind > 0 {
            context.ledger.fault_bit(FAULT);
        }
        println!("the slow reader reads again, {behind} messages behind");
        slow.client.pause_reading(false);
        behind
    };
    let talking = chat::talk(context, &rooms, epoch, context.settings.duration);
    let (talked, behind) = tokio::join!(talking, stop_and_go);
    talked?;
    chat::wind_up(context, rooms).await?;
    Ok(compare(context, behind))
}

fn compare(context: &Context, behind: u64) -> Value {
    let (without, with) = (&context.metrics.neighbours_without, &context.metrics.neighbours_with);
    let value = |latencies: &metrics::Latencies, stat| latencies.value(stat).unwrap_or(0);
    let (p50, p50_with) = (value(without, Stat::P50), value(with, Stat::P50));
    let (p99, p99_with) = (value(without, Stat::P99), value(with, Stat::P99));
    // Microseconds of a run are far below 2^53.
    #[expect(clippy::cast_precision_loss, reason = "microseconds of a run are far below 2^53")]
    let within =
        p50_with as f64 <= p50 as f64 * P50_FACTOR && p99_with as f64 <= p99 as f64 * P99_FACTOR + P99_EXTRA_US;
    println!(
        "\nneighbours of the slow reader: p50 {} without, {} with; p99 {} without, {} with: {}",
        human(p50),
        human(p50_with),
        human(p99),
        human(p99_with),
        if within { "within the bounds" } else { "beyond the bounds (p50 x 1.25, p99 x 1.2 + 5 ms)" },
    );
    json!({ "behind": behind, "within": within, "without": stats(without), "with": stats(with) })
}
