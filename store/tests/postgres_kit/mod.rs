//! What the tests of the Postgres back end are written with.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use hallway_protocol::{Event, History, MessageId, Nonce, RoomId, StreamId, UserId, Visibility};
use hallway_store::postgres::{PostgresOptions, PostgresStore};
use hallway_store::{Action, Committed, Log, Mark, PageRequest, Refusal, Write};
use loadtest_cluster::TemporaryPostgres;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

/// Generous, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// An empty store with its server and URL.
pub(crate) async fn store() -> (Arc<TemporaryPostgres>, String, PostgresStore) {
    let server = TemporaryPostgres::shared().unwrap();
    let url = server.database().await.unwrap();
    let store = PostgresStore::open(&url, PostgresOptions::default()).await.unwrap();
    (server, url, store)
}

pub(crate) fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

pub(crate) fn room(name: &str) -> RoomId {
    RoomId::new(name).unwrap()
}

pub(crate) fn write(actor: &str, nonce: &str, action: Action) -> Write {
    Write { actor: user(actor), nonce: Nonce::new(nonce).unwrap(), body_hash: [7; 16], action }
}

pub(crate) fn create(actor: &str, name: &str) -> Write {
    let action = Action::CreateRoom {
        room: room(name),
        visibility: Visibility::Public,
        history: History::All,
        name: Some(format!("The room {name}")),
    };
    write(actor, &format!("create-{name}"), action)
}

pub(crate) fn send(actor: &str, name: &str, nonce: &str) -> Write {
    let action = Action::SendMessage {
        room: room(name),
        id: MessageId::generate(),
        text: format!("text of {nonce}"),
        reply_to: None,
        mentions: vec![user("ada"), user("bob")],
        meta: None,
    };
    write(actor, nonce, action)
}

pub(crate) async fn commit(store: &PostgresStore, batch: Vec<Write>) -> Vec<Result<Committed, Refusal>> {
    store.commit(batch).await.unwrap().results
}

pub(crate) async fn one(store: &PostgresStore, write: Write) -> Result<Committed, Refusal> {
    commit(store, vec![write]).await.remove(0)
}

/// The whole stream of a room.
pub(crate) async fn events_of(store: &PostgresStore, name: &str) -> Vec<Event> {
    let request = PageRequest { stream: StreamId::Room(room(name)), after: 0, limit: 10_000 };
    store.pages(vec![request]).await.unwrap().pages.remove(0).events
}

/// Edits, reacts to, marks as read and deletes a message.
pub(crate) async fn amend_and_mark(store: &PostgresStore, actor: &str, name: &str, sent: &Committed) {
    let (room, id) = (room(name), hallway_protocol::MessageId::from(sent.id.unwrap()));
    let actions = [
        Action::EditMessage {
            room: room.clone(),
            id,
            text: "other".to_owned(),
            mentions: Vec::new(),
            meta: None,
            version: Some(1),
        },
        Action::React { room: room.clone(), id, emoji: "+".to_owned(), remove: false },
        Action::DeleteMessage { room: room.clone(), id },
    ];
    let writes = actions.into_iter().enumerate();
    let batch = writes.map(|(n, action)| write(actor, &format!("amend-{id}-{n}").replace('-', ""), action)).collect();
    let results = commit(store, batch).await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let marks = vec![Mark { user: user(actor), room, seq: u64::MAX }];
    assert!(store.mark_read(marks).await.unwrap().results[0].is_some());
}

/// Waits for a condition.
pub(crate) async fn until<F: Future<Output = bool>>(condition: impl Fn() -> F) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < PATIENCE, "the condition did not come");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A connection beside the store's.
pub(crate) struct Side(Client);

impl Side {
    pub(crate) async fn open(url: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        Self(client)
    }

    pub(crate) async fn run(&self, sql: &str) {
        self.0.batch_execute(sql).await.unwrap();
    }

    /// All rows of one column, one to a line.
    pub(crate) async fn text(&self, sql: &str) -> String {
        let messages = self.0.simple_query(sql).await.unwrap();
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        });
        rows.collect::<Vec<_>>().join("\n")
    }

    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.text(sql).await.parse().unwrap()
    }

    /// Waits until a query answers a number.
    pub(crate) async fn until(&self, sql: &str, expected: i64) {
        until(|| async { self.number(sql).await == expected }).await;
    }
}
