//! What the wire promises: what was released stays, what is encoded comes back, what is hostile is refused, and the
//! document says what the code does.

#![expect(clippy::disallowed_methods, reason = "tests read their seed from the environment")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod arguments;
mod document;
mod fixtures;
mod hostile;
mod measured;
mod properties;
mod samples;
mod strategies;
