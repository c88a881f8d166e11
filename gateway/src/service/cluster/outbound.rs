//! What leaves: everything that is queued at a moment, grouped by target, one message for each.
//!
//! No timer: while one batch is on its way, the next one gathers.

use std::sync::Arc;
use std::time::Instant;

use hallway_protocol::RoomId;
use hallway_protocol::codec::Codec;
use tokio::sync::oneshot;
use tracing::debug;

use super::route::Outgoing;
use super::{Cluster, frames};
use crate::bus::Channel;
use crate::bus::envelope::{Frame, Sealer};
use crate::connection::Encoded;
use crate::hub::LiveEvent;
use crate::sabotage::{FailPoint, pass};
use crate::tasks::Tasks;
use crate::telemetry::labels::BusPath;

/// Taken from the queue at once.
const BATCH_MAX_ITEMS: usize = 2_048;

/// What waits for the bus.
pub(super) enum Item {
    Event(Arc<LiveEvent>),
    Ephemeral(RoomId, Arc<Encoded>),
    To(Channel, Frame),
    /// A word to the node itself, in a message of its own.
    Probe(u64),
    /// Everything before it has left.
    Fence(oneshot::Sender<()>),
}

/// Runs until the tasks stop.
pub(super) async fn run(cluster: Cluster, tasks: Tasks) {
    let Some(way) = &cluster.inner.way else { return };
    let mut sealer = Sealer::new(cluster.inner.node, way.key.clone());
    let mut batch = Vec::with_capacity(BATCH_MAX_ITEMS);
    loop {
        tokio::select! {
            () = cluster.inner.queue.receive(&mut batch, BATCH_MAX_ITEMS) => {}
            () = tasks.stopped() => return,
        }
        let messages = seal(&cluster, &mut sealer, &batch);
        let count = messages.len() as u64;
        if batch.iter().any(|item| matches!(item, Item::Event(..))) {
            pass(FailPoint::BeforeBus);
        }
        if count > 0
            && let Err(error) = way.bus.publish(messages).await
        {
            // Whoever waits for it is told by the tail.
            debug!(%error, "publishing failed");
            cluster.inner.metrics.bus_publish_failures.add(count);
        }
        for item in batch.drain(..) {
            if let Item::Fence(done) = item {
                // Who asked may have stopped waiting.
                let _ = done.send(());
            }
        }
    }
}

/// The messages of a batch, sealed.
fn seal(cluster: &Cluster, sealer: &mut Sealer, batch: &[Item]) -> Vec<(Channel, bytes::Bytes)> {
    let own = Channel::Node(cluster.inner.node);
    let mut messages = Vec::new();
    for item in batch {
        if let Item::Probe(number) = item
            && let Ok(message) = sealer.seal(&own, frames::probe(*number))
        {
            cluster.health().sent(message.clone(), Instant::now());
            messages.push((own.clone(), message));
        }
    }
    let plan = plan(cluster, batch);
    let epoch = frames::epoch(&cluster.inner.hub.epoch());
    let metrics = &cluster.inner.metrics;
    for (channel, places) in plan {
        let mut events = 0;
        let mut frames: Vec<Frame> = Vec::with_capacity(places.len() + 1);
        for place in places {
            match &batch[place] {
                Item::Event(event) => {
                    if events == 0 {
                        frames.push(epoch.clone());
                    }
                    events += 1;
                    frames.push(frames::event(event.frame().payload(Codec::Postcard)));
                }
                Item::Ephemeral(_, frame) => frames.push(frames::ephemeral(frame.payload(Codec::Postcard))),
                Item::To(_, frame) => frames.push(frame.clone()),
                Item::Probe(_) | Item::Fence(_) => {}
            }
        }
        let path = path_of(&channel);
        match sealer.seal_all(&channel, &frames) {
            Ok(sealed) => {
                metrics.bus_events_published.add_many(path, events);
                for message in sealed {
                    metrics.bus_published.add(path);
                    metrics.bus_published_bytes.add(message.len() as u64);
                    messages.push((channel.clone(), message));
                }
            }
            // No event is that large; should one be, the tail delivers it.
            Err(error) => {
                debug!(%error, "a message cannot be sealed");
                metrics.bus_publish_failures.add(1);
            }
        }
    }
    messages
}

/// Which places of the batch go where.
fn plan(cluster: &Cluster, batch: &[Item]) -> Vec<(Channel, Vec<usize>)> {
    let (places, outgoing): (Vec<usize>, Vec<Outgoing<'_>>) = batch
        .iter()
        .enumerate()
        .filter_map(|(place, item)| match item {
            Item::Event(event) => Some((place, Outgoing::Event(event))),
            Item::Ephemeral(room, _) => Some((place, Outgoing::Ephemeral(room))),
            Item::To(channel, _) => Some((place, Outgoing::To(channel))),
            Item::Probe(_) | Item::Fence(_) => None,
        })
        .unzip();
    let (mut plan, wants) = {
        let mut state = cluster.state();
        let state = &mut *state;
        (state.routes.plan(&outgoing, &state.directory, Instant::now()), state.routes.wants())
    };
    if wants {
        cluster.inner.wanted.notify_one();
    }
    for (_, indexes) in &mut plan {
        indexes.iter_mut().for_each(|index| *index = places[*index]);
    }
    plan
}

/// What a channel is called in metrics.
pub(super) fn path_of(channel: &Channel) -> BusPath {
    match channel {
        Channel::All => BusPath::All,
        Channel::Node(_) => BusPath::Direct,
        Channel::Room(_) => BusPath::Room,
    }
}
