//! Pure. The receiver's side of the envelope.

use bytes::{Buf as _, Bytes};

use super::counters::Counters;
use super::{
    COUNTERS_MAX, ClusterKey, FRAME_HEADER_BYTES, FRAMES_MAX, Frame, HEADER_BYTES, MAGIC, MAJOR, MESSAGE_MAX_BYTES,
    TAG_BYTES,
};
use crate::bus::Channel;
use crate::node::NodeId;

/// What an envelope held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Who sent it.
    pub sender: NodeId,
    /// The minor version that it was written in.
    pub minor: u8,
    /// Whether earlier messages of this sender in this channel were not heard, since one of them was.
    pub missed: bool,
    /// The frames, in the order they were given to the sealer. Their bodies are slices of the payload.
    pub frames: Vec<Frame>,
}

/// Why an envelope was not opened. Only [`Refused::Own`] belongs to everyday life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// It says that this node sent it: a channel that the node publishes to and follows brings back its own messages. Nothing
    /// about it was checked.
    #[error("it is the node's own")]
    Own,
    /// It is no envelope, or its frames do not fill it exactly.
    #[error("it is no envelope")]
    Malformed,
    /// It is larger than an envelope may be, or holds more frames.
    #[error("it is too large")]
    TooLarge,
    /// It has another major version.
    #[error("it has another version")]
    Version,
    /// Its tag is wrong: who sent it does not know the cluster's secret, or it was changed, or moved from another channel.
    #[error("its signature is wrong")]
    Signature,
    /// It is not newer than what was heard of its sender in this channel.
    #[error("it was heard before, or is older than what was")]
    Replayed,
}

impl Refused {
    /// The name of this reason in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Malformed => "malformed",
            Self::TooLarge => "too_large",
            Self::Version => "version",
            Self::Signature => "signature",
            Self::Replayed => "replayed",
        }
    }
}

/// Opens what one node hears.
#[derive(Debug)]
pub struct Opener {
    own: NodeId,
    key: ClusterKey,
    heard: Counters<(NodeId, Channel)>,
}

impl Opener {
    /// The opener of this node.
    #[must_use]
    pub fn new(own: NodeId, key: ClusterKey) -> Self {
        Self::remembering(own, key, COUNTERS_MAX)
    }

    /// As [`Opener::new`], with another bound than [`COUNTERS_MAX`].
    pub(super) fn remembering(own: NodeId, key: ClusterKey, counters_max: usize) -> Self {
        Self { own, key, heard: Counters::bounded(counters_max) }
    }

    /// Opens what was heard in a channel.
    ///
    /// # Errors
    /// Why it was refused; then nothing is remembered of it.
    pub fn open(&mut self, channel: &Channel, payload: &Bytes) -> Result<Opened, Refused> {
        let header = Header::read(payload)?;
        if header.sender == self.own {
            return Err(Refused::Own);
        }
        let sealed = payload.len() - TAG_BYTES;
        if !self.key.proves(channel, &payload[..sealed], &payload[sealed..]) {
            return Err(Refused::Signature);
        }
        let frames = read_frames(payload.slice(HEADER_BYTES..sealed))?;
        let from = (header.sender, channel.clone());
        let last = self.heard.get(&from);
        if last.is_some_and(|last| header.counter <= last) {
            return Err(Refused::Replayed);
        }
        self.heard.set(from, header.counter);
        let missed = last.is_some_and(|last| header.counter - last > 1);
        Ok(Opened { sender: header.sender, minor: header.minor, missed, frames })
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> usize {
        self.heard.len()
    }
}

struct Header {
    minor: u8,
    sender: NodeId,
    counter: u64,
}

impl Header {
    /// Everything that can be refused without the key.
    fn read(payload: &[u8]) -> Result<Self, Refused> {
        if payload.len() > MESSAGE_MAX_BYTES {
            return Err(Refused::TooLarge);
        }
        if payload.len() < HEADER_BYTES + TAG_BYTES || payload[0] != MAGIC {
            return Err(Refused::Malformed);
        }
        if payload[1] != MAJOR {
            return Err(Refused::Version);
        }
        let mut numbers = &payload[4..HEADER_BYTES];
        let sender = NodeId::from_number(numbers.get_u64());
        Ok(Self { minor: payload[2], sender, counter: numbers.get_u64() })
    }
}

fn read_frames(mut rest: Bytes) -> Result<Vec<Frame>, Refused> {
    let mut frames = Vec::new();
    while !rest.is_empty() {
        if frames.len() == FRAMES_MAX {
            return Err(Refused::TooLarge);
        }
        if rest.len() < FRAME_HEADER_BYTES {
            return Err(Refused::Malformed);
        }
        let kind = rest.get_u16();
        let length = usize::try_from(rest.get_u32()).map_err(|_| Refused::Malformed)?;
        if length > rest.len() {
            return Err(Refused::Malformed);
        }
        frames.push(Frame { kind, body: rest.split_to(length) });
    }
    Ok(frames)
}
