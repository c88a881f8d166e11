//! Pure: large rooms whose people somebody asked for lately. Only they are counted, at every node.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hallway_protocol::RoomId;

use super::ROOMS_WANTED_MAX;

/// A room is counted for so long after it was asked for.
const WANTED_FOR: Duration = Duration::from_secs(120);
/// While somebody goes on asking, the others are told again after this.
const SAY_AGAIN: Duration = Duration::from_secs(40);
/// The same while not all nodes count it yet: the first word may have been lost.
const SAY_AGAIN_UNCOUNTED: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Wanted {
    until: Instant,
    said_at: Option<Instant>,
    is_unsaid: bool,
}

/// The rooms that are wanted, here or elsewhere.
#[derive(Debug, Default)]
pub(super) struct Interest {
    rooms: BTreeMap<RoomId, Wanted>,
}

impl Interest {
    fn note(&mut self, room: &RoomId, now: Instant) -> Option<&mut Wanted> {
        if !self.rooms.contains_key(room) && self.rooms.len() >= ROOMS_WANTED_MAX {
            return None;
        }
        let new = || Wanted { until: now, said_at: None, is_unsaid: false };
        let wanted = self.rooms.entry(room.clone()).or_insert_with(new);
        wanted.until = wanted.until.max(now + WANTED_FOR);
        Some(wanted)
    }

    /// Somebody asked here. `false` when too many rooms are wanted already.
    pub(super) fn asked(&mut self, room: &RoomId, is_counted: bool, now: Instant) -> bool {
        let Some(wanted) = self.note(room, now) else { return false };
        let pause = if is_counted { SAY_AGAIN } else { SAY_AGAIN_UNCOUNTED };
        wanted.is_unsaid |= wanted.said_at.is_none_or(|at| now.saturating_duration_since(at) >= pause);
        if wanted.is_unsaid {
            wanted.said_at = Some(now);
        }
        true
    }

    /// Another node said that somebody asked there.
    pub(super) fn heard(&mut self, rooms: Vec<RoomId>, now: Instant) {
        for room in rooms {
            self.note(&room, now);
        }
    }

    /// What the others are to be told.
    pub(super) fn take_unsaid(&mut self) -> Vec<RoomId> {
        let unsaid = self.rooms.iter_mut().filter(|(_, wanted)| wanted.is_unsaid);
        unsaid
            .map(|(room, wanted)| {
                wanted.is_unsaid = false;
                room.clone()
            })
            .collect()
    }

    /// Forgets what nobody asked for any more, and says what that was.
    pub(super) fn tick(&mut self, now: Instant) -> Vec<RoomId> {
        self.rooms.extract_if(.., |_, wanted| wanted.until <= now).map(|(room, _)| room).collect()
    }

    pub(super) fn contains(&self, room: &RoomId) -> bool {
        self.rooms.contains_key(room)
    }

    pub(super) fn rooms(&self) -> impl Iterator<Item = &RoomId> {
        self.rooms.keys()
    }
}
