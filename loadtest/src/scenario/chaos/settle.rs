//! After the fault: does everything work again, and how soon? (I7)

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hallway_protocol::{Position, Seq, StreamId};
use loadtest_client::ledger::Opening;
use loadtest_client::{Client, ClientSettings, Connection};
use loadtest_cluster::Cluster;

use super::guest::{Guest, Seen, Watcher};
use super::inject::Felt;
use super::world::{Ack, World, heads};
use crate::metrics::{Latencies, Stat, read};
use crate::run::{Failure, for_all};

/// Beyond this nothing more is expected to come.
const PATIENCE: Duration = Duration::from_secs(15);
/// Publishes made within this of the healing count as made right after it.
const RIGHT_AFTER: Duration = Duration::from_secs(1);
const LOOK_PAUSE: Duration = Duration::from_millis(20);
/// How long the final read of one node may take.
const FINAL_READ_WITHIN: Duration = Duration::from_secs(60);
/// Names of those who miss something, at most.
const MISSING_SHOWN_MAX: usize = 5;

/// How the cluster came back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recovery {
    /// From the healing until the last publish that waited then, or was made right after, was acknowledged.
    pub(crate) publish: Option<Duration>,
    /// From the end of the injection until every node was ready.
    pub(crate) ready: Option<Duration>,
    /// From the healing, or the acknowledgement if that came later, until the last message of a room had reached all who read
    /// it; the worst room.
    pub(crate) last_message: Duration,
    /// Whom a room's last message never reached.
    pub(crate) missing: Vec<String>,
    pub(crate) given_up: u64,
}

/// How late acknowledged events came to members who were connected all the time, in microseconds.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(crate) struct Lateness {
    pub(crate) deliveries: u64,
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
    pub(crate) max_us: u64,
}

/// Waits until every node says that it is ready; says how long that took.
pub(crate) async fn readiness(cluster: &Cluster) -> Option<Duration> {
    let began = Instant::now();
    for node in &cluster.nodes {
        while !node.process.is_ready().await {
            if began.elapsed() > PATIENCE {
                return None;
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
    Some(began.elapsed())
}

/// Waits until nothing is on its way any more, neither towards the cluster nor from it.
pub(crate) async fn quiesce(world: &World) {
    let began = Instant::now();
    while world.in_flight.load(Ordering::Relaxed) > 0 && began.elapsed() < PATIENCE * 4 {
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    let heads = heads(world);
    let readers = readers(world);
    let began = Instant::now();
    let all_have = || readers.iter().all(|(guest, room)| guest.seen().stands_at(*room) >= head_of(&heads, *room));
    while !all_have() && began.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// Everybody who reads a room, once for each room.
fn readers(world: &World) -> Vec<(Guest, usize)> {
    let mut readers = Vec::new();
    for (number, room) in world.rooms.iter().enumerate() {
        readers.extend(room.present().iter().map(|guest| (world.guests[*guest].clone(), number)));
    }
    readers.extend(world.extra().iter().cloned());
    readers
}

fn head_of(heads: &HashMap<usize, Ack>, room: usize) -> Seq {
    heads.get(&room).map_or(0, |head| head.seq)
}

/// What the times say.
pub(crate) fn recovery(world: &World, felt: &Felt, ready: Option<Duration>) -> Recovery {
    let mut recovery = Recovery { ready, given_up: read(&world.counters.given_up), ..Recovery::default() };
    for room in &world.rooms {
        for ack in room.acks().iter() {
            if ack.at > felt.healed_at && ack.invoked < felt.healed_at + RIGHT_AFTER {
                let took = ack.at - ack.invoked.max(felt.healed_at);
                recovery.publish = recovery.publish.max(Some(took));
            }
        }
    }
    let heads = heads(world);
    for (guest, room) in readers(world) {
        let Some(head) = heads.get(&room) else { continue };
        let due = head.at.max(felt.healed_at);
        match guest.seen().reached(room, head.seq) {
            Some(at) => recovery.last_message = recovery.last_message.max(at.saturating_duration_since(due)),
            None if recovery.missing.len() < MISSING_SHOWN_MAX => {
                let (user, id) = (guest.user.as_str(), world.rooms[room].id.as_str());
                let stands_at = guest.seen().stands_at(room);
                let state = guest.client.state();
                let seq = head.seq;
                recovery.missing.push(format!("{user} ({state:?}) has {id} up to {stands_at} of {seq}"));
            }
            None => {}
        }
    }
    recovery
}

/// Lateness of what was acknowledged between two moments.
pub(crate) fn lateness(world: &World, from: Option<Instant>, to: Option<Instant>) -> Lateness {
    let mut acks: HashMap<(usize, Seq), Instant> = HashMap::new();
    for (number, room) in world.rooms.iter().enumerate() {
        let within = |ack: &&Ack| from.is_none_or(|from| ack.at >= from) && to.is_none_or(|to| ack.at < to);
        acks.extend(room.acks().iter().filter(within).map(|ack| ((number, ack.seq), ack.at)));
    }
    let latencies = Latencies::default();
    for guest in &world.guests {
        for came in &guest.seen().came {
            if let Some(acked_at) = acks.get(&(came.room, came.seq))
                && came.connected_since <= *acked_at
            {
                latencies.record(came.at.saturating_duration_since(*acked_at));
            }
        }
    }
    let value = |stat| latencies.value(stat).unwrap_or(0);
    Lateness {
        deliveries: latencies.count(),
        p50_us: value(Stat::P50),
        p99_us: value(Stat::P99),
        max_us: value(Stat::Max),
    }
}

/// Ends all sessions, and reads every room from its beginning on every node.
pub(crate) async fn final_read(world: &Arc<World>) -> Result<(), Failure> {
    let mut guests = world.guests.clone();
    guests.extend(world.extra().drain(..).map(|(guest, _)| guest));
    for guest in &guests {
        world.record(|book| book.done(guest.session));
    }
    for_all(guests, |guest| async move {
        guest.client.close().await;
        Ok(())
    })
    .await?;
    let nodes = (0..world.nodes()).collect();
    for_all(nodes, |node| read_all(Arc::clone(world), node)).await?;
    Ok(())
}

async fn read_all(world: Arc<World>, node: usize) -> Result<(), Failure> {
    let user = world.guests[0].user.clone();
    // The epoch is the node's to say; a first connection asks for it.
    let (asking, welcome) = Connection::open(&world.options(&user, node)?).await?;
    asking.close().await;
    let from_start = |room: &super::world::Room| Position {
        stream: StreamId::Room(room.id.clone()),
        epoch: welcome.epoch.clone(),
        seq: 0,
    };
    let positions: Vec<Position> = world.rooms.iter().map(from_start).collect();
    let mut recorder = world.ledger.recorder();
    let number = u32::try_from(node).unwrap_or(u32::MAX);
    let session = recorder.open(&user, Opening { final_read_of_node: Some(number), limited: false });
    recorder.starts_at(session, &positions);
    let seen = Arc::<std::sync::Mutex<Seen>>::default();
    let watcher = Watcher { recorder, session, rooms: Arc::clone(&world.numbers), seen: Arc::clone(&seen) };
    let client =
        Client::connect(ClientSettings::new(world.options(&user, node)?.positions(positions)), watcher).await?;
    let guest = Guest { user, client, session, seen };
    let began = Instant::now();
    while guest.seen().syncs == 0 {
        if began.elapsed() > FINAL_READ_WITHIN {
            return Err(format!("the final read of node {node} did not end within {FINAL_READ_WITHIN:?}").into());
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    world.record(|book| book.done(session));
    guest.client.close().await;
    Ok(())
}
