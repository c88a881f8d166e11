//! Several actions in one frame: all or nothing, or one by one; in their order, and safe to repeat.

use std::time::Instant;

use hallway_protocol::notification::NotificationKind;
use hallway_protocol::{ErrorCode, MessageId, TaskId};
use serde_json::{Value, json};

use crate::fault_store::Commits;
use crate::node::TestNode;
use crate::seat::Seat;

async fn lobby(node: &TestNode, others: &[&str]) -> (Seat, Vec<Seat>) {
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    let mut seats = Vec::new();
    for other in others {
        let mut seat = node.connect(other).await;
        seat.join("lobby").await;
        seats.push(seat);
    }
    (ada, seats)
}

fn say(nonce: &str, room: &str, text: &str) -> Value {
    json!({"message.send": {"nonce": nonce, "room": room, "text": text}})
}

async fn act(seat: &mut Seat, atomic: bool, actions: &[Value]) -> Vec<Value> {
    let done = seat.done("actions", json!({"atomic": atomic, "actions": actions})).await;
    done["results"].as_array().unwrap().clone()
}

/// "Book the room, tell the team, and give Anna the report."
fn story(task: TaskId) -> Vec<Value> {
    vec![
        json!({"task.create": {"nonce": "s1", "room": "lobby", "id": task, "title": "book the room"}}),
        json!({"message.send": {"nonce": "s2", "room": "lobby", "text": "team, we meet on friday", "mentions": ["anna"]}}),
        json!({"task.assign": {"nonce": "s3", "room": "lobby", "id": task, "version": 1, "add": ["anna"]}}),
        json!({"task.comment": {"nonce": "s4", "room": "lobby", "id": task, "text": "the large one"}}),
        json!({"notify": {"nonce": "s5", "to": {"room": "lobby"}, "title": "friday"}}),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_are_done_together_and_a_later_one_names_what_an_earlier_one_made() {
    let (node, store) = TestNode::start_with_faults(|_| {}).await;
    let (mut ada, mut others) = lobby(&node, &["anna"]).await;
    let anna = &mut others[0];
    let task = TaskId::generate();
    let before = store.batches();
    let results = act(&mut ada, true, &story(task)).await;
    assert_eq!(store.batches() - before, 1, "one transaction");
    let committed: Vec<&Value> = results.iter().map(|result| &result["committed"]).collect();
    assert_eq!((&committed[0]["id"], &committed[0]["seq"]), (&json!(task), &json!(4)));
    assert_eq!(committed[3]["seq"], 7);
    let bodies: Vec<&str> = anna.events("lobby", 4..=7).await.iter().map(|event| event.body.name()).collect();
    assert_eq!(bodies, ["task.created", "message.created", "task.changed", "task.commented"]);
    let kinds = [anna.notified().await, anna.notified().await, anna.notified().await, anna.notified().await];
    let kinds = kinds.map(|(one, _)| one.kind);
    assert_eq!(
        kinds,
        [
            NotificationKind::Mention,
            NotificationKind::Assigned,
            NotificationKind::TaskChanged,
            NotificationKind::Announcement
        ]
    );
    // The line was lost before the answer came, say: the same again changes nothing.
    let again = act(&mut ada, true, &story(task)).await;
    for (first, again) in results.iter().zip(&again) {
        assert_eq!(again["committed"]["repeated"], true, "{again}");
        assert_eq!(
            (&again["committed"]["seq"], &again["committed"]["id"]),
            (&first["committed"]["seq"], &first["committed"]["id"])
        );
    }
    assert_eq!(ada.say("lobby", "next").await, 8, "nothing was written twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_an_atomic_whole_nothing_is_left_when_one_is_refused() {
    let node = TestNode::start(|_| {}).await;
    let (mut ada, others) = lobby(&node, &["anna"]).await;
    let task = TaskId::generate();
    ada.done("task.create", json!({"room": "lobby", "id": task, "title": "report"})).await;
    let stale = vec![
        say("n1", "lobby", "never seen"),
        json!({"task.move": {"nonce": "n2", "room": "lobby", "id": task, "version": 7, "status": "done"}}),
        say("n3", "lobby", "never seen"),
    ];
    let results = act(&mut ada, true, &stale).await;
    assert_eq!((&results[0], &results[2]), (&json!("skipped"), &json!("skipped")));
    assert_eq!(results[1]["stale"]["version"], 1);
    let refused = act(&mut ada, true, &[say("n4", "lobby", "never seen"), say("n5", "elsewhere", "x")]).await;
    assert_eq!((&refused[0], &refused[1]["failed"]["code"]), (&json!("skipped"), &json!("not_found")));
    // What the token does not allow is found out before anything is done.
    let exp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 3600;
    let mut options = node.options("ada");
    options.token = node.token_with("ada", "read write", exp);
    let mut plain = node.connect_with(&options).await;
    let create = json!({"room.create": {"nonce": "n7", "room": "mine", "visibility": "public"}});
    let results = act(&mut plain, true, &[say("n6", "lobby", "never seen"), create.clone()]).await;
    assert_eq!((&results[0], &results[1]["failed"]["code"]), (&json!("skipped"), &json!("forbidden")));
    let seq = ada.say("lobby", "the next").await;
    assert_eq!(seq, 5, "nothing of it was written");
    // The nonces of what was not done are free.
    let results = act(&mut ada, true, &[say("n1", "lobby", "now"), say("n3", "lobby", "and now")]).await;
    assert_eq!(results[1]["committed"]["seq"], 7);
    let one_by_one = act(&mut plain, false, &[create, say("n8", "lobby", "goes on")]).await;
    assert_eq!(one_by_one[0]["failed"]["code"], "forbidden");
    assert_eq!(one_by_one[1]["committed"]["seq"], 8);
    drop(others);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_by_one_a_refused_one_keeps_nobody_back_and_results_stand_in_order() {
    let node = TestNode::start(|_| {}).await;
    let (mut ada, _others) = lobby(&node, &[]).await;
    let message = MessageId::generate();
    let actions = vec![
        json!({"message.send": {"nonce": "n1", "room": "lobby", "id": message, "text": "hello"}}),
        say("n2", "elsewhere", "nobody hears it"),
        json!({"message.edit": {"nonce": "n3", "room": "lobby", "id": message, "text": "hello all"}}),
        json!({"message.react": {"nonce": "n4", "room": "lobby", "id": message, "emoji": "+1"}}),
        json!({"room.create": {"nonce": "n5", "room": "side", "visibility": "private"}}),
        say("n6", "side", "first"),
    ];
    let results = act(&mut ada, false, &actions).await;
    assert_eq!(results[1]["failed"]["code"], "not_found");
    let seqs: Vec<Option<u64>> = results.iter().map(|result| result["committed"]["seq"].as_u64()).collect();
    assert_eq!(seqs, [Some(3), None, Some(4), Some(5), Some(2), Some(3)]);
    assert_eq!(ada.refused("actions", json!({"atomic": true, "actions": []})).await, ErrorCode::InvalidArgument);
    let many: Vec<Value> = (0..51).map(|number| say(&format!("m{number}"), "lobby", "x")).collect();
    let refused = ada.refused("actions", json!({"atomic": false, "actions": many})).await;
    assert_eq!(refused, ErrorCode::InvalidArgument);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_keep_their_place_among_the_other_writes_of_their_connection() {
    let (node, store) = TestNode::start_with_faults(|_| {}).await;
    let (mut ada, _others) = lobby(&node, &[]).await;
    store.commits(Commits::WaitBefore);
    let begun = store.batches();
    let first = ada.send("message.send", json!({"room": "lobby", "text": "one"})).await;
    store.batches_begun(begun + 1).await;
    // All of these gather behind the first.
    let mut asked = vec![first];
    asked.push(ada.send("message.send", json!({"room": "lobby", "text": "two"})).await);
    let together = ada
        .send("actions", json!({"atomic": true, "actions": [say("a1", "lobby", "three"), say("a2", "lobby", "four")]}))
        .await;
    asked.push(ada.send("message.send", json!({"room": "lobby", "text": "five"})).await);
    let apart = ada
        .send("actions", json!({"atomic": false, "actions": [say("b1", "lobby", "six"), say("b2", "lobby", "seven")]}))
        .await;
    asked.push(ada.send("message.send", json!({"room": "lobby", "text": "eight"})).await);
    let history = ada.send("message.history", json!({"room": "lobby", "direction": "older"})).await;
    store.commits(Commits::Work);
    for id in asked.into_iter().chain([together, apart]) {
        ada.answer(id).await.unwrap();
    }
    let page = ada.answer(history).await.unwrap();
    let texts: Vec<&str> =
        page["messages"].as_array().unwrap().iter().map(|message| message["text"].as_str().unwrap()).collect();
    assert_eq!(texts, ["one", "two", "three", "four", "five", "six", "seven", "eight"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_whose_answer_is_lost_is_an_unknown_outcome_and_its_repeat_tells() {
    let (node, store) = TestNode::start_with_faults(|config| config.limits.store_timeout_ms = 300).await;
    let (mut ada, mut others) = lobby(&node, &["ben"]).await;
    let whole = json!({"atomic": true, "actions": [say("n1", "lobby", "one"), say("n2", "lobby", "two")]});
    for (fault, outcome) in
        [(Commits::FailBefore, ErrorCode::StoreUnavailable), (Commits::WaitAfter, ErrorCode::OutcomeUnknown)]
    {
        store.commits(fault);
        assert_eq!(ada.refused("actions", whole.clone()).await, outcome, "{fault:?}");
        store.commits(Commits::Work);
    }
    // It had been committed: what came late is published all the same, and the repeat says so.
    others[0].events("lobby", 4..=5).await;
    let results = ada.done("actions", whole).await;
    assert_eq!(results["results"][1]["committed"]["seq"], 5);
    assert_eq!(results["results"][1]["committed"]["repeated"], true);
    store.commits(Commits::FailAfter);
    let lost = json!({"atomic": true, "actions": [say("n3", "lobby", "three")]});
    assert_eq!(ada.refused("actions", lost).await, ErrorCode::OutcomeUnknown);
    store.commits(Commits::Work);
    others[0].event("lobby", 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_counts_as_its_writes_where_writes_are_bounded() {
    let (node, store) = TestNode::start_with_faults(|config| config.limits.writer_queue_max = 20).await;
    let (mut ada, _others) = lobby(&node, &[]).await;
    let mut ben = node.connect("ben").await;
    ben.join("lobby").await;
    store.commits(Commits::WaitBefore);
    let begun = store.batches();
    let first = ada.send("message.send", json!({"room": "lobby", "text": "holds up"})).await;
    store.batches_begun(begun + 1).await;
    let whole = |of: &str| {
        let actions: Vec<Value> = (0..12).map(|number| say(&format!("{of}{number}"), "lobby", "x")).collect();
        json!({"atomic": true, "actions": actions})
    };
    let fits = ada.send("actions", whole("a")).await;
    let beyond = ada.send("actions", whole("b")).await;
    assert_eq!(ada.answer(beyond).await.unwrap_err().code, ErrorCode::Overloaded);
    store.commits(Commits::Work);
    ada.answer(first).await.unwrap();
    assert_eq!(ada.answer(fits).await.unwrap()["results"][11]["committed"]["seq"], 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_said_is_resolved_and_done_in_two_round_trips() {
    let node = TestNode::start(|_| {}).await;
    let (mut ada, mut others) = lobby(&node, &["u-anna"]).await;
    others[0].done("profile.set", json!({"name": "Anna"})).await;
    let mut slowest = std::time::Duration::ZERO;
    for round in 0..20 {
        let begun = Instant::now();
        let said = json!({"room": "lobby", "phrases": [{"text": "Anna"}, {"text": "here"}, {"text": "me"}]});
        let resolved = ada.done("resolve", said).await;
        let anna = &resolved["resolutions"][0]["one"]["person"]["user"];
        let task = TaskId::generate();
        let actions = [
            json!({"task.create": {"nonce": format!("t{round}"), "room": "lobby", "id": task, "title": "book the room"}}),
            say(&format!("m{round}"), "lobby", "we meet on friday"),
            json!({"task.assign": {"nonce": format!("g{round}"), "room": "lobby", "id": task, "version": 1, "add": [anna]}}),
        ];
        let results = act(&mut ada, true, &actions).await;
        assert!(results.iter().all(|result| result["committed"].is_object()), "{results:?}");
        slowest = slowest.max(begun.elapsed());
    }
    println!("resolve and actions took {slowest:?} at most");
    assert_eq!(others[0].notified().await.0.kind, NotificationKind::Assigned);
}
