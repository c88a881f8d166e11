//! Webhooks of nodes that are killed between any two of their steps: delivered at least once, never more often than attempts
//! allow, none stuck.
//!
//! Method: a node is told to end at a point, somebody who is offline is notified, and the node is started again on the same
//! data. The application writes down what it is told. Leases are those of a node: a test waits until they are over.

use std::time::{Duration, Instant};

use hallway_gateway::sabotage::FailPoint;
use hallway_protocol::command::{Command, NotificationTrace, Notify, Recipients};
use hallway_protocol::notification::{JobState, JobTrace};
use hallway_protocol::{NotificationId, Reply, UserId};
use loadtest_client::client::nonce;
use loadtest_client::{Client, ClientSettings, ConnectOptions, token};
use loadtest_cluster::TemporaryPostgres;

use super::application::{Application, Hook, SECRET};
use super::process::{BINARY, LOOK_PAUSE, NodeProcess, Settings};

const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// Two leases and a slow machine.
const HEALS_WITHIN: Duration = Duration::from_secs(90);

fn settings(directory: &std::path::Path, application: &Application) -> Settings {
    Settings::new(directory)
        .with("HALLWAY__WEBHOOKS__APP__URL", &application.url())
        .with("HALLWAY__WEBHOOKS__APP__SECRET", SECRET)
        .with("HALLWAY__WEBHOOKS__APP__ALLOW_PRIVATE", "true")
        .with("HALLWAY__WEBHOOKS__APP__TIMEOUT_MS", "500")
        .with("HALLWAY__LIMITS__WEBHOOK_RETRY_MS", "10")
        .with("HALLWAY__LIMITS__HAND_OUT_FIRST_LOOK_MS", "0")
}

fn ends_at(settings: &Settings, point: FailPoint) -> Settings {
    settings.clone().with("HALLWAY_SABOTAGE", &format!("failpoint:{}=kill", point.name()))
}

async fn client(node: &NodeProcess, user: &str) -> Client {
    let token = token::mint(&node.settings.secret(), user, Duration::from_secs(3600)).unwrap();
    let connect = ConnectOptions::new(node.settings.url(), token);
    let (client, events) = Client::connect_with_events(ClientSettings::new(connect), 16).await.unwrap();
    drop(events);
    client
}

/// Ben is known and goes; then he is notified of something, which the answer may not tell: the node ends soon.
async fn notify_ben(node: &NodeProcess) {
    client(node, "ben").await.close().await;
    let ada = client(node, "ada").await;
    let notify = Notify {
        nonce: nonce(),
        to: Recipients::Users(vec![UserId::new("ben").unwrap()]),
        title: "the report".to_owned(),
        text: None,
        data: None,
        urgent: false,
        key: None,
        acknowledge_within_ms: None,
    };
    let _ = tokio::time::timeout(ENDS_WITHIN, ada.request(Command::Notify(notify))).await;
}

fn id_in(hook: &Hook) -> NotificationId {
    serde_json::from_value(hook.body["notifications"][0]["notification"]["id"].clone()).unwrap()
}

/// The webhook of a notification, once it is in this state.
async fn job_until(node: &NodeProcess, id: NotificationId, state: JobState) -> JobTrace {
    let ada = client(node, "ada").await;
    let begun = Instant::now();
    loop {
        let asked = ada.request(Command::NotificationTrace(NotificationTrace { id })).await;
        let Reply::NotificationTrace(mut trace) = asked.unwrap() else { panic!("another answer") };
        assert_eq!(trace.jobs.len(), 1, "it is in one webhook: {:?}", trace.jobs);
        if trace.jobs[0].state == state {
            ada.close().await;
            return trace.jobs.remove(0);
        }
        assert!(begun.elapsed() < HEALS_WITHIN, "the webhook stays {:?}", trace.jobs);
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}

/// What a command of an operator prints.
fn say(node: &NodeProcess, words: &[&str]) -> String {
    let mut command = std::process::Command::new(BINARY);
    command.args(words).args(["--target", &node.settings.url()]).arg("--data-dir").arg(&node.settings.data_dir);
    let output = command.stdin(std::process::Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn dies(mut node: NodeProcess) {
    let status = node.wait_exit(ENDS_WITHIN).await;
    assert!(!status.success(), "the node ended by itself: {status}");
}

/// The node ends at `point`; in the end the webhook was delivered so often.
async fn killed_at(point: FailPoint, delivered: usize) {
    let (application, directory) = (Application::start().await, tempfile::tempdir().unwrap());
    let settings = settings(directory.path(), &application);
    let node = NodeProcess::spawn_ready(ends_at(&settings, point)).await;
    notify_ben(&node).await;
    dies(node).await;
    let died = Instant::now();
    let node = NodeProcess::spawn_ready(settings).await;
    let hooks = application.until("the webhook", |hooks| hooks.len() >= delivered).await;
    let job = job_until(&node, id_in(&hooks[0]), JobState::Done).await;
    println!("{}: delivered {:.1?} after the kill, at attempt {}", point.name(), died.elapsed(), job.attempts);
    let hooks = application.hooks();
    assert_eq!(hooks.len(), delivered, "{hooks:?}");
    assert!(job.attempts <= 3 && hooks.iter().all(|hook| hook.body == hooks[0].body), "{hooks:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_killed_before_anything_was_decided_a_notification_is_handed_out_once() {
    killed_at(FailPoint::AfterHandOutClaim, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_killed_when_the_webhook_is_written_it_is_delivered_once() {
    killed_at(FailPoint::AfterHandOutSettle, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_killed_between_claim_and_request_the_webhook_is_delivered_once() {
    killed_at(FailPoint::AfterJobClaim, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_killed_between_answer_and_its_note_the_webhook_is_delivered_again_and_is_the_same() {
    killed_at(FailPoint::AfterWebhook, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_killed_after_the_note_the_webhook_is_not_delivered_again() {
    killed_at(FailPoint::AfterJobFinish, 1).await;
}

/// kill -9 from outside, while the application has the request and has not answered it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_killed_between_request_and_answer_the_webhook_is_delivered_again() {
    let (application, directory) = (Application::start().await, tempfile::tempdir().unwrap());
    application.holds(true);
    let settings = settings(directory.path(), &application).with("HALLWAY__WEBHOOKS__APP__TIMEOUT_MS", "5000");
    let mut node = NodeProcess::spawn_ready(settings.clone()).await;
    notify_ben(&node).await;
    application.until("the request", |hooks| !hooks.is_empty()).await;
    node.kill9();
    application.holds(false);
    let node = NodeProcess::spawn_ready(settings).await;
    let hooks = application.until("the second attempt", |hooks| hooks.len() >= 2).await;
    assert_eq!(hooks.iter().map(|hook| (hook.attempt, hook.taken)).collect::<Vec<_>>(), [(1, false), (2, true)]);
    assert_eq!(job_until(&node, id_in(&hooks[0]), JobState::Done).await.attempts, 2);
}

/// The node dies at each attempt: the webhook is tried as often as it may be and not once more, is dead, and can be replayed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_a_webhook_whose_node_dies_each_time_is_tried_three_times_and_not_stuck() {
    let (application, directory) = (Application::start().await, tempfile::tempdir().unwrap());
    let settings = settings(directory.path(), &application);
    for attempt in 1..=3 {
        let node = NodeProcess::spawn_ready(ends_at(&settings, FailPoint::AfterWebhook)).await;
        if attempt == 1 {
            notify_ben(&node).await;
        }
        dies(node).await;
        let hooks = application.hooks();
        assert_eq!(hooks.len(), attempt, "{hooks:?}");
    }
    let node = NodeProcess::spawn_ready(settings).await;
    let id = id_in(&application.hooks()[0]);
    let dead = job_until(&node, id, JobState::Dead).await;
    assert_eq!((dead.attempts, application.hooks().len()), (3, 3), "{dead:?}");
    assert!(dead.error.as_deref().is_some_and(|error| error.contains("not heard of again")), "{dead:?}");
    let listed = say(&node, &["outbox", "dead"]);
    assert!(listed.contains(&format!("{} to app dead after 3 attempts", dead.job)), "{listed}");
    let replayed = say(&node, &["outbox", "replay", &dead.job.to_string()]);
    assert_eq!(replayed, "1 webhooks are tried again\n");
    job_until(&node, id, JobState::Done).await;
    assert_eq!(application.hooks().len(), 4);
    let shown = say(&node, &["notification", "show", &id.to_string()]);
    assert!(
        shown.contains("created: notice for ben by ada") && shown.contains("to app done after 1 attempts"),
        "{shown}"
    );
    assert_eq!(say(&node, &["outbox", "dead"]), "");
}

/// Two nodes on one Postgres: what the dead one had claimed, the other one delivers when the lease is over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_what_a_dead_node_had_claimed_another_one_delivers() {
    let postgres = TemporaryPostgres::start().unwrap();
    let url = postgres.database().await.unwrap();
    let application = Application::start().await;
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let of = |index: usize| {
        let mut settings = settings(directories[index].path(), &application);
        settings.store_url = Some(url.clone());
        settings
    };
    let first = NodeProcess::spawn_ready(ends_at(&of(0), FailPoint::AfterJobClaim)).await;
    notify_ben(&first).await;
    dies(first).await;
    let died = Instant::now();
    let other = NodeProcess::spawn_ready(of(1)).await;
    let hooks = application.until("the webhook", |hooks| !hooks.is_empty()).await;
    let job = job_until(&other, id_in(&hooks[0]), JobState::Done).await;
    println!("taken over {:.1?} after the kill, at attempt {}", died.elapsed(), job.attempts);
    assert_eq!((job.attempts, application.hooks().len()), (2, 1));
}
