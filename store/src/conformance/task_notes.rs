//! What people are notified of about tasks, and due times.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use hallway_protocol::command::Due;
use hallway_protocol::notification::Level;
use hallway_protocol::task::TaskStatus;
use hallway_protocol::{CommentId, Event, RoomId, StreamId, TaskId, UserId};

use super::kit::{self, Shared, one, whole, write};
use super::notes_kit::{counts, inbox, mention, notice, notify, prefer, to, told, whom};
use super::task_kit::{assign, comment, create_with, delete, follow, move_to, retitle, team};
use crate::{Action, Committed, Progress};

fn is(done: &Committed, kinds: &[(&UserId, &str)]) -> bool {
    whom(done).iter().map(|(user, kind)| (user, kind.as_str())).eq(kinds.iter().copied())
}

fn said(room: &RoomId, id: TaskId, mentions: &[&UserId]) -> (CommentId, Action) {
    let mentions = mentions.iter().map(|user| (*user).clone()).collect();
    let comment = CommentId::generate();
    (comment, Action::CommentTask { room: room.clone(), id, comment, text: "text".to_owned(), mentions })
}

pub async fn who_has_to_do_with_a_task_is_notified_of_it(store: Shared) {
    let team = team(&store, "tasks_told", &["bob", "cas", "dan"]).await;
    let (room, ann) = (&team.room, &team.ann);
    let [bob, cas, dan] = &team.others[..] else { unreachable!() };
    let id = TaskId::generate();
    let made = one(&store, ann, create_with(room, id, &[ann, bob], &[])).await;
    assert!(is(&made, &[(bob, "assigned")]), "{:?}", whom(&made));
    let (_, note, _) = told(&made.events).remove(0);
    assert_eq!((note.task, note.room.as_ref(), note.by.as_ref()), (Some(id), Some(room), Some(ann)));
    assert_eq!((note.message, note.comment, note.title, note.urgent), (None, None, None, false));

    let changed = one(&store, bob, assign(room, id, 1, &[cas], &[])).await;
    assert!(is(&changed, &[(ann, "task_changed"), (cas, "assigned")]), "{:?}", whom(&changed));
    let nothing = one(&store, bob, assign(room, id, 2, &[cas], &[])).await;
    assert!(whom(&nothing).is_empty(), "what changes nothing is not told");
    let (said_id, words) = said(room, id, &[cas, dan]);
    let commented = one(&store, bob, words).await;
    let expected = [(ann, "task_changed"), (cas, "mention"), (dan, "mention")];
    assert!(is(&commented, &expected), "{:?}", whom(&commented));
    assert!(told(&commented.events).iter().all(|(_, note, _)| note.comment == Some(said_id) && note.task == Some(id)));

    one(&store, cas, follow(room, id, false)).await;
    one(&store, dan, follow(room, id, true)).await;
    let edited = one(&store, ann, retitle(room, id, 2, "other")).await;
    assert!(is(&edited, &[(bob, "task_changed"), (dan, "task_changed")]), "{:?}", whom(&edited));
    one(&store, dan, Action::Leave { room: room.clone() }).await;
    let commented = one(&store, ann, comment(room, id, "text")).await;
    assert!(is(&commented, &[(bob, "task_changed")]), "who left hears nothing: {:?}", whom(&commented));
    one(&store, bob, prefer(bob, Some(room), Some(Level::Mentions))).await;
    let (_, words) = said(room, id, &[bob]);
    assert!(is(&one(&store, ann, words).await, &[(bob, "mention")]));
    let moved = one(&store, ann, move_to(room, id, 3, TaskStatus::InProgress)).await;
    assert!(whom(&moved).is_empty(), "{:?}", whom(&moved));
    assert!(whom(&one(&store, ann, delete(room, id, 4)).await).is_empty());
    assert_eq!(counts(&store, bob).await, (4, 4));
    assert_eq!(inbox(&store, cas).await.notifications.len(), 2);
}

pub async fn what_is_undone_together_notifies_nobody(store: Shared) {
    let team = team(&store, "undone_told", &["bob"]).await;
    let (room, ann, bob) = (&team.room, &team.ann, &team.others[0]);
    let direct = RoomId::new("dm:undone_told").unwrap();
    let task = TaskId::generate();
    let mut actions = vec![
        mention(room, &[bob], None),
        create_with(room, task, &[bob], &[]),
        Action::OpenDirect { room: direct.clone(), other: bob.clone() },
        kit::send(&direct, "text"),
        notify(ann, to(&[bob]), notice("x")),
        notify(
            ann,
            crate::Addressed::Users((0..60).map(|n| kit::user("undone_told", &n.to_string())).collect()),
            notice("y"),
        ),
    ];
    let good: Vec<_> = actions.clone().into_iter().map(|action| write(ann, action)).collect();
    actions.push(retitle(room, TaskId::generate(), 1, "not there"));
    let bad = actions.into_iter().map(|action| write(ann, action)).collect();
    assert!(store.commit_together(bad).await.unwrap().result.is_err());
    assert_eq!(counts(&store, bob).await, (0, 0));
    assert!(store.fan_out().await.unwrap().events.is_empty(), "nor is a job left");
    let done = store.commit_together(good).await.unwrap().result.unwrap();
    let kinds: Vec<_> = done.iter().flat_map(whom).map(|(_, kind)| kind).collect();
    assert_eq!(kinds, ["mention", "assigned", "direct", "notice"]);
    assert!(done[5].fans_out && !done[4].fans_out);
    assert_eq!(counts(&store, bob).await, (4, 4));
    assert_eq!(store.fan_out().await.unwrap().events.len(), 60);
    whole(&store, StreamId::User(bob.clone())).await;
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A task that was due a while ago.
async fn due_task(store: &Shared, actor: &UserId, room: &RoomId, people: &[&UserId], due_at_ms: u64) -> TaskId {
    let id = TaskId::generate();
    let mut action = create_with(room, id, people, &[]);
    if let Action::CreateTask { due_at_ms: due, .. } = &mut action {
        *due = Some(due_at_ms);
    }
    one(store, actor, action).await;
    id
}

fn due_of(events: &[Event]) -> Vec<(UserId, Option<TaskId>)> {
    let told = told(events);
    assert!(told.iter().all(|(_, note, _)| note.kind.as_str() == "task_due" && note.by.is_none()));
    told.into_iter().map(|(user, note, _)| (user, note.task)).collect()
}

pub async fn a_due_time_is_told_once_to_whoever_has_to_do_with_it(store: Shared) {
    let team = team(&store, "due", &["bob", "cas"]).await;
    let (room, ann, bob, cas) = (&team.room, &team.ann, &team.others[0], &team.others[1]);
    let past = now_ms() - 60_000;
    let own = due_task(&store, ann, room, &[], past).await;
    let shared = due_task(&store, ann, room, &[ann, bob, cas], past - 1).await;
    let done = due_task(&store, ann, room, &[bob], past).await;
    one(&store, ann, move_to(room, done, 1, TaskStatus::Done)).await;
    let deleted = due_task(&store, ann, room, &[bob], past).await;
    one(&store, ann, delete(room, deleted, 1)).await;
    let later = due_task(&store, ann, room, &[bob], now_ms() + 600_000).await;
    one(&store, cas, Action::Leave { room: room.clone() }).await;
    let Progress { events, .. } = store.fire_due(100).await.unwrap();
    let expected = [(ann.clone(), Some(shared)), (ann.clone(), Some(own)), (bob.clone(), Some(shared))];
    let mut seen = due_of(&events);
    seen.sort_by_key(|(user, task)| (user.clone(), *task != Some(shared)));
    assert_eq!(seen, expected, "the creator only of what nobody is assigned to");
    assert!(store.fire_due(100).await.unwrap().events.is_empty(), "once");

    let set = |version: u32, due: Due| Action::EditTask {
        room: room.clone(),
        id: later,
        version,
        title: None,
        text: None,
        priority: None,
        due: Some(due),
        meta: None,
    };
    one(&store, ann, set(1, Due::AtMs(past))).await;
    assert_eq!(due_of(&store.fire_due(100).await.unwrap().events), [(bob.clone(), Some(later))], "a new time is new");
    one(&store, ann, set(2, Due::Never)).await;
    one(&store, ann, set(3, Due::AtMs(past))).await;
    assert!(store.fire_due(100).await.unwrap().events.is_empty(), "of one time nobody hears twice");
    one(&store, ann, move_to(room, done, 2, TaskStatus::Open)).await;
    assert_eq!(due_of(&store.fire_due(100).await.unwrap().events), [(bob.clone(), Some(done))], "open again, and due");
    one(&store, bob, prefer(bob, None, Some(Level::None))).await;
    due_task(&store, ann, room, &[bob], past).await;
    assert!(store.fire_due(100).await.unwrap().events.is_empty(), "who wants to know nothing hears nothing");
    whole(&store, StreamId::User(bob.clone())).await;
}

pub async fn due_times_are_told_once_however_many_ask(store: Shared) {
    let team = team(&store, "due_race", &["bob"]).await;
    let (room, ann, bob) = (&team.room, &team.ann, &team.others[0]);
    let past = now_ms() - 60_000;
    let mut tasks = Vec::new();
    for n in 0..30 {
        tasks.push(due_task(&store, ann, room, &[bob], past - n).await);
    }
    let first = store.fire_due(10).await.unwrap();
    assert_eq!((due_of(&first.events).len(), first.more), (10, true));
    let nodes = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut events = Vec::new();
            for _ in 0..8 {
                events.extend(store.fire_due(7).await.unwrap().events);
            }
            events
        })
    });
    let mut events = first.events;
    for node in nodes.collect::<Vec<_>>() {
        events.extend(node.await.unwrap());
    }
    let mut times: BTreeMap<TaskId, usize> = BTreeMap::new();
    for (user, task) in due_of(&events) {
        assert_eq!(user, *bob);
        *times.entry(task.unwrap()).or_default() += 1;
    }
    tasks.sort_unstable();
    assert!(times.keys().eq(&tasks) && times.values().all(|times| *times == 1), "{times:?}");
    assert!(!store.fire_due(7).await.unwrap().more);
    assert_eq!(inbox(&store, bob).await.unread, 60, "assigned and due");
}
