//! Retention, read markers, epoch.

use hallway_protocol::event::ReadMarked;
use hallway_protocol::{EventBody, History, MessageId, StreamId, Visibility};

use super::kit::{self, Shared, channel, commit, mark, one, page, room_events, send, try_one, write};
use crate::{Action, HistoryFrom, HistoryQuery, Refusal};

pub async fn trimming_takes_a_prefix_and_says_so(store: Shared) {
    let (ann, bob) = (kit::user("trim", "ann"), kit::user("trim", "bob"));
    let room = kit::room("trim", "room");
    let stream = StreamId::Room(room.clone());
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    one(&store, &bob, Action::Join { room: room.clone() }).await;
    let ids: Vec<MessageId> =
        commit(&store, (0..6).map(|number| write(&ann, send(&room, &number.to_string()))).collect())
            .await
            .into_iter()
            .map(|result| result.unwrap().id.unwrap().into())
            .collect();
    one(&store, &ann, kit::edit(&room, ids[0], "edited")).await;
    // Events: 1 created, 2 and 3 joined, 4 to 9 messages, 10 edited.
    let head = store.trim(&stream, 7).await.unwrap();
    assert_eq!((head.first_seq, head.last_seq), (7, 10));
    assert_eq!(store.trim(&stream, 3).await.unwrap(), head, "nothing comes back");
    let events = room_events(&store, &room).await;
    assert_eq!(events.first().unwrap().seq, 7);
    let EventBody::MessageEdited(edited) = &events.last().unwrap().body else { panic!("{events:?}") };
    assert!(edited.message.id == ids[0] && edited.message.text.is_empty(), "its message is gone");
    assert_eq!(page(&store, stream.clone(), 2, 2).await.events[0].seq, 7, "does not begin where it should: a reset");
    let query = HistoryQuery { room: room.clone(), from: HistoryFrom::After(None), limit: 10 };
    let history = store.history(&ann, query).await.unwrap().unwrap();
    assert_eq!(history.messages.iter().map(|message| message.ordinal).collect::<Vec<_>>(), [4, 5, 6]);
    assert!(!history.older);
    assert_eq!(try_one(&store, &ann, kit::edit(&room, ids[1], "x")).await, Err(Refusal::MessageNotFound));
    assert_eq!(store.connect(&bob).await.unwrap().rooms[0].unread, 6, "what was trimmed still counts");
    assert_eq!(mark(&store, &bob, &room, 6).await.unwrap().unread, 3);
    let head = store.trim(&stream, 1_000_000).await.unwrap();
    assert_eq!((head.first_seq, head.last_seq), (11, 10), "nothing is kept");
    assert!(room_events(&store, &room).await.is_empty());
    assert_eq!(mark(&store, &bob, &room, 10).await.unwrap().unread, 0);
    assert_eq!(one(&store, &ann, send(&room, "next")).await.seq, 11);
    assert_eq!(room_events(&store, &room).await.len(), 1);
    assert_eq!(store.connect(&bob).await.unwrap().rooms[0].unread, 1);
    let user = store.trim(&StreamId::User(bob.clone()), 2).await.unwrap();
    assert_eq!(user.first_seq, 2);
}

pub async fn what_is_expired_can_be_trimmed(store: Shared) {
    let ann = kit::user("expired", "ann");
    let room = kit::room("expired", "room");
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    let last = one(&store, &ann, send(&room, "old")).await;
    let streams = [StreamId::Room(room.clone()), StreamId::User(ann)];
    let ours = async |older_than_ms| {
        let found = store.expired(older_than_ms, 1000).await.unwrap();
        found.into_iter().filter(|(stream, _)| streams.contains(stream)).collect::<Vec<_>>()
    };
    assert!(ours(1).await.is_empty(), "nothing is that old");
    let expired = ours(last.at_ms + 1).await;
    assert_eq!(expired.len(), 2);
    assert!(expired.contains(&(streams[0].clone(), 4)));
    for (stream, keep_from_seq) in expired {
        store.trim(&stream, keep_from_seq).await.unwrap();
    }
    assert!(ours(last.at_ms + 1).await.is_empty());
    while store.trim_nonces().await.unwrap() {}
}

pub async fn read_markers_only_move_forward(store: Shared) {
    let (ann, bob) = (kit::user("mark", "ann"), kit::user("mark", "bob"));
    let room = kit::room("mark", "room");
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    one(&store, &bob, Action::Join { room: room.clone() }).await;
    for number in 0..4 {
        one(&store, &ann, send(&room, &number.to_string())).await;
    }
    let head = store.connect(&bob).await.unwrap().user.last_seq;
    let moved = mark(&store, &bob, &room, 5).await.unwrap();
    assert_eq!((moved.read_seq, moved.unread), (5, 2));
    let event = moved.event.unwrap();
    assert_eq!((event.stream.clone(), event.seq), (StreamId::User(bob.clone()), head + 1));
    assert_eq!(event.body, EventBody::ReadMarked(ReadMarked { room: room.clone(), read_seq: 5, unread: 2 }));
    assert_eq!(kit::whole(&store, StreamId::User(bob.clone())).await.last(), Some(&event));
    let back = mark(&store, &bob, &room, 2).await.unwrap();
    assert_eq!((back.read_seq, back.unread, back.event), (5, 2, None));
    let beyond = mark(&store, &bob, &room, 1_000_000).await.unwrap();
    assert_eq!((beyond.read_seq, beyond.unread), (7, 0), "the head at most");
    assert_eq!(mark(&store, &kit::user("mark", "eve"), &room, 3).await, None);
    one(&store, &ann, send(&room, "new")).await;
    let mine = store.connect(&bob).await.unwrap().rooms.remove(0);
    assert_eq!((mine.read_seq, mine.unread), (7, 1));
    let sent = one(&store, &bob, send(&room, "answer")).await;
    let mine = store.connect(&bob).await.unwrap().rooms.remove(0);
    assert_eq!((mine.read_seq, mine.unread), (sent.seq, 0), "sending moves the own marker");
}

pub async fn a_new_epoch_is_carried_by_everything(store: Shared) {
    let ann = kit::user("epoch", "ann");
    let room = kit::room("epoch", "room");
    let old =
        store.commit(vec![write(&ann, kit::create(&room, Visibility::Public, History::All))]).await.unwrap().epoch;
    assert_eq!(store.epoch().await.unwrap(), old);
    let new = store.new_epoch().await.unwrap();
    assert_ne!(new, old);
    assert_eq!(store.commit(vec![write(&ann, send(&room, "x"))]).await.unwrap().epoch, new);
    assert_eq!(store.pages(Vec::new()).await.unwrap().epoch, new);
    assert_eq!(store.heads(Vec::new()).await.unwrap().epoch, new);
    assert_eq!(store.mark_read(Vec::new()).await.unwrap().epoch, new);
    assert_eq!(store.connect(&ann).await.unwrap().epoch, new);
    assert_eq!(store.epoch().await.unwrap(), new);
    assert_eq!(room_events(&store, &room).await.len(), 3, "events stay");
}

pub async fn the_store_is_durable_and_answers_its_probe(store: Shared) {
    store.probe().await.unwrap();
    let durability = store.durability().await.unwrap();
    assert!(durability.safe(), "{durability:?}");
    assert!(!durability.settings.is_empty());
}
