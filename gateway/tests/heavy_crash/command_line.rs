//! The command line, as it is typed.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::process::{BINARY, NodeProcess, Settings, free_address};
use crate::tool::Tool;

const WITHIN: Duration = Duration::from_secs(30);

fn talk_command(settings: &Settings, words: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(words).args(["--target", &settings.url()]).arg("--data-dir").arg(&settings.data_dir);
    command
}

fn run(command: &mut Command) -> (Output, String) {
    let output = command.stdin(Stdio::null()).output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_what_one_terminal_sends_another_one_shows() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let node = NodeProcess::spawn_ready(Settings::new(directory.path())).await;
    let mut tail = Tool::spawn("tail", directory.path(), &mut talk_command(&node.settings, &["tail", "lobby"]));
    tail.wait_for_line("that it is in the room", WITHIN, |line| line.starts_with("in room lobby")).await;
    for number in 1..=3 {
        let text = format!("hello number {number}");
        let (output, said) = run(&mut talk_command(&node.settings, &["send", "lobby", &text, "--user", "ada"]));
        assert!(output.status.success(), "send failed: {said}");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(printed.starts_with("acknowledged: lobby #"), "send said {printed:?}");
        let shown = format!("ada: {text}");
        tail.wait_for_line(&shown, WITHIN, |line| line.ends_with(&shown)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_people_are_acted_on_from_a_terminal() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let node = NodeProcess::spawn_ready(Settings::new(directory.path())).await;
    let say = |words: &[&str]| {
        let (output, said) = run(&mut talk_command(&node.settings, words));
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned(), said)
    };
    let done = |words: &[&str], shown: &str| {
        let (code, printed, said) = say(words);
        assert_eq!(code, Some(0), "{words:?} failed: {said}");
        assert!(printed.contains(shown), "{words:?} printed {printed:?}, not {shown:?}");
        printed
    };
    done(&["send", "lobby", "mine", "--user", "ada"], "acknowledged");
    done(&["send", "lobby", "hello", "--user", "ben"], "acknowledged");
    done(
        &["room", "mute", "lobby", "ben", "--for", "1h", "--reason", "shouting", "--user", "ada"],
        "ben is muted in lobby",
    );
    let (code, _, said) = say(&["send", "lobby", "HELLO", "--user", "ben"]);
    assert!(code == Some(1) && said.contains("muted"), "{code:?}: {said}");
    done(&["room", "unmute", "lobby", "ben", "--user", "ada"], "not muted any more");
    done(&["room", "kick", "lobby", "ben", "--user", "ada"], "ben is removed from lobby");
    done(&["room", "ban", "lobby", "ben", "--reason", "spam", "--user", "ada"], "ben is banned from lobby");
    done(&["room", "bans", "lobby", "--user", "ada"], "ben until unbanned, by ada");
    let (code, _, said) = say(&["room", "kick", "lobby", "ada", "--user", "ben"]);
    assert!(code == Some(1) && said.contains("not_a_member"), "{code:?}: {said}");
    done(&["room", "unban", "lobby", "ben", "--user", "ada"], "not banned any more");
    let listed = done(&["session", "list", "--user", "ada"], "(this one)");
    let session = listed.split(' ').next().expect("a session");
    done(&["session", "revoke", session, "--user", "ada"], "is revoked");
    done(&["user", "revoke", "ben", "--reason", "lost phone"], "ben's sessions and tokens are revoked");
    let record = done(&["audit", "--of", "ben"], "cli user.revoke ben: lost phone");
    let actions: Vec<&str> = record.lines().filter_map(|line| line.split(' ').nth(3)).collect();
    let expected = ["user.revoke", "room.unban", "room.ban", "room.kick", "room.unmute", "room.mute"];
    assert_eq!(actions, expected, "{record}");
    let (code, _, said) = say(&["room", "ban", "lobby", "ben", "--for", "soon"]);
    assert!(code == Some(2) && said.contains("30s, 15m, 1h or 7d"), "{code:?}: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_a_second_node_on_the_same_data_is_refused() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let node = NodeProcess::spawn_ready(Settings::new(directory.path())).await;
    let mut other = node.settings.clone();
    (other.listen, other.admin_listen) = (free_address(), free_address());
    let (output, said) = run(&mut other.command());
    assert!(!output.status.success(), "two nodes serve the same data");
    let data_dir = node.settings.data_dir.display().to_string();
    for words in ["is in use by process", "--data-dir", &data_dir] {
        assert!(said.contains(words), "the refusal does not say {words:?}: {said}");
    }
    assert!(node.is_ready().await, "the first node suffered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_development_mode_refuses_to_listen_beyond_loopback() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut settings = Settings::new(directory.path());
    settings.listen.set_ip(std::net::Ipv4Addr::UNSPECIFIED.into());
    let (output, said) = run(&mut settings.command());
    assert!(!output.status.success(), "a development node listens on every address");
    let address = settings.listen.to_string();
    for words in ["development mode", "127.0.0.1", &address, "--listen"] {
        assert!(said.contains(words), "the refusal does not say {words:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_an_unknown_key_is_refused_with_the_one_that_was_meant() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("hallway.toml");
    std::fs::write(&file, "[server]\nlistne = \"127.0.0.1:1\"\n").expect("a configuration file");
    let (output, said) = run(Settings::new(directory.path()).command().arg("--config").arg(&file));
    assert!(!output.status.success(), "an unknown key was taken");
    for words in ["listne", "did you mean", "listen", "hallway.toml"] {
        assert!(said.contains(words), "the refusal does not say {words:?}: {said}");
    }
}
