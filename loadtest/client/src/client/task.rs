//! The background task: reads, writes, reconnects.

use std::collections::HashMap;
use std::future::poll_fn;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hallway_protocol::codec::Received;
use hallway_protocol::command::Welcome;
use hallway_protocol::{Command, Reply, ServerFrame};
use rand::seq::IndexedRandom;
use tokio::sync::{mpsc, oneshot, watch};

use super::{ClientSettings, Control, Notice, Observer, Order, State};
use crate::connection::Connection;
use crate::error::{ClientError, End, RequestError};
use crate::positions::Positions;

/// Requests that were sent and are not answered yet; the queue waits behind them.
const IN_FLIGHT_MAX_REQUESTS: usize = 4096;
/// Frames handled before other tasks get their turn.
const FRAMES_PER_TURN: usize = 64;

type Answer = oneshot::Sender<Result<Reply, RequestError>>;

pub(super) struct Task<O> {
    settings: ClientSettings,
    observer: O,
    inbox: mpsc::Receiver<Order>,
    control: watch::Receiver<Control>,
    state: watch::Sender<State>,
    positions: Positions,
    waiting: HashMap<u64, Answer>,
    stalled: Option<(Box<Command>, Answer)>,
    reconnect_after: Option<Duration>,
    dirty: bool,
}

enum Ended {
    ByUs,
    ByNode(ClientError),
}

impl<O: Observer> Task<O> {
    pub(super) fn new(
        settings: ClientSettings,
        observer: O,
        inbox: mpsc::Receiver<Order>,
        control: watch::Receiver<Control>,
        state: watch::Sender<State>,
        positions: Positions,
    ) -> Self {
        Self {
            settings,
            observer,
            inbox,
            control,
            state,
            positions,
            waiting: HashMap::new(),
            stalled: None,
            reconnect_after: None,
            dirty: false,
        }
    }

    pub(super) async fn run(mut self, connection: Connection, welcome: Welcome) {
        let mut next = Some((connection, welcome));
        let mut reason = "closed".to_owned();
        while let Some((connection, welcome)) = next.take() {
            let ended = self.session(connection, welcome).await;
            let lost = match &ended {
                Ended::ByUs => "closed by the client".to_owned(),
                Ended::ByNode(error) => describe(error),
            };
            for (_, answer) in self.waiting.drain() {
                // Whoever asked may have gone.
                let _ = answer.send(Err(RequestError::Unknown(lost.clone())));
            }
            poll_fn(|context| self.observer.poll_ready(context)).await;
            self.observer.observe(Notice::Disconnected { reason: lost.clone() });
            reason = lost;
            match ended {
                Ended::ByNode(error) if self.settings.reconnect && error.retryable() => {
                    self.state.send_replace(State::Reconnecting);
                    match self.come_back().await {
                        Ok(connected) => next = connected,
                        Err(error) => reason = describe(&error),
                    }
                }
                _ => {}
            }
        }
        // Who waits for the end may rely on the observer's having seen everything, and being gone.
        let Self { observer, state, .. } = self;
        drop(observer);
        state.send_replace(State::Closed(reason));
    }

    async fn session(&mut self, mut connection: Connection, welcome: Welcome) -> Ended {
        let silence_max = Duration::from_millis(welcome.heartbeat_interval_ms.saturating_mul(2).max(1000));
        self.positions.welcome(&welcome);
        self.dirty = false;
        poll_fn(|context| self.observer.poll_ready(context)).await;
        self.observer.observe(Notice::Connected { welcome: Box::new(welcome) });
        self.state.send_replace(State::Connected);
        let mut control = self.control.clone();
        let cuts = control.borrow().cuts;
        // Every handle is gone; what they still had in the queue is sent first.
        let mut orphaned = false;
        loop {
            let now = *control.borrow_and_update();
            if now.cuts != cuts {
                let end = End { code: None, reason: "cut by the client".to_owned() };
                return Ended::ByNode(ClientError::Ended(end));
            }
            if now.closed {
                connection.close().await;
                return Ended::ByUs;
            }
            let silent_at = connection.last_heard() + silence_max;
            tokio::select! {
                biased;
                ended = poll_fn(|context| self.poll_drive(&mut connection, now.paused, context)) => {
                    if matches!(ended, Ended::ByUs) {
                        connection.close().await;
                    }
                    return ended;
                }
                changed = control.changed(), if !orphaned => orphaned = changed.is_err(),
                () = tokio::time::sleep_until(silent_at.into()), if !now.paused => {
                    if connection.last_heard().elapsed() >= silence_max {
                        return Ended::ByNode(ClientError::TimedOut(silence_max));
                    }
                }
            }
        }
    }

    /// Reads, writes and flushes as far as that goes without waiting.
    fn poll_drive(&mut self, connection: &mut Connection, paused: bool, context: &mut Context<'_>) -> Poll<Ended> {
        let mut turn = 0;
        while !paused && self.observer.poll_ready(context).is_ready() {
            match connection.poll_receive(context) {
                Poll::Pending => break,
                Poll::Ready(Ok(received)) => self.received(received),
                Poll::Ready(Err(error)) => return Poll::Ready(Ended::ByNode(error)),
            }
            turn += 1;
            if turn == FRAMES_PER_TURN {
                context.waker().wake_by_ref();
                break;
            }
        }
        match self.poll_orders(connection, context) {
            Poll::Ready(Err(error)) => return Poll::Ready(Ended::ByNode(error)),
            Poll::Ready(Ok(())) => return Poll::Ready(Ended::ByUs),
            Poll::Pending => {}
        }
        if self.dirty {
            match connection.poll_flush(context) {
                Poll::Ready(Ok(())) => self.dirty = false,
                Poll::Ready(Err(error)) => return Poll::Ready(Ended::ByNode(error)),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }

    /// Ready with `Ok` when every handle is gone.
    fn poll_orders(&mut self, connection: &mut Connection, context: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        loop {
            if self.stalled.is_none() && self.waiting.len() < IN_FLIGHT_MAX_REQUESTS {
                match self.inbox.poll_recv(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Ready(Some(Order::Positions(answer))) => {
                        let _ = answer.send(self.positions.to_vec());
                        continue;
                    }
                    Poll::Ready(Some(Order::Request { command, answer })) => self.stalled = Some((command, answer)),
                }
            }
            if self.stalled.is_none() {
                return Poll::Pending;
            }
            match connection.poll_writable(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(())) => {}
            }
            if let Some((command, answer)) = self.stalled.take() {
                // Nobody waits for it any more and it was never sent: it need not be.
                if answer.is_closed() {
                    continue;
                }
                match connection.feed(*command) {
                    Ok(id) => {
                        self.waiting.insert(id, answer);
                        self.dirty = true;
                    }
                    Err(error) => {
                        let _ = answer.send(Err(RequestError::Unknown(describe(&error))));
                        return Poll::Ready(Err(error));
                    }
                }
            }
        }
    }

    fn received(&mut self, received: Received) {
        let notice = match received {
            Received::Frame(ServerFrame::Event(event)) => {
                let step = self.positions.event(&event.stream, event.seq);
                self.positions.delivered(&event.stream, event.seq, &event.body);
                Notice::Event { event, step }
            }
            Received::Frame(ServerFrame::Ok(ok)) => {
                if let Some(answer) = self.waiting.remove(&ok.id) {
                    let _ = answer.send(Ok(ok.reply));
                }
                return;
            }
            Received::Frame(ServerFrame::Error(frame)) => {
                if let Some(answer) = frame.id.and_then(|id| self.waiting.remove(&id)) {
                    let _ = answer.send(Err(RequestError::from_body(frame.error)));
                    return;
                }
                Notice::Frame(ServerFrame::Error(frame))
            }
            Received::Frame(ServerFrame::Reset(reset)) => {
                let before = self.positions.reset(&reset);
                Notice::Reset { reset, before }
            }
            Received::Frame(ServerFrame::SyncEnd(end)) => {
                let holes = self.positions.synced(&end.positions);
                Notice::Synced { positions: end.positions, holes }
            }
            Received::Frame(ServerFrame::SyncBegin(_)) | Received::Unknown => return,
            Received::Frame(ServerFrame::Closing(closing)) => {
                self.reconnect_after = closing.reconnect_after_ms.map(Duration::from_millis);
                Notice::Frame(ServerFrame::Closing(closing))
            }
            Received::Frame(frame @ (ServerFrame::Typing(_) | ServerFrame::Signal(_) | ServerFrame::Presence(_))) => {
                Notice::Frame(frame)
            }
            Received::UnknownEvent { stream, seq } => {
                let step = self.positions.event(&stream, seq);
                Notice::UnknownEvent { stream, seq, step }
            }
        };
        self.observer.observe(notice);
    }

    /// Tries until it is connected again; `None` when the client was closed meanwhile.
    async fn come_back(&mut self) -> Result<Option<(Connection, Welcome)>, ClientError> {
        let since = Instant::now();
        let mut pause = self.settings.backoff_min;
        let mut control = self.control.clone();
        loop {
            let advised = self.reconnect_after.take();
            let jittered = advised.unwrap_or_else(|| pause.mul_f64(rand::random_range(0.5..=1.0)));
            let closing = control.wait_for(|control| control.closed);
            if let Ok(Ok(_)) = tokio::time::timeout(jittered.min(Duration::from_secs(60)), closing).await {
                return Ok(None);
            }
            if self.inbox.is_closed() && self.inbox.is_empty() {
                return Ok(None);
            }
            pause = (pause * 2).min(self.settings.backoff_max);
            self.settings.connect.positions = self.positions.to_vec();
            if let Some(url) = self.settings.elsewhere.choose(&mut rand::rng()) {
                self.settings.connect.url.clone_from(url);
            }
            match Connection::open(&self.settings.connect).await {
                Ok(connected) => return Ok(Some(connected)),
                Err(error) if !error.retryable() || since.elapsed() > self.settings.give_up_after => return Err(error),
                Err(ClientError::UpgradeRefused { retry_after_seconds: Some(seconds), .. }) => {
                    self.reconnect_after = Some(Duration::from_secs(seconds));
                }
                Err(_) => {}
            }
        }
    }
}

fn describe(error: &ClientError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
