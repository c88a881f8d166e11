//! Notifications on several nodes: each is told once, urgent ones at once, and many cost little more than a few.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hallway_protocol::notification::NotificationKind;
use hallway_protocol::{EventBody, ServerFrame};
use serde_json::{Value, json};

use super::house::{House, meet};
use super::seat::Seat;

/// People who are told something: two steps of a fan-out job.
const CROWD: usize = 1_000;
/// Those of them who are connected at each of the two nodes.
const ONLINE: usize = 25;

/// Notifications that came and that nobody has looked at.
fn unread_notifications(seat: &Seat) -> usize {
    let is_one = |frame: &&ServerFrame| matches!(frame, ServerFrame::Event(event) if matches!(event.body, EventBody::NotificationCreated(_)));
    seat.unread.iter().filter(is_one).count()
}

async fn over_both(house: &House, name: &str, label: &str) -> f64 {
    house.nodes[0].metric_of(name, label).await + house.nodes[1].metric_of(name, label).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announcement_to_many_costs_a_few_statements_and_messages() {
    let house = House::start(2, |_| {}).await;
    let mut ada = house.seat(0, "ada").await;
    let users: Vec<String> = (0..CROWD).map(|number| format!("user-{number}")).collect();
    let mut seats = Vec::new();
    for number in 0..2 * ONLINE {
        // Spread over all of them.
        let user = &users[number * CROWD / (2 * ONLINE)];
        seats.push(house.nodes[number % 2].connect(user).await);
        house.knows(user, 1).await;
    }
    // Both have committed something: what nobody counted yet is not shown.
    for seat in &mut seats[..2] {
        seat.done("profile.set", json!({"name": "somebody"})).await;
    }
    let (published, batches) = ("hallway_bus_published_total", "hallway_commit_batch_writes_count");
    let before = [over_both(&house, published, "direct").await, over_both(&house, batches, "").await];
    let said = Instant::now();
    ada.done("notify", json!({"to": {"users": users}, "title": "lunch"})).await;
    for seat in &mut seats {
        let (told, unread) = seat.notified().await;
        assert_eq!((told.kind, told.title.as_deref(), unread), (NotificationKind::Notice, Some("lunch"), 1));
    }
    let took = said.elapsed();
    for seat in &mut seats {
        let list = seat.done("notification.list", json!({})).await;
        assert_eq!((&list["unread"], unread_notifications(seat)), (&json!(1), 0), "once");
    }
    let after = [over_both(&house, published, "direct").await, over_both(&house, batches, "").await];
    let (messages, commits) = (after[0] - before[0], after[1] - before[1]);
    let steps = over_both(&house, "hallway_work_steps_total", "fan_out").await;
    println!(
        "{CROWD} people: {steps} steps, {commits} commits, {messages} messages to other nodes, told after {took:?}"
    );
    assert_eq!((steps, commits), (2.0, 1.0));
    // Of each step what leaves at once, and the rest of it with the next batch.
    assert!(messages <= 2.0 * (steps + 1.0), "{messages} messages for {} people who are connected", 2 * ONLINE);
    let created = over_both(&house, "hallway_notifications_created_total", "notice").await;
    assert_eq!(created, CROWD as f64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_due_time_is_told_by_one_of_the_nodes() {
    let house = House::start(2, |config| config.limits.due_poll_ms = 10).await;
    let mut ada = house.seat(0, "ada").await;
    let mut bob = house.seat(1, "bob").await;
    meet("hall", &mut ada, &mut [&mut bob]).await;
    let now_ms = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
    let create = |number: usize| {
        json!({"task.create": {"nonce": format!("t{number}"), "room": "hall", "title": format!("{number}"),
            "assignees": ["bob"], "due_at_ms": now_ms + 500 + number as u64 % 3}})
    };
    let actions: Vec<Value> = (0..20).map(create).collect();
    ada.done("actions", json!({"atomic": true, "actions": actions})).await;
    let mut due = 0;
    while due < 20 {
        due += usize::from(bob.notified().await.0.kind == NotificationKind::TaskDue);
    }
    // Whatever the other node did comes before this.
    ada.done("notify", json!({"to": {"users": ["bob"]}, "title": "last", "urgent": true})).await;
    let (last, unread) = bob.notified().await;
    assert_eq!((last.title.as_deref(), unread), (Some("last"), 41), "twenty were given, twenty were due, each once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_urgent_one_reaches_devices_on_other_nodes_at_once() {
    let house = House::start(3, |config| config.limits.notification_batch_wait_ms = 5000).await;
    let mut ada = house.seat(0, "ada").await;
    let mut phone = house.seat(1, "bob").await;
    let mut tablet = house.nodes[2].connect("bob").await;
    house.knows("bob", 2).await;
    let said = Instant::now();
    ada.done("notify", json!({"to": {"users": ["bob"]}, "title": "fire", "urgent": true})).await;
    let told = phone.notified().await.0;
    assert_eq!(tablet.notified().await.0, told);
    assert!(said.elapsed() < Duration::from_millis(4500), "it came after {:?}", said.elapsed());
    tablet.done("notification.acknowledge", json!({"id": told.id})).await;
    let EventBody::NotificationAcknowledged(seen) = phone.own("notification.acknowledged").await.body else { panic!() };
    assert_eq!((seen.id, seen.unread), (told.id, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_that_waits_at_its_node_is_not_missing_at_another() {
    let mut house = House::start(1, |config| config.limits.notification_batch_wait_ms = 700).await;
    // What this node believes of others.
    house.add(|config| config.limits.notification_batch_wait_ms = 5000).await;
    house.complete().await;
    let mut ada = house.seat(0, "ada").await;
    let mut bob = house.seat(1, "bob").await;
    meet("hall", &mut ada, &mut [&mut bob]).await;
    let before = house.found_by_tail(1).await;
    for _ in 0..5 {
        // The tail tells of it while it waits, half a second at most after it was committed.
        ada.done("message.send", json!({"room": "hall", "text": "look", "mentions": ["bob"]})).await;
        bob.notified().await;
    }
    assert_eq!(house.found_by_tail(1).await, before, "nothing was read for it");
}
