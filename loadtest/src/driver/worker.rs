//! The worker process: the job is the first line of its input, orders follow, reports come out; it ends with its input.

use std::io::{BufRead, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::engine::{Engine, WAKER};
use super::job::{Job, Order, Report};
use crate::run::Failure;

/// Orders that wait to be obeyed.
const ORDERS_MAX: usize = 64;

/// Does what standard input says.
pub(crate) fn run() -> Result<(), Failure> {
    let mut report = |report: Report| say(&report);
    let result = obey(&mut report);
    if let Err(error) = &result {
        report(Report::Failed(crate::run::with_causes(error.as_ref())));
    }
    result
}

fn obey(report: &mut dyn FnMut(Report)) -> Result<(), Failure> {
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let job: Job = serde_json::from_str(&line)?;
    report(Report::Ready);
    let mut engine = Engine::new(job, report)?;
    let waker = Arc::new(mio::Waker::new(engine.poll.registry(), WAKER)?);
    let (outbox, orders): (_, Receiver<Order>) = sync_channel(ORDERS_MAX);
    std::thread::Builder::new().name("orders".to_owned()).spawn(move || listen(outbox, &waker))?;
    engine.run(&orders)?;
    Ok(())
}

/// Passes orders on until input ends; dropping the sender ends the engine.
fn listen(outbox: SyncSender<Order>, waker: &mio::Waker) {
    for line in std::io::stdin().lock().lines() {
        let order = match line.map_err(serde_json::Error::io).and_then(|line| serde_json::from_str(&line)) {
            Ok(order) => order,
            Err(error) => {
                say(&Report::Failed(format!("an order cannot be read: {error}")));
                break;
            }
        };
        if outbox.send(order).is_err() || waker.wake().is_err() {
            return;
        }
    }
    drop(outbox);
    // If it cannot be woken it looks by itself soon.
    let _ = waker.wake();
}

/// One line. A coordinator that does not listen any more has ended, and so will this process.
fn say(report: &Report) {
    let mut out = std::io::stdout().lock();
    if let Ok(mut line) = serde_json::to_vec(report) {
        line.push(b'\n');
        let _ = out.write_all(&line).and_then(|()| out.flush());
    }
}
