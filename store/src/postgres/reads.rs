//! The reading side: every answer comes from one statement, and so from one snapshot.

use hallway_protocol::model::{Member, MyRoom};
use hallway_protocol::{Epoch, RoomId, StreamId, UserId};
use tokio_postgres::Row;

use super::connection::{Connections, Kind};
use super::rows::{corrupt, event, info, message, role, signed, unsigned};
use super::statements;
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
    let rows = connections.run(Kind::Read, statements::PAGES, &[&streams, &rooms, &users, &after, &sizes]).await?;
    let epoch = epoch_of(&rows)?;
    let mut pages: Vec<Page> = Vec::with_capacity(requests.len());
    for row in &rows {
        let number = usize::try_from(row.get::<_, i64>(1)).map_err(corrupt)?;
        let request = number.checked_sub(1).and_then(|index| requests.get(index));
        let request = request.ok_or_else(|| corrupt("a page that nobody asked for"))?;
        if pages.len() < number {
            let (first_seq, last_seq) = (unsigned(row.get(2)), unsigned(row.get(3)));
            let head = StreamHead { stream: request.stream.clone(), first_seq, last_seq };
            pages.push(Page { head, after: request.after, events: Vec::new() });
        }
        if let (Some(event), Some(page)) = (event(row, 4, &request.stream)?, pages.last_mut()) {
            page.events.push(event);
        }
    }
    Ok(PageBatch { epoch, pages })
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
    // It may make the user's row; done twice it is the same, so an unknown outcome is no matter.
    let rows = if missed.after.is_empty() || missed.events_max == 0 {
        connections.run(Kind::Read, statements::CONNECT, &[&user.as_str()]).await?
    } else {
        connect_missed(connections, user, missed).await?
    };
    let epoch = epoch_of(&rows)?;
    let head = &rows[0];
    let stream = StreamId::User(user.clone());
    let user = StreamHead { stream, first_seq: unsigned(head.get(1)), last_seq: unsigned(head.get(2)) };
    let revoked_before_ms = unsigned(head.try_get(12).map_err(corrupt)?);
    let (mut rooms, mut muted) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows.iter().filter(|row| row.get::<_, Option<i16>>(4).is_some()) {
        let info = info(row, 3)?;
        if row.get(11) {
            muted.push(info.room.clone());
        }
        rooms.push(MyRoom {
            info,
            role: role(row.get(4))?,
            joined_seq: unsigned(row.get(5)),
            visible_from_seq: unsigned(row.get(6)),
            first_seq: unsigned(row.get(7)),
            last_seq: unsigned(row.get(8)),
            read_seq: unsigned(row.try_get(9).map_err(corrupt)?),
            unread: unsigned(row.try_get(10).map_err(corrupt)?),
        });
    }
    let missed = missed_pages(&rows)?;
    Ok(ConnectState { epoch, user, rooms, muted, revoked_before_ms, missed })
}

async fn connect_missed(
    connections: &Connections,
    user: &UserId,
    missed: &MissedQuery,
) -> Result<Vec<Row>, StoreError> {
    let own = StreamId::User(user.clone());
    // Whoever names the stream of another user gets nothing of it: no room, and not theirs.
    let wanted = || missed.after.iter().filter(|(stream, _)| stream.room().is_some() || *stream == own);
    let streams: Vec<String> = wanted().map(|(stream, _)| stream.to_string()).collect();
    let rooms: Vec<Option<&str>> = wanted().map(|(stream, _)| owner(stream).0).collect();
    let after: Vec<i64> = wanted().map(|(_, after)| signed(*after)).collect();
    let newest = missed.newest.map_or(i64::MAX, i64::from);
    let (events_max, bytes_max) = (i64::from(missed.events_max), signed(missed.bytes_max));
    let parameters: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
        [&user.as_str(), &streams, &rooms, &after, &newest, &events_max, &bytes_max];
    connections.run(Kind::Read, statements::CONNECT_MISSED, &parameters).await
}

/// The pages among the rows of [`statements::CONNECT_MISSED`]; those of [`statements::CONNECT`] have none.
fn missed_pages(rows: &[Row]) -> Result<Vec<Page>, StoreError> {
    /// Where the columns of a page begin, and those of its event.
    const PAGE_AT: usize = 15;
    const EVENT_AT: usize = PAGE_AT + 8;
    let mut pages: Vec<Page> = Vec::new();
    for row in rows.iter().filter(|row| row.len() > PAGE_AT) {
        let Some(stream) = row.try_get::<_, Option<&str>>(PAGE_AT).map_err(corrupt)? else { continue };
        let stream: StreamId = stream.parse()?;
        if pages.last().is_none_or(|page| page.head.stream != stream) {
            let number = |column| unsigned(row.get(PAGE_AT + column));
            let (first_seq, last_seq) = (number(2), number(3));
            let head = StreamHead { stream: stream.clone(), first_seq, last_seq };
            pages.push(Page { head, after: number(1), events: Vec::new() });
        }
        if let (Some(event), Some(page)) = (event(row, EVENT_AT, &stream)?, pages.last_mut()) {
            page.events.push(event);
        }
    }
    Ok(pages)
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
