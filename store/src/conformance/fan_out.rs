//! Causes with many people: one job with them, carried out in steps, whoever dies; and what is handed out.

use std::collections::{BTreeMap, BTreeSet};

use hallway_protocol::notification::Level;
use hallway_protocol::{Event, EventBody, Meta, StreamId, UserId};

use super::kit::{self, Shared, one, whole};
use super::notes_kit::{
    acknowledge, claim, counts, fan_out, gather, inbox, job, notice, notify, prefer, quiet_now, read, team, tell, told,
    urgent, whom,
};
use crate::{Action, Addressed, FAN_OUT_CHUNK_USERS, HandOut, HandOutFate, NewJob, Notice, RECIPIENTS_WITH_CAUSE_MAX};

fn crowd(case: &str, count: usize) -> Vec<UserId> {
    (0..count).map(|n| kit::user(case, &format!("p{n:04}"))).collect()
}

/// How often each person was notified.
fn reached(steps: &[Vec<Event>]) -> BTreeMap<UserId, usize> {
    let mut reached = BTreeMap::new();
    for (user, _, _) in steps.iter().flat_map(|events| told(events)) {
        *reached.entry(user).or_default() += 1;
    }
    reached
}

pub async fn fifty_are_notified_with_the_cause_and_more_by_a_job(store: Shared) {
    let ann = kit::user("fifty", "ann");
    let people = crowd("fifty", RECIPIENTS_WITH_CAUSE_MAX + 1);
    let few = Addressed::Users(people[..RECIPIENTS_WITH_CAUSE_MAX].iter().chain([&ann]).cloned().collect());
    let done = one(&store, &ann, notify(&ann, few, notice("few"))).await;
    assert_eq!((whom(&done).len(), done.fans_out), (RECIPIENTS_WITH_CAUSE_MAX, false));
    assert!(reached(&fan_out(&store).await).is_empty());
    let done = one(&store, &ann, notify(&ann, Addressed::Users(people.clone()), notice("many"))).await;
    assert_eq!((done.events.len(), done.fans_out), (0, true));
    assert_eq!(counts(&store, &people[0]).await, (1, 1), "not yet");
    let steps = fan_out(&store).await;
    assert!(reached(&steps).iter().map(|(user, times)| (user, *times)).eq(people.iter().map(|user| (user, 1))));
    assert_eq!(counts(&store, &people[0]).await, (2, 2));
    assert!(reached(&fan_out(&store).await).is_empty(), "nothing is left");
}

pub async fn a_crowd_is_notified_in_steps_each_person_once(store: Shared) {
    let (room, people) = team(&store, "crowd", &["ann", "bob"]).await;
    let ann = &people[0];
    let crowd = crowd("crowd", 1_200);
    gather(&store, &room, ann, &crowd).await;
    let keyed = Notice { key: Some("fire".to_owned()), ..urgent("fire") };
    tell(&store, ann, &crowd[7], keyed.clone()).await;
    let done = one(&store, ann, notify(ann, Addressed::Room(room.clone()), keyed.clone())).await;
    assert!(done.fans_out && done.events.is_empty());
    one(&store, &crowd[8], Action::Leave { room: room.clone() }).await;
    let steps = fan_out(&store).await;
    assert!(steps.len() >= 3, "{} steps", steps.len());
    assert!(steps.iter().all(|events| events.len() <= FAN_OUT_CHUNK_USERS as usize));
    let reached = reached(&steps);
    assert!(reached.values().all(|times| *times == 1));
    let mut expected: BTreeSet<&UserId> = crowd.iter().chain([&people[1]]).collect();
    // Who has one of the key, and who left meanwhile.
    expected.remove(&crowd[7]);
    expected.remove(&crowd[8]);
    assert!(reached.keys().eq(expected), "{} were reached", reached.len());
    assert_eq!(counts(&store, &crowd[7]).await, (1, 1));
    let note = inbox(&store, &crowd[1_199]).await.notifications.remove(0);
    assert_eq!((note.title.as_deref(), note.room.as_ref(), note.urgent), (Some("fire"), Some(&room), true));
    whole(&store, StreamId::User(crowd[600].clone())).await;

    let again = one(&store, ann, notify(ann, Addressed::Room(room.clone()), keyed)).await;
    assert!(again.fans_out);
    assert!(self::reached(&fan_out(&store).await).is_empty(), "all have one of the key");
}

/// Whom the steps of a notice told, and who of them is told in silence. Each has exactly what their list says.
async fn told_of(store: &Shared, from: &UserId, to: Addressed, notice: Notice) -> BTreeMap<UserId, bool> {
    assert!(one(store, from, notify(from, to, notice.clone())).await.fans_out);
    let mut silences = BTreeMap::new();
    for (user, notification, unread) in fan_out(store).await.iter().flat_map(|events| told(events)) {
        let page = inbox(store, &user).await;
        assert_eq!((page.notifications.first(), page.unread), (Some(&notification), unread), "{user}");
        assert_eq!((&notification.title, &notification.text), (&Some(notice.title.clone()), &notice.text));
        assert_eq!((&notification.data, &notification.by), (&notice.data, &Some(from.clone())));
        let within_ms = notification.acknowledge_by_ms.map(|by| by - notification.at_ms);
        assert_eq!(within_ms, notice.acknowledge_within_ms.filter(|_| notice.urgent));
        whole(store, StreamId::User(user.clone())).await;
        assert!(silences.insert(user, notification.silent).is_none(), "once");
    }
    silences
}

pub async fn a_crowd_is_told_as_each_of_them_prefers(store: Shared) {
    let (room, people) = team(&store, "wants", &["ann"]).await;
    let ann = &people[0];
    let crowd = crowd("wants", 60);
    gather(&store, &room, ann, &crowd).await;
    for (person, place, level) in [
        (0, None, Level::None),
        (1, Some(&room), Level::None),
        (2, None, Level::None),
        (2, Some(&room), Level::All),
        (3, Some(&room), Level::Mentions),
        (4, None, Level::Mentions),
    ] {
        one(&store, &crowd[person], prefer(&crowd[person], place, Some(level))).await;
    }
    for (person, now) in [(5, true), (6, false)] {
        let hours = Some(quiet_now(now));
        one(&store, &crowd[person], Action::SetQuietHours { user: crowd[person].clone(), hours }).await;
    }
    let but = |left_out: &[usize], silent: &[usize]| -> BTreeMap<UserId, bool> {
        let told = (0..crowd.len()).filter(|person| !left_out.contains(person));
        told.map(|person| (crowd[person].clone(), silent.contains(&person))).collect()
    };
    let said = Notice {
        text: Some("at \"noon\"".to_owned()),
        data: Some(Meta::from_json("{\"page\":[1]}").unwrap()),
        acknowledge_within_ms: Some(7_000),
        ..notice("lunch")
    };
    let in_room = told_of(&store, ann, Addressed::Room(room.clone()), said.clone()).await;
    assert_eq!(in_room, but(&[0, 1, 3, 4], &[5]), "in a room what was chosen there comes first");
    let everywhere = told_of(&store, ann, Addressed::Everyone, said.clone()).await;
    assert_eq!(everywhere, but(&[0, 2, 4], &[5]), "elsewhere it does not count");
    let named = told_of(&store, ann, Addressed::Users(crowd.clone()), said.clone()).await;
    assert_eq!(named, but(&[0, 2], &[5]), "a notice to named people is meant for them");
    let loud = told_of(&store, ann, Addressed::Room(room.clone()), Notice { urgent: true, ..said }).await;
    assert_eq!(loud, but(&[], &[]), "what is urgent passes");
}

pub async fn an_urgent_crowd_does_not_wait_for_one_that_is_not(store: Shared) {
    let ann = kit::user("haste", "ann");
    let crowd = crowd("haste", 1_200);
    one(&store, &ann, notify(&ann, Addressed::Users(crowd.clone()), notice("news"))).await;
    store.fan_out().await.unwrap();
    one(&store, &ann, notify(&ann, Addressed::Users(crowd[..60].to_vec()), urgent("fire"))).await;
    let steps = fan_out(&store).await;
    let is_urgent = |events: &Vec<Event>| {
        let urgent = |event: &Event| match &event.body {
            EventBody::NotificationCreated(created) => created.notification.urgent,
            _ => false,
        };
        events.iter().all(urgent)
    };
    assert!(is_urgent(&steps[0]) && steps[0].len() == 60, "{} in the first step", steps[0].len());
    assert_eq!(steps[1..].iter().map(Vec::len).sum::<usize>(), 700, "what had begun is finished");
}

pub async fn steps_at_the_same_time_notify_each_person_once(store: Shared) {
    let ann = kit::user("race", "ann");
    let crowd = crowd("race", 999);
    for title in ["one", "two"] {
        one(&store, &ann, notify(&ann, Addressed::Users(crowd.clone()), notice(title))).await;
    }
    let workers = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { fan_out(&store).await })
    });
    let mut steps = Vec::new();
    for worker in workers.collect::<Vec<_>>() {
        steps.extend(worker.await.unwrap());
    }
    // Whoever came while others held the last jobs had nothing to do.
    steps.extend(fan_out(&store).await);
    let reached = reached(&steps);
    assert_eq!((reached.len(), reached.values().sum::<usize>()), (999, 1_998));
    for user in [&crowd[0], &crowd[500], &crowd[998]] {
        assert_eq!(counts(&store, user).await, (2, 2));
        whole(&store, StreamId::User(user.clone())).await;
    }
}

pub async fn everyone_is_whoever_is_known(store: Shared) {
    let ann = kit::user("known", "ann");
    let crowd = crowd("known", 120);
    for user in &crowd {
        store.connect(user).await.unwrap();
    }
    let done = one(&store, &ann, notify(&ann, Addressed::Everyone, notice("all"))).await;
    assert!(done.fans_out);
    let reached = reached(&fan_out(&store).await);
    assert!(reached.keys().eq(&crowd));
}

fn titles(claimed: &[HandOut]) -> Vec<&str> {
    let mut titles: Vec<_> = claimed.iter().filter_map(|one| one.notification.title.as_deref()).collect();
    titles.sort_unstable();
    titles
}

pub async fn what_is_not_read_is_looked_at_and_what_is_silent_never(store: Shared) {
    let (ann, bob, cas) = (kit::user("look", "ann"), kit::user("look", "bob"), kit::user("look", "cas"));
    one(&store, &cas, Action::SetQuietHours { user: cas.clone(), hours: Some(quiet_now(true)) }).await;
    tell(&store, &ann, &cas, notice("silent")).await;
    tell(&store, &ann, &cas, urgent("loud")).await;
    tell(&store, &ann, &bob, notice("plain")).await;
    let seen = tell(&store, &ann, &bob, notice("read")).await;
    one(&store, &bob, read(&bob, &[seen.id], None)).await;
    let acknowledged = tell(&store, &ann, &bob, urgent("acknowledged")).await;
    one(&store, &bob, acknowledge(&bob, acknowledged.id)).await;
    let claimed = store.claim_hand_outs(100, 600_000).await.unwrap();
    assert_eq!(titles(&claimed), ["loud", "plain"]);
    for one in &claimed {
        let loud = one.notification.urgent;
        assert_eq!(one.user, if loud { cas.clone() } else { bob.clone() });
        assert_eq!(
            one.notification,
            inbox(&store, &one.user).await.notifications.iter().find(|n| n.id == one.notification.id).unwrap().clone()
        );
        assert_eq!(one.acknowledge_in_ms.is_some(), loud);
        assert!(one.acknowledge_in_ms.is_none_or(|left| left <= crate::URGENT_ACKNOWLEDGE_MS && left > 0));
    }
    assert!(store.claim_hand_outs(100, 600_000).await.unwrap().is_empty(), "they are leased");
}

pub async fn a_dead_nodes_hand_outs_are_taken_over_and_settled_ones_stay_settled(store: Shared) {
    let (ann, bob) = (kit::user("heir", "ann"), kit::user("heir", "bob"));
    let mut ids = BTreeMap::new();
    for title in ["again", "later", "read", "settled"] {
        ids.insert(title, tell(&store, &ann, &bob, urgent(title)).await.id);
    }
    // A lease that is over at once: its node is as good as dead.
    assert_eq!(store.claim_hand_outs(3, 0).await.unwrap().len(), 3, "no more than asked for");
    assert_eq!(titles(&store.claim_hand_outs(100, 0).await.unwrap()), ["again", "later", "read", "settled"]);
    assert_eq!(store.claim_hand_outs(100, 600_000).await.unwrap().len(), 4);
    one(&store, &bob, read(&bob, &[ids["read"]], None)).await;
    let carries = NewJob { notifications: vec![ids["settled"]], ..job("a", 2, "x") };
    let settled = vec![
        (ids["settled"], HandOutFate::Settled),
        (ids["again"], HandOutFate::Again { after_ms: 0 }),
        (ids["later"], HandOutFate::Again { after_ms: 600_000 }),
        (ids["read"], HandOutFate::Again { after_ms: 0 }),
    ];
    store.settle_hand_outs(settled, vec![carries]).await.unwrap();
    assert_eq!(titles(&store.claim_hand_outs(100, 600_000).await.unwrap()), ["again"]);
    assert_eq!(store.claim_jobs(claim(10)).await.unwrap().len(), 1, "the job came with it");
    assert_eq!(store.trace(ids["settled"]).await.unwrap().unwrap().jobs.len(), 1);
}

pub async fn an_overdue_acknowledgement_is_said_to_be_overdue(store: Shared) {
    let (ann, bob) = (kit::user("overdue", "ann"), kit::user("overdue", "bob"));
    tell(&store, &ann, &bob, Notice { acknowledge_within_ms: Some(0), ..urgent("now") }).await;
    tell(&store, &ann, &bob, Notice { acknowledge_within_ms: Some(600_000), ..urgent("later") }).await;
    let claimed = store.claim_hand_outs(10, 600_000).await.unwrap();
    for one in claimed {
        let left = one.acknowledge_in_ms.unwrap();
        match one.notification.title.as_deref() {
            Some("now") => assert_eq!(left, 0),
            _ => assert!((500_000..=600_000).contains(&left), "{left}"),
        }
    }
}

pub async fn nodes_at_the_same_time_never_claim_the_same_hand_out(store: Shared) {
    let ann = kit::user("split", "ann");
    for people in crowd("split", 100).chunks(50) {
        one(&store, &ann, notify(&ann, Addressed::Users(people.to_vec()), notice("x"))).await;
    }
    let nodes = (0..4).map(|_| {
        let store = store.clone();
        tokio::spawn(async move {
            let mut mine = Vec::new();
            for _ in 0..20 {
                mine.extend(store.claim_hand_outs(7, 600_000).await.unwrap());
            }
            mine
        })
    });
    let mut ids = Vec::new();
    for node in nodes.collect::<Vec<_>>() {
        ids.extend(node.await.unwrap().into_iter().map(|one| one.notification.id));
    }
    assert_eq!(ids.len(), 100);
    assert_eq!(ids.into_iter().collect::<BTreeSet<_>>().len(), 100);
}
