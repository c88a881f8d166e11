//! Limits of arguments that their types do not express. Pure; a node calls [`check`] on every decoded command before
//! anything else looks at it, and a client may call it before sending.
//!
//! **Invariant:** what passes here can be stored by every back end (no NUL, every number below 2^53).

use std::collections::HashSet;
use std::ops::RangeInclusive;

use crate::codes::{ErrorBody, ErrorCode};
use crate::command::Command;

mod work;

use crate::ids::{DIRECT_PREFIX, RoomId, UserId};
use crate::position::{Position, SEQ_MAX, Seq};
pub use work::{
    ACKNOWLEDGE_WITHIN_MS, ACTIONS_MAX, ASSIGNEES_MAX, KEY_MAX_BYTES, NOTICE_TEXT_MAX_BYTES, PHRASE_MAX_BYTES,
    PHRASES_MAX, READ_MAX, RECIPIENTS_MAX, REPLAY_MAX, TITLE_MAX_BYTES, WAITS_ON_MAX,
};

/// Longest text of a message, in bytes of UTF-8. The shortest is 1.
pub const TEXT_MAX_BYTES: usize = 16 * 1024;
/// Most mentions in one message.
pub const MENTIONS_MAX: usize = 50;
/// Longest display name of a room, in bytes.
pub const NAME_MAX_BYTES: usize = 200;
/// Longest emoji of a reaction, in bytes. The shortest is 1.
pub const EMOJI_MAX_BYTES: usize = 32;
/// Longest name of a signal, in bytes. The shortest is 1.
pub const SIGNAL_NAME_MAX_BYTES: usize = 64;
/// Most positions in one `hello` or `sync`: 1,000 rooms and the user's own stream.
pub const POSITIONS_MAX: usize = 1001;
/// Longest name and longest version of a client, in bytes.
pub const CLIENT_MAX_BYTES: usize = 64;
/// Longest token, in bytes. The shortest is 1.
pub const TOKEN_MAX_BYTES: usize = 8192;
/// Longest cursor, in bytes.
pub const CURSOR_MAX_BYTES: usize = 256;
/// Longest reason of an act on a person, in bytes.
pub const REASON_MAX_BYTES: usize = 500;
/// Most people whose presence one connection watches.
pub const WATCH_MAX_USERS: usize = 500;
/// Entries in one page of any list.
pub const PAGE_LIMIT: RangeInclusive<u32> = 1..=100;
/// Entries in a page when the client names no limit.
pub const PAGE_LIMIT_DEFAULT: u32 = 50;
/// Missed events per stream that a client may limit itself to.
pub const SYNC_LIMIT: RangeInclusive<u32> = 1..=10_000;

type Checked = Result<(), ErrorBody>;

/// Checks the arguments of a command.
///
/// # Errors
/// `invalid_argument`, with a message that names the command, the field, the size of the value and the limit.
pub fn check(command: &Command) -> Checked {
    let checked = match command {
        Command::Hello(hello) => token(hello.token.as_deref())
            .and_then(|()| client_text("client_name", hello.client_name.as_deref()))
            .and_then(|()| client_text("client_version", hello.client_version.as_deref()))
            .and_then(|()| positions(&hello.positions))
            .and_then(|()| limit(hello.limit, &SYNC_LIMIT)),
        Command::Sync(sync) => positions(&sync.positions).and_then(|()| limit(sync.limit, &SYNC_LIMIT)),
        Command::AuthRefresh(refresh) => token(Some(&refresh.token)),
        Command::RoomCreate(create) => channel_id(&create.room).and_then(|()| room_name(create.name.as_deref())),
        Command::RoomUpdate(update) if update.name.is_none() && update.visibility.is_none() => {
            refuse("nothing to change: give name or visibility".to_owned())
        }
        Command::RoomUpdate(update) => room_name(update.name.as_deref()),
        Command::RoomList(list) => page(list.cursor.as_deref(), list.limit),
        Command::RoomMembers(list) => page(list.cursor.as_deref(), list.limit),
        Command::MessageHistory(list) => page(list.cursor.as_deref(), list.limit),
        Command::MessageSend(send) => text(&send.text).and_then(|()| mentions(&send.mentions)),
        Command::MessageEdit(edit) => text(&edit.text).and_then(|()| mentions(&edit.mentions)),
        Command::MessageReact(react) => emoji(&react.emoji),
        Command::ReadMark(mark) => seq("seq", mark.seq),
        Command::Signal(signal) => signal_name(&signal.name),
        Command::UserRevoke(revoke) => reason(revoke.reason.as_deref()),
        Command::RoomKick(kick) => reason(kick.reason.as_deref()),
        Command::RoomBan(ban) => until(ban.until_ms).and_then(|()| reason(ban.reason.as_deref())),
        Command::RoomMute(mute) => until(mute.until_ms).and_then(|()| reason(mute.reason.as_deref())),
        Command::RoomBans(list) => page(list.cursor.as_deref(), list.limit),
        Command::AuditList(list) => page(list.cursor.as_deref(), list.limit),
        Command::PresenceGet(get) => page(get.cursor.as_deref(), get.limit),
        Command::PresenceWatch(watch) => count("users", watch.users.len(), WATCH_MAX_USERS),
        Command::Ping(_)
        | Command::RoomArchive(_)
        | Command::RoomJoin(_)
        | Command::RoomLeave(_)
        | Command::RoomInvite(_)
        | Command::RoomRemove(_)
        | Command::DirectOpen(_)
        | Command::MessageDelete(_)
        | Command::Typing(_)
        | Command::SessionList(_)
        | Command::SessionRevoke(_)
        | Command::RoomUnban(_)
        | Command::RoomUnmute(_)
        | Command::PresenceSet(_) => Ok(()),
        other => work::check(other),
    };
    checked.map_err(|error| ErrorBody { message: format!("{}: {}", command.name(), error.message), ..error })
}

fn refuse(message: String) -> Checked {
    Err(ErrorBody::new(ErrorCode::InvalidArgument, message))
}

fn size(field: &str, bytes: usize, allowed: RangeInclusive<usize>) -> Checked {
    if allowed.contains(&bytes) {
        return Ok(());
    }
    refuse(format!("{field} has {bytes} bytes; {} to {} are allowed", allowed.start(), allowed.end()))
}

fn count(field: &str, entries: usize, most: usize) -> Checked {
    if entries <= most { Ok(()) } else { refuse(format!("{field} has {entries} entries; at most {most} are allowed")) }
}

fn no_control_characters(field: &str, value: &str) -> Checked {
    match value.char_indices().find(|(_, character)| character.is_control()) {
        Some((at, character)) => refuse(format!(
            "{field} has the control character U+{:04X} at byte {at}; none is allowed",
            u32::from(character)
        )),
        None => Ok(()),
    }
}

fn text(value: &str) -> Checked {
    long_text(value, 1..=TEXT_MAX_BYTES)
}

fn long_text(value: &str, allowed: RangeInclusive<usize>) -> Checked {
    size("text", value.len(), allowed)?;
    match value.find('\0') {
        // Postgres cannot keep it in a text, and nobody can see it.
        Some(at) => refuse(format!("text has the character U+0000 at byte {at}; it is not allowed")),
        None => Ok(()),
    }
}

fn mentions(users: &[UserId]) -> Checked {
    count("mentions", users.len(), MENTIONS_MAX)
}

fn room_name(name: Option<&str>) -> Checked {
    let Some(name) = name else { return Ok(()) };
    size("name", name.len(), 0..=NAME_MAX_BYTES)?;
    no_control_characters("name", name)
}

fn emoji(value: &str) -> Checked {
    size("emoji", value.len(), 1..=EMOJI_MAX_BYTES)?;
    no_control_characters("emoji", value)
}

fn signal_name(value: &str) -> Checked {
    size("name", value.len(), 1..=SIGNAL_NAME_MAX_BYTES)?;
    match value.char_indices().find(|(_, character)| !character.is_ascii_graphic()) {
        Some((at, character)) => refuse(format!(
            "name has the character U+{:04X} at byte {at}; only visible ASCII characters are allowed",
            u32::from(character)
        )),
        None => Ok(()),
    }
}

fn client_text(field: &str, value: Option<&str>) -> Checked {
    let Some(value) = value else { return Ok(()) };
    size(field, value.len(), 0..=CLIENT_MAX_BYTES)?;
    no_control_characters(field, value)
}

fn token(value: Option<&str>) -> Checked {
    value.map_or(Ok(()), |value| size("token", value.len(), 1..=TOKEN_MAX_BYTES))
}

fn cursor(value: Option<&str>) -> Checked {
    value.map_or(Ok(()), |value| size("cursor", value.len(), 1..=CURSOR_MAX_BYTES))
}

fn limit(value: Option<u32>, allowed: &RangeInclusive<u32>) -> Checked {
    match value {
        Some(value) if !allowed.contains(&value) => {
            refuse(format!("limit is {value}; {} to {} are allowed", allowed.start(), allowed.end()))
        }
        _ => Ok(()),
    }
}

fn page(at: Option<&str>, entries: Option<u32>) -> Checked {
    cursor(at)?;
    limit(entries, &PAGE_LIMIT)
}

fn reason(value: Option<&str>) -> Checked {
    let Some(value) = value else { return Ok(()) };
    size("reason", value.len(), 0..=REASON_MAX_BYTES)?;
    no_control_characters("reason", value)
}

fn until(value: Option<u64>) -> Checked {
    value.map_or(Ok(()), |value| seq("until_ms", value))
}

fn seq(field: &str, value: Seq) -> Checked {
    if value <= SEQ_MAX {
        Ok(())
    } else {
        refuse(format!("{field} is {value}; at most {SEQ_MAX} (2^53 - 1) is allowed"))
    }
}

fn positions(positions: &[Position]) -> Checked {
    count("positions", positions.len(), POSITIONS_MAX)?;
    let mut seen = HashSet::with_capacity(positions.len());
    for position in positions {
        seq(&format!("positions[{}].seq", position.stream), position.seq)?;
        if !seen.insert(&position.stream) {
            return refuse(format!("positions has {} more than once; one per stream is allowed", position.stream));
        }
    }
    Ok(())
}

fn channel_id(room: &RoomId) -> Checked {
    if room.is_direct() {
        return refuse(format!(
            "room is \"{room}\"; ids that begin with \"{DIRECT_PREFIX}\" are reserved for direct.open"
        ));
    }
    Ok(())
}
