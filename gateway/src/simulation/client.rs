//! People: they connect, talk, read slowly, hang up, move to other nodes, repeat what is unknown, and write everything down.
//!
//! What a frame does is what `loadtest_client::client` does with it, by the same pure `Positions`.

use std::collections::BTreeMap;
use std::sync::Arc;

use hallway_protocol::codec::{Codec, Received};
use hallway_protocol::{ErrorCode, Event, MessageId, Position, Reply, RoomId, Seq, ServerFrame, StreamId, UserId};
use loadtest_client::ledger::{Invariant, Ledger, Opening, PublishId, Recorder, SessionId};
use loadtest_client::{Notice, Positions, Step};

use super::door;
use super::node::{self, NodeRef};
use super::socket;
use super::store::{Action, Write};
use super::world::World;
use super::writer::Entry;

/// How long a client waits for an answer before the outcome is unknown.
const REQUEST_TIMEOUT_US: u64 = 2_000_000;
/// Between attempts to connect, and to send again.
const RETRY_US: u64 = 60_000;
/// What one way between client and node takes.
const WAY_US: u64 = 3_000;
/// A slow client looks at its socket again within so long.
pub(super) const SLOW_READ_US: u64 = 1_200_000;
const READ_US: u64 = 4_000;

/// A connection of a client: at which node, and its number there.
pub(super) type Link = (NodeRef, u64);

pub(super) struct Client {
    pub(super) user: UserId,
    codec: Codec,
    pub(super) positions: Positions,
    recorder: Option<Recorder>,
    session: SessionId,
    limit: Option<u32>,
    link: Option<Link>,
    /// Only this node, or any.
    only_node: Option<usize>,
    /// The hello of this connection was answered.
    is_welcome: bool,
    /// A sync of this connection has ended.
    pub(super) is_synced: bool,
    unread: Vec<u8>,
    is_slow: bool,
    waiting: BTreeMap<u64, Attempt>,
    requests: u64,
    /// Messages that were neither acknowledged nor definitely refused for good.
    pub(super) unsettled: u64,
}

#[derive(Debug, Clone)]
struct Attempt {
    publish: PublishId,
    write: Write,
}

impl Client {
    pub(super) fn new(ledger: &Arc<Ledger>, number: usize, user: UserId, limit: Option<u32>) -> Self {
        let codec = if number.is_multiple_of(2) { Codec::Json } else { Codec::Postcard };
        let opening = Opening { final_read_of_node: None, limited: limit.is_some() };
        Self::open(ledger, user, codec, limit, opening)
    }

    /// Reads everything from the beginning, at one node.
    pub(super) fn final_reader(ledger: &Arc<Ledger>, user: UserId, node: usize, positions: Vec<Position>) -> Self {
        let opening = Opening { final_read_of_node: Some(u32::try_from(node).unwrap_or(0)), limited: false };
        let mut client = Self::open(ledger, user, Codec::Postcard, None, opening);
        if let Some(recorder) = &mut client.recorder {
            recorder.starts_at(client.session, &positions);
        }
        client.positions = Positions::new(positions);
        client.only_node = Some(node);
        client
    }

    fn open(ledger: &Arc<Ledger>, user: UserId, codec: Codec, limit: Option<u32>, opening: Opening) -> Self {
        let mut recorder = ledger.recorder();
        let session = recorder.open(&user, opening);
        Self {
            user,
            codec,
            positions: Positions::default(),
            recorder: Some(recorder),
            session,
            limit,
            link: None,
            only_node: None,
            is_welcome: false,
            is_synced: false,
            unread: Vec::new(),
            is_slow: false,
            waiting: BTreeMap::new(),
            requests: 0,
            unsettled: 0,
        }
    }

    fn record<T>(&mut self, write: impl FnOnce(&mut Recorder) -> T) -> T {
        write(self.recorder.as_mut().expect("the books are open until the judgement"))
    }

    /// It had every chance to read to the end.
    pub(super) fn close_the_books(&mut self) {
        let session = self.session;
        self.record(|recorder| recorder.done(session));
        self.recorder = None;
    }
}

/// Connects somewhere, sooner or later.
pub(super) fn connect(world: &mut World, client: usize) {
    if world.clients[client].link.is_some() {
        return;
    }
    let place = world.clients[client].only_node.unwrap_or(world.below(world.nodes.len() as u64) as usize);
    let link = world.node_at(place).and_then(|node| {
        let Client { user, codec, positions, limit, .. } = &world.clients[client];
        let (user, codec, resume) = (user.clone(), *codec, (positions.to_vec(), *limit));
        Some((node, door::admit(world, node, client, &user, codec, resume)?))
    });
    match link {
        Some(link) => {
            world.say(|| format!("client {client} connects to node {place}"));
            let client = &mut world.clients[client];
            (client.link, client.is_welcome, client.is_synced) = (Some(link), false, false);
            client.unread.clear();
        }
        None => world.after(RETRY_US, move |world| connect(world, client)),
    }
}

/// The line is gone.
pub(super) fn disconnected(world: &mut World, client: usize, link: Link) {
    if world.clients[client].link != Some(link) {
        return;
    }
    world.say(|| format!("client {client} lost its line"));
    world.clients[client].link = None;
    let lost = std::mem::take(&mut world.clients[client].waiting);
    for attempt in lost.into_values() {
        world.clients[client].record(|recorder| recorder.unknown(attempt.publish));
        try_again(world, client, attempt);
    }
    let pause_us = 1_000 + world.below(RETRY_US);
    world.after(pause_us, move |world| connect(world, client));
}

/// One thing that a person does, and the next after a while.
pub(super) fn act(world: &mut World, client: usize) {
    if world.is_healed {
        return;
    }
    let pause_us = world.profile.pause_us / 2 + world.below(world.profile.pause_us);
    world.after(pause_us, move |world| act(world, client));
    let people = world.profile.people.clone();
    if world.fails(people.hang_up) {
        if let Some(link) = world.clients[client].link {
            node::hang_up(world, link.0, link.1);
            disconnected(world, client, link);
        }
    } else if world.fails(people.become_slow) {
        world.clients[client].is_slow ^= true;
    } else if client == 0 && world.fails(people.change_members) {
        change_members(world);
    } else if client == 0 && world.fails(people.trim) {
        let room = world.one_of(world.rooms.len());
        world.trim(&world.rooms[room].clone());
    } else {
        let room = world.one_of(world.rooms.len());
        let room = world.rooms[room].clone();
        if world.store.is_member(&world.clients[client].user, &room) {
            talk(world, client, &room);
        }
    }
}

/// The first person takes somebody in, or out.
fn change_members(world: &mut World) {
    let (room, user) = (world.one_of(world.rooms.len()), 1 + world.one_of(world.profile.users - 1));
    let (room, user) = (world.rooms[room].clone(), world.clients[user].user.clone());
    let is_member = world.store.is_member(&user, &room);
    let action = if is_member { Action::Remove(user) } else { Action::Add(user) };
    let Some((node, id)) = world.clients[0].link else { return };
    let nonce = world.bits() as u64;
    let write = Write { actor: world.clients[0].user.clone(), nonce, room, action };
    let way_us = world.below(WAY_US);
    world.after(way_us, move |world| node::request(world, node, id, Entry { write, reply_to: None }));
}

/// A message, from its first attempt on.
pub(super) fn talk(world: &mut World, client: usize, room: &RoomId) {
    let (bits, nonce, length) = (world.bits(), world.bits() as u64, world.below(120));
    let uuid = uuid::Builder::from_u128(bits).with_version(uuid::Version::SortRand).into_uuid();
    let id = MessageId::from_uuid(uuid).expect("a UUID of version 7");
    let text = "x".repeat(usize::try_from(length).unwrap_or(0));
    let user = world.clients[client].user.clone();
    let stream = StreamId::Room(room.clone());
    let publish = world.clients[client].record(|recorder| recorder.invoke(&stream, &user, id, &text));
    let write = Write { actor: user, nonce, room: room.clone(), action: Action::Send { id, text } };
    world.clients[client].unsettled += 1;
    send(world, client, Attempt { publish, write }, true);
}

fn try_again(world: &mut World, client: usize, attempt: Attempt) {
    let pause_us = RETRY_US / 2 + world.below(RETRY_US);
    world.after(pause_us, move |world| send(world, client, attempt, false));
}

/// Sends, as soon as there is a line.
fn send(world: &mut World, client: usize, attempt: Attempt, is_first: bool) {
    let Some((node, id)) = world.clients[client].link.filter(|_| world.clients[client].is_welcome) else {
        return world.after(RETRY_US, move |world| send(world, client, attempt, is_first));
    };
    if !is_first {
        world.clients[client].record(|recorder| recorder.retry(attempt.publish));
    }
    let entry_write = attempt.write.clone();
    world.clients[client].requests += 1;
    let request = world.clients[client].requests;
    world.clients[client].waiting.insert(request, attempt);
    let way_us = world.below(WAY_US);
    let entry = Entry { write: entry_write, reply_to: Some((id, request)) };
    world.after(way_us, move |world| node::request(world, node, id, entry));
    world.after(REQUEST_TIMEOUT_US, move |world| {
        if let Some(attempt) = world.clients[client].waiting.remove(&request) {
            world.clients[client].record(|recorder| recorder.unknown(attempt.publish));
            try_again(world, client, attempt);
        }
    });
}

/// How long until this client looks at its socket.
pub(super) fn read_delay_us(world: &mut World, client: usize) -> u64 {
    let is_slow = world.clients[client].is_slow && !world.is_healed;
    1 + world.below(if is_slow { SLOW_READ_US } else { READ_US })
}

/// The client takes what its socket has.
pub(super) fn read(world: &mut World, client: usize, link: Link, bytes: &[u8]) {
    if world.clients[client].link != Some(link) {
        return;
    }
    let codec = world.clients[client].codec;
    world.clients[client].unread.extend_from_slice(bytes);
    let frames = socket::frames(codec, &mut world.clients[client].unread);
    for frame in frames {
        take(world, client, frame);
    }
}

fn take(world: &mut World, client: usize, received: Received) {
    let Received::Frame(frame) = received else { return };
    let (user, session) = (world.clients[client].user.clone(), world.clients[client].session);
    let positions = &mut world.clients[client].positions;
    let notice = match frame {
        ServerFrame::Event(event) => {
            world.taken_us = world.now_us;
            let step = positions.event(&event.stream, event.seq);
            positions.delivered(&event.stream, event.seq, &event.body);
            check(world, client, &user, &event, step);
            Notice::Event { event, step }
        }
        ServerFrame::Ok(ok) => match ok.reply {
            Reply::Hello(welcome) => {
                positions.welcome(&welcome);
                world.clients[client].is_welcome = true;
                Notice::Connected { welcome: Box::new(welcome), upgraded_at: std::time::Instant::now() }
            }
            Reply::MessageSend(committed) => {
                if let Some(attempt) = world.clients[client].waiting.remove(&ok.id) {
                    world.clients[client].record(|recorder| recorder.ok(attempt.publish, &committed));
                    world.clients[client].unsettled -= 1;
                }
                return;
            }
            _ => return,
        },
        ServerFrame::Error(frame) => {
            if let Some(attempt) = frame.id.and_then(|id| world.clients[client].waiting.remove(&id)) {
                refused(world, client, attempt, frame.error.code);
            }
            return;
        }
        ServerFrame::Reset(reset) => {
            let before = positions.reset(&reset);
            world.say(|| format!("client {client} is reset in {} to {}: {:?}", reset.stream, reset.seq, reset.reason));
            Notice::Reset { reset, before }
        }
        ServerFrame::SyncEnd(end) => {
            let holes = positions.synced(&end.positions);
            world.clients[client].is_synced = true;
            if let Some((stream, seq)) = holes.first() {
                let what = format!("client {client} stood at {seq} in {stream}, and sync_end says more");
                world.break_promise(Invariant::I5, what);
            }
            Notice::Synced { positions: end.positions, holes }
        }
        _ => return,
    };
    world.clients[client].record(|recorder| recorder.observe(session, &notice));
}

fn refused(world: &mut World, client: usize, attempt: Attempt, code: ErrorCode) {
    world.clients[client].record(|recorder| match code {
        ErrorCode::OutcomeUnknown => recorder.unknown(attempt.publish),
        _ => recorder.fail(attempt.publish),
    });
    match code {
        // Removed meanwhile: to be said elsewhere, or never.
        ErrorCode::NotAMember => world.clients[client].unsettled -= 1,
        _ => try_again(world, client, attempt),
    }
}

/// What can be said of an event at once: it is the next one, it is what the store has there, and it is for this person.
fn check(world: &mut World, client: usize, user: &UserId, event: &Event, step: Step) {
    let Event { stream, seq, .. } = event;
    world.say(|| format!("client {client} gets {stream} {seq} {} ({step:?})", event.body.name()));
    let broken = stands(world, user, stream, *seq, event).or_else(|| match step {
        Step::Gap { after } => Some((Invariant::I5, format!("after {after} came {seq}"))),
        Step::Unannounced if *seq != 1 => Some((Invariant::I5, format!("{seq} came without a position"))),
        _ => None,
    });
    if let Some((invariant, what)) = broken {
        world.break_promise(invariant, format!("client {client} in {stream}: {what}"));
    }
}

fn stands(world: &World, user: &UserId, stream: &StreamId, seq: Seq, event: &Event) -> Option<(Invariant, String)> {
    if !world.store.may_have(user, stream, seq) {
        return Some((Invariant::I8, format!("{user} gets {seq} without being a member then")));
    }
    match world.store.event(stream, seq) {
        Some(stored) if stored != event => Some((Invariant::I4, format!("{seq} is another event in the store"))),
        None if seq > world.store.head(stream).last_seq => Some((Invariant::I2, format!("{seq} was never committed"))),
        _ => None,
    }
}
