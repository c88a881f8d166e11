//! How pairs begin and end, and what their streams' owners hear of it.

use std::sync::Arc;

use hallway_protocol::codec::Codec;
use hallway_protocol::event::MemberRemoved;
use hallway_protocol::{Event, EventBody, Seq, StreamId, UserId};
use proptest::prelude::*;

use super::super::{Lane, LaneAttach, LaneMessage};
use super::{Socket, connect};
use crate::hub::facade::Owners;
use crate::hub::owner::OwnerMessage;
use crate::hub::ring::RingBounds;
use crate::hub::{ConnectionId, Diary, LiveEvent, Ring};
use crate::telemetry::metrics::Metrics;

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
        let mut lane = Lane::new(0, Arc::clone(&owners), Arc::clone(&metrics), Diary::new(1, Arc::clone(&metrics)));
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
                    let missed = Vec::new();
                    lane.take(LaneMessage::Attach(LaneAttach { stream, connection, next, joined_seq, cursor, ring, reset, missed, again }));
                }
                Order::Forget(connection) => {
                    lane.take(LaneMessage::Forget(ConnectionId(connection)));
                    known[usize::try_from(connection).unwrap()] = false;
                }
                Order::Register(connection) => {
                    if !std::mem::replace(&mut known[usize::try_from(connection).unwrap()], true) {
                        let socket = Arc::new(Socket::default());
                        socket.open(usize::MAX);
                        let user = format!("u{connection}");
                        let connection = connect(connection, &user, Codec::Postcard, socket, 1 << 16, &metrics);
                        lane.take(LaneMessage::Register(connection));
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
                Order::Flush => lane.serve_round(usize::MAX),
            }
        }
        lane.serve_round(usize::MAX);
        let mut told = Vec::new();
        owners.of(&streams[0]).take(&mut told, usize::MAX);
        for message in told {
            let OwnerMessage::Left(0, stream) = message else { panic!("the lane says only who left") };
            attached[streams.iter().position(|known| *known == stream).unwrap()] -= 1;
        }
        prop_assert_eq!(attached, [0, 0, 0]);
    }
}
