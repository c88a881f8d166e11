//! One socket: the upgrade, the greeting, and what waits to be written.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::vec::IntoIter;

use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

use super::adapter::{Adapter, Message, Step, Who};
use super::frame::{self, FrameError};

/// Any key will do; this one is the standard's example, whose answer is known.
const UPGRADE_KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const UPGRADE_ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Longest answer to an upgrade.
const UPGRADE_MAX_BYTES: usize = 16 * 1024;
/// Bytes of an answer that an error message shows.
const SHOWN_MAX_BYTES: usize = 120;
/// `SO_RCVBUF` of connections that will stop reading.
const MUTABLE_RECEIVE_BUFFER_BYTES: usize = 4 * 1024;
/// Unsent bytes at which a talker waits.
pub(crate) const UNSENT_MAX_BYTES: usize = 1024 * 1024;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("the upgrade was answered with {0:?}")]
    Upgrade(String),
    #[error("it was closed with {code:?} {reason:?}")]
    Closed { code: Option<u16>, reason: String },
    #[error("the server ended it")]
    Eof,
    #[error("the server refused: {0:?}")]
    Refused(String),
}

/// How far a connection has come.
pub(crate) enum Stage {
    Absent,
    Connecting,
    Upgrading,
    /// Waits for the last step's message; the others follow.
    Greeting {
        wait_for: Vec<u8>,
        steps: IntoIter<Step>,
    },
    Ready,
}

pub(crate) struct Connection {
    pub(crate) stream: Option<TcpStream>,
    pub(crate) stage: Stage,
    /// Bytes read that are no whole frame yet.
    pub(crate) carry: Vec<u8>,
    /// The beginning of a body.
    pub(crate) partial: Vec<u8>,
    /// The fragments of a message so far.
    pub(crate) fragments: Vec<u8>,
    unsent: Vec<u8>,
    /// Waits in the list of those to be flushed.
    pub(crate) dirty: bool,
    pub(crate) muted: bool,
    pub(crate) began_ns: u64,
}

impl Connection {
    pub(crate) fn absent() -> Self {
        Self {
            stream: None,
            stage: Stage::Absent,
            carry: Vec::new(),
            partial: Vec::new(),
            fragments: Vec::new(),
            unsent: Vec::new(),
            dirty: false,
            muted: false,
            began_ns: 0,
        }
    }

    /// Forgets everything, and with it closes the socket.
    pub(crate) fn reset(&mut self) {
        *self = Self { dirty: self.dirty, ..Self::absent() };
    }

    /// The upgrade request.
    pub(crate) fn upgrade(&mut self, adapter: &dyn Adapter, who: &Who, host: &str) {
        let mut request = format!(
            "GET {} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {UPGRADE_KEY}\r\n",
            adapter.path(who)
        );
        for (name, value) in adapter.headers(who) {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        self.unsent.extend_from_slice(request.as_bytes());
        self.stage = Stage::Upgrading;
    }

    /// Looks for the answer to the upgrade; says how many bytes it took. `None`: there is more to come.
    pub(crate) fn upgraded(&mut self, bytes: &[u8], steps: Vec<Step>) -> Result<Option<usize>, End> {
        let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else {
            return if bytes.len() > UPGRADE_MAX_BYTES { Err(End::Upgrade(shown(bytes))) } else { Ok(None) };
        };
        let head = &bytes[..end];
        if !head.starts_with(b"HTTP/1.1 101") || memchr::memmem::find(head, UPGRADE_ACCEPT).is_none() {
            return Err(End::Upgrade(shown(bytes)));
        }
        self.greet(steps.into_iter());
        Ok(Some(end + 4))
    }

    /// Says what is to be said until something must be waited for.
    fn greet(&mut self, mut steps: IntoIter<Step>) {
        while let Some(step) = steps.next() {
            if let Some(message) = &step.say {
                self.say(message);
            }
            if let Some(wait_for) = step.wait_for {
                self.stage = Stage::Greeting { wait_for, steps };
                return;
            }
        }
        self.stage = Stage::Ready;
    }

    /// A message came while greeting.
    pub(crate) fn greeted(&mut self, payload: &[u8], refused: bool) -> Result<(), End> {
        if refused {
            return Err(End::Refused(shown(payload)));
        }
        if let Stage::Greeting { wait_for, .. } = &self.stage
            && memchr::memmem::find(payload, wait_for).is_some()
            && let Stage::Greeting { steps, .. } = std::mem::replace(&mut self.stage, Stage::Ready)
        {
            self.greet(steps);
        }
        Ok(())
    }

    pub(crate) fn say(&mut self, message: &Message) {
        frame::put_message(&mut self.unsent, message);
    }

    pub(crate) fn control(&mut self, opcode: u8, payload: &[u8]) {
        frame::put(&mut self.unsent, opcode, payload);
    }

    /// From now on this socket acknowledges what it got as soon as that was read, until it says something again (`tcp(7)`:
    /// `TCP_QUICKACK`). Whether the kernel delays the acknowledgement hangs on how many messages a protocol greets with, and
    /// one that is delayed until the second segment comes is on the loopback made and taken by the *sender's* system call:
    /// so the same work counted as the client's for one server and as the server's own for another.
    pub(crate) fn acknowledge_when_read(&self) {
        if let Some(stream) = &self.stream {
            // A socket that was just reset says so when it is read.
            let _ = rustix::net::sockopt::set_tcp_quickack(stream, true);
        }
    }

    pub(crate) fn unsent_bytes(&self) -> usize {
        self.unsent.len()
    }

    /// Writes what the system takes.
    pub(crate) fn flush(&mut self) -> Result<(), End> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let mut written = 0;
        while written < self.unsent.len() {
            match stream.write(&self.unsent[written..]) {
                Ok(0) => return Err(End::Eof),
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if written == self.unsent.len() {
            self.unsent.clear();
        } else {
            self.unsent.drain(..written);
        }
        Ok(())
    }

    /// Reads once. `None`: nothing there now.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> Result<Option<usize>, End> {
        let Some(stream) = &mut self.stream else { return Ok(None) };
        loop {
            match stream.read(buffer) {
                Ok(0) => return Err(End::Eof),
                Ok(bytes) => return Ok(Some(bytes)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The end that a close frame tells.
pub(crate) fn closed(payload: &[u8]) -> End {
    match payload {
        [high, low, reason @ ..] => {
            End::Closed { code: Some(u16::from_be_bytes([*high, *low])), reason: shown(reason) }
        }
        _ => End::Closed { code: None, reason: String::new() },
    }
}

/// Bytes for people.
pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN_MAX_BYTES)]).into_owned()
}

/// Begins to connect, from the `number`th of `source_addresses`.
pub(crate) fn dial(
    target: SocketAddr,
    number: usize,
    source_addresses: u32,
    mutable: bool,
) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(target), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if mutable {
        socket.set_recv_buffer_size(MUTABLE_RECEIVE_BUFFER_BYTES)?;
    }
    if source_addresses > 1 && target.is_ipv4() {
        let place = u32::try_from(number).unwrap_or(0) % source_addresses;
        let source = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + place);
        socket.bind(&SocketAddr::from((source, 0)).into())?;
    }
    match socket.connect(&target.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use rustix::net::sockopt::{set_tcp_quickack, tcp_quickack};

    use super::*;

    #[test]
    fn however_a_connection_greeted_it_acknowledges_when_it_has_read() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let stream = TcpStream::from_std(std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap());
        // As the kernel has it after a greeting in several steps.
        set_tcp_quickack(&stream, false).unwrap();
        assert!(!tcp_quickack(&stream).unwrap());
        let connection = Connection { stream: Some(stream), ..Connection::absent() };
        connection.acknowledge_when_read();
        assert!(tcp_quickack(connection.stream.as_ref().unwrap()).unwrap());
    }
}
