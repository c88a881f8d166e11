//! Who is where: tells the others who came to this node and who left it, that it lives, and itself that the bus works.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hallway_protocol::UserId;

use super::Cluster;
use super::health::PROBE_PERIOD;
use super::outbound::Item;
use crate::bus::Channel;
use crate::directory::Devices;
use crate::hub::{ChangedPeople, PeopleWatch};
use crate::tasks::Tasks;

/// What changes within this time after a delta is told in the next one.
const DELTA_PERIOD: Duration = Duration::from_millis(20);

/// Runs until the tasks stop.
pub(super) async fn run(cluster: Cluster, people: Arc<PeopleWatch>, tasks: Tasks) {
    let heartbeat = Duration::from_millis(cluster.inner.limits.node_heartbeat_ms);
    let mut heartbeats = tokio::time::interval(heartbeat);
    let mut probes = tokio::time::interval(PROBE_PERIOD);
    heartbeats.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    probes.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut here: HashSet<UserId> = HashSet::new();
    let mut next_delta_at = tokio::time::Instant::now();
    let mut is_changed = false;
    let mut counted = (0, 0);
    loop {
        tokio::select! {
            () = people.filled(), if !is_changed => is_changed = true,
            () = tokio::time::sleep_until(next_delta_at), if is_changed => {
                is_changed = false;
                take_people(&cluster, people.take(), &mut here);
                tell_deltas(&cluster);
                next_delta_at = tokio::time::Instant::now() + DELTA_PERIOD;
            }
            _ = heartbeats.tick() => {
                let told = cluster.state().directory.tick(Instant::now());
                cluster.act(told);
                // Whatever others caused to be told is told here, too.
                tell_deltas(&cluster);
                let heartbeat = cluster.state().directory.heartbeat();
                cluster.tell(Channel::All, &heartbeat);
            }
            _ = probes.tick() => {
                probe(&cluster);
                counted = count_connections(&cluster, counted);
            }
            () = tasks.stopped() => return,
        }
    }
}

fn take_people(cluster: &Cluster, changed: ChangedPeople, here: &mut HashSet<UserId>) {
    let mut people = changed.people;
    if changed.is_more {
        people.extend(cluster.inner.hub.people());
        people.extend(here.iter().cloned());
    }
    for user in people {
        let devices = devices_here(cluster, &user);
        if devices.devices == 0 {
            here.remove(&user);
        } else {
            here.insert(user.clone());
        }
        let told = cluster.state().directory.set_own(&user, devices);
        cluster.act(told);
    }
}

/// Somebody's devices at this node, now.
fn devices_here(cluster: &Cluster, user: &UserId) -> Devices {
    let (devices, away) = cluster.inner.hub.devices_of(user);
    let short = |count: usize| u16::try_from(count).unwrap_or(u16::MAX);
    Devices { devices: short(devices), away: short(away) }
}

fn tell_deltas(cluster: &Cluster) {
    loop {
        let Some(delta) = cluster.state().directory.delta() else { return };
        cluster.tell(Channel::All, &delta);
    }
}

fn probe(cluster: &Cluster) {
    if cluster.inner.way.is_none() {
        return;
    }
    let (number, is_up) = {
        let mut health = cluster.health();
        (health.tick(Instant::now()), health.is_up())
    };
    cluster.note_health(is_up);
    if let Some(number) = number {
        cluster.inner.queue.push(Item::Probe(number));
    }
}

/// Brings what the bus counts of its connections into the metrics; returns what was counted so far.
fn count_connections(cluster: &Cluster, before: (u64, u64)) -> (u64, u64) {
    let Some(redis) = cluster.inner.way.as_ref().and_then(|way| way.redis.as_ref()) else { return before };
    let (lost, lagged) = (redis.connections_lost(), redis.messages_lagged());
    cluster.inner.metrics.bus_connections_lost.add(lost.saturating_sub(before.0));
    cluster.inner.metrics.bus_lagged.add(lagged.saturating_sub(before.1));
    (lost, lagged)
}
