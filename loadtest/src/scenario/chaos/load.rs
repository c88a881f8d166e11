//! What everybody does meanwhile: members talk, and some come and go.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hallway_protocol::command::{RoomJoin, RoomLeave, RoomRemove};
use hallway_protocol::{Command, MessageId, Seq};
use loadtest_client::client::{committed, message, nonce};
use loadtest_client::{Client, RequestError};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::guest::Guest;
use super::world::World;
use crate::metrics::count;

/// How long one message is tried for.
const PUBLISH_FOR: Duration = Duration::from_secs(40);
/// Messages without an outcome; beyond that nobody says more.
const IN_FLIGHT_MAX: u64 = 2000;
/// Of so many messages one goes to the large room: each of those is more than a hundred deliveries.
const LARGE_ROOM_ONE_IN: u32 = 25;
/// Pause before a repeat when the node names none.
const PAUSE: Duration = Duration::from_millis(50);

/// Sends messages until the world stops, at a steady rate whatever the cluster does.
pub(crate) async fn talk(world: Arc<World>, rate: f64, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    while !world.stopped() {
        ticks.tick().await;
        let room =
            if random.random_ratio(1, LARGE_ROOM_ONE_IN) { 0 } else { random.random_range(0..world.rooms.len()) };
        if !world.is_talking(room) || world.in_flight.load(Ordering::Relaxed) >= IN_FLIGHT_MAX {
            continue;
        }
        let stayers = world.rooms[room].stayers();
        let sender = world.guests[stayers[random.random_range(0..stayers.len())]].clone();
        let text = format!("{:016x} the quick brown fox jumps over the lazy dog", random.random::<u64>());
        tokio::spawn(publish(Arc::clone(&world), sender, room, text));
    }
}

/// Sends one message, again and again until its outcome is known; its seq, when it was acknowledged.
pub(crate) async fn publish(world: Arc<World>, sender: Guest, room: usize, text: String) -> Option<Seq> {
    let place = &world.rooms[room];
    let (id, invoked) = (MessageId::generate(), Instant::now());
    let publish = world.record(|book| book.invoke(&place.stream, &sender.user, id, &text))?;
    world.in_flight.fetch_add(1, Ordering::Relaxed);
    count(&world.counters.sent);
    let command = message(&place.id, id, text);
    let acknowledged = loop {
        let reply = sender.client.request(command.clone()).await;
        let error = match reply.and_then(|reply| committed("message.send", reply)) {
            Ok(done) => {
                world.record(|book| book.ok(publish, &done));
                place.acked(done.seq, invoked);
                count(&world.counters.acked);
                break Some(done.seq);
            }
            Err(error) => error,
        };
        let pause = match &error {
            RequestError::Refused(body) => {
                count(&world.counters.refused);
                world.record(|book| book.fail(publish));
                body.retry_after_ms.map_or(PAUSE, Duration::from_millis)
            }
            RequestError::Unknown(_) | RequestError::Closed(_) => {
                count(&world.counters.unknown);
                world.record(|book| book.unknown(publish));
                PAUSE
            }
        };
        if !error.retryable() || invoked.elapsed() + pause > PUBLISH_FOR {
            count(&world.counters.given_up);
            break None;
        }
        tokio::time::sleep(pause).await;
        world.record(|book| book.retry(publish));
    };
    world.in_flight.fetch_sub(1, Ordering::Relaxed);
    acknowledged
}

/// Lets the floater of this place in every room leave, be kicked and join again, until the world stops or for a time. Nobody
/// else may move the same floaters: two changes of one member at once would not tell who he is in the end.
pub(crate) async fn churn(world: Arc<World>, place: usize, rate: f64, seed: u64, until: Option<Instant>) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
    while !world.stopped() && until.is_none_or(|until| Instant::now() < until) {
        ticks.tick().await;
        let room = random.random_range(0..world.rooms.len());
        let floater = world.rooms[room].floaters()[place];
        let kicked = random.random_bool(0.5);
        if world.in_flight.load(Ordering::Relaxed) >= IN_FLIGHT_MAX || !world.is_talking(room) {
            continue;
        }
        step(&world, room, floater, kicked).await;
    }
}

async fn step(world: &Arc<World>, number: usize, floater: usize, kicked: bool) {
    let room = &world.rooms[number];
    let (guest, owner) = (&world.guests[floater], &world.guests[room.members[0]]);
    let was_member = room.present().remove(&floater);
    let invoked = Instant::now();
    let done = if was_member && kicked {
        let remove = RoomRemove { nonce: nonce(), room: room.id.clone(), user: guest.user.clone() };
        until_known(&owner.client, Command::RoomRemove(remove)).await
    } else if was_member {
        until_known(&guest.client, Command::RoomLeave(RoomLeave { nonce: nonce(), room: room.id.clone() })).await
    } else {
        until_known(&guest.client, Command::RoomJoin(RoomJoin { nonce: nonce(), room: room.id.clone() })).await
    };
    // Refused: he was what he was to become, and stays out of what is expected.
    let Some(seq) = done else { return };
    world.record(|book| match was_member {
        true => book.removed(&room.stream, &guest.user, seq),
        false => book.joined(&room.stream, &guest.user, seq),
    });
    room.acked(seq, invoked);
    count(&world.counters.churned);
    if !was_member {
        room.present().insert(floater);
    }
}

async fn until_known(client: &Client, command: Command) -> Option<Seq> {
    client.commit(command).await.ok().map(|done| done.seq)
}
