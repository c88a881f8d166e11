//! Members of rooms talk at a steady rate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hallway_protocol::{RoomId, StreamId, Visibility};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::member::{Watch, Window};
use crate::metrics;
use crate::run::{Context, Failure, Handle, for_all};
use crate::sample::process::{Cpu, Watched};
use crate::schedule;

/// Receive buffer of the slow reader: full soon.
const SLOW_RECEIVE_BUFFER_BYTES: u32 = 16 * 1024;
/// Messages sent and not answered. Beyond that the node is not just slow.
const IN_FLIGHT_MAX: u64 = 50_000;
/// No delivery for so long means that there is none left.
const PATIENCE: Duration = Duration::from_secs(5);

/// A room and who is in it.
#[derive(Clone)]
pub(crate) struct Room {
    pub(crate) id: RoomId,
    pub(crate) members: Vec<Arc<Handle>>,
    /// How many of them, from the first on, send messages.
    pub(crate) senders: usize,
}

pub(super) async fn run(context: &Arc<Context>) -> Result<Value, Failure> {
    let started = Instant::now();
    let rooms = set_up(context, started, None).await?;
    let pids = &context.settings.server_pids;
    let cpu = || pids.iter().map(|pid| Watched::new(&[*pid]).cpu()).collect::<Vec<_>>();
    let (before, began) = (cpu(), Instant::now());
    talk(context, &rooms, started, context.settings.duration).await?;
    let (after, lasted) = (cpu(), began.elapsed());
    wind_up(context, rooms).await?;
    let used = before.into_iter().zip(after).map(|(before, after)| Some(after?.since(before?)));
    let servers = pids.iter().zip(used).filter_map(|(pid, used)| Some((pid, used?)));
    Ok(Value::Array(servers.map(|(pid, cpu)| told(*pid, cpu, lasted)).collect()))
}

/// Prints what a server's process used, for people, and gives it back for machines.
fn told(pid: u32, cpu: Cpu, lasted: Duration) -> Value {
    let cores = cpu.total_s / lasted.as_secs_f64();
    println!("process {pid}: {:.2} CPU-s in {lasted:.1?}, {cores:.2} of a core", cpu.total_s);
    json!({ "pid": pid, "cpu": cpu, "cores": cores })
}

/// Connects everybody and fills the rooms. With `slow`, the last member of the first room is the slow one and the
/// others in it are its neighbours.
pub(crate) async fn set_up(
    context: &Arc<Context>,
    started: Instant,
    slow: Option<&Arc<Window>>,
) -> Result<Vec<Room>, Failure> {
    let settings = &context.settings;
    let began = Instant::now();
    let users: Vec<u32> = (0..settings.users).collect();
    let slow_user = slow.map(|_| settings.members - 1);
    let slow = slow.cloned();
    let ramp_gap = settings.ramp / settings.users.max(1);
    let handles = for_all(users, |number| {
        let context = Arc::clone(context);
        let neighbour_of = slow.clone().filter(|_| number < context.settings.members && Some(number) != slow_user);
        let buffer = (Some(number) == slow_user).then_some(SLOW_RECEIVE_BUFFER_BYTES);
        async move {
            tokio::time::sleep_until((began + ramp_gap * number).into()).await;
            let untimed = buffer.is_some();
            let target = number as usize % context.settings.targets.len();
            let how = Watch { started: Some(started), neighbour_of, untimed, target, ..Watch::default() };
            let user = context.user(number)?;
            context.connect(user, how, buffer).await.map(Arc::new)
        }
    })
    .await?;
    let mut rooms = Vec::new();
    for number in 0..settings.rooms {
        let first = number.wrapping_mul(settings.members);
        let member = |index: u32| {
            let user = (u64::from(first) + u64::from(index)) % u64::from(settings.users);
            usize::try_from(user).ok().and_then(|user| handles.get(user)).cloned()
        };
        let members: Vec<_> = (0..settings.members.min(settings.users)).filter_map(member).collect();
        // Who does not read cannot read acknowledgements either: the slow one does not send.
        let senders = members.len() - usize::from(slow.is_some() && number == 0);
        rooms.push(Room { id: context.room(number)?, members, senders });
    }
    let jobs: Vec<_> = rooms.iter().map(|room| (room.id.clone(), room.members.clone())).collect();
    for_all(jobs, |(room, members)| fill(Arc::clone(context), room, members)).await?;
    println!("{} clients are in {} rooms after {:.1?}", handles.len(), rooms.len(), began.elapsed());
    Ok(rooms)
}

async fn fill(context: Arc<Context>, room: RoomId, members: Vec<Arc<Handle>>) -> Result<(), Failure> {
    let stream = StreamId::Room(room.clone());
    context.ledger.history_is_for_all(stream.clone());
    let mut members = members.into_iter();
    if let Some(owner) = members.next() {
        let created = owner.client.create_room(&room, Visibility::Public).await?;
        context.record(|recorder| recorder.joined(&stream, &owner.user, created.seq));
    }
    for member in members {
        let joined = member.client.join(&room).await?;
        context.record(|recorder| recorder.joined(&stream, &member.user, joined.seq));
    }
    Ok(())
}

/// Sends on schedule for `duration`. Times in texts count from `epoch`.
pub(crate) async fn talk(
    context: &Arc<Context>,
    rooms: &[Room],
    epoch: Instant,
    duration: Duration,
) -> Result<(), Failure> {
    let mut random = StdRng::seed_from_u64(context.settings.seed);
    let mut due_times = schedule::start(context.settings.rate, duration, Instant::now(), Arc::clone(&context.stop))?;
    while let Some(due) = due_times.recv().await {
        if context.stopped() {
            break;
        }
        // Open loop, but not without end: beyond this the sends become late, and late ones are counted.
        while context.in_flight.load(Ordering::Relaxed) >= IN_FLIGHT_MAX && !context.stopped() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let room = &rooms[random.random_range(0..rooms.len())];
        let member = &room.members[random.random_range(0..room.senders)];
        let (sender, id) = (Arc::clone(member), room.id.clone());
        let context = Arc::clone(context);
        context.in_flight.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            Arc::clone(&context).publish(sender, id, epoch, due).await;
            context.in_flight.fetch_sub(1, Ordering::Relaxed);
        });
    }
    Ok(())
}

/// Waits for what is under way, ends all sessions, and reads everything once more.
pub(crate) async fn wind_up(context: &Arc<Context>, rooms: Vec<Room>) -> Result<(), Failure> {
    context.wait_for_publishes().await;
    let members = u64::from(context.settings.members.min(context.settings.users));
    let expected = metrics::read(&context.metrics.acked) * members;
    context.wait_for_deliveries(expected, PATIENCE).await;
    let mut readers: BTreeMap<_, Vec<RoomId>> = BTreeMap::new();
    let mut handles: BTreeMap<_, Arc<Handle>> = BTreeMap::new();
    for room in rooms {
        if let Some(owner) = room.members.first() {
            readers.entry(owner.user.clone()).or_default().push(room.id);
        }
        handles.extend(room.members.into_iter().map(|handle| (handle.user.clone(), handle)));
    }
    context.finish(handles.into_values().collect()).await?;
    context.final_read(readers).await
}
