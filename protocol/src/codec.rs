//! The two encodings of the same types.
//!
//! JSON: one text message per frame. Postcard: one binary message per frame,
//! `version: u8 = 1, kind: u16 LE, length: u32 LE, body`, where `length` is that of the body and everything after it is
//! an error. An unknown kind can be skipped by its length. Bodies:
//!
//! | frame | kind | body |
//! |---|---|---|
//! | request | the command's kind | `id: u64`, parameters |
//! | `ok` | 0x1000 + the command's kind | `id: u64`, reply |
//! | `event` | 0x2000 + the event's kind | `stream`, `seq`, `at_ms`, event body |
//! | other server frames | 1 to 8, see [`ServerKind`] | the frame |
//!
//! **Invariant:** decoding n bytes takes memory and time in proportion to n, whatever the bytes are.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codes::ErrorCode;
use crate::command::{Command, Reply, Request};
use crate::event::{Event, EventBody};
use crate::frame::{OkFrame, ServerFrame};
use crate::position::{Seq, StreamId};

mod bounded;
mod refused_json;

pub(crate) use bounded::take;
use refused_json::{diagnose_request, skip_frame};

/// Leads every binary frame.
pub const POSTCARD_VERSION: u8 = 1;
/// Bytes before the body of a binary frame.
pub const POSTCARD_HEADER_BYTES: usize = 7;
/// Kind of an `ok` frame less its command's kind.
pub const OK_KIND_BASE: u16 = 0x1000;
/// Kind of an `event` frame less its event's kind.
pub const EVENT_KIND_BASE: u16 = 0x2000;
/// Kinds from here on belong to no frame of this version.
pub const UNKNOWN_KIND_BASE: u16 = 0x3000;
/// Longest message of a [`DecodeError`], in bytes, however long the value is that it quotes.
pub const DECODE_MESSAGE_MAX_BYTES: usize = 300;

/// What most frames fit into.
const TYPICAL_BYTES: usize = 256;

/// Which encoding a connection speaks, by its WebSocket subprotocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    Json,
    Postcard,
}

impl Codec {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Json, Self::Postcard];

    /// The WebSocket subprotocol.
    #[must_use]
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "hallway.v1.json",
            Self::Postcard => "hallway.v1.postcard",
        }
    }

    /// The codec of a subprotocol.
    #[must_use]
    pub fn from_subprotocol(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.subprotocol() == name)
    }
}

/// Kinds of the binary server frames that are neither `ok` nor `event`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum ServerKind {
    Error = 1,
    SyncBegin = 2,
    SyncEnd = 3,
    Reset = 4,
    Typing = 5,
    Signal = 6,
    Closing = 7,
    Presence = 8,
}

/// Why bytes are no frame: the code for the client, and what was wrong, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DecodeError {
    pub code: ErrorCode,
    pub message: String,
    /// The request's id, where it could be read.
    pub id: Option<u64>,
}

impl DecodeError {
    fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: shorten(message.into()), id: None }
    }

    fn bad_frame(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::BadFrame, message)
    }
}

/// Libraries quote the offending value whole; an answer must not be as long as the attack, nor break a log line.
fn shorten(message: String) -> String {
    let mut out = String::new();
    for character in message.chars() {
        let character = if character.is_control() { char::REPLACEMENT_CHARACTER } else { character };
        if out.len() + character.len_utf8() + '…'.len_utf8() > DECODE_MESSAGE_MAX_BYTES {
            out.push('…');
            break;
        }
        out.push(character);
    }
    out
}

/// A server frame as a client reads it: one that this version knows, or one to skip.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "nearly every frame is known, and is taken apart at once")]
pub enum Received {
    Frame(ServerFrame),
    /// An event of a kind that is newer than this client. It still moves the position.
    UnknownEvent {
        stream: StreamId,
        seq: Seq,
    },
    /// A frame of a kind that is newer than this client.
    Unknown,
}

/// Encodes a request for sending by a client.
#[must_use]
pub fn encode_request(codec: Codec, request: &Request) -> Vec<u8> {
    match codec {
        Codec::Json => json(request),
        Codec::Postcard => {
            binary(request.command.kind(), |out| request.command.write_postcard(postcard::to_extend(&request.id, out)?))
        }
    }
}

/// Encodes a server frame.
#[must_use]
pub fn encode_frame(codec: Codec, frame: &ServerFrame) -> Vec<u8> {
    if codec == Codec::Json {
        return json(frame);
    }
    match frame {
        ServerFrame::Ok(ok) => {
            binary(OK_KIND_BASE + ok.reply.kind(), |out| ok.reply.write_postcard(postcard::to_extend(&ok.id, out)?))
        }
        ServerFrame::Event(event) => binary(EVENT_KIND_BASE + event.body.kind(), |out| {
            event.body.write_postcard(postcard::to_extend(&(&event.stream, event.seq, event.at_ms), out)?)
        }),
        ServerFrame::Error(frame) => plain(ServerKind::Error, frame),
        ServerFrame::SyncBegin(frame) => plain(ServerKind::SyncBegin, frame),
        ServerFrame::SyncEnd(frame) => plain(ServerKind::SyncEnd, frame),
        ServerFrame::Reset(frame) => plain(ServerKind::Reset, frame),
        ServerFrame::Typing(frame) => plain(ServerKind::Typing, frame),
        ServerFrame::Signal(frame) => plain(ServerKind::Signal, frame),
        ServerFrame::Closing(frame) => plain(ServerKind::Closing, frame),
        ServerFrame::Presence(frame) => plain(ServerKind::Presence, frame),
    }
}

/// Decodes what a client sent.
///
/// # Errors
/// [`DecodeError`] with `bad_frame`, `unknown_command` or `invalid_argument`, and the request's id where it could be read.
pub fn decode_request(codec: Codec, bytes: &[u8]) -> Result<Request, DecodeError> {
    match codec {
        Codec::Json => serde_json::from_slice(bytes).map_err(|error| diagnose_request(bytes, &error)),
        Codec::Postcard => {
            let (kind, body) = open(bytes)?;
            let (id, rest) = take::<u64>(body).map_err(|_| DecodeError::bad_frame("no request id"))?;
            let with_id = |error: DecodeError| DecodeError { id: Some(id), ..error };
            match Command::read_postcard(kind, rest) {
                None => {
                    Err(with_id(DecodeError::new(ErrorCode::UnknownCommand, format!("no command has kind {kind}"))))
                }
                Some(Ok((command, []))) => Ok(Request { id, command }),
                Some(Ok((_, rest))) => {
                    Err(with_id(DecodeError::bad_frame(format!("{} bytes after the parameters", rest.len()))))
                }
                Some(Err(error)) => {
                    let message = format!("the parameters of {} cannot be read: {error}", command_name(kind));
                    Err(with_id(DecodeError::new(ErrorCode::InvalidArgument, message)))
                }
            }
        }
    }
}

/// Decodes what a node sent; what is newer than this version comes back as something to skip.
///
/// # Errors
/// [`DecodeError`] when it is no frame at all, or a known one with a broken body.
pub fn decode_frame(codec: Codec, bytes: &[u8]) -> Result<Received, DecodeError> {
    match codec {
        Codec::Json => match serde_json::from_slice(bytes) {
            Ok(frame) => Ok(Received::Frame(frame)),
            Err(error) => skip_frame(bytes, &error),
        },
        Codec::Postcard => decode_binary_frame(bytes),
    }
}

/// The same for JSON of which it is known that it is UTF-8, as it is of every text message: its strings are not checked again.
///
/// # Errors
/// As [`decode_frame`].
pub fn decode_text_frame(text: &str) -> Result<Received, DecodeError> {
    match serde_json::from_str(text) {
        Ok(frame) => Ok(Received::Frame(frame)),
        Err(error) => skip_frame(text.as_bytes(), &error),
    }
}

fn json<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(TYPICAL_BYTES);
    // Our types have string keys and no foreign serialisers, so this cannot fail.
    #[expect(clippy::expect_used, reason = "the wire types always serialise; a property test encodes them all")]
    serde_json::to_writer(&mut out, value).expect("wire types serialise");
    out
}

fn plain<T: Serialize>(kind: ServerKind, frame: &T) -> Vec<u8> {
    binary(kind as u16, |out| postcard::to_extend(frame, out))
}

fn binary(kind: u16, write: impl FnOnce(Vec<u8>) -> postcard::Result<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(TYPICAL_BYTES);
    out.push(POSTCARD_VERSION);
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    #[expect(clippy::expect_used, reason = "the wire types always serialise; a property test encodes them all")]
    let mut out = write(out).expect("wire types serialise");
    let length = u32::try_from(out.len() - POSTCARD_HEADER_BYTES).unwrap_or(u32::MAX);
    out[3..7].copy_from_slice(&length.to_le_bytes());
    out
}

fn open(bytes: &[u8]) -> Result<(u16, &[u8]), DecodeError> {
    let Some((header, body)) = bytes.split_at_checked(POSTCARD_HEADER_BYTES) else {
        return Err(DecodeError::bad_frame("a binary frame has at least 7 bytes"));
    };
    if header[0] != POSTCARD_VERSION {
        return Err(DecodeError::bad_frame(format!("version {} is not {POSTCARD_VERSION}", header[0])));
    }
    let length = u32::from_le_bytes([header[3], header[4], header[5], header[6]]);
    if usize::try_from(length) != Ok(body.len()) {
        return Err(DecodeError::bad_frame(format!("the header says {length} bytes, {} came", body.len())));
    }
    Ok((u16::from_le_bytes([header[1], header[2]]), body))
}

fn command_name(kind: u16) -> &'static str {
    Command::KINDS.iter().find(|(number, _)| *number == kind).map_or("the command", |(_, name)| name)
}

fn decode_binary_frame(bytes: &[u8]) -> Result<Received, DecodeError> {
    let (kind, body) = open(bytes)?;
    let broken = |error: postcard::Error| DecodeError::bad_frame(format!("frame of kind {kind}: {error}"));
    if kind >= UNKNOWN_KIND_BASE {
        return Ok(Received::Unknown);
    }
    if kind >= EVENT_KIND_BASE {
        let ((stream, seq, at_ms), rest) = take::<(StreamId, Seq, u64)>(body).map_err(broken)?;
        return match EventBody::read_postcard(kind - EVENT_KIND_BASE, rest) {
            None => Ok(Received::UnknownEvent { stream, seq }),
            Some(result) => {
                let body = whole(kind, result.map_err(broken)?)?;
                Ok(Received::Frame(ServerFrame::Event(Event { stream, seq, at_ms, body })))
            }
        };
    }
    if kind >= OK_KIND_BASE {
        let (id, rest) = take::<u64>(body).map_err(broken)?;
        return match Reply::read_postcard(kind - OK_KIND_BASE, rest) {
            None => Ok(Received::Unknown),
            Some(result) => {
                let reply = whole(kind, result.map_err(broken)?)?;
                Ok(Received::Frame(ServerFrame::Ok(OkFrame { id, reply })))
            }
        };
    }
    fn read<T: DeserializeOwned>(kind: u16, body: &[u8]) -> Result<T, DecodeError> {
        let taken =
            take::<T>(body).map_err(|error| DecodeError::bad_frame(format!("frame of kind {kind}: {error}")))?;
        whole(kind, taken)
    }
    let frame = match kind {
        1 => ServerFrame::Error(read(kind, body)?),
        2 => ServerFrame::SyncBegin(read(kind, body)?),
        3 => ServerFrame::SyncEnd(read(kind, body)?),
        4 => ServerFrame::Reset(read(kind, body)?),
        5 => ServerFrame::Typing(read(kind, body)?),
        6 => ServerFrame::Signal(read(kind, body)?),
        7 => ServerFrame::Closing(read(kind, body)?),
        8 => ServerFrame::Presence(read(kind, body)?),
        _ => return Ok(Received::Unknown),
    };
    Ok(Received::Frame(frame))
}

fn whole<T>(kind: u16, (value, rest): (T, &[u8])) -> Result<T, DecodeError> {
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(DecodeError::bad_frame(format!("{} bytes after a frame of kind {kind}", rest.len())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::{Ping, Pong};

    #[test]
    fn text_is_read_as_its_bytes_are() {
        for text in [
            r#"{"ok":{"id":7,"reply":{"ping":{"at_ms":3}}}}"#,
            r#"{"event":{"stream":"room:lobby","seq":4,"at_ms":1,"body":{"room.archived":{"by":"ada"}}}}"#,
            r#"{"event":{"stream":"room:lobby","seq":4,"at_ms":1,"body":{"from.tomorrow":{"by":"\u00e4ä"}}}}"#,
            r#"{"tomorrow":{}}"#,
            "{\"event\":{}}",
            "ä",
            "",
        ] {
            assert_eq!(decode_text_frame(text), decode_frame(Codec::Json, text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_request_survives_both_codecs() {
        for codec in Codec::ALL {
            let request = Request { id: 7, command: Command::Ping(Ping {}) };
            assert_eq!(decode_request(codec, &encode_request(codec, &request)), Ok(request));
            let frame = ServerFrame::Ok(OkFrame { id: 7, reply: Reply::Ping(Pong { at_ms: 3 }) });
            assert_eq!(decode_frame(codec, &encode_frame(codec, &frame)), Ok(Received::Frame(frame)));
        }
    }
}
