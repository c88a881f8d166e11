//! Acting on people: who is revoked, banned or muted is so at once, wherever they are, and nobody else is concerned.

use std::time::{Duration, Instant};

use hallway_gateway::auth::{Scopes, mint_with};
use hallway_gateway::config::{AuthConfig, Secret, StoreUrl};
use hallway_protocol::codec::Received;
use hallway_protocol::{Command, ErrorCode, EventBody, Nonce, Reply, ServerFrame, StreamId, UserId};
use hallway_store::postgres::{PostgresOptions, PostgresStore};
use hallway_store::{Action, Log as _, Write};
use loadtest_client::{ClientError, ConnectOptions, Connection};
use loadtest_cluster::TemporaryPostgres;
use serde_json::json;

use crate::fault_store::FaultStore;
use crate::node::{PATIENCE, SECRET, TestNode};
use crate::seat::Seat;

/// A revocation that only the tail finds takes an interval and a read; the rest is a busy machine.
const FOUND_WITHIN: Duration = Duration::from_secs(2);
/// CI is red from here on; the figure is printed.
const RED_AT: Duration = Duration::from_secs(10);

fn now_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

/// How this user connects with a token that says when it was issued, as ours do.
fn dated(node: &TestNode, user: &str, scopes: &str) -> ConnectOptions {
    let user_id = UserId::new(user).unwrap();
    let scopes = Scopes::from_words(scopes.split(' '));
    let token = mint_with(&Secret::new(SECRET), &AuthConfig::default(), &user_id, scopes, now_seconds() + 3600);
    ConnectOptions { token: token.unwrap(), ..node.options(user) }
}

/// The next event of the user's own stream with this name.
async fn told(seat: &mut Seat, name: &str) -> EventBody {
    let stream = StreamId::User(seat.welcome.user.clone());
    let frame = seat
        .take(
            name,
            |frame| matches!(frame, ServerFrame::Event(event) if event.stream == stream && event.body.name() == name),
        )
        .await;
    let ServerFrame::Event(event) = frame else { unreachable!() };
    event.body
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_is_revoked_is_told_and_closed_and_no_other_is() {
    let node = TestNode::start(|_| {}).await;
    let mut phone = node.connect("ben").await;
    let mut laptop = node.connect("ben").await;
    let mut other = node.connect("ada").await;
    let listed = phone.done("session.list", json!({})).await;
    let sessions = listed["sessions"].as_array().unwrap();
    assert_eq!((sessions.len(), &listed["complete"]), (2, &json!(true)));
    for (seat, is_current) in [(&phone, true), (&laptop, false)] {
        let of_seat = sessions.iter().find(|session| session["session"] == json!(seat.welcome.session)).unwrap();
        assert_eq!(of_seat["current"], json!(is_current));
        assert_eq!(of_seat["client_name"], json!("hallway-rust"));
        assert_eq!(seat.welcome.session.split_once('-').map(|(node, _)| json!(node)).as_ref(), Some(&of_seat["node"]));
        let age_ms = now_seconds() * 1000 + 1000 - of_seat["connected_at_ms"].as_u64().unwrap();
        assert!(age_ms < 60_000, "connected {age_ms} ms ago");
    }
    let revoked = phone.done("session.revoke", json!({"session": laptop.welcome.session})).await;
    assert_eq!(revoked["stream"], json!("user:ben"));
    let end = laptop.end().await;
    assert_eq!((end.code, end.reason.as_str()), (Some(4503), "session_revoked"));
    let EventBody::SessionRevoked(event) = told(&mut laptop, "session.revoked").await else { panic!() };
    assert_eq!((event.session.as_str(), event.by.as_str()), (laptop.welcome.session.as_str(), "ben"));
    let closing = laptop.take("closing", |frame| matches!(frame, ServerFrame::Closing(_))).await;
    let ServerFrame::Closing(closing) = closing else { unreachable!() };
    assert_eq!(closing.reconnect_after_ms, None, "not to come back");
    assert_eq!(phone.done("session.list", json!({})).await["sessions"].as_array().unwrap().len(), 1);
    other.ping().await;
    // The token is as good as before: ending a session is no revocation of the person.
    node.connect("ben").await.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_user_is_closed_everywhere_and_older_tokens_are_refused() {
    let node = TestNode::start(|_| {}).await;
    let old = dated(&node, "ben", "read write");
    let mut phone = node.connect_with(&old).await;
    // A token that does not say when it was issued may be any age.
    let undated = node.options("ben");
    let mut laptop = node.connect_with(&undated).await;
    let mut ada = node.connect("ada").await;
    ada.done("user.revoke", json!({"user": "ben", "reason": "lost phone"})).await;
    for seat in [&mut phone, &mut laptop] {
        let end = seat.end().await;
        assert_eq!((end.code, end.reason.as_str()), (Some(4504), "user_revoked"));
        assert!(matches!(told(seat, "user.revoked").await, EventBody::UserRevoked(_)));
    }
    for options in [&old, &undated] {
        match Connection::open(options).await {
            Err(ClientError::HelloRefused(error)) => {
                assert_eq!(error.code, ErrorCode::Unauthenticated);
                assert!(error.message.contains("revoked"), "{}", error.message);
            }
            other => panic!("an old token opened the door: {other:?}"),
        }
    }
    ada.ping().await;
    // A fresh token is taken as soon as its second began after the revocation.
    let began = Instant::now();
    let mut fresh = loop {
        match Connection::open(&dated(&node, "ben", "read write")).await {
            Ok((connection, welcome)) => break Seat::new(connection, welcome),
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
        }
    };
    fresh.synced().await;
    let refused = fresh.refused("auth.refresh", json!({"token": old.token})).await;
    assert_eq!(refused, ErrorCode::Unauthenticated, "an older token does not come in by the back door");
    fresh.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_are_acted_on_with_the_scope_admin_only() {
    let node = TestNode::start(|_| {}).await;
    let mut ben = node.connect("ben").await;
    let mut eve = node.connect_with(&dated(&node, "eve", "read write rooms:create")).await;
    for (name, arguments) in [
        ("session.list", json!({"user": "ben"})),
        ("session.revoke", json!({"user": "ben", "session": ben.welcome.session})),
        ("user.revoke", json!({"user": "ben"})),
        ("audit.list", json!({})),
        ("audit.list", json!({"user": "eve"})),
    ] {
        assert_eq!(eve.refused(name, arguments).await, ErrorCode::Forbidden, "{name}");
    }
    // A foreign session under one's own name is no session of one's own.
    eve.done("session.revoke", json!({"session": ben.welcome.session})).await;
    ben.ping().await;
    eve.done("user.revoke", json!({"user": "eve"})).await;
    assert_eq!(eve.end().await.code, Some(4504), "oneself needs no scope");
    ben.ping().await;
}

/// Eve asks for something that the store does not answer yet, and is revoked meanwhile.
async fn revoked_while_something_is_under_way(node: &TestNode, store: &FaultStore) -> (Seat, Seat, u64) {
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    let mut eve = node.connect("eve").await;
    eve.join("lobby").await;
    store.pages_work(false);
    let asked = eve.send("message.history", json!({"room": "lobby", "direction": "older"})).await;
    node.metric_until("hallway_requests_in_flight", "", |requests| requests >= 1.0).await;
    ada.done("user.revoke", json!({"user": "eve"})).await;
    assert!(matches!(told(&mut eve, "user.revoked").await, EventBody::UserRevoked(_)));
    // Her lane has closed her by the time that it has done other things.
    node.connect("eve-again").await.ping().await;
    ada.ping().await;
    (ada, eve, asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_before_a_revocation_is_answered_and_nothing_is_done_after_it() {
    let (node, store) = TestNode::start_with_faults(|_| {}).await;
    let (mut ada, mut eve, asked) = revoked_while_something_is_under_way(&node, &store).await;
    let late = eve.send("message.send", json!({"room": "lobby", "text": "I am still here"})).await;
    let said = ada.say("lobby", "nothing for her any more").await;
    ada.event("lobby", said).await;
    store.pages_work(true);
    eve.answer(asked).await.unwrap();
    let end = eve.end().await;
    assert_eq!((end.code, end.reason.as_str()), (Some(4504), "user_revoked"));
    let of_late = |frame: &ServerFrame| matches!(frame, ServerFrame::Ok(ok) if ok.id == late);
    assert!(!eve.unread.iter().any(of_late), "what came after the revocation was carried out");
    assert_eq!(eve.unread_events_of("lobby"), 0, "an event came after the revocation");
    let history = ada.done("message.history", json!({"room": "lobby", "direction": "older"})).await;
    let senders: Vec<_> = history["messages"].as_array().unwrap().iter().map(|message| &message["sender"]).collect();
    assert_eq!(senders, ["ada"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_does_not_come_holds_up_no_revocation() {
    let (node, store) = TestNode::start_with_faults(|_| {}).await;
    let (_ada, mut eve, _) = revoked_while_something_is_under_way(&node, &store).await;
    assert_eq!(eve.end().await.code, Some(4504));
    store.pages_work(true);
}

/// Method: the act is written straight into the store, as another node would; nothing tells this node but its tail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_node_commits_takes_effect_here_without_a_bus() {
    let server = TemporaryPostgres::shared().unwrap();
    let url = server.database().await.unwrap();
    let node = TestNode::start(|config| config.store.url = Some(StoreUrl::parse(&url).unwrap())).await;
    let elsewhere = PostgresStore::open(&url, PostgresOptions::default()).await.unwrap();
    let act = async |action: Action| {
        let (actor, nonce) =
            (UserId::new("root").unwrap(), Nonce::new(loadtest_client::client::nonce().as_str()).unwrap());
        let write = Write { actor, nonce, body_hash: [0; 16], action };
        elsewhere.commit(vec![write]).await.unwrap().results.remove(0).unwrap()
    };
    let judge = |what: &str, took: Duration| {
        println!("{what} took effect after {took:?}; promised within {FOUND_WITHIN:?}");
        assert!(took < RED_AT, "{what} took effect after {took:?}");
    };
    let mut phone = node.connect("ben").await;
    let mut laptop = node.connect("ben").await;
    let ben = UserId::new("ben").unwrap();
    let session = laptop.welcome.session.parse().unwrap();
    act(Action::RevokeSession { user: ben.clone(), session }).await;
    let begun = Instant::now();
    assert_eq!(laptop.end().await.code, Some(4503));
    judge("session.revoke", begun.elapsed());
    phone.ping().await;
    act(Action::RevokeUser { user: ben, reason: None }).await;
    let begun = Instant::now();
    assert_eq!(phone.end().await.code, Some(4504));
    judge("user.revoke", begun.elapsed());
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    let (root, mut eve) = (UserId::new("root").unwrap(), node.connect("eve").await);
    eve.join("lobby").await;
    ada.done("room.invite", json!({"room": "lobby", "user": root, "role": "admin"})).await;
    let (room, user) = ("lobby".parse().unwrap(), UserId::new("eve").unwrap());
    act(Action::Ban { room, user, until_ms: None, reason: None }).await;
    let begun = Instant::now();
    let removed = eve.take(
        "the removal",
        |frame| matches!(frame, ServerFrame::Event(event) if matches!(event.body, EventBody::MemberRemoved(_))),
    );
    removed.await;
    judge("room.ban", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_muted_member_reads_and_every_write_is_refused_until_the_mute_ends() {
    let node = TestNode::start(|_| {}).await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    let mut ben = node.connect("ben").await;
    ben.join("lobby").await;
    let own = ben.done("message.send", json!({"room": "lobby", "text": "before"})).await["id"].clone();
    let writes = [
        ("message.send", json!({"room": "lobby", "text": "hello"})),
        ("message.edit", json!({"room": "lobby", "id": own, "text": "edited"})),
        ("message.react", json!({"room": "lobby", "id": own, "emoji": "x"})),
        ("typing", json!({"room": "lobby", "active": true})),
        ("signal", json!({"room": "lobby", "name": "wave"})),
    ];
    let until_ms = now_seconds() * 1000 + 600_000;
    ada.done("room.mute", json!({"room": "lobby", "user": "ben", "until_ms": until_ms})).await;
    let EventBody::MuteChanged(change) = told(&mut ben, "mute.changed").await else { panic!() };
    assert_eq!((change.muted, change.until_ms), (true, Some(until_ms)));
    for (name, arguments) in &writes {
        let error = ben.ask(name, arguments.clone()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Muted, "{name}");
        let left_ms = error.retry_after_ms.expect("it says when the mute ends");
        assert!((1..=600_000).contains(&left_ms), "{name}: {left_ms} ms are left of ten minutes");
    }
    // Who comes anew knows it, too, and a mute that was extended or shortened is as the last one said.
    let mut again = node.connect("ben").await;
    assert_eq!(again.refused("typing", json!({"room": "lobby", "active": true})).await, ErrorCode::Muted);
    ada.say("lobby", "you can still read").await;
    ben.take("her message", |frame| {
        matches!(frame, ServerFrame::Event(event) if matches!(&event.body, EventBody::MessageCreated(created) if created.message.text == "you can still read"))
    })
    .await;
    let soon = json!({"room": "lobby", "user": "ben", "until_ms": now_seconds() * 1000 + 2_000});
    ada.done("room.mute", soon).await;
    let began = Instant::now();
    for seat in [&mut ben, &mut again] {
        while let Err(error) = seat.ask("typing", json!({"room": "lobby", "active": true})).await {
            assert_eq!(error.code, ErrorCode::Muted);
            assert!(began.elapsed() < PATIENCE, "the mute does not end");
            tokio::time::sleep(Duration::from_millis(error.retry_after_ms.expect("it says when the mute ends"))).await;
        }
    }
    for (name, arguments) in &writes {
        ben.done(name, arguments.clone()).await;
    }
    ada.done("room.mute", json!({"room": "lobby", "user": "ben"})).await;
    let error = ben.ask("message.send", json!({"room": "lobby", "text": "hello"})).await.unwrap_err();
    assert_eq!((error.code, error.retry_after_ms), (ErrorCode::Muted, None), "until it is taken back");
    ada.done("room.unmute", json!({"room": "lobby", "user": "ben"})).await;
    ben.say("lobby", "thank you").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banned_member_gets_the_removal_last_and_stays_out() {
    let node = TestNode::start(|_| {}).await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    let mut ben = node.connect("ben").await;
    let joined = ben.join("lobby").await;
    ada.done("room.ban", json!({"room": "lobby", "user": "ben", "reason": "spam"})).await;
    ada.say("lobby", "quiet at last").await;
    let events = ben.events("lobby", joined + 1..=joined + 2).await;
    let names: Vec<&str> = events.iter().map(|event| event.body.name()).collect();
    assert_eq!(names, ["member.banned", "member.removed"]);
    let error = ben.ask("room.join", json!({"room": "lobby"})).await.unwrap_err();
    assert_eq!((error.code, error.retry_after_ms), (ErrorCode::Banned, None));
    let invite = json!({"room": "lobby", "user": "ben", "role": "member"});
    assert_eq!(ada.refused("room.invite", invite).await, ErrorCode::Banned);
    assert_eq!(ben.unread_events_of("lobby"), 0, "the removal was the last");
    let bans = ada.done("room.bans", json!({"room": "lobby"})).await;
    assert_eq!((&bans["bans"][0]["user"], &bans["bans"][0]["reason"]), (&json!("ben"), &json!("spam")));
    assert_eq!(bans["next"], json!(null));
    let past = json!({"room": "lobby", "user": "eve", "until_ms": 1_700_000_000});
    assert_eq!(ada.refused("room.ban", past).await, ErrorCode::InvalidArgument, "seconds are no milliseconds");
    ada.done("room.unban", json!({"room": "lobby", "user": "ben"})).await;
    ben.join("lobby").await;
    ada.done("room.kick", json!({"room": "lobby", "user": "ben", "reason": "out"})).await;
    ben.join("lobby").await;
    let record = ada.done("audit.list", json!({"room": "lobby", "limit": 2})).await;
    let actions: Vec<&str> =
        record["entries"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["room.kick", "room.unban"]);
    let rest = ada.done("audit.list", json!({"room": "lobby", "cursor": record["next"]})).await;
    assert_eq!((&rest["entries"][0]["action"], &rest["next"]), (&json!("room.ban"), &json!(null)));
}

/// An old client knows neither the event nor the code: the one moves its position, the other comes in words it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_minor_0_is_told_in_words_that_it_knows() {
    let node = TestNode::start(|_| {}).await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    let mut old = Connection::connect(&node.options("ben")).await.unwrap();
    let hello = json!({"token": node.token("ben"), "protocol_minor": 0});
    let Command::Hello(hello) = serde_json::from_value(json!({"hello": hello})).unwrap() else { unreachable!() };
    old.send(Command::Hello(hello)).await.unwrap();
    let welcome = loop {
        if let Received::Frame(ServerFrame::Ok(ok)) = old.receive_within(PATIENCE).await.unwrap()
            && let Reply::Hello(welcome) = ok.reply
        {
            break welcome;
        }
    };
    assert_eq!(welcome.protocol_minor, 0);
    let mut ben = Seat::new(old, welcome);
    ben.join("lobby").await;
    ada.done("room.mute", json!({"room": "lobby", "user": "ben"})).await;
    let error = ben.ask("message.send", json!({"room": "lobby", "text": "hello"})).await.unwrap_err();
    assert_eq!((error.code, error.retryable), (ErrorCode::Forbidden, false));
    assert!(error.message.contains("muted"), "{}", error.message);
    ada.done("room.unmute", json!({"room": "lobby", "user": "ben"})).await;
    let seq = ben.say("lobby", "hello").await;
    assert_eq!(ben.events("lobby", seq - 2..=seq).await.len(), 3, "no hole where the events of minor 1 are");
}
