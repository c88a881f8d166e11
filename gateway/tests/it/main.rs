//! The node's promises, proved in this process against real sockets. One file per group of promises; the harness is in
//! `tests/support`.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

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

mod admission;
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
mod people;
mod presence;
mod recovery;
mod rights;
mod slow_store;
mod sync;
mod tail;
mod transcript;
mod webhooks;
mod wrong_input;
