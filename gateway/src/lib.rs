//! The Hallway node as a library. `main` is thin.
//!
//! A module may use only what is below it (`tests/tidy.rs` checks every `use crate::`):
//!
//! ```text
//! cli         arguments → config → telemetry → server::run → exit code
//! server      composition root, accept loop, drain: the only one that knows everybody
//! http        upgrade, health, metrics
//! session     one connection's life: handshake, command loop, teardown
//! service     the use cases: the only place where hub and store meet
//! hub, auth   strangers to each other (and so will be the bus and the directory of a cluster)
//! connection  one connection's outbound side
//! config, telemetry, tasks   usable by all
//! ```
pub mod auth;
pub mod cli;
pub mod config;
pub mod connection;
pub mod http;
pub mod hub;
pub mod server;
pub mod service;
pub mod session;
pub mod tasks;
pub mod telemetry;
