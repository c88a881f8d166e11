//! What the HTTP side answers before there is a WebSocket, and to operators.

use crate::node::{TestNode, http_get};

const UPGRADE: [&str; 4] = [
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
];

fn upgrade_with<'a>(more: &[&'a str]) -> Vec<&'a str> {
    UPGRADE.iter().copied().chain(more.iter().copied()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn browsers_from_other_origins_are_refused() {
    let node = TestNode::start(|config| config.server.allowed_origins = vec!["https://app.example".to_owned()]).await;
    for origin in ["https://evil.example", "https://app.example.evil.example", "null", "http://app.example"] {
        let header = format!("Origin: {origin}");
        let answer = http_get(node.address(), "/v1/ws", &upgrade_with(&[&header])).await;
        assert_eq!(answer.status, 403, "{origin}");
        assert!(answer.body.contains("allowed_origins"), "{}", answer.body);
    }
    let allowed = http_get(node.address(), "/v1/ws", &upgrade_with(&["Origin: https://app.example"])).await;
    assert_eq!(allowed.status, 101);
    assert_eq!(node.metric_of("hallway_connections_refused_total", "origin").await, 4.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_subprotocol_is_refused_and_both_known_ones_are_named() {
    let node = TestNode::start(|_| {}).await;
    let answer = http_get(node.address(), "/v1/ws", &upgrade_with(&["Sec-WebSocket-Protocol: mqtt"])).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body.contains("hallway.v1.json") && answer.body.contains("hallway.v1.postcard"), "{}", answer.body);
    let offered = "Sec-WebSocket-Protocol: mqtt, hallway.v1.postcard, hallway.v1.json";
    let answer = http_get(node.address(), "/v1/ws", &upgrade_with(&[offered])).await;
    assert_eq!(answer.status, 101);
    assert!(answer.head.contains("sec-websocket-protocol: hallway.v1.postcard"), "{}", answer.head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_subprotocol_it_is_json() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::Message;
    let node = TestNode::start(|_| {}).await;
    let socket = tokio::net::TcpStream::connect(node.address()).await.unwrap();
    let (mut socket, response) = tokio_tungstenite::client_async(node.url(), socket).await.unwrap();
    assert!(response.headers().get("sec-websocket-protocol").is_none());
    let hello = serde_json::json!({"id": 1, "command": {"hello": {"token": node.token("ada")}}});
    socket.send(Message::text(hello.to_string())).await.unwrap();
    let answer = tokio::time::timeout(crate::node::PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    let answer: serde_json::Value = serde_json::from_str(answer.to_text().unwrap()).unwrap();
    assert_eq!(answer["ok"]["reply"]["hello"]["user"], "ada");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_upgrade_is_told_what_to_send() {
    let node = TestNode::start(|_| {}).await;
    let plain = http_get(node.address(), "/v1/ws", &[]).await;
    assert_eq!(plain.status, 426);
    assert!(plain.head.contains("upgrade: websocket"), "{}", plain.head);
    let old = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 8", "Sec-WebSocket-Key: eA=="];
    let old = http_get(node.address(), "/v1/ws", &old).await;
    assert_eq!(old.status, 426);
    assert!(old.head.contains("sec-websocket-version: 13"), "{}", old.head);
    let no_key = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"];
    assert_eq!(http_get(node.address(), "/v1/ws", &no_key).await.status, 400);
    let nothing = http_get(node.address(), "/v2/ws", &[]).await;
    assert_eq!(nothing.status, 404);
    assert!(nothing.body.contains("/v1/ws"), "{}", nothing.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_see_health_readiness_version_and_metrics_and_clients_no_metrics() {
    let node = TestNode::start(|_| {}).await;
    for address in [node.address(), node.admin_address()] {
        assert_eq!(http_get(address, "/healthz", &[]).await.status, 200);
        assert_eq!(http_get(address, "/readyz", &[]).await.status, 200);
        assert_eq!(http_get(address, "/version", &[]).await.body.trim(), env!("CARGO_PKG_VERSION"));
    }
    let metrics = http_get(node.admin_address(), "/metrics", &[]).await;
    assert!(metrics.head.contains("text/plain"), "{}", metrics.head);
    assert!(metrics.body.contains("hallway_store_up 1"), "{}", metrics.body);
    assert_eq!(http_get(node.address(), "/metrics", &[]).await.status, 404);
    assert_eq!(http_get(node.admin_address(), "/v1/ws", &UPGRADE).await.status, 404);
}
