//! Raw load: thousands of sockets on one thread, in several worker processes, for measuring the server and not the client.
//!
//! Reading order: [`adapter`] (how one kind of server is spoken to), [`body`] (what is published, and how it is found
//! again), [`frame`] (WebSocket), [`job`] (what coordinator and workers say to each other), [`crowd`] (who is where),
//! [`ledger`] (was everything delivered once, in order), [`talk`] (when what is sent), [`connect`] (when who connects),
//! [`connection`] (one socket), [`engine`] (the loop), [`worker`] (the process around it), [`fleet`] (all workers together).
//!
//! **Invariant:** a room is never divided between workers, so a worker's ledger sees the whole of it.
//!
//! **Invariant:** every body that arrives is counted, checked and timed; nothing is sampled.

pub(crate) mod adapter;
mod body;
pub(crate) mod clock;
mod connect;
mod connection;
pub(crate) mod crowd;
mod engine;
pub(crate) mod fleet;
mod frame;
pub(crate) mod hallway;
pub(crate) mod histogram;
pub(crate) mod job;
mod ledger;
mod talk;
mod tally;
pub(crate) mod worker;
