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

/// Text that is greater than every text that begins with `phrase`, and than no other that is greater than `phrase`.
#[must_use]
pub fn beyond(phrase: &str) -> String {
    // No text holds a greater character: it is no letter and never will be.
    format!("{phrase}\u{10FFFF}")
}

#[cfg(test)]
mod tests {
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
    fn all_that_begins_with_a_phrase_lies_below_what_is_beyond_it() {
        for begins in ["ann", "anna", "annz", "ann\u{10FFFE}z"] {
            assert!(begins >= "ann" && begins < beyond("ann").as_str(), "{begins:?}");
        }
        assert!("ano" > beyond("ann").as_str());
    }
}
