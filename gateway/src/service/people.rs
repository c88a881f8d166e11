//! Acts on people, and what is asked about them.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hallway_protocol::check::PAGE_LIMIT_DEFAULT;
use hallway_protocol::command::{AuditEntries, AuditList, Bans, RoomBans, SessionList, Sessions};
use hallway_protocol::cursor::Cursor;
use hallway_protocol::model::Session;
use hallway_protocol::{Command, ErrorBody, ErrorCode, Nonce, Reply, RoomId, SessionId, UserId};
use hallway_store::{Action, AuditQuery, BanQuery, Refusal};

use super::cluster::{Answerer, Cluster, topic};
use super::command::{Actor, Answer, later};
use super::reads::{bad_cursor, failed, text_cursor};
use super::writes::ToReply;
use super::{Service, answers};
use crate::auth::{Scopes, now_ms};
use crate::hub::{Connection, Hub, MuteHeard};

/// What is decided before anything is done: others' sessions and tokens need the scope `admin`, and an end lies ahead.
pub(super) fn check(actor: &Actor, command: &Command) -> Result<(), ErrorBody> {
    let of = match command {
        Command::SessionList(list) => list.user.as_ref(),
        Command::SessionRevoke(revoke) => revoke.user.as_ref(),
        Command::UserRevoke(revoke) => Some(&revoke.user),
        _ => None,
    };
    if of.is_some_and(|user| *user != actor.connection.user) && !actor.scopes.contains(Scopes::ADMIN) {
        return Err(answers::scope("admin"));
    }
    let until_ms = match command {
        Command::RoomBan(ban) => ban.until_ms,
        Command::RoomMute(mute) => mute.until_ms,
        _ => None,
    };
    // The store's clock decides when it ends; this only helps someone who gave seconds, or a length of time.
    if until_ms.is_some_and(|until_ms| until_ms <= now_ms()) {
        let message = format!("{}: until_ms lies in the past; give milliseconds since 1970", command.name());
        return Err(ErrorBody::new(ErrorCode::InvalidArgument, message));
    }
    Ok(())
}

/// Turns an act on a person into what the store is to do, and how its answer is called.
pub(super) fn action(user: &UserId, command: Command) -> Result<(Nonce, Action, ToReply), ErrorBody> {
    Ok(match command {
        Command::RoomKick(kick) => {
            let action = Action::Kick { room: kick.room, user: kick.user, reason: kick.reason };
            (kick.nonce, action, Reply::RoomKick)
        }
        Command::RoomBan(ban) => {
            let action = Action::Ban { room: ban.room, user: ban.user, until_ms: ban.until_ms, reason: ban.reason };
            (ban.nonce, action, Reply::RoomBan)
        }
        Command::RoomUnban(unban) => {
            (unban.nonce, Action::Unban { room: unban.room, user: unban.user }, Reply::RoomUnban)
        }
        Command::RoomMute(mute) => {
            let action =
                Action::Mute { room: mute.room, user: mute.user, until_ms: mute.until_ms, reason: mute.reason };
            (mute.nonce, action, Reply::RoomMute)
        }
        Command::RoomUnmute(unmute) => {
            (unmute.nonce, Action::Unmute { room: unmute.room, user: unmute.user }, Reply::RoomUnmute)
        }
        Command::SessionRevoke(revoke) => {
            let whose = revoke.user.unwrap_or_else(|| user.clone());
            (revoke.nonce, Action::RevokeSession { user: whose, session: revoke.session }, Reply::SessionRevoke)
        }
        Command::UserRevoke(revoke) => {
            (revoke.nonce, Action::RevokeUser { user: revoke.user, reason: revoke.reason }, Reply::UserRevoke)
        }
        command => {
            let message = format!("this node does not carry out {}", command.name());
            return Err(ErrorBody::new(ErrorCode::UnknownCommand, message));
        }
    })
}

/// Answers other nodes that ask for the sessions of a person here. The question is the user's id, the answer a JSON list.
struct SessionsHere {
    hub: Hub,
}

#[async_trait]
impl Answerer for SessionsHere {
    async fn answer(&self, question: Bytes) -> Bytes {
        let user = std::str::from_utf8(&question).ok().and_then(|user| UserId::new(user).ok());
        let sessions = user.map(|user| sessions_here(&self.hub, &user)).unwrap_or_default();
        serde_json::to_vec(&sessions).unwrap_or_default().into()
    }
}

/// From now on other nodes may ask for the sessions that are here.
pub(super) fn answer_others(cluster: &Cluster, hub: &Hub) {
    cluster.answer(topic::SESSIONS, Arc::new(SessionsHere { hub: hub.clone() }));
}

/// The connections of a user on this node; none of them is the one that asks.
fn sessions_here(hub: &Hub, user: &UserId) -> Vec<Session> {
    let node = hub.node().to_string();
    let shown = |connection: &Arc<Connection>| {
        let about = connection.about();
        Some(Session {
            session: SessionId::new(&hub.session_name(connection.id)).ok()?,
            user: user.clone(),
            node: node.clone(),
            connected_at_ms: about.connected_at_ms,
            client_name: about.client_name.map(String::from),
            client_version: about.client_version.map(String::from),
            away: connection.is_away(),
            current: false,
        })
    };
    hub.sockets_of(user).iter().filter_map(shown).collect()
}

impl Service {
    pub(super) fn list_sessions(&self, actor: &Actor, list: SessionList) -> Answer {
        let user = list.user.unwrap_or_else(|| actor.connection.user.clone());
        let (service, asking) = (self.clone(), self.inner.hub.session_name(actor.connection.id));
        later(async move {
            let (hub, cluster) = (&service.inner.hub, &service.inner.cluster);
            let mut sessions = sessions_here(hub, &user);
            let question = Bytes::copy_from_slice(user.as_str().as_bytes());
            let others = cluster.ask_nodes_of(&user, topic::SESSIONS, question).await;
            // Without the bus nobody knows who else holds a socket of theirs.
            let mut complete = others.is_complete && cluster.bus_up() != Some(false);
            for (_, answer) in &others.answers {
                match serde_json::from_slice::<Vec<Session>>(answer) {
                    Ok(theirs) => sessions.extend(theirs),
                    Err(_) => complete = false,
                }
            }
            for session in &mut sessions {
                session.current = session.session.as_str() == asking;
            }
            sessions.sort_by(|a, b| (a.connected_at_ms, &a.session).cmp(&(b.connected_at_ms, &b.session)));
            Ok(Reply::SessionList(Sessions { sessions, complete }))
        })
    }

    /// Whether someone who was muted may write again, as the store's clock says.
    pub(super) async fn unless_muted(&self, user: &UserId, room: &RoomId, heard: MuteHeard) -> Result<(), ErrorBody> {
        let timeout = Duration::from_millis(self.inner.limits.store_timeout_ms);
        match tokio::time::timeout(timeout, self.inner.store.mute(user, room)).await {
            Ok(Ok(Some(mute))) => Err(answers::refusal(Refusal::Muted(mute))),
            Ok(Ok(None)) => {
                self.inner.hub.forget_mute(user, room, heard);
                Ok(())
            }
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(answers::unavailable()),
        }
    }

    pub(super) async fn answer_bans(&self, user: &UserId, list: RoomBans) -> Result<Reply, ErrorBody> {
        let after = text_cursor(Cursor::Bans, list.cursor.as_deref(), UserId::new)?;
        let limit = list.limit.unwrap_or(PAGE_LIMIT_DEFAULT);
        let query = BanQuery { room: list.room.clone(), after, limit };
        let Some(page) = self.inner.store.bans(user, query).await.map_err(failed)? else {
            return Err(self.not_for(user, &list.room).await);
        };
        let last = page.bans.last().filter(|_| page.more);
        let next = last.map(|ban| Cursor::Bans.encode_text(ban.user.as_str()));
        Ok(Reply::RoomBans(Bans { next, bans: page.bans }))
    }

    /// Anything for the scope `admin`; otherwise the record of a room for its admins.
    pub(super) async fn answer_audit(
        &self,
        user: &UserId,
        is_admin: bool,
        list: AuditList,
    ) -> Result<Reply, ErrorBody> {
        let before = list.cursor.as_deref().map(|cursor| Cursor::Audit.decode_seq(cursor)).transpose();
        let query = AuditQuery {
            room: list.room.clone(),
            target: list.user,
            before: before.map_err(bad_cursor)?,
            limit: list.limit.unwrap_or(PAGE_LIMIT_DEFAULT),
        };
        let viewer = (!is_admin).then_some(user);
        let Some(page) = self.inner.store.audit(viewer, query).await.map_err(failed)? else {
            return Err(match &list.room {
                Some(room) => self.not_for(user, room).await,
                None => answers::scope("admin"),
            });
        };
        let next = page.next.map(|number| Cursor::Audit.encode_seq(number));
        Ok(Reply::AuditList(AuditEntries { next, entries: page.entries }))
    }
}
