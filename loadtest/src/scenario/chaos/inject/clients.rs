//! What clients can do to a cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hallway_protocol::{Command, MessageId, Seq, UserId};
use loadtest_client::RequestError;
use loadtest_client::client::{committed, message};
use rand::RngExt;

use super::super::guest::Guest;
use super::super::load;
use super::super::world::{Quiet, World};
use super::{Felt, Scene};
use crate::metrics::read;
use crate::run::{Failure, for_all};

/// Messages of each hot writer on their way.
const HOT_IN_FLIGHT: usize = 8;
/// Fewer commands than this, and the fault was none.
const COMMANDS_MIN: u64 = 20;
/// Changes of writer that show that both wrote at the same time.
const TURNS_MIN: u64 = 5;
/// Changes of membership per second.
const CHURN_RATE: f64 = 40.0;
/// How long a storm may last.
const BACK_WITHIN: Duration = Duration::from_secs(30);
/// What a reader who does not read is flooded with: more than the kernel and the backlog take.
const FLOOD_MESSAGES: usize = 320;
const FLOOD_BYTES: usize = 4096;
const FLOOD_AT_ONCE: usize = 16;

/// A room that is written to all the time.
fn busy_room(scene: &mut Scene<'_>) -> usize {
    let busy = |number: &usize| *number > 1 && scene.world.rooms[*number].quiet == Quiet::Never;
    let rooms: Vec<usize> = (0..scene.world.rooms.len()).filter(busy).collect();
    rooms[scene.random.random_range(0..rooms.len())]
}

/// A member of the room on each of two nodes, for good. With `same_user`, both are one user.
async fn pair(scene: &mut Scene<'_>, room: usize, same_user: bool) -> Result<[Guest; 2], Failure> {
    let first = scene.any_node();
    let nodes = [first, first + 1];
    let mut guests = Vec::new();
    for (place, node) in nodes.into_iter().enumerate() {
        let whose = if same_user { 0 } else { place };
        let user = UserId::new(&format!("{}-x{whose}", scene.world.rooms[room].id.as_str()))?;
        let guest = scene.world.guest(user, node % scene.world.nodes(), false)?.await?;
        if place == 0 || !same_user {
            let invoked = Instant::now();
            let joined = guest.client.join(&scene.world.rooms[room].id).await?;
            scene.world.record(|book| book.joined(&scene.world.rooms[room].stream, &guest.user, joined.seq));
            scene.world.rooms[room].acked(joined.seq, invoked);
        }
        guests.push(guest);
    }
    scene.world.extra().extend(guests.iter().map(|guest| (guest.clone(), room)));
    guests.try_into().map_err(|_| Failure::from("two guests were made"))
}

pub(super) async fn same_nonce(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let room = busy_room(scene);
    let [left, right] = pair(scene, room, true).await?;
    let began_at = scene.begins();
    let (mut pairs, mut repeats) = (0, 0);
    while began_at.elapsed() < scene.lasts {
        let place = &scene.world.rooms[room];
        let (id, invoked, text) = (MessageId::generate(), Instant::now(), format!("pair {pairs}"));
        let publish = scene.world.record(|book| {
            let publish = book.invoke(&place.stream, &left.user, id, &text);
            book.retry(publish);
            publish
        });
        let Some(publish) = publish else { break };
        let command = message(&place.id, id, text);
        let both = tokio::join!(attempt(&left, &command), attempt(&right, &command));
        let mut answered = 0;
        for result in [both.0, both.1] {
            match result {
                Ok(done) => {
                    answered += 1;
                    repeats += u64::from(done.repeated);
                    scene.world.record(|book| book.ok(publish, &done));
                    place.acked(done.seq, invoked);
                }
                Err(RequestError::Refused(_)) => drop(scene.world.record(|book| book.fail(publish))),
                Err(_) => drop(scene.world.record(|book| book.unknown(publish))),
            }
        }
        pairs += u64::from(answered == 2);
    }
    scene.heals();
    let how = format!("{pairs} messages acknowledged by both nodes, {repeats} of the answers as repeats");
    Ok(Felt { began_at, healed_at: Instant::now(), bit: pairs >= COMMANDS_MIN, how, wrong: None })
}

async fn attempt(guest: &Guest, command: &Command) -> Result<hallway_protocol::command::Committed, RequestError> {
    guest.client.request(command.clone()).await.and_then(|reply| committed("message.send", reply))
}

pub(super) async fn two_writers(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let room = busy_room(scene);
    let guests = pair(scene, room, false).await?;
    let began_at = scene.begins();
    let until = began_at + scene.lasts;
    let mut writers = Vec::new();
    for (side, guest) in guests.into_iter().enumerate() {
        for _ in 0..HOT_IN_FLIGHT {
            writers.push((side, guest.clone()));
        }
    }
    let world = Arc::clone(scene.world);
    let seqs = for_all(writers, |(side, guest)| write(Arc::clone(&world), guest, room, side, until)).await?;
    scene.heals();
    let mut order: Vec<(Seq, usize)> = seqs.into_iter().flatten().collect();
    order.sort_unstable();
    let turns = order.windows(2).filter(|pair| pair[0].1 != pair[1].1).count() as u64;
    let how = format!("{} messages by two writers, {turns} changes of writer in their order", order.len());
    Ok(Felt { began_at, healed_at: Instant::now(), bit: turns >= TURNS_MIN, how, wrong: None })
}

async fn write(
    world: Arc<World>,
    guest: Guest,
    room: usize,
    side: usize,
    until: Instant,
) -> Result<Vec<(Seq, usize)>, Failure> {
    let mut seqs = Vec::new();
    while Instant::now() < until {
        let text = format!("side {side} says its number {}", seqs.len());
        let seq = load::publish(Arc::clone(&world), guest.clone(), room, text).await;
        seqs.extend(seq.map(|seq| (seq, side)));
    }
    Ok(seqs)
}

pub(super) async fn churn(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let before = read(&scene.world.counters.churned);
    let began_at = scene.begins();
    // The other floaters are moved by the background load.
    load::churn(Arc::clone(scene.world), 1, CHURN_RATE, scene.random.random(), Some(began_at + scene.lasts)).await;
    scene.heals();
    let changes = read(&scene.world.counters.churned) - before;
    let how = format!("{changes} members joined, left or were kicked");
    Ok(Felt { began_at, healed_at: Instant::now(), bit: changes >= COMMANDS_MIN, how, wrong: None })
}

pub(super) async fn storm(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let before = scene.tally();
    let began_at = scene.begins();
    scene.heals();
    if let Some(redis) = &scene.cluster.redis {
        redis.kill9()?;
        tokio::task::block_in_place(|| redis.restart())?;
    }
    for guest in &scene.world.guests {
        guest.client.cut();
    }
    let everybody = scene.world.guests.len() as u64;
    while scene.since(before).reconnects < everybody && began_at.elapsed() < BACK_WITHIN {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let back = scene.since(before).reconnects;
    let how = format!("{back} of {everybody} clients came back within {:.1?}", began_at.elapsed());
    // The storm is over when everybody is back.
    Ok(Felt { began_at, healed_at: Instant::now(), bit: back >= everybody, how, wrong: None })
}

pub(super) async fn slow_reader(scene: &mut Scene<'_>) -> Result<Felt, Failure> {
    let room = busy_room(scene);
    let stayers = scene.world.rooms[room].stayers();
    // Guest 0 stands first and reads; the next one does not.
    let (slow, writer) = (scene.world.guests[stayers[1]].clone(), scene.world.guests[stayers[0]].clone());
    let lagging_before = scene.metric("hallway_lagging_total").await;
    let began_at = scene.begins();
    slow.client.pause_reading(true);
    let world = Arc::clone(scene.world);
    let stood_at = slow.seen().stands_at(room);
    for _ in 0..FLOOD_MESSAGES / FLOOD_AT_ONCE {
        let flood: Vec<usize> = (0..FLOOD_AT_ONCE).collect();
        for_all(flood, |_| {
            let (world, writer) = (Arc::clone(&world), writer.clone());
            async move {
                let text = "flood ".repeat(FLOOD_BYTES / 6);
                load::publish(world, writer, room, text).await;
                Ok(())
            }
        })
        .await?;
    }
    tokio::time::sleep_until((began_at + scene.lasts).into()).await;
    let behind = scene.world.rooms[room].acks().iter().map(|ack| ack.seq).max().unwrap_or(0) - stood_at;
    let lagged = scene.metric("hallway_lagging_total").await - lagging_before;
    scene.heals();
    slow.client.pause_reading(false);
    let how = format!("a reader fell {behind} events behind; {lagged} times a full backlog was told to read the log");
    Ok(Felt { began_at, healed_at: Instant::now(), bit: lagged > 0.0, how, wrong: None })
}
