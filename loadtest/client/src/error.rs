//! What can go wrong, with its cause.

use std::time::Duration;

use hallway_protocol::codec::DecodeError;
use hallway_protocol::{CloseCode, ErrorBody, Outcome};
use tokio_tungstenite::tungstenite;

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Code of the close frame; `None` when the line broke without one.
    pub code: Option<u16>,
    /// Reason of the close frame, or what the operating system said.
    pub reason: String,
}

impl End {
    /// Whether the code says that coming back makes no sense.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self.code, Some(3500..=3999 | 4500..=4999))
    }

    /// The code as this version knows it.
    #[must_use]
    pub fn close_code(&self) -> Option<CloseCode> {
        CloseCode::ALL.iter().copied().find(|known| Some(known.code()) == self.code)
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.code {
            Some(code) => write!(out, "closed with {code} {}", self.reason),
            None => write!(out, "line lost: {}", self.reason),
        }
    }
}

/// Why a connection could not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{url:?} is not a WebSocket address: {reason}; example: ws://127.0.0.1:8080/v1/ws")]
    BadUrl { url: String, reason: String },
    #[error("cannot connect to {address}")]
    Connect { address: String, source: std::io::Error },
    #[error("the node answered the upgrade with HTTP {status}")]
    UpgradeRefused { status: u16, retry_after: Option<Duration> },
    #[error("the WebSocket failed")]
    WebSocket(#[source] Box<tungstenite::Error>),
    #[error("{0}")]
    Ended(End),
    #[error("hello was refused: {} ({})", .0.message, .0.code.as_str())]
    HelloRefused(ErrorBody),
    #[error("the node sent what this client cannot read")]
    Unreadable(#[source] DecodeError),
    #[error("nothing came within {0:?}")]
    TimedOut(Duration),
    #[error("the node broke the protocol: {0}")]
    Protocol(String),
}

impl ClientError {
    /// Whether trying again later makes sense.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::BadUrl { .. } | Self::Unreadable(_) | Self::Protocol(_) => false,
            Self::UpgradeRefused { status, .. } => *status >= 500 || *status == 429,
            Self::Ended(end) => !end.is_final(),
            Self::HelloRefused(body) => body.retryable,
            Self::Connect { .. } | Self::WebSocket(_) | Self::TimedOut(_) => true,
        }
    }

    /// When the node that said no asked to be tried again. Then it is no error: the node has too much to do, or is stopping.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::UpgradeRefused { status: 429 | 503, retry_after } => *retry_after,
            _ => None,
        }
    }

    pub(crate) fn from_websocket(error: tungstenite::Error) -> Self {
        match error {
            tungstenite::Error::Http(response) => {
                let number = |name: &str| -> Option<u64> { response.headers().get(name)?.to_str().ok()?.parse().ok() };
                let exactly = number("retry-after-ms").map(Duration::from_millis);
                // Whole seconds are the same for many: they are spread by whoever waits them.
                let retry_after = exactly.or_else(|| number("retry-after").map(Duration::from_secs));
                Self::UpgradeRefused { status: response.status().as_u16(), retry_after }
            }
            tungstenite::Error::Io(error) => Self::Ended(End { code: None, reason: error.to_string() }),
            tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => {
                Self::Ended(End { code: None, reason: "already closed".to_owned() })
            }
            tungstenite::Error::Protocol(error @ tungstenite::error::ProtocolError::ResetWithoutClosingHandshake) => {
                Self::Ended(End { code: None, reason: error.to_string() })
            }
            other => Self::WebSocket(Box::new(other)),
        }
    }
}

/// Why a request got no `ok`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The node said no, and that it did not happen by this attempt.
    #[error("{} ({})", .0.message, .0.code.as_str())]
    Refused(ErrorBody),
    /// It may have happened: the line was lost, nobody answered, or the node itself does not know.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// It was never sent: the client is closed.
    #[error("the client is closed: {0}")]
    Closed(String),
}

impl RequestError {
    pub(crate) fn from_body(body: ErrorBody) -> Self {
        match body.outcome {
            Outcome::Definite => Self::Refused(body),
            Outcome::Unknown => Self::Unknown(format!("{} ({})", body.message, body.code.as_str())),
        }
    }

    /// Whether the same command, with the same nonce, is worth repeating.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self {
            Self::Refused(body) => body.retryable,
            Self::Unknown(_) => true,
            Self::Closed(_) => false,
        }
    }
}
