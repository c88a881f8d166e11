//! The gateway as a real process that dies: killed, stopped, starved of its disk or of its database.
//!
//! Goal: whatever dies, no acknowledged message is lost, repeated or reordered, and the epoch stays. Method: clients that
//! come back and repeat what is unknown write everything down in the ledger, and the ledger judges.
//!
//! Reading order: `load` (who talks while things die), `kills`, `postgres_outage`, `durability` (what the kernel was asked,
//! which no kill can see), `stock`, `drain`, `disk`, `dead_peer`, `command_line`.
//!
//! By hand: `HALLWAY_TEST_KILLS=200` for more kills, `HALLWAY_TEST_SEED=…` to have the same moments again.
#![expect(clippy::disallowed_methods, reason = "tests read their own variables and own their tasks by joining them")]

mod command_line;
mod dead_peer;
mod disk;
mod drain;
mod durability;
mod kills;
mod load;
mod postgres_outage;
#[path = "../support/process.rs"]
mod process;
mod stock;
mod tool;

/// A variable of this test binary, or its default.
fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, which is no number")),
        Err(_) => default,
    }
}
