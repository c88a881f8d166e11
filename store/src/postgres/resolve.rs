//! What people say, and what they may mean by it: all questions in one statement.
//!
//! Words stand in tables, room by room (`member_words`, `task_words`, `channel_words`), so that a question looks only at what
//! the asker may see. Of each room it looks at the first [`WORDS_MAX_PER_ROOM`] that begin with the phrase, which is more
//! than anybody chooses from.

use hallway_protocol::command::{Candidate, What};
use hallway_protocol::{RoomId, UserId};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::connection::{Connections, Kind};
use super::rows::corrupt;
use super::statements::tasks as statements;
use crate::{CANDIDATES_MAX, ResolveQuery, StoreError, names};

/// Words that are looked at in each room for one phrase.
const WORDS_MAX_PER_ROOM: i64 = 100;
/// Digits of a task's id, without the strokes between them.
const ID_DIGITS: usize = 32;

/// Parameters of [`statements::RESOLVE`].
#[derive(Default)]
struct Questions<'a> {
    kinds: Vec<i16>,
    phrases: Vec<Option<String>>,
    beyonds: Vec<Option<String>>,
    whats: Vec<i16>,
    rooms: Vec<Option<&'a str>>,
    tasks: Vec<Option<Uuid>>,
    lows: Vec<Option<Uuid>>,
    highs: Vec<Option<Uuid>>,
}

impl<'a> Questions<'a> {
    fn add(&mut self, query: &'a ResolveQuery) {
        let (mut phrase, mut meant) = (None, 0);
        let (kind, room, task) = match query {
            ResolveQuery::Named { text, what, room } => {
                phrase = Some(names::fold(text)).filter(|phrase| !phrase.is_empty());
                meant = what.map_or(0, what_number);
                // Nothing begins with nothing.
                (if phrase.is_some() { 0 } else { -1 }, room.as_ref(), None)
            }
            ResolveQuery::Room(room) => (1, Some(room), None),
            ResolveQuery::Task { room, task } => (2, room.as_ref(), Some(task)),
            ResolveQuery::LastMessage(room) => (3, Some(room), None),
            ResolveQuery::AssigneesOf { room, task } => (4, room.as_ref(), Some(task)),
            ResolveQuery::Me => (5, None, None),
        };
        let (low, high) = phrase.as_deref().and_then(ids_that_begin_with).unzip();
        self.kinds.push(kind);
        self.beyonds.push(phrase.as_deref().map(names::beyond));
        self.phrases.push(phrase);
        self.whats.push(meant);
        self.rooms.push(room.map(RoomId::as_str));
        self.tasks.push(task.map(|task| task.as_uuid()));
        self.lows.push(low);
        self.highs.push(high);
    }
}

fn what_number(what: What) -> i16 {
    match what {
        What::Person => 1,
        What::Room => 2,
        What::Task => 3,
        What::Message => 4,
    }
}

/// The first and the last id whose text begins with a phrase, if any does.
fn ids_that_begin_with(phrase: &str) -> Option<(Uuid, Uuid)> {
    let whole = Uuid::nil().to_string();
    let stroke = |index: usize| whole.as_bytes().get(index) == Some(&b'-');
    let fits = |(index, byte): (usize, u8)| if stroke(index) { byte == b'-' } else { byte.is_ascii_hexdigit() };
    if phrase.len() > whole.len() || !phrase.bytes().enumerate().all(fits) {
        return None;
    }
    let digits: String = phrase.chars().filter(|letter| *letter != '-').collect();
    let filled = |fill: char| {
        let rest = std::iter::repeat_n(fill, ID_DIGITS - digits.len());
        Uuid::try_parse(&digits.chars().chain(rest).collect::<String>()).ok()
    };
    filled('0').zip(filled('f'))
}

pub(super) async fn resolve(
    connections: &Connections,
    user: &UserId,
    queries: Vec<ResolveQuery>,
) -> Result<Vec<Vec<Candidate>>, StoreError> {
    let mut answers = vec![Vec::new(); queries.len()];
    if queries.is_empty() {
        return Ok(answers);
    }
    let mut q = Questions::default();
    queries.iter().for_each(|query| q.add(query));
    let most = i64::from(CANDIDATES_MAX);
    let parameters: [&(dyn ToSql + Sync); 11] = [
        &user.as_str(),
        &q.kinds,
        &q.phrases,
        &q.beyonds,
        &q.whats,
        &q.rooms,
        &q.tasks,
        &q.lows,
        &q.highs,
        &WORDS_MAX_PER_ROOM,
        &most,
    ];
    for row in connections.run(Kind::Read, statements::RESOLVE, &parameters).await? {
        let number = usize::try_from(row.get::<_, i64>(0)).map_err(corrupt)?;
        let answer = number.checked_sub(1).and_then(|index| answers.get_mut(index));
        answer.ok_or_else(|| corrupt("an answer to a question that nobody asked"))?.push(candidate(&row)?);
    }
    Ok(answers)
}

fn candidate(row: &Row) -> Result<Candidate, StoreError> {
    let room = || RoomId::new(row.try_get(2).map_err(corrupt)?).map_err(StoreError::from);
    let id: &str = row.try_get(3).map_err(corrupt)?;
    let name: Option<String> = row.try_get(4).map_err(corrupt)?;
    Ok(match row.try_get::<_, i32>(1).map_err(corrupt)? {
        1 => Candidate::Person { user: UserId::new(id)?, name },
        2 => Candidate::Room { room: room()?, name },
        3 => Candidate::Task { room: room()?, task: id.parse()?, title: name.unwrap_or_default() },
        4 => Candidate::Message { room: room()?, message: id.parse()? },
        what => return Err(corrupt(format!("a candidate of kind {what}"))),
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_an_id_names_all_that_begin_with_it() {
        let (low, high) = ids_that_begin_with("018f0000-00").unwrap();
        assert_eq!(low.to_string(), "018f0000-0000-0000-0000-000000000000");
        assert_eq!(high.to_string(), "018f0000-00ff-ffff-ffff-ffffffffffff");
        let one = "018f0000-0000-7000-8000-00000000000a";
        assert_eq!(ids_that_begin_with(one).unwrap(), (one.parse().unwrap(), one.parse().unwrap()));
        for other in ["018f00000", "book", "018f0000-0000-7000-8000-00000000000a0", "-", "01é"] {
            assert_eq!(ids_that_begin_with(other), None, "{other}");
        }
    }
}
