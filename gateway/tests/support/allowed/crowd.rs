//! People and their devices: connections, where they stand, and what came to them.

use std::collections::HashMap;

use hallway_protocol::{Position, Seq, ServerFrame, StreamId};

use super::super::node::{PATIENCE, TestNode};
use super::super::seat::Seat;

/// Who is in every room from its beginning, and hears everything.
pub(super) const WARDEN: usize = 0;
/// No `admin` and no `notify`: rights come from roles alone.
const SCOPE: &str = "read write rooms:create";

/// A person and their connections.
pub(super) struct Person {
    pub(super) name: String,
    pub(super) devices: Vec<Device>,
}

/// One connection.
pub(super) struct Device {
    pub(super) seat: Seat,
    pub(super) positions: HashMap<StreamId, Seq>,
}

impl Device {
    /// Connects, from these positions, and takes the whole sync.
    pub(super) async fn connect(node: &TestNode, name: &str, positions: Vec<Position>) -> Self {
        let mut options = node.options(name);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        options.token = node.token_with(name, SCOPE, now.as_secs() + 3_600);
        options.positions = positions;
        let mut seat = node.enter(&options).await;
        let ends = seat.synced().await;
        let mut device = Self { seat, positions: HashMap::new() };
        for end in ends {
            device.positions.insert(end.stream, end.seq);
        }
        device
    }

    /// What came and nobody has looked at, in order.
    pub(super) fn absorb(&mut self) -> Vec<ServerFrame> {
        let frames: Vec<ServerFrame> = self.seat.unread.drain(..).collect();
        for frame in &frames {
            match frame {
                ServerFrame::Event(event) => self.reached(event.stream.clone(), event.seq),
                ServerFrame::Reset(reset) => self.reached(reset.stream.clone(), reset.seq),
                _ => {}
            }
        }
        frames
    }

    fn reached(&mut self, stream: StreamId, seq: Seq) {
        let held = self.positions.entry(stream).or_default();
        *held = seq.max(*held);
    }

    /// Whether everything up to there has come, by what was absorbed and what waits.
    fn has(&self, stream: &StreamId, seq: Seq) -> bool {
        let waits = self
            .seat
            .unread
            .iter()
            .any(|frame| matches!(frame, ServerFrame::Event(event) if event.stream == *stream && event.seq >= seq));
        waits || self.positions.get(stream).is_some_and(|held| *held >= seq)
    }

    /// Waits until a stream came up to there.
    pub(super) async fn reaches(&mut self, stream: &StreamId, seq: Seq) {
        let until = tokio::time::Instant::now() + PATIENCE;
        while !self.has(stream, seq) {
            assert!(tokio::time::Instant::now() < until, "{stream} never came up to {seq}");
            // Its answer comes behind what was sent before; what it brings waits in the seat.
            self.seat.ping().await;
        }
    }
}
