//! A client comes back when it is told to, to a node that is there, and nobody sees an error of it.
#![expect(clippy::unwrap_used, reason = "a failed test panics")]

mod fake_node;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fake_node::{FakeNode, Misbehaviour, SECRET, eventually, start};
use hallway_protocol::{RoomId, Visibility};
use loadtest_client::{Client, ClientSettings, ConnectOptions, Notice, Observer, token};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_secs(20);

/// When it was connected, and when not any more.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<(&'static str, Instant)>>>);

impl Observer for Diary {
    fn observe(&mut self, notice: Notice) {
        let word = match notice {
            Notice::Connected { .. } => "connected",
            Notice::Disconnected { .. } => "disconnected",
            _ => return,
        };
        self.0.lock().unwrap().push((word, Instant::now()));
    }
}

impl Diary {
    fn words(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().iter().map(|(word, _)| *word).collect()
    }

    /// From the last goodbye to the connection after it.
    fn away(&self) -> Duration {
        let diary = self.0.lock().unwrap();
        let last = |wanted: &str| diary.iter().rev().find(|(word, _)| *word == wanted).unwrap().1;
        last("connected").duration_since(last("disconnected"))
    }
}

fn settings(targets: &[&str]) -> ClientSettings {
    let token = token::mint(SECRET, "ada", Duration::from_secs(60)).unwrap();
    let mut settings = ClientSettings::new(ConnectOptions::new(targets[0], token));
    settings.targets = targets.iter().map(|target| (*target).to_owned()).collect();
    settings.backoff_min = Duration::from_millis(1);
    settings
}

/// A door before a node: sends so many away with these headers, then lets everybody through.
async fn door(node: &FakeNode, refusals: usize, headers: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/v1/ws", listener.local_addr().unwrap());
    let behind = node.url.trim_start_matches("ws://").trim_end_matches("/v1/ws").to_owned();
    tokio::spawn(async move {
        for number in 0.. {
            let (mut client, _) = listener.accept().await.unwrap();
            let behind = behind.clone();
            tokio::spawn(async move {
                if number >= refusals {
                    let mut node = TcpStream::connect(behind).await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut node).await;
                    return;
                }
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    client.read_buf(&mut request).await.unwrap();
                }
                let answer = format!("HTTP/1.1 503 Service Unavailable\r\n{headers}Content-Length: 0\r\n\r\n");
                client.write_all(answer.as_bytes()).await.unwrap();
            });
        }
    });
    url
}

#[tokio::test]
async fn a_node_that_is_busy_is_waited_for_as_it_asks() {
    let node = start(Misbehaviour::None).await;
    for (headers, least_ms) in
        [("Retry-After: 1\r\nretry-after-ms: 200\r\n", 3 * 200), ("Retry-After: 1\r\n", 3 * 1000)]
    {
        let url = door(&node, 3, headers).await;
        let diary = Diary::default();
        let began = Instant::now();
        let client = Client::connect(settings(&[&url]), diary.clone()).await.unwrap();
        let took = began.elapsed();
        assert!(took >= Duration::from_millis(least_ms), "{took:?}");
        assert!(took < Duration::from_millis(least_ms) + PATIENCE / 2, "{took:?}");
        client.close().await;
        assert_eq!(diary.words()[0], "connected");
        assert!(!diary.words()[1..].contains(&"connected"), "{:?}", diary.words());
    }
}

#[tokio::test]
async fn a_client_that_comes_back_to_a_busy_node_waits_as_it_asks() {
    let node = start(Misbehaviour::None).await;
    let open = door(&node, 0, "").await;
    let busy = door(&node, 2, "Retry-After: 1\r\nretry-after-ms: 300\r\n").await;
    let diary = Diary::default();
    // The line is cut, so the other target is next: that one is busy, and so is not the first one.
    let client = Client::connect(settings(&[&open, &busy]), diary.clone()).await.unwrap();
    assert!(eventually(PATIENCE, || diary.words() == ["connected"]).await);
    client.cut();
    assert!(eventually(PATIENCE, || diary.words().len() == 3).await, "{:?}", diary.words());
    assert!(diary.away() >= Duration::from_millis(300), "{:?}", diary.away());
    client.close().await;
}

#[tokio::test]
async fn after_a_drain_a_client_goes_to_the_next_node_when_it_was_told_to() {
    let (first, second) = (start(Misbehaviour::None).await, start(Misbehaviour::None).await);
    let diary = Diary::default();
    let client = Client::connect(settings(&[&first.url, &second.url]), diary.clone()).await.unwrap();
    assert_eq!((first.connections(), second.connections()), (1, 0));
    first.send_away(400);
    assert!(eventually(PATIENCE, || diary.words() == ["connected", "disconnected", "connected"]).await);
    assert!(diary.away() >= Duration::from_millis(400), "it came back after {:?}", diary.away());
    assert_eq!((first.connections(), second.connections()), (1, 1));
    client.create_room(&RoomId::new("lobby").unwrap(), Visibility::Public).await.unwrap();
    // And round to the first one again.
    second.send_away(0);
    assert!(eventually(PATIENCE, || first.connections() == 2).await);
    client.close().await;
}

#[tokio::test]
async fn a_node_that_is_not_there_is_passed_over() {
    let node = start(Misbehaviour::None).await;
    let gone = FakeNode::at("ws://127.0.0.1:1/v1/ws");
    let diary = Diary::default();
    let client = Client::connect(settings(&[&gone.url, &node.url]), diary.clone()).await.unwrap();
    assert!(eventually(PATIENCE, || diary.words() == ["connected"]).await);
    client.cut();
    assert!(eventually(PATIENCE, || node.connections() == 2).await);
    client.close().await;
    assert!(Client::connect(settings(&[&gone.url, &gone.url]), Diary::default()).await.is_err());
}
