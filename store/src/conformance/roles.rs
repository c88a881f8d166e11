//! Who may do what.

use std::collections::BTreeSet;
use std::sync::Arc;

use hallway_protocol::event::MembershipChanged;
use hallway_protocol::{EventBody, History, MessageId, Role, RoomId, StreamId, UserId, Visibility};

use super::kit::{self, Shared, channel, commit, create, invite, names, one, room_events, send, try_one, whole, write};
use crate::{Action, HistoryFrom, HistoryQuery, MemberQuery, Refusal, RoomQuery, USER_ROOMS_MAX};

const ROLES: [Role; 4] = [Role::Guest, Role::Member, Role::Admin, Role::Owner];

/// Every action with the least role that may do it, on a room with a message of `author` and a plain member `target`.
fn table(room: &RoomId, message: MessageId, target: &UserId) -> Vec<(Role, Action)> {
    let room = room.clone();
    vec![
        (Role::Member, send(&room, "text")),
        (Role::Member, kit::react(&room, message, "+1")),
        (Role::Admin, Action::UpdateRoom { room: room.clone(), name: Some("name".to_owned()), visibility: None }),
        (Role::Admin, invite(&room, &kit::user("table", "newcomer"), Role::Guest)),
        (Role::Admin, invite(&room, target, Role::Guest)),
        (Role::Admin, Action::Remove { room: room.clone(), user: target.clone() }),
        (Role::Admin, Action::DeleteMessage { room: room.clone(), id: message }),
        (Role::Guest, Action::Leave { room: room.clone() }),
        (Role::Owner, Action::ArchiveRoom { room }),
    ]
}

pub async fn every_role_may_do_what_the_table_says(store: Shared) {
    let (owner, target) = (kit::user("table", "founder"), kit::user("table", "target"));
    for role in ROLES {
        let actor = kit::user("table", &format!("{role:?}"));
        for index in 0..9 {
            let room = kit::room("table", &format!("{role:?}.{index}"));
            channel(&store, &owner, &room, Visibility::Public, History::All).await;
            one(&store, &owner, invite(&room, &actor, role)).await;
            one(&store, &owner, invite(&room, &target, Role::Member)).await;
            let message: MessageId = one(&store, &owner, send(&room, "someone's")).await.id.unwrap().into();
            let (least, action) = table(&room, message, &target).swap_remove(index);
            let shown = format!("{role:?}: {action:?}");
            let foreign = try_one(&store, &actor, kit::edit(&room, message, "not mine")).await;
            assert_eq!(foreign, Err(Refusal::Forbidden), "nobody edits another's message");
            let head = room_events(&store, &room).await.len();
            let result = try_one(&store, &actor, action).await;
            if role >= least {
                assert!(result.is_ok(), "{shown}: {result:?}");
                assert_eq!(room_events(&store, &room).await.len(), head + 1, "{shown}");
            } else {
                assert_eq!(result, Err(Refusal::Forbidden), "{shown}");
                assert_eq!(room_events(&store, &room).await.len(), head, "{shown}");
            }
        }
    }
}

pub async fn an_archived_room_can_be_read_and_not_written(store: Shared) {
    let (ann, bob) = (kit::user("archived", "ann"), kit::user("archived", "bob"));
    let room = kit::room("archived", "room");
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    let id: MessageId = one(&store, &ann, send(&room, "kept")).await.id.unwrap().into();
    one(&store, &ann, Action::ArchiveRoom { room: room.clone() }).await;
    for action in [
        send(&room, "late"),
        kit::edit(&room, id, "late"),
        kit::react(&room, id, "+1"),
        Action::DeleteMessage { room: room.clone(), id },
        Action::UpdateRoom { room: room.clone(), name: None, visibility: None },
        Action::ArchiveRoom { room: room.clone() },
        invite(&room, &bob, Role::Member),
    ] {
        assert_eq!(try_one(&store, &ann, action.clone()).await, Err(Refusal::RoomArchived), "{action:?}");
    }
    assert_eq!(try_one(&store, &bob, Action::Join { room: room.clone() }).await, Err(Refusal::RoomArchived));
    let query = HistoryQuery { room: room.clone(), from: HistoryFrom::Before(None), limit: 10 };
    assert_eq!(store.history(&ann, query).await.unwrap().unwrap().messages[0].text, "kept");
    assert!(store.room(&ann, &room).await.unwrap().unwrap().info.archived);
    let public = RoomQuery { mine: false, after: None, limit: 1000 };
    assert!(store.list_rooms(&bob, public).await.unwrap().rooms.iter().all(|info| info.room != room));
    let mine = RoomQuery { mine: true, after: None, limit: 10 };
    assert_eq!(store.list_rooms(&ann, mine).await.unwrap().rooms.len(), 1);
}

pub async fn a_private_room_does_not_exist_for_others(store: Shared) {
    let (ann, eve) = (kit::user("private", "ann"), kit::user("private", "eve"));
    let (secret, nowhere) = (kit::room("private", "secret"), kit::room("private", "nowhere"));
    channel(&store, &ann, &secret, Visibility::Private, History::SinceJoin).await;
    let id: MessageId = one(&store, &ann, send(&secret, "secret")).await.id.unwrap().into();
    for room in [&secret, &nowhere] {
        for action in [
            send(room, "text"),
            kit::edit(room, id, "text"),
            kit::react(room, id, "+1"),
            Action::DeleteMessage { room: room.clone(), id },
            Action::Join { room: room.clone() },
            Action::Leave { room: room.clone() },
            invite(room, &eve, Role::Owner),
            Action::Remove { room: room.clone(), user: ann.clone() },
            Action::UpdateRoom { room: room.clone(), name: None, visibility: Some(Visibility::Public) },
            Action::ArchiveRoom { room: room.clone() },
        ] {
            assert_eq!(try_one(&store, &eve, action.clone()).await, Err(Refusal::RoomNotFound), "{action:?}");
        }
        assert_eq!(store.room(&eve, room).await.unwrap(), None);
        let query = MemberQuery { room: room.clone(), after: None, limit: 10 };
        assert_eq!(store.members(&eve, query).await.unwrap(), None);
        let query = HistoryQuery { room: room.clone(), from: HistoryFrom::Before(None), limit: 10 };
        assert_eq!(store.history(&eve, query).await.unwrap(), None);
        assert_eq!(kit::mark(&store, &eve, room, 1).await, None);
    }
}

pub async fn a_public_room_says_that_one_is_no_member(store: Shared) {
    let (ann, eve) = (kit::user("public", "ann"), kit::user("public", "eve"));
    let room = kit::room("public", "room");
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    assert_eq!(try_one(&store, &eve, send(&room, "text")).await, Err(Refusal::NotAMember));
    assert_eq!(try_one(&store, &eve, Action::Leave { room: room.clone() }).await, Err(Refusal::NotAMember));
    let view = store.room(&eve, &room).await.unwrap().unwrap();
    assert_eq!((view.info.room, view.member), (room.clone(), None));
    let query = HistoryQuery { room: room.clone(), from: HistoryFrom::Before(None), limit: 10 };
    assert_eq!(store.history(&eve, query).await.unwrap(), None, "history is for members");
    let query = MemberQuery { room, after: None, limit: 10 };
    assert_eq!(store.members(&eve, query).await.unwrap().unwrap().members.len(), 1);
}

pub async fn nobody_rises_above_the_one_who_invites(store: Shared) {
    let [owner, admin, other] = ["owner", "admin", "other"].map(|name| kit::user("rise", name));
    let room = kit::room("rise", "room");
    channel(&store, &owner, &room, Visibility::Private, History::All).await;
    one(&store, &owner, invite(&room, &admin, Role::Admin)).await;
    assert_eq!(try_one(&store, &admin, invite(&room, &other, Role::Owner)).await, Err(Refusal::Forbidden));
    assert_eq!(try_one(&store, &admin, invite(&room, &admin, Role::Owner)).await, Err(Refusal::Forbidden));
    assert_eq!(try_one(&store, &admin, invite(&room, &owner, Role::Guest)).await, Err(Refusal::Forbidden));
    let remove = |user: &UserId| Action::Remove { room: room.clone(), user: user.clone() };
    assert_eq!(try_one(&store, &admin, remove(&owner)).await, Err(Refusal::Forbidden));
    one(&store, &admin, invite(&room, &other, Role::Admin)).await;
    assert_eq!(
        try_one(&store, &admin, remove(&other)).await,
        Err(Refusal::Forbidden),
        "equals do not remove each other"
    );
    let head = room_events(&store, &room).await.len();
    let same = one(&store, &admin, invite(&room, &other, Role::Admin)).await;
    assert!(same.events.is_empty());
    assert_eq!(room_events(&store, &room).await.len(), head, "the same role is no event");
    one(&store, &owner, remove(&other)).await;
    assert_eq!(try_one(&store, &owner, remove(&other)).await, Err(Refusal::TargetNotAMember));
    assert_eq!(try_one(&store, &owner, remove(&owner)).await, Err(Refusal::Forbidden));
}

pub async fn a_channel_keeps_an_owner(store: Shared) {
    let (ann, bob) = (kit::user("owner", "ann"), kit::user("owner", "bob"));
    let room = kit::room("owner", "room");
    let leave = || Action::Leave { room: room.clone() };
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    one(&store, &bob, Action::Join { room: room.clone() }).await;
    assert_eq!(try_one(&store, &ann, leave()).await, Err(Refusal::LastOwner));
    assert_eq!(try_one(&store, &ann, invite(&room, &ann, Role::Admin)).await, Err(Refusal::LastOwner));
    one(&store, &ann, invite(&room, &bob, Role::Owner)).await;
    one(&store, &ann, invite(&room, &ann, Role::Member)).await;
    one(&store, &ann, leave()).await;
    one(&store, &bob, leave()).await;
    assert_eq!(try_one(&store, &bob, leave()).await, Err(Refusal::NotAMember));
    let events = names(&room_events(&store, &room).await).join(" ");
    let expected =
        "room.created member.joined member.joined member.updated member.updated member.removed member.removed";
    assert_eq!(events, expected);
}

pub async fn joining_again_changes_nothing(store: Shared) {
    let (ann, bob) = (kit::user("again", "ann"), kit::user("again", "bob"));
    let room = kit::room("again", "room");
    channel(&store, &ann, &room, Visibility::Public, History::All).await;
    let first = one(&store, &bob, Action::Join { room: room.clone() }).await;
    one(&store, &ann, send(&room, "text")).await;
    let second = one(&store, &bob, Action::Join { room: room.clone() }).await;
    assert_eq!((first.seq, second.seq), (3, 3));
    assert!(second.events.is_empty() && !second.repeated);
    assert_eq!(store.connect(&bob).await.unwrap().rooms[0].unread, 1);
}

fn direct(case: &str) -> (UserId, UserId, RoomId) {
    let room = RoomId::new(&format!("dm:{case}")).unwrap();
    (kit::user(case, "ann"), kit::user(case, "bob"), room)
}

fn open(room: &RoomId, other: &UserId) -> Action {
    Action::OpenDirect { room: room.clone(), other: other.clone() }
}

pub async fn a_direct_room_is_opened_once_from_both_sides(store: Shared) {
    let (ann, bob, room) = direct("direct");
    let first = one(&store, &ann, open(&room, &bob)).await;
    assert_eq!(first.seq, 3);
    let kinds: BTreeSet<&str> = names(&first.events).into_iter().collect();
    assert_eq!(kinds, BTreeSet::from(["room.created", "member.joined", "membership.changed"]));
    assert_eq!(one(&store, &ann, open(&room, &bob)).await.seq, 2, "the actor's own joining");
    let other_side = one(&store, &bob, open(&room, &ann)).await;
    assert_eq!(other_side.seq, 3);
    assert!(other_side.events.is_empty());
    assert_eq!(room_events(&store, &room).await.len(), 3);
    for user in [&ann, &bob] {
        one(&store, user, send(&room, "hello")).await;
        for action in [
            Action::Leave { room: room.clone() },
            Action::ArchiveRoom { room: room.clone() },
            Action::UpdateRoom { room: room.clone(), name: None, visibility: Some(Visibility::Public) },
            invite(&room, &kit::user("direct", "eve"), Role::Member),
            Action::Remove { room: room.clone(), user: ann.clone() },
        ] {
            assert_eq!(try_one(&store, user, action.clone()).await, Err(Refusal::Forbidden), "{action:?}");
        }
    }
    assert_eq!(try_one(&store, &kit::user("direct", "eve"), send(&room, "x")).await, Err(Refusal::RoomNotFound));
}

pub async fn a_direct_room_is_opened_once_however_many_try(store: Shared) {
    let (ann, bob, room) = direct("crowd");
    let tasks: Vec<_> = (0..10)
        .map(|turn| {
            let (actor, other) = if turn % 2 == 0 { (&ann, &bob) } else { (&bob, &ann) };
            let (store, write) = (Arc::clone(&store), write(actor, open(&room, other)));
            tokio::spawn(async move { commit(&store, vec![write]).await.remove(0).unwrap() })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        made += usize::from(!task.await.unwrap().events.is_empty());
    }
    assert_eq!(made, 1);
    assert_eq!(names(&room_events(&store, &room).await), ["room.created", "member.joined", "member.joined"]);
}

pub async fn a_user_is_in_a_bounded_number_of_rooms(store: Shared) {
    let (ann, bob) = (kit::user("many", "ann"), kit::user("many", "bob"));
    let name = |number: u32| kit::room("many", &number.to_string());
    let all = (0..USER_ROOMS_MAX).map(|number| write(&ann, create(&name(number), Visibility::Public, History::All)));
    assert!(commit(&store, all.collect()).await.iter().all(Result::is_ok));
    let (more, bobs) = (kit::room("many", "more"), kit::room("many", "bobs"));
    let refused = try_one(&store, &ann, create(&more, Visibility::Public, History::All)).await;
    assert_eq!(refused, Err(Refusal::TooManyRooms));
    assert_eq!(store.room(&ann, &more).await.unwrap(), None, "nothing is left behind");
    channel(&store, &bob, &bobs, Visibility::Public, History::All).await;
    assert_eq!(try_one(&store, &ann, Action::Join { room: bobs.clone() }).await, Err(Refusal::TooManyRooms));
    assert_eq!(try_one(&store, &bob, invite(&bobs, &ann, Role::Member)).await, Err(Refusal::TooManyRooms));
    one(&store, &ann, Action::Leave { room: name(0) }).await;
    one(&store, &ann, Action::Join { room: bobs }).await;
    assert_eq!(store.connect(&ann).await.unwrap().rooms.len(), usize::try_from(USER_ROOMS_MAX).unwrap());
}

pub async fn memberships_are_told_to_the_user_with_their_numbers(store: Shared) {
    let (ann, bob) = (kit::user("told", "ann"), kit::user("told", "bob"));
    let room = kit::room("told", "room");
    channel(&store, &ann, &room, Visibility::Private, History::SinceJoin).await;
    one(&store, &ann, send(&room, "before")).await;
    let joined = one(&store, &ann, invite(&room, &bob, Role::Member)).await;
    let changed = one(&store, &ann, invite(&room, &bob, Role::Admin)).await;
    let removed = one(&store, &ann, Action::Remove { room: room.clone(), user: bob.clone() }).await;
    assert_eq!((joined.seq, changed.seq, removed.seq), (4, 5, 6));
    let events = whole(&store, StreamId::User(bob)).await;
    let told = |role, room_seq, joined_seq, visible_from_seq| {
        EventBody::MembershipChanged(MembershipChanged {
            room: room.clone(),
            role,
            room_seq,
            joined_seq,
            visible_from_seq,
        })
    };
    let bodies: Vec<EventBody> = events.iter().map(|event| event.body.clone()).collect();
    let expected = [told(Some(Role::Member), 4, 4, 4), told(Some(Role::Admin), 5, 4, 4), told(None, 6, 0, 0)];
    assert_eq!(bodies, expected);
    let handed_out = [joined, changed, removed].map(|committed| committed.events[1].clone());
    assert_eq!(events, handed_out, "the commit hands out what was written");
}
