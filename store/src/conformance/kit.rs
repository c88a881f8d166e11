//! What the cases are written with.

use std::sync::Arc;

use hallway_protocol::event::MessageCreated;
use hallway_protocol::{
    Event, EventBody, History, Message, MessageId, Nonce, Role, RoomId, Seq, StreamId, UserId, Visibility,
};

use crate::{Action, Committed, Mark, MarkResult, Page, PageRequest, Refusal, Store, Write};

/// The store under test.
pub type Shared = Arc<dyn Store>;

/// A user id; `name` is made unlike those of other cases.
#[must_use]
pub fn user(case: &str, name: &str) -> UserId {
    UserId::new(&format!("{case}.{name}")).unwrap()
}

/// A room id; `name` is made unlike those of other cases.
#[must_use]
pub fn room(case: &str, name: &str) -> RoomId {
    RoomId::new(&format!("{case}.{name}")).unwrap()
}

/// A write under a nonce of its own.
#[must_use]
pub fn write(actor: &UserId, action: Action) -> Write {
    let nonce = MessageId::generate().to_string();
    write_with(actor, &nonce, 1, action)
}

/// A write under a given nonce, with a body that `body` tells from others.
#[must_use]
pub fn write_with(actor: &UserId, nonce: &str, body: u8, action: Action) -> Write {
    Write { actor: actor.clone(), nonce: Nonce::new(nonce).unwrap(), body_hash: [body; 16], action }
}

/// A plain message with an id of its own.
#[must_use]
pub fn send(room: &RoomId, text: &str) -> Action {
    send_as(room, MessageId::generate(), text)
}

/// A plain message.
#[must_use]
pub fn send_as(room: &RoomId, id: MessageId, text: &str) -> Action {
    Action::SendMessage {
        room: room.clone(),
        id,
        text: text.to_owned(),
        reply_to: None,
        mentions: Vec::new(),
        meta: None,
    }
}

/// An edit of whatever version is there.
#[must_use]
pub fn edit(room: &RoomId, id: MessageId, text: &str) -> Action {
    Action::EditMessage {
        room: room.clone(),
        id,
        text: text.to_owned(),
        mentions: Vec::new(),
        meta: None,
        version: None,
    }
}

/// A reaction put.
#[must_use]
pub fn react(room: &RoomId, id: MessageId, emoji: &str) -> Action {
    Action::React { room: room.clone(), id, emoji: emoji.to_owned(), remove: false }
}

/// An invitation.
#[must_use]
pub fn invite(room: &RoomId, user: &UserId, role: Role) -> Action {
    Action::Invite { room: room.clone(), user: user.clone(), role }
}

/// A channel to be made.
#[must_use]
pub fn create(room: &RoomId, visibility: Visibility, history: History) -> Action {
    Action::CreateRoom { room: room.clone(), visibility, history, name: None }
}

/// Commits a batch.
pub async fn commit(store: &Shared, batch: Vec<Write>) -> Vec<Result<Committed, Refusal>> {
    store.commit(batch).await.expect("the store commits").results
}

/// Commits one write under a nonce of its own.
pub async fn try_one(store: &Shared, actor: &UserId, action: Action) -> Result<Committed, Refusal> {
    commit(store, vec![write(actor, action)]).await.remove(0)
}

/// Commits one write that is to be accepted.
pub async fn one(store: &Shared, actor: &UserId, action: Action) -> Committed {
    let shown = format!("{action:?}");
    try_one(store, actor, action).await.unwrap_or_else(|refusal| panic!("{shown} was refused: {refusal}"))
}

/// Makes a channel.
pub async fn channel(store: &Shared, owner: &UserId, room: &RoomId, visibility: Visibility, history: History) {
    one(store, owner, create(room, visibility, history)).await;
}

/// One page.
pub async fn page(store: &Shared, stream: StreamId, after: Seq, limit: u32) -> Page {
    let batch = store.pages(vec![PageRequest { stream, after, limit }]).await.expect("the store reads pages");
    batch.pages.into_iter().next().expect("one page for one request")
}

/// Everything that is kept of a stream; fails on a hole.
pub async fn whole(store: &Shared, stream: StreamId) -> Vec<Event> {
    let Page { head, events, .. } = page(store, stream.clone(), 0, 100_000).await;
    let seqs: Vec<Seq> = events.iter().map(|event| event.seq).collect();
    let expected: Vec<Seq> = (head.first_seq..=head.last_seq).collect();
    assert_eq!(seqs, expected, "{stream} is dense from first to last");
    events
}

/// The whole stream of a room.
pub async fn room_events(store: &Shared, room: &RoomId) -> Vec<Event> {
    whole(store, StreamId::Room(room.clone())).await
}

/// Wire names of events.
#[must_use]
pub fn names(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.body.name()).collect()
}

/// The messages that were created in these events.
#[must_use]
pub fn created(events: &[Event]) -> Vec<Message> {
    let message = |event: &Event| match &event.body {
        EventBody::MessageCreated(MessageCreated { message }) => Some(message.clone()),
        _ => None,
    };
    events.iter().filter_map(message).collect()
}

/// Moves one read marker.
pub async fn mark(store: &Shared, user: &UserId, room: &RoomId, seq: Seq) -> Option<MarkResult> {
    let mark = Mark { user: user.clone(), room: room.clone(), seq };
    store.mark_read(vec![mark]).await.expect("the store marks").results.remove(0)
}
