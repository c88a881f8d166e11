//! Serves the streams that are Behind from the log: one read in flight, none while the backlog is more than half full, and as
//! many events as the socket takes.

use std::sync::Arc;

use hallway_protocol::codec::Codec;
use hallway_protocol::frame::{Reset, ResetReason};
use hallway_protocol::{Epoch, EventBody, StreamId, UserId};
use hallway_store::PageRequest;

use super::Sessions;
use super::page_sizes::PageSizes;
use crate::hub::{Behind, Connection, LiveEvent, LogPage, PageForPair};

/// Streams read in one go.
const STREAMS_MAX: usize = 64;
/// Pages of many streams are shorter, so that one read stays near what a socket takes.
const EVENTS_MIN_PER_STREAM: u64 = 32;
/// Pages in which the end of a membership is looked for. Beyond them it counts as ended before what the log still has.
const MEMBERSHIP_PAGES_MAX: usize = 64;

/// What to read now, if anything.
pub(crate) fn next(connection: &Connection) -> Option<Vec<Behind>> {
    if !connection.has_behind() || !connection.outbound.is_half_empty() {
        return None;
    }
    let behind = connection.take_behind(STREAMS_MAX);
    (!behind.is_empty()).then_some(behind)
}

/// What to ask of the log for them.
pub(crate) fn requests(connection: &Connection, behind: &[Behind], sizes: &PageSizes) -> Vec<PageRequest> {
    let backlog_bytes = connection.outbound.backlog_bytes() as u64;
    let limits = sizes.events(behind.iter().map(|behind| &behind.stream), EVENTS_MIN_PER_STREAM, backlog_bytes);
    let request = |(behind, limit): (&Behind, u64)| PageRequest {
        stream: behind.stream.clone(),
        after: behind.next.saturating_sub(1),
        limit: u32::try_from(limit).unwrap_or(u32::MAX),
    };
    behind.iter().zip(limits).map(request).collect()
}

/// Notes how large the events of a stream are, as they are sent.
pub(crate) fn learn(sizes: &PageSizes, stream: &StreamId, page: &LogPage, codec: Codec) {
    let bytes = page.events.iter().map(|event| event.frame().bytes(codec).len() as u64).sum();
    sizes.learn(stream, page.events.len() as u64, bytes);
}

/// Reads the pages, ready for the lane.
///
/// # Errors
/// The streams come back when the store could not be read; it was logged.
pub(super) async fn read(
    sessions: Arc<Sessions>,
    connection: Arc<Connection>,
    behind: Vec<Behind>,
) -> Result<Vec<PageForPair>, Vec<Behind>> {
    let service = &sessions.service;
    let requests = requests(&connection, &behind, &sessions.page_sizes);
    let Some(pages) = sessions.reader.pages(requests).await else { return Err(behind) };
    let epoch = service.hub().epoch();
    if pages.iter().any(|page| page.epoch != epoch) {
        // The store began a new life; this connection is about to be told.
        return Err(behind);
    }
    let mut handed = Vec::with_capacity(behind.len());
    for (wanted, page) in behind.iter().zip(pages) {
        learn(&sessions.page_sizes, &wanted.stream, &page, connection.codec);
        let reset = reset_of(wanted, &page, &epoch);
        let mut member_since = None;
        let mut ends_later = false;
        if reset.is_some() {
            // What was trimmed may have held this person's removal, after which nothing is theirs.
            let Some(since) = service.member_since(&connection.user, &wanted.stream).await else { return Err(behind) };
            let Some(ends) = ends_in_log(&sessions, &connection, &page).await else { return Err(behind) };
            (member_since, ends_later) = (since, ends);
        }
        handed.push(PageForPair {
            connection: connection.id,
            stream: wanted.stream.clone(),
            from: wanted.next,
            reset,
            member_since,
            ends_later,
            events: page.events,
        });
    }
    Ok(handed)
}

/// Whether the log, from this page on, has the end of a membership that ran on through what it no longer has. `None` when it
/// could not be read.
async fn ends_in_log(sessions: &Sessions, connection: &Connection, page: &LogPage) -> Option<bool> {
    let mut events = page.events.clone();
    for _ in 0..MEMBERSHIP_PAGES_MAX {
        let (first, last) =
            (events.first().map(|event| event.stream().clone()), events.last().map(|event| event.seq()));
        let (Some(stream), Some(after)) = (first, last) else { return Some(false) };
        if let Some(ends) = first_turn(&events, &connection.user) {
            return Some(ends);
        }
        let limit = u32::try_from(sessions.service.limits().page_events_max).unwrap_or(u32::MAX);
        events = sessions.reader.pages(vec![PageRequest { stream, after, limit }]).await?.pop()?.events;
    }
    Some(false)
}

/// The first that events say of somebody's membership: whether it ends there. `None`: nothing.
pub(crate) fn first_turn(events: &[Arc<LiveEvent>], user: &UserId) -> Option<bool> {
    events.iter().find_map(|event| match event.body()? {
        EventBody::MemberRemoved(removed) => (removed.user == *user).then_some(true),
        EventBody::MemberJoined(joined) => (joined.user == *user).then_some(false),
        _ => None,
    })
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
