//! Goal: scripts can trust the exit code. Method: the tool itself, against a node in memory.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../client/tests/fake_node/mod.rs"]
mod fake_node;

use std::process::{Command, Output};
use std::time::Duration;

use fake_node::{FakeNode, Misbehaviour, SECRET, eventually, start};

/// Runs that a busy machine starved, and that therefore judge nothing, are done again this often.
const STARVED_RUNS_MAX: usize = 20;
/// What the tool says when it was starved itself.
const BOTTLENECK: i32 = 4;

/// Runs the tool with small numbers until the machine lets it judge.
async fn loadtest(node: &FakeNode, more: &[&str]) -> Output {
    for _ in 1..STARVED_RUNS_MAX {
        let output = loadtest_once(node, more).await;
        if output.status.code() != Some(BOTTLENECK) {
            return output;
        }
    }
    loadtest_once(node, more).await
}

/// Runs the tool on another thread: the node lives on this one.
async fn loadtest_once(node: &FakeNode, more: &[&str]) -> Output {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), SECRET).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(more).arg("--target").arg(&node.url).arg("--secret-file").arg(secret.path());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    // The secret must be there until the tool has ended.
    drop(secret);
    output
}

const CHAT: [&str; 9] = ["chat", "--rooms", "3", "--members", "3", "--rate", "100", "--duration", "1s"];

fn code(output: &Output) -> i32 {
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output.status.code().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_chat_passes_and_says_everything_in_json() {
    let node = start(Misbehaviour::None).await;
    let report = tempfile::NamedTempFile::new().unwrap();
    let more = ["--json", report.path().to_str().unwrap(), "--codec", "postcard", "--seed", "7"];
    let output = loadtest(&node, &[&CHAT[..], &more].concat()).await;
    assert_eq!(code(&output), 0);
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report.path()).unwrap()).unwrap();
    assert_eq!(report["settings"]["seed"], 7);
    assert_eq!(report["outcome"], "pass");
    assert_eq!(report["ledger"]["counts"]["acknowledged"], 100);
    assert_eq!(report["delivered"], 300);
    assert!(report["metrics"]["delivery"]["p99_us"].as_u64().is_some_and(|value| value > 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_threshold_is_3_and_a_wrong_one_is_2() {
    let node = start(Misbehaviour::None).await;
    assert_eq!(code(&loadtest(&node, &[&CHAT[..], &["--threshold", "delivery.p50<1us"]].concat()).await), 3);
    assert_eq!(code(&loadtest(&node, &[&CHAT[..], &["--threshold", "delay.p50<1us"]].concat()).await), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_promise_is_5() {
    let node = start(Misbehaviour::AcknowledgesWhatItDoesNotKeep).await;
    assert_eq!(code(&loadtest(&node, &CHAT).await), 5);
}

/// The node in memory refuses everything about tasks: messages alone prove nothing about them.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_tasks_in_which_none_was_changed_is_6() {
    let node = start(Misbehaviour::None).await;
    let report = tempfile::NamedTempFile::new().unwrap();
    let output =
        loadtest(&node, &[&["tasks"], &CHAT[1..], &["--json", report.path().to_str().unwrap()]].concat()).await;
    assert_eq!(code(&output), 6);
    assert!(String::from_utf8_lossy(&output.stdout).contains("no change of a task was committed"));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report.path()).unwrap()).unwrap();
    assert_eq!((&report["outcome"], &report["scenario"]["task_changes"]), (&"invalid".into(), &0.into()));
    assert!(report["ledger"]["counts"]["acknowledged"].as_u64().is_some_and(|count| count > 0), "messages were taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_there_is_1() {
    let node = start(Misbehaviour::None).await;
    let gone = FakeNode::at(&node.url);
    drop(node);
    let free =
        || std::net::TcpStream::connect(gone.url.trim_start_matches("ws://").trim_end_matches("/v1/ws")).is_err();
    assert!(eventually(Duration::from_secs(10), free).await);
    assert_eq!(code(&loadtest(&gone, &CHAT).await), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn reconnects_are_measured_to_the_end_of_the_sync() {
    let node = start(Misbehaviour::None).await;
    let more = ["reconnect", "--rooms", "3", "--missed", "4", "--reconnects", "5"];
    let output = loadtest(&node, &[&more[..], &["--threshold", "sync.max<30s"]].concat()).await;
    assert_eq!(code(&output), 0);
    assert!(String::from_utf8_lossy(&output.stdout).contains("5 reconnects"));
}
