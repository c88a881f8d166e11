//! Pages of events, put together from the rows of [`super::statements::pages`].

use std::collections::HashMap;

use hallway_protocol::event::{MessageCreated, MessageEdited, RoomCreated, RoomUpdated, TaskChanged, TaskCreated};
use hallway_protocol::model::MyRoom;
use hallway_protocol::task::{Task, TaskChange};
use hallway_protocol::{Epoch, Event, EventBody, Message, RoomInfo, StreamId, UserId};
use serde::Deserialize;
use tokio_postgres::Row;
use uuid::Uuid;

use super::rows::{Logged, comment, corrupt, message, notification, role, room, task, unsigned};
use crate::{Page, StoreError, StreamHead};

// Kinds of rows.
const OWN: i32 = 0;
const MINE: i32 = 1;
const CREATED: i32 = 2;
const LOGGED: i32 = 3;
const EDITED: i32 = 4;
const TASK: i32 = 5;
const COMMENTED: i32 = 6;
const NOTIFIED: i32 = 7;
const ROOM: i32 = 8;
const HEAD: i32 = 9;

/// Where the columns of what is shown begin, and where the numbers stand.
const SHOWN: usize = 2;
const NUMBERS: usize = 21;

/// What the store has, and what it has of one person.
pub(super) struct Own {
    pub(super) epoch: Epoch,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) revoked_before_ms: u64,
}

/// A page, and how many events lie in those before it.
struct Place {
    page: Page,
    before: i64,
}

/// What the rows of a statement say.
pub(super) struct Answer {
    pub(super) own: Own,
    /// With whether the person is muted there, in the order of their ids.
    pub(super) rooms: Vec<(MyRoom, bool)>,
    places: HashMap<i64, Place>,
}

impl Answer {
    /// Whether the stream, one of the person's rooms or their own, has events after this one.
    pub(super) fn has_more(&self, stream: &StreamId, after: u64) -> bool {
        match stream {
            StreamId::Room(room) => {
                let found = self.rooms.binary_search_by(|(mine, _)| mine.info.room.cmp(room));
                found.is_ok_and(|place| self.rooms[place].0.last_seq > after)
            }
            StreamId::User(_) => self.own.last_seq > after,
            StreamId::System => false,
        }
    }

    /// The page of each stream, by its place among those that were asked for, which counts from 1.
    pub(super) fn page(&mut self, place: usize) -> Option<Page> {
        let found = self.places.remove(&i64::try_from(place).ok()?)?;
        Some(found.page)
    }

    /// All pages that hold something, those that have little first.
    pub(super) fn pages(self) -> Vec<Page> {
        let mut places: Vec<Place> = self.places.into_values().collect();
        places.sort_unstable_by_key(|place| place.before);
        places.into_iter().map(|place| place.page).filter(|page| !page.events.is_empty()).collect()
    }
}

/// What events show that stands in rows of its own.
#[derive(Default)]
struct Shown {
    messages: HashMap<(i64, Uuid), Message>,
    tasks: HashMap<(i64, Uuid), Task>,
    rooms: HashMap<i64, RoomInfo>,
}

/// What the log keeps of a change of a task.
#[derive(Deserialize)]
struct TaskDetail<'a> {
    change: TaskChange,
    by: &'a str,
}

/// What the log keeps of a change of a room.
#[derive(Deserialize)]
struct By<'a> {
    by: &'a str,
}

/// Reads the rows; `stream` tells which stream has a place.
pub(super) fn read<'a>(rows: &[Row], stream: impl Fn(usize) -> Option<&'a StreamId>) -> Result<Answer, StoreError> {
    let (mut own, mut rooms, mut places, mut shown) = (None, Vec::new(), HashMap::new(), Shown::default());
    for row in rows {
        match kind(row)? {
            OWN => own = Some(own_of(row)?),
            MINE => rooms.push(mine(row)?),
            HEAD => {
                let place: i64 = row.try_get(1).map_err(corrupt)?;
                let stream = usize::try_from(place).ok().and_then(&stream);
                let stream = stream.ok_or_else(|| corrupt("a page that nobody asked for"))?;
                places.insert(place, head(row, stream.clone())?);
            }
            EDITED => {
                if let Some(message) = message(row, SHOWN)? {
                    shown.messages.insert((place(row)?, message.id.as_uuid()), message);
                }
            }
            TASK => {
                if let Some(task) = task(row, SHOWN)? {
                    shown.tasks.insert((place(row)?, task.id.as_uuid()), task);
                }
            }
            ROOM => {
                shown.rooms.insert(place(row)?, room(row, SHOWN)?);
            }
            _ => {}
        }
    }
    for row in rows.iter().filter(|row| (CREATED..=NOTIFIED).contains(&row.get::<_, i32>(0))) {
        let at = place(row)?;
        let page = &mut places.get_mut(&at).ok_or_else(|| corrupt("an event of no page"))?.page;
        if let Some(event) = event(row, at, &page.head.stream, &shown)? {
            page.events.push(event);
        }
    }
    rooms.sort_unstable_by(|(one, _), (other, _)| one.info.room.cmp(&other.info.room));
    // Messages came in their order, and so did the others.
    for Place { page, .. } in places.values_mut() {
        page.events.sort_by_key(|event| event.seq);
        // A message that is missing leaves no other trace.
        if let Some(pair) = page.events.windows(2).find(|pair| pair[1].seq != pair[0].seq + 1) {
            return Err(corrupt(format!("{} lacks what follows {}", page.head.stream, pair[0].seq)));
        }
    }
    Ok(Answer { own: own.ok_or_else(|| corrupt("the store has no epoch"))?, rooms, places })
}

fn kind(row: &Row) -> Result<i32, StoreError> {
    row.try_get(0).map_err(corrupt)
}

fn place(row: &Row) -> Result<i64, StoreError> {
    row.try_get(1).map_err(corrupt)
}

fn number(row: &Row, column: usize) -> Result<i64, StoreError> {
    Ok(row.try_get::<_, Option<i64>>(SHOWN + column).map_err(corrupt)?.unwrap_or_default())
}

fn own_of(row: &Row) -> Result<Own, StoreError> {
    Ok(Own {
        epoch: Epoch::new(row.try_get(SHOWN + 3).map_err(corrupt)?)?,
        first_seq: unsigned(number(row, 0)?),
        last_seq: unsigned(number(row, 1)?),
        revoked_before_ms: unsigned(number(row, 6)?),
    })
}

fn head(row: &Row, stream: StreamId) -> Result<Place, StoreError> {
    let head = StreamHead { stream, first_seq: unsigned(number(row, 0)?), last_seq: unsigned(number(row, 1)?) };
    let page = Page { head, after: unsigned(number(row, 6)?), events: Vec::new() };
    Ok(Place { page, before: number(row, 8)? })
}

fn mine(row: &Row) -> Result<(MyRoom, bool), StoreError> {
    let numbers: Vec<Option<i64>> = row.try_get(NUMBERS).map_err(corrupt)?;
    let &[role_number, joined, since, first, last, read, unread, muted] = numbers.as_slice() else {
        return Err(corrupt("a membership lacks numbers"));
    };
    let count = |number: Option<i64>| unsigned(number.unwrap_or_default());
    let number = role_number.and_then(|number| i16::try_from(number).ok());
    // Every member has a marker: it begins at the joining.
    let (Some(read), Some(unread)) = (read, unread) else { return Err(corrupt("a member without a read marker")) };
    let mine = MyRoom {
        info: room(row, SHOWN)?,
        role: role(number.ok_or_else(|| corrupt("a member without a role"))?)?,
        joined_seq: count(joined),
        visible_from_seq: count(since),
        first_seq: count(first),
        last_seq: count(last),
        read_seq: unsigned(read),
        unread: unsigned(unread),
    };
    Ok((mine, muted == Some(1)))
}

/// The event of a row, if it is one.
fn event(row: &Row, place: i64, stream: &StreamId, shown: &Shown) -> Result<Option<Event>, StoreError> {
    let timed = |body| -> Result<Option<Event>, StoreError> {
        Ok(Some(Event {
            stream: stream.clone(),
            seq: unsigned(number(row, 0)?),
            at_ms: unsigned(number(row, 1)?),
            body,
        }))
    };
    match kind(row)? {
        CREATED => {
            let message = message(row, SHOWN)?.ok_or_else(|| corrupt("a message without an id"))?;
            timed(EventBody::MessageCreated(MessageCreated { message }))
        }
        COMMENTED => timed(EventBody::TaskCommented(comment(row, SHOWN)?)),
        NOTIFIED => timed(EventBody::NotificationCreated(notification(row, SHOWN, NUMBERS)?)),
        LOGGED => {
            let logged = Logged::of(row, SHOWN)?;
            timed(body(&logged, place, shown)?)
        }
        _ => Ok(None),
    }
}

fn body(logged: &Logged<'_>, place: i64, shown: &Shown) -> Result<EventBody, StoreError> {
    let object = || logged.object.map(|object| (place, object)).ok_or_else(|| logged.lacks("what it is about"));
    let info = || shown.rooms.get(&place).cloned().ok_or_else(|| logged.lacks("its room"));
    let task = || shown.tasks.get(&object()?).cloned().ok_or_else(|| logged.lacks("its task"));
    let by = || Ok::<_, StoreError>(UserId::new(logged.detail::<By<'_>>()?.by)?);
    Ok(match logged.kind {
        1 => EventBody::RoomCreated(RoomCreated { info: info()?, by: by()? }),
        2 => EventBody::RoomUpdated(RoomUpdated { info: info()?, by: by()? }),
        8 => {
            let message = shown.messages.get(&object()?).cloned().map_or_else(|| logged.trimmed_edit(), Ok)?;
            EventBody::MessageEdited(MessageEdited { message })
        }
        20 => EventBody::TaskCreated(TaskCreated { task: task()? }),
        21 => {
            let TaskDetail { change, by } = logged.detail()?;
            EventBody::TaskChanged(TaskChanged { task: task()?, change, by: UserId::new(by)? })
        }
        _ => logged.body()?,
    })
}
