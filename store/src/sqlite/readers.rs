//! A few reading connections, each used by one blocking task at a time.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::Semaphore;

use super::{closed, open_reader};
use crate::StoreError;
use crate::error::Cause;

/// Reading connections: more than cores only adds waiting inside.
const READERS: usize = 3;

#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Vec<Connection>>>,
}

impl Readers {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let idle = (0..READERS).map(|_| open_reader(path)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { path: path.to_owned(), places: Arc::new(Semaphore::new(READERS)), idle: Arc::new(Mutex::new(idle)) })
    }

    /// Runs a job in one read transaction: everything that it reads is of one snapshot.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| closed())?;
        let (idle, path) = (Arc::clone(&self.idle), self.path.clone());
        let task = tokio::task::spawn_blocking(move || {
            let held = idle.lock().ok().and_then(|mut idle| idle.pop());
            // A connection is missing only when the job that had it panicked.
            let mut connection = held.map_or_else(|| open_reader(&path), Ok)?;
            let result = read(&mut connection, job);
            if !place.semaphore().is_closed()
                && let Ok(mut idle) = idle.lock()
            {
                idle.push(connection);
            }
            drop(place);
            result
        });
        task.await.unwrap_or_else(|error| Err(StoreError::Unavailable(Cause::from(error))))
    }

    /// Takes no more jobs.
    pub(super) fn close(&self) {
        self.places.close();
        if let Ok(mut idle) = self.idle.lock() {
            idle.clear();
        }
    }
}

fn read<T>(
    connection: &mut Connection,
    job: impl FnOnce(&Connection) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let transaction = Transaction::new(connection, TransactionBehavior::Deferred)?;
    let result = job(&transaction)?;
    transaction.commit()?;
    Ok(result)
}
