//! One connection's life: hello, commands, teardown.
//!
//! ```text
//! Unidentified ──hello──► Identified ──► closed
//!      │ deadline, bad token     │ expiry, silence, stalled, drain, the client's own close
//!      ▼                         ▼
//!    closed                    closed
//! ```
//!
//! The session is one task after another: the upgrade's task hears the hello, and what is identified goes on in a task of its
//! own, because a task keeps for its whole life the memory of the largest state that it can be in. The second reads frames, starts
//! commands (several may be under way), finishes what the kernel did not take at once, and reads the log for its streams that
//! are Behind. It never appends stream events itself: its lane does.
//!
//! **Invariant:** no frame is read while the backlog is over its bound, so replies are bounded by requests in flight.
//!
//! Reading order: `line` (the socket with its WebSocket), `handshake`, `run` (what wakes it), `requests`, `catch_up`,
//! `page_sizes` (pure), `rate` (pure), `farewell` (how all of them hear of a drain).

pub(crate) mod catch_up;
mod farewell;
mod handshake;
mod line;
pub(crate) mod page_sizes;
mod rate;
mod requests;
mod run;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use hallway_protocol::CloseCode;
use hallway_protocol::codec::Codec;

use crate::admission::{Admission, Permit};
use crate::auth::Authenticator;
use crate::connection::Budget;
use crate::hub::ConnectionId;
use crate::service::{PageReader, Service};
use crate::tasks::Tasks;
use crate::telemetry::labels::{CloseReason, DrainOutcome};

pub use farewell::Farewell;
pub use line::Upgraded;

use handshake::Unidentified;
use line::Line;
use page_sizes::PageSizes;
use run::Identified;

/// What all sessions of a node share.
pub struct Sessions {
    pub service: Service,
    pub reader: PageReader,
    pub authenticator: Authenticator,
    pub budget: Arc<Budget>,
    /// The sessions' own stop, which comes before that of the service.
    pub tasks: Tasks,
    /// What a drain tells them.
    pub farewell: Farewell,
    /// Who may begin.
    pub admission: Arc<Admission>,
    page_sizes: PageSizes,
    next_id: AtomicU64,
    open: AtomicUsize,
    unidentified: AtomicUsize,
}

/// Counts a connection from its upgrade to its end, and apart until its hello.
pub struct Place {
    sessions: Arc<Sessions>,
    unidentified: bool,
}

impl Sessions {
    /// No session yet.
    #[must_use]
    pub fn new(
        service: Service,
        reader: PageReader,
        authenticator: Authenticator,
        budget: Arc<Budget>,
        tasks: Tasks,
    ) -> Self {
        let page_sizes = PageSizes::new(service.limits());
        let admission = Arc::new(Admission::new(service.limits(), Arc::clone(service.metrics())));
        Self {
            service,
            reader,
            authenticator,
            budget,
            tasks,
            farewell: Farewell::default(),
            admission,
            page_sizes,
            next_id: AtomicU64::new(1),
            open: AtomicUsize::new(0),
            unidentified: AtomicUsize::new(0),
        }
    }

    /// A place for one more connection, or `None` when the node is full.
    #[must_use]
    pub fn place(self: &Arc<Self>) -> Option<Place> {
        let limits = self.service.limits();
        let open = self.open.fetch_add(1, Ordering::AcqRel) as u64;
        let unidentified = self.unidentified.fetch_add(1, Ordering::AcqRel) as u64;
        let place = Place { sessions: Arc::clone(self), unidentified: true };
        self.service.metrics().connections_open.add(1);
        // Dropping the place gives both counts back.
        (open < limits.connections_max && unidentified < limits.unidentified_max).then_some(place)
    }

    /// Connections that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    fn next_connection(&self) -> ConnectionId {
        ConnectionId(self.next_id.fetch_add(1, Ordering::Relaxed))
    }

    /// Hears the hello, and lets an identified session go on in a task of its own.
    pub async fn begin(
        self: Arc<Self>,
        upgraded: Upgraded,
        codec: Codec,
        token: Option<String>,
        mut place: Place,
        permit: Permit,
    ) {
        let begun = Instant::now();
        self.service.metrics().connections_opened.add(1);
        let mut line = Line::new(upgraded, codec, &self);
        let unidentified = Unidentified::new(Arc::clone(&self), token, permit);
        match unidentified.hello(&mut line).await {
            Ok(identified) => {
                place.identified();
                self.tasks.spawn(live(identified, line, place, begun));
            }
            Err(end) => place.close(line, end, begun).await,
        }
    }
}

/// The rest of an identified connection's life. Most of a node's memory is the states of this future: what it captures is
/// used in place, and what only its end needs is in a box of its own.
#[expect(clippy::manual_async_fn, reason = "an async fn has room for its arguments twice: as it got them, and in use")]
fn live(
    mut identified: Identified,
    mut line: Line,
    place: Place,
    begun: Instant,
) -> impl Future<Output = ()> + Send + 'static {
    async move {
        let metrics = &place.sessions.service.metrics().connections_identified;
        metrics.add(1);
        let end = identified.run(&mut line).await;
        metrics.add(-1);
        // The hub forgets the connection before its last bytes have left.
        drop(identified);
        place.close(line, end, begun).await;
    }
}

impl Place {
    /// The end of a connection, in a box: few of a node's connections are in this state.
    fn close(&self, line: Line, end: End, begun: Instant) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            self.sessions.service.metrics().connections_closed.add(CloseReason::from(end));
            let farewell = &self.sessions.farewell;
            let after_ms = if let End::Close(code) = end { farewell.reconnect_after_ms(code) } else { None };
            let has_left = line.finish(end, after_ms).await;
            if end == End::Close(CloseCode::Draining) {
                let outcome = if has_left { DrainOutcome::Clean } else { DrainOutcome::Forced };
                self.sessions.service.metrics().drained.add(outcome);
                if !has_left {
                    farewell.note_cut();
                }
            }
            tracing::debug!(end = ?end, lasted_ms = begun.elapsed().as_millis() as u64, "a connection ended");
        })
    }

    fn identified(&mut self) {
        if std::mem::take(&mut self.unidentified) {
            self.sessions.unidentified.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.identified();
        self.sessions.open.fetch_sub(1, Ordering::AcqRel);
        self.sessions.service.metrics().connections_open.add(-1);
    }
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The node closes it with this code.
    Close(CloseCode),
    /// The client said goodbye.
    Client,
    /// The line was cut.
    Lost,
}

impl From<End> for CloseReason {
    fn from(end: End) -> Self {
        match end {
            End::Close(code) => Self::Code(code),
            End::Client => Self::Client,
            End::Lost => Self::Lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of the future that a function returns.
    fn size_of_future<A, B, C, D, F: Future>(_: fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_of_an_identified_connection_stays_small() {
        let bytes = size_of_future(live);
        assert!(bytes <= LIVE_MAX_BYTES, "every connection would cost {bytes} bytes, more than {LIVE_MAX_BYTES}");
    }

    /// See the table in `docs/performance.md`, "Memory: what one connection costs".
    const LIVE_MAX_BYTES: usize = 704;
}
