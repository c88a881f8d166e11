//! Cursors of pages: opaque to clients, versioned, and of one list only.
//!
//! A cursor is the lower-case hexadecimal form of `version, list, key`. It grants nothing: a forged one is merely
//! another place to begin in a list that the asker is checked for all the same.

use uuid::Uuid;

use crate::command::{Direction, RoomScope, TaskOrder};
use crate::ids::TaskId;
use crate::position::{SEQ_MAX, Seq};

/// Leads every cursor.
const CURSOR_VERSION: u8 = 1;
const HEX: &[u8; 16] = b"0123456789abcdef";
/// Longest key, in bytes: that of the longest id.
const KEY_MAX_BYTES: usize = 64;

/// The list, and the direction in it, that a cursor continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Cursor {
    /// Messages before the key, a `seq`.
    Older = b'o',
    /// Messages after the key, a `seq`.
    Newer = b'n',
    /// The asker's own rooms after the key, a room id.
    MyRooms = b'r',
    /// Public rooms after the key, a room id.
    PublicRooms = b'p',
    /// Members of a room after the key, a user id.
    Members = b'm',
    /// People banned from a room after the key, a user id.
    Bans = b'b',
    /// Audit entries before the key, their number.
    Audit = b'a',
    /// Members of a room, with their presence, after the key, a user id.
    Presence = b'w',
    /// Tasks, the newest first, after the key: a rank of 0 and a task id.
    NewestTasks = b't',
    /// Tasks by due time after the key, a due time and a task id.
    DueTasks = b'd',
    /// Tasks by priority after the key, a priority's number and a task id.
    PriorityTasks = b'u',
    /// Comments of a task before the key, a `seq`.
    Comments = b'c',
    /// The asker's own notifications before the key, a `seq`.
    Notifications = b'i',
    /// Webhooks that were given up before the key, their number.
    DeadJobs = b'j',
}

/// Why a text is no cursor for this list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCursor {
    #[error("the cursor is not one that this server gave out: begin again without a cursor")]
    Malformed,
    #[error("the cursor is of version {0}, this server has version 1: begin again without a cursor")]
    Version(u8),
    #[error("the cursor belongs to another list or direction, not to {0}")]
    OtherList(&'static str),
}

impl From<Direction> for Cursor {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Older => Self::Older,
            Direction::Newer => Self::Newer,
        }
    }
}

impl From<RoomScope> for Cursor {
    fn from(scope: RoomScope) -> Self {
        match scope {
            RoomScope::Mine => Self::MyRooms,
            RoomScope::Public => Self::PublicRooms,
        }
    }
}

impl From<TaskOrder> for Cursor {
    fn from(order: TaskOrder) -> Self {
        match order {
            TaskOrder::Newest => Self::NewestTasks,
            TaskOrder::Due => Self::DueTasks,
            TaskOrder::Priority => Self::PriorityTasks,
        }
    }
}

impl Cursor {
    /// Continues this list at a sequence number.
    #[must_use]
    pub fn encode_seq(self, seq: Seq) -> String {
        self.encode(&seq.to_be_bytes())
    }

    /// Continues this list at an id.
    #[must_use]
    pub fn encode_text(self, key: &str) -> String {
        self.encode(key.as_bytes())
    }

    /// Continues this list behind a task: what the list is ordered by, and the id, which settles ties.
    #[must_use]
    pub fn encode_task(self, rank: u64, id: TaskId) -> String {
        self.encode(&[&rank.to_be_bytes()[..], id.as_uuid().as_bytes()].concat())
    }

    /// The sequence number to continue at.
    ///
    /// # Errors
    /// [`InvalidCursor`] when the text is no cursor, or one of another list.
    pub fn decode_seq(self, text: &str) -> Result<Seq, InvalidCursor> {
        let key: [u8; 8] = self.decode(text)?.try_into().map_err(|_| InvalidCursor::Malformed)?;
        let seq = Seq::from_be_bytes(key);
        if seq <= SEQ_MAX { Ok(seq) } else { Err(InvalidCursor::Malformed) }
    }

    /// The rank and the task to continue behind.
    ///
    /// # Errors
    /// [`InvalidCursor`] when the text is no cursor, or one of another list.
    pub fn decode_task(self, text: &str) -> Result<(u64, TaskId), InvalidCursor> {
        let key = self.decode(text)?;
        let (rank, id) = key.split_first_chunk().ok_or(InvalidCursor::Malformed)?;
        let id = Uuid::from_slice(id).ok().and_then(|id| TaskId::from_uuid(id).ok()).ok_or(InvalidCursor::Malformed)?;
        let rank = u64::from_be_bytes(*rank);
        if rank <= SEQ_MAX { Ok((rank, id)) } else { Err(InvalidCursor::Malformed) }
    }

    /// The id to continue at. Parse it: a forged cursor may hold anything.
    ///
    /// # Errors
    /// [`InvalidCursor`] when the text is no cursor, or one of another list.
    pub fn decode_text(self, text: &str) -> Result<String, InvalidCursor> {
        String::from_utf8(self.decode(text)?).map_err(|_| InvalidCursor::Malformed)
    }

    fn list(self) -> &'static str {
        match self {
            Self::Older => "message.history with direction older",
            Self::Newer => "message.history with direction newer",
            Self::MyRooms => "room.list with scope mine",
            Self::PublicRooms => "room.list with scope public",
            Self::Members => "room.members",
            Self::Bans => "room.bans",
            Self::Audit => "audit.list",
            Self::Presence => "presence.get",
            Self::NewestTasks => "task.list with order newest",
            Self::DueTasks => "task.list with order due",
            Self::PriorityTasks => "task.list with order priority",
            Self::Comments => "task.comments",
            Self::Notifications => "notification.list",
            Self::DeadJobs => "outbox.dead",
        }
    }

    fn encode(self, key: &[u8]) -> String {
        [CURSOR_VERSION, self as u8]
            .iter()
            .chain(key)
            .flat_map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]])
            .map(char::from)
            .collect()
    }

    fn decode(self, text: &str) -> Result<Vec<u8>, InvalidCursor> {
        if !text.len().is_multiple_of(2) || text.len() > 2 * (KEY_MAX_BYTES + 2) {
            return Err(InvalidCursor::Malformed);
        }
        let digit = |byte: u8| HEX.iter().position(|digit| *digit == byte).and_then(|value| u8::try_from(value).ok());
        let byte = |pair: &[u8]| Some(digit(pair[0])? << 4 | digit(pair[1])?);
        let bytes: Vec<u8> =
            text.as_bytes().chunks_exact(2).map(byte).collect::<Option<_>>().ok_or(InvalidCursor::Malformed)?;
        match bytes.as_slice() {
            [CURSOR_VERSION, list, key @ ..] if *list == self as u8 => Ok(key.to_vec()),
            [CURSOR_VERSION, ..] => Err(InvalidCursor::OtherList(self.list())),
            [version, ..] => Err(InvalidCursor::Version(*version)),
            [] => Err(InvalidCursor::Malformed),
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_what_it_was() {
        for seq in [0, 1, 255, 256, SEQ_MAX] {
            assert_eq!(Cursor::Older.decode_seq(&Cursor::Older.encode_seq(seq)), Ok(seq));
        }
        assert_eq!(Cursor::Members.decode_text(&Cursor::Members.encode_text("anna")).unwrap(), "anna");
        let longest = "x".repeat(KEY_MAX_BYTES);
        assert_eq!(Cursor::MyRooms.decode_text(&Cursor::MyRooms.encode_text(&longest)).unwrap(), longest);
    }

    #[test]
    fn a_cursor_of_tasks_comes_back_as_what_it_was_and_only_in_its_own_order() {
        let id = TaskId::generate();
        let orders = [TaskOrder::Newest, TaskOrder::Due, TaskOrder::Priority];
        for (order, rank) in orders.into_iter().zip([0, SEQ_MAX, 3]) {
            let text = Cursor::from(order).encode_task(rank, id);
            assert!(text.len() <= crate::check::CURSOR_MAX_BYTES);
            assert_eq!(Cursor::from(order).decode_task(&text), Ok((rank, id)));
            for other in orders.into_iter().filter(|other| *other != order) {
                assert!(matches!(Cursor::from(other).decode_task(&text), Err(InvalidCursor::OtherList(_))));
            }
        }
    }

    #[test]
    fn a_forged_cursor_of_tasks_is_refused() {
        let text = Cursor::DueTasks.encode_task(7, TaskId::generate());
        // A rank that no store can hold, no UUID of version 7, a key that is too short or too long.
        let beyond = Cursor::DueTasks.encode_task(SEQ_MAX + 1, TaskId::generate());
        let random = Cursor::DueTasks.encode(&[0x40; 24]);
        for forged in [&beyond, &random, &text[..text.len() - 2], &format!("{text}00"), "0164", "01640000000000000007"]
        {
            assert_eq!(Cursor::DueTasks.decode_task(forged), Err(InvalidCursor::Malformed), "{forged}");
        }
    }

    #[test]
    fn no_two_lists_have_the_same_letter_or_name() {
        let lists = [
            Cursor::Older,
            Cursor::Newer,
            Cursor::MyRooms,
            Cursor::PublicRooms,
            Cursor::Members,
            Cursor::Bans,
            Cursor::Audit,
            Cursor::Presence,
            Cursor::NewestTasks,
            Cursor::DueTasks,
            Cursor::PriorityTasks,
            Cursor::Comments,
            Cursor::Notifications,
            Cursor::DeadJobs,
        ];
        let names: std::collections::HashSet<&str> = lists.iter().map(|list| list.list()).collect();
        let letters: std::collections::HashSet<u8> = lists.iter().map(|list| *list as u8).collect();
        assert_eq!((names.len(), letters.len()), (lists.len(), lists.len()));
        for list in lists {
            assert_eq!(list.decode_seq(&list.encode_seq(9)), Ok(9));
        }
    }

    #[test]
    fn a_cursor_of_another_list_or_direction_is_refused() {
        let older = Cursor::Older.encode_seq(7);
        assert!(matches!(Cursor::Newer.decode_seq(&older), Err(InvalidCursor::OtherList(_))));
        assert!(matches!(Cursor::Members.decode_text(&older), Err(InvalidCursor::OtherList(_))));
    }

    #[test]
    fn a_forged_cursor_is_refused_without_a_panic() {
        for text in ["", "0", "zz", "é", "01", "016f", "016f00", "016F0000000000000007", "016fffffffffffffffff", "äö"]
        {
            assert!(Cursor::Older.decode_seq(text).is_err(), "{text}");
        }
        assert_eq!(Cursor::Older.decode_seq("026f0000000000000007"), Err(InvalidCursor::Version(2)));
        assert_eq!(Cursor::Members.decode_text("016dff"), Err(InvalidCursor::Malformed));
        assert!(Cursor::Members.decode_text(&"0".repeat(1000)).is_err());
    }
}
