//! Webhooks: what is written in the store's outbox is delivered to the application, signed, at least once.
//!
//! A job is claimed (which counts as an attempt, for a lease), sent, and finished. Whoever dies in between loses it to others
//! when the lease is over, so a job is delivered at least once while it has attempts left, is never tried more often than it
//! may be, and is never stuck: in the end it is delivered or dead, and the dead can be replayed.
//!
//! Pure: `signature` (what proves that it is ours), `backoff` (when to try again), `breaker` (whether to try a target at all),
//! `address` (where it must not go), `verdict` (what an answer means), `pump` (what to claim next). Thin: `target` (secrets and
//! certificates of the configuration), `client` (one attempt), `dispatcher` (the loop).
//!
//! **Invariant:** a connection goes to an address that was checked, never to a name; redirects are not followed.
//!
//! **Invariant:** the places are bounded by `webhooks_in_flight_max`; a job is claimed only when it has one.
//!
//! **Invariant:** neither a body nor an answer is logged.

mod address;
mod backoff;
mod breaker;
mod client;
mod dispatcher;
mod pump;
mod signature;
mod target;
#[cfg(test)]
mod tests;
mod verdict;

pub use dispatcher::Webhooks;
pub use signature::{ATTEMPT_HEADER, JOB_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
pub use target::Targets;

use crate::config::SecretError;

/// Why webhooks cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error("webhooks.{name}.url is not set; example: https://app.example.com/hallway")]
    NoUrl { name: String },
    #[error("webhooks.{name}: TLS cannot be set up: {what}")]
    Tls { name: String, what: String },
}
