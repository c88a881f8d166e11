//! Notifications: what people ask about theirs, and how they reach their devices.
//!
//! ```text
//!  writer ──┐                                    ┌─ not urgent: wait for others, at most 50 recipients or 50 ms
//!  work ────┴─ events ──► publisher ──► batcher ─┤
//!   fan-out jobs, due times                      └─ all else at once, and takes along what waits for the same person
//! ```
//!
//! `batcher` (pure) decides what leaves when, `batches` does it; `work` does what waits in the store without being asked: fan-out
//! jobs and due times.
//!
//! **Invariant:** what was committed in a person's stream leaves this node in the order in which it came to the batcher.

mod batcher;
mod batches;
mod work;

use hallway_protocol::check::PAGE_LIMIT_DEFAULT;
use hallway_protocol::command::{NotificationList, Notifications, Recipients};
use hallway_protocol::cursor::Cursor;
use hallway_protocol::{Command, ErrorBody, ErrorCode, Reply, UserId};
use hallway_store::{Action, Addressed, Notice, NotificationQuery, Preference};

use super::command::Actor;
use super::reads::{bad_cursor, failed};
use super::writes::{Parts, Replies};
use super::{Service, answers};
use crate::auth::Scopes;

pub(super) use batches::Batches;
pub(super) use work::Work;

/// Whether the token may notify anybody, wherever they are.
fn may_notify_any(scopes: Scopes) -> bool {
    scopes.contains(Scopes::NOTIFY) || scopes.contains(Scopes::ADMIN)
}

/// What is decided before anything is done: to notify others than a room takes the scope `notify`.
pub(super) fn check(scopes: Scopes, command: &Command) -> Result<(), ErrorBody> {
    match command {
        Command::Notify(notify) if !matches!(notify.to, Recipients::Room(_)) && !may_notify_any(scopes) => {
            Err(answers::scope("notify"))
        }
        _ => Ok(()),
    }
}

/// Turns a command about notifications into what the store is to do, and how its answer is called.
pub(super) fn action(actor: &Actor, command: Command) -> Result<Parts, ErrorBody> {
    let user = actor.connection.user.clone();
    Ok(match command {
        Command::NotificationRead(read) => {
            let action = Action::ReadNotifications { user, ids: read.ids, up_to_seq: read.up_to_seq };
            (read.nonce, action, Replies::Committed(Reply::NotificationRead))
        }
        Command::NotificationAcknowledge(acknowledge) => {
            let action = Action::AcknowledgeNotification { user, id: acknowledge.id };
            (acknowledge.nonce, action, Replies::Committed(Reply::NotificationAcknowledge))
        }
        Command::NotificationPrefer(prefer) => {
            let preference = Preference { room: prefer.room, level: prefer.level };
            (prefer.nonce, Action::Prefer { user, preference }, Replies::Committed(Reply::NotificationPrefer))
        }
        Command::NotificationQuiet(quiet) => {
            let action = Action::SetQuietHours { user, hours: quiet.hours };
            (quiet.nonce, action, Replies::Committed(Reply::NotificationQuiet))
        }
        Command::ProfileSet(profile) => {
            let action = Action::SetProfile { user, name: profile.name };
            (profile.nonce, action, Replies::Committed(Reply::ProfileSet))
        }
        Command::Notify(notify) => {
            let to = match notify.to {
                Recipients::Users(users) => Addressed::Users(users),
                Recipients::Room(room) => Addressed::Room(room),
                Recipients::Everyone => Addressed::Everyone,
            };
            let notice = Notice {
                title: notify.title,
                text: notify.text,
                data: notify.data,
                urgent: notify.urgent,
                key: notify.key,
                acknowledge_within_ms: notify.acknowledge_within_ms,
            };
            let action = Action::Notify { from: user, to, notice, may_any: may_notify_any(actor.scopes) };
            (notify.nonce, action, Replies::Committed(Reply::Notify))
        }
        command => {
            let message = format!("{} changes nothing about notifications", command.name());
            return Err(ErrorBody::new(ErrorCode::Internal, message));
        }
    })
}

impl Service {
    pub(super) async fn answer_notifications(&self, user: &UserId, list: NotificationList) -> Result<Reply, ErrorBody> {
        let before = list.cursor.as_deref().map(|cursor| Cursor::Notifications.decode_seq(cursor)).transpose();
        let query = NotificationQuery {
            unread_only: list.unread_only,
            before: before.map_err(bad_cursor)?,
            limit: list.limit.unwrap_or(PAGE_LIMIT_DEFAULT),
        };
        let page = self.inner.store.notifications(user, query).await.map_err(failed)?;
        let last = page.notifications.last().filter(|_| page.more);
        let next = last.map(|notification| Cursor::Notifications.encode_seq(notification.seq));
        Ok(Reply::NotificationList(Notifications { next, notifications: page.notifications, unread: page.unread }))
    }

    pub(super) async fn answer_preferences(&self, user: &UserId) -> Result<Reply, ErrorBody> {
        self.inner.store.preferences(user).await.map(Reply::NotificationPreferences).map_err(failed)
    }
}
