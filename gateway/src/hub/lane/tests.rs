//! A lane without its task: orders go in, frames come out of a socket that takes as much as the test wants.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

use std::io::{self, IoSlice};
use std::sync::{Mutex, PoisonError};

use hallway_protocol::codec::{Codec, Received, decode_frame};
use hallway_protocol::event::{MemberRemoved, RoomArchived};
use hallway_protocol::frame::ResetReason;
use hallway_protocol::{Event, EventBody, UserId};
use proptest::prelude::*;

use super::*;
use crate::connection::{Budget, Outbound, Wire};
use crate::hub::ring::RingBounds;

/// Takes `room_bytes` more bytes and keeps them.
#[derive(Default)]
struct Socket {
    inner: Mutex<(usize, Vec<u8>)>,
}

impl Socket {
    fn open(&self, room_bytes: usize) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).0 = room_bytes;
    }

    /// What came: numbers of events, and resets as (reset to) with a minus.
    fn said(&self) -> Vec<i64> {
        let bytes = self.inner.lock().unwrap_or_else(PoisonError::into_inner).1.clone();
        let mut rest = &bytes[..];
        let mut said = Vec::new();
        while rest.len() > 2 {
            let (start, length) = match rest[1] {
                126 => (4, usize::from(u16::from_be_bytes([rest[2], rest[3]]))),
                short => (2, usize::from(short)),
            };
            if rest.len() < start + length {
                break;
            }
            match decode_frame(Codec::Postcard, &rest[start..start + length]).unwrap() {
                Received::Frame(ServerFrame::Event(event)) => said.push(i64::try_from(event.seq).unwrap()),
                Received::Frame(ServerFrame::Reset(reset)) => said.push(-i64::try_from(reset.seq).unwrap()),
                other => panic!("unexpected frame {other:?}"),
            }
            rest = &rest[start + length..];
        }
        said
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
    let budget = Arc::new(Budget::new(u64::MAX));
    let outbound = Outbound::new(Arc::clone(&socket) as _, backlog_max_bytes, budget, Arc::clone(&metrics));
    let user = UserId::new("ben").unwrap();
    let connection = Arc::new(Connection::new(ConnectionId(1), user, Codec::Postcard, Arc::new(outbound)));
    let mut lane = Lane::new(0, Arc::new(Inbox::new(16)), Arc::new(Owners::new(1, 16)), Arc::clone(&metrics));
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
    scene.lane.flush_touched();
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
    scene.lane.flush_touched();
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
                Turn::Flush => scene.lane.flush_touched(),
                Turn::Reads(bytes) => { scene.socket.open(bytes); scene.connection.outbound.flush(); }
                Turn::Pages(most) => if scene.connection.outbound.is_half_empty() { scene.serve(head, most) },
            }
        }
        // The client reads on, and the owner says how far the stream has come.
        scene.lane.flush_touched();
        scene.lane.take(LaneMessage::Head(stream(), head));
        for _ in 0..=2 * head {
            scene.socket.open(1 << 20);
            scene.connection.outbound.flush();
            scene.serve(head, 5);
            scene.lane.flush_touched();
        }
        let expected: Vec<i64> = (start..=head).map(|seq| i64::try_from(seq).unwrap()).collect();
        prop_assert_eq!(scene.socket.said(), expected);
        prop_assert_eq!(scene.metrics.backlog_bytes.get(), 0);
    }
}

/// What happens to the connections of a lane, as far as it begins or ends pairs. Streams and connections are 0, 1, ….
#[derive(Debug, Clone)]
enum Order {
    Attach {
        connection: u64,
        stream: usize,
        joined_seq: Seq,
        again: bool,
    },
    Forget(u64),
    Register(u64),
    Drop(usize),
    /// The person of this connection is removed.
    Removed {
        connection: u64,
        stream: usize,
    },
    Flush,
}

fn order() -> impl Strategy<Value = Order> {
    prop_oneof![
        6 => (0..3_u64, 0..3_usize, 0..3_u64, prop::bool::ANY).prop_map(|(connection, stream, joined_seq, again)| {
            Order::Attach { connection, stream, joined_seq, again }
        }),
        1 => (0..3_u64).prop_map(Order::Forget),
        2 => (0..3_u64).prop_map(Order::Register),
        1 => (0..3_usize).prop_map(Order::Drop),
        2 => (0..3_u64, 0..3_usize).prop_map(|(connection, stream)| Order::Removed { connection, stream }),
        1 => Just(Order::Flush),
    ]
}

proptest! {
    /// However pairs begin and end, the owner hears of each attach's end exactly once.
    #[test]
    fn each_attach_ends_exactly_once(orders in prop::collection::vec(order(), 0..80)) {
        let streams: Vec<StreamId> = (0..3).map(|number| format!("room:r{number}").parse().unwrap()).collect();
        let (metrics, _) = Metrics::new().unwrap();
        let owners = Arc::new(Owners::new(1, 16));
        let mut lane = Lane::new(0, Arc::new(Inbox::new(16)), Arc::clone(&owners), Arc::clone(&metrics));
        let ring = Arc::new(Ring::new(&RingBounds::new(1, 1 << 20, Arc::clone(&metrics))));
        let mut attached = [0_i64; 3];
        let mut cursors = [0_u64; 3];
        let mut known = [false; 3];
        let orders = orders.into_iter().chain((0..3).map(Order::Forget));
        for order in orders {
            match order {
                Order::Attach { connection, stream, joined_seq, again } => {
                    attached[stream] += 1;
                    let (cursor, ring) = (cursors[stream], Arc::clone(&ring));
                    let (stream, connection, reset) = (streams[stream].clone(), ConnectionId(connection), None);
                    let next = cursor + 1;
                    lane.take(LaneMessage::Attach(LaneAttach { stream, connection, next, joined_seq, cursor, ring, reset, again }));
                }
                Order::Forget(connection) => {
                    lane.take(LaneMessage::Forget(ConnectionId(connection)));
                    known[usize::try_from(connection).unwrap()] = false;
                }
                Order::Register(connection) => {
                    if !std::mem::replace(&mut known[usize::try_from(connection).unwrap()], true) {
                        let socket = Arc::new(Socket::default());
                        socket.open(usize::MAX);
                        let outbound =
                            Outbound::new(socket, 1 << 16, Arc::new(Budget::new(u64::MAX)), Arc::clone(&metrics));
                        let user = UserId::new(&format!("u{connection}")).unwrap();
                        let id = ConnectionId(connection);
                        let connection = Connection::new(id, user, Codec::Postcard, Arc::new(outbound));
                        lane.take(LaneMessage::Register(Arc::new(connection)));
                    }
                }
                Order::Drop(stream) => lane.take(LaneMessage::Drop(streams[stream].clone())),
                Order::Removed { connection, stream } => {
                    cursors[stream] += 1;
                    let user = UserId::new(&format!("u{connection}")).unwrap();
                    let body = EventBody::MemberRemoved(MemberRemoved { by: user.clone(), user });
                    let event = Event { stream: streams[stream].clone(), seq: cursors[stream], at_ms: 0, body };
                    lane.take(LaneMessage::Event(Arc::new(LiveEvent::new(event))));
                }
                Order::Flush => lane.flush_touched(),
            }
        }
        lane.flush_touched();
        let mut told = Vec::new();
        owners.of(&streams[0]).take(&mut told, usize::MAX);
        for message in told {
            let OwnerMessage::Left(0, stream) = message else { panic!("the lane says only who left") };
            attached[streams.iter().position(|known| *known == stream).unwrap()] -= 1;
        }
        prop_assert_eq!(attached, [0, 0, 0]);
    }
}
