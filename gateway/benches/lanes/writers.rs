//! The two who write: a bare loop, and the hub.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hallway_gateway::connection::Wire;
use hallway_gateway::tasks::Tasks;
use socket2::SockRef;
use tokio::net::TcpStream;

use crate::cost::cpu_ns;
use crate::crowd::{CODEC, Crowd, message, signal};
use crate::reader::Reader;

const LARGE_ROOM_MEMBERS: usize = 1_000;
const SMALL_ROOMS: usize = 200;
const SMALL_ROOM_MEMBERS: usize = 10;
/// Room 0 is the large one, the small ones follow.
const LARGE_ROOM: usize = 0;
/// No sample goes on for longer.
const SAMPLE_WITHIN: Duration = Duration::from_millis(800);
/// The number in the ready-made event: as long as most numbers of the real ones.
const TYPICAL_SEQ: u64 = 1_000;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) name: &'static str,
    /// Messages that are handed over before their arrival is waited for.
    outstanding: usize,
    /// How often that is done in a sample, at most.
    batches: usize,
    large_room: bool,
    durable: bool,
    /// Whether the bare loop writes the frames of a batch in one call.
    coalesced: bool,
}

const fn saturated(name: &'static str, durable: bool, coalesced: bool) -> Load {
    Load { name, outstanding: 32, batches: 30, large_room: true, durable, coalesced }
}

const fn steady(name: &'static str, durable: bool) -> Load {
    Load { name, outstanding: 1, batches: 60, large_room: true, durable, coalesced: false }
}

const fn chat(name: &'static str, durable: bool) -> Load {
    Load { name, outstanding: 8, batches: 500, large_room: false, durable, coalesced: false }
}

impl Load {
    pub(crate) const SATURATED: Self = saturated("saturated", false, true);
    pub(crate) const ALL: [Self; 7] = [
        Self::SATURATED,
        saturated("saturated, bare once per message", false, false),
        saturated("saturated, durable", true, true),
        steady("steady", false),
        steady("steady, durable", true),
        chat("chat", false),
        chat("chat, durable", true),
    ];
}

/// What a sample came to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    pub(crate) ns_per_delivery: f64,
    /// System calls that wrote something.
    pub(crate) writes_per_delivery: f64,
}

/// Sockets, the hub on them, and who reads.
pub(crate) struct Stage {
    sockets: Vec<Arc<TcpStream>>,
    /// Per room, for the bare loop.
    ready_made: Vec<ReadyMade>,
    crowd: Crowd,
    reader: Reader,
    /// The small room whose turn it is.
    turn: usize,
}

/// Frames that were encoded beforehand.
struct ReadyMade {
    signal: Bytes,
    event: Bytes,
}

impl ReadyMade {
    fn frame(&self, load: Load) -> &Bytes {
        if load.durable { &self.event } else { &self.signal }
    }
}

/// Counted while a sample is taken.
#[derive(Default)]
struct Tally {
    deliveries: u64,
    bytes: u64,
    writes: u64,
}

impl Stage {
    /// Opens the sockets and lets everybody enter.
    pub(crate) async fn set(tasks: &Tasks) -> Self {
        let count = SMALL_ROOMS * SMALL_ROOM_MEMBERS;
        let (reader, sockets) = Reader::start(count).await.expect("2,000 connections over the loopback");
        let wires = sockets.iter().map(|socket| Arc::clone(socket) as Arc<dyn Wire>).collect();
        let small = (0..SMALL_ROOMS).map(|room| room * SMALL_ROOM_MEMBERS..(room + 1) * SMALL_ROOM_MEMBERS);
        let rooms = std::iter::once(0..LARGE_ROOM_MEMBERS).chain(small).collect();
        let lanes = std::thread::available_parallelism().map_or(1, usize::from);
        let crowd = Crowd::gather(lanes, wires, rooms, tasks);
        let ready_made = crowd.rooms.iter().map(|room| ReadyMade {
            signal: signal(&room.id).bytes(CODEC).clone(),
            event: message(&room.id, TYPICAL_SEQ).frame().bytes(CODEC).clone(),
        });
        let ready_made = ready_made.collect();
        let mut stage = Self { sockets, ready_made, crowd, reader, turn: 0 };
        // Once these are there, everybody follows.
        let rooms: Vec<usize> = (0..stage.crowd.rooms.len()).collect();
        let mut tally = Tally::default();
        stage.publish(&rooms, &mut tally).await;
        stage.reader.has_read(tally.bytes).await;
        stage
    }

    /// The bare loop.
    pub(crate) async fn bare(&mut self, load: Load) -> Sample {
        let begun = Instant::now();
        let before_ns = cpu_ns().await;
        let mut tally = Tally::default();
        for _ in 0..load.batches {
            let rooms = self.rooms_of(load);
            let before_bytes = tally.bytes;
            if load.coalesced {
                self.write_coalesced(load, &rooms, &mut tally);
            } else {
                rooms.iter().for_each(|room| self.write_once(load, *room, &mut tally));
            }
            self.reader.has_read(tally.bytes - before_bytes).await;
            if begun.elapsed() > SAMPLE_WITHIN {
                break;
            }
        }
        tally.sample(cpu_ns().await - before_ns)
    }

    /// The hub.
    pub(crate) async fn lanes(&mut self, load: Load) -> Sample {
        let begun = Instant::now();
        let metrics = Arc::clone(&self.crowd.metrics);
        let writes_before = metrics.socket_writes.get();
        let before_ns = cpu_ns().await;
        let mut tally = Tally::default();
        for _ in 0..load.batches {
            let rooms = self.rooms_of(load);
            let before_bytes = tally.bytes;
            if load.durable {
                self.publish(&rooms, &mut tally).await;
            } else {
                self.signal(load, &rooms, &mut tally);
            }
            self.reader.has_read(tally.bytes - before_bytes).await;
            if begun.elapsed() > SAMPLE_WITHIN {
                break;
            }
        }
        let after_ns = cpu_ns().await;
        let waiting = self.crowd.connections.iter().any(|connection| connection.outbound.backlog_bytes() > 0);
        assert!(!waiting, "the kernel takes a batch, so nothing waits in a backlog");
        tally.writes = metrics.socket_writes.get() - writes_before;
        tally.sample(after_ns - before_ns)
    }

    /// The rooms of a batch's messages, in their order.
    fn rooms_of(&mut self, load: Load) -> Vec<usize> {
        if load.large_room {
            return vec![LARGE_ROOM; load.outstanding];
        }
        let first = self.turn;
        self.turn = (self.turn + load.outstanding) % SMALL_ROOMS;
        (first..first + load.outstanding).map(|turn| 1 + turn % SMALL_ROOMS).collect()
    }

    fn write_once(&self, load: Load, room: usize, tally: &mut Tally) {
        let frame = self.ready_made[room].frame(load);
        let room = &self.crowd.rooms[room];
        for socket in &self.sockets[room.members.clone()] {
            write_all(socket, frame);
            tally.add(1, frame.len());
        }
        tally.writes += room.members.len() as u64;
    }

    fn write_coalesced(&self, load: Load, rooms: &[usize], tally: &mut Tally) {
        let frames = self.ready_made[rooms[0]].frame(load).repeat(rooms.len());
        let room = &self.crowd.rooms[rooms[0]];
        for socket in &self.sockets[room.members.clone()] {
            write_all(socket, &frames);
            tally.add(rooms.len(), frames.len());
        }
        tally.writes += room.members.len() as u64;
    }

    /// Each session hands over what it received and drives the lanes; in the large room all came from one.
    fn signal(&self, load: Load, rooms: &[usize], tally: &mut Tally) {
        for room in rooms {
            self.crowd.signal(*room);
            if !load.large_room {
                self.crowd.hub.drive();
            }
            let members = self.crowd.rooms[*room].members.len();
            tally.add(members, self.ready_made[*room].signal.len() * members);
        }
        self.crowd.hub.drive();
    }

    /// The writer hands over what one batch of the store committed.
    async fn publish(&mut self, rooms: &[usize], tally: &mut Tally) {
        let events: Vec<_> = rooms.iter().map(|room| self.crowd.next_message(*room)).collect();
        for (event, room) in events.iter().zip(rooms) {
            let members = self.crowd.rooms[*room].members.len();
            tally.add(members, event.frame().bytes(CODEC).len() * members);
        }
        self.crowd.hub.publish(events).await;
        self.crowd.hub.drive();
    }
}

impl Tally {
    fn add(&mut self, deliveries: usize, bytes: usize) {
        self.deliveries += deliveries as u64;
        self.bytes += bytes as u64;
    }

    fn sample(&self, cpu_ns: u64) -> Sample {
        let deliveries = self.deliveries as f64;
        Sample { ns_per_delivery: cpu_ns as f64 / deliveries, writes_per_delivery: self.writes as f64 / deliveries }
    }
}

/// A batch is small enough for the socket's send buffer, and the last one has been read.
fn write_all(socket: &TcpStream, bytes: &[u8]) {
    let written = SockRef::from(socket).send(bytes).expect("the kernel takes a batch");
    assert_eq!(written, bytes.len(), "the kernel takes a whole batch");
}
