//! Pure. What travels between nodes: frames in an envelope that says who sent it, that he knows the cluster's secret, and which of
//! his messages of this channel it is.
//!
//! ```text
//! magic u8 = 0x48 · major u8 · minor u8 · reserved u8 · sender u64 · counter u64
//! frames, each: kind u16 · length u32 · body
//! tag: the first 16 bytes of HMAC-SHA256(key, length of the channel's name u8 · its name · all bytes before the tag)
//! ```
//!
//! Numbers are big-endian. A node that knows a newer minor adds kinds of frames and nothing else: an older node opens the envelope
//! and skips the kinds it does not know. Another major is refused.
//!
//! Counters of a sender in a channel grow; a jump says that something was missed, and a message that is not newer than the last
//! one is refused. Both sides remember a bounded number of counters. A sealer that forgets one goes on above everything it forgot,
//! so it never counts backwards; an opener that forgets one takes the next message as the first: a replay of it would be opened
//! once more, which a bus may do anyway ([`super::Bus`]).
//!
//! **Invariant:** nothing but a message's own bytes, its channel and the counters decides about it, and no bytes can make it panic.
//!
//! **Invariant:** a message that was sealed for one channel is refused in every other.

mod counters;
mod key;
mod opener;
mod sealer;
#[cfg(test)]
mod tests;

use bytes::Bytes;

pub use key::{ClusterKey, SECRET_MIN_BYTES, SecretTooShort};
pub use opener::{Opened, Opener, Refused};
pub use sealer::{FrameTooLarge, Sealer};

/// Largest message, in bytes, envelope included: larger ones are neither sealed nor opened.
pub const MESSAGE_MAX_BYTES: usize = 1024 * 1024;
/// Most frames of a message: more are neither sealed nor opened.
pub const FRAMES_MAX: usize = 4_096;
/// Longest body of a frame, in bytes: with it, a message of one frame has its largest size.
pub const BODY_MAX_BYTES: usize = MESSAGE_MAX_BYTES - HEADER_BYTES - FRAME_HEADER_BYTES - TAG_BYTES;
/// Counters that a sealer or opener remembers, one for each channel (and sender); the ones not used for longest are forgotten.
pub const COUNTERS_MAX: usize = 65_536;

/// What this node writes; it opens every minor of its major.
pub const MAJOR: u8 = 1;
/// See [`MAJOR`].
pub const MINOR: u8 = 0;

const MAGIC: u8 = 0x48;
const HEADER_BYTES: usize = 20;
const FRAME_HEADER_BYTES: usize = 6;
const TAG_BYTES: usize = 16;

/// One thing that is told; what a kind means is its users' business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// What it is. A kind that is not known is to be skipped.
    pub kind: u16,
    /// What it says.
    pub body: Bytes,
}

impl Frame {
    /// What it takes of a message.
    const fn size_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.body.len()
    }
}
