//! Which node to try, and when.

use std::time::{Duration, Instant};

use hallway_protocol::CloseCode;
use hallway_protocol::command::Welcome;
use rand::seq::IteratorRandom;

use super::ClientSettings;
use crate::connection::Connection;
use crate::error::ClientError;

/// A time to wait that a node gave is made longer by up to this share: it may have said the same to many.
const JITTER: f64 = 0.1;

impl ClientSettings {
    /// Takes the next target.
    pub(super) fn rotate(&mut self) {
        let Some(present) = self.targets.iter().position(|target| *target == self.connect.url) else {
            if let Some(first) = self.targets.first() {
                self.connect.url.clone_from(first);
            }
            return;
        };
        self.connect.url.clone_from(&self.targets[(present + 1) % self.targets.len()]);
    }

    /// After an end: whether the node will not be there for a while.
    pub(super) fn note_end(&mut self, error: &ClientError) {
        let is_staying = matches!(error, ClientError::Ended(end) if end.close_code().is_some_and(|code| code != CloseCode::Draining));
        if is_staying {
            return;
        }
        // Any of the others, so that those who were with one node do not all go to the same next one.
        let others = self.targets.iter().filter(|target| **target != self.connect.url);
        if let Some(other) = others.choose(&mut rand::rng()).cloned() {
            self.connect.url = other;
        }
    }
}

/// How long to wait before a node is tried again that asked for it.
pub(super) fn asked_pause(error: &ClientError) -> Option<Duration> {
    error.retry_after().map(|after| after.mul_f64(rand::random_range(1.0..=1.0 + JITTER)))
}

/// The first connection: each target is tried once, and as often as it asks for it.
pub(super) async fn connect_first(settings: &mut ClientSettings) -> Result<(Connection, Welcome), ClientError> {
    let since = Instant::now();
    let mut failures = 0;
    loop {
        let error = match Connection::open(&settings.connect).await {
            Ok(connected) => return Ok(connected),
            Err(error) => error,
        };
        let asked = asked_pause(&error);
        failures += usize::from(asked.is_none());
        let is_over = since.elapsed() + asked.unwrap_or_default() > settings.give_up_after;
        if is_over || !error.retryable() || failures >= settings.targets.len().max(1) {
            return Err(error);
        }
        settings.rotate();
        tokio::time::sleep(asked.unwrap_or_default()).await;
    }
}
