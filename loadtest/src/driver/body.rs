//! Stamped bodies: what is published, and how it is found again in whatever a server makes of it.
//!
//! A body is ASCII letters and digits: the marker, the publisher (8 hex digits), its sequence number (8), the intended send
//! time in nanoseconds of `CLOCK_MONOTONIC` (16), and a filler that follows from those three. The marker's first letter
//! occurs nowhere else in a body, so a scan never starts in the middle of one.

use memchr::memmem;

const MARKER: &[u8; 4] = b"HWLT";
/// Marker, publisher, sequence number, time.
pub(crate) const STAMP_BYTES: usize = 36;
/// Fillers begin at one of this many places of one text.
const FILLER_STARTS: usize = 64;
const FILLER_LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// What a body says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) publisher: u32,
    pub(crate) sequence: u32,
    pub(crate) due_ns: u64,
}

impl Stamp {
    fn filler_start(self) -> usize {
        let mixed = self.publisher.wrapping_mul(31) ^ self.sequence.wrapping_mul(7) ^ (self.due_ns as u32);
        mixed as usize % FILLER_STARTS
    }
}

/// Writes and finds the bodies of one run, which all have the same length.
pub(crate) struct Bodies {
    length: usize,
    filler: Vec<u8>,
    finder: memmem::Finder<'static>,
}

impl Bodies {
    /// Bodies of `length` bytes, or the shortest there are.
    pub(crate) fn new(length: usize) -> Self {
        let length = length.max(STAMP_BYTES);
        // Neighbouring places differ over their whole length.
        let filler = (0..length + FILLER_STARTS)
            .map(|at| FILLER_LETTERS[(at * 5 + at / FILLER_LETTERS.len() * 3) % FILLER_LETTERS.len()])
            .collect();
        Self { length, filler, finder: memmem::Finder::new(MARKER) }
    }

    fn filler_of(&self, stamp: Stamp) -> &[u8] {
        &self.filler[stamp.filler_start()..][..self.length - STAMP_BYTES]
    }

    /// Replaces `out` by the body of a stamp.
    pub(crate) fn write(&self, stamp: Stamp, out: &mut String) {
        use std::fmt::Write as _;
        out.clear();
        let Stamp { publisher, sequence, due_ns } = stamp;
        // Writing to a string cannot fail, and the filler is ASCII.
        let _ = write!(out, "HWLT{publisher:08x}{sequence:08x}{due_ns:016x}");
        out.extend(self.filler_of(stamp).iter().map(|letter| char::from(*letter)));
    }

    /// Reads a whole body, marker included; `None` when its filler does not follow from its stamp.
    fn read(&self, body: &[u8]) -> Option<Stamp> {
        let publisher = hex(body, 4);
        let sequence = hex(body, 12);
        let due_ns = u64::from(hex(body, 20)) << 32 | u64::from(hex(body, 28));
        let stamp = Stamp { publisher, sequence, due_ns };
        (body[STAMP_BYTES..] == *self.filler_of(stamp)).then_some(stamp)
    }

    /// Finds all bodies that end in `chunk`, the next piece of a stream of which `partial` is an unfinished body's beginning.
    /// Something that begins as a body and does not go on as one is found as `None`.
    pub(crate) fn scan(&self, partial: &mut Vec<u8>, chunk: &[u8], mut found: impl FnMut(Option<Stamp>)) {
        let mut rest = chunk;
        if !partial.is_empty() {
            let taken = rest.len().min(self.length - partial.len());
            partial.extend_from_slice(&rest[..taken]);
            let marker = partial.len().min(MARKER.len());
            if partial[..marker] != MARKER[..marker] {
                // A piece of the marker that was none; no other can have begun in it.
                partial.clear();
            } else if partial.len() < self.length {
                return;
            } else {
                found(self.read(partial));
                partial.clear();
                rest = &rest[taken..];
            }
        }
        while let Some(start) = self.finder.find(rest) {
            rest = &rest[start..];
            let Some(body) = rest.get(..self.length) else {
                partial.extend_from_slice(rest);
                return;
            };
            found(self.read(body));
            rest = &rest[self.length..];
        }
        for taken in (1..MARKER.len()).rev() {
            if rest.ends_with(&MARKER[..taken]) {
                partial.extend_from_slice(&MARKER[..taken]);
                return;
            }
        }
    }
}

/// Eight lower-case hexadecimal digits at once. Other letters give some number: the filler tells.
fn hex(body: &[u8], at: usize) -> u32 {
    let mut eight = [0; 8];
    eight.copy_from_slice(&body[at..at + 8]);
    let letters = u64::from_be_bytes(eight);
    let low = letters & 0x0f0f_0f0f_0f0f_0f0f;
    let is_letter = (letters >> 6) & 0x0101_0101_0101_0101;
    let nibbles = low.wrapping_add(is_letter.wrapping_mul(9)) & 0x0f0f_0f0f_0f0f_0f0f;
    let bytes = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
    let words = (bytes | bytes >> 8) & 0x0000_ffff_0000_ffff;
    ((words | words >> 16) & 0xffff_ffff) as u32
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn body_of(bodies: &Bodies, stamp: Stamp) -> Vec<u8> {
        let mut out = String::new();
        bodies.write(stamp, &mut out);
        out.into_bytes()
    }

    fn any_stamp() -> impl Strategy<Value = Stamp> {
        (any::<u32>(), any::<u32>(), any::<u64>()).prop_map(|(publisher, sequence, due_ns)| Stamp {
            publisher,
            sequence,
            due_ns,
        })
    }

    /// Text between bodies: also pieces of the marker, but never all of it.
    fn noise() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![Just(b"HWL".to_vec()), Just(b"HHW".to_vec()), Just(Vec::new()), Just(br#"{"text":""#.to_vec())]
    }

    proptest! {
        #[test]
        fn bodies_are_found_wherever_they_lie_and_however_they_are_cut(
            pieces in prop::collection::vec((noise(), any_stamp()), 0..12),
            length in 30_usize..200,
            cuts in prop::collection::vec(1_usize..90, 1..40),
        ) {
            let bodies = Bodies::new(length);
            let mut stream = Vec::new();
            for (noise, stamp) in &pieces {
                stream.extend_from_slice(noise);
                stream.extend_from_slice(&body_of(&bodies, *stamp));
            }
            let (mut partial, mut seen, mut at, mut cut) = (Vec::new(), Vec::new(), 0, cuts.iter().cycle());
            while at < stream.len() {
                let end = (at + cut.next().unwrap()).min(stream.len());
                bodies.scan(&mut partial, &stream[at..end], |stamp| seen.push(stamp.unwrap()));
                at = end;
            }
            let stamps: Vec<Stamp> = pieces.iter().map(|(_, stamp)| *stamp).collect();
            prop_assert_eq!(seen, stamps);
            prop_assert!(partial.is_empty());
        }

        #[test]
        fn a_changed_letter_of_the_filler_is_seen(stamp in any_stamp(), at in STAMP_BYTES..128) {
            let bodies = Bodies::new(128);
            let mut body = body_of(&bodies, stamp);
            body[at] = body[at].wrapping_add(1);
            let mut seen = Vec::new();
            bodies.scan(&mut Vec::new(), &body, |stamp| seen.push(stamp));
            prop_assert_eq!(seen, vec![None]);
        }
    }

    #[test]
    fn a_body_is_letters_and_digits_of_the_length_that_was_asked_for() {
        let body = body_of(&Bodies::new(128), Stamp { publisher: u32::MAX, sequence: 0xabc_def0, due_ns: u64::MAX });
        assert_eq!(body.len(), 128);
        assert!(body.iter().all(u8::is_ascii_alphanumeric));
        assert_eq!(body.iter().filter(|letter| **letter == MARKER[0]).count(), 1);
    }
}
