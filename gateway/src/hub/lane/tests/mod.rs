//! A lane without its task: orders go in, frames come out of sockets that take as much as the test wants.
//!
//! `one` is a connection in one stream, `left` is how pairs begin and end, `many` are several in two streams with all that can happen to them, `turns` is who
//! works on the lane and how much at a time.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

mod left;
mod many;
mod one;
mod turns;

use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, PoisonError};

use hallway_protocol::codec::{Codec, Received, decode_frame};
use hallway_protocol::{ServerFrame, UserId};

use super::Lane;
use crate::connection::{Budget, Outbound, Wire};
use crate::hub::facade::Owners;
use crate::hub::{Connection, ConnectionId, Diary};
use crate::telemetry::metrics::Metrics;

/// Takes `room_bytes` more bytes and keeps them.
#[derive(Default)]
struct Socket {
    inner: Mutex<(usize, Vec<u8>)>,
}

impl Socket {
    fn open(&self, room_bytes: usize) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).0 = room_bytes;
    }

    /// The whole frames that came.
    fn frames(&self, codec: Codec) -> Vec<ServerFrame> {
        let bytes = self.inner.lock().unwrap_or_else(PoisonError::into_inner).1.clone();
        let mut rest = &bytes[..];
        let mut frames = Vec::new();
        while rest.len() > 2 {
            let (start, length) = match rest[1] {
                126 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
                short => (2, usize::from(short)),
            };
            if rest.len() < start + length {
                break;
            }
            match decode_frame(codec, &rest[start..start + length]).unwrap() {
                Received::Frame(frame) => frames.push(frame),
                other => panic!("unexpected frame {other:?}"),
            }
            rest = &rest[start + length..];
        }
        frames
    }

    /// Numbers of events, and resets as (reset to) with a minus.
    fn said(&self) -> Vec<i64> {
        let number = |frame| match frame {
            ServerFrame::Event(event) => i64::try_from(event.seq).unwrap(),
            ServerFrame::Reset(reset) => -i64::try_from(reset.seq).unwrap(),
            other => panic!("unexpected frame {other:?}"),
        };
        self.frames(Codec::Postcard).into_iter().map(number).collect()
    }
}

impl Wire for Socket {
    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut written = 0;
        for slice in slices {
            let taken = slice.len().min(inner.0);
            inner.0 -= taken;
            inner.1.extend_from_slice(&slice[..taken]);
            written += taken;
        }
        if written == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(written) }
    }
}

#[test]
fn a_further_room_of_a_connection_costs_its_lane_24_bytes() {
    assert_eq!(size_of::<super::pairs::Pair>() + size_of::<super::tables::Seat>(), 24);
    // A connection without rooms, apart from what others need of it too.
    assert_eq!(size_of::<Option<super::tables::Follower>>(), 64);
}

/// A connection on any wire.
fn connect(
    id: u64,
    user: &str,
    codec: Codec,
    wire: Arc<dyn Wire>,
    backlog_max_bytes: u64,
    metrics: &Arc<Metrics>,
) -> Arc<Connection> {
    let budget = Arc::new(Budget::new(u64::MAX, Arc::clone(metrics)));
    let outbound = Outbound::new(wire, backlog_max_bytes, budget);
    Arc::new(Connection::new(ConnectionId(id), UserId::new(user).unwrap(), codec, Arc::new(outbound)))
}

/// A lane whose owners nobody listens to.
fn lane(metrics: &Arc<Metrics>) -> Lane {
    Lane::new(0, Arc::new(Owners::new(1, 16)), Arc::clone(metrics), Diary::new(16, Arc::clone(metrics)))
}
