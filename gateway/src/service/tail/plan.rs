//! Pure: when the tail is worth reading from its cursor, and when heads are to be asked for instead.

use std::time::{Duration, Instant};

use hallway_store::TailCursor;

/// What to ask the store next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    /// What was committed since the cursor.
    Since(TailCursor),
    /// The present cursor, and then the heads of every stream that is held here.
    Heads,
}

/// Where the tail was read to, and whether reading on from there is too dear.
#[derive(Debug)]
pub(super) struct TailPlan {
    cursor: TailCursor,
    /// When the cursor was taken.
    since: Instant,
    /// Something lies behind the cursor, and is found again by each poll.
    is_loaded: bool,
    is_stalled: bool,
    rows_max: u64,
    age_max: Duration,
}

impl TailPlan {
    pub(super) fn new(cursor: TailCursor, rows_max: u64, age_max: Duration, now: Instant) -> Self {
        Self { cursor, since: now, is_loaded: false, is_stalled: false, rows_max, age_max }
    }

    pub(super) fn ask(&self) -> Ask {
        if self.is_stalled { Ask::Heads } else { Ask::Since(self.cursor) }
    }

    /// A poll from the cursor on covered so many rows. Above the bound not all of them were looked at, so the cursor stays
    /// until heads were told.
    pub(super) fn polled(&mut self, rows: u64, next: TailCursor, now: Instant) {
        let is_old = next == self.cursor && now.saturating_duration_since(self.since) >= self.age_max;
        self.is_loaded = rows > 0;
        if rows > self.rows_max || (is_old && rows > 0) {
            self.is_stalled = true;
        } else {
            self.advance(next, now);
        }
    }

    /// The heads of everything that is held here were read and told, after `start` had been taken.
    pub(super) fn heads_told(&mut self, start: TailCursor, now: Instant) {
        if start != self.cursor {
            self.is_stalled = false;
            self.is_loaded = false;
        }
        self.advance(start, now);
    }

    fn advance(&mut self, next: TailCursor, now: Instant) {
        if next != self.cursor {
            self.cursor = next;
            self.since = now;
        }
    }

    pub(super) fn is_stalled(&self) -> bool {
        self.is_stalled
    }

    /// For how long the cursor has been holding up what lies behind it. An idle store has nothing to hold up.
    pub(super) fn age(&self, now: Instant) -> Duration {
        if self.is_loaded || self.is_stalled { now.saturating_duration_since(self.since) } else { Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const ROWS_MAX: u64 = 10;
    const AGE_MAX: Duration = Duration::from_secs(30);

    fn at(second: u64) -> TailCursor {
        TailCursor(Some(second))
    }

    #[test]
    fn an_idle_store_is_never_stalled_however_old_its_cursor() {
        let now = Instant::now();
        let mut plan = TailPlan::new(at(5), ROWS_MAX, AGE_MAX, now);
        for second in 0..1000 {
            plan.polled(0, at(5), now + Duration::from_secs(second));
            assert_eq!(plan.ask(), Ask::Since(at(5)));
        }
        assert_eq!(plan.age(now + AGE_MAX), Duration::ZERO);
    }

    #[test]
    fn a_store_without_cursors_is_never_stalled() {
        let now = Instant::now();
        let mut plan = TailPlan::new(TailCursor::default(), ROWS_MAX, AGE_MAX, now);
        plan.polled(0, TailCursor::default(), now + 2 * AGE_MAX);
        assert_eq!(plan.ask(), Ask::Since(TailCursor::default()));
    }

    #[test]
    fn an_old_cursor_with_something_behind_it_makes_heads_be_asked_until_it_moves() {
        let now = Instant::now();
        let mut plan = TailPlan::new(at(5), ROWS_MAX, AGE_MAX, now);
        plan.polled(1, at(5), now + AGE_MAX - Duration::from_millis(1));
        assert!(!plan.is_stalled());
        plan.polled(1, at(5), now + AGE_MAX);
        assert_eq!((plan.ask(), plan.age(now + AGE_MAX)), (Ask::Heads, AGE_MAX));
        plan.heads_told(at(5), now + AGE_MAX);
        assert_eq!(plan.ask(), Ask::Heads);
        plan.heads_told(at(9), now + 2 * AGE_MAX);
        assert_eq!((plan.ask(), plan.age(now + 2 * AGE_MAX)), (Ask::Since(at(9)), Duration::ZERO));
    }

    #[test]
    fn a_burst_beyond_the_bound_costs_one_round_of_heads() {
        let now = Instant::now();
        let mut plan = TailPlan::new(at(5), ROWS_MAX, AGE_MAX, now);
        plan.polled(ROWS_MAX + 1, at(9), now);
        assert_eq!(plan.ask(), Ask::Heads);
        plan.heads_told(at(12), now);
        assert_eq!(plan.ask(), Ask::Since(at(12)));
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// A transaction begins and stays open.
        Begin,
        Commit,
        /// The oldest open one ends.
        End,
        Poll,
        /// The store fails in the middle of a poll.
        PollFails,
    }

    /// A store with its transactions, one stream each.
    #[derive(Default)]
    struct Model {
        next: u64,
        open: Vec<u64>,
        committed: BTreeMap<u64, ()>,
    }

    impl Model {
        fn cursor(&self) -> TailCursor {
            at(self.open.iter().copied().min().unwrap_or(self.next))
        }

        /// What a bounded poll finds: an arbitrary part when there is more.
        fn since(&self, cursor: TailCursor) -> (Vec<u64>, u64) {
            let all = self.committed.range(cursor.0.unwrap_or(0)..);
            let looked: Vec<u64> =
                all.rev().take(usize::try_from(ROWS_MAX).unwrap_or(0) + 1).map(|(tx, ())| *tx).collect();
            (looked.clone(), looked.len() as u64)
        }
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            1 => Just(Step::Begin),
            8 => Just(Step::Commit),
            1 => Just(Step::End),
            4 => Just(Step::Poll),
            1 => Just(Step::PollFails),
        ];
        prop::collection::vec(step, 0..300)
    }

    proptest! {
        /// Whatever is committed, in whatever order, however long some transactions stay open and wherever polls fail: what
        /// was committed before a whole poll was told by it or earlier, and no poll looks at more rows than the bound.
        #[test]
        fn every_commit_is_told_by_the_next_whole_poll(steps in steps()) {
            let mut model = Model::default();
            let mut now = Instant::now();
            let mut plan = TailPlan::new(model.cursor(), ROWS_MAX, Duration::from_secs(5), now);
            let mut told = std::collections::BTreeSet::new();
            for step in steps {
                now += Duration::from_millis(500);
                match step {
                    Step::Begin => { model.open.push(model.next); model.next += 1; }
                    Step::Commit => { model.committed.insert(model.next, ()); model.next += 1; }
                    Step::End if !model.open.is_empty() => { let tx = model.open.remove(0); model.committed.insert(tx, ()); }
                    Step::End => {}
                    Step::Poll | Step::PollFails => {
                        let fails = matches!(step, Step::PollFails);
                        if let Ask::Since(cursor) = plan.ask() {
                            let (heads, rows) = model.since(cursor);
                            told.extend(heads);
                            prop_assert!(rows <= ROWS_MAX + 1);
                            plan.polled(rows, model.cursor(), now);
                        }
                        if plan.ask() == Ask::Heads {
                            let start = model.cursor();
                            // Something is committed between the cursor and the heads.
                            model.committed.insert(model.next, ());
                            model.next += 1;
                            if fails { continue; }
                            told.extend(model.committed.keys().copied());
                            plan.heads_told(start, now);
                        }
                        for tx in model.committed.keys() {
                            prop_assert!(told.contains(tx), "{tx} was never told");
                        }
                    }
                }
            }
        }
    }
}
