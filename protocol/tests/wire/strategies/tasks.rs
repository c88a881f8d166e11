//! Arbitrary values of what is said about tasks.

use hallway_protocol::command::{
    Command, Comments, Due, Reply, TaskAssign, TaskComment, TaskCommentList, TaskCreate, TaskDelete, TaskDepend,
    TaskDetail, TaskFollow, TaskGet, TaskList, TaskMove, TaskOrder, TaskOutcome, TaskSummary, TaskSummaryGet,
    TaskUpdate, TaskWorkload, Tasks,
};
use hallway_protocol::event::{EventBody, TaskChanged, TaskCommented, TaskCreated, TaskDeleted};
use hallway_protocol::task::{Comment, Priority, Task, TaskChange, TaskStatus};
use hallway_protocol::{Nonce, RoomId, TaskId};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{committed, meta, nonce, object, room, text, user};

fn status() -> impl Strategy<Value = TaskStatus> {
    select(TaskStatus::ALL)
}

fn priority() -> impl Strategy<Value = Priority> {
    select(vec![Priority::Low, Priority::Normal, Priority::High, Priority::Urgent])
}

/// Known words, and those that a later version may have.
fn change() -> impl Strategy<Value = TaskChange> {
    prop_oneof![select(TaskChange::KNOWN), text().prop_map(TaskChange::from)]
}

pub(super) fn task() -> BoxedStrategy<Task> {
    let said = (text(), text(), option::of(meta()), any::<bool>());
    let stands = (status(), priority(), option::of(any::<u64>()));
    let tied = (vec(user(), 0..3), vec(object(), 0..3));
    (object(), room(), user(), said, stands, tied, any::<[u64; 3]>(), any::<[u32; 2]>())
        .prop_map(|(id, room, creator, said, stands, tied, [seq, at_ms, changed_at_ms], [version, comment_count])| {
            let (title, text, meta, deleted) = said;
            let (status, priority, due_at_ms) = stands;
            let (assignees, waits_on) = tied;
            Task {
                id,
                room,
                seq,
                version,
                title,
                text,
                status,
                priority,
                due_at_ms,
                creator,
                at_ms,
                changed_at_ms,
                assignees,
                waits_on,
                comment_count,
                meta,
                deleted,
            }
        })
        .boxed()
}

fn comment() -> impl Strategy<Value = Comment> {
    (object(), object(), any::<[u64; 2]>(), user(), text(), vec(user(), 0..3)).prop_map(
        |(id, task, [seq, at_ms], sender, text, mentions)| Comment { id, task, seq, sender, at_ms, text, mentions },
    )
}

pub(super) fn create() -> BoxedStrategy<TaskCreate> {
    let rest = (priority(), option::of(any::<u64>()), vec(user(), 0..3), vec(object(), 0..3), option::of(meta()));
    (nonce(), room(), option::of(object()), text(), text(), rest)
        .prop_map(|(nonce, room, id, title, text, (priority, due_at_ms, assignees, waits_on, meta))| TaskCreate {
            nonce,
            room,
            id,
            title,
            text,
            priority,
            due_at_ms,
            assignees,
            waits_on,
            meta,
        })
        .boxed()
}

fn target() -> impl Strategy<Value = (Nonce, RoomId, TaskId, u32)> {
    (nonce(), room(), object(), any::<u32>())
}

pub(super) fn update() -> BoxedStrategy<TaskUpdate> {
    let due = option::of(prop_oneof![any::<u64>().prop_map(Due::AtMs), Just(Due::Never)]);
    (target(), option::of(text()), option::of(text()), option::of(priority()), due, option::of(meta()))
        .prop_map(|((nonce, room, id, version), title, text, priority, due, meta)| TaskUpdate {
            nonce,
            room,
            id,
            version,
            title,
            text,
            priority,
            due,
            meta,
        })
        .boxed()
}

pub(super) fn to_status() -> BoxedStrategy<TaskMove> {
    (target(), status())
        .prop_map(|((nonce, room, id, version), status)| TaskMove { nonce, room, id, version, status })
        .boxed()
}

pub(super) fn assign() -> BoxedStrategy<TaskAssign> {
    (target(), vec(user(), 0..3), vec(user(), 0..3))
        .prop_map(|((nonce, room, id, version), add, remove)| TaskAssign { nonce, room, id, version, add, remove })
        .boxed()
}

pub(super) fn depend() -> BoxedStrategy<TaskDepend> {
    (target(), vec(object(), 0..3), vec(object(), 0..3))
        .prop_map(|((nonce, room, id, version), add, remove)| TaskDepend { nonce, room, id, version, add, remove })
        .boxed()
}

pub(super) fn delete() -> BoxedStrategy<TaskDelete> {
    target().prop_map(|(nonce, room, id, version)| TaskDelete { nonce, room, id, version }).boxed()
}

pub(super) fn say() -> BoxedStrategy<TaskComment> {
    (target(), option::of(object()), text(), vec(user(), 0..3))
        .prop_map(|((nonce, room, id, _), comment, text, mentions)| TaskComment {
            nonce,
            room,
            id,
            comment,
            text,
            mentions,
        })
        .boxed()
}

pub(super) fn follow() -> BoxedStrategy<TaskFollow> {
    (target(), any::<bool>()).prop_map(|((nonce, room, id, _), follow)| TaskFollow { nonce, room, id, follow }).boxed()
}

fn list() -> impl Strategy<Value = TaskList> {
    let order = select(vec![TaskOrder::Newest, TaskOrder::Due, TaskOrder::Priority]);
    let which = (vec(status(), 0..6), option::of(priority()), option::of(any::<u64>()), option::of(any::<u64>()));
    (option::of(room()), option::of(user()), which, order, option::of(text()), option::of(any::<u32>())).prop_map(
        |(room, assignee, (status, priority, due_from_ms, due_until_ms), order, cursor, limit)| TaskList {
            room,
            assignee,
            status,
            priority,
            due_from_ms,
            due_until_ms,
            order,
            cursor,
            limit,
        },
    )
}

pub(super) fn command() -> BoxedStrategy<Command> {
    prop_oneof![
        create().prop_map(Command::TaskCreate),
        update().prop_map(Command::TaskUpdate),
        to_status().prop_map(Command::TaskMove),
        assign().prop_map(Command::TaskAssign),
        depend().prop_map(Command::TaskDepend),
        delete().prop_map(Command::TaskDelete),
        say().prop_map(Command::TaskComment),
        follow().prop_map(Command::TaskFollow),
        (room(), object()).prop_map(|(room, id)| Command::TaskGet(TaskGet { room, id })),
        (room(), object(), option::of(text()), option::of(any::<u32>())).prop_map(|(room, id, cursor, limit)| {
            Command::TaskCommentList(TaskCommentList { room, id, cursor, limit })
        }),
        list().prop_map(Command::TaskList),
        option::of(room()).prop_map(|room| Command::TaskSummaryGet(TaskSummaryGet { room })),
    ]
    .boxed()
}

/// Commands that are answered with the task as it is when it has changed.
const CHANGING: [fn(TaskOutcome) -> Reply; 5] =
    [Reply::TaskUpdate, Reply::TaskMove, Reply::TaskAssign, Reply::TaskDepend, Reply::TaskDelete];

pub(super) fn reply() -> BoxedStrategy<Reply> {
    let outcome = prop_oneof![committed().prop_map(TaskOutcome::Committed), task().prop_map(TaskOutcome::Stale)];
    let workload = (user(), any::<[u64; 2]>()).prop_map(|(user, [unfinished, overdue])| TaskWorkload {
        user,
        unfinished,
        overdue,
    });
    let detail = (task(), vec(task(), 0..3), vec(comment(), 0..3), option::of(text()), any::<bool>());
    prop_oneof![
        (0..CHANGING.len(), outcome).prop_map(|(which, outcome)| CHANGING[which](outcome)),
        detail.prop_map(|(task, waits_on, comments, older, following)| Reply::TaskGet(TaskDetail {
            task,
            waits_on,
            comments,
            older,
            following
        })),
        (vec(comment(), 0..3), option::of(text()))
            .prop_map(|(comments, older)| Reply::TaskCommentList(Comments { comments, older })),
        (vec(task(), 0..3), option::of(text())).prop_map(|(tasks, next)| Reply::TaskList(Tasks { tasks, next })),
        (any::<[u64; 6]>(), vec(workload, 0..3)).prop_map(
            |([open, in_progress, blocked, done, cancelled, overdue], assignees)| Reply::TaskSummaryGet(TaskSummary {
                open,
                in_progress,
                blocked,
                done,
                cancelled,
                overdue,
                assignees
            })
        ),
    ]
    .boxed()
}

pub(super) fn event_body() -> BoxedStrategy<EventBody> {
    prop_oneof![
        task().prop_map(|task| EventBody::TaskCreated(TaskCreated { task })),
        (task(), change(), user()).prop_map(|(task, change, by)| EventBody::TaskChanged(TaskChanged {
            task,
            change,
            by
        })),
        (comment(), any::<u32>())
            .prop_map(|(comment, comment_count)| EventBody::TaskCommented(TaskCommented { comment, comment_count })),
        (object(), any::<u32>(), user()).prop_map(|(id, version, by)| EventBody::TaskDeleted(TaskDeleted {
            id,
            version,
            by
        })),
    ]
    .boxed()
}
