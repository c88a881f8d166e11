//! Pure. The sender's side of the envelope.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::counters::Counters;
use super::{
    BODY_MAX_BYTES, COUNTERS_MAX, ClusterKey, FRAME_HEADER_BYTES, FRAMES_MAX, Frame, HEADER_BYTES, MAGIC, MAJOR,
    MESSAGE_MAX_BYTES, MINOR, TAG_BYTES,
};
use crate::bus::Channel;
use crate::node::NodeId;

/// A frame that fits into no message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a frame of kind {kind} has {length} bytes, at most {BODY_MAX_BYTES} fit into a message between nodes")]
pub struct FrameTooLarge {
    /// Its kind.
    pub kind: u16,
    /// The length of its body, in bytes.
    pub length: usize,
}

/// Seals what one node sends. There is one for each node: two would count twice.
#[derive(Debug)]
pub struct Sealer {
    node: NodeId,
    key: ClusterKey,
    counters: Counters<Channel>,
    major: u8,
    minor: u8,
}

impl Sealer {
    /// The sealer of this node.
    #[must_use]
    pub fn new(node: NodeId, key: ClusterKey) -> Self {
        Self::remembering(node, key, COUNTERS_MAX)
    }

    /// As [`Sealer::new`], with another bound than [`COUNTERS_MAX`].
    pub(super) fn remembering(node: NodeId, key: ClusterKey, counters_max: usize) -> Self {
        Self { node, key, counters: Counters::bounded(counters_max), major: MAJOR, minor: MINOR }
    }

    /// Seals as another version would, to see how this one takes it.
    #[must_use]
    pub fn of_version(mut self, major: u8, minor: u8) -> Self {
        (self.major, self.minor) = (major, minor);
        self
    }

    /// Seals frames for a channel, in their order: one message when they fit into one, as few as possible when they do not, and
    /// none for none.
    ///
    /// # Errors
    /// When one of the frames fits into no message; then none is sealed.
    pub fn seal_all(&mut self, channel: &Channel, frames: &[Frame]) -> Result<Vec<Bytes>, FrameTooLarge> {
        if let Some(frame) = frames.iter().find(|frame| frame.body.len() > BODY_MAX_BYTES) {
            return Err(FrameTooLarge { kind: frame.kind, length: frame.body.len() });
        }
        let mut messages = Vec::with_capacity(1);
        let mut rest = frames;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(fitting(rest));
            messages.push(self.seal_fitting(channel, now));
            rest = later;
        }
        Ok(messages)
    }

    /// Seals one frame for a channel.
    ///
    /// # Errors
    /// When it fits into no message.
    pub fn seal(&mut self, channel: &Channel, frame: Frame) -> Result<Bytes, FrameTooLarge> {
        if frame.body.len() > BODY_MAX_BYTES {
            return Err(FrameTooLarge { kind: frame.kind, length: frame.body.len() });
        }
        Ok(self.seal_fitting(channel, &[frame]))
    }

    fn seal_fitting(&mut self, channel: &Channel, frames: &[Frame]) -> Bytes {
        let last = self.counters.get(channel).unwrap_or_else(|| self.counters.forgotten_max());
        let counter = last + 1;
        self.counters.set(channel.clone(), counter);

        let size = HEADER_BYTES + frames.iter().map(Frame::size_bytes).sum::<usize>() + TAG_BYTES;
        let mut message = BytesMut::with_capacity(size);
        message.put_slice(&[MAGIC, self.major, self.minor, 0]);
        message.put_u64(self.node.number());
        message.put_u64(counter);
        for frame in frames {
            message.put_u16(frame.kind);
            // A body that fits into a message has far fewer than 2³² bytes.
            message.put_u32(u32::try_from(frame.body.len()).unwrap_or(u32::MAX));
            message.put_slice(&frame.body);
        }
        let tag = self.key.tag(channel, &message);
        message.put_slice(&tag);
        message.freeze()
    }
}

/// How many of these frames fit into one message: at least one, when none is too large for itself.
fn fitting(frames: &[Frame]) -> usize {
    let mut left = MESSAGE_MAX_BYTES - HEADER_BYTES - TAG_BYTES;
    let mut count = 0;
    for frame in frames.iter().take(FRAMES_MAX) {
        let Some(after) = left.checked_sub(FRAME_HEADER_BYTES + frame.body.len()) else { break };
        left = after;
        count += 1;
    }
    count.max(1)
}
