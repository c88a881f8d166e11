//! Writes down which notifications were handed to which connections, for operators who ask what became of one.

use std::time::Duration;

use hallway_protocol::SessionId;
use hallway_store::{DELIVERY_SEQS_MAX, Delivery};
use tracing::debug;

use super::Service;
use crate::hub::{NOTE_SEQS_MAX, Note};
use crate::tasks::Tasks;

/// How often it is written.
const PERIOD: Duration = Duration::from_secs(1);
/// Notes in one statement. What is more waits for the next one.
const NOTES_PER_STATEMENT_MAX: usize = 10_000;

const _: () = assert!(NOTE_SEQS_MAX <= DELIVERY_SEQS_MAX, "a trace would not find all that a note spans");

impl Service {
    /// Writes what the hub noted, once a second; ends with `tasks`, after a last time.
    pub(super) async fn write_diary(&self, tasks: Tasks) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(PERIOD) => {}
                () = tasks.stopped() => {}
            }
            let is_last = tasks.is_stopped();
            self.write_notes().await;
            if is_last {
                return;
            }
        }
    }

    async fn write_notes(&self) {
        let hub = &self.inner.hub;
        let notes = hub.diary().take(NOTES_PER_STATEMENT_MAX);
        let delivery = |note: &Note| {
            let session = SessionId::new(&hub.session_name(note.connection)).ok()?;
            Some(Delivery { from_seq: note.from_seq, last: note.last, session, at_ms: note.at_ms })
        };
        let deliveries: Vec<Delivery> = notes.iter().filter_map(delivery).collect();
        if deliveries.is_empty() {
            return;
        }
        let (count, metrics) = (deliveries.len() as u64, &self.inner.metrics);
        let timeout = Duration::from_millis(self.inner.limits.store_timeout_ms);
        match tokio::time::timeout(timeout, self.inner.store.note_deliveries(deliveries)).await {
            Ok(Ok(())) => metrics.delivery_notes.add(count),
            failed => {
                // Nothing rests on the diary; what is kept for a store that is away only hurts it when it is back.
                metrics.delivery_notes_dropped.add(count);
                if let Ok(Err(error)) = failed {
                    debug!(%error, "deliveries could not be noted");
                }
            }
        }
    }
}
