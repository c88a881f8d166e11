//! What the kernel was asked: every acknowledgement follows an fdatasync of the write-ahead log.
//!
//! A kill cannot see a missing sync, for the kernel keeps what was written; strace can. The same check is run on a node
//! whose store does not sync (a fault that only builds for tests can switch on), and must then fail.

mod trace;

use std::process::{Command, Stdio};
use std::time::Duration;

use hallway_protocol::{RoomId, Visibility};
use loadtest_client::{Client, ClientSettings, ConnectOptions, Notice, Observer, token};

use crate::process::{NodeProcess, Settings};

const MESSAGES: usize = 25;
const ENDS_WITHIN: Duration = Duration::from_secs(60);

struct Nobody;

impl Observer for Nobody {
    fn observe(&mut self, _notice: Notice) {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_every_acknowledgement_of_the_embedded_store_follows_an_fdatasync_of_the_wal() {
    let kept = traced_conversation(&[]).await;
    let report = trace::check(&kept, &texts());
    println!("as it is: {report:?}");
    assert_eq!(report.faults, Vec::<String>::new());
    assert_eq!(report.proven, MESSAGES, "the trace does not show every message");

    let lost = traced_conversation(&[("HALLWAY_FAULT", "sqlite-sync-off")]).await;
    let report = trace::check(&lost, &texts());
    println!("without syncs: {} proven, {} faults", report.proven, report.faults.len());
    assert_eq!(report.proven, 0, "the check is blind: it is content with a store that does not sync");
    assert_eq!(report.faults.len(), MESSAGES, "{report:?}");
}

#[test]
fn heavy_a_build_that_serves_cannot_have_faults() {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo)
        .args(["tree", "--offline", "--locked", "--package", "hallway-gateway"])
        .args(["--edges", "features,no-dev", "--invert", "hallway-store"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .output()
        .expect("cargo can be run");
    let tree = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && tree.contains("hallway-gateway"), "{output:?}");
    for feature in ["fault-injection", "conformance", "sabotage"] {
        assert!(!tree.contains(feature), "a plain build has the feature {feature}:\n{tree}");
    }
}

fn texts() -> Vec<String> {
    // As long as each other, so that none is the beginning of another.
    (0..MESSAGES).map(|number| format!("needle-{number:04}-in-the-log")).collect()
}

/// Sends the messages one by one to a node under strace, and returns the trace.
async fn traced_conversation(environment: &[(&str, &str)]) -> String {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let trace = directory.path().join("trace");
    let mut settings = Settings::new(directory.path());
    // -D: the node is our child and strace is not; -y: the trace shows the path of each file.
    let words = ["strace", "-D", "-f", "-y", "-s", "5000", "-e"];
    settings.wrapper = words.map(str::to_owned).to_vec();
    settings.wrapper.push("trace=fsync,fdatasync,write,writev,pwrite64,sendto,sendmsg".to_owned());
    settings.wrapper.extend(["-o".to_owned(), trace.display().to_string()]);
    for (name, value) in environment {
        settings = settings.with(name, value);
    }
    let mut node = NodeProcess::spawn_ready(settings).await;
    let token = token::mint(&node.settings.secret(), "ada", Duration::from_secs(3600)).expect("a token can be signed");
    let mut settings = ClientSettings::new(ConnectOptions::new(node.settings.url(), token));
    settings.reconnect = false;
    let client = Client::connect(settings, Nobody).await.expect("a ready node takes a client");
    let room = RoomId::new("traced").expect("a room's name");
    client.create_room(&room, Visibility::Public).await.expect("a new room");
    for text in texts() {
        client.send_message(&room, text).await.expect("an acknowledgement");
    }
    client.close().await;
    node.terminate();
    let status = node.wait_exit(ENDS_WITHIN).await;
    assert_eq!(status.code(), Some(0), "the node under strace ended with {status}");
    read_to_its_end(&trace).await
}

/// The tracer writes its last lines after the node's end.
async fn read_to_its_end(trace: &std::path::Path) -> String {
    let until = std::time::Instant::now() + ENDS_WITHIN;
    loop {
        let text = String::from_utf8_lossy(&std::fs::read(trace).expect("strace writes its file")).into_owned();
        if text.trim_end().ends_with("+++ exited with 0 +++") {
            return text;
        }
        assert!(std::time::Instant::now() < until, "the trace does not end");
        tokio::time::sleep(crate::process::LOOK_PAUSE).await;
    }
}
