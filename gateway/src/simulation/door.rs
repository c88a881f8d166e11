//! How somebody comes in: what `session/handshake` and `service/sync` do, written as things that happen.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use hallway_protocol::codec::Codec;
use hallway_protocol::command::Welcome;
use hallway_protocol::frame::{OkFrame, SyncBegin};
use hallway_protocol::{Position, Reply, Seq, ServerFrame, StreamId, UserId};
use hallway_store::{ConnectState, MissedQuery};

use super::node::{NodeRef, Session, hang_up, poke, wait};
use super::socket::Socket;
use super::world::World;
use crate::connection::{Budget, Outbound, data_frame};
use crate::hub::{Claims, Connection, ConnectionId, Hub};
use crate::service::{Missed, attaches, resumed, settle};

/// A client knocks. Registered first, read second, attached third. Returns the number of its connection.
pub(super) fn admit(
    world: &mut World,
    node: NodeRef,
    client: usize,
    user: &UserId,
    codec: Codec,
    (positions, limit): (Vec<Position>, Option<u32>),
) -> Option<u64> {
    let (metrics, backlog_max_bytes) = (Arc::clone(&world.metrics), world.profile.limits.backlog_max_bytes);
    let socket = Arc::new(Socket::new(world.profile.socket_bytes));
    let alive = world.alive(node)?;
    let id = alive.next_connection;
    alive.next_connection += 1;
    let budget = Arc::new(Budget::new(u64::MAX, metrics));
    let outbound = Outbound::new(Arc::clone(&socket), backlog_max_bytes, budget);
    let connection = Arc::new(Connection::new(ConnectionId(id), user.clone(), codec, Arc::new(outbound)));
    if !alive.hub.hub.enter(&connection) {
        return None;
    }
    let session = Session::new(Arc::clone(&connection), socket, client);
    alive.sessions.insert(id, session);
    poke(world, node);
    let epoch = world.store.epoch().clone();
    let claimed = Rc::new(RefCell::new(None));
    let alive = world.alive(node)?;
    let (hub, slot) = (alive.hub.hub.clone(), Rc::clone(&claimed));
    let (own, wanted) = resumed(user, &positions, &epoch);
    let claiming = async move { *slot.borrow_mut() = Some(hub.claim(wanted).await) };
    let then = move |world: &mut World| {
        if let Some(claims) = claimed.borrow_mut().take() {
            let after = own.into_iter().chain(claims.streams()).collect();
            read_rooms(world, node, connection, (claims, after), (positions, limit));
        }
    };
    wait(world, node, claiming, then);
    Some(id)
}

/// Asks the store for everything that the person has, and what they missed.
fn read_rooms(
    world: &mut World,
    node: NodeRef,
    connection: Arc<Connection>,
    (claims, after): (Claims, Vec<(StreamId, Seq)>),
    (positions, limit): (Vec<Position>, Option<u32>),
) {
    let (id, user) = (connection.id.0, connection.user.clone());
    let events_max = world.profile.missed_max_events;
    let query = MissedQuery { after, newest: limit, events_max, bytes_max: u64::MAX };
    world.read_store(
        move |store| store.connect(&user, &query),
        move |world, state| {
            let Some(alive) = world.alive(node).filter(|alive| alive.sessions.contains_key(&id)) else { return };
            match state {
                Some(state) => begin(&alive.hub.hub, &connection, (state, claims), &positions, limit),
                None => hang_up(world, node, id),
            }
            poke(world, node);
        },
    );
}

fn begin(
    hub: &Hub,
    connection: &Arc<Connection>,
    (mut state, claims): (ConnectState, Claims),
    positions: &[Position],
    limit: Option<u32>,
) {
    let missed = Missed::of(&mut state);
    hub.learn(&connection.user, &state.rooms, &state.muted, state.user.last_seq);
    let welcome = Welcome {
        session: String::new(),
        user: connection.user.clone(),
        epoch: state.epoch.clone(),
        protocol_minor: 0,
        server_version: String::new(),
        heartbeat_interval_ms: 0,
        token_expires_at_ms: 0,
        rooms: state.rooms.clone(),
    };
    let push = |frame: &ServerFrame| connection.outbound.push(data_frame(connection.codec, frame));
    push(&ServerFrame::Ok(OkFrame { id: 0, reply: Reply::Hello(welcome) }));
    push(&ServerFrame::SyncBegin(SyncBegin { epoch: state.epoch.clone() }));
    hub.register(connection);
    let attaches = attaches(connection, &state, &missed, positions, limit, false, |_| true);
    settle(claims, &state, &missed);
    let targets = attaches.iter().map(|attach| (attach.stream.clone(), attach.head)).collect();
    hub.watch(connection.id, state.epoch.clone(), targets);
    attaches.into_iter().for_each(|attach| hub.attach(attach));
    let known: HashMap<_, _> = state.rooms.iter().map(|room| (room.info.room.clone(), room.joined_seq)).collect();
    hub.end_of_hello(connection, |room| known.get(room).copied());
}
