//! Wrong input gets a clear error, the connection lives on where it should, and nothing is lost.

use hallway_protocol::codec::Codec;
use hallway_protocol::{ErrorBody, ErrorCode, ServerFrame};
use loadtest_client::{ClientError, Connection};
use serde_json::json;

use crate::node::TestNode;
use crate::seat::Seat;

/// The next error that answers no request that could be read, or any.
async fn error(seat: &mut Seat) -> (Option<u64>, ErrorBody) {
    match seat.take("an error", |frame| matches!(frame, ServerFrame::Error(_))).await {
        ServerFrame::Error(error) => (error.id, error.error),
        _ => unreachable!(),
    }
}

/// The connection still works and nothing was lost on it.
async fn lives(seat: &mut Seat) {
    let seq = seat.say("lobby", "still here").await;
    seat.event("lobby", seq).await;
}

async fn seated(node: &TestNode) -> Seat {
    let mut seat = node.connect("ada").await;
    seat.create("lobby", "public").await;
    seat
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_token_is_refused_with_the_reason_and_closed_for_good() {
    let node = TestNode::start(|_| {}).await;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let other_key =
        loadtest_client::token::mint(b"another secret, not the node's", "ada", crate::node::PATIENCE).unwrap();
    let cases = [
        ("rubbish".to_owned(), "three parts"),
        (other_key, "signature"),
        (node.token_with("ada", "read", now - 60), "expired"),
        (node.token_with("not a user id", "read", now + 60), "sub"),
    ];
    for (token, reason) in cases {
        let mut options = node.options("ada");
        options.token = token;
        let mut connection = Connection::connect(&options).await.unwrap();
        match connection.hello(&options).await {
            Err(ClientError::HelloRefused(error)) => {
                assert_eq!(error.code, ErrorCode::Unauthenticated);
                assert!(error.message.contains(reason), "{}", error.message);
                assert!(!error.message.contains(&options.token), "{}", error.message);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(connection.wait_for_end(crate::node::PATIENCE).await.unwrap().code, Some(4500));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_json_is_named_and_the_connection_lives_on() {
    let node = TestNode::start(|_| {}).await;
    let mut seat = seated(&node).await;
    for text in ["{", "[]", "\u{1F339}", "{\"command\":{\"ping\":{}}}", "{\"id\":-1,\"command\":{\"ping\":{}}}"] {
        seat.connection.send_text(text).await.unwrap();
        let (id, error) = error(&mut seat).await;
        assert_eq!((id, error.code), (None, ErrorCode::BadFrame), "{text}: {}", error.message);
        lives(&mut seat).await;
    }
    seat.connection.send_text(r#"{"id":77,"command":{"message.send":{"nonce":"n","room":"lobby"}}}"#).await.unwrap();
    let (id, error) = error(&mut seat).await;
    assert_eq!((id, error.code), (Some(77), ErrorCode::InvalidArgument));
    assert!(error.message.contains("text"), "{}", error.message);
    lives(&mut seat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_postcard_is_named_and_the_connection_lives_on() {
    let node = TestNode::start(|_| {}).await;
    let mut seat = node.connect_with(&node.options("ada").codec(Codec::Postcard)).await;
    seat.create("lobby", "public").await;
    let ping = [1, 3, 0, 2, 0, 0, 0, 0xd2, 0x09];
    let cases: [(&str, Vec<u8>); 5] = [
        ("empty", vec![]),
        ("another version", [&[9], &ping[1..]].concat()),
        ("cut", ping[..8].to_vec()),
        ("more than it says", [&ping[..], &[0]].concat()),
        ("an id without end", vec![1, 3, 0, 3, 0, 0, 0, 0xff, 0xff, 0xff]),
    ];
    for (what, bytes) in cases {
        seat.connection.send_binary(bytes).await.unwrap();
        let (_, error) = error(&mut seat).await;
        assert_eq!(error.code, ErrorCode::BadFrame, "{what}: {}", error.message);
        lives(&mut seat).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_command_is_named_and_the_connection_lives_on() {
    let node = TestNode::start(|_| {}).await;
    let mut seat = seated(&node).await;
    seat.connection.send_text(r#"{"id":78,"command":{"message.sing":{}}}"#).await.unwrap();
    let (id, refused) = error(&mut seat).await;
    assert_eq!((id, refused.code), (Some(78), ErrorCode::UnknownCommand));
    assert!(refused.message.contains("message.sing"), "{}", refused.message);
    lives(&mut seat).await;

    let mut binary = node.connect_with(&node.options("ada").codec(Codec::Postcard)).await;
    binary.connection.send_binary(vec![1, 0xff, 0x0f, 1, 0, 0, 0, 79]).await.unwrap();
    let (id, refused) = error(&mut binary).await;
    assert_eq!((id, refused.code), (Some(79), ErrorCode::UnknownCommand));
    lives(&mut binary).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_one_mebibyte_is_refused_and_nothing_is_lost() {
    let node = TestNode::start(|_| {}).await;
    let mut seat = seated(&node).await;
    let seq = seat.say("lobby", "before").await;
    let text = "x".repeat(1024 * 1024);
    let request = json!({"id": 900, "command": {"message.send": {"nonce": "big", "room": "lobby", "text": text}}});
    // The node may close before it has read all of it.
    let _ = seat.connection.send_text(request.to_string()).await;
    assert_eq!(seat.end().await.code, Some(1009));
    let (id, refused) = error(&mut seat).await;
    assert_eq!((id, refused.code), (None, ErrorCode::TooLarge));
    assert!(refused.message.contains("131072"), "{}", refused.message);

    let mut again = node.connect_with(&node.options("ada").positions(vec![seat.at("lobby", seq - 1)])).await;
    again.events("lobby", seq..=seq).await;
    assert_eq!(again.say("lobby", "after").await, seq + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_beyond_its_limit_is_refused_with_its_size_and_the_connection_lives_on() {
    let node = TestNode::start(|_| {}).await;
    let mut seat = seated(&node).await;
    let refused =
        seat.ask("message.send", json!({"room": "lobby", "text": "x".repeat(16 * 1024 + 1)})).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidArgument);
    assert!(refused.message.contains("text") && refused.message.contains("16385"), "{}", refused.message);
    lives(&mut seat).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_room_and_one_of_others_are_told_apart_only_when_public() {
    let node = TestNode::start(|_| {}).await;
    let mut seat = seated(&node).await;
    seat.create("hidden", "private").await;
    let mut other = node.connect("ben").await;
    let send = |room: &str| json!({"room": room, "text": "hello"});
    assert_eq!(other.refused("message.send", send("nowhere")).await, ErrorCode::NotFound);
    assert_eq!(other.refused("message.send", send("hidden")).await, ErrorCode::NotFound);
    assert_eq!(other.refused("message.send", send("lobby")).await, ErrorCode::NotAMember);
    other.join("lobby").await;
    lives(&mut other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_nonce_with_another_body_is_an_error_and_with_the_same_body_the_first_answer() {
    let node = TestNode::start(|_| {}).await;
    let mut seat = seated(&node).await;
    let first = seat.done("message.send", json!({"nonce": "once", "room": "lobby", "text": "one"})).await;
    let again = seat.done("message.send", json!({"nonce": "once", "room": "lobby", "text": "one"})).await;
    assert_eq!((&first["seq"], &first["id"]), (&again["seq"], &again["id"]));
    assert_eq!((first["repeated"].as_bool(), again["repeated"].as_bool()), (Some(false), Some(true)));
    let other = seat.refused("message.send", json!({"nonce": "once", "room": "lobby", "text": "two"})).await;
    assert_eq!(other, ErrorCode::NonceConflict);
    let seq = first["seq"].as_u64().unwrap();
    assert_eq!(seat.say("lobby", "next").await, seq + 1);
    seat.events("lobby", seq..=seq + 1).await;
}
