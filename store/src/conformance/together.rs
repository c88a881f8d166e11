//! Several writes in one: all of them or none.

use hallway_protocol::task::TaskStatus;
use hallway_protocol::{EventBody, History, MessageId, Role, RoomId, TaskId, UserId, Visibility};

use super::kit::{self, Shared, commit, one, room_events, send_as, try_one, write, write_with};
use super::task_kit::{
    assign, comment, create_as, create_with, head, link, move_to, new_task, retitle, task, team, view,
};
use crate::{Action, Committed, Refusal, StoreError, TOGETHER_MAX_WRITES, Write};

async fn together(store: &Shared, writes: Vec<Write>) -> Result<Vec<Committed>, (usize, Refusal)> {
    let batch = store.commit_together(writes).await.expect("the store commits");
    assert_eq!(batch.epoch, store.epoch().await.unwrap());
    batch.result
}

/// A room, somebody to invite, a task for both, a second one that waits on it, words, and the first one moved.
fn plan(actor: &UserId, room: &RoomId, other: &UserId, tasks: [TaskId; 2], message: MessageId) -> Vec<Action> {
    let [first, second] = tasks;
    vec![
        kit::create(room, Visibility::Private, History::All),
        kit::invite(room, other, Role::Member),
        create_with(room, first, &[actor, other], &[]),
        create_with(room, second, &[], &[first]),
        send_as(room, message, "here we go"),
        kit::edit(room, message, "here we go!"),
        kit::react(room, message, "+1"),
        comment(room, first, "said"),
        assign(room, first, 1, &[], &[actor]),
        move_to(room, first, 2, TaskStatus::Done),
        move_to(room, second, 1, TaskStatus::Done),
        link(room, second, 2, &[], &[first]),
        retitle(room, second, 3, "another title"),
    ]
}

pub async fn what_is_done_together_is_done_in_order_and_names_what_it_made(store: Shared) {
    let (ann, bob) = (kit::user("together", "ann"), kit::user("together", "bob"));
    let room = kit::room("together", "room");
    let (tasks, message) = ([TaskId::generate(), TaskId::generate()], MessageId::generate());
    let actions = plan(&ann, &room, &bob, tasks, message);
    let objects: Vec<_> = actions.iter().map(Action::object).collect();
    let done = together(&store, actions.into_iter().map(|action| write(&ann, action)).collect()).await.unwrap();
    assert_eq!(done.iter().map(|done| done.id).collect::<Vec<_>>(), objects);
    let seqs: Vec<u64> = done.iter().map(|done| done.seq).collect();
    assert_eq!(seqs, (2..15).collect::<Vec<_>>(), "room.created is the one event that nobody is acknowledged by");
    let told: Vec<_> =
        done.iter().flat_map(|done| &done.events).filter(|event| event.stream.room().is_some()).collect();
    let kept = room_events(&store, &room).await;
    let numbers = |events: &[&hallway_protocol::Event]| -> Vec<_> {
        events.iter().map(|event| (event.seq, event.body.name())).collect()
    };
    assert_eq!(numbers(&told), numbers(&kept.iter().collect::<Vec<_>>()));
    let (first, second) = (task(&store, &bob, &room, tasks[0]).await, task(&store, &bob, &room, tasks[1]).await);
    assert_eq!((first.status, first.version, first.comment_count), (TaskStatus::Done, 3, 1));
    assert_eq!((second.status, second.version, second.title.as_str()), (TaskStatus::Done, 4, "another title"));
    assert!(second.waits_on.is_empty());
    assert!(view(&store, &bob, &room, tasks[0]).await.following);
}

pub async fn one_refusal_undoes_all_that_was_to_be_done_together(store: Shared) {
    let team = team(&store, "undone", &["bob"]).await;
    let (there, ann, bob) = (&team.room, &team.ann, &team.others[0]);
    let kept = new_task(&store, ann, there, "kept").await;
    let room = kit::room("undone", "new");
    let (tasks, message) = ([TaskId::generate(), TaskId::generate()], MessageId::generate());
    let whole = plan(ann, &room, bob, tasks, message);
    let before = (head(&store, there).await, store.connect(bob).await.unwrap().rooms.len());
    let stops = [
        (send_as(&room, message, "again"), Refusal::IdTaken),
        (create_as(there, kept, "again"), Refusal::IdTaken),
        (move_to(&room, TaskId::generate(), 1, TaskStatus::Done), Refusal::TaskNotFound),
        (kit::send(&kit::room("undone", "elsewhere"), "text"), Refusal::RoomNotFound),
        (kit::invite(&room, bob, Role::Owner), Refusal::NonceConflict),
    ];
    for (at, (stop, refusal)) in stops.into_iter().enumerate() {
        // Behind what it needs to be refused for this reason, and behind a change of a room that was there before.
        let at = 5 + at;
        let mut actions = whole.clone();
        actions.insert(4, retitle(there, kept, 1, "lost"));
        actions.insert(at + 1, stop);
        let mut writes: Vec<Write> = actions.into_iter().map(|action| write(ann, action)).collect();
        if refusal == Refusal::NonceConflict {
            let nonce = writes[1].nonce.clone();
            writes[at + 1] = Write { nonce, body_hash: [9; 16], ..writes[at + 1].clone() };
        }
        assert_eq!(together(&store, writes.clone()).await, Err((at + 1, refusal.clone())), "{refusal}");
        assert_eq!(store.room(ann, &room).await.unwrap(), None, "{refusal}");
        assert_eq!((head(&store, there).await, store.connect(bob).await.unwrap().rooms.len()), before, "{refusal}");
        assert_eq!(task(&store, ann, there, kept).await.title, "kept", "{refusal}");
        // None of the nonces is used up: the rest of it is carried out under the same ones.
        if at == 9 {
            writes.remove(at + 1);
            assert!(together(&store, writes).await.unwrap().iter().all(|done| !done.repeated));
        }
    }
    assert_eq!(task(&store, ann, there, kept).await.title, "lost");
    assert_eq!(store.connect(bob).await.unwrap().rooms.len(), before.1 + 1);
}

pub async fn what_was_done_together_is_repeated_with_its_first_results(store: Shared) {
    let (ann, bob) = (kit::user("again", "ann"), kit::user("again", "bob"));
    let room = kit::room("again", "room");
    let (tasks, message) = ([TaskId::generate(), TaskId::generate()], MessageId::generate());
    let writes: Vec<Write> =
        plan(&ann, &room, &bob, tasks, message).into_iter().map(|action| write(&ann, action)).collect();
    let first = together(&store, writes.clone()).await.unwrap();
    let events = room_events(&store, &room).await;
    let again = together(&store, writes.clone()).await.unwrap();
    for (first, again) in first.iter().zip(&again) {
        assert!(again.repeated && again.events.is_empty());
        assert_eq!(
            (again.seq, again.at_ms, again.id, &again.stream),
            (first.seq, first.at_ms, first.id, &first.stream)
        );
    }
    assert_eq!(room_events(&store, &room).await, events);
    // Each by itself is a repeat too, and so is one that was done by itself before and then together with others.
    let alone = commit(&store, vec![writes[9].clone()]).await.remove(0).unwrap();
    assert!(alone.repeated && alone.seq == first[9].seq);
    let said = write(&ann, kit::send(&room, "alone"));
    let done = commit(&store, vec![said.clone()]).await.remove(0).unwrap();
    let mixed = vec![said.clone(), write(&ann, kit::send(&room, "new")), said];
    let mixed = together(&store, mixed).await.unwrap();
    assert_eq!(mixed.iter().map(|one| one.repeated).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!((mixed[0].seq, mixed[1].seq, mixed[2].seq), (done.seq, done.seq + 1, done.seq));
}

pub async fn a_repeat_within_what_is_done_together_is_done_once(store: Shared) {
    let team = team(&store, "within", &[]).await;
    let (room, ann) = (&team.room, &team.ann);
    let id = TaskId::generate();
    let create = write_with(ann, "within", 1, create_as(room, id, "title"));
    let other = Write { action: create_as(room, TaskId::generate(), "title"), ..create.clone() };
    let writes = vec![create, other, write(ann, move_to(room, id, 1, TaskStatus::Done))];
    let done = together(&store, writes).await.unwrap();
    assert_eq!((done[1].repeated, done[1].seq, done[1].id), (true, done[0].seq, Some(id.into())));
    assert_eq!(room_events(&store, room).await.len(), 4);
}

pub async fn several_rooms_take_part_in_what_is_done_together(store: Shared) {
    let ann = kit::user("several", "ann");
    let rooms: Vec<RoomId> = (0..5).map(|number| kit::room("several", &number.to_string())).collect();
    for room in &rooms {
        kit::channel(&store, &ann, room, Visibility::Private, History::All).await;
    }
    // Two at once, over the same rooms in opposite orders, many times: neither waits for the other for ever.
    let rounds = (0..20).map(|round| {
        let (store, ann, mut rooms) = (store.clone(), ann.clone(), rooms.clone());
        if round % 2 == 1 {
            rooms.reverse();
        }
        tokio::task::spawn(async move {
            let writes: Vec<Write> =
                rooms.iter().map(|room| write(&ann, create_as(room, TaskId::generate(), "title"))).collect();
            loop {
                match together(&store, writes.clone()).await {
                    Ok(done) => return done.len(),
                    Err((_, Refusal::Locked)) => {}
                    Err((at, refusal)) => panic!("{at}: {refusal}"),
                }
            }
        })
    });
    for round in rounds.collect::<Vec<_>>() {
        assert_eq!(round.await.unwrap(), 5);
    }
    for room in &rooms {
        assert_eq!(room_events(&store, room).await.len(), 2 + 20);
    }
}

pub async fn a_direct_room_is_opened_and_written_to_together(store: Shared) {
    let (ann, bob) = (kit::user("direct_both", "ann"), kit::user("direct_both", "bob"));
    let room = RoomId::new("dm:direct_both").unwrap();
    let open = || Action::OpenDirect { room: room.clone(), other: bob.clone() };
    let id = TaskId::generate();
    let actions = [open(), kit::send(&room, "hello"), open(), create_with(&room, id, &[&bob], &[])];
    let done = together(&store, actions.into_iter().map(|action| write(&ann, action)).collect()).await.unwrap();
    assert_eq!(done.iter().map(|done| done.seq).collect::<Vec<_>>(), [3, 4, 2, 5]);
    assert!(matches!(done[3].events[0].body, EventBody::TaskCreated(_)));
    assert_eq!(task(&store, &bob, &room, id).await.assignees, [bob]);
}

pub async fn only_so_much_is_done_together(store: Shared) {
    let team = team(&store, "so_much", &[]).await;
    let sends = |count| (0..count).map(|_| write(&team.ann, kit::send(&team.room, "text"))).collect::<Vec<_>>();
    let refused = store.commit_together(sends(TOGETHER_MAX_WRITES + 1)).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    assert_eq!(room_events(&store, &team.room).await.len(), 2);
    assert_eq!(together(&store, sends(TOGETHER_MAX_WRITES)).await.unwrap().len(), 50);
    assert_eq!(together(&store, Vec::new()).await, Ok(Vec::new()));
    assert!(try_one(&store, &team.ann, kit::send(&team.room, "after")).await.is_ok());
    one(&store, &team.ann, kit::send(&team.room, "it goes on")).await;
}
