//! Which life of the store this is: the lock of the data directory, and the epoch.
//!
//! A random fingerprint stands in the database and in a file beside it, and is renewed at each start: the file is written
//! first with old and new, then the database with new, then the file with new alone. A crash between two steps leaves a
//! match; a database that was put back from an older copy, or that comes from elsewhere, leaves none, and a new epoch
//! begins. (A copy that was taken since the last start and put back before the next one cannot be told: `new-epoch`.)

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use hallway_protocol::Epoch;
use rusqlite::{Connection, OptionalExtension};

use crate::StoreError;

const LOCK_FILE: &str = "lock";
const FINGERPRINT_FILE: &str = "fingerprint";

fn unusable(what: &str, path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unusable(format!("cannot {what} {}: {error}; check the directory and its permissions", path.display()))
}

/// Takes the data directory for this process, until the file is dropped.
pub(super) fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join(LOCK_FILE);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|error| unusable("open", &path, &error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // Only for the message: a holder that has not written its number yet is still a holder.
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim();
            let holder = if holder.is_empty() { "another process" } else { holder };
            return Err(StoreError::Unusable(format!(
                "the data directory {} is in use by {holder} (it holds {}): stop that one, or choose another --data-dir",
                directory.display(),
                path.display()
            )));
        }
        Err(TryLockError::Error(error)) => return Err(unusable("lock", &path, &error)),
    }
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(format!("process {}\n", std::process::id()).as_bytes()));
    written.map_err(|error| unusable("write", &path, &error))?;
    Ok(file)
}

/// Settles the epoch at a start: the old one when the fingerprints match, otherwise a new one.
pub(super) fn begin(connection: &mut Connection, directory: &Path) -> Result<Epoch, StoreError> {
    let path = directory.join(FINGERPRINT_FILE);
    let known = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(unusable("read", &path, &error)),
    };
    let held: Option<(String, String)> = connection
        .query_row("SELECT epoch, fingerprint FROM life", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    match held {
        Some((epoch, fingerprint)) if known.lines().any(|line| line == fingerprint) => {
            let renewed = random();
            write_fingerprints(&path, &format!("{fingerprint}\n{renewed}\n"))?;
            store(connection, &epoch, &renewed)?;
            write_fingerprints(&path, &format!("{renewed}\n"))?;
            Ok(Epoch::new(&epoch)?)
        }
        held => {
            if held.is_some() {
                tracing::warn!(
                    directory = %directory.display(),
                    "the database is not the one that was used here last: a new epoch begins"
                );
            }
            renew(connection, directory)
        }
    }
}

/// Begins a new epoch. The old fingerprint is not written again: a crash before the database has the new epoch must not
/// look like a match.
pub(super) fn renew(connection: &mut Connection, directory: &Path) -> Result<Epoch, StoreError> {
    let (epoch, fingerprint) = (random(), random());
    write_fingerprints(&directory.join(FINGERPRINT_FILE), &format!("{fingerprint}\n"))?;
    store(connection, &epoch, &fingerprint)?;
    Ok(Epoch::new(&epoch)?)
}

/// The epoch in the snapshot of the connection's transaction.
pub(super) fn epoch(connection: &Connection) -> Result<Epoch, StoreError> {
    let text: String =
        connection.prepare_cached("SELECT epoch FROM life WHERE only_row = 1")?.query_row([], |row| row.get(0))?;
    Ok(Epoch::new(&text)?)
}

fn store(connection: &Connection, epoch: &str, fingerprint: &str) -> Result<(), StoreError> {
    connection.execute(
        "INSERT INTO life (only_row, epoch, fingerprint) VALUES (1, ?1, ?2)
         ON CONFLICT (only_row) DO UPDATE SET epoch = excluded.epoch, fingerprint = excluded.fingerprint",
        [epoch, fingerprint],
    )?;
    Ok(())
}

fn random() -> String {
    format!("{:016x}", rand::random::<u64>())
}

/// Replaces the file; durable, directory entry included, when it returns.
fn write_fingerprints(path: &PathBuf, text: &str) -> Result<(), StoreError> {
    let new = path.with_extension("new");
    let write = || {
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        match path.parent() {
            Some(directory) => File::open(directory)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|error: std::io::Error| unusable("write", path, &error))
}
