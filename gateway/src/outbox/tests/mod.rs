//! Webhooks against a server of our own on the loopback, and an outbox in memory that keeps the store's contract.
//!
//! `kit` is both of these; `requests` is what one attempt sends, takes and refuses (`tls`: whom it trusts);
//! `delivering` is the loop.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

mod delivering;
mod kit;
mod requests;
mod tls;
