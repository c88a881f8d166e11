//! Pure: one connection's state in one stream, `Live` or `Behind`.
//!
//! A pair sends exactly the numbers `next`, `next + 1`, … and nothing else, whatever comes. When it cannot (a number was
//! skipped, or the backlog was full) it is Behind: it ignores live events until it was served from the ring or the log up to
//! the lane's cursor.

use hallway_protocol::{Seq, StreamId};

use crate::hub::Behind;

/// What to do with an event for a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Send,
    Skip,
    /// Something before it is missing: ask for the log from `next` on.
    FellBehind,
}

/// The greatest number that a pair can hold: with ten thousand events a second a stream reaches it in two hundred years.
const SEQ_MAX: Seq = BEHIND - 1;
/// It must be served from the ring or the log.
const BEHIND: u64 = 1 << 46;
/// Its person's removal was handed over; nothing after it is theirs.
const ENDED: u64 = 1 << 47;

/// The lower six bytes of a number. There is one of these for each room of each connection, so two bytes count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SixBytes([u8; 6]);

impl SixBytes {
    fn new(value: u64) -> Self {
        let [a, b, c, d, e, f, ..] = value.to_le_bytes();
        Self([a, b, c, d, e, f])
    }

    fn get(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    }
}

/// The connection (by its slot in the lane) in a stream: 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    pub slot: u32,
    /// The next number, and above it [`BEHIND`] and [`ENDED`]: as it is, it equals the number of an event only where the pair
    /// is neither.
    state: SixBytes,
    joined_seq: SixBytes,
}

impl Pair {
    /// A pair that wants `next` first; Behind when the lane's cursor is already there or beyond.
    pub(super) fn new(slot: u32, next: Seq, joined_seq: Seq, cursor: Seq) -> Self {
        let behind = if next <= cursor { BEHIND } else { 0 };
        Self {
            slot,
            state: SixBytes::new(next.min(SEQ_MAX) | behind),
            joined_seq: SixBytes::new(joined_seq.min(SEQ_MAX)),
        }
    }

    fn has(&self, flag: u64) -> bool {
        self.state.get() & flag != 0
    }

    fn set(&mut self, next: Seq, flags: u64) {
        self.state = SixBytes::new(next.min(SEQ_MAX) | flags);
    }

    fn flags(&self) -> u64 {
        self.state.get() & (BEHIND | ENDED)
    }

    /// The next number that it wants.
    pub(super) fn next(&self) -> Seq {
        self.state.get() & SEQ_MAX
    }

    /// The event that began this membership: only removals after it end the pair.
    pub(super) fn joined_seq(&self) -> Seq {
        self.joined_seq.get()
    }

    /// What it asks of the log.
    pub(super) fn wants(&self, stream: &StreamId) -> Behind {
        Behind { stream: stream.clone(), next: self.next(), joined_seq: self.joined_seq() }
    }

    /// Whether it must be served from the ring or the log.
    pub(super) fn is_behind(&self) -> bool {
        self.has(BEHIND)
    }

    /// A live event.
    pub(super) fn live(&mut self, seq: Seq) -> Step {
        if self.flags() != 0 || seq < self.next() {
            return Step::Skip;
        }
        if seq == self.next() {
            self.set(seq + 1, 0);
            return Step::Send;
        }
        self.set(self.next(), BEHIND);
        Step::FellBehind
    }

    /// Everything in a row of so many events that begins with `first` (none at all: what is not stored and comes before
    /// `first`). Whether the pair sends all of it as it is; otherwise nothing has changed.
    pub(super) fn live_run(&mut self, first: Seq, count: u64) -> bool {
        let sends = self.state.get() == first;
        if sends {
            self.set(first + count, 0);
        }
        sends
    }

    /// An event from the ring or the log.
    pub(super) fn serve(&mut self, seq: Seq) -> Step {
        if self.has_ended() || seq != self.next() {
            return Step::Skip;
        }
        self.set(seq + 1, self.flags());
        Step::Send
    }

    /// The lane's cursor moved (or events were served): whether the pair is Behind and must be served now.
    pub(super) fn settle(&mut self, cursor: Seq) -> bool {
        let behind = !self.has_ended() && self.next() <= cursor;
        self.set(self.next(), (self.flags() & ENDED) | if behind { BEHIND } else { 0 });
        behind
    }

    /// An event that was handed over did not fit into the backlog. Whether the pair was Live until now.
    pub(super) fn unfit(&mut self, seq: Seq) -> bool {
        let was_live = !self.is_behind();
        self.set(self.next().min(seq), BEHIND);
        was_live
    }

    /// The removal of its person was handed over.
    pub(super) fn end(&mut self) {
        self.set(self.next(), ENDED);
    }

    /// Whether the removal of its person was handed over.
    pub(super) fn has_ended(&self) -> bool {
        self.has(ENDED)
    }

    /// The log no longer has what comes next: go on at `next`.
    pub(super) fn skip_to(&mut self, next: Seq) {
        self.set(self.next().max(next), self.flags());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Turn {
        /// The next event reaches the lane, or is lost on the way to it.
        Live { lost: bool, fits: bool },
        /// A page of the log is served, of which so many fit.
        Page { events: u64, fit: u64 },
    }

    fn turn() -> impl Strategy<Value = Turn> {
        prop_oneof![
            (prop::bool::weighted(0.2), prop::bool::weighted(0.8)).prop_map(|(lost, fits)| Turn::Live { lost, fits }),
            (1..6_u64, 0..6_u64).prop_map(|(events, fit)| Turn::Page { events, fit }),
        ]
    }

    proptest! {
        /// Whatever is lost or does not fit, the client gets a dense sequence, and one that is served long enough gets all.
        #[test]
        fn a_pair_sends_a_dense_sequence_and_in_the_end_all_of_it(
            start in 1..10_u64, cursor in 0..10_u64, turns in prop::collection::vec(turn(), 0..100),
        ) {
            let mut cursor = cursor;
            let mut head = cursor;
            let mut pair = Pair::new(0, start, 0, cursor);
            let mut got: Vec<Seq> = Vec::new();
            let page = |pair: &mut Pair, got: &mut Vec<Seq>, head: Seq, cursor: Seq, events: u64, fit: u64| {
                if !pair.is_behind() { return; }
                let from = pair.next();
                let handed: Vec<Seq> = (from..=(from + events - 1).min(head)).filter(|seq| pair.serve(*seq) == Step::Send).collect();
                let fit = usize::try_from(fit).unwrap_or(0).min(handed.len());
                got.extend(&handed[..fit]);
                for seq in handed[fit..].iter().rev() { pair.unfit(*seq); }
                pair.settle(cursor);
            };
            for turn in turns {
                match turn {
                    Turn::Live { lost, fits } => {
                        head += 1;
                        if lost { continue; }
                        cursor = head;
                        if pair.live(head) == Step::Send {
                            if fits { got.push(head); } else { pair.unfit(head); }
                        }
                    }
                    Turn::Page { events, fit } => page(&mut pair, &mut got, head, cursor, events, fit),
                }
            }
            cursor = head;
            pair.settle(cursor);
            while pair.is_behind() { page(&mut pair, &mut got, head, cursor, 5, 5); }
            let expected: Vec<Seq> = (start..=head).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
