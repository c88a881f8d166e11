//! A node in memory that keeps the promise, or breaks it in one chosen way. It speaks just enough of the protocol for
//! a client to create and join rooms, send, receive, and resume.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use hallway_protocol::codec::{Codec, decode_request, encode_frame};
use hallway_protocol::command::{self, Committed, Done, Hello, MessageSend, Pong, Welcome};
use hallway_protocol::event::{MemberJoined, MessageCreated, RoomCreated};
use hallway_protocol::frame::{Closing, ErrorFrame, OkFrame, Reset, ResetReason, SignalFrame, SyncBegin, SyncEnd};
use hallway_protocol::model::MyRoom;
use hallway_protocol::{
    CloseCode, Command, Epoch, ErrorBody, ErrorCode, Event, EventBody, History, Message, MessageId, Position, Reply,
    Role, RoomId, RoomInfo, RoomKind, Seq, ServerFrame, StreamId, UserId, Visibility,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::handshake::server::{Request, Response};
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

pub(crate) const SECRET: &[u8] = b"fake";

/// How the node breaks its promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(dead_code, reason = "each test that shares this file uses some of them")]
pub(crate) enum Misbehaviour {
    None,
    /// Every fifth message never leaves for those who are connected.
    Loses,
    /// Sends everything twice under the same seq: clients drop that, so it is none.
    RepeatsOnTheWire,
    /// Keeps every message twice.
    KeepsTwice,
    /// Sends every other event after its successor.
    Reorders,
    /// Says yes and keeps nothing, from the fourth message on.
    AcknowledgesWhatItDoesNotKeep,
    /// Answers every resume with "forget all you have".
    ResetsOnResume,
    /// Everybody gets everything.
    TellsStrangers,
    /// Changes what was said.
    ChangesText,
    /// Says no and keeps it.
    RefusesAndKeeps,
}

struct Room {
    info: RoomInfo,
    events: Vec<Event>,
    members: HashMap<UserId, Seq>,
}

#[derive(Default)]
struct State {
    rooms: HashMap<RoomId, Room>,
    nonces: HashMap<String, Committed>,
    sockets: Vec<(UserId, mpsc::UnboundedSender<ServerFrame>)>,
    held_back: HashMap<RoomId, Event>,
    messages: u64,
}

pub(crate) struct FakeNode {
    pub(crate) url: String,
    task: Option<tokio::task::JoinHandle<()>>,
    state: Arc<Mutex<State>>,
}

impl FakeNode {
    /// A place where no node is.
    #[allow(dead_code, reason = "only some of the tests that share this file need it")]
    pub(crate) fn at(url: &str) -> Self {
        Self { url: url.to_owned(), task: None, state: Arc::default() }
    }
}

#[allow(dead_code, reason = "only some of the tests that share this file need it")]
impl FakeNode {
    /// How many are connected, or were.
    pub(crate) fn connections(&self) -> usize {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).sockets.len()
    }

    /// Says goodbye to everybody, as a node that stops.
    pub(crate) fn send_away(&self, reconnect_after_ms: u64) {
        let (code, reason) = (CloseCode::Draining.code(), CloseCode::Draining.reason().to_owned());
        let closing = Closing { code, reason, reconnect_after_ms: Some(reconnect_after_ms) };
        for (_, socket) in &self.state.lock().unwrap_or_else(PoisonError::into_inner).sockets {
            let _ = socket.send(ServerFrame::Closing(closing.clone()));
        }
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

#[derive(Clone)]
struct Node {
    state: Arc<Mutex<State>>,
    misbehaviour: Misbehaviour,
}

pub(crate) async fn start(misbehaviour: Misbehaviour) -> FakeNode {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/v1/ws", listener.local_addr().unwrap());
    let node = Node { state: Arc::default(), misbehaviour };
    let state = Arc::clone(&node.state);
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(node.clone().serve(stream));
        }
    });
    FakeNode { url, task: Some(task), state }
}

fn epoch() -> Epoch {
    Epoch::new("fake").unwrap()
}

impl Node {
    async fn serve(self, stream: TcpStream) {
        let mut codec = Codec::Json;
        #[expect(clippy::result_large_err, reason = "the library's own signature")]
        let choose = |request: &Request, mut response: Response| {
            let offered = request.headers().get("sec-websocket-protocol").and_then(|value| value.to_str().ok());
            codec = offered.and_then(Codec::from_subprotocol).unwrap_or(Codec::Json);
            let chosen = HeaderValue::from_static(codec.subprotocol());
            response.headers_mut().insert("sec-websocket-protocol", chosen);
            Ok(response)
        };
        let Ok(mut socket) = tokio_tungstenite::accept_hdr_async(stream, choose).await else { return };
        #[expect(clippy::disallowed_methods, reason = "a node that lives for one small test")]
        let (outbox, mut inbox) = mpsc::unbounded_channel();
        let mut user = None;
        loop {
            tokio::select! {
                frame = inbox.recv() => {
                    let Some(frame) = frame else { return };
                    let bytes = encode_frame(codec, &frame);
                    let message = match codec {
                        Codec::Json => tungstenite::Message::text(String::from_utf8(bytes).unwrap()),
                        Codec::Postcard => tungstenite::Message::binary(bytes),
                    };
                    if socket.send(message).await.is_err() {
                        return;
                    }
                    if let ServerFrame::Closing(closing) = frame {
                        let _ = socket.close(Some(CloseFrame { code: closing.code.into(), reason: closing.reason.into() })).await;
                        return;
                    }
                }
                message = socket.next() => {
                    let Some(Ok(message)) = message else { return };
                    if !message.is_text() && !message.is_binary() {
                        continue;
                    }
                    let request = decode_request(codec, &message.into_data()).unwrap();
                    self.handle(&mut user, request.id, request.command, &outbox);
                }
            }
        }
    }

    fn handle(
        &self,
        user: &mut Option<UserId>,
        id: u64,
        command: Command,
        outbox: &mpsc::UnboundedSender<ServerFrame>,
    ) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let result = match (command, user.clone()) {
            (Command::Hello(hello), _) => {
                *user = Some(self.hello(&mut state, id, &hello, outbox));
                return;
            }
            (Command::Ping(_), _) => Ok(Reply::Ping(Pong { at_ms: 0 })),
            (Command::RoomCreate(create), Some(user)) => {
                let committed = self.create(&mut state, &create.room, &user);
                Ok(Reply::RoomCreate(committed))
            }
            (Command::RoomJoin(join), Some(user)) => self.join(&mut state, &join.room, &user).map(Reply::RoomJoin),
            (Command::RoomInvite(invite), Some(_)) => {
                self.join(&mut state, &invite.room, &invite.user).map(Reply::RoomInvite)
            }
            (Command::Signal(signal), Some(user)) => {
                self.signal(&mut state, &signal, &user);
                Ok(Reply::Signal(Done {}))
            }
            (Command::MessageSend(send), Some(user)) => self.message(&mut state, &send, &user).map(Reply::MessageSend),
            _ => Err(ErrorBody::new(ErrorCode::UnknownCommand, "the fake node does not know this")),
        };
        let frame = match result {
            Ok(reply) => ServerFrame::Ok(OkFrame { id, reply }),
            Err(error) => ServerFrame::Error(ErrorFrame { id: Some(id), error }),
        };
        let _ = outbox.send(frame);
    }

    fn hello(&self, state: &mut State, id: u64, hello: &Hello, outbox: &mpsc::UnboundedSender<ServerFrame>) -> UserId {
        #[derive(serde::Deserialize)]
        struct Claims {
            sub: String,
        }
        let key = jsonwebtoken::DecodingKey::from_secret(SECRET);
        let rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
        let claims = jsonwebtoken::decode::<Claims>(hello.token.as_deref().unwrap(), &key, &rules).unwrap().claims;
        let user = UserId::new(&claims.sub).unwrap();
        let mine: Vec<&Room> = state.rooms.values().filter(|room| room.members.contains_key(&user)).collect();
        let welcome = Welcome {
            session: "fake".to_owned(),
            user: user.clone(),
            epoch: epoch(),
            protocol_minor: 0,
            server_version: "fake".to_owned(),
            heartbeat_interval_ms: 20_000,
            token_expires_at_ms: 0,
            rooms: mine.iter().map(|room| my_room(room, &user)).collect(),
        };
        let mut frames = vec![
            ServerFrame::Ok(OkFrame { id, reply: Reply::Hello(welcome) }),
            ServerFrame::SyncBegin(SyncBegin { epoch: epoch() }),
        ];
        let mut positions = Vec::new();
        for room in mine {
            let stream = StreamId::Room(room.info.room.clone());
            let given = hello.positions.iter().find(|position| position.stream == stream).map(|position| position.seq);
            let resets = given.is_none() || self.misbehaviour == Misbehaviour::ResetsOnResume;
            let head = room.events.len() as Seq;
            let from = if resets { head } else { given.unwrap_or(0) };
            if resets {
                let reset = Reset { stream: stream.clone(), epoch: epoch(), seq: head, reason: ResetReason::New };
                frames.push(ServerFrame::Reset(reset));
            }
            frames.extend(room.events.iter().filter(|event| event.seq > from).cloned().map(ServerFrame::Event));
            positions.push(Position { stream, epoch: epoch(), seq: head });
        }
        frames.push(ServerFrame::SyncEnd(SyncEnd { positions }));
        for frame in frames {
            let _ = outbox.send(frame);
        }
        state.sockets.push((user.clone(), outbox.clone()));
        user
    }

    fn create(&self, state: &mut State, room: &RoomId, user: &UserId) -> Committed {
        let info = RoomInfo {
            room: room.clone(),
            kind: RoomKind::Channel,
            visibility: Visibility::Public,
            history: History::All,
            name: None,
            archived: false,
            created_at_ms: 0,
        };
        let created = Room { info: info.clone(), events: Vec::new(), members: HashMap::new() };
        state.rooms.insert(room.clone(), created);
        self.append(state, room, EventBody::RoomCreated(RoomCreated { info, by: user.clone() }));
        self.enter(state, room, user)
    }

    fn join(&self, state: &mut State, room: &RoomId, user: &UserId) -> Result<Committed, ErrorBody> {
        if !state.rooms.contains_key(room) {
            return Err(ErrorBody::new(ErrorCode::NotFound, "no such room"));
        }
        Ok(self.enter(state, room, user))
    }

    fn enter(&self, state: &mut State, room: &RoomId, user: &UserId) -> Committed {
        let Some(place) = state.rooms.get_mut(room) else { unreachable!() };
        let seq = place.events.len() as Seq + 1;
        place.members.insert(user.clone(), seq);
        let stream = StreamId::Room(room.clone());
        let reset = Reset { stream: stream.clone(), epoch: epoch(), seq: seq - 1, reason: ResetReason::Joined };
        for (_, socket) in state.sockets.iter().filter(|(owner, _)| owner == user) {
            let _ = socket.send(ServerFrame::Reset(reset.clone()));
        }
        let joined = MemberJoined { user: user.clone(), role: Role::Member, by: user.clone() };
        self.append(state, room, EventBody::MemberJoined(joined));
        Committed { stream, epoch: epoch(), seq, at_ms: 0, id: None, repeated: false }
    }

    /// To everybody in the room but the sender, of whom only one connection is ever tested.
    fn signal(&self, state: &mut State, signal: &command::Signal, user: &UserId) {
        state.messages += 1;
        if self.misbehaviour == Misbehaviour::Loses && state.messages.is_multiple_of(5) {
            return;
        }
        let command::Signal { room, name, data } = signal.clone();
        let frame = ServerFrame::Signal(SignalFrame { room: room.clone(), user: user.clone(), name, data });
        let strangers = self.misbehaviour == Misbehaviour::TellsStrangers;
        let times = if self.misbehaviour == Misbehaviour::RepeatsOnTheWire { 2 } else { 1 };
        let Some(place) = state.rooms.get(&room) else { return };
        for (owner, socket) in state.sockets.iter().filter(|(owner, _)| owner != user) {
            if strangers || place.members.contains_key(owner) {
                for _ in 0..times {
                    let _ = socket.send(frame.clone());
                }
            }
        }
    }

    fn message(&self, state: &mut State, send: &MessageSend, user: &UserId) -> Result<Committed, ErrorBody> {
        if let Some(first) = state.nonces.get(send.nonce.as_str()) {
            return Ok(Committed { repeated: true, ..first.clone() });
        }
        state.messages += 1;
        let id = send.id.unwrap_or_else(MessageId::generate);
        let seq = state.rooms.get(&send.room).map_or(0, |room| room.events.len() as Seq) + 1;
        let stream = StreamId::Room(send.room.clone());
        let committed = Committed { stream, epoch: epoch(), seq, at_ms: 0, id: Some(id.into()), repeated: false };
        state.nonces.insert(send.nonce.as_str().to_owned(), committed.clone());
        if self.misbehaviour == Misbehaviour::AcknowledgesWhatItDoesNotKeep && state.messages > 3 {
            return Ok(committed);
        }
        let mut text = send.text.clone();
        if self.misbehaviour == Misbehaviour::ChangesText {
            text.push('!');
        }
        let message = Message {
            id,
            seq,
            ordinal: seq,
            sender: user.clone(),
            at_ms: 0,
            text,
            reply_to: None,
            mentions: Vec::new(),
            meta: None,
            version: 1,
            edited_at_ms: None,
            deleted: false,
            reactions: Vec::new(),
        };
        self.append(state, &send.room, EventBody::MessageCreated(MessageCreated { message: message.clone() }));
        if self.misbehaviour == Misbehaviour::KeepsTwice {
            self.append(state, &send.room, EventBody::MessageCreated(MessageCreated { message }));
        }
        if self.misbehaviour == Misbehaviour::RefusesAndKeeps {
            return Err(ErrorBody::new(ErrorCode::Forbidden, "no"));
        }
        Ok(committed)
    }

    fn append(&self, state: &mut State, room: &RoomId, body: EventBody) {
        let Some(place) = state.rooms.get_mut(room) else { unreachable!() };
        let stream = StreamId::Room(room.clone());
        let event = Event { stream, seq: place.events.len() as Seq + 1, at_ms: 0, body };
        place.events.push(event.clone());
        let is_message = matches!(event.body, EventBody::MessageCreated(_));
        let mut now = vec![event];
        match self.misbehaviour {
            Misbehaviour::Loses if is_message && state.messages.is_multiple_of(5) => now.clear(),
            Misbehaviour::RepeatsOnTheWire => now = vec![now[0].clone(), now[0].clone()],
            Misbehaviour::Reorders if is_message => match state.held_back.remove(room) {
                Some(earlier) => now.push(earlier),
                None => state.held_back.extend(now.pop().map(|event| (room.clone(), event))),
            },
            _ => {}
        }
        let Some(place) = state.rooms.get(room) else { unreachable!() };
        let strangers = self.misbehaviour == Misbehaviour::TellsStrangers;
        for (owner, socket) in &state.sockets {
            if strangers || place.members.contains_key(owner) {
                for event in &now {
                    let _ = socket.send(ServerFrame::Event(event.clone()));
                }
            }
        }
    }
}

fn my_room(room: &Room, user: &UserId) -> MyRoom {
    MyRoom {
        info: room.info.clone(),
        role: Role::Member,
        joined_seq: room.members.get(user).copied().unwrap_or(0),
        visible_from_seq: 1,
        first_seq: 1,
        last_seq: room.events.len() as Seq,
        unread: 0,
        read_seq: 0,
    }
}

/// Waits for a condition, not for time to pass.
pub(crate) async fn eventually(limit: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let until = tokio::time::Instant::now() + limit;
    while !holds() {
        if tokio::time::Instant::now() > until {
            return false;
        }
        tokio::task::yield_now().await;
    }
    true
}
