//! The slow path of JSON that the types refused: finds out what exactly was wrong, or that it is only newer than this.
//!
//! Nothing here builds a `serde_json::Value`: that would cost a multiple of the frame's size in memory, and it takes one
//! magic key (of `raw_value`) as JSON to be parsed again. Raw slices of the frame do.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use super::{DecodeError, Received};
use crate::codes::ErrorCode;
use crate::command::Command;
use crate::event::EventBody;

const SHAPE: &str = "a request looks like {\"id\": 1, \"command\": {\"ping\": {}}}";
/// Characters of an unknown name that are shown and compared.
const NAME_SHOWN_CHARACTERS: usize = 40;

/// The outside of a request, whatever is in it.
#[derive(Deserialize)]
struct LooseRequest<'a> {
    #[serde(borrow, default)]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    command: Option<&'a RawValue>,
}

/// The outside of an event, whatever is in it.
#[derive(Deserialize)]
struct LooseEvent<'a> {
    #[serde(borrow)]
    stream: &'a RawValue,
    #[serde(borrow)]
    seq: &'a RawValue,
    #[serde(borrow)]
    body: &'a RawValue,
}

/// The one key of an object with one key.
struct OnlyKey<'a> {
    key: String,
    value: &'a RawValue,
}

impl<'de> Deserialize<'de> for OnlyKey<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = OnlyKey<'de>;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object with exactly one key")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<OnlyKey<'de>, A::Error> {
                let none = || serde::de::Error::invalid_length(0, &self);
                let (key, value) = fields.next_entry::<String, &RawValue>()?.ok_or_else(none)?;
                match fields.next_entry::<IgnoredAny, IgnoredAny>()? {
                    None => Ok(OnlyKey { key, value }),
                    Some(_) => Err(serde::de::Error::invalid_length(2, &self)),
                }
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// What was wrong with a request.
pub(super) fn diagnose_request(bytes: &[u8], error: &serde_json::Error) -> DecodeError {
    let request: LooseRequest<'_> = match serde_json::from_slice(bytes) {
        Ok(request) => request,
        Err(error) if error.classify() == Category::Data => {
            return DecodeError::bad_frame(format!("{error}: {SHAPE}"));
        }
        Err(error) => return DecodeError::bad_frame(format!("not JSON: {error}")),
    };
    let Some(id) = request.id.and_then(|id| id.get().parse::<u64>().ok()) else {
        return DecodeError::bad_frame(format!("no \"id\" (a whole number from 0): {SHAPE}"));
    };
    let answer = |code, message: String| DecodeError { id: Some(id), ..DecodeError::new(code, message) };
    let command = request.command.and_then(|command| serde_json::from_str::<OnlyKey<'_>>(command.get()).ok());
    let Some(OnlyKey { key: name, .. }) = command else {
        return answer(ErrorCode::BadFrame, format!("no \"command\" with exactly one name in it: {SHAPE}"));
    };
    if Command::KINDS.iter().any(|(_, known)| *known == name) {
        return answer(ErrorCode::InvalidArgument, format!("{name}: {}", without_secrets(&name, &error.to_string())));
    }
    let shown: String = name.chars().take(NAME_SHOWN_CHARACTERS).collect();
    let hint = similar(&shown).map_or_else(String::new, |known| format!("; did you mean {known:?}?"));
    answer(ErrorCode::UnknownCommand, format!("no command is called {shown:?}{hint}"))
}

/// The known command that a name resembles most, if it does.
fn similar(name: &str) -> Option<&'static str> {
    let most = 1 + name.len() / 4;
    Command::KINDS
        .iter()
        .map(|(_, known)| (strsim::damerau_levenshtein(name, known), *known))
        .filter(|(distance, _)| *distance <= most)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// A parser quotes strings of the wrong type; a misplaced token must not come back in an error.
fn without_secrets(command: &str, message: &str) -> String {
    let quoted = message.find("string \"").filter(|_| matches!(command, "hello" | "auth.refresh"));
    match (quoted, message.rfind(", expected")) {
        (Some(begin), Some(end)) if begin < end => format!("{}a string{}", &message[..begin], &message[end..]),
        (Some(begin), _) => format!("{}a string", &message[..begin]),
        (None, _) => message.to_owned(),
    }
}

/// An unreadable server frame: newer than this client, or broken?
pub(super) fn skip_frame(bytes: &[u8], error: &serde_json::Error) -> Result<Received, DecodeError> {
    let broken = || DecodeError::bad_frame(format!("not a server frame: {error}"));
    let frame: OnlyKey<'_> = serde_json::from_slice(bytes).map_err(|_| broken())?;
    match frame.key.as_str() {
        "event" => {
            let event: LooseEvent<'_> = serde_json::from_str(frame.value.get()).map_err(|_| broken())?;
            let body: OnlyKey<'_> = serde_json::from_str(event.body.get()).map_err(|_| broken())?;
            if EventBody::KINDS.iter().any(|(_, known)| *known == body.key) {
                return Err(broken());
            }
            let stream = serde_json::from_str(event.stream.get()).map_err(|_| broken())?;
            let seq = serde_json::from_str(event.seq.get()).map_err(|_| broken())?;
            Ok(Received::UnknownEvent { stream, seq })
        }
        // An answer to a command that this version does not know: nobody here asked.
        "ok" if unknown_reply(frame.value) => Ok(Received::Unknown),
        "ok" | "error" | "sync_begin" | "sync_end" | "reset" | "typing" | "signal" | "closing" | "presence" => {
            Err(broken())
        }
        _ => Ok(Received::Unknown),
    }
}

fn unknown_reply(ok: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct LooseOk<'a> {
        #[serde(rename = "id")]
        _id: u64,
        #[serde(borrow)]
        reply: &'a RawValue,
    }
    serde_json::from_str::<LooseOk<'_>>(ok.get())
        .and_then(|ok| serde_json::from_str::<OnlyKey<'_>>(ok.reply.get()))
        .is_ok_and(|reply| Command::KINDS.iter().all(|(_, known)| *known != reply.key))
}
