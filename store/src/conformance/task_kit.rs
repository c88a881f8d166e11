//! What the cases about tasks are written with.

use hallway_protocol::task::{Priority, Task, TaskStatus};
use hallway_protocol::{CommentId, Event, EventBody, History, Role, RoomId, Seq, StreamId, TaskId, UserId, Visibility};

use super::kit::{self, Shared};
use crate::{Action, Committed, TaskView};

/// A room of `ann`, with some others in it as plain members.
pub struct Team {
    pub room: RoomId,
    /// Its owner.
    pub ann: UserId,
    pub others: Vec<UserId>,
}

/// Makes a private channel of `ann` with these members; names are made unlike those of other cases.
pub async fn team(store: &Shared, case: &str, others: &[&str]) -> Team {
    let (ann, room) = (kit::user(case, "ann"), kit::room(case, "room"));
    kit::channel(store, &ann, &room, Visibility::Private, History::All).await;
    let mut members = Vec::new();
    for name in others {
        let user = kit::user(case, name);
        kit::one(store, &ann, kit::invite(&room, &user, Role::Member)).await;
        members.push(user);
    }
    Team { room, ann, others: members }
}

/// A plain task to be made.
#[must_use]
pub fn create_as(room: &RoomId, id: TaskId, title: &str) -> Action {
    Action::CreateTask {
        room: room.clone(),
        id,
        title: title.to_owned(),
        text: String::new(),
        priority: Priority::Normal,
        due_at_ms: None,
        assignees: Vec::new(),
        waits_on: Vec::new(),
        meta: None,
    }
}

/// A plain task with these assignees, waiting on these tasks.
#[must_use]
pub fn create_with(room: &RoomId, id: TaskId, people: &[&UserId], tasks: &[TaskId]) -> Action {
    let mut action = create_as(room, id, "title");
    if let Action::CreateTask { assignees, waits_on, .. } = &mut action {
        *assignees = people.iter().map(|user| (*user).clone()).collect();
        *waits_on = tasks.to_vec();
    }
    action
}

/// Makes a plain task.
pub async fn new_task(store: &Shared, actor: &UserId, room: &RoomId, title: &str) -> TaskId {
    let id = TaskId::generate();
    kit::one(store, actor, create_as(room, id, title)).await;
    id
}

/// Another title.
#[must_use]
pub fn retitle(room: &RoomId, id: TaskId, version: u32, title: &str) -> Action {
    let title = Some(title.to_owned());
    Action::EditTask { room: room.clone(), id, version, title, text: None, priority: None, due: None, meta: None }
}

/// Another status.
#[must_use]
pub fn move_to(room: &RoomId, id: TaskId, version: u32, status: TaskStatus) -> Action {
    Action::MoveTask { room: room.clone(), id, version, status }
}

/// Other assignees.
#[must_use]
pub fn assign(room: &RoomId, id: TaskId, version: u32, add: &[&UserId], remove: &[&UserId]) -> Action {
    let people = |users: &[&UserId]| users.iter().map(|user| (*user).clone()).collect();
    Action::AssignTask { room: room.clone(), id, version, add: people(add), remove: people(remove) }
}

/// Other tasks to wait on.
#[must_use]
pub fn link(room: &RoomId, id: TaskId, version: u32, add: &[TaskId], remove: &[TaskId]) -> Action {
    Action::LinkTask { room: room.clone(), id, version, add: add.to_vec(), remove: remove.to_vec() }
}

/// A deletion.
#[must_use]
pub fn delete(room: &RoomId, id: TaskId, version: u32) -> Action {
    Action::DeleteTask { room: room.clone(), id, version }
}

/// A comment with an id of its own.
#[must_use]
pub fn comment(room: &RoomId, id: TaskId, text: &str) -> Action {
    let (comment, text) = (CommentId::generate(), text.to_owned());
    Action::CommentTask { room: room.clone(), id, comment, text, mentions: Vec::new() }
}

/// Following, or no longer.
#[must_use]
pub fn follow(room: &RoomId, id: TaskId, follow: bool) -> Action {
    Action::FollowTask { room: room.clone(), id, follow }
}

/// A task as somebody sees it who may.
pub async fn view(store: &Shared, user: &UserId, room: &RoomId, id: TaskId) -> TaskView {
    let view = store.task(user, room, id).await.expect("the store reads tasks");
    view.unwrap_or_else(|| panic!("{user} does not see {id} in {room}"))
}

/// The task alone.
pub async fn task(store: &Shared, user: &UserId, room: &RoomId, id: TaskId) -> Task {
    view(store, user, room, id).await.task
}

/// The room's last number.
pub async fn head(store: &Shared, room: &RoomId) -> Seq {
    let heads = store.heads(vec![StreamId::Room(room.clone())]).await.expect("the store reads heads").heads;
    heads[0].last_seq
}

/// What a write put into the stream of its room.
#[must_use]
pub fn of_room(committed: &Committed) -> Vec<&Event> {
    committed.events.iter().filter(|event| event.stream.room().is_some()).collect()
}

/// The one event that a write put into the stream of its room.
#[must_use]
pub fn only(committed: &Committed) -> &EventBody {
    let [event] = &of_room(committed)[..] else { panic!("not one event: {committed:?}") };
    assert_eq!(event.seq, committed.seq);
    &event.body
}
