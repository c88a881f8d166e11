//! The connection that publishes.
//!
//! **Invariant:** what waits for the server's answer is bounded in bytes. What was given up by its caller counts until an answer to
//! something later shows that the server is past it.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::PubsubInterface as _;
use fred::types::Value;
use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::connection::{Connection, Outage, ping};
use super::health::RedisHealth;
use super::options::Servers;
use super::{PING_INTERVAL, PUBLISH_CHUNK_MESSAGES, PUBLISH_TIMEOUT, Trouble, UNANSWERED_MAX_BYTES};
use crate::bus::{BusError, Channel};

/// fred allocates this for each of its kinds of events; none but the first is of interest here.
const EVENTS_MAX: usize = 8;

pub(super) struct Publisher {
    prefix: String,
    health: Arc<RedisHealth>,
    /// The open connection, or why there is none.
    client: Mutex<Result<Client, Trouble>>,
    backlog: Mutex<Backlog>,
    suspected: Notify,
}

impl Publisher {
    pub(super) fn new(prefix: &str, health: Arc<RedisHealth>) -> Self {
        Self {
            prefix: prefix.to_owned(),
            health,
            client: Mutex::new(Err(Trouble::NotYet)),
            backlog: Mutex::default(),
            suspected: Notify::new(),
        }
    }

    pub(super) async fn publish(&self, messages: Vec<(Channel, Bytes)>) -> Result<(), BusError> {
        let prefix = &self.prefix;
        let mut named = messages.into_iter().map(|(channel, payload)| (format!("{prefix}:{channel}"), payload));
        loop {
            let chunk: Vec<_> = named.by_ref().take(PUBLISH_CHUNK_MESSAGES).collect();
            if chunk.is_empty() {
                return Ok(());
            }
            self.publish_named(chunk).await?;
        }
    }

    /// Publishes under names that the server knows.
    pub(super) async fn publish_named(&self, messages: Vec<(String, Bytes)>) -> Result<(), Trouble> {
        let client = self.client().clone()?;
        let bytes = messages.iter().map(|(name, payload)| name.len() + payload.len()).sum();
        let sent = self.backlog().send(bytes)?;
        // They are sent in this order, as each of them is sent by its first poll.
        let commands =
            messages.into_iter().map(|(name, payload)| client.publish::<i64, _, _>(name, Value::Bytes(payload)));
        let answers = join_all(commands).await;
        match answers.into_iter().find_map(Result::err) {
            None => {
                self.backlog().is_past(sent);
                Ok(())
            }
            Some(error) => Err(error.into()),
        }
    }

    /// Gives the connection up: what it publishes is not heard.
    pub(super) fn suspect(&self) {
        self.suspected.notify_one();
    }

    /// Keeps a connection open, for ever.
    pub(super) async fn run(&self, mut servers: Servers) {
        let mut outage = Outage::none("publisher");
        loop {
            let trouble = match Connection::open(servers.current(), PUBLISH_TIMEOUT, EVENTS_MAX).await {
                Ok(connection) => {
                    outage.ends();
                    let trouble = self.keep(connection).await;
                    self.health.lost.fetch_add(1, Ordering::Relaxed);
                    trouble
                }
                Err(trouble) => trouble,
            };
            *self.client() = Err(Trouble::NotConnected(Box::new(trouble.clone())));
            servers.advance();
            sleep(outage.begins(&trouble)).await;
        }
    }

    async fn keep(&self, mut connection: Connection) -> Trouble {
        *self.backlog() = Backlog::default();
        *self.client() = Ok(connection.client.clone());
        self.health.publishes.store(true, Ordering::Release);
        let client = connection.client.clone();
        let trouble = tokio::select! {
            trouble = connection.ended() => trouble,
            trouble = self.ask(&client) => trouble,
            () = self.suspected.notified() => Trouble::Deaf,
        };
        self.health.publishes.store(false, Ordering::Release);
        trouble
    }

    /// Asks again and again, until there is no answer.
    async fn ask(&self, client: &Client) -> Trouble {
        for number in 0.. {
            sleep(PING_INTERVAL).await;
            let before = self.backlog().sent;
            if let Err(trouble) = ping(client, number).await {
                return trouble;
            }
            self.backlog().is_past(before);
        }
        Trouble::Closed
    }

    fn client(&self) -> MutexGuard<'_, Result<Client, Trouble>> {
        self.client.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn backlog(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the server has not answered, as bytes sent in all and bytes it is known to be past: it answers in order.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Backlog {
    sent: u64,
    past: u64,
}

impl Backlog {
    /// Counts bytes that are about to be sent; returns how many were sent with them.
    fn send(&mut self, bytes: usize) -> Result<u64, Trouble> {
        let (bytes, max) = (bytes as u64, UNANSWERED_MAX_BYTES as u64);
        let waiting = self.sent - self.past;
        // A batch that is larger than the bound goes alone.
        if waiting > 0 && waiting + bytes > max {
            return Err(Trouble::Backlogged);
        }
        self.sent += bytes;
        Ok(self.sent)
    }

    /// The server has answered something that was sent when so many bytes had been.
    fn is_past(&mut self, sent: u64) {
        self.past = self.past.max(sent.min(self.sent));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_for_an_answer_is_bounded_and_an_answer_frees_what_was_sent_before_it() {
        let mut backlog = Backlog::default();
        assert!(backlog.send(2 * UNANSWERED_MAX_BYTES).is_ok(), "a large batch goes alone");
        assert!(backlog.send(1).is_err());
        backlog.is_past(2 * UNANSWERED_MAX_BYTES as u64);
        let half = UNANSWERED_MAX_BYTES / 2;
        let (first, second) = (backlog.send(half).unwrap_or(0), backlog.send(half).unwrap_or(0));
        assert!(backlog.send(1).is_err());
        backlog.is_past(first);
        assert!(backlog.send(half).is_ok() && backlog.send(1).is_err());
        backlog.is_past(second);
        // The answer to something older says nothing new.
        backlog.is_past(first);
        assert!(backlog.send(half).is_ok() && backlog.send(1).is_err());
    }
}
