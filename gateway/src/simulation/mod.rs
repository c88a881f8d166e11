//! Deterministic simulation: a whole cluster on a virtual clock, made from one number.
//!
//! Several nodes on one store, with clients that connect, resume, lag, hang up and move, rooms whose members change, a bus that
//! delays, repeats, reorders, loses and goes deaf, a store that is slow, fails before a commit, says nothing after one, and
//! locks, and nodes that are killed at any step, also between commit and publish and between publish and acknowledgement.
//!
//! What decides is the real thing: `hub` as a whole (owners with their sequencers, lanes with their pairs, rings, people),
//! `connection::outbound` with its backlog, `service::sync_plan`, `session::catch_up`, both codecs, and the client's
//! `Positions`. What waits is written here as things that happen: `node` (loops of owners, lanes and sessions, the tail),
//! `door` (hello), `writer`. Each says what it stands for. `store` is a model, `profile` what a seed makes of a run.
//!
//! Invariants are checked with every frame that a client takes (I2, I4, I5, I8), after the last fault (I7: everything settled
//! and everyone at the head in time), and by the ledger at the end (I1 to I6, I8).
//!
//! A seed that fails is run again with all that happens: `HALLWAY_SIMULATION_SEED=123 cargo nextest run -p hallway-gateway
//! --lib whatever_fails --no-capture`. `HALLWAY_SIMULATION_SEEDS=20000` runs more of them.

mod client;
mod door;
mod node;
mod profile;
mod run;
mod socket;
mod store;
#[cfg(test)]
mod tests;
mod world;
mod writer;

use hallway_protocol::Epoch;

/// The store's one life.
fn epoch() -> Epoch {
    Epoch::new("simulated").expect("an epoch's name")
}
