//! Pure: how many events of a stream a socket takes at once, as far as the stream's last pages tell.
//!
//! The log is asked for so many events, but a socket takes so many bytes: what a page has beyond that is read again. Only
//! streams whose events are large are remembered here; of any other one a socket takes a whole page.
//!
//! **Invariant:** a page is asked for at least one event, and never for more than the limit says.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hallway_protocol::StreamId;

use crate::config::Limits;

/// Streams with large events that are remembered. Beyond that all are forgotten, and learned again.
const STREAMS_MAX: usize = 1_024;
/// After a page of smaller events they count as so many times smaller at most.
const SHRINKAGE_MAX: u64 = 2;

/// What a node knows of it. All who read a stream share it, so that those who want the same ask for the same.
#[derive(Debug)]
pub(crate) struct PageSizes {
    page_max_events: u64,
    backlog_max_bytes: u64,
    /// What the kernel takes beside the backlog.
    kernel_max_bytes: u64,
    /// The bytes of one event.
    large: Mutex<HashMap<StreamId, u64>>,
}

impl PageSizes {
    /// Nothing is known.
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            page_max_events: limits.page_events_max,
            backlog_max_bytes: limits.backlog_max_bytes,
            kernel_max_bytes: limits.socket_send_buffer_bytes / 2,
            large: Mutex::default(),
        }
    }

    fn large(&self) -> MutexGuard<'_, HashMap<StreamId, u64>> {
        self.large.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a socket may take of which so many bytes wait: while some do, the kernel takes none.
    pub(crate) fn room_bytes(&self, backlog_bytes: u64) -> u64 {
        let kernel = if backlog_bytes == 0 { self.kernel_max_bytes } else { 0 };
        self.backlog_max_bytes.saturating_sub(backlog_bytes) + kernel
    }

    /// How many events to ask for, each of several streams that share what one socket takes.
    pub(crate) fn events<'a>(
        &self,
        streams: impl ExactSizeIterator<Item = &'a StreamId>,
        least: u64,
        backlog_bytes: u64,
    ) -> Vec<u64> {
        let count = (streams.len() as u64).max(1);
        let share = (self.page_max_events / count).max(least).min(self.page_max_events);
        let share_bytes = self.room_bytes(backlog_bytes) / count;
        let large = self.large();
        let limit = |stream| large.get(stream).map_or(share, |bytes| share.min((share_bytes / bytes).max(1)));
        streams.map(limit).collect()
    }

    /// A page of so many events came, of so many bytes.
    pub(crate) fn learn(&self, stream: &StreamId, events: u64, bytes: u64) {
        if events == 0 {
            return;
        }
        let mut large = self.large();
        let least = large.get(stream).map_or(0, |before| before / SHRINKAGE_MAX);
        let event_bytes = (bytes / events).max(least);
        // The least that there is room for when a page is read.
        if event_bytes * self.page_max_events <= self.backlog_max_bytes / 2 {
            large.remove(stream);
            return;
        }
        if large.len() >= STREAMS_MAX && !large.contains_key(stream) {
            large.clear();
        }
        large.insert(stream.clone(), event_bytes.max(1));
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test panics")]
    use proptest::prelude::*;

    use super::*;

    fn stream(number: usize) -> StreamId {
        format!("room:r{number}").parse().unwrap()
    }

    fn sizes(page_events_max: u64, backlog_max_bytes: u64) -> PageSizes {
        let socket_send_buffer_bytes = 2 * (backlog_max_bytes / 3);
        PageSizes::new(&Limits { page_events_max, backlog_max_bytes, socket_send_buffer_bytes, ..Limits::default() })
    }

    /// Reads a log to its end for a client that reads so much between two pages. How many events each page had, and how many
    /// of them were taken.
    fn read_all(sizes: &PageSizes, log: &[u64], mut backlogs: impl Iterator<Item = u64>) -> Vec<(usize, usize)> {
        let stream = stream(0);
        let (mut at, mut pages) = (0, Vec::new());
        while at < log.len() {
            let waiting = backlogs.next().unwrap();
            let limit = usize::try_from(sizes.events(std::iter::once(&stream), 1, waiting)[0]).unwrap();
            let page = &log[at..log.len().min(at + limit)];
            sizes.learn(&stream, page.len() as u64, page.iter().sum());
            // One is taken however large it is.
            let mut left = sizes.room_bytes(waiting);
            let fit = page.iter().take_while(|bytes| left.checked_sub(**bytes).map(|rest| left = rest).is_some());
            let taken = fit.count().max(1).min(page.len());
            pages.push((page.len(), taken));
            at += taken;
        }
        pages
    }

    proptest! {
        /// Whatever comes after whatever, the log is read to its end in pages that the limit allows.
        #[test]
        fn every_log_is_read_to_its_end(
            events_max in 1..200_u64, backlog in 2_000..300_000_u64,
            runs in prop::collection::vec((1..60_usize, 50..20_000_u64), 1..20),
            waiting in prop::collection::vec(0..1_000_u64, 1..10),
        ) {
            let log: Vec<u64> = runs.iter().flat_map(|(count, bytes)| std::iter::repeat_n(*bytes, *count)).collect();
            let pages = read_all(&sizes(events_max, backlog), &log, waiting.into_iter().cycle());
            prop_assert!(pages.iter().all(|(events, _)| (1..=events_max).contains(&(*events as u64))));
            prop_assert_eq!(pages.iter().map(|(_, taken)| taken).sum::<usize>(), log.len());
        }

        /// Of events that are all alike, nothing is read twice after the first page, and each page is all that the socket takes.
        #[test]
        fn what_is_alike_is_read_once_after_the_first_page(
            events_max in 1..500_u64, backlog in 2_000..300_000_u64, count in 1..2_000_usize, bytes in 50..20_000_u64,
            waiting in prop::collection::vec(0.0..0.5_f64, 1..10),
        ) {
            let sizes = sizes(events_max, backlog);
            let waiting: Vec<u64> = waiting.into_iter().map(|share| (share * backlog as f64) as u64).collect();
            let pages = read_all(&sizes, &vec![bytes; count], waiting.iter().copied().cycle());
            for (index, (events, taken)) in pages.iter().enumerate().skip(1) {
                prop_assert_eq!(events, taken, "page {} of {:?}", index, pages);
                let whole = (sizes.room_bytes(waiting[index % waiting.len()]) / bytes).clamp(1, events_max);
                prop_assert!(index + 1 == pages.len() || *events as u64 == whole, "page {}: {events}, not {whole}", index);
            }
        }
    }

    #[test]
    fn a_stream_whose_events_become_small_again_is_forgotten_step_by_step() {
        let sizes = sizes(100, 15_000);
        let ask = || sizes.events(std::iter::once(&stream(0)), 1, 0)[0];
        assert_eq!(ask(), 100);
        sizes.learn(&stream(0), 100, 100 * 1_000);
        let asked: Vec<u64> = std::iter::repeat_with(|| {
            let events = ask();
            sizes.learn(&stream(0), events, events * 10);
            events
        })
        .take(5)
        .collect();
        assert_eq!(asked, [20, 40, 80, 100, 100]);
        assert!(sizes.large().is_empty());
    }

    #[test]
    fn several_streams_share_what_a_socket_takes_and_each_gets_at_least_one_event() {
        let sizes = sizes(100, 15_000);
        sizes.learn(&stream(0), 10, 10_000);
        sizes.learn(&stream(1), 1, 1_000_000);
        let streams: Vec<StreamId> = (0..4).map(stream).collect();
        assert_eq!(sizes.events(streams.iter(), 32, 0), [5, 1, 32, 32]);
        assert_eq!(sizes.events(streams.iter(), 32, 7_000), [2, 1, 32, 32]);
    }

    #[test]
    fn no_more_streams_are_remembered_than_the_bound_says() {
        let sizes = sizes(100, 20_000);
        for number in 0..3 * STREAMS_MAX {
            sizes.learn(&stream(number), 1, 10_000);
            assert!(sizes.large().len() <= STREAMS_MAX);
        }
    }
}
