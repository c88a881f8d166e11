//! Rooms full of followers around a hub of their own: what both benches deliver to, through the hub's public interface only.
//!
//! Connections get the ids 0, 1, 2 … in the order of their wires, and nobody sits behind them: there is no session and no
//! store. So a wire has to take everything at once, and the log holds no more than the first event of each room.

use std::collections::HashMap;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use hallway_gateway::config::Limits;
use hallway_gateway::connection::{Budget, Encoded, Outbound, Wire};
use hallway_gateway::hub::{Attach, Connection, ConnectionId, Hub, LiveEvent, LogPage, LogRead, LogReader};
use hallway_gateway::tasks::Tasks;
use hallway_gateway::telemetry::metrics::Metrics;
use hallway_protocol::codec::Codec;
use hallway_protocol::event::MessageCreated;
use hallway_protocol::frame::SignalFrame;
use hallway_protocol::{Epoch, Event, EventBody, Message, MessageId, Meta, RoomId, ServerFrame, StreamId, UserId};

/// What a signal carries, and how long a message's text is.
pub(crate) const PAYLOAD_BYTES: usize = 128;
/// Everybody here speaks it.
pub(crate) const CODEC: Codec = Codec::Json;

/// A hub and who is connected to it.
pub(crate) struct Crowd {
    pub(crate) hub: Hub,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) connections: Vec<Arc<Connection>>,
    pub(crate) rooms: Vec<Room>,
    log: Arc<FirstEvents>,
}

/// A room and the connections that follow it.
pub(crate) struct Room {
    pub(crate) id: RoomId,
    pub(crate) members: Range<usize>,
    seq: u64,
}

impl Crowd {
    /// One connection a wire, and in each room those of the range. Whoever wants to know that all of them follow publishes
    /// an event in each room and waits for it: it comes behind the attaches.
    pub(crate) fn gather(lanes: usize, wires: Vec<Arc<dyn Wire>>, rooms: Vec<Range<usize>>, tasks: &Tasks) -> Self {
        let limits = Limits::default();
        let (metrics, _) = Metrics::new().expect("a new registry takes the metrics");
        let log = Arc::new(FirstEvents { epoch: epoch(), events: Mutex::default() });
        let hub = Hub::start(lanes, epoch(), limits.clone(), Arc::clone(&metrics), Arc::clone(&log) as _, tasks);
        let budget = Arc::new(Budget::new(limits.backlogs_max_bytes, Arc::clone(&metrics)));
        let connections: Vec<Arc<Connection>> = wires
            .into_iter()
            .zip(0..)
            .map(|(wire, number)| {
                let outbound = Outbound::new(wire, limits.backlog_max_bytes, Arc::clone(&budget));
                let user = user(number);
                let connection = Arc::new(Connection::new(ConnectionId(number), user, CODEC, Arc::new(outbound)));
                assert!(hub.enter(&connection), "one connection a person");
                hub.register(&connection);
                hub.end_of_hello(&connection, |_| None);
                connection
            })
            .collect();
        let rooms: Vec<Room> = rooms.into_iter().zip(0..).map(|(members, number)| Room::new(number, members)).collect();
        for room in &rooms {
            for connection in &connections[room.members.clone()] {
                hub.attach(Attach {
                    stream: StreamId::Room(room.id.clone()),
                    connection: Arc::clone(connection),
                    next: 1,
                    joined_seq: 0,
                    reset: None,
                    missed: Vec::new(),
                    head: 0,
                    again: false,
                });
            }
        }
        Self { hub, metrics, connections, rooms, log }
    }

    /// A signal to everybody in the room, as a session sends it.
    pub(crate) fn signal(&self, room: usize) {
        let room = &self.rooms[room].id;
        self.hub.ephemeral(room, Arc::new(signal(room)), None);
    }

    /// The next message of the room, as the store committed it.
    pub(crate) fn next_message(&mut self, room: usize) -> Arc<LiveEvent> {
        let room = &mut self.rooms[room];
        room.seq += 1;
        let event = message(&room.id, room.seq);
        if room.seq == 1 {
            self.log.events.lock().expect("nobody panics").insert(event.stream().clone(), Arc::clone(&event));
        }
        event
    }
}

impl Room {
    fn new(number: u64, members: Range<usize>) -> Self {
        let id = RoomId::new(&format!("room-{number:04}")).expect("a name that rooms may have");
        Self { id, members, seq: 0 }
    }
}

/// A signal's frame, not yet encoded.
pub(crate) fn signal(room: &RoomId) -> Encoded {
    let data = Meta::from_json(&signal_data()).expect("a small object");
    let frame = SignalFrame { room: room.clone(), user: user(1), name: "cursor".to_owned(), data: Some(data) };
    Encoded::new(ServerFrame::Signal(frame))
}

/// What a signal carries: an object of [`PAYLOAD_BYTES`].
pub(crate) fn signal_data() -> String {
    let text = "x".repeat(PAYLOAD_BYTES - r#"{"text":""}"#.len());
    format!(r#"{{"text":"{text}"}}"#)
}

/// A message's event, not yet encoded.
pub(crate) fn message(room: &RoomId, seq: u64) -> Arc<LiveEvent> {
    let message = Message {
        id: MessageId::generate(),
        seq,
        ordinal: seq,
        sender: user(1),
        at_ms: 1_700_000_000_000,
        text: "x".repeat(PAYLOAD_BYTES),
        reply_to: None,
        mentions: Vec::new(),
        meta: None,
        version: 1,
        edited_at_ms: None,
        deleted: false,
        reactions: Vec::new(),
    };
    let body = EventBody::MessageCreated(MessageCreated { message });
    let event = Event { stream: StreamId::Room(room.clone()), seq, at_ms: 1_700_000_000_000, body };
    Arc::new(LiveEvent::new(event))
}

/// Who the connection of this number belongs to.
pub(crate) fn user(number: u64) -> UserId {
    UserId::new(&format!("user-{number:04}")).expect("a name that people may have")
}

fn epoch() -> Epoch {
    Epoch::new("bench").expect("a name that epochs may have")
}

/// The owner of a stream asks for its head when the first reader comes. An event that overtakes the answer must be in it.
struct FirstEvents {
    epoch: Epoch,
    events: Mutex<HashMap<StreamId, Arc<LiveEvent>>>,
}

impl LogReader for FirstEvents {
    fn read(&self, reads: Vec<LogRead>) -> Pin<Box<dyn Future<Output = Option<Vec<LogPage>>> + Send + '_>> {
        let first_events = self.events.lock().expect("nobody panics");
        let page = |read: LogRead| {
            let first = first_events.get(&read.stream);
            let last_seq = first.map_or(0, |event| event.seq());
            let events = first.filter(|event| event.seq() > read.after).cloned().into_iter().collect();
            LogPage { epoch: self.epoch.clone(), first_seq: 1, last_seq, events }
        };
        let pages = reads.into_iter().map(page).collect();
        Box::pin(std::future::ready(Some(pages)))
    }
}
