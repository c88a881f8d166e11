//! The transcript in docs/protocol.md, replayed word for word against a real node.

use std::collections::{HashMap, VecDeque};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::node::{PATIENCE, TestNode};

/// Placeholders that may be another value each time.
const ANY: [&str; 2] = ["<at_ms>", "<expires>"];

type Values = HashMap<String, Value>;

#[derive(Default)]
struct Side {
    socket: Option<WebSocketStream<TcpStream>>,
    unread: VecDeque<Value>,
}

fn transcript() -> Vec<String> {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md")).unwrap();
    let block = document.split("```transcript\n").nth(1).unwrap().split("```").next().unwrap();
    block.lines().map(str::to_owned).collect()
}

/// Compares with a line that holds placeholders; binds those that are seen for the first time.
fn matches(pattern: &Value, value: &Value, values: &mut Values) -> bool {
    match (pattern, value) {
        (Value::String(name), value) if name.starts_with('<') && name.ends_with('>') => {
            ANY.contains(&name.as_str()) || values.entry(name.clone()).or_insert_with(|| value.clone()) == value
        }
        (Value::Object(pattern), Value::Object(value)) => {
            pattern.len() == value.len()
                && pattern
                    .iter()
                    .all(|(key, pattern)| value.get(key).is_some_and(|value| matches(pattern, value, values)))
        }
        (Value::Array(pattern), Value::Array(value)) => {
            pattern.len() == value.len()
                && pattern.iter().zip(value).all(|(pattern, value)| matches(pattern, value, values))
        }
        (pattern, value) => pattern == value,
    }
}

fn fill_in(text: &str, values: &Values) -> String {
    values.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("\"{name}\""), &value.to_string()))
}

/// Frames of one key come in order: an answer by its request, the others by their stream.
fn key(frame: &Value) -> String {
    let (kind, content) = frame.as_object().unwrap().iter().next().unwrap();
    match kind.as_str() {
        "ok" | "error" => format!("answer {}", content["id"]),
        "event" | "reset" => format!("stream {}", content["stream"]),
        _ => kind.clone(),
    }
}

impl Side {
    async fn send(&mut self, node: &TestNode, text: &str) {
        if self.socket.is_none() {
            let socket = TcpStream::connect(node.address()).await.unwrap();
            self.socket = Some(tokio_tungstenite::client_async(node.url(), socket).await.unwrap().0);
        }
        self.socket.as_mut().unwrap().send(Message::text(text)).await.unwrap();
    }

    async fn read(&mut self, line: &str) {
        let next = self.socket.as_mut().unwrap().next();
        let message = tokio::time::timeout(PATIENCE, next).await.unwrap_or_else(|_| panic!("did not come: {line}"));
        if let Message::Text(text) = message.unwrap().unwrap() {
            self.unread.push_back(serde_json::from_str(&text).unwrap());
        }
    }

    /// The next frame with this key.
    async fn take(&mut self, wanted: &str, line: &str) -> Value {
        loop {
            if let Some(index) = self.unread.iter().position(|frame| key(frame) == wanted) {
                return self.unread.remove(index).unwrap();
            }
            self.read(line).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_transcript_of_the_protocol_is_what_happens() {
    let node = TestNode::start(|_| {}).await;
    let mut values: Values = HashMap::from([
        ("<token_a>".to_owned(), json!(node.token("anna"))),
        ("<token_b>".to_owned(), json!(node.token("ben"))),
    ]);
    let lines = transcript();
    assert!(lines.len() > 20);
    let mut sides: HashMap<char, Side> = HashMap::new();
    // Events that one side is shown may come to the other unshown.
    let shown: Vec<(char, Value)> = lines
        .iter()
        .filter(|line| line[1..].starts_with("< {\"event\""))
        .map(|line| (line.chars().next().unwrap(), serde_json::from_str(&line[3..]).unwrap()))
        .collect();
    for line in &lines {
        let who = line.chars().next().unwrap();
        let side = sides.entry(who).or_default();
        let (direction, text) = (&line[1..2], &line[3..]);
        match direction {
            ">" if text == "close" => *side = Side::default(),
            ">" => side.send(&node, &fill_in(text, &values)).await,
            _ => {
                let pattern: Value = serde_json::from_str(text).unwrap();
                loop {
                    let frame = side.take(&key(&pattern), line).await;
                    let mut bound = values.clone();
                    if matches(&pattern, &frame, &mut bound) {
                        values = bound;
                        break;
                    }
                    let of_other =
                        shown.iter().any(|(other, shown)| *other != who && matches(shown, &frame, &mut values.clone()));
                    assert!(of_other, "expected {pattern}\n  and got {frame}");
                }
            }
        }
    }
}
