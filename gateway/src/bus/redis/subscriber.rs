//! The connection that is subscribed.
//!
//! **Invariant:** on a new connection nothing is heard before all that is wanted is confirmed and [`Heard::Missed`] is said. What
//! comes before is dropped; the word covers it.
//!
//! **Invariant:** a channel that is confirmed after its subscriber gave up waiting is announced by [`Heard::Missed`].

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use fred::clients::Client;
use fred::interfaces::{ClientInterface as _, EventInterface as _, PubsubInterface as _};
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

const NOT_SUBSCRIBED: &str =
    "it did not take all subscriptions; may the user subscribe to the channels of bus.channel_prefix?";

/// How it stands between this node and the server.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// The first try to connect has not ended.
    Begun,
    Down(Trouble),
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
        let settled = standing.wait_for(|now| matches!(now, Standing::Down(_)) || self.interest().is_confirmed(number));
        let in_time = timeout(CONFIRM_TIMEOUT, settled).await.is_ok();
        if self.interest().is_confirmed_or_leave(number) {
            return Ok(());
        }
        let now = self.standing.borrow().clone();
        Err(match now {
            Standing::Down(trouble) => Trouble::NotConnected(Box::new(trouble)),
            _ if in_time => Trouble::Closed,
            _ => Trouble::Unconfirmed,
        }
        .into())
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
            self.standing.send_replace(Standing::Down(trouble.clone()));
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
                let mut subscribed = HashSet::new();
                match self.resume(&life, &mut subscribed, is_first).await {
                    Ok(()) => tokio::select! {
                        trouble = self.follow(&life, &mut subscribed) => trouble,
                        trouble = self.check_hearing(&life) => trouble,
                    },
                    Err(trouble) => trouble,
                }
            } => trouble,
        }
    }

    /// Subscribes to all that is wanted; only then is anything heard.
    async fn resume(&self, life: &Life, subscribed: &mut HashSet<String>, is_first: bool) -> Result<(), Trouble> {
        let all = self.interest().take_all();
        let mut names = self.names(&all.subscribe);
        names.push(self.beats.clone());
        life.subscribe(names, subscribed).await?;
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
    async fn follow(&self, life: &Life, subscribed: &mut HashSet<String>) -> Trouble {
        loop {
            let changes = self.interest().take();
            let Some(changes) = changes else {
                self.wanted.notified().await;
                continue;
            };
            if let Err(trouble) = life.unsubscribe(self.names(&changes.unsubscribe), subscribed).await {
                return trouble;
            }
            if let Err(trouble) = life.subscribe(self.names(&changes.subscribe), subscribed).await {
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
                Err(RecvError::Closed) => return Trouble::Closed,
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
            // A beat may be among messages that this node was too slow for; then it hears well enough.
            let lagged = self.health.messages_lagged();
            let is_heard = timeout(BEAT_TIMEOUT, heard.wait_for(|last| *last >= number)).await.is_ok();
            if !is_heard && self.health.messages_lagged() == lagged {
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
    /// Returns when the server has confirmed all of them.
    async fn subscribe(&self, names: Vec<String>, subscribed: &mut HashSet<String>) -> Result<(), Trouble> {
        for chunk in names.chunks(SUBSCRIBE_CHUNK_CHANNELS) {
            // This returns when it is written, or will be.
            self.client.subscribe(chunk.to_vec()).await?;
            subscribed.extend(chunk.iter().cloned());
            self.confirm(subscribed.len()).await?;
        }
        Ok(())
    }

    /// Returns when the server has confirmed all of them.
    async fn unsubscribe(&self, names: Vec<String>, subscribed: &mut HashSet<String>) -> Result<(), Trouble> {
        for chunk in names.chunks(SUBSCRIBE_CHUNK_CHANNELS) {
            self.client.unsubscribe(chunk.to_vec()).await?;
            for name in chunk {
                subscribed.remove(name);
            }
            self.confirm(subscribed.len()).await?;
        }
        Ok(())
    }

    /// Asks to how many channels this connection is subscribed. Answers come in order, so this one knows of all that was asked
    /// before; a subscription that was refused has no other sign that could be told from the answers to other commands.
    async fn confirm(&self, expected: usize) -> Result<(), Trouble> {
        let about: String = self.client.client_info().await?;
        let count = about.split_whitespace().find_map(|word| word.strip_prefix("sub=")?.parse::<usize>().ok());
        if count == Some(expected) { Ok(()) } else { Err(Trouble::Refused(NOT_SUBSCRIBED.to_owned())) }
    }

    async fn ping(&self) -> Result<(), Trouble> {
        ping(&self.client, self.pings.fetch_add(1, Ordering::Relaxed)).await
    }
}
