//! Connections by their name: listed, and closed when the user's stream says so.
//!
//! **Invariant:** a revocation closes exactly the connections that it is about, after its event was handed to them, and
//! none that came with a token issued since.

use std::sync::Arc;

use hallway_protocol::{CloseCode, EventBody, RoomId, SessionId, UserId};

use super::facade::Shared;
use super::lane::LaneMessage;
use super::{Connection, ConnectionId, Hub, MuteHeard};
use crate::node::NodeId;

impl Shared {
    fn node(&self) -> NodeId {
        *self.node.get_or_init(NodeId::generate)
    }

    fn session_name(&self, connection: ConnectionId) -> String {
        format!("{}-{:x}", self.node(), connection.0)
    }

    /// An event of a user's own stream was handed over: what it means for this node.
    pub(super) fn told_user(&self, user: &UserId, body: &EventBody) {
        match body {
            EventBody::MuteChanged(change) => self.people.learn_mute(user, &change.room, change.muted),
            EventBody::SessionRevoked(revoked) => self.session_revoked(user, &revoked.session),
            EventBody::UserRevoked(revoked) => self.user_revoked(user, revoked.before_ms),
            _ => {}
        }
    }

    fn session_revoked(&self, user: &UserId, session: &SessionId) {
        for connection in self.people.connections(user) {
            if self.session_name(connection.id) == session.as_str() {
                self.close(connection, CloseCode::SessionRevoked);
            }
        }
    }

    fn user_revoked(&self, user: &UserId, before_ms: u64) {
        for connection in self.people.connections(user) {
            if connection.token_is_older_than(before_ms) {
                self.close(connection, CloseCode::UserRevoked);
            }
        }
    }

    /// By its lane, behind what the lane was given before.
    fn close(&self, connection: Arc<Connection>, code: CloseCode) {
        self.lane(connection.id).push(LaneMessage::Close(connection, code));
    }
}

impl Hub {
    /// Says which node this is. Once, before anyone is connected; otherwise it draws an id by itself.
    pub fn name_node(&self, node: NodeId) {
        let _ = self.shared.node.set(node);
    }

    /// Which node this is.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.shared.node()
    }

    /// The name of a connection in the whole cluster.
    #[must_use]
    pub fn session_name(&self, connection: ConnectionId) -> String {
        self.shared.session_name(connection)
    }

    /// The connections of a user on this node.
    #[must_use]
    pub fn sockets_of(&self, user: &UserId) -> Vec<Arc<Connection>> {
        self.shared.people.connections(user)
    }

    /// The store says that a mute has ended by itself.
    pub fn forget_mute(&self, user: &UserId, room: &RoomId, heard: MuteHeard) {
        self.shared.people.forget_mute(user, room, heard);
    }
}
