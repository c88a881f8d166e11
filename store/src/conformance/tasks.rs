//! What changes of tasks come to.

use hallway_protocol::command::Due;
use hallway_protocol::event::{TaskChanged, TaskCreated};
use hallway_protocol::task::{Priority, Task, TaskChange, TaskStatus};
use hallway_protocol::{CommentId, EventBody, Meta, Role, TaskId, UserId};

use super::kit::{self, Shared, commit, one, room_events, try_one, write};
use super::task_kit::{
    assign, create_as, create_with, delete, follow, head, link, move_to, new_task, of_room, only, retitle, task, team,
    view,
};
use crate::{Action, Refusal};

pub async fn a_task_keeps_everything_it_was_made_with(store: Shared) {
    let team = team(&store, "made", &["cy", "bob"]).await;
    let (room, ann, cy, bob) = (&team.room, &team.ann, &team.others[0], &team.others[1]);
    let (first, second) = (new_task(&store, ann, room, "first").await, new_task(&store, ann, room, "second").await);
    let meta = Some(Meta::from_json("{\"color\":\"red\",\"n\":1}").unwrap());
    let id = TaskId::generate();
    let action = Action::CreateTask {
        room: room.clone(),
        id,
        title: "Book the room — 会议".to_owned(),
        text: "with a \"projector\"\nand \\ chairs".to_owned(),
        priority: Priority::Urgent,
        due_at_ms: Some(4_102_444_800_000),
        assignees: vec![cy.clone(), bob.clone(), cy.clone()],
        waits_on: vec![second, first, second],
        meta: meta.clone(),
    };
    let made = one(&store, bob, action).await;
    assert_eq!((made.stream.room(), made.id), (Some(room), Some(id.into())));
    let expected = Task {
        id,
        room: room.clone(),
        seq: made.seq,
        version: 1,
        title: "Book the room — 会议".to_owned(),
        text: "with a \"projector\"\nand \\ chairs".to_owned(),
        status: TaskStatus::Open,
        priority: Priority::Urgent,
        due_at_ms: Some(4_102_444_800_000),
        creator: bob.clone(),
        at_ms: made.at_ms,
        changed_at_ms: made.at_ms,
        assignees: vec![bob.clone(), cy.clone()],
        waits_on: vec![first, second],
        comment_count: 0,
        meta,
        deleted: false,
    };
    assert_eq!(*only(&made), EventBody::TaskCreated(TaskCreated { task: expected.clone() }));
    let seen = view(&store, ann, room, id).await;
    assert_eq!(seen.task, expected);
    let waits: Vec<(TaskId, &str)> = seen.waits_on.iter().map(|task| (task.id, task.title.as_str())).collect();
    assert_eq!(waits, [(first, "first"), (second, "second")]);
    assert_eq!((seen.comments.len(), seen.older, seen.following), (0, false, false));
    let last = room_events(&store, room).await.pop().unwrap();
    assert_eq!(&last, of_room(&made)[0], "a page is what the commit said");
}

pub async fn every_change_of_a_task_is_one_version_and_one_event(store: Shared) {
    let team = team(&store, "changes", &["bob"]).await;
    let (room, ann, bob) = (&team.room, &team.ann, &team.others[0]);
    let other = new_task(&store, ann, room, "other").await;
    let id = new_task(&store, ann, room, "title").await;
    let edit = Action::EditTask {
        room: room.clone(),
        id,
        version: 1,
        title: None,
        text: Some("text".to_owned()),
        priority: Some(Priority::High),
        due: Some(Due::AtMs(4_102_444_800_000)),
        meta: Some(Meta::from_json("{\"a\":[1]}").unwrap()),
    };
    let changes = [
        (edit, TaskChange::Edited),
        (move_to(room, id, 2, TaskStatus::InProgress), TaskChange::Moved),
        (assign(room, id, 3, &[ann, bob], &[]), TaskChange::Assigned),
        (link(room, id, 4, &[other], &[]), TaskChange::Linked),
        (assign(room, id, 5, &[], &[ann]), TaskChange::Assigned),
        (link(room, id, 6, &[], &[other]), TaskChange::Linked),
    ];
    for (version, (action, change)) in (2..).zip(changes) {
        let shown = format!("{action:?}");
        let done = one(&store, bob, action).await;
        let now = task(&store, ann, room, id).await;
        assert_eq!((now.version, now.changed_at_ms), (version, done.at_ms), "{shown}");
        assert_eq!(*only(&done), EventBody::TaskChanged(TaskChanged { task: now, change, by: bob.clone() }), "{shown}");
        assert_eq!((done.seq, done.id), (head(&store, room).await, Some(id.into())), "{shown}");
    }
    let now = task(&store, ann, room, id).await;
    assert_eq!((now.title.as_str(), now.text.as_str(), now.priority), ("title", "text", Priority::High));
    assert_eq!((now.due_at_ms, now.status), (Some(4_102_444_800_000), TaskStatus::InProgress));
    assert_eq!((now.assignees, now.waits_on), (vec![bob.clone()], Vec::new()));
    assert_eq!(now.meta, Some(Meta::from_json("{\"a\":[1]}").unwrap()));
    let never = Action::EditTask {
        room: room.clone(),
        id,
        version: 7,
        title: None,
        text: None,
        priority: None,
        due: Some(Due::Never),
        meta: None,
    };
    one(&store, ann, never).await;
    assert_eq!(task(&store, ann, room, id).await.due_at_ms, None);
}

pub async fn a_change_that_changes_nothing_is_no_event(store: Shared) {
    let team = team(&store, "same", &["bob"]).await;
    let (room, ann, bob) = (&team.room, &team.ann, &team.others[0]);
    let other = new_task(&store, ann, room, "other").await;
    let id = TaskId::generate();
    one(&store, ann, create_with(room, id, &[bob], &[other])).await;
    let before = task(&store, ann, room, id).await;
    let last = head(&store, room).await;
    for action in [
        retitle(room, id, 1, "title"),
        move_to(room, id, 1, TaskStatus::Open),
        assign(room, id, 1, &[bob], &[ann]),
        assign(room, id, 1, &[ann], &[ann]),
        link(room, id, 1, &[other], &[id]),
    ] {
        let shown = format!("{action:?}");
        let done = one(&store, ann, action).await;
        assert_eq!((done.seq, done.events.len(), done.id), (last, 0, Some(id.into())), "{shown}");
    }
    assert_eq!(task(&store, ann, room, id).await, before);
    assert_eq!(head(&store, room).await, last);
}

pub async fn a_stale_change_is_refused_with_the_task_as_it_is(store: Shared) {
    let team = team(&store, "stale", &["bob"]).await;
    let (room, ann, bob) = (&team.room, &team.ann, &team.others[0]);
    let other = new_task(&store, ann, room, "other").await;
    let id = new_task(&store, ann, room, "old").await;
    one(&store, ann, retitle(room, id, 1, "new")).await;
    one(&store, ann, assign(room, id, 2, &[ann, bob], &[])).await;
    one(&store, ann, link(room, id, 3, &[other], &[])).await;
    let now = task(&store, ann, room, id).await;
    let last = head(&store, room).await;
    for version in [1, 3, 5] {
        for action in [
            retitle(room, id, version, "mine"),
            move_to(room, id, version, TaskStatus::Done),
            assign(room, id, version, &[&kit::user("stale", "nobody")], &[]),
            link(room, id, version, &[TaskId::generate()], &[]),
            delete(room, id, version),
        ] {
            let refused = try_one(&store, ann, action.clone()).await;
            assert_eq!(refused, Err(Refusal::TaskStale(Box::new(now.clone()))), "{action:?}");
        }
    }
    assert_eq!((task(&store, ann, room, id).await, head(&store, room).await), (now, last));
}

pub async fn of_concurrent_changes_of_one_version_one_is_made(store: Shared) {
    let team = team(&store, "race", &["bob"]).await;
    let (room, ann, bob) = (&team.room, &team.ann, &team.others[0]);
    let id = new_task(&store, ann, room, "start").await;
    for version in 1..6 {
        let attempts = (0..8).map(|number| {
            let (store, actor) = (store.clone(), if number % 2 == 0 { ann } else { bob }.clone());
            let action = retitle(room, id, version, &format!("v{version}.{number}"));
            tokio::task::spawn(async move { try_one(&store, &actor, action).await })
        });
        let attempts: Vec<_> = attempts.collect();
        let mut made = 0;
        for attempt in attempts {
            match attempt.await.unwrap() {
                Ok(_) => made += 1,
                Err(Refusal::TaskStale(now)) => assert_eq!(now.version, version + 1),
                Err(refusal) => panic!("{refusal}"),
            }
        }
        assert_eq!(made, 1, "of version {version}");
    }
    assert_eq!(task(&store, ann, room, id).await.version, 6);
    // A room, two members, a task and five changes.
    assert_eq!(room_events(&store, room).await.len(), 3 + 1 + 5);
}

pub async fn a_task_goes_only_where_the_table_says(store: Shared) {
    let team = team(&store, "moves", &[]).await;
    let (room, ann) = (&team.room, &team.ann);
    for from in TaskStatus::ALL {
        for to in TaskStatus::ALL {
            let id = new_task(&store, ann, room, "title").await;
            let version = if *from == TaskStatus::Open { 1 } else { 2 };
            if version == 2 {
                one(&store, ann, move_to(room, id, 1, *from)).await;
            }
            let result = try_one(&store, ann, move_to(room, id, version, *to)).await;
            let now = task(&store, ann, room, id).await;
            if from.next().contains(to) {
                assert!(result.is_ok(), "{from:?} to {to:?}: {result:?}");
                assert_eq!((now.status, now.version), (*to, version + 1), "{from:?} to {to:?}");
            } else {
                assert_eq!((now.status, now.version), (*from, version), "{from:?} to {to:?}");
                if from != to {
                    assert_eq!(result, Err(Refusal::IllegalMove { from: *from }), "{from:?} to {to:?}");
                }
            }
        }
    }
}

pub async fn a_task_is_not_done_before_what_it_waits_on(store: Shared) {
    let team = team(&store, "waits", &[]).await;
    let (room, ann) = (&team.room, &team.ann);
    let mut before = Vec::new();
    for title in ["one", "two", "three", "four"] {
        before.push(new_task(&store, ann, room, title).await);
    }
    let id = TaskId::generate();
    one(&store, ann, create_with(room, id, &[], &before)).await;
    let done = |version| move_to(room, id, version, TaskStatus::Done);
    one(&store, ann, move_to(room, before[1], 1, TaskStatus::Blocked)).await;
    one(&store, ann, move_to(room, before[3], 1, TaskStatus::Done)).await;
    let waits = Refusal::TaskWaits(before[..3].to_vec());
    assert_eq!(try_one(&store, ann, done(1)).await, Err(waits));
    one(&store, ann, move_to(room, before[0], 1, TaskStatus::Done)).await;
    one(&store, ann, move_to(room, before[1], 2, TaskStatus::Cancelled)).await;
    assert_eq!(try_one(&store, ann, done(1)).await, Err(Refusal::TaskWaits(vec![before[2]])));
    // What is deleted is waited on no longer.
    one(&store, ann, delete(room, before[2], 1)).await;
    assert_eq!(task(&store, ann, room, id).await.waits_on, [before[0], before[1], before[3]]);
    one(&store, ann, done(1)).await;
    assert_eq!(task(&store, ann, room, id).await.status, TaskStatus::Done);
}

pub async fn nothing_waits_on_itself_whoever_links_at_once(store: Shared) {
    let team = team(&store, "cycle", &["bob"]).await;
    let (room, ann) = (&team.room, &team.ann);
    let id = TaskId::generate();
    assert_eq!(try_one(&store, ann, create_with(room, id, &[], &[id])).await, Err(Refusal::TaskCycle));
    let mut tasks = Vec::new();
    for title in ["one", "two", "three", "four"] {
        tasks.push(new_task(&store, ann, room, title).await);
    }
    assert_eq!(try_one(&store, ann, link(room, tasks[0], 1, &[tasks[0]], &[])).await, Err(Refusal::TaskCycle));
    for pair in tasks.windows(2) {
        one(&store, ann, link(room, pair[0], 1, &[pair[1]], &[])).await;
    }
    for goal in &tasks {
        let closing = link(room, tasks[3], 1, &[*goal], &[]);
        assert_eq!(try_one(&store, ann, closing).await, Err(Refusal::TaskCycle), "the last waits on none of them");
    }
    one(&store, ann, link(room, tasks[1], 2, &[], &[tasks[2]])).await;
    one(&store, ann, link(room, tasks[3], 1, &[tasks[0]], &[])).await;
    // Three that want to wait on each other in a ring, all at once: each link alone is right, all of them are not.
    for round in 0..4 {
        let mut ring = Vec::new();
        for turn in 0..3 {
            ring.push(new_task(&store, ann, room, &format!("{round}.{turn}")).await);
        }
        let links: Vec<_> = (0..3)
            .map(|turn| {
                let (store, actor) = (store.clone(), if turn == 0 { ann } else { &team.others[0] }.clone());
                let action = link(room, ring[turn], 1, &[ring[(turn + 1) % 3]], &[]);
                tokio::task::spawn(async move { try_one(&store, &actor, action).await })
            })
            .collect();
        let mut refused = 0;
        for link in links {
            match link.await.unwrap() {
                Ok(_) => {}
                Err(Refusal::TaskCycle) => refused += 1,
                Err(refusal) => panic!("{refusal}"),
            }
        }
        assert_eq!(refused, 1, "round {round}");
    }
}

pub async fn a_refused_change_of_a_task_leaves_nothing_behind(store: Shared) {
    let team = team(&store, "refused", &["bob", "cy"]).await;
    let (room, ann, bob) = (&team.room, &team.ann, &team.others[0]);
    let stranger = kit::user("refused", "stranger");
    let gone = new_task(&store, ann, room, "gone").await;
    one(&store, ann, delete(room, gone, 1)).await;
    let id = new_task(&store, ann, room, "kept").await;
    let said = CommentId::generate();
    let say = |id, comment| Action::CommentTask {
        room: room.clone(),
        id,
        comment,
        text: "said".to_owned(),
        mentions: Vec::new(),
    };
    one(&store, ann, say(id, said)).await;
    let (before, last) = (view(&store, ann, room, id).await, head(&store, room).await);
    let nowhere = TaskId::generate();
    let fresh = TaskId::generate();
    let many: Vec<UserId> = (0..51).map(|number| kit::user("refused", &number.to_string())).collect();
    let refusals = [
        (create_as(room, id, "again"), Refusal::IdTaken),
        (create_as(room, gone, "again"), Refusal::IdTaken),
        (create_with(room, fresh, &[bob, &stranger], &[]), Refusal::TargetNotAMember),
        (create_with(room, fresh, &[bob], &[id, nowhere]), Refusal::TaskNotFound),
        (create_with(room, fresh, &[bob], &[id, gone]), Refusal::TaskNotFound),
        (assign(room, id, 1, &[bob, &stranger], &[]), Refusal::TargetNotAMember),
        (assign(room, id, 1, &many.iter().collect::<Vec<_>>(), &[]), Refusal::TargetNotAMember),
        (link(room, id, 1, &[nowhere], &[]), Refusal::TaskNotFound),
        (link(room, id, 1, &[gone], &[]), Refusal::TaskNotFound),
        (say(id, said), Refusal::IdTaken),
        (say(nowhere, CommentId::generate()), Refusal::TaskNotFound),
        (say(gone, CommentId::generate()), Refusal::TaskDeleted),
        (follow(room, nowhere, true), Refusal::TaskNotFound),
        (follow(room, gone, true), Refusal::TaskDeleted),
        (retitle(room, nowhere, 1, "new"), Refusal::TaskNotFound),
        (retitle(room, gone, 2, "new"), Refusal::TaskDeleted),
        (move_to(room, gone, 1, TaskStatus::Done), Refusal::TaskDeleted),
        (delete(room, gone, 2), Refusal::TaskDeleted),
        (delete(room, nowhere, 1), Refusal::TaskNotFound),
    ];
    for (action, refusal) in refusals {
        assert_eq!(try_one(&store, ann, action.clone()).await, Err(refusal), "{action:?}");
    }
    assert_eq!(try_one(&store, bob, delete(room, id, 9)).await, Err(Refusal::Forbidden), "before the version");
    assert_eq!((view(&store, ann, room, id).await, head(&store, room).await), (before, last));
    assert_eq!(store.task(ann, room, fresh).await.unwrap(), None);
}

pub async fn links_and_assignees_of_a_task_are_bounded(store: Shared) {
    let team = team(&store, "bounds", &[]).await;
    let (room, ann) = (&team.room, &team.ann);
    let people: Vec<UserId> = (0..51).map(|number| kit::user("bounds", &format!("u{number:02}"))).collect();
    let invitations = people.iter().map(|user| write(ann, kit::invite(room, user, Role::Member))).collect();
    assert!(commit(&store, invitations).await.iter().all(Result::is_ok));
    let tasks: Vec<TaskId> = (0..51).map(|_| TaskId::generate()).collect();
    let creations = tasks.iter().map(|id| write(ann, create_as(room, *id, "title"))).collect();
    assert!(commit(&store, creations).await.iter().all(Result::is_ok));
    let id = TaskId::generate();
    let people: Vec<&UserId> = people.iter().collect();
    one(&store, ann, create_with(room, id, &people[..50], &tasks[..50])).await;
    for action in [assign(room, id, 1, &people[50..], &[]), link(room, id, 1, &tasks[50..], &[])] {
        assert_eq!(try_one(&store, ann, action.clone()).await, Err(Refusal::TooManyLinks), "{action:?}");
    }
    one(&store, ann, assign(room, id, 1, &people[50..], &people[..1])).await;
    one(&store, ann, link(room, id, 2, &tasks[50..], &tasks[..1])).await;
    let seen = view(&store, ann, room, id).await;
    assert_eq!(seen.task.assignees.iter().collect::<Vec<_>>(), people[1..]);
    assert_eq!(seen.waits_on.iter().map(|task| task.id).collect::<Vec<_>>(), tasks[1..]);
}
