//! The loop: at least once, never too often, nothing stuck.

use std::sync::Arc;

use hallway_protocol::notification::JobState;

use super::kit::{Answer, Memory, Node, Server, target, targets};
use crate::config::WebhookConfig;
use crate::telemetry::labels::WebhookOutcome;

fn url(server: &Server) -> String {
    format!("http://{}/", server.address)
}

#[tokio::test]
async fn jobs_are_delivered_once_each_with_the_body_that_was_written() {
    let (server, store) = (Server::start(Answer::Status(200)).await, Arc::new(Memory::default()));
    let numbers: Vec<u64> = (0..50).map(|number| store.put("push", &format!("{{\"n\":{number}}}"))).collect();
    let node = Node::start(&store, targets([("push", target(&url(&server)))]), |_| {});
    for number in &numbers {
        assert_eq!(store.until(*number, JobState::Done).await.attempts, 1);
    }
    node.stop().await;
    let mut bodies: Vec<String> =
        server.asked(50).await.iter().map(|asked| String::from_utf8_lossy(&asked.body).into_owned()).collect();
    bodies.sort_by_key(|body| (body.len(), body.clone()));
    assert_eq!(bodies, (0..50).map(|number| format!("{{\"n\":{number}}}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn no_more_webhooks_are_under_way_than_there_are_places() {
    let (server, store) = (Server::start(Answer::Held).await, Arc::new(Memory::default()));
    let numbers: Vec<u64> = (0..30).map(|_| store.put("push", "{}")).collect();
    let node = Node::start(&store, targets([("push", target(&url(&server)))]), |_| {});
    server.asked(10).await;
    // Every later look would take more, if it did.
    for _ in 0..3 {
        node.webhooks.wake();
        tokio::task::yield_now().await;
    }
    assert_eq!((server.count(), node.metrics.webhooks_in_flight.get()), (10, 10));
    server.release();
    for number in numbers {
        store.until(number, JobState::Done).await;
    }
    assert_eq!(server.most_at_once(), 10);
    node.stop().await;
}

#[tokio::test]
async fn a_webhook_that_fails_is_tried_again_and_in_the_end_dead() {
    let (server, store) = (Server::start(Answer::Status(500)).await, Arc::new(Memory::default()));
    server.then(&[Answer::Status(500), Answer::Status(503)]);
    server.always(Answer::Status(200));
    let recovers = store.put("push", "1");
    let node = Node::start(&store, targets([("push", target(&url(&server)))]), |_| {});
    assert_eq!(store.until(recovers, JobState::Done).await.attempts, 3);
    server.always(Answer::Status(500));
    let dies = store.put("push", "2");
    node.webhooks.wake();
    let dead = store.until(dies, JobState::Dead).await;
    assert_eq!((dead.attempts, dead.error.as_deref()), (3, Some("HTTP 500")));
    node.stop().await;
    assert_eq!(server.count(), 6, "never more attempts than allowed");
}

#[tokio::test]
async fn what_cannot_succeed_is_dead_at_once() {
    let elsewhere = Server::start(Answer::Status(200)).await;
    let server = Server::start(Answer::Redirect(elsewhere.address)).await;
    let store = Arc::new(Memory::default());
    let private =
        WebhookConfig { allow_private: false, url: target(&url(&server)).url, ..target("https://a.example/") };
    let (redirected, inside) = (store.put("moved", "{}"), store.put("inside", "{}"));
    let node = Node::start(&store, targets([("moved", target(&url(&server))), ("inside", private)]), |_| {});
    let (redirected, inside) =
        (store.until(redirected, JobState::Dead).await, store.until(inside, JobState::Dead).await);
    assert_eq!((redirected.attempts, inside.attempts), (1, 1));
    assert!(redirected.error.unwrap().contains("redirects are not followed"));
    assert!(inside.error.unwrap().contains("loopback"));
    node.stop().await;
    assert_eq!((server.count(), elsewhere.count()), (1, 0));
}

#[tokio::test]
async fn a_target_that_fails_is_left_alone_and_tried_with_one() {
    let (broken, works) = (Server::start(Answer::Status(500)).await, Server::start(Answer::Status(200)).await);
    let store = Arc::new(Memory::default());
    let waiting: Vec<u64> = (0..20).map(|_| store.put("broken", "{}")).collect();
    let targets = targets([("broken", target(&url(&broken))), ("works", target(&url(&works)))]);
    let node = Node::start(&store, targets, |limits| {
        limits.webhook_failures_max = 5;
        limits.webhooks_in_flight_max = 2;
        limits.webhook_rest_ms = 300;
    });
    broken.asked(5).await;
    let after_opening = broken.count();
    let served = store.put("works", "{}");
    node.webhooks.wake();
    store.until(served, JobState::Done).await;
    assert_eq!(node.metrics.webhook_targets_resting.get(), 1);
    // One at a time finds out, until one succeeds; then all go.
    broken.asked(after_opening + 2).await;
    let spent: u32 = waiting.iter().map(|number| store.row(*number).attempts).sum();
    assert!(spent <= 10, "jobs of a target that rests lose no attempts, but {spent}");
    broken.always(Answer::Status(200));
    for number in waiting {
        let row = store.until_finished(number).await;
        assert!(row.attempts <= 3, "{row:?}");
    }
    assert_eq!(node.metrics.webhook_targets_resting.get(), 0);
    node.stop().await;
}

#[tokio::test]
async fn a_store_that_fails_for_a_while_costs_no_webhook() {
    let (server, store) = (Server::start(Answer::Status(200)).await, Arc::new(Memory::default()));
    let number = store.put("push", "{}");
    *store.failures.lock().unwrap() = 2;
    let node = Node::start(&store, targets([("push", target(&url(&server)))]), |_| {});
    server.asked(1).await;
    let done = store.until(number, JobState::Done).await;
    assert_eq!((done.attempts, node.metrics.webhooks.get(WebhookOutcome::Delivered)), (1, 1));
    node.stop().await;
    assert_eq!(server.count(), 1, "the answer was written down later, not asked for again");
}

#[tokio::test]
async fn a_job_whose_target_a_node_does_not_have_waits_for_one_that_has_it() {
    let (server, store) = (Server::start(Answer::Status(200)).await, Arc::new(Memory::default()));
    let elsewhere = store.put("mail", "{}");
    let node = Node::start(&store, targets([("push", target(&url(&server)))]), |_| {});
    // What came later and is for this node is delivered: it has looked at what there is.
    let own = store.put("push", "{}");
    store.until(own, JobState::Done).await;
    let row = store.row(elsewhere);
    assert_eq!((row.state, row.attempts), (JobState::Waiting, 0));
    let other = Node::start(&store, targets([("mail", target(&url(&server)))]), |_| {});
    let done = store.until(elsewhere, JobState::Done).await;
    assert_eq!(done.attempts, 1);
    node.stop().await;
    other.stop().await;
}

#[tokio::test]
async fn a_node_that_stops_finishes_what_is_under_way_and_begins_nothing() {
    let (server, store) = (Server::start(Answer::Held).await, Arc::new(Memory::default()));
    let under_way: Vec<u64> = (0..10).map(|_| store.put("push", "{}")).collect();
    let node = Node::start(&store, targets([("push", target(&url(&server)))]), |_| {});
    server.asked(10).await;
    let waits = store.put("push", "{}");
    let (stopped, ()) = tokio::join!(node.stop(), async { server.release() });
    let () = stopped;
    for number in under_way {
        assert_eq!(store.row(number).state, JobState::Done);
    }
    assert_eq!(store.row(waits).attempts, 0);
}

/// The target never answers: the stop does not wait for it, and the job is there for others.
#[tokio::test]
async fn a_stop_cuts_what_takes_too_long() {
    let (server, store) = (Server::start(Answer::Held).await, Arc::new(Memory::default()));
    let number = store.put("push", "{}");
    let slow = WebhookConfig { timeout_ms: 60_000, ..target(&url(&server)) };
    let node = Node::start(&store, targets([("push", slow)]), |limits| limits.webhook_connect_timeout_ms = 60_000);
    while server.count() == 0 {
        tokio::task::yield_now().await;
    }
    node.stop().await;
    let row = store.row(number);
    assert_eq!((row.state, row.attempts), (JobState::Waiting, 1));
    assert!(row.error.unwrap().contains("the node stopped"));
}
