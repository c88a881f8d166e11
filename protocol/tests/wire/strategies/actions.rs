//! Arbitrary values of several actions at once and of what people say.

use hallway_protocol::command::{
    ActionItem, ActionResult, Actions, ActionsDone, Candidate, Command, Phrase, Reply, Resolution, Resolve, Resolved,
    What,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{committed, error_body, notifications, object, requests, room, tasks, text, user};

/// A command of minor 0 as one of several, where it may be one.
fn old_action(command: Command) -> Option<ActionItem> {
    Some(match command {
        Command::MessageSend(send) => ActionItem::MessageSend(send),
        Command::MessageEdit(edit) => ActionItem::MessageEdit(edit),
        Command::MessageDelete(delete) => ActionItem::MessageDelete(delete),
        Command::MessageReact(react) => ActionItem::MessageReact(react),
        Command::RoomCreate(create) => ActionItem::RoomCreate(create),
        Command::RoomInvite(invite) => ActionItem::RoomInvite(invite),
        Command::DirectOpen(open) => ActionItem::DirectOpen(open),
        _ => return None,
    })
}

fn item() -> BoxedStrategy<ActionItem> {
    let old = || prop_oneof![requests::room_command(), requests::message_command()];
    prop_oneof![
        old().prop_filter_map("a command that may be one of several", old_action),
        tasks::create().prop_map(ActionItem::TaskCreate),
        tasks::update().prop_map(ActionItem::TaskUpdate),
        tasks::to_status().prop_map(ActionItem::TaskMove),
        tasks::assign().prop_map(ActionItem::TaskAssign),
        tasks::depend().prop_map(ActionItem::TaskDepend),
        tasks::delete().prop_map(ActionItem::TaskDelete),
        tasks::say().prop_map(ActionItem::TaskComment),
        tasks::follow().prop_map(ActionItem::TaskFollow),
        notifications::notify().prop_map(ActionItem::Notify),
    ]
    .boxed()
}

fn candidate() -> impl Strategy<Value = Candidate> {
    prop_oneof![
        (user(), option::of(text())).prop_map(|(user, name)| Candidate::Person { user, name }),
        (room(), option::of(text())).prop_map(|(room, name)| Candidate::Room { room, name }),
        (room(), object(), text()).prop_map(|(room, task, title)| Candidate::Task { room, task, title }),
        (room(), object()).prop_map(|(room, message)| Candidate::Message { room, message }),
    ]
}

pub(super) fn command() -> BoxedStrategy<Command> {
    let what = option::of(select(vec![What::Person, What::Room, What::Task, What::Message]));
    let phrase = (text(), what).prop_map(|(text, what)| Phrase { text, what });
    prop_oneof![
        (any::<bool>(), vec(item(), 0..4)).prop_map(|(atomic, actions)| Command::Actions(Actions { atomic, actions })),
        (vec(phrase, 0..4), option::of(room()), option::of(object()))
            .prop_map(|(phrases, room, task)| Command::Resolve(Resolve { phrases, room, task })),
    ]
    .boxed()
}

pub(super) fn reply() -> BoxedStrategy<Reply> {
    let result = prop_oneof![
        committed().prop_map(ActionResult::Committed),
        tasks::task().prop_map(ActionResult::Stale),
        error_body().prop_map(ActionResult::Failed),
        Just(ActionResult::Skipped),
    ];
    let resolution = prop_oneof![
        candidate().prop_map(Resolution::One),
        vec(candidate(), 0..3).prop_map(Resolution::All),
        vec(candidate(), 0..3).prop_map(Resolution::Candidates),
        Just(Resolution::Nothing),
    ];
    prop_oneof![
        vec(result, 0..4).prop_map(|results| Reply::Actions(ActionsDone { results })),
        vec(resolution, 0..4).prop_map(|resolutions| Reply::Resolve(Resolved { resolutions })),
    ]
    .boxed()
}
