//! SIGTERM: a node that leaves on purpose.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use hallway_protocol::codec::Received;
use hallway_protocol::{CloseCode, MessageId, RoomId, ServerFrame, Visibility};
use loadtest_client::client::{committed, message};
use loadtest_client::{Client, ClientError, ClientSettings, ConnectOptions, Connection, Observer, token};
use loadtest_cluster::TemporaryPostgres;
use tokio::task::JoinSet;

use crate::process::{NodeProcess, READY_WITHIN, Settings};

const CLIENTS: usize = 10_000;
/// So many of them are in the room where something is said.
const IN_THE_HALL: usize = 300;
/// One in this many of those never reads.
const CLIENTS_PER_SLEEPER: usize = 30;
/// Clients that say hello at the same time.
const ENTERING_AT_ONCE: usize = 64;
const MESSAGES: usize = 60;
/// Much more than the kernel keeps for a reader that sleeps, all messages together.
const TEXT_BYTES: usize = 8 * 1024;
const DRAIN_DEADLINE: Duration = Duration::from_secs(20);
/// For the process to hear of the signal, and to end.
const SLACK: Duration = Duration::from_secs(3);
/// How many clients come back per second, as configured.
const RETURNS_PER_SECOND: usize = 1000;

/// Somebody who only wants answers.
struct Nobody;

impl Observer for Nobody {
    fn observe(&mut self, _notice: loadtest_client::Notice) {}
}

/// What a reader was told at the end.
#[derive(Debug)]
struct Goodbye {
    told: Option<(u16, Option<u64>)>,
    told_at: Instant,
    close_code: Option<u16>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_sigterm_drains_and_says_when_to_come_back() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let deadline_ms = DRAIN_DEADLINE.as_millis().to_string();
    let settings = Settings::new(directory.path()).with("HALLWAY__LIMITS__DRAIN_DEADLINE_MS", &deadline_ms);
    let mut node = NodeProcess::spawn_ready(settings).await;
    let room = RoomId::new("hall").expect("a room's name");
    let mut settings = ClientSettings::new(options(&node.settings, "speaker"));
    settings.reconnect = false;
    let speaker = Client::connect(settings.clone(), Nobody).await.expect("a ready node takes a client");
    speaker.create_room(&room, Visibility::Public).await.expect("a new room");
    let (mut sleepers, mut readers) = (Vec::new(), JoinSet::new());
    for number in 0..IN_THE_HALL {
        let user = format!("guest-{number}");
        let mut options = options(&node.settings, &user);
        options.receive_buffer_bytes = Some(8 * 1024);
        let connection = enter(&options, &room).await;
        if number % CLIENTS_PER_SLEEPER == 0 {
            sleepers.push(connection);
        } else {
            readers.spawn(read_to_the_end(connection));
        }
    }
    let mut others = futures_util::stream::iter(IN_THE_HALL..CLIENTS)
        .map(|number| {
            let options = options(&node.settings, &format!("guest-{number}"));
            async move { Connection::open(&options).await.expect("a ready node takes a client").0 }
        })
        .buffer_unordered(ENTERING_AT_ONCE);
    while let Some(connection) = others.next().await {
        readers.spawn(read_to_the_end(connection));
    }
    drop(others);
    for number in 0..MESSAGES {
        let text = format!("{number} {}", "x".repeat(TEXT_BYTES));
        speaker.send_message(&room, text).await.expect("an acknowledgement");
    }
    // Still on their way when the node is told to stop.
    let mut last_words = JoinSet::new();
    for number in 0..20 {
        let (client, command) =
            (speaker.clone(), message(&room, MessageId::generate(), format!("last words {number}")));
        last_words.spawn(async move {
            let answer = client.request(command).await;
            answer.and_then(|reply| committed("message.send", reply)).ok().map(|committed| committed.seq)
        });
    }
    let told = Instant::now();
    node.terminate();
    let mut clean = 0;
    let mut returns = [0_usize; 40];
    while let Some(goodbye) = readers.join_next().await {
        let goodbye = goodbye.expect("a reader does not panic");
        let (code, reconnect_after_ms) = goodbye.told.unwrap_or_else(|| panic!("nobody said goodbye: {goodbye:?}"));
        assert_eq!(code, CloseCode::Draining.code(), "{goodbye:?}");
        assert!(reconnect_after_ms.is_some(), "a reader was not told when to come back");
        assert_eq!(goodbye.close_code, Some(CloseCode::Draining.code()), "{goodbye:?}");
        let back = goodbye.told_at.duration_since(told) + Duration::from_millis(reconnect_after_ms.unwrap_or(0));
        returns[usize::try_from(back.as_secs()).expect("seconds").min(39)] += 1;
        clean += 1;
    }
    let all_told = told.elapsed();
    assert!(all_told < DRAIN_DEADLINE, "the last reader was told after {all_told:.1?}");
    let status = node.wait_exit(DRAIN_DEADLINE + SLACK).await;
    let took = told.elapsed();
    println!("{clean} readers were told within {all_told:.1?}; the node ended after {took:.1?}; returns {returns:?}");
    assert_eq!(status.code(), Some(0), "the node ended with {status}");
    assert!(took < DRAIN_DEADLINE + SLACK, "the node ended after {took:.1?}");
    let most = returns.iter().copied().max().unwrap_or(0);
    assert!(most <= 2 * RETURNS_PER_SECOND, "{most} clients come back within one second: {returns:?}");
    assert!(node.settings.log_tail().contains(&format!("forced={}", sleepers.len())), "{}", node.settings.log_tail());
    drop(sleepers);
    let acknowledged: Vec<u64> = last_words.join_all().await.into_iter().flatten().collect();
    let greatest = acknowledged.iter().copied().max().unwrap_or(0);
    println!("{} last words were acknowledged", acknowledged.len());
    node.start();
    node.wait_ready(READY_WITHIN).await;
    let again = Client::connect(settings, Nobody).await.expect("a ready node takes a client");
    let after = again.send_message(&room, "we are back").await.expect("an acknowledgement");
    assert!(after.seq > greatest, "seq {greatest} was acknowledged before the stop, and given again after it");
    let kept = messages_of(&node.settings, &room).await;
    // Those before the stop, the last words, and the one after it.
    let expected = MESSAGES + acknowledged.len() + 1;
    assert!(kept >= expected, "{kept} messages are left of {expected} that were acknowledged");
}

fn options(settings: &Settings, user: &str) -> ConnectOptions {
    let token = token::mint(&settings.secret(), user, Duration::from_secs(3600)).expect("a token can be signed");
    let mut options = ConnectOptions::new(settings.url(), token);
    options.timeout = Duration::from_secs(30);
    options
}

async fn enter(options: &ConnectOptions, room: &RoomId) -> Connection {
    let (mut connection, _) = Connection::open(options).await.expect("a ready node takes a client");
    let join = hallway_protocol::command::RoomJoin { nonce: loadtest_client::client::nonce(), room: room.clone() };
    let id = connection.send(hallway_protocol::Command::RoomJoin(join)).await.expect("the line holds");
    let joined = |frame: &ServerFrame| matches!(frame, ServerFrame::Ok(ok) if ok.id == id);
    connection.receive_until(READY_WITHIN, joined).await.expect("a public room can be joined");
    connection
}

async fn read_to_the_end(mut connection: Connection) -> Goodbye {
    let mut goodbye = Goodbye { told: None, told_at: Instant::now(), close_code: None };
    loop {
        match connection.receive_within(Duration::from_secs(60)).await {
            Ok(Received::Frame(ServerFrame::Closing(closing))) => {
                goodbye.told = Some((closing.code, closing.reconnect_after_ms));
                goodbye.told_at = Instant::now();
            }
            Ok(_) => {}
            Err(ClientError::Ended(end)) => {
                goodbye.close_code = end.code;
                return goodbye;
            }
            Err(_) => return goodbye,
        }
    }
}

fn is_message(event: &hallway_protocol::Event) -> bool {
    matches!(event.body, hallway_protocol::EventBody::MessageCreated(_))
}

/// How many messages the room has, read from its beginning.
async fn messages_of(settings: &Settings, room: &RoomId) -> usize {
    let options = options(settings, "guest-1");
    let (asking, welcome) = Connection::open(&options).await.expect("a ready node takes a client");
    asking.close().await;
    let stream = hallway_protocol::StreamId::Room(room.clone());
    let start = hallway_protocol::Position { stream, epoch: welcome.epoch, seq: 0 };
    let (mut connection, _) = Connection::open(&options.positions(vec![start])).await.expect("it takes it again");
    let mut messages = 0;
    loop {
        match connection.receive_within(READY_WITHIN).await.expect("the sync comes to its end") {
            Received::Frame(ServerFrame::Event(event)) => messages += usize::from(is_message(&event)),
            Received::Frame(ServerFrame::SyncEnd(_)) => return messages,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_a_node_whose_postgres_is_frozen_drains_within_its_deadline() {
    const DEADLINE: Duration = Duration::from_secs(8);
    let postgres = TemporaryPostgres::start().expect("a Postgres of our own");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let deadline_ms = DEADLINE.as_millis().to_string();
    let mut settings = Settings::new(directory.path()).with("HALLWAY__LIMITS__DRAIN_DEADLINE_MS", &deadline_ms);
    settings.store_url = Some(postgres.database().await.expect("an empty database"));
    let mut node = NodeProcess::spawn_ready(settings).await;
    let room = RoomId::new("hall").expect("a room's name");
    let mut settings = ClientSettings::new(options(&node.settings, "speaker"));
    settings.reconnect = false;
    let speaker = Client::connect(settings, Nobody).await.expect("a ready node takes a client");
    speaker.create_room(&room, Visibility::Public).await.expect("a new room");
    let mut readers = JoinSet::new();
    for number in 0..50 {
        let (connection, _) =
            Connection::open(&options(&node.settings, &format!("guest-{number}"))).await.expect("a place");
        readers.spawn(read_to_the_end(connection));
    }
    postgres.freeze().expect("Postgres runs");
    // On its way to a store that does not answer when the node is told to stop.
    let waiting = tokio::task::JoinSet::from_iter([{
        let (speaker, room) = (speaker.clone(), room.clone());
        async move { speaker.send_message(&room, "into the ice").await.is_err() }
    }]);
    let told = Instant::now();
    node.terminate();
    while let Some(goodbye) = readers.join_next().await {
        let goodbye = goodbye.expect("a reader does not panic");
        assert_eq!(goodbye.close_code, Some(CloseCode::Draining.code()), "{goodbye:?}");
    }
    let status = node.wait_exit(DEADLINE + SLACK).await;
    println!("a node on a frozen Postgres ended after {:.1?}", told.elapsed());
    assert_eq!(status.code(), Some(0), "the node ended with {status}");
    assert_eq!(waiting.join_all().await, [true], "nobody was told that it was written");
    postgres.thaw().expect("Postgres is there");
}
