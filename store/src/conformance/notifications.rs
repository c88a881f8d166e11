//! Notifications: written with their cause, once for a person and key, for whoever may and wants to know.

use hallway_protocol::notification::{Level, NotificationKind};
use hallway_protocol::{EventBody, History, MessageId, Meta, Role, RoomId, StreamId, UserId, Visibility};

use super::kit::{self, Shared, one, try_one, whole, write, write_with};
use super::notes_kit::{
    counts, gather, inbox, mention, notice, notify, prefer, quiet_now, team, tell, to, told, urgent, whom,
};
use crate::{Action, Addressed, Notice, Refusal};

fn direct(case: &str) -> RoomId {
    RoomId::new(&format!("dm:{case}")).unwrap()
}

pub async fn a_message_notifies_whom_it_names_answers_or_is_for_once_each(store: Shared) {
    let (room, people) = team(&store, "told", &["ann", "bob", "cas"]).await;
    let [ann, bob, cas] = &people[..] else { unreachable!() };
    let stranger = kit::user("told", "stranger");
    let done = one(&store, ann, mention(&room, &[cas, bob, cas, ann, &stranger], None)).await;
    assert_eq!(whom(&done), [(bob.clone(), "mention".to_owned()), (cas.clone(), "mention".to_owned())]);
    assert!(!done.fans_out);
    let (_, note, unread) = told(&done.events).remove(0);
    let head = store.connect(bob).await.unwrap().user.last_seq;
    assert_eq!((note.seq, unread, note.room.as_ref()), (head, 1, Some(&room)));
    assert_eq!((note.message.map(Into::into), note.by.as_ref(), note.task), (done.id, Some(ann), None));
    assert_eq!((note.title.as_ref(), note.text.as_ref(), note.acknowledge_by_ms), (None, None, None));
    assert!(!note.urgent && !note.silent && !note.read && !note.acknowledged);
    assert_eq!(inbox(&store, bob).await.notifications, [note]);
    assert_eq!(counts(&store, &stranger).await, (0, 0));

    let first: MessageId = done.id.unwrap().into();
    let answer = one(&store, bob, mention(&room, &[cas], Some(first))).await;
    assert_eq!(whom(&answer), [(ann.clone(), "reply".to_owned()), (cas.clone(), "mention".to_owned())]);
    let both = one(&store, cas, mention(&room, &[ann], Some(first))).await;
    assert_eq!(whom(&both), [(ann.clone(), "mention".to_owned())], "one of a message, the mention first");
    let own = one(&store, ann, mention(&room, &[], Some(first))).await;
    assert!(whom(&own).is_empty(), "nobody is told of their own");
    let gone = one(&store, ann, mention(&room, &[], Some(MessageId::generate()))).await;
    assert!(whom(&gone).is_empty());

    let direct = direct("told");
    one(&store, ann, Action::OpenDirect { room: direct.clone(), other: bob.clone() }).await;
    let said = one(&store, bob, kit::send(&direct, "psst")).await;
    assert_eq!(whom(&said), [(ann.clone(), "direct".to_owned())]);
    let answer = one(&store, ann, mention(&direct, &[], Some(said.id.unwrap().into()))).await;
    assert_eq!(whom(&answer), [(bob.clone(), "reply".to_owned())]);
    let plain = one(&store, ann, kit::send(&room, "text")).await;
    assert_eq!(plain.events.len(), 1);
}

pub async fn who_left_is_not_notified_and_an_edit_notifies_nobody(store: Shared) {
    let (room, people) = team(&store, "left", &["ann", "bob", "cas"]).await;
    let [ann, bob, cas] = &people[..] else { unreachable!() };
    let said = one(&store, bob, kit::send(&room, "text")).await;
    one(&store, bob, Action::Leave { room: room.clone() }).await;
    let done = one(&store, ann, mention(&room, &[bob], Some(said.id.unwrap().into()))).await;
    assert!(whom(&done).is_empty());
    let edit = Action::EditMessage {
        room: room.clone(),
        id: done.id.unwrap().into(),
        text: "better".to_owned(),
        mentions: vec![cas.clone()],
        meta: None,
        version: None,
    };
    assert!(whom(&one(&store, ann, edit).await).is_empty());
    assert_eq!((counts(&store, bob).await, counts(&store, cas).await), ((0, 0), (0, 0)));
}

pub async fn a_refused_or_repeated_cause_leaves_no_notification(store: Shared) {
    let (room, people) = team(&store, "refused", &["ann", "bob"]).await;
    let [ann, bob] = &people[..] else { unreachable!() };
    let guest = kit::user("refused", "guest");
    one(&store, ann, kit::invite(&room, &guest, Role::Guest)).await;
    assert_eq!(try_one(&store, &guest, mention(&room, &[bob], None)).await, Err(Refusal::Forbidden));
    let taken = mention(&room, &[bob], None);
    let first = write_with(ann, "first", 1, taken.clone());
    let results = kit::commit(&store, vec![first.clone(), write(ann, taken.clone()), first.clone()]).await;
    assert_eq!(whom(results[0].as_ref().unwrap()).len(), 1);
    assert_eq!(results[1], Err(Refusal::IdTaken));
    assert!(results[2].as_ref().unwrap().repeated && results[2].as_ref().unwrap().events.is_empty());
    assert!(kit::commit(&store, vec![first]).await.remove(0).unwrap().repeated);
    assert_eq!(counts(&store, bob).await, (1, 1));
    whole(&store, StreamId::User(bob.clone())).await;

    let said = write_with(ann, "said", 1, notify(ann, to(&[bob]), notice("once")));
    let done = kit::commit(&store, vec![said.clone()]).await.remove(0).unwrap();
    let again = kit::commit(&store, vec![said]).await.remove(0).unwrap();
    assert_eq!((done.seq, again.seq, again.repeated), (done.seq, done.seq, true));
    assert_eq!(counts(&store, bob).await, (2, 2));
}

pub async fn a_level_says_what_a_person_wants_to_know(store: Shared) {
    let (room, people) = team(&store, "level", &["ann", "bob"]).await;
    let [ann, bob] = &people[..] else { unreachable!() };
    // Own level, level in the room; whether a mention, an announcement in the room, one to everyone and an urgent one come.
    let cases = [
        (None, None, [true, true, true]),
        (Some(Level::Mentions), None, [true, false, false]),
        (Some(Level::None), None, [false, false, false]),
        (Some(Level::None), Some(Level::All), [true, true, false]),
        (Some(Level::None), Some(Level::Mentions), [true, false, false]),
        (Some(Level::All), Some(Level::None), [false, false, true]),
    ];
    for (own, of_room, wanted) in cases {
        one(&store, bob, prefer(bob, None, own)).await;
        one(&store, bob, prefer(bob, Some(&room), of_room)).await;
        let announce = |to: Addressed, notice: Notice| notify(ann, to, notice);
        let causes = [
            mention(&room, &[bob], None),
            announce(Addressed::Room(room.clone()), notice("room")),
            announce(Addressed::Everyone, notice("everyone")),
        ];
        for (cause, wanted) in causes.into_iter().zip(wanted) {
            let shown = format!("{cause:?} at {own:?} and {of_room:?}");
            assert_eq!(whom(&one(&store, ann, cause).await).len(), usize::from(wanted), "{shown}");
        }
        for to in [Addressed::Room(room.clone()), Addressed::Everyone, to(&[bob])] {
            assert_eq!(whom(&one(&store, ann, announce(to, urgent("fire"))).await).len(), 1, "urgent passes");
        }
    }
}

pub async fn preferences_are_told_and_listed(store: Shared) {
    let (room, people) = team(&store, "prefer", &["ann", "bob"]).await;
    let [ann, bob] = &people[..] else { unreachable!() };
    let (hidden, open) = (kit::room("prefer", "hidden"), kit::room("prefer", "open"));
    kit::channel(&store, ann, &hidden, Visibility::Private, History::All).await;
    kit::channel(&store, ann, &open, Visibility::Public, History::All).await;
    let fresh = store.preferences(bob).await.unwrap();
    assert_eq!((fresh.level, fresh.rooms.len(), fresh.quiet), (Level::All, 0, None));
    for (room, refusal) in [
        (&hidden, Refusal::RoomNotFound),
        (&open, Refusal::NotAMember),
        (&kit::room("prefer", "x"), Refusal::RoomNotFound),
    ] {
        assert_eq!(try_one(&store, bob, prefer(bob, Some(room), Some(Level::All))).await, Err(refusal));
    }
    one(&store, bob, Action::Join { room: open.clone() }).await;
    one(&store, bob, prefer(bob, Some(&room), Some(Level::None))).await;
    one(&store, bob, prefer(bob, Some(&open), Some(Level::All))).await;
    let done = one(&store, bob, prefer(bob, Some(&open), Some(Level::Mentions))).await;
    assert_eq!((&done.stream, done.events.len()), (&StreamId::User(bob.clone()), 1));
    assert!(matches!(&done.events[0].body, EventBody::PreferenceChanged(changed)
            if changed.room.as_ref() == Some(&open) && changed.level == Some(Level::Mentions)));
    let hours = quiet_now(true);
    let quiet = one(&store, bob, Action::SetQuietHours { user: bob.clone(), hours: Some(hours) }).await;
    assert!(matches!(&quiet.events[0].body, EventBody::QuietChanged(changed) if changed.hours == Some(hours)));
    one(&store, bob, prefer(bob, None, Some(Level::Mentions))).await;
    let page = whole(&store, StreamId::User(bob.clone())).await;
    assert!(page.contains(&done.events[0]) && page.contains(&quiet.events[0]), "pages say the same");
    let set = store.preferences(bob).await.unwrap();
    assert_eq!((set.level, set.quiet), (Level::Mentions, Some(hours)));
    let rooms: Vec<_> = set.rooms.iter().map(|one| (&one.room, one.level)).collect();
    assert_eq!(rooms, [(&open, Level::Mentions), (&room, Level::None)], "in the order of the ids");

    one(&store, bob, prefer(bob, Some(&room), None)).await;
    one(&store, bob, prefer(bob, None, None)).await;
    one(&store, bob, Action::SetQuietHours { user: bob.clone(), hours: None }).await;
    one(&store, bob, Action::Leave { room: open.clone() }).await;
    let none = store.preferences(bob).await.unwrap();
    assert_eq!((none.level, none.rooms.len(), none.quiet), (Level::All, 0, None), "nothing of rooms that were left");
}

pub async fn quiet_hours_make_no_noise_and_what_is_urgent_passes(store: Shared) {
    let (ann, bob) = (kit::user("quiet", "ann"), kit::user("quiet", "bob"));
    for (now, silent) in [(true, true), (false, false)] {
        one(&store, &bob, Action::SetQuietHours { user: bob.clone(), hours: Some(quiet_now(now)) }).await;
        assert_eq!(tell(&store, &ann, &bob, notice("hush")).await.silent, silent);
        assert!(!tell(&store, &ann, &bob, urgent("fire")).await.silent);
    }
    one(&store, &bob, Action::SetQuietHours { user: bob.clone(), hours: None }).await;
    assert!(!tell(&store, &ann, &bob, notice("day")).await.silent);
    let silent = inbox(&store, &bob).await.notifications.iter().filter(|one| one.silent).count();
    assert_eq!(silent, 1, "and is kept so");
}

pub async fn nobody_gets_two_of_a_key(store: Shared) {
    let (ann, bob, cas) = (kit::user("key", "ann"), kit::user("key", "bob"), kit::user("key", "cas"));
    let keyed = |title: &str, key: &str| Notice { key: Some(key.to_owned()), ..notice(title) };
    let both = notify(&ann, to(&[&bob, &bob, &cas, &ann]), keyed("first", "a"));
    assert_eq!(whom(&one(&store, &ann, both).await).len(), 2);
    let again = one(&store, &cas, notify(&cas, to(&[&bob]), keyed("second", "a"))).await;
    assert!(again.events.is_empty() && !again.repeated, "whoever sends it");
    tell(&store, &ann, &bob, keyed("third", "b")).await;
    let dan = kit::user("key", "dan");
    let more = notify(&ann, to(&[&bob, &dan]), keyed("fourth", "a"));
    assert_eq!(whom(&one(&store, &ann, more).await), [(dan.clone(), "notice".to_owned())], "who has none gets it");
    for _ in 0..2 {
        tell(&store, &ann, &bob, notice("without a key each is another")).await;
    }
    let titles: Vec<_> = inbox(&store, &bob).await.notifications.into_iter().filter_map(|one| one.title).collect();
    assert_eq!(titles[2..], ["third", "first"]);
    assert_eq!(counts(&store, &bob).await, (4, 4));
}

pub async fn notices_say_what_they_say_and_announcements_reach_a_room_or_everyone(store: Shared) {
    let (room, people) = team(&store, "announce", &["ann", "bob"]).await;
    let [ann, bob] = &people[..] else { unreachable!() };
    let (outside, fresh) = (kit::user("announce", "outside"), kit::user("announce", "fresh"));
    store.connect(&outside).await.unwrap();
    let full = Notice {
        title: "title".to_owned(),
        text: Some("text".to_owned()),
        data: Some(Meta::from_json(r#"{"a":1}"#).unwrap()),
        urgent: true,
        key: None,
        acknowledge_within_ms: Some(5_000),
    };
    let note = tell(&store, ann, &fresh, full.clone()).await;
    assert_eq!((note.kind.as_str(), note.room.as_ref(), note.by.as_ref()), ("notice", None, Some(ann)));
    assert_eq!((note.title, note.text, note.data), (Some(full.title), full.text, full.data));
    assert_eq!(note.acknowledge_by_ms, Some(note.at_ms + 5_000));
    let note = tell(&store, ann, &fresh, urgent("x")).await;
    assert_eq!(note.acknowledge_by_ms, Some(note.at_ms + crate::URGENT_ACKNOWLEDGE_MS));

    let head = kit::room_events(&store, &room).await.len() as u64;
    let done = one(&store, ann, notify(ann, Addressed::Room(room.clone()), notice("room"))).await;
    assert_eq!((done.seq, &done.stream), (head, &StreamId::Room(room.clone())), "no event of its own");
    assert_eq!(whom(&done), [(bob.clone(), NotificationKind::Announcement.as_str().to_owned())]);
    assert_eq!(told(&done.events)[0].1.room.as_ref(), Some(&room));
    let done = one(&store, ann, notify(ann, Addressed::Everyone, notice("everyone"))).await;
    let head = store.connect(ann).await.unwrap().user.last_seq;
    assert_eq!((done.seq, &done.stream), (head, &StreamId::User(ann.clone())));
    let reached: Vec<_> = whom(&done).into_iter().map(|(user, _)| user).collect();
    assert_eq!(reached, [bob.clone(), fresh, outside], "whoever ever connected or was told of anything");
    assert_eq!(told(&done.events)[0].1.room, None);
}

pub async fn a_room_is_addressed_by_its_admins_and_by_who_may_any(store: Shared) {
    let (room, people) = team(&store, "rights", &["ann", "bob"]).await;
    let [ann, bob] = &people[..] else { unreachable!() };
    let (adm, out) = (kit::user("rights", "adm"), kit::user("rights", "out"));
    one(&store, ann, kit::invite(&room, &adm, Role::Admin)).await;
    let public = kit::room("rights", "public");
    kit::channel(&store, ann, &public, Visibility::Public, History::All).await;
    gather(&store, &public, ann, std::slice::from_ref(bob)).await;
    let by = |user: &UserId, room: &RoomId, may_any: bool| Action::Notify {
        from: user.clone(),
        to: Addressed::Room(room.clone()),
        notice: notice("hear"),
        may_any,
    };
    assert_eq!(whom(&one(&store, &adm, by(&adm, &room, false)).await).len(), 2);
    assert_eq!(whom(&one(&store, &out, by(&out, &room, true)).await).len(), 3, "no member, but from outside");
    let absent = kit::room("rights", "absent");
    let direct = direct("rights");
    one(&store, ann, Action::OpenDirect { room: direct.clone(), other: bob.clone() }).await;
    one(&store, ann, Action::Mute { room: room.clone(), user: adm.clone(), until_ms: None, reason: None }).await;
    let muted = Refusal::Muted(crate::Ending { left_ms: None });
    let refused = [
        (bob, &room, false, Refusal::Forbidden),
        (&out, &room, false, Refusal::RoomNotFound),
        (&out, &public, false, Refusal::NotAMember),
        (&out, &absent, true, Refusal::RoomNotFound),
        (ann, &absent, false, Refusal::RoomNotFound),
        (ann, &direct, false, Refusal::Forbidden),
        (&out, &direct, true, Refusal::Forbidden),
        (&adm, &room, false, muted),
    ];
    for (user, room, may_any, refusal) in refused {
        assert_eq!(try_one(&store, user, by(user, room, may_any)).await, Err(refusal), "{user} {room} {may_any}");
    }
    one(&store, ann, Action::ArchiveRoom { room: public.clone() }).await;
    for (user, may_any) in [(ann, false), (&out, true)] {
        assert_eq!(try_one(&store, user, by(user, &public, may_any)).await, Err(Refusal::RoomArchived));
    }
    assert_eq!(counts(&store, bob).await, (2, 2));
}
