//! A peer whose host vanished: no FIN, no RST, no answer to anything. In a network namespace of its own the loopback is
//! taken down, so that nothing reaches anybody any more.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::process::{BINARY, LOOK_PAUSE, NodeProcess, READY_WITHIN, Settings};
use crate::tool::Tool;

/// `TCP_USER_TIMEOUT` is the write time-out: how long sent bytes may stay unacknowledged.
const WRITE_TIMEOUT_MS: &str = "2000";
/// Often, so that bytes are under way when the peer vanishes.
const HEARTBEAT_INTERVAL_MS: &str = "500";
/// So late that the test has failed before.
const HEARTBEAT_TIMEOUT_MS: &str = "600000";
const WITHIN: Duration = Duration::from_secs(60);
/// As `/proc/net/tcp` writes it.
const ESTABLISHED: &str = "01";

/// Runs what follows in a new network namespace whose loopback is up; the process stays the same one.
const IN_OWN_NAMESPACE: [&str; 5] = ["unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$@\""];

/// Runs in the network namespace of a process.
fn inside(process: u32, words: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{process}/ns/net")).args(words).stdin(Stdio::null());
    command
}

fn run(mut command: Command) -> Option<String> {
    let output = command.output().expect("the program starts");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One GET to the node's admin address, from inside its namespace.
fn get(node: &NodeProcess, path: &str) -> Option<String> {
    let url = format!("http://{}{path}", node.settings.admin_listen);
    let program = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())";
    run(inside(node.id(), &["python3", "-c", program, &url]))
}

/// Established connections to the node, as its kernel sees them; no network is needed to ask.
fn established(node: &NodeProcess) -> usize {
    let table = std::fs::read_to_string(format!("/proc/{}/net/tcp", node.id())).expect("the node runs");
    let port = format!(":{:04X}", node.settings.listen.port());
    let is_ours = |line: &&str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.len() > 3 && words[1].ends_with(&port) && words[3] == ESTABLISHED
    };
    table.lines().filter(is_ours).count()
}

/// The value of a metric's line that begins like this.
fn value(metrics: &str, begins: &str) -> Option<f64> {
    metrics.lines().find(|line| line.starts_with(begins))?.rsplit(' ').next()?.parse().ok()
}

async fn wait_until(what: &str, is_so: impl Fn() -> bool) -> Duration {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < WITHIN, "in vain waited for {what}");
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_a_dead_peer_is_ended_by_tcp_user_timeout() {
    let namespace = Command::new("unshare").args(["--net", "ip", "link", "set", "lo", "up"]).output();
    if !namespace.as_ref().is_ok_and(|output| output.status.success()) {
        println!(
            "SKIPPED: a network namespace cannot be made here ({namespace:?}); run the tests as root, with iproute2"
        );
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut settings = Settings::new(directory.path())
        .with("HALLWAY__LIMITS__WRITE_TIMEOUT_MS", WRITE_TIMEOUT_MS)
        .with("HALLWAY__LIMITS__HEARTBEAT_INTERVAL_MS", HEARTBEAT_INTERVAL_MS)
        .with("HALLWAY__LIMITS__HEARTBEAT_TIMEOUT_MS", HEARTBEAT_TIMEOUT_MS);
    // The last word is what the shell calls itself.
    settings.wrapper = IN_OWN_NAMESPACE.iter().chain(&["sh"]).map(|word| (*word).to_owned()).collect();
    let node = NodeProcess::spawn(settings);
    let began = Instant::now();
    while get(&node, "/readyz").is_none() {
        assert!(began.elapsed() < READY_WITHIN, "the node was not ready within {READY_WITHIN:?}");
        tokio::time::sleep(LOOK_PAUSE).await;
    }

    let url = node.settings.url();
    let data_dir = node.settings.data_dir.display().to_string();
    let words = [BINARY, "tail", "lobby", "--target", &url, "--data-dir", &data_dir];
    let mut peer = Tool::spawn("peer", directory.path(), &mut inside(node.id(), &words));
    peer.wait_for_line("that it is in the room", WITHIN, |line| line.starts_with("in room lobby")).await;
    assert_eq!(established(&node), 1, "the peer is connected");

    let link = |state| run(inside(node.id(), &["ip", "link", "set", "lo", state])).expect("the link obeys");
    link("down");
    // With its host it vanishes: whatever its kernel says at its end gets nowhere.
    drop(peer);
    let took = wait_until("the end of the connection", || established(&node) == 0).await;
    println!("the kernel ended it {took:.1?} after the peer vanished");

    link("up");
    let mut metrics = String::new();
    let began = Instant::now();
    while value(&metrics, "hallway_connections_open") != Some(0.0) {
        assert!(began.elapsed() < WITHIN, "the node keeps a connection that its kernel ended:\n{metrics}");
        metrics = get(&node, "/metrics").unwrap_or_default();
    }
    let closed: Vec<&str> =
        metrics.lines().filter(|line| line.starts_with("hallway_connections_closed_total{")).collect();
    for line in &closed {
        let expected = if line.contains("reason=\"lost\"") { "1" } else { "0" };
        assert_eq!(line.rsplit(' ').next(), Some(expected), "only the kernel ended anything: {closed:#?}");
    }
    assert!(closed.iter().any(|line| line.contains("reason=\"lost\"")), "the line was lost: {metrics}");
}
