//! What the cases about notifications and webhooks are written with.
//!
//! Their stores hand out at the first look: [`HAND_OUTS`].

use std::time::{SystemTime, UNIX_EPOCH};

use hallway_protocol::event::NotificationCreated;
use hallway_protocol::notification::{Notification, QuietHours};
use hallway_protocol::{
    Event, EventBody, History, MessageId, NotificationId, Role, RoomId, StreamId, UserId, Visibility,
};

use super::kit::{self, Shared, commit, one, write};
use crate::{
    Action, Addressed, Committed, HandOutRules, JobClaim, NewJob, Notice, NotificationQuery, NotificationsPage,
    Preference,
};

/// The rules of the stores that these cases are given.
pub const HAND_OUTS: HandOutRules = HandOutRules { hands_out: true, first_look_ms: 0 };

/// Makes a private room of the first of some people, who is its owner, and the others.
pub async fn team(store: &Shared, case: &str, names: &[&str]) -> (RoomId, Vec<UserId>) {
    let room = kit::room(case, "room");
    let people: Vec<UserId> = names.iter().map(|name| kit::user(case, name)).collect();
    kit::channel(store, &people[0], &room, Visibility::Private, History::All).await;
    gather(store, &room, &people[0], &people[1..]).await;
    (room, people)
}

/// Makes people members.
pub async fn gather(store: &Shared, room: &RoomId, owner: &UserId, people: &[UserId]) {
    for chunk in people.chunks(500) {
        let batch = chunk.iter().map(|user| write(owner, kit::invite(room, user, Role::Member))).collect();
        for result in commit(store, batch).await {
            result.expect("an invitation");
        }
    }
}

/// A message that names people, and may answer another.
#[must_use]
pub fn mention(room: &RoomId, people: &[&UserId], reply_to: Option<MessageId>) -> Action {
    Action::SendMessage {
        room: room.clone(),
        id: MessageId::generate(),
        text: "text".to_owned(),
        reply_to,
        mentions: people.iter().map(|user| (*user).clone()).collect(),
        meta: None,
    }
}

/// A notice that is not urgent and has no key.
#[must_use]
pub fn notice(title: &str) -> Notice {
    Notice { title: title.to_owned(), text: None, data: None, urgent: false, key: None, acknowledge_within_ms: None }
}

/// A notice that wants to be acknowledged.
#[must_use]
pub fn urgent(title: &str) -> Notice {
    Notice { urgent: true, ..notice(title) }
}

/// Of a caller who may notify anybody.
#[must_use]
pub fn notify(from: &UserId, to: Addressed, notice: Notice) -> Action {
    Action::Notify { from: from.clone(), to, notice, may_any: true }
}

/// To some people.
#[must_use]
pub fn to(people: &[&UserId]) -> Addressed {
    Addressed::Users(people.iter().map(|user| (*user).clone()).collect())
}

/// A preference in a room, or the own one.
#[must_use]
pub fn prefer(user: &UserId, room: Option<&RoomId>, level: Option<hallway_protocol::notification::Level>) -> Action {
    Action::Prefer { user: user.clone(), preference: Preference { room: room.cloned(), level } }
}

/// Marks as read.
#[must_use]
pub fn read(user: &UserId, ids: &[NotificationId], up_to_seq: Option<u64>) -> Action {
    Action::ReadNotifications { user: user.clone(), ids: ids.to_vec(), up_to_seq }
}

/// Acknowledges.
#[must_use]
pub fn acknowledge(user: &UserId, id: NotificationId) -> Action {
    Action::AcknowledgeNotification { user: user.clone(), id }
}

/// Whom events notify, of what, and how many are unread then; in the order of the people.
#[must_use]
pub fn told(events: &[Event]) -> Vec<(UserId, Notification, u64)> {
    let mut told: Vec<_> = events
        .iter()
        .filter_map(|event| match (&event.stream, &event.body) {
            (StreamId::User(user), EventBody::NotificationCreated(NotificationCreated { notification, unread })) => {
                assert_eq!((notification.seq, notification.at_ms), (event.seq, event.at_ms), "it is its event's");
                Some((user.clone(), notification.clone(), *unread))
            }
            _ => None,
        })
        .collect();
    told.sort_by(|one, other| one.0.cmp(&other.0));
    told
}

/// Whom a write notified, and why.
#[must_use]
pub fn whom(done: &Committed) -> Vec<(UserId, String)> {
    told(&done.events).into_iter().map(|(user, one, _)| (user, one.kind.as_str().to_owned())).collect()
}

/// Notifies one person alone; the notification.
pub async fn tell(store: &Shared, from: &UserId, user: &UserId, notice: Notice) -> Notification {
    let done = one(store, from, notify(from, to(&[user]), notice)).await;
    let mut told = told(&done.events);
    assert_eq!(told.len(), 1, "{user} is notified");
    told.remove(0).1
}

/// The newest hundred of a person.
pub async fn inbox(store: &Shared, user: &UserId) -> NotificationsPage {
    let query = NotificationQuery { unread_only: false, before: None, limit: 100 };
    store.notifications(user, query).await.expect("the store lists notifications")
}

/// How many a person has, and how many of them are unread.
pub async fn counts(store: &Shared, user: &UserId) -> (usize, u64) {
    let page = inbox(store, user).await;
    let unread = page.notifications.iter().filter(|one| !one.read).count();
    assert_eq!(page.unread, unread as u64, "{user}: the counter is exact");
    (page.notifications.len(), page.unread)
}

/// Carries out the steps of fan-outs until nothing is left; what each wrote.
pub async fn fan_out(store: &Shared) -> Vec<Vec<Event>> {
    let mut steps = Vec::new();
    loop {
        let progress = store.fan_out().await.expect("a step");
        steps.push(progress.events);
        if !progress.more {
            return steps;
        }
    }
}

/// Quiet hours of which it is the middle now, and such as are not now.
#[must_use]
pub fn quiet_now(now: bool) -> QuietHours {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let minute = u16::try_from(since.as_secs() / 60 % 1440).unwrap();
    let from_minute = (minute + if now { 1440 - 60 } else { 60 }) % 1440;
    QuietHours { from_minute, to_minute: (from_minute + 120) % 1440, utc_offset_minutes: 0 }
}

/// A job that carries nothing.
#[must_use]
pub fn job(target: &str, priority: u8, body: &str) -> NewJob {
    NewJob {
        target: target.to_owned(),
        priority,
        attempts_max: 3,
        body: format!("{{\"body\":\"{body}\"}}"),
        notifications: Vec::new(),
    }
}

/// The targets of all cases.
const TARGETS: [&str; 9] = ["a", "b", "broken", "c", "claimed", "dead", "done", "fine", "waits"];

/// Of whatever is ready, with a lease that ends when the test does.
#[must_use]
pub fn claim(limit: u32) -> JobClaim {
    JobClaim { limit, lease_ms: 600_000, targets: TARGETS.map(str::to_owned).to_vec() }
}
