//! One member's socket: what of its bytes is unfinished, and what waits to be written.

use std::io::{ErrorKind, Read as _, Write as _};

use mio::net::TcpStream;

use super::BACKLOG_MAX_BYTES;

/// What a read gave.
pub(super) enum Read {
    Bytes(usize),
    Nothing,
    End,
}

/// An idle one owns no buffer.
pub(super) struct Connection {
    stream: TcpStream,
    /// `None` until it is upgraded.
    room: Option<usize>,
    unfinished: Vec<u8>,
    backlog: Vec<u8>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, room: None, unfinished: Vec::new(), backlog: Vec::new() }
    }

    pub(super) fn room(&self) -> Option<usize> {
        self.room
    }

    pub(super) fn enter(&mut self, room: usize) {
        self.room = Some(room);
    }

    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Read {
        loop {
            return match self.stream.read(buffer) {
                Ok(0) => Read::End,
                Ok(count) => Read::Bytes(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Read::Nothing,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => Read::End,
            };
        }
    }

    /// What was unfinished, with its continuation; `None` when nothing was.
    pub(super) fn join(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        if self.unfinished.is_empty() {
            return None;
        }
        let mut joined = std::mem::take(&mut self.unfinished);
        joined.extend_from_slice(bytes);
        Some(joined)
    }

    /// Keeps the beginning of what is to come.
    pub(super) fn keep(&mut self, rest: &[u8]) {
        self.unfinished = rest.to_vec();
    }

    /// Writes now what can be, and the rest later. `false` when the connection is broken or lets too much wait.
    pub(super) fn write(&mut self, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        if self.backlog.is_empty() {
            let Some(taken) = self.offer(bytes) else { return false };
            rest = &bytes[taken..];
        }
        self.backlog.extend_from_slice(rest);
        self.backlog.len() <= BACKLOG_MAX_BYTES
    }

    /// Writes of what waits as much as goes.
    pub(super) fn flush(&mut self) -> bool {
        if self.backlog.is_empty() {
            return true;
        }
        let backlog = std::mem::take(&mut self.backlog);
        let Some(taken) = self.offer(&backlog) else { return false };
        self.backlog = backlog[taken..].to_vec();
        true
    }

    /// How much the kernel takes; `None` when the connection is broken. All that it can take must be offered: only then an
    /// event tells when it takes more.
    fn offer(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut taken = 0;
        while taken < bytes.len() {
            match self.stream.write(&bytes[taken..]) {
                Ok(0) => return None,
                Ok(count) => taken += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
        Some(taken)
    }
}
