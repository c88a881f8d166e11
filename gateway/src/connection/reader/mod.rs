//! One connection's inbound side: from the socket to whole messages, without a buffer of its own while nothing comes.
//!
//! One [`Reader::read`] makes one system call, into the scratch buffer of the thread, and shows all messages that it
//! brought. What the visitor has no room for stays with the connection, in order, and is shown first the next time.
//!
//! **Invariant:** a connection of which no message is under way holds no inbound bytes.
//!
//! **Invariant:** the socket is not read while anything that came earlier is not shown yet.
//!
//! Reading order: `header` (pure), `decoder` (pure), this file.

mod decoder;
mod header;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::io::{self, Read as _};
use std::ops::ControlFlow;

use bytes::Bytes;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

pub use decoder::{Decoder, Message, Refusal};

/// What one system call can bring, and with it the most that is decoded before other tasks have their turn. It stays in the
/// processor's first cache.
pub const SCRATCH_BYTES: usize = 16 * 1024;

thread_local! {
    /// Filled with zeros once in the life of a thread. It is taken out while in use: nothing is borrowed meanwhile.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Why nothing more comes.
#[derive(Debug)]
pub enum ReadEnd {
    /// The socket ended or failed.
    Lost,
    Refused(Refusal),
}

/// What a read left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// Nothing: wait until the socket is readable.
    Nothing,
    /// Probably more: give others a turn, then read again.
    More,
}

/// Reads a socket for one connection.
#[derive(Debug)]
pub struct Reader {
    decoder: Decoder,
}

impl Reader {
    /// Begins with the bytes that had come with the upgrade.
    #[must_use]
    pub fn new(message_max_bytes: u64, frames_max: u64, early: &[u8]) -> Self {
        Self { decoder: Decoder::new(message_max_bytes, frames_max, early) }
    }

    /// Whether messages came that were not shown yet. No readiness of the socket tells of them.
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.decoder.is_stopped()
    }

    /// Shows what was not shown yet, or else what the socket has, until the visitor breaks off.
    ///
    /// # Errors
    /// The end of the stream. What came whole before it was shown.
    pub fn read(
        &mut self,
        socket: &TcpStream,
        mut visit: impl FnMut(Message<'_>) -> ControlFlow<()>,
    ) -> Result<Left, ReadEnd> {
        if self.decoder.is_stopped() {
            self.decoder.resume(&mut visit).map_err(ReadEnd::Refused)?;
            return Ok(Left::More);
        }
        let mut scratch = SCRATCH.take();
        if scratch.is_empty() {
            scratch.resize(SCRATCH_BYTES, 0);
        }
        let result = match receive(socket, &mut scratch) {
            Ok(0) => Err(ReadEnd::Lost),
            Ok(count) => {
                let left = if count == scratch.len() { Left::More } else { Left::Nothing };
                self.decoder.take(&mut scratch[..count], &mut visit).map(|()| left).map_err(ReadEnd::Refused)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Left::Nothing),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Left::More),
            Err(_) => Err(ReadEnd::Lost),
        };
        SCRATCH.set(scratch);
        result
    }
}

/// One system call. `TcpStream::try_read` would need a second one, which finds nothing, to learn that the socket is empty; a
/// short read says the same (as tokio's own `poll_read` has it). Asking within `try_io` lets the reactor see a byte that
/// comes meanwhile.
fn receive(socket: &TcpStream, scratch: &mut [u8]) -> io::Result<usize> {
    let mut short = None;
    let result = socket.try_io(Interest::READABLE, || {
        let count = (&*SockRef::from(socket)).read(scratch)?;
        if 0 < count && count < scratch.len() {
            short = Some(count);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(count)
    });
    match short {
        Some(count) => Ok(count),
        None => result,
    }
}

/// The answer to a ping.
#[must_use]
pub fn pong_frame(payload: &[u8]) -> Bytes {
    control_frame(0x8a, payload)
}

/// The answer to a close: the client's own code and reason.
#[must_use]
pub fn echoed_close_frame(payload: &[u8]) -> Bytes {
    control_frame(0x88, payload)
}

/// The decoder lets no payload of a control frame pass whose length does not fit into one byte.
fn control_frame(first: u8, payload: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(2 + payload.len());
    frame.extend_from_slice(&[first, payload.len() as u8]);
    frame.extend_from_slice(payload);
    Bytes::from(frame)
}
