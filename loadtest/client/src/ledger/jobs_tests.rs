//! Correct lives of tasks and notifications are found clean, and each single lie in one is named I10.

use super::*;

use hallway_protocol::task::TaskStatus::{Blocked, Done, InProgress, Open};

const TASK: u128 = 7;
const KEY: u64 = 9;

fn changed(base: u32, moved: Option<hallway_protocol::task::TaskStatus>, seq: Seq) -> Record {
    Record::TaskCommitted { stream: 0, task: TASK, base, moved, seq }
}

fn saw(session: u32, version: u32, status: hallway_protocol::task::TaskStatus) -> Record {
    Record::TaskSeen { session, task: TASK, version, status }
}

fn notified(session: u32, notification: u128) -> Record {
    Record::Notified { session, notification, key: KEY, repeat: false }
}

/// Two people see a task made, moved, edited and done, and both are notified.
fn life() -> Vec<Record> {
    let mut lines = Vec::new();
    for session in 0..2 {
        lines.push(Record::Open { session, user: session, node: None, limited: false });
    }
    lines.extend([
        changed(0, None, 3),
        changed(1, Some(InProgress), 5),
        changed(2, None, 6),
        changed(3, Some(Done), 9),
    ]);
    for session in 0..2 {
        lines.extend([saw(session, 1, Open), saw(session, 2, InProgress), saw(session, 4, Done)]);
        lines.push(Record::Owed { user: session, key: KEY });
        lines.push(notified(session, 20 + u128::from(session)));
        lines.push(Record::Notified { session, notification: 20 + u128::from(session), key: KEY, repeat: true });
        lines.push(Record::Unread { user: session, told: 1, counted: 1 });
        lines.push(Record::Done { session });
    }
    lines
}

fn judged(lines: Vec<Record>) -> Verdict {
    let ledger = Ledger::new();
    ledger.lock().finished.push(lines);
    ledger.judge()
}

#[track_caller]
fn is_named(what: &str, lie: impl FnOnce(&mut Vec<Record>)) {
    let mut lines = life();
    lie(&mut lines);
    let verdict = judged(lines);
    let named: Vec<_> = verdict.violation_counts.keys().copied().collect();
    assert_eq!(named, [Invariant::I10], "{what}: {:?}", verdict.violations);
}

#[test]
fn a_life_by_the_rules_is_clean() {
    let verdict = judged(life());
    assert!(verdict.is_clean(), "{:?}", verdict.violations);
    assert_eq!((verdict.counts.task_changes, verdict.counts.owed), (4, 2));
    let mut unknown = life();
    unknown.push(Record::TaskUnknown { task: TASK });
    unknown.retain(|line| !matches!(line, Record::TaskCommitted { base: 2, .. }));
    assert!(judged(unknown).is_clean(), "a change of unknown outcome may be the one that is missing");
}

#[test]
fn each_lie_about_a_task_is_named() {
    is_named("two winners", |lines| lines.push(changed(2, None, 7)));
    is_named("a version that nobody made", |lines| {
        lines.retain(|line| !matches!(line, Record::TaskCommitted { base: 2, .. }));
    });
    is_named("an order that is not that of the stream", |lines| {
        let place = lines.iter().position(|line| matches!(line, Record::TaskCommitted { base: 2, .. }));
        lines[place.unwrap_or(0)] = changed(2, None, 4);
    });
    is_named("an illegal move", |lines| {
        let place = lines.iter().position(|line| matches!(line, Record::TaskCommitted { base: 1, .. }));
        lines[place.unwrap_or(0)] = changed(1, Some(Blocked), 5);
    });
    is_named("a task that goes back", |lines| lines.push(saw(0, 2, InProgress)));
    is_named("one version that looks like two", |lines| lines.insert(2, saw(1, 2, Open)));
    is_named("somebody who was left with an old one", |lines| {
        lines.retain(|line| !matches!(line, Record::TaskSeen { session: 1, version: 4, .. }));
    });
}

#[test]
fn each_lie_about_a_notification_is_named() {
    is_named("nobody told them", |lines| {
        lines.retain(|line| !matches!(line, Record::Notified { session: 1, .. }));
    });
    is_named("two of one key", |lines| lines.push(notified(0, 40)));
    is_named("one that came twice", |lines| lines.push(notified(0, 20)));
    is_named("a wrong count", |lines| lines.push(Record::Unread { user: 1, told: 2, counted: 1 }));
}
