//! Arbitrary values of every wire type, within the limits of the types.

use hallway_protocol::codes::{ErrorBody, ErrorCode, Outcome};
use hallway_protocol::command::{
    Committed, Done, HistoryPage, Marked, Members, Pong, Refreshed, Reply, Rooms, SyncStarted, Welcome,
};
use hallway_protocol::event::{
    Event, EventBody, MemberJoined, MemberRemoved, MemberUpdated, MembershipChanged, MessageCreated, MessageDeleted,
    MessageEdited, MessageReacted, ReadMarked, RoomArchived, RoomCreated, RoomUpdated,
};
use hallway_protocol::frame::{
    Closing, ErrorFrame, OkFrame, Reset, ServerFrame, SignalFrame, SyncBegin, SyncEnd, TypingFrame,
};
use hallway_protocol::model::{History, Member, Message, MyRoom, Reaction, Role, RoomInfo, RoomKind, Visibility};
use hallway_protocol::position::{Position, StreamId};
use hallway_protocol::{Epoch, MessageId, Meta, Nonce, ObjectId, RoomId, UserId};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::samples::RESET_REASONS;

mod actions;
mod notifications;
mod people;
mod requests;
mod tasks;

pub(crate) use requests::request;

/// Any text: the codecs carry it, whether or not a command may hold it.
fn text() -> impl Strategy<Value = String> + Clone {
    vec(any::<char>(), 0..40).prop_map(|characters| characters.into_iter().collect())
}

fn id_text() -> impl Strategy<Value = String> {
    let bytes: Vec<char> = ('a'..='z').chain('A'..='Z').chain('0'..='9').chain("_.:-".chars()).collect();
    vec(select(bytes), 1..=64).prop_map(|characters| characters.into_iter().collect())
}

fn visible() -> impl Strategy<Value = String> {
    vec(b'!'..=b'~', 1..=64).prop_map(|bytes| String::from_utf8(bytes).unwrap())
}

fn room() -> impl Strategy<Value = RoomId> {
    id_text().prop_map(|id| id.parse().unwrap())
}

fn user() -> impl Strategy<Value = UserId> {
    id_text().prop_map(|id| id.parse().unwrap())
}

fn nonce() -> impl Strategy<Value = Nonce> {
    visible().prop_map(|nonce| nonce.parse().unwrap())
}

fn epoch() -> impl Strategy<Value = Epoch> {
    visible().prop_map(|epoch| epoch.parse().unwrap())
}

fn message_id() -> impl Strategy<Value = MessageId> {
    any::<u128>().prop_map(|bits| {
        let bits = bits & !(0xf_u128 << 76) | 7_u128 << 76;
        let hex = format!("{bits:032x}");
        format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]).parse().unwrap()
    })
}

/// An id of whatever may be named so.
fn object<T: From<ObjectId> + std::fmt::Debug>() -> impl Strategy<Value = T> {
    message_id().prop_map(|id| ObjectId::from(id).into())
}

fn json_value() -> impl Strategy<Value = serde_json::Value> {
    let printable = text().prop_map(|text| text.replace('\0', ""));
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        printable.clone().prop_map(Into::into),
    ];
    leaf.prop_recursive(5, 20, 4, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Into::into),
            vec((printable.clone(), inner), 0..4)
                .prop_map(|fields| serde_json::Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn meta() -> impl Strategy<Value = Meta> {
    json_value().prop_filter_map("a value that fits", |value| Meta::from_value(&serde_json::json!({ "v": value })).ok())
}

fn stream() -> impl Strategy<Value = StreamId> {
    prop_oneof![room().prop_map(StreamId::Room), user().prop_map(StreamId::User), Just(StreamId::System)]
}

fn position() -> impl Strategy<Value = Position> {
    (stream(), epoch(), any::<u64>()).prop_map(|(stream, epoch, seq)| Position { stream, epoch, seq })
}

fn role() -> impl Strategy<Value = Role> {
    select(vec![Role::Guest, Role::Member, Role::Admin, Role::Owner])
}

fn visibility() -> impl Strategy<Value = Visibility> {
    select(vec![Visibility::Public, Visibility::Private])
}

fn history() -> impl Strategy<Value = History> {
    select(vec![History::All, History::SinceJoin])
}

fn info() -> impl Strategy<Value = RoomInfo> {
    let kind = select(vec![RoomKind::Channel, RoomKind::Direct]);
    (room(), kind, visibility(), history(), option::of(text()), any::<bool>(), any::<u64>()).prop_map(
        |(room, kind, visibility, history, name, archived, created_at_ms)| RoomInfo {
            room,
            kind,
            visibility,
            history,
            name,
            archived,
            created_at_ms,
        },
    )
}

fn my_room() -> impl Strategy<Value = MyRoom> {
    (info(), role(), any::<[u64; 6]>()).prop_map(
        |(info, role, [joined_seq, visible_from_seq, first_seq, last_seq, unread, read_seq])| MyRoom {
            info,
            role,
            joined_seq,
            visible_from_seq,
            first_seq,
            last_seq,
            unread,
            read_seq,
        },
    )
}

fn member() -> impl Strategy<Value = Member> {
    (user(), role(), any::<u64>()).prop_map(|(user, role, joined_seq)| Member { user, role, joined_seq })
}

fn message() -> impl Strategy<Value = Message> {
    let reaction = (text(), vec(user(), 0..3)).prop_map(|(emoji, users)| Reaction { emoji, users });
    let written = (text(), option::of(message_id()), vec(user(), 0..3), option::of(meta()));
    let counted = (any::<[u64; 3]>(), any::<u32>(), option::of(any::<u64>()), any::<bool>());
    (message_id(), user(), written, counted, vec(reaction, 0..3)).prop_map(
        |(id, sender, written, counted, reactions)| {
            let (text, reply_to, mentions, meta) = written;
            let ([seq, ordinal, at_ms], version, edited_at_ms, deleted) = counted;
            Message {
                id,
                seq,
                ordinal,
                sender,
                at_ms,
                text,
                reply_to,
                mentions,
                meta,
                version,
                edited_at_ms,
                deleted,
                reactions,
            }
        },
    )
}

fn committed() -> impl Strategy<Value = Committed> {
    (stream(), epoch(), any::<u64>(), any::<u64>(), option::of(message_id()), any::<bool>()).prop_map(
        |(stream, epoch, seq, at_ms, id, repeated)| Committed {
            stream,
            epoch,
            seq,
            at_ms,
            id: id.map(MessageId::into),
            repeated,
        },
    )
}

fn welcome() -> impl Strategy<Value = Welcome> {
    let server = (text(), epoch(), any::<u16>(), text());
    (server, user(), any::<[u64; 2]>(), vec(my_room(), 0..3)).prop_map(
        |((session, epoch, protocol_minor, server_version), user, [interval, expires], rooms)| Welcome {
            session,
            user,
            epoch,
            protocol_minor,
            server_version,
            heartbeat_interval_ms: interval,
            token_expires_at_ms: expires,
            rooms,
        },
    )
}

/// Commands that are answered with the commit of a change.
const COMMITTING: [fn(Committed) -> Reply; 28] = [
    Reply::RoomCreate,
    Reply::RoomUpdate,
    Reply::RoomArchive,
    Reply::RoomJoin,
    Reply::RoomLeave,
    Reply::RoomInvite,
    Reply::RoomRemove,
    Reply::DirectOpen,
    Reply::MessageSend,
    Reply::MessageEdit,
    Reply::MessageDelete,
    Reply::MessageReact,
    Reply::SessionRevoke,
    Reply::UserRevoke,
    Reply::RoomKick,
    Reply::RoomBan,
    Reply::RoomUnban,
    Reply::RoomMute,
    Reply::RoomUnmute,
    Reply::TaskCreate,
    Reply::TaskComment,
    Reply::TaskFollow,
    Reply::NotificationRead,
    Reply::NotificationAcknowledge,
    Reply::NotificationPrefer,
    Reply::NotificationQuiet,
    Reply::Notify,
    Reply::ProfileSet,
];

fn reply() -> BoxedStrategy<Reply> {
    let next = || option::of(text());
    prop_oneof![
        (0..COMMITTING.len(), committed()).prop_map(|(which, committed)| COMMITTING[which](committed)),
        welcome().prop_map(Reply::Hello),
        epoch().prop_map(|epoch| Reply::Sync(SyncStarted { epoch })),
        any::<u64>().prop_map(|at_ms| Reply::Ping(Pong { at_ms })),
        any::<u64>().prop_map(|token_expires_at_ms| Reply::AuthRefresh(Refreshed { token_expires_at_ms })),
        (vec(info(), 0..3), next()).prop_map(|(rooms, next)| Reply::RoomList(Rooms { rooms, next })),
        (vec(member(), 0..3), next()).prop_map(|(members, next)| Reply::RoomMembers(Members { members, next })),
        (vec(message(), 0..3), next(), next())
            .prop_map(|(messages, older, newer)| Reply::MessageHistory(HistoryPage { messages, older, newer })),
        any::<[u64; 2]>().prop_map(|[read_seq, unread]| Reply::ReadMark(Marked { read_seq, unread })),
        Just(Reply::Typing(Done {})),
        Just(Reply::Signal(Done {})),
        people::reply(),
        tasks::reply(),
        notifications::reply(),
        actions::reply(),
    ]
    .boxed()
}

fn event_body() -> BoxedStrategy<EventBody> {
    prop_oneof![
        (info(), user()).prop_map(|(info, by)| EventBody::RoomCreated(RoomCreated { info, by })),
        (info(), user()).prop_map(|(info, by)| EventBody::RoomUpdated(RoomUpdated { info, by })),
        user().prop_map(|by| EventBody::RoomArchived(RoomArchived { by })),
        (user(), role(), user()).prop_map(|(user, role, by)| EventBody::MemberJoined(MemberJoined { user, role, by })),
        (user(), role(), user()).prop_map(|(user, role, by)| EventBody::MemberUpdated(MemberUpdated {
            user,
            role,
            by
        })),
        (user(), user()).prop_map(|(user, by)| EventBody::MemberRemoved(MemberRemoved { user, by })),
        message().prop_map(|message| EventBody::MessageCreated(MessageCreated { message })),
        message().prop_map(|message| EventBody::MessageEdited(MessageEdited { message })),
        (message_id(), any::<u32>(), user()).prop_map(|(id, version, by)| EventBody::MessageDeleted(MessageDeleted {
            id,
            version,
            by
        })),
        (message_id(), user(), text(), any::<bool>()).prop_map(|(id, user, emoji, removed)| {
            EventBody::MessageReacted(MessageReacted { id, user, emoji, removed })
        }),
        (room(), option::of(role()), any::<[u64; 3]>()).prop_map(
            |(room, role, [room_seq, joined_seq, visible_from_seq])| EventBody::MembershipChanged(MembershipChanged {
                room,
                role,
                room_seq,
                joined_seq,
                visible_from_seq
            })
        ),
        (room(), any::<[u64; 2]>()).prop_map(|(room, [read_seq, unread])| EventBody::ReadMarked(ReadMarked {
            room,
            read_seq,
            unread
        })),
        people::event_body(),
        tasks::event_body(),
        notifications::event_body(),
    ]
    .boxed()
}

fn error_body() -> impl Strategy<Value = ErrorBody> {
    let outcome = select(vec![Outcome::Definite, Outcome::Unknown]);
    (select(ErrorCode::ALL), text(), any::<bool>(), outcome, option::of(any::<u64>())).prop_map(
        |(code, message, retryable, outcome, retry_after_ms)| ErrorBody {
            code,
            message,
            retryable,
            outcome,
            retry_after_ms,
        },
    )
}

/// Any frame of a node.
pub(crate) fn frame() -> impl Strategy<Value = ServerFrame> {
    prop_oneof![
        4 => (any::<u64>(), reply()).prop_map(|(id, reply)| ServerFrame::Ok(OkFrame { id, reply })),
        4 => (stream(), any::<[u64; 2]>(), event_body())
            .prop_map(|(stream, [seq, at_ms], body)| ServerFrame::Event(Event { stream, seq, at_ms, body })),
        1 => (option::of(any::<u64>()), error_body())
            .prop_map(|(id, error)| ServerFrame::Error(ErrorFrame { id, error })),
        1 => epoch().prop_map(|epoch| ServerFrame::SyncBegin(SyncBegin { epoch })),
        1 => vec(position(), 0..4).prop_map(|positions| ServerFrame::SyncEnd(SyncEnd { positions })),
        1 => (stream(), epoch(), any::<u64>(), select(RESET_REASONS.to_vec()))
            .prop_map(|(stream, epoch, seq, reason)| ServerFrame::Reset(Reset { stream, epoch, seq, reason })),
        1 => (room(), user(), any::<bool>())
            .prop_map(|(room, user, active)| ServerFrame::Typing(TypingFrame { room, user, active })),
        1 => (room(), user(), text(), option::of(meta()))
            .prop_map(|(room, user, name, data)| ServerFrame::Signal(SignalFrame { room, user, name, data })),
        1 => (any::<u16>(), text(), option::of(any::<u64>())).prop_map(|(code, reason, reconnect_after_ms)| {
            ServerFrame::Closing(Closing { code, reason, reconnect_after_ms })
        }),
        1 => people::presence().prop_map(ServerFrame::Presence),
    ]
}
