//! Attacks by name: each is answered with the right code and the request's id where it can be read, in bounded memory
//! and time.

use std::time::{Duration, Instant};

use hallway_protocol::codec::{
    Codec, DECODE_MESSAGE_MAX_BYTES, DecodeError, EVENT_KIND_BASE, OK_KIND_BASE, Received, decode_frame,
    decode_request, encode_frame,
};
use hallway_protocol::command::Command;
use hallway_protocol::{ErrorCode, EventBody};

use crate::measured::allocated_bytes;
use crate::properties::{binary, valid_frames};
use crate::samples;

/// Largest message that a node takes.
const FRAME_BYTES: usize = 128 * 1024;
/// Bytes asked for while a frame is decoded, per byte of it. The widest: a list of one-letter ids in postcard, two bytes
/// each on the wire, a fat pointer and a counted string in memory, with what a growing list leaves behind.
const MEMORY_FACTOR: usize = 32;
/// The same of what a client decodes. The widest: a list of webhooks of which nothing is said, seven bytes each on the wire.
const FRAME_MEMORY_FACTOR: usize = 64;
const MEMORY_CONSTANT_BYTES: usize = 16 * 1024;
/// Generous for a debug build on a busy machine; a quadratic decoder takes far longer.
const DECODE_DEADLINE: Duration = Duration::from_secs(2);

fn refuse_json(text: &str) -> DecodeError {
    decode_request(Codec::Json, text.as_bytes()).expect_err(text)
}

fn assert_refused(text: &str, code: ErrorCode, id: Option<u64>) {
    let error = refuse_json(text);
    assert_eq!((error.code, error.id), (code, id), "{text}: {error}");
}

#[test]
fn what_is_no_request_is_a_bad_frame() {
    let deep = "[".repeat(1_000_000);
    for text in [
        "",
        " ",
        "hello",
        "null",
        "1",
        "\"x\"",
        "[]",
        "{}",
        "{\"id\":1",
        "\u{feff}{}",
        "\0",
        r#"{"id":"\x"}"#,
        "{\"id\":\"\n\"}",
        &deep,
    ] {
        assert_refused(text, ErrorCode::BadFrame, None);
    }
    for text in [
        r#"{"id":1}"#,
        r#"{"id":1,"command":null}"#,
        r#"{"id":1,"command":"ping"}"#,
        r#"{"id":1,"command":{}}"#,
        r#"{"id":1,"command":{"ping":{},"sync":{}}}"#,
        r#"{"id":1,"command":{"ping":{},"ping":{}}}"#,
    ] {
        assert_refused(text, ErrorCode::BadFrame, Some(1));
    }
    assert!(refuse_json(r#"{"id":1}"#).message.contains(r#"{"id": 1, "command": {"ping": {}}}"#));
}

#[test]
fn an_id_is_a_whole_number_that_stands_there_once() {
    for id in ["-1", "1.5", "1e400", "1e3", "\"1\"", "null", "[1]", "true", "18446744073709551616", "-0.0"] {
        assert_refused(&format!(r#"{{"id":{id},"command":{{"ping":{{}}}}}}"#), ErrorCode::BadFrame, None);
    }
    assert_refused(r#"{"command":{"ping":{}}}"#, ErrorCode::BadFrame, None);
    assert_refused(r#"{"id":1,"id":2,"command":{"ping":{}}}"#, ErrorCode::BadFrame, None);
    let largest = format!(r#"{{"id":{},"command":{{"ping":{{}}}}}}"#, u64::MAX);
    assert_eq!(decode_request(Codec::Json, largest.as_bytes()).unwrap().id, u64::MAX);
}

#[test]
fn an_unknown_command_is_told_what_was_probably_meant() {
    let message = |name: &str| {
        let error = refuse_json(&format!(r#"{{"id":7,"command":{{"{name}":{{}}}}}}"#));
        assert_eq!((error.code, error.id), (ErrorCode::UnknownCommand, Some(7)), "{error}");
        error.message
    };
    assert_eq!(message("mesage.send"), r#"no command is called "mesage.send"; did you mean "message.send"?"#);
    assert_eq!(message("helo"), r#"no command is called "helo"; did you mean "hello"?"#);
    assert_eq!(message("room_join"), r#"no command is called "room_join"; did you mean "room.join"?"#);
    assert_eq!(message("weather.get"), r#"no command is called "weather.get""#);
    assert_eq!(message(""), r#"no command is called """#);
    assert!(message(&"x".repeat(FRAME_BYTES)).len() <= DECODE_MESSAGE_MAX_BYTES);
}

#[test]
fn a_wrong_parameter_is_an_invalid_argument_that_names_it() {
    let message = |command: &str| {
        let error = refuse_json(&format!(r#"{{"id":9,"command":{command}}}"#));
        assert_eq!((error.code, error.id), (ErrorCode::InvalidArgument, Some(9)), "{command}: {error}");
        error.message
    };
    assert!(message(r#"{"room.join":{"nonce":"n"}}"#).contains("missing field `room`"));
    assert!(message(r#"{"room.join":{"nonce":"n","room":"a b"}}"#).contains("\"a b\" is not a room id: 1 to 64"));
    let long = "x".repeat(65);
    assert!(message(&format!(r#"{{"room.join":{{"nonce":"{long}","room":"a"}}}}"#)).contains("is not a nonce"));
    for room in ["", "a*", "a\\r\\nb", "{}", "a\\u0000", "gärten", "а", "../x", &long] {
        message(&format!(r#"{{"room.join":{{"nonce":"n","room":"{room}"}}}}"#));
    }
    for seq in ["-1", "0.5", "1e400", "18446744073709551616", "\"1\"", "null"] {
        message(&format!(r#"{{"read.mark":{{"room":"a","seq":{seq}}}}}"#));
    }
    for text in [r"\ud800", r"\udc00", r"\ud800\u0041"] {
        message(&format!(r#"{{"message.send":{{"nonce":"n","room":"a","text":"{text}"}}}}"#));
    }
    message(r#"{"message.send":{"nonce":"n","room":"a","text":"a","text":"b"}}"#);
    message(r#"{"message.send":{"nonce":"n","room":"a","text":"a","id":"6ba7b810-9dad-11d1-80b4-00c04fd430c8"}}"#);
    message(r#"{"room.invite":{"nonce":"n","room":"a","user":"b","role":"god"}}"#);
    message(r#"{"sync":{"positions":[{"stream":"task:1","epoch":"e","seq":1}]}}"#);
    message(r#"{"ping":[1]}"#);
    let deep = format!("{}1{}", "[".repeat(60_000), "]".repeat(60_000));
    message(&format!(r#"{{"signal":{{"room":"a","name":"n","data":{{"x":{deep}}}}}}}"#));
    message(&format!(r#"{{"message.send":{{"nonce":"n","room":"a","text":{deep}}}}}"#));
}

#[test]
fn actions_hold_no_actions_and_nothing_that_only_reads() {
    let refuse = |item: &str| {
        let text = format!(r#"{{"id":9,"command":{{"actions":{{"atomic":true,"actions":[{item}]}}}}}}"#);
        assert_refused(&text, ErrorCode::InvalidArgument, Some(9));
    };
    refuse(r#"{"actions":{"atomic":true,"actions":[]}}"#);
    refuse(r#"{"task.list":{"room":"a"}}"#);
    refuse(r#"{"message.send":{"nonce":"n","room":"a","text":"t"},"task.follow":{}}"#);
    refuse(r#""message.send""#);
    refuse("{}");
    refuse("null");
    // Nested in each other a hundred thousand times: refused at the first.
    let nested = r#"{"actions":{"atomic":true,"actions":["#.repeat(100_000);
    assert!(decode_request(Codec::Json, format!(r#"{{"id":9,"command":{nested}"#).as_bytes()).is_err());
    // In postcard a number that no action has: request id 1, atomic, one action of kind 16.
    let error = decode_request(Codec::Postcard, &binary(110, &[1, 1, 1, 16])).unwrap_err();
    assert_eq!((error.code, error.id), (ErrorCode::InvalidArgument, Some(1)));
}

#[test]
fn a_word_that_cannot_grow_is_refused_when_it_is_unknown_and_one_that_can_is_kept() {
    let message = |command: &str| {
        let text = format!(r#"{{"id":9,"command":{command}}}"#);
        assert_refused(&text, ErrorCode::InvalidArgument, Some(9));
    };
    let id = "019b76da-a800-7000-8000-000000000003";
    message(&format!(r#"{{"task.move":{{"nonce":"n","room":"a","id":"{id}","version":1,"status":"paused"}}}}"#));
    message(&format!(r#"{{"task.move":{{"nonce":"n","room":"a","id":"{id}","version":-1,"status":"done"}}}}"#));
    message(&format!(r#"{{"task.move":{{"nonce":"n","room":"a","id":"{id}","version":4294967296,"status":"done"}}}}"#));
    message(&format!(r#"{{"task.update":{{"nonce":"n","room":"a","id":"{id}","version":1,"due":"soon"}}}}"#));
    message(r#"{"task.create":{"nonce":"n","room":"a","title":"t","priority":"highest"}}"#);
    message(r#"{"task.list":{"room":"a","order":"random"}}"#);
    message(r#"{"notify":{"nonce":"n","to":"nobody","title":"t"}}"#);
    message(r#"{"notification.prefer":{"nonce":"n","level":"some"}}"#);
    for (name, frame) in samples::event_frames().into_iter().filter(|(name, _)| name.ends_with("in a later word")) {
        for codec in Codec::ALL {
            assert_eq!(decode_frame(codec, &encode_frame(codec, &frame)), Ok(Received::Frame(frame.clone())), "{name}");
        }
    }
}

#[test]
fn a_hostile_unknown_field_is_skipped_like_any_other() {
    let deep = format!("{}1{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    for value in [deep.as_str(), "1e400", r#"{"a":1,"a":2}"#, r#""\ud800""#] {
        let text = format!(r#"{{"id":1,"later":{value},"command":{{"ping":{{"later":{value}}}}}}}"#);
        assert!(decode_request(Codec::Json, text.as_bytes()).is_ok());
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_refused() {
    let mut bytes = br#"{"id":1,"command":{"signal":{"room":"a","name":"?"}}}"#.to_vec();
    let at = bytes.iter().position(|byte| *byte == b'?').unwrap();
    for byte in [0x80, 0xc0, 0xed, 0xff] {
        bytes[at] = byte;
        assert_eq!(decode_request(Codec::Json, &bytes).unwrap_err().code, ErrorCode::BadFrame);
    }
    // The same in postcard: request id 1, room "a", a name of one byte, no data.
    let error = decode_request(Codec::Postcard, &binary(51, &[1, 1, b'a', 1, 0xff, 0])).unwrap_err();
    assert_eq!((error.code, error.id), (ErrorCode::InvalidArgument, Some(1)));
}

#[test]
fn a_misplaced_token_does_not_come_back_in_the_error() {
    for command in [
        r#"{"hello":"eyJsecret"}"#,
        r#"{"hello":{"protocol_minor":"eyJsecret"}}"#,
        r#"{"hello":{"positions":"eyJsecret"}}"#,
        r#"{"auth.refresh":"eyJsecret"}"#,
    ] {
        let error = refuse_json(&format!(r#"{{"id":1,"command":{command}}}"#));
        assert!(!error.message.contains("secret"), "{error}");
        assert!(error.message.contains("a string"), "{error}");
    }
    let shown = format!("{:?}", samples::requests());
    assert!(!shown.contains("eyJ"), "a token shows in Debug");
}

#[test]
fn a_broken_binary_frame_is_named_by_what_is_broken() {
    let refuse = |bytes: &[u8]| decode_request(Codec::Postcard, bytes).unwrap_err();
    let ping = binary(3, &[5]);
    assert!(decode_request(Codec::Postcard, &ping).is_ok());
    for cut in 0..7 {
        assert_eq!(refuse(&ping[..cut]).code, ErrorCode::BadFrame);
    }
    let mut other_version = ping.clone();
    other_version[0] = 2;
    assert_eq!(refuse(&other_version).message, "version 2 is not 1");
    let mut huge = ping.clone();
    huge[3..7].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(refuse(&huge).message, "the header says 4294967295 bytes, 1 came");
    assert_eq!(refuse(&binary(3, &[])).code, ErrorCode::BadFrame);
    // An id of more than 64 bits.
    assert_eq!(refuse(&binary(3, &[0xff; 11])).code, ErrorCode::BadFrame);

    let unknown = refuse(&binary(999, &[5]));
    assert_eq!((unknown.code, unknown.id), (ErrorCode::UnknownCommand, Some(5)));
    let short = refuse(&binary(13, &[5, 3, b'n']));
    assert_eq!((short.code, short.id), (ErrorCode::InvalidArgument, Some(5)));
    let trailing = refuse(&binary(3, &[5, 0]));
    assert_eq!((trailing.code, trailing.id), (ErrorCode::BadFrame, Some(5)));
}

#[test]
fn what_is_newer_than_this_client_is_skipped_and_still_moves_the_position() {
    let event = samples::event_frames().remove(0).1;
    let json = String::from_utf8(encode_frame(Codec::Json, &event)).unwrap();
    let newer = json.replace("room.created", "room.painted");
    let mut bytes = encode_frame(Codec::Postcard, &event);
    bytes[1..3].copy_from_slice(&(EVENT_KIND_BASE + 900).to_le_bytes());
    for received in [decode_frame(Codec::Json, newer.as_bytes()), decode_frame(Codec::Postcard, &bytes)] {
        let Ok(Received::UnknownEvent { stream, seq }) = received else { panic!("{received:?}") };
        assert_eq!((stream.to_string().as_str(), seq), ("room:garden", 300));
    }
    for kind in [0, 9, 0x0fff, OK_KIND_BASE + 900, 0x3000, u16::MAX] {
        assert_eq!(decode_frame(Codec::Postcard, &binary(kind, &[1, 2, 3])), Ok(Received::Unknown), "{kind}");
    }
    for text in [r#"{"weather":{"user":"anna"}}"#, r#"{"ok":{"id":1,"reply":{"weather.get":{}}}}"#] {
        assert_eq!(decode_frame(Codec::Json, text.as_bytes()), Ok(Received::Unknown));
    }
    let with_more = json.replacen("{\"stream\"", "{\"later\":[{}],\"stream\"", 1);
    assert_eq!(decode_frame(Codec::Json, with_more.as_bytes()), Ok(Received::Frame(event)));
    let broken = json.replace("\"by\":\"anna\"", "\"by\":7");
    assert_eq!(decode_frame(Codec::Json, broken.as_bytes()).unwrap_err().code, ErrorCode::BadFrame);
}

/// Events of a newer minor go to every client, whatever its minor: this is why they may.
#[test]
fn an_event_of_a_later_minor_moves_the_position_of_a_client_of_minor_0() {
    const KINDS_OF_MINOR_0: u16 = 12;
    let mut seen = 0;
    for (name, frame) in samples::event_frames() {
        let hallway_protocol::ServerFrame::Event(event) = &frame else { unreachable!() };
        if event.body.kind() <= KINDS_OF_MINOR_0 {
            continue;
        }
        seen += 1;
        // As the released client reads it: a name and a number that are in none of its tables, everything else as sent.
        let json = String::from_utf8(encode_frame(Codec::Json, &frame)).unwrap();
        let json = json.replacen(&format!("{:?}:", event.body.name()), "\"unheard.of\":", 1);
        let mut bytes = encode_frame(Codec::Postcard, &frame);
        bytes[1..3].copy_from_slice(&(EVENT_KIND_BASE + 900 + event.body.kind()).to_le_bytes());
        for received in [decode_frame(Codec::Json, json.as_bytes()), decode_frame(Codec::Postcard, &bytes)] {
            let Ok(Received::UnknownEvent { stream, seq }) = received else { panic!("{name}: {received:?}") };
            assert_eq!((stream, seq), (event.stream.clone(), event.seq), "{name}");
        }
    }
    assert!(seen >= 17, "{seen} events of minor 1 and 2");
}

/// What cannot be skipped in the released encodings is not sent to a client that does not know it.
#[test]
fn an_error_code_of_a_later_minor_is_told_to_an_older_client_in_words_it_knows() {
    for (minor, known) in [(0, 23), (1, 25)] {
        let (old, new) = ErrorCode::ALL.split_at(known);
        for code in old {
            assert_eq!(code.for_minor(minor), *code);
        }
        for code in new {
            let told = code.for_minor(minor);
            assert!(old.contains(&told), "minor {minor}: {told:?}");
            assert_eq!((told.retryable(), told.outcome()), (code.retryable(), code.outcome()), "the advice stays");
            assert_eq!(code.for_minor(hallway_protocol::PROTOCOL_MINOR), *code);
        }
    }
}

/// Frames made to cost more than they weigh.
fn bombs() -> Vec<(String, Vec<u8>)> {
    let filled = |head: &str, unit: &str, tail: &str| {
        format!("{head}{}{tail}", unit.repeat((FRAME_BYTES - head.len() - tail.len()) / unit.len())).into_bytes()
    };
    let send = r#"{"id":1,"command":{"message.send":{"nonce":"n","room":"a","text":"#;
    let signal = r#"{"id":1,"command":{"signal":{"room":"a","name":"n","data":"#;
    let json = [
        ("text", filled(&format!("{send}\""), "x", "\"}}}")),
        ("escapes", filled(&format!("{send}\""), r"\u0041", "\"}}}")),
        ("mentions", filled(&format!(r#"{send}"","mentions":["#), r#""a","#, r#""a"]}}}"#)),
        ("numbers", filled(&format!("{send}["), "1,", "1]}}}")),
        ("empty objects", filled(&format!("{signal}{{\"a\":["), "{},", "{}]}}}}")),
        ("keys", filled(&format!("{signal}{{"), r#""":0,"#, r#""":0}}}"#)),
        ("space", filled(signal, " ", "{}}}}")),
        ("open", filled("", "[", "")),
        ("commands", filled(r#"{"id":1,"command":{"#, r#""a":0,"#, r#""a":0}}"#)),
        ("requests", filled("{", r#""a":0,"#, r#""id":1}"#)),
        (
            "positions",
            filled(r#"{"id":1,"command":{"sync":{"positions":["#, r#"{"stream":"system","epoch":"e","seq":0},"#, ""),
        ),
        ("an event", filled(r#"{"event":{"stream":"system","seq":1,"body":{"x":["#, "{},", "{}]}}}")),
        ("a name", filled(r#"{"id":1,"command":{""#, "x", r#"":{}}}"#)),
    ];
    let mut all: Vec<(String, Vec<u8>)> = json.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect();

    // Whatever the kind, a length of nearly 2^64 (or 2^32, or all that is left) where a list or a text may begin.
    let lengths: [&[u8]; 4] = [
        &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
        &[0xf0, 0xff, 0x07],
        &[0xf0, 0x1f],
    ];
    let kinds = Command::KINDS.iter().flat_map(|(kind, _)| [*kind, OK_KIND_BASE + kind]);
    let events = EventBody::KINDS.iter().map(|(kind, _)| EVENT_KIND_BASE + kind);
    for kind in kinds.chain(events).chain(1..=7) {
        for (length, unit) in lengths.iter().flat_map(|length| [&[0_u8][..], &[1, b'a']].map(|unit| (length, unit))) {
            for before in 0..8 {
                let mut body = vec![1; before];
                body.extend_from_slice(length);
                body.extend(unit.iter().cycle().take(4096));
                all.push((format!("kind {kind} after {before}"), binary(kind, &body)));
            }
        }
    }
    // Actions of the fewest bytes: a message to delete.
    let item = [&[2, 1, b'n', 1, b'a', 16][..], &[0x70; 16]].concat();
    let mut actions = vec![1, 1, 0xf0, 0x1f];
    actions.extend(item.repeat(4_080));
    let actions = binary(110, &actions);
    assert!(decode_request(Codec::Postcard, &actions).is_ok());
    all.push(("actions in postcard".to_owned(), actions));
    // As many one-letter mentions as fit: request id, nonce, room, no id, text, no reply, then the list.
    let mut mentions = vec![1, 1, b'n', 1, b'a', 0, 1, b't', 0, 0xf0, 0xff, 0x03];
    mentions.extend([1, b'a'].repeat(65_520));
    all.push(("mentions in postcard".to_owned(), binary(30, &mentions)));
    all
}

#[test]
fn decoding_takes_memory_and_time_in_proportion_to_the_bytes() {
    let valid = valid_frames().into_iter().map(|(_, bytes)| ("a valid frame".to_owned(), bytes));
    let mut widest = (0, String::new());
    for (name, bytes) in bombs().into_iter().chain(valid) {
        for codec in Codec::ALL {
            let begin = Instant::now();
            let (_, for_request) = allocated_bytes(|| decode_request(codec, &bytes).is_ok());
            let (_, for_frame) = allocated_bytes(|| decode_frame(codec, &bytes).is_ok());
            let taken = begin.elapsed();
            for (asked, factor) in [(for_request, MEMORY_FACTOR), (for_frame, FRAME_MEMORY_FACTOR)] {
                let allowed = factor * bytes.len() + MEMORY_CONSTANT_BYTES;
                assert!(asked <= allowed, "{name}, {codec:?}: {asked} bytes for {}", bytes.len());
            }
            let most = for_request.max(for_frame);
            assert!(taken < DECODE_DEADLINE, "{name}, {codec:?}: {taken:?}");
            if bytes.len() >= 4096 {
                widest = widest.max((most / bytes.len(), format!("{name}, {codec:?}")));
            }
        }
    }
    println!("most: {} bytes asked for per byte ({})", widest.0, widest.1);
    assert!(widest.0 >= 8, "the bombs did not go off: {widest:?}");
}
