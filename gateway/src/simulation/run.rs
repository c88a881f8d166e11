//! One run, from its seed to its verdict.

use std::sync::Arc;

use hallway_protocol::{Position, StreamId};
use loadtest_client::ledger::{Counts, Invariant};

use super::client::{self, Client, SLOW_READ_US};
use super::node;
use super::world::{Broken, World};
use crate::telemetry::metrics::Metrics;

/// I7: after the last fault, writes succeed within so long.
const SETTLED_US: u64 = 5_000_000;
/// I7: after the last acknowledgement, who lacks something moves on within so long, and has everything within so long. A seed may
/// make sockets and backlogs so small that a page of the log takes many reads; who stands still is told from who is slow.
const MOVED_ON_US: u64 = 2_000_000;
const DELIVERED_US: u64 = 30_000_000;
/// Those who are no members any more read what is theirs until nobody got anything for so long.
const QUIET_US: u64 = 500_000;
/// A final read takes no longer.
const FINAL_READ_US: u64 = 10_000_000;
const LOOK_US: u64 = 20_000;

/// What a run came to.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) seed: u64,
    pub(super) broken: Option<Broken>,
    pub(super) counts: Counts,
    /// From the last acknowledgement until everybody had everything.
    pub(super) delivered_after_us: u64,
    pub(super) trace: Vec<String>,
}

/// Runs a seed. With `is_told`, everything that happens is noted.
pub(super) fn run(seed: u64, metrics: &Arc<Metrics>, is_told: bool) -> Ended {
    let mut world = World::new(seed, Arc::clone(metrics));
    world.trace = is_told.then(Vec::new);
    world.say(|| format!("seed {seed}: {:#?}", Profile::of(seed)));
    begin(&mut world);
    world.run_until(world.profile.talk_us);
    heal(&mut world);
    let delivered_after_us = settle(&mut world);
    final_reads(&mut world);
    judge(world, seed, delivered_after_us)
}

use super::profile::Profile;

/// Nodes start, people come and talk, and everything that goes wrong is put on the agenda.
fn begin(world: &mut World) {
    for place in 0..world.nodes.len() {
        let delay_us = world.below(100_000);
        world.after(delay_us, move |world| node::start(world, place));
    }
    for number in 0..world.clients.len() {
        let (comes_us, talks_us) = (world.below(500_000), 200_000 + world.below(500_000));
        world.after(comes_us, move |world| client::connect(world, number));
        world.after(talks_us, move |world| client::act(world, number));
    }
    let talk_us = world.profile.talk_us;
    for _ in 0..world.profile.kills {
        let (at_us, place) = (world.below(talk_us), world.one_of(world.nodes.len()));
        world.after(at_us, move |world| node::kill(world, place));
    }
    for _ in 0..world.profile.store.outages {
        let (at_us, long_us) = (world.below(talk_us), world.below(1_500_000));
        world.after(at_us, move |world| {
            world.say(|| format!("the store is out for {long_us} us"));
            world.store_out_until_us = world.now_us + long_us;
        });
    }
    for _ in 0..world.profile.bus.deaf {
        let (at_us, long_us, place) = (world.below(talk_us), world.below(2_000_000), world.one_of(world.nodes.len()));
        world.after(at_us, move |world| world.nodes[place].deaf_until_us = world.now_us + long_us);
    }
}

/// Nothing goes wrong any more; everybody says one more thing.
fn heal(world: &mut World) {
    world.say(|| "everything is healed".to_owned());
    world.is_healed = true;
    world.store_out_until_us = 0;
    for number in 0..world.clients.len() {
        let delay_us = world.below(300_000);
        world.after(delay_us, move |world| {
            let user = world.clients[number].user.clone();
            let room = world.store.rooms_of(&user).next().cloned();
            if let Some(room) = room {
                client::talk(world, number, &room);
            }
        });
    }
}

/// I7: everything is settled, and then everybody has everything. Says how long the latter took.
fn settle(world: &mut World) -> u64 {
    let healed_us = world.now_us;
    // Who was slow looks once more as late as that, and those who are no members any more read up to their removal then.
    world.run_until(healed_us + SLOW_READ_US + 300_000);
    // What was locked when everything was healed may still wait for the node's own time-out.
    let until_us = healed_us + SETTLED_US;
    while world.broken.is_none() && world.clients.iter().any(|client| client.unsettled > 0) {
        if world.now_us >= until_us {
            let unsettled: Vec<u64> = world.clients.iter().map(|client| client.unsettled).collect();
            let what = format!("{unsettled:?} messages are not settled {SETTLED_US} us after everything was healed");
            world.break_promise(Invariant::I7, what);
        }
        world.run_until(world.now_us + LOOK_US);
    }
    let settled_us = world.now_us;
    let mut moved: Vec<(u64, u64)> = vec![(0, settled_us); world.clients.len()];
    while world.broken.is_none()
        && let Some((client, who)) = who_lacks_something(world)
    {
        let stands_at = world.clients[client].positions.to_vec().iter().map(|position| position.seq).sum();
        if stands_at != moved[client].0 {
            moved[client] = (stands_at, world.now_us);
        }
        if world.now_us >= moved[client].1 + MOVED_ON_US {
            world.break_promise(Invariant::I7, format!("{who}, and has not moved for {MOVED_ON_US} us"));
        }
        if world.now_us >= settled_us + DELIVERED_US {
            world.break_promise(Invariant::I7, format!("{who}, {DELIVERED_US} us after the last acknowledgement"));
        }
        world.run_until(world.now_us + LOOK_US);
    }
    let delivered_after_us = world.now_us - settled_us;
    while world.broken.is_none() && world.now_us < world.taken_us + QUIET_US {
        world.run_until(world.now_us + LOOK_US);
    }
    delivered_after_us
}

/// The first person who lacks something, and what.
fn who_lacks_something(world: &World) -> Option<(usize, String)> {
    world.clients.iter().enumerate().find_map(|(number, client)| {
        world.store.rooms_of(&client.user).find_map(|room| {
            let stream = StreamId::Room(room.clone());
            let (stands, last) = (client.positions.get(&stream), world.store.head(&stream).last_seq);
            let lacks = || (number, format!("client {number} stands at {stands:?} of {last} in {stream}"));
            (stands != Some(last)).then(lacks)
        })
    })
}

/// The first person reads everything from the beginning, at every node.
fn final_reads(world: &mut World) {
    let first = world.clients.len();
    for place in 0..world.nodes.len() {
        let user = world.clients[0].user.clone();
        let from_start = |room| Position { stream: StreamId::Room(room), epoch: super::epoch(), seq: 0 };
        let positions = world.rooms.iter().cloned().map(from_start).collect();
        let reader = Client::final_reader(&world.ledger, user, place, positions);
        world.clients.push(reader);
        client::connect(world, first + place);
    }
    let until_us = world.now_us + FINAL_READ_US;
    while world.broken.is_none() && !world.clients[first..].iter().all(|reader| reader.is_synced) {
        if world.now_us >= until_us {
            world.break_promise(Invariant::I7, "a final read does not end".to_owned());
        }
        world.run_until(world.now_us + LOOK_US);
    }
}

fn judge(mut world: World, seed: u64, delivered_after_us: u64) -> Ended {
    world.clients.iter_mut().for_each(Client::close_the_books);
    world.recorder = None;
    let verdict = world.ledger.judge();
    if world.broken.is_none() {
        if let Some(violation) = verdict.violations.first() {
            world.break_promise(violation.invariant, format!("the ledger: {}", violation.what));
        } else if let Some(why) = &verdict.invalid {
            world.break_promise(Invariant::I1, format!("the run proves nothing: {why}"));
        }
    }
    let trace = world.trace.take().unwrap_or_default();
    Ended { seed, broken: world.broken, counts: verdict.counts, delivered_after_us, trace }
}
