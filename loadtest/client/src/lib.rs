//! Hallway's Rust client, and the ledger that checks what a node promised.
//!
//! Reading order:
//! 1. [`token`]: makes tokens for development and tests.
//! 2. [`connection`]: one WebSocket, nothing in the background: every read and write is the caller's.
//! 3. [`positions`]: pure: where a client stands in each stream, and what each frame does to that.
//! 4. [`client`]: a background task on top that keeps the positions, reconnects and resumes.
//! 5. [`ledger`]: what clients did and saw, and whether the promise was kept.
//!
//! **Invariant:** only `event`, `reset` and `sync_end` move a position; an acknowledgement never does.
//!
//! **Invariant:** a command whose outcome is unknown is repeated with the same nonce, never with a new one.

pub mod client;
pub mod connection;
mod error;
pub mod ledger;
pub mod positions;
pub mod token;

pub use client::{Client, ClientSettings, Events, Notice, Observer, State};
pub use connection::{ConnectOptions, Connection};
pub use error::{ClientError, End, RequestError};
pub use positions::{Positions, Step};
