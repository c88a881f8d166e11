//! Goal: whatever a node does wrong, the ledger turns red and names the right invariant; a node that does nothing
//! wrong is found clean. Method: real clients against a node in memory that misbehaves in one chosen way.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fake_node;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fake_node::{FakeNode, Misbehaviour, SECRET, eventually, start};
use hallway_protocol::codec::Codec;
use hallway_protocol::{Epoch, EventBody, MessageId, Position, RoomId, StreamId, UserId, Visibility};
use loadtest_client::client::{committed, message};
use loadtest_client::ledger::{Invariant, Ledger, Opening, Recorder, SessionId, Verdict};
use loadtest_client::{
    Client, ClientSettings, ConnectOptions, Connection, Notice, Observer, RequestError, State, Step, token,
};

const LONG: Duration = Duration::from_secs(20);
/// A node that loses cannot be waited for until it delivers.
const SHORT: Duration = Duration::from_millis(300);
const MESSAGES: u64 = 12;

struct Watcher {
    recorder: Recorder,
    session: SessionId,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    messages: AtomicU64,
    syncs: AtomicU64,
}

impl Observer for Watcher {
    fn observe(&mut self, notice: Notice) {
        self.recorder.observe(self.session, &notice);
        match notice {
            Notice::Event { event, step } if step != Step::Repeat => {
                if matches!(event.body, EventBody::MessageCreated(_)) {
                    self.seen.messages.fetch_add(1, Ordering::Relaxed);
                }
            }
            Notice::Synced { .. } => {
                self.seen.syncs.fetch_add(1, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

fn options(node: &FakeNode, user: &str, codec: Codec) -> ConnectOptions {
    ConnectOptions::new(&*node.url, token::mint(SECRET, user, LONG).unwrap()).codec(codec)
}

async fn connect(
    ledger: &Arc<Ledger>,
    options: ConnectOptions,
    user: &UserId,
    opening: Opening,
) -> (Client, Arc<Seen>, SessionId) {
    let mut recorder = ledger.recorder();
    let session = recorder.open(user, opening);
    recorder.starts_at(session, &options.positions);
    let seen = Arc::new(Seen::default());
    let watcher = Watcher { recorder, session, seen: Arc::clone(&seen) };
    (Client::connect(ClientSettings::new(options), watcher).await.unwrap(), seen, session)
}

/// Two members and a stranger; one member loses the line in the middle.
async fn run(misbehaviour: Misbehaviour, codec: Codec) -> Verdict {
    let node = start(misbehaviour).await;
    let ledger = Ledger::new();
    let mut book = ledger.recorder();
    let room = RoomId::new("lounge").unwrap();
    let stream = StreamId::Room(room.clone());
    ledger.history_is_for_all(stream.clone());
    let names = ["ada", "bob", "eve"].map(|name| UserId::new(name).unwrap());
    let [ada, bob, eve] = &names;
    let opening = Opening::default();
    let (writer, written, writer_session) = connect(&ledger, options(&node, "ada", codec), ada, opening).await;
    let (reader, read, reader_session) = connect(&ledger, options(&node, "bob", codec), bob, opening).await;
    let (stranger, _, _) = connect(&ledger, options(&node, "eve", codec), eve, opening).await;
    book.joined(&stream, ada, writer.create_room(&room, Visibility::Public).await.unwrap().seq);
    book.joined(&stream, bob, reader.join(&room).await.unwrap().seq);
    for number in 0..MESSAGES {
        if number == MESSAGES / 2 {
            let syncs = read.syncs.load(Ordering::Relaxed);
            reader.cut();
            assert!(eventually(LONG, || read.syncs.load(Ordering::Relaxed) > syncs).await);
        }
        let (id, text) = (MessageId::generate(), format!("message {number}"));
        let publish = book.invoke(&stream, ada, id, &text);
        let result = writer.request(message(&room, id, text)).await;
        match result.and_then(|reply| committed("message.send", reply)) {
            Ok(committed) => book.ok(publish, &committed),
            Err(RequestError::Refused(_)) => book.fail(publish),
            Err(_) => book.unknown(publish),
        }
    }
    let all = |seen: &Seen| seen.messages.load(Ordering::Relaxed) >= MESSAGES;
    let patience = if misbehaviour == Misbehaviour::None { LONG } else { SHORT };
    eventually(patience, || all(&written) && all(&read)).await;
    book.done(writer_session);
    book.done(reader_session);
    let position = Position { stream, epoch: Epoch::new("fake").unwrap(), seq: 0 };
    let again = options(&node, "ada", codec).positions(vec![position]);
    let opening = Opening { final_read_of_node: Some(0), limited: false };
    let (last, last_seen, last_session) = connect(&ledger, again, ada, opening).await;
    assert!(eventually(LONG, || last_seen.syncs.load(Ordering::Relaxed) > 0).await);
    book.done(last_session);
    for client in [writer, reader, stranger, last] {
        client.close().await;
        assert!(matches!(client.state(), State::Closed(_)));
    }
    drop(book);
    ledger.judge()
}

#[tokio::test]
async fn a_node_that_keeps_its_word_is_found_clean_in_both_codecs() {
    for codec in Codec::ALL {
        let verdict = run(Misbehaviour::None, codec).await;
        assert!(verdict.is_clean(), "{codec:?}: {verdict:#?}");
        assert_eq!(verdict.counts.acknowledged, MESSAGES);
        assert!(verdict.counts.reconnects >= 1);
    }
}

#[tokio::test]
async fn repeats_on_the_wire_are_dropped_and_counted() {
    let verdict = run(Misbehaviour::RepeatsOnTheWire, Codec::Json).await;
    assert!(verdict.is_clean(), "{verdict:#?}");
    assert!(verdict.counts.raw_repeats > 0);
}

#[tokio::test]
async fn every_misbehaviour_turns_the_ledger_red_under_its_own_name() {
    use Invariant::{I1, I2, I3, I5, I8};
    for (misbehaviour, wanted) in [
        (Misbehaviour::Loses, vec![I1, I5]),
        (Misbehaviour::KeepsTwice, vec![I3]),
        (Misbehaviour::Reorders, vec![I5]),
        (Misbehaviour::AcknowledgesWhatItDoesNotKeep, vec![I1]),
        (Misbehaviour::ResetsOnResume, vec![I5]),
        (Misbehaviour::TellsStrangers, vec![I8]),
        (Misbehaviour::ChangesText, vec![I2]),
        (Misbehaviour::RefusesAndKeeps, vec![I2]),
    ] {
        let verdict = run(misbehaviour, Codec::Json).await;
        for invariant in wanted {
            assert!(verdict.names(invariant), "{misbehaviour:?} is not {invariant:?}: {verdict:#?}");
        }
    }
}

#[tokio::test]
async fn a_full_event_queue_stops_the_reading_and_loses_nothing() {
    let node = start(Misbehaviour::None).await;
    let room = RoomId::new("lounge").unwrap();
    let settings = ClientSettings::new(options(&node, "ada", Codec::Json));
    let (reader, mut events) = Client::connect_with_events(settings, 1).await.unwrap();
    let (writer, _) =
        Client::connect_with_events(ClientSettings::new(options(&node, "bob", Codec::Json)), 100).await.unwrap();
    // The queue of one is full with the first notice, so replies come only while somebody takes the events.
    let take = async {
        let mut texts = Vec::new();
        while texts.len() < 5 {
            if let Some(Notice::Event { event, .. }) = events.next().await
                && let EventBody::MessageCreated(created) = event.body
            {
                texts.push(created.message.text);
            }
        }
        texts
    };
    let talk = async {
        reader.join_or_create(&room).await.unwrap();
        writer.join_or_create(&room).await.unwrap();
        for number in 0..5 {
            writer.send_message(&room, number.to_string()).await.unwrap();
        }
    };
    let (texts, ()) = tokio::time::timeout(LONG, async { tokio::join!(take, talk) }).await.unwrap();
    assert_eq!(texts, ["0", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_raw_connection_reads_only_when_told() {
    let node = start(Misbehaviour::None).await;
    let (mut connection, welcome) = Connection::open(&options(&node, "ada", Codec::Postcard)).await.unwrap();
    assert_eq!(welcome.user.as_str(), "ada");
    let sync_end = |frame: &hallway_protocol::ServerFrame| matches!(frame, hallway_protocol::ServerFrame::SyncEnd(_));
    connection.receive_until(LONG, sync_end).await.unwrap();
    connection.close().await;
}
