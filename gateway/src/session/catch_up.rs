//! Serves the streams that are Behind from the log: one read in flight, none while the backlog is more than half full.

use std::sync::Arc;

use hallway_protocol::Epoch;
use hallway_protocol::frame::{Reset, ResetReason};
use hallway_store::PageRequest;

use crate::hub::{Behind, Connection, Hub, LogPage, PageForPair};
use crate::service::PageReader;

/// Streams read in one go.
const STREAMS_MAX: usize = 64;
/// Pages of many streams are shorter, so that one read stays near half a backlog.
const EVENTS_MIN_PER_STREAM: u64 = 32;

/// What to read now, if anything.
pub(super) fn next(connection: &Connection) -> Option<Vec<Behind>> {
    if !connection.has_behind() || !connection.outbound.is_half_empty() {
        return None;
    }
    let behind = connection.take_behind(STREAMS_MAX);
    (!behind.is_empty()).then_some(behind)
}

/// Reads the pages. The streams come back with them, or alone when the log could not be read.
pub(super) async fn read(
    reader: PageReader,
    behind: Vec<Behind>,
    page_events_max: u64,
) -> (Vec<Behind>, Option<Vec<LogPage>>) {
    let share = page_events_max / behind.len().max(1) as u64;
    let limit = u32::try_from(share.max(EVENTS_MIN_PER_STREAM).min(page_events_max)).unwrap_or(u32::MAX);
    let requests = behind
        .iter()
        .map(|behind| PageRequest { stream: behind.stream.clone(), after: behind.next.saturating_sub(1), limit })
        .collect();
    let pages = reader.pages(requests).await;
    (behind, pages)
}

/// Hands the pages to the lane, which alone appends them.
pub(super) fn hand_over(hub: &Hub, connection: &Arc<Connection>, behind: Vec<Behind>, pages: Vec<LogPage>) {
    let epoch = hub.epoch();
    for (behind, page) in behind.into_iter().zip(pages) {
        let reset = reset_of(&behind, &page, &epoch);
        hub.page(PageForPair {
            connection: connection.id,
            stream: behind.stream,
            from: behind.next,
            reset,
            events: page.events,
        });
    }
}

/// A page that does not begin where it should, or is empty below the head, is a reset: never a silent hole.
fn reset_of(behind: &Behind, page: &LogPage, epoch: &Epoch) -> Option<Reset> {
    let seq = match page.events.first() {
        Some(first) if first.seq() == behind.next => return None,
        Some(first) => first.seq() - 1,
        None if page.last_seq < behind.next => return None,
        None => page.last_seq,
    };
    Some(Reset { stream: behind.stream.clone(), epoch: epoch.clone(), seq, reason: ResetReason::Trimmed })
}
