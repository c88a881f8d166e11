//! Measures the embedded store; run by hand:
//! `cargo test --release -p hallway-store --test sqlite_measure -- --ignored --nocapture`
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Instant;

use hallway_protocol::{History, Visibility};
use hallway_store::Action;
use hallway_store::conformance::kit::{self, Shared};
use hallway_store::sqlite::{DATABASE_FILE, SqliteStore};
use tempfile::TempDir;

const ROOMS: usize = 200;
const MESSAGES: usize = 50_000;

#[tokio::test]
#[ignore = "a measurement, not a promise"]
async fn bytes_per_message_and_commits_per_second() {
    let text = "x".repeat(128);
    for batch in [1, 10, 100, 1000] {
        let directory = TempDir::new().unwrap();
        let store: Shared = Arc::new(SqliteStore::open(directory.path()).unwrap());
        let users: Vec<_> = (0..10).map(|number| kit::user("u", &number.to_string())).collect();
        let rooms: Vec<_> = (0..ROOMS).map(|number| kit::room("room", &number.to_string())).collect();
        for room in &rooms {
            kit::channel(&store, &users[0], room, Visibility::Public, History::All).await;
            let join = |user| kit::write(user, Action::Join { room: room.clone() });
            kit::commit(&store, users[1..].iter().map(join).collect()).await;
        }
        let before = size(directory.path());
        let messages = if batch == 1 { 2_000 } else { MESSAGES };
        let start = Instant::now();
        for turn in 0..messages / batch {
            let write = |number| {
                let place = turn * batch + number;
                kit::write(&users[place % 10], kit::send(&rooms[(place * 7) % ROOMS], &text))
            };
            let results = kit::commit(&store, (0..batch).map(write).collect()).await;
            assert!(results.iter().all(Result::is_ok));
        }
        let seconds = start.elapsed().as_secs_f64();
        store.close().await;
        let bytes = (size(directory.path()) - before) / messages as u64;
        println!("batches of {batch}: {:.0} messages/s, {bytes} bytes each", messages as f64 / seconds);
    }
}

/// Bytes of the database once its log is written back.
fn size(directory: &std::path::Path) -> u64 {
    std::fs::metadata(directory.join(DATABASE_FILE)).unwrap().len()
}
