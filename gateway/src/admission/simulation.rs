//! The limit against a store that serves one after the other, so that it is the slower the more there are.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;

const TARGET: Duration = Duration::from_millis(30);
const STEP: Duration = Duration::from_millis(1);

/// What a simulated storm came to.
#[derive(Debug, Default)]
struct Storm {
    /// When each was in sync.
    synced_at: Vec<Duration>,
    /// How long each took from its admission.
    took: Vec<Duration>,
    sent_away: usize,
}

/// So many clients come at once; the store serves `per_second(time)` of them, each after the others. Up to `queue_max` wait for
/// a place, the others come back when they are told.
fn storm(clients: usize, queue_max: usize, per_second: impl Fn(Duration) -> f64) -> Storm {
    let start = Instant::now();
    let mut limit = Limit::new(1024, TARGET, start);
    let (mut outcome, mut served) = (Storm::default(), 0.0);
    let mut coming: Vec<Duration> = vec![Duration::ZERO; clients];
    let mut waiting = 0;
    let mut at_store: VecDeque<(Ticket, Duration)> = VecDeque::new();
    let mut time = Duration::ZERO;
    let mut random = 0.0;
    while outcome.took.len() < clients {
        assert!(time < Duration::from_secs(600), "starved: {} of {clients}, limit {}", outcome.took.len(), limit.limit);
        let now = start + time;
        served += per_second(time) * STEP.as_secs_f64();
        while served >= 1.0 {
            served -= 1.0;
            let Some((ticket, since)) = at_store.pop_front() else {
                served = 0.0;
                break;
            };
            limit.synced(ticket, time - since, now);
            outcome.took.push(time - since);
            outcome.synced_at.push(time);
        }
        let (due, later): (Vec<_>, Vec<_>) = coming.into_iter().partition(|at| *at <= time);
        coming = later;
        waiting += due.len();
        while waiting > 0
            && let Some(ticket) = limit.admit(now)
        {
            waiting -= 1;
            limit.begun(ticket, now);
            at_store.push_back((ticket, time));
        }
        while waiting > queue_max {
            waiting -= 1;
            outcome.sent_away += 1;
            random = (random + 0.618_034) % 1.0;
            coming.push(time + limit.return_after(queue_max, random, now));
        }
        assert!(limit.limit >= LIMIT_MIN, "the door is never closed");
        time += STEP;
    }
    outcome
}

fn percentile(mut values: Vec<Duration>, percent: usize) -> Duration {
    values.sort_unstable();
    values[(values.len() - 1) * percent / 100]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the store can do and however many come: who was admitted does not wait long, and everybody is in sync not much
    /// later than the store could serve them, but for what the first of them were told before it was known how fast that is.
    #[test]
    fn the_limit_finds_its_place(clients in 500..4000_usize, per_second in 150..5000_u32, queue_max in 0..1000_usize) {
        let outcome = storm(clients, queue_max, |_| f64::from(per_second));
        let last = *outcome.synced_at.iter().max().unwrap();
        let ideal = Duration::from_secs_f64(clients as f64 / f64::from(per_second));
        prop_assert!(last < ideal * 2 + RETURN_MAX, "{last:?} instead of {ideal:?}");
        let settled = outcome.took[outcome.took.len() / 5..].to_vec();
        let p99 = percentile(settled, 99);
        prop_assert!(p99 <= Duration::from_millis(100), "p99 {p99:?}");
    }
}

#[test]
fn three_thousand_clients_are_in_sync_within_ten_seconds_of_a_store_that_serves_five_hundred() {
    let outcome = storm(3000, 1000, |_| 500.0);
    let last = outcome.synced_at.iter().max().unwrap();
    let p99 = percentile(outcome.took.clone(), 99);
    println!("{} were sent away; the last was in sync after {last:?}, p99 {p99:?}", outcome.sent_away);
    assert!(*last < Duration::from_secs(10), "{last:?}");
    assert!(p99 <= Duration::from_millis(100), "{p99:?}");
    assert!(outcome.sent_away > 1000);
}

#[test]
fn a_store_that_was_slow_for_a_while_is_used_fully_again() {
    let slow = Duration::from_secs(1)..Duration::from_secs(4);
    let outcome = storm(8000, 8000, |time| if slow.contains(&time) { 100.0 } else { 2000.0 });
    let in_second = |second: u64| outcome.synced_at.iter().filter(|at| at.as_secs() == second).count();
    assert!(in_second(2) <= 110, "{}", in_second(2));
    assert!(in_second(5) >= 1600, "only {} a second later", in_second(5));
    // Who was at the store when it became slow waits for all before them; nobody after that does.
    assert!(percentile(outcome.took.clone(), 95) <= Duration::from_millis(100));
    assert!(percentile(outcome.took.clone(), 100) <= Duration::from_secs(1));
}

#[test]
fn clients_that_say_nothing_hold_no_place_for_long() {
    let start = Instant::now();
    let mut limit = Limit::new(1024, TARGET, start);
    let silent: Vec<Ticket> = std::iter::from_fn(|| limit.admit(start)).collect();
    assert_eq!(silent.len(), limit.in_force());
    assert_eq!(limit.admit(start + HELLO_WITHIN - STEP), None);
    let other = limit.admit(start + HELLO_WITHIN).unwrap();
    limit.synced(other, STEP, start + HELLO_WITHIN);
    // One that comes to its hello after all is served and counts.
    limit.begun(silent[0], start + 2 * HELLO_WITHIN);
    limit.synced(silent[0], STEP, start + 2 * HELLO_WITHIN);
    assert_eq!(limit.in_force(), silent.len());
}

#[test]
fn a_store_that_fails_makes_the_limit_small_but_never_nothing() {
    let mut now = Instant::now();
    let mut limit = Limit::new(1024, TARGET, now);
    for _ in 0..100 {
        now += Duration::from_secs(1);
        let ticket = limit.admit(now).unwrap();
        limit.failed(ticket, now);
    }
    assert_eq!(limit.in_force(), 8);
}

#[test]
fn a_door_that_was_not_used_for_a_while_opens_a_little_and_is_soon_where_it_was() {
    let mut now = Instant::now();
    let mut limit = Limit::new(1024, TARGET, now);
    // A storm in which everything is well.
    let serve = |limit: &mut Limit, now: Instant| {
        let admitted: Vec<Ticket> = std::iter::from_fn(|| limit.admit(now)).collect();
        for ticket in &admitted {
            limit.synced(*ticket, STEP, now);
        }
        admitted.len()
    };
    while limit.in_force() < 100 {
        now += STEP;
        serve(&mut limit, now);
    }
    let before = limit.in_force();
    // A few who come now and then do not show that many could.
    let until = now + 2 * IDLE_AFTER;
    while now < until {
        now += 100 * STEP;
        let ticket = limit.admit(now).unwrap();
        limit.synced(ticket, STEP, now);
    }
    assert_eq!(serve(&mut limit, now), 8);
    let mut rounds = 0;
    while limit.in_force() < before {
        now += STEP;
        serve(&mut limit, now);
        rounds += 1;
    }
    assert!(rounds < 20, "{rounds} rounds");
    assert!(limit.in_force() < before + 16, "it grows slowly where it was not before");
}
