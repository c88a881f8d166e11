//! Tokens on live connections: expiry, refresh, scopes.

use std::time::{SystemTime, UNIX_EPOCH};

use hallway_protocol::ErrorCode;
use serde_json::json;

use crate::node::{PATIENCE, TestNode, http_get};
use crate::seat::Seat;

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

async fn connect_until(node: &TestNode, scope: &str, exp: u64) -> Seat {
    let mut options = node.options("ada");
    options.token = node.token_with("ada", scope, exp);
    node.connect_with(&options).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_live_connection_ends_with_its_token_unless_it_is_refreshed_in_band() {
    let node = TestNode::start(|_| {}).await;
    let exp = now_seconds() + 2;
    let mut expires = connect_until(&node, "read write", exp).await;
    let mut refreshed = connect_until(&node, "read write", exp).await;
    assert_eq!(expires.welcome.token_expires_at_ms, exp * 1000);
    let later = exp + 3600;
    let reply = refreshed.done("auth.refresh", json!({"token": node.token_with("ada", "read write", later)})).await;
    assert_eq!(reply["token_expires_at_ms"], later * 1000);
    assert_eq!(expires.end().await.code, Some(4005));
    assert!(now_seconds() >= exp);
    refreshed.ping().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_with_a_token_of_somebody_else_or_a_bad_one_is_refused_and_changes_nothing() {
    let node = TestNode::start(|_| {}).await;
    let mut seat = node.connect("ada").await;
    for token in [node.token("ben"), node.token_with("ada", "read", now_seconds() - 5), "rubbish".to_owned()] {
        assert_eq!(seat.refused("auth.refresh", json!({"token": token})).await, ErrorCode::Unauthenticated);
    }
    seat.create("lobby", "public").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refresh_brings_the_scopes_of_the_new_token() {
    let node = TestNode::start(|_| {}).await;
    let mut seat = node.connect("ada").await;
    seat.create("lobby", "public").await;
    let exp = now_seconds() + 3600;
    seat.done("auth.refresh", json!({"token": node.token_with("ada", "read", exp)})).await;
    assert_eq!(seat.refused("message.send", json!({"room": "lobby", "text": "x"})).await, ErrorCode::Forbidden);
    seat.done("auth.refresh", json!({"token": node.token_with("ada", "read write", exp)})).await;
    seat.say("lobby", "x").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scopes_allow_what_they_say_and_nothing_else() {
    let node = TestNode::start(|_| {}).await;
    node.connect("owner").await.create("lobby", "public").await;
    let exp = now_seconds() + 3600;
    let create = json!({"room": "attic", "visibility": "public"});
    let send = json!({"room": "lobby", "text": "x"});
    let join = json!({"room": "lobby"});
    let list = json!({"scope": "public"});

    let mut reads = connect_until(&node, "read", exp).await;
    reads.done("room.list", list.clone()).await;
    for (name, arguments) in [("room.join", &join), ("message.send", &send), ("room.create", &create)] {
        assert_eq!(reads.refused(name, arguments.clone()).await, ErrorCode::Forbidden, "{name}");
    }
    let mut writes = connect_until(&node, "read write", exp).await;
    writes.join("lobby").await;
    writes.done("message.send", send.clone()).await;
    assert_eq!(writes.refused("room.create", create.clone()).await, ErrorCode::Forbidden);
    let mut creates = connect_until(&node, "read rooms:create", exp).await;
    creates.done("room.create", create).await;
    assert_eq!(creates.refused("message.send", send.clone()).await, ErrorCode::Forbidden);
    let mut admin = connect_until(&node, "admin", exp).await;
    admin.done("message.send", send).await;
    admin.done("room.list", list).await;
    admin.done("room.create", json!({"room": "cellar", "visibility": "public"})).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_may_come_in_the_authorization_header_and_never_in_the_url() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let node = TestNode::start(|_| {}).await;
    let hello = r#"{"id":1,"command":{"hello":{}}}"#;
    for (in_header, expected) in [(true, "\"user\":\"ada\""), (false, "unauthenticated")] {
        let mut request = format!("{}?token={}", node.url(), node.token("ada")).into_client_request().unwrap();
        if in_header {
            let value = format!("Bearer {}", node.token("ada")).parse().unwrap();
            request.headers_mut().insert("authorization", value);
        }
        let socket = tokio::net::TcpStream::connect(node.address()).await.unwrap();
        let (mut socket, _) = tokio_tungstenite::client_async(request, socket).await.unwrap();
        socket.send(Message::text(hello)).await.unwrap();
        let answer = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
        assert!(answer.to_text().unwrap().contains(expected), "{answer}");
    }
    assert_eq!(http_get(node.address(), "/healthz", &[]).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_hello_nothing_else_is_understood_and_a_second_hello_is_refused() {
    let node = TestNode::start(|_| {}).await;
    let mut connection = loadtest_client::Connection::connect(&node.options("ada")).await.unwrap();
    connection.send(crate::seat::command("room.list", json!({"scope": "public"}))).await.unwrap();
    let frame = connection.receive_within(PATIENCE).await.unwrap();
    assert!(format!("{frame:?}").contains("NotIdentified"), "{frame:?}");
    assert_eq!(connection.wait_for_end(PATIENCE).await.unwrap().code, Some(4501));
    let mut seat = node.connect("ada").await;
    assert_eq!(seat.refused("hello", json!({"token": node.token("ada")})).await, ErrorCode::NotIdentified);
    seat.ping().await;
}
