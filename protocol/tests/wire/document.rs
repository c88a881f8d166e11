//! `docs/protocol.md` names everything that is on the wire, with the advice that the code gives.

use std::collections::BTreeMap;

use hallway_protocol::codec::{Codec, Received, decode_frame, decode_request};
use hallway_protocol::codes::{CloseCode, ErrorCode, Outcome};
use hallway_protocol::{Command, EventBody};

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

/// Rows of the table under a heading: first cell without quotes, then the others.
fn table(heading: &str) -> BTreeMap<String, Vec<String>> {
    let section = DOCUMENT.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let rows = section.lines().filter(|line| line.starts_with('|')).skip(2);
    let mut table = BTreeMap::new();
    for row in rows {
        let mut cells = row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`').to_owned());
        let first = cells.next().unwrap();
        assert!(table.insert(first.clone(), cells.collect()).is_none(), "{heading}: {first} stands there twice");
    }
    table
}

fn assert_kinds(heading: &str, kinds: &[(u16, &str)]) {
    let table = table(heading);
    assert_eq!(table.len(), kinds.len(), "{heading}: too many or too few rows");
    for (kind, name) in kinds {
        assert_eq!(table.get(*name).map(|cells| cells[0].clone()), Some(kind.to_string()), "{heading}: {name}");
    }
}

#[test]
fn the_document_lists_every_command_and_event_with_its_kind() {
    assert_kinds("Commands", Command::KINDS);
    assert_kinds("Events", EventBody::KINDS);
}

#[test]
fn the_document_gives_the_same_advice_for_every_error_code() {
    let table = table("Error codes");
    assert_eq!(table.len(), ErrorCode::ALL.len());
    for code in ErrorCode::ALL {
        let retryable = if code.retryable() { "yes" } else { "no" };
        let outcome = match code.outcome() {
            Outcome::Definite => "definite",
            Outcome::Unknown => "unknown",
        };
        assert_eq!(table[code.as_str()][..2], [retryable, outcome], "{}", code.as_str());
    }
}

#[test]
fn the_document_gives_the_same_advice_for_every_close_code() {
    let table = table("Close codes");
    assert_eq!(table.len(), CloseCode::ALL.len());
    for code in CloseCode::ALL {
        let reconnect = if code.reconnect() { "yes" } else { "no" };
        assert_eq!(table[&code.code().to_string()][..2], [code.reason(), reconnect], "{}", code.code());
    }
}

#[test]
fn the_table_of_rights_names_only_commands_and_refusals_that_exist() {
    let rights = table("Who may do what");
    let known = |name: &str| Command::KINDS.iter().any(|(_, known)| *known == name);
    let refusals: Vec<&str> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    for (command, cells) in &rights {
        let name = command.split(['`', ',']).next().unwrap();
        assert!(known(name), "{command}");
        assert_eq!(cells.len(), 7, "{command}");
        assert!(["read", "write"].contains(&cells[0].as_str()), "{command}");
        for cell in &cells[1..] {
            assert!(["ok", "–"].contains(&cell.as_str()) || refusals.contains(&cell.as_str()), "{command}: {cell}");
        }
    }
}

/// Placeholders of numbers stand in quotes, so that a line is JSON for the eye; here they become numbers.
fn filled(line: &str) -> String {
    let mut text = line.to_owned();
    for number in ["at_ms", "expires", "interval"] {
        text = text.replace(&format!("\"<{number}>\""), "1");
    }
    for id in ["id", "id_2"] {
        text = text.replace(&format!("<{id}>"), "019b76da-a800-7000-8000-000000000001");
    }
    text.replace("<epoch>", "e")
}

#[test]
fn every_example_and_every_line_of_the_transcript_is_a_frame() {
    let transcript = DOCUMENT.split("```transcript\n").nth(1).unwrap().split("```").next().unwrap();
    for line in transcript.lines().filter(|line| !line.ends_with("> close")) {
        let (mark, frame) = line.split_at(3);
        let frame = filled(frame);
        if mark.contains('>') {
            decode_request(Codec::Json, frame.as_bytes()).unwrap_or_else(|error| panic!("{line}: {error}"));
        } else {
            let received = decode_frame(Codec::Json, frame.as_bytes());
            assert!(matches!(received, Ok(Received::Frame(_))), "{line}: {received:?}");
        }
    }
    let examples = DOCUMENT.split("```json\n").skip(1).flat_map(|block| block.split("```").next().unwrap().lines());
    for line in examples {
        let received = decode_frame(Codec::Json, line.as_bytes());
        let known = matches!(received, Ok(Received::Frame(_))) || decode_request(Codec::Json, line.as_bytes()).is_ok();
        assert!(known, "{line}: {received:?}");
    }
}
