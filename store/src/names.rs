//! How what people say is compared with names: pure rules, the same for every back end.
//!
//! Case does not matter, in any script. A name or an id is meant by itself, by its beginning, and by the beginning of one of its
//! words. Back ends keep what [`entries`] says beside each name, and find what begins with a [`fold`]ed phrase.

use std::collections::BTreeSet;

/// Text as it is compared: in small letters, without space around it.
#[must_use]
pub fn fold(text: &str) -> String {
    text.trim().to_lowercase()
}

/// Under what a name is found: by all of it, and by each of its words; folded, sorted, without repeats.
#[must_use]
pub fn entries(name: &str) -> Vec<String> {
    let whole = fold(name);
    let words = whole.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty());
    let mut entries: BTreeSet<String> = words.map(str::to_owned).collect();
    if !whole.is_empty() {
        entries.insert(whole);
    }
    entries.into_iter().collect()
}

/// Whether something with this id and name is meant by a folded phrase: `Some(true)` when it is all of the id or name.
#[must_use]
pub fn meant(phrase: &str, id: &str, name: Option<&str>) -> Option<bool> {
    let id = fold(id);
    if phrase.is_empty() {
        return None;
    }
    if id == phrase || name.is_some_and(|name| fold(name) == phrase) {
        return Some(true);
    }
    let begins =
        id.starts_with(phrase) || name.is_some_and(|name| entries(name).iter().any(|entry| entry.starts_with(phrase)));
    begins.then_some(false)
}

/// How likely something is meant: the least is the likeliest. All of an id or name comes before its beginning, what is of the
/// room that is spoken in before others, then it goes by name (without one, by id).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    beginning: bool,
    elsewhere: bool,
    name: String,
    id: String,
}

impl Rank {
    /// Of something with this id and name; `None` when it is not meant by the folded phrase.
    #[must_use]
    pub fn of(phrase: &str, (id, name): (&str, Option<&str>), of_room: bool) -> Option<Self> {
        let exactly = meant(phrase, id, name)?;
        Some(Self { beginning: !exactly, elsewhere: !of_room, name: fold(name.unwrap_or(id)), id: id.to_owned() })
    }
}

/// The first and the last id of 16 bytes whose text begins with a folded phrase; `None` when no id's does.
#[must_use]
pub fn uuids(phrase: &str) -> Option<([u8; 16], [u8; 16])> {
    const TEXT: &str = "00000000-0000-0000-0000-000000000000";
    if phrase.is_empty() || !phrase.is_ascii() || phrase.len() > TEXT.len() {
        return None;
    }
    let whole = |fill: &str| {
        let rest = TEXT[phrase.len()..].replace('0', fill);
        uuid::Uuid::try_parse(&format!("{phrase}{rest}")).ok().map(uuid::Uuid::into_bytes)
    };
    Some((whole("0")?, whole("f")?))
}

/// Text that is greater than every text that begins with `phrase`, and than no other that is greater than `phrase`.
#[must_use]
pub fn beyond(phrase: &str) -> String {
    // No text holds a greater character: it is no letter and never will be.
    format!("{phrase}\u{10FFFF}")
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_name_is_found_by_its_words_in_any_case_and_script() {
        assert_eq!(entries(" Book the ROOM (2nd) "), ["2nd", "book", "book the room (2nd)", "room", "the"]);
        assert_eq!(entries("ÉLODIE"), ["élodie"]);
        assert_eq!(entries("—"), ["—"]);
        assert!(entries("  ").is_empty());
    }

    #[test]
    fn what_is_said_is_all_of_a_name_or_its_beginning_or_that_of_a_word() {
        let name = Some("Anna Berg");
        assert_eq!(meant("anna berg", "u1", name), Some(true));
        assert_eq!(meant("u1", "U1", name), Some(true));
        for beginning in ["anna b", "an", "berg", "be", "u"] {
            assert_eq!(meant(beginning, "u1", name), Some(false), "{beginning}");
        }
        for other in ["nna", "a b", "erg", "1", "", "anna bergs"] {
            assert_eq!(meant(other, "u1", name), None, "{other}");
        }
    }

    #[test]
    fn what_is_meant_exactly_comes_first_then_what_is_here_then_by_name() {
        let rank = |id: &str, name: &str, here| Rank::of("ann", (id, Some(name)), here).unwrap();
        let order = [
            rank("u9", "ANN", true),
            rank("u1", "Ann", false),
            rank("u8", "Annika", true),
            rank("u3", "Anna", false),
            rank("u4", "Anna", false),
            rank("ann.1", "Zoe", false),
        ];
        assert!(order.is_sorted(), "{order:?}");
        assert_eq!(Rank::of("ann", ("u1", None), true), None);
    }

    #[test]
    fn the_beginning_of_an_id_names_a_range_of_ids() {
        let (first, last) = uuids("0190a").unwrap();
        assert_eq!((&first[..4], &last[..4]), (&[0x01, 0x90, 0xa0, 0][..], &[0x01, 0x90, 0xaf, 0xff][..]));
        let whole = "0190a0b1-c2d3-7e4f-8a9b-0c1d2e3f4a5b";
        let (first, last) = uuids(whole).unwrap();
        assert_eq!((first, uuid::Uuid::from_bytes(first).to_string().as_str()), (last, whole));
        for none in ["", "x", "0190a0b1c", "é", "0190a0b1-c2d3-7e4f-8a9b-0c1d2e3f4a5b0", "-"] {
            assert_eq!(uuids(none), None, "{none:?}");
        }
    }

    #[test]
    fn all_that_begins_with_a_phrase_lies_below_what_is_beyond_it() {
        for begins in ["ann", "anna", "annz", "ann\u{10FFFE}z"] {
            assert!(begins >= "ann" && begins < beyond("ann").as_str(), "{begins:?}");
        }
        assert!("ano" > beyond("ann").as_str());
    }
}
