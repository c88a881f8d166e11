//! Takes a TOML text apart into keys, values and lines.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::fault::{Fault, Source};
use super::keys::{self, Raw};

/// A value that somebody gave for a key.
#[derive(Debug, Clone)]
pub(super) struct Given {
    /// `section.key`
    pub(super) key: String,
    pub(super) value: Raw,
    pub(super) source: Source,
}

/// Every key of the text, or why it is no TOML.
pub(super) fn read(path: &Path, text: &str) -> Result<Vec<Given>, Fault> {
    let table = DeTable::parse(text).map_err(|error| Fault {
        problem: format!("the file is not TOML: {}", error.message()),
        source: Source::File(path.to_owned(), error.span().map_or(1, |span| line_of(text, span.start))),
        advice: "`hallway print-config` shows a whole file".to_owned(),
    })?;
    let mut given = Vec::new();
    walk(path, text, "", table.get_ref(), &mut given);
    Ok(given)
}

fn walk(path: &Path, text: &str, prefix: &str, table: &DeTable<'_>, given: &mut Vec<Given>) {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
        match value.get_ref() {
            // Only sections are tables, and the targets in one of them; a deeper one is a value of the wrong type.
            DeValue::Table(inner) if prefix.is_empty() || prefix == keys::WEBHOOKS => {
                walk(path, text, &key, inner, given)
            }
            other => given.push(Given {
                key,
                value: raw(other),
                source: Source::File(path.to_owned(), line_of(text, name.span().start)),
            }),
        }
    }
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Boolean(flag) => Raw::Flag(*flag),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Raw::Number(number),
            Err(_) => Raw::Other(number.to_string()),
        },
        DeValue::Array(items) => {
            let texts: Option<Vec<String>> =
                items.iter().map(|item: &Spanned<DeValue<'_>>| item.get_ref().as_str().map(str::to_owned)).collect();
            texts.map_or_else(|| Raw::Other("a list of other things than strings".to_owned()), Raw::List)
        }
        other => Raw::Other(format!("a {}", other.type_str())),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}
