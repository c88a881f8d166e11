//! Pages, lists and the picture that a connecting user gets.

use hallway_protocol::{History, Role, RoomId, StreamId, UserId, Visibility};

use super::kit::{self, Shared, channel, commit, create, one, page, send, write};
use crate::{Action, MemberQuery, PageRequest, RoomQuery, StreamHead};

pub async fn pages_begin_where_they_are_asked_to(store: Shared) {
    let ann = kit::user("pages", "ann");
    let room = kit::room("pages", "room");
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    commit(&store, (0..8).map(|number| write(&ann, send(&room, &number.to_string()))).collect()).await;
    let stream = StreamId::Room(room.clone());
    for (after, limit, expected) in
        [(0, 3, vec![1, 2, 3]), (3, 3, vec![4, 5, 6]), (8, 5, vec![9, 10]), (10, 5, vec![]), (99, 5, vec![])]
    {
        let page = page(&store, stream.clone(), after, limit).await;
        let seqs: Vec<u64> = page.events.iter().map(|event| event.seq).collect();
        assert_eq!(seqs, expected, "after {after}");
        assert_eq!(page.after, after);
        assert_eq!(page.head, StreamHead { stream: stream.clone(), first_seq: 1, last_seq: 10 });
    }
    let streams = [StreamId::User(ann.clone()), stream.clone(), StreamId::System];
    let requests = streams.iter().map(|stream| PageRequest { stream: stream.clone(), after: 0, limit: 100 });
    let batch = store.pages(requests.collect()).await.unwrap();
    let order: Vec<_> = batch.pages.iter().map(|page| page.head.stream.clone()).collect();
    assert_eq!(order, streams);
    assert_eq!(batch.epoch, store.epoch().await.unwrap());
    let heads = store.heads(streams.to_vec()).await.unwrap();
    let expected: Vec<StreamHead> = batch.pages.into_iter().map(|page| page.head).collect();
    assert_eq!(heads.heads, expected);
}

pub async fn streams_that_do_not_exist_are_empty(store: Shared) {
    for stream in [StreamId::Room(kit::room("none", "room")), StreamId::User(kit::user("none", "ann"))] {
        let page = page(&store, stream.clone(), 0, 10).await;
        assert_eq!(page.head, StreamHead { stream, first_seq: 1, last_seq: 0 });
        assert!(page.events.is_empty());
    }
    assert!(store.connect(&kit::user("none", "bob")).await.unwrap().rooms.is_empty());
}

async fn all_rooms(store: &Shared, user: &UserId, mine: bool, limit: u32) -> Vec<RoomId> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.list_rooms(user, RoomQuery { mine, after: after.clone(), limit }).await.unwrap();
        found.extend(page.rooms.into_iter().map(|info| info.room));
        after = found.last().cloned();
        if !page.more {
            return found;
        }
    }
}

pub async fn rooms_are_listed_by_their_ids(store: Shared) {
    let (ann, bob) = (kit::user("list", "ann"), kit::user("list", "bob"));
    // Order is that of bytes, whatever the locale: "B" before "_" before "a".
    let public = ["B", "_", "a", "aa", "b-", "b.", "b1", "ba"].map(|name| kit::room("list", name));
    let private = ["C", "ab"].map(|name| kit::room("list", name));
    for room in &public {
        channel(&store, &ann, room, Visibility::Public, History::All).await;
    }
    for room in &private {
        channel(&store, &ann, room, Visibility::Private, History::All).await;
    }
    one(&store, &bob, Action::Join { room: public[2].clone() }).await;
    let mut every: Vec<RoomId> = public.iter().chain(&private).cloned().collect();
    every.sort();
    let mut open = public.to_vec();
    open.sort();
    for limit in [1, 3, 100] {
        assert_eq!(all_rooms(&store, &ann, true, limit).await, every);
        let listed = all_rooms(&store, &bob, false, limit).await;
        let listed: Vec<RoomId> = listed.into_iter().filter(|room| every.contains(room)).collect();
        assert_eq!(listed, open);
        assert_eq!(all_rooms(&store, &bob, true, limit).await, [public[2].clone()]);
    }
}

pub async fn members_are_listed_by_their_ids(store: Shared) {
    let ann = kit::user("members", "ann");
    let room = kit::room("members", "room");
    channel(&store, &ann, &room, Visibility::Private, History::All).await;
    let mut expected = vec![(ann.clone(), Role::Owner, 2)];
    for (turn, name) in ["Z", "_", "b", "a.", "a-"].into_iter().enumerate() {
        let user = kit::user("members", name);
        one(&store, &ann, kit::invite(&room, &user, Role::Guest)).await;
        expected.push((user, Role::Guest, 3 + u64::try_from(turn).unwrap()));
    }
    expected.sort();
    for limit in [1, 2, 100] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let query = MemberQuery { room: room.clone(), after, limit };
            let page = store.members(&ann, query).await.unwrap().unwrap();
            found.extend(page.members.into_iter().map(|member| (member.user, member.role, member.joined_seq)));
            after = found.last().map(|(user, _, _)| user.clone());
            if !page.more {
                break;
            }
        }
        assert_eq!(found, expected);
    }
}

pub async fn connect_is_one_picture_of_everything(store: Shared) {
    let (ann, bob) = (kit::user("connect", "ann"), kit::user("connect", "bob"));
    let (open, hidden) = (kit::room("connect", "b.open"), kit::room("connect", "a.hidden"));
    let made = vec![
        write(&ann, create(&open, Visibility::Public, History::All)),
        write(&ann, create(&hidden, Visibility::Private, History::SinceJoin)),
        write(&ann, send(&hidden, "before")),
        write(&ann, kit::invite(&hidden, &bob, Role::Guest)),
        write(&bob, Action::Join { room: open.clone() }),
        write(&ann, send(&hidden, "after")),
        write(&ann, send(&open, "one")),
        write(&ann, send(&open, "two")),
    ];
    assert!(commit(&store, made).await.iter().all(Result::is_ok));
    let state = store.connect(&bob).await.unwrap();
    assert_eq!(state.epoch, store.epoch().await.unwrap());
    assert_eq!((state.user.first_seq, state.user.last_seq), (1, 2));
    let [first, second] = &state.rooms[..] else { panic!("{state:?}") };
    assert_eq!((&first.info.room, &second.info.room), (&hidden, &open));
    assert_eq!((first.role, first.joined_seq, first.visible_from_seq), (Role::Guest, 4, 4));
    assert_eq!((first.first_seq, first.last_seq, first.unread, first.read_seq), (1, 5, 1, 4));
    assert_eq!((second.role, second.joined_seq, second.visible_from_seq), (Role::Member, 3, 1));
    assert_eq!((second.first_seq, second.last_seq, second.unread, second.read_seq), (1, 5, 2, 3));
    let view = store.room(&bob, &hidden).await.unwrap().unwrap();
    assert_eq!(view.info, first.info);
    assert_eq!(view.member.map(|member| member.joined_seq), Some(4));
    assert!(store.connect(&ann).await.unwrap().rooms.iter().all(|room| room.unread == 0), "own messages are read");
}
