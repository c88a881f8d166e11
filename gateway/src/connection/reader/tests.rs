//! What the decoder shows and refuses, judged by the RFC's own examples and by tungstenite.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::io::{self, Read, Write};
use std::ops::ControlFlow;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_tungstenite::tungstenite::error::{CapacityError, Error};
use tokio_tungstenite::tungstenite::protocol::{Message as OracleMessage, Role, WebSocket, WebSocketConfig};

use super::{Decoder, Message, Refusal};

const MESSAGE_MAX_BYTES: u64 = 1000;
const FRAMES_MAX: u64 = 1_000_000;

/// A message with its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Shown {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong,
    Close(Vec<u8>),
}

/// What both judges must agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Protocol,
    TooLarge,
    Utf8,
    Flood,
}

fn shown(message: Message<'_>) -> Shown {
    match message {
        Message::Text(bytes) => Shown::Text(bytes.to_vec()),
        Message::Binary(bytes) => Shown::Binary(bytes.to_vec()),
        Message::Ping(bytes) => Shown::Ping(bytes.to_vec()),
        Message::Pong => Shown::Pong,
        Message::Close(bytes) => Shown::Close(bytes.to_vec()),
    }
}

fn class(refusal: Refusal) -> Class {
    match refusal {
        Refusal::Protocol(_) => Class::Protocol,
        Refusal::TooLarge { .. } => Class::TooLarge,
        Refusal::Utf8 => Class::Utf8,
        Refusal::TooManyFrames => Class::Flood,
    }
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    masked(first, payload, [0x37, 0xfa, 0x21, 0x3d])
}

fn masked(first: u8, payload: &[u8], mask: [u8; 4]) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64);
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// The beginning of a masked frame, up to its mask.
fn header(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    match length {
        0..=125 => bytes.push(0x80 | length as u8),
        126..=0xffff => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
        _ => {
            bytes.push(0x80 | 127);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes
}

/// Feeds the pieces; the visitor breaks off after every message that `breaks` says, and is resumed at once.
fn decode<'a>(
    decoder: &mut Decoder,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    mut breaks: impl FnMut() -> bool,
) -> (Vec<Shown>, Option<Refusal>) {
    let mut seen = Vec::new();
    for piece in pieces {
        let mut piece = piece.to_vec();
        let mut visit = |message: Message<'_>| {
            seen.push(shown(message));
            if breaks() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let mut result = decoder.take(&mut piece, &mut visit);
        while result.is_ok() && decoder.is_stopped() {
            result = decoder.resume(&mut visit);
        }
        if let Err(refusal) = result {
            return (seen, Some(refusal));
        }
    }
    (seen, None)
}

fn decode_all(bytes: &[u8]) -> (Vec<Shown>, Option<Refusal>) {
    decode(&mut Decoder::new(MESSAGE_MAX_BYTES, FRAMES_MAX, &[]), [bytes], || false)
}

#[test]
fn the_examples_of_the_rfc_are_understood() {
    // Section 5.7: a masked "Hello", and the same in two fragments with a ping between them.
    let hello = [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(decode_all(&hello), (vec![Shown::Text(b"Hello".to_vec())], None));
    let fragments = [frame(0x01, b"Hel"), frame(0x89, b"Hello"), frame(0x80, b"lo")].concat();
    let expected = vec![Shown::Ping(b"Hello".to_vec()), Shown::Text(b"Hello".to_vec())];
    assert_eq!(decode_all(&fragments), (expected, None));
    let unmasked = [0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f];
    assert!(matches!(decode_all(&unmasked), (seen, Some(Refusal::Protocol(_))) if seen.is_empty()));
}

#[test]
fn what_the_rfc_forbids_is_refused_and_what_came_before_is_shown() {
    let cases: &[(&str, Class, Vec<u8>)] = &[
        ("each reserved bit", Class::Protocol, frame(0xc1, b"")),
        ("each reserved bit", Class::Protocol, frame(0xa1, b"")),
        ("each reserved bit", Class::Protocol, frame(0x91, b"")),
        ("an unknown data opcode", Class::Protocol, frame(0x83, b"")),
        ("an unknown control opcode", Class::Protocol, frame(0x8b, b"")),
        ("a ping in fragments", Class::Protocol, frame(0x09, b"")),
        ("a long ping", Class::Protocol, frame(0x89, &[0; 126])),
        ("a continuation of nothing", Class::Protocol, frame(0x80, b"")),
        ("a message inside of another", Class::Protocol, [frame(0x01, b""), frame(0x81, b"")].concat()),
        ("half a close code", Class::Protocol, frame(0x88, &[3])),
        ("a close code that is never sent", Class::Protocol, frame(0x88, &1005_u16.to_be_bytes())),
        ("a close code of nobody", Class::Protocol, frame(0x88, &5000_u16.to_be_bytes())),
        ("a close reason that is no UTF-8", Class::Utf8, frame(0x88, &[3, 232, 0xff])),
        ("no UTF-8", Class::Utf8, frame(0x81, &[0xc0, 0xaf])),
        ("half a character at the end", Class::Utf8, frame(0x81, "ü".as_bytes()[..1].as_ref())),
        ("half a character at the end", Class::Utf8, [frame(0x01, b"a"), frame(0x80, &[0xc3])].concat()),
        ("a wrong byte in an early fragment", Class::Utf8, frame(0x01, &[0xff])),
    ];
    for (what, expected, bytes) in cases {
        let stream = [frame(0x82, b"before"), bytes.clone()].concat();
        for cut in 1..stream.len() {
            let (seen, refusal) =
                decode(&mut Decoder::new(MESSAGE_MAX_BYTES, FRAMES_MAX, &[]), stream.chunks(cut), || false);
            assert_eq!(refusal.map(class), Some(*expected), "{what}, cut after {cut} bytes");
            assert_eq!(seen, [Shown::Binary(b"before".to_vec())], "{what}");
        }
    }
    let split = "grün".as_bytes();
    let stream = [frame(0x01, &split[..3]), frame(0x80, &split[3..])].concat();
    assert_eq!(decode_all(&stream), (vec![Shown::Text(split.to_vec())], None));
}

#[test]
fn a_huge_announcement_is_refused_with_its_size_and_costs_no_memory() {
    for length in [1001, 70_000, 1 << 40, u64::MAX] {
        let mut decoder = Decoder::new(MESSAGE_MAX_BYTES, FRAMES_MAX, &[]);
        let bytes = [header(0x81, length), vec![0; 4]].concat();
        let (_, refusal) = decode(&mut decoder, [&bytes[..]], || false);
        assert_eq!(refusal, Some(Refusal::TooLarge { bytes: length, max_bytes: MESSAGE_MAX_BYTES }));
        assert!(decoder.held_bytes() < 64);
    }
    let mut decoder = Decoder::new(MESSAGE_MAX_BYTES, FRAMES_MAX, &[]);
    let bytes = [frame(0x01, &[b'x'; 600]), header(0x80, 401), vec![0; 4]].concat();
    let (_, refusal) = decode(&mut decoder, [&bytes[..]], || false);
    assert_eq!(refusal, Some(Refusal::TooLarge { bytes: 1001, max_bytes: MESSAGE_MAX_BYTES }));
}

#[test]
fn memory_follows_what_came_and_is_given_back() {
    let max = 100_000;
    let mut decoder = Decoder::new(max, FRAMES_MAX, &[]);
    let payload = vec![b'x'; 50_000];
    let stream = [frame(0x01, &payload), frame(0x80, &payload)].concat();
    let mut come = 0;
    for piece in stream.chunks(700) {
        come += piece.len();
        let (seen, refusal) = decode(&mut decoder, [piece], || false);
        assert_eq!((refusal, seen.len()), (None, usize::from(come == stream.len())));
        assert!(
            decoder.held_bytes() <= (2 * come + 1400).min(max as usize + 14),
            "{} after {come}",
            decoder.held_bytes()
        );
    }
    assert_eq!(decoder.held_bytes(), 0);
}

#[test]
fn floods_of_fragments_and_pings_are_noticed_and_messages_are_none() {
    for first in [0x00, 0x89] {
        let mut decoder = Decoder::new(MESSAGE_MAX_BYTES, 10, &[]);
        let flood = [frame(0x01, b""), frame(first, b"").repeat(10)].concat();
        assert_eq!(decode(&mut decoder, [&flood[..]], || false).1, Some(Refusal::TooManyFrames));
        let mut decoder = Decoder::new(MESSAGE_MAX_BYTES, 10, &[]);
        let bearable = [frame(0x01, b""), frame(first, b"").repeat(8), frame(0x80, b"")].concat().repeat(10);
        assert_eq!(decode(&mut decoder, [&bearable[..]], || false).1, None);
    }
    let mut decoder = Decoder::new(MESSAGE_MAX_BYTES, 1, &[]);
    assert_eq!(decode(&mut decoder, [&frame(0x81, b"{}").repeat(1000)[..]], || false).0.len(), 1000);
}

#[test]
fn what_the_visitor_had_no_room_for_is_shown_later_in_order() {
    let stream: Vec<u8> = (0..100_u8).flat_map(|number| frame(0x82, &[number; 50])).collect();
    let early = stream[..777].to_vec();
    let mut decoder = Decoder::new(MESSAGE_MAX_BYTES, FRAMES_MAX, &early);
    assert!(decoder.is_stopped());
    let mut seen = Vec::new();
    let mut at = early.len();
    while seen.len() < 100 {
        let mut visit = |message: Message<'_>| {
            seen.push(shown(message));
            ControlFlow::Break(())
        };
        if decoder.is_stopped() {
            decoder.resume(&mut visit).unwrap();
        } else {
            let mut piece = stream[at..stream.len().min(at + 333)].to_vec();
            at += piece.len();
            decoder.take(&mut piece, &mut visit).unwrap();
        }
    }
    let expected: Vec<Shown> = (0..100_u8).map(|number| Shown::Binary(vec![number; 50])).collect();
    assert_eq!(seen, expected);
    assert_eq!(decoder.held_bytes(), 0);
}

/// A stream that ends for tungstenite where the bytes end.
struct Bytes<'a>(&'a [u8]);

impl Read for Bytes<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.read(into)
    }
}

impl Write for Bytes<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite makes of it.
fn judge(bytes: &[u8]) -> (Vec<Shown>, Option<Class>) {
    let max = Some(MESSAGE_MAX_BYTES as usize);
    let config = WebSocketConfig::default().max_message_size(max).max_frame_size(max);
    let mut socket = WebSocket::from_raw_socket(Bytes(bytes), Role::Server, Some(config));
    let mut seen = Vec::new();
    loop {
        let class = match socket.read() {
            Ok(OracleMessage::Text(text)) => {
                seen.push(Shown::Text(text.as_bytes().to_vec()));
                continue;
            }
            Ok(OracleMessage::Binary(bytes)) => {
                seen.push(Shown::Binary(bytes.to_vec()));
                continue;
            }
            Ok(OracleMessage::Ping(bytes)) => {
                seen.push(Shown::Ping(bytes.to_vec()));
                continue;
            }
            Ok(OracleMessage::Pong(_)) => {
                seen.push(Shown::Pong);
                continue;
            }
            // It answers a code that nobody may send with this, instead of an error.
            Ok(OracleMessage::Close(Some(close))) if close.reason.as_str() == "Protocol violation" => Class::Protocol,
            Ok(OracleMessage::Close(close)) => {
                let payload = close.map_or_else(Vec::new, |close| {
                    [&u16::from(close.code).to_be_bytes()[..], close.reason.as_bytes()].concat()
                });
                seen.push(Shown::Close(payload));
                return (seen, None);
            }
            Ok(OracleMessage::Frame(_)) => unreachable!("never read"),
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => return (seen, None),
            Err(Error::Protocol(_)) => Class::Protocol,
            Err(Error::Capacity(CapacityError::MessageTooLong { .. })) => Class::TooLarge,
            Err(Error::Utf8(_)) => Class::Utf8,
            Err(error) => panic!("tungstenite says {error}"),
        };
        return (seen, Some(class));
    }
}

/// Frames as a client might send them, now and then against the rules.
fn random_stream(random: &mut StdRng) -> Vec<u8> {
    let mut stream = Vec::new();
    let (mut is_open, mut rest) = (false, Vec::new());
    for _ in 0..random.random_range(1..12) {
        let mut payload: Vec<u8> = match random.random_range(0..4) {
            0 => Vec::new(),
            1 => "grün, 緑, 🟢 ".repeat(random.random_range(1..8)).into_bytes(),
            2 => vec![b'x'; random.random_range(0..400)],
            _ => (0..random.random_range(0..300)).map(|_| random.random_range(0..128)).collect(),
        };
        let is_odd = |random: &mut StdRng| random.random_range(0..60) == 0;
        let first = if random.random_range(0..4) == 0 {
            if !is_odd(random) {
                payload.truncate(125);
            }
            let opcode = [0x9, 0x9, 0xa, 0xa, 0x8][random.random_range(0..5)];
            if opcode == 0x8 {
                let code = [1000, 1001, 1004, 1005, 1014, 2999, 3000, 4999, 5000, 999, 0][random.random_range(0..11)];
                let reason = String::from_utf8_lossy(&payload).chars().take(30).collect::<String>();
                payload = [&u16::to_be_bytes(code)[..], reason.as_bytes()].concat();
                payload.truncate([0, 1, 200][random.random_range(0..3)]);
            }
            0x80 | opcode
        } else {
            let is_last = random.random();
            let opcode = if is_open { 0 } else { random.random_range(1..3) };
            if opcode == 1 {
                rest = payload.split_off(payload.len().min(random.random_range(0..400)));
                if is_last {
                    payload.append(&mut rest);
                }
            } else if opcode == 0 {
                payload = std::mem::take(&mut rest);
            }
            is_open = !is_last;
            if is_last { 0x80 | opcode } else { opcode }
        };
        let first = if is_odd(random) { first ^ 1 << random.random_range(0..8) } else { first };
        let mut bytes = masked(first, &payload, random.random());
        if is_odd(random) {
            let at = random.random_range(0..bytes.len());
            bytes[at] ^= 1 << random.random_range(0..8);
        }
        stream.extend(bytes);
    }
    stream
}

#[test]
fn tungstenite_agrees_on_every_stream_wherever_it_is_cut() {
    let seed = rand::random();
    let mut random = StdRng::seed_from_u64(seed);
    let mut refusals = 0;
    for round in 0..4000 {
        let stream = random_stream(&mut random);
        let mut decoder = Decoder::new(MESSAGE_MAX_BYTES, FRAMES_MAX, &[]);
        let mut pieces = Vec::new();
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let longest = [4, 40, 400, 4000][random.random_range(0..4)];
            let (piece, later) = rest.split_at(rest.len().min(random.random_range(1..=longest)));
            pieces.push(piece);
            rest = later;
        }
        let mut breaks = StdRng::seed_from_u64(random.random());
        let (seen, refusal) = decode(&mut decoder, pieces, || breaks.random_range(0..3) == 0);
        // We refuse a frame by its header; tungstenite wants some of them whole.
        let padding = if refusal.is_some() { 2 * MESSAGE_MAX_BYTES as usize } else { 0 };
        let judged = judge(&[&stream[..], &vec![0; padding]].concat());
        let refused = (refusal.map(class), judged.1);
        assert!((&seen, refused.0) == (&judged.0, refused.1), "seed {seed}, round {round}: refused {refused:?}");
        refusals += usize::from(refusal.is_some());
    }
    assert!((200..3800).contains(&refusals), "{refusals} of 4000 were refused: the streams prove little");
}
