//! Free data of the application, carried and never looked into.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// Largest encoded size, in bytes of compact JSON.
pub const META_MAX_BYTES: usize = 4096;
/// Deepest nesting.
pub const META_MAX_DEPTH: usize = 16;

/// An object in JSON, a length-prefixed string of compact JSON in postcard: at most 4 KiB, at most 16 deep.
/// (`serde_json::Value` itself encodes in postcard and then fails to decode.)
///
/// It is kept as the text that came, less the space between its tokens: numbers keep their digits and keys their order.
/// Not taken is what some reader could not hold: numbers beyond a double, a key twice, NUL, lone surrogates.
#[derive(Clone)]
pub struct Meta(Box<RawValue>);

impl PartialEq for Meta {
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}

impl Eq for Meta {}

/// Why something is no [`Meta`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMeta {
    #[error("meta must be a JSON object")]
    NotAnObject,
    #[error("meta is not JSON that can be taken: {0}")]
    NotJson(String),
    #[error("meta has {0} bytes; at most 4096 are allowed")]
    TooLarge(usize),
    #[error("meta is nested deeper than 16 levels")]
    TooDeep,
}

impl Meta {
    /// Takes a JSON object.
    ///
    /// # Errors
    /// [`InvalidMeta`] when it is no object, too large or too deep.
    pub fn from_value(value: &Value) -> Result<Self, InvalidMeta> {
        if !value.is_object() {
            return Err(InvalidMeta::NotAnObject);
        }
        Self::from_json(&value.to_string())
    }

    /// Takes JSON text.
    ///
    /// # Errors
    /// [`InvalidMeta`] when it is not JSON, no object, too large or too deep.
    pub fn from_json(text: &str) -> Result<Self, InvalidMeta> {
        Self::from_raw(serde_json::from_str(text).map_err(not_json)?)
    }

    /// Takes what the parser found to be JSON, without yet having looked at its strings and numbers.
    fn from_raw(raw: Box<RawValue>) -> Result<Self, InvalidMeta> {
        if !raw.get().trim_start().starts_with('{') {
            return Err(InvalidMeta::NotAnObject);
        }
        let raw = match compact(raw.get())? {
            None => raw,
            Some(text) => RawValue::from_string(text).map_err(not_json)?,
        };
        // Small and shallow by now, so this recursion is bounded.
        serde_json::from_str::<Portable>(raw.get()).map_err(not_json)?;
        Ok(Self(raw))
    }

    /// Compact JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        self.0.get()
    }
}

fn not_json(error: serde_json::Error) -> InvalidMeta {
    InvalidMeta::NotJson(error.to_string())
}

/// Valid JSON without the space between its tokens; `None` when there is no such space, as in what programs write.
fn compact(text: &str) -> Result<Option<String>, InvalidMeta> {
    let (mut length, mut depth) = (0, 0_usize);
    for token in Tokens(text) {
        match token {
            "{" | "[" => depth += 1,
            "}" | "]" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > META_MAX_DEPTH {
            return Err(InvalidMeta::TooDeep);
        }
        length += token.len();
    }
    if length > META_MAX_BYTES {
        return Err(InvalidMeta::TooLarge(length));
    }
    Ok((length < text.len()).then(|| Tokens(text).collect()))
}

/// Valid JSON in pieces: strings, and single bytes of what is no string, without the space between them. What is no ASCII stands
/// in strings only, so bytes are enough to see them.
struct Tokens<'a>(&'a str);

impl<'a> Iterator for Tokens<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let rest = self.0.trim_ascii_start();
        let length = if *rest.as_bytes().first()? == b'"' { string_length(rest.as_bytes()) } else { 1 };
        let (token, after) = rest.split_at(length);
        self.0 = after;
        Some(token)
    }
}

/// Bytes of the string that a text begins with, both quotes included.
fn string_length(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &text[at..]) {
        at += found + 1;
        if text[at - 1] == b'"' {
            return at;
        }
        // Whatever is escaped ends nothing; an escape is ASCII.
        at += 1;
    }
    text.len()
}

/// Reads any JSON and keeps nothing: the parser refuses wide numbers and lone surrogates, this refuses the rest.
/// (`Value` would do neither of the latter, and takes one magic key as JSON to be parsed again.)
struct Portable;

/// Keys of one object. Most have few, which are found faster by looking at each.
#[derive(Default)]
struct Keys<'a> {
    few: Vec<Key<'a>>,
    many: HashSet<Key<'a>>,
}

/// Part of the text, unless something in it is escaped.
#[derive(PartialEq, Eq, Hash, Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Keys that are looked at one by one.
const KEYS_FEW: usize = 8;

impl<'a> Keys<'a> {
    /// Whether the key is new.
    fn insert(&mut self, key: Key<'a>) -> bool {
        if self.few.contains(&key) {
            return false;
        }
        if self.few.len() < KEYS_FEW {
            self.few.push(key);
            return true;
        }
        self.many.insert(key)
    }
}

fn no_nul<E: de::Error>(text: &str) -> Result<Portable, E> {
    if text.contains('\0') { Err(E::custom("a string holds U+0000")) } else { Ok(Portable) }
}

impl<'de> Deserialize<'de> for Portable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Portable;
            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Portable, E> {
                Ok(Portable)
            }
            fn visit_bool<E>(self, _: bool) -> Result<Portable, E> {
                Ok(Portable)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Portable, E> {
                Ok(Portable)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Portable, E> {
                Ok(Portable)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Portable, E> {
                Ok(Portable)
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Portable, E> {
                no_nul(text)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Portable, A::Error> {
                while items.next_element::<Portable>()?.is_some() {}
                Ok(Portable)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Portable, A::Error> {
                let mut keys = Keys::default();
                while let Some(key) = fields.next_key::<Key<'de>>()? {
                    no_nul::<A::Error>(&key.0)?;
                    fields.next_value::<Portable>()?;
                    if !keys.insert(key) {
                        return Err(de::Error::custom("an object holds a key twice"));
                    }
                }
                Ok(Portable)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

impl fmt::Debug for Meta {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What applications put here is theirs; logs show its size only.
        write!(out, "Meta({} bytes)", self.as_json().len())
    }
}

impl Serialize for Meta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            self.0.serialize(serializer)
        } else {
            serializer.serialize_str(self.as_json())
        }
    }
}

impl<'de> Deserialize<'de> for Meta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            Self::from_raw(Box::<RawValue>::deserialize(deserializer)?).map_err(de::Error::custom)
        } else {
            Self::from_json(&String::deserialize(deserializer)?).map_err(de::Error::custom)
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn meta_keeps_digits_and_order_and_loses_only_space() {
        let text = " { \"b\" : 0.12345678901234567890123 , \"a\" : [ 1e5, \"x \\\" y\\\\\" ] }\n";
        let meta = Meta::from_json(text).unwrap();
        assert_eq!(meta.as_json(), r#"{"b":0.12345678901234567890123,"a":[1e5,"x \" y\\"]}"#);
        assert_eq!(Meta::from_json(meta.as_json()).unwrap(), meta);
        assert_eq!(serde_json::from_str::<Meta>(text).unwrap(), meta);
        assert_eq!(serde_json::to_string(&meta).unwrap(), meta.as_json());
    }

    #[test]
    fn meta_refuses_what_some_reader_could_not_hold() {
        for text in [
            "[]",
            "1",
            "null",
            "",
            "{",
            r#"{"a":1e400}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"a":"\u0000"}"#,
            r#"{"\u0000":1}"#,
            r#"{"a":"\ud800"}"#,
            "{\"a\":\"\u{0}\"}",
            r#"{"a":1 2}"#,
            r#"{"a":tru e}"#,
        ] {
            assert!(Meta::from_json(text).is_err(), "{text}");
            assert!(serde_json::from_str::<Meta>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn meta_is_bounded_in_bytes_and_depth() {
        let sized = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
        assert!(Meta::from_json(&sized(META_MAX_BYTES)).is_ok());
        assert_eq!(Meta::from_json(&sized(META_MAX_BYTES + 1)), Err(InvalidMeta::TooLarge(META_MAX_BYTES + 1)));
        let deep = |depth: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(depth - 1), "]".repeat(depth - 1));
        assert!(Meta::from_json(&deep(META_MAX_DEPTH)).is_ok());
        assert_eq!(Meta::from_json(&deep(META_MAX_DEPTH + 1)), Err(InvalidMeta::TooDeep));
        assert_eq!(Meta::from_json(&deep(100_000)), Err(InvalidMeta::TooDeep));
    }

    #[test]
    fn a_key_is_found_twice_among_few_and_among_many() {
        for count in 1..20 {
            let fields: Vec<String> = (0..count).map(|number| format!("\"k{number}\":1")).collect();
            let text = |fields: &[String]| format!("{{{}}}", fields.join(","));
            assert!(Meta::from_json(&text(&fields)).is_ok());
            for repeated in &fields {
                let twice = [&fields[..], std::slice::from_ref(repeated)].concat();
                assert!(Meta::from_json(&text(&twice)).is_err(), "{repeated} of {count}");
            }
        }
    }

    #[test]
    fn strings_keep_every_byte_whatever_they_escape() {
        for string in ["", "ä€😀 b", r#"\""#, r"\\", r#"\\\""#, r" \n \u00e4 ", r#"a\" : { b"#] {
            let spaced = format!("{{ \"{string}\" : [ \"{string}\" ,\t\"x\" ] }}");
            let meta = Meta::from_json(&spaced).unwrap();
            assert_eq!(meta.as_json(), format!("{{\"{string}\":[\"{string}\",\"x\"]}}"));
        }
    }

    #[test]
    fn no_key_of_meta_is_magic() {
        let text = r#"{"$serde_json::private::RawValue":"{\"other\":1}"}"#;
        assert_eq!(Meta::from_json(text).unwrap().as_json(), text);
        assert_eq!(serde_json::from_str::<Meta>(text).unwrap().as_json(), text);
    }
}
