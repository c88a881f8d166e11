//! What all scenarios share: names that are unique per run, connections, publishing, the final read.

use std::collections::BTreeMap;
use std::error::Error;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hallway_protocol::{MessageId, Position, RoomId, StreamId, UserId};
use loadtest_client::client::{committed, message};
use loadtest_client::ledger::{Ledger, Opening, Recorder, SessionId};
use loadtest_client::{Client, ClientSettings, ConnectOptions, Connection, RequestError, token};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::arguments::Settings;
use crate::member::{Member, Progress, STAMP_DIGITS, TARGET_DIGITS, Watch};
use crate::metrics::{self, Metric, Metrics};

/// Connections and joinings under way at once.
const SETUP_MAX_AT_ONCE: usize = 64;
/// How long one message is tried for.
const PUBLISH_FOR: Duration = Duration::from_secs(30);
/// How long one connection's sync may take.
const SYNC_WITHIN: Duration = Duration::from_secs(60);
/// What a member who comes back reads from its socket at once.
const CATCH_UP_READ_BYTES: usize = 32 * 1024;
/// After this the send counts as late.
pub(crate) const LATE_AFTER: Duration = Duration::from_millis(10);

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

/// One run.
pub(crate) struct Context {
    pub(crate) settings: Settings,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) metrics: Arc<Metrics>,
    /// Where publishes are written down. `None` once the run is over.
    publisher: Mutex<Option<Recorder>>,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) in_flight: AtomicU64,
    name: String,
}

/// A connected member.
pub(crate) struct Handle {
    pub(crate) user: UserId,
    pub(crate) client: Client,
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) delivered: Arc<AtomicU64>,
    pub(crate) session: SessionId,
    /// Which of the targets it is connected to.
    pub(crate) target: usize,
}

impl Context {
    pub(crate) fn new(settings: Settings, stop: Arc<AtomicBool>) -> Arc<Self> {
        let ledger = Ledger::new();
        let publisher = Mutex::new(Some(ledger.recorder()));
        let unique = MessageId::generate().as_uuid().simple().to_string();
        let name = format!("lt-{}", &unique[..18]);
        let metrics = Arc::default();
        Arc::new(Self { settings, ledger, metrics, publisher, stop, in_flight: AtomicU64::new(0), name })
    }

    pub(crate) fn room(&self, number: u32) -> Result<RoomId, Failure> {
        Ok(RoomId::new(&format!("{}-r{number}", self.name))?)
    }

    pub(crate) fn user(&self, number: u32) -> Result<UserId, Failure> {
        Ok(UserId::new(&format!("{}-u{number}", self.name))?)
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn options(&self, user: &UserId, target: usize) -> Result<ConnectOptions, Failure> {
        let life = self.settings.duration + Duration::from_secs(3600);
        let token = token::mint(&self.settings.secret, user.as_str(), life)?;
        let mut options = ConnectOptions::new(&*self.settings.targets[target], token).codec(self.settings.codec);
        options.client_name = "loadtest".to_owned();
        Ok(options)
    }

    /// Connects a member and waits for nothing more than the answer to `hello`.
    pub(crate) async fn connect(
        &self,
        user: UserId,
        how: Watch,
        receive_buffer_bytes: Option<u32>,
    ) -> Result<Handle, Failure> {
        let mut connect = self.options(&user, how.target)?.positions(how.positions.clone());
        connect.receive_buffer_bytes = receive_buffer_bytes;
        connect.read_buffer_bytes = how.catches_up.then_some(CATCH_UP_READ_BYTES);
        let target = how.target;
        let (member, progress, delivered, session) = Member::new(&self.ledger, &self.metrics, &user, how);
        let began = Instant::now();
        let mut settings = ClientSettings::new(connect);
        settings.targets.clone_from(&self.settings.targets);
        let client = Client::connect(settings, member).await?;
        self.metrics.of(Metric::Connect).record(began.elapsed());
        Ok(Handle { user, client, progress, delivered, session, target })
    }

    /// Connects once, so that the node knows the user.
    pub(crate) async fn be_known(&self, user: &UserId, target: usize) -> Result<(), Failure> {
        let (connection, _) = Connection::open(&self.options(user, target)?).await?;
        connection.close().await;
        Ok(())
    }

    /// Sends one message, again and again until its outcome is known. `due` is when it was meant to be sent.
    pub(crate) async fn publish(self: Arc<Self>, sender: Arc<Handle>, room: RoomId, started: Instant, due: Instant) {
        let (client, user) = (&sender.client, &sender.user);
        let id = MessageId::generate();
        let text = text_of(due.saturating_duration_since(started), sender.target, self.settings.payload);
        if due.elapsed() > LATE_AFTER {
            metrics::count(&self.metrics.late);
        }
        let stream = StreamId::Room(room.clone());
        let Some(publish) = self.record(|recorder| recorder.invoke(&stream, user, id, &text)) else { return };
        metrics::count(&self.metrics.sent);
        let command = message(&room, id, text);
        let until = Instant::now() + PUBLISH_FOR;
        loop {
            let result = client.request(command.clone()).await;
            let error = match result.and_then(|reply| committed("message.send", reply)) {
                Ok(committed) => {
                    self.metrics.of(Metric::Ack).record(due.elapsed());
                    metrics::count(&self.metrics.acked);
                    self.record(|recorder| recorder.ok(publish, &committed));
                    return;
                }
                Err(error) => error,
            };
            let pause = match &error {
                RequestError::Refused(body) => {
                    metrics::count(&self.metrics.refused);
                    self.record(|recorder| recorder.fail(publish));
                    body.retry_after_ms.map_or(Duration::from_millis(50), Duration::from_millis)
                }
                RequestError::Unknown(_) | RequestError::Closed(_) => {
                    metrics::count(&self.metrics.unknown);
                    self.record(|recorder| recorder.unknown(publish));
                    Duration::from_millis(50)
                }
            };
            if !error.retryable() || Instant::now() + pause > until {
                return;
            }
            tokio::time::sleep(pause).await;
            self.record(|recorder| recorder.retry(publish));
        }
    }

    /// Writes a line that belongs to no session.
    pub(crate) fn record<T>(&self, write: impl FnOnce(&mut Recorder) -> T) -> Option<T> {
        self.publisher.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(write)
    }

    /// The sessions had every chance to read to the end; now they end.
    pub(crate) async fn finish(self: &Arc<Self>, handles: Vec<Arc<Handle>>) -> Result<(), Failure> {
        for handle in &handles {
            self.record(|recorder| recorder.done(handle.session));
        }
        for_all(handles, |handle| async move {
            handle.client.close().await;
            Ok(())
        })
        .await?;
        Ok(())
    }

    /// Reads rooms from their beginning over fresh connections, one for each reader and node.
    pub(crate) async fn final_read(self: &Arc<Self>, rooms: BTreeMap<UserId, Vec<RoomId>>) -> Result<(), Failure> {
        for node in 0..self.settings.targets.len() {
            let context = Arc::clone(self);
            let readers = rooms.clone().into_iter().collect();
            for_all(readers, move |(user, rooms)| Arc::clone(&context).read_all(user, rooms, node)).await?;
        }
        Ok(())
    }

    async fn read_all(self: Arc<Self>, user: UserId, rooms: Vec<RoomId>, node: usize) -> Result<(), Failure> {
        // The epoch is the node's to say; a first connection asks for it.
        let (asking, welcome) = Connection::open(&self.options(&user, node)?).await?;
        asking.close().await;
        let epoch = welcome.epoch;
        let from_start =
            |room: &RoomId| Position { stream: StreamId::Room(room.clone()), epoch: epoch.clone(), seq: 0 };
        let positions: Vec<Position> = rooms.iter().map(from_start).collect();
        let opening = Opening { final_read_of_node: u32::try_from(node).ok(), limited: false };
        let how = Watch { opening, positions, target: node, catches_up: true, ..Watch::default() };
        let mut handle = self.connect(user, how, None).await?;
        wait_until_synced(&mut handle).await?;
        self.record(|recorder| recorder.done(handle.session));
        handle.client.close().await;
        Ok(())
    }

    /// Nothing is written down any more: the ledger may be judged.
    pub(crate) fn close_books(&self) {
        drop(self.publisher.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Waits until nothing is in flight, or long enough that nothing can be.
    pub(crate) async fn wait_for_publishes(&self) {
        let until = Instant::now() + PUBLISH_FOR + Duration::from_secs(15);
        while self.in_flight.load(Ordering::Relaxed) > 0 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until so many deliveries were counted, at most until none came for `patience`.
    pub(crate) async fn wait_for_deliveries(&self, expected: u64, patience: Duration) {
        let mut last = (metrics::read(&self.metrics.delivered), Instant::now());
        loop {
            let now = metrics::read(&self.metrics.delivered);
            if now >= expected || last.1.elapsed() > patience {
                return;
            }
            if now != last.0 {
                last = (now, Instant::now());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

pub(crate) async fn wait_until_synced(handle: &mut Handle) -> Result<Instant, Failure> {
    let synced = handle.progress.wait_for(|progress| progress.synced.0 > 0);
    let progress = tokio::time::timeout(SYNC_WITHIN, synced)
        .await
        .map_err(|_| format!("no sync_end within {SYNC_WITHIN:?}"))?
        .map_err(|_| "the client ended before sync_end")?;
    Ok(progress.synced.1.unwrap_or_else(Instant::now))
}

/// Does something for all items, some at once; the first failure ends it.
pub(crate) async fn for_all<I, T, F>(items: Vec<I>, mut work: impl FnMut(I) -> F) -> Result<Vec<T>, Failure>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Failure>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(SETUP_MAX_AT_ONCE));
    let mut tasks = JoinSet::new();
    for (index, item) in items.into_iter().enumerate() {
        let task = work(item);
        let permits = Arc::clone(&permits);
        tasks.spawn(async move {
            let _permit = permits.acquire_owned().await?;
            Ok::<_, Failure>((index, task.await?))
        });
    }
    let mut results = Vec::with_capacity(tasks.len());
    while let Some(result) = tasks.join_next().await {
        results.push(result??);
    }
    results.sort_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// A title that no other has, and that begins with an intended time.
pub(crate) fn stamp(due: Duration) -> String {
    format!("{:0STAMP_DIGITS$} {}", due.as_nanos(), MessageId::generate())
}

/// A text of the payload's size that begins with its intended send time.
fn text_of(due: Duration, target: usize, payload: usize) -> String {
    let mut text = format!("{:0STAMP_DIGITS$}{target:0TARGET_DIGITS$}", due.as_nanos());
    text.push(' ');
    while text.len() < payload {
        let filler = "the quick brown fox jumps over the lazy dog ";
        text.push_str(&filler[..filler.len().min(payload - text.len())]);
    }
    text
}

/// An error with what caused it.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
