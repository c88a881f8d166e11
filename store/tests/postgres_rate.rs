//! A measurement, run by hand: `cargo test -p hallway-store --features conformance --test postgres_rate -- --ignored
//! --nocapture`.
#![cfg(feature = "conformance")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod postgres_kit;

use std::time::Instant;

use hallway_protocol::MessageId;
use hallway_store::Action;
use postgres_kit::{Side, commit, create, room, store, write};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a promise"]
async fn sends_per_second_and_bytes_per_message() {
    let (_server, url, store) = store().await;
    commit(&store, (0..200).map(|n| create("ada", &format!("r{n}"))).collect()).await;
    let side = Side::open(&url).await;
    let mut number = 0;
    for size in [1, 100, 1000] {
        let (began, first) = (Instant::now(), number);
        while began.elapsed().as_secs() < 4 {
            let batch = (0..size).map(|_| {
                number += 1;
                let (room, id) = (room(&format!("r{}", number % 200)), MessageId::generate());
                let text = "x".repeat(128);
                let action = Action::SendMessage { room, id, text, reply_to: None, mentions: Vec::new(), meta: None };
                write("ada", &format!("n{number}"), action)
            });
            assert!(commit(&store, batch.collect()).await.iter().all(Result::is_ok));
        }
        println!("batches of {size}: {:.0} sends/s", f64::from(number - first) / began.elapsed().as_secs_f64());
    }
    let sizes = "SELECT relname || ': ' || pg_total_relation_size(oid) FROM pg_class \
        WHERE relkind = 'r' AND (relname IN ('events', 'messages') OR relname ~ '^dedupe_') ORDER BY 1";
    println!("{number} messages of 128 bytes; bytes with indexes:\n{}", side.text(sizes).await);
}
