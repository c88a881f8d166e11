//! Reading and acknowledging notifications, and what goes with the old end of a stream.

use hallway_protocol::event::{NotificationAcknowledged, NotificationCreated, NotificationsRead};
use hallway_protocol::{EventBody, NotificationId, SessionId, StreamId};

use super::kit::{self, Shared, commit, one, try_one, whole, write, write_with};
use super::notes_kit::{acknowledge, counts, inbox, notice, read, tell, urgent};
use crate::{DELIVERY_SEQS_MAX, Delivery, NotificationQuery, Refusal};

pub async fn one_many_or_all_are_marked_read_and_told_to_other_devices(store: Shared) {
    let (ann, bob, cas) = (kit::user("read", "ann"), kit::user("read", "bob"), kit::user("read", "cas"));
    let mut ids = Vec::new();
    for _ in 0..6 {
        ids.push(tell(&store, &ann, &bob, notice("x")).await.id);
    }
    let foreign = tell(&store, &ann, &cas, notice("x")).await.id;
    let asked = [ids[1], foreign, NotificationId::generate(), ids[4]];
    let done = one(&store, &bob, read(&bob, &asked, None)).await;
    assert_eq!((&done.stream, done.events.len()), (&StreamId::User(bob.clone()), 1));
    let body = NotificationsRead { ids: asked.to_vec(), up_to_seq: None, unread: 4 };
    assert_eq!(done.events[0].body, EventBody::NotificationsRead(body));
    assert_eq!(counts(&store, &cas).await, (1, 1), "only the own");
    let again = one(&store, &bob, read(&bob, &[ids[1], foreign], None)).await;
    assert_eq!((again.seq, again.events.len()), (done.seq, 0), "nothing was unread: the head");
    assert_eq!(again.stream, StreamId::User(bob.clone()));

    let seq = inbox(&store, &bob).await.notifications[3].seq;
    let done = one(&store, &bob, read(&bob, &[], Some(seq))).await;
    let body = NotificationsRead { ids: Vec::new(), up_to_seq: Some(seq), unread: 2 };
    assert_eq!(done.events[0].body, EventBody::NotificationsRead(body));
    let unread: Vec<_> =
        inbox(&store, &bob).await.notifications.iter().filter(|one| !one.read).map(|one| one.id).collect();
    assert_eq!(unread, [ids[5], ids[3]]);
    let all = one(&store, &bob, read(&bob, &[ids[5]], Some(1 << 50))).await;
    let EventBody::NotificationsRead(body) = &all.events[0].body else { panic!("{:?}", all.events) };
    assert_eq!(
        (body.unread, body.up_to_seq),
        (0, Some(all.seq - 1)),
        "no further than the head: later ones are unread"
    );
    assert_eq!(counts(&store, &bob).await, (6, 0));
    tell(&store, &ann, &bob, notice("later")).await;
    assert_eq!(counts(&store, &bob).await, (7, 1));
    let nobody = kit::user("read", "nobody");
    assert_eq!(one(&store, &nobody, read(&nobody, &[ids[0]], Some(9))).await.seq, 0);
}

pub async fn notifications_are_listed_newest_first_by_pages(store: Shared) {
    let (ann, bob) = (kit::user("pages", "ann"), kit::user("pages", "bob"));
    let mut ids = Vec::new();
    for _ in 0..5 {
        ids.insert(0, tell(&store, &ann, &bob, notice("x")).await.id);
    }
    one(&store, &bob, read(&bob, &[ids[1], ids[2]], None)).await;
    for (unread_only, expected) in [(false, ids.clone()), (true, vec![ids[0], ids[3], ids[4]])] {
        let (mut before, mut listed) = (None, Vec::new());
        loop {
            let page = store.notifications(&bob, NotificationQuery { unread_only, before, limit: 2 }).await.unwrap();
            assert!(page.notifications.len() <= 2);
            assert_eq!(page.unread, 3);
            before = page.notifications.last().map(|one| one.seq);
            listed.extend(page.notifications.into_iter().map(|one| one.id));
            if !page.more {
                break;
            }
        }
        assert_eq!(listed, expected);
    }
    let nobody = inbox(&store, &kit::user("pages", "nobody")).await;
    assert_eq!((nobody.notifications.len(), nobody.unread, nobody.more), (0, 0, false));
}

pub async fn what_is_urgent_is_acknowledged_once_on_any_device(store: Shared) {
    let (ann, bob) = (kit::user("ack", "ann"), kit::user("ack", "bob"));
    let first = tell(&store, &ann, &bob, urgent("fire")).await;
    let second = tell(&store, &ann, &bob, urgent("water")).await;
    let third = tell(&store, &ann, &bob, notice("coffee")).await;
    assert_eq!(try_one(&store, &ann, acknowledge(&ann, first.id)).await, Err(Refusal::NotificationNotFound));
    let unknown = acknowledge(&bob, NotificationId::generate());
    assert_eq!(try_one(&store, &bob, unknown).await, Err(Refusal::NotificationNotFound));
    let done = one(&store, &bob, acknowledge(&bob, first.id)).await;
    let body = NotificationAcknowledged { id: first.id, unread: 2 };
    assert_eq!(done.events[0].body, EventBody::NotificationAcknowledged(body));
    let again = one(&store, &bob, acknowledge(&bob, first.id)).await;
    assert_eq!((again.seq, again.events.len()), (done.seq, 0));

    one(&store, &bob, read(&bob, &[], Some(third.seq))).await;
    let states: Vec<_> =
        inbox(&store, &bob).await.notifications.iter().map(|one| (one.read, one.acknowledged)).collect();
    assert_eq!(states, [(true, false), (true, true), (true, true)], "reading what is urgent acknowledges it");
    let head = store.connect(&bob).await.unwrap().user.last_seq;
    let read_before = one(&store, &bob, acknowledge(&bob, second.id)).await;
    assert_eq!((read_before.seq, read_before.events.len()), (head, 0));
    assert_eq!(counts(&store, &bob).await, (3, 0));
    let trace = store.trace(second.id).await.unwrap().unwrap();
    assert!(trace.read_at_ms.is_some() && trace.acknowledged_at_ms == trace.read_at_ms);
}

pub async fn a_repeated_reading_is_answered_with_its_first_result(store: Shared) {
    let (ann, bob) = (kit::user("again", "ann"), kit::user("again", "bob"));
    let id = tell(&store, &ann, &bob, urgent("x")).await.id;
    let (reads, acks) =
        (write_with(&bob, "r", 1, read(&bob, &[id], None)), write_with(&bob, "a", 1, acknowledge(&bob, id)));
    let results = commit(&store, vec![reads.clone(), acks.clone(), reads.clone(), acks]).await;
    let results: Vec<_> = results.into_iter().map(Result::unwrap).collect();
    assert!(results[2].repeated && results[3].repeated);
    assert_eq!((results[0].seq, results[1].seq), (results[2].seq, results[3].seq));
    let conflict = write_with(&bob, "r", 2, read(&bob, &[], Some(1)));
    assert_eq!(commit(&store, vec![conflict]).await.remove(0), Err(Refusal::NonceConflict));
    assert_eq!(counts(&store, &bob).await, (1, 0));
}

pub async fn pages_show_a_notification_as_it_is_now(store: Shared) {
    let (ann, bob) = (kit::user("now", "ann"), kit::user("now", "bob"));
    let first = tell(&store, &ann, &bob, urgent("fire")).await;
    let second = tell(&store, &ann, &bob, notice("water")).await;
    one(&store, &bob, acknowledge(&bob, first.id)).await;
    one(&store, &bob, read(&bob, &[second.id], None)).await;
    let events = whole(&store, StreamId::User(bob.clone())).await;
    let names = ["notification.created", "notification.created", "notification.acknowledged", "notification.read"];
    assert_eq!(kit::names(&events), names);
    let shown: Vec<_> = events
        .iter()
        .filter_map(|event| match &event.body {
            EventBody::NotificationCreated(NotificationCreated { notification, unread }) => {
                Some((notification.clone(), *unread))
            }
            _ => None,
        })
        .collect();
    let mut listed = inbox(&store, &bob).await.notifications;
    listed.reverse();
    assert_eq!(shown, [(listed[0].clone(), 1), (listed[1].clone(), 2)]);
    assert!(listed[0].acknowledged && listed[1].read && listed[0].title.as_deref() == Some("fire"));
}

pub async fn what_is_trimmed_is_gone_and_the_counter_stays_exact(store: Shared) {
    let (ann, bob, cas) = (kit::user("gone", "ann"), kit::user("gone", "bob"), kit::user("gone", "cas"));
    let mut notes = Vec::new();
    for n in 0..6 {
        let both = super::notes_kit::notify(&ann, super::notes_kit::to(&[&bob, &cas]), notice(&n.to_string()));
        let done = one(&store, &ann, both).await;
        notes.push(super::notes_kit::told(&done.events).remove(0).1);
    }
    one(&store, &bob, read(&bob, &[notes[1].id, notes[4].id], None)).await;
    let session = SessionId::new("0123456789abcdef0123456789abcdef").unwrap();
    let delivery = Delivery { from_seq: notes[0].seq, last: notes[0].id, session: session.clone(), at_ms: 7 };
    let beyond = Delivery { last: notes[4].id, ..delivery.clone() };
    store.note_deliveries(vec![delivery.clone(), beyond]).await.unwrap();
    let stream = StreamId::User(bob.clone());
    store.trim(&stream, notes[3].seq).await.unwrap();
    assert_eq!(counts(&store, &bob).await, (3, 2));
    assert!(store.trace(notes[0].id).await.unwrap().is_none());
    store.note_deliveries(vec![delivery]).await.unwrap();
    assert_eq!(sessions(&store, notes[3].id).await, [(session, 7)], "a range goes with the last of it");
    let events = whole(&store, stream.clone()).await;
    assert_eq!(events[0].seq, notes[3].seq);
    let page = inbox(&store, &cas).await;
    assert_eq!((page.notifications.len(), page.unread), (6, 6), "another's stays, with what it says");
    assert!(page.notifications.iter().all(|one| one.title.is_some()));
    let done = one(&store, &bob, read(&bob, &[notes[0].id], Some(notes[3].seq))).await;
    assert!(
        matches!(&done.events[0].body, EventBody::NotificationsRead(body) if body.unread == 1),
        "what is gone is not counted again: {:?}",
        done.events
    );
    let head = store.connect(&bob).await.unwrap().user.last_seq;
    store.trim(&stream, head + 1).await.unwrap();
    assert_eq!(counts(&store, &bob).await, (0, 0));
    let batch =
        (0..3).map(|_| write(&ann, super::notes_kit::notify(&ann, super::notes_kit::to(&[&bob]), notice("new"))));
    commit(&store, batch.collect()).await;
    assert_eq!(counts(&store, &bob).await, (3, 3));
}

/// What a trace says about whom a notification was handed to.
async fn sessions(store: &Shared, id: NotificationId) -> Vec<(SessionId, u64)> {
    let trace = store.trace(id).await.unwrap().unwrap();
    trace.deliveries.into_iter().map(|one| (one.session, one.at_ms)).collect()
}

pub async fn a_trace_tells_what_became_of_a_notification(store: Shared) {
    let (ann, bob) = (kit::user("trace", "ann"), kit::user("trace", "bob"));
    let note = tell(&store, &ann, &bob, urgent("fire")).await;
    assert!(store.trace(NotificationId::generate()).await.unwrap().is_none());
    let session = |n: u32| SessionId::new(&format!("{n:032x}")).unwrap();
    let to = |n: u32, at_ms: u64| Delivery { from_seq: note.seq, last: note.id, session: session(n), at_ms };
    store.note_deliveries(vec![to(1, 2_000), to(2, 1_000), to(1, 3_000)]).await.unwrap();
    store.note_deliveries(vec![to(2, 4_000)]).await.unwrap();
    let trace = store.trace(note.id).await.unwrap().unwrap();
    assert_eq!((&trace.user, &trace.notification), (&bob, &note));
    assert_eq!((trace.read_at_ms, trace.acknowledged_at_ms, trace.jobs.len()), (None, None, 0));
    let seen = sessions(&store, note.id).await;
    assert_eq!(seen, [(session(2), 1_000), (session(1), 2_000)], "each connection once, as it was first noted");
    store.note_deliveries((10..200).map(|n| to(n, 5_000)).collect()).await.unwrap();
    assert_eq!(store.trace(note.id).await.unwrap().unwrap().deliveries.len(), 100);
    one(&store, &bob, acknowledge(&bob, note.id)).await;
    let trace = store.trace(note.id).await.unwrap().unwrap();
    assert!(trace.notification.acknowledged && trace.acknowledged_at_ms.is_some_and(|at_ms| at_ms >= note.at_ms));
}

pub async fn a_trace_names_the_ranges_that_hold_the_notification_and_no_others(store: Shared) {
    let (ann, bob, cas) = (kit::user("range", "ann"), kit::user("range", "bob"), kit::user("range", "cas"));
    let mut notes = Vec::new();
    for n in 0..8_u64 {
        notes.push(tell(&store, &ann, &bob, notice("x")).await);
        if n == 3 {
            // An event that is no notification stands in the middle.
            one(&store, &bob, read(&bob, &[notes[0].id], None)).await;
        }
    }
    assert_eq!(notes[4].seq, notes[3].seq + 2);
    // Another person's notification of the same number.
    let mut other = tell(&store, &ann, &cas, notice("x")).await;
    while other.seq < notes[2].seq {
        other = tell(&store, &ann, &cas, notice("x")).await;
    }
    let session = |n: u32| SessionId::new(&format!("{n:032x}")).unwrap();
    let range = |n: u32, from: usize, to: usize, at_ms: u64| Delivery {
        from_seq: notes[from].seq,
        last: notes[to].id,
        session: session(n),
        at_ms,
    };
    let ranges = vec![
        range(1, 1, 5, 5_000),
        range(2, 0, 2, 3_000),
        range(2, 4, 4, 4_000),
        // The same again from further back, and a part of it later.
        range(1, 0, 5, 6_000),
        range(1, 2, 3, 7_000),
    ];
    store.note_deliveries(ranges.clone()).await.unwrap();
    store.note_deliveries(ranges.into_iter().map(|range| Delivery { at_ms: 9_000, ..range }).collect()).await.unwrap();
    let (one, two) = (|at_ms| (session(1), at_ms), |at_ms| (session(2), at_ms));
    let expected = [
        vec![two(3_000), one(6_000)],
        vec![two(3_000), one(5_000)],
        vec![two(3_000), one(5_000)],
        vec![one(5_000)],
        vec![two(4_000), one(5_000)],
        vec![one(5_000)],
        vec![],
        vec![],
    ];
    for (note, expected) in notes.iter().zip(expected) {
        assert_eq!(sessions(&store, note.id).await, expected, "#{}", note.seq);
    }
    assert_eq!(sessions(&store, other.id).await, [], "another person's numbers are others");
}

pub async fn a_trace_finds_a_range_of_the_greatest_length(store: Shared) {
    let (ann, bob) = (kit::user("long", "ann"), kit::user("long", "bob"));
    let first = tell(&store, &ann, &bob, notice("x")).await;
    for _ in 0..2 {
        let writes = (1..DELIVERY_SEQS_MAX / 2)
            .map(|_| write(&ann, super::notes_kit::notify(&ann, super::notes_kit::to(&[&bob]), notice("x"))));
        commit(&store, writes.collect()).await;
    }
    let last = tell(&store, &ann, &bob, notice("x")).await;
    assert_eq!(last.seq - first.seq + 1, DELIVERY_SEQS_MAX);
    let session = SessionId::new("0123456789abcdef0123456789abcdef").unwrap();
    let whole = Delivery { from_seq: first.seq, last: last.id, session: session.clone(), at_ms: 7 };
    store.note_deliveries(vec![whole]).await.unwrap();
    for id in [first.id, last.id] {
        assert_eq!(sessions(&store, id).await, [(session.clone(), 7)]);
    }
}
