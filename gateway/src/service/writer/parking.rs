//! Pure: writes that wait for a room which someone else has locked in the store, while all others go on.
//!
//! A write is parked when the store says that its room is locked, and also when it comes behind a parked one of the same actor
//! or of a room that was locked a moment ago. Parked writes are tried again alone, one batch of them at a time. Several writes
//! that are made together are one here, of all their rooms.
//!
//! **Invariant:** nobody's writes overtake each other, nor those of a locked room.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant};

/// For so long after the last time that a room was found locked its writes are not handed in together with others: they would
/// make those wait as well.
const LOCK_MEMORY: Duration = Duration::from_secs(2);
/// Rooms that are remembered so; more are found locked anew.
const ROOMS_MAX: usize = 1024;

/// What parking looks at.
pub(crate) trait Keyed {
    type Room: Eq + Hash + Clone;
    type Actor: Eq + Hash + Clone;
    /// Each once.
    fn rooms(&self) -> &[Self::Room];
    fn actor(&self) -> &Self::Actor;
    /// How many writes it counts as.
    fn weight(&self) -> usize;
}

#[derive(Debug)]
struct LockedRoom {
    until: Instant,
    /// Of its writes, parked or being tried again.
    writes: usize,
}

/// A write that the store left out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Left<T: Keyed> {
    pub(super) write: T,
    /// Which of its own rooms is locked; otherwise it only comes behind another.
    pub(super) locked: Option<T::Room>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Parking<T: Keyed> {
    parked: VecDeque<T>,
    /// Of those.
    parked_weight: usize,
    rooms: HashMap<T::Room, LockedRoom>,
    /// Writes of each actor, parked or being tried again.
    actors: HashMap<T::Actor, usize>,
    is_trying: bool,
    max: usize,
}

/// What is to be done with a write that comes in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admit<T> {
    Go(T),
    Parked,
    /// Too many are parked: to be refused.
    Full(T),
}

impl<T: Keyed> Parking<T> {
    pub(super) fn new(max: usize) -> Self {
        Self {
            parked: VecDeque::new(),
            parked_weight: 0,
            rooms: HashMap::new(),
            actors: HashMap::new(),
            is_trying: false,
            max,
        }
    }

    /// A write on its way to the store.
    pub(super) fn admit(&mut self, write: T, now: Instant) -> Admit<T> {
        if self.is_empty() && self.rooms.is_empty() {
            return Admit::Go(write);
        }
        let is_locked = |room: &T::Room| self.rooms.get(room).is_some_and(|room| room.writes > 0 || room.until > now);
        if !write.rooms().iter().any(is_locked) && !self.actors.contains_key(write.actor()) {
            return Admit::Go(write);
        }
        if self.parked_weight >= self.max {
            return Admit::Full(write);
        }
        self.count(&write);
        self.parked.push_back(write);
        Admit::Parked
    }

    /// Writes that the store left out, in their order.
    pub(super) fn put_back(&mut self, left: Vec<Left<T>>, now: Instant) {
        for room in left.iter().filter_map(|left| left.locked.as_ref()) {
            if self.rooms.len() < ROOMS_MAX || self.rooms.contains_key(room) {
                let until = now + LOCK_MEMORY;
                self.rooms
                    .entry(room.clone())
                    .and_modify(|room| room.until = until)
                    .or_insert(LockedRoom { until, writes: 0 });
            }
        }
        for Left { write, .. } in left.into_iter().rev() {
            self.count(&write);
            self.parked.push_front(write);
        }
    }

    /// Begins an attempt with at most so many writes (or with one entry that is more), unless one is under way or nothing is
    /// parked. Ends with [`Parking::tried`].
    pub(super) fn try_again(&mut self, most: usize, now: Instant) -> Option<Vec<T>> {
        self.rooms.retain(|_, room| room.writes > 0 || room.until > now);
        if self.is_trying || self.parked.is_empty() {
            return None;
        }
        self.is_trying = true;
        let mut taken = Vec::new();
        let mut weight = 0;
        while let Some(write) = self.parked.pop_front_if(|write| weight == 0 || weight + write.weight() <= most) {
            weight += write.weight();
            taken.push(write);
        }
        self.parked_weight -= weight;
        Some(taken)
    }

    /// The attempt is over: all of these were answered, but for those that were left out, which stay.
    pub(super) fn tried(&mut self, rooms_and_actors: Vec<(Vec<T::Room>, T::Actor)>, left: Vec<Left<T>>, now: Instant) {
        self.is_trying = false;
        for (rooms, actor) in rooms_and_actors {
            for room in rooms {
                if let Some(room) = self.rooms.get_mut(&room) {
                    room.writes = room.writes.saturating_sub(1);
                }
            }
            if let Some(writes) = self.actors.get_mut(&actor) {
                *writes -= 1;
                if *writes == 0 {
                    self.actors.remove(&actor);
                }
            }
        }
        self.put_back(left, now);
    }

    fn count(&mut self, write: &T) {
        self.parked_weight += write.weight();
        for room in write.rooms() {
            if let Some(room) = self.rooms.get_mut(room) {
                room.writes += 1;
            }
        }
        *self.actors.entry(write.actor().clone()).or_default() += 1;
    }

    /// Parked, or being tried again.
    pub(super) fn len(&self) -> usize {
        self.actors.values().sum()
    }

    fn is_empty(&self) -> bool {
        self.actors.is_empty()
    }
}

/// Takes those out of `writes` that come behind one that was left out: of a locked room, or by the same actor. Both keep their
/// order.
pub(super) fn split_behind<T: Keyed>(writes: Vec<T>, left: &[Left<T>]) -> (Vec<T>, Vec<Left<T>>) {
    let mut actors: HashSet<T::Actor> = left.iter().map(|left| left.write.actor().clone()).collect();
    let rooms: HashSet<&T::Room> = left.iter().filter_map(|left| left.locked.as_ref()).collect();
    let (mut goes, mut behind) = (Vec::with_capacity(writes.len()), Vec::new());
    for write in writes {
        let locked = write.rooms().iter().find(|room| rooms.contains(room)).cloned();
        if locked.is_some() || actors.contains(write.actor()) {
            actors.insert(write.actor().clone());
            behind.push(Left { write, locked });
        } else {
            goes.push(write);
        }
    }
    (goes, behind)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Write {
        rooms: Vec<u8>,
        actor: u8,
        number: usize,
    }

    impl Keyed for Write {
        type Room = u8;
        type Actor = u8;
        fn rooms(&self) -> &[u8] {
            &self.rooms
        }
        fn actor(&self) -> &u8 {
            &self.actor
        }
        fn weight(&self) -> usize {
            self.rooms.len()
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// These come in and are handed to the store.
        Batch(Vec<(Vec<u8>, u8)>),
        /// An attempt with what is parked begins.
        Try,
        /// It ends.
        Tried,
        Lock(u8),
        Unlock(u8),
        Pause,
    }

    /// Of one room, or of several together.
    fn rooms() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => (0..5_u8).prop_map(|room| vec![room]),
            1 => prop::collection::hash_set(0..5_u8, 1..4).prop_map(|rooms| rooms.into_iter().collect()),
        ]
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => prop::collection::vec((rooms(), 0..6_u8), 1..8).prop_map(Step::Batch),
            3 => Just(Step::Try),
            3 => Just(Step::Tried),
            1 => (0..5_u8).prop_map(Step::Lock),
            1 => (0..5_u8).prop_map(Step::Unlock),
            1 => Just(Step::Pause),
        ];
        prop::collection::vec(step, 0..100)
    }

    /// As the store answers: what is locked, and what comes behind it by the same actor, is left out.
    fn store(batch: Vec<Write>, locked: &HashSet<u8>, log: &mut Vec<Write>) -> Vec<Left<Write>> {
        let (mut behind, mut left) = (HashSet::new(), Vec::new());
        for write in batch {
            let is_locked = write.rooms.iter().find(|room| locked.contains(room)).copied();
            if is_locked.is_some() || behind.contains(&write.actor) {
                behind.insert(write.actor);
                left.push(Left { write, locked: is_locked });
            } else {
                log.push(write);
            }
        }
        left
    }

    proptest! {
        /// Whatever is locked and unlocked when: each actor's writes are committed in their order, all of them in the end, and
        /// once nothing is locked any more nothing is parked for long.
        #[test]
        fn nobody_overtakes_themselves_and_nothing_is_forgotten(steps in steps()) {
            let mut now = Instant::now();
            let mut parking: Parking<Write> = Parking::new(usize::MAX);
            let (mut locked, mut log, mut number) = (HashSet::new(), Vec::new(), 0);
            let mut trying: Option<Vec<Write>> = None;
            let end = [Step::Tried, Step::Unlock(0), Step::Unlock(1), Step::Unlock(2), Step::Unlock(3), Step::Unlock(4),
                Step::Try, Step::Tried, Step::Try, Step::Tried];
            for step in steps.into_iter().chain(end) {
                match step {
                    Step::Batch(writes) => {
                        let mut batch = Vec::new();
                        for (rooms, actor) in writes {
                            number += 1;
                            match parking.admit(Write { rooms, actor, number }, now) {
                                Admit::Go(write) => batch.push(write),
                                Admit::Parked => {}
                                Admit::Full(_) => prop_assert!(false, "there is room"),
                            }
                        }
                        let left = store(batch, &locked, &mut log);
                        parking.put_back(left, now);
                    }
                    Step::Try => if trying.is_none() { trying = parking.try_again(5, now) },
                    Step::Tried => if let Some(batch) = trying.take() {
                        let keys = batch.iter().map(|write| (write.rooms.clone(), write.actor)).collect();
                        let left = store(batch, &locked, &mut log);
                        parking.tried(keys, left, now);
                    },
                    Step::Lock(room) => { locked.insert(room); }
                    Step::Unlock(room) => { locked.remove(&room); }
                    Step::Pause => now += LOCK_MEMORY,
                }
                for actor in 0..6 {
                    let numbers: Vec<usize> = log.iter().filter(|write| write.actor == actor).map(|write| write.number).collect();
                    prop_assert!(numbers.is_sorted(), "{actor} overtook themselves: {log:?}");
                }
            }
            while let Some(batch) = parking.try_again(5, now) {
                let keys = batch.iter().map(|write| (write.rooms.clone(), write.actor)).collect();
                log.extend(batch);
                parking.tried(keys, Vec::new(), now);
            }
            prop_assert_eq!(log.len(), number);
            prop_assert_eq!((parking.len(), parking.parked_weight), (0, 0));
            now += LOCK_MEMORY;
            prop_assert!(parking.try_again(5, now).is_none());
            prop_assert_eq!(parking.admit(Write { rooms: vec![0], actor: 0, number: 0 }, now), Admit::Go(Write { rooms: vec![0], actor: 0, number: 0 }));
        }
    }

    #[test]
    fn who_comes_behind_a_locked_one_is_taken_out_of_the_other_half() {
        let write = |room, actor, number| Write { rooms: vec![room], actor, number };
        let left = [Left { write: write(1, 1, 1), locked: Some(1) }, Left { write: write(2, 5, 0), locked: None }];
        let together = Write { rooms: vec![0, 1], actor: 7, number: 7 };
        let rest = vec![write(2, 2, 2), write(1, 3, 3), write(3, 1, 4), write(2, 3, 5), write(2, 4, 6), together];
        let (goes, behind) = split_behind(rest, &left);
        assert_eq!(goes.iter().map(|write| write.number).collect::<Vec<_>>(), [2, 6]);
        assert_eq!(behind.iter().map(|left| left.write.number).collect::<Vec<_>>(), [3, 4, 5, 7]);
    }

    #[test]
    fn of_several_rooms_only_the_locked_one_holds_others_up() {
        let now = Instant::now();
        let mut parking: Parking<Write> = Parking::new(10);
        let together = Write { rooms: vec![1, 2], actor: 1, number: 1 };
        parking.put_back(vec![Left { write: together, locked: Some(2) }], now);
        let write = |room, actor| Write { rooms: vec![room], actor, number: 2 };
        assert_eq!(parking.admit(write(1, 2), now), Admit::Go(write(1, 2)), "its other room is free for others");
        assert_eq!(parking.admit(write(2, 2), now), Admit::Parked);
        assert_eq!(parking.admit(write(3, 1), now), Admit::Parked, "and its actor comes behind it");
    }

    #[test]
    fn parked_writes_are_bounded() {
        let now = Instant::now();
        let mut parking: Parking<Write> = Parking::new(1);
        let write = |number| Write { rooms: vec![1], actor: 1, number };
        parking.put_back(vec![Left { write: write(1), locked: Some(1) }], now);
        assert_eq!(parking.admit(write(2), now), Admit::Full(write(2)));
    }
}
