//! Free data of the application, carried and never looked into.

use std::collections::HashSet;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
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
#[derive(Clone, PartialEq, Eq)]
pub struct Meta(Box<str>);

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
        let raw: &RawValue = serde_json::from_str(text).map_err(|error| InvalidMeta::NotJson(error.to_string()))?;
        Self::from_raw(raw)
    }

    /// Takes what the parser found to be JSON, without yet having looked at its strings and numbers.
    fn from_raw(raw: &RawValue) -> Result<Self, InvalidMeta> {
        if !raw.get().trim_start().starts_with('{') {
            return Err(InvalidMeta::NotAnObject);
        }
        let text = compact(raw.get())?;
        // Small and shallow by now, so this recursion is bounded.
        serde_json::from_str::<Portable>(&text).map_err(|error| InvalidMeta::NotJson(error.to_string()))?;
        Ok(Self(text.into_boxed_str()))
    }

    /// Compact JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
    }
}

/// Valid JSON without the space between its tokens; looks at each byte once and holds no more than the limit. What is no
/// ASCII stands in strings only, so bytes are enough to see the tokens.
fn compact(text: &str) -> Result<String, InvalidMeta> {
    let mut out = String::with_capacity(text.len().min(META_MAX_BYTES));
    let (mut length, mut depth) = (0, 0_usize);
    let mut rest = text;
    while let Some(first) = rest.bytes().next() {
        let token = match first {
            b' ' | b'\t' | b'\n' | b'\r' => {
                rest = &rest[1..];
                continue;
            }
            b'"' => string_length(rest.as_bytes()),
            _ => {
                match first {
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                1
            }
        };
        if depth > META_MAX_DEPTH {
            return Err(InvalidMeta::TooDeep);
        }
        let (token, after) = rest.split_at(token);
        rest = after;
        length += token.len();
        if length <= META_MAX_BYTES {
            out.push_str(token);
        }
    }
    if length > META_MAX_BYTES { Err(InvalidMeta::TooLarge(length)) } else { Ok(out) }
}

/// Bytes of the string that a text begins with, both quotes included.
fn string_length(text: &[u8]) -> usize {
    let mut at = 1;
    while let Some(found) = text[at..].iter().position(|byte| matches!(byte, b'"' | b'\\')) {
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
struct Keys {
    few: Vec<String>,
    many: HashSet<String>,
}

/// Keys that are looked at one by one.
const KEYS_FEW: usize = 8;

impl Keys {
    /// Whether the key is new.
    fn insert(&mut self, key: String) -> bool {
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
                while let Some(key) = fields.next_key::<String>()? {
                    no_nul::<A::Error>(&key)?;
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
        write!(out, "Meta({} bytes)", self.0.len())
    }
}

impl Serialize for Meta {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            let raw: &RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
            raw.serialize(serializer)
        } else {
            serializer.serialize_str(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Meta {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            Self::from_raw(&Box::<RawValue>::deserialize(deserializer)?).map_err(de::Error::custom)
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
