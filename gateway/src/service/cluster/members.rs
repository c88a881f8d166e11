//! Lists of members and subscriptions: reads from the store, in one statement, whom the rooms concern that anybody wants to know
//! about, and hears the channels of the large ones.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use hallway_protocol::{RoomId, StreamId};
use hallway_store::AudienceBatch;
use tokio::time::Instant;
use tracing::debug;

use super::Cluster;
use super::interest::Interest;
use crate::bus::Channel;
use crate::hub::RoomWatch;
use crate::tasks::Tasks;

/// Rooms in one statement.
const STATEMENT_MAX_ROOMS: usize = 512;
/// A room that has a first reader here is looked at after this time: until then the other nodes have been told who came, so
/// that what they do not send here yet lies before the head that is read.
const SETTLING: Duration = Duration::from_millis(20);
/// Between attempts when the store or the bus do not answer.
const RETRY_PAUSE: Duration = Duration::from_millis(250);
/// With nothing to do it looks around this often.
const IDLE_PERIOD: Duration = Duration::from_secs(5);

struct Task {
    cluster: Cluster,
    rooms: Arc<RoomWatch>,
    interest: Interest,
    /// Rooms with a first reader here, and when they are looked at.
    settling: HashMap<RoomId, Instant>,
    /// Rooms to be counted, because their members changed.
    counting: HashSet<RoomId>,
    retry_at: Option<Instant>,
}

/// Runs until the tasks stop.
pub(super) async fn run(cluster: Cluster, rooms: Arc<RoomWatch>, tasks: Tasks) {
    let large_from = u32::try_from(cluster.inner.limits.large_room_threshold_members).unwrap_or(u32::MAX);
    let mut task = Task {
        cluster,
        rooms,
        interest: Interest::new(large_from),
        settling: HashMap::new(),
        counting: HashSet::new(),
        retry_at: None,
    };
    loop {
        let wake_at = task.wake_at();
        let is_waiting = task.retry_at.is_some();
        tokio::select! {
            () = task.rooms.filled(), if !is_waiting => {}
            () = task.cluster.inner.wanted.notified(), if !is_waiting => {}
            () = tokio::time::sleep_until(wake_at) => task.retry_at = None,
            () = tasks.stopped() => return,
        }
        task.take_changes().await;
        if task.retry_at.is_none() {
            task.look().await;
        }
    }
}

impl Task {
    fn wake_at(&self) -> Instant {
        let settled = self.settling.values().min().copied();
        self.retry_at.or(settled).unwrap_or_else(|| Instant::now() + IDLE_PERIOD)
    }

    async fn take_changes(&mut self) {
        let changed = self.rooms.take();
        let at = Instant::now() + SETTLING;
        if changed.is_more {
            self.cluster.state().routes.forget_all();
            let followed = self.cluster.inner.hub.followed_rooms().await;
            self.interest.follow_exactly(&followed);
            self.settling = followed.into_iter().map(|room| (room, at)).collect();
        }
        for (room, follows) in changed.followed {
            self.interest.follow(&room, follows);
            if follows {
                self.settling.insert(room, at);
            } else {
                self.settling.remove(&room);
            }
        }
        let mut state = self.cluster.state();
        for room in changed.members {
            state.routes.changed(&room);
            if self.interest.follows(&room) {
                self.counting.insert(room);
            }
        }
    }

    /// Reads what is wanted now and acts on it, a statement at a time.
    async fn look(&mut self) {
        loop {
            let now = Instant::now();
            let settled: HashSet<RoomId> =
                self.settling.extract_if(|_, at| *at <= now).map(|(room, _)| room).take(STATEMENT_MAX_ROOMS).collect();
            let mut rooms = settled.clone();
            while rooms.len() < STATEMENT_MAX_ROOMS
                && let Some(room) = self.counting.iter().next().cloned()
            {
                self.counting.remove(&room);
                rooms.insert(room);
            }
            let listed = self.cluster.state().routes.take_wanted(STATEMENT_MAX_ROOMS);
            rooms.extend(listed.iter().cloned());
            if rooms.is_empty() {
                break;
            }
            let Some(batch) = self.read(rooms.iter().cloned().collect()).await else {
                self.cluster.state().routes.not_loaded(listed);
                // Counted again instead of settled: what was missed meanwhile the tail finds.
                self.counting.extend(rooms);
                self.retry_at = Some(Instant::now() + RETRY_PAUSE);
                return;
            };
            self.take(batch, &settled);
            self.subscribe().await;
        }
    }

    async fn read(&self, rooms: Vec<RoomId>) -> Option<AudienceBatch> {
        let inner = &self.cluster.inner;
        inner.metrics.member_list_loads.add(1);
        let listed_max = self.cluster.state().routes.listed_max();
        let timeout = Duration::from_millis(inner.limits.store_timeout_ms);
        match tokio::time::timeout(timeout, inner.store.audiences(rooms, listed_max)).await {
            Ok(Ok(batch)) => Some(batch),
            Ok(Err(error)) => {
                debug!(%error, "the members of rooms cannot be read");
                None
            }
            Err(_) => None,
        }
    }

    fn take(&mut self, batch: AudienceBatch, settled: &HashSet<RoomId>) {
        let hub = &self.cluster.inner.hub;
        let mut heads = Vec::new();
        let is_our_epoch = batch.epoch == hub.epoch();
        {
            let mut state = self.cluster.state();
            for audience in batch.audiences {
                self.interest.counted(&audience.room, audience.members);
                if is_our_epoch && settled.contains(&audience.room) {
                    heads.push((StreamId::Room(audience.room.clone()), audience.last_seq));
                }
                state.routes.loaded(audience, std::time::Instant::now());
            }
            let weight = i64::try_from(state.routes.weight()).unwrap_or(i64::MAX);
            self.cluster.inner.metrics.member_lists.set(weight);
        }
        hub.heads(heads);
    }

    /// Hears the channels that it should, and asks for what was said in them before.
    async fn subscribe(&mut self) {
        let inner = &self.cluster.inner;
        let due = self.interest.due();
        inner.metrics.bus_subscriptions.set(i64::try_from(self.interest.subscribed()).unwrap_or(i64::MAX));
        let Some(way) = &inner.way else { return };
        let channels = |rooms: &[RoomId]| rooms.iter().cloned().map(Channel::Room).collect();
        if !due.unsubscribe.is_empty()
            && let Err(error) = way.bus.unsubscribe(channels(&due.unsubscribe)).await
        {
            debug!(%error, "leaving channels is not confirmed");
        }
        if due.subscribe.is_empty() {
            return;
        }
        if let Err(error) = way.bus.subscribe(channels(&due.subscribe)).await {
            // The bus tries on; when it has succeeded it says that something may have been missed.
            debug!(%error, "hearing channels is not confirmed");
        }
        let streams = due.subscribe.into_iter().map(StreamId::Room).collect();
        let timeout = Duration::from_millis(inner.limits.store_timeout_ms);
        match tokio::time::timeout(timeout, inner.store.heads(streams)).await {
            Ok(Ok(batch)) if batch.epoch == inner.hub.epoch() => {
                inner.hub.heads(batch.heads.into_iter().map(|head| (head.stream, head.last_seq)).collect());
            }
            // The tail knows them, half a second later.
            _ => {}
        }
    }
}
