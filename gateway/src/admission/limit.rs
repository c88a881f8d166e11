//! Pure: how many connections may be on their way to the end of their first sync.
//!
//! Additive increase, multiplicative decrease: while syncs end within their target the limit grows by one each time that so many
//! have ended; one that took longer takes a quarter of it, at most once while the effect is not yet seen. The store is measured
//! as it is, with everybody who uses it, so nobody need know how fast it is.
//!
//! What was true a while ago is not known to be true now: when a node dies, thousands come to the others in the moment in which
//! these have the most to do. So a limit that was not used for [`IDLE_AFTER`] begins small again, and grows by one with each sync
//! until it is where it was (slow start after idle: RFC 5681, section 4.1, and RFC 7661).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Never fewer are admitted: a store that is slow for other reasons does not close the door.
pub(super) const LIMIT_MIN: f64 = 8.0;
/// Where a limit begins that was never used, or not for a while.
const LIMIT_FIRST: f64 = 8.0;
/// A limit that was not half used for so long is no longer believed.
const IDLE_AFTER: Duration = Duration::from_secs(1);
/// Up to here a fresh node's limit grows with each sync.
const KNOWN_FIRST: f64 = 32.0;
/// What a sync over its target leaves of the limit.
const DECREASE: f64 = 0.75;
/// Between two decreases at least.
const DECREASE_PAUSE: Duration = Duration::from_millis(100);
/// A client has so long to say hello before its place is given away (it keeps its connection).
const HELLO_WITHIN: Duration = Duration::from_millis(500);
/// So long for a sync: one whose client does not read holds no place for ever.
const SYNC_WITHIN: Duration = Duration::from_secs(3);
/// Places that get free per second, until that was measured; and never thought to be fewer.
const RATE_FIRST: f64 = 500.0;
const RATE_MIN: f64 = 20.0;
/// Over which the rate is measured, and how much a measurement counts.
const RATE_WINDOW: Duration = Duration::from_millis(250);
const RATE_WEIGHT: f64 = 0.3;
/// Nobody is told to come back sooner or later than this, but for the jitter.
const RETURN_MIN: Duration = Duration::from_millis(250);
const RETURN_MAX: Duration = Duration::from_secs(10);
/// Return times vary by so much in both directions.
const RETURN_JITTER: f64 = 0.25;

/// One who was admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

/// The limit, and who is under way.
#[derive(Debug)]
pub(super) struct Limit {
    limit: f64,
    /// Below this it grows with each sync: it was as high before.
    known: f64,
    max: f64,
    target: Duration,
    /// Until when each counts.
    under_way: BTreeMap<Ticket, Instant>,
    next: u64,
    decreased_at: Option<Instant>,
    /// When half of the limit was last in use.
    used_at: Instant,
    rate: f64,
    window: (Instant, u32),
    /// When the last of those who were sent away is to come back.
    last_return: Option<Instant>,
}

impl Limit {
    pub(super) fn new(max: u64, target: Duration, now: Instant) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "limits are small numbers")]
        let max = (max as f64).max(LIMIT_MIN);
        Self {
            limit: LIMIT_FIRST,
            known: KNOWN_FIRST.min(max),
            max,
            target,
            under_way: BTreeMap::new(),
            next: 0,
            decreased_at: None,
            used_at: now,
            rate: RATE_FIRST,
            window: (now, 0),
            last_return: None,
        }
    }

    /// The limit in force.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 8 and its maximum")]
    pub(super) fn in_force(&self) -> usize {
        self.limit as usize
    }

    /// Admits one more if there is room.
    pub(super) fn admit(&mut self, now: Instant) -> Option<Ticket> {
        self.forget(now);
        if self.under_way.len() >= self.in_force() {
            self.under_way.retain(|_, until| *until > now);
        }
        if self.under_way.len() >= self.in_force() {
            return None;
        }
        let ticket = Ticket(self.next);
        self.next += 1;
        self.under_way.insert(ticket, now + HELLO_WITHIN);
        if self.is_used() {
            self.used_at = now;
        }
        Some(ticket)
    }

    /// Its hello came: from now on the store is at work. One that came late counts again.
    pub(super) fn begun(&mut self, ticket: Ticket, now: Instant) {
        self.under_way.insert(ticket, now + SYNC_WITHIN);
    }

    /// Its sync ended, so long after its hello.
    pub(super) fn synced(&mut self, ticket: Ticket, took: Duration, now: Instant) {
        let is_used = self.is_used();
        self.freed(ticket, now);
        if took > self.target {
            self.decrease(took, now);
        } else if is_used {
            let more = if self.limit < self.known { 1.0 } else { 1.0 / self.limit };
            self.limit = (self.limit + more).min(self.max);
        }
    }

    /// The store did not answer it.
    pub(super) fn failed(&mut self, ticket: Ticket, now: Instant) {
        self.freed(ticket, now);
        self.decrease(DECREASE_PAUSE, now);
    }

    /// It ended before its sync did, for reasons of its client.
    pub(super) fn gone(&mut self, ticket: Ticket, now: Instant) {
        self.freed(ticket, now);
    }

    /// When one who finds no place is to come back, given how many wait already and a random number from 0 to 1. Whoever
    /// is sent away comes after those who were sent away before.
    pub(super) fn return_after(&mut self, waiting: usize, random: f64, now: Instant) -> Duration {
        let each = Duration::from_secs_f64(1.0 / self.rate);
        let queue = each.saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX));
        let at = self.last_return.map_or(now, |last| last + each).max(now + queue + RETURN_MIN).min(now + RETURN_MAX);
        self.last_return = Some(at);
        at.saturating_duration_since(now).mul_f64(1.0 - RETURN_JITTER + 2.0 * RETURN_JITTER * random)
    }

    fn freed(&mut self, ticket: Ticket, now: Instant) {
        self.under_way.remove(&ticket);
        self.window.1 += 1;
        let passed = now.saturating_duration_since(self.window.0);
        if passed >= RATE_WINDOW {
            // A quiet while says nothing about what could have been.
            if passed < 2 * RATE_WINDOW {
                let measured = f64::from(self.window.1) / passed.as_secs_f64();
                self.rate = ((1.0 - RATE_WEIGHT) * self.rate + RATE_WEIGHT * measured).max(RATE_MIN);
            }
            self.window = (now, 0);
        }
    }

    fn decrease(&mut self, took: Duration, now: Instant) {
        let pause = took.max(DECREASE_PAUSE);
        if self.decreased_at.is_some_and(|at| now.saturating_duration_since(at) < pause) {
            return;
        }
        self.decreased_at = Some(now);
        self.limit = (self.limit * DECREASE).max(LIMIT_MIN);
        self.known = self.limit;
    }

    fn is_used(&self) -> bool {
        self.under_way.len() * 2 >= self.in_force()
    }

    /// Begins small again after a while in which the limit was not used.
    fn forget(&mut self, now: Instant) {
        if self.limit > LIMIT_FIRST && now.saturating_duration_since(self.used_at) > IDLE_AFTER {
            self.known = self.known.max(self.limit);
            self.limit = LIMIT_FIRST;
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#[path = "simulation.rs"]
mod tests;
