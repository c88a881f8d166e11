//! What was acknowledged outlives the node, and a node under pressure loses nothing.

use serde_json::json;

use crate::node::TestNode;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_clients_resume_from_their_positions() {
    let node = TestNode::start(|_| {}).await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    let mut ben = node.connect("ben").await;
    ben.join("lobby").await;
    let stood = ben.at("lobby", 3);
    for number in 4..=20 {
        assert_eq!(ada.say("lobby", &format!("message {number}")).await, number);
    }
    let first = ada.done("message.send", json!({"nonce": "kept", "room": "lobby", "text": "kept"})).await;
    let node = node.restart().await;
    let mut ben = node.connect_with(&node.options("ben").positions(vec![stood])).await;
    assert!(ben.take_reset_if_any("lobby").is_none());
    ben.events("lobby", 4..=21).await;
    let mut ada = node.connect("ada").await;
    let again = ada.done("message.send", json!({"nonce": "kept", "room": "lobby", "text": "kept"})).await;
    assert_eq!((&again["seq"], &again["repeated"]), (&first["seq"], &json!(true)));
    assert_eq!(ada.say("lobby", "on we go").await, 22);
    ben.events("lobby", 22..=22).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_lane_inbox_loses_nothing() {
    let node = TestNode::start(|config| {
        config.server.lanes = 1;
        config.limits.lane_inbox_max = 16;
    })
    .await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    let mut readers = Vec::new();
    for number in 0..20 {
        let mut reader = node.connect(&format!("reader-{number}")).await;
        reader.join("lobby").await;
        readers.push(reader);
    }
    let mut head = 22;
    for _ in 0..20 {
        let mut ids = Vec::new();
        for number in 0..200 {
            ids.push(ada.send("message.send", json!({"room": "lobby", "text": format!("message {number}")})).await);
        }
        for id in ids {
            head = head.max(ada.answer(id).await.unwrap()["seq"].as_u64().unwrap());
        }
        if node.metric("hallway_lane_overflows_total").await > 0.0 {
            break;
        }
    }
    assert!(node.metric("hallway_lane_overflows_total").await > 0.0, "the inbox was never full");
    for (number, reader) in (0_u64..).zip(&mut readers) {
        reader.events("lobby", 4 + number..=head).await;
    }
}
