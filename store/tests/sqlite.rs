//! The embedded store keeps the store's promises, and its own about files.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use hallway_protocol::command::Candidate;
use hallway_protocol::{Epoch, History, Visibility};
use hallway_store::conformance::kit::{self, Shared};
use hallway_store::conformance::notes_kit;
use hallway_store::sqlite::{DATABASE_FILE, SqliteStore};
use hallway_store::{Action, ResolveQuery, Store, StoreError};
use tempfile::TempDir;

async fn fresh() -> (Arc<dyn Store>, TempDir) {
    let directory = TempDir::new().unwrap();
    let store = SqliteStore::open(directory.path()).unwrap();
    (Arc::new(store), directory)
}

hallway_store::store_conformance_suite!(fresh);
hallway_store::store_task_suite!(fresh);

async fn handing_out() -> (Arc<dyn Store>, TempDir) {
    let directory = TempDir::new().unwrap();
    let store = SqliteStore::open(directory.path()).unwrap().with_hand_outs(notes_kit::HAND_OUTS);
    (Arc::new(store), directory)
}

hallway_store::store_notifications_suite!(handing_out);

fn open(directory: &Path) -> Shared {
    Arc::new(SqliteStore::open(directory).unwrap())
}

/// Opens the store, does something, closes it, and says which epoch it had.
async fn life(directory: &Path, messages: usize) -> Epoch {
    let store = open(directory);
    let (ann, room) = (kit::user("life", "ann"), kit::room("life", "room"));
    // The room may be there from an earlier life.
    let _ = kit::try_one(&store, &ann, kit::create(&room, Visibility::Public, History::All)).await;
    for _ in 0..messages {
        kit::one(&store, &ann, kit::send(&room, "text")).await;
    }
    let epoch = store.epoch().await.unwrap();
    store.close().await;
    epoch
}

async fn events(directory: &Path) -> usize {
    let store = open(directory);
    let events = kit::room_events(&store, &kit::room("life", "room")).await.len();
    store.close().await;
    events
}

#[tokio::test]
async fn everything_is_there_after_a_restart_and_the_epoch_stays() {
    let directory = TempDir::new().unwrap();
    let first = life(directory.path(), 3).await;
    assert_eq!(life(directory.path(), 2).await, first);
    assert_eq!(life(directory.path(), 0).await, first);
    assert_eq!(events(directory.path()).await, 7);
}

/// Copies the database as a crash at this moment would leave it.
fn copy(from: &Path, to: &Path) {
    for name in [DATABASE_FILE.to_owned(), format!("{DATABASE_FILE}-wal"), "fingerprint".to_owned()] {
        if from.join(&name).exists() {
            std::fs::copy(from.join(&name), to.join(&name)).unwrap();
        }
    }
}

#[tokio::test]
async fn what_was_committed_is_there_without_a_close() {
    let (directory, crashed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(directory.path());
    let (ann, room) = (kit::user("life", "ann"), kit::room("life", "room"));
    kit::channel(&store, &ann, &room, Visibility::Public, History::All).await;
    let epoch = store.epoch().await.unwrap();
    copy(directory.path(), crashed.path());
    assert_eq!(life(crashed.path(), 0).await, epoch);
    assert_eq!(events(crashed.path()).await, 2);
    store.close().await;
}

#[tokio::test]
async fn an_older_copy_put_back_starts_a_new_epoch() {
    let (directory, backup) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let first = life(directory.path(), 3).await;
    copy(directory.path(), backup.path());
    assert_eq!(life(directory.path(), 5).await, first);
    std::fs::copy(backup.path().join(DATABASE_FILE), directory.path().join(DATABASE_FILE)).unwrap();
    let second = life(directory.path(), 0).await;
    assert_ne!(second, first);
    assert_eq!(life(directory.path(), 0).await, second, "and only one");
}

#[tokio::test]
async fn a_database_from_elsewhere_starts_a_new_epoch() {
    let (here, elsewhere) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let old = life(elsewhere.path(), 1).await;
    std::fs::copy(elsewhere.path().join(DATABASE_FILE), here.path().join(DATABASE_FILE)).unwrap();
    assert_ne!(life(here.path(), 0).await, old, "without its file");
}

#[tokio::test]
async fn a_crash_between_the_file_and_the_database_is_no_restore() {
    let directory = TempDir::new().unwrap();
    let first = life(directory.path(), 1).await;
    let file = directory.path().join("fingerprint");
    // The file is written with old and new, then the process dies.
    let before = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{before}0123456789abcdef\n")).unwrap();
    assert_eq!(life(directory.path(), 1).await, first);
    // The database has the new one already, then the process dies before the file is cut to it.
    let after = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, format!("{before}{after}")).unwrap();
    assert_eq!(life(directory.path(), 1).await, first);
}

#[tokio::test]
async fn a_data_directory_belongs_to_one_process_and_the_error_says_whose() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    let error = SqliteStore::open(directory.path()).unwrap_err().to_string();
    assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
    assert!(error.contains(&directory.path().display().to_string()), "{error}");
    store.close().await;
    open(directory.path()).close().await;
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_with_its_name() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join(DATABASE_FILE), "this is not a database, it is a text").unwrap();
    let error = SqliteStore::open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::Unusable(_)), "{error:?}");
    assert!(error.to_string().contains(DATABASE_FILE), "{error}");
}

#[tokio::test]
async fn a_closed_store_refuses_definitely() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    store.close().await;
    store.close().await;
    assert!(matches!(store.commit(Vec::new()).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.probe().await, Err(StoreError::Unavailable(_))));
}

#[tokio::test]
async fn rooms_that_are_older_than_the_words_of_names_are_found_after_an_upgrade() {
    let directory = TempDir::new().unwrap();
    let store = open(directory.path());
    let (ann, room) = (kit::user("words", "ann"), kit::room("words", "room"));
    let create = Action::CreateRoom {
        room: room.clone(),
        visibility: Visibility::Public,
        history: History::All,
        name: Some("Budget plans".to_owned()),
    };
    kit::one(&store, &ann, create).await;
    store.close().await;
    let database = rusqlite::Connection::open(directory.path().join(DATABASE_FILE)).unwrap();
    // As the last release left it.
    database.execute_batch("DELETE FROM words; UPDATE rooms SET worded = 0").unwrap();
    drop(database);
    let store = open(directory.path());
    let query = ResolveQuery::Named { text: "plans".to_owned(), what: None, room: None };
    let found = store.resolve(&ann, vec![query]).await.unwrap();
    assert_eq!(found, [[Candidate::Room { room, name: Some("Budget plans".to_owned()) }]]);
    store.close().await;
}
