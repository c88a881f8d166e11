//! What changes do to tasks: pure rules, the same for every back end. Who may come this far, [`crate::rules`] says.
//!
//! Checked in this order, so that both back ends refuse alike: the task is there; it is not deleted; (to delete it) the actor
//! may; the version; then the change: people to add are members, tasks to add are there, there are not too many, nothing waits
//! on itself, the move is legal, nothing is left to wait for.
//!
//! Sets are kept sorted and without repeats; who is to be added and removed is removed. What is there already is not looked at
//! again: only what is new must be a member, or a task that is there.

use std::collections::BTreeSet;

use hallway_protocol::check::{ASSIGNEES_MAX, WAITS_ON_MAX};
use hallway_protocol::command::Due;
use hallway_protocol::task::{Task, TaskChange, TaskStatus};
use hallway_protocol::{Role, Seq, TaskId, UserId};

use crate::{Action, COMMENTS_MAX_PER_TASK, Refusal};

/// What the rules ask about the room around a task; looked up under the room's lock.
pub trait Around {
    /// What a look-up fails with.
    type Error: From<Refusal>;

    /// Whether somebody is a member of the room.
    ///
    /// # Errors
    /// When it cannot be looked up.
    fn is_member(&mut self, user: &UserId) -> Result<bool, Self::Error>;

    /// How a task of the room stands. `None` when there is none, or it was deleted.
    ///
    /// # Errors
    /// When it cannot be looked up.
    fn status(&mut self, task: TaskId) -> Result<Option<TaskStatus>, Self::Error>;

    /// What a task of the room waits on.
    ///
    /// # Errors
    /// When it cannot be looked up.
    fn waits_on(&mut self, task: TaskId) -> Result<Vec<TaskId>, Self::Error>;
}

/// When and by which event a task is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    pub seq: Seq,
    pub at_ms: u64,
}

/// A task after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub task: Task,
    pub change: TaskChange,
    /// Those to whom it was not assigned before: they follow it from now on.
    pub assigned: Vec<UserId>,
}

/// Whom a change is told, each once; never the actor.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// It was given to them.
    pub assigned: Vec<UserId>,
    /// A comment names them.
    pub mentioned: Vec<UserId>,
    /// They follow it.
    pub changed: Vec<UserId>,
}

impl Told {
    /// Of a task that follow `followers`, changed or commented on by `actor`. Who of the mentioned is no member is left out by
    /// the caller.
    #[must_use]
    pub fn of(actor: &UserId, followers: &[UserId], assigned: &[UserId], mentioned: &[UserId]) -> Self {
        let mut told: BTreeSet<UserId> = BTreeSet::from([actor.clone()]);
        let mut pick = |people: &[UserId]| -> Vec<UserId> {
            let people: BTreeSet<&UserId> = people.iter().collect();
            people.into_iter().filter(|user| told.insert((*user).clone())).cloned().collect()
        };
        // In this order: the nearest reason is the one that they get.
        let (assigned, mentioned) = (pick(assigned), pick(mentioned));
        Self { assigned, mentioned, changed: pick(followers) }
    }
}

/// A set after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct SetChange<T> {
    now: Vec<T>,
    added: Vec<T>,
}

fn change_set<T: Ord + Clone>(present: &[T], add: &[T], remove: &[T]) -> SetChange<T> {
    let removed: BTreeSet<&T> = remove.iter().collect();
    let mut now: BTreeSet<&T> = present.iter().filter(|one| !removed.contains(one)).collect();
    let wanted: BTreeSet<&T> = add.iter().filter(|one| !removed.contains(one)).collect();
    let added = wanted.into_iter().filter(|one| now.insert(one)).cloned().collect();
    SetChange { now: now.into_iter().cloned().collect(), added }
}

/// A new task. That its id is free is the caller's to see before.
///
/// # Errors
/// A [`Refusal`], or what a look-up fails with.
pub fn create<A: Around>(actor: &UserId, action: &Action, moment: Moment, around: &mut A) -> Result<Task, A::Error> {
    let Action::CreateTask { room, id, title, text, priority, due_at_ms, assignees, waits_on, meta } = action else {
        return Err(Refusal::Forbidden.into());
    };
    let assignees = change_set(&[], assignees, &[]).now;
    let waits_on = change_set(&[], waits_on, &[]).now;
    all_members(&assignees, around)?;
    if waits_on.contains(id) {
        return Err(Refusal::TaskCycle.into());
    }
    all_there(&waits_on, around)?;
    if assignees.len() > ASSIGNEES_MAX || waits_on.len() > WAITS_ON_MAX {
        return Err(Refusal::TooManyLinks.into());
    }
    Ok(Task {
        id: *id,
        room: room.clone(),
        seq: moment.seq,
        version: 1,
        title: title.clone(),
        text: text.clone(),
        status: TaskStatus::Open,
        priority: *priority,
        due_at_ms: *due_at_ms,
        creator: actor.clone(),
        at_ms: moment.at_ms,
        changed_at_ms: moment.at_ms,
        assignees,
        waits_on,
        comment_count: 0,
        meta: meta.clone(),
        deleted: false,
    })
}

/// An edit, a move, an assignment or a link. `None` when it changes nothing.
///
/// # Errors
/// A [`Refusal`], or what a look-up fails with.
pub fn change<A: Around>(
    task: &Task,
    action: &Action,
    at_ms: u64,
    around: &mut A,
) -> Result<Option<Changed>, A::Error> {
    let version = match action {
        Action::EditTask { version, .. }
        | Action::MoveTask { version, .. }
        | Action::AssignTask { version, .. }
        | Action::LinkTask { version, .. } => *version,
        _ => return Err(Refusal::Forbidden.into()),
    };
    present(task)?;
    current(task, version)?;
    let (next, change, assigned) = match action {
        Action::MoveTask { status, .. } => (moved(task, *status, around)?, TaskChange::Moved, Vec::new()),
        Action::AssignTask { add, remove, .. } => {
            let SetChange { now, added } = change_set(&task.assignees, add, remove);
            all_members(&added, around)?;
            if now.len() > ASSIGNEES_MAX {
                return Err(Refusal::TooManyLinks.into());
            }
            (Task { assignees: now, ..task.clone() }, TaskChange::Assigned, added)
        }
        Action::LinkTask { add, remove, .. } => (linked(task, add, remove, around)?, TaskChange::Linked, Vec::new()),
        edit => (edited(task, edit), TaskChange::Edited, Vec::new()),
    };
    if next == *task {
        return Ok(None);
    }
    let task = Task { version: task.version + 1, changed_at_ms: at_ms, ..next };
    Ok(Some(Changed { task, change, assigned }))
}

/// A deletion: what is left of the task. What waited on it does so no longer, and its comments lose their texts and mentions.
///
/// # Errors
/// A [`Refusal`].
pub fn delete(task: &Task, version: u32, actor: &UserId, role: Role, at_ms: u64) -> Result<Task, Refusal> {
    present(task)?;
    if task.creator != *actor && role < Role::Admin {
        return Err(Refusal::Forbidden);
    }
    current(task, version)?;
    Ok(Task {
        version: task.version + 1,
        title: String::new(),
        text: String::new(),
        due_at_ms: None,
        changed_at_ms: at_ms,
        assignees: Vec::new(),
        waits_on: Vec::new(),
        meta: None,
        deleted: true,
        ..task.clone()
    })
}

/// Whether one comment more may be made.
///
/// # Errors
/// A [`Refusal`].
pub fn comment(task: &Task) -> Result<(), Refusal> {
    present(task)?;
    if task.comment_count < COMMENTS_MAX_PER_TASK { Ok(()) } else { Err(Refusal::TooManyComments) }
}

/// Whether the task can be followed, or changed at all.
///
/// # Errors
/// [`Refusal::TaskDeleted`].
pub fn present(task: &Task) -> Result<(), Refusal> {
    if task.deleted { Err(Refusal::TaskDeleted) } else { Ok(()) }
}

fn current(task: &Task, version: u32) -> Result<(), Refusal> {
    if task.version == version { Ok(()) } else { Err(Refusal::TaskStale(Box::new(task.clone()))) }
}

fn all_members<A: Around>(people: &[UserId], around: &mut A) -> Result<(), A::Error> {
    for user in people {
        if !around.is_member(user)? {
            return Err(Refusal::TargetNotAMember.into());
        }
    }
    Ok(())
}

fn all_there<A: Around>(tasks: &[TaskId], around: &mut A) -> Result<(), A::Error> {
    for task in tasks {
        around.status(*task)?.ok_or(Refusal::TaskNotFound)?;
    }
    Ok(())
}

fn edited(task: &Task, edit: &Action) -> Task {
    let Action::EditTask { title, text, priority, due, meta, .. } = edit else { return task.clone() };
    let due_at_ms = match due {
        None => task.due_at_ms,
        Some(Due::Never) => None,
        Some(Due::AtMs(at_ms)) => Some(*at_ms),
    };
    Task {
        title: title.clone().unwrap_or_else(|| task.title.clone()),
        text: text.clone().unwrap_or_else(|| task.text.clone()),
        priority: priority.unwrap_or(task.priority),
        due_at_ms,
        meta: meta.clone().or_else(|| task.meta.clone()),
        ..task.clone()
    }
}

fn moved<A: Around>(task: &Task, status: TaskStatus, around: &mut A) -> Result<Task, A::Error> {
    if status != task.status && !task.status.next().contains(&status) {
        return Err(Refusal::IllegalMove { from: task.status }.into());
    }
    if status != task.status && status == TaskStatus::Done {
        let mut waits = Vec::new();
        for other in &task.waits_on {
            if around.status(*other)?.is_some_and(|status| !status.is_closed()) {
                waits.push(*other);
            }
        }
        if !waits.is_empty() {
            return Err(Refusal::TaskWaits(waits).into());
        }
    }
    Ok(Task { status, ..task.clone() })
}

fn linked<A: Around>(task: &Task, add: &[TaskId], remove: &[TaskId], around: &mut A) -> Result<Task, A::Error> {
    let SetChange { now, added } = change_set(&task.waits_on, add, remove);
    all_there(&added, around)?;
    if now.len() > WAITS_ON_MAX {
        return Err(Refusal::TooManyLinks.into());
    }
    if leads_to(&added, task.id, |other| around.waits_on(other))? {
        return Err(Refusal::TaskCycle.into());
    }
    Ok(Task { waits_on: now, ..task.clone() })
}

/// Whether one comes from any of `from` to `goal` (or is there) by what waits on what. Ends on every graph: each task is looked
/// at once.
///
/// # Errors
/// What the look-up fails with.
pub fn leads_to<E>(
    from: &[TaskId],
    goal: TaskId,
    mut waits_on: impl FnMut(TaskId) -> Result<Vec<TaskId>, E>,
) -> Result<bool, E> {
    let mut seen: BTreeSet<TaskId> = from.iter().copied().collect();
    let mut ahead: Vec<TaskId> = from.to_vec();
    while let Some(task) = ahead.pop() {
        if task == goal {
            return Ok(true);
        }
        ahead.extend(waits_on(task)?.into_iter().filter(|next| seen.insert(*next)));
    }
    Ok(false)
}

#[cfg(test)]
#[path = "task_rules/tests.rs"]
mod tests;
