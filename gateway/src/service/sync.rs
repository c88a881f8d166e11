//! Hello and sync: one read, one plan, and each stream attached at what was read.

use std::collections::HashMap;
use std::sync::Arc;

use hallway_protocol::frame::Reset;
use hallway_protocol::model::MyRoom;
use hallway_protocol::{Epoch, ErrorBody, ErrorCode, Position, RoomId, Seq, StreamId, UserId};
use hallway_store::{ConnectState, StreamHead};

use super::sync_plan::{StreamView, by_stream, plan};
use super::{Service, answers};
use crate::hub::{Attach, Connection};

/// What was read for a hello or a sync, before anything is attached.
pub struct SyncStart {
    state: ConnectState,
}

impl SyncStart {
    /// The store's life.
    #[must_use]
    pub fn epoch(&self) -> &Epoch {
        &self.state.epoch
    }

    /// Last event of the person's own stream.
    #[must_use]
    pub fn user_head(&self) -> Seq {
        self.state.user.last_seq
    }

    /// The rooms in which the person is muted.
    #[must_use]
    pub fn muted(&self) -> &[RoomId] {
        &self.state.muted
    }

    /// Tokens of this person that were issued before are refused; 0: none.
    #[must_use]
    pub fn revoked_before_ms(&self) -> u64 {
        self.state.revoked_before_ms
    }

    /// The person's rooms.
    #[must_use]
    pub fn rooms(&self) -> &[MyRoom] {
        &self.state.rooms
    }
}

impl Service {
    /// Reads what a connecting person needs.
    ///
    /// # Errors
    /// As the client is to see them.
    pub async fn connect(&self, user: &UserId) -> Result<SyncStart, ErrorBody> {
        let timeout = std::time::Duration::from_millis(self.inner.limits.store_timeout_ms);
        let state = match tokio::time::timeout(timeout, self.inner.store.connect(user)).await {
            Ok(Ok(state)) => state,
            Ok(Err(error)) => {
                tracing::warn!(%error, "reading a person's rooms failed");
                return Err(answers::unavailable());
            }
            Err(_) => return Err(answers::unavailable()),
        };
        if self.inner.hub.set_epoch(&state.epoch) {
            return Err(ErrorBody::new(ErrorCode::ShuttingDown, "the store began a new life: connect again"));
        }
        Ok(SyncStart { state })
    }

    /// Whether a stream is this person's now, as the store says, by a membership that began no later than the event after
    /// `seq`. `None` when the store did not answer; it was logged.
    pub async fn is_member_since(&self, user: &UserId, stream: &StreamId, seq: Seq) -> Option<bool> {
        let StreamId::Room(room) = stream else { return Some(true) };
        let timeout = std::time::Duration::from_millis(self.inner.limits.store_timeout_ms);
        match tokio::time::timeout(timeout, self.inner.store.room(user, room)).await {
            Ok(Ok(view)) => {
                let member = view.and_then(|view| view.member);
                Some(member.is_some_and(|member| member.joined_seq <= seq + 1))
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "reading a membership failed");
                None
            }
            Err(_) => None,
        }
    }

    /// Attaches a connection to all its streams after its hello was answered.
    pub fn begin(&self, connection: &Arc<Connection>, start: &SyncStart, positions: &[Position], limit: Option<u32>) {
        let known: HashMap<RoomId, Seq> =
            start.state.rooms.iter().map(|room| (room.info.room.clone(), room.joined_seq)).collect();
        self.attach_all(connection, start, positions, limit, false, |_| true);
        self.inner.hub.end_of_hello(connection, |room| known.get(room).copied());
    }

    /// Brings the streams that the client names up to date again.
    pub fn again(&self, connection: &Arc<Connection>, start: &SyncStart, positions: &[Position], limit: Option<u32>) {
        let named = by_stream(positions);
        self.attach_all(connection, start, positions, limit, true, |stream| named.contains_key(stream));
    }

    fn attach_all(
        &self,
        connection: &Arc<Connection>,
        start: &SyncStart,
        positions: &[Position],
        limit: Option<u32>,
        again: bool,
        wanted: impl Fn(&StreamId) -> bool,
    ) {
        let epoch = &start.state.epoch;
        let attaches = attaches(connection, &start.state, positions, limit, again, wanted);
        for reset in attaches.iter().filter_map(|attach| attach.reset.as_ref()) {
            self.inner.metrics.resets.add(reset.reason);
        }
        let targets = attaches.iter().map(|attach| (attach.stream.clone(), attach.head)).collect();
        self.inner.metrics.syncs.add(1);
        self.inner.hub.watch(connection.id, epoch.clone(), targets);
        for attach in attaches {
            self.inner.hub.attach(attach);
        }
    }
}

/// How the wanted streams of a person go on for a client with these positions.
pub(crate) fn attaches(
    connection: &Arc<Connection>,
    state: &ConnectState,
    positions: &[Position],
    limit: Option<u32>,
    again: bool,
    wanted: impl Fn(&StreamId) -> bool,
) -> Vec<Attach> {
    let positions = by_stream(positions);
    let views = views(&connection.user, state).into_iter().filter(|view| wanted(&view.stream));
    let attach = |view: StreamView| {
        let plan = plan(&view, positions.get(&view.stream).copied(), &state.epoch, limit);
        let epoch = state.epoch.clone();
        let reset = plan.reset.map(|(seq, reason)| Reset { stream: view.stream.clone(), epoch, seq, reason });
        Attach {
            stream: view.stream,
            connection: Arc::clone(connection),
            next: plan.next,
            joined_seq: view.joined_seq,
            reset,
            head: view.last_seq,
            again,
        }
    };
    views.map(attach).collect()
}

/// The connection's own id stands for its user wherever it is kept: one copy, not one for each snapshot.
fn views(user: &UserId, state: &ConnectState) -> Vec<StreamView> {
    let StreamHead { first_seq, last_seq, .. } = state.user;
    let stream = StreamId::User(user.clone());
    let own = StreamView { stream, first_seq, last_seq, visible_from_seq: 1, joined_seq: 0 };
    let rooms = state.rooms.iter().map(|room| StreamView {
        stream: StreamId::Room(room.info.room.clone()),
        first_seq: room.first_seq,
        last_seq: room.last_seq,
        visible_from_seq: room.visible_from_seq,
        joined_seq: room.joined_seq,
    });
    std::iter::once(own).chain(rooms).collect()
}
