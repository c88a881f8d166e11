//! Serves the streams that are Behind, as many events as the socket takes and nothing while the backlog is more than half full:
//! from the rings what is there, the rest from the log, with one read in flight.

use std::sync::Arc;

use hallway_protocol::codec::Codec;
use hallway_protocol::frame::{Reset, ResetReason};
use hallway_protocol::{Epoch, EventBody, Seq, StreamId, UserId};
use hallway_store::PageRequest;

use super::Sessions;
use super::page_sizes::PageSizes;
use crate::hub::{Behind, Connection, Hub, LiveEvent, LogPage, PageForPair};

/// Streams read in one go.
const STREAMS_MAX: usize = 64;
/// Pages of many streams are shorter, so that one read stays near what a socket takes.
const EVENTS_MIN_PER_STREAM: u64 = 32;
/// What a stream gets from its ring at once, however many others wait: whole pages cost the lane less than many small ones.
const HELD_MIN_BYTES_PER_STREAM: u64 = 16 * 1024;
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

/// What became of the streams that were to be served from the rings.
pub(crate) struct Served {
    /// Whether the lane has something to hand out.
    pub(crate) any: bool,
    /// What the rings do not have.
    pub(crate) unheld: Vec<Behind>,
}

/// Gives the lane what the rings have of these streams, as much as the socket takes; what it does not is wanted again. A ring
/// has what the log has, so that these are pages like any other, but for their cost.
pub(crate) fn serve_from_rings(hub: &Hub, connection: &Connection, behind: Vec<Behind>, sizes: &PageSizes) -> Served {
    let mut served = Served { any: false, unheld: Vec::new() };
    let mut left_bytes = sizes.room_bytes(connection.outbound.backlog_bytes() as u64);
    let mut later = Vec::new();
    let mut remaining = behind.len() as u64;
    for wanted in in_turn(behind) {
        let share_bytes = (left_bytes / remaining).max(HELD_MIN_BYTES_PER_STREAM);
        remaining -= 1;
        let Some(mut events) = hub.held(&wanted.stream, wanted.next) else {
            served.unheld.push(wanted);
            continue;
        };
        if left_bytes == 0 {
            later.push(wanted);
            continue;
        }
        left_bytes = left_bytes.saturating_sub(cut(&mut events, share_bytes, connection.codec));
        served.any = true;
        hub.page(PageForPair {
            connection: connection.id,
            stream: wanted.stream,
            from: wanted.next,
            joined_seq: wanted.joined_seq,
            reset: None,
            is_over: false,
            events,
        });
    }
    connection.ask_again(later);
    served
}

/// Leaves so many bytes of events, and at least one event; how many bytes these are.
fn cut(events: &mut Vec<Arc<LiveEvent>>, most_bytes: u64, codec: Codec) -> u64 {
    let mut bytes = 0;
    let past = events.iter().position(|event| {
        let is_past = bytes >= most_bytes;
        bytes += if is_past { 0 } else { event.frame().bytes(codec).len() as u64 };
        is_past
    });
    events.truncate(past.unwrap_or(events.len()));
    bytes
}

/// Begins at a place that changes with what was served, so that busy streams in front do not take all room every time.
fn in_turn(mut behind: Vec<Behind>) -> Vec<Behind> {
    let served = behind.iter().fold(0_u64, |sum, behind| sum.wrapping_add(behind.next));
    let start = served % (behind.len() as u64).max(1);
    behind.rotate_left(usize::try_from(start).unwrap_or(0));
    behind
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
        let mut is_over = false;
        if reset.is_some() {
            // What was trimmed may have held this person's removal, after which nothing is theirs.
            let Some(since) = service.member_since(&connection.user, &wanted.stream).await else { return Err(behind) };
            // Of a membership that lasts there is no end to look for.
            if since != Some(wanted.joined_seq) {
                let ends = ends_in_log(&sessions, &connection.user, wanted.joined_seq, &page).await;
                let Some(ends) = ends else { return Err(behind) };
                is_over = !ends;
            }
        }
        handed.push(PageForPair {
            connection: connection.id,
            stream: wanted.stream.clone(),
            from: wanted.next,
            joined_seq: wanted.joined_seq,
            reset,
            is_over,
            events: page.events,
        });
    }
    Ok(handed)
}

/// Whether the log, from this page on, has the end of the membership that began with an event. `None` when it could not be read.
async fn ends_in_log(sessions: &Sessions, user: &UserId, joined_seq: Seq, page: &LogPage) -> Option<bool> {
    let mut events = page.events.clone();
    for _ in 0..MEMBERSHIP_PAGES_MAX {
        let (first, last) =
            (events.first().map(|event| event.stream().clone()), events.last().map(|event| event.seq()));
        let (Some(stream), Some(after)) = (first, last) else { return Some(false) };
        if let Some(ends) = first_turn(&events, user, joined_seq) {
            return Some(ends);
        }
        let limit = u32::try_from(sessions.service.limits().page_events_max).unwrap_or(u32::MAX);
        events = sessions.reader.pages(vec![PageRequest { stream, after, limit }]).await?.pop()?.events;
    }
    sessions.service.metrics().membership_looks_cut_short.add(1);
    Some(false)
}

/// The first that events say of somebody's membership since it began: whether it ends there. `None`: nothing.
pub(crate) fn first_turn(events: &[Arc<LiveEvent>], user: &UserId, joined_seq: Seq) -> Option<bool> {
    events.iter().filter(|event| event.seq() > joined_seq).find_map(|event| match event.body()? {
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

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test panics")]
    use hallway_protocol::Event;
    use hallway_protocol::Role;
    use hallway_protocol::event::{MemberJoined, MemberRemoved, RoomArchived};

    use super::*;

    #[test]
    fn what_is_cut_has_at_least_one_event_and_ends_where_the_bytes_do() {
        let event = |seq| {
            let body = EventBody::RoomArchived(RoomArchived { by: UserId::new("ada").unwrap() });
            Arc::new(LiveEvent::new(Event { stream: StreamId::System, seq, at_ms: 0, body }))
        };
        let all: Vec<_> = (1..=9).map(event).collect();
        let one_bytes = all[0].frame().bytes(Codec::Json).len() as u64;
        for (most_bytes, count) in [(1, 1), (one_bytes, 1), (one_bytes + 1, 2), (9 * one_bytes, 9), (u64::MAX, 9)] {
            let mut events = all.clone();
            assert_eq!(cut(&mut events, most_bytes, Codec::Json), count * one_bytes, "at most {most_bytes} bytes");
            assert_eq!(events.len() as u64, count, "at most {most_bytes} bytes");
        }
    }

    #[test]
    fn a_membership_ends_with_the_first_removal_after_it_began_and_with_no_other() {
        let ben = || UserId::new("ben").unwrap();
        let turn = |seq, joins: bool, user: UserId| {
            let by = UserId::new("ada").unwrap();
            let body = if joins {
                EventBody::MemberJoined(MemberJoined { user, role: Role::Member, by })
            } else {
                EventBody::MemberRemoved(MemberRemoved { user, by })
            };
            Arc::new(LiveEvent::new(Event { stream: StreamId::System, seq, at_ms: 0, body }))
        };
        // Ben leaves at 3, is back from 5 to 7 and from 9 on; somebody else leaves first.
        let kept = [(2, false), (3, false), (5, true), (7, false), (9, true)];
        let kept: Vec<_> = kept
            .into_iter()
            .map(|(seq, joins)| turn(seq, joins, if seq == 2 { UserId::new("cy").unwrap() } else { ben() }))
            .collect();
        for (joined_seq, kept_from, ends) in [
            (1, 0, Some(true)),
            // Its end is gone; what comes first is a membership that began later.
            (1, 2, Some(false)),
            (5, 0, Some(true)),
            (5, 2, Some(true)),
            (9, 0, None),
            (9, 5, None),
        ] {
            assert_eq!(
                first_turn(&kept[kept_from..], &ben(), joined_seq),
                ends,
                "since {joined_seq}, from {kept_from}"
            );
        }
    }

    #[test]
    fn each_stream_is_first_in_some_turn_and_none_is_lost() {
        let behind = |next| -> Vec<Behind> {
            (0..5)
                .map(|room| Behind { stream: format!("room:r{room}").parse().unwrap(), next, joined_seq: 1 })
                .collect()
        };
        let mut firsts: Vec<String> = Vec::new();
        for next in 1..=5 {
            let mut turned =
                in_turn([vec![Behind { next: next * 7, ..behind(0)[0].clone() }], behind(0)[1..].to_vec()].concat());
            firsts.push(turned[0].stream.to_string());
            turned.sort_by_key(|behind| behind.stream.to_string());
            assert_eq!(turned.len(), 5);
            assert!(turned.iter().zip(behind(0)).all(|(one, other)| one.stream == other.stream));
        }
        firsts.sort();
        firsts.dedup();
        assert_eq!(firsts.len(), 5, "{firsts:?}");
        assert!(in_turn(Vec::new()).is_empty());
    }
}
