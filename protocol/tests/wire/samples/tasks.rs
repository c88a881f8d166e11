//! What is said about tasks, full and bare.

use hallway_protocol::command::{
    Command, Comments, Committed, Due, Reply, TaskAssign, TaskComment, TaskCommentList, TaskCreate, TaskDelete,
    TaskDepend, TaskDetail, TaskFollow, TaskGet, TaskList, TaskMove, TaskOrder, TaskOutcome, TaskSummary,
    TaskSummaryGet, TaskUpdate, TaskWorkload, Tasks,
};
use hallway_protocol::event::{EventBody, TaskChanged, TaskCommented, TaskCreated, TaskDeleted};
use hallway_protocol::task::{Comment, Priority, Task, TaskChange, TaskStatus};
use hallway_protocol::{CommentId, TaskId};

use super::{AT_MS, committed, meta, nonce, room, user};

pub(super) const DUE_AT_MS: u64 = AT_MS + 86_400_000;

pub(super) fn task_id() -> TaskId {
    "019b76da-a800-7000-8000-000000000003".parse().unwrap()
}

fn other_task_id() -> TaskId {
    "019b76da-a800-7000-8000-000000000004".parse().unwrap()
}

pub(super) fn comment_id() -> CommentId {
    "019b76da-a800-7000-8000-000000000005".parse().unwrap()
}

pub(super) fn task() -> Task {
    Task {
        id: task_id(),
        room: room(),
        seq: 4,
        version: 3,
        title: "Raum buchen".to_owned(),
        text: "für zwölf,\n\"mit Beamer\"".to_owned(),
        status: TaskStatus::InProgress,
        priority: Priority::High,
        due_at_ms: Some(DUE_AT_MS),
        creator: user("anna"),
        at_ms: AT_MS,
        changed_at_ms: AT_MS + 1,
        assignees: vec![user("anna"), user("ben")],
        waits_on: vec![other_task_id()],
        comment_count: 1,
        meta: Some(meta()),
        deleted: false,
    }
}

/// What is left of a deleted task.
fn tombstone() -> Task {
    Task {
        title: String::new(),
        text: String::new(),
        due_at_ms: None,
        assignees: Vec::new(),
        waits_on: Vec::new(),
        comment_count: 0,
        meta: None,
        deleted: true,
        ..task()
    }
}

fn comment() -> Comment {
    Comment {
        id: comment_id(),
        task: task_id(),
        seq: 6,
        sender: user("ben"),
        at_ms: AT_MS + 2,
        text: "Ist gebucht.".to_owned(),
        mentions: vec![user("anna")],
    }
}

fn bare_comment() -> Comment {
    Comment { text: String::new(), mentions: Vec::new(), ..comment() }
}

pub(super) fn create() -> TaskCreate {
    TaskCreate {
        nonce: nonce(20),
        room: room(),
        id: Some(task_id()),
        title: "Raum buchen".to_owned(),
        text: "für zwölf".to_owned(),
        priority: Priority::Urgent,
        due_at_ms: Some(DUE_AT_MS),
        assignees: vec![user("ben")],
        waits_on: vec![other_task_id()],
        meta: Some(meta()),
    }
}

pub(super) fn bare_create() -> TaskCreate {
    TaskCreate {
        id: None,
        title: "x".to_owned(),
        text: String::new(),
        priority: Priority::Normal,
        due_at_ms: None,
        assignees: Vec::new(),
        waits_on: Vec::new(),
        meta: None,
        ..create()
    }
}

pub(super) fn update(due: Option<Due>) -> TaskUpdate {
    TaskUpdate {
        nonce: nonce(21),
        room: room(),
        id: task_id(),
        version: 3,
        title: Some("Saal buchen".to_owned()),
        text: Some(String::new()),
        priority: Some(Priority::Low),
        due,
        meta: Some(meta()),
    }
}

pub(super) fn to_status(status: TaskStatus) -> TaskMove {
    TaskMove { nonce: nonce(22), room: room(), id: task_id(), version: 3, status }
}

pub(super) fn assign() -> TaskAssign {
    TaskAssign {
        nonce: nonce(23),
        room: room(),
        id: task_id(),
        version: 3,
        add: vec![user("ben")],
        remove: vec![user("anna")],
    }
}

pub(super) fn depend() -> TaskDepend {
    TaskDepend {
        nonce: nonce(24),
        room: room(),
        id: task_id(),
        version: 3,
        add: vec![other_task_id()],
        remove: vec![task_id()],
    }
}

pub(super) fn delete() -> TaskDelete {
    TaskDelete { nonce: nonce(25), room: room(), id: task_id(), version: 3 }
}

pub(super) fn say() -> TaskComment {
    TaskComment {
        nonce: nonce(26),
        room: room(),
        id: task_id(),
        comment: Some(comment_id()),
        text: "Ist gebucht.".to_owned(),
        mentions: vec![user("anna")],
    }
}

pub(super) fn follow(follow: bool) -> TaskFollow {
    TaskFollow { nonce: nonce(27), room: room(), id: task_id(), follow }
}

fn list(order: TaskOrder) -> TaskList {
    TaskList {
        room: Some(room()),
        assignee: Some(user("ben")),
        status: TaskStatus::ALL.to_vec(),
        priority: Some(Priority::High),
        due_from_ms: Some(AT_MS),
        due_until_ms: Some(DUE_AT_MS),
        order,
        cursor: Some("0164000000000000000a019b76daa80070008000000000000003".to_owned()),
        limit: Some(100),
    }
}

fn bare_list() -> TaskList {
    TaskList {
        room: None,
        status: Vec::new(),
        priority: None,
        due_from_ms: None,
        due_until_ms: None,
        cursor: None,
        limit: None,
        ..list(TaskOrder::Newest)
    }
}

pub(super) fn commands() -> Vec<(&'static str, Command)> {
    let page = |cursor: Option<&str>, limit| {
        Command::TaskCommentList(TaskCommentList {
            room: room(),
            id: task_id(),
            cursor: cursor.map(str::to_owned),
            limit,
        })
    };
    let mut all = vec![
        ("full", Command::TaskCreate(create())),
        ("bare", Command::TaskCreate(bare_create())),
        ("full", Command::TaskUpdate(update(Some(Due::AtMs(DUE_AT_MS))))),
        ("never due", Command::TaskUpdate(update(Some(Due::Never)))),
        (
            "bare",
            Command::TaskUpdate(TaskUpdate { title: None, text: None, priority: None, meta: None, ..update(None) }),
        ),
        ("full", Command::TaskAssign(assign())),
        ("bare", Command::TaskAssign(TaskAssign { add: Vec::new(), remove: Vec::new(), ..assign() })),
        ("full", Command::TaskDepend(depend())),
        ("bare", Command::TaskDepend(TaskDepend { add: Vec::new(), remove: Vec::new(), ..depend() })),
        ("", Command::TaskDelete(delete())),
        ("full", Command::TaskComment(say())),
        ("bare", Command::TaskComment(TaskComment { comment: None, mentions: Vec::new(), ..say() })),
        ("on", Command::TaskFollow(follow(true))),
        ("off", Command::TaskFollow(follow(false))),
        ("", Command::TaskGet(TaskGet { room: room(), id: task_id() })),
        ("full", page(Some("01630000000000000006"), Some(100))),
        ("bare", page(None, None)),
        ("newest", Command::TaskList(list(TaskOrder::Newest))),
        ("due", Command::TaskList(list(TaskOrder::Due))),
        ("priority", Command::TaskList(list(TaskOrder::Priority))),
        ("bare", Command::TaskList(bare_list())),
        ("full", Command::TaskSummaryGet(TaskSummaryGet { room: Some(room()) })),
        ("bare", Command::TaskSummaryGet(TaskSummaryGet { room: None })),
    ];
    all.extend(TaskStatus::ALL.iter().map(|status| (status.as_str(), Command::TaskMove(to_status(*status)))));
    all
}

pub(super) fn committed_task() -> Committed {
    Committed { id: Some(task_id().into()), ..committed() }
}

pub(super) fn replies() -> Vec<(&'static str, Reply)> {
    let done = || TaskOutcome::Committed(committed_task());
    let summary = TaskSummary {
        open: 300,
        in_progress: 4,
        blocked: 3,
        done: 2,
        cancelled: 1,
        overdue: 5,
        assignees: vec![TaskWorkload { user: user("ben"), unfinished: 7, overdue: 5 }],
    };
    let detail = TaskDetail {
        task: task(),
        waits_on: vec![Task { id: other_task_id(), status: TaskStatus::Open, ..tombstone() }],
        comments: vec![comment(), bare_comment()],
        older: Some("01630000000000000006".to_owned()),
        following: true,
    };
    let bare_detail =
        TaskDetail { task: tombstone(), waits_on: Vec::new(), comments: Vec::new(), older: None, following: false };
    vec![
        ("", Reply::TaskCreate(committed_task())),
        ("done", Reply::TaskUpdate(done())),
        ("stale", Reply::TaskUpdate(TaskOutcome::Stale(task()))),
        ("done", Reply::TaskMove(done())),
        ("stale", Reply::TaskMove(TaskOutcome::Stale(task()))),
        ("done", Reply::TaskAssign(done())),
        ("stale", Reply::TaskAssign(TaskOutcome::Stale(task()))),
        ("done", Reply::TaskDepend(done())),
        ("stale", Reply::TaskDepend(TaskOutcome::Stale(task()))),
        ("done", Reply::TaskDelete(done())),
        ("stale", Reply::TaskDelete(TaskOutcome::Stale(task()))),
        ("", Reply::TaskComment(Committed { id: Some(comment_id().into()), ..committed() })),
        ("", Reply::TaskFollow(committed_task())),
        ("full", Reply::TaskGet(detail)),
        ("bare", Reply::TaskGet(bare_detail)),
        (
            "full",
            Reply::TaskCommentList(Comments {
                comments: vec![comment(), bare_comment()],
                older: Some("01630000000000000006".to_owned()),
            }),
        ),
        ("bare", Reply::TaskCommentList(Comments { comments: Vec::new(), older: None })),
        (
            "full",
            Reply::TaskList(Tasks {
                tasks: vec![task(), Task { deleted: false, ..tombstone() }],
                next: Some("0164000000000000000a019b76daa80070008000000000000003".to_owned()),
            }),
        ),
        ("bare", Reply::TaskList(Tasks { tasks: Vec::new(), next: None })),
        ("full", Reply::TaskSummaryGet(summary.clone())),
        ("bare", Reply::TaskSummaryGet(TaskSummary { assignees: Vec::new(), ..summary })),
    ]
}

pub(super) fn events() -> Vec<(&'static str, EventBody)> {
    let changed = |change| EventBody::TaskChanged(TaskChanged { task: task(), change, by: user("anna") });
    vec![
        ("full", EventBody::TaskCreated(TaskCreated { task: task() })),
        ("bare", EventBody::TaskCreated(TaskCreated { task: tombstone() })),
        ("edited", changed(TaskChange::Edited)),
        ("moved", changed(TaskChange::Moved)),
        ("assigned", changed(TaskChange::Assigned)),
        ("linked", changed(TaskChange::Linked)),
        ("in a later word", changed(TaskChange::Other("archived".to_owned()))),
        ("", EventBody::TaskCommented(TaskCommented { comment: comment(), comment_count: 300 })),
        ("", EventBody::TaskDeleted(TaskDeleted { id: task_id(), version: 4, by: user("anna") })),
    ]
}
