//! From an upgraded socket to an identified person.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hallway_protocol::codec::decode_request;
use hallway_protocol::command::{Hello, Welcome};
use hallway_protocol::frame::SyncBegin;
use hallway_protocol::{CloseCode, Command, ErrorBody, ErrorCode, PROTOCOL_MINOR, Reply, Request, ServerFrame, check};

use super::line::{Inbound, Line};
use super::run::Identified;
use super::{End, Sessions};
use crate::admission::Permit;
use crate::auth::{Identity, Scopes, now_ms};
use crate::hub::{About, Connection};
use crate::service::Service;

/// Nobody yet: only `hello` is understood.
pub(super) struct Unidentified {
    sessions: Arc<Sessions>,
    /// From the `Authorization` header.
    token: Option<String>,
    permit: Permit,
}

impl Unidentified {
    pub(super) fn new(sessions: Arc<Sessions>, token: Option<String>, permit: Permit) -> Self {
        Self { sessions, token, permit }
    }

    /// Waits for a valid hello and answers it.
    pub(super) async fn hello(self, line: &mut Line) -> Result<Identified, End> {
        let timeout = Duration::from_millis(self.sessions.service.limits().hello_timeout_ms);
        let stop = self.sessions.tasks.clone();
        tokio::select! {
            result = self.identify(line) => result,
            () = tokio::time::sleep(timeout) => Err(End::Close(CloseCode::HelloTimeout)),
            () = stop.stopped() => Err(End::Close(CloseCode::Draining)),
        }
    }

    async fn identify(self, line: &mut Line) -> Result<Identified, End> {
        let bytes = loop {
            match line.receive().await {
                Inbound::Request(bytes) => break bytes,
                Inbound::Alive => line.outbound.flush(),
                Inbound::End(end) => return Err(end),
            }
        };
        let (id, hello) = match decode_request(line.codec, &bytes) {
            Ok(Request { id, command: Command::Hello(hello) }) => (id, hello),
            Ok(Request { id, command }) => {
                let message = format!("{} came before hello: say hello first", command.name());
                return Err(self.refuse(line, Some(id), ErrorBody::new(ErrorCode::NotIdentified, message)));
            }
            Err(error) => return Err(self.refuse(line, error.id, ErrorBody::new(error.code, error.message))),
        };
        drop(bytes);
        let hello = Command::Hello(hello);
        if let Err(error) = check::check(&hello) {
            return Err(self.refuse(line, Some(id), error));
        }
        let Command::Hello(hello) = hello else { return Err(End::Close(CloseCode::Internal)) };
        let identity = match self.verify(&hello) {
            Ok(identity) => identity,
            Err(error) => {
                self.refuse(line, Some(id), error);
                return Err(End::Close(CloseCode::Unauthenticated));
            }
        };
        self.enter(line, id, hello, identity).await
    }

    fn verify(&self, hello: &Hello) -> Result<Identity, ErrorBody> {
        let token = hello.token.as_deref().or(self.token.as_deref()).ok_or_else(|| {
            let message = "no token: put it into hello, or into the Authorization header";
            ErrorBody::new(ErrorCode::Unauthenticated, message)
        })?;
        let identity = self
            .sessions
            .authenticator
            .verify(token, now_ms())
            .map_err(|error| ErrorBody::new(ErrorCode::Unauthenticated, error.to_string()))?;
        if !identity.scopes.contains(Scopes::READ) && !identity.scopes.contains(Scopes::ADMIN) {
            let message = "the token lacks the scope \"read\", which a connection needs";
            return Err(ErrorBody::new(ErrorCode::Unauthenticated, message));
        }
        Ok(identity)
    }

    fn refuse(&self, line: &Line, id: Option<u64>, error: ErrorBody) -> End {
        refuse(&self.sessions.service, line, id, error)
    }

    /// Registered first, read second, attached third: whatever is committed meanwhile is heard.
    async fn enter(mut self, line: &mut Line, id: u64, hello: Hello, identity: Identity) -> Result<Identified, End> {
        let sessions = Arc::clone(&self.sessions);
        let service = &sessions.service;
        let about = About {
            connected_at_ms: now_ms(),
            client_name: hello.client_name.map(String::into_boxed_str),
            client_version: hello.client_version.map(String::into_boxed_str),
        };
        let connection =
            Connection::new(sessions.next_connection(), identity.user.clone(), line.codec, line.outbound.clone());
        let connection = Arc::new(connection.introduced(about, hello.protocol_minor, identity.issued_at_ms));
        if !service.hub().enter(&connection) {
            let message = "this user has too many connections to this node: close one of them";
            return Err(self.refuse(line, Some(id), ErrorBody::new(ErrorCode::LimitReached, message)));
        }
        self.permit.begun();
        connection.hold(self.permit);
        // From here on, dropping `identified` (also when this future is dropped) takes the connection out of the hub.
        let identified = Identified::new(Arc::clone(&sessions), Arc::clone(&connection), &identity, Instant::now());
        let start = match service.connect(&identity.user, &hello.positions, hello.limit).await {
            Ok(start) => start,
            Err(error) => {
                if let Some(permit) = connection.take_permit() {
                    permit.failed();
                }
                refuse(service, line, Some(id), error);
                return Err(End::Close(CloseCode::StoreUnavailable));
            }
        };
        if connection.token_is_older_than(start.revoked_before_ms()) {
            let message = "this user's tokens were revoked after this one was issued: get a new token";
            refuse(service, line, Some(id), ErrorBody::new(ErrorCode::Unauthenticated, message));
            return Err(End::Close(CloseCode::Unauthenticated));
        }
        service.hub().learn(&identity.user, start.rooms(), start.muted(), start.user_head());
        let limits = service.limits();
        let welcome = Welcome {
            session: service.hub().session_name(connection.id),
            user: identity.user,
            epoch: start.epoch().clone(),
            protocol_minor: spoken_minor(hello.protocol_minor),
            server_version: env!("CARGO_PKG_VERSION").to_owned(),
            heartbeat_interval_ms: limits.heartbeat_interval_ms,
            token_expires_at_ms: identity.expires_at_ms,
            rooms: start.rooms().to_vec(),
        };
        line.send_reply(id, Reply::Hello(welcome));
        line.send(&ServerFrame::SyncBegin(SyncBegin { epoch: start.epoch().clone() }));
        service.hub().register(&connection);
        service.begin(&connection, start, &hello.positions, hello.limit);
        Ok(identified)
    }
}

fn refuse(service: &Service, line: &Line, id: Option<u64>, error: ErrorBody) -> End {
    service.metrics().errors.add(error.code);
    line.send_error(id, error);
    End::Close(CloseCode::BadClient)
}

/// The smaller of both sides' minors.
fn spoken_minor(client: u16) -> u16 {
    client.min(PROTOCOL_MINOR)
}
