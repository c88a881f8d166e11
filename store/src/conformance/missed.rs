//! What comes with a connect of that which its user missed.

use hallway_protocol::task::TaskStatus;
use hallway_protocol::{History, MessageId, Meta, Role, RoomId, Seq, StreamId, TaskId, UserId, Visibility};

use super::kit::{self, Shared};
use super::{notes_kit, task_kit};
use crate::{Action, MissedQuery, Notice, Page};

/// Everything that was missed, without bounds that matter.
fn all(after: Vec<(StreamId, Seq)>) -> MissedQuery {
    MissedQuery { after, newest: None, events_max: 10_000, bytes_max: 1_000_000 }
}

fn of(room: &RoomId) -> StreamId {
    StreamId::Room(room.clone())
}

async fn missed(store: &Shared, user: &UserId, query: MissedQuery) -> Vec<Page> {
    let state = store.connect_after(user, query).await.unwrap();
    let plain = store.connect(user).await.unwrap();
    assert_eq!((&state.rooms, &state.user, &state.muted), (&plain.rooms, &plain.user, &plain.muted));
    assert_eq!((&state.epoch, state.revoked_before_ms), (&plain.epoch, plain.revoked_before_ms));
    assert_eq!(plain.missed, [], "who names nothing gets nothing");
    state.missed
}

/// The numbers that a page holds.
fn seqs(page: &Page) -> Vec<Seq> {
    page.events.iter().map(|event| event.seq).collect()
}

/// A public channel of Ann, who said so many things there.
async fn channel(store: &Shared, ann: &UserId, room: &RoomId, messages: usize) {
    kit::channel(store, ann, room, Visibility::Public, History::All).await;
    let texts = (0..messages).map(|number| kit::write(ann, kit::send(room, &format!("{number}"))));
    kit::commit(store, texts.collect()).await;
}

/// Each page is the one that is read otherwise, and streams in which nothing is new have none.
pub async fn what_was_missed_comes_with_the_connect(store: Shared) {
    let (ann, bob) = (kit::user("missed", "ann"), kit::user("missed", "bob"));
    let rooms: Vec<RoomId> = (0..4).map(|number| kit::room("missed", &format!("room{number}"))).collect();
    for (number, room) in rooms.iter().enumerate() {
        channel(&store, &ann, room, 10 + number).await;
        kit::one(&store, &ann, kit::invite(room, &bob, Role::Member)).await;
    }
    let edited: MessageId = kit::one(&store, &ann, kit::send(&rooms[0], "before")).await.id.unwrap().into();
    kit::one(&store, &ann, kit::edit(&rooms[0], edited, "as it is now")).await;
    kit::one(&store, &ann, kit::react(&rooms[0], edited, "+1")).await;
    let mut after: Vec<(StreamId, Seq)> = rooms.iter().map(|room| (of(room), 5)).collect();
    after[2].1 = kit::room_events(&store, &rooms[2]).await.len() as Seq;
    after[3].1 = 1_000;
    after.push((StreamId::User(bob.clone()), 1));
    let mut pages = missed(&store, &bob, all(after)).await;
    let own = StreamId::User(bob.clone());
    pages.sort_by_key(|page| page.head.stream.clone());
    let streams: Vec<&StreamId> = pages.iter().map(|page| &page.head.stream).collect();
    assert_eq!(streams, [&of(&rooms[0]), &of(&rooms[1]), &own], "nothing of what is up to date, or ahead");
    for page in &pages {
        let after = if page.head.stream == own { 1 } else { 5 };
        assert_eq!(*page, kit::page(&store, page.head.stream.clone(), after, 1_000).await);
        assert_eq!(page.events.last().map(|event| event.seq), Some(page.head.last_seq), "all of it");
    }
    let text = format!("{:?}", pages[0].events);
    assert!(text.contains("as it is now") && !text.contains("before"), "{text}");
    assert_eq!(missed(&store, &kit::user("missed", "nobody"), all(vec![(of(&rooms[0]), 0)])).await, []);
}

/// Rooms that are not theirs (any more), and streams of others.
pub async fn nothing_comes_of_what_a_user_may_not_see(store: Shared) {
    let (ann, bob) = (kit::user("unseen", "ann"), kit::user("unseen", "bob"));
    let (open, left) = (kit::room("unseen", "open"), kit::room("unseen", "left"));
    channel(&store, &ann, &open, 5).await;
    channel(&store, &ann, &left, 5).await;
    kit::one(&store, &ann, kit::invite(&left, &bob, Role::Member)).await;
    kit::one(&store, &bob, Action::Leave { room: left.clone() }).await;
    let streams = [of(&open), of(&left), StreamId::User(ann.clone()), of(&kit::room("unseen", "no")), StreamId::System];
    assert_eq!(missed(&store, &bob, all(streams.map(|stream| (stream, 0)).to_vec())).await, []);
}

/// Behind what was trimmed, what came before the membership, and what is older than the newest that are wanted.
pub async fn a_page_begins_where_the_stream_goes_on_for_its_user(store: Shared) {
    let (ann, bob) = (kit::user("begins", "ann"), kit::user("begins", "bob"));
    let (young, trimmed) = (kit::room("begins", "young"), kit::room("begins", "trimmed"));
    kit::channel(&store, &ann, &young, Visibility::Public, History::SinceJoin).await;
    kit::one(&store, &ann, kit::send(&young, "not for bob")).await;
    let joined = kit::one(&store, &ann, kit::invite(&young, &bob, Role::Member)).await.seq;
    let said = kit::one(&store, &ann, kit::send(&young, "for all")).await.seq;
    channel(&store, &ann, &trimmed, 20).await;
    kit::one(&store, &ann, kit::invite(&trimmed, &bob, Role::Member)).await;
    store.trim(&of(&trimmed), 15).await.unwrap();
    let after = vec![(of(&young), 1), (of(&trimmed), 3)];
    let pages = missed(&store, &bob, all(after.clone())).await;
    assert_eq!((pages[0].after, seqs(&pages[0])), (joined - 1, vec![joined, said]));
    assert_eq!((pages[1].after, seqs(&pages[1])), (14, (15..=23).collect()));
    assert_eq!(pages[1].head.first_seq, 15);
    let pages = missed(&store, &bob, MissedQuery { newest: Some(1), ..all(after) }).await;
    assert_eq!(pages.iter().map(seqs).collect::<Vec<_>>(), [vec![said], vec![23]]);
}

/// In events and in bytes; what is small comes first and whole, and what is cut is cut at its end.
pub async fn what_comes_with_a_connect_is_bounded(store: Shared) {
    let ann = kit::user("bounds", "ann");
    let rooms: Vec<RoomId> = (0..5).map(|number| kit::room("bounds", &format!("room{number}"))).collect();
    for (room, messages) in rooms.iter().zip([30, 10, 20, 40, 50]) {
        channel(&store, &ann, room, messages).await;
    }
    // Behind `room.created` and `member.joined`.
    let query = |events_max, bytes_max| {
        let after = rooms.iter().map(|room| (of(room), 2)).collect();
        MissedQuery { after, newest: None, events_max, bytes_max }
    };
    let shape = |pages: Vec<Page>| -> Vec<(StreamId, Seq)> {
        pages.iter().for_each(|page| assert_eq!(seqs(page), (3..3 + page.events.len() as Seq).collect::<Vec<_>>()));
        pages.into_iter().map(|page| (page.head.stream, page.events.len() as Seq)).collect()
    };
    let (first, second, third) = (of(&rooms[1]), of(&rooms[2]), of(&rooms[0]));
    for events_max in [30, 31, 45] {
        let mut expected = vec![(first.clone(), 10), (second.clone(), 20)];
        if events_max > 30 {
            expected.push((third.clone(), Seq::from(events_max) - 30));
        }
        assert_eq!(shape(missed(&store, &ann, query(events_max, 1_000_000)).await), expected, "{events_max} events");
    }
    // A text has one byte up to the tenth message, then two.
    assert_eq!(shape(missed(&store, &ann, query(1_000, 14)).await), [(first.clone(), 10), (second, 4)]);
    assert_eq!(shape(missed(&store, &ann, query(1_000, 5)).await), [(first, 5)]);
    assert_eq!(missed(&store, &ann, query(0, 1_000_000)).await, []);
}

/// Texts of tasks with each event that shows them, of comments, edited messages and notices; each bound cuts exactly.
pub async fn all_texts_that_events_show_count_against_what_comes_with_a_connect(store: Shared) {
    let (ann, bob, room) = (kit::user("texts", "ann"), kit::user("texts", "bob"), kit::room("texts", "room"));
    kit::channel(&store, &ann, &room, Visibility::Public, History::All).await;
    let (id, said) = (TaskId::generate(), MessageId::generate());
    let mut task = task_kit::create_as(&room, id, "title");
    if let Action::CreateTask { text, meta, .. } = &mut task {
        *text = "what is to be done".to_owned();
        *meta = Meta::from_json("{\"k\":1}").ok();
    }
    let acts = [
        kit::send_as(&room, said, "no"),
        task,
        task_kit::move_to(&room, id, 1, TaskStatus::InProgress),
        task_kit::comment(&room, id, "well done"),
        kit::edit(&room, said, "a longer text"),
        kit::react(&room, said, "+1"),
        kit::send(&room, "last"),
    ];
    for act in acts {
        kit::one(&store, &ann, act).await;
    }
    let notice = Notice { text: Some("of it".to_owned()), ..notes_kit::notice("a notice") };
    notes_kit::tell(&store, &bob, &ann, notice).await;
    let own = StreamId::User(ann.clone());
    // The person has the smaller stream: one notice, which comes first.
    let head = store.connect(&ann).await.unwrap().user.last_seq;
    let query = |bytes_max| MissedQuery {
        // Behind `room.created` and `member.joined`.
        after: vec![(of(&room), 2), (own.clone(), head - 1)],
        newest: None,
        events_max: 1_000,
        bytes_max,
    };
    // The message is shown as it was edited.
    let (message, task) = (13, "title".len() + "what is to be done".len() + "{\"k\":1}".len());
    let expected = [13, message, task, task, 9, message, 0, 4];
    for bytes_max in 0..=expected.iter().sum::<usize>() + 1 {
        let pages = missed(&store, &ann, query(bytes_max as u64)).await;
        let found: usize = pages.iter().map(|page| page.events.len()).sum();
        let mut sum = 0;
        let fits = expected.iter().take_while(|bytes| {
            sum += **bytes;
            sum <= bytes_max
        });
        assert_eq!(found, fits.count(), "within {bytes_max} bytes");
    }
}
