//! Something that runs each named statement, on the data of [`super::fill`]. The number makes each run another; runs of an
//! exercise come before those of the next, with the same numbers, so that later ones find what earlier ones made.

use std::pin::Pin;

use hallway_protocol::command::{Due, TaskOrder, What};
use hallway_protocol::task::{Priority, TaskStatus};
use hallway_protocol::{CommentId, History, Nonce, Role, RoomId, SessionId, StreamId, TaskId, UserId, Visibility};
use hallway_store::postgres::PostgresStore;
use hallway_store::{
    Action, AuditQuery, BanQuery, CommentQuery, HistoryFrom, HistoryQuery, Log, Mark, MemberQuery, PageRequest, People,
    ResolveQuery, RoomQuery, Rooms, TailCursor, TaskKey, TaskQuery, Tasks, Upkeep, Write,
};

use super::fill::id_of;
use crate::postgres_kit::{amend_and_mark, room, send, user};

pub(crate) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;
/// The name of a statement (and what of it), and something that runs it.
pub(crate) type Exercise = (&'static str, Run);
pub(crate) type Run = fn(PostgresStore, u64) -> Work;

fn place(number: u64) -> u64 {
    number * 37 % 1000
}

fn of(number: u64) -> RoomId {
    room(&format!("r{}", place(number)))
}

/// The owner of that room, and another member.
fn owner(number: u64) -> UserId {
    user(&format!("u{}", place(number) % 200))
}

fn other(number: u64) -> UserId {
    user(&format!("u{}", (place(number) + 20) % 200))
}

fn task(number: u64) -> TaskId {
    TaskId::from_uuid(id_of(5_000_000 + number)).unwrap()
}

/// A task of the filled room.
fn old_task(number: u64) -> TaskId {
    TaskId::from_uuid(id_of((number % 98 + 2) * 1000 + place(number))).unwrap()
}

/// A room that the exercises make.
fn made(number: u64) -> RoomId {
    room(&format!("x{number}"))
}

fn guest(number: u64) -> UserId {
    user(&format!("u{}", (number + 7) % 200))
}

fn write(actor: UserId, action: Action) -> Write {
    let nonce = Nonce::new(&uuid::Uuid::now_v7().to_string()).unwrap();
    Write { actor, nonce, body_hash: [1; 16], action }
}

async fn act(store: &PostgresStore, actor: UserId, action: Action) {
    let result = store.commit(vec![write(actor, action)]).await.unwrap().results.remove(0);
    assert!(result.is_ok(), "{result:?}");
}

fn create_task(number: u64) -> Action {
    Action::CreateTask {
        room: of(number),
        id: task(number),
        title: "Give Anna the report".to_owned(),
        text: "What is to be done".to_owned(),
        priority: Priority::Normal,
        due_at_ms: Some(1),
        assignees: vec![owner(number), other(number)],
        waits_on: vec![old_task(number)],
        meta: None,
    }
}

fn edit_task(number: u64) -> Action {
    Action::EditTask {
        room: of(number),
        id: task(number),
        version: 1,
        title: Some("Give Bob the report".to_owned()),
        text: None,
        priority: Some(Priority::High),
        due: Some(Due::AtMs(2)),
        meta: None,
    }
}

fn assign(number: u64, version: u32, add: &[UserId], remove: &[UserId]) -> Action {
    let (add, remove) = (add.to_vec(), remove.to_vec());
    Action::AssignTask { room: of(number), id: task(number), version, add, remove }
}

fn comment(number: u64) -> Action {
    let (comment, mentions) = (CommentId::generate(), vec![other(number)]);
    Action::CommentTask { room: of(number), id: task(number), comment, text: "said".to_owned(), mentions }
}

async fn list(store: &PostgresStore, number: u64, mine: bool, order: TaskOrder) {
    let (status, priority) = match number % 3 {
        0 => (Vec::new(), None),
        1 => (vec![TaskStatus::Open, TaskStatus::Blocked], None),
        _ => (vec![TaskStatus::Done], Some(Priority::High)),
    };
    // Every other page is not the first.
    let rank = if order == TaskOrder::Priority { 2 } else { 1_700_000_000_000 };
    let after = (number % 2 == 1).then(|| TaskKey { rank, id: old_task(number) });
    let (room, assignee) = if mine { (None, Some(owner(number))) } else { (Some(of(number)), None) };
    let query =
        TaskQuery { room, assignee, status, priority, due_from_ms: None, due_until_ms: None, order, after, limit: 50 };
    assert!(store.list_tasks(&owner(number), query).await.unwrap().is_some());
}

fn phrases(number: u64) -> Vec<ResolveQuery> {
    let named = |text: &str, what| ResolveQuery::Named { text: text.to_owned(), what, room: Some(of(number)) };
    vec![
        named("anna", Some(What::Person)),
        named("room of team 12", Some(What::Room)),
        named("book the r", Some(What::Task)),
        named("bo", None),
        ResolveQuery::Me,
        ResolveQuery::Room(of(number)),
        ResolveQuery::Task { room: None, task: old_task(number) },
        ResolveQuery::LastMessage(of(number)),
        ResolveQuery::AssigneesOf { room: Some(of(number)), task: old_task(number) },
    ]
}

async fn audit(store: &PostgresStore, viewer: Option<UserId>, room: Option<RoomId>, target: Option<UserId>) {
    let query = AuditQuery { room, target, before: None, limit: 50 };
    assert!(store.audit(viewer.as_ref(), query).await.unwrap().is_some());
}

async fn history(store: &PostgresStore, number: u64, from: HistoryFrom) {
    let query = HistoryQuery { room: of(number), from, limit: 50 };
    assert!(store.history(&owner(number), query).await.unwrap().is_some());
}

macro_rules! exercises {
    ($($name:literal: |$store:ident, $number:ident| $work:expr;)*) => {
        [$(($name, (|$store, $number| Box::pin(async move { let _ = $work; })) as Run)),*].to_vec()
    };
}

/// What people say and what rooms and people are asked about.
pub(crate) fn reads() -> Vec<Exercise> {
    exercises! {
        "PAGES": |s, n| s.pages((0..10).map(|k| PageRequest { stream: StreamId::Room(of(n + k)), after: 1050, limit: 100 }).collect()).await.unwrap();
        "PAGES of messages": |s, n| s.pages(vec![PageRequest { stream: StreamId::Room(of(n)), after: n % 900, limit: 100 }]).await.unwrap();
        "HEADS": |s, n| s.heads((0..50).map(|k| StreamId::Room(of(n + k))).collect()).await.unwrap();
        "CONNECT": |s, n| s.connect(&owner(n)).await.unwrap();
        "ROOM": |s, n| s.room(&owner(n), &of(n)).await.unwrap().unwrap();
        "LIST_MINE": |s, n| s.list_rooms(&owner(n), RoomQuery { mine: true, after: None, limit: 50 }).await.unwrap();
        "LIST_PUBLIC": |s, n| s.list_rooms(&owner(n), RoomQuery { mine: false, after: Some(of(n)), limit: 50 }).await.unwrap();
        "MEMBERS": |s, n| s.members(&owner(n), MemberQuery { room: of(n), after: None, limit: 50 }).await.unwrap().unwrap();
        "HISTORY_BEFORE": |s, n| history(&s, n, HistoryFrom::Before(Some(n % 900 + 50))).await;
        "HISTORY_AFTER": |s, n| history(&s, n, HistoryFrom::After(Some(n % 900))).await;
        "AUDIENCES": |s, n| s.audiences((0..10).map(|k| of(n + k)).collect(), 100).await.unwrap();
        "ACQUAINTANCES": |s, n| s.acquaintances(&owner(n), (0..10).map(|k| owner(n + k)).collect()).await.unwrap();
        "TASK": |s, n| s.task(&owner(n), &of(n), old_task(n)).await.unwrap().unwrap();
        "TASK_COMMENTS": |s, n| s.task_comments(&owner(n), CommentQuery { room: of(n), task: old_task(n), before: None, limit: 50 }).await.unwrap().unwrap();
        "ROOM_TASKS_NEWEST": |s, n| list(&s, n, false, TaskOrder::Newest).await;
        "ROOM_TASKS_DUE": |s, n| list(&s, n, false, TaskOrder::Due).await;
        "ROOM_TASKS_PRIORITY": |s, n| list(&s, n, false, TaskOrder::Priority).await;
        "ASSIGNED_NEWEST": |s, n| list(&s, n, true, TaskOrder::Newest).await;
        "ASSIGNED_DUE": |s, n| list(&s, n, true, TaskOrder::Due).await;
        "ASSIGNED_PRIORITY": |s, n| list(&s, n, true, TaskOrder::Priority).await;
        "TASK_SUMMARY": |s, n| s.task_summary(&owner(n), Some(&of(n))).await.unwrap().unwrap();
        "TASK_SUMMARY of all rooms": |s, n| s.task_summary(&owner(n), None).await.unwrap().unwrap();
        "RESOLVE": |s, n| s.resolve(&owner(n), phrases(n)).await.unwrap();
        "PROBE": |s, _n| s.probe().await.unwrap();
        "EPOCH": |s, _n| s.epoch().await.unwrap();
        "DURABILITY": |s, _n| s.durability().await.unwrap();
    }
}

/// Writes on tasks, messages, rooms and people, and what is asked about these.
pub(crate) fn writes() -> Vec<Exercise> {
    let mut all = exercises! {
        "TAIL_START": |s, _n| s.tail(TailCursor::default()).await.unwrap();
        "SEND": |s, n| s.commit(vec![send(owner(n).as_str(), of(n).as_str(), &format!("s{n}"))]).await.unwrap();
        "SEND of 100": |s, n| s.commit((0..100).map(|k| send(owner(n + k).as_str(), of(n + k).as_str(), &format!("b{n}.{k}"))).collect()).await.unwrap();
        "ACT create_task": |s, n| act(&s, owner(n), create_task(n)).await;
        "ACT edit_task": |s, n| act(&s, owner(n), edit_task(n)).await;
        "ACT assign_task": |s, n| act(&s, owner(n), assign(n, 2, &[], &[other(n)])).await;
        "ACT assign_task again": |s, n| act(&s, owner(n), assign(n, 3, &[other(n)], &[])).await;
        "ACT comment_task": |s, n| act(&s, owner(n), comment(n)).await;
        "ACT follow_task": |s, n| act(&s, other(n), Action::FollowTask { room: of(n), id: task(n), follow: n % 2 == 0 }).await;
        "ACT link_task": |s, n| act(&s, owner(n), Action::LinkTask { room: of(n), id: task(n), version: 4, add: vec![old_task(n + 1000)], remove: vec![old_task(n)] }).await;
        "ACT move_task": |s, n| act(&s, owner(n), Action::MoveTask { room: of(n), id: task(n), version: 5, status: TaskStatus::Cancelled }).await;
        "ACT refused as stale": |s, n| s.commit(vec![write(owner(n), Action::DeleteTask { room: of(n), id: task(n), version: 1 })]).await.unwrap();
        "ACT delete_task": |s, n| act(&s, owner(n), Action::DeleteTask { room: of(n), id: task(n), version: 6 }).await;
        "ACT set_profile": |s, n| act(&s, owner(n), Action::SetProfile { user: owner(n), name: Some(format!("Anna Number {n}")) }).await;
        "TOGETHER": |s, n| s.commit_together((0..5).map(|k| match k {
                0 => write(owner(n), Action::CreateTask { room: of(n), id: task(n + 500_000), title: "Tell the team".to_owned(), text: String::new(), priority: Priority::Low, due_at_ms: None, assignees: vec![other(n)], waits_on: Vec::new(), meta: None }),
                1 => write(owner(n), Action::MoveTask { room: of(n), id: task(n + 500_000), version: 1, status: TaskStatus::InProgress }),
                _ => send(owner(n).as_str(), of(n).as_str(), &format!("t{n}.{k}")),
            }).collect()).await.unwrap().result.unwrap();
        "MARK_READ": |s, n| s.mark_read(vec![Mark { user: other(n), room: of(n), seq: 950 + n }]).await.unwrap();
    };
    all.extend(rooms_and_people());
    all
}

fn rooms_and_people() -> Vec<Exercise> {
    exercises! {
        "ACT create_room": |s, n| act(&s, owner(n), Action::CreateRoom { room: made(n), visibility: Visibility::Public, history: History::All, name: Some(format!("Made {n}")) }).await;
        "ACT open_direct": |s, n| act(&s, owner(n), Action::OpenDirect { room: room(&format!("dm:{n}")), other: user("v") }).await;
        "TOGETHER direct": |s, n| s.commit_together(vec![send(owner(n).as_str(), &format!("dm:{n}"), &format!("d{n}"))]).await.unwrap().result.unwrap();
        "ACT update_room": |s, n| act(&s, owner(n), Action::UpdateRoom { room: made(n), name: Some(format!("Changed {n}")), visibility: None }).await;
        "ACT invite": |s, n| act(&s, owner(n), Action::Invite { room: made(n), user: user("w"), role: Role::Member }).await;
        "ACT mute": |s, n| act(&s, owner(n), Action::Mute { room: made(n), user: user("w"), until_ms: None, reason: None }).await;
        "MUTE": |s, n| s.mute(&user("w"), &made(n)).await.unwrap().unwrap();
        "ACT unmute": |s, n| act(&s, owner(n), Action::Unmute { room: made(n), user: user("w") }).await;
        "ACT kick": |s, n| act(&s, owner(n), Action::Kick { room: made(n), user: user("w"), reason: None }).await;
        "ACT join": |s, n| act(&s, guest(n + 1), Action::Join { room: made(n) }).await;
        "ACT leave": |s, n| act(&s, guest(n + 1), Action::Leave { room: made(n) }).await;
        "ACT ban": |s, n| act(&s, owner(n), Action::Ban { room: made(n), user: user("w"), until_ms: None, reason: None }).await;
        "BANS": |s, n| s.bans(&owner(n), BanQuery { room: made(n), after: None, limit: 50 }).await.unwrap().unwrap();
        "ACT unban": |s, n| act(&s, owner(n), Action::Unban { room: made(n), user: user("w") }).await;
        "ACT invite again": |s, n| act(&s, owner(n), Action::Invite { room: made(n), user: user("w"), role: Role::Guest }).await;
        "ACT remove": |s, n| act(&s, owner(n), Action::Remove { room: made(n), user: user("w") }).await;
        "ACT archive_room": |s, n| act(&s, owner(n), Action::ArchiveRoom { room: made(n) }).await;
        "ACT revoke_session": |s, n| act(&s, owner(n), Action::RevokeSession { user: user("w"), session: SessionId::new("s").unwrap() }).await;
        "ACT revoke_user": |s, n| act(&s, owner(n), Action::RevokeUser { user: user("w"), reason: None }).await;
        "ACT on a message": |s, n| {
            let sent = s.commit(vec![send(owner(n).as_str(), of(n).as_str(), &format!("a{n}"))]).await.unwrap().results.remove(0);
            amend_and_mark(&s, owner(n).as_str(), of(n).as_str(), &sent.unwrap()).await
        };
        "AUDIT_ALL": |s, _n| audit(&s, None, None, None).await;
        "AUDIT_TARGET": |s, _n| audit(&s, None, None, Some(user("w"))).await;
        "AUDIT_ROOM": |s, n| audit(&s, Some(owner(n)), Some(made(n)), None).await;
        "AUDIT_ROOM_TARGET": |s, n| audit(&s, Some(owner(n)), Some(made(n)), Some(user("w"))).await;
        "TAIL": |s, _n| {
            let start = s.tail(TailCursor::default()).await.unwrap();
            s.tail(start.next).await.unwrap()
        };
        "EXPIRED": |s, _n| s.expired(1_700_000_002_000, 10).await.unwrap();
        "TRIM": |s, n| s.trim(&StreamId::Room(of(n)), 20).await.unwrap();
        "TRIM_NONCES": |s, _n| s.trim_nonces().await.unwrap();
        "TRIM_RECORDS": |s, _n| s.trim_records().await.unwrap();
    }
}
