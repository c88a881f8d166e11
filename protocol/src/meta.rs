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

/// Valid JSON without the space between its tokens; looks at each byte once and holds no more than the limit.
fn compact(text: &str) -> Result<String, InvalidMeta> {
    let mut out = String::with_capacity(text.len().min(META_MAX_BYTES));
    let (mut bytes, mut depth, mut in_string, mut escaped) = (0, 0_usize, false, false);
    for character in text.chars() {
        if in_string {
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else {
            match character {
                ' ' | '\t' | '\n' | '\r' => continue,
                '"' => in_string = true,
                '{' | '[' => depth += 1,
                '}' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        if depth > META_MAX_DEPTH {
            return Err(InvalidMeta::TooDeep);
        }
        bytes += character.len_utf8();
        if bytes <= META_MAX_BYTES {
            out.push(character);
        }
    }
    if bytes > META_MAX_BYTES { Err(InvalidMeta::TooLarge(bytes)) } else { Ok(out) }
}

/// Reads any JSON and keeps nothing: the parser refuses wide numbers and lone surrogates, this refuses the rest.
/// (`Value` would do neither of the latter, and takes one magic key as JSON to be parsed again.)
struct Portable;

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
                let mut keys = HashSet::new();
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
    fn no_key_of_meta_is_magic() {
        let text = r#"{"$serde_json::private::RawValue":"{\"other\":1}"}"#;
        assert_eq!(Meta::from_json(text).unwrap().as_json(), text);
        assert_eq!(serde_json::from_str::<Meta>(text).unwrap().as_json(), text);
    }
}
