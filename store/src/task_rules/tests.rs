#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use hallway_protocol::task::Priority;
use hallway_protocol::{Meta, RoomId};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

/// A room as the rules see it.
#[derive(Default)]
struct Room {
    members: BTreeSet<UserId>,
    tasks: BTreeMap<TaskId, (TaskStatus, Vec<TaskId>)>,
}

impl Around for Room {
    type Error = Refusal;

    fn is_member(&mut self, user: &UserId) -> Result<bool, Refusal> {
        Ok(self.members.contains(user))
    }

    fn status(&mut self, task: TaskId) -> Result<Option<TaskStatus>, Refusal> {
        Ok(self.tasks.get(&task).map(|(status, _)| *status))
    }

    fn waits_on(&mut self, task: TaskId) -> Result<Vec<TaskId>, Refusal> {
        Ok(self.tasks.get(&task).map(|(_, waits_on)| waits_on.clone()).unwrap_or_default())
    }
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn task_id(number: u8) -> TaskId {
    let mut bytes = [0; 16];
    (bytes[6], bytes[8], bytes[15]) = (0x70, 0x80, number);
    TaskId::from_uuid(Uuid::from_bytes(bytes)).unwrap()
}

fn room_id() -> RoomId {
    RoomId::new("room").unwrap()
}

fn made(number: u8) -> Task {
    let action = Action::CreateTask {
        room: room_id(),
        id: task_id(number),
        title: "title".to_owned(),
        text: "text".to_owned(),
        priority: Priority::Normal,
        due_at_ms: Some(5),
        assignees: Vec::new(),
        waits_on: Vec::new(),
        meta: Some(Meta::from_json("{\"a\":1}").unwrap()),
    };
    create(&user("ann"), &action, Moment { seq: 3, at_ms: 7 }, &mut Room::default()).unwrap()
}

fn edit(title: Option<&str>, due: Option<Due>) -> Action {
    let title = title.map(str::to_owned);
    Action::EditTask { room: room_id(), id: task_id(1), version: 1, title, text: None, priority: None, due, meta: None }
}

fn move_to(status: TaskStatus) -> Action {
    Action::MoveTask { room: room_id(), id: task_id(1), version: 1, status }
}

fn assign(add: &[&str], remove: &[&str]) -> Action {
    let users = |names: &[&str]| names.iter().map(|name| user(name)).collect();
    Action::AssignTask { room: room_id(), id: task_id(1), version: 1, add: users(add), remove: users(remove) }
}

fn link(add: &[u8], remove: &[u8]) -> Action {
    let tasks = |numbers: &[u8]| numbers.iter().map(|number| task_id(*number)).collect();
    Action::LinkTask { room: room_id(), id: task_id(1), version: 1, add: tasks(add), remove: tasks(remove) }
}

fn changed(task: &Task, action: &Action, room: &mut Room) -> Result<Option<Changed>, Refusal> {
    change(task, action, 9, room)
}

#[test]
fn a_task_goes_from_each_status_exactly_where_the_table_says() {
    for from in TaskStatus::ALL {
        let task = Task { status: *from, ..made(1) };
        for to in TaskStatus::ALL {
            let result = changed(&task, &move_to(*to), &mut Room::default());
            if from == to {
                assert_eq!(result, Ok(None), "{from:?} to {to:?}");
            } else if from.next().contains(to) {
                let after = result.unwrap().unwrap();
                assert_eq!((after.task.status, after.task.version, after.task.changed_at_ms), (*to, 2, 9));
                assert_eq!(after.change, TaskChange::Moved);
            } else {
                assert_eq!(result, Err(Refusal::IllegalMove { from: *from }), "{from:?} to {to:?}");
            }
        }
    }
}

#[test]
fn what_waits_on_open_tasks_is_not_done_and_they_are_named_in_order() {
    let mut room = Room::default();
    for (number, status) in [(2, TaskStatus::Blocked), (3, TaskStatus::Done), (4, TaskStatus::Open)] {
        room.tasks.insert(task_id(number), (status, Vec::new()));
    }
    let task = Task { waits_on: vec![task_id(2), task_id(3), task_id(4)], ..made(1) };
    let waits = Refusal::TaskWaits(vec![task_id(2), task_id(4)]);
    assert_eq!(changed(&task, &move_to(TaskStatus::Done), &mut room), Err(waits));
    assert!(changed(&task, &move_to(TaskStatus::InProgress), &mut room).unwrap().is_some());
    assert!(changed(&task, &move_to(TaskStatus::Cancelled), &mut room).unwrap().is_some());
}

#[test]
fn a_stale_version_is_answered_with_the_task_and_comes_before_the_change_itself() {
    let task = Task { version: 4, ..made(1) };
    for action in [edit(None, None), move_to(TaskStatus::Open), assign(&["eve"], &[]), link(&[9], &[])] {
        let stale = Refusal::TaskStale(Box::new(task.clone()));
        assert_eq!(changed(&task, &action, &mut Room::default()), Err(stale), "{action:?}");
    }
    let deleted = Task { deleted: true, ..task };
    assert_eq!(changed(&deleted, &edit(None, None), &mut Room::default()), Err(Refusal::TaskDeleted));
}

#[test]
fn what_changes_nothing_makes_no_version() {
    let mut room = Room::default();
    let task = Task { assignees: vec![user("bob")], waits_on: vec![task_id(2)], ..made(1) };
    let same = [
        edit(Some("title"), Some(Due::AtMs(5))),
        edit(None, None),
        move_to(TaskStatus::Open),
        assign(&["bob"], &["eve"]),
        assign(&["eve"], &["eve"]),
        link(&[2], &[3]),
        link(&[3], &[3]),
    ];
    for action in same {
        assert_eq!(changed(&task, &action, &mut room), Ok(None), "{action:?}");
    }
    let never = changed(&task, &edit(None, Some(Due::Never)), &mut room).unwrap().unwrap();
    assert_eq!((never.task.due_at_ms, never.task.title.as_str(), never.task.version), (None, "title", 2));
}

#[test]
fn only_new_assignees_must_be_members_and_removing_wins() {
    let mut room = Room { members: [user("bob"), user("cy")].into(), ..Room::default() };
    let task = Task { assignees: vec![user("left")], ..made(1) };
    assert_eq!(changed(&task, &assign(&["bob", "eve"], &[]), &mut room), Err(Refusal::TargetNotAMember));
    let after = changed(&task, &assign(&["cy", "left", "bob", "cy", "eve"], &["eve"]), &mut room).unwrap().unwrap();
    assert_eq!(after.task.assignees, [user("bob"), user("cy"), user("left")]);
    assert_eq!(after.assigned, [user("bob"), user("cy")]);
}

#[test]
fn nothing_waits_on_itself_over_whichever_others() {
    let mut room = Room::default();
    for (number, waits_on) in [(1, vec![]), (2, vec![task_id(3)]), (3, vec![task_id(1)]), (4, vec![])] {
        room.tasks.insert(task_id(number), (TaskStatus::Open, waits_on));
    }
    let task = made(1);
    for circle in [1, 2, 3] {
        assert_eq!(changed(&task, &link(&[4, circle], &[]), &mut room), Err(Refusal::TaskCycle), "{circle}");
    }
    assert_eq!(changed(&task, &link(&[4, 9], &[]), &mut room), Err(Refusal::TaskNotFound));
    assert_eq!(changed(&task, &link(&[4], &[]), &mut room).unwrap().unwrap().task.waits_on, [task_id(4)]);
}

#[test]
fn links_and_assignees_are_bounded() {
    let names: Vec<String> = (0..=ASSIGNEES_MAX).map(|number| format!("u{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut room = Room { members: names.iter().map(|name| user(name)).collect(), ..Room::default() };
    assert_eq!(changed(&made(1), &assign(&names, &[]), &mut room), Err(Refusal::TooManyLinks));
    assert!(changed(&made(1), &assign(&names[1..], &[]), &mut room).is_ok());
    let others: Vec<u8> = (10..=60).collect();
    for number in &others {
        room.tasks.insert(task_id(*number), (TaskStatus::Open, Vec::new()));
    }
    assert_eq!(changed(&made(1), &link(&others, &[]), &mut room), Err(Refusal::TooManyLinks));
    assert!(changed(&made(1), &link(&others[1..], &[]), &mut room).is_ok());
    let full = Task { comment_count: COMMENTS_MAX_PER_TASK, ..made(1) };
    assert_eq!(comment(&full), Err(Refusal::TooManyComments));
}

#[test]
fn its_creator_and_admins_delete_a_task_and_nothing_of_what_it_said_is_left() {
    let task = Task { assignees: vec![user("bob")], waits_on: vec![task_id(2)], comment_count: 2, ..made(1) };
    assert_eq!(delete(&task, 1, &user("bob"), Role::Member, 9), Err(Refusal::Forbidden));
    assert_eq!(delete(&task, 2, &user("bob"), Role::Member, 9), Err(Refusal::Forbidden), "before the version");
    assert!(matches!(delete(&task, 2, &user("ann"), Role::Member, 9), Err(Refusal::TaskStale(_))));
    assert!(delete(&task, 1, &user("eve"), Role::Admin, 9).is_ok());
    let left = delete(&task, 1, &user("ann"), Role::Member, 9).unwrap();
    assert_eq!((left.title.as_str(), left.text.as_str(), &left.meta, left.due_at_ms), ("", "", &None, None));
    assert_eq!((left.assignees.len(), left.waits_on.len(), left.version, left.deleted), (0, 0, 2, true));
    assert_eq!((left.seq, left.comment_count, left.at_ms), (task.seq, 2, task.at_ms));
    assert_eq!(delete(&left, 2, &user("ann"), Role::Owner, 9), Err(Refusal::TaskDeleted));
}

#[test]
fn everybody_is_told_once_for_the_nearest_reason_and_nobody_of_their_own_deed() {
    let people = |names: &[&str]| names.iter().map(|name| user(name)).collect::<Vec<_>>();
    let told = Told::of(
        &user("ann"),
        &people(&["ann", "bob", "cy", "dan"]),
        &people(&["bob", "ann"]),
        &people(&["cy", "bob"]),
    );
    assert_eq!(told.assigned, people(&["bob"]));
    assert_eq!(told.mentioned, people(&["cy"]));
    assert_eq!(told.changed, people(&["dan"]));
}

proptest! {
    /// Whatever is linked in whatever order, there is never a circle; and a link is refused only when it would close one.
    #[test]
    fn random_links_never_make_a_circle(links in prop::collection::vec((0u8..8, 0u8..8, any::<bool>()), 1..80)) {
        let mut room = Room::default();
        for number in 0..8 {
            room.tasks.insert(task_id(number), (TaskStatus::Open, Vec::new()));
        }
        for (from, to, take) in links {
            let task = Task { waits_on: room.tasks[&task_id(from)].1.clone(), ..made(from) };
            let action = if take { link(&[], &[to]) } else { link(&[to], &[]) };
            match changed(&task, &action, &mut room) {
                Ok(after) => {
                    if let Some(after) = after {
                        room.tasks.insert(task.id, (TaskStatus::Open, after.task.waits_on));
                    }
                    prop_assert!(sorts(&room), "a circle after {from} waits on {to}");
                }
                Err(Refusal::TaskCycle) => {
                    room.tasks.get_mut(&task.id).unwrap().1.push(task_id(to));
                    prop_assert!(!sorts(&room), "{from} could wait on {to}");
                    room.tasks.get_mut(&task.id).unwrap().1.pop();
                }
                Err(refusal) => prop_assert!(false, "{refusal}"),
            }
        }
    }

    /// A set after any change is sorted, without repeats, and what set algebra says.
    #[test]
    fn sets_change_as_sets_do(
        present in prop::collection::btree_set(0u8..10, 0..8),
        add in prop::collection::vec(0u8..10, 0..8),
        remove in prop::collection::vec(0u8..10, 0..8),
    ) {
        let before: Vec<u8> = present.iter().copied().collect();
        let SetChange { now, added } = change_set(&before, &add, &remove);
        let expected: BTreeSet<u8> =
            present.iter().chain(&add).copied().filter(|one| !remove.contains(one)).collect();
        prop_assert_eq!(&now, &expected.iter().copied().collect::<Vec<_>>());
        prop_assert_eq!(added, expected.difference(&present).copied().collect::<Vec<_>>());
    }
}

/// Whether the tasks can be put in an order in which each comes after what it waits on: another way to say "no circle".
fn sorts(room: &Room) -> bool {
    let mut left: BTreeMap<TaskId, BTreeSet<TaskId>> =
        room.tasks.iter().map(|(id, (_, waits_on))| (*id, waits_on.iter().copied().collect())).collect();
    while let Some(free) = left.iter().find(|(_, waits_on)| waits_on.is_empty()).map(|(id, _)| *id) {
        left.remove(&free);
        for waits_on in left.values_mut() {
            waits_on.remove(&free);
        }
    }
    left.is_empty()
}
