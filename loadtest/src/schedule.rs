//! The open-loop schedule: when each message is due, whatever the node does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

/// Messages that are due and were not taken yet. A client that is this far behind has lost anyway.
const DUE_MAX: usize = 65_536;

/// Says when messages are due, each with its intended time, on a thread of its own: the runtime's timer has steps of a
/// millisecond. Ends after `duration`, when `stop` is set, or when nobody listens.
pub(crate) fn start(
    rate: f64,
    duration: Duration,
    started: Instant,
    stop: Arc<AtomicBool>,
) -> std::io::Result<mpsc::Receiver<Instant>> {
    let (outbox, inbox) = mpsc::channel(DUE_MAX);
    let gap = Duration::from_secs_f64(1.0 / rate);
    std::thread::Builder::new().name("schedule".to_owned()).spawn(move || {
        for number in 0..u32::MAX {
            let offset = gap.mul_f64(f64::from(number));
            if offset >= duration || stop.load(Ordering::Relaxed) {
                return;
            }
            let due = started + offset;
            while let Some(left) = due.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
                std::thread::sleep(left.min(Duration::from_millis(100)));
                if stop.load(Ordering::Relaxed) {
                    return;
                }
            }
            if outbox.blocking_send(due).is_err() {
                return;
            }
        }
    })?;
    Ok(inbox)
}
