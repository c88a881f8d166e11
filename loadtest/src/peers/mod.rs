//! Hallway beside its peers: the same load against each, in one run, interleaved.
//!
//! All of them broadcast at most once to everybody else in a room and keep nothing, as Hallway's `signal` does; that is what is
//! compared. What Hallway alone does (durable publish) stands in a row of its own.
//!
//! Reading order: [`kind`] (who), [`shape`] (which loads), [`adapters`] (how each is spoken to), [`installed`] (what is there),
//! [`server`] (starting and ending one), [`measure`] (one measurement), [`table`] (medians and ratios), [`compare`] (all of
//! it); [`bare`] is the floor, a loop that does nothing else.
//!
//! **Invariant:** every measurement has a server of its own, so nobody pays for an earlier load.
//!
//! **Invariant:** what is missing or fails is named, and the others are measured all the same.

pub(crate) mod adapters;
pub(crate) mod bare;
pub(crate) mod compare;
pub(crate) mod installed;
mod kind;
mod measure;
mod server;
mod shape;
mod table;
