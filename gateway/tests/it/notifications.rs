//! Notifications: live on all devices, in batches unless urgent, read and acknowledged everywhere, wanted or not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hallway_gateway::server::Given;
use hallway_protocol::notification::NotificationKind;
use hallway_protocol::{ErrorCode, EventBody, History, Nonce, Role, RoomId, ServerFrame, StreamId, UserId, Visibility};
use hallway_store::sqlite::SqliteStore;
use hallway_store::{Action, Addressed, Log, Notice, Write};
use serde_json::{Value, json};

use crate::node::{PATIENCE, TestNode};
use crate::seat::Seat;

/// A room of ada's with these members.
async fn lobby(node: &TestNode, others: &[&str]) -> (Seat, Vec<Seat>) {
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    let mut seats = Vec::new();
    for other in others {
        let mut seat = node.connect(other).await;
        seat.join("lobby").await;
        seats.push(seat);
    }
    (ada, seats)
}

async fn mention(seat: &mut Seat, users: &[&str]) -> Value {
    seat.done("message.send", json!({"room": "lobby", "text": "look", "mentions": users})).await
}

async fn urgent(seat: &mut Seat, user: &str, title: &str) -> Value {
    seat.done("notify", json!({"to": {"users": [user]}, "title": title, "urgent": true})).await
}

async fn unread(seat: &mut Seat) -> u64 {
    seat.done("notification.list", json!({})).await["unread"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_waits_for_others_and_an_urgent_one_for_nobody() {
    let wait = Duration::from_millis(1500);
    let node = TestNode::start(|config| config.limits.notification_batch_wait_ms = 1500).await;
    let (mut ada, mut others) = lobby(&node, &["ben"]).await;
    let ben = &mut others[0];

    let said = Instant::now();
    mention(&mut ada, &["ben"]).await;
    let (first, _) = ben.notified().await;
    assert!(said.elapsed() >= wait, "it came after {:?}", said.elapsed());
    assert_eq!((first.kind, first.urgent), (NotificationKind::Mention, false));

    let said = Instant::now();
    mention(&mut ada, &["ben"]).await;
    urgent(&mut ada, "ben", "fire").await;
    let (second, third) = (ben.notified().await.0, ben.notified().await.0);
    assert!(said.elapsed() < wait, "it came after {:?}", said.elapsed());
    assert_eq!((second.kind, third.urgent, third.title.as_deref()), (NotificationKind::Mention, true, Some("fire")));
    assert_eq!([second.seq, third.seq], [first.seq + 1, first.seq + 2], "what waited came first");

    // So does anything else that happens in their stream.
    let said = Instant::now();
    mention(&mut ada, &["ben"]).await;
    ben.done("profile.set", json!({"name": "Ben"})).await;
    assert_eq!(ben.notified().await.0.seq, third.seq + 1);
    assert_eq!(ben.own("profile.changed").await.seq, third.seq + 2);
    assert!(said.elapsed() < wait, "it came after {:?}", said.elapsed());
    assert_eq!(node.metric_of("hallway_gaps_total", "").await, 0.0, "what waits is not missing");
    assert_eq!(node.metric_of("hallway_notifications_created_total", "kind=\"mention\"").await, 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn notifications_leave_together_and_at_once_when_a_batch_is_full() {
    let node = TestNode::start(|config| {
        config.limits.notification_batch_wait_ms = 5000;
        config.limits.notification_batch_recipients_max = 3;
    })
    .await;
    let (mut ada, mut others) = lobby(&node, &["ben", "cem", "dan"]).await;
    let said = Instant::now();
    mention(&mut ada, &["ben"]).await;
    mention(&mut ada, &["ben", "cem"]).await;
    mention(&mut ada, &["dan"]).await;
    for seat in &mut others {
        seat.notified().await;
    }
    assert_eq!(others[0].notified().await.1, 2, "both of the one who had two");
    assert!(said.elapsed() < Duration::from_millis(4500), "they came after {:?}", said.elapsed());
    assert_eq!(node.metric("hallway_notification_batch_recipients_count").await, 1.0);
    assert_eq!(node.metric("hallway_notification_batch_recipients_sum").await, 3.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_acknowledgements_show_on_the_other_devices() {
    let node = TestNode::start(|_| {}).await;
    let (mut ada, mut others) = lobby(&node, &["ben"]).await;
    let mut phone = node.connect("ben").await;
    let laptop = &mut others[0];
    mention(&mut ada, &["ben"]).await;
    mention(&mut ada, &["ben"]).await;
    urgent(&mut ada, "ben", "fire").await;
    let mut ids = Vec::new();
    for expected in 1..=3 {
        let (on_laptop, unread) = laptop.notified().await;
        assert_eq!((&on_laptop, unread), (&phone.notified().await.0, expected));
        ids.push(on_laptop.id);
    }
    laptop.done("notification.read", json!({"ids": [ids[0]]})).await;
    let EventBody::NotificationsRead(read) = phone.own("notification.read").await.body else { panic!() };
    assert_eq!((read.ids.as_slice(), read.unread), (&ids[..1], 2));
    phone.done("notification.acknowledge", json!({"id": ids[2]})).await;
    let EventBody::NotificationAcknowledged(seen) = laptop.own("notification.acknowledged").await.body else {
        panic!()
    };
    assert_eq!((seen.id, seen.unread), (ids[2], 1));
    laptop.done("notification.read", json!({"up_to_seq": 1000})).await;
    let EventBody::NotificationsRead(read) = phone.own("notification.read").await.body else { panic!() };
    assert_eq!((read.up_to_seq.is_some(), read.unread), (true, 0));
    let list = phone.done("notification.list", json!({})).await;
    let seen: Vec<bool> =
        list["notifications"].as_array().unwrap().iter().map(|one| one["acknowledged"].as_bool().unwrap()).collect();
    assert_eq!(seen, [true, false, false], "newest first");
    assert_eq!(
        ada.refused("notification.acknowledge", json!({"id": ids[2]})).await,
        ErrorCode::NotFound,
        "another's notification is nobody's"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_gets_notifications_as_they_are_now() {
    let node = TestNode::start(|_| {}).await;
    let (mut ada, mut others) = lobby(&node, &["ben"]).await;
    let mut phone = others.remove(0);
    mention(&mut ada, &["ben"]).await;
    let (first, _) = phone.notified().await;
    let at = hallway_protocol::Position {
        stream: StreamId::User(phone.welcome.user.clone()),
        epoch: phone.welcome.epoch.clone(),
        seq: first.seq,
    };
    mention(&mut ada, &["ben"]).await;
    mention(&mut ada, &["ben"]).await;
    let (second, third) = (phone.notified().await.0, phone.notified().await.0);
    phone.done("notification.read", json!({"ids": [second.id]})).await;
    drop((ada, phone));

    // Nothing of it is in memory any more: it comes from the store.
    let node = node.restart().await;
    let mut options = node.options("ben");
    options.positions = vec![at];
    let mut laptop = node.enter(&options).await;
    let (now, _) = laptop.notified().await;
    assert_eq!((now.id, now.read), (second.id, true), "as it is now");
    let (now, _) = laptop.notified().await;
    assert_eq!((now.id, now.read), (third.id, false));
    laptop.synced().await;

    let page = laptop.done("notification.list", json!({"limit": 2})).await;
    assert_eq!((page["unread"].as_u64(), page["notifications"].as_array().unwrap().len()), (Some(2), 2));
    let rest = laptop.done("notification.list", json!({"limit": 2, "cursor": page["next"]})).await;
    assert_eq!((&rest["notifications"][0]["id"], &rest["next"]), (&json!(first.id), &Value::Null));
    let unread_only = laptop.done("notification.list", json!({"unread_only": true})).await;
    assert_eq!(unread_only["notifications"].as_array().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_is_notified_of_what_one_wants_and_urgent_things_pass() {
    let node = TestNode::start(|_| {}).await;
    let (mut ada, mut others) = lobby(&node, &["ben"]).await;
    let mut laptop = node.connect("ben").await;
    let phone = &mut others[0];
    phone.done("notification.prefer", json!({"room": "lobby", "level": "none"})).await;
    let EventBody::PreferenceChanged(changed) = laptop.own("preference.changed").await.body else { panic!() };
    assert_eq!(changed.room.unwrap().as_str(), "lobby");
    mention(&mut ada, &["ben"]).await;
    ada.done("notify", json!({"to": {"room": "lobby"}, "title": "fire", "urgent": true})).await;
    let (first, unread_after) = phone.notified().await;
    assert_eq!((first.title.as_deref(), unread_after), (Some("fire"), 1), "nothing came of the mention");

    phone.done("notification.prefer", json!({"room": "lobby", "level": null})).await;
    phone
        .done("notification.quiet", json!({"hours": {"from_minute": 0, "to_minute": 1439, "utc_offset_minutes": 0}}))
        .await;
    laptop.own("quiet.changed").await;
    let preferences = laptop.done("notification.preferences", json!({})).await;
    assert_eq!((&preferences["level"], &preferences["rooms"]), (&json!("all"), &json!([])));
    assert_eq!(preferences["quiet"]["to_minute"], 1439);
    mention(&mut ada, &["ben"]).await;
    let (quiet, _) = phone.notified().await;
    // One minute of the day is not quiet.
    let minute = quiet.at_ms / 60_000 % (24 * 60);
    assert_eq!(quiet.silent, minute < 1439);
    urgent(&mut ada, "ben", "fire").await;
    assert!(!phone.notified().await.0.silent, "urgent ones are heard at night");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whom_one_may_notify_follows_from_scope_and_role() {
    let node = TestNode::start(|_| {}).await;
    let (mut ada, mut others) = lobby(&node, &["ben"]).await;
    let exp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 3600;
    let with = |user: &str, scope: &str| {
        let mut options = node.options(user);
        options.token = node.token_with(user, scope, exp);
        options
    };
    let to_ben = json!({"to": {"users": ["ben"]}, "title": "hello"});
    let to_all = json!({"to": "everyone", "title": "hello"});
    let to_room = json!({"to": {"room": "lobby"}, "title": "hello"});

    let mut owner = node.connect_with(&with("ada", "read write")).await;
    for refused in [&to_ben, &to_all] {
        let error = owner.ask("notify", refused.clone()).await.unwrap_err();
        assert_eq!((error.code, error.message.contains("notify")), (ErrorCode::Forbidden, true));
    }
    owner.done("notify", to_room.clone()).await;
    assert_eq!(others[0].notified().await.0.kind, NotificationKind::Announcement);

    let mut member = node.connect_with(&with("ben", "read write")).await;
    assert_eq!(member.refused("notify", to_room.clone()).await, ErrorCode::Forbidden, "a member is no admin");

    let mut back_end = node.connect_with(&with("back-end", "read notify")).await;
    assert_eq!(back_end.refused("message.send", json!({"room": "lobby", "text": "x"})).await, ErrorCode::Forbidden);
    for allowed in [to_ben, to_all, to_room] {
        back_end.done("notify", allowed).await;
        assert_eq!(others[0].notified().await.0.by.unwrap().as_str(), "back-end");
    }
    assert_eq!(unread(&mut ada).await, 2, "everyone and the room, but not what she caused herself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_notifies_nobody_again() {
    let node = TestNode::start(|_| {}).await;
    let (mut ada, mut others) = lobby(&node, &["ben"]).await;
    let ben = &mut others[0];
    let notice = json!({"to": {"users": ["ben"]}, "title": "hello", "nonce": "once"});
    let first = ada.done("notify", notice.clone()).await;
    let again = ada.done("notify", notice).await;
    assert_eq!((&again["repeated"], &again["seq"]), (&json!(true), &first["seq"]));
    for title in ["one", "the same"] {
        ada.done("notify", json!({"to": {"users": ["ben"]}, "title": title, "key": "order-7"})).await;
    }
    let (hello, one) = (ben.notified().await.0, ben.notified().await.0);
    assert_eq!([hello.title.as_deref(), one.title.as_deref()], [Some("hello"), Some("one")]);
    assert_eq!(unread(ben).await, 2);
}

/// The members of a room that was made before: all but the owner.
const CROWD: usize = 120;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announcement_to_many_is_fanned_out_at_once() {
    // Nobody would look for the job by themselves.
    let node = TestNode::start(|config| config.limits.fan_out_poll_ms = 60_000).await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    for number in 0..CROWD {
        ada.send("room.invite", json!({"room": "lobby", "user": format!("user-{number}"), "role": "member"})).await;
    }
    ada.event("lobby", 2 + CROWD as u64).await;
    let (mut first, mut last) = (node.connect("user-0").await, node.connect(&format!("user-{}", CROWD - 1)).await);
    let said = Instant::now();
    ada.done("notify", json!({"to": {"room": "lobby"}, "title": "lunch"})).await;
    for seat in [&mut first, &mut last] {
        let (notification, unread) = seat.notified().await;
        assert_eq!((notification.title.as_deref(), unread), (Some("lunch"), 1));
    }
    assert!(said.elapsed() < PATIENCE, "it came after {:?}", said.elapsed());
    node.metric_until("hallway_notifications_created_total", "kind=\"announcement\"", |count| count == CROWD as f64)
        .await;
    assert_eq!(unread(&mut ada).await, 0);
}

fn write(nonce: &str, action: Action) -> Write {
    Write { actor: UserId::new("ada").unwrap(), nonce: Nonce::new(nonce).unwrap(), body_hash: [0; 16], action }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fan_out_that_a_dead_node_left_behind_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path()).unwrap();
    let room = RoomId::new("lobby").unwrap();
    let created =
        Action::CreateRoom { room: room.clone(), visibility: Visibility::Private, history: History::All, name: None };
    let mut writes = vec![write("create", created)];
    for number in 0..CROWD {
        let user = UserId::new(&format!("user-{number}")).unwrap();
        let action = Action::Invite { room: room.clone(), user, role: Role::Member };
        writes.push(write(&format!("invite-{number}"), action));
    }
    let notice = Notice {
        title: "lunch".to_owned(),
        text: None,
        data: None,
        urgent: false,
        key: None,
        acknowledge_within_ms: None,
    };
    let from = UserId::new("ada").unwrap();
    let action = Action::Notify { from, to: Addressed::Room(room), notice, may_any: false };
    writes.push(write("notify", action));
    let results = store.commit(writes).await.unwrap().results;
    assert!(results.last().unwrap().as_ref().unwrap().fans_out, "too many to be written with their cause");

    // Whoever committed it died. Another node looks for what waits.
    let given = Given { store: Some(Arc::new(store)), ..Given::default() };
    let node = TestNode::start_with(|config| config.limits.fan_out_poll_ms = 10, given).await;
    node.metric_until("hallway_work_steps_total", "work=\"fan_out\"", |steps| steps >= 1.0).await;
    let mut last = node.connect(&format!("user-{}", CROWD - 1)).await;
    let until = Instant::now() + PATIENCE;
    while unread(&mut last).await == 0 {
        assert!(Instant::now() < until, "nobody finishes it");
    }
    let list = last.done("notification.list", json!({})).await;
    assert_eq!((&list["notifications"][0]["title"], &list["unread"]), (&json!("lunch"), &json!(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_is_published_when_the_node_stops() {
    let node = TestNode::start(|config| config.limits.notification_batch_wait_ms = 5000).await;
    let (mut ada, others) = lobby(&node, &["ben"]).await;
    mention(&mut ada, &["ben"]).await;
    drop((ada, others));
    let stopped = Instant::now();
    let node = node.restart().await;
    assert!(stopped.elapsed() < Duration::from_secs(5), "nobody waits for the batch");
    let mut ben = node.connect("ben").await;
    assert_eq!(unread(&mut ben).await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_room_hears_the_message_while_the_notification_waits() {
    let node = TestNode::start(|config| config.limits.notification_batch_wait_ms = 5000).await;
    let (mut ada, mut others) = lobby(&node, &["ben"]).await;
    let said = Instant::now();
    let seq = mention(&mut ada, &["ben"]).await["seq"].as_u64().unwrap();
    others[0].event("lobby", seq).await;
    assert!(said.elapsed() < Duration::from_millis(4500));
    let early = others[0].unread.iter().any(
        |frame| matches!(frame, ServerFrame::Event(event) if matches!(event.body, EventBody::NotificationCreated(_))),
    );
    assert!(!early, "the notification waits for others");
}
