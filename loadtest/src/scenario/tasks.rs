//! Members of rooms talk, change tasks, read, and notify each other, at a steady rate.
//!
//! Of a hundred operations 58 are messages, 20 change a task, 20 read, and two notify somebody, one of them urgently. Some
//! changes are made twice at once on the same version: the ledger sees to it that one of them wins.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hallway_protocol::command::{Recipients, TaskOutcome};
use hallway_protocol::task::TaskStatus;
use hallway_protocol::{RoomId, TaskId};
use loadtest_client::RequestError;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use super::chat::{self, Room};
use crate::metrics::{self, Metric};
use crate::run::{Context, Failure, Handle, LATE_AFTER, stamp};
use crate::schedule;

/// Tasks that are worked on in each room.
const TASKS_MAX_PER_ROOM: usize = 20;
/// One change in so many is made twice at once.
const TWICE_ONE_IN: u32 = 20;
/// Operations that were begun and are not answered.
const IN_FLIGHT_MAX: u64 = 50_000;
/// No receipt for so long means that there is none left.
const PATIENCE: Duration = Duration::from_secs(5);

/// A task as those who change it know it.
#[derive(Clone, Copy)]
struct Known {
    id: TaskId,
    version: u32,
    status: TaskStatus,
}

/// The tasks of a room that nobody is changing at this moment.
#[derive(Default)]
struct Pool {
    idle: Mutex<Vec<Known>>,
    made: AtomicU64,
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Vec<Known>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Place {
    room: Room,
    pool: Pool,
}

#[derive(Default)]
struct Counts {
    changes: AtomicU64,
    stale: AtomicU64,
    reads: AtomicU64,
    notices: AtomicU64,
    receipts: AtomicU64,
}

struct Work {
    context: Arc<Context>,
    counts: Counts,
    started: Instant,
}

pub(super) async fn run(context: &Arc<Context>) -> Result<Value, Failure> {
    let started = Instant::now();
    let rooms = chat::set_up(context, started, None).await?;
    let places: Vec<Arc<Place>> =
        rooms.into_iter().map(|room| Arc::new(Place { room, pool: Pool::default() })).collect();
    let work = Arc::new(Work { context: Arc::clone(context), counts: Counts::default(), started });
    operate(&work, &places).await?;
    context.wait_for_publishes().await;
    work.wait_for_receipts().await;
    let rooms = places.iter().map(|place| place.room.clone()).collect();
    chat::wind_up(context, rooms).await?;
    let read = |counter: &AtomicU64| metrics::read(counter);
    let counts = &work.counts;
    println!(
        "{} changes of tasks, {} of them on a version that was no more, {} reads, {} notices",
        read(&counts.changes),
        read(&counts.stale),
        read(&counts.reads),
        read(&counts.notices)
    );
    Ok(json!({ "task_changes": read(&counts.changes), "stale": read(&counts.stale), "reads": read(&counts.reads),
        "notices": read(&counts.notices) }))
}

async fn operate(work: &Arc<Work>, places: &[Arc<Place>]) -> Result<(), Failure> {
    let context = &work.context;
    let mut random = StdRng::seed_from_u64(context.settings.seed);
    let stop = Arc::clone(&context.stop);
    let mut due_times = schedule::start(context.settings.rate, context.settings.duration, Instant::now(), stop)?;
    while let Some(due) = due_times.recv().await {
        if context.stopped() {
            break;
        }
        while context.in_flight.load(Ordering::Relaxed) >= IN_FLIGHT_MAX && !context.stopped() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let place = Arc::clone(&places[random.random_range(0..places.len())]);
        let member = random.random_range(0..place.room.members.len());
        let (kind, dice) = (random.random_range(0..100_u32), random.random());
        context.in_flight.fetch_add(1, Ordering::Relaxed);
        let work = Arc::clone(work);
        tokio::spawn(async move {
            work.one(&place, member, kind, dice, due).await;
            work.context.in_flight.fetch_sub(1, Ordering::Relaxed);
        });
    }
    Ok(())
}

impl Work {
    async fn one(&self, place: &Place, member: usize, kind: u32, dice: u32, due: Instant) {
        let who = Arc::clone(&place.room.members[member]);
        let room = &place.room.id;
        if kind >= 58 && due.elapsed() > LATE_AFTER {
            metrics::count(&self.context.metrics.late);
        }
        match kind {
            0..58 => Arc::clone(&self.context).publish(who, room.clone(), self.started, due).await,
            58..78 => self.change(place, member, dice, due).await,
            78..98 => {
                // What is read is checked by nobody; a node that refuses is counted.
                match who.client.tasks(room).await {
                    Ok(_) => metrics::count(&self.counts.reads),
                    Err(_) => metrics::count(&self.context.metrics.refused),
                }
            }
            _ => {
                let other = &place.room.members[(member + 1) % place.room.members.len()];
                self.notify(&who, other, kind == 99, due).await;
            }
        }
    }

    async fn change(&self, place: &Place, member: usize, dice: u32, due: Instant) {
        let who = &place.room.members[member];
        let taken = {
            let mut idle = place.pool.idle();
            let count = u32::try_from(idle.len()).unwrap_or(u32::MAX);
            (count > 0).then(|| idle.swap_remove((dice % count) as usize))
        };
        let made = place.pool.made.load(Ordering::Relaxed);
        let known = match taken {
            Some(known) if made as usize >= TASKS_MAX_PER_ROOM || dice.is_multiple_of(2) => known,
            taken => {
                place.pool.idle().extend(taken);
                place.pool.made.fetch_add(1, Ordering::Relaxed);
                return self.create(place, who, due).await;
            }
        };
        let next = known.status.next();
        let status = next[(dice / 7) as usize % next.len()];
        self.context.metrics.task_is_due(known.id, known.version + 1, due);
        let first = self.change_to(who, &place.room.id, known, status);
        let after = if dice.is_multiple_of(TWICE_ONE_IN) {
            let other = &place.room.members[(member + 1) % place.room.members.len()];
            let (one, two) = tokio::join!(first, self.change_to(other, &place.room.id, known, status));
            one.zip(two).map(|(one, two)| if one.version > two.version { one } else { two })
        } else {
            first.await
        };
        place.pool.idle().extend(after);
    }

    async fn create(&self, place: &Place, who: &Handle, due: Instant) {
        let id = TaskId::generate();
        self.context.metrics.task_is_due(id, 1, due);
        match who.client.create_task(&place.room.id, id, "book the room, tell the team").await {
            Ok(committed) => {
                self.context.record(|recorder| recorder.task_changed(id, 0, None, &committed));
                self.changed(place.room.members.len());
                place.pool.idle().push(Known { id, version: 1, status: TaskStatus::Open });
            }
            Err(error) => self.failed(id, &error),
        }
    }

    /// Moves a task; how it is then. `None`: nobody knows.
    async fn change_to(&self, who: &Handle, room: &RoomId, known: Known, status: TaskStatus) -> Option<Known> {
        let Known { id, version, .. } = known;
        match who.client.move_task(room, id, version, status).await {
            Ok(TaskOutcome::Committed(committed)) => {
                self.context.record(|recorder| recorder.task_changed(id, version, Some(status), &committed));
                self.changed(self.context.settings.members as usize);
                Some(Known { id, version: version + 1, status })
            }
            Ok(TaskOutcome::Stale(task)) => {
                metrics::count(&self.counts.stale);
                Some(Known { id, version: task.version, status: task.status })
            }
            Err(error) => {
                self.failed(id, &error);
                None
            }
        }
    }

    fn changed(&self, members: usize) {
        metrics::count(&self.counts.changes);
        self.counts.receipts.fetch_add(members as u64, Ordering::Relaxed);
    }

    fn failed(&self, id: TaskId, error: &RequestError) {
        match error {
            RequestError::Refused(_) => metrics::count(&self.context.metrics.refused),
            RequestError::Unknown(_) | RequestError::Closed(_) => {
                metrics::count(&self.context.metrics.unknown);
                self.context.record(|recorder| recorder.task_unknown(id));
            }
        }
    }

    async fn notify(&self, from: &Handle, to: &Handle, urgent: bool, due: Instant) {
        if from.user == to.user {
            return;
        }
        let title = stamp(due.saturating_duration_since(self.started));
        match from.client.notify(Recipients::Users(vec![to.user.clone()]), &title, urgent).await {
            Ok(_) => {
                self.context.record(|recorder| recorder.owes(&to.user, &title));
                metrics::count(&self.counts.notices);
            }
            Err(_) => metrics::count(&self.context.metrics.refused),
        }
    }

    /// Waits until every member has every change and every notice, at most until none came for a while.
    async fn wait_for_receipts(&self) {
        let metrics = &self.context.metrics;
        let came = || {
            let notices = metrics.of(Metric::Notify).count() + metrics.of(Metric::Urgent).count();
            (metrics.of(Metric::Task).count(), notices)
        };
        let wanted = (metrics::read(&self.counts.receipts), metrics::read(&self.counts.notices));
        let (mut last, mut since) = (came(), Instant::now());
        while (last.0 < wanted.0 || last.1 < wanted.1) && since.elapsed() < PATIENCE {
            tokio::time::sleep(Duration::from_millis(10)).await;
            let now = came();
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
    }
}
