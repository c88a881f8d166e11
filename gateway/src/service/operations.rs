//! What operators ask about notifications and webhooks, with the scope `admin`.

use std::time::Duration;

use hallway_protocol::check::PAGE_LIMIT_DEFAULT;
use hallway_protocol::command::{DeadJobs, OutboxDead, OutboxReplay, Replayed};
use hallway_protocol::cursor::Cursor;
use hallway_protocol::{Command, ErrorBody, ErrorCode, Reply};

use super::command::{Actor, Answer, later};
use super::reads::{bad_cursor, failed};
use super::{Service, answers};
use crate::auth::Scopes;

/// Jobs that one `outbox.replay` without numbers makes new.
const REPLAY_MAX: u32 = 100;

impl Service {
    /// Carries out `notification.trace`, `outbox.dead` or `outbox.replay`.
    pub(super) fn operate(&self, actor: &Actor, command: Command) -> Answer {
        if !actor.scopes.contains(Scopes::ADMIN) {
            return Answer::Now(Err(answers::scope("admin")));
        }
        let service = self.clone();
        later(async move {
            let timeout = Duration::from_millis(service.inner.limits.store_timeout_ms);
            match tokio::time::timeout(timeout, service.answer_operator(command)).await {
                Ok(answer) => answer,
                Err(_) => Err(answers::unavailable()),
            }
        })
    }

    async fn answer_operator(&self, command: Command) -> Result<Reply, ErrorBody> {
        match command {
            Command::NotificationTrace(asked) => match self.inner.store.trace(asked.id).await.map_err(failed)? {
                Some(trace) => Ok(Reply::NotificationTrace(trace)),
                None => Err(ErrorBody::new(ErrorCode::NotFound, "no such notification (any more)")),
            },
            Command::OutboxDead(list) => self.dead_jobs(list).await,
            Command::OutboxReplay(replay) => self.replay_jobs(replay).await,
            _ => Err(ErrorBody::new(ErrorCode::Internal, "not a command for operators")),
        }
    }

    async fn dead_jobs(&self, list: OutboxDead) -> Result<Reply, ErrorBody> {
        let before = list.cursor.as_deref().map(|cursor| Cursor::DeadJobs.decode_seq(cursor)).transpose();
        let limit = list.limit.unwrap_or(PAGE_LIMIT_DEFAULT);
        let page = self.inner.store.dead_jobs(before.map_err(bad_cursor)?, limit).await.map_err(failed)?;
        let last = page.jobs.last().filter(|_| page.more);
        let next = last.map(|job| Cursor::DeadJobs.encode_seq(job.job));
        Ok(Reply::OutboxDead(DeadJobs { next, jobs: page.jobs }))
    }

    /// Done twice it does no harm: what is not dead any more is left alone.
    async fn replay_jobs(&self, replay: OutboxReplay) -> Result<Reply, ErrorBody> {
        let jobs = self.inner.store.replay_jobs(replay.jobs, REPLAY_MAX).await;
        let jobs = jobs.map_err(|error| answers::store_error(&error))?;
        if let Some(webhooks) = self.inner.webhooks.get().filter(|_| jobs > 0) {
            webhooks.wake();
        }
        Ok(Reply::OutboxReplay(Replayed { jobs }))
    }
}
