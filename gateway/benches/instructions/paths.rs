//! The paths that are counted.

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hallway_gateway::auth::Scopes;
use hallway_gateway::config::{Config, Limits};
use hallway_gateway::connection::{Wire, data_frame};
use hallway_gateway::node::NodeId;
use hallway_gateway::server::open_store;
use hallway_gateway::service::{Actor, Answer, Cluster, Service};
use hallway_gateway::tasks::Tasks;
use hallway_protocol::codec::{Codec, decode_request, encode_request};
use hallway_protocol::command::{MessageSend, Signal};
use hallway_protocol::frame::OkFrame;
use hallway_protocol::model::MyRoom;
use hallway_protocol::{
    Command, History, Meta, Nonce, Request, Role, RoomId, RoomInfo, RoomKind, ServerFrame, Visibility, check,
};
use tokio::runtime::Runtime;

use crate::crowd::{CODEC, Crowd, PAYLOAD_BYTES, message, signal, signal_data, user};

/// Of everything small: enough that the first and the last weigh nothing.
const REPEATS: u64 = 500;
/// Messages handed over together when saturated.
const BATCH_MESSAGES: usize = 32;

/// What is counted, and how many operations it is.
pub(crate) struct Step {
    pub(crate) operations: u64,
    pub(crate) work: Work,
}

type Work = Box<dyn FnMut(&Runtime)>;
type Prepare = fn() -> Pin<Box<dyn Future<Output = Step>>>;

/// Every path by name.
pub(crate) const PATHS: &[(&str, Prepare)] = &[
    ("publish: decode and check a signal, JSON", || decode(Codec::Json)),
    ("publish: decode and check a signal, postcard", || decode(Codec::Postcard)),
    ("publish: encode a signal, JSON", || encode(Codec::Json)),
    ("publish: encode a signal, postcard", || encode(Codec::Postcard)),
    ("publish: encode a message's event, JSON", || encode_event(Codec::Json)),
    ("publish: encode a message's event, postcard", || encode_event(Codec::Postcard)),
    ("publish: a signal, from its bytes to its reply and one recipient", publish_signal),
    ("publish: a durable message, from its bytes to the writer's queue", queue_message),
    ("delivery: a signal, 1,000 sockets, 32 outstanding, per recipient", || deliver(1_000, BATCH_MESSAGES, false)),
    ("delivery: a signal, 1,000 sockets, one at a time, per recipient", || deliver(1_000, 1, false)),
    ("delivery: a signal, 10 sockets, one at a time, per recipient", || deliver(10, 1, false)),
    ("delivery: an event, 1,000 sockets, 32 outstanding, per recipient", || deliver(1_000, BATCH_MESSAGES, true)),
    ("delivery: an event, 1,000 sockets, one at a time, per recipient", || deliver(1_000, 1, true)),
    ("delivery: an event, 10 sockets, one at a time, per recipient", || deliver(10, 1, true)),
];

/// Takes every byte and counts it.
#[derive(Default)]
struct Sink {
    taken_bytes: Arc<AtomicU64>,
}

impl Wire for Sink {
    fn try_write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let bytes = slices.iter().map(|slice| slice.len()).sum::<usize>();
        self.taken_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(bytes)
    }
}

/// A crowd in one room, on one lane, all on this thread.
struct Scene {
    crowd: Crowd,
    taken_bytes: Arc<AtomicU64>,
    expected_bytes: u64,
    tasks: Tasks,
}

impl Scene {
    async fn new(members: usize) -> Self {
        let (taken_bytes, tasks) = (Arc::new(AtomicU64::new(0)), Tasks::default());
        let sink = |_| Arc::new(Sink { taken_bytes: Arc::clone(&taken_bytes) }) as Arc<dyn Wire>;
        let rooms = std::iter::once(0..members).collect();
        let crowd = Crowd::gather(1, (0..members).map(sink).collect(), rooms, &tasks);
        let mut scene = Self { crowd, taken_bytes, expected_bytes: 0, tasks };
        scene.publish(1).await;
        scene
    }

    /// Signals to the room, and their arrival.
    async fn signal(&mut self, messages: usize, frame_bytes: u64) {
        for _ in 0..messages {
            self.crowd.signal(0);
        }
        self.crowd.hub.drive();
        self.expected_bytes += frame_bytes * (messages * self.crowd.rooms[0].members.len()) as u64;
        self.arrived().await;
    }

    /// Events of the room, and their arrival.
    async fn publish(&mut self, messages: usize) {
        let events: Vec<_> = (0..messages).map(|_| self.crowd.next_message(0)).collect();
        let bytes: usize = events.iter().map(|event| event.frame().bytes(CODEC).len()).sum();
        self.expected_bytes += (bytes * self.crowd.rooms[0].members.len()) as u64;
        self.crowd.hub.publish(events).await;
        self.crowd.hub.drive();
        self.arrived().await;
    }

    async fn arrived(&self) {
        while self.taken_bytes.load(Ordering::Relaxed) < self.expected_bytes {
            tokio::task::yield_now().await;
        }
    }

    fn room(&self) -> RoomId {
        self.crowd.rooms[0].id.clone()
    }
}

fn decode(codec: Codec) -> Pin<Box<dyn Future<Output = Step>>> {
    Box::pin(async move {
        let room = RoomId::new("room-0000").expect("a name that rooms may have");
        let bytes = encode_request(codec, &Request { id: 1, command: signal_command(room) });
        let work = move |_: &Runtime| {
            for _ in 0..REPEATS {
                let request = decode_request(codec, &bytes).expect("it was encoded by us");
                check::check(&request.command).expect("a good command");
                std::hint::black_box(request);
            }
        };
        Step { operations: REPEATS, work: Box::new(work) }
    })
}

fn encode(codec: Codec) -> Pin<Box<dyn Future<Output = Step>>> {
    Box::pin(async move {
        let room = RoomId::new("room-0000").expect("a name that rooms may have");
        let content = signal(&room).content().clone();
        Step { operations: REPEATS, work: Box::new(move |_| encode_often(codec, &content)) }
    })
}

fn encode_event(codec: Codec) -> Pin<Box<dyn Future<Output = Step>>> {
    Box::pin(async move {
        let room = RoomId::new("room-0000").expect("a name that rooms may have");
        let content = message(&room, 1_000).frame().content().clone();
        Step { operations: REPEATS, work: Box::new(move |_| encode_often(codec, &content)) }
    })
}

fn encode_often(codec: Codec, content: &ServerFrame) {
    for _ in 0..REPEATS {
        std::hint::black_box(data_frame(codec, content));
    }
}

fn deliver(members: usize, messages: usize, durable: bool) -> Pin<Box<dyn Future<Output = Step>>> {
    Box::pin(async move {
        let mut scene = Scene::new(members).await;
        let frame_bytes = signal(&scene.room()).bytes(CODEC).len() as u64;
        let rounds = (20_000 / (members * messages)).max(1);
        let work = move |runtime: &Runtime| {
            runtime.block_on(async {
                for _ in 0..rounds {
                    if durable {
                        scene.publish(messages).await;
                    } else {
                        scene.signal(messages, frame_bytes).await;
                    }
                }
            });
        };
        Step { operations: (members * messages * rounds) as u64, work: Box::new(work) }
    })
}

/// What a session does with a request, without its socket.
struct Publisher {
    service: Service,
    actor: Actor,
    request: Bytes,
}

impl Publisher {
    /// The room's first member, who says this again and again.
    async fn new(scene: &Scene, command: Command) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut config = Config::default();
        config.server.data_dir = directory.path().to_owned();
        let store = open_store(&config).await.expect("an empty store");
        let (hub, metrics) = (scene.crowd.hub.clone(), Arc::clone(&scene.crowd.metrics));
        let limits = Limits::default();
        let alone =
            Cluster::new(NodeId::generate(), None, hub.clone(), Arc::clone(&store), &limits, Arc::clone(&metrics));
        let service = Service::start(store, hub, alone, limits, metrics, &scene.tasks);
        let connection = Arc::clone(&scene.crowd.connections[0]);
        scene.crowd.hub.learn(&user(0), &[my_room(scene.room())], &[], 1);
        let request = encode_request(CODEC, &Request { id: 1, command }).into();
        Self { service, actor: Actor { scopes: Scopes::ALL, connection }, request }
    }

    fn say(&self) -> Answer {
        let request = decode_request(CODEC, &self.request).expect("it was encoded by us");
        check::check(&request.command).expect("a good command");
        let answer = self.service.execute(&self.actor, request.command);
        if let Answer::Now(reply) = &answer {
            let reply = reply.clone().expect("a member may say this");
            let frame = data_frame(CODEC, &ServerFrame::Ok(OkFrame { id: request.id, reply }));
            self.actor.connection.outbound.push(frame);
        }
        self.service.hub().drive();
        answer
    }
}

fn publish_signal() -> Pin<Box<dyn Future<Output = Step>>> {
    Box::pin(async move {
        let scene = Scene::new(2).await;
        let publisher = Publisher::new(&scene, signal_command(scene.room())).await;
        let work = move |runtime: &Runtime| {
            runtime.block_on(async {
                for _ in 0..REPEATS {
                    let before = scene.crowd.metrics.deliveries.get();
                    publisher.say();
                    while scene.crowd.metrics.deliveries.get() == before {
                        tokio::task::yield_now().await;
                    }
                }
            });
        };
        Step { operations: REPEATS, work: Box::new(work) }
    })
}

fn queue_message() -> Pin<Box<dyn Future<Output = Step>>> {
    Box::pin(async move {
        let scene = Scene::new(1).await;
        let command = Command::MessageSend(MessageSend {
            nonce: Nonce::new("0123456789abcdef").expect("a nonce"),
            room: scene.room(),
            id: None,
            text: "x".repeat(PAYLOAD_BYTES),
            reply_to: None,
            mentions: Vec::new(),
            meta: None,
        });
        let publisher = Publisher::new(&scene, command).await;
        let work = move |_: &Runtime| {
            for _ in 0..REPEATS {
                let Answer::Later(_) = publisher.say() else { panic!("the queue takes it") };
            }
        };
        Step { operations: REPEATS, work: Box::new(work) }
    })
}

fn signal_command(room: RoomId) -> Command {
    let data = Meta::from_json(&signal_data()).expect("a small object");
    Command::Signal(Signal { room, name: "cursor".to_owned(), data: Some(data) })
}

fn my_room(room: RoomId) -> MyRoom {
    let info = RoomInfo {
        room,
        kind: RoomKind::Channel,
        visibility: Visibility::Public,
        history: History::All,
        name: None,
        archived: false,
        created_at_ms: 0,
    };
    MyRoom {
        info,
        role: Role::Member,
        joined_seq: 1,
        visible_from_seq: 1,
        first_seq: 1,
        last_seq: 1,
        unread: 0,
        read_seq: 0,
    }
}
