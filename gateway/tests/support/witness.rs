//! A client whose every step is written into the ledger, and publishers that are too.
#![allow(dead_code, reason = "several test binaries share it, and each uses another part")]

use std::sync::Arc;
use std::time::Duration;

use hallway_protocol::{MessageId, Position, Seq, StreamId, UserId};
use loadtest_client::client::{committed, message};
use loadtest_client::ledger::{Ledger, Opening, Recorder, SessionId};
use loadtest_client::{Client, ClientSettings, Notice, Observer, RequestError, Step};
use tokio::sync::watch;

use super::node::{PATIENCE, TestNode};
use super::seat::room_stream;

/// What a witness has seen of the one room that it looks at.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Seen {
    /// Its newest event.
    pub(crate) seq: Seq,
    /// Syncs that ended.
    pub(crate) syncs: u64,
}

struct Eyes {
    recorder: Recorder,
    session: SessionId,
    stream: StreamId,
    seen: watch::Sender<Seen>,
}

impl Observer for Eyes {
    fn observe(&mut self, notice: Notice) {
        self.recorder.observe(self.session, &notice);
        match &notice {
            Notice::Event { event, step } if event.stream == self.stream && *step != Step::Repeat => {
                self.seen.send_modify(|seen| seen.seq = event.seq);
            }
            Notice::Synced { .. } => self.seen.send_modify(|seen| seen.syncs += 1),
            _ => {}
        }
    }
}

/// A client that reconnects by itself, and what it has seen.
pub(crate) struct Witness {
    pub(crate) client: Client,
    pub(crate) user: UserId,
    pub(crate) session: SessionId,
    pub(crate) seen: watch::Receiver<Seen>,
}

impl Witness {
    /// Connects and begins to write down what it sees.
    pub(crate) async fn connect(node: &TestNode, ledger: &Arc<Ledger>, user: &str, room: &str) -> Self {
        Self::open(node, ledger, user, room, Opening::default(), Vec::new()).await
    }

    /// Reads a room from its beginning, after all is over.
    pub(crate) async fn final_read(node: &TestNode, ledger: &Arc<Ledger>, user: &str, room: &str, head: Seq) {
        let epoch = node.connect(user).await.welcome.epoch;
        let opening = Opening { final_read_of_node: Some(0), limited: false };
        let positions = vec![Position { stream: room_stream(room), epoch, seq: 0 }];
        let mut reader = Self::open(node, ledger, user, room, opening, positions).await;
        reader.reaches(head).await;
        reader.close().await;
    }

    /// Says goodbye and waits until its lines are in the ledger.
    pub(crate) async fn close(&self) {
        self.client.close().await;
        let mut seen = self.seen.clone();
        // The observer's lines count once it is dropped, and this channel is dropped after them.
        let ended = tokio::time::timeout(PATIENCE, async { while seen.changed().await.is_ok() {} }).await;
        assert!(ended.is_ok(), "{} does not end", self.user);
    }

    async fn open(
        node: &TestNode,
        ledger: &Arc<Ledger>,
        user: &str,
        room: &str,
        opening: Opening,
        positions: Vec<Position>,
    ) -> Self {
        let user = UserId::new(user).unwrap();
        let mut recorder = ledger.recorder();
        let session = recorder.open(&user, opening);
        recorder.starts_at(session, &positions);
        let (seen, inbox) = watch::channel(Seen::default());
        let mut settings = ClientSettings::new(node.options(user.as_str()).positions(positions));
        settings.backoff_min = Duration::from_millis(1);
        settings.backoff_max = Duration::from_millis(20);
        let eyes = Eyes { recorder, session, stream: room_stream(room), seen };
        let client = Client::connect(settings, eyes).await.unwrap();
        Self { client, user, session, seen: inbox }
    }

    /// Waits until it has seen this event or a later one.
    pub(crate) async fn reaches(&mut self, seq: Seq) {
        let reached = tokio::time::timeout(PATIENCE, self.seen.wait_for(|seen| seen.seq >= seq)).await;
        assert!(reached.is_ok_and(|seen| seen.is_ok()), "{} stays at {:?}, not {seq}", self.user, self.seen.borrow());
    }

    /// Waits until its first sync has ended.
    pub(crate) async fn is_synced(&mut self) {
        let synced = tokio::time::timeout(PATIENCE, self.seen.wait_for(|seen| seen.syncs > 0)).await;
        assert!(synced.is_ok_and(|seen| seen.is_ok()), "{} is not in sync", self.user);
    }

    /// Cuts the line and waits until it is in sync again.
    pub(crate) async fn comes_back(&mut self) {
        let before = self.seen.borrow().syncs;
        self.client.cut();
        let back = tokio::time::timeout(PATIENCE, self.seen.wait_for(|seen| seen.syncs > before)).await;
        assert!(back.is_ok_and(|seen| seen.is_ok()), "{} does not come back: {:?}", self.user, self.client.state());
    }
}

/// Publishes one message, again under the same nonce while its outcome is unknown; says its seq unless it was refused.
pub(crate) async fn publish(
    client: &Client,
    recorder: &mut Recorder,
    sender: &UserId,
    room: &str,
    text: &str,
) -> Option<Seq> {
    let id = MessageId::generate();
    let publish = recorder.invoke(&room_stream(room), sender, id, text);
    let stream = room_stream(room);
    let command = message(stream.room().unwrap(), id, text);
    loop {
        match client.request(command.clone()).await.and_then(|reply| committed("message.send", reply)) {
            Ok(committed) => {
                recorder.ok(publish, &committed);
                return Some(committed.seq);
            }
            Err(RequestError::Refused(body)) => {
                recorder.fail(publish);
                if !body.retryable {
                    return None;
                }
            }
            Err(RequestError::Unknown(_)) => recorder.unknown(publish),
            Err(RequestError::Closed(reason)) => panic!("{sender} is closed: {reason}"),
        }
        recorder.retry(publish);
    }
}
