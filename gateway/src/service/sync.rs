//! Hello and sync: one read, one plan, and each stream attached at what was read.
//!
//! The read brings what was missed along, of the streams that the client names and the hub has not in memory
//! ([`Claims`]), within bounds. It changes nothing about continuity: what it brings is served to a pair that is Behind
//! as a page of the log would be, and what it does not bring is read as such a page.

use std::collections::HashMap;
use std::sync::Arc;

use hallway_protocol::frame::Reset;
use hallway_protocol::model::MyRoom;
use hallway_protocol::{Epoch, ErrorBody, ErrorCode, Event, Position, RoomId, Seq, StreamId, UserId};
use hallway_store::{ConnectState, MissedQuery, StreamHead};

use super::sync_plan::{StreamView, by_stream, plan};
use super::{Service, answers};
use crate::hub::{Attach, Claims, Connection, Known, LiveEvent};

/// Missed events that are read together with a person's rooms, of all streams, in pages' worth. What is beyond is read in pages.
const MISSED_MAX_PAGES: u64 = 2;

/// What was read for a hello or a sync, before anything is attached.
pub struct SyncStart {
    state: ConnectState,
    missed: Missed,
    claims: Claims,
}

type Resumed = (StreamId, Seq);

/// What the read of a person's rooms brought along, by stream.
pub(crate) struct Missed(HashMap<StreamId, Vec<Arc<LiveEvent>>>);

impl Missed {
    /// Takes it out of what was read.
    pub(crate) fn of(state: &mut ConnectState) -> Self {
        let pages = std::mem::take(&mut state.missed).into_iter();
        let events = |events: Vec<Event>| events.into_iter().map(|event| Arc::new(LiveEvent::new(event))).collect();
        Self(pages.map(|page| (page.head.stream, events(page.events))).collect())
    }

    fn of_stream(&self, stream: &StreamId) -> Vec<Arc<LiveEvent>> {
        self.0.get(stream).cloned().unwrap_or_default()
    }
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
    /// Reads what a connecting person needs, with what they missed behind these positions, as far as this node does not have
    /// it and nobody else reads it for them.
    ///
    /// # Errors
    /// As the client is to see them.
    pub async fn connect(
        &self,
        user: &UserId,
        positions: &[Position],
        limit: Option<u32>,
    ) -> Result<SyncStart, ErrorBody> {
        // Streams listen from here on, before anything is read.
        let (own, rooms) = resumed(user, positions, &self.inner.hub.epoch());
        let claims = self.inner.hub.claim(rooms).await;
        let limits = &self.inner.limits;
        let query = MissedQuery {
            after: own.into_iter().chain(claims.streams()).collect(),
            newest: limit,
            events_max: u32::try_from(MISSED_MAX_PAGES * limits.page_events_max).unwrap_or(u32::MAX),
            bytes_max: limits.backlog_max_bytes / 2,
        };
        let timeout = std::time::Duration::from_millis(self.inner.limits.store_timeout_ms);
        let mut state = match tokio::time::timeout(timeout, self.inner.store.connect_after(user, query)).await {
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
        let missed = Missed::of(&mut state);
        self.inner.metrics.store_missed_events.add(missed.0.values().map(|events| events.len() as u64).sum());
        Ok(SyncStart { state, missed, claims })
    }

    /// The event that began this person's membership in a stream, as the store says; 0 of their own stream. `None` when the
    /// store did not answer; it was logged.
    pub async fn member_since(&self, user: &UserId, stream: &StreamId) -> Option<Option<Seq>> {
        let StreamId::Room(room) = stream else { return Some(Some(0)) };
        let timeout = std::time::Duration::from_millis(self.inner.limits.store_timeout_ms);
        match tokio::time::timeout(timeout, self.inner.store.room(user, room)).await {
            Ok(Ok(view)) => Some(view.and_then(|view| view.member).map(|member| member.joined_seq)),
            Ok(Err(error)) => {
                tracing::warn!(%error, "reading a membership failed");
                None
            }
            Err(_) => None,
        }
    }

    /// Attaches a connection to all its streams after its hello was answered.
    pub fn begin(&self, connection: &Arc<Connection>, start: SyncStart, positions: &[Position], limit: Option<u32>) {
        let known: HashMap<RoomId, Seq> =
            start.state.rooms.iter().map(|room| (room.info.room.clone(), room.joined_seq)).collect();
        self.attach_all(connection, start, positions, limit, false, |_| true);
        self.inner.hub.end_of_hello(connection, |room| known.get(room).copied());
    }

    /// Brings the streams that the client names up to date again.
    pub fn again(&self, connection: &Arc<Connection>, start: SyncStart, positions: &[Position], limit: Option<u32>) {
        let named = by_stream(positions);
        self.attach_all(connection, start, positions, limit, true, |stream| named.contains_key(stream));
    }

    fn attach_all(
        &self,
        connection: &Arc<Connection>,
        SyncStart { state, missed, claims }: SyncStart,
        positions: &[Position],
        limit: Option<u32>,
        again: bool,
        wanted: impl Fn(&StreamId) -> bool,
    ) {
        let attaches = attaches(connection, &state, &missed, positions, limit, again, wanted);
        // Newborns learn their heads before anybody is attached to them.
        settle(claims, &state, &missed);
        for reset in attaches.iter().filter_map(|attach| attach.reset.as_ref()) {
            self.inner.metrics.resets.add(reset.reason);
        }
        let targets = attaches.iter().map(|attach| (attach.stream.clone(), attach.head)).collect();
        self.inner.metrics.syncs.add(1);
        self.inner.hub.watch(connection.id, state.epoch, targets);
        for attach in attaches {
            self.inner.hub.attach(attach);
        }
    }
}

/// What a client goes on with, each with the last number that it has: the person's own stream, which listens since they
/// entered and which nobody else reads, and rooms.
pub(crate) fn resumed(user: &UserId, positions: &[Position], epoch: &Epoch) -> (Option<Resumed>, Vec<Resumed>) {
    let own = StreamId::User(user.clone());
    let named = by_stream(positions).into_values().filter(|position| position.epoch == *epoch);
    let mut rooms: Vec<_> = named.map(|position| (position.stream.clone(), position.seq)).collect();
    rooms.sort_unstable();
    let place = rooms.binary_search_by(|(stream, _)| stream.cmp(&own)).ok();
    let own = place.map(|place| rooms.remove(place));
    rooms.retain(|(stream, _)| stream.room().is_some());
    (own, rooms)
}

/// Tells the hub what was read of the streams that were claimed.
pub(crate) fn settle(claims: Claims, state: &ConnectState, missed: &Missed) {
    let heads: HashMap<&RoomId, Seq> = state.rooms.iter().map(|mine| (&mine.info.room, mine.last_seq)).collect();
    claims.settle(|stream| {
        let head = stream.room().and_then(|room| heads.get(room).copied())?;
        Some(Known { head, events: missed.of_stream(stream) })
    });
}

/// How the wanted streams of a person go on for a client with these positions.
pub(crate) fn attaches(
    connection: &Arc<Connection>,
    state: &ConnectState,
    missed: &Missed,
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
            missed: missed.of_stream(&view.stream),
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
