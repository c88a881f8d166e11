//! Something that runs each named statement, on the data of [`super::fill`]. The number makes each run another; runs of an
//! exercise come before those of the next, with the same numbers, so that later ones find what earlier ones made.

use std::pin::Pin;

use hallway_protocol::command::{Due, TaskOrder, What};
use hallway_protocol::notification::{Level, QuietHours};
use hallway_protocol::task::{Priority, TaskStatus};
use hallway_protocol::{
    CommentId, History, Nonce, NotificationId, Role, RoomId, SessionId, StreamId, TaskId, UserId, Visibility,
};
use hallway_store::postgres::PostgresStore;
use hallway_store::{
    Action, Addressed, AuditQuery, BanQuery, CommentQuery, Delivery, HandOutFate, HistoryFrom, HistoryQuery, JobClaim,
    JobOutcome, JobResult, Log, Mark, MemberQuery, MissedQuery, NewJob, Notice, NotificationQuery, Notifications,
    Outbox, PageRequest, People, Preference, ResolveQuery, RoomQuery, Rooms, TailCursor, TaskKey, TaskQuery, Tasks,
    Upkeep, Write,
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
    user(&format!("g{number}"))
}

fn write(actor: UserId, action: Action) -> Write {
    let nonce = Nonce::new(&uuid::Uuid::now_v7().to_string()).unwrap();
    Write { actor, nonce, body_hash: [1; 16], action }
}

async fn act(store: &PostgresStore, actor: UserId, action: Action) {
    let result = store.commit(vec![write(actor, action)]).await.unwrap().results.remove(0);
    assert!(result.is_ok(), "{result:?}");
}

/// What somebody missed who has a little less than all of their 50 rooms.
fn missed(number: u64) -> MissedQuery {
    let first = place(number) % 200;
    let rooms = (0..50).map(|k| format!("r{}", (first + 200 - k % 10 * 20) % 200 + k / 10 * 200));
    let mut after: Vec<_> = rooms.map(|name| (StreamId::Room(room(&name)), 1090)).collect();
    after.push((StreamId::User(owner(number)), 200));
    MissedQuery { after, newest: None, events_max: 1000, bytes_max: 1 << 20 }
}

/// A message that names nobody.
fn plain(place: u64, number: u64, nonce: &str) -> Write {
    let mut write = send(owner(place).as_str(), of(place).as_str(), &format!("{nonce}{place}.{number}"));
    if let Action::SendMessage { mentions, .. } = &mut write.action {
        mentions.clear();
    }
    write
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
        "CONNECT_MISSED": |s, n| s.connect_after(&owner(n), missed(n)).await.unwrap();
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
        "SEND": |s, n| s.commit(vec![plain(n, n, "s")]).await.unwrap();
        "SEND of 100": |s, n| s.commit((0..100).map(|k| plain(n + k, n, "b")).collect()).await.unwrap();
        "SEND of one intent twice": |s, n| s.commit(vec![plain(n, n, "w"), plain(n, n, "w")]).await.unwrap();
        "SEND_NOTIFYING": |s, n| s.commit(vec![send(owner(n).as_str(), of(n).as_str(), &format!("s{n}"))]).await.unwrap();
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
    all.extend(notes());
    all
}

fn notification(number: u64) -> NotificationId {
    NotificationId::from_uuid(id_of(7_000_000 + place(number) % 200 * 1000 + number % 250 + 1)).unwrap()
}

async fn notifications(store: &PostgresStore, number: u64, unread_only: bool) {
    let before = (number % 2 == 1).then_some(200);
    let query = NotificationQuery { unread_only, before, limit: 50 };
    assert!(!store.notifications(&owner(number), query).await.unwrap().notifications.is_empty());
}

fn notify(number: u64, to: Addressed) -> Action {
    let notice = Notice {
        title: format!("Notice {number}"),
        text: None,
        data: None,
        urgent: false,
        key: None,
        acknowledge_within_ms: None,
    };
    Action::Notify { from: owner(number), to, notice, may_any: true }
}

fn job(attempts_max: u32) -> NewJob {
    NewJob {
        target: "app".to_owned(),
        priority: 1,
        attempts_max,
        body: "{}".to_owned(),
        notifications: vec![notification(0)],
    }
}

async fn claim(store: &PostgresStore) -> Vec<hallway_store::Job> {
    store.claim_jobs(JobClaim { limit: 10, lease_ms: 60_000, targets: vec!["app".to_owned()] }).await.unwrap()
}

/// Notifications and webhooks.
fn notes() -> Vec<Exercise> {
    exercises! {
        "NOTIFICATIONS": |s, n| notifications(&s, n, false).await;
        "NOTIFICATIONS_UNREAD": |s, n| notifications(&s, n, true).await;
        "PREFERENCES": |s, n| s.preferences(&owner(n)).await.unwrap();
        "ACT notify people": |s, n| act(&s, owner(n), notify(n, Addressed::Users(vec![other(n), guest(n)]))).await;
        "ACT notify a room": |s, n| act(&s, owner(n), notify(n, Addressed::Room(of(n)))).await;
        "ACT notify everyone": |s, n| act(&s, owner(n), notify(n, Addressed::Everyone)).await;
        "FAN_OUT": |s, _n| s.fan_out().await.unwrap();
        "FIRE_DUE": |s, _n| s.fire_due(10).await.unwrap();
        "ACT read_notifications": |s, n| act(&s, owner(n), Action::ReadNotifications { user: owner(n), ids: vec![notification(n)], up_to_seq: None }).await;
        "ACT read_notifications up to": |s, n| act(&s, owner(n), Action::ReadNotifications { user: owner(n), ids: Vec::new(), up_to_seq: Some(n) }).await;
        "ACT acknowledge_notification": |s, n| s.commit(vec![write(owner(n), Action::AcknowledgeNotification { user: owner(n), id: notification(n) })]).await.unwrap();
        "ACT prefer": |s, n| act(&s, owner(n), Action::Prefer { user: owner(n), preference: Preference { room: Some(of(n)), level: Some(Level::Mentions) } }).await;
        "ACT set_quiet_hours": |s, n| act(&s, owner(n), Action::SetQuietHours { user: owner(n), hours: Some(QuietHours { from_minute: 1, to_minute: 2, utc_offset_minutes: 0 }) }).await;
        "CLAIM_HAND_OUTS": |s, _n| s.claim_hand_outs(10, 1000).await.unwrap();
        "SETTLE_HAND_OUTS": |s, n| s.settle_hand_outs(vec![(notification(n), HandOutFate::Settled)], vec![job(1), job(3)]).await.unwrap();
        "NOTE_DELIVERIES": |s, n| s.note_deliveries(vec![Delivery { from_seq: n % 250 + 1, last: notification(n), session: SessionId::new("s").unwrap(), at_ms: 1 }]).await.unwrap();
        "TRACE": |s, n| s.trace(notification(n)).await.unwrap().unwrap();
        "CLAIM_JOBS": |s, _n| claim(&s).await;
        "FINISH_JOBS": |s, n| {
            s.settle_hand_outs(Vec::new(), vec![job(2)]).await.unwrap();
            let outcome = |attempt| match n % 2 {
                0 => JobOutcome::Delivered,
                _ => JobOutcome::Failed { retry_after_ms: attempt, error: "no".to_owned() },
            };
            let results = claim(&s).await.into_iter().map(|job| JobResult { number: job.number, attempt: job.attempt, outcome: outcome(1) });
            s.finish_jobs(results.collect()).await.unwrap()
        };
        "DEAD_JOBS": |s, _n| s.dead_jobs(None, 50).await.unwrap();
        "REPLAY_JOBS": |s, _n| s.replay_jobs(Vec::new(), 10).await.unwrap();
        "TRIM_JOBS": |s, _n| s.trim_jobs(100, 100).await.unwrap();
    }
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
