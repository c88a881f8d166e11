//! Commands that read what is remembered, each within the time that the store may take.

use std::time::Duration;

use hallway_protocol::check::PAGE_LIMIT_DEFAULT;
use hallway_protocol::command::{Direction, HistoryPage, Members, MessageHistory, Rooms};
use hallway_protocol::cursor::{Cursor, InvalidCursor};
use hallway_protocol::{Command, ErrorBody, ErrorCode, EventBody, Reply, RoomId, StreamId, UserId};
use hallway_store::{
    HistoryFrom, HistoryQuery, MemberQuery, MessagesPage, PageRequest, Refusal, RoomQuery, StoreError,
};

use super::command::{Actor, Answer, later};
use super::{Service, answers};
use crate::auth::Scopes;
use crate::sabotage::{Mutant, is_on};

impl Service {
    pub(super) fn read(&self, actor: &Actor, command: Command) -> Answer {
        let service = self.clone();
        let user = actor.connection.user.clone();
        let is_admin = actor.scopes.contains(Scopes::ADMIN);
        later(async move {
            let answer =
                tokio::time::timeout(service.store_timeout(), service.answer_read(&user, is_admin, command)).await;
            answer.unwrap_or_else(|_| Err(answers::unavailable()))
        })
    }

    async fn answer_read(&self, user: &UserId, is_admin: bool, command: Command) -> Result<Reply, ErrorBody> {
        let store = &self.inner.store;
        match command {
            Command::RoomList(list) => {
                let cursor = Cursor::from(list.scope);
                let after = text_cursor(cursor, list.cursor.as_deref(), RoomId::new)?;
                let mine = list.scope == hallway_protocol::command::RoomScope::Mine;
                let limit = list.limit.unwrap_or(PAGE_LIMIT_DEFAULT);
                let page = store.list_rooms(user, RoomQuery { mine, after, limit }).await.map_err(failed)?;
                let last = page.rooms.last().filter(|_| page.more);
                let next = last.map(|room| cursor.encode_text(room.room.as_str()));
                Ok(Reply::RoomList(Rooms { next, rooms: page.rooms }))
            }
            Command::RoomMembers(list) => {
                let after = text_cursor(Cursor::Members, list.cursor.as_deref(), UserId::new)?;
                let limit = list.limit.unwrap_or(PAGE_LIMIT_DEFAULT);
                let query = MemberQuery { room: list.room.clone(), after, limit };
                let Some(page) = store.members(user, query).await.map_err(failed)? else {
                    return Err(self.not_for(user, &list.room).await);
                };
                let last = page.members.last().filter(|_| page.more);
                let next = last.map(|member| Cursor::Members.encode_text(member.user.as_str()));
                Ok(Reply::RoomMembers(Members { next, members: page.members }))
            }
            Command::MessageHistory(history) => self.answer_history(user, history).await,
            Command::RoomBans(list) => self.answer_bans(user, list).await,
            Command::AuditList(list) => self.answer_audit(user, is_admin, list).await,
            Command::TaskGet(get) => self.answer_task(user, get).await,
            Command::TaskCommentList(list) => self.answer_comments(user, list).await,
            Command::TaskList(list) => self.answer_tasks(user, list).await,
            Command::TaskSummaryGet(get) => self.answer_summary(user, get).await,
            Command::NotificationList(list) => self.answer_notifications(user, list).await,
            Command::NotificationPreferences(_) => self.answer_preferences(user).await,
            Command::Resolve(resolve) => self.answer_resolve(user, resolve).await,
            _ => Err(ErrorBody::new(ErrorCode::Internal, "not a reading command")),
        }
    }

    /// How long the store may take for an answer.
    pub(super) fn store_timeout(&self) -> Duration {
        Duration::from_millis(self.inner.limits.store_timeout_ms)
    }

    /// Why somebody is refused who is no member, or no admin where one is needed.
    pub(super) async fn not_for(&self, user: &UserId, room: &RoomId) -> ErrorBody {
        self.why_not(user, room, Refusal::Forbidden).await
    }

    /// Why somebody gets nothing: `of_member` when they are one. Whether a private room exists is nobody else's business.
    pub(super) async fn why_not(&self, user: &UserId, room: &RoomId, of_member: Refusal) -> ErrorBody {
        match tokio::time::timeout(self.store_timeout(), self.inner.store.room(user, room)).await {
            Ok(Ok(Some(view))) if view.member.is_some() => answers::refusal(of_member),
            Ok(Ok(Some(_))) => answers::refusal(Refusal::NotAMember),
            Ok(Ok(None)) => answers::refusal(Refusal::RoomNotFound),
            Ok(Err(error)) => failed(error),
            Err(_) => answers::unavailable(),
        }
    }

    /// [`Mutant::HistoryWithoutMembership`]: what the log has, for anybody.
    async fn history_of_all(&self, room: &RoomId) -> Option<MessagesPage> {
        let request = PageRequest { stream: StreamId::Room(room.clone()), after: 0, limit: PAGE_LIMIT_DEFAULT };
        let page = self.inner.store.pages(vec![request]).await.ok()?.pages.pop()?;
        let messages = page.events.into_iter().filter_map(|event| match event.body {
            EventBody::MessageCreated(created) => Some(created.message),
            _ => None,
        });
        Some(MessagesPage { messages: messages.collect(), older: false, newer: false })
    }

    async fn answer_history(&self, user: &UserId, history: MessageHistory) -> Result<Reply, ErrorBody> {
        let list = Cursor::from(history.direction);
        let at = history.cursor.as_deref().map(|cursor| list.decode_seq(cursor)).transpose().map_err(bad_cursor)?;
        let from = match history.direction {
            Direction::Older => HistoryFrom::Before(at),
            Direction::Newer => HistoryFrom::After(at),
        };
        let limit = history.limit.unwrap_or(PAGE_LIMIT_DEFAULT);
        let query = HistoryQuery { room: history.room.clone(), from, limit };
        let page = match self.inner.store.history(user, query).await.map_err(failed)? {
            None if is_on(Mutant::HistoryWithoutMembership) => self.history_of_all(&history.room).await,
            page => page,
        };
        let Some(page) = page else {
            return Err(self.not_for(user, &history.room).await);
        };
        let first = page.messages.first().filter(|_| page.older).map(|message| Cursor::Older.encode_seq(message.seq));
        let last = page.messages.last().filter(|_| page.newer).map(|message| Cursor::Newer.encode_seq(message.seq));
        Ok(Reply::MessageHistory(HistoryPage { older: first, newer: last, messages: page.messages }))
    }
}

pub(super) fn bad_cursor(error: InvalidCursor) -> ErrorBody {
    ErrorBody::new(ErrorCode::InvalidArgument, format!("cursor: {error}"))
}

pub(super) fn text_cursor<T, E>(
    list: Cursor,
    cursor: Option<&str>,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, ErrorBody> {
    let Some(cursor) = cursor else { return Ok(None) };
    let text = list.decode_text(cursor).map_err(bad_cursor)?;
    parse(&text).map(Some).map_err(|_| bad_cursor(InvalidCursor::Malformed))
}

pub(super) fn failed(error: StoreError) -> ErrorBody {
    tracing::warn!(%error, "a read of the store failed");
    match error {
        // A read changes nothing, so its outcome is never unknown.
        StoreError::OutcomeUnknown(_) => answers::unavailable(),
        error => answers::store_error(&error),
    }
}
