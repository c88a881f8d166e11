//! Goal: the raw driver's verdict can be trusted. Method: the tool itself with its worker processes, against a node in
//! memory that keeps its word or breaks it in one way.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../client/tests/fake_node/mod.rs"]
mod fake_node;

use std::process::{Command, Output};
use std::time::Duration;

use fake_node::{FakeNode, Misbehaviour, SECRET, eventually, start};

const FANOUT: [&str; 9] = ["fanout", "--rooms", "2", "--members", "5", "--duration", "300ms", "--warmup", "100ms"];

/// Runs the tool on another thread: the node lives on this one.
async fn loadtest(node: &FakeNode, more: &[&str]) -> Output {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), SECRET).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadtest"));
    command.args(more).arg("--target").arg(&node.url).arg("--secret-file").arg(secret.path());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    drop(secret);
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_saturated_run_counts_times_and_checks_every_delivery() {
    let node = start(Misbehaviour::None).await;
    let report = tempfile::NamedTempFile::new().unwrap();
    let own = std::process::id().to_string();
    let more =
        ["--json", report.path().to_str().unwrap(), "--outstanding", "8", "--server-pid", &own, "--workers", "2"];
    let output = loadtest(&node, &[&FANOUT[..], &more].concat()).await;
    assert_eq!(output.status.code(), Some(0));
    assert!(said(&output).contains("ledger: clean"));
    assert!(said(&output).contains("12 connections in 2 workers"));
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report.path()).unwrap()).unwrap();
    let (published, received) = (&report["ledger"]["published"], &report["ledger"]["received"]);
    assert!(published.as_u64().is_some_and(|count| count > 0));
    assert_eq!(received.as_u64(), published.as_u64().map(|count| count * 5));
    assert!(report["measured"]["p50_us"].as_u64().is_some_and(|value| value > 0));
    assert!(report["measured"]["cpu"]["total_s"].as_f64().is_some_and(|value| value > 0.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn durable_messages_of_the_members_in_either_codec_are_clean() {
    let node = start(Misbehaviour::None).await;
    for codec in ["json", "postcard"] {
        let more = ["--durable", "--senders", "members", "--outstanding", "4", "--codec", codec];
        let output = loadtest(&node, &[&FANOUT[..], &more].concat()).await;
        assert_eq!(output.status.code(), Some(0), "{codec}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_loses_repeats_reorders_or_tells_strangers_is_5_and_the_invariant_is_named() {
    let lies = [
        (Misbehaviour::Loses, "--signal", "I1 no loss"),
        (Misbehaviour::RepeatsOnTheWire, "--signal", "I3 no duplicate"),
        (Misbehaviour::Reorders, "--durable", "I4 one order"),
        (Misbehaviour::TellsStrangers, "--signal", "I8 authorization"),
    ];
    for (lie, kind, invariant) in lies {
        let node = start(lie).await;
        let output = loadtest(&node, &[&FANOUT[..], &["--rate", "200", kind]].concat()).await;
        assert_eq!(output.status.code(), Some(5), "{lie:?}");
        assert!(said(&output).contains(&format!("{invariant} broken")), "{lie:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_come_go_come_again_and_hear_one_message_in_each_room() {
    let node = start(Misbehaviour::None).await;
    let steps = ["idle", "--connections", "4,8,12,16,20", "--members", "5", "--rooms-per-connection", "2"];
    let output = loadtest(&node, &[&steps[..], &["--cycles", "2"]].concat()).await;
    assert_eq!(output.status.code(), Some(0));
    // Four groups of five in two rooms each; four hear what the fifth says.
    assert!(said(&output).contains("ledger: 8 published, 32 received"));
    assert_eq!(said(&output).matches("20 connections: 20 came").count(), 2);
    let output =
        loadtest(&node, &[&steps[..], &["--rooms-steps", "1,2,3", "--rooms-connections", "10"]].concat()).await;
    assert_eq!(output.status.code(), Some(0));
    // One, two and three rooms of two groups, and the first of these steps once more, before.
    assert!(said(&output).contains("ledger: 14 published, 56 received"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_there_is_1_and_leaves_no_worker_behind() {
    let node = start(Misbehaviour::None).await;
    let gone = FakeNode::at(&node.url);
    drop(node);
    let free =
        || std::net::TcpStream::connect(gone.url.trim_start_matches("ws://").trim_end_matches("/v1/ws")).is_err();
    assert!(eventually(Duration::from_secs(10), free).await);
    assert_eq!(loadtest(&gone, &FANOUT).await.status.code(), Some(1));
}

#[test]
fn a_worker_ends_with_its_input_and_says_why_it_cannot_work() {
    let worker = Command::new(env!("CARGO_BIN_EXE_loadtest")).arg("worker").stdin(std::process::Stdio::null()).output();
    let output = worker.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).starts_with(r#"{"failed":"#));
}
