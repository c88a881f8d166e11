//! The node's promises, proved in this process against real sockets. One file per group of promises; the harness is in
//! `tests/support`.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../support/allowed/mod.rs"]
mod allowed;
#[path = "../support/application.rs"]
mod application;
#[path = "../support/fault_store.rs"]
mod fault_store;
#[path = "../support/node.rs"]
mod node;
#[path = "../support/seat.rs"]
mod seat;
#[path = "../support/witness.rs"]
mod witness;

mod actions;
mod admission;
#[path = "allowed.rs"]
mod allowed_walks;
mod auth;
mod backlog;
mod bursts;
mod devices;
mod drain;
mod encodings;
mod fire;
mod heavy_sleepers;
mod heavy_storm;
mod held_up;
mod hostile;
mod http;
mod limits;
mod notifications;
mod one_read;
mod people;
mod postgres_tls;
mod presence;
mod recovery;
mod resolve;
mod rights;
mod slow_store;
mod sync;
mod tail;
mod tasks;
mod transcript;
mod webhooks;
mod wrong_input;
