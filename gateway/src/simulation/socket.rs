//! A socket in memory: takes so many bytes until its client has read them.

use std::io::{self, IoSlice};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hallway_protocol::codec::{Codec, Received, decode_frame};

use crate::connection::Wire;

#[derive(Debug)]
pub(super) struct Socket {
    room_bytes: usize,
    bytes: Mutex<Vec<u8>>,
}

impl Socket {
    pub(super) fn new(room_bytes: usize) -> Self {
        Self { room_bytes, bytes: Mutex::default() }
    }

    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the client would find something.
    pub(super) fn has_bytes(&self) -> bool {
        !self.bytes().is_empty()
    }

    /// The client reads everything; the node can write again.
    pub(super) fn read(&self) -> Vec<u8> {
        std::mem::take(&mut *self.bytes())
    }
}

impl Wire for Socket {
    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut bytes = self.bytes();
        let mut written = 0;
        for slice in slices {
            let taken = slice.len().min(self.room_bytes - bytes.len());
            bytes.extend_from_slice(&slice[..taken]);
            written += taken;
        }
        if written == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(written) }
    }
}

/// Takes the whole frames off the front of what a client has read.
pub(super) fn frames(codec: Codec, unread: &mut Vec<u8>) -> Vec<Received> {
    let mut frames = Vec::new();
    let mut at = 0;
    while let Some((start, length)) = header(&unread[at..])
        && unread.len() >= at + start + length
    {
        let content = &unread[at + start..at + start + length];
        frames.push(decode_frame(codec, content).expect("a node sends frames that can be read"));
        at += start + length;
    }
    unread.drain(..at);
    frames
}

/// Where the content of a frame begins, and its length.
fn header(bytes: &[u8]) -> Option<(usize, usize)> {
    match *bytes.get(1)? {
        127 => {
            let length = u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?);
            Some((10, usize::try_from(length).ok()?))
        }
        126 => Some((4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?)))),
        short => Some((2, usize::from(short))),
    }
}
