//! Numbers without holes, and nonces.

use std::collections::BTreeSet;
use std::sync::Arc;

use hallway_protocol::{History, MessageId, Seq, StreamId, UserId, Visibility};

use super::kit::{self, Shared, channel, commit, create, one, room_events, send, send_as, try_one, write, write_with};
use crate::{Action, BATCH_MAX_WRITES, Refusal, StoreError, TailCursor};

pub async fn a_batch_over_several_rooms_is_numbered_without_holes(store: Shared) {
    let ann = kit::user("dense", "ann");
    let rooms: Vec<_> = (0..5).map(|number| kit::room("dense", &number.to_string())).collect();
    let made = rooms.iter().map(|room| write(&ann, create(room, Visibility::Public, History::All))).collect();
    assert!(commit(&store, made).await.iter().all(Result::is_ok));
    let batch: Vec<_> = (0..50).map(|turn| write(&ann, send(&rooms[turn % 5], &turn.to_string()))).collect();
    let results = commit(&store, batch).await;
    for (turn, result) in results.into_iter().enumerate() {
        let committed = result.unwrap();
        assert_eq!(committed.stream, StreamId::Room(rooms[turn % 5].clone()));
        assert_eq!(committed.seq, Seq::try_from(3 + turn / 5).unwrap());
        assert_eq!(committed.events.len(), 1);
    }
    for room in &rooms {
        let events = room_events(&store, room).await;
        assert_eq!(events.len(), 12);
        let ordinals: Vec<u64> = kit::created(&events).iter().map(|message| message.ordinal).collect();
        assert_eq!(ordinals, (1..=10).collect::<Vec<_>>());
    }
}

pub async fn refusals_leave_no_hole_and_nothing_behind(store: Shared) {
    let (ann, bob) = (kit::user("holes", "ann"), kit::user("holes", "bob"));
    let room = kit::room("holes", "room");
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    let id = MessageId::generate();
    let results = commit(
        &store,
        vec![
            write(&ann, send_as(&room, id, "first")),
            write(&bob, send(&room, "no member")),
            write(&ann, send_as(&room, id, "same id")),
            write(&ann, kit::edit(&room, MessageId::generate(), "no such message")),
            write(&ann, send(&kit::room("holes", "nowhere"), "no such room")),
            write(&ann, create(&room, Visibility::Public, History::All)),
            write(&ann, Action::Remove { room: room.clone(), user: bob.clone() }),
            write(&ann, send(&room, "second")),
        ],
    )
    .await;
    let answers: Vec<_> = results.into_iter().map(|result| result.map(|committed| committed.seq)).collect();
    let expected = [
        Ok(3),
        Err(Refusal::NotAMember),
        Err(Refusal::IdTaken),
        Err(Refusal::MessageNotFound),
        Err(Refusal::RoomNotFound),
        Err(Refusal::RoomExists),
        Err(Refusal::TargetNotAMember),
        Ok(4),
    ];
    assert_eq!(answers, expected);
    let texts: Vec<String> =
        kit::created(&room_events(&store, &room).await).into_iter().map(|message| message.text).collect();
    assert_eq!(texts, ["first", "second"]);
    assert_eq!(store.connect(&bob).await.unwrap().user.last_seq, 0, "a refusal is no event of anyone");
}

pub async fn a_repeated_nonce_returns_the_first_result(store: Shared) {
    let ann = kit::user("repeat", "ann");
    let room = kit::room("repeat", "room");
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    let first = commit(&store, vec![write_with(&ann, "n1", 1, send(&room, "once"))]).await.remove(0).unwrap();
    // The server chose another id for the repeat; the first one counts.
    let again = commit(&store, vec![write_with(&ann, "n1", 1, send(&room, "once"))]).await.remove(0).unwrap();
    assert!(again.repeated && !first.repeated);
    assert_eq!((again.seq, again.at_ms, again.id), (first.seq, first.at_ms, first.id));
    assert_eq!(again.stream, first.stream);
    assert!(again.events.is_empty());
    assert_eq!(room_events(&store, &room).await.len(), 3);
    let other = kit::user("repeat", "bob");
    one(&store, &other, Action::Join { room: room.clone() }).await;
    let theirs = commit(&store, vec![write_with(&other, "n1", 2, send(&room, "mine"))]).await.remove(0).unwrap();
    assert!(!theirs.repeated, "a nonce is its sender's own");
}

pub async fn a_repeat_in_the_same_batch_returns_the_first_result(store: Shared) {
    let ann = kit::user("inbatch", "ann");
    let room = kit::room("inbatch", "room");
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    let batch = vec![
        write_with(&ann, "n1", 1, send(&room, "once")),
        write_with(&ann, "n1", 1, send(&room, "once")),
        write_with(&ann, "n1", 2, send(&room, "other")),
        write(&ann, send(&room, "after")),
    ];
    let results = commit(&store, batch).await;
    let first = results[0].as_ref().unwrap();
    let second = results[1].as_ref().unwrap();
    assert!(second.repeated);
    assert_eq!((second.seq, second.id), (first.seq, first.id));
    assert_eq!(results[2], Err(Refusal::NonceConflict));
    assert_eq!(results[3].as_ref().unwrap().seq, first.seq + 1);
}

pub async fn a_repeat_is_answered_after_the_sender_lost_the_right(store: Shared) {
    let (ann, bob) = (kit::user("right", "ann"), kit::user("right", "bob"));
    let room = kit::room("right", "room");
    channel(&store, &ann, &room, Visibility::Private, History::All).await;
    one(&store, &ann, kit::invite(&room, &bob, hallway_protocol::Role::Member)).await;
    let first = commit(&store, vec![write_with(&bob, "n1", 1, send(&room, "hello"))]).await.remove(0).unwrap();
    one(&store, &ann, Action::Remove { room: room.clone(), user: bob.clone() }).await;
    assert_eq!(try_one(&store, &bob, send(&room, "again")).await, Err(Refusal::RoomNotFound));
    let again = commit(&store, vec![write_with(&bob, "n1", 1, send(&room, "hello"))]).await.remove(0).unwrap();
    assert!(again.repeated);
    assert_eq!((again.seq, again.id), (first.seq, first.id));
}

pub async fn concurrent_repeats_are_carried_out_once(store: Shared) {
    let ann = kit::user("together", "ann");
    let room = kit::room("together", "room");
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (store, write) = (Arc::clone(&store), write_with(&ann, "n1", 1, send(&room, "once")));
            tokio::spawn(async move { commit(&store, vec![write]).await.remove(0).unwrap() })
        })
        .collect();
    let mut results = Vec::new();
    for task in tasks {
        results.push(task.await.unwrap());
    }
    assert_eq!(results.iter().filter(|committed| !committed.repeated).count(), 1);
    assert!(results.iter().all(|committed| (committed.seq, committed.id) == (results[0].seq, results[0].id)));
    assert_eq!(room_events(&store, &room).await.len(), 3);
}

pub async fn a_nonce_with_another_body_is_a_conflict(store: Shared) {
    let ann = kit::user("conflict", "ann");
    let room = kit::room("conflict", "room");
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    commit(&store, vec![write_with(&ann, "n1", 1, send(&room, "one"))]).await.remove(0).unwrap();
    let other = commit(&store, vec![write_with(&ann, "n1", 2, send(&room, "two"))]).await.remove(0);
    assert_eq!(other, Err(Refusal::NonceConflict));
    let archive = Action::ArchiveRoom { room: room.clone() };
    let kind = commit(&store, vec![write_with(&ann, "n1", 3, archive)]).await.remove(0);
    assert_eq!(kind, Err(Refusal::NonceConflict), "also of another kind of command");
    assert_eq!(room_events(&store, &room).await.len(), 3);
}

pub async fn a_refused_write_does_not_use_up_its_nonce(store: Shared) {
    let (ann, bob) = (kit::user("unused", "ann"), kit::user("unused", "bob"));
    let room = kit::room("unused", "room");
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    let attempt = || write_with(&bob, "n1", 1, send(&room, "hello"));
    assert_eq!(commit(&store, vec![attempt()]).await.remove(0), Err(Refusal::NotAMember));
    one(&store, &bob, Action::Join { room: room.clone() }).await;
    assert!(!commit(&store, vec![attempt()]).await.remove(0).unwrap().repeated);
}

pub async fn concurrent_commits_stay_dense(store: Shared) {
    let case = "race";
    let ann = kit::user(case, "ann");
    let rooms: Vec<_> = (0..3).map(|number| kit::room(case, &number.to_string())).collect();
    let users: Vec<UserId> = (0..6).map(|number| kit::user(case, &number.to_string())).collect();
    for room in &rooms {
        channel(&store, &ann, room, Visibility::Public, History::All).await;
        for user in &users {
            one(&store, user, Action::Join { room: room.clone() }).await;
        }
    }
    let mut tasks = Vec::new();
    for (turn, user) in users.iter().cloned().enumerate() {
        let (store, mut rooms) = (Arc::clone(&store), rooms.clone());
        rooms.rotate_left(turn % 3);
        tasks.push(tokio::spawn(async move {
            let mut seqs = Vec::new();
            for round in 0..10 {
                let batch = rooms.iter().map(|room| write(&user, send(room, &round.to_string()))).collect();
                for result in commit(&store, batch).await {
                    let committed = result.unwrap();
                    seqs.push((committed.stream, committed.seq));
                }
            }
            seqs
        }));
    }
    let mut all = BTreeSet::new();
    for task in tasks {
        for seq in task.await.unwrap() {
            assert!(all.insert(seq), "no number is given twice");
        }
    }
    for room in &rooms {
        assert_eq!(room_events(&store, room).await.len(), 2 + 6 + 60);
    }
    assert_eq!(all.len(), 180);
}

pub async fn a_batch_beyond_the_limit_is_refused(store: Shared) {
    let ann = kit::user("limit", "ann");
    let room = kit::room("limit", "room");
    let batch = (0..=BATCH_MAX_WRITES).map(|_| write(&ann, send(&room, "x"))).collect();
    assert!(matches!(store.commit(batch).await, Err(StoreError::Refused(_))));
    assert!(commit(&store, Vec::new()).await.is_empty());
}

pub async fn the_tail_misses_nothing(store: Shared) {
    let ann = kit::user("tail", "ann");
    let room = kit::room("tail", "room");
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    let start = store.tail(TailCursor::default()).await.unwrap();
    assert_eq!(start.epoch, store.epoch().await.unwrap());
    let sent = one(&store, &ann, send(&room, "hello")).await;
    let tail = store.tail(start.next).await.unwrap();
    // A store with one writer has no need of it and answers with no heads.
    let known = tail.heads.iter().find(|(stream, _)| *stream == sent.stream);
    assert!(tail.heads.is_empty() || known == Some(&(sent.stream, sent.seq)));
}
