//! Several actions at once and what people say, full and bare.

use hallway_protocol::codes::{ErrorBody, ErrorCode};
use hallway_protocol::command::{
    ActionItem, ActionResult, Actions, ActionsDone, Candidate, Command, DirectOpen, Due, MessageDelete, MessageEdit,
    MessageReact, MessageSend, Phrase, Recipients, Reply, Resolution, Resolve, Resolved, RoomCreate, RoomInvite, What,
};
use hallway_protocol::task::TaskStatus;
use hallway_protocol::{Role, Visibility};

use super::{committed, message_id, nonce, notifications, room, tasks, user};

/// Every action, in the order of its number in postcard.
fn every_action() -> Vec<ActionItem> {
    let (room, id) = (room(), message_id());
    let text = || "hello".to_owned();
    vec![
        ActionItem::MessageSend(MessageSend {
            nonce: nonce(9),
            room: room.clone(),
            id: Some(id),
            text: text(),
            reply_to: None,
            mentions: vec![user("ben")],
            meta: None,
        }),
        ActionItem::MessageEdit(MessageEdit {
            nonce: nonce(10),
            room: room.clone(),
            id,
            text: text(),
            mentions: Vec::new(),
            meta: None,
            version: Some(1),
        }),
        ActionItem::MessageDelete(MessageDelete { nonce: nonce(11), room: room.clone(), id }),
        ActionItem::MessageReact(MessageReact {
            nonce: nonce(12),
            room: room.clone(),
            id,
            emoji: "x".to_owned(),
            remove: false,
        }),
        ActionItem::TaskCreate(tasks::create()),
        ActionItem::TaskUpdate(tasks::update(Some(Due::Never))),
        ActionItem::TaskMove(tasks::to_status(TaskStatus::Done)),
        ActionItem::TaskAssign(tasks::assign()),
        ActionItem::TaskDepend(tasks::depend()),
        ActionItem::TaskDelete(tasks::delete()),
        ActionItem::TaskComment(tasks::say()),
        ActionItem::TaskFollow(tasks::follow(true)),
        ActionItem::RoomCreate(RoomCreate {
            nonce: nonce(1),
            room: room.clone(),
            visibility: Visibility::Private,
            history: None,
            name: None,
        }),
        ActionItem::RoomInvite(RoomInvite {
            nonce: nonce(6),
            room: room.clone(),
            user: user("ben"),
            role: Role::Member,
        }),
        ActionItem::DirectOpen(DirectOpen { nonce: nonce(8), user: user("ben") }),
        ActionItem::Notify(notifications::notify(Recipients::Room(room))),
    ]
}

fn phrase(text: &str, what: Option<What>) -> Phrase {
    Phrase { text: text.to_owned(), what }
}

pub(super) fn commands() -> Vec<(&'static str, Command)> {
    let one_by_one = Actions { atomic: false, actions: vec![ActionItem::TaskCreate(tasks::bare_create())] };
    let phrases = vec![
        phrase("Anna", Some(What::Person)),
        phrase("here", Some(What::Room)),
        phrase("this task", Some(What::Task)),
        phrase("last message", Some(What::Message)),
        phrase("everyone on the task", None),
    ];
    vec![
        ("atomic", Command::Actions(Actions { atomic: true, actions: every_action() })),
        ("one by one", Command::Actions(one_by_one)),
        ("full", Command::Resolve(Resolve { phrases, room: Some(room()), task: Some(tasks::task_id()) })),
        ("bare", Command::Resolve(Resolve { phrases: vec![phrase("me", None)], room: None, task: None })),
    ]
}

pub(super) fn replies() -> Vec<(&'static str, Reply)> {
    let person =
        |name: &str, shown: Option<&str>| Candidate::Person { user: user(name), name: shown.map(str::to_owned) };
    let results = vec![
        ActionResult::Committed(tasks::committed_task()),
        ActionResult::Committed(committed()),
        ActionResult::Stale(tasks::task()),
        ActionResult::Failed(ErrorBody::new(ErrorCode::IllegalMove, "what was wrong and what to do")),
        ActionResult::Skipped,
    ];
    let resolutions = vec![
        Resolution::One(person("anna", Some("Anna Grün"))),
        Resolution::One(Candidate::Room { room: room(), name: Some("Der Garten".to_owned()) }),
        Resolution::One(Candidate::Message { room: room(), message: message_id() }),
        Resolution::All(vec![person("anna", None), person("ben", None)]),
        Resolution::Candidates(vec![
            Candidate::Task { room: room(), task: tasks::task_id(), title: "Raum buchen".to_owned() },
            Candidate::Room { room: room(), name: None },
        ]),
        Resolution::Nothing,
    ];
    vec![
        ("full", Reply::Actions(ActionsDone { results })),
        ("bare", Reply::Actions(ActionsDone { results: Vec::new() })),
        ("full", Reply::Resolve(Resolved { resolutions })),
        ("bare", Reply::Resolve(Resolved { resolutions: Vec::new() })),
    ]
}
