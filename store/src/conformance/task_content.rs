//! What is left of tasks when they are deleted or trimmed, what is said about them, who follows them and who may see them.

use hallway_protocol::command::TaskOrder;
use hallway_protocol::event::{TaskChanged, TaskCommented, TaskCreated, TaskDeleted};
use hallway_protocol::task::{Comment, Task, TaskChange, TaskStatus};
use hallway_protocol::{CommentId, EventBody, Meta, ObjectId, Role, StreamId, TaskId, UserId};

use super::kit::{self, Shared, commit, one, room_events, try_one, write, write_with};
use super::task_kit::{
    assign, comment, create_as, create_with, delete, follow, head, link, move_to, new_task, of_room, only, retitle,
    task, team, view,
};
use crate::{Action, COMMENTS_MAX_PER_TASK, COMMENTS_WITH_TASK, CommentQuery, Refusal, TaskQuery};

pub async fn a_deleted_task_is_gone_everywhere(store: Shared) {
    let team = team(&store, "gone", &["bob"]).await;
    let (room, ann, bob) = (&team.room, &team.ann, &team.others[0]);
    let (before, after) = (new_task(&store, ann, room, "before").await, TaskId::generate());
    let id = TaskId::generate();
    let mut action = create_with(room, id, &[bob], &[before]);
    if let Action::CreateTask { title, text, meta, due_at_ms, .. } = &mut action {
        (*title, *text) = ("secret title".to_owned(), "secret text".to_owned());
        (*meta, *due_at_ms) = (Some(Meta::from_json("{\"secret\":1}").unwrap()), Some(1_000));
    }
    one(&store, bob, action).await;
    one(&store, ann, create_with(room, after, &[], &[id])).await;
    one(&store, ann, retitle(room, id, 1, "secret still")).await;
    let mut said = comment(room, id, "secret words");
    if let Action::CommentTask { mentions, .. } = &mut said {
        mentions.push(bob.clone());
    }
    one(&store, ann, said).await;
    let done = one(&store, bob, delete(room, id, 2)).await;
    assert_eq!(*only(&done), EventBody::TaskDeleted(TaskDeleted { id, version: 3, by: bob.clone() }));
    let seen = view(&store, ann, room, id).await;
    let tombstone = Task {
        title: String::new(),
        text: String::new(),
        meta: None,
        due_at_ms: None,
        assignees: Vec::new(),
        waits_on: Vec::new(),
        version: 3,
        comment_count: 1,
        deleted: true,
        changed_at_ms: done.at_ms,
        ..seen.task.clone()
    };
    assert_eq!((seen.task, seen.waits_on.len(), seen.following), (tombstone, 0, false));
    assert_eq!((seen.comments[0].text.as_str(), seen.comments[0].mentions.len()), ("", 0));
    assert_eq!(task(&store, ann, room, after).await.waits_on, []);
    let events = room_events(&store, room).await;
    assert!(!format!("{events:?}").contains("secret"), "{events:?}");
    let tombs = events.iter().filter(|event| match &event.body {
        EventBody::TaskCreated(TaskCreated { task }) | EventBody::TaskChanged(TaskChanged { task, .. }) => task.deleted,
        EventBody::TaskCommented(TaskCommented { comment, .. }) => comment.text.is_empty(),
        _ => false,
    });
    assert_eq!(tombs.count(), 3);
    for (room, assignee) in [(Some(room.clone()), None), (None, Some(bob.clone()))] {
        let query = TaskQuery {
            room,
            assignee,
            status: Vec::new(),
            priority: None,
            due_from_ms: None,
            due_until_ms: None,
            order: TaskOrder::Newest,
            after: None,
            limit: 10,
        };
        let page = store.list_tasks(bob, query).await.unwrap().unwrap();
        assert!(page.tasks.iter().all(|task| task.id != id && task.waits_on.is_empty()), "{page:?}");
    }
    let summary = store.task_summary(bob, Some(room)).await.unwrap().unwrap();
    assert_eq!((summary.open, summary.overdue, summary.assignees.len()), (2, 0, 0));
}

pub async fn comments_come_newest_first_and_are_bounded(store: Shared) {
    let team = team(&store, "comments", &["bob"]).await;
    let (room, ann, bob) = (&team.room, &team.ann, &team.others[0]);
    let id = new_task(&store, ann, room, "title").await;
    let comment_id = CommentId::generate();
    let action = Action::CommentTask {
        room: room.clone(),
        id,
        comment: comment_id,
        text: "a \"first\" one — 好".to_owned(),
        mentions: vec![ann.clone(), kit::user("comments", "elsewhere")],
    };
    let done = one(&store, bob, action.clone()).await;
    assert_eq!(done.id, Some(comment_id.into()));
    let Action::CommentTask { text, mentions, .. } = action else { unreachable!() };
    let first =
        Comment { id: comment_id, task: id, seq: done.seq, sender: bob.clone(), at_ms: done.at_ms, text, mentions };
    assert_eq!(*only(&done), EventBody::TaskCommented(TaskCommented { comment: first.clone(), comment_count: 1 }));
    let seen = view(&store, ann, room, id).await;
    assert_eq!((seen.comments, seen.older, seen.task.version, seen.task.comment_count), (vec![first], false, 1, 1));
    let more = (1..COMMENTS_MAX_PER_TASK).map(|number| write(ann, comment(room, id, &number.to_string())));
    assert!(commit(&store, more.collect()).await.iter().all(Result::is_ok));
    assert_eq!(try_one(&store, ann, comment(room, id, "one too many")).await, Err(Refusal::TooManyComments));
    let seen = view(&store, ann, room, id).await;
    assert_eq!((seen.task.comment_count, seen.older), (COMMENTS_MAX_PER_TASK, true));
    let texts = |comments: &[Comment]| comments.iter().map(|comment| comment.text.clone()).collect::<Vec<_>>();
    let expected: Vec<String> =
        (COMMENTS_MAX_PER_TASK - COMMENTS_WITH_TASK..COMMENTS_MAX_PER_TASK).map(|number| number.to_string()).collect();
    assert_eq!(texts(&seen.comments), expected);
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let query = CommentQuery { room: room.clone(), task: id, before, limit: 300 };
        let page = store.task_comments(bob, query).await.unwrap().unwrap();
        before = page.comments.first().map(|comment| comment.seq);
        found.splice(0..0, texts(&page.comments));
        if !page.older {
            break;
        }
    }
    assert_eq!(found.len(), 1_000);
    assert!(found[1..].iter().enumerate().all(|(at, text)| *text == (at + 1).to_string()), "in order, each once");
    let none = CommentQuery { room: room.clone(), task: TaskId::generate(), before: None, limit: 10 };
    assert_eq!(store.task_comments(bob, none).await.unwrap(), None);
}

pub async fn who_makes_gets_or_comments_a_task_follows_it(store: Shared) {
    let team = team(&store, "follow", &["bob", "cy", "dan"]).await;
    let (room, ann) = (&team.room, &team.ann);
    let [bob, cy, dan] = &team.others[..] else { unreachable!() };
    let guest = kit::user("follow", "guest");
    one(&store, ann, kit::invite(room, &guest, Role::Guest)).await;
    let id = TaskId::generate();
    one(&store, ann, create_with(room, id, &[bob], &[])).await;
    one(&store, dan, comment(room, id, "said")).await;
    let follows = async |user: &UserId| view(&store, user, room, id).await.following;
    assert_eq!(
        [follows(ann).await, follows(bob).await, follows(cy).await, follows(dan).await],
        [true, true, false, true]
    );
    one(&store, ann, assign(room, id, 1, &[cy], &[bob])).await;
    assert!(follows(cy).await && follows(bob).await, "who had it follows it still");
    let last = head(&store, room).await;
    for (user, wanted) in [(&guest, true), (&guest, true), (ann, false), (ann, false), (bob, false)] {
        let done = one(&store, user, follow(room, id, wanted)).await;
        assert_eq!((done.seq, done.events.len(), done.id), (last, 0, Some(ObjectId::from(id))));
        assert_eq!(follows(user).await, wanted);
    }
    one(&store, ann, assign(room, id, 2, &[bob], &[])).await;
    assert!(follows(bob).await, "to whom it is given again follows it again");
}

pub async fn tasks_are_for_members_of_the_room(store: Shared) {
    let team = team(&store, "members_only", &["bob"]).await;
    let (room, ann, bob) = (&team.room, &team.ann, &team.others[0]);
    let (guest, eve) = (kit::user("members_only", "guest"), kit::user("members_only", "eve"));
    one(&store, ann, kit::invite(room, &guest, Role::Guest)).await;
    let id = TaskId::generate();
    one(&store, ann, create_with(room, id, &[bob], &[])).await;
    let changes = || {
        [
            create_as(room, TaskId::generate(), "new"),
            retitle(room, id, 1, "new"),
            move_to(room, id, 1, TaskStatus::Done),
            assign(room, id, 1, &[ann], &[]),
            link(room, id, 1, &[TaskId::generate()], &[]),
            comment(room, id, "said"),
            delete(room, id, 1),
        ]
    };
    one(&store, ann, kit::invite(room, &eve, Role::Member)).await;
    one(&store, ann, Action::Remove { room: room.clone(), user: eve.clone() }).await;
    let last = head(&store, room).await;
    for action in changes() {
        assert_eq!(try_one(&store, &guest, action.clone()).await, Err(Refusal::Forbidden), "{action:?}");
        assert_eq!(try_one(&store, &eve, action.clone()).await, Err(Refusal::RoomNotFound), "{action:?}");
    }
    assert_eq!(try_one(&store, &eve, follow(room, id, true)).await, Err(Refusal::RoomNotFound));
    assert_eq!(head(&store, room).await, last);
    assert_eq!(store.task(&eve, room, id).await.unwrap(), None);
    let query = CommentQuery { room: room.clone(), task: id, before: None, limit: 10 };
    assert_eq!(store.task_comments(&eve, query).await.unwrap(), None);
    assert_eq!(store.task_summary(&eve, Some(room)).await.unwrap(), None);
    assert!(view(&store, &guest, room, id).await.task.assignees.contains(bob), "guests see tasks");
    one(&store, ann, Action::ArchiveRoom { room: room.clone() }).await;
    for action in changes() {
        assert_eq!(try_one(&store, ann, action.clone()).await, Err(Refusal::RoomArchived), "{action:?}");
    }
    assert_eq!(task(&store, ann, room, id).await.version, 1, "it can be read");
}

pub async fn a_repeated_change_of_a_task_returns_the_first_result(store: Shared) {
    let team = team(&store, "task_repeat", &["bob"]).await;
    let (room, ann, bob) = (&team.room, &team.ann, &team.others[0]);
    let id = TaskId::generate();
    let made = one_with(&store, bob, "n1", create_as(room, id, "title")).await;
    // The server chose another id for the repeat.
    let again = one_with(&store, bob, "n1", create_as(room, TaskId::generate(), "title")).await;
    assert_eq!((again.seq, again.at_ms, again.id, again.repeated), (made.seq, made.at_ms, Some(id.into()), true));
    assert!(again.events.is_empty());
    let moved = one_with(&store, bob, "n2", move_to(room, id, 1, TaskStatus::InProgress)).await;
    one(&store, ann, retitle(room, id, 2, "other")).await;
    // Not stale: it was made, and the answer got lost.
    let again = one_with(&store, bob, "n2", move_to(room, id, 1, TaskStatus::InProgress)).await;
    assert_eq!((again.seq, again.id, again.repeated), (moved.seq, Some(id.into()), true));
    let said = one_with(&store, bob, "n3", comment(room, id, "said")).await;
    let again = one_with(&store, bob, "n3", comment(room, id, "said")).await;
    assert_eq!((again.seq, again.id, again.repeated), (said.seq, said.id, true));
    one_with(&store, bob, "n4", follow(room, id, false)).await;
    one(&store, bob, follow(room, id, true)).await;
    assert!(one_with(&store, bob, "n4", follow(room, id, false)).await.repeated);
    assert!(view(&store, bob, room, id).await.following, "a repeat does nothing");
    one(&store, ann, Action::Remove { room: room.clone(), user: bob.clone() }).await;
    assert!(one_with(&store, bob, "n2", move_to(room, id, 1, TaskStatus::InProgress)).await.repeated);
    let other = write_with(bob, "n2", 2, move_to(room, id, 1, TaskStatus::Done));
    assert_eq!(commit(&store, vec![other]).await, [Err(Refusal::NonceConflict)]);
    // What was refused may be tried again.
    let late = move_to(room, id, 1, TaskStatus::Done);
    let refused = commit(&store, vec![write_with(ann, "n5", 1, late)]).await.remove(0);
    assert!(matches!(refused, Err(Refusal::TaskStale(_))));
    assert!(!one_with(&store, ann, "n5", move_to(room, id, 3, TaskStatus::Done)).await.repeated);
}

async fn one_with(store: &Shared, actor: &UserId, nonce: &str, action: Action) -> crate::Committed {
    commit(store, vec![write_with(actor, nonce, 1, action)]).await.remove(0).unwrap()
}

pub async fn pages_show_tasks_as_they_are_now(store: Shared) {
    let team = team(&store, "pages", &["bob"]).await;
    let (room, ann, bob) = (&team.room, &team.ann, &team.others[0]);
    let id = new_task(&store, ann, room, "old").await;
    one(&store, ann, retitle(room, id, 1, "newer")).await;
    one(&store, bob, assign(room, id, 2, &[bob], &[])).await;
    one(&store, bob, comment(room, id, "said")).await;
    let now = task(&store, ann, room, id).await;
    let bodies: Vec<EventBody> = room_events(&store, room).await.into_iter().skip(3).map(|event| event.body).collect();
    let [created, edited, assigned, commented] = &bodies[..] else { panic!("{bodies:?}") };
    let changed =
        |change, by: &UserId| EventBody::TaskChanged(TaskChanged { task: now.clone(), change, by: by.clone() });
    assert_eq!(*created, EventBody::TaskCreated(TaskCreated { task: now.clone() }));
    assert_eq!(*edited, changed(TaskChange::Edited, ann));
    assert_eq!(*assigned, changed(TaskChange::Assigned, bob));
    let said = view(&store, ann, room, id).await.comments.remove(0);
    assert_eq!(*commented, EventBody::TaskCommented(TaskCommented { comment: said, comment_count: 1 }));
}

pub async fn trimming_a_room_keeps_its_tasks(store: Shared) {
    let team = team(&store, "task_trim", &["bob"]).await;
    let (room, ann, bob) = (&team.room, &team.ann, &team.others[0]);
    let (id, gone) = (TaskId::generate(), new_task(&store, ann, room, "gone").await);
    one(&store, ann, create_with(room, id, &[bob], &[gone])).await;
    one(&store, ann, comment(room, id, "kept words")).await;
    one(&store, ann, comment(room, gone, "lost words")).await;
    one(&store, ann, kit::send(room, "message")).await;
    one(&store, ann, delete(room, gone, 1)).await;
    let before = view(&store, bob, room, id).await;
    let last = head(&store, room).await;
    let trimmed = store.trim(&StreamId::Room(room.clone()), last + 1).await.unwrap();
    assert_eq!(trimmed.first_seq, last + 1);
    assert_eq!(view(&store, bob, room, id).await, before, "the task and what was said about it");
    let done = one(&store, bob, move_to(room, id, 1, TaskStatus::Done)).await;
    let events = room_events(&store, room).await;
    assert_eq!(events, [of_room(&done)[0].clone()], "a change of a task whose beginning was trimmed");
    assert_eq!(events[0].seq, last + 1);
    one(&store, bob, comment(room, id, "more words")).await;
    assert_eq!(view(&store, bob, room, id).await.comments.len(), 2);
    let summary = store.task_summary(bob, Some(room)).await.unwrap().unwrap();
    assert_eq!((summary.open, summary.done), (0, 1));
}
