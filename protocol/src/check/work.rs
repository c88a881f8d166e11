//! Limits of the arguments about tasks, notifications and several actions at once.

use std::ops::RangeInclusive;

use super::{
    Checked, NAME_MAX_BYTES, TEXT_MAX_BYTES, check as check_any, count, long_text, mentions, no_control_characters,
    page, refuse, seq, size, text,
};
use crate::command::{
    Actions, Command, Notify, Recipients, Resolve, TaskAssign, TaskCreate, TaskDepend, TaskList, TaskUpdate,
};
use crate::command::{Due, NotificationRead};
use crate::notification::QuietHours;

/// Longest title of a task, an announcement or a notice, in bytes. The shortest is 1.
pub const TITLE_MAX_BYTES: usize = 200;
/// Most assignees of a task.
pub const ASSIGNEES_MAX: usize = 50;
/// Most tasks that one waits on.
pub const WAITS_ON_MAX: usize = 50;
/// Longest text of an announcement or notice, in bytes.
pub const NOTICE_TEXT_MAX_BYTES: usize = 4 * 1024;
/// Most people whom one `notify` names.
pub const RECIPIENTS_MAX: usize = 1_000;
/// Longest key of a notification, in bytes. The shortest is 1.
pub const KEY_MAX_BYTES: usize = 64;
/// How long an urgent notification may wait to be acknowledged.
pub const ACKNOWLEDGE_WITHIN_MS: RangeInclusive<u64> = 1_000..=24 * 60 * 60 * 1_000;
/// Most notifications that one `notification.read` names.
pub const READ_MAX: usize = 100;
/// Most webhooks that one `outbox.replay` names.
pub const REPLAY_MAX: usize = 100;
/// Most actions in one `actions`.
pub const ACTIONS_MAX: usize = 50;
/// Most phrases in one `resolve`.
pub const PHRASES_MAX: usize = 20;
/// Longest phrase, in bytes. The shortest is 1.
pub const PHRASE_MAX_BYTES: usize = 200;

const MINUTES_OF_A_DAY: u16 = 24 * 60;
const UTC_OFFSET_MINUTES: RangeInclusive<i16> = -720..=840;

/// Checks the commands of minor 2.
pub(super) fn check(command: &Command) -> Checked {
    match command {
        Command::TaskCreate(create) => task_create(create),
        Command::TaskUpdate(update) => task_update(update),
        Command::TaskAssign(assign) => task_assign(assign),
        Command::TaskDepend(depend) => task_depend(depend),
        Command::TaskComment(comment) => text(&comment.text).and_then(|()| mentions(&comment.mentions)),
        Command::TaskCommentList(list) => page(list.cursor.as_deref(), list.limit),
        Command::TaskList(list) => task_list(list),
        Command::NotificationList(list) => page(list.cursor.as_deref(), list.limit),
        Command::NotificationRead(read) => notification_read(read),
        Command::NotificationQuiet(quiet) => quiet.hours.map_or(Ok(()), quiet_hours),
        Command::Notify(notify) => check_notify(notify),
        Command::ProfileSet(profile) => match profile.name.as_deref() {
            Some(name) => {
                size("name", name.len(), 1..=NAME_MAX_BYTES).and_then(|()| no_control_characters("name", name))
            }
            None => Ok(()),
        },
        Command::OutboxDead(list) => page(list.cursor.as_deref(), list.limit),
        Command::OutboxReplay(replay) => {
            count("jobs", replay.jobs.len(), REPLAY_MAX)?;
            replay.jobs.iter().try_for_each(|job| seq("jobs", *job))
        }
        Command::Actions(actions) => check_actions(actions),
        Command::Resolve(resolve) => check_resolve(resolve),
        _ => Ok(()),
    }
}

fn title(value: &str) -> Checked {
    size("title", value.len(), 1..=TITLE_MAX_BYTES)?;
    no_control_characters("title", value)
}

fn task_create(create: &TaskCreate) -> Checked {
    title(&create.title)?;
    long_text(&create.text, 0..=TEXT_MAX_BYTES)?;
    create.due_at_ms.map_or(Ok(()), |due| seq("due_at_ms", due))?;
    count("assignees", create.assignees.len(), ASSIGNEES_MAX)?;
    count("waits_on", create.waits_on.len(), WAITS_ON_MAX)
}

fn task_update(update: &TaskUpdate) -> Checked {
    let TaskUpdate { title: new_title, text: new_text, priority, due, meta, .. } = update;
    if new_title.is_none() && new_text.is_none() && priority.is_none() && due.is_none() && meta.is_none() {
        return refuse("nothing to change: give title, text, priority, due or meta".to_owned());
    }
    new_title.as_deref().map_or(Ok(()), title)?;
    new_text.as_deref().map_or(Ok(()), |value| long_text(value, 0..=TEXT_MAX_BYTES))?;
    match due {
        Some(Due::AtMs(at_ms)) => seq("due.at_ms", *at_ms),
        Some(Due::Never) | None => Ok(()),
    }
}

fn task_assign(assign: &TaskAssign) -> Checked {
    if assign.add.is_empty() && assign.remove.is_empty() {
        return refuse("nothing to change: give add or remove".to_owned());
    }
    count("add", assign.add.len(), ASSIGNEES_MAX)?;
    count("remove", assign.remove.len(), ASSIGNEES_MAX)
}

fn task_depend(depend: &TaskDepend) -> Checked {
    if depend.add.is_empty() && depend.remove.is_empty() {
        return refuse("nothing to change: give add or remove".to_owned());
    }
    count("add", depend.add.len(), WAITS_ON_MAX)?;
    count("remove", depend.remove.len(), WAITS_ON_MAX)
}

fn task_list(list: &TaskList) -> Checked {
    page(list.cursor.as_deref(), list.limit)?;
    if list.room.is_none() && list.assignee.is_none() {
        return refuse("say of which room or of which assignee: give room, assignee or both".to_owned());
    }
    list.due_from_ms.map_or(Ok(()), |at_ms| seq("due_from_ms", at_ms))?;
    list.due_until_ms.map_or(Ok(()), |at_ms| seq("due_until_ms", at_ms))?;
    count("status", list.status.len(), 5)
}

fn notification_read(read: &NotificationRead) -> Checked {
    if read.ids.is_empty() && read.up_to_seq.is_none() {
        return refuse("nothing to mark: give ids or up_to_seq".to_owned());
    }
    count("ids", read.ids.len(), READ_MAX)?;
    read.up_to_seq.map_or(Ok(()), |at| seq("up_to_seq", at))
}

fn quiet_hours(hours: QuietHours) -> Checked {
    for (field, minute) in [("from_minute", hours.from_minute), ("to_minute", hours.to_minute)] {
        if minute >= MINUTES_OF_A_DAY {
            return refuse(format!("hours.{field} is {minute}; 0 to 1439 are allowed"));
        }
    }
    let offset = hours.utc_offset_minutes;
    if UTC_OFFSET_MINUTES.contains(&offset) {
        Ok(())
    } else {
        refuse(format!("hours.utc_offset_minutes is {offset}; -720 to 840 are allowed"))
    }
}

fn check_notify(notify: &Notify) -> Checked {
    title(&notify.title)?;
    notify.text.as_deref().map_or(Ok(()), |value| long_text(value, 0..=NOTICE_TEXT_MAX_BYTES))?;
    if let Recipients::Users(users) = &notify.to {
        if users.is_empty() {
            return refuse("to.users is empty: name at least one".to_owned());
        }
        count("to.users", users.len(), RECIPIENTS_MAX)?;
    }
    if let Some(key) = notify.key.as_deref() {
        size("key", key.len(), 1..=KEY_MAX_BYTES)?;
        if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refuse("key has a character that is not a visible ASCII one".to_owned());
        }
    }
    match notify.acknowledge_within_ms {
        Some(_) if !notify.urgent => {
            refuse("acknowledge_within_ms is for urgent ones only: set urgent, or leave it out".to_owned())
        }
        Some(within) if !ACKNOWLEDGE_WITHIN_MS.contains(&within) => {
            refuse(format!("acknowledge_within_ms is {within}; 1000 to 86400000 are allowed"))
        }
        _ => Ok(()),
    }
}

fn check_actions(actions: &Actions) -> Checked {
    if actions.actions.is_empty() {
        return refuse("actions is empty: give at least one".to_owned());
    }
    count("actions", actions.actions.len(), ACTIONS_MAX)?;
    for (at, item) in actions.actions.iter().enumerate() {
        check_any(&item.clone().into()).map_err(|mut error| {
            error.message = format!("actions[{at}]: {}", error.message);
            error
        })?;
    }
    Ok(())
}

fn check_resolve(resolve: &Resolve) -> Checked {
    if resolve.phrases.is_empty() {
        return refuse("phrases is empty: give at least one".to_owned());
    }
    count("phrases", resolve.phrases.len(), PHRASES_MAX)?;
    for phrase in &resolve.phrases {
        size("text", phrase.text.len(), 1..=PHRASE_MAX_BYTES)?;
        no_control_characters("text", &phrase.text)?;
    }
    Ok(())
}
