//! Every limit of an argument: at it, the command passes; beyond it, the answer names the field, the size and the limit.

use hallway_protocol::check::{
    CLIENT_MAX_BYTES, CURSOR_MAX_BYTES, EMOJI_MAX_BYTES, MENTIONS_MAX, NAME_MAX_BYTES, PAGE_LIMIT, POSITIONS_MAX,
    REASON_MAX_BYTES, SIGNAL_NAME_MAX_BYTES, SYNC_LIMIT, TEXT_MAX_BYTES, TOKEN_MAX_BYTES, WATCH_MAX_USERS, check,
};
use hallway_protocol::codec::{Codec, decode_request};
use hallway_protocol::position::SEQ_MAX;
use hallway_protocol::{ErrorCode, Outcome};
use serde_json::{Value, json};

use crate::samples;

mod work;

fn checked(command: Value) -> Result<(), String> {
    let text = json!({"id": 1, "command": command}).to_string();
    let request = decode_request(Codec::Json, text.as_bytes()).unwrap();
    check(&request.command).map_err(|error| {
        assert_eq!(
            (error.code, error.outcome, error.retryable),
            (ErrorCode::InvalidArgument, Outcome::Definite, false)
        );
        error.message
    })
}

fn passes(command: Value) {
    assert_eq!(checked(command), Ok(()));
}

fn refused(command: Value, message: &str) {
    assert_eq!(checked(command), Err(message.to_owned()));
}

fn send(fields: Value) -> Value {
    let mut send = json!({"nonce": "n", "room": "a", "text": "t"});
    send.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"message.send": send})
}

fn positions(count: usize) -> Value {
    let position = |number| json!({"stream": format!("room:r{number}"), "epoch": "e", "seq": number});
    (0..count).map(position).collect()
}

#[test]
fn every_sample_is_within_the_limits() {
    // Samples of the encoding that ask for nothing; they are refused below.
    let idle = ["room.update bare", "task.update bare", "task.assign bare", "task.depend bare"];
    for (name, request) in samples::requests().into_iter().filter(|(name, _)| !idle.contains(&name.as_str())) {
        assert_eq!(check(&request.command), Ok(()), "{name}");
    }
}

#[test]
fn a_text_has_1_byte_to_16_kib_and_no_nul() {
    passes(send(json!({"text": "x".repeat(TEXT_MAX_BYTES)})));
    passes(send(json!({"text": "\n\t\u{1b}"})));
    refused(send(json!({"text": ""})), "message.send: text has 0 bytes; 1 to 16384 are allowed");
    let umlauts = "ä".repeat(TEXT_MAX_BYTES / 2);
    passes(send(json!({"text": umlauts})));
    refused(send(json!({"text": umlauts + "a"})), "message.send: text has 16385 bytes; 1 to 16384 are allowed");
    refused(
        send(json!({"text": "a\u{0}"})),
        "message.send: text has the character U+0000 at byte 1; it is not allowed",
    );
    let edit =
        json!({"message.edit": {"nonce": "n", "room": "a", "text": "", "id": "019b76da-a800-7000-8000-000000000001"}});
    refused(edit, "message.edit: text has 0 bytes; 1 to 16384 are allowed");
}

#[test]
fn a_message_mentions_at_most_50() {
    passes(send(json!({"mentions": vec!["ben"; MENTIONS_MAX]})));
    refused(
        send(json!({"mentions": vec!["ben"; MENTIONS_MAX + 1]})),
        "message.send: mentions has 51 entries; at most 50 are allowed",
    );
}

#[test]
fn a_room_name_has_at_most_200_bytes_and_no_control_character() {
    let create = |name: &str| json!({"room.create": {"nonce": "n", "room": "a", "visibility": "public", "name": name}});
    let update = |name: &str| json!({"room.update": {"nonce": "n", "room": "a", "name": name}});
    passes(create(&"x".repeat(NAME_MAX_BYTES)));
    passes(update(""));
    refused(create(&"x".repeat(NAME_MAX_BYTES + 1)), "room.create: name has 201 bytes; 0 to 200 are allowed");
    refused(update("a\nb"), "room.update: name has the control character U+000A at byte 1; none is allowed");
    refused(update("\u{9b}"), "room.update: name has the control character U+009B at byte 0; none is allowed");
}

#[test]
fn an_update_that_changes_nothing_is_refused() {
    passes(json!({"room.update": {"nonce": "n", "room": "a", "visibility": "private"}}));
    refused(
        json!({"room.update": {"nonce": "n", "room": "a"}}),
        "room.update: nothing to change: give name or visibility",
    );
}

#[test]
fn ids_of_direct_rooms_cannot_be_taken_by_a_channel() {
    let create = |room: &str| json!({"room.create": {"nonce": "n", "room": room, "visibility": "public"}});
    passes(create("dm"));
    passes(create("DM:x"));
    refused(create("dm:x"), "room.create: room is \"dm:x\"; ids that begin with \"dm:\" are reserved for direct.open");
    passes(json!({"room.leave": {"nonce": "n", "room": "dm:x"}}));
}

#[test]
fn an_emoji_has_1_to_32_bytes_and_a_signal_a_visible_name() {
    let react = |emoji: &str| json!({"message.react": {"nonce": "n", "room": "a", "id": "019b76da-a800-7000-8000-000000000001", "emoji": emoji}});
    let signal = |name: &str| json!({"signal": {"room": "a", "name": name}});
    passes(react(&"x".repeat(EMOJI_MAX_BYTES)));
    refused(react(&"x".repeat(EMOJI_MAX_BYTES + 1)), "message.react: emoji has 33 bytes; 1 to 32 are allowed");
    refused(react(""), "message.react: emoji has 0 bytes; 1 to 32 are allowed");
    refused(react("\u{7f}"), "message.react: emoji has the control character U+007F at byte 0; none is allowed");
    passes(signal(&"~".repeat(SIGNAL_NAME_MAX_BYTES)));
    refused(signal(&"~".repeat(SIGNAL_NAME_MAX_BYTES + 1)), "signal: name has 65 bytes; 1 to 64 are allowed");
    refused(signal(""), "signal: name has 0 bytes; 1 to 64 are allowed");
    let visible = "only visible ASCII characters are allowed";
    refused(signal("a b"), &format!("signal: name has the character U+0020 at byte 1; {visible}"));
    refused(signal("é"), &format!("signal: name has the character U+00E9 at byte 0; {visible}"));
}

#[test]
fn positions_are_at_most_1001_one_per_stream_and_below_2_to_the_53() {
    for command in ["hello", "sync"] {
        let with = |positions: Value| json!({command: {"positions": positions}});
        passes(with(positions(POSITIONS_MAX)));
        refused(
            with(positions(POSITIONS_MAX + 1)),
            &format!("{command}: positions has 1002 entries; at most 1001 are allowed"),
        );
        let twice = json!([{"stream": "system", "epoch": "e", "seq": 1}, {"stream": "system", "epoch": "f", "seq": 2}]);
        refused(with(twice), &format!("{command}: positions has system more than once; one per stream is allowed"));
        passes(with(json!([{"stream": "room:a", "epoch": "e", "seq": SEQ_MAX}])));
        refused(
            with(json!([{"stream": "room:a", "epoch": "e", "seq": SEQ_MAX + 1}])),
            &format!(
                "{command}: positions[room:a].seq is 9007199254740992; at most 9007199254740991 (2^53 - 1) is allowed"
            ),
        );
    }
    passes(json!({"read.mark": {"room": "a", "seq": SEQ_MAX}}));
    refused(
        json!({"read.mark": {"room": "a", "seq": u64::MAX}}),
        "read.mark: seq is 18446744073709551615; at most 9007199254740991 (2^53 - 1) is allowed",
    );
}

#[test]
fn what_hello_says_of_the_client_is_short() {
    passes(json!({"hello": {"client_name": "x".repeat(CLIENT_MAX_BYTES), "token": "x".repeat(TOKEN_MAX_BYTES)}}));
    for field in ["client_name", "client_version"] {
        refused(
            json!({"hello": {field: "x".repeat(CLIENT_MAX_BYTES + 1)}}),
            &format!("hello: {field} has 65 bytes; 0 to 64 are allowed"),
        );
        let message = format!("hello: {field} has the control character U+000D at byte 0; none is allowed");
        refused(json!({"hello": {field: "\r"}}), &message);
    }
    for (command, token) in [("hello", "x".repeat(TOKEN_MAX_BYTES + 1)), ("auth.refresh", String::new())] {
        let message = format!("{command}: token has {} bytes; 1 to 8192 are allowed", token.len());
        refused(json!({command: {"token": token}}), &message);
    }
}

#[test]
fn pages_and_syncs_have_a_limit_of_their_own() {
    let pages = |limit: u32| {
        [
            json!({"room.list": {"scope": "mine", "limit": limit}}),
            json!({"room.members": {"room": "a", "limit": limit}}),
            json!({"message.history": {"room": "a", "direction": "older", "limit": limit}}),
            json!({"room.bans": {"room": "a", "limit": limit}}),
            json!({"presence.get": {"room": "a", "limit": limit}}),
            json!({"audit.list": {"limit": limit}}),
        ]
    };
    let syncs = |limit: u32| [json!({"hello": {"limit": limit}}), json!({"sync": {"positions": [], "limit": limit}})];
    for edge in [*PAGE_LIMIT.start(), *PAGE_LIMIT.end()] {
        pages(edge).into_iter().for_each(passes);
    }
    for edge in [*SYNC_LIMIT.start(), *SYNC_LIMIT.end()] {
        syncs(edge).into_iter().for_each(passes);
    }
    for beyond in [0, PAGE_LIMIT.end() + 1, u32::MAX] {
        for page in pages(beyond) {
            assert!(checked(page).unwrap_err().ends_with(&format!("limit is {beyond}; 1 to 100 are allowed")));
        }
    }
    for beyond in [0, SYNC_LIMIT.end() + 1] {
        for sync in syncs(beyond) {
            assert!(checked(sync).unwrap_err().ends_with(&format!("limit is {beyond}; 1 to 10000 are allowed")));
        }
    }
    refused(
        json!({"room.list": {"scope": "mine", "cursor": "x".repeat(CURSOR_MAX_BYTES + 1)}}),
        "room.list: cursor has 257 bytes; 1 to 256 are allowed",
    );
}

#[test]
fn a_reason_is_short_and_an_end_is_a_number_that_can_be_stored() {
    let acts = |reason: &str| {
        [
            ("room.kick", json!({"nonce": "n", "room": "a", "user": "ben", "reason": reason})),
            ("room.ban", json!({"nonce": "n", "room": "a", "user": "ben", "reason": reason})),
            ("room.mute", json!({"nonce": "n", "room": "a", "user": "ben", "reason": reason})),
            ("user.revoke", json!({"nonce": "n", "user": "ben", "reason": reason})),
        ]
    };
    for (name, arguments) in acts(&"x".repeat(REASON_MAX_BYTES)) {
        passes(json!({name: arguments}));
    }
    for (name, arguments) in acts(&"x".repeat(REASON_MAX_BYTES + 1)) {
        refused(json!({name: arguments}), &format!("{name}: reason has 501 bytes; 0 to 500 are allowed"));
    }
    for (name, arguments) in acts("a\u{7}") {
        let message = format!("{name}: reason has the control character U+0007 at byte 1; none is allowed");
        refused(json!({name: arguments}), &message);
    }
    for name in ["room.ban", "room.mute"] {
        let until = |until: u64| json!({name: {"nonce": "n", "room": "a", "user": "ben", "until_ms": until}});
        passes(until(SEQ_MAX));
        let message = format!("{name}: until_ms is {}; at most {SEQ_MAX} (2^53 - 1) is allowed", SEQ_MAX + 1);
        refused(until(SEQ_MAX + 1), &message);
    }
}

#[test]
fn a_connection_watches_at_most_500_people() {
    passes(json!({"presence.watch": {"users": vec!["ben"; WATCH_MAX_USERS]}}));
    refused(
        json!({"presence.watch": {"users": vec!["ben"; WATCH_MAX_USERS + 1]}}),
        "presence.watch: users has 501 entries; at most 500 are allowed",
    );
}
