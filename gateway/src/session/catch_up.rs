//! Serves the streams that are Behind from the log: one read in flight, none while the backlog is more than half full.

use std::sync::Arc;

use hallway_protocol::Epoch;
use hallway_protocol::frame::{Reset, ResetReason};
use hallway_store::PageRequest;

use crate::hub::{Behind, Connection, LogPage, PageForPair};
use crate::service::{PageReader, Service};

/// Streams read in one go.
const STREAMS_MAX: usize = 64;
/// Pages of many streams are shorter, so that one read stays near half a backlog.
const EVENTS_MIN_PER_STREAM: u64 = 32;

/// What to read now, if anything.
pub(crate) fn next(connection: &Connection) -> Option<Vec<Behind>> {
    if !connection.has_behind() || !connection.outbound.is_half_empty() {
        return None;
    }
    let behind = connection.take_behind(STREAMS_MAX);
    (!behind.is_empty()).then_some(behind)
}

/// Reads the pages, ready for the lane.
///
/// # Errors
/// The streams come back when the store could not be read; it was logged.
pub(super) async fn read(
    service: Service,
    reader: PageReader,
    connection: Arc<Connection>,
    behind: Vec<Behind>,
) -> Result<Vec<PageForPair>, Vec<Behind>> {
    let page_events_max = service.limits().page_events_max;
    let share = page_events_max / behind.len().max(1) as u64;
    let limit = u32::try_from(share.max(EVENTS_MIN_PER_STREAM).min(page_events_max)).unwrap_or(u32::MAX);
    let requests = behind
        .iter()
        .map(|behind| PageRequest { stream: behind.stream.clone(), after: behind.next.saturating_sub(1), limit })
        .collect();
    let Some(pages) = reader.pages(requests).await else { return Err(behind) };
    let epoch = service.hub().epoch();
    if pages.iter().any(|page| page.epoch != epoch) {
        // The store began a new life; this connection is about to be told.
        return Err(behind);
    }
    let mut handed = Vec::with_capacity(behind.len());
    for (wanted, page) in behind.iter().zip(pages) {
        let reset = reset_of(wanted, &page, &epoch);
        let gone = match &reset {
            None => false,
            // What was trimmed may have held this person's removal, after which nothing is theirs.
            Some(reset) => match service.is_member_since(&connection.user, &wanted.stream, reset.seq).await {
                Some(still) => !still,
                None => return Err(behind),
            },
        };
        handed.push(PageForPair {
            connection: connection.id,
            stream: wanted.stream.clone(),
            from: wanted.next,
            reset,
            gone,
            events: page.events,
        });
    }
    Ok(handed)
}

/// A page that does not begin where it should, or is empty below the head, is a reset: never a silent hole.
pub(crate) fn reset_of(behind: &Behind, page: &LogPage, epoch: &Epoch) -> Option<Reset> {
    let seq = match page.events.first() {
        Some(first) if first.seq() == behind.next => return None,
        Some(first) => first.seq() - 1,
        None if page.last_seq < behind.next => return None,
        None => page.last_seq,
    };
    Some(Reset { stream: behind.stream.clone(), epoch: epoch.clone(), seq, reason: ResetReason::Trimmed })
}
