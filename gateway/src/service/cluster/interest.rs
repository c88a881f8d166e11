//! Pure: which large rooms' channels this node should hear.
//!
//! A room that has readers here is subscribed to from [`SUBSCRIBE_PERCENT`] of the size at which writers begin to use its
//! channel, so that the subscription is there before it is needed, and left below [`KEEP_PERCENT`], so that a room that flaps
//! around either size costs nothing.

use std::collections::{HashMap, HashSet};

use hallway_protocol::RoomId;

/// From how much of the size of a large room its channel is heard.
pub(super) const SUBSCRIBE_PERCENT: u64 = 80;
/// Down to how much of it.
pub(super) const KEEP_PERCENT: u64 = 60;

#[derive(Debug, Default, Clone, Copy)]
struct Followed {
    /// `None`: not counted yet.
    members: Option<u32>,
    is_subscribed: bool,
}

/// What to do to the subscriptions.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    pub subscribe: Vec<RoomId>,
    pub unsubscribe: Vec<RoomId>,
}

/// The rooms that have readers here.
#[derive(Debug)]
pub(super) struct Interest {
    subscribe_from: u32,
    keep_from: u32,
    rooms: HashMap<RoomId, Followed>,
    /// Rooms that are subscribed to and have no readers any more.
    left: HashSet<RoomId>,
    /// Rooms whose wish may differ from what is.
    open: HashSet<RoomId>,
}

impl Interest {
    /// No room is followed. Writers use a room's channel from `large_from` members on.
    #[must_use]
    pub(super) fn new(large_from: u32) -> Self {
        let share = |percent: u64| u32::try_from(u64::from(large_from) * percent / 100).unwrap_or(u32::MAX).max(1);
        Self {
            subscribe_from: share(SUBSCRIBE_PERCENT),
            keep_from: share(KEEP_PERCENT),
            rooms: HashMap::new(),
            left: HashSet::new(),
            open: HashSet::new(),
        }
    }

    /// A room has readers here, or none any more.
    pub(super) fn follow(&mut self, room: &RoomId, follows: bool) {
        if follows {
            let is_subscribed = self.left.remove(room);
            self.rooms.entry(room.clone()).or_insert(Followed { members: None, is_subscribed });
        } else if self.rooms.remove(room).is_some_and(|followed| followed.is_subscribed) {
            self.left.insert(room.clone());
            self.open.insert(room.clone());
        }
    }

    /// Exactly these rooms have readers here.
    pub(super) fn follow_exactly(&mut self, rooms: &[RoomId]) {
        let wanted: HashSet<&RoomId> = rooms.iter().collect();
        let over: Vec<RoomId> = self.rooms.keys().filter(|room| !wanted.contains(room)).cloned().collect();
        over.iter().for_each(|room| self.follow(room, false));
        rooms.iter().for_each(|room| self.follow(room, true));
    }

    /// Whether a room has readers here.
    #[must_use]
    pub(super) fn follows(&self, room: &RoomId) -> bool {
        self.rooms.contains_key(room)
    }

    /// So many members it has.
    pub(super) fn counted(&mut self, room: &RoomId, members: u32) {
        if let Some(followed) = self.rooms.get_mut(room) {
            followed.members = Some(members);
            self.open.insert(room.clone());
        }
    }

    /// What to do now; it counts as done.
    pub(super) fn due(&mut self) -> Due {
        let mut due = Due::default();
        for room in std::mem::take(&mut self.open) {
            if self.left.remove(&room) {
                due.unsubscribe.push(room);
                continue;
            }
            let Some(followed) = self.rooms.get_mut(&room) else { continue };
            let from = if followed.is_subscribed { self.keep_from } else { self.subscribe_from };
            let wished = followed.members.map_or(followed.is_subscribed, |members| members >= from);
            if wished == followed.is_subscribed {
                continue;
            }
            followed.is_subscribed = wished;
            if wished { &mut due.subscribe } else { &mut due.unsubscribe }.push(room);
        }
        due
    }

    /// Rooms that are subscribed to.
    #[must_use]
    pub(super) fn subscribed(&self) -> usize {
        self.rooms.values().filter(|followed| followed.is_subscribed).count() + self.left.len()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test panics")]
    use proptest::prelude::*;

    use super::*;

    fn room(number: usize) -> RoomId {
        RoomId::new(&format!("r{number}")).unwrap()
    }

    #[test]
    fn a_room_that_flaps_around_a_size_is_subscribed_to_once() {
        let mut interest = Interest::new(100);
        interest.follow(&room(1), true);
        let (mut subscribed, mut unsubscribed) = (0, 0);
        for members in [79, 80, 79, 81, 100, 99, 101, 100, 61, 60, 80, 79, 60] {
            interest.counted(&room(1), members);
            let due = interest.due();
            subscribed += due.subscribe.len();
            unsubscribed += due.unsubscribe.len();
        }
        assert_eq!((subscribed, unsubscribed), (1, 0));
        interest.counted(&room(1), 59);
        assert_eq!(interest.due().unsubscribe, [room(1)]);
        interest.counted(&room(1), 79);
        assert_eq!(interest.due(), Due::default());
    }

    #[test]
    fn a_room_that_is_left_and_followed_again_stays_subscribed() {
        let mut interest = Interest::new(100);
        interest.follow(&room(1), true);
        interest.counted(&room(1), 100);
        assert_eq!(interest.due().subscribe, [room(1)]);
        interest.follow(&room(1), false);
        interest.follow(&room(1), true);
        assert_eq!((interest.due(), interest.subscribed()), (Due::default(), 1));
        interest.follow(&room(1), false);
        assert_eq!(interest.due().unsubscribe, [room(1)]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Follow(usize, bool),
        Exactly(Vec<usize>),
        Counted(usize, u32),
        Due,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (0..4_usize, prop::bool::ANY).prop_map(|(room, follows)| Step::Follow(room, follows)),
            1 => prop::collection::vec(0..4_usize, 0..4).prop_map(Step::Exactly),
            4 => (0..4_usize, 0..150_u32).prop_map(|(room, members)| Step::Counted(room, members)),
            2 => Just(Step::Due),
        ]
    }

    proptest! {
        /// Whatever happens, what is asked of the bus changes something, and in the end exactly the rooms are subscribed to
        /// that are followed and large enough; those between the two sizes either way.
        #[test]
        fn in_the_end_the_large_rooms_that_are_followed_are_subscribed_to(steps in prop::collection::vec(step(), 0..80)) {
            let mut interest = Interest::new(100);
            let mut on_bus: HashSet<RoomId> = HashSet::new();
            let mut followed: HashMap<RoomId, Option<u32>> = HashMap::new();
            for step in steps.into_iter().chain([Step::Due]) {
                match step {
                    Step::Follow(number, true) => {
                        interest.follow(&room(number), true);
                        followed.entry(room(number)).or_default();
                    }
                    Step::Follow(number, false) => {
                        interest.follow(&room(number), false);
                        followed.remove(&room(number));
                    }
                    Step::Exactly(numbers) => {
                        let rooms: Vec<RoomId> = numbers.into_iter().map(room).collect();
                        interest.follow_exactly(&rooms);
                        followed.retain(|room, _| rooms.contains(room));
                        rooms.into_iter().for_each(|room| { followed.entry(room).or_default(); });
                    }
                    Step::Counted(number, members) => {
                        interest.counted(&room(number), members);
                        if let Some(known) = followed.get_mut(&room(number)) { *known = Some(members); }
                    }
                    Step::Due => {
                        let due = interest.due();
                        for room in due.subscribe { prop_assert!(on_bus.insert(room)); }
                        for room in due.unsubscribe { prop_assert!(on_bus.remove(&room)); }
                        prop_assert_eq!(interest.subscribed(), on_bus.len());
                    }
                }
            }
            for room in (0..4).map(room) {
                match followed.get(&room) {
                    None => prop_assert!(!on_bus.contains(&room)),
                    Some(Some(members)) if *members >= 80 => prop_assert!(on_bus.contains(&room)),
                    Some(Some(members)) if *members < 60 => prop_assert!(!on_bus.contains(&room)),
                    Some(_) => {}
                }
            }
        }
    }
}
