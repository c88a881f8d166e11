//! People who talk while their node dies: senders that repeat what is unknown, readers that resume, and the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hallway_protocol::codec::Codec;
use hallway_protocol::{MessageId, Position, RoomId, StreamId, UserId, Visibility};
use loadtest_client::client::{committed, message};
use loadtest_client::ledger::{Ledger, Opening, Recorder, SessionId, Verdict};
use loadtest_client::{
    Client, ClientSettings, ConnectOptions, Connection, Notice, Observer, RequestError, State, token,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

use crate::process::Settings;

/// How long one message is tried for, and how long readers may take to catch up at the end.
const SETTLED_WITHIN: Duration = Duration::from_secs(60);
/// Messages of one sender that are on their way at once.
const WORKERS_PER_SENDER: usize = 3;
/// The name of the fault in the ledger: a run in which nobody felt it proves nothing.
const FAULT: &str = "a publish met the fault";

/// What counts as having felt the fault of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bite {
    /// A message was on its way when its node died.
    UnknownOutcome,
    /// A message was refused, or its outcome is unknown.
    AnyError,
}

/// How many talk, and where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) rooms: usize,
    pub(crate) senders: usize,
    pub(crate) readers: usize,
    /// Bytes of each text.
    pub(crate) text_bytes: usize,
    /// How long a client waits for an answer.
    pub(crate) request_timeout: Duration,
}

impl Default for Size {
    fn default() -> Self {
        Self { rooms: 4, senders: 4, readers: 4, text_bytes: 64, request_timeout: Duration::from_secs(10) }
    }
}

/// What the senders met.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) acknowledged: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) unknown: AtomicU64,
    /// The longest that an attempt took to be answered with an error, in milliseconds.
    pub(crate) slowest_error_ms: AtomicU64,
}

struct Shared {
    ledger: Arc<Ledger>,
    recorder: Mutex<Option<Recorder>>,
    counters: Counters,
    stop: AtomicBool,
    epochs: Mutex<BTreeSet<String>>,
    /// The greatest acknowledged seq of each room.
    heads: Mutex<BTreeMap<StreamId, u64>>,
}

impl Shared {
    fn record<T>(&self, write: impl FnOnce(&mut Recorder) -> T) -> T {
        let mut recorder = self.recorder.lock().unwrap_or_else(PoisonError::into_inner);
        write(recorder.as_mut().expect("the books are open while people talk"))
    }
}

/// A run of the ledger with the people in it.
pub(crate) struct Load {
    shared: Arc<Shared>,
    settings: Settings,
    secret: Vec<u8>,
    size: Size,
    rooms: Vec<RoomId>,
    people: Vec<Person>,
    workers: JoinSet<()>,
}

struct Person {
    user: UserId,
    client: Client,
    session: SessionId,
    sends: bool,
}

/// Writes down what one client sees.
struct Witness {
    recorder: Recorder,
    session: SessionId,
    shared: Arc<Shared>,
}

impl Observer for Witness {
    fn observe(&mut self, notice: Notice) {
        if let Notice::Connected { welcome, .. } = &notice {
            let mut epochs = self.shared.epochs.lock().unwrap_or_else(PoisonError::into_inner);
            epochs.insert(welcome.epoch.to_string());
        }
        self.recorder.observe(self.session, &notice);
    }
}

impl Load {
    /// Everybody connects (every other one with the compact codec) and enters every room of a node that is ready.
    pub(crate) async fn enter(settings: &Settings, size: Size) -> Self {
        let ledger = Ledger::new();
        let shared = Arc::new(Shared {
            recorder: Mutex::new(Some(ledger.recorder())),
            ledger,
            counters: Counters::default(),
            stop: AtomicBool::new(false),
            epochs: Mutex::default(),
            heads: Mutex::default(),
        });
        let rooms = (0..size.rooms).map(|number| RoomId::new(&format!("room-{number}")).expect("a room's name"));
        let mut load = Self {
            shared,
            settings: settings.clone(),
            secret: settings.secret(),
            size,
            rooms: rooms.collect(),
            people: Vec::new(),
            workers: JoinSet::new(),
        };
        for number in 0..size.senders + size.readers {
            load.admit(number).await;
        }
        load
    }

    async fn admit(&mut self, number: usize) {
        let user = UserId::new(&format!("user-{number}")).expect("a user's name");
        let person = self.connect(user, number, Vec::new()).await;
        for room in &self.rooms {
            let stream = StreamId::Room(room.clone());
            let entered = if number == 0 {
                self.shared.ledger.history_is_for_all(stream.clone());
                person.client.create_room(room, Visibility::Public).await
            } else {
                person.client.join(room).await
            };
            let seq = entered.expect("a public room can be entered").seq;
            self.shared.record(|recorder| recorder.joined(&stream, &person.user, seq));
        }
        self.people.push(person);
    }

    /// One more session of a user, from these positions on.
    async fn connect(&self, user: UserId, number: usize, positions: Vec<Position>) -> Person {
        let mut recorder = self.shared.ledger.recorder();
        let session = recorder.open(&user, Opening::default());
        recorder.starts_at(session, &positions);
        let witness = Witness { recorder, session, shared: Arc::clone(&self.shared) };
        let mut settings = ClientSettings::new(self.options(&user, number).positions(positions));
        settings.backoff_max = Duration::from_millis(200);
        settings.request_timeout = self.size.request_timeout;
        let client = Client::connect(settings, witness).await.expect("a ready node takes a client");
        Person { user, client, session, sends: number < self.size.senders }
    }

    /// A reader's own program dies with the node, and starts again from the positions that it had kept, with the other
    /// codec. The node must be ready.
    pub(crate) async fn restart_a_reader(&mut self, random: &mut StdRng) {
        let index = random.random_range(self.size.senders..self.people.len());
        let reader = &self.people[index];
        let positions = reader.client.positions().await.expect("a reader knows where it stands");
        // What it still takes until it is gone is not in what it kept: the next session gets it again.
        reader.client.close().await;
        self.people[index] = self.connect(reader.user.clone(), index + 1, positions).await;
    }

    fn options(&self, user: &UserId, number: usize) -> ConnectOptions {
        let life = Duration::from_secs(24 * 3600);
        let token = token::mint(&self.secret, user.as_str(), life).expect("a token can be signed");
        let codec = if number.is_multiple_of(2) { Codec::Json } else { Codec::Postcard };
        let mut options = ConnectOptions::new(self.settings.url(), token).codec(codec);
        options.timeout = Duration::from_secs(5);
        options
    }

    /// The senders begin, and go on until [`Load::finish`].
    pub(crate) fn talk(&mut self, seed: u64, bite: Bite) {
        self.shared.ledger.fault_planned(FAULT);
        for (number, person) in self.people.iter().filter(|person| person.sends).enumerate() {
            for worker in 0..WORKERS_PER_SENDER {
                let sender = Sender {
                    shared: Arc::clone(&self.shared),
                    client: person.client.clone(),
                    user: person.user.clone(),
                    rooms: self.rooms.clone(),
                    text_bytes: self.size.text_bytes,
                    bite,
                    random: StdRng::seed_from_u64(seed ^ ((number * WORKERS_PER_SENDER + worker) as u64 + 1)),
                };
                self.workers.spawn(sender.run());
            }
        }
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    pub(crate) fn acknowledged(&self) -> u64 {
        self.shared.counters.acknowledged.load(Ordering::Relaxed)
    }

    /// Waits until `more` messages were acknowledged from now on.
    pub(crate) async fn wait_for_acknowledgements(&self, more: u64, limit: Duration) {
        let (before, began) = (self.acknowledged(), Instant::now());
        while self.acknowledged() < before + more {
            assert!(began.elapsed() < limit, "{more} messages were not acknowledged within {limit:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The senders stop, everything is settled and read to the end on a node that is ready; then the ledger judges.
    pub(crate) async fn finish(mut self) -> Verdict {
        self.shared.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.workers.join_next().await {
            ended.expect("a sender does not panic");
        }
        let heads = self.shared.heads.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for person in &self.people {
            self.wait_until_read(person, &heads).await;
            self.shared.record(|recorder| recorder.done(person.session));
            let state = person.client.state();
            assert_eq!(state, State::Connected, "{} did not stay a client", person.user);
            person.client.close().await;
        }
        for reader in [0, self.people.len() - 1] {
            self.read_all(&self.people[reader].user, reader).await;
        }
        let epochs = self.shared.epochs.lock().unwrap_or_else(PoisonError::into_inner).clone();
        assert_eq!(epochs.len(), 1, "the epoch changed although nothing was restored: {epochs:?}");
        drop(self.shared.recorder.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.shared.ledger.judge()
    }

    /// Waits until the person stands at or behind the last acknowledged message of each room. One that never gets there
    /// is left for the ledger to name.
    async fn wait_until_read(&self, person: &Person, heads: &BTreeMap<StreamId, u64>) {
        let until = Instant::now() + SETTLED_WITHIN;
        while Instant::now() < until {
            let positions = person.client.positions().await.unwrap_or_default();
            let stands = |stream: &StreamId, seq: u64| {
                positions.iter().any(|position| position.stream == *stream && position.seq >= seq)
            };
            if heads.iter().all(|(stream, seq)| stands(stream, *seq)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Reads every room from its beginning over a fresh connection.
    async fn read_all(&self, user: &UserId, number: usize) {
        let options = self.options(user, number);
        let (asking, welcome) = Connection::open(&options).await.expect("a ready node takes a client");
        asking.close().await;
        let from_start =
            |room: &RoomId| Position { stream: StreamId::Room(room.clone()), epoch: welcome.epoch.clone(), seq: 0 };
        let positions: Vec<Position> = self.rooms.iter().map(from_start).collect();
        let mut recorder = self.shared.ledger.recorder();
        let session = recorder.open(user, Opening { final_read_of_node: Some(0), limited: false });
        recorder.starts_at(session, &positions);
        let (synced, mut is_synced) = tokio::sync::watch::channel(false);
        let witness = Witness { recorder, session, shared: Arc::clone(&self.shared) };
        let observer = Synced { witness, synced };
        let settings = ClientSettings::new(options.positions(positions));
        let client = Client::connect(settings, observer).await.expect("a ready node takes a client");
        let waited = tokio::time::timeout(SETTLED_WITHIN, is_synced.wait_for(|synced| *synced)).await;
        assert!(waited.is_ok_and(|synced| synced.is_ok()), "the final read was not synced within {SETTLED_WITHIN:?}");
        self.shared.record(|recorder| recorder.done(session));
        client.close().await;
    }
}

/// A witness that tells when it is in sync.
struct Synced {
    witness: Witness,
    synced: tokio::sync::watch::Sender<bool>,
}

impl Observer for Synced {
    fn observe(&mut self, notice: Notice) {
        let synced = matches!(notice, Notice::Synced { .. });
        self.witness.observe(notice);
        if synced {
            self.synced.send_replace(true);
        }
    }
}

/// One task that sends message after message.
struct Sender {
    shared: Arc<Shared>,
    client: Client,
    user: UserId,
    rooms: Vec<RoomId>,
    text_bytes: usize,
    bite: Bite,
    random: StdRng,
}

impl Sender {
    async fn run(mut self) {
        while !self.shared.stop.load(Ordering::Relaxed) {
            self.publish().await;
            tokio::time::sleep(Duration::from_millis(self.random.random_range(1..8))).await;
        }
    }

    /// One message, again and again under the same nonce until its outcome is known.
    async fn publish(&mut self) {
        let room = self.rooms[self.random.random_range(0..self.rooms.len())].clone();
        let stream = StreamId::Room(room.clone());
        let id = MessageId::generate();
        let text = format!("{:0width$x}", id.as_uuid().as_u128(), width = self.text_bytes);
        let publish = self.shared.record(|recorder| recorder.invoke(&stream, &self.user, id, &text));
        let command = message(&room, id, text);
        let until = Instant::now() + SETTLED_WITHIN;
        loop {
            let asked = Instant::now();
            let answer = self.client.request(command.clone()).await;
            match answer.and_then(|reply| committed("message.send", reply)) {
                Ok(committed) => {
                    self.shared.record(|recorder| recorder.ok(publish, &committed));
                    self.shared.counters.acknowledged.fetch_add(1, Ordering::Relaxed);
                    let mut heads = self.shared.heads.lock().unwrap_or_else(PoisonError::into_inner);
                    let head = heads.entry(stream).or_default();
                    *head = (*head).max(committed.seq);
                    return;
                }
                Err(error) => {
                    let again = self.note(publish, &error, asked.elapsed());
                    if !again || Instant::now() > until {
                        return;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(self.random.random_range(10..60))).await;
            self.shared.record(|recorder| recorder.retry(publish));
        }
    }

    /// Writes down an attempt that failed; says whether another one makes sense.
    fn note(&self, publish: loadtest_client::ledger::PublishId, error: &RequestError, took: Duration) -> bool {
        let counters = &self.shared.counters;
        let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        counters.slowest_error_ms.fetch_max(took_ms, Ordering::Relaxed);
        self.shared.record(|recorder| match error {
            RequestError::Refused(_) => recorder.fail(publish),
            RequestError::Unknown(_) | RequestError::Closed(_) => recorder.unknown(publish),
        });
        let unknown = !matches!(error, RequestError::Refused(_));
        if unknown || self.bite == Bite::AnyError {
            self.shared.ledger.fault_bit(FAULT);
        }
        if unknown { &counters.unknown } else { &counters.refused }.fetch_add(1, Ordering::Relaxed);
        error.retryable()
    }
}

/// Panics with everything the ledger found, unless it is clean; prints the counts.
pub(crate) fn expect_clean(verdict: &Verdict, what: &str) {
    println!("{what}: {:?}", verdict.counts);
    assert!(verdict.is_clean(), "{what}: the ledger is not clean: {verdict:#?}");
    // Each is repeated until it is done, and nothing is wrong with any of them.
    assert_eq!(verdict.counts.acknowledged, verdict.counts.publishes, "{what}: not every message was taken at last");
}
