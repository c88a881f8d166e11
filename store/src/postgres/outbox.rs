//! Webhooks that are to be delivered: jobs under leases.

use hallway_protocol::notification::JobTrace;
use tokio_postgres::types::ToSql;

use super::connection::{Connections, Kind};
use super::reads::cut;
use super::rows::{corrupt, json, signed, unsigned};
use super::statements::notes as statements;
use crate::{DeadJobsPage, Job, JobClaim, JobOutcome, JobResult, StoreError};

/// Jobs of each kind that one step of [`crate::Outbox::trim_jobs`] drops.
const DROPPED_PER_STEP: i64 = 1_000;

pub(super) async fn claim_jobs(connections: &Connections, claim: JobClaim) -> Result<Vec<Job>, StoreError> {
    let parameters: [&(dyn ToSql + Sync); 3] = [&i64::from(claim.limit), &signed(claim.lease_ms), &claim.targets];
    let rows = connections.run(Kind::Write, statements::CLAIM_JOBS, &parameters).await?;
    let count = |number: i32| u32::try_from(number).map_err(corrupt);
    let jobs = rows.iter().map(|row| {
        Ok(Job {
            number: unsigned(row.get(0)),
            target: row.get(1),
            body: row.get(2),
            attempt: count(row.get(3))?,
            attempts_max: count(row.get(4))?,
            created_at_ms: unsigned(row.get(5)),
        })
    });
    jobs.collect()
}

pub(super) async fn finish_jobs(connections: &Connections, results: Vec<JobResult>) -> Result<(), StoreError> {
    let numbers: Vec<i64> = results.iter().map(|result| signed(result.number)).collect();
    // An attempt that is beyond every count is nobody's.
    let attempts: Vec<i32> = results.iter().map(|result| i32::try_from(result.attempt).unwrap_or(-1)).collect();
    let errors: Vec<Option<&str>> = results.iter().map(|result| error(&result.outcome)).collect();
    let retries: Vec<Option<i64>> = results.iter().map(|result| retry(&result.outcome)).collect();
    let parameters: [&(dyn ToSql + Sync); 4] = [&numbers, &attempts, &errors, &retries];
    connections.run(Kind::Write, statements::FINISH_JOBS, &parameters).await.map(|_| ())
}

fn error(outcome: &JobOutcome) -> Option<&str> {
    match outcome {
        JobOutcome::Delivered => None,
        JobOutcome::Failed { error, .. } | JobOutcome::Refused { error } => Some(error),
    }
}

fn retry(outcome: &JobOutcome) -> Option<i64> {
    match outcome {
        JobOutcome::Failed { retry_after_ms, .. } => Some(signed(*retry_after_ms)),
        JobOutcome::Delivered | JobOutcome::Refused { .. } => None,
    }
}

pub(super) async fn dead_jobs(
    connections: &Connections,
    before: Option<u64>,
    limit: u32,
) -> Result<DeadJobsPage, StoreError> {
    let parameters: [&(dyn ToSql + Sync); 2] = [&before.map_or(i64::MAX, signed), &(i64::from(limit) + 1)];
    let rows = connections.run(Kind::Read, statements::DEAD_JOBS, &parameters).await?;
    let mut jobs = rows.iter().map(|row| json(row.get(0))).collect::<Result<Vec<JobTrace>, _>>()?;
    let more = cut(&mut jobs, limit);
    Ok(DeadJobsPage { jobs, more })
}

pub(super) async fn replay_jobs(connections: &Connections, jobs: Vec<u64>, most: u32) -> Result<u64, StoreError> {
    let numbers: Vec<i64> = jobs.into_iter().map(signed).collect();
    let row = connections.run_one(Kind::Write, statements::REPLAY_JOBS, &[&numbers, &i64::from(most)]).await?;
    Ok(unsigned(row.get(0)))
}

pub(super) async fn trim_jobs(connections: &Connections, done_kept: u32, dead_kept: u32) -> Result<bool, StoreError> {
    let parameters: [&(dyn ToSql + Sync); 3] = [&i64::from(done_kept), &i64::from(dead_kept), &DROPPED_PER_STEP];
    let row = connections.run_one(Kind::Write, statements::TRIM_JOBS, &parameters).await?;
    Ok(row.get(0))
}
