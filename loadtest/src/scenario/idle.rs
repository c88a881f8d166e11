//! What a connection costs that does nothing.

use crate::arguments::raw::Idle;
use crate::report::Outcome;
use crate::run::Failure;

/// `loadtest idle`.
pub(crate) fn run(arguments: &Idle) -> Result<Outcome, Failure> {
    arguments.check()?;
    Err("idle is not there yet".into())
}
