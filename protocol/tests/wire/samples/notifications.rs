//! What is said about notifications and their delivery, full and bare.

use hallway_protocol::command::{
    Command, Committed, DeadJobs, NotificationAcknowledge, NotificationList, NotificationPrefer,
    NotificationPreferences, NotificationQuiet, NotificationRead, NotificationTrace, Notifications, Notify, OutboxDead,
    OutboxReplay, Preferences, ProfileSet, Recipients, Replayed, Reply, RoomLevel,
};
use hallway_protocol::event::{
    EventBody, NotificationAcknowledged, NotificationCreated, NotificationsRead, PreferenceChanged, ProfileChanged,
    QuietChanged,
};
use hallway_protocol::notification::{
    Delivered, JobState, JobTrace, Level, Notification, NotificationKind, QuietHours, Trace,
};
use hallway_protocol::{NotificationId, SessionId, StreamId};

use super::tasks::{comment_id, task_id};
use super::{AT_MS, committed, message_id, meta, nonce, other_id, room, user};

const LEVELS: [(&str, Level); 3] = [("none", Level::None), ("mentions", Level::Mentions), ("all", Level::All)];

fn notification_id() -> NotificationId {
    "019b76da-a800-7000-8000-000000000006".parse().unwrap()
}

fn session() -> SessionId {
    "00c0ffee00c0ffee-1f".parse().unwrap()
}

fn quiet() -> QuietHours {
    QuietHours { from_minute: 1_320, to_minute: 420, utc_offset_minutes: -210 }
}

/// Everything that one can hold.
fn notice() -> Notification {
    Notification {
        id: notification_id(),
        seq: 9,
        kind: NotificationKind::Notice,
        urgent: true,
        silent: false,
        room: Some(room()),
        message: Some(message_id()),
        task: Some(task_id()),
        comment: Some(comment_id()),
        by: Some(user("anna")),
        at_ms: AT_MS,
        title: Some("Feueralarm".to_owned()),
        text: Some("Bitte alle\nauf die Straße".to_owned()),
        data: Some(meta()),
        acknowledge_by_ms: Some(AT_MS + 30_000),
        read: true,
        acknowledged: true,
    }
}

fn of_kind(kind: NotificationKind) -> Notification {
    Notification {
        kind,
        urgent: false,
        silent: true,
        room: None,
        message: None,
        task: None,
        comment: None,
        by: None,
        title: None,
        text: None,
        data: None,
        acknowledge_by_ms: None,
        read: false,
        acknowledged: false,
        ..notice()
    }
}

fn job() -> JobTrace {
    JobTrace {
        job: 300,
        target: "push".to_owned(),
        state: JobState::Dead,
        attempts: 3,
        created_at_ms: AT_MS,
        finished_at_ms: Some(AT_MS + 7_000),
        error: Some("503".to_owned()),
    }
}

fn bare_job(state: JobState) -> JobTrace {
    JobTrace { state, attempts: 0, finished_at_ms: None, error: None, ..job() }
}

pub(super) fn notify(to: Recipients) -> Notify {
    Notify {
        nonce: nonce(34),
        to,
        title: "Feueralarm".to_owned(),
        text: Some("Bitte alle\nauf die Straße".to_owned()),
        data: Some(meta()),
        urgent: true,
        key: Some("alarm-7".to_owned()),
        acknowledge_within_ms: Some(5_000),
    }
}

fn bare_notify() -> Notify {
    Notify {
        text: None,
        data: None,
        urgent: false,
        key: None,
        acknowledge_within_ms: None,
        ..notify(Recipients::Everyone)
    }
}

pub(super) fn commands() -> Vec<(&'static str, Command)> {
    let read = |ids, up_to_seq| Command::NotificationRead(NotificationRead { nonce: nonce(28), ids, up_to_seq });
    let second_id = hallway_protocol::ObjectId::from(other_id()).into();
    let acknowledge = NotificationAcknowledge { nonce: nonce(29), id: notification_id() };
    let mut all = vec![
        (
            "full",
            Command::NotificationList(NotificationList {
                unread_only: true,
                cursor: Some("01690000000000000009".to_owned()),
                limit: Some(100),
            }),
        ),
        ("bare", Command::NotificationList(NotificationList { unread_only: false, cursor: None, limit: None })),
        ("full", read(vec![notification_id(), second_id], Some(300))),
        ("bare", read(Vec::new(), Some(0))),
        ("", Command::NotificationAcknowledge(acknowledge)),
        ("", Command::NotificationPreferences(NotificationPreferences {})),
        ("nothing said", Command::NotificationPrefer(NotificationPrefer { nonce: nonce(30), room: None, level: None })),
        ("full", Command::NotificationQuiet(NotificationQuiet { nonce: nonce(31), hours: Some(quiet()) })),
        ("none", Command::NotificationQuiet(NotificationQuiet { nonce: nonce(31), hours: None })),
        ("", Command::NotificationTrace(NotificationTrace { id: notification_id() })),
        ("users", Command::Notify(notify(Recipients::Users(vec![user("ben"), user("anna")])))),
        ("room", Command::Notify(notify(Recipients::Room(room())))),
        ("everyone", Command::Notify(bare_notify())),
        ("full", Command::ProfileSet(ProfileSet { nonce: nonce(35), name: Some("Anna Grün 🌿".to_owned()) })),
        ("bare", Command::ProfileSet(ProfileSet { nonce: nonce(35), name: None })),
        ("full", Command::OutboxDead(OutboxDead { cursor: Some("016a000000000000012c".to_owned()), limit: Some(100) })),
        ("bare", Command::OutboxDead(OutboxDead { cursor: None, limit: None })),
        ("full", Command::OutboxReplay(OutboxReplay { jobs: vec![1, 300] })),
        ("bare", Command::OutboxReplay(OutboxReplay { jobs: Vec::new() })),
    ];
    all.extend(LEVELS.map(|(name, level)| {
        let prefer = NotificationPrefer { nonce: nonce(30), room: Some(room()), level: Some(level) };
        (name, Command::NotificationPrefer(prefer))
    }));
    all
}

pub(super) fn replies() -> Vec<(&'static str, Reply)> {
    let own = Committed { stream: StreamId::User(user("ben")), id: None, ..committed() };
    let jobs = || vec![job(), bare_job(JobState::Waiting), bare_job(JobState::Claimed), bare_job(JobState::Done)];
    let trace = Trace {
        user: user("ben"),
        notification: notice(),
        read_at_ms: Some(AT_MS + 3),
        acknowledged_at_ms: Some(AT_MS + 3),
        deliveries: vec![Delivered { session: session(), at_ms: AT_MS + 1 }],
        jobs: jobs(),
    };
    let bare_trace = Trace {
        notification: of_kind(NotificationKind::Reply),
        read_at_ms: None,
        acknowledged_at_ms: None,
        deliveries: Vec::new(),
        jobs: Vec::new(),
        ..trace.clone()
    };
    let preferences = Preferences {
        level: Level::Mentions,
        rooms: vec![RoomLevel { room: room(), level: Level::None }],
        quiet: Some(quiet()),
    };
    vec![
        (
            "full",
            Reply::NotificationList(Notifications {
                notifications: vec![notice(), of_kind(NotificationKind::Mention)],
                unread: 300,
                next: Some("01690000000000000009".to_owned()),
            }),
        ),
        ("bare", Reply::NotificationList(Notifications { notifications: Vec::new(), unread: 0, next: None })),
        ("", Reply::NotificationRead(own.clone())),
        ("", Reply::NotificationAcknowledge(own.clone())),
        ("full", Reply::NotificationPreferences(preferences)),
        ("bare", Reply::NotificationPreferences(Preferences { level: Level::All, rooms: Vec::new(), quiet: None })),
        ("", Reply::NotificationPrefer(own.clone())),
        ("", Reply::NotificationQuiet(own.clone())),
        ("full", Reply::NotificationTrace(trace)),
        ("bare", Reply::NotificationTrace(bare_trace)),
        ("", Reply::Notify(own.clone())),
        ("", Reply::ProfileSet(own)),
        ("full", Reply::OutboxDead(DeadJobs { jobs: jobs(), next: Some("016a000000000000012c".to_owned()) })),
        ("bare", Reply::OutboxDead(DeadJobs { jobs: Vec::new(), next: None })),
        ("", Reply::OutboxReplay(Replayed { jobs: 2 })),
    ]
}

pub(super) fn events() -> Vec<(&'static str, EventBody)> {
    let created = |notification| EventBody::NotificationCreated(NotificationCreated { notification, unread: 300 });
    let preferred = |room, level| EventBody::PreferenceChanged(PreferenceChanged { room, level });
    vec![
        ("full", created(notice())),
        ("mention", created(of_kind(NotificationKind::Mention))),
        ("reply", created(of_kind(NotificationKind::Reply))),
        ("direct", created(of_kind(NotificationKind::Direct))),
        ("assigned", created(of_kind(NotificationKind::Assigned))),
        ("task_due", created(of_kind(NotificationKind::TaskDue))),
        ("task_changed", created(of_kind(NotificationKind::TaskChanged))),
        ("announcement", created(of_kind(NotificationKind::Announcement))),
        ("in a later word", created(of_kind(NotificationKind::Other("birthday".to_owned())))),
        (
            "full",
            EventBody::NotificationsRead(NotificationsRead {
                ids: vec![notification_id()],
                up_to_seq: Some(300),
                unread: 4,
            }),
        ),
        ("bare", EventBody::NotificationsRead(NotificationsRead { ids: Vec::new(), up_to_seq: None, unread: 0 })),
        ("", EventBody::NotificationAcknowledged(NotificationAcknowledged { id: notification_id(), unread: 4 })),
        ("full", preferred(Some(room()), Some(Level::Mentions))),
        ("bare", preferred(None, None)),
        ("began", EventBody::QuietChanged(QuietChanged { hours: Some(quiet()) })),
        ("ended", EventBody::QuietChanged(QuietChanged { hours: None })),
        ("full", EventBody::ProfileChanged(ProfileChanged { name: Some("Anna Grün 🌿".to_owned()) })),
        ("bare", EventBody::ProfileChanged(ProfileChanged { name: None })),
    ]
}
