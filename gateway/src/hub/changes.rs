//! What those above want to know of this node, as sets that they take when they come to it: which rooms are followed here,
//! whose members changed, which people came or went.
//!
//! Nobody waits for who takes, and nothing is kept of what changed twice. The sets are bounded: beyond that everything counts
//! as changed.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use hallway_protocol::{RoomId, UserId};
use tokio::sync::Notify;

/// Rooms or people that one set remembers; of more, everything counts as changed.
const REMEMBERED_MAX: usize = 65_536;

/// Something that collects until it is taken.
#[derive(Debug, Default)]
struct Collected<T> {
    inner: Mutex<T>,
    filled: Notify,
}

impl<T: Default> Collected<T> {
    fn add(&self, add: impl FnOnce(&mut T)) {
        add(&mut self.inner());
        self.filled.notify_one();
    }

    fn inner(&self) -> MutexGuard<'_, T> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn filled(&self) {
        self.filled.notified().await;
    }

    fn take(&self) -> T {
        std::mem::take(&mut *self.inner())
    }
}

/// What changed about rooms.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ChangedRooms {
    /// More changed than is said here: ask [`super::Hub::followed_rooms`], and trust nothing that is known of members.
    pub is_more: bool,
    /// Rooms that have a first reader here (again), or that were forgotten because they have had none for long.
    pub followed: HashMap<RoomId, bool>,
    /// Rooms whose members are others than before.
    pub members: HashSet<RoomId>,
}

/// What changed about people.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ChangedPeople {
    /// More changed than is said here: ask [`super::Hub::people`].
    pub is_more: bool,
    /// People whose connections are others than before, or look away; ask [`super::Hub::devices_of`] how it is now.
    pub people: HashSet<UserId>,
}

/// Collects what changes about rooms.
#[derive(Debug, Default)]
pub struct RoomWatch(Collected<ChangedRooms>);

impl RoomWatch {
    pub(super) fn followed(&self, room: &RoomId, followed: bool) {
        self.0.add(|changed| {
            if has_room(changed.followed.len(), || changed.followed.contains_key(room), &mut changed.is_more) {
                changed.followed.insert(room.clone(), followed);
            }
        });
    }

    pub(super) fn members(&self, room: &RoomId) {
        self.0.add(|changed| remember(&mut changed.members, room, &mut changed.is_more));
    }

    /// Resolves when there may be something to take.
    pub async fn filled(&self) {
        self.0.filled().await;
    }

    /// What changed since the last time.
    #[must_use]
    pub fn take(&self) -> ChangedRooms {
        self.0.take()
    }
}

/// Collects who comes and goes.
#[derive(Debug, Default)]
pub struct PeopleWatch(Collected<ChangedPeople>);

impl PeopleWatch {
    /// This person changed.
    pub fn note(&self, user: &UserId) {
        self.0.add(|changed| remember(&mut changed.people, user, &mut changed.is_more));
    }

    /// Resolves when there may be something to take.
    pub async fn filled(&self) {
        self.0.filled().await;
    }

    /// What changed since the last time.
    #[must_use]
    pub fn take(&self) -> ChangedPeople {
        self.0.take()
    }
}

fn remember<T: Clone + Eq + Hash>(set: &mut HashSet<T>, one: &T, is_more: &mut bool) {
    if has_room(set.len(), || set.contains(one), is_more) {
        set.insert(one.clone());
    }
}

fn has_room(length: usize, is_there: impl FnOnce() -> bool, is_more: &mut bool) -> bool {
    let fits = length < REMEMBERED_MAX || is_there();
    *is_more |= !fits;
    fits
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test panics")]
    use super::*;

    #[test]
    fn what_changed_is_said_once_and_too_much_of_it_is_said_to_be_more() {
        let watch = RoomWatch::default();
        let room = |number: usize| RoomId::new(&format!("r{number}")).unwrap();
        watch.followed(&room(1), true);
        watch.followed(&room(1), false);
        watch.members(&room(2));
        watch.members(&room(2));
        let changed = watch.take();
        assert_eq!((changed.followed, changed.is_more), (HashMap::from([(room(1), false)]), false));
        assert_eq!(changed.members, HashSet::from([room(2)]));
        assert_eq!(watch.take(), ChangedRooms::default());
        for number in 0..REMEMBERED_MAX {
            watch.followed(&room(number), true);
        }
        assert!(!watch.take().is_more);
        for number in 0..=REMEMBERED_MAX {
            watch.members(&room(number));
        }
        watch.members(&room(0));
        let changed = watch.take();
        assert_eq!((changed.is_more, changed.members.len()), (true, REMEMBERED_MAX));
    }
}
