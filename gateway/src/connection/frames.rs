//! Bytes of server-to-client WebSocket frames (RFC 6455 section 5.2): never masked, never fragmented.

use std::sync::OnceLock;

use bytes::Bytes;
use hallway_protocol::codec::{Codec, encode_frame};
use hallway_protocol::{CloseCode, ServerFrame};

const FIN: u8 = 0x80;
const OPCODE_TEXT: u8 = 0x1;
const OPCODE_BINARY: u8 = 0x2;
const OPCODE_CLOSE: u8 = 0x8;
const OPCODE_PING: u8 = 0x9;

fn frame(opcode: u8, payload: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(payload.len() + 10);
    bytes.push(FIN | opcode);
    match payload.len() {
        length @ 0..=125 => bytes.push(length as u8),
        length @ 126..=0xffff => {
            bytes.push(126);
            bytes.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            bytes.push(127);
            bytes.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(payload);
    Bytes::from(bytes)
}

/// How long the first of several whole frames of ours is, header included.
pub(super) fn first_frame_bytes(frames: &[u8]) -> usize {
    let length = match frames {
        [_, 126, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
        [_, 127, a, b, c, d, e, f, g, h, ..] => {
            let payload = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            usize::try_from(payload).unwrap_or(usize::MAX).saturating_add(10)
        }
        [_, payload, ..] => 2 + usize::from(*payload),
        _ => frames.len(),
    };
    length.min(frames.len())
}

/// How many whole frames these are.
pub(super) fn count_frames(frames: &[u8]) -> usize {
    let (mut rest, mut count) = (frames, 0);
    while !rest.is_empty() {
        rest = &rest[first_frame_bytes(rest)..];
        count += 1;
    }
    count
}

/// A server frame in one codec, WebSocket header included.
#[must_use]
pub fn data_frame(codec: Codec, content: &ServerFrame) -> Bytes {
    let opcode = match codec {
        Codec::Json => OPCODE_TEXT,
        Codec::Postcard => OPCODE_BINARY,
    };
    frame(opcode, &encode_frame(codec, content))
}

/// A ping without payload.
#[must_use]
pub fn ping_frame() -> Bytes {
    Bytes::from_static(&[FIN | OPCODE_PING, 0])
}

/// A close frame with its code and reason.
#[must_use]
pub fn close_frame(code: CloseCode) -> Bytes {
    let mut payload = code.code().to_be_bytes().to_vec();
    payload.extend_from_slice(code.reason().as_bytes());
    frame(OPCODE_CLOSE, &payload)
}

/// One server frame for many readers: encoded at most once per codec, when the first reader of that codec needs it.
#[derive(Debug)]
pub struct Encoded {
    content: ServerFrame,
    json: OnceLock<Bytes>,
    postcard: OnceLock<Bytes>,
}

impl Encoded {
    /// Wraps a frame; encodes nothing yet.
    #[must_use]
    pub fn new(content: ServerFrame) -> Self {
        Self { content, json: OnceLock::new(), postcard: OnceLock::new() }
    }

    /// What it says.
    #[must_use]
    pub fn content(&self) -> &ServerFrame {
        &self.content
    }

    /// The frame's bytes; shared by everyone who speaks that codec.
    #[must_use]
    pub fn bytes(&self, codec: Codec) -> &Bytes {
        let cell = match codec {
            Codec::Json => &self.json,
            Codec::Postcard => &self.postcard,
        };
        cell.get_or_init(|| data_frame(codec, &self.content))
    }

    /// The same without the WebSocket header: what the codec of `protocol` reads.
    #[must_use]
    pub fn payload(&self, codec: Codec) -> Bytes {
        let bytes = self.bytes(codec);
        let header = match bytes.get(1) {
            Some(126) => 4,
            Some(127) => 10,
            _ => 2,
        };
        bytes.slice(header.min(bytes.len())..)
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test panics")]
    use hallway_protocol::frame::SignalFrame;
    use hallway_protocol::{RoomId, UserId};

    use super::*;

    #[test]
    fn the_payload_is_what_the_codec_wrote() {
        for length in [1, 60, 300, 70_000] {
            let room = RoomId::new("r").unwrap();
            let user = UserId::new("u").unwrap();
            let content = ServerFrame::Signal(SignalFrame { room, user, name: "n".repeat(length), data: None });
            for codec in Codec::ALL {
                assert_eq!(Encoded::new(content.clone()).payload(codec), encode_frame(codec, &content));
            }
        }
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        for (length, header) in [(0, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)] {
            let bytes = frame(OPCODE_TEXT, &vec![b'x'; length]);
            assert_eq!(bytes.len(), length + header, "payload of {length} bytes");
            assert_eq!(bytes[0], 0x81);
            let two = [&bytes[..], &bytes[..]].concat();
            assert_eq!((first_frame_bytes(&two), count_frames(&two)), (bytes.len(), 2));
        }
    }
}
