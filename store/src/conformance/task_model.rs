//! Random changes of tasks against the rules themselves, over the simplest model of a room.

use std::collections::{BTreeMap, BTreeSet};

use hallway_protocol::command::Due;
use hallway_protocol::task::{Priority, Task, TaskStatus};
use hallway_protocol::{History, Role, RoomId, Seq, TaskId, UserId, Visibility};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::kit::{self, Shared, commit, write};
use super::task_kit::{assign, comment, create_with, delete, follow, link, move_to, retitle, view};
use crate::task_rules::{self, Around, Moment};
use crate::{Action, Committed, Refusal};

const STEPS: usize = 250;

/// A room as the model knows it.
struct Room {
    head: Seq,
    members: BTreeMap<UserId, Role>,
    tasks: BTreeMap<TaskId, Task>,
    followers: BTreeSet<(TaskId, UserId)>,
}

impl Around for Room {
    type Error = Refusal;

    fn is_member(&mut self, user: &UserId) -> Result<bool, Refusal> {
        Ok(self.members.contains_key(user))
    }

    fn status(&mut self, task: TaskId) -> Result<Option<TaskStatus>, Refusal> {
        Ok(self.tasks.get(&task).filter(|task| !task.deleted).map(|task| task.status))
    }

    fn waits_on(&mut self, task: TaskId) -> Result<Vec<TaskId>, Refusal> {
        Ok(self.tasks.get(&task).map(|task| task.waits_on.clone()).unwrap_or_default())
    }
}

impl Room {
    /// What the action should come to: the seq to acknowledge. A refusal changes nothing here either.
    fn expect(&mut self, actor: &UserId, action: &Action, at_ms: u64) -> Result<Seq, Refusal> {
        match action {
            Action::Invite { user, role, .. } => {
                self.members.insert(user.clone(), *role);
                return Ok(self.next());
            }
            Action::Remove { user, .. } => {
                self.members.remove(user).ok_or(Refusal::TargetNotAMember)?;
                return Ok(self.next());
            }
            _ => {}
        }
        let role = *self.members.get(actor).ok_or(Refusal::RoomNotFound)?;
        if role < Role::Member && !matches!(action, Action::FollowTask { .. }) {
            return Err(Refusal::Forbidden);
        }
        let id = action.task().unwrap();
        if let Action::CreateTask { .. } = action {
            if self.tasks.contains_key(&id) {
                return Err(Refusal::IdTaken);
            }
            let moment = Moment { seq: self.head + 1, at_ms };
            let task = task_rules::create(actor, action, moment, self)?;
            self.followers.extend(task.assignees.iter().chain([actor]).map(|user| (id, user.clone())));
            self.tasks.insert(id, task);
            return Ok(self.next());
        }
        let task = self.tasks.get(&id).cloned().ok_or(Refusal::TaskNotFound)?;
        match action {
            Action::DeleteTask { version, .. } => {
                let left = task_rules::delete(&task, *version, actor, role, at_ms)?;
                self.tasks.insert(id, left);
                self.tasks.values_mut().for_each(|other| other.waits_on.retain(|waits_on| *waits_on != id));
                self.followers.retain(|(of, _)| *of != id);
            }
            Action::CommentTask { .. } => {
                task_rules::comment(&task)?;
                self.tasks.insert(id, Task { comment_count: task.comment_count + 1, ..task });
                self.followers.insert((id, actor.clone()));
            }
            Action::FollowTask { follow, .. } => {
                task_rules::present(&task)?;
                let key = (id, actor.clone());
                let _ = if *follow { self.followers.insert(key) } else { self.followers.remove(&key) };
                return Ok(self.head);
            }
            change => {
                let Some(changed) = task_rules::change(&task, change, at_ms, self)? else { return Ok(self.head) };
                self.followers.extend(changed.assigned.into_iter().map(|user| (id, user)));
                self.tasks.insert(id, changed.task);
            }
        }
        Ok(self.next())
    }

    fn next(&mut self) -> Seq {
        self.head += 1;
        self.head
    }
}

/// What the random actions are made of.
struct Dice {
    random: StdRng,
    room: RoomId,
    users: Vec<UserId>,
    ids: Vec<TaskId>,
}

impl Dice {
    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.random.random_range(0..of.len())].clone()
    }

    fn some<T: Clone>(&mut self, of: &[T]) -> Vec<T> {
        let count = self.random.random_range(0..4);
        (0..count).map(|_| of[self.random.random_range(0..of.len())].clone()).collect()
    }

    fn user(&mut self) -> UserId {
        let users = self.users.clone();
        self.one(&users)
    }

    fn people(&mut self) -> Vec<UserId> {
        let users = self.users.clone();
        self.some(&users)
    }

    fn tasks(&mut self) -> Vec<TaskId> {
        let ids = self.ids.clone();
        self.some(&ids)
    }

    /// Usually on the version that is there.
    fn action(&mut self, known: &Room) -> Action {
        let ids = self.ids.clone();
        let (room, id) = (self.room.clone(), self.one(&ids));
        let present = known.tasks.get(&id).map_or(1, |task| task.version);
        let version = if self.random.random_ratio(1, 12) { present + 1 } else { present };
        let (add, remove, tasks, gone) = (self.people(), self.people(), self.tasks(), self.tasks());
        let (add, remove): (Vec<&UserId>, Vec<&UserId>) = (add.iter().collect(), remove.iter().collect());
        match self.random.random_range(0..20) {
            0..4 => create_with(&room, id, &add, &tasks),
            4..6 => retitle(&room, id, version, ["title", "another", "third"][self.random.random_range(0..3)]),
            6 => Action::EditTask {
                room,
                id,
                version,
                title: None,
                text: self.random.random_bool(0.5).then(|| "text".to_owned()),
                priority: Some(self.one(&[Priority::Low, Priority::Normal, Priority::Urgent])),
                due: self.one(&[None, Some(Due::Never), Some(Due::AtMs(4_102_444_800_000))]),
                meta: None,
            },
            7..12 => move_to(&room, id, version, self.one(TaskStatus::ALL)),
            12..14 => assign(&room, id, version, &add, &remove),
            14..17 => link(&room, id, version, &tasks, &gone),
            17 => delete(&room, id, version),
            18 => comment(&room, id, "said"),
            _ => follow(&room, id, self.random.random_bool(0.5)),
        }
    }
}

fn check(result: &Result<Committed, Refusal>, expected: Result<Seq, Refusal>, shown: &str) {
    assert_eq!(result.as_ref().map(|committed| committed.seq), expected.as_ref().copied(), "{shown}");
}

/// Every task, and who of the members follows it, must be the model's.
async fn compare(store: &Shared, room: &RoomId, model: &Room, shown: &str) {
    for user in model.members.keys() {
        for (id, task) in &model.tasks {
            let seen = view(store, user, room, *id).await;
            assert_eq!(seen.task, *task, "{shown}");
            assert_eq!(seen.following, model.followers.contains(&(*id, user.clone())), "{shown}: {user} follows {id}");
            let waits_on: Vec<&Task> = task.waits_on.iter().map(|other| &model.tasks[other]).collect();
            assert_eq!(seen.waits_on.iter().collect::<Vec<_>>(), waits_on, "{shown}");
        }
    }
}

pub async fn random_changes_of_tasks_follow_the_rules(store: Shared) {
    let seed = std::env::var("HALLWAY_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(rand::random::<u64>);
    println!("seed {seed}: repeat with HALLWAY_TEST_SEED={seed}");
    let users: Vec<UserId> = (0..6).map(|number| kit::user("task_model", &number.to_string())).collect();
    let room = kit::room("task_model", "room");
    let (owner, ids) = (users[0].clone(), (0..7).map(|_| TaskId::generate()).collect());
    kit::channel(&store, &owner, &room, Visibility::Private, History::All).await;
    let members = BTreeMap::from([(owner.clone(), Role::Owner)]);
    let mut model = Room { head: 2, members, tasks: BTreeMap::new(), followers: BTreeSet::new() };
    let mut dice = Dice { random: StdRng::seed_from_u64(seed), room: room.clone(), users: users.clone(), ids };
    for step in 0..STEPS {
        let shown = format!("seed {seed}, step {step}");
        if step < 4 || dice.random.random_ratio(1, 12) {
            let other = users[1 + step % 5].clone();
            let action = if model.members.contains_key(&other) {
                Action::Remove { room: room.clone(), user: other }
            } else {
                let role = dice.one(&[Role::Guest, Role::Member, Role::Member, Role::Admin]);
                kit::invite(&room, &other, role)
            };
            let result = kit::try_one(&store, &owner, action.clone()).await;
            check(&result, model.expect(&owner, &action, 0), &shown);
        }
        // In a batch each sees what those before it did.
        let batch: Vec<(UserId, Action)> =
            (0..dice.random.random_range(1..5)).map(|_| (dice.user(), dice.action(&model))).collect();
        let writes = batch.iter().map(|(actor, action)| write(actor, action.clone())).collect();
        let results = commit(&store, writes).await;
        let at_ms = results.iter().find_map(|result| result.as_ref().ok()).map_or(0, |committed| committed.at_ms);
        for ((actor, action), result) in batch.iter().zip(results) {
            let at_ms = result.as_ref().map_or(at_ms, |committed| committed.at_ms);
            let expected = model.expect(actor, action, at_ms);
            check(&result, expected, &format!("{shown}, {actor}: {action:?}"));
        }
        if step % 25 == 0 {
            compare(&store, &room, &model, &shown).await;
        }
    }
    compare(&store, &room, &model, &format!("seed {seed}")).await;
    kit::room_events(&store, &room).await;
}
