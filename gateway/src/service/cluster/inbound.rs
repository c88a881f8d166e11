//! What comes: opened, read, and handed to whom it concerns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hallway_protocol::{RoomId, ServerFrame};
use tracing::debug;

use super::frames::{self, Heard};
use super::outbound::path_of;
use super::{Cluster, ask};
use crate::bus::envelope::{Opened, Opener, Refused};
use crate::bus::{Channel, Heard as BusHeard};
use crate::connection::Encoded;
use crate::hub::LiveEvent;
use crate::node::NodeId;
use crate::tasks::Tasks;
use crate::telemetry::labels::BusRefused;

/// How long the owners may keep this task waiting for room in their inboxes.
const OWNERS_WAIT_MAX: Duration = Duration::from_millis(20);

/// Runs until the tasks stop.
pub(super) async fn run(cluster: Cluster, tasks: Tasks) {
    let Some(way) = &cluster.inner.way else { return };
    let mut opener = Opener::new(cluster.inner.node, way.key.clone());
    let own = Channel::Node(cluster.inner.node);
    loop {
        let heard = tokio::select! {
            heard = way.bus.receive() => heard,
            () = tasks.stopped() => return,
        };
        let BusHeard::Message { channel, payload } = heard else {
            cluster.missed();
            continue;
        };
        match opener.open(&channel, &payload) {
            Ok(opened) => {
                let metrics = &cluster.inner.metrics;
                metrics.bus_received.add(path_of(&channel));
                metrics.bus_received_bytes.add(payload.len() as u64);
                if opened.missed {
                    cluster.missed();
                }
                take(&cluster, &channel, opened, &tasks).await;
            }
            Err(Refused::Own) if channel == own => {
                let came = cluster.health().heard(&payload, Instant::now());
                if let Some(took) = came {
                    cluster.inner.metrics.bus_probe_duration.record(took);
                    cluster.note_health(true);
                }
            }
            Err(Refused::Own) => {}
            Err(refused) => {
                debug!(reason = refused.label(), "a message from the bus was refused");
                cluster.inner.metrics.bus_refused.add(label_of(refused));
            }
        }
    }
}

fn label_of(refused: Refused) -> BusRefused {
    match refused {
        Refused::Own | Refused::Malformed => BusRefused::Malformed,
        Refused::TooLarge => BusRefused::TooLarge,
        Refused::Version => BusRefused::Version,
        Refused::Signature => BusRefused::Signature,
        Refused::Replayed => BusRefused::Replayed,
    }
}

/// Takes what another node said.
async fn take(cluster: &Cluster, channel: &Channel, opened: Opened, tasks: &Tasks) {
    let (hub, metrics) = (&cluster.inner.hub, &cluster.inner.metrics);
    let mut is_our_epoch = true;
    let mut events: Vec<Arc<LiveEvent>> = Vec::new();
    let mut heads = Vec::new();
    let mut has_ephemeral = false;
    for frame in &opened.frames {
        match frames::read(frame) {
            Heard::Epoch(epoch) => {
                is_our_epoch = epoch == hub.epoch();
                if !is_our_epoch {
                    // One of the two has not noticed yet that the store began another life.
                    metrics.bus_refused.add(BusRefused::Epoch);
                    cluster.missed();
                }
            }
            Heard::Event(event) if is_our_epoch => events.push(Arc::new(LiveEvent::new(event))),
            Heard::Head(stream, seq) if is_our_epoch => heads.push((stream, seq)),
            Heard::Event(_) | Heard::Head(..) | Heard::Skipped => {}
            Heard::Ephemeral(frame) => {
                if let Some(room) = room_of(&frame) {
                    hub.ephemeral(&room, Arc::new(Encoded::new(frame)), None);
                    has_ephemeral = true;
                }
            }
            Heard::Notice(notice) => {
                let told = cluster.state().directory.hear(opened.sender, notice, Instant::now());
                cluster.act(told);
            }
            Heard::Question(question) => ask::heard_question(cluster, opened.sender, question, tasks),
            Heard::Answer(answered) => cluster.inner.asked.answered(opened.sender, answered),
            Heard::Broken => broken(cluster, opened.sender, frame.kind),
        }
    }
    metrics.bus_events_received.add_many(path_of(channel), (events.len() + heads.len()) as u64);
    if !heads.is_empty() {
        hub.heads(heads);
    }
    if !events.is_empty() {
        note_members(cluster, &events);
        if !hub.publish_within(events, OWNERS_WAIT_MAX).await {
            metrics.bus_full_owners.add(1);
        }
    }
    if has_ephemeral {
        hub.drive();
    }
}

/// What others commit changes the members that this node knows of, before its own owners come to it.
fn note_members(cluster: &Cluster, events: &[Arc<LiveEvent>]) {
    let now = Instant::now();
    let mut state = cluster.state();
    for event in events {
        state.routes.note(event, now);
    }
}

fn broken(cluster: &Cluster, sender: NodeId, kind: u16) {
    debug!(%sender, kind, "a frame from the bus cannot be read");
    cluster.inner.metrics.bus_refused.add(BusRefused::Frame);
}

/// The room whose readers an ephemeral frame is for.
fn room_of(frame: &ServerFrame) -> Option<RoomId> {
    match frame {
        ServerFrame::Typing(typing) => Some(typing.room.clone()),
        ServerFrame::Signal(signal) => Some(signal.room.clone()),
        _ => None,
    }
}
