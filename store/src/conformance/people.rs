//! Acts on people: who may, what it means, and the record.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hallway_protocol::event::{MemberBanned, MemberMuted, MemberRemoved, MuteChanged, SessionRevoked, UserRevoked};
use hallway_protocol::model::AuditEntry;
use hallway_protocol::{EventBody, History, MessageId, Role, RoomId, SessionId, StreamId, UserId, Visibility};

use super::kit::{self, Shared, channel, commit, invite, names, one, room_events, send, try_one, whole, write_with};
use crate::{Action, AuditQuery, BanQuery, Committed, Ending, HistoryFrom, HistoryQuery, Refusal};

const ROLES: [Role; 4] = [Role::Guest, Role::Member, Role::Admin, Role::Owner];
const HOUR_MS: u64 = 60 * 60 * 1000;
/// Generous: a store's clock moves, but a busy machine may be slow.
const DEADLINE: Duration = Duration::from_secs(60);

fn kick(room: &RoomId, user: &UserId) -> Action {
    Action::Kick { room: room.clone(), user: user.clone(), reason: Some("too loud".to_owned()) }
}

fn ban(room: &RoomId, user: &UserId, until_ms: Option<u64>) -> Action {
    Action::Ban { room: room.clone(), user: user.clone(), until_ms, reason: Some("spam".to_owned()) }
}

fn unban(room: &RoomId, user: &UserId) -> Action {
    Action::Unban { room: room.clone(), user: user.clone() }
}

fn mute(room: &RoomId, user: &UserId, until_ms: Option<u64>) -> Action {
    Action::Mute { room: room.clone(), user: user.clone(), until_ms, reason: None }
}

fn unmute(room: &RoomId, user: &UserId) -> Action {
    Action::Unmute { room: room.clone(), user: user.clone() }
}

fn join(room: &RoomId) -> Action {
    Action::Join { room: room.clone() }
}

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// A public channel of `ann`, with `bob` as a member.
async fn scene(store: &Shared, case: &str) -> (UserId, UserId, RoomId) {
    let (ann, bob, room) = (kit::user(case, "ann"), kit::user(case, "bob"), kit::room(case, "room"));
    channel(store, &ann, &room, Visibility::Public, History::All).await;
    one(store, &bob, join(&room)).await;
    (ann, bob, room)
}

fn bodies(committed: &Committed) -> Vec<EventBody> {
    committed.events.iter().map(|event| event.body.clone()).collect()
}

/// Repeats an action until it is accepted.
async fn until_accepted(store: &Shared, actor: &UserId, action: impl Fn() -> Action) -> Committed {
    let begun = std::time::Instant::now();
    loop {
        match try_one(store, actor, action()).await {
            Ok(committed) => return committed,
            Err(refusal) => assert!(begun.elapsed() < DEADLINE, "still {refusal:?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub async fn every_role_acts_on_people_as_the_table_says(store: Shared) {
    let founder = kit::user("acts", "founder");
    for (actor_role, target_role) in ROLES.iter().flat_map(|actor| ROLES.iter().map(move |target| (*actor, *target))) {
        let name = format!("{actor_role:?}.{target_role:?}");
        let (actor, target, room) = (kit::user("acts", &name), kit::user("acts", "target"), kit::room("acts", &name));
        channel(&store, &founder, &room, Visibility::Public, History::All).await;
        one(&store, &founder, invite(&room, &actor, actor_role)).await;
        one(&store, &founder, invite(&room, &target, target_role)).await;
        let reaches = actor_role == Role::Owner || (actor_role == Role::Admin && target_role < Role::Admin);
        let acts = [mute(&room, &target, None), unmute(&room, &target), kick(&room, &target)];
        for act in acts.into_iter().chain([ban(&room, &target, None), unban(&room, &target)]) {
            let shown = format!("{actor_role:?} on {target_role:?}: {act:?}");
            let result = try_one(&store, &actor, act).await;
            if reaches {
                assert!(result.is_ok(), "{shown}: {result:?}");
            } else {
                assert_eq!(result, Err(Refusal::Forbidden), "{shown}");
            }
        }
        // Whoever is not a member can be kept out by any admin, and nobody acts on themselves.
        let stranger = kit::user("acts", "stranger");
        let result = try_one(&store, &actor, ban(&room, &stranger, None)).await.map(|_| ());
        assert_eq!(result, if actor_role >= Role::Admin { Ok(()) } else { Err(Refusal::Forbidden) });
        for act in [kick(&room, &actor), ban(&room, &actor, None), mute(&room, &actor, None), unmute(&room, &actor)] {
            assert_eq!(try_one(&store, &actor, act.clone()).await, Err(Refusal::Forbidden), "{act:?} on oneself");
        }
        if actor_role >= Role::Admin {
            for act in [kick(&room, &stranger), mute(&room, &stranger, None)] {
                assert_eq!(try_one(&store, &actor, act).await, Err(Refusal::TargetNotAMember));
            }
        }
    }
}

pub async fn a_ban_keeps_out_until_it_is_taken_back(store: Shared) {
    let (ann, bob, room) = scene(&store, "ban").await;
    let banned = one(&store, &ann, ban(&room, &bob, None)).await;
    let said = EventBody::MemberBanned(MemberBanned { user: bob.clone(), until_ms: None, by: ann.clone() });
    let gone = EventBody::MemberRemoved(MemberRemoved { user: bob.clone(), by: ann.clone() });
    assert_eq!(bodies(&banned)[..2], [said, gone], "the removal is the last event that the banned one gets");
    assert_eq!((names(&banned.events)[2], banned.seq), ("membership.changed", 5));
    let kept_out = Refusal::Banned(Ending { left_ms: None });
    assert_eq!(try_one(&store, &bob, join(&room)).await, Err(kept_out));
    assert_eq!(try_one(&store, &ann, invite(&room, &bob, Role::Guest)).await, Err(Refusal::TargetBanned));
    assert_eq!(try_one(&store, &bob, send(&room, "still here")).await, Err(Refusal::NotAMember));
    let again = one(&store, &ann, ban(&room, &bob, Some(now_ms() + HOUR_MS))).await;
    assert_eq!((names(&again.events), again.seq), (vec!["member.banned"], 6), "banned already: only the end changes");
    let Err(Refusal::Banned(Ending { left_ms: Some(left_ms) })) = try_one(&store, &bob, join(&room)).await else {
        panic!("the ban has an end")
    };
    assert!((1..=HOUR_MS).contains(&left_ms), "{left_ms} ms are left of an hour");
    let lifted = one(&store, &ann, unban(&room, &bob)).await;
    assert_eq!((names(&lifted.events), lifted.seq), (vec!["member.unbanned"], 7));
    let nothing = one(&store, &ann, unban(&room, &bob)).await;
    assert_eq!((nothing.events, nothing.seq), (vec![], 7), "nobody is banned any more: nothing happens");
    one(&store, &bob, join(&room)).await;
    let private = kit::room("ban", "private");
    channel(&store, &ann, &private, Visibility::Private, History::All).await;
    one(&store, &ann, ban(&private, &bob, None)).await;
    let refused = try_one(&store, &bob, join(&private)).await;
    assert_eq!(refused, Err(Refusal::RoomNotFound), "a ban does not tell that a private room exists");
    let events = room_events(&store, &room).await;
    assert_eq!(
        names(&events)[3..],
        ["member.banned", "member.removed", "member.banned", "member.unbanned", "member.joined"]
    );
}

pub async fn a_ban_ends_by_the_clock_of_the_store(store: Shared) {
    let (ann, bob, room) = scene(&store, "banend").await;
    one(&store, &ann, ban(&room, &bob, Some(now_ms() + 1_500))).await;
    assert!(matches!(try_one(&store, &bob, join(&room)).await, Err(Refusal::Banned(Ending { left_ms: Some(_) }))));
    until_accepted(&store, &bob, || join(&room)).await;
    let query = BanQuery { room: room.clone(), after: None, limit: 10 };
    assert_eq!(store.bans(&ann, query).await.unwrap().unwrap().bans, [], "what has ended is not shown");
    assert_eq!(one(&store, &ann, unban(&room, &bob)).await.events, [], "nor is there anything to take back");
}

pub async fn a_kick_is_a_removal_and_may_be_come_back_from(store: Shared) {
    let (ann, bob, room) = scene(&store, "kick").await;
    let kicked = one(&store, &ann, kick(&room, &bob)).await;
    assert_eq!((names(&kicked.events), kicked.seq), (vec!["member.removed", "membership.changed"], 4));
    assert_eq!(try_one(&store, &bob, send(&room, "still here")).await, Err(Refusal::NotAMember));
    assert_eq!(one(&store, &bob, join(&room)).await.seq, 5);
}

pub async fn a_muted_member_reads_and_writes_nothing(store: Shared) {
    let (ann, bob, room) = scene(&store, "mute").await;
    let own: MessageId = one(&store, &bob, send(&room, "before")).await.id.unwrap().into();
    let until_ms = Some(now_ms() + HOUR_MS);
    let muted = one(&store, &ann, mute(&room, &bob, until_ms)).await;
    let said = EventBody::MemberMuted(MemberMuted { user: bob.clone(), until_ms, by: ann.clone() });
    let told = MuteChanged { room: room.clone(), muted: true, until_ms, room_seq: muted.seq };
    assert_eq!(bodies(&muted), [said, EventBody::MuteChanged(told)]);
    let writes = || {
        [
            send(&room, "hello"),
            kit::edit(&room, own, "edited"),
            kit::react(&room, own, "+1"),
            Action::DeleteMessage { room: room.clone(), id: own },
        ]
    };
    for action in writes() {
        let refused = try_one(&store, &bob, action.clone()).await;
        let Err(Refusal::Muted(Ending { left_ms: Some(left_ms) })) = refused else { panic!("{action:?}: {refused:?}") };
        assert!((1..=HOUR_MS).contains(&left_ms), "{left_ms} ms are left of an hour");
    }
    let batch = (0..3).map(|_| kit::write(&bob, send(&room, "many"))).chain([kit::write(&ann, send(&room, "hers"))]);
    let results = commit(&store, batch.collect()).await;
    assert!(results[..3].iter().all(|result| matches!(result, Err(Refusal::Muted(_)))), "{results:?}");
    assert!(results[3].is_ok(), "others are not hindered");
    let query = HistoryQuery { room: room.clone(), from: HistoryFrom::Before(None), limit: 10 };
    assert_eq!(store.history(&bob, query).await.unwrap().unwrap().messages.len(), 2, "reading goes on");
    assert!(kit::mark(&store, &bob, &room, 6).await.is_some(), "and so does marking as read");
    assert_eq!(store.connect(&bob).await.unwrap().muted, std::slice::from_ref(&room));
    assert!(store.mute(&bob, &room).await.unwrap().is_some());
    // An admin who is muted acts on nobody either.
    one(&store, &ann, invite(&room, &bob, Role::Admin)).await;
    let acts = [kick(&room, &ann), invite(&room, &kit::user("mute", "eve"), Role::Guest)];
    for act in acts.into_iter().chain([Action::UpdateRoom { room: room.clone(), name: None, visibility: None }]) {
        assert!(matches!(try_one(&store, &bob, act.clone()).await, Err(Refusal::Muted(_))), "{act:?}");
    }
    let lifted = one(&store, &ann, unmute(&room, &bob)).await;
    assert_eq!(names(&lifted.events), ["member.unmuted", "mute.changed"]);
    assert_eq!(one(&store, &ann, unmute(&room, &bob)).await.events, [], "not muted any more: nothing happens");
    assert_eq!(store.mute(&bob, &room).await.unwrap(), None);
    for action in writes() {
        one(&store, &bob, action).await;
    }
    assert_eq!(store.connect(&bob).await.unwrap().muted, []);
}

pub async fn leaving_and_coming_back_does_not_end_a_mute(store: Shared) {
    let (ann, bob, room) = scene(&store, "escape").await;
    one(&store, &ann, mute(&room, &bob, None)).await;
    one(&store, &bob, Action::Leave { room: room.clone() }).await;
    let back = one(&store, &bob, join(&room)).await;
    assert_eq!(names(&back.events), ["member.joined", "membership.changed", "mute.changed"]);
    let muted = Refusal::Muted(Ending { left_ms: None });
    assert_eq!(try_one(&store, &bob, send(&room, "I am back")).await, Err(muted));
    assert_eq!(store.connect(&bob).await.unwrap().muted, std::slice::from_ref(&room));
    one(&store, &ann, kick(&room, &bob)).await;
    one(&store, &ann, unmute(&room, &bob)).await;
    let back = one(&store, &bob, join(&room)).await;
    assert_eq!(names(&back.events), ["member.joined", "membership.changed"], "it was taken back while they were away");
    one(&store, &bob, send(&room, "I am back")).await;
}

pub async fn a_mute_ends_by_the_clock_of_the_store(store: Shared) {
    let (ann, bob, room) = scene(&store, "muteend").await;
    let own: MessageId = one(&store, &bob, send(&room, "before")).await.id.unwrap().into();
    one(&store, &ann, mute(&room, &bob, Some(now_ms() + 1_500))).await;
    assert!(matches!(try_one(&store, &bob, send(&room, "early")).await, Err(Refusal::Muted(_))));
    until_accepted(&store, &bob, || send(&room, "late")).await;
    one(&store, &bob, kit::react(&room, own, "+1")).await;
    assert_eq!(store.connect(&bob).await.unwrap().muted, []);
    assert_eq!(store.mute(&bob, &room).await.unwrap(), None);
}

pub async fn an_act_is_carried_out_once_for_its_nonce(store: Shared) {
    let (ann, bob, room) = scene(&store, "once").await;
    let session = SessionId::new("00000000000000aa-1").unwrap();
    let acts = [
        mute(&room, &bob, None),
        unmute(&room, &bob),
        kick(&room, &bob),
        ban(&room, &bob, None),
        unban(&room, &bob),
        Action::RevokeSession { user: bob.clone(), session },
        Action::RevokeUser { user: bob.clone(), reason: None },
    ];
    let mut firsts = Vec::new();
    for (number, act) in acts.iter().enumerate() {
        let nonce = format!("once-{number}");
        let first = commit(&store, vec![write_with(&ann, &nonce, 1, act.clone())]).await.remove(0).unwrap();
        assert!(!first.repeated && !first.events.is_empty(), "{act:?}");
        firsts.push((nonce, act.clone(), first));
    }
    let (in_room, of_user) = (room_events(&store, &room).await, whole(&store, StreamId::User(bob.clone())).await);
    for (nonce, act, first) in firsts {
        let again = commit(&store, vec![write_with(&ann, &nonce, 1, act.clone())]).await.remove(0).unwrap();
        assert_eq!((again.repeated, again.events.len()), (true, 0), "{act:?}");
        assert_eq!((again.stream, again.seq, again.at_ms), (first.stream, first.seq, first.at_ms), "{act:?}");
        let other = commit(&store, vec![write_with(&ann, &nonce, 2, act.clone())]).await.remove(0);
        assert_eq!(other, Err(Refusal::NonceConflict), "{act:?}");
    }
    assert_eq!(room_events(&store, &room).await, in_room);
    assert_eq!(whole(&store, StreamId::User(bob.clone())).await, of_user);
    let query = AuditQuery { room: None, target: Some(bob), before: None, limit: 100 };
    assert_eq!(store.audit(None, query).await.unwrap().unwrap().entries.len(), acts.len(), "one entry for each act");
}

pub async fn acts_on_people_exist_in_channels_only(store: Shared) {
    let (ann, bob) = (kit::user("acdm", "ann"), kit::user("acdm", "bob"));
    let direct = RoomId::new("dm:acts-on-people").unwrap();
    one(&store, &ann, Action::OpenDirect { room: direct.clone(), other: bob.clone() }).await;
    for act in [
        kick(&direct, &bob),
        ban(&direct, &bob, None),
        unban(&direct, &bob),
        mute(&direct, &bob, None),
        unmute(&direct, &bob),
    ] {
        assert_eq!(try_one(&store, &ann, act.clone()).await, Err(Refusal::Forbidden), "{act:?}");
    }
    let (eve, archived, nowhere) =
        (kit::user("acdm", "eve"), kit::room("acdm", "archived"), kit::room("acdm", "nowhere"));
    channel(&store, &ann, &archived, Visibility::Private, History::All).await;
    one(&store, &ann, Action::ArchiveRoom { room: archived.clone() }).await;
    for act in [ban(&archived, &bob, None), unban(&archived, &bob)] {
        assert_eq!(try_one(&store, &ann, act.clone()).await, Err(Refusal::RoomArchived), "{act:?}");
        assert_eq!(try_one(&store, &eve, act).await, Err(Refusal::RoomNotFound), "for strangers it does not exist");
    }
    assert_eq!(try_one(&store, &eve, ban(&nowhere, &bob, None)).await, Err(Refusal::RoomNotFound));
}

pub async fn revocations_are_told_in_the_stream_of_the_user(store: Shared) {
    let (ann, bob, room) = scene(&store, "revoke").await;
    let session = SessionId::new("00000000000000aa-1f").unwrap();
    assert_eq!(store.connect(&bob).await.unwrap().revoked_before_ms, 0);
    let one_session = one(&store, &bob, Action::RevokeSession { user: bob.clone(), session: session.clone() }).await;
    assert_eq!((one_session.stream.clone(), one_session.seq), (StreamId::User(bob.clone()), 2));
    let whole_user = one(&store, &ann, Action::RevokeUser { user: bob.clone(), reason: None }).await;
    assert_eq!((whole_user.stream.clone(), whole_user.seq), (StreamId::User(bob.clone()), 3));
    one(&store, &bob, Action::Leave { room }).await;
    let events = whole(&store, StreamId::User(bob.clone())).await;
    assert_eq!(names(&events), ["membership.changed", "session.revoked", "user.revoked", "membership.changed"]);
    assert_eq!(events[1].body, EventBody::SessionRevoked(SessionRevoked { session, by: bob.clone() }));
    let before_ms = whole_user.at_ms;
    assert_eq!(events[2].body, EventBody::UserRevoked(UserRevoked { by: ann.clone(), before_ms }));
    assert_eq!(events[1..3], [one_session.events[0].clone(), whole_user.events[0].clone()]);
    assert_eq!(store.connect(&bob).await.unwrap().revoked_before_ms, before_ms);
    assert_eq!(store.connect(&ann).await.unwrap().revoked_before_ms, 0, "nobody else is concerned");
    let unheard = kit::user("revoke", "unheard-of");
    let early = one(&store, &ann, Action::RevokeUser { user: unheard.clone(), reason: None }).await;
    assert_eq!((early.seq, store.connect(&unheard).await.unwrap().revoked_before_ms), (1, early.at_ms));
    // Concurrent acts on one user keep their stream dense.
    let acts: Vec<_> = (0..20)
        .map(|number| {
            let (store, ann, user) = (Arc::clone(&store), ann.clone(), unheard.clone());
            let session = SessionId::new(&format!("00000000000000aa-{number}")).unwrap();
            tokio::spawn(async move { one(&store, &ann, Action::RevokeSession { user, session }).await.seq })
        })
        .collect();
    let mut seqs = Vec::new();
    for act in acts {
        seqs.push(act.await.unwrap());
    }
    seqs.sort_unstable();
    assert_eq!(seqs, (2..22).collect::<Vec<_>>());
    assert_eq!(whole(&store, StreamId::User(unheard)).await.len(), 21);
}

async fn record(store: &Shared, viewer: Option<&UserId>, query: AuditQuery) -> Option<Vec<AuditEntry>> {
    let (mut all, mut before) = (Vec::new(), query.before);
    loop {
        let page = store.audit(viewer, AuditQuery { before, ..query.clone() }).await.unwrap()?;
        assert!(page.entries.len() <= query.limit as usize);
        all.extend(page.entries);
        before = page.next;
        if before.is_none() {
            return Some(all);
        }
    }
}

pub async fn every_act_is_recorded_and_listed_newest_first(store: Shared) {
    let (ann, bob, room) = scene(&store, "audit").await;
    let eve = kit::user("audit", "eve");
    let until_ms = Some(now_ms() + HOUR_MS);
    let session = SessionId::new("00000000000000aa-1").unwrap();
    let acts = [
        mute(&room, &bob, until_ms),
        unmute(&room, &bob),
        kick(&room, &bob),
        ban(&room, &bob, until_ms),
        ban(&room, &eve, None),
        unban(&room, &bob),
        Action::RevokeSession { user: bob.clone(), session: session.clone() },
        Action::RevokeUser { user: bob.clone(), reason: Some("stolen".to_owned()) },
    ];
    for act in acts {
        one(&store, &ann, act).await;
    }
    // What is refused or changes nothing is no act.
    assert!(try_one(&store, &eve, kick(&room, &ann)).await.is_err());
    one(&store, &ann, unban(&room, &bob)).await;
    one(&store, &ann, send(&room, "no act on anybody")).await;
    let bare = |action: &str| AuditEntry {
        at_ms: 0,
        actor: ann.clone(),
        action: action.to_owned(),
        room: Some(room.clone()),
        target: Some(bob.clone()),
        session: None,
        until_ms: None,
        reason: None,
    };
    let spam = || Some("spam".to_owned());
    let mut expected = vec![
        AuditEntry { until_ms, ..bare("room.mute") },
        bare("room.unmute"),
        AuditEntry { reason: Some("too loud".to_owned()), ..bare("room.kick") },
        AuditEntry { until_ms, reason: spam(), ..bare("room.ban") },
        AuditEntry { target: Some(eve.clone()), reason: spam(), ..bare("room.ban") },
        bare("room.unban"),
        AuditEntry { room: None, session: Some(session), ..bare("session.revoke") },
        AuditEntry { room: None, reason: Some("stolen".to_owned()), ..bare("user.revoke") },
    ];
    expected.reverse();
    for limit in [1, 3, 100] {
        let list = async |room: Option<&RoomId>, target: Option<&UserId>| {
            let query = AuditQuery { room: room.cloned(), target: target.cloned(), before: None, limit };
            let mut entries = record(&store, None, query).await.unwrap();
            assert!(entries.is_sorted_by(|a, b| a.at_ms >= b.at_ms));
            entries.iter_mut().for_each(|entry| entry.at_ms = 0);
            entries
        };
        let of = |keep: &dyn Fn(&AuditEntry) -> bool| -> Vec<AuditEntry> {
            expected.iter().filter(|entry| keep(entry)).cloned().collect()
        };
        assert_eq!(list(Some(&room), None).await, of(&|entry| entry.room.is_some()));
        assert_eq!(list(None, Some(&bob)).await, of(&|entry| entry.target.as_ref() == Some(&bob)));
        assert_eq!(list(Some(&room), Some(&eve)).await, of(&|entry| entry.target.as_ref() == Some(&eve)));
        let all = list(None, None).await;
        assert_eq!(all.into_iter().filter(|entry| entry.actor == ann).collect::<Vec<_>>(), expected);
    }
}

pub async fn the_record_of_a_room_is_for_its_admins(store: Shared) {
    let (ann, bob, room) = scene(&store, "auditroom").await;
    one(&store, &ann, ban(&room, &kit::user("auditroom", "eve"), None)).await;
    let query = AuditQuery { room: Some(room.clone()), target: None, before: None, limit: 10 };
    assert_eq!(record(&store, Some(&ann), query.clone()).await.unwrap().len(), 1);
    assert_eq!(record(&store, Some(&bob), query.clone()).await, None, "not for a member");
    one(&store, &ann, invite(&room, &bob, Role::Admin)).await;
    let narrow = AuditQuery { target: Some(bob.clone()), ..query.clone() };
    assert_eq!(record(&store, Some(&bob), narrow).await, Some(Vec::new()), "an admin sees that there is nothing");
    assert_eq!(record(&store, Some(&bob), query.clone()).await.unwrap().len(), 1);
    for user in [&ann, &kit::user("auditroom", "stranger")] {
        let elsewhere = AuditQuery { room: Some(kit::room("auditroom", "nowhere")), ..query.clone() };
        assert_eq!(record(&store, Some(user), elsewhere).await, None);
        assert_eq!(record(&store, Some(user), AuditQuery { room: None, ..query.clone() }).await, None);
    }
}

pub async fn bans_are_listed_for_admins_by_user(store: Shared) {
    let (ann, bob, room) = scene(&store, "bans").await;
    let until_ms = Some(now_ms() + HOUR_MS);
    let mut expected = Vec::new();
    for name in ["Z", "_", "b", "a.", "a-"] {
        let user = kit::user("bans", name);
        let until_ms = until_ms.filter(|_| name != "b");
        let at_ms = one(&store, &ann, ban(&room, &user, until_ms)).await.at_ms;
        expected.push((user, ann.clone(), at_ms, until_ms, Some("spam".to_owned())));
    }
    one(&store, &ann, mute(&room, &bob, None)).await;
    expected.sort();
    for limit in [1, 2, 100] {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let query = BanQuery { room: room.clone(), after, limit };
            let page = store.bans(&ann, query).await.unwrap().unwrap();
            found.extend(page.bans.into_iter().map(|ban| (ban.user, ban.by, ban.at_ms, ban.until_ms, ban.reason)));
            after = found.last().map(|(user, ..)| user.clone());
            if !page.more {
                break;
            }
        }
        assert_eq!(found, expected, "a mute is no ban");
    }
    let query = BanQuery { room: room.clone(), after: None, limit: 10 };
    assert_eq!(store.bans(&bob, query.clone()).await.unwrap(), None, "not for a member");
    let stranger = kit::user("bans", "stranger");
    assert_eq!(store.bans(&stranger, query.clone()).await.unwrap(), None);
    let nowhere = BanQuery { room: kit::room("bans", "nowhere"), ..query };
    assert_eq!(store.bans(&ann, nowhere).await.unwrap(), None);
}

pub async fn what_has_ended_is_dropped(store: Shared) {
    let (ann, bob, room) = scene(&store, "ended").await;
    let eve = kit::user("ended", "eve");
    one(&store, &ann, ban(&room, &eve, None)).await;
    one(&store, &ann, ban(&room, &bob, Some(now_ms().saturating_sub(1)))).await;
    while store.trim_records().await.unwrap() {}
    one(&store, &bob, join(&room)).await;
    assert!(matches!(try_one(&store, &eve, join(&room)).await, Err(Refusal::Banned(_))), "what is in force stays");
    let query = AuditQuery { room: Some(room.clone()), target: None, before: None, limit: 10 };
    assert_eq!(record(&store, None, query).await.unwrap().len(), 2, "and so does the record of what is not old");
    let id = MessageId::generate();
    one(&store, &bob, kit::send_as(&room, id, "back")).await;
}
