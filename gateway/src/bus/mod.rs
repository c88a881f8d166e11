//! The fast path between nodes: who publishes into a channel reaches everyone who is subscribed to it, usually.
//!
//! A bus may lose, repeat, delay and reorder, and may fall silent without saying so: nothing that Hallway promises rests on
//! it. What it knows to have missed it says ([`Heard::Missed`]); the rest is found by the store's tail.
//!
//! `envelope` (pure) is what travels: sealed with the cluster's secret, numbered, and readable across minor versions. `local`
//! connects nodes of one process and the single node to nobody; `redis` alone knows fred. Both pass `gateway/tests/bus`.
//!
//! **Invariant:** nothing here waits without a limit; every failure is an error with its cause or a [`Heard::Missed`].
//!
//! **Invariant:** a subscription that was confirmed hears what is published afterwards, or a [`Heard::Missed`], as long as the
//! way to the server lives; once it has died and come back, all subscriptions are there again before anything is heard.

mod channel;
pub mod envelope;
mod inbox;
pub mod local;
pub mod redis;

use async_trait::async_trait;
use bytes::Bytes;

pub use channel::Channel;
pub use inbox::{INBOX_MAX_BYTES, INBOX_MAX_MESSAGES};

/// What a node hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// A message, as it was published (still sealed).
    Message { channel: Channel, payload: Bytes },
    /// Any number of messages was not heard: the way to the server was cut and came back, or this node was too slow.
    Missed,
}

/// Why a message is not on its way, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The server cannot be reached, or did not answer in time: it may have been published all the same.
    #[error("the bus does not answer: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The settings cannot work.
    #[error("the bus cannot be used: {0}")]
    Unusable(String),
}

/// The way to the other nodes.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Publishes messages, those of one channel in their order; one PUBLISH for each message. Who follows a channel that it
    /// publishes to hears itself. What was not published in time is not published later.
    ///
    /// # Errors
    /// When one of them may not have been published; others may have.
    async fn publish(&self, messages: Vec<(Channel, Bytes)>) -> Result<(), BusError>;

    /// Subscribes to channels; when it returns, the server has confirmed. Channels stay subscribed across reconnects, also when
    /// this call failed: it is then retried behind the scenes, and [`Heard::Missed`] says when it has been confirmed.
    ///
    /// # Errors
    /// When it is not confirmed yet.
    async fn subscribe(&self, channels: Vec<Channel>) -> Result<(), BusError>;

    /// Ends subscriptions. What was published before may still be heard.
    ///
    /// # Errors
    /// When it is not confirmed yet.
    async fn unsubscribe(&self, channels: Vec<Channel>) -> Result<(), BusError>;

    /// The next thing heard; waits for it. One caller at a time.
    async fn receive(&self) -> Heard;
}
