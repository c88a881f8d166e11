//! Hands presence frames to those who watch.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hallway_protocol::{ServerFrame, UserId};
use tokio::sync::mpsc;
use tracing::warn;

use super::watchers::Due;
use super::{Desk, Devices, Person, Presence, shown};
use crate::connection::Encoded;
use crate::hub::{Connection, ConnectionId};
use crate::tasks::Tasks;

/// Rooms are counted, and connections that are gone forgotten, this often.
const ROUND_PERIOD: Duration = Duration::from_secs(1);
/// Rooms whose people did not come or go are counted after so many rounds all the same: somebody may have joined.
const COUNT_ROUNDS: u64 = 5;
/// Lists that wait for the store to say whom they may still name. Of more, the store is asked with a later push.
const REVIEWS_MAX: usize = 1_024;
/// Frames handed out before other tasks have their turn.
const PUSHES_AT_ONCE: usize = 512;

/// A connection whose list is to be reviewed, and whom it names.
type Review = (ConnectionId, Vec<UserId>);

pub(super) fn start(presence: &Presence, tasks: &Tasks) {
    let (queue, reviews) = mpsc::channel(REVIEWS_MAX);
    tasks.spawn(run(presence.clone(), queue, tasks.clone()));
    tasks.spawn(review(presence.clone(), reviews, tasks.clone()));
}

async fn run(presence: Presence, reviews: mpsc::Sender<Review>, tasks: Tasks) {
    let mut round_at = Instant::now() + ROUND_PERIOD;
    let mut is_changed = false;
    let mut round: u64 = 0;
    loop {
        let due_at = presence.desk().watchers.next_due();
        let wake_at = due_at.map_or(round_at, |due_at| due_at.min(round_at));
        tokio::select! {
            () = presence.inner.cluster.presence_watch().filled() => is_changed |= presence.take_changed(),
            () = presence.inner.wake.notified() => {}
            () = tokio::time::sleep_until(wake_at.into()) => {}
            () = tasks.stopped() => return,
        }
        let now = Instant::now();
        let due = presence.desk().watchers.take_due(now);
        presence.doubt(due.doubts.as_slice(), &reviews, now);
        presence.push(due).await;
        if now >= round_at {
            presence.forget_gone();
            presence.pay();
            round += 1;
            presence.count_wanted(std::mem::take(&mut is_changed) || round.is_multiple_of(COUNT_ROUNDS));
            round_at = now + ROUND_PERIOD;
        }
    }
}

/// Asks the store, one list at a time.
async fn review(presence: Presence, mut reviews: mpsc::Receiver<Review>, tasks: Tasks) {
    loop {
        let (connection, people) = tokio::select! {
            review = reviews.recv() => match review {
                Some(review) => review,
                None => return,
            },
            () = tasks.stopped() => return,
        };
        presence.review(connection, people).await;
    }
}

impl Presence {
    /// Takes whose presence changed. Says whether anybody's did.
    fn take_changed(&self) -> bool {
        let changed = self.inner.cluster.presence_watch().take();
        let now = Instant::now();
        let mut desk = self.desk();
        if changed.is_more {
            desk.watchers.changed_all(now);
        }
        changed.people.iter().for_each(|user| desk.watchers.changed(user, now));
        changed.is_more || !changed.people.is_empty()
    }

    fn doubt(&self, doubts: &[Review], reviews: &mpsc::Sender<Review>, now: Instant) {
        for (connection, people) in doubts {
            if reviews.try_send((*connection, people.clone())).is_err() {
                self.desk().watchers.reviewed(*connection, people, None, now);
            }
        }
    }

    async fn review(&self, id: ConnectionId, people: Vec<UserId>) {
        let Some(connection) = self.desk().connections.get(&id).cloned() else { return };
        let asked = self.inner.store.acquaintances(&connection.user, people.clone());
        let allowed = match tokio::time::timeout(self.inner.store_timeout, asked).await {
            Ok(Ok(allowed)) => Some(allowed),
            Ok(Err(error)) => {
                warn!(%error, "whom a connection may watch could not be read");
                None
            }
            Err(_) => None,
        };
        let reviewed = self.desk().watchers.reviewed(id, &people, allowed.as_deref(), Instant::now());
        self.note_watched();
        let ended = reviewed.ended.into_iter().map(|user| shown(user, Devices::default()));
        self.tell(&connection, self.people(&reviewed.pushes).into_iter().chain(ended));
        self.inner.wake.notify_one();
    }

    async fn push(&self, due: Due) {
        if due.pushes.is_empty() {
            return;
        }
        let connections: HashMap<ConnectionId, Arc<Connection>> = {
            let desk = self.desk();
            let ids = due.pushes.iter().flat_map(|(_, ids)| ids);
            ids.filter_map(|id| Some((*id, Arc::clone(desk.connections.get(id)?)))).collect()
        };
        let mut handed_over = 0;
        for (user, ids) in due.pushes {
            let person = shown(user.clone(), self.in_directory(|directory| directory.devices(&user)));
            let frame = Encoded::new(ServerFrame::Presence(person));
            for connection in ids.iter().filter_map(|id| connections.get(id)) {
                self.hand_over(connection, &user, &frame);
                handed_over += 1;
                if handed_over == PUSHES_AT_ONCE {
                    handed_over = 0;
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    fn tell(&self, connection: &Connection, people: impl Iterator<Item = Person>) {
        for person in people {
            let user = person.user.clone();
            self.hand_over(connection, &user, &Encoded::new(ServerFrame::Presence(person)));
        }
    }

    /// A connection whose backlog is full is told later, when it reads again, how it is then.
    fn hand_over(&self, connection: &Connection, user: &UserId, frame: &Encoded) {
        if connection.is_closed() {
            return;
        }
        let metrics = &self.inner.metrics;
        let pushed = connection.outbound.push_events(std::slice::from_ref(frame.bytes(connection.codec)));
        metrics.socket_writes.add(pushed.writes);
        metrics.delivered_bytes.add(pushed.written_bytes);
        if pushed.refused_frames == 0 {
            metrics.presence_frames.add(1);
        } else {
            metrics.presence_drops.add(1);
            self.desk().watchers.owe(connection.id, user);
        }
    }

    /// Tells those who read again what they were not told.
    fn pay(&self) {
        let owing: Vec<(Arc<Connection>, Vec<UserId>)> = {
            let mut guard = self.desk();
            let Desk { watchers, connections } = &mut *guard;
            let reads =
                |id: &ConnectionId| connections.get(id).is_some_and(|connection| connection.outbound.is_half_empty());
            let paid = watchers.take_owed(reads);
            paid.into_iter().filter_map(|(id, users)| Some((Arc::clone(connections.get(&id)?), users))).collect()
        };
        for (connection, users) in owing {
            self.tell(&connection, self.people(&users).into_iter());
        }
    }

    fn forget_gone(&self) {
        {
            let mut desk = self.desk();
            let gone: Vec<ConnectionId> =
                desk.connections.extract_if(|_, connection| connection.is_closed()).map(|(id, _)| id).collect();
            gone.into_iter().for_each(|id| desk.watchers.drop(id));
        }
        self.note_watched();
    }

    fn note_watched(&self) {
        let entries = self.desk().watchers.entries();
        self.inner.metrics.presence_watched.set(i64::try_from(entries).unwrap_or(i64::MAX));
        let people = self.in_directory(|directory| directory.people_count());
        self.inner.metrics.directory_people.set(i64::try_from(people).unwrap_or(i64::MAX));
    }
}
