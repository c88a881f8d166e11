//! The command loop of an identified connection.

use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hallway_protocol::CloseCode;
use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::line::Line;
use super::requests::Requests;
use super::{End, Sessions, catch_up};
use crate::auth::Identity;
use crate::connection::{Left, Outbound, ping_frame};
use crate::hub::{Behind, Connection, PageForPair};

/// Pause after the log could not be read.
const READ_RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How long the answers to what a connection asked for before it was revoked may take. Nothing else is done for it meanwhile.
const LAST_ANSWERS_MAX: Duration = Duration::from_secs(1);

type Pages = Result<Vec<PageForPair>, Vec<Behind>>;

/// A person on a connection. Dropping it takes the connection out of the hub.
pub(super) struct Identified {
    requests: Requests,
    last_heard: Instant,
    next_ping: Instant,
    /// Pages that are being read from the log.
    pages: Option<Pin<Box<dyn Future<Output = Pages> + Send>>>,
    parting: Parting,
}

/// Whether the connection was told to go once what is under way is answered. Nothing is read any more then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Parting {
    No,
    /// By a drain.
    Draining,
    /// Its session or its person was revoked: nothing is begun for it any more.
    Revoked,
}

/// What the session waits for besides its socket and its commands.
struct Waits<'a, W> {
    outbound: &'a Outbound<TcpStream>,
    timer: Pin<&'a mut Sleep>,
    woken: Pin<&'a mut W>,
}

/// What to do after everything that was ready was served.
enum Turn {
    /// Nothing was ready.
    Wait,
    /// Look once more: what was served may have made other things possible.
    Again,
    /// The socket has more, but others come first.
    Yield,
    End(End),
}

impl Identified {
    pub(super) fn new(sessions: Arc<Sessions>, connection: Arc<Connection>, identity: &Identity, now: Instant) -> Self {
        let limits = sessions.service.limits();
        let next_ping = now + Duration::from_millis(limits.heartbeat_interval_ms);
        let requests = Requests::new(sessions, connection, identity, now);
        Self { requests, last_heard: now, next_ping, pages: None, parting: Parting::No }
    }

    fn sessions(&self) -> &Sessions {
        &self.requests.sessions
    }

    /// Serves the connection until it ends.
    pub(super) async fn run(&mut self, line: &mut Line) -> End {
        let outbound = Arc::clone(&line.outbound);
        let mut timer = pin!(tokio::time::sleep_until(self.next_deadline(Instant::now(), &outbound).into()));
        let mut woken = pin!(outbound.woken());
        poll_fn(|cx| {
            let mut waits = Waits { outbound: &outbound, timer: timer.as_mut(), woken: woken.as_mut() };
            self.poll(cx, line, &mut waits, || outbound.woken())
        })
        .await
    }

    fn poll<W: Future<Output = ()>>(
        &mut self,
        cx: &mut Context<'_>,
        line: &mut Line,
        waits: &mut Waits<'_, W>,
        woken_again: impl Fn() -> W,
    ) -> Poll<End> {
        loop {
            match self.turn(cx, line, waits, &woken_again) {
                Turn::Wait => return Poll::Pending,
                Turn::Again => {}
                Turn::Yield => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Turn::End(end) => return Poll::Ready(end),
            }
        }
    }

    /// Serves everything that is ready, once. Tokio's budget bounds how often this can be repeated within one poll.
    fn turn<W: Future<Output = ()>>(
        &mut self,
        cx: &mut Context<'_>,
        line: &mut Line,
        waits: &mut Waits<'_, W>,
        woken_again: impl FnOnce() -> W,
    ) -> Turn {
        let outbound = waits.outbound;
        let close = outbound.close_requested();
        if let Some(end) = self.end_now(outbound, close) {
            return Turn::End(end);
        }
        let mut is_served = self.hear_farewell(close);
        if is_served {
            waits.timer.as_mut().reset(self.next_deadline(Instant::now(), outbound).into());
        }
        if waits.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if let Some(end) = self.overdue(now, outbound) {
                return Turn::End(end);
            }
            waits.timer.as_mut().reset(self.next_deadline(now, outbound).into());
            is_served = true;
        }
        if waits.woken.as_mut().poll(cx).is_ready() {
            waits.woken.set(woken_again());
            if outbound.stalled_since().is_some() {
                waits.timer.as_mut().reset(self.next_deadline(Instant::now(), outbound).into());
            }
            is_served = true;
        }
        if outbound.backlog_bytes() > 0
            && let Poll::Ready(ready) = line.socket().poll_write_ready(cx)
        {
            if ready.is_err() {
                return Turn::End(End::Lost);
            }
            outbound.flush();
            is_served = true;
        }
        let is_held = self.begin_pages();
        let mut is_handed_over = is_held | self.poll_pages(cx);
        is_handed_over |= self.requests.poll_finished(cx, &mut line.replies());
        let read = self.poll_read(cx, line);
        is_handed_over |= read.is_ready();
        if is_handed_over {
            self.sessions().service.hub().drive();
        }
        match read {
            Poll::Ready(Err(end)) => Turn::End(end),
            Poll::Ready(Ok(Left::More)) => Turn::Yield,
            // What comes from memory uses up none of Tokio's budget.
            _ if is_held => Turn::Yield,
            Poll::Ready(Ok(Left::Nothing)) => Turn::Again,
            Poll::Pending if is_served || is_handed_over => Turn::Again,
            Poll::Pending => Turn::Wait,
        }
    }

    /// Whether this connection has just been told to go. Whoever tells it wakes it.
    fn hear_farewell(&mut self, close: Option<CloseCode>) -> bool {
        let told = match close {
            Some(_) => Parting::Revoked,
            None if self.sessions().farewell.is_told(self.requests.actor.connection.id) => Parting::Draining,
            None => Parting::No,
        };
        if told <= self.parting {
            return false;
        }
        self.parting = told;
        if told == Parting::Revoked {
            self.pages = None;
            self.requests.begin_no_more(Instant::now() + LAST_ANSWERS_MAX);
        }
        true
    }

    fn poll_pages(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(Poll::Ready(read)) = self.pages.as_mut().map(|pages| pages.as_mut().poll(cx)) else { return false };
        self.pages = None;
        self.hand_over(read);
        true
    }

    /// Starts what the client asks for, in order, as far as there is room.
    fn poll_read(&mut self, cx: &mut Context<'_>, line: &mut Line) -> Poll<Result<Left, End>> {
        if self.parting != Parting::No || line.outbound.is_over_bound() || !self.requests.has_room() {
            // Whom we do not listen to is not silent.
            self.last_heard = Instant::now();
            return Poll::Pending;
        }
        if !line.has_unread() && std::task::ready!(line.socket().poll_read_ready(cx)).is_err() {
            return Poll::Ready(Err(End::Lost));
        }
        let now = Instant::now();
        let burst = line.burst(|bytes, replies| {
            self.requests.take(replies, bytes, now);
            if self.requests.has_room() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        Poll::Ready(burst.map(|burst| {
            if burst.is_heard {
                self.last_heard = now;
            }
            burst.left
        }))
    }

    fn end_now(&self, outbound: &Outbound<TcpStream>, close: Option<CloseCode>) -> Option<End> {
        if outbound.is_broken() {
            return Some(End::Lost);
        }
        let code = match close {
            // What was asked for before the revocation is answered first: it may be the very revocation.
            Some(code @ (CloseCode::SessionRevoked | CloseCode::UserRevoked)) => code,
            Some(code) => return Some(End::Close(code)),
            None if self.parting == Parting::Draining => CloseCode::Draining,
            None => return None,
        };
        self.requests.are_none().then_some(End::Close(code))
    }

    fn next_deadline(&self, now: Instant, outbound: &Outbound<TcpStream>) -> Instant {
        let limits = self.sessions().service.limits();
        let heartbeat = self.last_heard + Duration::from_millis(limits.heartbeat_timeout_ms);
        let stall = match outbound.stalled_since() {
            Some(since) => since + Duration::from_millis(limits.write_timeout_ms),
            None => self.next_ping,
        };
        self.next_ping.min(heartbeat).min(self.requests.expires_at).min(stall).max(now + Duration::from_millis(5))
    }

    fn overdue(&mut self, now: Instant, outbound: &Outbound<TcpStream>) -> Option<End> {
        let limits = self.sessions().service.limits();
        if now >= self.requests.expires_at {
            return Some(End::Close(outbound.close_requested().unwrap_or(CloseCode::TokenExpired)));
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
            self.requests.shrink();
        }
        None
    }

    /// Serves the streams that are Behind from memory, and begins to read those that are not there. Whether the former did
    /// anything.
    fn begin_pages(&mut self) -> bool {
        if self.pages.is_some() || self.parting == Parting::Revoked {
            return false;
        }
        let connection = Arc::clone(&self.requests.actor.connection);
        let Some(behind) = catch_up::next(&connection) else { return false };
        let sessions = Arc::clone(&self.requests.sessions);
        let served = catch_up::serve_from_rings(sessions.service.hub(), &connection, behind, &sessions.page_sizes);
        if !served.unheld.is_empty() {
            self.pages = Some(Box::pin(async move {
                let read = catch_up::read(sessions, connection, served.unheld).await;
                if read.is_err() {
                    tokio::time::sleep(READ_RETRY_PAUSE).await;
                }
                read
            }));
        }
        served.any
    }

    /// The lane alone appends what was read.
    fn hand_over(&self, pages: Pages) {
        match pages {
            Ok(pages) => pages.into_iter().for_each(|page| self.sessions().service.hub().page(page)),
            Err(behind) => self.requests.actor.connection.ask_again(behind),
        }
    }
}

impl Drop for Identified {
    fn drop(&mut self) {
        self.sessions().service.hub().leave(&self.requests.actor.connection);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn future_bytes<F>(_: fn(&'static mut Identified, &'static mut Line) -> F) -> usize {
        size_of::<F>()
    }

    /// What lives as long as the connection. Whoever needs more puts what is rare into a box, or says why not.
    #[test]
    fn a_session_that_waits_is_small() {
        let sizes = [size_of::<Line>(), size_of::<Identified>(), future_bytes(Identified::run)];
        println!("a line, what a session knows, and its waiting: {sizes:?} bytes");
        assert!(sizes.iter().zip([80, 168, 304]).all(|(bytes, most)| *bytes <= most), "{sizes:?} bytes");
    }
}
