//! A client that stays in sync: it keeps the positions, reconnects and resumes.
//!
//! One background task per client reads, writes and reconnects. What it sees goes to an [`Observer`], in order and
//! each event once ([`Step::Repeat`] marks what came twice). [`Events`] is the observer for those who want a queue.
//!
//! **Invariant:** while nobody is connected, requests wait; a request that was sent and lost its line is
//! [`RequestError::Unknown`], and repeating it with the same nonce is safe.
//!
//! **Invariant:** a full event queue stops the reading, so a slow application is a slow reader for the node, not
//! growing memory here. Requests of such a client are answered only when its events are taken.

mod commands;
mod events;
mod targets;
mod task;
mod work;

use std::time::{Duration, Instant};

use hallway_protocol::command::Welcome;
use hallway_protocol::frame::Reset;
use hallway_protocol::{Command, Event, Position, Reply, Seq, ServerFrame, StreamId};
use tokio::sync::{mpsc, oneshot, watch};

pub use commands::{committed, message, nonce, retry_until_known};
pub use events::Events;

use crate::connection::ConnectOptions;
use crate::error::{ClientError, RequestError};
use crate::positions::{Positions, Step};

/// Requests that wait to be sent.
const QUEUE_MAX_REQUESTS: usize = 1024;

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct ClientSettings {
    pub connect: ConnectOptions,
    /// Nodes to choose from: any other one when the line is lost or a node says that it is stopping, the next one after each
    /// failure. Empty: only `connect.url`.
    pub targets: Vec<String>,
    /// Whether to come back after the connection was lost.
    pub reconnect: bool,
    /// First pause before coming back; doubled with each failure, and jittered.
    pub backoff_min: Duration,
    pub backoff_max: Duration,
    /// Without a connection for this long, the client gives up.
    pub give_up_after: Duration,
    /// A request that nobody answered for this long is of unknown outcome.
    pub request_timeout: Duration,
}

impl ClientSettings {
    /// Reconnects after 50 ms to 2 s, for at most two minutes; requests take at most ten seconds.
    #[must_use]
    pub fn new(connect: ConnectOptions) -> Self {
        Self {
            connect,
            targets: Vec::new(),
            reconnect: true,
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(2),
            give_up_after: Duration::from_secs(120),
            request_timeout: Duration::from_secs(10),
        }
    }
}

/// What a client saw, in order.
#[derive(Debug)]
pub enum Notice {
    /// A connection was made (again); the events of its first sync follow.
    Connected {
        welcome: Box<Welcome>,
        /// When the node let it in: its answer to the upgrade.
        upgraded_at: Instant,
    },
    /// An event, and what it is to a client that stands where this one stands. Repeats are to be dropped.
    Event { event: Event, step: Step },
    /// An event of a kind that is newer than this client; it moved the position.
    UnknownEvent { stream: StreamId, seq: Seq, step: Step },
    /// Forget all you hold of this stream; the client stood at `before`.
    Reset { reset: Reset, before: Option<Position> },
    /// A sync is complete. `holes`: streams whose position moved without the events between (a fault of the node).
    Synced { positions: Vec<Position>, holes: Vec<(StreamId, Seq)> },
    /// Ephemeral frames, `closing`, and errors that belong to no request.
    Frame(ServerFrame),
    /// The connection ended.
    Disconnected { reason: String },
}

/// Receives what a client sees, on the client's own task: it must be quick.
pub trait Observer: Send + 'static {
    /// Whether another notice can be taken; until then nothing is read.
    fn poll_ready(&mut self, _context: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        std::task::Poll::Ready(())
    }

    /// One notice.
    fn observe(&mut self, notice: Notice);
}

pub(crate) enum Order {
    Request { command: Box<Command>, answer: oneshot::Sender<Result<Reply, RequestError>> },
    Positions(oneshot::Sender<Vec<Position>>),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Control {
    pub(crate) paused: bool,
    pub(crate) closed: bool,
    /// Each new number cuts the line once.
    pub(crate) cuts: u32,
}

/// Whether a client has a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Connected,
    Reconnecting,
    /// For good, and why.
    Closed(String),
}

/// A handle to the background task. When the last clone is dropped, the client says goodbye.
#[derive(Debug, Clone)]
pub struct Client {
    orders: mpsc::Sender<Order>,
    control: watch::Sender<Control>,
    state: watch::Receiver<State>,
    request_timeout: Duration,
}

impl std::fmt::Debug for Order {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Request { command, .. } => write!(out, "Request({})", command.name()),
            Self::Positions(_) => out.write_str("Positions"),
        }
    }
}

impl Client {
    /// Connects, says `hello`, and starts the background task. A node that has too much to do is waited for as it asks, at most
    /// `give_up_after`. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`ClientError`] when the first connection cannot be made, to none of the targets.
    pub async fn connect(mut settings: ClientSettings, observer: impl Observer) -> Result<Self, ClientError> {
        let (connection, welcome) = targets::connect_first(&mut settings).await?;
        let (orders, inbox) = mpsc::channel(QUEUE_MAX_REQUESTS);
        let (control, control_inbox) = watch::channel(Control::default());
        let (state_outbox, state) = watch::channel(State::Connected);
        let request_timeout = settings.request_timeout;
        let positions = Positions::new(settings.connect.positions.clone());
        let task = task::Task::new(settings, observer, inbox, control_inbox, state_outbox, positions);
        tokio::spawn(task.run(connection, welcome));
        Ok(Self { orders, control, state, request_timeout })
    }

    /// The same, with a queue of at most `capacity` notices to read from.
    ///
    /// # Errors
    /// [`ClientError`] when the first connection cannot be made.
    pub async fn connect_with_events(settings: ClientSettings, capacity: usize) -> Result<(Self, Events), ClientError> {
        let (observer, events) = events::queue(capacity);
        Ok((Self::connect(settings, observer).await?, events))
    }

    /// Sends a command once and waits for its reply.
    ///
    /// # Errors
    /// [`RequestError`]: refused, of unknown outcome, or never sent because the client is closed.
    pub async fn request(&self, command: Command) -> Result<Reply, RequestError> {
        let (answer, reply) = oneshot::channel();
        let order = Order::Request { command: Box::new(command), answer };
        let exchange = async {
            self.orders.send(order).await.map_err(|_| RequestError::Closed(self.why_closed()))?;
            reply.await.unwrap_or_else(|_| Err(RequestError::Unknown("the client ended before the reply".to_owned())))
        };
        let limit = self.request_timeout;
        let answered = tokio::time::timeout(limit, exchange).await;
        answered.unwrap_or_else(|_| Err(RequestError::Unknown(format!("no reply within {limit:?}"))))
    }

    /// Where the client stands.
    ///
    /// # Errors
    /// [`RequestError::Closed`] when the client has ended.
    pub async fn positions(&self) -> Result<Vec<Position>, RequestError> {
        let (answer, positions) = oneshot::channel();
        let closed = |_| RequestError::Closed(self.why_closed());
        self.orders.send(Order::Positions(answer)).await.map_err(closed)?;
        positions.await.map_err(|_| RequestError::Closed(self.why_closed()))
    }

    /// Stops reading from the socket, or starts again.
    pub fn pause_reading(&self, paused: bool) {
        self.control.send_modify(|control| control.paused = paused);
    }

    /// Cuts the line without a goodbye; the client comes back by itself.
    pub fn cut(&self) {
        self.control.send_modify(|control| control.cuts = control.cuts.wrapping_add(1));
    }

    /// Whether there is a connection.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Waits for a state.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`] when it does not come within `limit`.
    pub async fn wait_for(&self, limit: Duration, wanted: impl FnMut(&State) -> bool) -> Result<State, ClientError> {
        let mut state = self.state.clone();
        match tokio::time::timeout(limit, state.wait_for(wanted)).await {
            Ok(Ok(state)) => Ok(state.clone()),
            Ok(Err(_)) => Err(ClientError::Protocol("the client has ended".to_owned())),
            Err(_) => Err(ClientError::TimedOut(limit)),
        }
    }

    /// Says goodbye and waits until the background task has ended, at most two seconds.
    pub async fn close(&self) {
        self.control.send_modify(|control| control.closed = true);
        let _ = self.wait_for(Duration::from_secs(2), |state| matches!(state, State::Closed(_))).await;
    }

    fn why_closed(&self) -> String {
        match &*self.state.borrow() {
            State::Closed(reason) => reason.clone(),
            _ => "the background task ended".to_owned(),
        }
    }
}
