//! Clients written from the document alone: one talks while its node dies, one tells the story of a team that gets things done.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::process::{NodeProcess, READY_WITHIN, Settings};
use crate::tool::Tool;

const PHASE_WITHIN: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_a_stock_python_client_talks_and_resumes_after_kill_9() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut node = NodeProcess::spawn_ready(Settings::new(directory.path())).await;
    let mut command = script("talk.py", &node);
    command.args(["--messages", "200", "--restarts", "1"]);
    let mut talk = Tool::spawn("talk", directory.path(), &mut command);
    wait_for_phase(&mut talk, "talking").await;
    node.kill9();
    node.start();
    node.wait_ready(READY_WITHIN).await;
    wait_for_phase(&mut talk, "resumed").await;
    let verdict = wait_for_phase(&mut talk, "verdict").await;
    println!("{verdict}");
    let status = talk.wait_exit(PHASE_WITHIN).await;
    assert!(status.success(), "the stock client is not content ({status}): {verdict:#}");
    assert_eq!((&verdict["ok"], &verdict["bit"]), (&Value::Bool(true), &Value::Bool(true)), "{verdict:#}");
}

/// "Book the room, tell the team, and give Anna the report": one `resolve`, one `actions`, and it appears on everyone's screen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_a_stock_python_client_tells_a_team_what_to_do_and_everyone_sees_it() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let node = NodeProcess::spawn_ready(Settings::new(directory.path())).await;
    let mut story = Tool::spawn("story", directory.path(), &mut script("story.py", &node));
    let verdict = wait_for_phase(&mut story, "verdict").await;
    println!("{verdict}");
    let status = story.wait_exit(PHASE_WITHIN).await;
    assert!(status.success(), "the story did not go as the document says ({status}): {verdict:#}");
    assert_eq!(verdict["ok"], Value::Bool(true), "{verdict:#}");
}

/// A script of `tests/stock_client`, for this node.
fn script(name: &str, node: &NodeProcess) -> Command {
    let mut command = Command::new(python());
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stock_client").join(name));
    command.args(["--url", &node.settings.url(), "--secret-file"]).arg(node.settings.secret_file());
    command
}

async fn wait_for_phase(talk: &mut Tool, phase: &str) -> Value {
    let said = |line: &str| serde_json::from_str::<Value>(line).ok();
    let wanted = |line: &str| said(line).is_some_and(|said| said["phase"] == phase);
    let line = talk.wait_for_line(&format!("phase {phase:?}"), PHASE_WITHIN, wanted).await;
    said(&line).expect("it was JSON a moment ago")
}

/// The interpreter that has the `websockets` package.
fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
    let ours = [root.join("target/venv/bin/python"), target.join("venv/bin/python")];
    let candidates = ours.into_iter().chain([PathBuf::from("python3")]);
    let has_it = |python: &PathBuf| {
        let asked = std::process::Command::new(python).args(["-c", "import websockets"]).stderr(Stdio::null()).status();
        asked.is_ok_and(|status| status.success())
    };
    candidates.into_iter().find(has_it).expect(
        "no Python has the websockets package; in the project's folder: \
         python3 -m venv target/venv && target/venv/bin/pip install websockets==17.4",
    )
}
