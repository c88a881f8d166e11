//! How far a run is: a bar on a terminal, a plain line a second elsewhere.

use std::io::{IsTerminal, Write};
use std::time::Instant;

use crate::driver::job::Counts;

const BAR_CELLS: usize = 24;

/// Shows where a run stands. `share`: how much of the present part is done, where that is known.
pub(crate) fn show(share: Option<f64>, text: &str) {
    let mut out = std::io::stdout().lock();
    // Nobody to show it to is no reason to fail.
    let _ = if out.is_terminal() {
        // The cursor goes back to the beginning: what is printed next takes this line's place.
        write!(out, "\r\x1b[2K{} {text}\r", bar(share)).and_then(|()| out.flush())
    } else {
        writeln!(out, "{text}")
    };
}

/// Takes the bar away.
pub(crate) fn clear() {
    let mut out = std::io::stdout().lock();
    if out.is_terminal() {
        let _ = write!(out, "\r\x1b[2K").and_then(|()| out.flush());
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share between 0 and 1 of a few cells")]
#[expect(clippy::cast_precision_loss, reason = "a few cells")]
fn bar(share: Option<f64>) -> String {
    let full = (share.unwrap_or(0.0).clamp(0.0, 1.0) * BAR_CELLS as f64) as usize;
    format!("[{}{}]", "#".repeat(full), "-".repeat(BAR_CELLS - full))
}

/// Progress of raw load: first connections, then time.
pub(crate) struct Raw {
    began: Instant,
    before: Counts,
    seats: usize,
    /// How long it will talk.
    talk_s: f64,
    talks_since: Option<Instant>,
}

impl Raw {
    pub(crate) fn new(seats: usize, talk_s: f64) -> Self {
        Self { began: Instant::now(), before: Counts::default(), seats, talk_s, talks_since: None }
    }

    /// New totals, about once a second.
    #[expect(clippy::cast_precision_loss, reason = "connections are far fewer than 2^53")]
    pub(crate) fn tick(&mut self, counts: Counts) {
        let before = std::mem::replace(&mut self.before, counts);
        if counts.sent > before.sent {
            self.talks_since.get_or_insert_with(Instant::now);
        }
        let share = match self.talks_since {
            Some(since) => since.elapsed().as_secs_f64() / self.talk_s,
            None => counts.connected as f64 / self.seats as f64,
        };
        let text = format!(
            "{:4.0}s  connected {}  sent {}/s  delivered {}/s  late {}",
            self.began.elapsed().as_secs_f64(),
            counts.connected,
            counts.sent - before.sent,
            counts.delivered - before.delivered,
            counts.late,
        );
        show(Some(share).filter(|share| share.is_finite()), &text);
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_full_as_the_run_is_done() {
        assert_eq!(bar(None), format!("[{}]", "-".repeat(BAR_CELLS)));
        assert_eq!(bar(Some(0.5)).matches('#').count(), BAR_CELLS / 2);
        assert_eq!(bar(Some(7.0)), format!("[{}]", "#".repeat(BAR_CELLS)));
    }
}
