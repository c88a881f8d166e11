//! What people say, turned into what they may see.

use hallway_protocol::command::{Candidate, What};
use hallway_protocol::event::ProfileChanged;
use hallway_protocol::{EventBody, History, MessageId, Role, RoomId, StreamId, TaskId, UserId, Visibility};

use super::kit::{self, Shared, one, send_as, whole};
use super::task_kit::{create_as, create_with, delete, new_task, retitle, team};
use crate::{Action, CANDIDATES_MAX, ResolveQuery};

async fn resolve(store: &Shared, user: &UserId, query: ResolveQuery) -> Vec<Candidate> {
    let mut answers = store.resolve(user, vec![query]).await.expect("the store resolves");
    assert_eq!(answers.len(), 1);
    answers.remove(0)
}

fn named(text: &str, what: Option<What>, room: Option<&RoomId>) -> ResolveQuery {
    ResolveQuery::Named { text: text.to_owned(), what, room: room.cloned() }
}

async fn people(store: &Shared, user: &UserId, text: &str, room: Option<&RoomId>) -> Vec<UserId> {
    let found = resolve(store, user, named(text, Some(What::Person), room)).await;
    let person = |candidate| match candidate {
        Candidate::Person { user, .. } => user,
        other => panic!("{other:?} is no person"),
    };
    found.into_iter().map(person).collect()
}

async fn rooms(store: &Shared, user: &UserId, text: &str, room: Option<&RoomId>) -> Vec<RoomId> {
    let found = resolve(store, user, named(text, Some(What::Room), room)).await;
    let room = |candidate| match candidate {
        Candidate::Room { room, .. } => room,
        other => panic!("{other:?} is no room"),
    };
    found.into_iter().map(room).collect()
}

async fn tasks(store: &Shared, user: &UserId, text: &str, room: Option<&RoomId>) -> Vec<TaskId> {
    let found = resolve(store, user, named(text, Some(What::Task), room)).await;
    let task = |candidate| match candidate {
        Candidate::Task { task, .. } => task,
        other => panic!("{other:?} is no task"),
    };
    found.into_iter().map(task).collect()
}

async fn call(store: &Shared, user: &UserId, name: &str) {
    one(store, user, Action::SetProfile { user: user.clone(), name: Some(name.to_owned()) }).await;
}

async fn named_room(store: &Shared, owner: &UserId, room: &RoomId, visibility: Visibility, name: &str) {
    let (room, name) = (room.clone(), Some(name.to_owned()));
    one(store, owner, Action::CreateRoom { room, visibility, history: History::All, name }).await;
}

pub async fn a_name_is_told_in_the_stream_of_the_user(store: Shared) {
    let ann = kit::user("profile", "ann");
    let me = async || resolve(&store, &ann, ResolveQuery::Me).await;
    assert_eq!(me().await, [Candidate::Person { user: ann.clone(), name: None }], "before anything is known of them");
    let write = kit::write(&ann, Action::SetProfile { user: ann.clone(), name: Some("Ann Berg".to_owned()) });
    let done = kit::commit(&store, vec![write.clone()]).await.remove(0).unwrap();
    assert_eq!((done.stream.clone(), done.seq), (StreamId::User(ann.clone()), 1));
    let named = EventBody::ProfileChanged(ProfileChanged { name: Some("Ann Berg".to_owned()) });
    assert_eq!(done.events[0].body, named);
    assert_eq!(me().await, [Candidate::Person { user: ann.clone(), name: Some("Ann Berg".to_owned()) }]);
    let unnamed = one(&store, &ann, Action::SetProfile { user: ann.clone(), name: None }).await;
    assert!(kit::commit(&store, vec![write]).await.remove(0).unwrap().repeated);
    let events = whole(&store, StreamId::User(ann.clone())).await;
    assert_eq!(events, [done.events[0].clone(), unnamed.events[0].clone()]);
    assert_eq!(me().await, [Candidate::Person { user: ann.clone(), name: None }]);
}

pub async fn people_are_found_by_id_name_and_the_words_of_it(store: Shared) {
    let team = team(&store, "p1", &["anna", "u2", "u3", "u4", "u5"]).await;
    let [anna, u2, u3, u4, u5] = &team.others[..] else { unreachable!() };
    let ann = &team.ann;
    call(&store, u2, "Anna").await;
    call(&store, u3, "Annabel Lee").await;
    call(&store, u4, "Lee-Ann O'Hara").await;
    call(&store, u5, "Élodie ÅNGSTRÖM").await;
    let find = async |text: &str| people(&store, ann, text, None).await;
    assert_eq!(find("anna").await, [u2.clone(), u3.clone()], "all of a name before its beginning");
    assert_eq!(find(" ANNA ").await, [u2.clone(), u3.clone()]);
    assert_eq!(find("ann").await, [u2.clone(), u3.clone(), u4.clone()]);
    assert_eq!(find("lee").await, [u3.clone(), u4.clone()]);
    assert_eq!(find("annabel l").await, vec![u3.clone()]);
    assert_eq!(find("o'h").await, [], "the beginning of a word is that of what stands between signs");
    assert_eq!(find("hara").await, vec![u4.clone()]);
    assert_eq!(find("ÉLODIE ångström").await, vec![u5.clone()]);
    assert_eq!(find("ång").await, vec![u5.clone()]);
    assert_eq!(find("nna").await, []);
    assert_eq!(find("p1.anna").await, vec![anna.clone()]);
    assert_eq!(find("P1.").await.len(), 6, "ids, and the asker's own");
    for odd in ["%", "_", "a%", "'", "\\", "*", "\u{10FFFF}", "  "] {
        assert_eq!(find(odd).await, [], "{odd:?}");
    }
    let found = resolve(&store, ann, named("annab", None, None)).await;
    assert_eq!(found, [Candidate::Person { user: u3.clone(), name: Some("Annabel Lee".to_owned()) }]);
    call(&store, u3, "Bella").await;
    assert_eq!((find("annab").await, find("bel").await), (vec![], vec![u3.clone()]));
    one(&store, u3, Action::SetProfile { user: u3.clone(), name: None }).await;
    assert_eq!(find("bel").await, []);
}

pub async fn people_are_found_by_those_who_share_a_room_with_them(store: Shared) {
    let team = team(&store, "p2", &["bob"]).await;
    let (ann, bob, room) = (&team.ann, &team.others[0], &team.room);
    let (eve, far) = (kit::user("p2", "eve"), kit::room("p2", "far"));
    kit::channel(&store, &eve, &far, Visibility::Public, History::All).await;
    call(&store, &eve, "Robert").await;
    call(&store, bob, "Robin").await;
    assert_eq!(
        people(&store, ann, "rob", None).await,
        vec![bob.clone()],
        "nobody of a public room that they are not in"
    );
    assert_eq!(people(&store, &eve, "rob", None).await, vec![eve.clone()], "oneself");
    one(&store, bob, Action::Join { room: far.clone() }).await;
    assert_eq!(people(&store, bob, "rob", None).await, [eve.clone(), bob.clone()]);
    assert_eq!(people(&store, bob, "rob", Some(room)).await, [bob.clone(), eve.clone()], "of the room before others");
    assert_eq!(people(&store, bob, "robert", Some(room)).await, vec![eve.clone()]);
    one(&store, bob, Action::Leave { room: far }).await;
    assert_eq!(people(&store, bob, "rob", None).await, vec![bob.clone()]);
    one(&store, bob, Action::Leave { room: room.clone() }).await;
    assert_eq!(people(&store, ann, "rob", Some(room)).await, []);
    assert_eq!(people(&store, bob, "p2.", Some(room)).await, vec![bob.clone()]);
}

pub async fn rooms_are_found_by_members_and_public_ones_by_everybody(store: Shared) {
    let (ann, bob) = (kit::user("r1", "ann"), kit::user("r1", "bob"));
    let [secret, open, old, nameless] = ["secret", "open", "old", "nameless"].map(|name| kit::room("r1", name));
    named_room(&store, &ann, &secret, Visibility::Private, "Budget plans").await;
    named_room(&store, &ann, &open, Visibility::Public, "Budget").await;
    named_room(&store, &ann, &old, Visibility::Public, "The old budget").await;
    kit::channel(&store, &ann, &nameless, Visibility::Private, History::All).await;
    assert_eq!(rooms(&store, &ann, "budget", None).await, [open.clone(), secret.clone(), old.clone()]);
    assert_eq!(rooms(&store, &ann, "bud", Some(&old)).await, [old.clone(), open.clone(), secret.clone()]);
    assert_eq!(rooms(&store, &ann, "R1.Name", None).await, vec![nameless.clone()]);
    assert_eq!(rooms(&store, &bob, "budget", Some(&secret)).await, [open.clone(), old.clone()]);
    assert_eq!(rooms(&store, &bob, "r1.secret", None).await, []);
    one(&store, &ann, Action::ArchiveRoom { room: old.clone() }).await;
    assert_eq!(rooms(&store, &bob, "budget", None).await, vec![open.clone()], "public ones are listed until archived");
    assert_eq!(rooms(&store, &ann, "old", None).await, vec![old.clone()], "members see theirs");
    let renamed = Action::UpdateRoom { room: open.clone(), name: Some("Costs".to_owned()), visibility: None };
    one(&store, &ann, renamed).await;
    assert_eq!(
        (rooms(&store, &bob, "budget", None).await, rooms(&store, &bob, "costs", None).await),
        (vec![], vec![open.clone()])
    );
    let hidden = Action::UpdateRoom { room: open.clone(), name: None, visibility: Some(Visibility::Private) };
    one(&store, &ann, hidden).await;
    assert_eq!(rooms(&store, &bob, "costs", None).await, []);
    let here = async |user: &UserId, room: &RoomId| resolve(&store, user, ResolveQuery::Room(room.clone())).await;
    let name = Some("Budget plans".to_owned());
    assert_eq!(here(&ann, &secret).await, [Candidate::Room { room: secret.clone(), name }]);
    assert_eq!(here(&ann, &nameless).await, [Candidate::Room { room: nameless, name: None }]);
    assert_eq!(here(&bob, &secret).await, []);
    assert_eq!(here(&bob, &open).await, []);
    assert_eq!(here(&bob, &kit::room("r1", "nowhere")).await, []);
}

pub async fn tasks_are_found_by_members_of_their_room(store: Shared) {
    let team = team(&store, "t1", &["bob"]).await;
    let (ann, bob, room) = (&team.ann, &team.others[0], &team.room);
    let other = kit::room("t1", "other");
    kit::channel(&store, ann, &other, Visibility::Public, History::All).await;
    let report = new_task(&store, ann, room, "Report").await;
    let reports = new_task(&store, ann, room, "The reports of May").await;
    let elsewhere = new_task(&store, ann, &other, "Report").await;
    assert_eq!(tasks(&store, ann, "report", Some(&other)).await, [elsewhere, report, reports]);
    assert_eq!(tasks(&store, ann, "REPORT", Some(room)).await, [report, elsewhere, reports]);
    assert_eq!(tasks(&store, ann, "of", None).await, [reports]);
    assert_eq!(tasks(&store, ann, &report.to_string().to_uppercase(), None).await, [report]);
    assert_eq!(tasks(&store, ann, &report.to_string()[..30], None).await.first(), Some(&report));
    assert_eq!(tasks(&store, bob, "report", Some(&other)).await, [report, reports], "a public room is not theirs");
    let found = resolve(&store, bob, named("the rep", None, None)).await;
    let title = "The reports of May".to_owned();
    assert_eq!(found, [Candidate::Task { room: room.clone(), task: reports, title: title.clone() }]);
    one(&store, ann, retitle(room, report, 1, "Minutes")).await;
    assert_eq!(tasks(&store, bob, "rep", None).await, [reports]);
    assert_eq!(tasks(&store, bob, "min", None).await, [report]);
    one(&store, ann, delete(room, report, 2)).await;
    assert_eq!(tasks(&store, bob, "min", None).await, []);
    assert_eq!(tasks(&store, bob, &report.to_string(), None).await, []);
    let this = async |user: &UserId, room: Option<&RoomId>, task| {
        resolve(&store, user, ResolveQuery::Task { room: room.cloned(), task }).await
    };
    let wanted = [Candidate::Task { room: room.clone(), task: reports, title }];
    assert_eq!(this(bob, Some(room), reports).await, wanted);
    assert_eq!(this(bob, None, reports).await, wanted);
    assert_eq!(this(bob, Some(&other), elsewhere).await, []);
    assert_eq!(this(bob, None, elsewhere).await, []);
    assert_eq!(this(ann, Some(room), elsewhere).await, [], "it is of another room");
    assert_eq!(this(bob, None, report).await, [], "deleted");
    one(&store, bob, Action::Leave { room: room.clone() }).await;
    assert_eq!(this(bob, None, reports).await, []);
    assert_eq!(tasks(&store, bob, "rep", Some(room)).await, []);
}

pub async fn a_phrase_may_mean_anything_likeliest_first_and_not_too_much(store: Shared) {
    let team = team(&store, "any", &["bob"]).await;
    let (ann, bob, room) = (&team.ann, &team.others[0], &team.room);
    let plans = kit::room("any", "plans");
    named_room(&store, ann, &plans, Visibility::Private, "Zed plans").await;
    call(&store, bob, "Zed").await;
    let task = new_task(&store, ann, room, "Zed is to be asked").await;
    let found = resolve(&store, ann, named("zed", None, Some(room))).await;
    let (person, place) = (
        Candidate::Person { user: bob.clone(), name: Some("Zed".to_owned()) },
        Candidate::Room { room: plans.clone(), name: Some("Zed plans".to_owned()) },
    );
    let work = Candidate::Task { room: room.clone(), task, title: "Zed is to be asked".to_owned() };
    assert_eq!(found, [person, work, place], "exactly, then of the room, then the rest");
    let titles = ["zed c", "zed a", "zed b", "zed d", "zed e", "zed f", "zed g", "zed h", "zed i", "zed j", "zed k"];
    for title in titles {
        new_task(&store, ann, &plans, title).await;
    }
    let found = resolve(&store, ann, named("zed ", Some(What::Task), Some(&plans))).await;
    assert_eq!(found.len(), usize::try_from(CANDIDATES_MAX).unwrap());
    let first = |candidate: &Candidate| match candidate {
        Candidate::Task { title, .. } => title.clone(),
        other => panic!("{other:?}"),
    };
    let listed: Vec<String> = found.iter().map(first).collect();
    assert_eq!(listed, ["zed a", "zed b", "zed c", "zed d", "zed e", "zed f", "zed g", "zed h", "zed i", "zed j"]);
    assert_eq!(resolve(&store, ann, named("zed", Some(What::Message), None)).await, [], "messages have no names");
    let several = vec![ResolveQuery::Me, named("nothing of the kind", None, None), ResolveQuery::Room(plans)];
    let answers = store.resolve(ann, several).await.unwrap();
    assert_eq!(answers.iter().map(Vec::len).collect::<Vec<_>>(), [1, 0, 1]);
    assert!(store.resolve(ann, Vec::new()).await.unwrap().is_empty());
}

pub async fn the_last_message_is_the_newest_that_one_may_see(store: Shared) {
    let (ann, bob) = (kit::user("last", "ann"), kit::user("last", "bob"));
    let room = kit::room("last", "room");
    kit::channel(&store, &ann, &room, Visibility::Public, History::SinceJoin).await;
    let last = async |user: &UserId| resolve(&store, user, ResolveQuery::LastMessage(room.clone())).await;
    let is = |message| vec![Candidate::Message { room: room.clone(), message }];
    assert_eq!(last(&ann).await, []);
    let ids = [MessageId::generate(), MessageId::generate(), MessageId::generate()];
    one(&store, &ann, send_as(&room, ids[0], "one")).await;
    assert_eq!(last(&bob).await, [], "no member");
    one(&store, &bob, Action::Join { room: room.clone() }).await;
    assert_eq!((last(&ann).await, last(&bob).await), (is(ids[0]), Vec::new()));
    one(&store, &ann, send_as(&room, ids[1], "two")).await;
    one(&store, &ann, send_as(&room, ids[2], "three")).await;
    one(&store, &ann, Action::DeleteMessage { room: room.clone(), id: ids[2] }).await;
    assert_eq!((last(&ann).await, last(&bob).await), (is(ids[1]), is(ids[1])));
    one(&store, &ann, Action::DeleteMessage { room: room.clone(), id: ids[1] }).await;
    assert_eq!((last(&ann).await, last(&bob).await), (is(ids[0]), Vec::new()));
}

pub async fn everyone_on_a_task_are_its_assignees(store: Shared) {
    let case = "everyone";
    let (ann, room) = (kit::user(case, "ann"), kit::room(case, "room"));
    kit::channel(&store, &ann, &room, Visibility::Private, History::All).await;
    let team: Vec<UserId> = (0..12).map(|number| kit::user(case, &format!("u{number:02}"))).collect();
    for user in &team {
        one(&store, &ann, kit::invite(&room, user, Role::Member)).await;
    }
    call(&store, &team[3], "Dora").await;
    let id = TaskId::generate();
    one(&store, &ann, create_with(&room, id, &team.iter().rev().collect::<Vec<_>>(), &[])).await;
    let of = async |user: &UserId, room: Option<&RoomId>| {
        resolve(&store, user, ResolveQuery::AssigneesOf { room: room.cloned(), task: id }).await
    };
    let name = |user: &UserId| (*user == team[3]).then(|| "Dora".to_owned());
    let wanted: Vec<Candidate> =
        team.iter().map(|user| Candidate::Person { user: user.clone(), name: name(user) }).collect();
    assert_eq!(of(&ann, Some(&room)).await, wanted, "all of them, however many");
    assert_eq!(of(&team[0], None).await, wanted);
    assert_eq!(of(&kit::user(case, "stranger"), Some(&room)).await, []);
    assert_eq!(of(&kit::user(case, "stranger"), None).await, []);
    let nobody = TaskId::generate();
    one(&store, &ann, create_as(&room, nobody, "nobody's")).await;
    let query = ResolveQuery::AssigneesOf { room: Some(room.clone()), task: nobody };
    assert_eq!(resolve(&store, &ann, query).await, []);
}
