//! The bus over Redis: a single server, a Redis Cluster or a server behind Sentinel, with TLS and ACL users. The only module that
//! knows fred.
//!
//! A node keeps two connections, one that publishes and one that is subscribed, so that a flood in one direction does not hold up
//! the other. Each of them lives once: when it ends, falls silent or goes deaf, it is closed with all that waited in it, and another
//! one is opened after [`RECONNECT_INTERVAL`]. fred itself neither reconnects nor repeats: what could not be published in time is
//! not published later.
//!
//! Channels are published with classic PUBLISH, which a Redis Cluster hands to all its nodes: any of them is as good as any other, so
//! there the two connections go to two nodes of the list in the URL, and move on to the next when one fails.
//!
//! A subscription is confirmed by a question behind the SUBSCRIBE on the same connection, to how many channels that is subscribed:
//! Redis answers in order. Every [`BEAT_INTERVAL`] a beat is published and has to be heard, which finds a connection that answers
//! but hears nothing.
//!
//! `options` reads the settings, `connection` opens one connection, `publisher` and `subscriber` keep theirs, `interest` (pure)
//! knows which channels are wanted and which are confirmed.

mod connection;
mod health;
mod interest;
mod options;
mod publisher;
mod subscriber;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

pub use health::RedisHealth;
pub use options::{CHANNEL_PREFIX_MAX_BYTES, RedisOptions};
use publisher::Publisher;
use subscriber::Subscriber;

use super::{Bus, BusError, Channel, Heard};
use crate::tasks::Tasks;

/// How long to wait before the next try to connect.
pub const RECONNECT_INTERVAL: Duration = Duration::from_millis(50);
/// How long to wait when the server refuses this node: a wrong password, a missing right.
pub const REFUSED_INTERVAL: Duration = Duration::from_secs(1);
/// How long a connection may take until it is open, and each of the few commands that open it.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long [`Bus::publish`] waits for answers, for each [`PUBLISH_CHUNK_MESSAGES`].
pub const PUBLISH_TIMEOUT: Duration = Duration::from_millis(500);
/// Messages of one call that are on their way at once.
pub const PUBLISH_CHUNK_MESSAGES: usize = 128;
/// Commands that wait for one connection; more are refused. The chunks of several callers may overlap.
pub const COMMANDS_MAX: usize = 32 * PUBLISH_CHUNK_MESSAGES;
/// Bytes that may wait for an answer of the server. Beyond it, publishing fails at once until it has answered.
pub const UNANSWERED_MAX_BYTES: usize = 8 * 1024 * 1024;
/// How often each connection is asked whether it lives.
pub const PING_INTERVAL: Duration = Duration::from_millis(500);
/// How long a connection may owe an answer before it is given up.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is checked that what is published is heard.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// How long after its publishing a beat may be heard; then the connections are given up.
pub const BEAT_TIMEOUT: Duration = Duration::from_secs(2);
/// Channels of one SUBSCRIBE or UNSUBSCRIBE; each is confirmed before the next is sent.
pub const SUBSCRIBE_CHUNK_CHANNELS: usize = 1_000;
/// How long [`Bus::subscribe`] waits for its confirmation. Longer than one answer takes at most, as it may wait behind another.
pub const CONFIRM_TIMEOUT: Duration = Duration::from_secs(5);
/// Messages that fred holds between its reader and ours, which does nothing but move them to the inbox. More are lost, and
/// [`Heard::Missed`] said. fred allocates all of it for each connection, about 0.7 KiB a message.
pub const READ_AHEAD_MESSAGES: usize = 16_384;

/// A node's way to the others over Redis. Its connections end with it.
pub struct RedisBus {
    publisher: Arc<Publisher>,
    subscriber: Arc<Subscriber>,
    health: Arc<RedisHealth>,
    tasks: Tasks,
}

impl RedisBus {
    /// Checks the settings and begins to connect. The server need not be there yet.
    ///
    /// # Errors
    /// When the settings cannot work.
    pub fn open(options: &RedisOptions, tasks: &Tasks) -> Result<Self, BusError> {
        let servers = options.servers()?;
        let health = Arc::new(RedisHealth::default());
        let publisher = Arc::new(Publisher::new(&options.channel_prefix, Arc::clone(&health)));
        let subscriber =
            Arc::new(Subscriber::new(&options.channel_prefix, Arc::clone(&publisher), Arc::clone(&health)));
        let own = tasks.child();
        // In a Redis Cluster the two are on different nodes, so that a beat takes the way between them.
        let (there, here) = (servers.clone().at_random(), servers);
        let here = here.after(&there);
        let (task, stop) = (Arc::clone(&publisher), own.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stop.stopped() => {}
                () = task.run(here) => {}
            }
        });
        let (task, stop) = (Arc::clone(&subscriber), own.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stop.stopped() => {}
                () = task.run(there) => {}
            }
        });
        Ok(Self { publisher, subscriber, health, tasks: own })
    }

    /// How it is doing, for metrics and readiness.
    #[must_use]
    pub fn health(&self) -> Arc<RedisHealth> {
        Arc::clone(&self.health)
    }
}

#[async_trait]
impl Bus for RedisBus {
    async fn publish(&self, messages: Vec<(Channel, Bytes)>) -> Result<(), BusError> {
        self.publisher.publish(messages).await
    }

    async fn subscribe(&self, channels: Vec<Channel>) -> Result<(), BusError> {
        self.subscriber.subscribe(channels).await
    }

    async fn unsubscribe(&self, channels: Vec<Channel>) -> Result<(), BusError> {
        self.subscriber.unsubscribe(channels).await
    }

    async fn receive(&self) -> Heard {
        self.subscriber.receive().await
    }
}

impl Drop for RedisBus {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl fmt::Debug for RedisBus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RedisBus").field("health", &self.health).finish_non_exhaustive()
    }
}

/// Why something was not done. What fred says is kept as text: no other module knows its errors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Trouble {
    #[error("not connected to Redis yet")]
    NotYet,
    #[error("not connected to Redis: {0}")]
    NotConnected(Box<Trouble>),
    #[error("the connection was closed")]
    Closed,
    #[error("Redis has not answered for {UNANSWERED_MAX_BYTES} bytes")]
    Backlogged,
    #[error("Redis did not confirm the subscription in time")]
    Unconfirmed,
    #[error("Redis answered something else than what it was asked")]
    OutOfStep,
    #[error("Redis takes what is published, but it does not come back")]
    Deaf,
    #[error("it was not open in time")]
    NotOpened,
    #[error("{0}")]
    Failed(String),
    /// Trying again soon would not help.
    #[error("Redis refuses this node: {0}")]
    Refused(String),
}

impl From<fred::error::Error> for Trouble {
    fn from(error: fred::error::Error) -> Self {
        let refused = matches!(error.kind(), fred::error::ErrorKind::Auth | fred::error::ErrorKind::Config);
        if refused || error.details().starts_with("NOPERM") {
            return Self::Refused(error.details().to_owned());
        }
        Self::Failed(error.to_string())
    }
}

impl From<Trouble> for BusError {
    fn from(trouble: Trouble) -> Self {
        Self::Unavailable(Box::new(trouble))
    }
}
