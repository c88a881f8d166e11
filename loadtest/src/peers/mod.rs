//! Hallway beside its peers: the same load against each, in one run, interleaved.
//!
//! All of them broadcast at most once to everybody else in a room and keep nothing, as Hallway's `signal` does; that is what is
//! compared. What Hallway alone does (durable publish) stands in a row of its own.
//!
//! Reading order: `adapters` (how each is spoken to), `bare` (the floor: a loop that does nothing else).

#[expect(dead_code, reason = "the comparison comes next")]
pub(crate) mod adapters;
pub(crate) mod bare;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::report::Outcome;
use crate::run::with_causes;

/// Runs `bare`; `None` when the first word is another.
pub(crate) fn main(word: &str, rest: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    if word != "bare" {
        return None;
    }
    let words = std::iter::once("loadtest bare".into()).chain(rest);
    let arguments = match bare::BareArguments::try_parse_from(words) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return Some(if error.use_stderr() { Outcome::Usage.into() } else { Outcome::Pass.into() });
        }
    };
    Some(match bare::run(&arguments) {
        Ok(()) => Outcome::Pass.into(),
        Err(error) => {
            eprintln!("loadtest: {}", with_causes(&error));
            Outcome::Error.into()
        }
    })
}
