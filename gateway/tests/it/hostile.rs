//! Sockets that mean harm: each is closed with its code, and the node stays small.

use std::time::Duration;

use hallway_protocol::codec::Codec;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::node::{PATIENCE, TestNode};

/// A socket after its upgrade and hello, for bytes that no library would send.
pub(crate) async fn raw(node: &TestNode) -> TcpStream {
    let mut socket = TcpStream::connect(node.address()).await.unwrap();
    let upgrade = "GET /v1/ws HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(upgrade.as_bytes()).await.unwrap();
    let hello = serde_json::json!({"id": 1, "command": {"hello": {"token": node.token("eve")}}}).to_string();
    socket.write_all(&frame(0x81, hello.as_bytes())).await.unwrap();
    read_until(&mut socket, "sync_end").await;
    socket
}

/// A masked frame of a client.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length => {
            bytes.push(0x80 | 126);
            bytes.extend((length as u16).to_be_bytes());
        }
    }
    bytes.extend([0, 0, 0, 0]);
    bytes.extend(payload);
    bytes
}

pub(crate) async fn read_until(socket: &mut TcpStream, word: &str) {
    let mut bytes = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&bytes).contains(word) {
            assert!(socket.read_buf(&mut bytes).await.unwrap() > 0, "ended before {word}");
        }
    };
    tokio::time::timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("no {word}"));
}

/// Reads to the end and says the code of the close frame.
async fn close_code(mut socket: TcpStream) -> Option<u16> {
    let mut bytes = Vec::new();
    let read = async { while socket.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {} };
    tokio::time::timeout(PATIENCE, read).await.expect("the node closes");
    let mut at = 0;
    while at + 2 <= bytes.len() {
        let (header, length) = match bytes[at + 1] {
            126 => (4, usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]))),
            length => (2, usize::from(length)),
        };
        if bytes[at] == 0x88 {
            return Some(u16::from_be_bytes([bytes[at + header], bytes[at + header + 1]]));
        }
        at += header + length;
    }
    None
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fragment_flood_is_closed() {
    let node = TestNode::start(|config| config.limits.message_frames_max = 20).await;
    let mut socket = raw(&node).await;
    let mut flood = frame(0x01, b"{");
    for _ in 0..1000 {
        flood.extend(frame(0x00, b""));
    }
    let _ = socket.write_all(&flood).await;
    assert_eq!(close_code(socket).await, Some(4502));
    node.metric_until("hallway_connections_closed_total", "flood", |closed| closed == 1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_flood_by_a_client_that_never_reads_stays_bounded() {
    let node = TestNode::start(|config| {
        config.limits.message_frames_max = 65_536;
        config.limits.backlog_max_bytes = 16_384;
        config.limits.write_timeout_ms = 2000;
    })
    .await;
    let mut socket = raw(&node).await;
    let ping = frame(0x89, &[b'p'; 125]);
    // A message now and then, so that the flood is no flood of frames; its answer is small.
    let mut round: Vec<u8> = ping.repeat(200);
    round.extend(frame(0x81, br#"{"id":7,"command":{"ping":{}}}"#));
    let mut backlog_max: f64 = 0.0;
    let flood = async { while socket.write_all(&round).await.is_ok() {} };
    let watch = async {
        let mut closed = 0.0;
        while closed == 0.0 {
            backlog_max = backlog_max.max(node.metric("hallway_backlog_bytes").await);
            closed = node.metric("hallway_connections_closed_total").await;
        }
    };
    tokio::time::timeout(PATIENCE, async { tokio::join!(flood, watch) }).await.expect("it is closed");
    assert!(backlog_max < 64.0 * 1024.0, "the backlog grew to {backlog_max} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_that_is_no_utf8_is_closed_with_1007() {
    let node = TestNode::start(|_| {}).await;
    let mut socket = raw(&node).await;
    socket.write_all(&frame(0x81, &[0xff, 0xfe, 0x7b])).await.unwrap();
    assert_eq!(close_code(socket).await, Some(1007));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wrong_kind_of_frame_is_closed_with_1003() {
    let node = TestNode::start(|_| {}).await;
    let mut socket = raw(&node).await;
    socket.write_all(&frame(0x82, b"{}")).await.unwrap();
    assert_eq!(close_code(socket).await, Some(1003));
    let mut binary = node.connect_with(&node.options("eve").codec(Codec::Postcard)).await;
    binary.connection.send_text("{}").await.unwrap();
    assert_eq!(binary.end().await.code, Some(1003));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_announces_a_huge_frame_is_closed_before_the_frame_comes() {
    let node = TestNode::start(|_| {}).await;
    let mut socket = raw(&node).await;
    let mut header = vec![0x81, 0x80 | 127];
    header.extend((1_u64 << 40).to_be_bytes());
    header.extend([1, 2, 3, 4]);
    socket.write_all(&header).await.unwrap();
    assert_eq!(close_code(socket).await, Some(1009));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broken_framing_is_closed_with_1002() {
    let node = TestNode::start(|_| {}).await;
    for (what, bytes) in [
        ("not masked", vec![0x81, 2, b'{', b'}']),
        ("a reserved bit", frame(0xc1, b"{}")),
        ("an unknown opcode", frame(0x83, b"{}")),
        ("a continuation of nothing", frame(0x80, b"{}")),
    ] {
        let mut socket = raw(&node).await;
        socket.write_all(&bytes).await.unwrap();
        assert_eq!(close_code(socket).await, Some(1002), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_handshake_is_ended_by_the_deadline() {
    let node = TestNode::start(|config| config.limits.hello_timeout_ms = 300).await;
    let mut half_a_request = TcpStream::connect(node.address()).await.unwrap();
    half_a_request.write_all(b"GET /v1/ws HTTP/1.1\r\nHost: te").await.unwrap();
    let mut nothing_at_all = TcpStream::connect(node.address()).await.unwrap();
    for socket in [&mut half_a_request, &mut nothing_at_all] {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(10), socket.read_to_end(&mut bytes)).await;
        assert!(read.is_ok(), "the node waits for ever; it said {:?}", String::from_utf8_lossy(&bytes));
    }
}
