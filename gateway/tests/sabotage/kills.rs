//! Nodes as processes: one ends at an exact point, as by kill -9, while those who listen sit at another.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hallway_gateway::sabotage::FailPoint;
use hallway_protocol::{MessageId, Position, RoomId, Seq, StreamId, UserId, Visibility};
use loadtest_client::client::{committed, message};
use loadtest_client::ledger::{Ledger, Opening, Recorder, SessionId};
use loadtest_client::{Client, ClientSettings, ConnectOptions, Connection, Notice, Observer, Step, token};
use loadtest_cluster::TemporaryPostgres;
use tokio::sync::watch;

use super::expect_clean;
use super::process::{NodeProcess, Settings};

/// What is promised of the last message of a room whose writer was killed, and what a loaded machine may make of it.
const PROMISED: Duration = Duration::from_secs(2);
const FAILS_AFTER: Duration = Duration::from_secs(10);
const ENDS_WITHIN: Duration = Duration::from_secs(20);

/// Writes down what a client sees; the newest event of the room, and whether it is in sync.
struct Eyes {
    recorder: Recorder,
    session: SessionId,
    stream: StreamId,
    seen: watch::Sender<(Seq, bool)>,
}

impl Observer for Eyes {
    fn observe(&mut self, notice: Notice) {
        self.recorder.observe(self.session, &notice);
        match &notice {
            Notice::Event { event, step } if event.stream == self.stream && *step != Step::Repeat => {
                self.seen.send_modify(|seen| seen.0 = event.seq);
            }
            Notice::Synced { .. } => self.seen.send_modify(|seen| seen.1 = true),
            _ => {}
        }
    }
}

/// Somebody at a node.
struct Person {
    client: Client,
    session: SessionId,
    seen: watch::Receiver<(Seq, bool)>,
}

struct Scene {
    ledger: Arc<Ledger>,
    room: RoomId,
    stream: StreamId,
}

impl Scene {
    fn options(node: &NodeProcess, user: &str) -> ConnectOptions {
        let token = token::mint(&node.settings.secret(), user, Duration::from_secs(3600)).expect("a token");
        ConnectOptions::new(node.settings.url(), token)
    }

    async fn person(&self, node: &NodeProcess, user: &str, opening: Opening, positions: Vec<Position>) -> Person {
        let mut recorder = self.ledger.recorder();
        let session = recorder.open(&UserId::new(user).unwrap(), opening);
        recorder.starts_at(session, &positions);
        let (seen, inbox) = watch::channel((0, false));
        let mut settings = ClientSettings::new(Self::options(node, user).positions(positions));
        settings.reconnect = opening.final_read_of_node.is_some() || user != "ada";
        let eyes = Eyes { recorder, session, stream: self.stream.clone(), seen };
        let client = Client::connect(settings, eyes).await.expect("a ready node takes a client");
        Person { client, session, seen: inbox }
    }

    async fn final_read(&self, node: &NodeProcess, head: Seq) {
        let (asking, welcome) = Connection::open(&Self::options(node, "bob")).await.expect("a ready node");
        asking.close().await;
        let positions = vec![Position { stream: self.stream.clone(), epoch: welcome.epoch, seq: 0 }];
        let opening = Opening { final_read_of_node: Some(0), limited: false };
        let mut reader = self.person(node, "bob", opening, positions).await;
        reader.reaches(head, FAILS_AFTER).await;
        reader.close().await;
    }
}

impl Person {
    /// How long it took until it saw this event.
    async fn reaches(&mut self, seq: Seq, limit: Duration) -> Duration {
        let began = Instant::now();
        let reached = tokio::time::timeout(limit, self.seen.wait_for(|seen| seen.0 >= seq)).await;
        assert!(reached.is_ok_and(|seen| seen.is_ok()), "{seq} did not come: {:?}", self.seen.borrow());
        began.elapsed()
    }

    async fn close(&mut self) {
        self.client.close().await;
        let ended = tokio::time::timeout(ENDS_WITHIN, async { while self.seen.changed().await.is_ok() {} }).await;
        assert!(ended.is_ok(), "a client does not end");
    }
}

/// The node that is told to end at `point` gets the only message; who listens elsewhere gets it all the same, nobody writing
/// again (if it was committed), and its sender learns its one number by repeating it there.
async fn killed_at(point: FailPoint, is_committed: bool) {
    let postgres = TemporaryPostgres::start().expect("a Postgres of our own");
    let url = postgres.database().await.expect("an empty database");
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let settings = |index: usize| {
        let mut settings = Settings::new(directories[index].path());
        settings.store_url = Some(url.clone());
        settings
    };
    let stays = NodeProcess::spawn_ready(settings(1)).await;
    let mut dies =
        NodeProcess::spawn_ready(settings(0).with("HALLWAY_SABOTAGE", &format!("failpoint:{}=kill", point.name())))
            .await;
    let room = RoomId::new("lobby").unwrap();
    let scene = Scene { ledger: Ledger::new(), stream: StreamId::Room(room.clone()), room };
    scene.ledger.history_is_for_all(scene.stream.clone());
    let mut recorder = scene.ledger.recorder();
    let mut readers = Vec::new();
    for user in ["bob", "carl"] {
        let reader = scene.person(&stays, user, Opening::default(), Vec::new()).await;
        let entered = match user {
            "bob" => reader.client.create_room(&scene.room, Visibility::Public).await,
            _ => reader.client.join(&scene.room).await,
        };
        recorder.joined(&scene.stream, &UserId::new(user).unwrap(), entered.expect("a public room").seq);
        readers.push(reader);
    }
    let visitor = scene.person(&stays, "ada", Opening::default(), Vec::new()).await;
    let user = UserId::new("ada").unwrap();
    let joined = visitor.client.join(&scene.room).await.expect("a public room").seq;
    recorder.joined(&scene.stream, &user, joined);
    for reader in &mut readers {
        reader.reaches(joined, FAILS_AFTER).await;
    }

    let ada = scene.person(&dies, "ada", Opening::default(), Vec::new()).await;
    let (id, text) = (MessageId::generate(), "the last word");
    let said = recorder.invoke(&scene.stream, &user, id, text);
    let command = message(&scene.room, id, text);
    let answer = ada.client.request(command.clone()).await;
    assert!(answer.is_err(), "the node answered, and was to end before: {answer:?}");
    recorder.unknown(said);
    scene.ledger.fault_bit("killed");
    let status = dies.wait_exit(ENDS_WITHIN).await;
    assert!(!status.success(), "the node ended by itself: {status}");
    let died_at = Instant::now();
    if is_committed {
        for reader in &mut readers {
            reader.reaches(joined + 1, FAILS_AFTER).await;
        }
        let took = died_at.elapsed();
        let verdict = if took <= PROMISED { "as promised" } else { "LATER than promised" };
        println!("{}: everybody at the other node had it {took:.1?} after the kill, {verdict}", point.name());
    }
    recorder.retry(said);
    let repeated = visitor.client.request(command).await.and_then(|reply| committed("message.send", reply));
    let repeated = repeated.expect("the other node takes it");
    recorder.ok(said, &repeated);
    assert_eq!((repeated.seq, repeated.repeated), (joined + 1, is_committed), "{repeated:?}");
    for mut reader in readers {
        reader.reaches(repeated.seq, FAILS_AFTER).await;
        recorder.done(reader.session);
        reader.close().await;
    }
    let mut visitor = visitor;
    visitor.close().await;
    drop(ada);
    scene.final_read(&stays, repeated.seq).await;
    drop(recorder);
    expect_clean(&scene.ledger.judge());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_killed_between_commit_and_publish_the_last_message_still_reaches_everybody() {
    killed_at(FailPoint::AfterCommitBeforePublish, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_killed_between_publish_and_acknowledgement_the_last_message_still_reaches_everybody() {
    killed_at(FailPoint::AfterPublishBeforeAcknowledge, true).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_killed_before_the_commit_a_message_is_written_once_when_it_is_repeated() {
    killed_at(FailPoint::BeforeCommit, false).await;
}

#[test]
fn a_build_that_breaks_on_purpose_serves_in_development_mode_only() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef0123456789abcdef").unwrap();
    std::fs::set_permissions(&secret, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let output = std::process::Command::new(super::process::BINARY)
        .args(["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--secret-file"])
        .arg(&secret)
        .arg("--data-dir")
        .arg(directory.path().join("data"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("breaks on purpose"), "{said}");
}
