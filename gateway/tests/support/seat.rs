//! A test's connection: asks, keeps what comes in between, and looks through it in order.

use std::collections::VecDeque;

use hallway_protocol::codec::Received;
use hallway_protocol::command::Welcome;
use hallway_protocol::notification::Notification;
use hallway_protocol::{Command, ErrorBody, ErrorCode, Event, EventBody, Position, Seq, ServerFrame, StreamId};
use loadtest_client::{ClientError, Connection, End};
use serde_json::{Value, json};

use super::node::PATIENCE;

/// One connection and the frames that nobody has looked at yet.
pub(crate) struct Seat {
    pub(crate) connection: Connection,
    pub(crate) welcome: Welcome,
    pub(crate) unread: VecDeque<ServerFrame>,
}

/// The stream of a room.
pub(crate) fn room_stream(room: &str) -> StreamId {
    format!("room:{room}").parse().unwrap()
}

/// A command by its name; one that needs a nonce and has none gets a fresh one.
pub(crate) fn command(name: &str, mut arguments: Value) -> Command {
    let fields = arguments.as_object_mut().unwrap();
    fields.entry("nonce").or_insert_with(|| json!(loadtest_client::client::nonce().as_str()));
    serde_json::from_value(json!({ name: arguments })).unwrap_or_else(|error| panic!("{name}: {error}"))
}

impl Seat {
    pub(crate) fn new(connection: Connection, welcome: Welcome) -> Self {
        Self { connection, welcome, unread: VecDeque::new() }
    }

    /// Reads one frame into `unread`.
    async fn read(&mut self, what: &str) -> Result<(), ClientError> {
        match self.connection.receive_within(PATIENCE).await {
            Ok(Received::Frame(frame)) => {
                self.unread.push_back(frame);
                Ok(())
            }
            Ok(other) => panic!("unknown frame {other:?}"),
            Err(ClientError::TimedOut(_)) => {
                panic!("waited in vain for {what}; {} frames are unread", self.unread.len())
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the first frame that satisfies `wanted`, and leaves the others.
    pub(crate) async fn take(&mut self, what: &str, wanted: impl Fn(&ServerFrame) -> bool) -> ServerFrame {
        loop {
            if let Some(index) = self.unread.iter().position(&wanted) {
                return self.unread.remove(index).unwrap();
            }
            self.read(what).await.unwrap_or_else(|error| panic!("waiting for {what}: {error}"));
        }
    }

    /// The answer to a request that was sent.
    pub(crate) async fn answer(&mut self, id: u64) -> Result<Value, ErrorBody> {
        let frame = self
            .take(&format!("the answer to {id}"), |frame| match frame {
                ServerFrame::Ok(ok) => ok.id == id,
                ServerFrame::Error(error) => error.id == Some(id),
                _ => false,
            })
            .await;
        match frame {
            ServerFrame::Ok(ok) => {
                let reply = serde_json::to_value(&ok.reply).unwrap();
                Ok(reply.as_object().unwrap().values().next().unwrap().clone())
            }
            ServerFrame::Error(error) => Err(error.error),
            _ => unreachable!(),
        }
    }

    /// Sends a command without waiting.
    pub(crate) async fn send(&mut self, name: &str, arguments: Value) -> u64 {
        self.connection.send(command(name, arguments)).await.unwrap()
    }

    /// Sends a command and waits for its answer.
    pub(crate) async fn ask(&mut self, name: &str, arguments: Value) -> Result<Value, ErrorBody> {
        let id = self.send(name, arguments).await;
        self.answer(id).await
    }

    /// The same, for commands that must succeed.
    pub(crate) async fn done(&mut self, name: &str, arguments: Value) -> Value {
        self.ask(name, arguments).await.unwrap_or_else(|error| panic!("{name}: {error:?}"))
    }

    /// The same, for commands that must be refused.
    pub(crate) async fn refused(&mut self, name: &str, arguments: Value) -> ErrorCode {
        match self.ask(name, arguments).await {
            Ok(reply) => panic!("{name} was not refused: {reply}"),
            Err(error) => error.code,
        }
    }

    /// Makes a channel and waits for its first event.
    pub(crate) async fn create(&mut self, room: &str, visibility: &str) {
        self.done("room.create", json!({"room": room, "visibility": visibility})).await;
        self.event(room, 2).await;
    }

    /// Joins a public channel and waits for the joining event; says its seq.
    pub(crate) async fn join(&mut self, room: &str) -> Seq {
        let seq = self.done("room.join", json!({"room": room})).await["seq"].as_u64().unwrap();
        self.event(room, seq).await;
        seq
    }

    /// Sends a message; says its seq.
    pub(crate) async fn say(&mut self, room: &str, text: &str) -> Seq {
        self.done("message.send", json!({"room": room, "text": text})).await["seq"].as_u64().unwrap()
    }

    /// Says that it is there and waits for the answer: what was sent before it has come.
    pub(crate) async fn ping(&mut self) {
        self.done("ping", json!({})).await;
    }

    /// Waits for the end of a sync and says the positions.
    pub(crate) async fn synced(&mut self) -> Vec<Position> {
        let begin = self.take("sync_begin", |frame| matches!(frame, ServerFrame::SyncBegin(_))).await;
        assert!(matches!(begin, ServerFrame::SyncBegin(_)));
        match self.take("sync_end", |frame| matches!(frame, ServerFrame::SyncEnd(_))).await {
            ServerFrame::SyncEnd(end) => end.positions,
            _ => unreachable!(),
        }
    }

    /// The next event of a room that nobody has looked at.
    pub(crate) async fn next_event(&mut self, room: &str) -> Event {
        let stream = room_stream(room);
        let of_room = |frame: &ServerFrame| matches!(frame, ServerFrame::Event(event) if event.stream == stream);
        match self.take(&format!("an event of {room}"), of_room).await {
            ServerFrame::Event(event) => event,
            _ => unreachable!(),
        }
    }

    /// The next event of the own stream that is of this kind.
    pub(crate) async fn own(&mut self, kind: &str) -> Event {
        let stream = StreamId::User(self.welcome.user.clone());
        let wanted = |frame: &ServerFrame| match frame {
            ServerFrame::Event(event) => event.stream == stream && event.body.name() == kind,
            _ => false,
        };
        match self.take(kind, wanted).await {
            ServerFrame::Event(event) => event,
            _ => unreachable!(),
        }
    }

    /// The next notification, and how many are unread after it.
    pub(crate) async fn notified(&mut self) -> (Notification, u64) {
        let event = self.own("notification.created").await;
        let EventBody::NotificationCreated(created) = event.body else { unreachable!() };
        assert_eq!(created.notification.seq, event.seq, "its number is its event's");
        (created.notification, created.unread)
    }

    /// Reads the room's events until this one came; returns it.
    pub(crate) async fn event(&mut self, room: &str, seq: Seq) -> Event {
        loop {
            let event = self.next_event(room).await;
            assert!(event.seq <= seq, "{room}: {} came, {seq} was awaited", event.seq);
            if event.seq == seq {
                return event;
            }
        }
    }

    /// The room's next events must be exactly these numbers.
    pub(crate) async fn events(&mut self, room: &str, numbers: std::ops::RangeInclusive<Seq>) -> Vec<Event> {
        let mut events = Vec::new();
        for seq in numbers {
            let event = self.next_event(room).await;
            assert_eq!(event.seq, seq, "{room}");
            events.push(event);
        }
        events
    }

    /// The next reset of a room.
    pub(crate) async fn reset(&mut self, room: &str) -> hallway_protocol::frame::Reset {
        let stream = room_stream(room);
        let wanted = |frame: &ServerFrame| matches!(frame, ServerFrame::Reset(reset) if reset.stream == stream);
        match self.take(&format!("a reset of {room}"), wanted).await {
            ServerFrame::Reset(reset) => reset,
            _ => unreachable!(),
        }
    }

    /// Events of a room that came and that nobody has looked at.
    pub(crate) fn unread_events_of(&self, room: &str) -> usize {
        self.unread_numbers_of(room).len()
    }

    /// Numbers of the room's events that came and that nobody has looked at.
    pub(crate) fn unread_numbers_of(&self, room: &str) -> Vec<Seq> {
        let stream = room_stream(room);
        let number = |frame: &ServerFrame| match frame {
            ServerFrame::Event(event) if event.stream == stream => Some(event.seq),
            _ => None,
        };
        self.unread.iter().filter_map(number).collect()
    }

    /// A reset of the room that came already.
    pub(crate) fn take_reset_if_any(&mut self, room: &str) -> Option<hallway_protocol::frame::Reset> {
        let stream = room_stream(room);
        let wanted = |frame: &ServerFrame| matches!(frame, ServerFrame::Reset(reset) if reset.stream == stream);
        let index = self.unread.iter().position(wanted)?;
        match self.unread.remove(index) {
            Some(ServerFrame::Reset(reset)) => Some(reset),
            _ => None,
        }
    }

    /// A position in a room.
    pub(crate) fn at(&self, room: &str, seq: Seq) -> Position {
        Position { stream: room_stream(room), epoch: self.welcome.epoch.clone(), seq }
    }

    /// Reads to the end of the connection; what comes before is kept.
    pub(crate) async fn end(&mut self) -> End {
        loop {
            match self.read("the end of the connection").await {
                Ok(()) => {}
                Err(ClientError::Ended(end)) => return end,
                Err(error) => panic!("the connection failed: {error:?}"),
            }
        }
    }
}
