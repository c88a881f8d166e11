//! Where the nodes of a test meet, and how they listen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hallway_gateway::bus::local::LocalExchange;
use hallway_gateway::bus::redis::{RedisBus, RedisOptions};
use hallway_gateway::bus::{Bus, Channel, Heard};
use hallway_gateway::tasks::Tasks;
use hallway_protocol::RoomId;
use tokio::time::timeout;

/// How long anything may take before a test gives up; far more than it does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) enum Meeting {
    Local(LocalExchange),
    Redis(RedisOptions),
}

impl Meeting {
    pub(crate) fn redis(url: &str) -> Self {
        Self::Redis(options(url))
    }

    pub(crate) async fn join(&self) -> Arc<dyn Bus> {
        match self {
            Self::Local(exchange) => Arc::new(exchange.join()),
            Self::Redis(options) => connected(options).await,
        }
    }

    /// Another meeting at the same place.
    pub(crate) fn next_door(&self) -> Self {
        match self {
            Self::Local(_) => Self::Local(LocalExchange::default()),
            Self::Redis(options) => Self::Redis(RedisOptions {
                channel_prefix: format!("{}:more", options.channel_prefix),
                ..options.clone()
            }),
        }
    }
}

pub(crate) fn options(url: &str) -> RedisOptions {
    RedisOptions { url: url.to_owned(), channel_prefix: "test".to_owned(), tls_ca_file: None }
}

/// A bus that can publish and hear.
pub(crate) async fn connected(options: &RedisOptions) -> Arc<RedisBus> {
    let bus = Arc::new(RedisBus::open(options, &Tasks::default()).unwrap());
    let begun = Instant::now();
    while !bus.health().is_connected() {
        if begun.elapsed() > PATIENCE {
            panic!("it does not connect: {:?}", bus.subscribe(vec![Channel::All]).await);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    bus
}

pub(crate) async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

pub(crate) fn room(name: impl ToString) -> Channel {
    Channel::Room(RoomId::new(&name.to_string()).unwrap())
}

pub(crate) fn text(text: impl ToString) -> Bytes {
    Bytes::from(text.to_string())
}

pub(crate) fn message(channel: &Channel, said: impl ToString) -> Heard {
    Heard::Message { channel: channel.clone(), payload: text(said) }
}

pub(crate) async fn hear(bus: &dyn Bus) -> Heard {
    timeout(PATIENCE, bus.receive()).await.expect("nothing is heard")
}

/// Everything up to this, without it.
pub(crate) async fn hear_until(bus: &dyn Bus, last: &Heard) -> Vec<Heard> {
    let mut all = Vec::new();
    loop {
        let heard = hear(bus).await;
        if heard == *last {
            return all;
        }
        all.push(heard);
    }
}

/// Publishes until it works.
pub(crate) async fn publish_at_last(bus: &dyn Bus, channel: &Channel, said: &str) {
    let begun = Instant::now();
    while let Err(error) = bus.publish(vec![(channel.clone(), text(said))]).await {
        assert!(begun.elapsed() < PATIENCE, "it still cannot be published: {error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Publishes until it is heard: what is published while a connection is replaced may go astray. Says how often it took.
pub(crate) async fn heard_at_last(writer: &dyn Bus, reader: &dyn Bus, channel: &Channel, said: &str) -> u32 {
    let (begun, wanted) = (Instant::now(), message(channel, said));
    for tries in 1.. {
        assert!(begun.elapsed() < PATIENCE, "it is still not heard");
        publish_at_last(writer, channel, said).await;
        if timeout(Duration::from_millis(300), hear_until(reader, &wanted)).await.is_ok() {
            return tries;
        }
    }
    0
}
