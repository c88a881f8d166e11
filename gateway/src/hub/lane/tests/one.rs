//! One connection in one stream.

use std::sync::Arc;

use hallway_protocol::codec::Codec;
use hallway_protocol::event::{MemberRemoved, RoomArchived};
use hallway_protocol::frame::{Reset, ResetReason};
use hallway_protocol::{Epoch, Event, EventBody, Seq, ServerFrame, StreamId, UserId};
use proptest::prelude::*;

use super::super::{Lane, LaneAttach, LaneMessage, PageForPair};
use super::{Socket, connect, lane};
use crate::hub::ring::RingBounds;
use crate::hub::{Behind, Connection, LiveEvent, Ring};
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

fn reset_to(seq: Seq, reason: ResetReason) -> Reset {
    Reset { stream: stream(), epoch: Epoch::new("e").unwrap(), seq, reason }
}

impl Scene {
    fn attach(&mut self, next: Seq, joined_seq: Seq, cursor: Seq, reset: bool) {
        self.attach_again(next, joined_seq, cursor, reset, false);
    }

    fn attach_again(&mut self, next: Seq, joined_seq: Seq, cursor: Seq, reset: bool, again: bool) {
        let reset = reset.then(|| reset_to(next - 1, ResetReason::Joined));
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
            again,
        }));
    }

    /// What the session does: reads at most `most` events of the log for each stream that is Behind.
    fn serve(&mut self, head: Seq, most: u64) {
        for behind in self.connection.take_behind(8) {
            let events = (behind.next..=head).take(usize::try_from(most).unwrap()).map(note).collect();
            let (connection, stream) = (self.connection.id, behind.stream);
            let page = PageForPair {
                connection,
                stream,
                from: behind.next,
                joined_seq: behind.joined_seq,
                reset: None,
                is_over: false,
                events,
            };
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

/// What a page says when the log no longer has what it was asked for: everything up to `trimmed` is gone.
fn trimmed_page(scene: &Scene, behind: Behind, trimmed: Seq, is_over: bool) -> LaneMessage {
    LaneMessage::Page(PageForPair {
        connection: scene.connection.id,
        stream: behind.stream,
        from: behind.next,
        joined_seq: behind.joined_seq,
        reset: Some(reset_to(trimmed, ResetReason::Trimmed)),
        is_over,
        events: vec![note(trimmed + 1), note(trimmed + 2)],
    })
}

#[test]
fn a_page_that_was_trimmed_goes_on_for_a_membership_of_which_something_is_left_and_says_nothing_to_one_that_is_over() {
    // The membership began at 30. The reader is in its past, which the room shows, or within it.
    for (from, trimmed, served) in [(5, 20, [-20, 21, 22, 23]), (40, 60, [-60, 61, 62, 63])] {
        for (is_over, expected) in [(false, &served[..]), (true, &[])] {
            let mut scene = scene(1 << 16);
            scene.socket.open(usize::MAX);
            scene.attach(from, 30, trimmed + 2, false);
            let wanted = scene.connection.take_behind(8).pop().unwrap();
            assert_eq!((wanted.next, wanted.joined_seq), (from, 30));
            let page = trimmed_page(&scene, wanted, trimmed, is_over);
            scene.lane.take(page);
            scene.lane.take(LaneMessage::Event(note(trimmed + 3)));
            scene.lane.serve_round(512);
            assert_eq!(scene.socket.said(), expected, "from {from}, over {is_over}");
        }
    }
}

#[test]
fn a_page_that_was_read_for_an_earlier_membership_is_read_again_for_the_present_one() {
    let mut scene = scene(1 << 16);
    scene.socket.open(usize::MAX);
    scene.attach(5, 30, 62, false);
    let of_the_earlier = scene.connection.take_behind(8).pop().unwrap();
    scene.attach_again(5, 50, 62, false, true);
    let _ = scene.connection.take_behind(8);
    let page = trimmed_page(&scene, of_the_earlier.clone(), 60, true);
    scene.lane.take(page);
    let wanted = scene.connection.take_behind(8);
    assert_eq!(wanted, [Behind { joined_seq: 50, ..of_the_earlier }]);
    assert_eq!(scene.socket.said(), [0; 0]);
}

#[test]
fn a_sync_of_a_membership_that_ended_meanwhile_does_not_replace_the_present_one() {
    let mut scene = scene(1 << 16);
    scene.socket.open(usize::MAX);
    // Back since 7; the sync saw the store when they were in the room since 1, and left at 6.
    scene.attach(7, 7, 6, true);
    scene.lane.take(LaneMessage::Event(note(7)));
    let targets = std::iter::once((stream(), 4)).collect();
    let (connection, epoch, begun) = (scene.connection.id, Epoch::new("e").unwrap(), std::time::Instant::now());
    scene.lane.take(LaneMessage::Watch { connection, epoch, targets, begun });
    scene.attach_again(3, 1, 7, false, true);
    scene.lane.take(LaneMessage::Event(note(8)));
    scene.lane.serve_round(512);
    let frames = scene.socket.frames(Codec::Postcard);
    let [ServerFrame::Reset(reset), ServerFrame::Event(joined), ServerFrame::SyncEnd(end), ServerFrame::Event(live)] =
        &frames[..]
    else {
        panic!("{frames:?}")
    };
    assert_eq!((reset.seq, joined.seq, end.positions[0].seq, live.seq), (6, 7, 7, 8));
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
