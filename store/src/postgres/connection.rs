//! Connections and how their failures are to be read.
//!
//! **Invariant:** a connection that was lost, timed out or abandoned in the middle of a statement is never used again.
//!
//! **Invariant:** a write is called definitely failed only when nothing was sent, or when the server itself said so.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bb8::{ManageConnection, Pool, PooledConnection, QueueStrategy};
use tokio::task::JoinHandle;
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};

use super::options::Server;
use super::rows::signed;
use super::{PostgresOptions, statements};
use crate::error::Cause;
use crate::{Durability, HandOutRules, StoreError};

/// One connection with the statements that it has prepared.
pub(super) struct Connection {
    client: Client,
    driver: JoinHandle<()>,
    prepared: HashMap<&'static str, Statement>,
    /// A statement was sent and its answer was not read to the end.
    unanswered: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // Closes the socket now, also when the server never answers.
        self.driver.abort();
    }
}

impl Connection {
    pub(super) async fn open(server: &Server) -> Result<Self, Error> {
        let (client, connection) = server.config.connect(server.tls.clone()).await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to Postgres ended");
            }
        });
        Ok(Self { client, driver, prepared: HashMap::new(), unanswered: false })
    }

    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    async fn statement(&mut self, sql: &'static str) -> Result<Statement, Error> {
        match self.prepared.entry(sql) {
            Entry::Occupied(entry) => Ok(entry.get().clone()),
            Entry::Vacant(entry) => Ok(entry.insert(self.client.prepare(sql).await?).clone()),
        }
    }
}

/// Makes connections for the pool.
pub(super) struct Manager {
    server: Server,
    /// Why the last attempt failed: the pool itself only says that it waited too long.
    last_failure: Arc<Mutex<Option<String>>>,
}

impl ManageConnection for Manager {
    type Connection = Connection;
    type Error = Error;

    async fn connect(&self) -> Result<Connection, Error> {
        let opened = async {
            let mut connection = Connection::open(&self.server).await?;
            // Another life of the store (a restore, a promotion) begins with new connections.
            let statement = connection.statement(statements::EPOCH).await?;
            connection.client.query(&statement, &[&false]).await?;
            Ok(connection)
        }
        .await;
        let failure = opened.as_ref().err().map(|error: &Error| describe(error));
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
        opened
    }

    async fn is_valid(&self, connection: &mut Connection) -> Result<(), Error> {
        connection.client.simple_query("").await.map(|_| ())
    }

    fn has_broken(&self, connection: &mut Connection) -> bool {
        connection.unanswered || connection.client.is_closed()
    }
}

/// What a failure means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It can simply be asked again.
    Read,
    /// It may have been committed when nobody answered.
    Write,
}

/// The pool, and the one way to run a statement.
#[derive(Clone)]
pub(super) struct Connections {
    pool: Pool<Manager>,
    /// So many idle connections can have been closed since they were used.
    closed_max: u32,
    last_failure: Arc<Mutex<Option<String>>>,
    answer_timeout: Duration,
    /// What those who write tell the stored functions about webhooks.
    pub(super) hand_outs: HandOutRules,
}

impl Connections {
    /// After how long notifications are first looked at to be handed out, if ever.
    pub(super) fn first_look_ms(&self) -> Option<i64> {
        self.hand_outs.hands_out.then(|| signed(self.hand_outs.first_look_ms))
    }

    pub(super) async fn new(server: Server, options: &PostgresOptions) -> Result<Self, StoreError> {
        let last_failure = Arc::new(Mutex::new(None));
        let manager = Manager { server, last_failure: Arc::clone(&last_failure) };
        let pool = Pool::builder()
            .max_size(options.connections_max)
            .test_on_check_out(false)
            // A connection that worked just now has its plans and the server's caches at hand.
            .queue_strategy(QueueStrategy::Lifo)
            .connection_timeout(options.connect_timeout)
            .build(manager)
            .await
            .map_err(|error| StoreError::Unavailable(Box::new(error)))?;
        // The server gives up first, and says so; ours is for a server that says nothing.
        let answer_timeout = options.statement_timeout + options.statement_timeout / 4;
        let closed_max = options.connections_max;
        Ok(Self { pool, closed_max, last_failure, answer_timeout, hand_outs: HandOutRules::default() })
    }

    /// A connection that is open as far as anybody has heard.
    async fn get(&self) -> Result<PooledConnection<'_, Manager>, StoreError> {
        for _ in 0..self.closed_max {
            let connection = self.get_any().await?;
            if !connection.client.is_closed() {
                return Ok(connection);
            }
            // The server closed it while it was idle; the pool throws it away.
        }
        self.get_any().await
    }

    async fn get_any(&self) -> Result<PooledConnection<'_, Manager>, StoreError> {
        self.pool.get().await.map_err(|error| {
            let last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
            StoreError::Unavailable(match (error, last) {
                (bb8::RunError::User(error), _) => Box::new(error),
                (bb8::RunError::TimedOut, Some(last)) => Cause::from(format!("no connection in time: {last}")),
                (bb8::RunError::TimedOut, None) => Cause::from("all connections are busy"),
            })
        })
    }

    /// Runs one statement in its own transaction.
    pub(super) async fn run(
        &self,
        kind: Kind,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, StoreError> {
        let mut connection = self.get().await?;
        // From here on a dropped future leaves an unread answer behind, and the pool throws the connection away.
        connection.unanswered = true;
        let prepared = tokio::time::timeout(self.answer_timeout, connection.statement(sql)).await;
        let statement = match prepared {
            Ok(Ok(statement)) => statement,
            Ok(Err(error)) => {
                connection.unanswered = error.as_db_error().is_none();
                return Err(StoreError::Unavailable(Box::new(error)));
            }
            Err(elapsed) => return Err(StoreError::Unavailable(Box::new(elapsed))),
        };
        match tokio::time::timeout(self.answer_timeout, connection.client.query(&statement, parameters)).await {
            Ok(Ok(rows)) => {
                connection.unanswered = false;
                Ok(rows)
            }
            Ok(Err(error)) => {
                connection.unanswered = error.as_db_error().is_none();
                Err(judge(kind, error))
            }
            Err(elapsed) => Err(match kind {
                Kind::Read => StoreError::Unavailable(Box::new(elapsed)),
                Kind::Write => StoreError::OutcomeUnknown(Box::new(elapsed)),
            }),
        }
    }

    /// As [`Connections::run`], for statements that answer one row.
    pub(super) async fn run_one(
        &self,
        kind: Kind,
        sql: &'static str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> Result<Row, StoreError> {
        let rows = self.run(kind, sql, parameters).await?;
        rows.into_iter().next().ok_or_else(|| StoreError::Corrupt("a statement answered no row".to_owned()))
    }
}

/// The answer of the server to a statement that is its own transaction: an error is a rollback. What ends the session
/// with it (a shutdown, a crash elsewhere) counts as unknown for a write: it may come between commit and answer.
fn judge(kind: Kind, error: Error) -> StoreError {
    let Some(server) = error.as_db_error() else {
        return match kind {
            // Encoding a parameter failed: nothing was sent.
            _ if error.to_string().contains("serializing") => StoreError::Refused(Box::new(error)),
            Kind::Read => StoreError::Unavailable(Box::new(error)),
            Kind::Write => StoreError::OutcomeUnknown(Box::new(error)),
        };
    };
    let ends_session = matches!(server.parsed_severity(), Some(Severity::Fatal | Severity::Panic));
    if ends_session && kind == Kind::Write {
        return StoreError::OutcomeUnknown(Box::new(error));
    }
    if ends_session || is_passing(server.code()) {
        return StoreError::Unavailable(Box::new(error));
    }
    StoreError::Refused(Box::new(error))
}

/// Nothing is wrong with the data; later it may work.
fn is_passing(code: &SqlState) -> bool {
    const PASSING: [SqlState; 4] = [
        SqlState::LOCK_NOT_AVAILABLE,
        SqlState::QUERY_CANCELED,
        SqlState::T_R_DEADLOCK_DETECTED,
        SqlState::T_R_SERIALIZATION_FAILURE,
    ];
    // 08: connection, 25: read only, 53: resources (disk full), 57: operator, 58: system.
    PASSING.contains(code) || ["08", "25", "53", "57", "58"].contains(&code.code().get(..2).unwrap_or_default())
}

/// An error of the driver with what lies under it, which its own text leaves out.
pub(super) fn describe(error: &Error) -> String {
    match (error.as_db_error(), std::error::Error::source(error)) {
        (Some(server), _) => format!("{} ({})", server.message(), server.code().code()),
        (None, Some(source)) => format!("{error}: {source}"),
        (None, None) => error.to_string(),
    }
}

/// What Postgres does so that a commit survives.
pub(super) async fn durability(connections: &Connections) -> Result<Durability, StoreError> {
    let rows = connections.run(Kind::Read, statements::DURABILITY, &[]).await?;
    let settings: Vec<(String, String)> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let is_off = |name: &str| settings.iter().any(|(known, value)| known == name && value == "off");
    let mut unsafe_settings = Vec::new();
    if is_off("fsync") {
        unsafe_settings.push("fsync is off: set fsync = on in postgresql.conf and reload".to_owned());
    }
    if is_off("synchronous_commit") {
        unsafe_settings.push(
            "synchronous_commit is off: set it to on (or local) in postgresql.conf, or for this role or database with \
             ALTER ROLE … / ALTER DATABASE … SET synchronous_commit = on"
                .to_owned(),
        );
    }
    let mut warnings = Vec::new();
    if is_off("full_page_writes") {
        warnings.push(
            "full_page_writes is off: a power cut may tear pages unless the file system writes them whole; set \
             full_page_writes = on"
                .to_owned(),
        );
    }
    Ok(Durability { settings, unsafe_settings, warnings })
}
