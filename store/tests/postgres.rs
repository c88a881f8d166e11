//! The promises of the store, on Postgres.
#![cfg(feature = "conformance")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod postgres_kit;

use std::sync::Arc;

use hallway_protocol::{EventBody, Nonce, StreamId};
use hallway_store::conformance::notes_kit;
use hallway_store::{Log, PageRequest, Refusal, Rooms, Store, Write};
use loadtest_cluster::TemporaryPostgres;
use postgres_kit::{commit, create, one, room, send, store, user};

/// A database of its own for each case; the server is shared by the cases of one process.
async fn fresh() -> (Arc<dyn Store>, Arc<TemporaryPostgres>) {
    let (server, _, store) = store().await;
    (Arc::new(store), server)
}

hallway_store::store_conformance_suite!(fresh);
hallway_store::store_task_suite!(fresh);

/// As [`fresh`], with somebody to hand notifications to.
async fn handing_out() -> (Arc<dyn Store>, Arc<TemporaryPostgres>) {
    let (server, _, store) = store().await;
    (Arc::new(store.with_hand_outs(notes_kit::HAND_OUTS)), server)
}

hallway_store::store_notifications_suite!(handing_out);

#[tokio::test]
async fn what_is_sent_is_numbered_without_holes_paged_and_there_at_connect() {
    let (_server, _, store) = store().await;
    let mut batch = vec![create("ada", "lobby")];
    batch.extend((0..5).map(|n| send("ada", "lobby", &format!("n{n}"))));
    batch.push(send("ada", "lobby", "n0"));
    batch.push(send("eve", "lobby", "e"));
    let results = commit(&store, batch).await;
    let seqs: Vec<_> = results.iter().map(|result| result.as_ref().map(|done| done.seq)).collect();
    assert_eq!(seqs, [Ok(2), Ok(3), Ok(4), Ok(5), Ok(6), Ok(7), Ok(3), Err(&Refusal::NotAMember)]);
    assert!(results[6].as_ref().unwrap().repeated);

    let stream = StreamId::Room(room("lobby"));
    let request = PageRequest { stream: stream.clone(), after: 0, limit: 100 };
    let absent = PageRequest { stream: StreamId::System, after: 0, limit: 100 };
    let batch = store.pages(vec![request, absent]).await.unwrap();
    let events = &batch.pages[0].events;
    assert_eq!(events.iter().map(|event| event.seq).collect::<Vec<_>>(), (1..=7).collect::<Vec<_>>());
    let written: Vec<_> = results[..6]
        .iter()
        .flat_map(|result| result.clone().unwrap().events)
        .filter(|event| event.stream == stream)
        .collect();
    assert_eq!(*events, written, "a page is what the commit said");
    assert!(matches!(&events[6].body, EventBody::MessageCreated(created) if created.message.ordinal == 5));
    assert_eq!((batch.pages[1].head.first_seq, batch.pages[1].head.last_seq), (1, 0));

    let state = store.connect(&user("ada")).await.unwrap();
    assert_eq!(state.epoch, batch.epoch);
    assert_eq!((state.user.last_seq, state.rooms.len()), (1, 1));
    assert_eq!((state.rooms[0].last_seq, state.rooms[0].unread, state.rooms[0].read_seq), (7, 0, 7));
    assert!(store.connect(&user("nobody")).await.unwrap().rooms.is_empty());
}

#[tokio::test]
async fn a_nonce_is_answered_once_and_refused_with_another_body() {
    let (_server, _, store) = store().await;
    commit(&store, vec![create("ada", "lobby")]).await;
    let first = send("ada", "lobby", "n");
    let done = one(&store, first.clone()).await.unwrap();
    let again = one(&store, first.clone()).await.unwrap();
    assert_eq!((again.seq, again.id, again.repeated, again.events.len()), (done.seq, done.id, true, 0));
    let other = Write { body_hash: [8; 16], ..first.clone() };
    assert_eq!(one(&store, other).await, Err(Refusal::NonceConflict));
    let taken = Write { nonce: Nonce::new("m").unwrap(), ..first };
    assert_eq!(one(&store, taken).await, Err(Refusal::IdTaken));
}
