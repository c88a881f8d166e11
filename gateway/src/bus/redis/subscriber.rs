//! The connection that is subscribed.
//!
//! **Invariant:** on a new connection nothing is heard before all that is wanted is confirmed and [`Heard::Missed`] is said. What
//! comes before is dropped; the word covers it.
//!
//! **Invariant:** a channel that is confirmed after its subscriber gave up waiting is announced by [`Heard::Missed`].

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::{EventInterface as _, PubsubInterface as _};
use fred::types::{Message, Value};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use super::connection::{Connection, Outage, ping};
use super::health::RedisHealth;
use super::interest::Interest;
use super::options::Servers;
use super::publisher::Publisher;
use super::{
    ANSWER_TIMEOUT, BEAT_INTERVAL, BEAT_TIMEOUT, CONFIRM_TIMEOUT, PING_INTERVAL, READ_AHEAD_MESSAGES,
    SUBSCRIBE_CHUNK_CHANNELS, Trouble,
};
use crate::bus::inbox::Inbox;
use crate::bus::{BusError, Channel, Heard};

/// How it stands between this node and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// The first try to connect has not ended.
    Begun,
    Down,
    Up,
}

pub(super) struct Subscriber {
    prefix: String,
    /// A channel of this bus alone.
    beats: String,
    publisher: Arc<Publisher>,
    health: Arc<RedisHealth>,
    inbox: Inbox,
    interest: Mutex<Interest>,
    wanted: Notify,
    standing: watch::Sender<Standing>,
}

/// What belongs to one connection.
struct Life {
    client: Client,
    pings: AtomicU64,
    is_live: AtomicBool,
    beat: watch::Sender<u64>,
}

impl Subscriber {
    pub(super) fn new(prefix: &str, publisher: Arc<Publisher>, health: Arc<RedisHealth>) -> Self {
        Self {
            prefix: format!("{prefix}:"),
            beats: format!("{prefix}:beat:{:016x}", rand::random::<u64>()),
            publisher,
            health,
            inbox: Inbox::default(),
            interest: Mutex::default(),
            wanted: Notify::new(),
            standing: watch::Sender::new(Standing::Begun),
        }
    }

    pub(super) async fn subscribe(&self, channels: Vec<Channel>) -> Result<(), BusError> {
        let number = self.interest().want(channels);
        self.confirmed(number).await
    }

    pub(super) async fn unsubscribe(&self, channels: Vec<Channel>) -> Result<(), BusError> {
        let number = self.interest().forget(channels);
        self.confirmed(number).await
    }

    pub(super) async fn receive(&self) -> Heard {
        self.inbox.take().await
    }

    async fn confirmed(&self, number: u64) -> Result<(), BusError> {
        self.wanted.notify_one();
        let mut standing = self.standing.subscribe();
        // The standing is sent anew with every confirmation.
        let settled = standing.wait_for(|standing| *standing == Standing::Down || self.interest().is_confirmed(number));
        let settled = timeout(CONFIRM_TIMEOUT, settled).await.map(|settled| settled.map(|standing| *standing));
        if self.interest().is_confirmed_or_leave(number) {
            return Ok(());
        }
        Err(match settled {
            Ok(_) => Trouble::NotConnected.into(),
            Err(_) => Trouble::Unconfirmed.into(),
        })
    }

    /// Keeps a connection open and subscribed, for ever.
    pub(super) async fn run(&self, mut servers: Servers) {
        let mut outage = Outage::none("subscriber");
        let mut is_first = true;
        loop {
            let trouble = match Connection::open(servers.current(), ANSWER_TIMEOUT, READ_AHEAD_MESSAGES).await {
                Ok(connection) => {
                    outage.ends();
                    let trouble = self.keep(connection, is_first).await;
                    is_first = false;
                    self.health.lost.fetch_add(1, Ordering::Relaxed);
                    trouble
                }
                Err(trouble) => trouble,
            };
            self.health.hears.store(false, Ordering::Release);
            self.standing.send_replace(Standing::Down);
            servers.advance();
            sleep(outage.begins(&trouble)).await;
        }
    }

    async fn keep(&self, mut connection: Connection, is_first: bool) -> Trouble {
        let messages = connection.client.message_rx();
        let life = Life {
            client: connection.client.clone(),
            pings: AtomicU64::new(0),
            is_live: AtomicBool::new(false),
            beat: watch::Sender::new(0),
        };
        tokio::select! {
            trouble = connection.ended() => trouble,
            trouble = self.hear(&life, messages) => trouble,
            trouble = ask(&life) => trouble,
            trouble = async {
                match self.resume(&life, is_first).await {
                    Ok(()) => tokio::select! {
                        trouble = self.follow(&life) => trouble,
                        trouble = self.check_hearing(&life) => trouble,
                    },
                    Err(trouble) => trouble,
                }
            } => trouble,
        }
    }

    /// Subscribes to all that is wanted; only then is anything heard.
    async fn resume(&self, life: &Life, is_first: bool) -> Result<(), Trouble> {
        let all = self.interest().take_all();
        let mut names = self.names(&all.subscribe);
        names.push(self.beats.clone());
        subscribe(life, names).await?;
        let somebody_left = self.interest().confirm(all.version);
        // No await between the two, or what is dropped in between would not be covered.
        if somebody_left || !is_first {
            self.inbox.put_missed();
        }
        life.is_live.store(true, Ordering::Release);
        self.health.hears.store(true, Ordering::Release);
        self.standing.send_replace(Standing::Up);
        Ok(())
    }

    /// Tells the server every change of what is wanted.
    async fn follow(&self, life: &Life) -> Trouble {
        loop {
            let changes = self.interest().take();
            let Some(changes) = changes else {
                self.wanted.notified().await;
                continue;
            };
            if let Err(trouble) = unsubscribe(life, self.names(&changes.unsubscribe)).await {
                return trouble;
            }
            if let Err(trouble) = subscribe(life, self.names(&changes.subscribe)).await {
                return trouble;
            }
            if self.interest().confirm(changes.version) {
                self.inbox.put_missed();
            }
            self.standing.send_replace(Standing::Up);
        }
    }

    /// Moves what is heard to the inbox, as fast as it comes.
    async fn hear(&self, life: &Life, mut messages: Receiver<Message>) -> Trouble {
        loop {
            match messages.recv().await {
                Ok(message) => self.hear_one(life, message),
                Err(RecvError::Lagged(count)) => {
                    self.health.lagged.fetch_add(count, Ordering::Relaxed);
                    self.inbox.put_missed();
                }
                Err(RecvError::Closed) => return Trouble::NotConnected,
            }
        }
    }

    fn hear_one(&self, life: &Life, message: Message) {
        let payload = match message.value {
            Value::Bytes(bytes) => bytes,
            Value::String(text) => text.into_inner(),
            _ => Bytes::new(),
        };
        if *message.channel == *self.beats {
            if let Some(number) = std::str::from_utf8(&payload).ok().and_then(|text| text.parse().ok()) {
                life.beat.send_replace(number);
            }
            return;
        }
        if !life.is_live.load(Ordering::Acquire) {
            return;
        }
        let Some(channel) = message.channel.strip_prefix(&*self.prefix).and_then(Channel::from_name) else { return };
        if !self.inbox.put(channel, payload) {
            self.health.lagged.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Checks that what is published comes back. What cannot be published is no matter of this connection.
    async fn check_hearing(&self, life: &Life) -> Trouble {
        let mut heard = life.beat.subscribe();
        for number in 1_u64.. {
            sleep(BEAT_INTERVAL).await;
            let beat = (self.beats.clone(), Bytes::from(number.to_string()));
            if self.publisher.publish_named(vec![beat]).await.is_err() {
                continue;
            }
            if timeout(BEAT_TIMEOUT, heard.wait_for(|last| *last >= number)).await.is_err() {
                self.health.deaf.fetch_add(1, Ordering::Relaxed);
                self.publisher.suspect();
                break;
            }
        }
        Trouble::Deaf
    }

    fn names(&self, channels: &[Channel]) -> Vec<String> {
        channels.iter().map(|channel| format!("{}{channel}", self.prefix)).collect()
    }

    fn interest(&self) -> MutexGuard<'_, Interest> {
        self.interest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns when the server has confirmed all of them.
async fn subscribe(life: &Life, names: Vec<String>) -> Result<(), Trouble> {
    for chunk in names.chunks(SUBSCRIBE_CHUNK_CHANNELS) {
        // This returns when it is written, or will be.
        life.client.subscribe(chunk.to_vec()).await?;
        life.ping().await?;
    }
    Ok(())
}

/// Returns when the server has confirmed all of them.
async fn unsubscribe(life: &Life, names: Vec<String>) -> Result<(), Trouble> {
    for chunk in names.chunks(SUBSCRIBE_CHUNK_CHANNELS) {
        life.client.unsubscribe(chunk.to_vec()).await?;
        life.ping().await?;
    }
    Ok(())
}

/// Asks again and again, until there is no answer.
async fn ask(life: &Life) -> Trouble {
    loop {
        sleep(PING_INTERVAL).await;
        if let Err(trouble) = life.ping().await {
            return trouble;
        }
    }
}

impl Life {
    async fn ping(&self) -> Result<(), Trouble> {
        ping(&self.client, self.pings.fetch_add(1, Ordering::Relaxed)).await
    }
}
