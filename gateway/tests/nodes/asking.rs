//! Questions between nodes.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use hallway_gateway::service::cluster::Answerer;
use hallway_protocol::UserId;

use super::house::House;

const TOPIC: u16 = 60_000;

struct Echo(usize);

#[async_trait]
impl Answerer for Echo {
    async fn answer(&self, question: Bytes) -> Bytes {
        let mut answer = question.to_vec();
        answer.push(u8::try_from(self.0).unwrap());
        Bytes::from(answer)
    }
}

/// Answers when it is too late.
struct Silent;

#[async_trait]
impl Answerer for Silent {
    async fn answer(&self, _: Bytes) -> Bytes {
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_of_a_person_is_asked_and_one_that_does_not_answer_is_not_waited_for() {
    let house = House::start(3, |_| {}).await;
    let _one = house.nodes[1].connect("bob").await;
    let _two = house.nodes[2].connect("bob").await;
    house.knows("bob", 2).await;
    let bob = UserId::new("bob").unwrap();
    let cluster = |node: usize| house.nodes[node].node().service().cluster();
    (1..3).for_each(|node| cluster(node).answer(TOPIC, Arc::new(Echo(node))));
    let asked = cluster(0).ask_nodes_of(&bob, TOPIC, Bytes::from_static(b"?")).await;
    let mut answers: Vec<Bytes> = asked.answers.into_iter().map(|(_, answer)| answer).collect();
    answers.sort();
    assert_eq!((answers, asked.is_complete), (vec![Bytes::from_static(b"?\x01"), Bytes::from_static(b"?\x02")], true));

    assert_eq!(cluster(0).ask(cluster(1).node(), TOPIC + 1, Bytes::new()).await, None, "it does not know the topic");
    cluster(2).answer(TOPIC, Arc::new(Silent));
    let asked = cluster(0).ask_nodes_of(&bob, TOPIC, Bytes::new()).await;
    assert_eq!(asked.answers, [(cluster(1).node(), Bytes::from_static(b"\x01"))]);
    assert!(!asked.is_complete, "one did not answer");
}
