//! A node: the real hub, and the loops that in `service` and `session` wait, written as things that happen.
//!
//! What stands in for what: [`poke`] for the loops of `hub/owner` and `hub/lane/shared`; [`session_turn`] and [`read_log`] for
//! `session/run` and `session/catch_up`; the sibling `door` for `session/handshake` and `service/sync`; [`follow_tail`] for
//! `service/upkeep`; the sibling `writer` for `service/writer`.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use hallway_store::PageRequest;

use super::socket::Socket;
use super::store::{Page, Transaction};
use super::world::World;
use super::writer::Writer;
use super::{client, writer};
use crate::config::Limits;
use crate::hub::{Behind, Connection, LiveEvent, LogPage, LogRead, OwnerReading, PageForPair, SteppedHub};
use crate::sabotage::{Mutant, is_on};
use crate::session::catch_up;
use crate::session::page_sizes::PageSizes;

/// As in `service/upkeep`.
const TAIL_PERIOD_US: u64 = 500_000;
/// As in `hub/owner`.
const SWEEP_PERIOD_US: u64 = 1_000_000;
/// As in `session/run`.
const READ_RETRY_PAUSE_US: u64 = 200_000;
/// Messages that an owner takes in one turn at most.
const TURN_MAX_MESSAGES: u64 = 20;

/// A place for a node; who starts there again is another node.
#[derive(Default)]
pub(super) struct Node {
    pub(super) life: u32,
    pub(super) alive: Option<Alive>,
    /// Hears nothing on the bus before this time.
    pub(super) deaf_until_us: u64,
}

/// A node's place and which of the nodes that lived there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NodeRef {
    pub(super) place: usize,
    pub(super) life: u32,
}

type Waiting = (Pin<Box<dyn Future<Output = ()>>>, Box<dyn FnOnce(&mut World)>);

pub(super) struct Alive {
    pub(super) hub: SteppedHub,
    pub(super) writer: Writer,
    pub(super) sessions: BTreeMap<u64, Session>,
    page_sizes: PageSizes,
    waiting: Vec<Waiting>,
    /// When the next turn of each owner and lane is due.
    owner_due_us: Vec<Option<u64>>,
    lane_is_due: Vec<bool>,
    pub(super) next_connection: u64,
}

pub(super) struct Session {
    pub(super) connection: Arc<Connection>,
    pub(super) socket: Arc<Socket>,
    client: usize,
    is_reading_log: bool,
    turn_is_due: bool,
    client_reads: bool,
}

impl Session {
    pub(super) fn new(connection: Arc<Connection>, socket: Arc<Socket>, client: usize) -> Self {
        Self { connection, socket, client, is_reading_log: false, turn_is_due: false, client_reads: false }
    }
}

impl World {
    /// The node, if it still lives.
    pub(super) fn alive(&mut self, node: NodeRef) -> Option<&mut Alive> {
        let place = self.nodes.get_mut(node.place)?;
        if place.life == node.life { place.alive.as_mut() } else { None }
    }

    pub(super) fn node_at(&self, place: usize) -> Option<NodeRef> {
        let node = &self.nodes[place];
        node.alive.is_some().then_some(NodeRef { place, life: node.life })
    }
}

/// A node starts: the tail is followed before anybody is let in.
pub(super) fn start(world: &mut World, place: usize) {
    let life = world.nodes[place].life + 1;
    world.nodes[place].life = life;
    let node = NodeRef { place, life };
    world.read_store(
        |store| store.tail(Transaction::FIRST).1,
        move |world, cursor| match cursor {
            None if world.nodes[place].life == life => world.after(100_000, move |world| start(world, place)),
            Some(cursor) if world.nodes[place].life == life => {
                let socket_send_buffer_bytes = 2 * world.profile.socket_bytes as u64;
                let page_sizes = PageSizes::new(&Limits { socket_send_buffer_bytes, ..world.profile.limits.clone() });
                let (limits, metrics) = (world.profile.limits.clone(), Arc::clone(&world.metrics));
                let (epoch, now, lanes) = (world.store.epoch().clone(), world.now(), world.profile.lanes);
                let hub = SteppedHub::new(lanes, epoch, limits, metrics, now);
                world.nodes[place].alive = Some(Alive {
                    owner_due_us: vec![None; hub.count()],
                    lane_is_due: vec![false; hub.count()],
                    hub,
                    writer: Writer::new(world.profile.store.side_by_side),
                    sessions: BTreeMap::new(),
                    page_sizes,
                    waiting: Vec::new(),
                    next_connection: 1,
                });
                world.say(|| format!("node {place} is up (life {life})"));
                follow_tail(world, node, cursor);
                sweep(world, node);
            }
            _ => {}
        },
    );
}

/// kill -9, at this moment. Somebody starts it again.
pub(super) fn kill(world: &mut World, place: usize) {
    let Some(alive) = world.nodes[place].alive.take() else { return };
    world.say(|| format!("node {place} is killed"));
    let node = NodeRef { place, life: world.nodes[place].life };
    world.nodes[place].life += 1;
    for (id, session) in &alive.sessions {
        let (id, client) = (*id, session.client);
        world.after(1, move |world| client::disconnected(world, client, (node, id)));
    }
    let pause_us = 50_000 + world.below(if world.is_healed { 300_000 } else { 1_500_000 });
    world.after(pause_us, move |world| start(world, place));
}

fn follow_tail(world: &mut World, node: NodeRef, cursor: Transaction) {
    world.after(TAIL_PERIOD_US, move |world| {
        if world.alive(node).is_none() {
            return;
        }
        world.read_store(
            move |store| store.tail(cursor),
            move |world, tail| {
                let Some(alive) = world.alive(node) else { return };
                let next = match tail {
                    Some((heads, next)) => {
                        if !heads.is_empty() && !is_on(Mutant::NoTail) {
                            alive.hub.hub.heads(heads);
                        }
                        next
                    }
                    None => cursor,
                };
                poke(world, node);
                follow_tail(world, node, next);
            },
        );
    });
}

fn sweep(world: &mut World, node: NodeRef) {
    world.after(SWEEP_PERIOD_US, move |world| {
        let now = world.now();
        let Some(alive) = world.alive(node) else { return };
        (0..alive.hub.count()).for_each(|index| alive.hub.sweep(index, now));
        poke(world, node);
        sweep(world, node);
    });
}

/// Hands events to the hub, as the writer and the bus do; then goes on.
pub(super) fn publish(
    world: &mut World,
    node: NodeRef,
    events: Vec<Arc<LiveEvent>>,
    then: impl FnOnce(&mut World) + 'static,
) {
    let Some(alive) = world.alive(node) else { return };
    let hub = alive.hub.hub.clone();
    wait(world, node, async move { hub.publish(events).await }, then);
}

/// Waits for the hub, then goes on, if the node still lives.
pub(super) fn wait(
    world: &mut World,
    node: NodeRef,
    future: impl Future<Output = ()> + 'static,
    then: impl FnOnce(&mut World) + 'static,
) {
    let Some(alive) = world.alive(node) else { return };
    alive.waiting.push((Box::pin(future), Box::new(then)));
    poke(world, node);
}

/// Whoever has something to do on a node gets a turn soon.
pub(super) fn poke(world: &mut World, node: NodeRef) {
    poll_waiting(world, node);
    let (now, now_us) = (world.now(), world.now_us);
    let Some(alive) = world.alive(node) else { return };
    let mut owners = Vec::new();
    for index in 0..alive.hub.count() {
        let wakes_at = alive.hub.owner_wakes_at(index, now).saturating_duration_since(now);
        let due_us = now_us + u64::try_from(wakes_at.as_micros()).unwrap_or(u64::MAX);
        if alive.owner_due_us[index].is_none_or(|present| due_us < present) {
            owners.push((index, due_us));
        }
    }
    let lanes: Vec<usize> = (0..alive.hub.count())
        .filter(|index| alive.hub.lane_has_messages(*index) && !alive.lane_is_due[*index])
        .collect();
    lanes.iter().for_each(|index| alive.lane_is_due[*index] = true);
    let due = |session: &Session| {
        !session.turn_is_due
            && (session.connection.outbound.close_requested().is_some()
                || session.connection.outbound.backlog_bytes() > 0 && !session.socket.has_bytes()
                || session.connection.has_behind()
                    && session.connection.outbound.is_half_empty()
                    && !session.is_reading_log)
    };
    let mut turns = Vec::new();
    let mut readers = Vec::new();
    for (id, session) in &mut alive.sessions {
        if due(session) {
            session.turn_is_due = true;
            turns.push(*id);
        }
        if session.socket.has_bytes() && !session.client_reads {
            session.client_reads = true;
            readers.push((*id, session.client));
        }
    }
    for (index, due_us) in owners {
        let at_us = due_us + world.below(world.profile.turn_us);
        if let Some(alive) = world.alive(node) {
            alive.owner_due_us[index] = Some(at_us);
        }
        world.after(at_us - now_us, move |world| owner_turn(world, node, index, at_us));
    }
    for index in lanes {
        let delay_us = world.below(world.profile.turn_us);
        world.after(delay_us, move |world| lane_turn(world, node, index));
    }
    for id in turns {
        let delay_us = world.below(world.profile.turn_us);
        world.after(delay_us, move |world| session_turn(world, node, id));
    }
    for (id, client) in readers {
        let delay_us = client::read_delay_us(world, client);
        world.after(delay_us, move |world| client_reads(world, node, id));
    }
}

fn poll_waiting(world: &mut World, node: NodeRef) {
    let mut index = 0;
    loop {
        let Some(alive) = world.alive(node) else { return };
        let Some((waiting, _)) = alive.waiting.get_mut(index) else { return };
        match waiting.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => index += 1,
            Poll::Ready(()) => {
                let (_, then) = alive.waiting.remove(index);
                then(world);
            }
        }
    }
}

fn owner_turn(world: &mut World, node: NodeRef, index: usize, at_us: u64) {
    let most = 1 + world.below(TURN_MAX_MESSAGES);
    let drives = world.chance(0.5);
    let now = world.now();
    let Some(alive) = world.alive(node) else { return };
    if alive.owner_due_us[index] != Some(at_us) {
        // It was woken earlier meanwhile.
        return;
    }
    alive.owner_due_us[index] = None;
    let read = alive.hub.owner_turn(index, usize::try_from(most).unwrap_or(1), now);
    if drives {
        alive.hub.hub.drive();
    }
    if let Some((reading, reads)) = read {
        read_for_owner(world, node, reading, reads);
    }
    poke(world, node);
}

fn read_for_owner(world: &mut World, node: NodeRef, reading: OwnerReading, reads: Vec<LogRead>) {
    world.read_store(
        move |store| {
            let page =
                |read: &LogRead| log_page(store.epoch().clone(), store.page(&read.stream, read.after, read.limit));
            reads.iter().map(page).collect::<Vec<LogPage>>()
        },
        move |world, pages| {
            let now = world.now();
            let Some(alive) = world.alive(node) else { return };
            alive.hub.owner_answered(reading, pages, now);
            poke(world, node);
        },
    );
}

fn log_page(epoch: hallway_protocol::Epoch, page: Page) -> LogPage {
    let events = page.events.into_iter().map(|event| Arc::new(LiveEvent::new(event))).collect();
    LogPage { epoch, first_seq: page.first_seq, last_seq: page.last_seq, events }
}

fn lane_turn(world: &mut World, node: NodeRef, index: usize) {
    let Some(alive) = world.alive(node) else { return };
    alive.lane_is_due[index] = alive.hub.lane_turn(index);
    if alive.lane_is_due[index] {
        let delay_us = world.below(world.profile.turn_us);
        world.after(delay_us, move |world| lane_turn(world, node, index));
    }
    poke(world, node);
}

/// A connection ends, whoever wanted it.
pub(super) fn hang_up(world: &mut World, node: NodeRef, id: u64) {
    let Some(alive) = world.alive(node) else { return };
    let Some(session) = alive.sessions.remove(&id) else { return };
    alive.hub.hub.leave(&session.connection);
    let client = session.client;
    poke(world, node);
    world.after(1, move |world| client::disconnected(world, client, (node, id)));
}

fn session_turn(world: &mut World, node: NodeRef, id: u64) {
    let Some(alive) = world.alive(node) else { return };
    let Some(session) = alive.sessions.get_mut(&id) else { return };
    session.turn_is_due = false;
    let outbound = &session.connection.outbound;
    if outbound.close_requested().is_some() || outbound.is_broken() {
        return hang_up(world, node, id);
    }
    outbound.flush();
    if !session.is_reading_log
        && let Some(behind) = catch_up::next(&session.connection)
    {
        let connection = Arc::clone(&session.connection);
        let served = catch_up::serve_from_rings(&alive.hub.hub, &connection, behind, &alive.page_sizes);
        if !served.unheld.is_empty() {
            session.is_reading_log = true;
            read_log(world, node, &connection, served.unheld);
        }
    }
    poke(world, node);
}

fn read_log(world: &mut World, node: NodeRef, connection: &Arc<Connection>, behind: Vec<Behind>) {
    let Some(alive) = world.alive(node) else { return };
    let asked = catch_up::requests(connection, &behind, &alive.page_sizes);
    let connection = Arc::clone(connection);
    let id = connection.id.0;
    world.read_store(
        move |store| {
            let page = |wanted: &PageRequest| {
                log_page(store.epoch().clone(), store.page(&wanted.stream, wanted.after, wanted.limit))
            };
            asked.iter().map(page).collect::<Vec<LogPage>>()
        },
        move |world, pages| {
            match pages {
                Some(pages) => hand_over(world, node, &connection, &behind, pages),
                None => {
                    connection.ask_again(behind);
                    return world.after(READ_RETRY_PAUSE_US, move |world| log_was_read(world, node, id));
                }
            }
            log_was_read(world, node, id);
        },
    );
}

fn log_was_read(world: &mut World, node: NodeRef, id: u64) {
    if let Some(session) = world.alive(node).and_then(|alive| alive.sessions.get_mut(&id)) {
        session.is_reading_log = false;
    }
    poke(world, node);
}

fn hand_over(world: &mut World, node: NodeRef, connection: &Arc<Connection>, behind: &[Behind], pages: Vec<LogPage>) {
    for (wanted, page) in behind.iter().zip(pages) {
        if let Some(alive) = world.alive(node) {
            catch_up::learn(&alive.page_sizes, &wanted.stream, &page, connection.codec);
        }
        let reset = catch_up::reset_of(wanted, &page, &page.epoch);
        let member_since = match wanted.stream.room() {
            Some(room) => world.store.joined_seq(&connection.user, room),
            None => Some(0),
        };
        let kept = world.store.page(&wanted.stream, reset.as_ref().map_or(0, |reset| reset.seq), u32::MAX);
        let kept = log_page(world.store.epoch().clone(), kept).events;
        let ends_later = catch_up::first_turn(&kept, &connection.user, wanted.joined_seq) == Some(true);
        let is_over = reset.is_some() && member_since != Some(wanted.joined_seq) && !ends_later;
        let page = PageForPair {
            connection: connection.id,
            stream: wanted.stream.clone(),
            from: wanted.next,
            joined_seq: wanted.joined_seq,
            reset,
            is_over,
            events: page.events,
        };
        if let Some(alive) = world.alive(node) {
            alive.hub.hub.page(page);
        }
    }
}

fn client_reads(world: &mut World, node: NodeRef, id: u64) {
    let Some(session) = world.alive(node).and_then(|alive| alive.sessions.get_mut(&id)) else { return };
    session.client_reads = false;
    let (bytes, client) = (session.socket.read(), session.client);
    session.connection.outbound.flush();
    client::read(world, client, (node, id), &bytes);
    poke(world, node);
}

/// A request of a client has arrived.
pub(super) fn request(world: &mut World, node: NodeRef, id: u64, entry: writer::Entry) {
    if world.alive(node).is_some_and(|alive| alive.sessions.contains_key(&id)) {
        writer::submit(world, node, entry);
    }
}
