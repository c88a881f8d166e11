//! The socket of a session with its WebSocket: reading whole messages, finishing writes, closing properly.

use std::future::poll_fn;
use std::net::Shutdown;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hallway_protocol::codec::Codec;
use hallway_protocol::frame::{Closing, ErrorFrame, OkFrame};
use hallway_protocol::{CloseCode, ErrorBody, ErrorCode, Reply, ServerFrame};
use socket2::SockRef;
use tokio::net::TcpStream;

use super::{End, Sessions};
use crate::connection::{
    Left, Message, Outbound, ReadEnd, Reader, Refusal, close_frame, data_frame, echoed_close_frame, pong_frame,
};

/// Time for the last bytes of a connection to leave.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for the client to hang up after our close frame.
const GOODBYE_TIMEOUT: Duration = Duration::from_millis(500);
/// Replies of one burst are joined up to this size; then they leave.
const JOINED_MAX_BYTES: usize = 16 * 1024;

/// A connection after its upgrade.
pub struct Upgraded {
    pub socket: TcpStream,
    /// Bytes that the HTTP side had read already.
    pub early: Bytes,
}

pub(super) struct Line {
    pub(super) codec: Codec,
    pub(super) outbound: Arc<Outbound<TcpStream>>,
    reader: Reader,
}

/// One inbound message, by what it means for the session.
pub(super) enum Inbound {
    Request(Bytes),
    /// A ping or pong: only a sign of life.
    Alive,
    End(End),
}

/// What one read brought, besides requests.
pub(super) struct Burst {
    pub(super) left: Left,
    /// Whether the client said anything whole.
    pub(super) is_heard: bool,
}

impl Line {
    pub(super) fn new(upgraded: Upgraded, codec: Codec, sessions: &Sessions) -> Self {
        let limits = sessions.service.limits();
        let outbound = Arc::new(Outbound::new(upgraded.socket, limits.backlog_max_bytes, Arc::clone(&sessions.budget)));
        let reader = Reader::new(limits.message_max_bytes, limits.message_frames_max, &upgraded.early);
        Self { codec, outbound, reader }
    }

    pub(super) fn socket(&self) -> &TcpStream {
        self.outbound.wire()
    }

    /// Whether requests came that were not shown yet: then nobody may wait for the socket.
    pub(super) fn has_unread(&self) -> bool {
        self.reader.has_unread()
    }

    /// One read: shows every request that it brought, in order, until the visitor breaks off; the rest is shown first the next
    /// time. Pings and the client's close are answered here. All answers leave together.
    pub(super) fn burst(
        &mut self,
        mut visit: impl FnMut(&[u8], &mut Replies<'_>) -> ControlFlow<()>,
    ) -> Result<Burst, End> {
        let mut replies = Replies::new(self.codec, &self.outbound);
        let (mut is_heard, mut ended) = (false, None);
        let read = self.reader.read(self.outbound.wire(), |message| {
            is_heard = true;
            let flow = match (message, replies.codec) {
                (Message::Text(request), Codec::Json) | (Message::Binary(request), Codec::Postcard) => {
                    visit(request, &mut replies)
                }
                (Message::Text(_) | Message::Binary(_), _) => {
                    ended = Some(End::Close(CloseCode::UnsupportedData));
                    ControlFlow::Break(())
                }
                (Message::Ping(payload), _) => {
                    replies.push(pong_frame(payload));
                    ControlFlow::Continue(())
                }
                (Message::Pong, _) => ControlFlow::Continue(()),
                (Message::Close(payload), _) => {
                    replies.push(echoed_close_frame(payload));
                    ended = Some(End::Client);
                    ControlFlow::Break(())
                }
            };
            if replies.are_too_many() { ControlFlow::Break(()) } else { flow }
        });
        drop(replies);
        match (ended, read) {
            (Some(end), _) => Err(end),
            (None, Ok(left)) => Ok(Burst { left, is_heard }),
            (None, Err(ReadEnd::Lost)) => Err(End::Lost),
            (None, Err(ReadEnd::Refused(refusal))) => Err(self.end_of(refusal)),
        }
    }

    /// The next message, copied: for the few that come before anybody is known. Cancel-safe.
    pub(super) async fn receive(&mut self) -> Inbound {
        loop {
            if !self.reader.has_unread() && poll_fn(|cx| self.socket().poll_read_ready(cx)).await.is_err() {
                return Inbound::End(End::Lost);
            }
            let mut request = None;
            let burst = self.burst(|bytes, _| {
                request = Some(Bytes::copy_from_slice(bytes));
                ControlFlow::Break(())
            });
            match (request, burst) {
                // Should the stream end behind it, the next call says so.
                (Some(request), _) => return Inbound::Request(request),
                (None, Err(end)) => return Inbound::End(end),
                (None, Ok(Burst { is_heard: true, .. })) => return Inbound::Alive,
                (None, Ok(_)) => {}
            }
        }
    }

    fn end_of(&self, refusal: Refusal) -> End {
        End::Close(match refusal {
            Refusal::TooLarge { .. } => {
                self.send_error(None, ErrorBody::new(ErrorCode::TooLarge, refusal.to_string()));
                CloseCode::TooLarge
            }
            Refusal::Utf8 => CloseCode::InvalidUtf8,
            Refusal::Protocol(_) => CloseCode::ProtocolError,
            Refusal::TooManyFrames => CloseCode::Flood,
        })
    }

    /// Collects replies that leave together.
    pub(super) fn replies(&self) -> Replies<'_> {
        Replies::new(self.codec, &self.outbound)
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

    /// Says why, closes, and gives the last bytes some time to leave; whether they did.
    pub(super) async fn finish(self, end: End, reconnect_after_ms: Option<u64>) -> bool {
        if let End::Close(code) = end {
            let reason = code.reason().to_owned();
            // No event lands behind our goodbye; the client resumes from its positions.
            self.outbound.request_close(code);
            self.send(&ServerFrame::Closing(Closing { code: code.code(), reason, reconnect_after_ms }));
            self.outbound.push(close_frame(code));
        }
        if end != End::Lost {
            let _ = tokio::time::timeout(FLUSH_TIMEOUT, self.flush_all()).await;
        }
        let has_left = self.outbound.backlog_bytes() == 0;
        let _ = SockRef::from(self.socket()).shutdown(Shutdown::Write);
        if matches!(end, End::Close(_)) {
            // Unread bytes would turn our goodbye into a reset that overtakes it.
            let _ = tokio::time::timeout(GOODBYE_TIMEOUT, self.read_to_end()).await;
        }
        has_left
    }

    async fn flush_all(&self) {
        while self.outbound.backlog_bytes() > 0 && !self.outbound.is_broken() {
            if self.socket().writable().await.is_err() {
                return;
            }
            self.outbound.flush();
        }
    }

    async fn read_to_end(&self) {
        let mut rubbish = [0; 1024];
        while self.socket().readable().await.is_ok() {
            match self.socket().try_read(&mut rubbish) {
                Ok(0) => return,
                Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    }
}

/// Replies that are given one after the other and leave in one write, at the latest when this is dropped.
pub(super) struct Replies<'a> {
    codec: Codec,
    outbound: &'a Outbound<TcpStream>,
    /// The usual case: there is but one.
    first: Option<Bytes>,
    joined: Vec<u8>,
    /// What left earlier did not fit: no more may be asked for.
    is_over_bound: bool,
}

impl<'a> Replies<'a> {
    fn new(codec: Codec, outbound: &'a Outbound<TcpStream>) -> Self {
        Self { codec, outbound, first: None, joined: Vec::new(), is_over_bound: false }
    }

    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    pub(super) fn send(&mut self, frame: &ServerFrame) {
        self.push(data_frame(self.codec, frame));
    }

    pub(super) fn send_reply(&mut self, id: u64, reply: Reply) {
        self.send(&ServerFrame::Ok(OkFrame { id, reply }));
    }

    pub(super) fn send_error(&mut self, id: Option<u64>, error: ErrorBody) {
        self.send(&ServerFrame::Error(ErrorFrame { id, error }));
    }

    fn push(&mut self, frame: Bytes) {
        let waiting = self.first.as_ref().map_or(self.joined.len(), Bytes::len);
        if waiting + frame.len() > JOINED_MAX_BYTES {
            self.leave();
        }
        if self.joined.is_empty() && self.first.is_none() {
            self.first = Some(frame);
            return;
        }
        if let Some(first) = self.first.take() {
            self.joined.reserve(4 * (first.len() + frame.len()));
            self.joined.extend_from_slice(&first);
        }
        self.joined.extend_from_slice(&frame);
    }

    /// Lets go of what was collected.
    pub(super) fn leave(&mut self) {
        let joined = std::mem::take(&mut self.joined);
        let frames = match self.first.take() {
            Some(first) => first,
            None if joined.is_empty() => return,
            None => Bytes::from(joined),
        };
        self.outbound.push(frames);
        self.is_over_bound = self.outbound.is_over_bound();
    }

    fn are_too_many(&self) -> bool {
        self.is_over_bound
    }
}

impl Drop for Replies<'_> {
    fn drop(&mut self) {
        self.leave();
    }
}
