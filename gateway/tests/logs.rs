//! No log line, whatever its level, holds a token or the text of a message. In its own process: it captures all logs.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "the kit serves other test binaries too")]

#[path = "support/fault_store.rs"]
mod fault_store;
#[path = "support/node.rs"]
mod node;
#[path = "support/seat.rs"]
mod seat;

use std::io;
use std::sync::{Arc, Mutex};

use serde_json::json;
use tracing_subscriber::fmt::MakeWriter;

use crate::fault_store::Commits;
use crate::node::{PATIENCE, TestNode, http_get};

/// Keeps everything that is written.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl io::Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Kept {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_log_line_holds_a_token_or_the_text_of_a_message() {
    let kept = Kept::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(kept.clone())
        .with_ansi(false)
        .try_init()
        .expect("nobody else listens to the logs of this process");
    let (node, store) = TestNode::start_with_faults(|config| config.limits.store_timeout_ms = 500).await;
    let mut secrets = vec!["the-secret-text".to_owned(), "the-secret-meta".to_owned()];
    secrets.push(String::from_utf8(node::SECRET.to_vec()).unwrap());
    for user in ["ada", "ben"] {
        secrets.push(node.token(user));
    }
    let expired = node.token_with("ada", "read", 1);
    secrets.push(expired.clone());

    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    let mut ben = node.connect("ben").await;
    ben.join("lobby").await;
    let message = json!({"nonce": "n", "room": "lobby", "text": "the-secret-text", "meta": {"a": "the-secret-meta"}});
    let id = ada.done("message.send", message.clone()).await["id"].clone();
    let conflict = json!({"nonce": "n", "room": "lobby", "text": "the-secret-text again"});
    ada.ask("message.send", conflict).await.unwrap_err();
    ada.done("message.edit", json!({"room": "lobby", "id": id, "text": "the-secret-text, edited"})).await;
    ada.done("signal", json!({"room": "lobby", "name": "s", "data": {"a": "the-secret-meta"}})).await;
    ada.done("message.history", json!({"room": "lobby", "direction": "older"})).await;
    // What cannot be read, is refused, fails or times out is logged the most.
    let unreadable = r#"{"id":1,"command":{"message.send":{"text":"the-secret-text"#;
    ada.connection.send_text(unreadable).await.unwrap();
    ada.connection.send_text(r#"{"id":1,"command":{"the-secret-text":{}}}"#).await.unwrap();
    ada.done("auth.refresh", json!({"token": node.token("ada")})).await;
    ada.ask("auth.refresh", json!({"token": expired})).await.unwrap_err();
    ada.ask("auth.refresh", json!({"token": node.token("ben")})).await.unwrap_err();
    for fault in [Commits::FailBefore, Commits::FailAfter, Commits::WaitBefore] {
        store.commits(fault);
        let failing = json!({"room": "lobby", "text": "the-secret-text"});
        ada.ask("message.send", failing).await.unwrap_err();
    }
    store.commits(Commits::Work);
    let header = format!("Authorization: Bearer {}", node.token("ada"));
    http_get(node.address(), "/v1/ws", &[&header]).await;
    http_get(node.address(), &format!("/v1/ws?token={}", node.token("ada")), &[]).await;
    let mut options = node.options("ada");
    options.token = expired;
    let mut refused = loadtest_client::Connection::connect(&options).await.unwrap();
    refused.hello(&options).await.unwrap_err();
    refused.wait_for_end(PATIENCE).await.unwrap();
    drop((ada, ben));
    node.drain().await;

    let text = String::from_utf8_lossy(&kept.0.lock().unwrap()).into_owned();
    assert!(text.contains("listening") && text.contains("drained") && text.contains("DEBUG"), "{} bytes", text.len());
    for secret in secrets {
        let line = text.lines().find(|line| line.contains(&secret));
        assert!(line.is_none(), "a log line holds a secret: {}", line.unwrap());
    }
}
