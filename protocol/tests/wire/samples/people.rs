//! What acts on people and tells who is there, full and bare.

use hallway_protocol::command::{
    AuditEntries, AuditList, Bans, Command, Committed, Done, PresenceGet, PresenceSet, PresenceWatch, Reply, RoomBan,
    RoomBans, RoomKick, RoomMute, RoomPresence, RoomUnban, RoomUnmute, SessionList, SessionRevoke, Sessions,
    UserRevoke, Watched,
};
use hallway_protocol::event::{
    EventBody, MemberBanned, MemberMuted, MemberUnbanned, MemberUnmuted, MuteChanged, SessionRevoked, UserRevoked,
};
use hallway_protocol::model::{AuditEntry, Ban, Presence, PresenceState, Session};
use hallway_protocol::{SessionId, StreamId};

use super::{AT_MS, committed, epoch, nonce, room, user};

const UNTIL_MS: Option<u64> = Some(AT_MS + 60_000);

fn session() -> SessionId {
    "00c0ffee00c0ffee-1f".parse().unwrap()
}

fn reason() -> Option<String> {
    Some("Schluss für heute".to_owned())
}

pub(super) fn present(state: PresenceState, devices: u32) -> Presence {
    Presence { user: user("ben"), state, devices }
}

pub(super) fn commands() -> Vec<(&'static str, Command)> {
    let (room, ben) = (room(), user("ben"));
    let audit = |room, user, cursor: Option<&str>, limit| {
        Command::AuditList(AuditList { room, user, cursor: cursor.map(str::to_owned), limit })
    };
    let revoke_session = |user| Command::SessionRevoke(SessionRevoke { nonce: nonce(13), session: session(), user });
    let revoke_user = |reason| Command::UserRevoke(UserRevoke { nonce: nonce(14), user: user("ben"), reason });
    let kick =
        |reason| Command::RoomKick(RoomKick { nonce: nonce(15), room: super::room(), user: user("ben"), reason });
    let ban = |until_ms, reason| {
        Command::RoomBan(RoomBan { nonce: nonce(16), room: super::room(), user: user("ben"), until_ms, reason })
    };
    let mute = |until_ms, reason| {
        Command::RoomMute(RoomMute { nonce: nonce(18), room: super::room(), user: user("ben"), until_ms, reason })
    };
    let bans = |cursor: Option<&str>, limit| {
        Command::RoomBans(RoomBans { room: super::room(), cursor: cursor.map(str::to_owned), limit })
    };
    let presence = |cursor: Option<&str>, limit| {
        Command::PresenceGet(PresenceGet { room: super::room(), cursor: cursor.map(str::to_owned), limit })
    };
    vec![
        ("full", Command::SessionList(SessionList { user: Some(ben.clone()) })),
        ("bare", Command::SessionList(SessionList { user: None })),
        ("full", revoke_session(Some(ben.clone()))),
        ("bare", revoke_session(None)),
        ("full", revoke_user(reason())),
        ("bare", revoke_user(None)),
        ("full", kick(reason())),
        ("bare", kick(None)),
        ("full", ban(UNTIL_MS, reason())),
        ("bare", ban(None, None)),
        ("", Command::RoomUnban(RoomUnban { nonce: nonce(17), room: room.clone(), user: ben.clone() })),
        ("full", mute(UNTIL_MS, reason())),
        ("bare", mute(None, None)),
        ("", Command::RoomUnmute(RoomUnmute { nonce: nonce(19), room: room.clone(), user: ben.clone() })),
        ("full", bans(Some("016262656e"), Some(100))),
        ("bare", bans(None, None)),
        ("", Command::PresenceSet(PresenceSet { away: true })),
        ("full", presence(Some("017762656e"), Some(100))),
        ("bare", presence(None, None)),
        ("full", Command::PresenceWatch(PresenceWatch { users: vec![ben.clone(), user("anna")] })),
        ("bare", Command::PresenceWatch(PresenceWatch { users: Vec::new() })),
        ("full", audit(Some(room), Some(ben), Some("01610000000000000007"), Some(100))),
        ("bare", audit(None, None, None, None)),
    ]
}

pub(super) fn replies() -> Vec<(&'static str, Reply)> {
    let done = Committed { id: None, ..committed() };
    let of_user = Committed { stream: StreamId::User(user("ben")), epoch: epoch(), ..done.clone() };
    let ban = Ban { user: user("ben"), by: user("anna"), at_ms: AT_MS, until_ms: UNTIL_MS, reason: reason() };
    vec![
        ("full", Reply::SessionList(Sessions { sessions: vec![connection(), bare_connection()], complete: false })),
        ("bare", Reply::SessionList(Sessions { sessions: Vec::new(), complete: true })),
        ("", Reply::SessionRevoke(of_user.clone())),
        ("", Reply::UserRevoke(of_user)),
        ("", Reply::RoomKick(done.clone())),
        ("", Reply::RoomBan(done.clone())),
        ("", Reply::RoomUnban(done.clone())),
        ("", Reply::RoomMute(done.clone())),
        ("", Reply::RoomUnmute(done)),
        (
            "full",
            Reply::RoomBans(Bans {
                bans: vec![ban.clone(), Ban { until_ms: None, reason: None, ..ban }],
                next: Some("016262656e".to_owned()),
            }),
        ),
        ("bare", Reply::RoomBans(Bans { bans: Vec::new(), next: None })),
        ("", Reply::PresenceSet(Done {})),
        (
            "full",
            Reply::PresenceGet(RoomPresence {
                online: 1,
                away: 300,
                counts_complete: true,
                members: vec![
                    present(PresenceState::Online, 1),
                    present(PresenceState::Away, 2),
                    present(PresenceState::Offline, 0),
                ],
                next: Some("017762656e".to_owned()),
            }),
        ),
        (
            "bare",
            Reply::PresenceGet(RoomPresence {
                online: 0,
                away: 0,
                counts_complete: false,
                members: Vec::new(),
                next: None,
            }),
        ),
        ("full", Reply::PresenceWatch(Watched { people: vec![present(PresenceState::Online, 1)] })),
        ("bare", Reply::PresenceWatch(Watched { people: Vec::new() })),
        (
            "full",
            Reply::AuditList(AuditEntries {
                entries: vec![entry(), bare_entry()],
                next: Some("01610000000000000007".to_owned()),
            }),
        ),
        ("bare", Reply::AuditList(AuditEntries { entries: Vec::new(), next: None })),
    ]
}

fn connection() -> Session {
    Session {
        session: session(),
        user: user("ben"),
        node: "00c0ffee00c0ffee".to_owned(),
        connected_at_ms: AT_MS,
        client_name: Some("stock".to_owned()),
        client_version: Some("1.2".to_owned()),
        away: true,
        current: false,
    }
}

fn bare_connection() -> Session {
    Session { client_name: None, client_version: None, away: false, current: true, ..connection() }
}

fn entry() -> AuditEntry {
    AuditEntry {
        at_ms: AT_MS,
        actor: user("anna"),
        action: "room.ban".to_owned(),
        room: Some(room()),
        target: Some(user("ben")),
        session: Some(session()),
        until_ms: UNTIL_MS,
        reason: reason(),
    }
}

fn bare_entry() -> AuditEntry {
    AuditEntry { room: None, target: None, session: None, until_ms: None, reason: None, ..entry() }
}

pub(super) fn events() -> Vec<(&'static str, EventBody)> {
    let (ben, by, until_ms) = (|| user("ben"), || user("anna"), UNTIL_MS);
    let mute = |muted, until_ms| EventBody::MuteChanged(MuteChanged { room: room(), muted, until_ms, room_seq: 9 });
    vec![
        ("for a time", EventBody::MemberBanned(MemberBanned { user: ben(), until_ms, by: by() })),
        ("for ever", EventBody::MemberBanned(MemberBanned { user: ben(), until_ms: None, by: by() })),
        ("", EventBody::MemberUnbanned(MemberUnbanned { user: ben(), by: by() })),
        ("for a time", EventBody::MemberMuted(MemberMuted { user: ben(), until_ms, by: by() })),
        ("for ever", EventBody::MemberMuted(MemberMuted { user: ben(), until_ms: None, by: by() })),
        ("", EventBody::MemberUnmuted(MemberUnmuted { user: ben(), by: by() })),
        ("", EventBody::SessionRevoked(SessionRevoked { session: session(), by: by() })),
        ("", EventBody::UserRevoked(UserRevoked { by: by(), before_ms: AT_MS })),
        ("began", mute(true, until_ms)),
        ("ended", mute(false, None)),
    ]
}
