//! One WebSocket to a node, with nothing in the background: every read and write is the caller's. Tests that stop
//! reading, or send what no client should, use this; everybody else is better served by [`crate::Client`].

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::{Sink, SinkExt, Stream};
use hallway_protocol::codec::{self, Codec, Received};
use hallway_protocol::command::{Hello, Welcome};
use hallway_protocol::{Command, PROTOCOL_MINOR, Position, Reply, Request, ServerFrame};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::{HeaderValue, Uri};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::error::{ClientError, End};

/// Read buffer of a socket, unless another size is asked for: the library fills it with zeros at every read.
const READ_BUFFER_BYTES: usize = 4 * 1024;
/// Most bytes that wait for a node that does not read.
const WRITE_BUFFER_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Largest message that a node may send.
const MESSAGE_MAX_BYTES: usize = 16 * 1024 * 1024;

/// How to connect.
#[derive(Clone)]
pub struct ConnectOptions {
    /// `ws://host:port/v1/ws`.
    pub url: String,
    pub token: String,
    pub codec: Codec,
    /// Where to resume.
    pub positions: Vec<Position>,
    /// Most missed events wanted per stream; without it all.
    pub limit: Option<u32>,
    pub client_name: String,
    /// `SO_RCVBUF`, for clients that shall feel full soon; without it the system's own.
    pub receive_buffer_bytes: Option<u32>,
    /// What is read at once, for clients to which much comes at once; without it 4 KiB.
    pub read_buffer_bytes: Option<usize>,
    /// For connecting, the upgrade and `hello` together.
    pub timeout: Duration,
}

impl std::fmt::Debug for ConnectOptions {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The token is left out: it must not reach a log.
        out.debug_struct("ConnectOptions").field("url", &self.url).field("codec", &self.codec).finish_non_exhaustive()
    }
}

impl ConnectOptions {
    /// JSON, from the beginning, with a time-out of ten seconds.
    #[must_use]
    pub fn new(url: impl Into<String>, token: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: token.into(),
            codec: Codec::Json,
            positions: Vec::new(),
            limit: None,
            client_name: "hallway-rust".to_owned(),
            receive_buffer_bytes: None,
            read_buffer_bytes: None,
            timeout: Duration::from_secs(10),
        }
    }

    /// The same with another codec.
    #[must_use]
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// The same, resuming from positions.
    #[must_use]
    pub fn positions(mut self, positions: Vec<Position>) -> Self {
        self.positions = positions;
        self
    }

    fn hello(&self) -> Hello {
        Hello {
            token: Some(self.token.clone()),
            client_name: Some(self.client_name.clone()),
            client_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            protocol_minor: PROTOCOL_MINOR,
            positions: self.positions.clone(),
            limit: self.limit,
        }
    }
}

/// One WebSocket.
#[derive(Debug)]
pub struct Connection {
    socket: WebSocketStream<TcpStream>,
    codec: Codec,
    next_id: u64,
    last_heard: Instant,
    upgraded_at: Instant,
}

impl Connection {
    /// Connects and says `hello`. The frames of the first sync are still to be received.
    ///
    /// # Errors
    /// [`ClientError`] when the node cannot be reached, refuses, or takes longer than `options.timeout`.
    pub async fn open(options: &ConnectOptions) -> Result<(Self, Welcome), ClientError> {
        let hello = async {
            let mut connection = Self::connect_unbounded(options).await?;
            let welcome = connection.hello(options).await?;
            Ok((connection, welcome))
        };
        tokio::time::timeout(options.timeout, hello).await.map_err(|_| ClientError::TimedOut(options.timeout))?
    }

    /// Connects and upgrades, without `hello`.
    ///
    /// # Errors
    /// [`ClientError`] when the node cannot be reached, refuses, or takes longer than `options.timeout`.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, ClientError> {
        tokio::time::timeout(options.timeout, Self::connect_unbounded(options))
            .await
            .map_err(|_| ClientError::TimedOut(options.timeout))?
    }

    async fn connect_unbounded(options: &ConnectOptions) -> Result<Self, ClientError> {
        let stream = dial(options).await?;
        let mut request = options.url.as_str().into_client_request().map_err(ClientError::from_websocket)?;
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(options.codec.subprotocol()));
        let config = WebSocketConfig::default()
            .read_buffer_size(options.read_buffer_bytes.unwrap_or(READ_BUFFER_BYTES))
            .write_buffer_size(READ_BUFFER_BYTES)
            .max_write_buffer_size(WRITE_BUFFER_MAX_BYTES)
            .max_message_size(Some(MESSAGE_MAX_BYTES))
            .max_frame_size(Some(MESSAGE_MAX_BYTES));
        let (socket, _) = tokio_tungstenite::client_async_with_config(request, stream, Some(config))
            .await
            .map_err(ClientError::from_websocket)?;
        let upgraded_at = Instant::now();
        Ok(Self { socket, codec: options.codec, next_id: 1, last_heard: upgraded_at, upgraded_at })
    }

    /// When the node let it in: its answer to the upgrade.
    #[must_use]
    pub fn upgraded_at(&self) -> Instant {
        self.upgraded_at
    }

    /// Says `hello` and waits for the answer.
    ///
    /// # Errors
    /// [`ClientError`] when the node refuses or the connection ends.
    pub async fn hello(&mut self, options: &ConnectOptions) -> Result<Welcome, ClientError> {
        let id = self.send(Command::Hello(options.hello())).await?;
        let mut received = self.receive().await?;
        while matches!(received, Received::Frame(ServerFrame::Closing(_))) {
            // The node sends us away before it answered; what comes next is the close frame with its code.
            received = self.receive().await?;
        }
        match received {
            Received::Frame(ServerFrame::Ok(ok)) if ok.id == id => match ok.reply {
                Reply::Hello(welcome) => Ok(welcome),
                other => Err(ClientError::Protocol(format!("hello was answered as command {}", other.kind()))),
            },
            Received::Frame(ServerFrame::Error(frame)) => Err(ClientError::HelloRefused(frame.error)),
            other => Err(ClientError::Protocol(format!("before the answer to hello came {}", kind_of(&other)))),
        }
    }

    /// Sends a command and does not wait; says its request id.
    ///
    /// # Errors
    /// [`ClientError`] when the connection ended.
    pub async fn send(&mut self, command: Command) -> Result<u64, ClientError> {
        let id = self.next_id;
        self.next_id += 1;
        let message = encode(self.codec, id, command);
        self.send_message(message).await?;
        Ok(id)
    }

    /// Sends text, whatever it is.
    ///
    /// # Errors
    /// [`ClientError`] when the connection ended.
    pub async fn send_text(&mut self, text: impl Into<String>) -> Result<(), ClientError> {
        self.send_message(Message::text(text.into())).await
    }

    /// Sends bytes, whatever they are.
    ///
    /// # Errors
    /// [`ClientError`] when the connection ended.
    pub async fn send_binary(&mut self, bytes: impl Into<Bytes>) -> Result<(), ClientError> {
        self.send_message(Message::Binary(bytes.into())).await
    }

    /// Sends any WebSocket message: pings, half-finished frames, what you like.
    ///
    /// # Errors
    /// [`ClientError`] when the connection ended.
    pub async fn send_message(&mut self, message: Message) -> Result<(), ClientError> {
        self.socket.send(message).await.map_err(ClientError::from_websocket)
    }

    /// The next frame. Pings are answered on the way.
    ///
    /// # Errors
    /// [`ClientError::Ended`] with the close code when the node ended the connection.
    pub async fn receive(&mut self) -> Result<Received, ClientError> {
        std::future::poll_fn(|context| self.poll_receive(context)).await
    }

    /// The next frame, or [`ClientError::TimedOut`].
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub async fn receive_within(&mut self, limit: Duration) -> Result<Received, ClientError> {
        tokio::time::timeout(limit, self.receive()).await.map_err(|_| ClientError::TimedOut(limit))?
    }

    /// Reads until `wanted` says yes; that frame is returned and those before it are dropped. Bounded by `limit`.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub async fn receive_until(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(&ServerFrame) -> bool,
    ) -> Result<ServerFrame, ClientError> {
        let search = async {
            loop {
                if let Received::Frame(frame) = self.receive().await?
                    && wanted(&frame)
                {
                    return Ok(frame);
                }
            }
        };
        tokio::time::timeout(limit, search).await.map_err(|_| ClientError::TimedOut(limit))?
    }

    /// Waits for the end of the connection and says how it ended; frames until then are dropped.
    ///
    /// # Errors
    /// [`ClientError::TimedOut`] when it does not end, or what made it fail.
    pub async fn wait_for_end(&mut self, limit: Duration) -> Result<End, ClientError> {
        let end = async {
            loop {
                match self.receive().await {
                    Err(ClientError::Ended(end)) => return Ok(end),
                    Err(ClientError::Unreadable(_)) | Ok(_) => {}
                    Err(other) => return Err(other),
                }
            }
        };
        tokio::time::timeout(limit, end).await.map_err(|_| ClientError::TimedOut(limit))?
    }

    /// When anything, pings included, last came.
    #[must_use]
    pub fn last_heard(&self) -> Instant {
        self.last_heard
    }

    /// Says goodbye. Errors do not matter any more.
    pub async fn close(mut self) {
        let goodbye = self.socket.close(None);
        let _ = tokio::time::timeout(Duration::from_secs(1), goodbye).await;
    }

    /// The socket itself, for options that nobody foresaw.
    #[must_use]
    pub fn tcp(&self) -> &TcpStream {
        self.socket.get_ref()
    }

    /// Ready when the write buffer has room for another command.
    pub(crate) fn poll_writable(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        Pin::new(&mut self.socket).poll_ready(context).map_err(ClientError::from_websocket)
    }

    /// Puts a command into the write buffer (after [`Self::poll_writable`]) and says its id.
    pub(crate) fn feed(&mut self, command: Command) -> Result<u64, ClientError> {
        let id = self.next_id;
        self.next_id += 1;
        let message = encode(self.codec, id, command);
        Pin::new(&mut self.socket).start_send(message).map_err(ClientError::from_websocket)?;
        Ok(id)
    }

    pub(crate) fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ClientError>> {
        Pin::new(&mut self.socket).poll_flush(context).map_err(ClientError::from_websocket)
    }

    pub(crate) fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<Result<Received, ClientError>> {
        loop {
            let message = match Pin::new(&mut self.socket).poll_next(context) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(message))) => message,
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(ClientError::from_websocket(error))),
                Poll::Ready(None) => {
                    let end = End { code: None, reason: "end of stream".to_owned() };
                    return Poll::Ready(Err(ClientError::Ended(end)));
                }
            };
            self.last_heard = Instant::now();
            let received = match &message {
                // Text in another codec than JSON is no frame, and is told as that.
                Message::Text(text) if self.codec == Codec::Json => codec::decode_text_frame(text),
                Message::Text(text) => codec::decode_frame(self.codec, text.as_bytes()),
                Message::Binary(bytes) => codec::decode_frame(self.codec, bytes),
                Message::Close(frame) => {
                    let (code, reason) = match frame {
                        Some(frame) => (Some(frame.code.into()), frame.reason.to_string()),
                        None => (None, "close frame without a code".to_owned()),
                    };
                    return Poll::Ready(Err(ClientError::Ended(End { code, reason })));
                }
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => continue,
            };
            return Poll::Ready(received.map_err(ClientError::Unreadable));
        }
    }
}

fn encode(codec: Codec, id: u64, command: Command) -> Message {
    let bytes = codec::encode_request(codec, &Request { id, command });
    match codec {
        // JSON from serde is always UTF-8.
        Codec::Json => Message::text(String::from_utf8(bytes).unwrap_or_default()),
        Codec::Postcard => Message::binary(bytes),
    }
}

fn kind_of(received: &Received) -> &'static str {
    match received {
        Received::Frame(ServerFrame::Ok(_)) => "another ok",
        Received::Frame(ServerFrame::Event(_)) | Received::UnknownEvent { .. } => "an event",
        Received::Frame(_) => "another frame",
        Received::Unknown => "an unknown frame",
    }
}

async fn dial(options: &ConnectOptions) -> Result<TcpStream, ClientError> {
    let bad = |reason: &str| ClientError::BadUrl { url: options.url.clone(), reason: reason.to_owned() };
    let uri: Uri = options.url.parse().map_err(|_| bad("it cannot be parsed"))?;
    if uri.scheme_str() != Some("ws") {
        return Err(bad("the scheme must be ws"));
    }
    let host = uri.host().ok_or_else(|| bad("the host is missing"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(80);
    let address = format!("{host}:{port}");
    let failed = |source| ClientError::Connect { address: address.clone(), source };
    let mut last = std::io::Error::new(std::io::ErrorKind::NotFound, "the name has no address");
    for target in lookup_host((host, port)).await.map_err(failed)? {
        let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }.map_err(failed)?;
        if let Some(bytes) = options.receive_buffer_bytes {
            socket.set_recv_buffer_size(bytes).map_err(failed)?;
        }
        match socket.connect(target).await {
            Ok(stream) => {
                stream.set_nodelay(true).map_err(failed)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}
