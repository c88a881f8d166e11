//! The backlog of one connection and the direct write past it.

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use hallway_protocol::CloseCode;
use rustix::net::{SendFlags, send};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::Budget;
use super::backlog::Backlog;
use super::frames::count_frames;

/// Slices given to the kernel in one call.
const WRITE_SLICES_MAX: usize = 64;

/// What a connection writes to. It never blocks: it takes some bytes, or says `WouldBlock`.
pub trait Wire: Send + Sync {
    /// Writes some of the slices.
    ///
    /// # Errors
    /// `WouldBlock` when nothing can be taken now; anything else ends the connection.
    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Writes some of the bytes: the same for a single slice, which the kernel takes a little faster on its own.
    ///
    /// # Errors
    /// As above.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_write_vectored(&[IoSlice::new(bytes)])
    }
}

impl Wire for TcpStream {
    /// Past the runtime's note of whether the socket is writable, which is one more place in memory. When the kernel takes
    /// nothing, the connection's task finds that out for the runtime with its own, vectored write before it waits.
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)?)
    }

    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        Self::try_write_vectored(self, slices)
    }
}

impl<W: Wire + ?Sized> Wire for Arc<W> {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        (**self).try_write(bytes)
    }

    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        (**self).try_write_vectored(slices)
    }
}

/// The outbound side of a connection. See the module's contract.
///
/// In this order: what a delivery needs (the state and, next to it, the wire) lies together, for between two deliveries the
/// kernel drives it out of the processor's cache.
#[repr(C)]
pub struct Outbound<W: Wire + ?Sized = dyn Wire> {
    backlog_max_bytes: usize,
    budget: Arc<Budget>,
    wake: Notify,
    state: Mutex<State>,
    wire: W,
}

/// Small: see [`Outbound`].
#[derive(Debug, Default)]
struct State {
    /// `None`: nothing waits, as nearly always.
    waiting: Option<Box<Waiting>>,
    close: Option<CloseCode>,
    broken: bool,
}

#[derive(Debug)]
struct Waiting {
    /// Never empty between two calls.
    backlog: Backlog,
    /// Since when the first waiting byte has been waiting without any byte being taken.
    stalled_since: Instant,
}

impl Waiting {
    /// What still waits when the kernel took so many bytes.
    fn after(mut self: Box<Self>, written: usize) -> Option<Box<Self>> {
        self.backlog.consume(written);
        self.stalled_since = Instant::now();
        (!self.backlog.is_empty()).then_some(self)
    }
}

impl State {
    fn is_ending(&self) -> bool {
        self.broken || self.close.is_some()
    }

    fn backlog_bytes(&self) -> usize {
        self.waiting.as_ref().map_or(0, |waiting| waiting.backlog.bytes())
    }

    /// Where a run must be cut; see [`Backlog::fitting_end`].
    fn fitting_end(&self, run: &[u8], written: usize, max_bytes: usize) -> usize {
        match &self.waiting {
            Some(waiting) => waiting.backlog.fitting_end(run, written, max_bytes),
            None => Backlog::default().fitting_end(run, written, max_bytes),
        }
    }
}

/// What became of stream events that were appended. The caller counts the writes, for many connections at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Frames that did not fit, from the end.
    pub refused_frames: usize,
    /// System calls that wrote something, and how much.
    pub writes: u64,
    pub written_bytes: u64,
}

/// How far a row of runs was written: all before `run`, and so much of that one.
#[derive(Debug, Clone, Copy, Default)]
struct Reached {
    run: usize,
    bytes: usize,
}

impl<W: Wire> Outbound<W> {
    /// An empty outbound side.
    #[must_use]
    pub fn new(wire: W, backlog_max_bytes: u64, budget: Arc<Budget>) -> Self {
        Self {
            backlog_max_bytes: usize::try_from(backlog_max_bytes).unwrap_or(usize::MAX),
            budget,
            wake: Notify::new(),
            state: Mutex::default(),
            wire,
        }
    }
}

impl<W: Wire + ?Sized> Outbound<W> {
    /// What it writes to.
    pub fn wire(&self) -> &W {
        &self.wire
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock, and the state is valid at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at what [`Outbound::push_events`] will need. Called for a few connections before they are written to, so that the
    /// processor fetches for all of them at once what it would wait for one after the other. The result says nothing; whoever
    /// uses it keeps the look.
    #[must_use]
    pub fn warm(&self) -> bool {
        self.state.is_poisoned()
    }

    /// Appends stream events, as many as fit: each run is one whole frame or several. At least one frame is taken when
    /// nothing is waiting, however large. The caller adds the writes to the metrics.
    pub fn push_events(&self, runs: &[Bytes]) -> Pushed {
        let mut state = self.state();
        if state.is_ending() {
            // Its client resumes from its positions.
            return Pushed::default();
        }
        // The usual case, in few instructions: the kernel drives those out of the cache, too.
        if let [run] = runs
            && state.waiting.is_none()
        {
            let result = self.wire.try_write(run);
            if result.as_ref().is_ok_and(|written| *written == run.len()) {
                return Pushed { refused_frames: 0, writes: 1, written_bytes: run.len() as u64 };
            }
            return self.push_further(&mut state, runs, Some(result));
        }
        self.push_further(&mut state, runs, None)
    }

    /// The same, after the first system call if there was one.
    #[inline(never)]
    fn push_further(&self, state: &mut State, runs: &[Bytes], first: Option<io::Result<usize>>) -> Pushed {
        let mut pushed = Pushed::default();
        let mut reached = Reached::default();
        if let Some(result) = first {
            reached.bytes = self.written(state, result, &mut pushed).unwrap_or(0);
        } else if state.waiting.is_none() {
            reached = self.write_directly(state, runs, &mut pushed);
        }
        if reached.run == runs.len() || state.broken {
            return pushed;
        }
        for (index, run) in runs.iter().enumerate().skip(reached.run) {
            let end = state.fitting_end(run, reached.bytes, self.backlog_max_bytes);
            if end == run.len() {
                self.append(state, run.clone(), reached.bytes);
                reached.bytes = 0;
                continue;
            }
            self.append(state, run.slice(..end), reached.bytes);
            pushed.refused_frames = count_frames(&run[end..]);
            pushed.refused_frames += runs[index + 1..].iter().map(|run| count_frames(run)).sum::<usize>();
            break;
        }
        pushed
    }

    /// Appends a frame that is never refused: a reply, a control frame.
    pub fn push(&self, frame: Bytes) {
        self.push_to(&mut self.state(), frame);
    }

    /// Appends a frame that says where the client stands in its streams (`reset`, `sync_end`). It is never refused, but goes
    /// the way of the events that it speaks for: once the connection is ending it is dropped, as they are.
    pub fn push_position(&self, frame: Bytes) {
        let mut state = self.state();
        if state.close.is_none() {
            self.push_to(&mut state, frame);
        }
    }

    fn push_to(&self, state: &mut State, frame: Bytes) {
        if state.broken {
            return;
        }
        let mut reached = Reached::default();
        if state.waiting.is_none() {
            let mut pushed = Pushed::default();
            reached = self.write_directly(state, std::slice::from_ref(&frame), &mut pushed);
            self.count(&pushed);
        }
        if reached.run == 0 && !state.broken {
            self.append(state, frame, reached.bytes);
        }
    }

    /// Writes while the kernel takes everything.
    fn write_directly(&self, state: &mut State, runs: &[Bytes], pushed: &mut Pushed) -> Reached {
        let mut reached = Reached::default();
        while reached.run < runs.len() {
            let batch = &runs[reached.run..runs.len().min(reached.run + WRITE_SLICES_MAX)];
            let result = if let [run] = batch {
                self.wire.try_write(run)
            } else {
                let mut slices = [IoSlice::new(&[]); WRITE_SLICES_MAX];
                for (slice, run) in slices.iter_mut().zip(batch) {
                    *slice = IoSlice::new(run);
                }
                self.wire.try_write_vectored(&slices[..batch.len()])
            };
            let Some(mut written) = self.written(state, result, pushed) else { return reached };
            for run in batch {
                if written < run.len() {
                    reached.bytes = written;
                    return reached;
                }
                written -= run.len();
                reached.run += 1;
            }
        }
        reached
    }

    /// What a system call came to. `None` when the kernel took nothing, or the connection is broken.
    fn written(&self, state: &mut State, result: io::Result<usize>, pushed: &mut Pushed) -> Option<usize> {
        match result {
            Ok(written) if written > 0 => {
                pushed.writes += 1;
                pushed.written_bytes += written as u64;
                Some(written)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            _ => {
                state.broken = true;
                self.wake.notify_one();
                None
            }
        }
    }

    fn count(&self, pushed: &Pushed) {
        if pushed.writes > 0 {
            self.budget.metrics.socket_writes.add(pushed.writes);
            self.budget.metrics.delivered_bytes.add(pushed.written_bytes);
        }
    }

    fn append(&self, state: &mut State, run: Bytes, written: usize) {
        if run.len() == written {
            return;
        }
        let waiting = state.waiting.get_or_insert_with(|| {
            self.wake.notify_one();
            Box::new(Waiting { backlog: Backlog::default(), stalled_since: Instant::now() })
        });
        let grown = waiting.backlog.append(run, written);
        self.budget.add(grown);
    }

    /// Writes waiting bytes until the kernel takes no more. Called by the connection's own task when writable.
    pub fn flush(&self) {
        let mut pushed = Pushed::default();
        let mut guard = self.state();
        let state = &mut *guard;
        while !state.broken
            && let Some(waiting) = &state.waiting
        {
            let mut slices = [IoSlice::new(&[]); WRITE_SLICES_MAX];
            let count = waiting.backlog.slices(&mut slices);
            let result = self.wire.try_write_vectored(&slices[..count]);
            let Some(written) = self.written(state, result, &mut pushed) else { break };
            state.waiting = state.waiting.take().and_then(|waiting| waiting.after(written));
            self.budget.sub(written);
        }
        self.count(&pushed);
    }

    /// Bytes that wait.
    #[must_use]
    pub fn backlog_bytes(&self) -> usize {
        self.state().backlog_bytes()
    }

    /// Whether the backlog is over its bound: then nothing more is read from this client.
    #[must_use]
    pub fn is_over_bound(&self) -> bool {
        self.state().backlog_bytes() > self.backlog_max_bytes
    }

    /// Whether there is room for a page from the log.
    #[must_use]
    pub fn is_half_empty(&self) -> bool {
        self.state().backlog_bytes() <= self.backlog_max_bytes / 2
    }

    /// Since when no byte was taken although some wait.
    #[must_use]
    pub fn stalled_since(&self) -> Option<Instant> {
        self.state().waiting.as_ref().map(|waiting| waiting.stalled_since)
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
        let freed = state.waiting.as_mut().map_or(0, |waiting| waiting.backlog.keep_first_frame());
        self.budget.sub(freed);
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

impl<W: Wire + ?Sized> Drop for Outbound<W> {
    fn drop(&mut self) {
        let bytes = self.state().backlog_bytes();
        self.budget.sub(bytes);
    }
}
