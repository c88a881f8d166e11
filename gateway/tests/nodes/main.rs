//! Several nodes in this process, on one Postgres: what goes between them, and what does not.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "the kit is shared with other test binaries, which use other parts of it")]

#[path = "../support/fault_store.rs"]
mod fault_store;
#[path = "../support/node.rs"]
mod node;
#[path = "../support/seat.rs"]
mod seat;

mod fault_bus;
mod house;

mod asking;
mod fast_path;
mod forged;
mod notifications;
mod outage;
mod presence;
mod redis;
mod roll;
mod threshold;
