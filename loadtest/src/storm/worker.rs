//! A process with a few thousand whole clients. The job is the first line of its input, orders follow; it ends with its input.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hallway_protocol::codec::Codec;
use loadtest_client::State;
use tokio::sync::mpsc;

use super::job::{Ended, Job, Order, Report};
use crate::arguments::{Scenario, Settings};
use crate::metrics;
use crate::run::{Context, Failure, Handle};
use crate::scenario::chat::{self, Room};

/// Between two looks at who is back.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Longer than any experiment.
const TALK_FOR: Duration = Duration::from_secs(3600);
/// Bytes of text in each message.
const PAYLOAD_BYTES: usize = 128;
/// Orders that wait to be obeyed.
const ORDERS_MAX: usize = 8;

/// Does what standard input says.
pub(crate) fn run() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(obey());
    if let Err(error) = &result {
        say(&Report::Failed(crate::run::with_causes(error.as_ref())));
    }
    result
}

fn say(report: &Report) {
    let mut out = std::io::stdout().lock();
    if let Ok(line) = serde_json::to_string(report) {
        // A coordinator that does not listen any more has ended, and so will this process.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

async fn obey() -> Result<(), Failure> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let job: Job = serde_json::from_str(&line)?;
    let (outbox, mut orders) = mpsc::channel(ORDERS_MAX);
    std::thread::Builder::new().name("orders".to_owned()).spawn(move || {
        for line in std::io::stdin().lock().lines() {
            let Some(order) = line.ok().and_then(|line| serde_json::from_str::<Order>(&line).ok()) else { return };
            if outbox.blocking_send(order).is_err() {
                return;
            }
        }
    })?;
    let stop = Arc::new(AtomicBool::new(false));
    let context = Context::new(settings(&job), Arc::clone(&stop));
    let started = Instant::now();
    let rooms = Arc::new(chat::set_up(&context, started, None).await?);
    say(&Report::Ready { clients: rooms.iter().map(|room| room.members.len() as u64).sum() });
    let talking = tokio::spawn({
        let (context, rooms) = (Arc::clone(&context), Arc::clone(&rooms));
        async move { chat::talk(&context, &rooms, started, TALK_FOR).await }
    });
    while let Some(order) = orders.recv().await {
        match order {
            Order::Lost { node } => until_back(&rooms, node).await,
            Order::End => {
                stop.store(true, Ordering::Relaxed);
                talking.await??;
                let rooms = Arc::try_unwrap(rooms).map_err(|_| "the rooms are still in use")?;
                say(&Report::Ended(Box::new(end(&context, rooms).await?)));
                return Ok(());
            }
        }
    }
    Ok(())
}

fn settings(job: &Job) -> Settings {
    Settings {
        scenario: Scenario::Chat,
        targets: job.targets.clone(),
        server_pids: Vec::new(),
        secret: job.secret.clone(),
        rooms: job.rooms,
        members: job.members,
        users: job.rooms * job.members,
        rate: job.rate,
        duration: TALK_FOR,
        ramp: Duration::ZERO,
        payload: PAYLOAD_BYTES,
        codec: Codec::Json,
        thresholds: Vec::new(),
        json: None,
        missed: 0,
        reconnects: 0,
        recipients: 0,
        online: 0,
        announcements: 0,
        tasks: 0,
        threads: 1,
        notifications: 0,
        seed: rand::random(),
    }
}

/// Says again and again how many of those who sat on this node are in sync again, until all are.
async fn until_back(rooms: &[Room], node: usize) {
    let lost: Vec<&Arc<Handle>> =
        rooms.iter().flat_map(|room| &room.members).filter(|handle| handle.target == node).collect();
    loop {
        // The first sync was the one at the beginning.
        let back = lost.iter().filter(|handle| handle.progress.borrow().synced.0 > 1).count();
        say(&Report::Back { lost: lost.len() as u64, back: back as u64 });
        if back == lost.len() {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn end(context: &Arc<Context>, rooms: Vec<Room>) -> Result<Ended, Failure> {
    let gave_up = |handle: &&Arc<Handle>| matches!(handle.client.state(), State::Closed(_));
    let closed = rooms.iter().flat_map(|room| &room.members).filter(gave_up).count() as u64;
    chat::wind_up(context, rooms).await?;
    context.close_books();
    tokio::task::yield_now().await;
    let verdict = context.ledger.judge();
    let (sent, acknowledged) = (metrics::read(&context.metrics.sent), metrics::read(&context.metrics.acked));
    Ok(Ended {
        syncs: context.metrics.resync.pairs(),
        sent,
        acknowledged,
        not_absorbed: closed + sent.saturating_sub(acknowledged),
        violations: verdict.violations.len() as u64,
        first_violation: verdict.violations.first().map(|violation| format!("{violation:?}")),
        invalid: verdict.invalid.as_ref().map(|why| format!("{why:?}")),
    })
}
