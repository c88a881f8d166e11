//! Golden fixtures: what was released stays readable and is still written, byte for byte.
//!
//! `fixtures/v1/*.tsv` hold one value a line: `name<TAB>JSON<TAB>postcard in hexadecimal`. A line is never changed. A new
//! kind needs a new line: add a value to `samples.rs` and run
//! `HALLWAY_FIXTURES=write-missing cargo test -p hallway-protocol`, which appends what is missing and touches nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fmt::Write as _;
use std::path::PathBuf;

use hallway_protocol::codec::{
    Codec, DecodeError, Received, decode_frame, decode_request, encode_frame, encode_request,
};
use hallway_protocol::codes::ErrorCode;
use hallway_protocol::frame::{ResetReason, ServerFrame};
use hallway_protocol::{Command, EventBody, Request};

use crate::samples;

const WRITE_MISSING: (&str, &str) = ("HALLWAY_FIXTURES", "write-missing");

/// One line of a fixture file.
struct Fixture {
    json: String,
    postcard: Vec<u8>,
}

fn path(file: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/v1").join(file)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut out, byte| {
        write!(out, "{byte:02x}").unwrap();
        out
    })
}

fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "odd number of hexadecimal digits");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn load(file: &str) -> BTreeMap<String, Fixture> {
    let text = std::fs::read_to_string(path(file)).unwrap_or_default();
    let mut fixtures = BTreeMap::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [name, json, postcard] = fields[..] else { panic!("{file}: not three fields: {line}") };
        let fixture = Fixture { json: json.to_owned(), postcard: unhex(postcard) };
        assert!(fixtures.insert(name.to_owned(), fixture).is_none(), "{file}: {name} stands there twice");
    }
    fixtures
}

fn append(file: &str, name: &str, json: &str, postcard: &[u8]) {
    let mut text = std::fs::read_to_string(path(file)).unwrap_or_default();
    writeln!(text, "{name}\t{json}\t{}", hex(postcard)).unwrap();
    std::fs::write(path(file), text).unwrap();
}

/// Compares the samples with a file, in both directions and both codecs; returns all values that the file holds.
fn keep<T: Debug + PartialEq>(
    file: &str,
    samples: &[(String, T)],
    encode: fn(Codec, &T) -> Vec<u8>,
    decode: fn(Codec, &[u8]) -> Result<T, DecodeError>,
) -> Vec<T> {
    let write_missing = std::env::var(WRITE_MISSING.0).is_ok_and(|value| value == WRITE_MISSING.1);
    let released = load(file);
    for (name, value) in samples {
        let json = String::from_utf8(encode(Codec::Json, value)).unwrap();
        let postcard = encode(Codec::Postcard, value);
        match released.get(name) {
            Some(fixture) => {
                assert_eq!(json, fixture.json, "{file}: {name} is encoded in other JSON than was released");
                assert_eq!(
                    hex(&postcard),
                    hex(&fixture.postcard),
                    "{file}: {name} is encoded in other postcard than was released"
                );
            }
            None if write_missing => append(file, name, &json, &postcard),
            None => panic!("{file}: no fixture for {name}; see the top of fixtures.rs"),
        }
    }
    let by_name: BTreeMap<&str, &T> = samples.iter().map(|(name, value)| (name.as_str(), value)).collect();
    assert_eq!(by_name.len(), samples.len(), "{file}: two samples have one name");
    load(file)
        .into_iter()
        .map(|(name, fixture)| {
            let from_json =
                decode(Codec::Json, fixture.json.as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"));
            let from_postcard =
                decode(Codec::Postcard, &fixture.postcard).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(from_json, from_postcard, "{file}: {name} differs between the codecs");
            if let Some(sample) = by_name.get(name.as_str()) {
                assert_eq!(&from_json, *sample, "{file}: {name} is read as something else");
            }
            from_json
        })
        .collect()
}

fn decode_known(codec: Codec, bytes: &[u8]) -> Result<ServerFrame, DecodeError> {
    match decode_frame(codec, bytes)? {
        Received::Frame(frame) => Ok(frame),
        skipped => panic!("a released frame is skipped as unknown: {skipped:?}"),
    }
}

fn keep_frames(file: &str, samples: &[(String, ServerFrame)]) -> Vec<ServerFrame> {
    keep(file, samples, encode_frame, decode_known)
}

fn all_kinds(kinds: &[(u16, &'static str)]) -> BTreeSet<u16> {
    let numbers: BTreeSet<u16> = kinds.iter().map(|(kind, _)| *kind).collect();
    let names: BTreeSet<&str> = kinds.iter().map(|(_, name)| *name).collect();
    assert_eq!((numbers.len(), names.len()), (kinds.len(), kinds.len()), "a number or a name is used twice");
    numbers
}

#[test]
fn every_command_is_encoded_as_it_was_released() {
    let held: Vec<Request> = keep("requests.tsv", &samples::requests(), encode_request, decode_request);
    let kinds: BTreeSet<u16> = held.iter().map(|request| request.command.kind()).collect();
    assert_eq!(kinds, all_kinds(Command::KINDS), "a command has no fixture");
}

#[test]
fn every_reply_is_encoded_as_it_was_released() {
    let held = keep_frames("replies.tsv", &samples::reply_frames());
    let kinds: BTreeSet<u16> = held
        .iter()
        .filter_map(|frame| match frame {
            ServerFrame::Ok(ok) => Some(ok.reply.kind()),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, all_kinds(Command::KINDS), "a reply has no fixture");
}

#[test]
fn every_event_is_encoded_as_it_was_released() {
    let held = keep_frames("events.tsv", &samples::event_frames());
    let kinds: BTreeSet<u16> = held
        .iter()
        .filter_map(|frame| match frame {
            ServerFrame::Event(event) => Some(event.body.kind()),
            _ => None,
        })
        .collect();
    assert_eq!(kinds, all_kinds(EventBody::KINDS), "an event has no fixture");
}

/// Place of a frame among [`ServerFrame`]'s variants; the compiler asks for a new one here.
fn variant(frame: &ServerFrame) -> usize {
    match frame {
        ServerFrame::Ok(_) => 0,
        ServerFrame::Event(_) => 1,
        ServerFrame::Error(_) => 2,
        ServerFrame::SyncBegin(_) => 3,
        ServerFrame::SyncEnd(_) => 4,
        ServerFrame::Reset(_) => 5,
        ServerFrame::Typing(_) => 6,
        ServerFrame::Signal(_) => 7,
        ServerFrame::Closing(_) => 8,
        ServerFrame::Presence(_) => 9,
    }
}

/// Place of a reason among [`ResetReason`]'s variants; the compiler asks for a new one here.
fn reason_place(reason: ResetReason) -> usize {
    match reason {
        ResetReason::New => 0,
        ResetReason::Limit => 1,
        ResetReason::Epoch => 2,
        ResetReason::Trimmed => 3,
        ResetReason::Joined => 4,
        ResetReason::Ahead => 5,
    }
}

#[test]
fn every_other_frame_is_encoded_as_it_was_released() {
    let held = keep_frames("frames.tsv", &samples::other_frames());
    let variants: BTreeSet<usize> = held.iter().map(variant).collect();
    assert_eq!(variants, (2..=9).collect(), "a frame has no fixture");

    let codes: Vec<ErrorCode> = held
        .iter()
        .filter_map(|frame| match frame {
            ServerFrame::Error(frame) => Some(frame.error.code),
            _ => None,
        })
        .collect();
    assert!(ErrorCode::ALL.iter().all(|code| codes.contains(code)), "an error code has no fixture");

    let reasons: BTreeSet<usize> = held
        .iter()
        .filter_map(|frame| match frame {
            ServerFrame::Reset(reset) => Some(reason_place(reset.reason)),
            _ => None,
        })
        .collect();
    assert_eq!(reasons, (0..=5).collect(), "a reset reason has no fixture");
}
