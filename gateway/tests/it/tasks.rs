//! Tasks: live on every member's screen, changed on a version, part of a sync, and told of when they are due.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hallway_protocol::event::{TaskChanged, TaskCommented};
use hallway_protocol::notification::NotificationKind;
use hallway_protocol::task::{Task, TaskChange, TaskStatus};
use hallway_protocol::{ErrorCode, EventBody, TaskId};
use serde_json::{Value, json};

use crate::node::{PATIENCE, TestNode};
use crate::seat::Seat;

async fn lobby(node: &TestNode) -> (Seat, Seat) {
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    let mut ben = node.connect("ben").await;
    let seq = ben.join("lobby").await;
    ada.event("lobby", seq).await;
    (ada, ben)
}

/// Makes a task; its id.
async fn task(seat: &mut Seat, title: &str, more: Value) -> TaskId {
    let mut arguments = json!({"room": "lobby", "title": title});
    arguments.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    serde_json::from_value(seat.done("task.create", arguments).await["id"].clone()).unwrap()
}

async fn next_change(seat: &mut Seat) -> TaskChanged {
    match seat.next_event("lobby").await.body {
        EventBody::TaskChanged(changed) => changed,
        other => panic!("{other:?}"),
    }
}

async fn next_created(seat: &mut Seat) -> Task {
    match seat.next_event("lobby").await.body {
        EventBody::TaskCreated(created) => created.task,
        other => panic!("{other:?}"),
    }
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_done_to_a_task_shows_on_every_members_screen() {
    let node = TestNode::start(|_| {}).await;
    let (mut ada, mut ben) = lobby(&node).await;
    let id = task(&mut ada, "book the room", json!({"assignees": ["ben"], "priority": "high"})).await;
    for seat in [&mut ada, &mut ben] {
        let task = next_created(seat).await;
        assert_eq!((task.id, task.version, task.status), (id, 1, TaskStatus::Open));
        assert_eq!((task.title.as_str(), task.assignees[0].as_str()), ("book the room", "ben"));
    }
    assert_eq!(ben.notified().await.0.kind, NotificationKind::Assigned);

    let moved = ben.done("task.move", json!({"room": "lobby", "id": id, "version": 1, "status": "in_progress"})).await;
    assert!(moved["committed"]["seq"].is_u64(), "{moved}");
    for seat in [&mut ada, &mut ben] {
        let changed = next_change(seat).await;
        assert_eq!((changed.change, changed.task.version, changed.by.as_str()), (TaskChange::Moved, 2, "ben"));
    }
    let (told, _) = ada.notified().await;
    assert_eq!((told.kind, told.task), (NotificationKind::TaskChanged, Some(id)), "who made it follows it");

    let comment = json!({"room": "lobby", "id": id, "text": "which one, @ada?", "mentions": ["ada"]});
    ben.done("task.comment", comment).await;
    for seat in [&mut ada, &mut ben] {
        let EventBody::TaskCommented(TaskCommented { comment, comment_count }) = seat.next_event("lobby").await.body
        else {
            panic!()
        };
        assert_eq!((comment.task, comment.sender.as_str(), comment_count), (id, "ben", 1));
    }
    assert_eq!(ada.notified().await.0.kind, NotificationKind::Mention);
    let detail = ada.done("task.get", json!({"room": "lobby", "id": id})).await;
    assert_eq!((&detail["task"]["comment_count"], &detail["following"]), (&json!(1), &json!(true)));
    assert_eq!(detail["comments"][0]["text"], "which one, @ada?");

    ada.done("task.delete", json!({"room": "lobby", "id": id, "version": 2})).await;
    for seat in [&mut ada, &mut ben] {
        let EventBody::TaskDeleted(deleted) = seat.next_event("lobby").await.body else { panic!() };
        assert_eq!((deleted.id, deleted.by.as_str()), (id, "ada"));
    }
    let tombstone = ben.done("task.get", json!({"room": "lobby", "id": id})).await;
    assert_eq!((&tombstone["task"]["deleted"], &tombstone["task"]["title"]), (&json!(true), &json!("")));
    assert_eq!(
        ben.refused("task.comment", json!({"room": "lobby", "id": id, "text": "?"})).await,
        ErrorCode::TaskDeleted
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_too_late_gets_the_task_as_it_is() {
    let node = TestNode::start(|_| {}).await;
    let (mut ada, mut ben) = lobby(&node).await;
    let id = task(&mut ada, "report", json!({})).await;
    let update = |version: u32, title: &str| json!({"room": "lobby", "id": id, "version": version, "title": title});
    ada.done("task.update", update(1, "the report")).await;
    let late = ben.done("task.update", update(1, "my report")).await;
    assert_eq!((&late["stale"]["version"], &late["stale"]["title"]), (&json!(2), &json!("the report")));
    let done = ben.done("task.update", update(2, "my report")).await;
    assert!(done["committed"].is_object(), "{done}");

    // Both at once: one is first, the other is told so.
    let (first, second) = tokio::join!(
        ada.done("task.move", json!({"room": "lobby", "id": id, "version": 3, "status": "done"})),
        ben.done("task.move", json!({"room": "lobby", "id": id, "version": 3, "status": "blocked"})),
    );
    assert!(first["stale"].is_object() != second["stale"].is_object(), "{first} {second}");

    // A repeat is answered with its first result, not with a newer version.
    let fixed = json!({"room": "lobby", "id": id, "version": 4, "text": "by friday", "nonce": "once"});
    let first = ada.done("task.update", fixed.clone()).await;
    let again = ada.done("task.update", fixed).await;
    assert_eq!(
        (&again["committed"]["seq"], &again["committed"]["repeated"]),
        (&first["committed"]["seq"], &json!(true))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_change_says_what_would_be_possible() {
    let node = TestNode::start(|_| {}).await;
    let (mut ada, mut ben) = lobby(&node).await;
    let first = task(&mut ada, "first", json!({})).await;
    let second = task(&mut ada, "second", json!({"waits_on": [first]})).await;
    let to = |id: TaskId, version: u32, status: &str| json!({"room": "lobby", "id": id, "version": version, "status": status});
    let waits = ada.ask("task.move", to(second, 1, "done")).await.unwrap_err();
    assert_eq!((waits.code, waits.message.contains(&first.to_string())), (ErrorCode::TaskWaits, true));
    let cycle = json!({"room": "lobby", "id": first, "version": 1, "add": [second]});
    assert_eq!(ada.refused("task.depend", cycle).await, ErrorCode::TaskCycle);
    ada.done("task.move", to(first, 1, "cancelled")).await;
    let illegal = ada.ask("task.move", to(first, 2, "done")).await.unwrap_err();
    assert_eq!((illegal.code, illegal.message.contains("open")), (ErrorCode::IllegalMove, true));
    let done = ada.done("task.move", to(second, 1, "done")).await;
    assert!(done["committed"].is_object(), "what it waited on is closed: {done}");
    assert_eq!(
        ben.refused("task.delete", json!({"room": "lobby", "id": first, "version": 2})).await,
        ErrorCode::Forbidden
    );
    let stranger = json!({"room": "lobby", "id": first, "version": 2, "add": ["nobody"]});
    assert_eq!(ada.refused("task.assign", stranger).await, ErrorCode::NotFound);
    let unknown = json!({"room": "lobby", "id": TaskId::generate(), "version": 1, "status": "done"});
    assert_eq!(ada.refused("task.move", unknown).await, ErrorCode::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_muted_or_no_member_changes_nothing_and_sees_nothing() {
    let node = TestNode::start(|_| {}).await;
    let (mut ada, mut ben) = lobby(&node).await;
    let mut eve = node.connect("eve").await;
    ada.create("secret", "private").await;
    let id = serde_json::from_value::<TaskId>(
        ada.done("task.create", json!({"room": "secret", "title": "the plan"})).await["id"].clone(),
    )
    .unwrap();
    for (name, arguments) in [
        ("task.get", json!({"room": "secret", "id": id})),
        ("task.comments", json!({"room": "secret", "id": id})),
        ("task.list", json!({"room": "secret"})),
        ("task.summary", json!({"room": "secret"})),
        ("task.comment", json!({"room": "secret", "id": id, "text": "hello"})),
        ("task.follow", json!({"room": "secret", "id": id, "follow": true})),
    ] {
        assert_eq!(eve.refused(name, arguments).await, ErrorCode::NotFound, "{name}");
    }
    assert_eq!(eve.refused("task.list", json!({"room": "lobby"})).await, ErrorCode::NotAMember);
    let hers = eve.done("task.list", json!({"assignee": "ada"})).await;
    assert_eq!(hers["tasks"], json!([]), "of rooms that one is in");
    assert_eq!(
        ben.refused("task.get", json!({"room": "lobby", "id": id})).await,
        ErrorCode::NotFound,
        "of another room"
    );
    ada.done("room.mute", json!({"room": "lobby", "user": "ben"})).await;
    assert_eq!(ben.refused("task.create", json!({"room": "lobby", "title": "x"})).await, ErrorCode::Muted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_come_in_pages_and_the_summary_counts() {
    let node = TestNode::start(|_| {}).await;
    let (mut ada, mut ben) = lobby(&node).await;
    let past = 1_000_000;
    let mut ids = Vec::new();
    for (title, priority, due) in [("a", "low", 3), ("b", "urgent", 1), ("c", "normal", 2), ("d", "urgent", 4)] {
        let more = json!({"priority": priority, "due_at_ms": past + due, "assignees": ["ben"]});
        ids.push(task(&mut ada, title, more).await);
    }
    ada.done("task.move", json!({"room": "lobby", "id": ids[3], "version": 1, "status": "done"})).await;
    for (order, expected) in [("newest", "dcba"), ("due", "bcad"), ("priority", "dbca")] {
        let (mut titles, mut cursor) = (String::new(), Value::Null);
        loop {
            let page = json!({"room": "lobby", "order": order, "limit": 2, "cursor": cursor});
            let page = ben.done("task.list", page).await;
            for task in page["tasks"].as_array().unwrap() {
                titles.push_str(task["title"].as_str().unwrap());
            }
            cursor = page["next"].clone();
            if cursor.is_null() {
                break;
            }
        }
        assert_eq!(titles, expected, "{order}");
    }
    let newest = ben.done("task.list", json!({"room": "lobby", "limit": 1})).await;
    let wrong = json!({"room": "lobby", "order": "due", "cursor": newest["next"]});
    assert_eq!(ben.refused("task.list", wrong).await, ErrorCode::InvalidArgument, "a cursor of another order");
    let mine = ben.done("task.list", json!({"assignee": "ben", "status": ["open"]})).await;
    assert_eq!(mine["tasks"].as_array().unwrap().len(), 3);
    let summary = ben.done("task.summary", json!({"room": "lobby"})).await;
    assert_eq!((&summary["open"], &summary["done"], &summary["overdue"]), (&json!(3), &json!(1), &json!(3)));
    assert_eq!(summary["assignees"], json!([{"user": "ben", "unfinished": 3, "overdue": 3}]));
    for number in 0..3 {
        ben.done("task.comment", json!({"room": "lobby", "id": ids[0], "text": format!("{number}")})).await;
    }
    let last = ada.done("task.comments", json!({"room": "lobby", "id": ids[0], "limit": 2})).await;
    let first = json!({"room": "lobby", "id": ids[0], "limit": 2, "cursor": last["older"]});
    let first = ada.done("task.comments", first).await;
    assert_eq!((&last["comments"][1]["text"], &first["comments"][0]["text"]), (&json!("2"), &json!("0")));
    assert_eq!(first["older"], Value::Null);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_gets_tasks_as_they_are_now() {
    let node = TestNode::start(|_| {}).await;
    let (mut ada, ben) = lobby(&node).await;
    let at = ben.at("lobby", 3);
    drop(ben);
    let id = task(&mut ada, "draft", json!({})).await;
    let gone = task(&mut ada, "secret plan", json!({"text": "burn after reading"})).await;
    ada.done("task.update", json!({"room": "lobby", "id": id, "version": 1, "title": "final"})).await;
    ada.done("task.delete", json!({"room": "lobby", "id": gone, "version": 1})).await;
    drop(ada);
    let node = node.restart().await;
    let mut options = node.options("ben");
    options.positions = vec![at];
    let mut ben = node.enter(&options).await;
    let created = next_created(&mut ben).await;
    assert_eq!((created.id, created.title.as_str(), created.version), (id, "final", 2), "as it is now");
    let deleted = next_created(&mut ben).await;
    assert_eq!((deleted.id, deleted.title.as_str(), deleted.deleted), (gone, "", true));
    assert_eq!(next_change(&mut ben).await.task.title, "final");
    assert!(matches!(ben.next_event("lobby").await.body, EventBody::TaskDeleted(_)));
    ben.synced().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_task_is_gone_from_memory_too() {
    let node = TestNode::start(|_| {}).await;
    let (mut ada, ben) = lobby(&node).await;
    let at = ben.at("lobby", 3);
    let gone = task(&mut ada, "secret plan", json!({"text": "burn after reading"})).await;
    ada.done("task.comment", json!({"room": "lobby", "id": gone, "text": "burn it now"})).await;
    ada.done("task.delete", json!({"room": "lobby", "id": gone, "version": 1})).await;
    ada.event("lobby", 6).await;
    let mut options = node.options("ben");
    options.positions = vec![at];
    let mut device = node.enter(&options).await;
    device.synced().await;
    let seen = format!("{:?}", device.unread);
    assert!(!seen.contains("secret plan") && !seen.contains("burn"), "{seen}");
    assert_eq!(device.unread_numbers_of("lobby"), [4, 5, 6]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_due_time_is_told_once() {
    let node = TestNode::start(|config| config.limits.due_poll_ms = 20).await;
    let (mut ada, mut ben) = lobby(&node).await;
    let due = now_ms() + 300;
    let begun = Instant::now();
    let id = task(&mut ada, "report", json!({"due_at_ms": due, "assignees": ["ben"]})).await;
    assert_eq!(ben.notified().await.0.kind, NotificationKind::Assigned);
    let (told, unread) = ben.notified().await;
    assert_eq!((told.kind, told.task, told.by, unread), (NotificationKind::TaskDue, Some(id), None, 2));
    assert!(told.at_ms >= due && begun.elapsed() < PATIENCE);
    // Another due time is another notification, in which the first would show if it came again.
    let again = json!({"room": "lobby", "id": id, "version": 1, "due": {"at_ms": now_ms()}});
    ada.done("task.update", again).await;
    let kinds = [ben.notified().await, ben.notified().await].map(|(one, _)| one.kind);
    assert_eq!(kinds, [NotificationKind::TaskChanged, NotificationKind::TaskDue]);
    assert_eq!(ben.done("notification.list", json!({})).await["unread"], 4);
    assert_eq!(node.metric_of("hallway_work_steps_total", "work=\"due\"").await, 2.0);
}
