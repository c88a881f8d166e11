//! The node's promises, proved in this process against real sockets. One file per group of promises; the harness is in
//! `tests/support`.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../support/fault_store.rs"]
mod fault_store;
#[path = "../support/node.rs"]
mod node;
#[path = "../support/seat.rs"]
mod seat;

mod auth;
mod backlog;
mod devices;
mod drain;
mod hostile;
mod http;
mod limits;
mod recovery;
mod slow_store;
mod sync;
mod wrong_input;
