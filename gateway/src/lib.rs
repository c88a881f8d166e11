//! The Hallway node as a library. `main` is thin.
//!
//! A module may use only what is below it (`tests/tidy.rs` checks every `use crate::`):
//!
//! ```text
//! cli         arguments → config → telemetry → server::run → exit code
//! server      composition root, accept loop, drain: the only one that knows everybody
//! http        upgrade, health, metrics
//! session     one connection's life: handshake, command loop, teardown
//! service     the use cases: the only place where hub, bus, directory and store meet
//! hub, bus, directory, auth, outbox   strangers to each other
//! connection  one connection's outbound side
//! config, node, sabotage, telemetry, tasks, tls   usable by all
//! simulation  (tests only) a cluster of the pure cores under a seeded clock, bus and store
//! ```
pub mod admission;
pub mod auth;
pub mod bus;
pub mod cli;
pub mod config;
pub mod connection;
pub mod directory;
pub mod http;
pub mod hub;
pub mod node;
pub mod outbox;
pub mod sabotage;
pub mod server;
pub mod service;
pub mod session;
#[cfg(test)]
mod simulation;
pub mod tasks;
pub mod telemetry;
pub mod tls;
