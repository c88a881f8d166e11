//! Every command, full and bare.

use hallway_protocol::command::{
    AuthRefresh, Command, DirectOpen, Direction, Hello, MessageDelete, MessageEdit, MessageHistory, MessageReact,
    MessageSend, Ping, ReadMark, RoomArchive, RoomCreate, RoomInvite, RoomJoin, RoomLeave, RoomList, RoomMembers,
    RoomRemove, RoomScope, RoomUpdate, Signal, Sync, Typing,
};
use hallway_protocol::{History, Role, Visibility};

use super::{message_id, meta, nonce, other_id, positions, room, user};

/// `(what it is beside its command's name, the command)`.
pub(crate) fn commands() -> Vec<(&'static str, Command)> {
    let mut all = connection_commands();
    all.extend(room_commands());
    all.extend(message_commands());
    all.extend(super::people::commands());
    all.extend(super::tasks::commands());
    all.extend(super::notifications::commands());
    all.extend(super::actions::commands());
    all
}

fn connection_commands() -> Vec<(&'static str, Command)> {
    vec![
        (
            "full",
            Command::Hello(Hello {
                token: Some("eyJ.example.token".to_owned()),
                client_name: Some("stock".to_owned()),
                client_version: Some("1.2".to_owned()),
                protocol_minor: 0,
                positions: positions(),
                limit: Some(500),
            }),
        ),
        (
            "bare",
            Command::Hello(Hello {
                token: None,
                client_name: None,
                client_version: None,
                protocol_minor: 0,
                positions: Vec::new(),
                limit: None,
            }),
        ),
        ("full", Command::Sync(Sync { positions: positions(), limit: Some(10_000) })),
        ("bare", Command::Sync(Sync { positions: Vec::new(), limit: None })),
        ("", Command::Ping(Ping {})),
        ("", Command::AuthRefresh(AuthRefresh { token: "eyJ.fresh.token".to_owned() })),
    ]
}

fn room_commands() -> Vec<(&'static str, Command)> {
    let invite = |role| Command::RoomInvite(RoomInvite { nonce: nonce(6), room: room(), user: user("ben"), role });
    vec![
        (
            "full",
            Command::RoomCreate(RoomCreate {
                nonce: nonce(1),
                room: room(),
                visibility: Visibility::Public,
                history: Some(History::All),
                name: Some("Der Garten".to_owned()),
            }),
        ),
        (
            "bare",
            Command::RoomCreate(RoomCreate {
                nonce: nonce(1),
                room: room(),
                visibility: Visibility::Private,
                history: None,
                name: None,
            }),
        ),
        (
            "full",
            Command::RoomUpdate(RoomUpdate {
                nonce: nonce(2),
                room: room(),
                name: Some("Hof".to_owned()),
                visibility: Some(Visibility::Private),
            }),
        ),
        ("bare", Command::RoomUpdate(RoomUpdate { nonce: nonce(2), room: room(), name: None, visibility: None })),
        ("", Command::RoomArchive(RoomArchive { nonce: nonce(3), room: room() })),
        ("", Command::RoomJoin(RoomJoin { nonce: nonce(4), room: room() })),
        ("", Command::RoomLeave(RoomLeave { nonce: nonce(5), room: room() })),
        ("guest", invite(Role::Guest)),
        ("member", invite(Role::Member)),
        ("admin", invite(Role::Admin)),
        ("owner", invite(Role::Owner)),
        ("", Command::RoomRemove(RoomRemove { nonce: nonce(7), room: room(), user: user("ben") })),
        (
            "mine",
            Command::RoomList(RoomList {
                scope: RoomScope::Mine,
                cursor: Some("0172616d".to_owned()),
                limit: Some(10),
            }),
        ),
        ("public", Command::RoomList(RoomList { scope: RoomScope::Public, cursor: None, limit: None })),
        (
            "full",
            Command::RoomMembers(RoomMembers {
                room: room(),
                cursor: Some("016d616e6e61".to_owned()),
                limit: Some(100),
            }),
        ),
        ("bare", Command::RoomMembers(RoomMembers { room: room(), cursor: None, limit: None })),
        ("", Command::DirectOpen(DirectOpen { nonce: nonce(8), user: user("ben") })),
    ]
}

fn message_commands() -> Vec<(&'static str, Command)> {
    let history = |direction, cursor: Option<&str>, limit| {
        Command::MessageHistory(MessageHistory { room: room(), direction, cursor: cursor.map(str::to_owned), limit })
    };
    vec![
        (
            "full",
            Command::MessageSend(MessageSend {
                nonce: nonce(9),
                room: room(),
                id: Some(message_id()),
                text: "Grüß dich,\n\"Ben\" \\o/ 👋".to_owned(),
                reply_to: Some(other_id()),
                mentions: vec![user("ben")],
                meta: Some(meta()),
            }),
        ),
        (
            "bare",
            Command::MessageSend(MessageSend {
                nonce: nonce(9),
                room: room(),
                id: None,
                text: "hello".to_owned(),
                reply_to: None,
                mentions: Vec::new(),
                meta: None,
            }),
        ),
        (
            "full",
            Command::MessageEdit(MessageEdit {
                nonce: nonce(10),
                room: room(),
                id: message_id(),
                text: "hello again".to_owned(),
                mentions: vec![user("ben")],
                meta: Some(meta()),
                version: Some(1),
            }),
        ),
        (
            "bare",
            Command::MessageEdit(MessageEdit {
                nonce: nonce(10),
                room: room(),
                id: message_id(),
                text: "hello again".to_owned(),
                mentions: Vec::new(),
                meta: None,
                version: None,
            }),
        ),
        ("", Command::MessageDelete(MessageDelete { nonce: nonce(11), room: room(), id: message_id() })),
        ("put", react(false)),
        ("take", react(true)),
        ("older", history(Direction::Older, None, None)),
        ("newer", history(Direction::Newer, Some("016e0000000000000003"), Some(100))),
        ("", Command::ReadMark(ReadMark { room: room(), seq: 3 })),
        ("", Command::Typing(Typing { room: room(), active: true })),
        ("full", Command::Signal(Signal { room: room(), name: "cursor.moved".to_owned(), data: Some(meta()) })),
        ("bare", Command::Signal(Signal { room: room(), name: "knock".to_owned(), data: None })),
    ]
}

fn react(remove: bool) -> Command {
    Command::MessageReact(MessageReact {
        nonce: nonce(12),
        room: room(),
        id: message_id(),
        emoji: "👍🏽".to_owned(),
        remove,
    })
}
