//! Group commit: stands in for `service/writer`, with its schedule. Persist, then publish, then acknowledge.

use std::collections::BTreeMap;
use std::sync::Arc;

use hallway_protocol::command::Committed;
use hallway_protocol::frame::{ErrorFrame, OkFrame};
use hallway_protocol::{ErrorBody, ErrorCode, Event, EventBody, Reply, RoomId, ServerFrame, StreamId, UserId};

use super::node::{self, NodeRef, poke};
use super::store::{Action, Done, Write};
use super::world::World;
use crate::connection::data_frame;
use crate::hub::LiveEvent;
use crate::service::{Keyed, Kind, Schedule, Scheduled, Ticket};

/// As `limits.store_timeout_ms`.
const STORE_TIMEOUT_US: u64 = 3_000_000;
/// As in `service/writer`.
const HEADS_RETRY_PAUSE_US: u64 = 250_000;
/// A lock is held so long at most.
const LOCKED_US: u64 = 4_000_000;
const BATCH_MAX_WRITES: u64 = 64;

#[derive(Debug)]
pub(super) struct Writer {
    schedule: Schedule<Entry>,
    /// The batches that are waited for.
    under_way: BTreeMap<u64, Ticket>,
    batches: u64,
}

impl Writer {
    pub(super) fn new(side_by_side: bool) -> Self {
        Self { schedule: Schedule::new(side_by_side), under_way: BTreeMap::new(), batches: 0 }
    }
}

/// A write, and who waits for its answer: connection and number of the request.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) write: Write,
    pub(super) reply_to: Option<(u64, u64)>,
}

impl Keyed for Entry {
    type Room = RoomId;
    type Actor = UserId;

    fn rooms(&self) -> &[RoomId] {
        std::slice::from_ref(&self.write.room)
    }

    fn actor(&self) -> &UserId {
        &self.write.actor
    }

    fn weight(&self) -> usize {
        1
    }
}

impl Scheduled for Entry {
    fn kind(&self) -> Kind {
        match self.write.action {
            Action::Send { .. } => Kind::Send,
            Action::Add(_) | Action::Remove(_) => Kind::Act,
        }
    }
}

/// What came back from the store.
enum Outcome {
    Done(Vec<Option<Done>>),
    /// Nothing was written.
    Refused,
    Unknown,
}

pub(super) fn submit(world: &mut World, node: NodeRef, entry: Entry) {
    let Some(alive) = world.alive(node) else { return };
    alive.writer.schedule.push(entry);
    write_next(world, node);
}

fn write_next(world: &mut World, node: NodeRef) {
    loop {
        let most = usize::try_from(1 + world.below(BATCH_MAX_WRITES)).unwrap_or(1);
        let Some(alive) = world.alive(node) else { return };
        let writer = &mut alive.writer;
        let Some(next) = writer.schedule.next(most, Some) else { return };
        let (entries, ticket) = next.split();
        writer.batches += 1;
        let batch = writer.batches;
        writer.under_way.insert(batch, ticket);
        let waiting = entries.clone();
        world.after(STORE_TIMEOUT_US, move |world| {
            if world.alive(node).is_some_and(|alive| alive.writer.under_way.contains_key(&batch)) {
                refuse(world, node, &waiting, ErrorCode::OutcomeUnknown);
                over(world, node, batch);
            }
        });
        commit(world, node, batch, entries);
    }
}

/// The batch is on its way: the store carries it out whether its node lives or not.
fn commit(world: &mut World, node: NodeRef, batch: u64, entries: Vec<Entry>) {
    let delay_us = world.store_delay_us();
    world.after(delay_us, move |world| {
        let is_out = world.now_us < world.store_out_until_us;
        let back_us = world.store_delay_us();
        if is_out {
            return world.after(back_us, move |world| answered(world, node, batch, entries, Outcome::Refused));
        }
        let transaction = world.store.begin();
        let locked = world.fails(world.profile.store.locked);
        let held_us = if locked { world.below(LOCKED_US) } else { world.store_delay_us() };
        let fails = world.fails(world.profile.store.refused_before_commit);
        world.after(held_us, move |world| {
            if fails {
                world.store.roll_back(transaction);
                return world.after(back_us, move |world| answered(world, node, batch, entries, Outcome::Refused));
            }
            let writes: Vec<Write> = entries.iter().map(|entry| entry.write.clone()).collect();
            let done = world.commit(transaction, &writes);
            let is_lost = world.fails(world.profile.store.unanswered_after_commit);
            let outcome = if is_lost { Outcome::Unknown } else { Outcome::Done(done) };
            world.after(back_us, move |world| answered(world, node, batch, entries, outcome));
        });
    });
}

fn answered(world: &mut World, node: NodeRef, batch: u64, entries: Vec<Entry>, outcome: Outcome) {
    let Some(alive) = world.alive(node) else { return };
    let is_late = !alive.writer.under_way.contains_key(&batch);
    match outcome {
        Outcome::Refused if is_late => look(world, node, streams(&entries)),
        Outcome::Refused => {
            refuse(world, node, &entries, ErrorCode::StoreUnavailable);
            over(world, node, batch);
        }
        Outcome::Unknown => {
            look(world, node, streams(&entries));
            if !is_late {
                refuse(world, node, &entries, ErrorCode::OutcomeUnknown);
                over(world, node, batch);
            }
        }
        Outcome::Done(done) => acknowledge(world, node, (!is_late).then_some(batch), entries, done),
    }
}

/// `batch`: unless its answer came too late.
fn acknowledge(world: &mut World, node: NodeRef, batch: Option<u64>, entries: Vec<Entry>, done: Vec<Option<Done>>) {
    if world.fails(world.profile.killed_after_commit) {
        return node::kill(world, node.place);
    }
    let events: Vec<Event> = done.iter().flatten().flat_map(|done| done.events.clone()).collect();
    let Some(alive) = world.alive(node) else { return };
    for event in &events {
        if let (StreamId::User(user), EventBody::MembershipChanged(change)) = (&event.stream, &event.body) {
            alive.hub.hub.learn_change(user, change, event.seq);
        }
    }
    let live = events.iter().map(|event| Arc::new(LiveEvent::new(event.clone()))).collect();
    node::publish(world, node, live, move |world| {
        tell_others(world, node, &events);
        if world.fails(world.profile.killed_after_publish) {
            return node::kill(world, node.place);
        }
        let Some(batch) = batch else { return };
        for (entry, done) in entries.iter().zip(done) {
            match done {
                Some(done) => reply(world, node, entry, |id| ok(id, entry, &done)),
                None => refuse(world, node, std::slice::from_ref(entry), ErrorCode::NotAMember),
            }
        }
        over(world, node, batch);
    });
}

/// The fast path: it may lose, repeat, delay, reorder, and be deaf.
fn tell_others(world: &mut World, from: NodeRef, events: &[Event]) {
    let bus = world.profile.bus.clone();
    for place in (0..world.nodes.len()).filter(|place| *place != from.place) {
        for event in events {
            let copies = 1 + u64::from(world.fails(bus.repeated));
            for _ in 0..copies {
                let is_deaf = world.now_us < world.nodes[place].deaf_until_us;
                // A bus that is dead does not come back: nothing that is promised needs it.
                if bus.dead || is_deaf || world.fails(bus.lost) {
                    continue;
                }
                let late_us = if world.fails(bus.late) { world.below(3_000_000) } else { 0 };
                let delay_us = 1 + late_us + world.below(bus.delay_us);
                let event = event.clone();
                world.after(delay_us, move |world| {
                    let Some(node) = world.node_at(place) else { return };
                    node::publish(world, node, vec![Arc::new(LiveEvent::new(event))], |_| {});
                });
            }
        }
    }
}

/// Nobody knows what became of a batch: the heads tell.
fn look(world: &mut World, node: NodeRef, streams: Vec<StreamId>) {
    if world.alive(node).is_none() {
        return;
    }
    let asked = streams.clone();
    world.read_store(
        move |store| asked.into_iter().map(|stream| (stream.clone(), store.head(&stream).last_seq)).collect::<Vec<_>>(),
        move |world, heads| match (heads, world.alive(node)) {
            (Some(heads), Some(alive)) => {
                alive.hub.hub.heads(heads);
                poke(world, node);
            }
            _ => world.after(HEADS_RETRY_PAUSE_US, move |world| look(world, node, streams)),
        },
    );
}

fn streams(entries: &[Entry]) -> Vec<StreamId> {
    let mut streams: Vec<StreamId> = entries.iter().map(|entry| StreamId::Room(entry.write.room.clone())).collect();
    streams.sort();
    streams.dedup();
    streams
}

/// The next batch can go.
fn over(world: &mut World, node: NodeRef, batch: u64) {
    if let Some(alive) = world.alive(node)
        && let Some(ticket) = alive.writer.under_way.remove(&batch)
    {
        alive.writer.schedule.over(&ticket);
    }
    write_next(world, node);
    poke(world, node);
}

fn ok(id: u64, entry: &Entry, done: &Done) -> ServerFrame {
    let committed = Committed {
        stream: StreamId::Room(entry.write.room.clone()),
        epoch: super::epoch(),
        seq: done.seq,
        at_ms: 0,
        id: done.id.map(Into::into),
        repeated: done.repeated,
    };
    ServerFrame::Ok(OkFrame { id, reply: Reply::MessageSend(committed) })
}

fn refuse(world: &mut World, node: NodeRef, entries: &[Entry], code: ErrorCode) {
    for entry in entries {
        let error = |id| ServerFrame::Error(ErrorFrame { id: Some(id), error: ErrorBody::new(code, "simulated") });
        reply(world, node, entry, error);
    }
}

fn reply(world: &mut World, node: NodeRef, entry: &Entry, frame: impl FnOnce(u64) -> ServerFrame) {
    let Some((connection, id)) = entry.reply_to else { return };
    let Some(session) = world.alive(node).and_then(|alive| alive.sessions.get(&connection)) else { return };
    session.connection.outbound.push(data_frame(session.connection.codec, &frame(id)));
}
