//! Nobody receives, lists or resolves anything of a room when they are not allowed to.
//!
//! Goal: one judge for everything that a connection can get to see, whatever way it came. Method: random people join, leave, are
//! invited, removed and banned, and meanwhile write and ask everything that can be written and asked, often about rooms that are
//! none of their business, over real sockets. A warden is in every room from its beginning, so what the warden was told is each
//! room's log. At the end all that anybody saw is judged against the logs, by sequence numbers: a number lies in one of one's
//! memberships, or it does not.
//!
//! What stands in a room carries a mark, so that it is recognised in whatever frame it turns up. What a person was notified of
//! is judged by their own stream: it says when their memberships began and ended, in the order in which all of it was written.
//!
//! Reading order: `record` (what is noted), `judge` (pure), `crowd` (people and their devices), `writes` and `reads` (what they
//! do), `walk`.
#![allow(dead_code, reason = "several test binaries share it, and each uses another part")]

mod crowd;
pub(crate) mod judge;
mod reads;
pub(crate) mod record;
pub(crate) mod walk;
mod writes;
