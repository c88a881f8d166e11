//! Acts on people, and what is asked about them.

use std::time::Duration;

use hallway_protocol::check::PAGE_LIMIT_DEFAULT;
use hallway_protocol::command::{AuditEntries, AuditList, Bans, RoomBans, SessionList, Sessions};
use hallway_protocol::cursor::Cursor;
use hallway_protocol::model::Session;
use hallway_protocol::{Command, ErrorBody, ErrorCode, Nonce, Reply, RoomId, SessionId, UserId};
use hallway_store::{Action, AuditQuery, BanQuery, Refusal};

use super::command::{Actor, Answer, ToReply, bad_cursor, failed, text_cursor};
use super::{Service, answers};
use crate::auth::{Scopes, now_ms};
use crate::hub::MuteHeard;

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

impl Service {
    /// The connections of a user on this node, as `session.list` shows them; none of them is the one that asks.
    #[must_use]
    pub fn sessions_here(&self, user: &UserId) -> Vec<Session> {
        let hub = &self.inner.hub;
        let node = hub.node().to_string();
        let shown = |connection: &crate::hub::Connection| {
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
        let mut sessions: Vec<Session> =
            hub.sockets_of(user).iter().filter_map(|connection| shown(connection)).collect();
        sessions.sort_by(|a, b| (a.connected_at_ms, &a.session).cmp(&(b.connected_at_ms, &b.session)));
        sessions
    }

    pub(super) fn list_sessions(&self, actor: &Actor, list: SessionList) -> Answer {
        let user = list.user.unwrap_or_else(|| actor.connection.user.clone());
        let asking = self.inner.hub.session_name(actor.connection.id);
        let mut sessions = self.sessions_here(&user);
        for session in &mut sessions {
            session.current = session.session.as_str() == asking;
        }
        Answer::Now(Ok(Reply::SessionList(Sessions { sessions, complete: true })))
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
