//! Arbitrary values of what acts on people and tells who is there.

use hallway_protocol::SessionId;
use hallway_protocol::command::{
    AuditEntries, AuditList, Bans, Command, Done, PresenceGet, PresenceSet, PresenceWatch, Reply, RoomBan, RoomBans,
    RoomKick, RoomMute, RoomPresence, RoomUnban, RoomUnmute, SessionList, SessionRevoke, Sessions, UserRevoke, Watched,
};
use hallway_protocol::event::{
    EventBody, MemberBanned, MemberMuted, MemberUnbanned, MemberUnmuted, MuteChanged, SessionRevoked, UserRevoked,
};
use hallway_protocol::model::{AuditEntry, Ban, Presence, PresenceState, Session};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::{nonce, room, text, user, visible};

pub(super) fn session_id() -> impl Strategy<Value = SessionId> {
    visible().prop_map(|id| id.parse().unwrap())
}

fn time() -> impl Strategy<Value = Option<u64>> {
    option::of(any::<u64>())
}

pub(super) fn presence() -> impl Strategy<Value = Presence> {
    let state = select(vec![PresenceState::Online, PresenceState::Away, PresenceState::Offline]);
    (user(), state, any::<u32>()).prop_map(|(user, state, devices)| Presence { user, state, devices })
}

fn session() -> impl Strategy<Value = Session> {
    let client = (option::of(text()), option::of(text()));
    (session_id(), user(), text(), any::<u64>(), client, any::<[bool; 2]>()).prop_map(
        |(session, user, node, connected_at_ms, (client_name, client_version), [away, current])| Session {
            session,
            user,
            node,
            connected_at_ms,
            client_name,
            client_version,
            away,
            current,
        },
    )
}

fn ban() -> impl Strategy<Value = Ban> {
    (user(), user(), any::<u64>(), time(), option::of(text())).prop_map(|(user, by, at_ms, until_ms, reason)| Ban {
        user,
        by,
        at_ms,
        until_ms,
        reason,
    })
}

fn entry() -> impl Strategy<Value = AuditEntry> {
    let to = (option::of(room()), option::of(user()), option::of(session_id()));
    (any::<u64>(), user(), text(), to, time(), option::of(text())).prop_map(
        |(at_ms, actor, action, (room, target, session), until_ms, reason)| AuditEntry {
            at_ms,
            actor,
            action,
            room,
            target,
            session,
            until_ms,
            reason,
        },
    )
}

pub(super) fn command() -> BoxedStrategy<Command> {
    let page = || (option::of(text()), option::of(any::<u32>()));
    let target = || (nonce(), room(), user());
    prop_oneof![
        option::of(user()).prop_map(|user| Command::SessionList(SessionList { user })),
        (nonce(), session_id(), option::of(user()))
            .prop_map(|(nonce, session, user)| Command::SessionRevoke(SessionRevoke { nonce, session, user })),
        (nonce(), user(), option::of(text())).prop_map(|(nonce, user, reason)| Command::UserRevoke(UserRevoke {
            nonce,
            user,
            reason
        })),
        (target(), option::of(text()))
            .prop_map(|((nonce, room, user), reason)| { Command::RoomKick(RoomKick { nonce, room, user, reason }) }),
        (target(), time(), option::of(text())).prop_map(|((nonce, room, user), until_ms, reason)| {
            Command::RoomBan(RoomBan { nonce, room, user, until_ms, reason })
        }),
        target().prop_map(|(nonce, room, user)| Command::RoomUnban(RoomUnban { nonce, room, user })),
        (target(), time(), option::of(text())).prop_map(|((nonce, room, user), until_ms, reason)| {
            Command::RoomMute(RoomMute { nonce, room, user, until_ms, reason })
        }),
        target().prop_map(|(nonce, room, user)| Command::RoomUnmute(RoomUnmute { nonce, room, user })),
        (room(), page()).prop_map(|(room, (cursor, limit))| Command::RoomBans(RoomBans { room, cursor, limit })),
        any::<bool>().prop_map(|away| Command::PresenceSet(PresenceSet { away })),
        (room(), page()).prop_map(|(room, (cursor, limit))| Command::PresenceGet(PresenceGet { room, cursor, limit })),
        vec(user(), 0..4).prop_map(|users| Command::PresenceWatch(PresenceWatch { users })),
        (option::of(room()), option::of(user()), page())
            .prop_map(|(room, user, (cursor, limit))| { Command::AuditList(AuditList { room, user, cursor, limit }) }),
    ]
    .boxed()
}

pub(super) fn reply() -> BoxedStrategy<Reply> {
    let next = || option::of(text());
    prop_oneof![
        (vec(session(), 0..3), any::<bool>())
            .prop_map(|(sessions, complete)| Reply::SessionList(Sessions { sessions, complete })),
        (vec(ban(), 0..3), next()).prop_map(|(bans, next)| Reply::RoomBans(Bans { bans, next })),
        (vec(entry(), 0..3), next()).prop_map(|(entries, next)| Reply::AuditList(AuditEntries { entries, next })),
        Just(Reply::PresenceSet(Done {})),
        (any::<[u64; 2]>(), any::<bool>(), vec(presence(), 0..3), next()).prop_map(
            |([online, away], counts_complete, members, next)| Reply::PresenceGet(RoomPresence {
                online,
                away,
                counts_complete,
                members,
                next
            })
        ),
        vec(presence(), 0..3).prop_map(|people| Reply::PresenceWatch(Watched { people })),
    ]
    .boxed()
}

pub(super) fn event_body() -> BoxedStrategy<EventBody> {
    prop_oneof![
        (user(), time(), user()).prop_map(|(user, until_ms, by)| EventBody::MemberBanned(MemberBanned {
            user,
            until_ms,
            by
        })),
        (user(), user()).prop_map(|(user, by)| EventBody::MemberUnbanned(MemberUnbanned { user, by })),
        (user(), time(), user()).prop_map(|(user, until_ms, by)| EventBody::MemberMuted(MemberMuted {
            user,
            until_ms,
            by
        })),
        (user(), user()).prop_map(|(user, by)| EventBody::MemberUnmuted(MemberUnmuted { user, by })),
        (session_id(), user()).prop_map(|(session, by)| EventBody::SessionRevoked(SessionRevoked { session, by })),
        (user(), any::<u64>()).prop_map(|(by, before_ms)| EventBody::UserRevoked(UserRevoked { by, before_ms })),
        (room(), any::<bool>(), time(), any::<u64>()).prop_map(|(room, muted, until_ms, room_seq)| {
            EventBody::MuteChanged(MuteChanged { room, muted, until_ms, room_seq })
        }),
    ]
    .boxed()
}
