//! The backlog of one connection and the direct write past it.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::{Buf, Bytes};
use hallway_protocol::CloseCode;
use tokio::sync::Notify;

use super::Budget;
use crate::telemetry::metrics::Metrics;

/// Slices given to the kernel in one call.
const WRITE_SLICES_MAX: usize = 64;

/// What a connection writes to. It never blocks: it takes some bytes, or says `WouldBlock`.
pub trait Wire: Send + Sync {
    /// Writes some of the slices.
    ///
    /// # Errors
    /// `WouldBlock` when nothing can be taken now; anything else ends the connection.
    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
}

impl Wire for tokio::net::TcpStream {
    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Self::try_write_vectored(self, slices)
    }
}

/// The outbound side of a connection. See the module's contract.
pub struct Outbound {
    wire: Arc<dyn Wire>,
    state: Mutex<State>,
    wake: Notify,
    backlog_max_bytes: usize,
    budget: Arc<Budget>,
    metrics: Arc<Metrics>,
}

#[derive(Debug, Default)]
struct State {
    frames: VecDeque<Bytes>,
    bytes: usize,
    /// Since when the first waiting byte has been waiting without any byte being taken.
    stalled_since: Option<Instant>,
    broken: bool,
    close: Option<CloseCode>,
}

impl Outbound {
    /// An empty outbound side.
    #[must_use]
    pub fn new(wire: Arc<dyn Wire>, backlog_max_bytes: u64, budget: Arc<Budget>, metrics: Arc<Metrics>) -> Self {
        Self {
            wire,
            state: Mutex::default(),
            wake: Notify::new(),
            backlog_max_bytes: usize::try_from(backlog_max_bytes).unwrap_or(usize::MAX),
            budget,
            metrics,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and the state is valid at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends stream events, as many as fit. Returns how many were taken, from the front. At least one is taken when
    /// nothing is waiting, however large.
    pub fn push_events(&self, frames: &[Bytes]) -> usize {
        let mut state = self.state();
        if state.broken || state.close.is_some() {
            // The connection is ending; its client resumes from its positions.
            return frames.len();
        }
        let mut taken = 0;
        if state.frames.is_empty() {
            taken = self.write_directly(&mut state, frames);
            if state.broken {
                return frames.len();
            }
        }
        for frame in &frames[taken..] {
            if !state.frames.is_empty() && state.bytes + frame.len() > self.backlog_max_bytes {
                break;
            }
            self.append(&mut state, frame.clone());
            taken += 1;
        }
        taken
    }

    /// Appends a frame that is never refused: a reply, a bracket of a sync, a control frame.
    pub fn push(&self, frame: Bytes) {
        let mut state = self.state();
        if state.broken {
            return;
        }
        if state.frames.is_empty() && self.write_directly(&mut state, std::slice::from_ref(&frame)) == 1 {
            return;
        }
        if !state.broken {
            self.append(&mut state, frame);
        }
    }

    /// Writes whole frames while the kernel takes them; the rest of a partly written one goes to the backlog. Returns how
    /// many frames are dealt with.
    fn write_directly(&self, state: &mut State, frames: &[Bytes]) -> usize {
        let mut dealt = 0;
        while dealt < frames.len() {
            let batch = &frames[dealt..frames.len().min(dealt + WRITE_SLICES_MAX)];
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES_MAX];
            for (slice, frame) in slices.iter_mut().zip(batch) {
                *slice = IoSlice::new(frame);
            }
            let Some(mut written) = self.write(state, &slices[..batch.len()]) else { return dealt };
            for frame in batch {
                if written >= frame.len() {
                    written -= frame.len();
                    dealt += 1;
                    continue;
                }
                if written > 0 {
                    self.append(state, frame.slice(written..));
                    dealt += 1;
                }
                return dealt;
            }
        }
        dealt
    }

    /// One system call. `None` when the kernel takes nothing, or the connection is broken.
    fn write(&self, state: &mut State, slices: &[IoSlice<'_>]) -> Option<usize> {
        match self.wire.try_write_vectored(slices) {
            Ok(0) => {
                state.broken = true;
                self.wake.notify_one();
                None
            }
            Ok(written) => {
                self.metrics.socket_writes.add(1);
                self.metrics.delivered_bytes.add(written as u64);
                Some(written)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(_) => {
                state.broken = true;
                self.wake.notify_one();
                None
            }
        }
    }

    fn append(&self, state: &mut State, frame: Bytes) {
        if state.frames.is_empty() {
            state.stalled_since = Some(Instant::now());
            self.wake.notify_one();
        }
        state.bytes += frame.len();
        self.budget.add(frame.len());
        self.metrics.backlog_bytes.add(frame.len() as i64);
        state.frames.push_back(frame);
    }

    /// Writes waiting bytes until the kernel takes no more. Called by the connection's own task when writable.
    pub fn flush(&self) {
        let mut state = self.state();
        while !state.frames.is_empty() && !state.broken {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES_MAX];
            let mut count = 0;
            // The frames are cloned handles (no bytes are copied), so that the state can change while they are written.
            let batch: Vec<Bytes> = state.frames.iter().take(WRITE_SLICES_MAX).cloned().collect();
            for (slice, frame) in slices.iter_mut().zip(&batch) {
                *slice = IoSlice::new(frame);
                count += 1;
            }
            let Some(written) = self.write(&mut state, &slices[..count]) else { return };
            self.consume(&mut state, written);
        }
    }

    fn consume(&self, state: &mut State, mut written: usize) {
        state.bytes -= written;
        self.budget.sub(written);
        self.metrics.backlog_bytes.add(-(written as i64));
        state.stalled_since = Some(Instant::now());
        while let Some(front) = state.frames.front_mut() {
            if written < front.len() {
                front.advance(written);
                return;
            }
            written -= front.len();
            state.frames.pop_front();
        }
        state.stalled_since = None;
        if state.frames.capacity() > WRITE_SLICES_MAX {
            // A reader that was slow once does not keep its memory for ever.
            state.frames = VecDeque::new();
        }
    }

    /// Bytes that wait.
    #[must_use]
    pub fn backlog_bytes(&self) -> usize {
        self.state().bytes
    }

    /// Whether the backlog is over its bound: then nothing more is read from this client.
    #[must_use]
    pub fn is_over_bound(&self) -> bool {
        self.state().bytes > self.backlog_max_bytes
    }

    /// Whether there is room for a page from the log.
    #[must_use]
    pub fn is_half_empty(&self) -> bool {
        self.state().bytes <= self.backlog_max_bytes / 2
    }

    /// Since when no byte was taken although some wait.
    #[must_use]
    pub fn stalled_since(&self) -> Option<Instant> {
        self.state().stalled_since
    }

    /// Whether the socket failed.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.state().broken
    }

    /// Asks the connection's task to close; the first code asked for stands.
    pub fn request_close(&self, code: CloseCode) {
        let mut state = self.state();
        state.close.get_or_insert(code);
        self.wake.notify_one();
    }

    /// Asks to close, and forgets at once what waits, but for the frame at the front (some of it may be with the client):
    /// for a connection that is closed because its backlog costs too much. Its client resumes from its positions.
    pub fn give_up(&self, code: CloseCode) {
        let mut state = self.state();
        state.close.get_or_insert(code);
        let front = state.frames.front().cloned();
        let kept = front.as_ref().map_or(0, Bytes::len);
        let freed = state.bytes - kept;
        state.frames = front.into_iter().collect();
        state.bytes = kept;
        self.budget.sub(freed);
        self.metrics.backlog_bytes.add(-(freed as i64));
        self.wake.notify_one();
    }

    /// The code to close with, once asked for.
    #[must_use]
    pub fn close_requested(&self) -> Option<CloseCode> {
        self.state().close
    }

    /// Wakes the connection's task.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Resolves when something changed that the connection's task must look at.
    pub async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl Drop for Outbound {
    fn drop(&mut self) {
        let bytes = self.state().bytes;
        self.budget.sub(bytes);
        self.metrics.backlog_bytes.add(-(bytes as i64));
    }
}
