//! Several connections in two streams: they come, go, are removed, read slowly or not, and ask again, in any order.

use std::sync::Arc;

use hallway_protocol::codec::Codec;
use hallway_protocol::event::{MemberRemoved, RoomArchived};
use hallway_protocol::frame::{Reset, ResetReason, SignalFrame};
use hallway_protocol::{Epoch, Event, EventBody, RoomId, Seq, ServerFrame, StreamId, UserId};
use proptest::prelude::*;

use super::super::{Lane, LaneAttach, LaneMessage, PageForPair};
use super::{Socket, connect, lane};
use crate::connection::Encoded;
use crate::hub::ring::RingBounds;
use crate::hub::{Connection, LiveEvent, Ring};
use crate::telemetry::metrics::Metrics;

const PEOPLE: usize = 6;
const ROOMS: usize = 2;
const BACKLOG_BYTES: u64 = 260;

#[derive(Debug, Clone)]
enum Turn {
    /// An event reaches the lane, or is lost on the way to it.
    Event {
        room: usize,
        lost: bool,
    },
    Signal {
        room: usize,
        except: Option<usize>,
    },
    Removal {
        room: usize,
        who: usize,
    },
    /// A person comes (or comes back) into a room.
    Join {
        room: usize,
        who: usize,
    },
    /// A connection asks for everything after some number.
    Sync {
        room: usize,
        who: usize,
        back: u64,
    },
    /// The lane hands out what is queued to so many.
    Round(usize),
    Reads {
        who: usize,
        bytes: usize,
    },
    Pages {
        who: usize,
        most: usize,
    },
    Leaves(usize),
}

fn turn() -> impl Strategy<Value = Turn> {
    let (room, who) = (0..ROOMS, 0..PEOPLE);
    prop_oneof![
        12 => (room.clone(), prop::bool::weighted(0.05)).prop_map(|(room, lost)| Turn::Event { room, lost }),
        6 => (room.clone(), prop::option::of(who.clone())).prop_map(|(room, except)| Turn::Signal { room, except }),
        1 => (room.clone(), who.clone()).prop_map(|(room, who)| Turn::Removal { room, who }),
        2 => (room.clone(), who.clone()).prop_map(|(room, who)| Turn::Join { room, who }),
        2 => (room, who.clone(), 0..4_u64).prop_map(|(room, who, back)| Turn::Sync { room, who, back }),
        8 => (1..9_usize).prop_map(Turn::Round),
        6 => (who.clone(), 0..600_usize).prop_map(|(who, bytes)| Turn::Reads { who, bytes }),
        4 => (who.clone(), 1..6_usize).prop_map(|(who, most)| Turn::Pages { who, most }),
        1 => who.prop_map(Turn::Leaves),
    ]
}

struct Person {
    socket: Arc<Socket>,
    connection: Arc<Connection>,
    /// Per room: when the membership began, if there is one.
    member: [Option<Seq>; ROOMS],
    here: bool,
}

struct Room {
    log: Vec<Arc<LiveEvent>>,
    /// The last number that reached the lane.
    heard: Seq,
    ring: Arc<Ring>,
}

struct Scene {
    lane: Lane,
    people: Vec<Person>,
    rooms: Vec<Room>,
    signals: u64,
    metrics: Arc<Metrics>,
}

fn stream(room: usize) -> StreamId {
    StreamId::Room(room_id(room))
}

fn room_id(room: usize) -> RoomId {
    RoomId::new(&format!("room-{room}")).unwrap()
}

fn user(who: usize) -> UserId {
    UserId::new(&format!("user-{who}")).unwrap()
}

fn scene() -> Scene {
    let (metrics, _) = Metrics::new().unwrap();
    let mut lane = lane(&metrics);
    let people = (0..PEOPLE)
        .map(|who| {
            let (socket, codec) = (Arc::new(Socket::default()), Codec::ALL[who % 2]);
            let wire = Arc::clone(&socket) as _;
            let connection = connect(who as u64, user(who).as_str(), codec, wire, BACKLOG_BYTES, &metrics);
            lane.take(LaneMessage::Register(Arc::clone(&connection)));
            Person { socket, connection, member: [None; ROOMS], here: true }
        })
        .collect();
    let room = |_| Room {
        log: Vec::new(),
        heard: 0,
        ring: Arc::new(Ring::new(&RingBounds::new(2, 1 << 20, Arc::clone(&metrics)))),
    };
    Scene { lane, people, rooms: (0..ROOMS).map(room).collect(), signals: 0, metrics }
}

impl Scene {
    fn event(&mut self, room: usize, body: EventBody, lost: bool) -> Seq {
        let state = &mut self.rooms[room];
        let seq = state.log.len() as u64 + 1;
        let event = Arc::new(LiveEvent::new(Event { stream: stream(room), seq, at_ms: 0, body }));
        state.log.push(Arc::clone(&event));
        state.ring.push(&event);
        if !lost {
            state.heard = seq;
            self.lane.take(LaneMessage::Event(event));
        }
        seq
    }

    fn note(&mut self, room: usize, lost: bool) -> Seq {
        self.event(room, EventBody::RoomArchived(RoomArchived { by: user(0) }), lost)
    }

    /// Its name says what was before it in the room, and which one it is.
    fn signal(&mut self, room: usize, except: Option<usize>) {
        self.signals += 1;
        let name = format!("{}:{}:{}", self.rooms[room].heard, self.signals, except.map_or(PEOPLE, |who| who));
        let frame = SignalFrame { room: room_id(room), user: user(0), name, data: None };
        let frame = Arc::new(Encoded::new(ServerFrame::Signal(frame)));
        let except = except.map(|who| self.people[who].connection.id);
        self.lane.take(LaneMessage::Ephemeral { stream: stream(room), frame, except });
    }

    /// Everything from `next` on is to come, after a reset that says so. Some of it was read before.
    fn attach(&mut self, room: usize, who: usize, next: Seq) {
        let epoch = Epoch::new("e").unwrap();
        let state = &mut self.rooms[room];
        // What was lost is known to the lane from now on.
        state.heard = state.log.len() as u64;
        let Some(joined_seq) = self.people[who].member[room] else { return };
        let before = usize::try_from(next - 1).unwrap();
        let missed = state.log.iter().skip(before).take((before + who) % 4).cloned().collect();
        self.lane.take(LaneMessage::Attach(LaneAttach {
            stream: stream(room),
            connection: self.people[who].connection.id,
            next,
            joined_seq,
            cursor: state.heard,
            ring: Arc::clone(&state.ring),
            reset: Some(Reset { stream: stream(room), epoch, seq: next - 1, reason: ResetReason::Joined }),
            missed,
            again: true,
        }));
    }

    /// What a session does: reads some events of the log for each stream that is Behind.
    fn pages(&mut self, who: usize, most: usize) {
        let connection = Arc::clone(&self.people[who].connection);
        if !self.people[who].here || !connection.outbound.is_half_empty() {
            return;
        }
        for behind in connection.take_behind(8) {
            let room = (0..ROOMS).find(|room| stream(*room) == behind.stream).unwrap();
            let before = usize::try_from(behind.next - 1).unwrap();
            let events = self.rooms[room].log.iter().skip(before).take(most).cloned().collect();
            let (connection, stream) = (connection.id, behind.stream);
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

    fn play(&mut self, turn: Turn) {
        match turn {
            Turn::Event { room, lost } => drop(self.note(room, lost)),
            Turn::Signal { room, except } => self.signal(room, except),
            Turn::Removal { room, who } => {
                if self.people[who].member[room].take().is_some() {
                    self.event(room, EventBody::MemberRemoved(MemberRemoved { by: user(0), user: user(who) }), false);
                }
            }
            Turn::Join { room, who } => {
                if self.people[who].here && self.people[who].member[room].is_none() {
                    let joined_seq = self.note(room, false);
                    self.people[who].member[room] = Some(joined_seq);
                    self.attach(room, who, joined_seq);
                }
            }
            Turn::Sync { room, who, back } => {
                let head = self.rooms[room].log.len() as u64;
                if let Some(joined_seq) = self.people[who].member[room].filter(|_| self.people[who].here) {
                    self.attach(room, who, (head + 1).saturating_sub(back).max(joined_seq));
                }
            }
            Turn::Round(sockets) => self.lane.serve_round(sockets),
            Turn::Reads { who, bytes } => {
                self.people[who].socket.open(bytes);
                self.people[who].connection.outbound.flush();
            }
            Turn::Pages { who, most } => self.pages(who, most),
            Turn::Leaves(who) => {
                self.people[who].here = false;
                self.people[who].member = [None; ROOMS];
                self.lane.take(LaneMessage::Forget(self.people[who].connection.id));
            }
        }
    }

    /// Everybody reads on, and the owners say how far the streams have come.
    fn end(&mut self) {
        for room in 0..ROOMS {
            self.lane.take(LaneMessage::Head(stream(room), self.rooms[room].log.len() as u64));
        }
        let events: usize = self.rooms.iter().map(|room| room.log.len()).sum();
        for _ in 0..=2 * events + 4 {
            for who in 0..PEOPLE {
                self.people[who].socket.open(1 << 20);
                self.people[who].connection.outbound.flush();
                self.pages(who, 4);
            }
            self.lane.serve_round(3);
        }
        while self.lane.has_work() {
            self.lane.serve_round(3);
        }
    }

    fn check(&self, who: usize, room: usize) {
        let person = &self.people[who];
        let (mut last, mut last_signal, mut ended) = (None, 0, false);
        for frame in person.socket.frames(person.connection.codec) {
            match frame {
                ServerFrame::Reset(reset) if reset.stream == stream(room) => (last, ended) = (Some(reset.seq), false),
                ServerFrame::Event(event) if event.stream == stream(room) => {
                    assert_eq!(last.map(|last| last + 1), Some(event.seq), "user {who} in room {room}");
                    assert!(!ended, "user {who} got {} of room {room} after the removal", event.seq);
                    last = Some(event.seq);
                    ended = matches!(&event.body, EventBody::MemberRemoved(removed) if removed.user == user(who));
                }
                ServerFrame::Signal(signal) if signal.room == room_id(room) => {
                    let words: Vec<u64> = signal.name.split(':').map(|word| word.parse().unwrap()).collect();
                    assert_eq!(last, Some(words[0]), "user {who} got a signal of room {room} out of its place");
                    assert!(words[1] > last_signal, "user {who} got signal {} of room {room} again", words[1]);
                    assert!(words[2] != who as u64 && !ended, "a signal that was not for user {who}");
                    last_signal = words[1];
                }
                _ => {}
            }
        }
        if person.member[room].is_some() {
            assert_eq!(last, Some(self.rooms[room].log.len() as u64), "user {who} lacks events of room {room}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn everyone_gets_a_dense_sequence_with_the_signals_in_their_places(turns in prop::collection::vec(turn(), 0..120)) {
        let mut scene = scene();
        for who in 0..PEOPLE {
            (0..ROOMS).for_each(|room| scene.play(Turn::Join { room, who }));
        }
        turns.into_iter().for_each(|turn| scene.play(turn));
        scene.end();
        for who in 0..PEOPLE {
            (0..ROOMS).for_each(|room| scene.check(who, room));
        }
        prop_assert_eq!(scene.lane.queued_frames(), 0);
        prop_assert_eq!(scene.metrics.backlog_bytes.get(), 0);
    }
}

#[test]
fn who_reads_gets_every_signal_in_its_place() {
    let mut scene = scene();
    for who in 0..PEOPLE {
        scene.people[who].socket.open(1 << 20);
        scene.play(Turn::Join { room: 0, who });
    }
    for _ in 0..10 {
        scene.note(0, false);
        scene.signal(0, Some(1));
        scene.signal(0, None);
        scene.play(Turn::Round(4));
    }
    scene.end();
    for who in 0..PEOPLE {
        scene.check(who, 0);
        let person = &scene.people[who];
        let frames = person.socket.frames(person.connection.codec);
        let signals = frames.iter().filter(|frame| matches!(frame, ServerFrame::Signal(_))).count();
        assert_eq!(signals, if who == 1 { 10 } else { 20 });
    }
}
