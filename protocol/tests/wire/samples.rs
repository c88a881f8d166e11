//! One value of everything that crosses the wire, full and bare, under the name of its fixture.

use hallway_protocol::codes::{CloseCode, ErrorBody, ErrorCode};
use hallway_protocol::command::{
    Command, Committed, Done, HistoryPage, Marked, Members, Pong, Refreshed, Reply, Request, Rooms, SyncStarted,
    Welcome,
};
use hallway_protocol::event::{
    Event, EventBody, MemberJoined, MemberRemoved, MemberUpdated, MembershipChanged, MessageCreated, MessageDeleted,
    MessageEdited, MessageReacted, ReadMarked, RoomArchived, RoomCreated, RoomUpdated,
};
use hallway_protocol::frame::{
    Closing, ErrorFrame, OkFrame, Reset, ResetReason, ServerFrame, SignalFrame, SyncBegin, SyncEnd, TypingFrame,
};
use hallway_protocol::model::{
    History, Member, Message, MyRoom, PresenceState, Reaction, Role, RoomInfo, RoomKind, Visibility,
};
use hallway_protocol::position::{Position, SEQ_MAX, StreamId};
use hallway_protocol::{Epoch, MessageId, Meta, Nonce, RoomId, UserId};

mod actions;
mod commands;
mod notifications;
mod people;
mod tasks;

use commands::commands;

/// The time of everything, milliseconds since 1970.
const AT_MS: u64 = 1_767_225_600_000;
/// The same for all, so that a new sample changes no other's bytes.
const REQUEST_ID: u64 = 1234;
const EVENT_SEQ: u64 = 300;

pub(crate) fn room() -> RoomId {
    "garden".parse().unwrap()
}

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

fn nonce(number: u32) -> Nonce {
    format!("n-{number}").parse().unwrap()
}

fn epoch() -> Epoch {
    "e1-5f0c".parse().unwrap()
}

fn message_id() -> MessageId {
    "019b76da-a800-7000-8000-000000000001".parse().unwrap()
}

fn other_id() -> MessageId {
    "019b76da-a800-7000-8000-000000000002".parse().unwrap()
}

fn meta() -> Meta {
    Meta::from_json(r#"{"color":"green","size":[1,2.50,-3],"nested":{"ok":true,"none":null}}"#).unwrap()
}

fn room_stream() -> StreamId {
    StreamId::Room(room())
}

fn positions() -> Vec<Position> {
    [(room_stream(), 17), (StreamId::User(user("anna")), SEQ_MAX), (StreamId::System, 0)]
        .into_iter()
        .map(|(stream, seq)| Position { stream, epoch: epoch(), seq })
        .collect()
}

fn info() -> RoomInfo {
    RoomInfo {
        room: room(),
        kind: RoomKind::Channel,
        visibility: Visibility::Public,
        history: History::All,
        name: Some("Der Garten 🌿".to_owned()),
        archived: false,
        created_at_ms: AT_MS,
    }
}

fn direct_info() -> RoomInfo {
    RoomInfo {
        room: "dm:0123456789abcdef".parse().unwrap(),
        kind: RoomKind::Direct,
        visibility: Visibility::Private,
        history: History::SinceJoin,
        name: None,
        archived: true,
        created_at_ms: 0,
    }
}

fn my_room() -> MyRoom {
    MyRoom {
        info: info(),
        role: Role::Owner,
        joined_seq: 2,
        visible_from_seq: 1,
        first_seq: 1,
        last_seq: 17,
        unread: 3,
        read_seq: 12,
    }
}

fn message() -> Message {
    Message {
        id: message_id(),
        seq: 3,
        ordinal: 1,
        sender: user("anna"),
        at_ms: AT_MS,
        text: "Grüß dich,\n\"Ben\" \\o/ 👋".to_owned(),
        reply_to: Some(other_id()),
        mentions: vec![user("ben"), user("team:blue")],
        meta: Some(meta()),
        version: 2,
        edited_at_ms: Some(AT_MS + 1),
        deleted: false,
        reactions: vec![Reaction { emoji: "👍🏽".to_owned(), users: vec![user("ben"), user("anna")] }],
    }
}

fn bare_message() -> Message {
    Message {
        text: String::new(),
        reply_to: None,
        mentions: Vec::new(),
        meta: None,
        version: 1,
        edited_at_ms: None,
        deleted: true,
        reactions: Vec::new(),
        ..message()
    }
}

fn committed() -> Committed {
    Committed {
        stream: room_stream(),
        epoch: epoch(),
        seq: 3,
        at_ms: AT_MS,
        id: Some(message_id().into()),
        repeated: false,
    }
}

/// Every reply.
pub(crate) fn replies() -> Vec<(&'static str, Reply)> {
    let mut all = vec![
        (
            "full",
            Reply::Hello(welcome(vec![my_room(), MyRoom { info: direct_info(), role: Role::Guest, ..my_room() }])),
        ),
        ("bare", Reply::Hello(welcome(Vec::new()))),
        ("", Reply::Sync(SyncStarted { epoch: epoch() })),
        ("", Reply::Ping(Pong { at_ms: AT_MS })),
        ("", Reply::AuthRefresh(Refreshed { token_expires_at_ms: AT_MS + 3_600_000 })),
        ("full", Reply::RoomList(Rooms { rooms: vec![info(), direct_info()], next: Some("0172616d".to_owned()) })),
        ("bare", Reply::RoomList(Rooms { rooms: Vec::new(), next: None })),
        (
            "full",
            Reply::RoomMembers(Members {
                members: vec![Member { user: user("anna"), role: Role::Admin, joined_seq: 2 }],
                next: Some("016d616e6e61".to_owned()),
            }),
        ),
        ("bare", Reply::RoomMembers(Members { members: Vec::new(), next: None })),
        (
            "full",
            Reply::MessageHistory(HistoryPage {
                messages: vec![message(), bare_message()],
                older: Some("016f0000000000000003".to_owned()),
                newer: Some("016e0000000000000003".to_owned()),
            }),
        ),
        ("bare", Reply::MessageHistory(HistoryPage { messages: Vec::new(), older: None, newer: None })),
        ("", Reply::ReadMark(Marked { read_seq: 3, unread: 0 })),
        ("", Reply::Typing(Done {})),
        ("", Reply::Signal(Done {})),
    ];
    let no_message = Committed { id: None, repeated: true, ..committed() };
    all.extend([
        ("", Reply::RoomCreate(no_message.clone())),
        ("", Reply::RoomUpdate(no_message.clone())),
        ("", Reply::RoomArchive(no_message.clone())),
        ("", Reply::RoomJoin(no_message.clone())),
        ("", Reply::RoomLeave(no_message.clone())),
        ("", Reply::RoomInvite(no_message.clone())),
        ("", Reply::RoomRemove(no_message.clone())),
        ("", Reply::DirectOpen(no_message)),
        ("", Reply::MessageSend(committed())),
        ("", Reply::MessageEdit(committed())),
        ("", Reply::MessageDelete(committed())),
        ("", Reply::MessageReact(committed())),
    ]);
    all.extend(people::replies());
    all.extend(tasks::replies());
    all.extend(notifications::replies());
    all.extend(actions::replies());
    all
}

fn welcome(rooms: Vec<MyRoom>) -> Welcome {
    Welcome {
        session: "s-7f3a".to_owned(),
        user: user("anna"),
        epoch: epoch(),
        protocol_minor: 0,
        server_version: "0.1.0".to_owned(),
        heartbeat_interval_ms: 25_000,
        token_expires_at_ms: AT_MS + 3_600_000,
        rooms,
    }
}

/// Every kind of event.
pub(crate) fn events() -> Vec<(&'static str, EventBody)> {
    let by = || user("anna");
    let id = message_id();
    let mut all = vec![
        ("", EventBody::RoomCreated(RoomCreated { info: info(), by: by() })),
        ("", EventBody::RoomUpdated(RoomUpdated { info: direct_info(), by: by() })),
        ("", EventBody::RoomArchived(RoomArchived { by: by() })),
        ("", EventBody::MemberJoined(MemberJoined { user: user("ben"), role: Role::Member, by: by() })),
        ("", EventBody::MemberUpdated(MemberUpdated { user: user("ben"), role: Role::Admin, by: by() })),
        ("", EventBody::MemberRemoved(MemberRemoved { user: user("ben"), by: by() })),
        ("full", EventBody::MessageCreated(MessageCreated { message: message() })),
        ("bare", EventBody::MessageCreated(MessageCreated { message: bare_message() })),
        ("", EventBody::MessageEdited(MessageEdited { message: message() })),
        ("", EventBody::MessageDeleted(MessageDeleted { id, version: 3, by: by() })),
        ("put", EventBody::MessageReacted(MessageReacted { id, user: by(), emoji: "👍🏽".to_owned(), removed: false })),
        ("take", EventBody::MessageReacted(MessageReacted { id, user: by(), emoji: "x".to_owned(), removed: true })),
        (
            "began",
            EventBody::MembershipChanged(MembershipChanged {
                room: room(),
                role: Some(Role::Member),
                room_seq: 9,
                joined_seq: 9,
                visible_from_seq: 1,
            }),
        ),
        (
            "ended",
            EventBody::MembershipChanged(MembershipChanged {
                room: room(),
                role: None,
                room_seq: 12,
                joined_seq: 0,
                visible_from_seq: 0,
            }),
        ),
        ("", EventBody::ReadMarked(ReadMarked { room: room(), read_seq: 3, unread: 4 })),
    ];
    all.extend(people::events());
    all.extend(tasks::events());
    all.extend(notifications::events());
    all
}

/// Every reason of a reset, in the order of its number in postcard.
pub(crate) const RESET_REASONS: [ResetReason; 6] = [
    ResetReason::New,
    ResetReason::Limit,
    ResetReason::Epoch,
    ResetReason::Trimmed,
    ResetReason::Joined,
    ResetReason::Ahead,
];

/// The stream that an event of this kind belongs to.
fn stream_of(body: &EventBody) -> StreamId {
    match body {
        EventBody::MembershipChanged(_)
        | EventBody::ReadMarked(_)
        | EventBody::SessionRevoked(_)
        | EventBody::UserRevoked(_)
        | EventBody::MuteChanged(_)
        | EventBody::NotificationCreated(_)
        | EventBody::NotificationsRead(_)
        | EventBody::NotificationAcknowledged(_)
        | EventBody::PreferenceChanged(_)
        | EventBody::QuietChanged(_)
        | EventBody::ProfileChanged(_) => StreamId::User(user("ben")),
        _ => room_stream(),
    }
}

/// Frames that are neither replies nor events.
pub(crate) fn other_frames() -> Vec<(String, ServerFrame)> {
    let mut all = vec![
        ("sync_begin".to_owned(), ServerFrame::SyncBegin(SyncBegin { epoch: epoch() })),
        ("sync_end".to_owned(), ServerFrame::SyncEnd(SyncEnd { positions: positions() })),
        ("typing".to_owned(), ServerFrame::Typing(TypingFrame { room: room(), user: user("anna"), active: true })),
        (
            "signal full".to_owned(),
            ServerFrame::Signal(SignalFrame {
                room: room(),
                user: user("anna"),
                name: "cursor.moved".to_owned(),
                data: Some(meta()),
            }),
        ),
        (
            "signal bare".to_owned(),
            ServerFrame::Signal(SignalFrame { room: room(), user: user("anna"), name: "knock".to_owned(), data: None }),
        ),
        ("closing back".to_owned(), closing(CloseCode::Draining, Some(1_500))),
        ("closing for ever".to_owned(), closing(CloseCode::Unauthenticated, None)),
        ("presence".to_owned(), ServerFrame::Presence(people::present(PresenceState::Away, 2))),
        (
            "error without id".to_owned(),
            ServerFrame::Error(ErrorFrame { id: None, error: ErrorBody::new(ErrorCode::BadFrame, "not JSON") }),
        ),
        (
            "error with a time".to_owned(),
            ServerFrame::Error(ErrorFrame {
                id: Some(1),
                error: ErrorBody::new(ErrorCode::RateLimited, "too fast").retry_after(250),
            }),
        ),
    ];
    all.extend(RESET_REASONS.into_iter().map(|reason| {
        let reset = Reset { stream: room_stream(), epoch: epoch(), seq: 16, reason };
        (format!("reset {reason:?}").to_lowercase(), ServerFrame::Reset(reset))
    }));
    all.extend(ErrorCode::ALL.iter().map(|code| {
        let error = ErrorBody::new(*code, "what was wrong and what to do");
        (format!("error {}", code.as_str()), ServerFrame::Error(ErrorFrame { id: Some(u64::MAX), error }))
    }));
    all
}

fn closing(code: CloseCode, reconnect_after_ms: Option<u64>) -> ServerFrame {
    ServerFrame::Closing(Closing { code: code.code(), reason: code.reason().to_owned(), reconnect_after_ms })
}

/// A name with what sets it apart from others of its kind.
fn label(name: &str, variant: &str) -> String {
    format!("{name} {variant}").trim_end().to_owned()
}

/// All requests, by fixture name.
pub(crate) fn requests() -> Vec<(String, Request)> {
    commands()
        .into_iter()
        .map(|(variant, command)| (label(command.name(), variant), Request { id: REQUEST_ID, command }))
        .collect()
}

/// All replies as frames, by fixture name.
pub(crate) fn reply_frames() -> Vec<(String, ServerFrame)> {
    let name_of = |kind: u16| Command::KINDS.iter().find(|(known, _)| *known == kind).unwrap().1;
    replies()
        .into_iter()
        .map(|(variant, reply)| {
            (label(name_of(reply.kind()), variant), ServerFrame::Ok(OkFrame { id: REQUEST_ID, reply }))
        })
        .collect()
}

/// All events as frames, by fixture name.
pub(crate) fn event_frames() -> Vec<(String, ServerFrame)> {
    events()
        .into_iter()
        .map(|(variant, body)| {
            let event = Event { stream: stream_of(&body), seq: EVENT_SEQ, at_ms: AT_MS, body };
            (label(event.body.name(), variant), ServerFrame::Event(event))
        })
        .collect()
}

/// All frames that a node sends.
pub(crate) fn frames() -> Vec<ServerFrame> {
    let named = [reply_frames(), event_frames(), other_frames()];
    named.into_iter().flatten().map(|(_, frame)| frame).collect()
}
