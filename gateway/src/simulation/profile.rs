//! What a seed makes of a run: how large it is, and what goes wrong how often.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::config::Limits;

/// A run. Shares are of 1; times are in microseconds.
#[derive(Debug, Clone)]
pub(super) struct Profile {
    pub(super) nodes: usize,
    pub(super) lanes: usize,
    pub(super) rooms: usize,
    pub(super) users: usize,
    pub(super) limits: Limits,
    /// What a client's socket takes until it is read.
    pub(super) socket_bytes: usize,
    /// Missed events that a connect brings along.
    pub(super) missed_max_events: u32,
    /// How long people talk, and how often each of them does something.
    pub(super) talk_us: u64,
    pub(super) pause_us: u64,
    /// Turns of owners and lanes come so late at most.
    pub(super) turn_us: u64,
    pub(super) bus: BusProfile,
    pub(super) store: StoreProfile,
    pub(super) people: PeopleProfile,
    /// Nodes that are killed, at any moment; and of commits, after which, before anybody heard of it or was answered.
    pub(super) kills: u64,
    pub(super) killed_after_commit: f64,
    pub(super) killed_after_publish: f64,
}

#[derive(Debug, Clone)]
pub(super) struct BusProfile {
    /// Nothing is ever heard.
    pub(super) dead: bool,
    pub(super) lost: f64,
    pub(super) repeated: f64,
    pub(super) delay_us: u64,
    /// Some messages come later than all patience.
    pub(super) late: f64,
    /// Times at which one node becomes deaf for a while.
    pub(super) deaf: u64,
}

#[derive(Debug, Clone)]
pub(super) struct StoreProfile {
    pub(super) delay_us: u64,
    /// It carries out several batches of a node at once.
    pub(super) side_by_side: bool,
    pub(super) refused_before_commit: f64,
    pub(super) unanswered_after_commit: f64,
    /// A commit waits for a lock, perhaps longer than its node lives.
    pub(super) locked: f64,
    pub(super) read_fails: f64,
    /// Times at which it does not answer for a while.
    pub(super) outages: u64,
}

#[derive(Debug, Clone)]
pub(super) struct PeopleProfile {
    pub(super) hang_up: f64,
    pub(super) become_slow: f64,
    pub(super) change_members: f64,
    pub(super) trim: f64,
    /// A client that asks for no more than the latest.
    pub(super) limited: bool,
}

impl Profile {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut share = |chance: f64, most: f64| {
            if random.random_bool(chance) { random.random_range(0.0..most) } else { 0.0 }
        };
        let bus = BusProfile {
            dead: share(0.1, 1.0) > 0.0,
            lost: share(0.6, 0.4),
            repeated: share(0.5, 0.3),
            late: share(0.3, 0.1),
            delay_us: 0,
            deaf: 0,
        };
        let store = StoreProfile {
            delay_us: 0,
            side_by_side: false,
            refused_before_commit: share(0.4, 0.1),
            unanswered_after_commit: share(0.4, 0.1),
            locked: share(0.4, 0.05),
            read_fails: share(0.4, 0.2),
            outages: 0,
        };
        let trim = share(0.3, 0.02);
        let people = PeopleProfile {
            hang_up: share(0.8, 0.08),
            become_slow: share(0.6, 0.1),
            change_members: share(0.8, 0.3),
            trim,
            // What a client's own limit and the retention skip together is no number that a ledger could check.
            limited: trim == 0.0 && share(0.2, 1.0) > 0.0,
        };
        let (killed_after_commit, killed_after_publish) = (share(0.4, 0.03), share(0.4, 0.03));
        let limits = Limits {
            backlog_max_bytes: random.random_range(1_000..8_000),
            ring_events_max: random.random_range(8..40),
            ring_max_bytes: random.random_range(1_000..100_000),
            held_events_max: random.random_range(0..20),
            page_events_max: random.random_range(8..40),
            lane_inbox_max: random.random_range(2..200),
            stream_linger_ms: random.random_range(10..5_000),
            ..Limits::default()
        };
        Self {
            nodes: random.random_range(1..=4),
            lanes: random.random_range(1..=2),
            rooms: random.random_range(1..=4),
            users: random.random_range(3..=7),
            limits,
            socket_bytes: random.random_range(300..6_000),
            talk_us: random.random_range(1_500_000..4_000_000),
            pause_us: random.random_range(40_000..150_000),
            turn_us: random.random_range(1..3_000),
            bus: BusProfile { delay_us: random.random_range(100..60_000), deaf: random.random_range(0..3), ..bus },
            store: StoreProfile {
                delay_us: random.random_range(100..40_000),
                outages: random.random_range(0..2),
                side_by_side: random.random_bool(0.7),
                ..store
            },
            people,
            kills: random.random_range(0..4),
            killed_after_commit,
            killed_after_publish,
            missed_max_events: random.random_range(0..60),
        }
    }
}
