//! Arbitrary values of what is said about notifications and their delivery.

use hallway_protocol::command::{
    Command, DeadJobs, NotificationAcknowledge, NotificationList, NotificationPrefer, NotificationPreferences,
    NotificationQuiet, NotificationRead, NotificationTrace, Notifications, Notify, OutboxDead, OutboxReplay,
    Preferences, ProfileSet, Recipients, Replayed, Reply, RoomLevel,
};
use hallway_protocol::event::{
    EventBody, NotificationAcknowledged, NotificationCreated, NotificationsRead, PreferenceChanged, ProfileChanged,
    QuietChanged,
};
use hallway_protocol::notification::{
    Delivered, JobState, JobTrace, Level, Notification, NotificationKind, QuietHours, Trace,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::people::session_id;
use super::{meta, nonce, object, room, text, user};

/// Known words, and those that a later version may have.
fn kind() -> impl Strategy<Value = NotificationKind> {
    prop_oneof![select(NotificationKind::KNOWN), text().prop_map(NotificationKind::from)]
}

fn state() -> impl Strategy<Value = JobState> {
    prop_oneof![select(JobState::KNOWN), text().prop_map(JobState::from)]
}

fn level() -> impl Strategy<Value = Level> {
    select(vec![Level::None, Level::Mentions, Level::All])
}

fn quiet() -> impl Strategy<Value = QuietHours> {
    (any::<[u16; 2]>(), any::<i16>()).prop_map(|([from_minute, to_minute], utc_offset_minutes)| QuietHours {
        from_minute,
        to_minute,
        utc_offset_minutes,
    })
}

fn notification() -> BoxedStrategy<Notification> {
    let about = (option::of(room()), option::of(object()), option::of(object()), option::of(object()));
    let says = (option::of(text()), option::of(text()), option::of(meta()), option::of(any::<u64>()));
    (object(), kind(), any::<[bool; 4]>(), about, option::of(user()), says, any::<[u64; 2]>())
        .prop_map(|(id, kind, [urgent, silent, read, acknowledged], about, by, says, [seq, at_ms])| {
            let (room, message, task, comment) = about;
            let (title, text, data, acknowledge_by_ms) = says;
            Notification {
                id,
                seq,
                kind,
                urgent,
                silent,
                room,
                message,
                task,
                comment,
                by,
                at_ms,
                title,
                text,
                data,
                acknowledge_by_ms,
                read,
                acknowledged,
            }
        })
        .boxed()
}

fn job() -> impl Strategy<Value = JobTrace> {
    (any::<[u64; 2]>(), text(), state(), any::<u32>(), option::of(any::<u64>()), option::of(text())).prop_map(
        |([job, created_at_ms], target, state, attempts, finished_at_ms, error)| JobTrace {
            job,
            target,
            state,
            attempts,
            created_at_ms,
            finished_at_ms,
            error,
        },
    )
}

pub(super) fn notify() -> BoxedStrategy<Notify> {
    let to = prop_oneof![
        vec(user(), 0..4).prop_map(Recipients::Users),
        room().prop_map(Recipients::Room),
        Just(Recipients::Everyone),
    ];
    let how = (any::<bool>(), option::of(text()), option::of(any::<u64>()));
    (nonce(), to, text(), option::of(text()), option::of(meta()), how)
        .prop_map(|(nonce, to, title, text, data, (urgent, key, acknowledge_within_ms))| Notify {
            nonce,
            to,
            title,
            text,
            data,
            urgent,
            key,
            acknowledge_within_ms,
        })
        .boxed()
}

pub(super) fn command() -> BoxedStrategy<Command> {
    let page = || (option::of(text()), option::of(any::<u32>()));
    prop_oneof![
        (any::<bool>(), page()).prop_map(|(unread_only, (cursor, limit))| {
            Command::NotificationList(NotificationList { unread_only, cursor, limit })
        }),
        (nonce(), vec(object(), 0..4), option::of(any::<u64>())).prop_map(|(nonce, ids, up_to_seq)| {
            Command::NotificationRead(NotificationRead { nonce, ids, up_to_seq })
        }),
        (nonce(), object())
            .prop_map(|(nonce, id)| Command::NotificationAcknowledge(NotificationAcknowledge { nonce, id })),
        Just(Command::NotificationPreferences(NotificationPreferences {})),
        (nonce(), option::of(room()), option::of(level())).prop_map(|(nonce, room, level)| {
            Command::NotificationPrefer(NotificationPrefer { nonce, room, level })
        }),
        (nonce(), option::of(quiet()))
            .prop_map(|(nonce, hours)| Command::NotificationQuiet(NotificationQuiet { nonce, hours })),
        object().prop_map(|id| Command::NotificationTrace(NotificationTrace { id })),
        notify().prop_map(Command::Notify),
        (nonce(), option::of(text())).prop_map(|(nonce, name)| Command::ProfileSet(ProfileSet { nonce, name })),
        page().prop_map(|(cursor, limit)| Command::OutboxDead(OutboxDead { cursor, limit })),
        vec(any::<u64>(), 0..4).prop_map(|jobs| Command::OutboxReplay(OutboxReplay { jobs })),
    ]
    .boxed()
}

pub(super) fn reply() -> BoxedStrategy<Reply> {
    let time = || option::of(any::<u64>());
    let told = || (room(), level()).prop_map(|(room, level)| RoomLevel { room, level });
    let delivered = (session_id(), any::<u64>()).prop_map(|(session, at_ms)| Delivered { session, at_ms });
    prop_oneof![
        (vec(notification(), 0..3), any::<u64>(), option::of(text())).prop_map(|(notifications, unread, next)| {
            Reply::NotificationList(Notifications { notifications, unread, next })
        }),
        (level(), vec(told(), 0..3), option::of(quiet()))
            .prop_map(|(level, rooms, quiet)| { Reply::NotificationPreferences(Preferences { level, rooms, quiet }) }),
        (user(), notification(), time(), time(), vec(delivered, 0..3), vec(job(), 0..3)).prop_map(
            |(user, notification, read_at_ms, acknowledged_at_ms, deliveries, jobs)| {
                Reply::NotificationTrace(Trace { user, notification, read_at_ms, acknowledged_at_ms, deliveries, jobs })
            }
        ),
        (vec(job(), 0..3), option::of(text())).prop_map(|(jobs, next)| Reply::OutboxDead(DeadJobs { jobs, next })),
        any::<u64>().prop_map(|jobs| Reply::OutboxReplay(Replayed { jobs })),
    ]
    .boxed()
}

pub(super) fn event_body() -> BoxedStrategy<EventBody> {
    prop_oneof![
        (notification(), any::<u64>()).prop_map(|(notification, unread)| {
            EventBody::NotificationCreated(NotificationCreated { notification, unread })
        }),
        (vec(object(), 0..3), option::of(any::<u64>()), any::<u64>()).prop_map(|(ids, up_to_seq, unread)| {
            EventBody::NotificationsRead(NotificationsRead { ids, up_to_seq, unread })
        }),
        (object(), any::<u64>())
            .prop_map(|(id, unread)| { EventBody::NotificationAcknowledged(NotificationAcknowledged { id, unread }) }),
        (option::of(room()), option::of(level()))
            .prop_map(|(room, level)| EventBody::PreferenceChanged(PreferenceChanged { room, level })),
        option::of(quiet()).prop_map(|hours| EventBody::QuietChanged(QuietChanged { hours })),
        option::of(text()).prop_map(|name| EventBody::ProfileChanged(ProfileChanged { name })),
    ]
    .boxed()
}
