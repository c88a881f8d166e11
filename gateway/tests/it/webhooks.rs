//! What nobody looks at here is handed to the application, once, signed, in few webhooks; and operators can ask what became of it.

use std::sync::Arc;
use std::time::Duration;

use hallway_gateway::config::{Config, Secret, WebhookConfig, WebhookUrl};
use hallway_gateway::server::{Given, open_store};
use hallway_protocol::{ErrorCode, Position, ServerFrame, UserId};
use hallway_store::Store;
use serde_json::{Value, json};

use crate::application::{Application, SECRET};
use crate::node::{PATIENCE, TestNode};
use crate::seat::Seat;

/// The application is a target, which is looked after in a hurry.
fn target(config: &mut Config, application: &Application) {
    let target = WebhookConfig {
        url: Some(WebhookUrl::parse(&application.url()).unwrap()),
        secret: Some(Secret::new(SECRET)),
        allow_private: true,
        ..WebhookConfig::default()
    };
    config.webhooks.insert("app".to_owned(), target);
    config.limits.webhook_retry_ms = 10;
    config.limits.hand_out_first_look_ms = 100;
}

async fn start(application: &Application) -> TestNode {
    TestNode::start(|config| target(config, application)).await
}

/// A node on a store that knows these people, and the store.
async fn start_knowing(
    application: &Application,
    people: impl Iterator<Item = String>,
    change: impl FnOnce(&mut Config),
) -> (TestNode, Arc<dyn Store>) {
    let data_dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    target(&mut config, application);
    config.server.data_dir = data_dir.path().to_owned();
    let store = open_store(&config).await.unwrap();
    for user in people {
        store.connect(&UserId::new(&user).unwrap()).await.unwrap();
    }
    let given = Given { store: Some(Arc::clone(&store)), ..Given::default() };
    let configure = |config: &mut Config| {
        target(config, application);
        change(config);
    };
    let node = TestNode::start_with(configure, given).await;
    // The files are open; nobody needs their names any more.
    drop(data_dir);
    (node, store)
}

async fn notify(seat: &mut Seat, users: &[&str], title: &str, more: Value) {
    let mut notify = json!({"to": {"users": users}, "title": title});
    notify.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    seat.done("notify", notify).await;
}

/// The id of the next notification that a connection gets.
async fn notified(seat: &mut Seat) -> Value {
    let frame = seat
        .take(
            "a notification",
            |frame| matches!(frame, ServerFrame::Event(event) if event.body.name() == "notification.created"),
        )
        .await;
    let ServerFrame::Event(event) = frame else { unreachable!() };
    serde_json::to_value(&event.body).unwrap()["notification.created"]["notification"]["id"].clone()
}

/// What became of a notification, once it satisfies a condition.
async fn traced(seat: &mut Seat, id: &Value, wanted: impl Fn(&Value) -> bool) -> Value {
    let until = tokio::time::Instant::now() + PATIENCE;
    loop {
        let trace = seat.done("notification.trace", json!({"id": id})).await;
        if wanted(&trace) {
            return trace;
        }
        assert!(tokio::time::Instant::now() < until, "the trace stays {trace}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn told(user: &str, why: &str, title: &str) -> (String, String, String) {
    (user.to_owned(), why.to_owned(), title.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_somebody_offline_is_notified_of_is_handed_out_and_signed() {
    let application = Application::start().await;
    let node = start(&application).await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    let mut ben = node.connect("ben").await;
    ben.join("lobby").await;
    let cas = node.connect("cas").await;
    drop(ben);
    node.metric_until("hallway_connections_open", "", |open| open == 2.0).await;
    ada.done("message.send", json!({"room": "lobby", "text": "@ben the report", "mentions": ["ben"]})).await;
    let hooks = application.until("a webhook", |hooks| !hooks.is_empty()).await;
    let item = &hooks[0].body["notifications"][0];
    assert_eq!((&item["user"], &item["why"]), (&json!("ben"), &json!("offline")));
    assert_eq!((&item["notification"]["kind"], &item["notification"]["by"]), (&json!("mention"), &json!("ada")));
    assert!(!hooks[0].body.to_string().contains("the report"), "what was said stays here");
    // Whoever is connected sees it here.
    notify(&mut ada, &["cas"], "for who is here", json!({})).await;
    notify(&mut ada, &["ben"], "for who is not", json!({})).await;
    application.until("the next webhook", |hooks| hooks.len() >= 2).await;
    assert_eq!(application.told()[1..], [told("ben", "offline", "for who is not")]);
    let id = &item["notification"]["id"];
    let trace = traced(&mut ada, id, |trace| trace["jobs"][0]["state"] == "done").await;
    assert_eq!((&trace["user"], &trace["jobs"][0]["target"]), (&json!("ben"), &json!("app")));
    assert_eq!((&trace["jobs"][0]["attempts"], &trace["deliveries"]), (&json!(1), &json!([])));
    drop(cas);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_urgent_one_that_nobody_acknowledges_is_handed_out_and_one_that_is_acknowledged_is_not() {
    let application = Application::start().await;
    let node = start(&application).await;
    let (mut ada, mut ben) = (node.connect("ada").await, node.connect("ben").await);
    let urgent = json!({"urgent": true, "acknowledge_within_ms": 1000});
    notify(&mut ada, &["ben"], "seen", urgent.clone()).await;
    let seen = notified(&mut ben).await;
    ben.done("notification.acknowledge", json!({"id": seen})).await;
    notify(&mut ada, &["ben"], "overlooked", urgent).await;
    let overlooked = notified(&mut ben).await;
    let hooks = application.until("a webhook", |hooks| !hooks.is_empty()).await;
    assert_eq!(hooks[0].body["urgent"], json!(true));
    assert_eq!(application.told(), [told("ben", "unacknowledged", "overlooked")]);
    let trace = traced(&mut ada, &overlooked, |trace| trace["jobs"][0]["state"] == "done").await;
    assert_eq!(trace["acknowledged_at_ms"], Value::Null);
    let trace = traced(&mut ada, &seen, |_| true).await;
    assert!(trace["acknowledged_at_ms"].is_u64() && trace["jobs"] == json!([]), "{trace}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_delivered_is_dead_can_be_listed_and_is_delivered_when_it_is_replayed() {
    let application = Application::start().await;
    let (node, _store) = start_knowing(&application, ["ben".to_owned()].into_iter(), |_| {}).await;
    let mut ada = node.connect("ada").await;
    application.answers(500);
    notify(&mut ada, &["ben"], "late", json!({})).await;
    let hooks = application.until("three attempts", |hooks| hooks.len() >= 3).await;
    assert_eq!(hooks.iter().map(|hook| hook.attempt).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(hooks[0].body, hooks[2].body, "the same each time, its id too");
    let id = &hooks[0].body["notifications"][0]["notification"]["id"];
    traced(&mut ada, id, |trace| trace["jobs"][0]["state"] == "dead").await;
    let dead = ada.done("outbox.dead", json!({})).await;
    let (job, next) = (&dead["jobs"][0], &dead["next"]);
    assert_eq!((job["error"].as_str(), &job["attempts"], next), (Some("HTTP 500"), &json!(3), &Value::Null));
    application.answers(200);
    assert_eq!(ada.done("outbox.replay", json!({"jobs": [999]})).await["jobs"], json!(0));
    assert_eq!(ada.done("outbox.replay", json!({"jobs": [job["job"]]})).await["jobs"], json!(1));
    application.until("the replay", |hooks| hooks.len() >= 4).await;
    assert_eq!(application.told(), [told("ben", "offline", "late")]);
    traced(&mut ada, id, |trace| trace["jobs"][0]["state"] == "done").await;
    assert_eq!(ada.done("outbox.dead", json!({})).await["jobs"], json!([]));
    assert_eq!(ada.done("outbox.replay", json!({})).await["jobs"], json!(0), "nothing is dead");
}

/// 1,100 people of whom 40 are there: each of the others is in one webhook, and there are few.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_miss_an_announcement_are_handed_out_together() {
    const PEOPLE: usize = 1_100;
    const THERE: usize = 40;
    let application = Application::start().await;
    let names = || (0..PEOPLE).map(|number| format!("p{number}"));
    // All of them are due at once when it is looked.
    let soon = |config: &mut Config| config.limits.hand_out_first_look_ms = 0;
    let (node, _store) = start_knowing(&application, names(), soon).await;
    let mut there = Vec::new();
    for user in names().take(THERE) {
        there.push(node.connect(&user).await);
    }
    let mut ada = node.connect("ada").await;
    ada.done("notify", json!({"to": "everyone", "title": "fire drill"})).await;
    let count = |hooks: &[crate::application::Hook]| hooks.iter().map(|hook| hook.told().len()).sum::<usize>();
    let hooks = application.until("everybody", |hooks| count(hooks) >= PEOPLE - THERE).await;
    let mut missed: Vec<String> = application.told().into_iter().map(|(user, ..)| user).collect();
    missed.sort();
    let mut expected: Vec<String> = names().skip(THERE).collect();
    expected.sort();
    assert_eq!(missed, expected, "each once, and nobody who was there");
    assert!(hooks.iter().all(|hook| hook.told().len() <= 500));
    // Each chunk of the fan-out and each claim may cut once; it is never one for each.
    println!("{} people in {} webhooks", missed.len(), hooks.len());
    assert!((3..=8).contains(&hooks.len()), "{} webhooks", hooks.len());
    for seat in &mut there {
        notified(seat).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_names_the_connections_that_got_a_notification_live_or_later() {
    let application = Application::start().await;
    let (node, _store) = start_knowing(&application, ["ben".to_owned()].into_iter(), |_| {}).await;
    let (mut ada, mut phone) = (node.connect("ada").await, node.connect("ben").await);
    notify(&mut ada, &["ben"], "hello", json!({})).await;
    let id = notified(&mut phone).await;
    let sessions = |trace: &Value| {
        let sessions = trace["deliveries"].as_array().unwrap().iter().map(|delivery| delivery["session"].clone());
        sessions.collect::<Vec<_>>()
    };
    let trace = traced(&mut ada, &id, |trace| !sessions(trace).is_empty()).await;
    assert_eq!(sessions(&trace), [json!(phone.welcome.session)]);
    let at_ms = trace["deliveries"][0]["at_ms"].as_u64().unwrap();
    assert!(at_ms.abs_diff(trace["notification"]["at_ms"].as_u64().unwrap()) < 60_000);
    // Another device was away, and is brought up to date from the log.
    let beginning = Position { stream: "user:ben".parse().unwrap(), epoch: phone.welcome.epoch.clone(), seq: 0 };
    let laptop = node.connect_with(&node.options("ben").positions(vec![beginning])).await;
    let trace = traced(&mut ada, &id, |trace| sessions(trace).len() == 2).await;
    assert!(sessions(&trace).contains(&json!(laptop.welcome.session)));
}

/// A hundred notifications, and one event between them that is none; a trace names the connection for each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_back_to_a_hundred_notifications_is_one_note_of_the_diary() {
    let node = TestNode::start(|_| {}).await;
    let (mut ada, phone) = (node.connect("ada").await, node.connect("ben").await);
    let beginning = Position { stream: "user:ben".parse().unwrap(), epoch: phone.welcome.epoch.clone(), seq: 0 };
    drop(phone);
    for half in 0..2 {
        node.metric_until("hallway_connections_open", "", |open| open == 1.0).await;
        for number in 0..50 {
            notify(&mut ada, &["ben"], &number.to_string(), json!({})).await;
        }
        if half == 0 {
            node.connect("ben").await.done("notification.read", json!({"up_to_seq": 1})).await;
        }
    }
    let mut laptop = node.connect_with(&node.options("ben").positions(vec![beginning])).await;
    for _ in 0..100 {
        let id = notified(&mut laptop).await;
        let trace = traced(&mut ada, &id, |trace| trace["deliveries"] != json!([])).await;
        assert_eq!(trace["deliveries"].as_array().unwrap().len(), 1, "{trace}");
        assert_eq!(trace["deliveries"][0]["session"], json!(laptop.welcome.session), "{trace}");
    }
    let notes = node.metric_until("hallway_delivery_notes_total", "", |notes| notes >= 1.0).await;
    assert_eq!(notes, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_operators_are_told_what_became_of_notifications() {
    let node = TestNode::start(|_| {}).await;
    let mut eve = node.connect_with(&eve(&node)).await;
    let id = hallway_protocol::NotificationId::generate();
    for (name, arguments) in
        [("notification.trace", json!({"id": id})), ("outbox.dead", json!({})), ("outbox.replay", json!({}))]
    {
        assert_eq!(eve.refused(name, arguments).await, ErrorCode::Forbidden, "{name}");
    }
    let mut ada = node.connect("ada").await;
    assert_eq!(ada.refused("notification.trace", json!({"id": id})).await, ErrorCode::NotFound);
    let forged = ada.refused("outbox.dead", json!({"cursor": "016f0000000000000007"})).await;
    assert_eq!(forged, ErrorCode::InvalidArgument, "a cursor of another list");
}

fn eve(node: &TestNode) -> loadtest_client::ConnectOptions {
    let exp = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 3600;
    let token = node.token_with("eve", "read write rooms:create notify", exp);
    loadtest_client::ConnectOptions { token, ..node.options("eve") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finished_webhooks_are_kept_to_their_bounds() {
    let application = Application::start().await;
    let few = |config: &mut Config| {
        config.limits.webhooks_done_kept = 2;
        config.limits.webhooks_dead_kept = 1;
        config.limits.webhook_failures_max = 1_000;
    };
    let (node, _store) = start_knowing(&application, ["ben".to_owned()].into_iter(), few).await;
    let mut ada = node.connect("ada").await;
    for (status, state) in [(200, "done"), (410, "dead")] {
        application.answers(status);
        for number in 0..4 {
            let title = format!("{state} {number}");
            notify(&mut ada, &["ben"], &title, json!({})).await;
            let is_it = |hook: &crate::application::Hook| hook.told()[0].2 == title;
            let hooks = application.until(&title, |hooks| hooks.iter().any(is_it)).await;
            let hook = hooks.iter().find(|hook| is_it(hook)).unwrap();
            let id = &hook.body["notifications"][0]["notification"]["id"];
            traced(&mut ada, id, |trace| trace["jobs"][0]["state"] == state).await;
        }
    }
    node.service().trim_webhooks().await;
    let mut kept = Vec::new();
    for hook in application.hooks() {
        let id = &hook.body["notifications"][0]["notification"]["id"];
        let trace = ada.done("notification.trace", json!({"id": id})).await;
        if trace["jobs"] != json!([]) {
            kept.push(hook.told().remove(0).2);
        }
    }
    assert_eq!(kept, ["done 2", "done 3", "dead 3"]);
    assert_eq!(ada.done("outbox.dead", json!({})).await["jobs"].as_array().unwrap().len(), 1);
}

/// The target is not allowed to be where it is: nothing is sent, and operators read why.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_private_target_that_is_not_allowed_gets_nothing() {
    let application = Application::start().await;
    let strict = |config: &mut Config| {
        config.webhooks.values_mut().for_each(|target| target.allow_private = false);
    };
    let (node, _store) = start_knowing(&application, ["ben".to_owned()].into_iter(), strict).await;
    let mut ada = node.connect("ada").await;
    notify(&mut ada, &["ben"], "secret", json!({})).await;
    node.metric_until("hallway_webhooks_total", "outcome=\"dead\"", |dead| dead == 1.0).await;
    let dead = ada.done("outbox.dead", json!({})).await;
    assert!(dead["jobs"][0]["error"].as_str().unwrap().contains("loopback"), "{dead}");
    assert_eq!(application.hooks().len(), 0);
}
