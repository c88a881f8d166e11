//! The reading side: every answer comes from one statement, and so from one snapshot.

use hallway_protocol::model::Member;
use hallway_protocol::{Epoch, RoomId, StreamId, UserId};
use tokio_postgres::Row;

use super::connection::{Connections, Kind};
use super::pages::Answer;
use super::rows::{corrupt, info, message, role, signed, unsigned};
use super::statements::{self, pages as page_statements};
use crate::{
    ConnectState, HeadBatch, HistoryFrom, HistoryQuery, MemberQuery, MembersPage, MessagesPage, MissedQuery, Page,
    PageBatch, PageRequest, RoomQuery, RoomView, RoomsPage, StoreError, StreamHead, TAIL_MAX_ROWS, Tail, TailCursor,
};

/// The room and the user that a stream belongs to, one of them.
pub(super) fn owner(stream: &StreamId) -> (Option<&str>, Option<&str>) {
    match stream {
        StreamId::Room(room) => (Some(room.as_str()), None),
        StreamId::User(user) => (None, Some(user.as_str())),
        StreamId::System => (None, None),
    }
}

fn epoch_of(rows: &[Row]) -> Result<Epoch, StoreError> {
    let first = rows.first().ok_or_else(|| corrupt("the store has no epoch"))?;
    Ok(Epoch::new(first.get(0))?)
}

pub(super) async fn pages(connections: &Connections, requests: Vec<PageRequest>) -> Result<PageBatch, StoreError> {
    if requests.is_empty() {
        return Ok(PageBatch { epoch: super::upkeep::epoch(connections, false).await?, pages: Vec::new() });
    }
    let streams: Vec<String> = requests.iter().map(|request| request.stream.to_string()).collect();
    let (rooms, users): (Vec<_>, Vec<_>) = requests.iter().map(|request| owner(&request.stream)).unzip();
    let after: Vec<i64> = requests.iter().map(|request| signed(request.after)).collect();
    let sizes: Vec<i64> = requests.iter().map(|request| i64::from(request.limit)).collect();
    let rows = connections.run(Kind::Read, page_statements::PAGES, &[&streams, &rooms, &users, &after, &sizes]).await?;
    let stream = |place: usize| requests.get(place.checked_sub(1)?).map(|request| &request.stream);
    let mut answer = super::pages::read(&rows, stream)?;
    let pages = requests.iter().enumerate().map(|(index, request)| {
        let page = answer.page(index + 1).ok_or_else(|| corrupt("a page is missing"))?;
        Ok(Page { after: request.after, ..page })
    });
    let pages = pages.collect::<Result<_, StoreError>>()?;
    Ok(PageBatch { epoch: answer.own.epoch, pages })
}

pub(super) async fn heads(connections: &Connections, streams: Vec<StreamId>) -> Result<HeadBatch, StoreError> {
    if streams.is_empty() {
        return Ok(HeadBatch { epoch: super::upkeep::epoch(connections, false).await?, heads: Vec::new() });
    }
    let (rooms, users): (Vec<_>, Vec<_>) = streams.iter().map(owner).unzip();
    let rows = connections.run(Kind::Read, statements::HEADS, &[&rooms, &users]).await?;
    let epoch = epoch_of(&rows)?;
    let heads = rows.iter().zip(&streams).map(|(row, stream)| StreamHead {
        stream: stream.clone(),
        first_seq: unsigned(row.get(1)),
        last_seq: unsigned(row.get(2)),
    });
    Ok(HeadBatch { epoch, heads: heads.collect() })
}

pub(super) async fn tail(connections: &Connections, cursor: TailCursor) -> Result<Tail, StoreError> {
    let rows = match cursor.0 {
        Some(tx) => {
            connections.run(Kind::Read, statements::TAIL, &[&tx.to_string(), &(signed(TAIL_MAX_ROWS) + 1)]).await?
        }
        None => connections.run(Kind::Read, statements::TAIL_START, &[]).await?,
    };
    let epoch = epoch_of(&rows)?;
    let next = rows.first().map(|row| row.get::<_, &str>(1).parse()).transpose().map_err(corrupt)?;
    let mut heads = Vec::with_capacity(rows.len());
    let mut covered = 0;
    for row in &rows {
        if let Some(stream) = row.get::<_, Option<&str>>(2) {
            heads.push((stream.parse()?, unsigned(row.get(3))));
            covered += unsigned(row.get(4));
        }
    }
    Ok(Tail { epoch, next: TailCursor(next), heads, rows: covered })
}

pub(super) async fn connect(
    connections: &Connections,
    user: &UserId,
    missed: &MissedQuery,
) -> Result<ConnectState, StoreError> {
    let own = StreamId::User(user.clone());
    // Whoever names the stream of another user gets nothing of it: no room, and not theirs.
    let wanted: Vec<_> = missed.after.iter().filter(|(stream, _)| stream.room().is_some() || *stream == own).collect();
    // It may make the user's row; done twice it is the same, so an unknown outcome is no matter.
    let rows = connections.run(Kind::Read, page_statements::CONNECT, &[&user.as_str()]).await?;
    let mut answer = super::pages::read(&rows, |_| None)?;
    // Most who come back missed nothing that a node does not have, and starting the statement that reads what they missed costs
    // several times as much as this one. Whoever missed something gets all from that one, and so from one snapshot.
    if missed.events_max > 0 && wanted.iter().any(|(stream, after)| answer.has_more(stream, *after)) {
        answer = with_missed(connections, user, missed, &wanted).await?;
    }
    let muted = answer.rooms.iter().filter(|(_, muted)| *muted).map(|(mine, _)| mine.info.room.clone()).collect();
    let rooms = std::mem::take(&mut answer.rooms).into_iter().map(|(mine, _)| mine).collect();
    let user = StreamHead { stream: own, first_seq: answer.own.first_seq, last_seq: answer.own.last_seq };
    let (epoch, revoked_before_ms) = (answer.own.epoch.clone(), answer.own.revoked_before_ms);
    Ok(ConnectState { epoch, user, rooms, muted, revoked_before_ms, missed: answer.pages() })
}

async fn with_missed(
    connections: &Connections,
    user: &UserId,
    missed: &MissedQuery,
    wanted: &[&(StreamId, u64)],
) -> Result<Answer, StoreError> {
    let rooms: Vec<Option<&str>> = wanted.iter().map(|(stream, _)| owner(stream).0).collect();
    let after: Vec<i64> = wanted.iter().map(|(_, after)| signed(*after)).collect();
    let newest = missed.newest.map_or(i64::MAX, i64::from);
    let (events_max, bytes_max) = (i64::from(missed.events_max), signed(missed.bytes_max));
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
        [&user.as_str(), &rooms, &after, &newest, &events_max, &bytes_max];
    let rows = connections.run(Kind::Read, page_statements::CONNECT_MISSED, &parameters).await?;
    super::pages::read(&rows, |place| wanted.get(place.checked_sub(1)?).map(|(stream, _)| stream))
}

pub(super) async fn room(
    connections: &Connections,
    user: &UserId,
    room: &RoomId,
) -> Result<Option<RoomView>, StoreError> {
    let rows = connections.run(Kind::Read, statements::ROOM, &[&user.as_str(), &room.as_str()]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let member = match row.get::<_, Option<i16>>(1) {
        Some(number) => Some(Member { user: user.clone(), role: role(number)?, joined_seq: unsigned(row.get(2)) }),
        None => None,
    };
    Ok(Some(RoomView { info: info(row, 0)?, member }))
}

/// Drops what was asked for beyond the limit; whether there was any.
pub(super) fn cut<T>(items: &mut Vec<T>, limit: u32) -> bool {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    more
}

pub(super) async fn list_rooms(
    connections: &Connections,
    user: &UserId,
    query: RoomQuery,
) -> Result<RoomsPage, StoreError> {
    let after = query.after.as_ref().map_or("", RoomId::as_str);
    let size = i64::from(query.limit) + 1;
    let rows = if query.mine {
        connections.run(Kind::Read, statements::LIST_MINE, &[&user.as_str(), &after, &size]).await?
    } else {
        connections.run(Kind::Read, statements::LIST_PUBLIC, &[&after, &size]).await?
    };
    let mut rooms = rows.iter().map(|row| info(row, 0)).collect::<Result<Vec<_>, _>>()?;
    let more = cut(&mut rooms, query.limit);
    Ok(RoomsPage { rooms, more })
}

pub(super) async fn members(
    connections: &Connections,
    user: &UserId,
    query: MemberQuery,
) -> Result<Option<MembersPage>, StoreError> {
    let after = query.after.as_ref().map_or("", UserId::as_str);
    let size = i64::from(query.limit) + 1;
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
        [&user.as_str(), &query.room.as_str(), &after, &size];
    let rows = connections.run(Kind::Read, statements::MEMBERS, &parameters).await?;
    if rows.is_empty() {
        return Ok(None);
    }
    let mut members = Vec::with_capacity(rows.len());
    for row in &rows {
        if let Some(name) = row.get::<_, Option<&str>>(0) {
            let user = UserId::new(name)?;
            members.push(Member { user, role: role(row.get(1))?, joined_seq: unsigned(row.get(2)) });
        }
    }
    let more = cut(&mut members, query.limit);
    Ok(Some(MembersPage { members, more }))
}

pub(super) async fn history(
    connections: &Connections,
    user: &UserId,
    query: HistoryQuery,
) -> Result<Option<MessagesPage>, StoreError> {
    let (backwards, sql, bound) = match query.from {
        HistoryFrom::Before(bound) => (true, statements::HISTORY_BEFORE, bound.map_or(i64::MAX, signed)),
        HistoryFrom::After(bound) => (false, statements::HISTORY_AFTER, bound.map_or(0, signed)),
    };
    let size = i64::from(query.limit) + 1;
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
        [&user.as_str(), &query.room.as_str(), &bound, &size];
    let rows = connections.run(Kind::Read, sql, &parameters).await?;
    let Some(first) = rows.first() else { return Ok(None) };
    let behind: bool = first.get(0);
    let mut messages = rows.iter().filter_map(|row| message(row, 1).transpose()).collect::<Result<Vec<_>, _>>()?;
    let ahead = cut(&mut messages, query.limit);
    if backwards {
        messages.reverse();
        return Ok(Some(MessagesPage { messages, older: ahead, newer: behind }));
    }
    Ok(Some(MessagesPage { messages, older: behind, newer: ahead }))
}
