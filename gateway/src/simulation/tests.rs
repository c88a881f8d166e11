//! Seeds, and the proof that a broken node makes some of them fail.
#![expect(clippy::disallowed_methods, reason = "tests read their own variables")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use loadtest_client::ledger::Invariant;

use super::run::{Ended, run};
use crate::sabotage::{Mutant, with_mutant};
use crate::telemetry::metrics::Metrics;

const SEEDS: u64 = 200;
const SEEDS_HEAVY: u64 = 2_000;
/// A broken node is noticed within so many seeds.
const MUTANT_SEEDS: u64 = 300;

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, which is no number")))
}

fn metrics() -> Arc<Metrics> {
    Metrics::new().expect("metrics").0
}

/// What many runs came to.
#[derive(Debug, Default)]
struct Sum {
    runs: u64,
    acknowledged: u64,
    unknown_or_refused: u64,
    received: u64,
    repeats: u64,
    resets: u64,
    reconnects: u64,
    delivered_after_us_max: u64,
    failed: Vec<String>,
}

impl Sum {
    fn add(&mut self, ended: &Ended) {
        self.runs += 1;
        self.acknowledged += ended.counts.acknowledged;
        self.unknown_or_refused += ended.counts.unknown + ended.counts.failed;
        self.received += ended.counts.received;
        self.repeats += ended.counts.raw_repeats;
        self.resets += ended.counts.resets;
        self.reconnects += ended.counts.reconnects;
        self.delivered_after_us_max = self.delivered_after_us_max.max(ended.delivered_after_us);
        if let Some(broken) = &ended.broken {
            self.failed
                .push(format!("HALLWAY_SIMULATION_SEED={}: {:?}: {}", ended.seed, broken.invariant, broken.what));
        }
    }
}

/// Runs seeds from `first` on, on all cores.
fn run_many(first: u64, count: u64) -> Sum {
    let sum = Mutex::new(Sum::default());
    let next = AtomicU64::new(first);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let metrics = metrics();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        return;
                    }
                    let ended = run(seed, &metrics, false);
                    sum.lock().unwrap_or_else(PoisonError::into_inner).add(&ended);
                }
            });
        }
    });
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn every_seed_keeps_every_promise(count: u64) {
    if let Some(seed) = setting("HALLWAY_SIMULATION_SEED") {
        let ended = run(seed, &metrics(), true);
        println!("{}", ended.trace.join("\n"));
        println!("seed {seed}: {:?}", ended.counts);
        assert_eq!(ended.broken, None, "seed {seed}");
        return;
    }
    let first = setting("HALLWAY_SIMULATION_FIRST").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let count = setting("HALLWAY_SIMULATION_SEEDS").unwrap_or(count);
    println!("seeds {first} to {}", first + count - 1);
    let began = Instant::now();
    let sum = run_many(first, count);
    println!("{:.1?}: {sum:#?}", began.elapsed());
    assert!(sum.failed.is_empty(), "{} of {count} seeds failed:\n{}", sum.failed.len(), sum.failed.join("\n"));
    // A simulation in which nothing happens proves nothing.
    assert!(sum.acknowledged > 10 * count && sum.received > 20 * count, "hardly anybody talked: {sum:?}");
    assert!(sum.reconnects > count && sum.resets > count, "hardly anybody came back: {sum:?}");
}

#[test]
fn whatever_fails_in_whatever_order_every_promise_is_kept() {
    every_seed_keeps_every_promise(SEEDS);
}

#[test]
fn heavy_simulation_of_thousands_of_seeds_keeps_every_promise() {
    every_seed_keeps_every_promise(SEEDS_HEAVY);
}

#[test]
fn a_seed_happens_the_same_each_time() {
    let metrics = metrics();
    for seed in 0..5 {
        let (one, two) = (run(seed, &metrics, true), run(seed, &metrics, true));
        let differs = one.trace.iter().zip(&two.trace).position(|(one, two)| one != two);
        let at = differs.map(|at| (&one.trace[at], &two.trace[at]));
        assert_eq!(at, None, "seed {seed}");
        assert_eq!(one.trace.len(), two.trace.len(), "seed {seed}");
    }
}

/// With this mutant, some seed breaks one of these promises, and no seed any other.
fn is_noticed(mutant: Mutant, expected: &[Invariant]) {
    let metrics = metrics();
    let began = Instant::now();
    let mut seeds = 0;
    let noticed = with_mutant(mutant, || {
        (0..MUTANT_SEEDS).find_map(|seed| {
            seeds = seed + 1;
            run(seed, &metrics, false).broken.map(|broken| (seed, broken))
        })
    });
    println!("{mutant:?}: {noticed:?} after {seeds} seeds, {:.1?}", began.elapsed());
    let (seed, broken) = noticed.unwrap_or_else(|| panic!("{mutant:?} was not noticed in {MUTANT_SEEDS} seeds"));
    assert!(expected.contains(&broken.invariant), "{mutant:?} breaks {expected:?}, but seed {seed} says {broken:?}");
    // The same seed is clean without it.
    assert_eq!(run(seed, &metrics, false).broken, None, "seed {seed}");
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_node_without_the_stores_tail_is_noticed_in_the_simulation() {
    is_noticed(Mutant::NoTail, &[Invariant::I1, Invariant::I7]);
}

#[test]
fn a_sequencer_that_starts_at_the_first_event_it_sees_is_noticed_in_the_simulation() {
    is_noticed(Mutant::SequencerStartsAtFirstEvent, &[Invariant::I1, Invariant::I7]);
}

#[test]
fn a_read_without_the_connect_proof_is_noticed_in_the_simulation() {
    is_noticed(Mutant::ReadWithoutConnectProof, &[Invariant::I1, Invariant::I5]);
}

#[test]
fn a_node_that_resets_at_each_resume_is_noticed_in_the_simulation() {
    is_noticed(Mutant::ResumeAlwaysResets, &[Invariant::I5]);
}

#[test]
fn a_removal_that_is_not_applied_at_its_number_is_noticed_in_the_simulation() {
    is_noticed(Mutant::RemovalWithoutItsNumber, &[Invariant::I8]);
}
