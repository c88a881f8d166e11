//! Whom changes of tasks notify.

use hallway_protocol::task::TaskStatus;
use hallway_protocol::{ObjectId, TaskId, UserId};

use super::kit::{self, Shared, commit, one, try_one, write};
use super::notes_kit::{self, counts, fan_out, gather, inbox, told, whom};
use super::task_kit::{assign, comment, create_with, delete, follow, link, move_to, new_task, retitle};
use crate::{Action, Committed, RECIPIENTS_WITH_CAUSE_MAX, Refusal};

fn are(done: &Committed, wanted: &[(&UserId, &str)], shown: &str) {
    let wanted: Vec<(UserId, String)> =
        wanted.iter().map(|(user, kind)| ((*user).clone(), (*kind).to_owned())).collect();
    assert_eq!(whom(done), wanted, "{shown}");
    assert!(!done.fans_out, "{shown}");
}

pub async fn a_task_is_told_to_whom_it_is_given_and_who_follows_it(store: Shared) {
    let (room, people) = notes_kit::team(&store, "told", &["ann", "bob", "cy", "dan", "eve"]).await;
    let [ann, bob, cy, dan, eve] = &people[..] else { unreachable!() };
    let other = new_task(&store, ann, &room, "other").await;
    let id = TaskId::generate();
    let done = one(&store, ann, create_with(&room, id, &[ann, bob, cy], &[])).await;
    are(&done, &[(bob, "assigned"), (cy, "assigned")], "given to them, and to oneself");
    let (_, first, unread) = told(&done.events).remove(0);
    assert_eq!(
        (first.room, first.task, first.comment, first.by),
        (Some(room.clone()), Some(id), None, Some(ann.clone()))
    );
    assert_eq!((first.message, first.title, first.urgent, unread), (None, None, false, 1));
    let followed = |but: &'static str| -> Vec<_> {
        [(ann, "ann"), (bob, "bob"), (cy, "cy")]
            .into_iter()
            .filter(|(_, name)| *name != but)
            .map(|(user, _)| (user, "task_changed"))
            .collect()
    };
    are(&one(&store, ann, retitle(&room, id, 1, "new")).await, &followed("ann"), "an edit");
    are(&one(&store, bob, link(&room, id, 2, &[other], &[])).await, &followed("bob"), "a link");
    are(&one(&store, dan, move_to(&room, id, 3, TaskStatus::InProgress)).await, &followed(""), "a move by another");
    are(&one(&store, dan, move_to(&room, id, 4, TaskStatus::InProgress)).await, &[], "nothing changed");
    let given = one(&store, bob, assign(&room, id, 4, &[dan, cy], &[ann])).await;
    are(&given, &[(ann, "task_changed"), (cy, "task_changed"), (dan, "assigned")], "new to one of them");
    one(&store, cy, follow(&room, id, false)).await;
    one(&store, eve, follow(&room, id, true)).await;
    one(&store, ann, Action::Remove { room: room.clone(), user: bob.clone() }).await;
    let done = one(&store, dan, retitle(&room, id, 5, "newer")).await;
    are(&done, &[(ann, "task_changed"), (eve, "task_changed")], "who follows it and is in the room");
    let refused = try_one(&store, dan, retitle(&room, id, 5, "stale")).await;
    assert!(matches!(refused, Err(Refusal::TaskStale(_))));
    assert_eq!((counts(&store, ann).await, counts(&store, eve).await), ((4, 4), (1, 1)));
    let repeated = write(dan, retitle(&room, id, 6, "newest"));
    are(
        &commit(&store, vec![repeated.clone()]).await.remove(0).unwrap(),
        &[(ann, "task_changed"), (eve, "task_changed")],
        "",
    );
    assert!(commit(&store, vec![repeated]).await.remove(0).unwrap().events.is_empty());
    are(&one(&store, ann, delete(&room, id, 7)).await, &[], "a deletion");
    assert_eq!(counts(&store, eve).await, (2, 2));
}

pub async fn comments_are_told_to_whom_they_name_and_to_followers(store: Shared) {
    let (room, people) = notes_kit::team(&store, "said", &["ann", "bob", "cy", "dan"]).await;
    let [ann, bob, cy, dan] = &people[..] else { unreachable!() };
    let outside = kit::user("said", "outside");
    let id = TaskId::generate();
    one(&store, ann, create_with(&room, id, &[bob], &[])).await;
    let mut action = comment(&room, id, "secret words");
    let Action::CommentTask { comment: comment_id, mentions, .. } = &mut action else { unreachable!() };
    *mentions = [cy, bob, dan, &outside, cy].into_iter().cloned().collect();
    let comment_id = *comment_id;
    let done = one(&store, dan, action).await;
    are(&done, &[(ann, "task_changed"), (bob, "mention"), (cy, "mention")], "named before following, once each");
    for (_, one, _) in told(&done.events) {
        assert_eq!(
            (one.task, one.comment.map(ObjectId::from), one.by.as_ref()),
            (Some(id), Some(comment_id.into()), Some(dan))
        );
        assert!(!format!("{one:?}").contains("secret"), "{one:?}");
    }
    are(
        &one(&store, ann, comment(&room, id, "more")).await,
        &[(bob, "task_changed"), (dan, "task_changed")],
        "who commented follows, who was named does not",
    );
    let seen = inbox(&store, cy).await;
    assert_eq!((seen.notifications.len(), seen.notifications[0].comment), (1, Some(comment_id)));
    assert_eq!(inbox(&store, &outside).await.notifications.len(), 0);
}

pub async fn a_task_that_many_follow_is_told_in_steps(store: Shared) {
    let (room, people) = notes_kit::team(&store, "many", &["ann"]).await;
    let ann = &people[0];
    let crowd: Vec<UserId> =
        (0..=RECIPIENTS_WITH_CAUSE_MAX).map(|number| kit::user("many", &format!("u{number:03}"))).collect();
    gather(&store, &room, ann, &crowd).await;
    let id = new_task(&store, ann, &room, "title").await;
    let follows = crowd.iter().map(|user| write(user, follow(&room, id, true))).collect();
    assert!(commit(&store, follows).await.iter().all(Result::is_ok));
    let done = one(&store, ann, retitle(&room, id, 1, "new")).await;
    assert_eq!((done.fans_out, whom(&done).len()), (true, 0));
    let events: Vec<_> = fan_out(&store).await.into_iter().flatten().collect();
    let reached: Vec<UserId> = told(&events).into_iter().map(|(user, _, _)| user).collect();
    assert_eq!(reached, crowd);
    assert_eq!(counts(&store, &crowd[7]).await, (1, 1));
}

pub async fn what_is_done_together_notifies_or_does_not_as_a_whole(store: Shared) {
    let (room, people) = notes_kit::team(&store, "whole", &["ann", "bob"]).await;
    let [ann, bob] = &people[..] else { unreachable!() };
    let id = TaskId::generate();
    let plan = |version| {
        vec![
            write(ann, create_with(&room, id, &[bob], &[])),
            write(ann, comment(&room, id, "said")),
            write(ann, move_to(&room, id, version, TaskStatus::InProgress)),
        ]
    };
    let refused = store.commit_together(plan(3)).await.unwrap().result;
    assert!(matches!(refused, Err((2, Refusal::TaskStale(_)))), "{refused:?}");
    assert_eq!(counts(&store, bob).await, (0, 0));
    let done = store.commit_together(plan(1)).await.unwrap().result.unwrap();
    let all: Vec<_> = done.iter().flat_map(|one| one.events.clone()).collect();
    let mut kinds: Vec<(u64, String)> =
        told(&all).into_iter().map(|(_, one, unread)| (unread, one.kind.as_str().to_owned())).collect();
    kinds.sort();
    let wanted = [(1, "assigned"), (2, "task_changed"), (3, "task_changed")];
    assert_eq!(kinds, wanted.map(|(unread, kind)| (unread, kind.to_owned())));
    assert_eq!(counts(&store, bob).await, (3, 3));
}
