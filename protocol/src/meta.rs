//! Free data of the application, carried and never looked into.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer};
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// Largest encoded size, in bytes of compact JSON.
pub const META_MAX_BYTES: usize = 4096;
/// Deepest nesting.
pub const META_MAX_DEPTH: usize = 16;

/// An object in JSON, a length-prefixed string of compact JSON in postcard: at most 4 KiB, at most 16 deep.
/// (`serde_json::Value` itself encodes in postcard and then fails to decode.)
#[derive(Clone, PartialEq, Eq)]
pub struct Meta(Box<str>);

/// Why something is no [`Meta`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMeta {
    #[error("meta must be a JSON object")]
    NotAnObject,
    #[error("meta is not JSON: {0}")]
    NotJson(String),
    #[error("meta has {0} bytes; at most 4096 are allowed")]
    TooLarge(usize),
    #[error("meta is nested deeper than 16 levels")]
    TooDeep,
}

fn depth_exceeds(value: &Value, left: usize) -> bool {
    match value {
        Value::Array(items) => left == 0 || items.iter().any(|item| depth_exceeds(item, left - 1)),
        Value::Object(fields) => left == 0 || fields.values().any(|field| depth_exceeds(field, left - 1)),
        _ => false,
    }
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
        if depth_exceeds(value, META_MAX_DEPTH) {
            return Err(InvalidMeta::TooDeep);
        }
        let text = value.to_string();
        if text.len() > META_MAX_BYTES {
            return Err(InvalidMeta::TooLarge(text.len()));
        }
        Ok(Self(text.into_boxed_str()))
    }

    /// Parses compact JSON text, as the store keeps it.
    ///
    /// # Errors
    /// [`InvalidMeta`] when it is not JSON, no object, too large or too deep.
    pub fn from_json(text: &str) -> Result<Self, InvalidMeta> {
        if text.len() > META_MAX_BYTES * 2 {
            return Err(InvalidMeta::TooLarge(text.len()));
        }
        let value: Value = serde_json::from_str(text).map_err(|error| InvalidMeta::NotJson(error.to_string()))?;
        Self::from_value(&value)
    }

    /// Compact JSON text.
    #[must_use]
    pub fn as_json(&self) -> &str {
        &self.0
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
            Self::from_value(&Value::deserialize(deserializer)?).map_err(de::Error::custom)
        } else {
            Self::from_json(&String::deserialize(deserializer)?).map_err(de::Error::custom)
        }
    }
}
