//! Webhooks: claimed with a lease, tried a bounded number of times, given up visibly.

use async_trait::async_trait;
use hallway_protocol::NotificationId;
use hallway_protocol::notification::{JobState, JobTrace};
use rusqlite::{Connection, Row, params};

use super::SqliteStore;
use super::tables::{get, get_u64, get_u64_option, int};
use super::upkeep::now_ms;
use crate::{
    DeadJobsPage, Job, JobClaim, JobOutcome, JobResult, LAST_ATTEMPT_LOST, NewJob, Outbox, StoreError, TRACE_ROWS_MAX,
};

/// Jobs that one step of trimming drops.
const JOBS_PER_STEP: usize = 1_000;
/// Jobs whose last attempt was lost that one claim gives up.
const GIVEN_UP_PER_CLAIM: u32 = 100;

const WAITING: i64 = 1;
const CLAIMED: i64 = 2;
const DONE: i64 = 3;
const DEAD: i64 = 4;

#[async_trait]
impl Outbox for SqliteStore {
    async fn claim_jobs(&self, what: JobClaim) -> Result<Vec<Job>, StoreError> {
        self.write(move |connection| claim(connection, now_ms(), &what)).await
    }

    async fn finish_jobs(&self, results: Vec<JobResult>) -> Result<(), StoreError> {
        self.write(move |connection| {
            let now_ms = now_ms();
            results.iter().try_for_each(|result| finish(connection, now_ms, result))
        })
        .await
    }

    async fn dead_jobs(&self, before: Option<u64>, limit: u32) -> Result<DeadJobsPage, StoreError> {
        self.readers.run(move |connection| dead(connection, before, limit)).await
    }

    async fn replay_jobs(&self, jobs: Vec<u64>, most: u32) -> Result<u64, StoreError> {
        self.write(move |connection| replay(connection, now_ms(), &jobs, most)).await
    }

    async fn trim_jobs(&self, done_kept: u32, dead_kept: u32) -> Result<bool, StoreError> {
        self.write(move |connection| {
            let done = trim(connection, DONE, done_kept)?;
            Ok(trim(connection, DEAD, dead_kept)? || done)
        })
        .await
    }
}

/// Writes a job, ready at once.
pub(super) fn insert(connection: &Connection, now_ms: u64, job: &NewJob) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "INSERT INTO outbox (target, priority, ready_at_ms, attempts_max, created_at_ms, body)
             VALUES (?1, ?2, ?3, ?4, ?3, ?5)",
        )?
        .execute(params![job.target, job.priority, int(now_ms), job.attempts_max, job.body])?;
    let number = connection.last_insert_rowid();
    let mut link =
        connection.prepare_cached("INSERT OR IGNORE INTO outbox_notifications (notification, job) VALUES (?1, ?2)")?;
    for id in &job.notifications {
        link.execute(params![id.as_uuid().as_bytes(), number])?;
    }
    Ok(())
}

fn claim(connection: &Connection, now_ms: u64, what: &JobClaim) -> Result<Vec<Job>, StoreError> {
    give_up_lost(connection, now_ms)?;
    let mut jobs: Vec<Job> = Vec::new();
    let limit = what.limit as usize;
    let queues = queues(connection)?;
    // Of one priority, those that wait longest, whatever their target.
    for same in queues.chunk_by(|(one, _), (other, _)| one == other) {
        let mut ready: Vec<(u64, u64)> = Vec::new();
        for (priority, target) in same.iter().filter(|(_, target)| what.targets.contains(target)) {
            ready.extend(ready_of(connection, now_ms, (*priority, target), limit - jobs.len())?);
        }
        ready.sort_unstable();
        ready.truncate(limit - jobs.len());
        for (_, number) in ready {
            jobs.push(take(connection, number, now_ms.saturating_add(what.lease_ms))?);
        }
    }
    Ok(jobs)
}

/// Gives up the jobs whose last attempt was not heard of before its lease ran out.
fn give_up_lost(connection: &Connection, now_ms: u64) -> Result<(), StoreError> {
    connection
        .prepare_cached(
            "UPDATE outbox SET state = 4, ready_at_ms = NULL, finished_at_ms = ?1, error = ?2 WHERE number IN
             (SELECT number FROM outbox INDEXED BY outbox_last_attempt
              WHERE state = 2 AND attempts >= attempts_max AND ready_at_ms <= ?1 ORDER BY ready_at_ms LIMIT ?3)",
        )?
        .execute(params![int(now_ms), LAST_ATTEMPT_LOST, GIVEN_UP_PER_CLAIM])?;
    Ok(())
}

/// Priorities and targets of what is not finished, greater priorities first. They are few, and each costs one look at the
/// index, however many jobs wait.
fn queues(connection: &Connection) -> Result<Vec<(i64, String)>, StoreError> {
    let mut next = connection.prepare_cached(
        "SELECT priority, target FROM outbox INDEXED BY outbox_ready WHERE ready_at_ms IS NOT NULL
         AND (priority, target) > (?1, ?2) ORDER BY priority, target LIMIT 1",
    )?;
    let mut queues: Vec<(i64, String)> = Vec::new();
    loop {
        let (priority, target) = queues.last().map_or((-1, ""), |(priority, target)| (*priority, target.as_str()));
        let mut rows = next.query(params![priority, target])?;
        let Some(row) = rows.next()? else { break };
        let queue = (get(row, 0)?, get(row, 1)?);
        drop(rows);
        queues.push(queue);
    }
    queues.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
    Ok(queues)
}

/// When and which: the jobs of a queue that are ready.
fn ready_of(
    connection: &Connection,
    now_ms: u64,
    (priority, target): (i64, &str),
    limit: usize,
) -> Result<Vec<(u64, u64)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT ready_at_ms, number FROM outbox INDEXED BY outbox_ready
         WHERE priority = ?1 AND target = ?2 AND ready_at_ms <= ?3 AND ready_at_ms IS NOT NULL AND attempts < attempts_max
         ORDER BY ready_at_ms, number LIMIT ?4",
    )?;
    let mut rows = statement.query(params![priority, target, int(now_ms), i64::try_from(limit).unwrap_or(i64::MAX)])?;
    let mut ready = Vec::new();
    while let Some(row) = rows.next()? {
        ready.push((get_u64(row, 0)?, get_u64(row, 1)?));
    }
    Ok(ready)
}

fn take(connection: &Connection, number: u64, until_ms: u64) -> Result<Job, StoreError> {
    let mut statement = connection.prepare_cached(
        "UPDATE outbox SET state = 2, attempts = attempts + 1, ready_at_ms = ?2 WHERE number = ?1
         RETURNING target, body, attempts, attempts_max, created_at_ms",
    )?;
    let mut rows = statement.query(params![int(number), int(until_ms)])?;
    let row = rows.next()?.ok_or_else(|| StoreError::Corrupt(format!("job {number} vanished")))?;
    let job = Job {
        number,
        target: get(row, 0)?,
        body: get(row, 1)?,
        attempt: get(row, 2)?,
        attempts_max: get(row, 3)?,
        created_at_ms: get_u64(row, 4)?,
    };
    // To its end, so that the change is made whole.
    rows.next()?;
    Ok(job)
}

/// Writes down what became of an attempt, unless another has begun.
fn finish(connection: &Connection, now_ms: u64, result: &JobResult) -> Result<(), StoreError> {
    let JobResult { number, attempt, outcome } = result;
    let (retry_at_ms, error) = match outcome {
        JobOutcome::Delivered => {
            connection
                .prepare_cached(
                    "UPDATE outbox SET state = 3, ready_at_ms = NULL, finished_at_ms = ?3, error = NULL
                     WHERE number = ?1 AND attempts = ?2 AND state = 2",
                )?
                .execute(params![int(*number), attempt, int(now_ms)])?;
            return Ok(());
        }
        JobOutcome::Failed { retry_after_ms, error } => (Some(now_ms.saturating_add(*retry_after_ms)), error),
        JobOutcome::Refused { error } => (None, error),
    };
    connection
        .prepare_cached(
            "UPDATE outbox SET error = ?5,
             state = CASE WHEN ?4 IS NULL OR attempts >= attempts_max THEN 4 ELSE 1 END,
             ready_at_ms = CASE WHEN attempts >= attempts_max THEN NULL ELSE ?4 END,
             finished_at_ms = CASE WHEN ?4 IS NULL OR attempts >= attempts_max THEN ?3 ELSE NULL END
             WHERE number = ?1 AND attempts = ?2 AND state = 2",
        )?
        .execute(params![int(*number), attempt, int(now_ms), retry_at_ms.map(int), error])?;
    Ok(())
}

fn read_trace(row: &Row<'_>) -> Result<JobTrace, StoreError> {
    Ok(JobTrace {
        job: get_u64(row, 0)?,
        target: get(row, 1)?,
        state: match get::<i64>(row, 2)? {
            WAITING => JobState::Waiting,
            CLAIMED => JobState::Claimed,
            DONE => JobState::Done,
            DEAD => JobState::Dead,
            code => return Err(StoreError::Corrupt(format!("no state of a job has the code {code}"))),
        },
        attempts: get(row, 3)?,
        created_at_ms: get_u64(row, 4)?,
        finished_at_ms: get_u64_option(row, 5)?,
        error: get(row, 6)?,
    })
}

fn dead(connection: &Connection, before: Option<u64>, limit: u32) -> Result<DeadJobsPage, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT number, target, state, attempts, created_at_ms, finished_at_ms, error FROM outbox INDEXED BY outbox_dead
         WHERE state = 4 AND number < ?1 ORDER BY number DESC LIMIT ?2",
    )?;
    let mut rows = statement.query(params![before.map_or(i64::MAX, int), i64::from(limit) + 1])?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        jobs.push(read_trace(row)?);
    }
    let more = jobs.len() > limit as usize;
    jobs.truncate(limit as usize);
    Ok(DeadJobsPage { jobs, more })
}

/// The webhooks that carry a notification, the first ones.
pub(super) fn of_notification(connection: &Connection, id: NotificationId) -> Result<Vec<JobTrace>, StoreError> {
    let mut statement = connection.prepare_cached(
        "SELECT o.number, o.target, o.state, o.attempts, o.created_at_ms, o.finished_at_ms, o.error
         FROM outbox_notifications l JOIN outbox o ON o.number = l.job
         WHERE l.notification = ?1 ORDER BY l.job LIMIT ?2",
    )?;
    let mut rows = statement.query(params![id.as_uuid().as_bytes(), TRACE_ROWS_MAX])?;
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        jobs.push(read_trace(row)?);
    }
    Ok(jobs)
}

/// Makes dead jobs new.
fn replay(connection: &Connection, now_ms: u64, jobs: &[u64], most: u32) -> Result<u64, StoreError> {
    let numbers = if jobs.is_empty() {
        let mut oldest = connection.prepare_cached(
            "SELECT number FROM outbox INDEXED BY outbox_dead WHERE state = 4 AND number > 0 ORDER BY number LIMIT ?1",
        )?;
        oldest.query_map([most], |row| row.get(0))?.collect::<Result<Vec<i64>, _>>()?
    } else {
        jobs.iter().map(|number| int(*number)).collect()
    };
    let mut again = connection.prepare_cached(
        "UPDATE outbox SET state = 1, attempts = 0, ready_at_ms = ?2, finished_at_ms = NULL, error = NULL
         WHERE number = ?1 AND state = 4",
    )?;
    let mut replayed = 0;
    for number in numbers {
        replayed += again.execute(params![number, int(now_ms)])?;
    }
    Ok(u64::try_from(replayed).unwrap_or(u64::MAX))
}

/// Drops one step of the jobs of a state beyond the newest; whether there may be more.
fn trim(connection: &Connection, state: i64, kept: u32) -> Result<bool, StoreError> {
    let oldest = if state == DONE {
        "SELECT number FROM outbox INDEXED BY outbox_done WHERE state = 3
         AND number <= (SELECT o.number FROM outbox o INDEXED BY outbox_done WHERE o.state = 3 AND o.number > 0
                        ORDER BY o.number DESC LIMIT 1 OFFSET ?1)
         ORDER BY number LIMIT ?2"
    } else {
        "SELECT number FROM outbox INDEXED BY outbox_dead WHERE state = 4
         AND number <= (SELECT o.number FROM outbox o INDEXED BY outbox_dead WHERE o.state = 4 AND o.number > 0
                        ORDER BY o.number DESC LIMIT 1 OFFSET ?1)
         ORDER BY number LIMIT ?2"
    };
    let step = i64::try_from(JOBS_PER_STEP).unwrap_or(i64::MAX);
    let numbers: Vec<i64> = connection
        .prepare_cached(oldest)?
        .query_map(params![kept, step], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for statement in ["DELETE FROM outbox_notifications WHERE job = ?1", "DELETE FROM outbox WHERE number = ?1"] {
        let mut statement = connection.prepare_cached(statement)?;
        for number in &numbers {
            statement.execute([number])?;
        }
    }
    Ok(numbers.len() >= JOBS_PER_STEP)
}
