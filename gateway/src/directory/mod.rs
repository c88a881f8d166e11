//! Which nodes there are, which people have sockets on which of them, and how present they are.
//!
//! Everything here takes what was heard and the time, and returns what to say. Each node tells the others what changes at its
//! own door ([`Notice`]), numbered, so that who missed some of it notices and asks for the whole ([`Told::Ask`]). A node that
//! was not heard of for a lease is gone, with everybody on it. How many people of a large room are there travels the same way
//! ([`RoomCounts`]) while somebody asks for it, so that nobody has to walk through its members.
//!
//! **Invariant:** what is said here is a hint: a stale entry makes something late, never lost.
//!
//! **Invariant:** what a node tells does not depend on rooms: a person who comes costs one change, told to everybody once.
//!
//! **Invariant:** a node's table is replaced at once or not at all; nobody sees half a snapshot.
//!
//! Reading order: `notice` (what travels), `table` (who is where), `peer` (how far we have heard a node), `own` (what we have
//! yet to tell), `interest` (which rooms are counted), `state` (all of it together).
//!
//! A node id is drawn at each start, so a node that starts again is another node: numbers of one id only grow, and a table of
//! version 0 is empty. Whoever is heard for the first time therefore needs to be asked only if it has told anything before.

mod interest;
mod notice;
mod own;
mod peer;
#[cfg(test)]
mod simulation;
mod state;
mod table;
#[cfg(test)]
mod tests;

pub use notice::{Devices, Notice, RoomCounts, Told};
pub use state::Directory;

use std::time::Duration;

/// Nodes that are known at once. Others are not heard until one of them is gone.
pub const NODES_MAX: usize = 256;
/// Changes in one delta. What is more waits for the next one.
pub const DELTA_CHANGES_MAX: usize = 1_000;
/// Entries in one part of a snapshot.
pub const SNAPSHOT_PART_ENTRIES_MAX: usize = 1_000;
/// Parts of one snapshot that are taken: a node with more people than that is known by its deltas only.
pub const SNAPSHOT_PARTS_MAX: u32 = 4_096;
/// Changes of one node that are kept until what lies before them is known. More are forgotten, and asked for later.
pub const KEPT_CHANGES_MAX: usize = 65_536;
/// Deltas of one node that are kept likewise.
pub const KEPT_DELTAS_MAX: usize = 1_024;
/// A node is not asked again before this, and twice as long each time that it did not help.
pub const ASK_PAUSE_MIN: Duration = Duration::from_millis(500);
/// The longest pause between two asks.
pub const ASK_PAUSE_MAX: Duration = Duration::from_secs(8);
/// A node that asks again sooner is not answered: what it asked for is on its way.
pub const ANSWER_PAUSE: Duration = Duration::from_millis(200);
/// Large rooms that are counted at once. Of more, the counts are said to be incomplete.
pub const ROOMS_WANTED_MAX: usize = 256;
