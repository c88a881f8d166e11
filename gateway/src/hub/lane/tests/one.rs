//! One connection in one stream.

use std::sync::Arc;

use hallway_protocol::codec::Codec;
use hallway_protocol::event::{MemberRemoved, RoomArchived};
use hallway_protocol::frame::{Reset, ResetReason};
use hallway_protocol::{Epoch, Event, EventBody, Seq, StreamId, UserId};
use proptest::prelude::*;

use super::super::{Lane, LaneAttach, LaneMessage, PageForPair};
use super::{Socket, connect, lane};
use crate::hub::ring::RingBounds;
use crate::hub::{Connection, LiveEvent, Ring};
use crate::telemetry::metrics::Metrics;

struct Scene {
    lane: Lane,
    metrics: Arc<Metrics>,
    socket: Arc<Socket>,
    connection: Arc<Connection>,
    ring: Arc<Ring>,
}

fn stream() -> StreamId {
    "room:lobby".parse().unwrap()
}

fn scene(backlog_max_bytes: u64) -> Scene {
    let (metrics, _) = Metrics::new().unwrap();
    let socket = Arc::new(Socket::default());
    let connection = connect(1, "ben", Codec::Postcard, Arc::clone(&socket) as _, backlog_max_bytes, &metrics);
    let mut lane = lane(&metrics);
    lane.take(LaneMessage::Register(Arc::clone(&connection)));
    // One event and no more: everything older is read from the log.
    let ring = Arc::new(Ring::new(&RingBounds::new(1, 1 << 20, Arc::clone(&metrics))));
    Scene { lane, metrics, socket, connection, ring }
}

fn event(seq: Seq, body: EventBody) -> Arc<LiveEvent> {
    Arc::new(LiveEvent::new(Event { stream: stream(), seq, at_ms: 0, body }))
}

fn note(seq: Seq) -> Arc<LiveEvent> {
    event(seq, EventBody::RoomArchived(RoomArchived { by: UserId::new("ada").unwrap() }))
}

impl Scene {
    fn attach(&mut self, next: Seq, joined_seq: Seq, cursor: Seq, reset: bool) {
        let epoch = Epoch::new("e").unwrap();
        let reset = reset.then(|| Reset { stream: stream(), epoch, seq: next - 1, reason: ResetReason::Joined });
        let (connection, ring) = (self.connection.id, Arc::clone(&self.ring));
        self.lane.take(LaneMessage::Attach(LaneAttach {
            stream: stream(),
            connection,
            next,
            joined_seq,
            cursor,
            ring,
            reset,
            missed: Vec::new(),
            again: false,
        }));
    }

    /// What the session does: reads at most `most` events of the log for each stream that is Behind.
    fn serve(&mut self, head: Seq, most: u64) {
        for behind in self.connection.take_behind(8) {
            let events = (behind.next..=head).take(usize::try_from(most).unwrap()).map(note).collect();
            let (connection, stream) = (self.connection.id, behind.stream);
            let page = PageForPair { connection, stream, from: behind.next, reset: None, gone: false, events };
            self.lane.take(LaneMessage::Page(page));
        }
    }
}

#[test]
fn who_is_removed_and_comes_back_within_one_drain_hears_both() {
    let mut scene = scene(1 << 16);
    scene.socket.open(usize::MAX);
    scene.attach(1, 0, 0, false);
    let user = UserId::new("ben").unwrap();
    let removed = EventBody::MemberRemoved(MemberRemoved { by: user.clone(), user });
    scene.lane.take(LaneMessage::Event(event(1, removed)));
    scene.lane.take(LaneMessage::Event(note(2)));
    scene.attach(3, 3, 2, true);
    scene.lane.take(LaneMessage::Event(note(3)));
    scene.lane.serve_round(512);
    assert_eq!(scene.socket.said(), [1, -2, 3]);
}

#[test]
fn numbers_of_an_old_epoch_do_not_hide_those_of_the_new() {
    let mut scene = scene(1 << 16);
    scene.socket.open(usize::MAX);
    scene.attach(100, 0, 99, false);
    scene.lane.take(LaneMessage::Event(note(100)));
    scene.lane.take(LaneMessage::Drop(stream()));
    scene.attach(8, 0, 7, true);
    scene.lane.take(LaneMessage::Event(note(8)));
    scene.lane.serve_round(512);
    assert_eq!(scene.socket.said(), [100, -7, 8]);
}

#[derive(Debug, Clone)]
enum Turn {
    /// Events reach the lane; some are lost on the way to it.
    Events(Vec<bool>),
    Flush,
    /// The client reads so much.
    Reads(usize),
    Pages(u64),
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        3 => prop::collection::vec(prop::bool::weighted(0.9), 1..20).prop_map(Turn::Events),
        2 => Just(Turn::Flush),
        2 => (0..600_usize).prop_map(Turn::Reads),
        2 => (1..10_u64).prop_map(Turn::Pages),
    ]
}

proptest! {
    /// Slow or not, with events lost on the way to the lane or not: what the client gets is dense and in the end complete.
    #[test]
    fn a_client_gets_a_dense_sequence_and_in_the_end_all_of_it(turns in prop::collection::vec(turn(), 0..60), start in 1..5_u64) {
        let mut scene = scene(300);
        let mut head = 0;
        scene.attach(start, 0, 0, false);
        for turn in turns {
            match turn {
                Turn::Events(arrive) => for arrives in arrive {
                    head += 1;
                    scene.ring.push(&note(head));
                    if arrives { scene.lane.take(LaneMessage::Event(note(head))); }
                },
                Turn::Flush => scene.lane.serve_round(512),
                Turn::Reads(bytes) => { scene.socket.open(bytes); scene.connection.outbound.flush(); }
                Turn::Pages(most) => if scene.connection.outbound.is_half_empty() { scene.serve(head, most) },
            }
        }
        // The client reads on, and the owner says how far the stream has come.
        scene.lane.serve_round(512);
        scene.lane.take(LaneMessage::Head(stream(), head));
        for _ in 0..=2 * head {
            scene.socket.open(1 << 20);
            scene.connection.outbound.flush();
            scene.serve(head, 5);
            scene.lane.serve_round(512);
        }
        let expected: Vec<i64> = (start..=head).map(|seq| i64::try_from(seq).unwrap()).collect();
        prop_assert_eq!(scene.socket.said(), expected);
        prop_assert_eq!(scene.metrics.backlog_bytes.get(), 0);
    }
}
