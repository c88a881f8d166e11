//! The requests of an identified connection: judged, started, answered.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hallway_protocol::codec::decode_request;
use hallway_protocol::command::{AuthRefresh, Refreshed, SyncStarted, UNANSWERED_ID};
use hallway_protocol::frame::SyncBegin;
use hallway_protocol::{CloseCode, Command, ErrorBody, ErrorCode, Reply, Request, ServerFrame, check};

use super::Sessions;
use super::line::Replies;
use super::rate::Rate;
use crate::auth::{Identity, now_ms};
use crate::hub::Connection;
use crate::service::{Actor, Answer, Service, SyncStart};

type InFlight = Pin<Box<dyn Future<Output = Finished> + Send>>;

/// A command that was carried out (or refused).
struct Finished {
    id: u64,
    begun: Instant,
    outcome: Outcome,
}

enum Outcome {
    Reply(Result<Reply, ErrorBody>),
    Sync(Result<SyncStart, ErrorBody>, Box<hallway_protocol::command::Sync>),
}

/// What one person asks for on one connection.
pub(super) struct Requests {
    pub(super) sessions: Arc<Sessions>,
    pub(super) actor: Actor,
    /// The end of the token's life; after a revocation, of the patience with what is under way.
    pub(super) expires_at: Instant,
    rate: Rate,
    bad_frames: u64,
    /// Commands under way. None until there is one, and again after a quiet heartbeat.
    in_flight: Option<FuturesUnordered<InFlight>>,
    /// A request that waits for the earlier ones. Nothing is read meanwhile.
    waiting: Option<Box<Request>>,
}

impl Requests {
    pub(super) fn new(sessions: Arc<Sessions>, connection: Arc<Connection>, identity: &Identity, now: Instant) -> Self {
        let rate = Rate::new(sessions.service.limits().requests_per_second_max, now);
        Self {
            actor: Actor { scopes: identity.scopes, connection },
            expires_at: expiry(identity, now),
            rate,
            bad_frames: 0,
            in_flight: None,
            waiting: None,
            sessions,
        }
    }

    /// Whether one more may begin. One that may not stays unread.
    pub(super) fn has_room(&self) -> bool {
        let limits = self.sessions.service.limits();
        self.waiting.is_none()
            && (self.in_flight_count() as u64) < limits.requests_in_flight_max
            && self.bad_frames < limits.bad_frames_max
    }

    /// Whether all were answered.
    pub(super) fn are_none(&self) -> bool {
        self.in_flight_count() == 0 && self.waiting.is_none()
    }

    /// Its person was revoked: what is under way may be answered until then, and what waits is not begun.
    pub(super) fn begin_no_more(&mut self, until: Instant) {
        self.waiting = None;
        self.expires_at = self.expires_at.min(until);
    }

    /// Gives back memory after a quiet while: even an empty set of futures holds some.
    pub(super) fn shrink(&mut self) {
        if self.in_flight_count() == 0 {
            self.in_flight = None;
        }
    }

    fn in_flight_count(&self) -> usize {
        self.in_flight.as_ref().map_or(0, FuturesUnordered::len)
    }

    /// Answers every command that has ended: what one batch of the writer ended leaves together.
    pub(super) fn poll_finished(&mut self, cx: &mut Context<'_>, replies: &mut Replies<'_>) -> bool {
        let mut is_served = false;
        while let Some(in_flight) = self.in_flight.as_mut().filter(|in_flight| !in_flight.is_empty())
            && let Poll::Ready(Some(finished)) = in_flight.poll_next_unpin(cx)
        {
            self.finished(replies, finished);
            is_served = true;
        }
        is_served
    }

    /// Starts one, or refuses it, or lets it wait for the earlier ones.
    pub(super) fn take(&mut self, replies: &mut Replies<'_>, bytes: &[u8], now: Instant) {
        let metrics = self.sessions.service.metrics();
        let request = match decode_request(replies.codec(), bytes) {
            Ok(request) => request,
            Err(error) => {
                self.bad_frames += 1;
                metrics.errors.add(error.code);
                replies.send_error(error.id, ErrorBody::new(error.code, error.message));
                if self.bad_frames >= self.sessions.service.limits().bad_frames_max {
                    self.actor.connection.outbound.request_close(CloseCode::BadClient);
                }
                return;
            }
        };
        self.bad_frames = 0;
        metrics.requests.add(&request.command);
        let id = request.id;
        let count = match &request.command {
            Command::Actions(actions) => actions.actions.len().max(1),
            _ => 1,
        };
        if let Err(wait) = self.rate.take(count, now) {
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            let error =
                ErrorBody::new(ErrorCode::RateLimited, "too many requests on this connection: wait, then repeat");
            return self.answer(replies, id, now, Err(error.retry_after(wait_ms)));
        }
        if let Err(error) = check::check(&request.command) {
            return self.answer(replies, id, now, Err(error));
        }
        if Service::waits_for_earlier(&request.command) && self.in_flight_count() > 0 {
            self.waiting = Some(Box::new(request));
            return;
        }
        self.start(replies, request, now);
    }

    fn start(&mut self, replies: &mut Replies<'_>, Request { id, command }: Request, begun: Instant) {
        let service = self.sessions.service.clone();
        match command {
            Command::AuthRefresh(refresh) => {
                let result = self.refresh(&refresh, begun);
                self.answer(replies, id, begun, result);
            }
            Command::Sync(sync) => {
                let user = self.actor.connection.user.clone();
                self.push_in_flight(Box::pin(async move {
                    let start = service.connect(&user, &sync.positions, sync.limit).await;
                    let outcome = Outcome::Sync(start, Box::new(sync));
                    Finished { id, begun, outcome }
                }));
            }
            command => match service.execute(&self.actor, command) {
                Answer::Now(result) => self.answer(replies, id, begun, result),
                Answer::Later(future) => self.push_in_flight(Box::pin(async move {
                    Finished { id, begun, outcome: Outcome::Reply(future.await) }
                })),
            },
        }
    }

    fn push_in_flight(&mut self, future: InFlight) {
        self.sessions.service.metrics().requests_in_flight.add(1);
        self.in_flight.get_or_insert_default().push(future);
    }

    fn finished(&mut self, replies: &mut Replies<'_>, Finished { id, begun, outcome }: Finished) {
        self.sessions.service.metrics().requests_in_flight.add(-1);
        match outcome {
            Outcome::Reply(result) => self.answer(replies, id, begun, result),
            Outcome::Sync(Err(error), _) => self.answer(replies, id, begun, Err(error)),
            Outcome::Sync(Ok(start), sync) => {
                let epoch = start.epoch().clone();
                self.answer(replies, id, begun, Ok(Reply::Sync(SyncStarted { epoch: epoch.clone() })));
                replies.send(&ServerFrame::SyncBegin(SyncBegin { epoch }));
                // From here on the lane may send what the bracket opens.
                replies.leave();
                self.sessions.service.again(&self.actor.connection, start, &sync.positions, sync.limit);
            }
        }
        if self.in_flight_count() == 0
            && let Some(request) = self.waiting.take()
        {
            self.start(replies, *request, Instant::now());
        }
    }

    fn answer(&self, replies: &mut Replies<'_>, id: u64, begun: Instant, result: Result<Reply, ErrorBody>) {
        let metrics = self.sessions.service.metrics();
        match result {
            Ok(Reply::Typing(_) | Reply::Signal(_)) if id == UNANSWERED_ID => {}
            Ok(reply) => replies.send_reply(id, reply),
            Err(error) => {
                metrics.errors.add(error.code);
                replies.send_error(Some(id), error.for_minor(self.actor.connection.minor()));
            }
        }
        metrics.request_duration.record(begun.elapsed());
    }

    fn refresh(&mut self, refresh: &AuthRefresh, now: Instant) -> Result<Reply, ErrorBody> {
        let identity = self
            .sessions
            .authenticator
            .verify(&refresh.token, now_ms())
            .map_err(|error| ErrorBody::new(ErrorCode::Unauthenticated, error.to_string()))?;
        if identity.user != self.actor.connection.user {
            let message = "the new token is for another user: open another connection for them";
            return Err(ErrorBody::new(ErrorCode::Unauthenticated, message));
        }
        // Otherwise a revoked token would live on where a newer one opened the door.
        if self.actor.connection.token_is_newer_than(identity.issued_at_ms) {
            let message = "the new token was issued before the present one: get a fresh one";
            return Err(ErrorBody::new(ErrorCode::Unauthenticated, message));
        }
        self.actor.connection.set_token_issued_at(identity.issued_at_ms);
        self.expires_at = expiry(&identity, now);
        self.actor.scopes = identity.scopes;
        Ok(Reply::AuthRefresh(Refreshed { token_expires_at_ms: identity.expires_at_ms }))
    }
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.sessions.service.metrics().requests_in_flight.add(-(self.in_flight_count() as i64));
    }
}

/// On the monotonic clock: a step of the wall clock ends no live connection.
fn expiry(identity: &Identity, now: Instant) -> Instant {
    now + Duration::from_millis(identity.expires_at_ms.saturating_sub(now_ms()))
}
