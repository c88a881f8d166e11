//! Tasks from several nodes at once: who comes second is told, and nobody waits in a circle.
#![cfg(feature = "conformance")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod postgres_kit;

use std::sync::Arc;
use std::time::Duration;

use hallway_protocol::task::{Priority, TaskStatus};
use hallway_protocol::{CommentId, MessageId, Role, TaskId, UserId};
use hallway_store::postgres::{PostgresOptions, PostgresStore};
use hallway_store::{Action, Log, Mark, Refusal, Tasks, TogetherBatch, Write};
use postgres_kit::{Side, commit, create, one, room, store, user, write};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::task::JoinSet;

/// Waits for locks much longer than a test takes: a circle is the server's to find, after its `deadlock_timeout`.
fn patient() -> PostgresOptions {
    let long = Duration::from_secs(60);
    PostgresOptions { lock_timeout: long, statement_timeout: long, ..PostgresOptions::default() }
}

fn new_task(name: &str, id: TaskId, assignees: Vec<UserId>) -> Action {
    Action::CreateTask {
        room: room(name),
        id,
        title: "title".to_owned(),
        text: String::new(),
        priority: Priority::Normal,
        due_at_ms: None,
        assignees,
        waits_on: Vec::new(),
        meta: None,
    }
}

fn retitle(name: &str, id: TaskId, version: u32, title: String) -> Action {
    let room = room(name);
    Action::EditTask { room, id, version, title: Some(title), text: None, priority: None, due: None, meta: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_edits_of_one_version_on_two_nodes_one_is_made_and_the_others_are_told_what_it_said() {
    const NODES: usize = 2;
    const EDITS: usize = 12;
    const ROUNDS: u32 = 5;
    let (_server, url, _) = store().await;
    let mut nodes = Vec::new();
    while nodes.len() < NODES {
        nodes.push(PostgresStore::open(&url, patient()).await.unwrap());
    }
    one(&nodes[0], create("ada", "lobby")).await.unwrap();
    let id = TaskId::generate();
    one(&nodes[0], write("ada", "task", new_task("lobby", id, Vec::new()))).await.unwrap();
    for version in 1..=ROUNDS {
        let mut edits = JoinSet::new();
        for number in 0..EDITS {
            let (node, title) = (nodes[number % NODES].clone(), format!("title {version} {number}"));
            edits.spawn(async move {
                let edit = write("ada", &format!("e{version}-{number}"), retitle("lobby", id, version, title.clone()));
                (title, one(&node, edit).await)
            });
        }
        let (mut made, mut stale) = (Vec::new(), Vec::new());
        for (title, result) in edits.join_all().await {
            match result {
                Ok(_) => made.push(title),
                Err(Refusal::TaskStale(task)) => stale.push(*task),
                Err(refusal) => panic!("{refusal}"),
            }
        }
        assert_eq!((made.len(), stale.len()), (1, EDITS - 1));
        let view = nodes[1].task(&user("ada"), &room("lobby"), id).await.unwrap().unwrap();
        assert_eq!((view.task.title.as_str(), view.task.version), (made[0].as_str(), version + 1));
        assert!(stale.iter().all(|task| *task == view.task), "{stale:?}");
    }
}

const ROOMS: u32 = 5;
const PEOPLE: u32 = 6;
const WRITERS: u32 = 6;
const STEPS: u32 = 25;

/// Anything that takes locks on rooms and people, about anything that may be there.
fn any_action(random: &mut StdRng, tasks: &[TaskId]) -> Action {
    let name = format!("r{}", random.random_range(0..ROOMS));
    let mut person = || user(&format!("u{}", random.random_range(0..PEOPLE)));
    let (one, two) = (person(), person());
    let id = tasks[random.random_range(0..tasks.len())];
    let version = random.random_range(1..4);
    match random.random_range(0..12) {
        0..3 => new_task(&name, TaskId::generate(), vec![one, two]),
        3 => retitle(&name, id, version, "other".to_owned()),
        4 => Action::MoveTask { room: room(&name), id, version, status: TaskStatus::InProgress },
        5 => Action::AssignTask { room: room(&name), id, version, add: vec![one], remove: vec![two] },
        6 | 7 => {
            let (comment, mentions) = (CommentId::generate(), vec![one, two]);
            Action::CommentTask { room: room(&name), id, comment, text: "said".to_owned(), mentions }
        }
        8 => Action::Invite { room: room(&name), user: one, role: Role::Owner },
        9 => Action::SetProfile { user: one, name: Some("Name".to_owned()) },
        10 => Action::Leave { room: room(&name) },
        _ => Action::SendMessage {
            room: room(&name),
            id: MessageId::generate(),
            text: "text".to_owned(),
            reply_to: None,
            mentions: vec![one, two],
            meta: None,
        },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_written_about_tasks_rooms_and_people_at_once_nobody_waits_in_a_circle() {
    let seed = std::env::var("HALLWAY_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    println!("seed {seed}: repeat with HALLWAY_TEST_SEED={seed}");
    let (_server, url, _) = store().await;
    let first = PostgresStore::open(&url, patient()).await.unwrap();
    let second = PostgresStore::open(&url, patient()).await.unwrap();
    let tasks: Arc<Vec<TaskId>> = Arc::new((0..ROOMS).map(|_| TaskId::generate()).collect());
    for number in 0..ROOMS {
        let name = format!("r{number}");
        commit(&first, vec![create("u0", &name)]).await;
        for person in 1..PEOPLE {
            let invite = Action::Invite { room: room(&name), user: user(&format!("u{person}")), role: Role::Owner };
            one(&first, write("u0", &format!("i{number}-{person}"), invite)).await.unwrap();
        }
        for (place, task) in tasks.iter().enumerate() {
            one(&first, write("u0", &format!("t{number}-{place}"), new_task(&name, *task, Vec::new()))).await.unwrap();
        }
    }
    let mut writers = JoinSet::new();
    for writer in 0..WRITERS {
        let (node, tasks) = (if writer % 2 == 0 { first.clone() } else { second.clone() }, Arc::clone(&tasks));
        writers.spawn(async move {
            let mut random = StdRng::seed_from_u64(seed.wrapping_add(u64::from(writer)));
            let mut done = 0;
            for step in 0..STEPS {
                let writes: Vec<Write> = (0..random.random_range(1..12))
                    .map(|number| {
                        let action = any_action(&mut random, &tasks);
                        let actor = match &action {
                            Action::SetProfile { user, .. } => user.to_string(),
                            _ => format!("u{}", writer % PEOPLE),
                        };
                        write(&actor, &format!("{writer}-{step}-{number}"), action)
                    })
                    .collect();
                if step % 3 == 0 {
                    let TogetherBatch { result, .. } = node.commit_together(writes).await.unwrap();
                    done += result.map_or(0, |results| results.len());
                } else {
                    done += node.commit(writes).await.unwrap().results.iter().filter(|result| result.is_ok()).count();
                }
                let marks = (0..ROOMS).rev().map(|number| {
                    let (user, room) =
                        (user(&format!("u{}", random.random_range(0..PEOPLE))), room(&format!("r{number}")));
                    Mark { user, room, seq: u64::MAX }
                });
                node.mark_read(marks.collect()).await.unwrap();
            }
            done
        });
    }
    // A circle fails the batch of whom the server picks, and so this.
    let done: usize = writers.join_all().await.into_iter().sum();
    assert!(done > usize::try_from(WRITERS * STEPS).unwrap(), "only {done} writes were accepted");
    let side = Side::open(&url).await;
    assert_eq!(side.number("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").await, 0);
}
