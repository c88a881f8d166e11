//! People come back to messages, tasks and notifications that they missed, so many a second.
//!
//! They are members of the same rooms, and go away before anything happens there. What each of them gets must be complete, and
//! tasks as they are now; the node must say exactly how many notifications are unread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hallway_protocol::command::{Recipients, TaskOutcome};
use hallway_protocol::task::TaskStatus;
use hallway_protocol::{Position, RoomId, StreamId, TaskId, UserId, Visibility};
use serde_json::{Value, json};

use super::notify::ask;
use super::reconnect::{make_events, positions_in};
use crate::member::Watch;
use crate::metrics::Metric;
use crate::run::{Context, Failure, Handle, LATE_AFTER, for_all, stamp, wait_until_synced};
use crate::{metrics, schedule};

/// People in one notice.
const NOTICE_MAX_USERS: usize = 500;
/// Longer than any run of so many reconnects takes.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

type Away = (UserId, Vec<Position>);

pub(super) async fn run(context: &Arc<Context>) -> Result<Value, Failure> {
    let settings = &context.settings;
    let began = Instant::now();
    let writer = Arc::new(context.connect(context.user(settings.members)?, Watch::default(), None).await?);
    let rooms = (0..settings.rooms).map(|number| context.room(number)).collect::<Result<Vec<RoomId>, _>>()?;
    for room in &rooms {
        let stream = StreamId::Room(room.clone());
        context.ledger.history_is_for_all(stream.clone());
        let created = writer.client.create_room(room, Visibility::Public).await?;
        context.record(|recorder| recorder.joined(&stream, &writer.user, created.seq));
    }
    let people = for_all((0..settings.members).collect(), |number| {
        let (context, rooms) = (Arc::clone(context), rooms.clone());
        async move { leave(&context, context.user(number)?, &rooms).await }
    })
    .await?;
    println!("{} people left {} rooms after {:.1?}", people.len(), rooms.len(), began.elapsed());
    make_events(context, &writer, &rooms).await;
    make_tasks(context, &writer, &rooms).await?;
    notify(context, &writer, &people).await?;
    println!("they missed everything after {:.1?}", began.elapsed());
    come_back(context, &people).await?;
    context.finish(vec![Arc::clone(&writer)]).await?;
    context.final_read(BTreeMap::from([(writer.user.clone(), rooms)])).await?;
    Ok(json!({ "people": people.len(), "missed_per_person": {
        "messages": settings.rooms * settings.missed, "task_events": 2 * settings.tasks,
        "notifications": settings.notifications } }))
}

/// Joins all rooms and goes; where they stand then.
async fn leave(context: &Arc<Context>, user: UserId, rooms: &[RoomId]) -> Result<Away, Failure> {
    let handle = context.connect(user, Watch::default(), None).await?;
    for room in rooms {
        let joined = handle.client.join(room).await?;
        context.record(|recorder| recorder.joined(&StreamId::Room(room.clone()), &handle.user, joined.seq));
    }
    let positions = positions_in(&handle, rooms).await?;
    handle.client.close().await;
    Ok((handle.user.clone(), positions))
}

/// Each task is made and moved once.
async fn make_tasks(context: &Arc<Context>, writer: &Arc<Handle>, rooms: &[RoomId]) -> Result<(), Failure> {
    let tasks = (0..context.settings.tasks as usize).map(|number| rooms[number % rooms.len()].clone()).collect();
    for_all(tasks, |room: RoomId| {
        let (context, writer) = (Arc::clone(context), Arc::clone(writer));
        async move {
            let (id, moved) = (TaskId::generate(), TaskStatus::InProgress);
            let created = writer.client.create_task(&room, id, "give Anna the report").await?;
            context.record(|recorder| recorder.task_changed(id, 0, None, &created));
            match writer.client.move_task(&room, id, 1, moved).await? {
                TaskOutcome::Committed(done) => {
                    context.record(|recorder| recorder.task_changed(id, 1, Some(moved), &done));
                    Ok(())
                }
                TaskOutcome::Stale(task) => Err(format!("task {id} has version {} already", task.version).into()),
            }
        }
    })
    .await?;
    Ok(())
}

async fn notify(context: &Arc<Context>, writer: &Arc<Handle>, people: &[Away]) -> Result<(), Failure> {
    let started = Instant::now();
    for _ in 0..context.settings.notifications {
        let title = stamp(started.elapsed());
        for few in people.chunks(NOTICE_MAX_USERS) {
            let users: Vec<UserId> = few.iter().map(|(user, _)| user.clone()).collect();
            writer.client.notify(Recipients::Users(users.clone()), &title, false).await?;
            context.record(|recorder| users.iter().for_each(|user| recorder.owes(user, &title)));
        }
    }
    // More than a few are told behind the acknowledgement: the last who is told has them all.
    let last = people.last().ok_or("nobody is to come back")?;
    let handle = context.connect(last.0.clone(), Watch::default(), None).await?;
    let wanted = u64::from(context.settings.notifications);
    let until = Instant::now() + Duration::from_secs(60);
    while handle.client.notifications().await?.unread < wanted && Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    handle.client.close().await;
    Ok(())
}

async fn come_back(context: &Arc<Context>, people: &[Away]) -> Result<(), Failure> {
    let settings = &context.settings;
    let mut due_times = schedule::start(settings.rate, LONGEST, Instant::now(), Arc::clone(&context.stop))?;
    for number in 0..settings.reconnects as usize {
        let Some(due) = due_times.recv().await else { break };
        let away = people[number % people.len()].clone();
        let target = number % settings.targets.len();
        let context = Arc::clone(context);
        context.in_flight.fetch_add(1, Ordering::Relaxed);
        metrics::count(&context.metrics.sent);
        tokio::spawn(async move {
            if due.elapsed() > LATE_AFTER {
                metrics::count(&context.metrics.late);
            }
            if let Err(error) = one(&context, away, target, due).await {
                eprintln!("somebody did not come back: {error}");
                metrics::count(&context.metrics.refused);
            }
            context.in_flight.fetch_sub(1, Ordering::Relaxed);
        });
    }
    context.wait_for_publishes().await;
    Ok(())
}

async fn one(context: &Arc<Context>, (user, positions): Away, target: usize, due: Instant) -> Result<(), Failure> {
    let how = Watch { positions, catches_up: true, target, ..Watch::default() };
    let mut handle = context.connect(user, how, None).await?;
    let synced_at = wait_until_synced(&mut handle).await?;
    context.metrics.of(Metric::Sync).record(synced_at.saturating_duration_since(due));
    let handle = Arc::new(handle);
    ask(context, vec![(Arc::clone(&handle), u64::from(context.settings.notifications))]).await?;
    context.finish(vec![handle]).await
}
