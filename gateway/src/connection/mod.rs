//! One connection's two sides: what it sends, and how what it receives becomes messages.
//!
//! Anyone may append frames to an [`Outbound`] at any time without waiting: what the kernel takes goes out at once, the
//! rest waits in a backlog that is bounded in bytes and that the connection's own task finishes when the socket is
//! writable. Frames leave whole and in the order in which they were appended, whoever appended them: lanes, replies, or
//! the answers to control frames. A [`Reader`] makes messages of the inbound bytes; it writes nothing.
//!
//! What is appended is a *run*: one frame, or several whole ones in one piece of memory that many connections share.
//!
//! **Invariant:** nothing here waits, and no frame is ever cut: a partly written frame stays at the front.
//!
//! **Invariant:** stream events are refused when the backlog is full (their pair turns Behind); replies and control
//! frames are never refused, and the task that causes them stops reading while the backlog is over its bound.
//!
//! Reading order: `frames` (bytes of a WebSocket frame), `backlog` (pure), `outbound`, `budget`, `reader`.

mod backlog;
mod budget;
mod frames;
mod outbound;
mod reader;
#[cfg(test)]
mod tests;

pub use budget::Budget;
pub use frames::{Encoded, close_frame, data_frame, ping_frame};
pub use outbound::{Outbound, Pushed, Wire};
pub use reader::{Decoder, Left, Message, ReadEnd, Reader, Refusal, SCRATCH_BYTES, echoed_close_frame, pong_frame};
