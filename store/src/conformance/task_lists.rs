//! Lists and summaries of tasks against a model.

use std::collections::BTreeMap;

use hallway_protocol::command::{TaskOrder, TaskSummary, TaskWorkload};
use hallway_protocol::task::{Priority, Task, TaskStatus};
use hallway_protocol::{History, Role, RoomId, TaskId, UserId, Visibility};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::kit::{self, Shared, commit, one, write};
use super::task_kit::{assign, comment, create_as, delete, move_to, task, view};
use crate::{Action, TaskKey, TaskQuery, WORKLOADS_MAX};

const ORDERS: [TaskOrder; 3] = [TaskOrder::Newest, TaskOrder::Due, TaskOrder::Priority];
const PRIORITIES: [Priority; 4] = [Priority::Low, Priority::Normal, Priority::High, Priority::Urgent];
/// Every time is long over, or far away: it does not matter when the case runs.
const TIMES_MS: [u64; 6] = [1_000, 2_000, 3_000, 4_102_444_800_000, 4_102_444_800_001, 9_007_199_254_740_991];

/// All tasks of a room.
#[must_use]
pub fn all_of(room: &RoomId) -> TaskQuery {
    TaskQuery {
        room: Some(room.clone()),
        assignee: None,
        status: Vec::new(),
        priority: None,
        due_from_ms: None,
        due_until_ms: None,
        order: TaskOrder::Newest,
        after: None,
        limit: 100,
    }
}

/// All tasks of somebody.
#[must_use]
pub fn all_for(assignee: &UserId) -> TaskQuery {
    TaskQuery { assignee: Some(assignee.clone()), room: None, ..all_of(&kit::room("lists", "none")) }
}

fn rank(order: TaskOrder, task: &Task) -> u64 {
    match order {
        TaskOrder::Newest => 0,
        TaskOrder::Due => task.due_at_ms.unwrap(),
        TaskOrder::Priority => PRIORITIES.iter().position(|one| *one == task.priority).unwrap().try_into().unwrap(),
    }
}

/// What a query should list, all pages together.
fn expected(tasks: &[Task], mine: &[RoomId], query: &TaskQuery) -> Vec<TaskId> {
    let mut found: Vec<&Task> = tasks
        .iter()
        .filter(|task| !task.deleted && mine.contains(&task.room))
        .filter(|task| query.room.as_ref().is_none_or(|room| *room == task.room))
        .filter(|task| query.assignee.as_ref().is_none_or(|user| task.assignees.contains(user)))
        .filter(|task| query.status.is_empty() || query.status.contains(&task.status))
        .filter(|task| query.priority.is_none_or(|priority| priority == task.priority))
        .filter(|task| query.due_from_ms.is_none_or(|from| task.due_at_ms.is_some_and(|due| due >= from)))
        .filter(|task| query.due_until_ms.is_none_or(|until| task.due_at_ms.is_some_and(|due| due < until)))
        .filter(|task| query.order != TaskOrder::Due || task.due_at_ms.is_some())
        .collect();
    found.sort_by_key(|task| task.id);
    match query.order {
        TaskOrder::Newest => found.reverse(),
        TaskOrder::Due => found.sort_by_key(|task| task.due_at_ms),
        TaskOrder::Priority => {
            found.reverse();
            found.sort_by_key(|task| std::cmp::Reverse(task.priority));
        }
    }
    found.into_iter().map(|task| task.id).collect()
}

/// All pages of a list, each of `limit`.
async fn listed(store: &Shared, user: &UserId, query: &TaskQuery) -> Vec<Task> {
    let (mut found, mut after): (Vec<Task>, Option<TaskKey>) = (Vec::new(), None);
    loop {
        let page = store.list_tasks(user, TaskQuery { after, ..query.clone() }).await.unwrap().unwrap();
        assert!(page.tasks.len() <= usize::try_from(query.limit).unwrap());
        let full = page.tasks.len() == usize::try_from(query.limit).unwrap();
        assert!(full || !page.more, "a page with more behind it is full");
        found.extend(page.tasks);
        after = found.last().map(|last| TaskKey { rank: rank(query.order, last), id: last.id });
        if !page.more {
            return found;
        }
    }
}

struct World {
    rooms: Vec<RoomId>,
    users: Vec<UserId>,
    tasks: Vec<Task>,
}

fn one_of<T: Clone>(random: &mut StdRng, of: &[T]) -> T {
    of[random.random_range(0..of.len())].clone()
}

/// Three rooms of the first user, in which the second is in the first two; everybody else is in all of them.
async fn world(store: &Shared, case: &str, random: &mut StdRng) -> World {
    let users: Vec<UserId> = (0..5).map(|number| kit::user(case, &number.to_string())).collect();
    let rooms: Vec<RoomId> = (0..3).map(|number| kit::room(case, &number.to_string())).collect();
    for (turn, room) in rooms.iter().enumerate() {
        kit::channel(store, &users[0], room, Visibility::Private, History::SinceJoin).await;
        for user in users[1..].iter().filter(|user| turn < 2 || **user != users[1]) {
            one(store, &users[0], kit::invite(room, user, Role::Member)).await;
        }
    }
    let mut tasks = Vec::new();
    for number in 0..48 {
        let (room, id) = (one_of(random, &rooms), TaskId::generate());
        let mut action = create_as(&room, id, &format!("task {number}"));
        if let Action::CreateTask { priority, due_at_ms, assignees, .. } = &mut action {
            *priority = one_of(random, &PRIORITIES);
            *due_at_ms = random.random_bool(0.6).then(|| one_of(random, &TIMES_MS));
            let in_it = if room == rooms[2] { &users[2..] } else { &users[1..] };
            *assignees = in_it.iter().filter(|_| random.random_bool(0.4)).cloned().collect();
        }
        one(store, &users[0], action).await;
        let mut version = 1;
        let status = one_of(random, TaskStatus::ALL);
        if status != TaskStatus::Open {
            one(store, &users[0], move_to(&room, id, version, status)).await;
            version += 1;
        }
        if random.random_bool(0.3) {
            one(store, &users[0], assign(&room, id, version, &[&users[3]], &[&users[4]])).await;
            version = task(store, &users[0], &room, id).await.version;
        }
        if random.random_bool(0.2) {
            let edit = Action::EditTask {
                room: room.clone(),
                id,
                version,
                title: None,
                text: None,
                priority: Some(one_of(random, &PRIORITIES)),
                due: Some(hallway_protocol::command::Due::AtMs(one_of(random, &TIMES_MS))),
                meta: None,
            };
            one(store, &users[0], edit).await;
            version = task(store, &users[0], &room, id).await.version;
        }
        if random.random_bool(0.3) {
            one(store, &users[0], comment(&room, id, "said")).await;
        }
        if random.random_bool(0.1) {
            one(store, &users[0], delete(&room, id, version)).await;
        }
        tasks.push(task(store, &users[0], &room, id).await);
    }
    World { rooms, users, tasks }
}

fn any_query(random: &mut StdRng, world: &World) -> TaskQuery {
    let mut query = all_of(&one_of(random, &world.rooms));
    match random.random_range(0..3) {
        0 => query.assignee = Some(one_of(random, &world.users)),
        1 => (query.room, query.assignee) = (None, Some(one_of(random, &world.users))),
        _ => {}
    }
    for _ in 0..random.random_range(0..3) {
        query.status.push(one_of(random, TaskStatus::ALL));
    }
    query.priority = random.random_bool(0.2).then(|| one_of(random, &PRIORITIES));
    query.due_from_ms = random.random_bool(0.2).then(|| one_of(random, &TIMES_MS));
    query.due_until_ms = random.random_bool(0.2).then(|| one_of(random, &TIMES_MS));
    query.order = one_of(random, &ORDERS);
    query.limit = one_of(random, &[1, 3, 100]);
    query
}

fn seeded() -> (u64, StdRng) {
    let seed = std::env::var("HALLWAY_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    println!("seed {seed}: repeat with HALLWAY_TEST_SEED={seed}");
    (seed, StdRng::seed_from_u64(seed))
}

pub async fn lists_of_tasks_follow_a_model_in_every_order_and_by_every_filter(store: Shared) {
    let (seed, mut random) = seeded();
    let world = world(&store, "lists", &mut random).await;
    for step in 0..250 {
        let asker = one_of(&mut random, &world.users[..2]);
        let query = any_query(&mut random, &world);
        let mine = if asker == world.users[0] { &world.rooms[..] } else { &world.rooms[..2] };
        let shown = format!("seed {seed}, step {step}, {asker}: {query:?}");
        if query.room.as_ref().is_some_and(|room| !mine.contains(room)) {
            assert_eq!(store.list_tasks(&asker, query).await.unwrap(), None, "{shown}");
            continue;
        }
        let found = listed(&store, &asker, &query).await;
        let ids: Vec<TaskId> = found.iter().map(|task| task.id).collect();
        assert_eq!(ids, expected(&world.tasks, mine, &query), "{shown}");
        for task in found {
            let whole = world.tasks.iter().find(|known| known.id == task.id).unwrap();
            assert_eq!(task, *whole, "{shown}: a list shows all of a task");
        }
    }
}

fn summary(world: &World, mine: &[RoomId], room: Option<&RoomId>) -> TaskSummary {
    let tasks: Vec<&Task> = world
        .tasks
        .iter()
        .filter(|task| !task.deleted && mine.contains(&task.room) && room.is_none_or(|room| *room == task.room))
        .collect();
    let count = |status| tasks.iter().filter(|task| task.status == status).count().try_into().unwrap();
    // The third time lies in the past, the fourth in the far future.
    let overdue = |task: &Task| !task.status.is_closed() && task.due_at_ms.is_some_and(|due| due <= TIMES_MS[2]);
    let mut loads: BTreeMap<&UserId, (u64, u64)> = BTreeMap::new();
    for task in tasks.iter().filter(|task| !task.status.is_closed()) {
        for user in &task.assignees {
            let load = loads.entry(user).or_default();
            load.0 += 1;
            load.1 += u64::from(overdue(task));
        }
    }
    let loads = loads.into_iter();
    let mut assignees: Vec<TaskWorkload> =
        loads.map(|(user, (unfinished, overdue))| TaskWorkload { user: user.clone(), unfinished, overdue }).collect();
    assignees.sort_by_key(|load| std::cmp::Reverse(load.unfinished));
    TaskSummary {
        open: count(TaskStatus::Open),
        in_progress: count(TaskStatus::InProgress),
        blocked: count(TaskStatus::Blocked),
        done: count(TaskStatus::Done),
        cancelled: count(TaskStatus::Cancelled),
        overdue: tasks.iter().filter(|task| overdue(task)).count().try_into().unwrap(),
        assignees,
    }
}

pub async fn a_summary_counts_what_a_model_counts(store: Shared) {
    let (seed, mut random) = seeded();
    let world = world(&store, "summary", &mut random).await;
    for (asker, mine) in [(&world.users[0], &world.rooms[..]), (&world.users[1], &world.rooms[..2])] {
        let all = store.task_summary(asker, None).await.unwrap();
        assert_eq!(all, Some(summary(&world, mine, None)), "seed {seed}, {asker}");
        for room in &world.rooms {
            let one = store.task_summary(asker, Some(room)).await.unwrap();
            let wanted = mine.contains(room).then(|| summary(&world, mine, Some(room)));
            assert_eq!(one, wanted, "seed {seed}, {asker}, {room}");
        }
    }
    let stranger = kit::user("summary", "stranger");
    assert_eq!(store.task_summary(&stranger, Some(&world.rooms[0])).await.unwrap(), None);
    assert_eq!(store.task_summary(&stranger, None).await.unwrap(), Some(summary(&world, &[], None)));
}

pub async fn a_summary_names_the_most_loaded_people_only(store: Shared) {
    let (ann, room) = (kit::user("loads", "ann"), kit::room("loads", "room"));
    kit::channel(&store, &ann, &room, Visibility::Private, History::All).await;
    let most = usize::try_from(WORKLOADS_MAX).unwrap();
    let people: Vec<UserId> = (0..most + 10).map(|number| kit::user("loads", &format!("u{number:03}"))).collect();
    let invitations = people.iter().map(|user| write(&ann, kit::invite(&room, user, Role::Member))).collect();
    assert!(commit(&store, invitations).await.iter().all(Result::is_ok));
    // The last one has two tasks, everybody else one.
    for chunk in people.chunks(50).chain([&people[people.len() - 1..]]) {
        let people: Vec<&UserId> = chunk.iter().collect();
        one(&store, &ann, super::task_kit::create_with(&room, TaskId::generate(), &people, &[])).await;
    }
    let summary = store.task_summary(&ann, Some(&room)).await.unwrap().unwrap();
    let named: Vec<&UserId> = summary.assignees.iter().map(|load| &load.user).collect();
    let wanted: Vec<&UserId> = people.last().into_iter().chain(&people[..most - 1]).collect();
    assert_eq!(named, wanted);
}

pub async fn who_leaves_a_room_sees_none_of_its_tasks(store: Shared) {
    let (_, mut random) = seeded();
    let world = world(&store, "left", &mut random).await;
    let (asker, room) = (&world.users[1], &world.rooms[0]);
    let theirs = all_for(asker);
    assert_eq!(
        listed(&store, asker, &theirs).await.iter().map(|task| task.id).collect::<Vec<_>>(),
        expected(&world.tasks, &world.rooms[..2], &theirs)
    );
    one(&store, asker, Action::Leave { room: room.clone() }).await;
    let left = listed(&store, asker, &theirs).await;
    assert_eq!(
        left.iter().map(|task| task.id).collect::<Vec<_>>(),
        expected(&world.tasks, &world.rooms[1..2], &theirs)
    );
    assert_eq!(store.list_tasks(asker, all_of(room)).await.unwrap(), None);
    let others = TaskQuery { room: Some(room.clone()), ..all_for(&world.users[3]) };
    assert_eq!(store.list_tasks(asker, others).await.unwrap(), None);
    for task in &world.tasks {
        let seen = store.task(asker, &task.room, task.id).await.unwrap();
        assert_eq!(seen.is_some(), task.room == world.rooms[1], "{task:?}");
        assert_eq!(store.task(asker, &world.rooms[1], task.id).await.unwrap().is_some(), task.room == world.rooms[1]);
    }
    // To the others of the room their tasks are theirs still.
    let of_them = TaskQuery { room: Some(room.clone()), ..theirs };
    let wanted = expected(&world.tasks, &world.rooms, &of_them);
    let found = listed(&store, &world.users[0], &of_them).await;
    assert_eq!(found.iter().map(|task| task.id).collect::<Vec<_>>(), wanted);
}

pub async fn a_newcomer_sees_the_tasks_that_were_there_before(store: Shared) {
    let (ann, bob) = (kit::user("newcomer", "ann"), kit::user("newcomer", "bob"));
    let room = kit::room("newcomer", "room");
    // What is to be done is the room's present, not its history.
    kit::channel(&store, &ann, &room, Visibility::Private, History::SinceJoin).await;
    let id = super::task_kit::new_task(&store, &ann, &room, "title").await;
    one(&store, &ann, comment(&room, id, "said")).await;
    one(&store, &ann, kit::invite(&room, &bob, Role::Member)).await;
    assert_eq!(view(&store, &bob, &room, id).await.comments.len(), 1);
    assert_eq!(listed(&store, &bob, &all_of(&room)).await.len(), 1);
    one(&store, &bob, move_to(&room, id, 1, TaskStatus::InProgress)).await;
}
