//! The socket of a session with its WebSocket: reading whole messages, finishing writes, closing properly.

use std::net::Shutdown;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use hallway_protocol::codec::Codec;
use hallway_protocol::frame::{Closing, ErrorFrame, OkFrame};
use hallway_protocol::{CloseCode, ErrorBody, ErrorCode, Reply, ServerFrame};
use rand::RngExt;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, Error};
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

use super::{End, Sessions};
use crate::connection::{FrameMeter, Outbound, ReadHalf, TooManyFrames, close_frame, data_frame};

/// What tungstenite reads into. It zero-fills it on every poll, so it is small; larger messages grow it for a while.
const READ_BUFFER_BYTES: usize = 1024;
/// Time for the last bytes of a connection to leave.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for the client to hang up after our close frame.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);
/// When clients that were sent away together come back: spread over this time.
const RECONNECT_SPREAD_MS: u64 = 2000;

/// A connection after its upgrade.
pub struct Upgraded {
    pub socket: TcpStream,
    /// Bytes that the HTTP side had read already.
    pub early: Bytes,
}

pub(super) struct Line {
    pub(super) codec: Codec,
    pub(super) outbound: Arc<Outbound>,
    pub(super) socket: Arc<TcpStream>,
    web_socket: WebSocketStream<ReadHalf>,
}

/// One inbound message, by what it means for the session.
pub(super) enum Inbound {
    Request(Bytes),
    /// A ping or pong: only a sign of life.
    Alive,
    End(End),
}

impl Line {
    pub(super) fn new(upgraded: Upgraded, codec: Codec, sessions: &Sessions) -> Self {
        let limits = sessions.service.limits();
        let socket = Arc::new(upgraded.socket);
        let outbound = Arc::new(Outbound::new(
            Arc::clone(&socket) as _,
            limits.backlog_max_bytes,
            Arc::clone(&sessions.budget),
            Arc::clone(sessions.service.metrics()),
        ));
        let mut meter = FrameMeter::new(limits.message_frames_max);
        // Too many frames in so few bytes are noticed with the next read.
        let _ = meter.take(&upgraded.early);
        let message_max_bytes = usize::try_from(limits.message_max_bytes).unwrap_or(usize::MAX);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(64 * 1024)
            .max_message_size(Some(message_max_bytes))
            .max_frame_size(Some(message_max_bytes));
        let half = ReadHalf::new(Arc::clone(&socket), Arc::clone(&outbound), meter);
        let web_socket = futures_util::FutureExt::now_or_never(WebSocketStream::from_partially_read(
            half,
            upgraded.early.to_vec(),
            Role::Server,
            Some(config),
        ));
        #[expect(clippy::expect_used, reason = "from_partially_read awaits nothing")]
        let web_socket = web_socket.expect("wrapping a stream does not wait");
        Self { codec, outbound, socket, web_socket }
    }

    /// The next message. Cancel-safe.
    pub(super) async fn receive(&mut self) -> Inbound {
        match self.web_socket.next().await {
            Some(Ok(Message::Text(text))) if self.codec == Codec::Json => Inbound::Request(text.into()),
            Some(Ok(Message::Binary(bytes))) if self.codec == Codec::Postcard => Inbound::Request(bytes),
            Some(Ok(Message::Text(_) | Message::Binary(_))) => Inbound::End(End::Close(CloseCode::UnsupportedData)),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Inbound::Alive,
            // The next poll makes tungstenite answer the close frame and then say that it is over.
            Some(Ok(Message::Close(_))) => Inbound::Alive,
            Some(Err(Error::ConnectionClosed)) | None => Inbound::End(End::Client),
            Some(Err(error)) => Inbound::End(self.end_of(&error)),
        }
    }

    fn end_of(&self, error: &Error) -> End {
        match error {
            Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
                let message = format!("a message has at most {max_size} bytes; this one has at least {size}");
                self.send_error(None, ErrorBody::new(ErrorCode::TooLarge, message));
                End::Close(CloseCode::TooLarge)
            }
            Error::Capacity(_) => End::Close(CloseCode::TooLarge),
            Error::Utf8(_) => End::Close(CloseCode::InvalidUtf8),
            Error::Protocol(tokio_tungstenite::tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
                End::Lost
            }
            Error::Protocol(_) => End::Close(CloseCode::ProtocolError),
            Error::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<TooManyFrames>()) => {
                End::Close(CloseCode::Flood)
            }
            _ => End::Lost,
        }
    }

    pub(super) fn send(&self, frame: &ServerFrame) {
        self.outbound.push(data_frame(self.codec, frame));
    }

    pub(super) fn send_reply(&self, id: u64, reply: Reply) {
        self.send(&ServerFrame::Ok(OkFrame { id, reply }));
    }

    pub(super) fn send_error(&self, id: Option<u64>, error: ErrorBody) {
        self.send(&ServerFrame::Error(ErrorFrame { id, error }));
    }

    /// Says why, closes, and gives the last bytes some time to leave.
    pub(super) async fn finish(mut self, end: End) {
        if let End::Close(code) = end {
            let reconnect_after_ms = code.reconnect().then(|| match code {
                // Many are told so at once: they come back one after the other.
                CloseCode::Draining
                | CloseCode::StoreUnavailable
                | CloseCode::EpochChanged
                | CloseCode::MemoryBudget => rand::rng().random_range(0..RECONNECT_SPREAD_MS),
                _ => 0,
            });
            let reason = code.reason().to_owned();
            // No event lands behind our goodbye; the client resumes from its positions.
            self.outbound.request_close(code);
            self.send(&ServerFrame::Closing(Closing { code: code.code(), reason, reconnect_after_ms }));
            self.outbound.push(close_frame(code));
        }
        if end != End::Lost {
            let _ = tokio::time::timeout(FLUSH_TIMEOUT, self.flush_all()).await;
        }
        let _ = SockRef::from(&*self.socket).shutdown(Shutdown::Write);
        if matches!(end, End::Close(_)) {
            // Unread bytes would turn our goodbye into a reset that overtakes it.
            let _ = tokio::time::timeout(GOODBYE_TIMEOUT, self.read_to_end()).await;
        }
    }

    async fn flush_all(&self) {
        while self.outbound.backlog_bytes() > 0 && !self.outbound.is_broken() {
            if self.socket.writable().await.is_err() {
                return;
            }
            self.outbound.flush();
        }
    }

    async fn read_to_end(&mut self) {
        let mut rubbish = [0; 1024];
        while self.socket.readable().await.is_ok() {
            match self.socket.try_read(&mut rubbish) {
                Ok(0) => return,
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    }
}
