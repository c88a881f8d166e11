//! Several devices of one person, and membership as it comes and goes.

use hallway_protocol::frame::ResetReason;
use hallway_protocol::{ErrorCode, EventBody, ServerFrame};
use serde_json::json;

use crate::node::TestNode;
use crate::seat::Seat;

/// The next event of the person's own stream that is of this kind.
async fn own(seat: &mut Seat, kind: &str) -> EventBody {
    let stream = format!("user:{}", seat.welcome.user);
    let wanted = |frame: &ServerFrame| match frame {
        ServerFrame::Event(event) => event.stream.to_string() == stream && event.body.name() == kind,
        _ => false,
    };
    match seat.take(kind, wanted).await {
        ServerFrame::Event(event) => event.body,
        _ => unreachable!(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn own_messages_and_read_markers_appear_on_the_other_devices() {
    let node = TestNode::start(|_| {}).await;
    let mut phone = node.connect("ada").await;
    let mut laptop = node.connect("ada").await;
    phone.create("lobby", "public").await;
    laptop.event("lobby", 2).await;
    let mut ben = node.connect("ben").await;
    ben.join("lobby").await;
    let from_ben = ben.say("lobby", "hello ada").await;
    let own_seq = phone.say("lobby", "hello ben").await;
    phone.events("lobby", 3..=own_seq).await;
    laptop.events("lobby", 3..=own_seq).await;
    let later = ben.say("lobby", "how are you").await;
    assert_eq!(laptop.done("read.mark", json!({"room": "lobby", "seq": from_ben})).await["unread"], 1);
    let marked = laptop.done("read.mark", json!({"room": "lobby", "seq": later})).await;
    assert_eq!((&marked["read_seq"], &marked["unread"]), (&json!(later), &json!(0)));
    let EventBody::ReadMarked(read) = own(&mut phone, "read.marked").await else { panic!() };
    assert_eq!((read.room.as_str(), read.read_seq, read.unread), ("lobby", later, 0));
    // Never back, never beyond the head.
    assert_eq!(phone.done("read.mark", json!({"room": "lobby", "seq": 1})).await["read_seq"], later);
    assert_eq!(phone.done("read.mark", json!({"room": "lobby", "seq": 1_000_000})).await["read_seq"], later);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn joining_brings_a_reset_and_then_the_own_joining_on_every_device() {
    let node = TestNode::start(|_| {}).await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    ada.say("lobby", "before ben").await;
    let mut phone = node.connect("ben").await;
    let mut laptop = node.connect("ben").await;
    let joined = phone.done("room.join", json!({"room": "lobby"})).await["seq"].as_u64().unwrap();
    for device in [&mut phone, &mut laptop] {
        // Nothing of the room comes before the reset.
        let first = device
            .take("the reset", |frame| {
                matches!(frame, ServerFrame::Event(event) if event.stream.room().is_some())
                    || matches!(frame, ServerFrame::Reset(reset) if reset.stream.room().is_some())
            })
            .await;
        let ServerFrame::Reset(reset) = first else { panic!("{first:?}") };
        assert_eq!((reset.seq, reset.reason), (joined - 1, ResetReason::Joined));
        let event = device.next_event("lobby").await;
        assert_eq!(event.seq, joined);
        let EventBody::MemberJoined(member) = event.body else { panic!() };
        assert_eq!(member.user.as_str(), "ben");
    }
    let again = phone.done("room.join", json!({"room": "lobby"})).await;
    assert_eq!(again["seq"], joined, "joining twice changes nothing");
    let history = phone.done("message.history", json!({"room": "lobby", "direction": "older"})).await;
    assert_eq!(history["messages"][0]["text"], "before ben");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_own_removal_is_the_last_event_and_then_a_private_room_does_not_exist() {
    let node = TestNode::start(|_| {}).await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "private").await;
    let mut ben = node.connect("ben").await;
    let invite = json!({"room": "lobby", "user": "ben", "role": "member"});
    let joined = ada.done("room.invite", invite.clone()).await["seq"].as_u64().unwrap();
    ben.events("lobby", joined..=joined).await;
    let removed = ada.done("room.remove", json!({"room": "lobby", "user": "ben"})).await["seq"].as_u64().unwrap();
    for number in 0..20 {
        ada.say("lobby", &format!("without ben {number}")).await;
    }
    let events = ben.events("lobby", removed..=removed).await;
    assert!(matches!(events[0].body, EventBody::MemberRemoved(_)));
    for (name, arguments) in [
        ("message.send", json!({"room": "lobby", "text": "am I still here?"})),
        ("room.join", json!({"room": "lobby"})),
        ("message.history", json!({"room": "lobby", "direction": "older"})),
        ("room.members", json!({"room": "lobby"})),
        ("typing", json!({"room": "lobby", "active": true})),
    ] {
        assert_eq!(ben.refused(name, arguments.clone()).await, ErrorCode::NotFound, "{name}");
        let mut nowhere = arguments;
        nowhere["room"] = json!("never-used");
        assert_eq!(ben.refused(name, nowhere).await, ErrorCode::NotFound, "{name}");
    }
    assert_eq!(ben.unread_events_of("lobby"), 0);
    let mut again = node.connect_with(&node.options("ben").positions(vec![ben.at("lobby", removed)])).await;
    assert!(again.welcome.rooms.is_empty());
    assert_eq!(again.unread_events_of("lobby"), 0);

    // Back again: what happened meanwhile is not theirs.
    let rejoined = ada.done("room.invite", invite).await["seq"].as_u64().unwrap();
    for device in [&mut ben, &mut again] {
        let event = device.next_event("lobby").await;
        assert_eq!(event.seq, rejoined);
        let history = device.done("message.history", json!({"room": "lobby", "direction": "older"})).await;
        assert_eq!(history["messages"], json!([]));
    }
    let mut third = node.connect_with(&node.options("ben").positions(vec![ben.at("lobby", joined)])).await;
    assert_eq!(third.reset("lobby").await.reason, ResetReason::Joined);
    third.events("lobby", rejoined..=rejoined).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn typing_and_signals_reach_the_others_and_not_the_connection_that_sent_them() {
    let node = TestNode::start(|_| {}).await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    let mut phone = node.connect("ben").await;
    let mut laptop = node.connect("ben").await;
    phone.join("lobby").await;
    laptop.event("lobby", 3).await;
    phone.done("typing", json!({"room": "lobby", "active": true})).await;
    phone.done("signal", json!({"room": "lobby", "name": "wave", "data": {"hand": "left"}})).await;
    for other in [&mut ada, &mut laptop] {
        other
            .take("typing", |frame| matches!(frame, ServerFrame::Typing(typing) if typing.user.as_str() == "ben"))
            .await;
        other.take("signal", |frame| matches!(frame, ServerFrame::Signal(signal) if signal.name == "wave")).await;
    }
    phone.ping().await;
    assert!(!phone.unread.iter().any(|frame| matches!(frame, ServerFrame::Typing(_) | ServerFrame::Signal(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ephemeral_frame_of_id_0_is_answered_only_when_it_is_refused() {
    let node = TestNode::start(|_| {}).await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    let mut ben = node.connect("ben").await;
    ben.join("lobby").await;
    for round in 0..3 {
        ben.connection
            .send_text(format!(r#"{{"id":0,"command":{{"signal":{{"room":"lobby","name":"s{round}"}}}}}}"#))
            .await
            .unwrap();
        ben.connection.send_text(r#"{"id":0,"command":{"typing":{"room":"lobby","active":true}}}"#).await.unwrap();
        let name = format!("s{round}");
        ada.take("signal", |frame| matches!(frame, ServerFrame::Signal(signal) if signal.name == name)).await;
        ada.take("typing", |frame| matches!(frame, ServerFrame::Typing(_))).await;
    }
    ben.ping().await;
    assert!(!ben.unread.iter().any(|frame| matches!(frame, ServerFrame::Ok(_) | ServerFrame::Error(_))));
    ben.connection.send_text(r#"{"id":0,"command":{"signal":{"room":"nowhere","name":"x"}}}"#).await.unwrap();
    assert_eq!(ben.answer(0).await.unwrap_err().code, ErrorCode::NotFound);
    ben.connection.send_text(r#"{"id":0,"command":{"ping":{}}}"#).await.unwrap();
    assert!(ben.answer(0).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_direct_room_is_the_same_from_both_sides_and_comes_to_the_other_unasked() {
    let node = TestNode::start(|_| {}).await;
    let mut ada = node.connect("ada").await;
    let mut ben = node.connect("ben").await;
    let opened = ada.done("direct.open", json!({"user": "ben"})).await;
    let room = opened["stream"].as_str().unwrap().strip_prefix("room:").unwrap().to_owned();
    let again = ben.done("direct.open", json!({"user": "ada"})).await;
    assert_eq!(again["stream"], opened["stream"]);
    let seq = ada.say(&room, "hello ben").await;
    ben.event(&room, seq).await;
    for (name, arguments) in [
        ("room.leave", json!({"room": room})),
        ("room.archive", json!({"room": room})),
        ("room.update", json!({"room": room, "name": "ours"})),
        ("room.invite", json!({"room": room, "user": "eve", "role": "member"})),
    ] {
        assert_eq!(ada.refused(name, arguments).await, ErrorCode::Forbidden, "{name}");
    }
    let mut eve = node.connect("eve").await;
    assert_eq!(eve.refused("room.join", json!({"room": room})).await, ErrorCode::NotFound);
}
