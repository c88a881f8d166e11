//! I10 jobs: a task changes by its rules only, and everybody is notified of a thing once.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use hallway_protocol::Seq;
use hallway_protocol::task::TaskStatus;

use super::index::History;
use super::record::Record;
use super::verdict::{Invariant, Report};

/// A task as those who changed it were told.
#[derive(Debug, Default)]
struct Task {
    /// By the version that a change was made on: where its events stand, and to which status it moved.
    changes: BTreeMap<u32, Vec<(Seq, Option<TaskStatus>)>>,
    /// Some of its changes may be missing here.
    is_open: bool,
}

pub(super) fn check(history: &History<'_>, report: &mut Report) {
    tasks(history, report);
    notifications(history, report);
}

fn tasks(history: &History<'_>, report: &mut Report) {
    let mut tasks: HashMap<u128, Task> = HashMap::new();
    for record in &history.jobs {
        match record {
            Record::TaskCommitted { task, base, moved, seq, .. } => {
                tasks.entry(*task).or_default().changes.entry(*base).or_default().push((*seq, *moved));
            }
            Record::TaskUnknown { task } => tasks.entry(*task).or_default().is_open = true,
            _ => {}
        }
    }
    tasks.iter().for_each(|(id, task)| by_the_rules(*id, task, report));
    seen(history, &tasks, report);
}

/// One winner for each version, in the order of the versions, none left out, and legal moves only.
fn by_the_rules(id: u128, task: &Task, report: &mut Report) {
    let (mut status, mut last_seq) = (Some(TaskStatus::Open), 0);
    let mut next = 0;
    for (base, winners) in &task.changes {
        if winners.len() > 1 {
            report
                .add(Invariant::I10, || format!("task {id:x}: {} changes were made on version {base}", winners.len()));
        }
        if *base != next && !task.is_open {
            report.add(Invariant::I10, || format!("task {id:x}: version {base} came, and nobody made it from {next}"));
        }
        if *base != next {
            // Whoever moved it between is not known.
            status = None;
        }
        next = base + 1;
        for (seq, moved) in winners {
            if *seq <= last_seq {
                report.add(Invariant::I10, || {
                    format!("task {id:x}: the change on version {base} stands at {seq}, behind that on an older one at {last_seq}")
                });
            }
            last_seq = last_seq.max(*seq);
            if let Some(to) = moved {
                if let Some(from) = status.filter(|from| from != to && !from.next().contains(to)) {
                    report.add(Invariant::I10, || {
                        format!("task {id:x}: it went from {} to {}", from.as_str(), to.as_str())
                    });
                }
                status = Some(*to);
            }
        }
    }
}

/// Nobody sees a task go back; a version looks the same to all; and who read to the end has it as it is.
fn seen(history: &History<'_>, tasks: &HashMap<u128, Task>, report: &mut Report) {
    let mut newest: HashMap<(u32, u128), u32> = HashMap::new();
    let mut looks: HashMap<(u128, u32), TaskStatus> = HashMap::new();
    for record in &history.jobs {
        let Record::TaskSeen { session, task, version, status } = record else { continue };
        let last = newest.entry((*session, *task)).or_insert(0);
        if version < last {
            let last = *last;
            report.add(Invariant::I10, || format!("task {task:x} went back from version {last} to {version}"));
        }
        *last = (*last).max(*version);
        let first = *looks.entry((*task, *version)).or_insert(*status);
        if first != *status {
            report.add(Invariant::I10, || {
                let (first, status) = (first.as_str(), status.as_str());
                format!("task {task:x} is {first} for one and {status} for another in version {version}")
            });
        }
    }
    for ((number, id), version) in newest {
        let done = history.sessions.get(&number).is_some_and(|session| session.done);
        let made = tasks.get(&id).filter(|task| !task.is_open).and_then(|task| task.changes.keys().next_back());
        if let Some(base) = made.filter(|base| done && version != **base + 1) {
            report.add(Invariant::I10, || {
                format!("task {id:x} has version {}, and session {number} was left with {version}", base + 1)
            });
        }
    }
}

fn notifications(history: &History<'_>, report: &mut Report) {
    let mut got: HashMap<(u32, u64), BTreeSet<u128>> = HashMap::new();
    let mut places: HashSet<(u32, u128)> = HashSet::new();
    // Of each user, the sessions that read to the end, and what each of them has.
    let mut by_session: HashMap<u32, HashSet<u64>> = HashMap::new();
    for record in &history.jobs {
        match record {
            Record::Notified { session, notification, key, repeat: false } => {
                let Some(user) = history.sessions.get(session).map(|session| session.user) else { continue };
                got.entry((user, *key)).or_default().insert(*notification);
                by_session.entry(*session).or_default().insert(*key);
                if !places.insert((*session, *notification)) {
                    report.add(Invariant::I10, || {
                        let user = history.user_name(user);
                        format!("notification {notification:x} came to one session of {user} twice")
                    });
                }
            }
            Record::Unread { user, told, counted } if told != counted => report.add(Invariant::I10, || {
                let user = history.user_name(*user);
                format!("{user} has {counted} unread notifications, and the node says {told}")
            }),
            _ => {}
        }
    }
    for ((user, key), ids) in &got {
        if ids.len() > 1 {
            report.add(Invariant::I10, || {
                let user = history.user_name(*user);
                format!("{user} has {} notifications of the key {key:x}", ids.len())
            });
        }
    }
    let owed: HashSet<(u32, u64)> = history.jobs.iter().filter_map(|record| owed(record)).collect();
    for session in history.sessions.values().filter(|session| session.done && session.node.is_none()) {
        let has = by_session.get(&session.number);
        let lacks = |key: &u64| has.is_none_or(|has| !has.contains(key));
        for (_, key) in owed.iter().filter(|(user, key)| *user == session.user && lacks(key)) {
            report.add(Invariant::I10, || {
                let user = history.user_name(session.user);
                format!("{user} was never notified of the key {key:x}")
            });
        }
    }
}

fn owed(record: &Record) -> Option<(u32, u64)> {
    match record {
        Record::Owed { user, key } => Some((*user, *key)),
        _ => None,
    }
}
