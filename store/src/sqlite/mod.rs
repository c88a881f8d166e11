//! The embedded back end: one SQLite file in the data directory, WAL, `synchronous=FULL`.
//!
//! One thread owns the writing connection and takes jobs from a bounded queue; a few connections read, each page or list
//! in one read transaction. Reading order: `tables` (values in columns), `events` (the log), `batch`, `commit` and
//! `messages` (the writing commands), `together`, `tasks`, `words` and `resolve` (names), `notes` (notifications), `outbox` (webhooks), `reads`, `upkeep`, `life` (lock and
//! epoch), `writer` and `readers` (threads).
//!
//! **Invariant:** only the writer's thread writes, and an answer leaves it after COMMIT returned.
//!
//! **Invariant:** a job that fails is rolled back and leaves the writer fit for the next one.

mod audiences;
mod batch;
mod commit;
mod events;
mod life;
mod messages;
mod notes;
mod outbox;
mod people;
mod readers;
mod reads;
mod resolve;
mod tables;
mod tasks;
mod together;
mod upkeep;
mod words;
mod writer;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use hallway_protocol::{Epoch, RoomId, StreamId, UserId};
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use self::readers::Readers;
use self::writer::Writer;
use crate::error::Cause;
use crate::{
    AudienceBatch, AuditPage, AuditQuery, BATCH_MAX_WRITES, BanQuery, BansPage, CommitBatch, ConnectState, Durability,
    Ending, HandOutRules, HeadBatch, HistoryQuery, Log, Mark, MarkBatch, MemberQuery, MembersPage, MessagesPage,
    MissedQuery, PageBatch, PageRequest, People, RoomQuery, RoomView, Rooms, RoomsPage, StoreError, StreamHead,
    TOGETHER_MAX_WRITES, Tail, TailCursor, TogetherBatch, Upkeep, Write,
};

mod migrations {
    refinery::embed_migrations!("migrations/sqlite");
}

/// Name of the database in its directory.
pub const DATABASE_FILE: &str = "hallway.db";

/// How long a connection waits for a lock inside the database (recovery, checkpoint).
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Statements that a connection keeps prepared.
const STATEMENTS_KEPT: usize = 192;

/// A store in a data directory, which belongs to this process alone until it is closed or dropped.
#[derive(Debug)]
pub struct SqliteStore {
    directory: PathBuf,
    hand_outs: HandOutRules,
    writer: Writer,
    readers: Readers,
    /// Held for as long as the store is open; the kernel lets it go when the process dies.
    lock: Mutex<Option<File>>,
}

impl SqliteStore {
    /// Opens the store in `data_dir`, which is made if it is not there, and takes it for this process. Blocks.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] when another process has it or the directory cannot be used.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(data_dir).map_err(|error| {
            StoreError::Unusable(format!("cannot make the data directory {}: {error}", data_dir.display()))
        })?;
        let lock = life::lock(data_dir)?;
        let path = data_dir.join(DATABASE_FILE);
        let mut connection = open_writer(&path)?;
        migrations::migrations::runner()
            .run(&mut connection)
            .map_err(|error| StoreError::Unusable(format!("cannot migrate {}: {error}", path.display())))?;
        in_transaction(&mut connection, words::complete)?;
        let epoch = life::begin(&connection, data_dir)?;
        tracing::debug!(%epoch, path = %path.display(), "store opened");
        let readers = Readers::open(&path)?;
        let writer = Writer::start(connection)?;
        let (directory, hand_outs) = (data_dir.to_owned(), HandOutRules::default());
        Ok(Self { directory, hand_outs, writer, readers, lock: Mutex::new(Some(lock)) })
    }

    /// Says whether and when notifications are to be looked at for handing out; without it, never.
    #[must_use]
    pub fn with_hand_outs(mut self, rules: HandOutRules) -> Self {
        self.hand_outs = rules;
        self
    }

    /// Runs a job in a writing transaction of its own.
    async fn write<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.writer.run(move |connection| in_transaction(connection, job)).await
    }
}

fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let unusable = |error: rusqlite::Error| {
        StoreError::Unusable(format!("cannot open {}: {error}; is it a database of hallway?", path.display()))
    };
    let connection = Connection::open(path).map_err(unusable)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)).map_err(unusable)?;
    if !mode.eq_ignore_ascii_case("wal") {
        return Err(StoreError::Unusable(format!("{} cannot use WAL (it is {mode})", path.display())));
    }
    connection.pragma_update(None, "synchronous", if upkeep::sync_off() { "OFF" } else { "FULL" })?;
    connection.pragma_update(None, "cache_size", -65_536)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(None, "journal_size_limit", 67_108_864)?;
    Ok(connection)
}

fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -16_384)?;
    Ok(connection)
}

/// Runs a job and commits it. What fails before COMMIT is rolled back and definite.
fn in_transaction<T>(
    connection: &mut Connection,
    job: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = Transaction::new(connection, TransactionBehavior::Immediate)?;
    let done = job(&transaction)?;
    transaction.commit().map_err(commit_failed)?;
    Ok(done)
}

/// A COMMIT that failed is not seen by this process again, but its last frame may lie in the WAL whole, and a crash before
/// the next commit overwrites it would bring it back. Only a full disk says that the frame is not whole.
fn commit_failed(error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull | rusqlite::ErrorCode::DatabaseBusy) => {
            StoreError::Unavailable(error.into())
        }
        _ => StoreError::OutcomeUnknown(error.into()),
    }
}

fn closed() -> StoreError {
    StoreError::Unavailable(Cause::from("the store is closed"))
}

#[async_trait]
impl Log for SqliteStore {
    async fn commit(&self, batch: Vec<Write>) -> Result<CommitBatch, StoreError> {
        if batch.len() > BATCH_MAX_WRITES {
            let message = format!("a batch of {} writes; at most {BATCH_MAX_WRITES} are allowed", batch.len());
            return Err(StoreError::Refused(Cause::from(message)));
        }
        let hand_outs = self.hand_outs;
        self.write(move |connection| {
            let mut state = batch::Batch::new(connection, upkeep::now_ms(), hand_outs);
            let mut results = Vec::with_capacity(batch.len());
            for write in &batch {
                results.push(match commit::apply(&mut state, write) {
                    Ok(committed) => Ok(committed),
                    Err(commit::Stop::Refused(refusal)) => Err(refusal),
                    Err(commit::Stop::Failed(error)) => return Err(error),
                });
            }
            state.flush()?;
            Ok(CommitBatch { epoch: life::epoch(connection)?, results })
        })
        .await
    }

    async fn commit_together(&self, writes: Vec<Write>) -> Result<TogetherBatch, StoreError> {
        if writes.len() > TOGETHER_MAX_WRITES {
            let message = format!("{} writes together; at most {TOGETHER_MAX_WRITES} are allowed", writes.len());
            return Err(StoreError::Refused(Cause::from(message)));
        }
        let hand_outs = self.hand_outs;
        self.writer.run(move |connection| together::commit_together(connection, &writes, hand_outs)).await
    }

    async fn mark_read(&self, marks: Vec<Mark>) -> Result<MarkBatch, StoreError> {
        let hand_outs = self.hand_outs;
        self.write(move |connection| {
            let mut state = batch::Batch::new(connection, upkeep::now_ms(), hand_outs);
            let results = marks.iter().map(|mark| upkeep::mark(&mut state, mark)).collect::<Result<_, _>>()?;
            state.flush()?;
            Ok(MarkBatch { epoch: life::epoch(connection)?, results })
        })
        .await
    }

    async fn pages(&self, requests: Vec<PageRequest>) -> Result<PageBatch, StoreError> {
        self.readers
            .run(move |connection| {
                let pages = requests.iter().map(|request| events::page(connection, request));
                let pages = pages.collect::<Result<_, _>>()?;
                Ok(PageBatch { epoch: life::epoch(connection)?, pages })
            })
            .await
    }

    async fn heads(&self, streams: Vec<StreamId>) -> Result<HeadBatch, StoreError> {
        self.readers
            .run(move |connection| {
                let heads = streams.iter().map(|stream| reads::head(connection, stream));
                let heads = heads.collect::<Result<_, _>>()?;
                Ok(HeadBatch { epoch: life::epoch(connection)?, heads })
            })
            .await
    }

    async fn tail(&self, cursor: TailCursor) -> Result<Tail, StoreError> {
        // The one writer is in this process: what it committed, its caller already knows.
        self.readers
            .run(move |connection| {
                Ok(Tail { epoch: life::epoch(connection)?, next: cursor, heads: Vec::new(), rows: 0 })
            })
            .await
    }
}

#[async_trait]
impl Rooms for SqliteStore {
    async fn connect_after(&self, user: &UserId, missed: MissedQuery) -> Result<ConnectState, StoreError> {
        let asked = user.clone();
        let (state, known) =
            self.readers.run(move |connection| reads::connect(connection, upkeep::now_ms(), &asked, &missed)).await?;
        if !known {
            let user = user.clone();
            self.write(move |connection| people::make_known(connection, &user)).await?;
        }
        Ok(state)
    }

    async fn room(&self, user: &UserId, room: &RoomId) -> Result<Option<RoomView>, StoreError> {
        let (user, room) = (user.clone(), room.clone());
        self.readers.run(move |connection| reads::room(connection, &user, &room)).await
    }

    async fn list_rooms(&self, user: &UserId, query: RoomQuery) -> Result<RoomsPage, StoreError> {
        let user = user.clone();
        self.readers.run(move |connection| reads::list_rooms(connection, &user, &query)).await
    }

    async fn members(&self, user: &UserId, query: MemberQuery) -> Result<Option<MembersPage>, StoreError> {
        let user = user.clone();
        self.readers.run(move |connection| reads::members(connection, &user, &query)).await
    }

    async fn history(&self, user: &UserId, query: HistoryQuery) -> Result<Option<MessagesPage>, StoreError> {
        let user = user.clone();
        self.readers.run(move |connection| reads::history(connection, &user, &query)).await
    }

    async fn audiences(&self, rooms: Vec<RoomId>, members_max: u32) -> Result<AudienceBatch, StoreError> {
        self.readers.run(move |connection| audiences::audiences(connection, &rooms, members_max)).await
    }

    async fn acquaintances(&self, user: &UserId, others: Vec<UserId>) -> Result<Vec<UserId>, StoreError> {
        let user = user.clone();
        self.readers.run(move |connection| audiences::acquaintances(connection, &user, others)).await
    }
}

#[async_trait]
impl People for SqliteStore {
    async fn mute(&self, user: &UserId, room: &RoomId) -> Result<Option<Ending>, StoreError> {
        let (user, room) = (user.clone(), room.clone());
        self.readers.run(move |connection| people::mute(connection, upkeep::now_ms(), &user, &room)).await
    }

    async fn bans(&self, user: &UserId, query: BanQuery) -> Result<Option<BansPage>, StoreError> {
        let user = user.clone();
        self.readers.run(move |connection| people::bans(connection, upkeep::now_ms(), &user, &query)).await
    }

    async fn audit(&self, viewer: Option<&UserId>, query: AuditQuery) -> Result<Option<AuditPage>, StoreError> {
        let viewer = viewer.cloned();
        self.readers.run(move |connection| people::audit(connection, viewer.as_ref(), &query)).await
    }

    async fn trim_records(&self) -> Result<bool, StoreError> {
        self.write(|connection| people::trim_records(connection, upkeep::now_ms())).await
    }
}

#[async_trait]
impl Upkeep for SqliteStore {
    async fn probe(&self) -> Result<(), StoreError> {
        self.readers.run(|connection| life::epoch(connection).map(drop)).await
    }

    async fn epoch(&self) -> Result<Epoch, StoreError> {
        self.readers.run(life::epoch).await
    }

    async fn new_epoch(&self) -> Result<Epoch, StoreError> {
        let directory = self.directory.clone();
        self.writer.run(move |connection| life::renew(connection, &directory)).await
    }

    async fn durability(&self) -> Result<Durability, StoreError> {
        self.writer.run(|connection| upkeep::durability(connection)).await
    }

    async fn trim(&self, stream: &StreamId, keep_from_seq: u64) -> Result<StreamHead, StoreError> {
        let stream = stream.clone();
        self.write(move |connection| upkeep::trim(connection, &stream, keep_from_seq)).await
    }

    async fn expired(&self, older_than_ms: u64, limit: u32) -> Result<Vec<(StreamId, u64)>, StoreError> {
        self.readers.run(move |connection| upkeep::expired(connection, older_than_ms, limit)).await
    }

    async fn trim_nonces(&self) -> Result<bool, StoreError> {
        self.write(|connection| upkeep::trim_nonces(connection, upkeep::now_ms())).await
    }

    async fn close(&self) {
        self.writer.close().await;
        self.readers.close();
        if let Ok(mut lock) = self.lock.lock() {
            lock.take();
        }
    }
}

#[cfg(all(test, feature = "conformance"))]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::conformance::kit;

    /// Sets how many pages the database may grow by; `None` takes the bound away.
    async fn bound_pages(store: &SqliteStore, more: Option<i64>) {
        let set = move |connection: &mut Connection| {
            let pages: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
            let bound = more.map_or(1_000_000_000, |more| pages + more);
            connection.pragma_update_and_check(None, "max_page_count", bound, |_| Ok(()))?;
            Ok(())
        };
        store.writer.run(set).await.unwrap();
    }

    #[tokio::test]
    async fn a_full_disk_is_reported_definitely_and_the_writer_goes_on_when_it_is_freed() {
        let directory = tempfile::TempDir::new().unwrap();
        let store = std::sync::Arc::new(SqliteStore::open(directory.path()).unwrap());
        let shared: kit::Shared = store.clone();
        let (ann, room) = (kit::user("full", "ann"), kit::room("full", "room"));
        kit::channel(&shared, &ann, &room, hallway_protocol::Visibility::Public, hallway_protocol::History::All).await;
        let text = "x".repeat(16_000);
        let batch = || (0..20).map(|_| kit::write(&ann, kit::send(&room, &text))).collect::<Vec<_>>();
        bound_pages(&store, Some(10)).await;
        let refused = batch();
        for _ in 0..3 {
            let error = store.commit(refused.clone()).await.unwrap_err();
            assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        }
        assert_eq!(kit::room_events(&shared, &room).await.len(), 2, "nothing of it is there");
        bound_pages(&store, None).await;
        let results = kit::commit(&shared, refused).await;
        let seqs: Vec<u64> = results.into_iter().map(|result| result.unwrap().seq).collect();
        assert_eq!(seqs, (3..23).collect::<Vec<_>>(), "no hole, and no nonce used up");
        store.close().await;
    }

    #[tokio::test]
    async fn a_job_that_panics_takes_nothing_along() {
        let directory = tempfile::TempDir::new().unwrap();
        let store = SqliteStore::open(directory.path()).unwrap();
        let write = store.write(|connection| -> Result<(), StoreError> {
            connection.execute("DELETE FROM life", [])?;
            panic!("a bug");
        });
        assert!(matches!(write.await, Err(StoreError::OutcomeUnknown(_))));
        let read = store.readers.run(|_| -> Result<(), StoreError> { panic!("a bug") });
        assert!(read.await.is_err());
        store.new_epoch().await.unwrap();
        for _ in 0..10 {
            store.probe().await.unwrap();
        }
        store.close().await;
    }
}
