//! A user who missed events in many rooms comes back, again and again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hallway_protocol::{Position, RoomId, StreamId, Visibility};
use serde_json::{Value, json};

use crate::member::Watch;
use crate::metrics::{self, Metric};
use crate::report::human;
use crate::run::{Context, Failure, Handle, for_all, wait_until_synced};

/// What is printed of the distribution.
const QUANTILES: [f64; 12] = [0.01, 0.1, 0.25, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0];
/// Messages sent and not answered yet while the events to miss are made.
const IN_FLIGHT_MAX: u64 = 48;
/// How long the reader may take to hear of its own joinings.
const JOINED_WITHIN: Duration = Duration::from_secs(30);

pub(super) async fn run(context: &Arc<Context>) -> Result<Value, Failure> {
    let settings = &context.settings;
    let began = Instant::now();
    let writer = Arc::new(context.connect(context.user(0)?, Watch::default(), None).await?);
    let reader = Arc::new(context.connect(context.user(1)?, Watch::default(), None).await?);
    let rooms = (0..settings.rooms).map(|number| context.room(number)).collect::<Result<Vec<RoomId>, _>>()?;
    for_all(rooms.clone(), |room| enter(Arc::clone(context), room, Arc::clone(&writer), Arc::clone(&reader))).await?;
    let positions = positions_in(&reader, &rooms).await?;
    reader.client.close().await;
    println!("the reader left {} rooms after {:.1?}", rooms.len(), began.elapsed());
    make_events(context, &writer, &rooms).await;
    println!("it missed {} events in each after {:.1?}", settings.missed, began.elapsed());
    for _ in 0..settings.reconnects {
        if context.stopped() {
            break;
        }
        let how = Watch { positions: positions.clone(), catches_up: true, ..Watch::default() };
        let began = Instant::now();
        let mut handle = context.connect(reader.user.clone(), how, None).await?;
        let synced_at = wait_until_synced(&mut handle).await?;
        context.metrics.of(Metric::Sync).record(synced_at.duration_since(began));
        context.finish(vec![Arc::new(handle)]).await?;
    }
    context.finish(vec![Arc::clone(&writer)]).await?;
    context.final_read(BTreeMap::from([(writer.user.clone(), rooms)])).await?;
    Ok(distribution(context))
}

async fn enter(context: Arc<Context>, room: RoomId, writer: Arc<Handle>, reader: Arc<Handle>) -> Result<(), Failure> {
    let stream = StreamId::Room(room.clone());
    context.ledger.history_is_for_all(stream.clone());
    let created = writer.client.create_room(&room, Visibility::Public).await?;
    context.record(|recorder| recorder.joined(&stream, &writer.user, created.seq));
    let joined = reader.client.join(&room).await?;
    context.record(|recorder| recorder.joined(&stream, &reader.user, joined.seq));
    Ok(())
}

/// The reader's positions, once it has heard of all its joinings: acknowledgements move none.
pub(super) async fn positions_in(reader: &Handle, rooms: &[RoomId]) -> Result<Vec<Position>, Failure> {
    let until = Instant::now() + JOINED_WITHIN;
    loop {
        let positions = reader.client.positions().await?;
        let stands_in =
            |room: &RoomId| positions.iter().any(|position| position.stream.room() == Some(room) && position.seq > 0);
        if rooms.iter().all(stands_in) {
            return Ok(positions);
        }
        if Instant::now() > until {
            return Err(format!("the reader did not hear of all its joinings within {JOINED_WITHIN:?}").into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(super) async fn make_events(context: &Arc<Context>, writer: &Arc<Handle>, rooms: &[RoomId]) {
    let started = Instant::now();
    for _ in 0..context.settings.missed {
        for room in rooms {
            while context.in_flight.load(Ordering::Relaxed) >= IN_FLIGHT_MAX {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            if context.stopped() {
                return;
            }
            context.in_flight.fetch_add(1, Ordering::Relaxed);
            let (sender, room) = (Arc::clone(writer), room.clone());
            let context = Arc::clone(context);
            tokio::spawn(async move {
                Arc::clone(&context).publish(sender, room, started, Instant::now()).await;
                context.in_flight.fetch_sub(1, Ordering::Relaxed);
            });
        }
    }
    context.wait_for_publishes().await;
}

fn distribution(context: &Context) -> Value {
    let sync = context.metrics.of(Metric::Sync);
    println!("\nfrom connecting to sync_end, {} reconnects:", sync.count());
    let longest = sync.quantile(1.0).unwrap_or(1).max(1);
    let mut values = serde_json::Map::new();
    for quantile in QUANTILES {
        let value = sync.quantile(quantile).unwrap_or(0);
        let bar = "#".repeat(usize::try_from(value * 50 / longest).unwrap_or(0));
        println!("  {:>4.0}%  {:>10}  {bar}", quantile * 100.0, human(value));
        values.insert(format!("p{:.0}_us", quantile * 100.0), value.into());
    }
    json!({ "distribution": values, "events_per_reconnect": context.settings.rooms * context.settings.missed,
        "acknowledged": metrics::read(&context.metrics.acked) })
}
