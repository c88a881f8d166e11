//! What comes together is served together, in order, wherever the network cut it.

use hallway_protocol::codec::Codec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::hostile::{frame, raw, read_until};
use crate::node::{PATIENCE, TestNode};

/// A frame of the node: its first byte and its payload.
async fn next_frame(socket: &mut TcpStream) -> (u8, Vec<u8>) {
    let read = async {
        let mut head = [0; 2];
        socket.read_exact(&mut head).await.unwrap();
        let length = match head[1] {
            126 => usize::from(socket.read_u16().await.unwrap()),
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        socket.read_exact(&mut payload).await.unwrap();
        (head[0], payload)
    };
    tokio::time::timeout(PATIENCE, read).await.expect("the node answers")
}

async fn next_id(socket: &mut TcpStream) -> u64 {
    let (first, payload) = next_frame(socket).await;
    assert_eq!(first, 0x81);
    let answer: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    answer["ok"]["id"].as_u64().unwrap_or_else(|| panic!("no ok: {answer}"))
}

fn ping_command(id: u64) -> Vec<u8> {
    frame(0x81, serde_json::json!({"id": id, "command": {"ping": {}}}).to_string().as_bytes())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_come_together_are_answered_in_order_in_few_writes() {
    let node = TestNode::start(|_| {}).await;
    let mut socket = raw(&node).await;
    let burst: Vec<u8> = (10..210).flat_map(ping_command).collect();
    let writes_before = node.metric("hallway_socket_writes_total").await;
    socket.write_all(&burst).await.unwrap();
    for id in 10..210 {
        assert_eq!(next_id(&mut socket).await, id);
    }
    let writes = node.metric("hallway_socket_writes_total").await - writes_before;
    assert!(writes <= 20.0, "200 answers took {writes} writes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_beyond_the_requests_in_flight_waits_and_is_answered_whole() {
    let node = TestNode::start(|config| config.limits.requests_in_flight_max = 2).await;
    let mut socket = raw(&node).await;
    let create = |id: u64| {
        let command = serde_json::json!({"room.create": {"room": format!("room-{id}"), "visibility": "public", "nonce": format!("nonce-{id}-0123456789abcdef")}});
        frame(0x81, serde_json::json!({"id": id, "command": command}).to_string().as_bytes())
    };
    let burst: Vec<u8> = (10..60).flat_map(|id| [create(id), ping_command(1000 + id)].concat()).collect();
    // Cut where no frame ends.
    for piece in burst.chunks(997) {
        socket.write_all(piece).await.unwrap();
    }
    let (mut created, mut pinged) = (Vec::new(), Vec::new());
    while created.len() + pinged.len() < 100 {
        let (first, payload) = next_frame(&mut socket).await;
        assert_eq!(first, 0x81);
        let answer: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert!(answer.get("error").is_none(), "{answer}");
        match answer["ok"]["id"].as_u64() {
            Some(id) if id >= 1000 => pinged.push(id - 1000),
            Some(id) => created.push(id),
            None => {}
        }
    }
    created.sort_unstable();
    let expected: Vec<u64> = (10..60).collect();
    assert_eq!((created, pinged), (expected.clone(), expected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_comes_byte_by_byte_or_in_fragments_with_pings_between_is_understood() {
    let node = TestNode::start(|_| {}).await;
    let mut socket = raw(&node).await;
    socket.set_nodelay(true).unwrap();
    for byte in ping_command(10) {
        socket.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(next_id(&mut socket).await, 10);
    let text = br#"{"id":11,"command":{"ping":{}}}"#;
    let fragments =
        [frame(0x01, &text[..9]), frame(0x89, b"one"), frame(0x00, b""), frame(0x89, b"two"), frame(0x80, &text[9..])];
    socket.write_all(&fragments.concat()).await.unwrap();
    assert_eq!(next_frame(&mut socket).await, (0x8a, b"one".to_vec()));
    assert_eq!(next_frame(&mut socket).await, (0x8a, b"two".to_vec()));
    assert_eq!(next_id(&mut socket).await, 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_with_the_upgrade_is_answered() {
    let node = TestNode::start(|_| {}).await;
    let mut socket = TcpStream::connect(node.address()).await.unwrap();
    let upgrade = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: {}\r\n\r\n",
        Codec::Json.subprotocol()
    );
    let hello = serde_json::json!({"id": 1, "command": {"hello": {"token": node.token("eve")}}}).to_string();
    let early = [upgrade.as_bytes(), &frame(0x81, hello.as_bytes()), &ping_command(2), &ping_command(3)].concat();
    // The last request comes later, so that a part of it waits with what came early.
    let (first, rest) = early.split_at(early.len() - 5);
    socket.write_all(first).await.unwrap();
    read_until(&mut socket, "\"id\":2").await;
    socket.write_all(rest).await.unwrap();
    read_until(&mut socket, "\"id\":3").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_close_is_answered_with_its_own_code_and_ends_the_connection() {
    let node = TestNode::start(|_| {}).await;
    let mut socket = raw(&node).await;
    let farewell = [&1001_u16.to_be_bytes()[..], b"bye"].concat();
    socket.write_all(&[ping_command(10), frame(0x88, &farewell), ping_command(11)].concat()).await.unwrap();
    assert_eq!(next_id(&mut socket).await, 10);
    assert_eq!(next_frame(&mut socket).await, (0x88, farewell));
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut rest)).await.expect("the node hangs up");
    assert!(rest.is_empty(), "something came behind the close");
    node.metric_until("hallway_connections_closed_total", "client", |closed| closed == 1.0).await;
}
