//! What people say, turned into ids within what they may see.

use hallway_protocol::TaskId;
use serde_json::{Value, json};

use crate::node::TestNode;
use crate::seat::Seat;

async fn resolve(seat: &mut Seat, phrases: &[&str], context: Value) -> Vec<Value> {
    let phrases: Vec<Value> = phrases.iter().map(|text| json!({"text": text})).collect();
    let mut arguments = json!({"phrases": phrases});
    arguments.as_object_mut().unwrap().extend(context.as_object().unwrap().clone());
    seat.done("resolve", arguments).await["resolutions"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_names_and_beginnings_become_ids() {
    let node = TestNode::start(|_| {}).await;
    let mut ada = node.connect("ada").await;
    ada.done("room.create", json!({"room": "kitchen", "visibility": "private", "name": "The Kitchen"})).await;
    for (user, name) in [("u1", "Anna"), ("u2", "Anna Lena"), ("u3", "Bert")] {
        ada.done("room.invite", json!({"room": "kitchen", "user": user, "role": "member"})).await;
        node.connect(user).await.done("profile.set", json!({"name": name})).await;
    }
    let task = TaskId::generate();
    let create = json!({"room": "kitchen", "id": task, "title": "Buy milk", "assignees": ["u1", "u3"]});
    ada.done("task.create", create).await;
    let message = ada.done("message.send", json!({"room": "kitchen", "text": "hello"})).await["id"].clone();
    let context = json!({"room": "kitchen", "task": task});
    let phrases =
        ["me", "HERE", "this task", "last message", "everyone on the task", "anna", "ann", "bert", "buy", "nobody"];
    let found = resolve(&mut ada, &phrases, context).await;
    assert_eq!(found[0]["one"]["person"]["user"], "ada");
    assert_eq!(found[1]["one"]["room"], json!({"room": "kitchen", "name": "The Kitchen"}));
    assert_eq!(found[2]["one"]["task"]["task"], json!(task));
    assert_eq!(found[3]["one"]["message"]["message"], message);
    let everyone: Vec<&str> =
        found[4]["all"].as_array().unwrap().iter().map(|one| one["person"]["user"].as_str().unwrap()).collect();
    assert_eq!(everyone, ["u1", "u3"]);
    assert_eq!(found[5]["one"]["person"]["user"], "u1", "one is called exactly so");
    assert_eq!(found[6]["candidates"].as_array().unwrap().len(), 2, "two begin so");
    assert_eq!(found[7]["one"]["person"]["name"], "Bert");
    assert_eq!(found[8]["one"]["task"]["title"], "Buy milk");
    assert_eq!(found[9], "nothing");
    let only_rooms = json!({"phrases": [{"text": "anna", "what": "room"}, {"text": "the kit", "what": "room"}]});
    let found = ada.done("resolve", only_rooms).await;
    assert_eq!(found["resolutions"][0], "nothing");
    assert_eq!(found["resolutions"][1]["one"]["room"]["room"], "kitchen");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_resolves_what_they_may_not_see() {
    let node = TestNode::start(|_| {}).await;
    let mut ada = node.connect("ada").await;
    ada.done("profile.set", json!({"name": "Ada"})).await;
    ada.done("room.create", json!({"room": "secret", "visibility": "private", "name": "Secret"})).await;
    let task = TaskId::generate();
    let create = json!({"room": "secret", "id": task, "title": "Plan B", "assignees": ["ada"]});
    ada.done("task.create", create).await;
    ada.say("secret", "hello").await;
    let mut eve = node.connect("eve").await;
    let phrases = ["here", "this task", "last message", "everyone on the task", "ada", "secret", "plan"];
    let found = resolve(&mut eve, &phrases, json!({"room": "secret", "task": task})).await;
    assert!(found.iter().all(|one| one == "nothing"), "{found:?}");
    let own = resolve(&mut eve, &["me"], json!({})).await;
    assert_eq!(own[0]["one"]["person"]["user"], "eve");
}
