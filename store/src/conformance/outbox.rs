//! Webhooks: each is delivered at least once, never tried more often than it may be, and none is stuck.

use std::collections::{BTreeMap, BTreeSet};

use hallway_protocol::NotificationId;
use hallway_protocol::notification::JobState;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::kit::{self, Shared};
use super::notes_kit::{claim, job, tell, urgent};
use crate::{HandOutFate, Job, JobClaim, JobOutcome, JobResult, LAST_ATTEMPT_LOST, NewJob};

async fn put(store: &Shared, jobs: Vec<NewJob>) {
    store.settle_hand_outs(Vec::new(), jobs).await.unwrap();
}

async fn finish(store: &Shared, job: &Job, outcome: JobOutcome) {
    store.finish_jobs(vec![JobResult { number: job.number, attempt: job.attempt, outcome }]).await.unwrap();
}

fn failed(retry_after_ms: u64) -> JobOutcome {
    JobOutcome::Failed { retry_after_ms, error: "503".to_owned() }
}

fn bodies(jobs: &[Job]) -> Vec<&str> {
    jobs.iter().map(|job| job.body.trim_start_matches("{\"body\":\"").trim_end_matches("\"}")).collect()
}

/// A claim whose lease is over at once: its claimer is as good as dead.
fn dying(limit: u32) -> JobClaim {
    JobClaim { lease_ms: 0, ..claim(limit) }
}

pub async fn jobs_are_claimed_by_priority_then_by_age_and_only_once(store: Shared) {
    put(&store, vec![job("a", 1, "first"), job("b", 1, "second")]).await;
    put(&store, vec![job("a", 2, "urgent"), job("a", 0, "idle")]).await;
    let jobs = store.claim_jobs(claim(2)).await.unwrap();
    assert_eq!(jobs.len(), 2, "no more than asked for");
    assert_eq!(bodies(&jobs)[0], "urgent");
    let first = &jobs[0];
    assert_eq!((first.target.as_str(), first.attempt, first.attempts_max), ("a", 1, 3));
    assert!(first.created_at_ms > 0);
    let rest = store.claim_jobs(claim(10)).await.unwrap();
    assert_eq!(bodies(&jobs[1..]).len() + rest.len(), 3);
    assert_eq!(bodies(&rest).last(), Some(&"idle"));
    assert!(store.claim_jobs(claim(10)).await.unwrap().is_empty(), "all are leased");
}

pub async fn jobs_of_targets_that_the_claimer_does_not_have_wait(store: Shared) {
    put(&store, vec![job("broken", 2, "x"), job("fine", 1, "y")]).await;
    let fine = JobClaim { targets: vec!["fine".to_owned(), "of which there is nothing".to_owned()], ..claim(10) };
    assert_eq!(bodies(&store.claim_jobs(fine.clone()).await.unwrap()), ["y"]);
    assert!(store.claim_jobs(fine).await.unwrap().is_empty());
    assert!(store.claim_jobs(JobClaim { targets: Vec::new(), ..claim(10) }).await.unwrap().is_empty());
    let jobs = store.claim_jobs(claim(10)).await.unwrap();
    assert_eq!((bodies(&jobs), jobs[0].attempt), (vec!["x"], 1), "it waited with all its attempts");
}

pub async fn claimers_at_the_same_time_never_get_the_same_job(store: Shared) {
    put(&store, (0..40).map(|n| job("a", 1, &n.to_string())).collect()).await;
    let claimers = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut mine = Vec::new();
            for _ in 0..20 {
                mine.extend(store.claim_jobs(claim(5)).await.unwrap());
            }
            mine
        })
    });
    let mut numbers = Vec::new();
    for claimer in claimers.collect::<Vec<_>>() {
        numbers.extend(claimer.await.unwrap().into_iter().map(|job| job.number));
    }
    assert_eq!(numbers.len(), 40);
    assert_eq!(numbers.into_iter().collect::<BTreeSet<_>>().len(), 40);
}

pub async fn a_dead_claimers_job_is_taken_over_and_its_late_word_does_not_count(store: Shared) {
    put(&store, vec![job("a", 1, "x")]).await;
    let dead = store.claim_jobs(dying(1)).await.unwrap().remove(0);
    let heir = store.claim_jobs(claim(1)).await.unwrap().remove(0);
    assert_eq!((heir.number, heir.attempt), (dead.number, 2));
    finish(&store, &dead, JobOutcome::Refused { error: "late".to_owned() }).await;
    finish(&store, &dead, failed(0)).await;
    assert!(store.claim_jobs(claim(1)).await.unwrap().is_empty(), "the heir has it still");
    finish(&store, &heir, JobOutcome::Delivered).await;
    finish(&store, &heir, failed(0)).await;
    assert!(store.claim_jobs(claim(1)).await.unwrap().is_empty(), "what is delivered stays delivered");
    assert!(store.dead_jobs(None, 10).await.unwrap().jobs.is_empty());
}

pub async fn a_job_is_never_tried_more_often_than_it_may_be(store: Shared) {
    put(&store, vec![job("a", 1, "fails"), job("b", 1, "is lost")]).await;
    let mut attempts = 0;
    for _ in 0..10 {
        for one in store.claim_jobs(dying(10)).await.unwrap() {
            attempts += 1;
            assert!(one.attempt <= one.attempts_max);
            if one.target == "a" {
                finish(&store, &one, failed(0)).await;
            }
        }
    }
    assert_eq!(attempts, 6, "three each");
    let dead = store.dead_jobs(None, 10).await.unwrap();
    assert!(!dead.more);
    let mut seen: Vec<_> =
        dead.jobs.iter().map(|job| (job.target.as_str(), job.attempts, job.error.as_deref())).collect();
    seen.sort_unstable();
    assert_eq!(seen, [("a", 3, Some("503")), ("b", 3, Some(LAST_ATTEMPT_LOST))]);
    for one in &dead.jobs {
        assert_eq!(one.state, JobState::Dead);
        assert!(one.finished_at_ms.is_some_and(|at_ms| at_ms >= one.created_at_ms));
    }
}

pub async fn a_failed_attempt_is_repeated_after_its_pause_and_a_refused_one_never(store: Shared) {
    put(&store, vec![job("a", 1, "later"), job("b", 1, "soon"), job("c", 1, "never")]).await;
    for one in store.claim_jobs(claim(10)).await.unwrap() {
        let outcome = match one.target.as_str() {
            "a" => failed(600_000),
            "b" => failed(0),
            _ => JobOutcome::Refused { error: "410".to_owned() },
        };
        finish(&store, &one, outcome).await;
    }
    let again = store.claim_jobs(claim(10)).await.unwrap();
    assert_eq!((bodies(&again), again[0].attempt), (vec!["soon"], 2));
    let dead = store.dead_jobs(None, 10).await.unwrap().jobs;
    assert_eq!(dead.len(), 1);
    assert_eq!((dead[0].target.as_str(), dead[0].attempts, dead[0].error.as_deref()), ("c", 1, Some("410")));
}

/// Makes so many jobs and gives them up; their numbers, ascending.
async fn give_up(store: &Shared, count: usize) -> Vec<u64> {
    put(store, (0..count).map(|n| job("dead", 1, &n.to_string())).collect()).await;
    let mut numbers = Vec::new();
    for one in store.claim_jobs(claim(1_000)).await.unwrap() {
        finish(store, &one, JobOutcome::Refused { error: "410".to_owned() }).await;
        numbers.push(one.number);
    }
    assert_eq!(numbers.len(), count);
    numbers.sort_unstable();
    numbers
}

pub async fn dead_jobs_are_listed_by_pages_and_replayed_as_new(store: Shared) {
    let numbers = give_up(&store, 5).await;
    let first = store.dead_jobs(None, 2).await.unwrap();
    let second = store.dead_jobs(Some(first.jobs[1].job), 3).await.unwrap();
    assert_eq!((first.more, second.more), (true, false));
    let listed: Vec<u64> = first.jobs.iter().chain(&second.jobs).map(|job| job.job).collect();
    assert!(listed.iter().eq(numbers.iter().rev()), "newest first: {listed:?}");

    assert_eq!(store.replay_jobs(vec![numbers[4], numbers[0], 999_999_999], 100).await.unwrap(), 2);
    assert_eq!(store.replay_jobs(vec![numbers[4]], 100).await.unwrap(), 0, "it waits already");
    let again = store.claim_jobs(claim(10)).await.unwrap();
    assert_eq!(again.iter().map(|job| job.number).collect::<BTreeSet<_>>(), [numbers[0], numbers[4]].into());
    for one in &again {
        assert_eq!((one.attempt, one.attempts_max), (1, 3), "as if it were new");
        finish(&store, one, failed(0)).await;
    }
    assert_eq!(store.claim_jobs(claim(10)).await.unwrap().len(), 2, "with all its attempts");

    assert_eq!(store.replay_jobs(Vec::new(), 2).await.unwrap(), 2, "the oldest");
    let oldest: BTreeSet<u64> = store.claim_jobs(claim(10)).await.unwrap().iter().map(|job| job.number).collect();
    assert_eq!(oldest, [numbers[1], numbers[2]].into());
    assert_eq!(store.dead_jobs(None, 10).await.unwrap().jobs.len(), 1);
}

pub async fn finished_jobs_are_kept_to_a_bound_and_unfinished_ones_always(store: Shared) {
    let dead = give_up(&store, 4).await;
    put(&store, (0..6).map(|n| job("done", 1, &n.to_string())).collect()).await;
    let mut done = Vec::new();
    for one in store.claim_jobs(claim(10)).await.unwrap() {
        finish(&store, &one, JobOutcome::Delivered).await;
        done.push(one.number);
    }
    put(&store, vec![job("waits", 1, "w"), job("claimed", 2, "c")]).await;
    assert_eq!(bodies(&store.claim_jobs(claim(1)).await.unwrap()), ["c"]);
    assert!(!store.trim_jobs(6, 4).await.unwrap());
    assert_eq!(store.dead_jobs(None, 10).await.unwrap().jobs.len(), 4, "they are within the bound");
    while store.trim_jobs(2, 1).await.unwrap() {}
    let kept = store.dead_jobs(None, 10).await.unwrap().jobs;
    assert_eq!(kept.iter().map(|job| job.job).collect::<Vec<_>>(), [dead[3]], "the newest");
    while store.trim_jobs(0, 0).await.unwrap() {}
    assert!(store.dead_jobs(None, 10).await.unwrap().jobs.is_empty());
    assert_eq!(bodies(&store.claim_jobs(claim(10)).await.unwrap()), ["w"]);
}

pub async fn a_trace_names_the_webhooks_that_carried_it(store: Shared) {
    let (ann, bob) = (kit::user("carried", "ann"), kit::user("carried", "bob"));
    let notification = tell(&store, &ann, &bob, urgent("wake up")).await;
    let other = NotificationId::generate();
    let carries = |target: &str| NewJob { notifications: vec![notification.id, other], ..job(target, 2, "x") };
    let settled = vec![(notification.id, HandOutFate::Settled)];
    store.settle_hand_outs(settled, vec![carries("a"), carries("b")]).await.unwrap();
    put(&store, vec![job("c", 2, "not of it")]).await;
    for one in store.claim_jobs(claim(10)).await.unwrap() {
        match one.target.as_str() {
            "a" => finish(&store, &one, JobOutcome::Delivered).await,
            "b" => finish(&store, &one, failed(600_000)).await,
            _ => {}
        }
    }
    let trace = store.trace(notification.id).await.unwrap().unwrap();
    let mut jobs: Vec<_> = trace
        .jobs
        .iter()
        .map(|job| (job.target.as_str(), job.state.as_str(), job.attempts, job.error.as_deref()))
        .collect();
    jobs.sort_unstable();
    assert_eq!(jobs, [("a", "done", 1, None), ("b", "waiting", 1, Some("503"))]);
    assert!(store.trace(other).await.unwrap().is_none());
    while store.trim_jobs(0, 0).await.unwrap() {}
    let jobs = store.trace(notification.id).await.unwrap().unwrap().jobs;
    assert_eq!(jobs.len(), 1, "what was trimmed is not named any more");
}

/// A job as the model knows it.
struct Known {
    attempts: u32,
    attempts_max: u32,
    /// Nothing is to be done any more.
    over: bool,
}

pub async fn every_job_ends_whoever_dies_in_whatever_order(store: Shared) {
    let seed = std::env::var("HALLWAY_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    println!("seed {seed}: repeat with HALLWAY_TEST_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let mut jobs = Vec::new();
    for n in 0..40 {
        let (target, priority) = (["a", "b", "c"][n % 3], random.random_range(0..3));
        jobs.push(NewJob { attempts_max: random.random_range(1..4), ..job(target, priority, &n.to_string()) });
    }
    put(&store, jobs).await;
    let (mut known, mut held): (BTreeMap<u64, Known>, Vec<Job>) = Default::default();
    let mut delivered = BTreeSet::new();
    // Every lease is over at once: each claimer is slow or dead, and may yet be heard of.
    for step in 0.. {
        let claimed = store.claim_jobs(dying(random.random_range(1..12))).await.unwrap();
        if claimed.is_empty() {
            break;
        }
        assert!(step < 200, "jobs are claimed for ever");
        for one in claimed {
            let job =
                known.entry(one.number).or_insert(Known { attempts: 0, attempts_max: one.attempts_max, over: false });
            job.attempts += 1;
            assert!(!job.over, "job {} is over", one.number);
            assert_eq!(one.attempt, job.attempts, "each claim is an attempt");
            assert!(job.attempts <= job.attempts_max);
            held.push(one);
        }
        while random.random_bool(0.7) && !held.is_empty() {
            let one = held.swap_remove(random.random_range(0..held.len()));
            let outcome = match random.random_range(0..5) {
                0 => JobOutcome::Delivered,
                1 => JobOutcome::Refused { error: "410".to_owned() },
                _ => failed(0),
            };
            finish(&store, &one, outcome.clone()).await;
            let Some(job) = known.get_mut(&one.number) else { continue };
            if job.over || job.attempts != one.attempt {
                continue;
            }
            let listed = listed(&store).await.contains(&one.number);
            job.over = job.attempts == job.attempts_max || !matches!(outcome, JobOutcome::Failed { .. });
            // A last attempt that came too late may have been given up before; its job is dead all the same.
            match outcome {
                JobOutcome::Delivered if !listed => {
                    delivered.insert(one.number);
                }
                _ => assert_eq!(listed, job.over, "job {}", one.number),
            }
        }
    }
    assert_eq!(known.len(), 40);
    let dead = listed(&store).await;
    let ended: BTreeSet<u64> = dead.union(&delivered).copied().collect();
    assert!(ended.iter().eq(known.keys()), "none is stuck: {} dead, {} delivered", dead.len(), delivered.len());
    assert!(dead.is_disjoint(&delivered));
}

/// The dead jobs.
async fn listed(store: &Shared) -> BTreeSet<u64> {
    store.dead_jobs(None, 1_000).await.unwrap().jobs.iter().map(|job| job.job).collect()
}
