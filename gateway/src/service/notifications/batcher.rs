//! Pure: lets notifications wait for one another, so that they leave in batches: at most so many recipients, at most so long.
//!
//! What is urgent, and whatever else happens in a person's stream, leaves at once and takes along what waits for that person.
//!
//! **Invariant:** each key's events leave in the order in which they came, each once.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Notifications that wait together, whoever they are for.
const EVENTS_MAX: usize = 1024;

/// How long notifications wait for one another.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchRules {
    pub(super) recipients_max: usize,
    pub(super) wait_max: Duration,
}

/// A batch that left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) recipients: usize,
    /// How long the first of it waited.
    pub(super) waited: Duration,
}

/// See the module. `K` is a person, `E` an event of their stream.
#[derive(Debug)]
pub(super) struct Batcher<K, E> {
    rules: BatchRules,
    waiting: HashMap<K, Vec<E>>,
    events: usize,
    /// When the first that waits came, or one before it.
    since: Option<Instant>,
    is_closed: bool,
}

impl<K: Eq + Hash + Clone, E> Batcher<K, E> {
    pub(super) fn new(rules: BatchRules) -> Self {
        Self { rules, waiting: HashMap::new(), events: 0, since: None, is_closed: false }
    }

    /// Takes an event that may wait. Puts what leaves now into `out`.
    pub(super) fn wait(&mut self, key: &K, event: E, now: Instant, out: &mut Vec<E>) -> Option<Left> {
        if self.is_closed || self.rules.wait_max.is_zero() {
            out.push(event);
            return None;
        }
        self.since.get_or_insert(now);
        self.events += 1;
        match self.waiting.get_mut(key) {
            Some(events) => events.push(event),
            None => {
                self.waiting.insert(key.clone(), vec![event]);
            }
        }
        let is_full = self.waiting.len() >= self.rules.recipients_max || self.events >= EVENTS_MAX;
        if is_full { self.leave(now, out) } else { self.due(now, out) }
    }

    /// Takes an event that leaves now, behind those that wait for the same key.
    pub(super) fn pass(&mut self, key: &K, event: E, out: &mut Vec<E>) {
        if let Some(waiting) = self.waiting.remove(key) {
            self.events -= waiting.len();
            out.extend(waiting);
            if self.waiting.is_empty() {
                self.since = None;
            }
        }
        out.push(event);
    }

    /// When [`Batcher::due`] is to be called; `None` while nothing waits.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.since.map(|since| since + self.rules.wait_max)
    }

    /// Puts what waited long enough into `out`.
    pub(super) fn due(&mut self, now: Instant, out: &mut Vec<E>) -> Option<Left> {
        if self.wake_at().is_some_and(|at| at <= now) { self.leave(now, out) } else { None }
    }

    /// Puts everything that waits into `out`.
    pub(super) fn leave(&mut self, now: Instant, out: &mut Vec<E>) -> Option<Left> {
        let since = self.since.take()?;
        let left = Left { recipients: self.waiting.len(), waited: now.saturating_duration_since(since) };
        self.events = 0;
        out.extend(self.waiting.drain().flat_map(|(_, events)| events));
        Some(left)
    }

    /// Lets everything go, and nothing wait from now on.
    pub(super) fn close(&mut self, now: Instant, out: &mut Vec<E>) -> Option<Left> {
        self.is_closed = true;
        self.leave(now, out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RULES: BatchRules = BatchRules { recipients_max: 5, wait_max: Duration::from_millis(50) };

    #[derive(Debug, Clone)]
    enum Step {
        Wait(u8),
        Pass(u8),
        /// Milliseconds go by; whoever is to be woken in between is.
        Later(u64),
        Leave,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            8 => (0..9_u8).prop_map(Step::Wait),
            2 => (0..9_u8).prop_map(Step::Pass),
            3 => (0..80_u64).prop_map(Step::Later),
            1 => Just(Step::Leave),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Nobody's events are turned, none is lost or doubled, nothing waits longer than it may, and never for more recipients
        /// than a batch may have.
        #[test]
        fn what_waits_leaves_in_order_in_time_and_in_bounded_batches(steps in steps()) {
            let mut now = Instant::now();
            let mut batcher: Batcher<u8, (u8, usize)> = Batcher::new(RULES);
            let (mut came, mut out) = (Vec::new(), Vec::new());
            let mut came_at = Vec::new();
            for step in steps {
                let before = out.len();
                let mut left = None;
                match step {
                    Step::Wait(user) => {
                        came.push((user, came.len()));
                        came_at.push(now);
                        left = batcher.wait(&user, came[came.len() - 1], now, &mut out);
                    }
                    Step::Pass(user) => {
                        came.push((user, came.len()));
                        came_at.push(now);
                        batcher.pass(&user, came[came.len() - 1], &mut out);
                        prop_assert_eq!(out.last(), came.last(), "it leaves at once");
                        prop_assert!(out[before..].iter().all(|(other, _)| *other == user), "and takes along its own only");
                    }
                    Step::Later(milliseconds) => {
                        let until = now + Duration::from_millis(milliseconds);
                        while let Some(at) = batcher.wake_at().filter(|at| *at <= until) {
                            now = at.max(now);
                            let due = batcher.due(now, &mut out);
                            prop_assert!(due.is_some(), "who is woken has something to do");
                            prop_assert!(due.is_none_or(|due| due.waited <= RULES.wait_max));
                        }
                        now = until;
                    }
                    Step::Leave => left = batcher.leave(now, &mut out),
                }
                if let Some(left) = left {
                    prop_assert!(left.recipients <= RULES.recipients_max);
                    prop_assert!(left.waited <= RULES.wait_max);
                }
                prop_assert!(batcher.waiting.len() < RULES.recipients_max);
                prop_assert_eq!(batcher.events, came.len() - out.len());
                prop_assert_eq!(batcher.wake_at().is_some(), batcher.events > 0);
                for (_, number) in came.iter().filter(|event| !out.contains(event)) {
                    prop_assert!(now < came_at[*number] + RULES.wait_max, "{number} waits for too long");
                }
            }
            batcher.close(now, &mut out);
            for user in 0..9 {
                let of = |events: &[(u8, usize)]| -> Vec<usize> {
                    events.iter().filter(|event| event.0 == user).map(|event| event.1).collect()
                };
                prop_assert_eq!(of(&out), of(&came));
            }
            let before = out.len();
            batcher.wait(&1, (1, came.len()), now, &mut out);
            prop_assert_eq!(out.len(), before + 1, "after the close nothing waits");
        }
    }

    #[test]
    fn one_persons_storm_does_not_grow_without_bound() {
        let (now, mut out) = (Instant::now(), Vec::new());
        let mut batcher: Batcher<u8, usize> = Batcher::new(RULES);
        let left: Vec<Left> = (0..EVENTS_MAX).filter_map(|number| batcher.wait(&1, number, now, &mut out)).collect();
        assert_eq!(left, [Left { recipients: 1, waited: Duration::ZERO }]);
        assert_eq!(out, (0..EVENTS_MAX).collect::<Vec<_>>());
    }

    #[test]
    fn without_a_wait_nothing_waits() {
        let (now, mut out) = (Instant::now(), Vec::new());
        let mut batcher: Batcher<u8, u8> = Batcher::new(BatchRules { wait_max: Duration::ZERO, ..RULES });
        batcher.wait(&1, 7, now, &mut out);
        assert_eq!((out, batcher.wake_at()), (vec![7], None));
    }
}
