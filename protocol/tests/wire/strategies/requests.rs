//! Arbitrary requests.

use hallway_protocol::command::{
    AuthRefresh, Command, DirectOpen, Direction, Hello, MessageDelete, MessageEdit, MessageHistory, MessageReact,
    MessageSend, Ping, ReadMark, Request, RoomArchive, RoomCreate, RoomInvite, RoomJoin, RoomLeave, RoomList,
    RoomMembers, RoomRemove, RoomScope, RoomUpdate, Signal, Sync, Typing,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{history, message_id, meta, nonce, position, role, room, text, user, visibility};

fn hello() -> impl Strategy<Value = Hello> {
    let client = (option::of(text()), option::of(text()), option::of(text()));
    (client, any::<u16>(), vec(position(), 0..4), option::of(any::<u32>())).prop_map(
        |((token, client_name, client_version), protocol_minor, positions, limit)| Hello {
            token,
            client_name,
            client_version,
            protocol_minor,
            positions,
            limit,
        },
    )
}

fn connection_command() -> BoxedStrategy<Command> {
    prop_oneof![
        hello().prop_map(Command::Hello),
        (vec(position(), 0..4), option::of(any::<u32>()))
            .prop_map(|(positions, limit)| Command::Sync(Sync { positions, limit })),
        Just(Command::Ping(Ping {})),
        text().prop_map(|token| Command::AuthRefresh(AuthRefresh { token })),
        (room(), any::<u64>()).prop_map(|(room, seq)| Command::ReadMark(ReadMark { room, seq })),
        (room(), any::<bool>()).prop_map(|(room, active)| Command::Typing(Typing { room, active })),
        (room(), text(), option::of(meta())).prop_map(|(room, name, data)| Command::Signal(Signal {
            room,
            name,
            data
        })),
    ]
    .boxed()
}

pub(super) fn room_command() -> BoxedStrategy<Command> {
    let page = || (option::of(text()), option::of(any::<u32>()));
    let scope = select(vec![RoomScope::Mine, RoomScope::Public]);
    prop_oneof![
        (nonce(), room(), visibility(), option::of(history()), option::of(text())).prop_map(
            |(nonce, room, visibility, history, name)| Command::RoomCreate(RoomCreate {
                nonce,
                room,
                visibility,
                history,
                name
            })
        ),
        (nonce(), room(), option::of(text()), option::of(visibility())).prop_map(|(nonce, room, name, visibility)| {
            Command::RoomUpdate(RoomUpdate { nonce, room, name, visibility })
        }),
        (nonce(), room()).prop_map(|(nonce, room)| Command::RoomArchive(RoomArchive { nonce, room })),
        (nonce(), room()).prop_map(|(nonce, room)| Command::RoomJoin(RoomJoin { nonce, room })),
        (nonce(), room()).prop_map(|(nonce, room)| Command::RoomLeave(RoomLeave { nonce, room })),
        (nonce(), room(), user(), role()).prop_map(|(nonce, room, user, role)| Command::RoomInvite(RoomInvite {
            nonce,
            room,
            user,
            role
        })),
        (nonce(), room(), user()).prop_map(|(nonce, room, user)| Command::RoomRemove(RoomRemove { nonce, room, user })),
        (scope, page()).prop_map(|(scope, (cursor, limit))| Command::RoomList(RoomList { scope, cursor, limit })),
        (room(), page()).prop_map(|(room, (cursor, limit))| Command::RoomMembers(RoomMembers { room, cursor, limit })),
        (nonce(), user()).prop_map(|(nonce, user)| Command::DirectOpen(DirectOpen { nonce, user })),
    ]
    .boxed()
}

pub(super) fn message_command() -> BoxedStrategy<Command> {
    let target = || (nonce(), room(), message_id());
    let content = || (text(), vec(user(), 0..4), option::of(meta()));
    let direction = select(vec![Direction::Older, Direction::Newer]);
    prop_oneof![
        (nonce(), room(), option::of(message_id()), option::of(message_id()), content()).prop_map(
            |(nonce, room, id, reply_to, (text, mentions, meta))| Command::MessageSend(MessageSend {
                nonce,
                room,
                id,
                text,
                reply_to,
                mentions,
                meta
            })
        ),
        (target(), content(), option::of(any::<u32>())).prop_map(
            |((nonce, room, id), (text, mentions, meta), version)| Command::MessageEdit(MessageEdit {
                nonce,
                room,
                id,
                text,
                mentions,
                meta,
                version
            })
        ),
        target().prop_map(|(nonce, room, id)| Command::MessageDelete(MessageDelete { nonce, room, id })),
        (target(), text(), any::<bool>()).prop_map(|((nonce, room, id), emoji, remove)| {
            Command::MessageReact(MessageReact { nonce, room, id, emoji, remove })
        }),
        (room(), direction, option::of(text()), option::of(any::<u32>())).prop_map(
            |(room, direction, cursor, limit)| Command::MessageHistory(MessageHistory {
                room,
                direction,
                cursor,
                limit
            })
        ),
    ]
    .boxed()
}

/// Any request.
pub(crate) fn request() -> impl Strategy<Value = Request> {
    let command = prop_oneof![
        connection_command(),
        room_command(),
        message_command(),
        super::people::command(),
        super::tasks::command(),
        super::notifications::command(),
        super::actions::command(),
    ];
    (any::<u64>(), command).prop_map(|(id, command)| Request { id, command })
}
