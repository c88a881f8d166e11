//! The command loop of an identified connection.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hallway_protocol::codec::decode_request;
use hallway_protocol::command::{AuthRefresh, Refreshed, SyncStarted};
use hallway_protocol::frame::SyncBegin;
use hallway_protocol::{CloseCode, Command, ErrorBody, ErrorCode, Reply, Request, ServerFrame, check};

use super::line::{Inbound, Line};
use super::rate::Rate;
use super::{End, Sessions, catch_up};
use crate::auth::{Identity, now_ms};
use crate::connection::ping_frame;
use crate::hub::{Behind, Connection, PageForPair};
use crate::service::{Actor, Answer, Service, SyncStart};

/// Pause after the log could not be read.
const READ_RETRY_PAUSE: Duration = Duration::from_millis(200);

type Pages = Result<Vec<PageForPair>, Vec<Behind>>;
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

/// A person on a connection. Dropping it takes the connection out of the hub.
pub(super) struct Identified {
    sessions: Arc<Sessions>,
    actor: Actor,
    expires_at: Instant,
    rate: Rate,
    bad_frames: u64,
    last_heard: Instant,
    next_ping: Instant,
    in_flight: FuturesUnordered<InFlight>,
    /// A request that waits for the earlier ones.
    waiting: VecDeque<Request>,
}

impl Identified {
    pub(super) fn new(sessions: Arc<Sessions>, connection: Arc<Connection>, identity: &Identity, now: Instant) -> Self {
        let limits = sessions.service.limits();
        let next_ping = now + Duration::from_millis(limits.heartbeat_interval_ms);
        let rate = Rate::new(limits.requests_per_second_max, now);
        Self {
            actor: Actor { scopes: identity.scopes, connection },
            expires_at: expiry(identity, now),
            rate,
            bad_frames: 0,
            last_heard: now,
            next_ping,
            in_flight: FuturesUnordered::new(),
            waiting: VecDeque::new(),
            sessions,
        }
    }

    /// Serves the connection until it ends.
    pub(super) async fn run(&mut self, line: &mut Line) -> End {
        let sessions = Arc::clone(&self.sessions);
        let in_flight_max = usize::try_from(sessions.service.limits().requests_in_flight_max).unwrap_or(usize::MAX);
        let outbound = Arc::clone(&line.outbound);
        let socket = Arc::clone(&line.socket);
        let mut pages: Option<Pin<Box<dyn Future<Output = Pages> + Send>>> = None;
        let mut draining = false;
        let mut timer = Box::pin(tokio::time::sleep_until(self.next_deadline(Instant::now(), &outbound).into()));
        loop {
            if let Some(end) = self.end_now(&outbound, draining) {
                return end;
            }
            if pages.is_none() {
                pages = self.next_pages();
            }
            let may_read = !draining
                && !outbound.is_over_bound()
                && self.waiting.is_empty()
                && self.in_flight.len() < in_flight_max;
            if !may_read {
                // Whom we do not listen to is not silent.
                self.last_heard = Instant::now();
            }
            tokio::select! {
                inbound = line.receive(), if may_read => match inbound {
                    Inbound::Request(bytes) => self.request(line, &bytes),
                    Inbound::Alive => self.last_heard = Instant::now(),
                    Inbound::End(end) => return end,
                },
                Some(finished) = self.in_flight.next(), if !self.in_flight.is_empty() => self.finished(line, finished),
                read = async { match pages.as_mut() { Some(pages) => pages.await, None => std::future::pending().await } } => {
                    pages = None;
                    self.hand_over(read);
                }
                ready = socket.writable(), if outbound.backlog_bytes() > 0 => match ready {
                    Ok(()) => outbound.flush(),
                    Err(_) => return End::Lost,
                },
                () = outbound.woken() => if outbound.stalled_since().is_some() {
                    timer.as_mut().reset(self.next_deadline(Instant::now(), &outbound).into());
                },
                () = timer.as_mut() => {
                    let now = Instant::now();
                    if let Some(end) = self.overdue(now, &outbound) {
                        return end;
                    }
                    timer.as_mut().reset(self.next_deadline(now, &outbound).into());
                }
                () = sessions.tasks.stopped(), if !draining => draining = true,
            }
        }
    }

    fn end_now(&self, outbound: &crate::connection::Outbound, draining: bool) -> Option<End> {
        if outbound.is_broken() {
            return Some(End::Lost);
        }
        if let Some(code) = outbound.close_requested() {
            return Some(End::Close(code));
        }
        (draining && self.in_flight.is_empty() && self.waiting.is_empty()).then_some(End::Close(CloseCode::Draining))
    }

    fn next_deadline(&self, now: Instant, outbound: &crate::connection::Outbound) -> Instant {
        let limits = self.sessions.service.limits();
        let heartbeat = self.last_heard + Duration::from_millis(limits.heartbeat_timeout_ms);
        let stall = match outbound.stalled_since() {
            Some(since) => since + Duration::from_millis(limits.write_timeout_ms),
            None => self.next_ping,
        };
        self.next_ping.min(heartbeat).min(self.expires_at).min(stall).max(now + Duration::from_millis(5))
    }

    fn overdue(&mut self, now: Instant, outbound: &crate::connection::Outbound) -> Option<End> {
        let limits = self.sessions.service.limits();
        if now >= self.expires_at {
            return Some(End::Close(CloseCode::TokenExpired));
        }
        let write_timeout = Duration::from_millis(limits.write_timeout_ms);
        if outbound.stalled_since().is_some_and(|since| now.saturating_duration_since(since) >= write_timeout) {
            return Some(End::Close(CloseCode::WriteTimeout));
        }
        if now.saturating_duration_since(self.last_heard) >= Duration::from_millis(limits.heartbeat_timeout_ms) {
            return Some(End::Close(CloseCode::HeartbeatTimeout));
        }
        if now >= self.next_ping {
            self.next_ping = now + Duration::from_millis(limits.heartbeat_interval_ms);
            // A reader that is behind already needs no ping to show that it is alive.
            if outbound.backlog_bytes() == 0 {
                outbound.push(ping_frame());
            }
        }
        None
    }

    fn request(&mut self, line: &Line, bytes: &Bytes) {
        let now = Instant::now();
        self.last_heard = now;
        let metrics = self.sessions.service.metrics();
        let request = match decode_request(line.codec, bytes) {
            Ok(request) => request,
            Err(error) => {
                self.bad_frames += 1;
                metrics.errors.add(error.code);
                line.send_error(error.id, ErrorBody::new(error.code, error.message));
                if self.bad_frames >= self.sessions.service.limits().bad_frames_max {
                    line.outbound.request_close(CloseCode::BadClient);
                }
                return;
            }
        };
        self.bad_frames = 0;
        metrics.requests.add(&request.command);
        let id = request.id;
        if let Err(wait) = self.rate.take(now) {
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            let error =
                ErrorBody::new(ErrorCode::RateLimited, "too many requests on this connection: wait, then repeat");
            return self.answer(line, id, now, Err(error.retry_after(wait_ms)));
        }
        if let Err(error) = check::check(&request.command) {
            return self.answer(line, id, now, Err(error));
        }
        if Service::waits_for_earlier(&request.command) && !self.in_flight.is_empty() {
            self.waiting.push_back(request);
            return;
        }
        self.start(line, request, now);
    }

    fn start(&mut self, line: &Line, Request { id, command }: Request, begun: Instant) {
        let service = self.sessions.service.clone();
        match command {
            Command::AuthRefresh(refresh) => {
                let result = self.refresh(&refresh, begun);
                self.answer(line, id, begun, result);
            }
            Command::Sync(sync) => {
                let user = self.actor.connection.user.clone();
                self.push_in_flight(Box::pin(async move {
                    let outcome = Outcome::Sync(service.connect(&user).await, Box::new(sync));
                    Finished { id, begun, outcome }
                }));
            }
            command => match service.execute(&self.actor, command) {
                Answer::Now(result) => self.answer(line, id, begun, result),
                Answer::Later(future) => self.push_in_flight(Box::pin(async move {
                    Finished { id, begun, outcome: Outcome::Reply(future.await) }
                })),
            },
        }
    }

    fn push_in_flight(&mut self, future: InFlight) {
        self.sessions.service.metrics().requests_in_flight.add(1);
        self.in_flight.push(future);
    }

    fn finished(&mut self, line: &Line, Finished { id, begun, outcome }: Finished) {
        self.sessions.service.metrics().requests_in_flight.add(-1);
        match outcome {
            Outcome::Reply(result) => self.answer(line, id, begun, result),
            Outcome::Sync(Err(error), _) => self.answer(line, id, begun, Err(error)),
            Outcome::Sync(Ok(start), sync) => {
                let epoch = start.epoch().clone();
                self.answer(line, id, begun, Ok(Reply::Sync(SyncStarted { epoch: epoch.clone() })));
                line.send(&ServerFrame::SyncBegin(SyncBegin { epoch }));
                self.sessions.service.again(&self.actor.connection, &start, &sync.positions, sync.limit);
            }
        }
        if self.in_flight.is_empty()
            && let Some(request) = self.waiting.pop_front()
        {
            self.start(line, request, Instant::now());
        }
    }

    fn answer(&self, line: &Line, id: u64, begun: Instant, result: Result<Reply, ErrorBody>) {
        let metrics = self.sessions.service.metrics();
        match result {
            Ok(reply) => line.send_reply(id, reply),
            Err(error) => {
                metrics.errors.add(error.code);
                line.send_error(Some(id), error);
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
        self.expires_at = expiry(&identity, now);
        self.actor.scopes = identity.scopes;
        Ok(Reply::AuthRefresh(Refreshed { token_expires_at_ms: identity.expires_at_ms }))
    }

    fn next_pages(&self) -> Option<Pin<Box<dyn Future<Output = Pages> + Send>>> {
        let connection = Arc::clone(&self.actor.connection);
        let behind = catch_up::next(&connection)?;
        let (service, reader) = (self.sessions.service.clone(), self.sessions.reader.clone());
        Some(Box::pin(async move {
            let read = catch_up::read(service, reader, connection, behind).await;
            if read.is_err() {
                tokio::time::sleep(READ_RETRY_PAUSE).await;
            }
            read
        }))
    }

    /// The lane alone appends what was read.
    fn hand_over(&self, pages: Pages) {
        match pages {
            Ok(pages) => pages.into_iter().for_each(|page| self.sessions.service.hub().page(page)),
            Err(behind) => self.actor.connection.ask_again(behind),
        }
    }
}

impl Drop for Identified {
    fn drop(&mut self) {
        self.sessions.service.metrics().requests_in_flight.add(-(self.in_flight.len() as i64));
        self.sessions.service.hub().leave(&self.actor.connection);
    }
}

/// On the monotonic clock: a step of the wall clock ends no live connection.
fn expiry(identity: &Identity, now: Instant) -> Instant {
    now + Duration::from_millis(identity.expires_at_ms.saturating_sub(now_ms()))
}
