//! One connection's life: hello, commands, teardown.
//!
//! ```text
//! Unidentified ──hello──► Identified ──► closed
//!      │ deadline, bad token     │ expiry, silence, stalled, drain, the client's own close
//!      ▼                         ▼
//!    closed                    closed
//! ```
//!
//! The session is one task. It reads frames, starts commands (several may be under way), finishes what the kernel did not
//! take at once, and reads the log for its streams that are Behind. It never appends stream events itself: its lane does.
//!
//! **Invariant:** no frame is read while the backlog is over its bound, so replies are bounded by requests in flight.
//!
//! Reading order: `line` (the socket with its WebSocket), `handshake`, `run` (what wakes it), `requests`, `catch_up`,
//! `rate` (pure).

mod catch_up;
mod handshake;
mod line;
mod rate;
mod requests;
mod run;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hallway_protocol::CloseCode;
use hallway_protocol::codec::Codec;

use crate::auth::Authenticator;
use crate::connection::Budget;
use crate::hub::ConnectionId;
use crate::service::{PageReader, Service};
use crate::tasks::Tasks;
use crate::telemetry::labels::CloseReason;

pub use line::Upgraded;

/// What all sessions of a node share.
pub struct Sessions {
    pub service: Service,
    pub reader: PageReader,
    pub authenticator: Authenticator,
    pub budget: Arc<Budget>,
    /// The sessions' own stop, which comes before that of the service.
    pub tasks: Tasks,
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
        Self {
            service,
            reader,
            authenticator,
            budget,
            tasks,
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

    /// Runs one session to its end.
    pub async fn run(self: Arc<Self>, upgraded: Upgraded, codec: Codec, token: Option<String>, mut place: Place) {
        let begun = std::time::Instant::now();
        let metrics = Arc::clone(self.service.metrics());
        metrics.connections_opened.add(1);
        let mut line = line::Line::new(upgraded, codec, &self);
        let unidentified = handshake::Unidentified::new(Arc::clone(&self), token);
        let end = match unidentified.hello(&mut line).await {
            Err(end) => end,
            Ok(mut identified) => {
                place.identified();
                metrics.connections_identified.add(1);
                let end = identified.run(&mut line).await;
                metrics.connections_identified.add(-1);
                end
            }
        };
        let reason = CloseReason::from(end);
        metrics.connections_closed.add(reason);
        line.finish(end).await;
        tracing::debug!(end = ?end, lasted_ms = begun.elapsed().as_millis() as u64, "a connection ended");
    }
}

impl Place {
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
