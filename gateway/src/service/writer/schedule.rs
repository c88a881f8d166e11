//! Pure: which of the waiting writes are the next batch, while other batches are on their way to the store.
//!
//! A store that works side by side gets message sends, other writes, and writes that are made together in batches of their own,
//! one of each kind at a time: sends are fast, and would only wait for the others. A write that shares its actor or a room with
//! one that is under way or comes before it waits for that one. Any other store gets one batch at a time, of what there is.
//!
//! **Invariant:** no actor and no room is in two batches at once, and the writes of each are handed out in their order.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::BuildHasher;

use foldhash::fast::RandomState;

use super::parking::Keyed;

/// Waiting writes that are looked at for one batch. What stands further back is looked at when a batch is over.
const LOOKED_AT_MAX: usize = 4096;

/// Which writes share a batch where the store works side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Send,
    Act,
    /// Several that are made together: a batch of its own.
    Together,
}

/// What the schedule looks at.
pub(crate) trait Scheduled: Keyed {
    fn kind(&self) -> Kind;
}

/// Hashes of an actor and of rooms. Two that are equal by chance only wait in vain.
type Keys = Vec<u64>;

#[derive(Debug)]
struct Waiting<T> {
    write: T,
    keys: Keys,
}

/// Writes that go to the store as one, in order. Ends with [`Schedule::over`].
#[derive(Debug)]
pub(crate) struct Batch<T> {
    pub(crate) writes: Vec<T>,
    ticket: Ticket,
}

impl<T> Batch<T> {
    /// The writes, and what says later that they are over.
    pub(crate) fn split(self) -> (Vec<T>, Ticket) {
        (self.writes, self.ticket)
    }
}

/// A batch that is under way.
#[derive(Debug)]
pub(crate) struct Ticket {
    class: usize,
    /// Of each of its writes, so some of them several times.
    keys: Keys,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Schedule<T> {
    waiting: VecDeque<Waiting<T>>,
    /// How many writes that wait or are under way have a key.
    held: HashMap<u64, u32, RandomState>,
    /// The keys of what is under way.
    under_way: HashSet<u64, RandomState>,
    classes: Vec<Class>,
    hasher: RandomState,
}

/// Writes that share a batch, one batch of them at a time.
#[derive(Debug, Clone, Copy, Default)]
struct Class {
    is_under_way: bool,
    /// Something may have become free to go since it was last looked for.
    is_worth_a_look: bool,
}

impl<T: Scheduled> Schedule<T> {
    /// `side_by_side`: the store carries out several batches at once.
    pub(crate) fn new(side_by_side: bool) -> Self {
        let classes = vec![Class::default(); if side_by_side { 3 } else { 1 }];
        Self {
            waiting: VecDeque::new(),
            held: HashMap::default(),
            under_way: HashSet::default(),
            classes,
            hasher: RandomState::default(),
        }
    }

    pub(crate) fn push(&mut self, write: T) {
        let keys = self.keys(&write);
        let class = self.class(&write);
        let mut is_free = true;
        for key in &keys {
            let held = self.held.entry(*key).or_default();
            is_free &= *held == 0;
            *held += 1;
        }
        self.classes[class].is_worth_a_look |= is_free;
        self.waiting.push_back(Waiting { write, keys });
    }

    /// The next batch of at most `most` writes (or of one entry that is more), if anything may go. `admit` has the last word on
    /// each: what it keeps is not waited for.
    pub(crate) fn next(&mut self, most: usize, mut admit: impl FnMut(T) -> Option<T>) -> Option<Batch<T>> {
        loop {
            let free = |class: &Class| class.is_worth_a_look && !class.is_under_way;
            let class = self.classes.iter().position(free)?;
            let taken = self.take(class, most);
            if taken.is_empty() {
                self.classes[class].is_worth_a_look = false;
                continue;
            }
            let mut writes = Vec::with_capacity(taken.len());
            let mut keys = Vec::with_capacity(taken.len() * 2);
            for one in taken {
                if let Some(write) = admit(one.write) {
                    writes.push(write);
                    keys.extend(one.keys);
                } else {
                    self.release(&one.keys);
                }
            }
            if !writes.is_empty() {
                self.under_way.extend(&keys);
                self.classes[class].is_under_way = true;
                return Some(Batch { writes, ticket: Ticket { class, keys } });
            }
        }
    }

    /// A batch is over, whatever came of it.
    pub(crate) fn over(&mut self, ticket: &Ticket) {
        for key in &ticket.keys {
            self.under_way.remove(key);
        }
        self.release(&ticket.keys);
        self.classes[ticket.class].is_under_way = false;
    }

    /// Everything that waits, in order.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        let waiting = std::mem::take(&mut self.waiting);
        for one in &waiting {
            self.release(&one.keys);
        }
        waiting.into_iter().map(|one| one.write).collect()
    }

    /// Nothing waits, and nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.classes.iter().all(|class| !class.is_under_way)
    }

    /// Takes what may go out of the waiting ones.
    fn take(&mut self, class: usize, most: usize) -> Vec<Waiting<T>> {
        let mut passed = VecDeque::new();
        let mut behind: HashSet<u64, RandomState> = HashSet::default();
        let mut taken: Vec<Waiting<T>> = Vec::new();
        let mut weight = 0;
        for _ in 0..LOOKED_AT_MAX {
            let Some(one) = self.waiting.pop_front() else { break };
            let must_wait = |key: &u64| self.under_way.contains(key) || behind.contains(key);
            if self.class(&one.write) != class || one.keys.iter().any(must_wait) {
                behind.extend(&one.keys);
                passed.push_back(one);
                continue;
            }
            let stands_alone = self.is_side_by_side() && one.write.kind() == Kind::Together;
            if !taken.is_empty() && (stands_alone || weight + one.write.weight() > most) {
                self.waiting.push_front(one);
                break;
            }
            weight += one.write.weight();
            taken.push(one);
            if stands_alone {
                break;
            }
        }
        // Back to the front, in their order.
        for one in passed.into_iter().rev() {
            self.waiting.push_front(one);
        }
        taken
    }

    fn release(&mut self, keys: &[u64]) {
        for key in keys {
            if let Entry::Occupied(mut held) = self.held.entry(*key) {
                *held.get_mut() -= 1;
                if *held.get() == 0 {
                    held.remove();
                }
            }
        }
        for class in &mut self.classes {
            class.is_worth_a_look = true;
        }
    }

    fn is_side_by_side(&self) -> bool {
        self.classes.len() > 1
    }

    fn class(&self, write: &T) -> usize {
        match write.kind() {
            _ if !self.is_side_by_side() => 0,
            Kind::Send => 0,
            Kind::Act => 1,
            Kind::Together => 2,
        }
    }

    fn keys(&self, write: &T) -> Keys {
        let rooms = write.rooms().iter().map(|room| self.hasher.hash_one((false, room)));
        std::iter::once(self.hasher.hash_one((true, write.actor()))).chain(rooms).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Write {
        kind: Kind,
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

    impl Scheduled for Write {
        fn kind(&self) -> Kind {
            self.kind
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(Kind, Vec<u8>, u8),
        /// Everything that may go goes; of each ten, these are kept back by somebody else.
        Go(Vec<u8>),
        /// One of the batches that are under way is over.
        Over(usize),
    }

    fn write() -> impl Strategy<Value = Step> {
        let kind = prop_oneof![3 => Just(Kind::Send), 3 => Just(Kind::Act)];
        prop_oneof![
            6 => (kind, 0..8_u8, 0..8_u8).prop_map(|(kind, room, actor)| Step::Push(kind, vec![room], actor)),
            1 => (prop::collection::hash_set(0..8_u8, 1..4), 0..8_u8)
                .prop_map(|(rooms, actor)| Step::Push(Kind::Together, rooms.into_iter().collect(), actor)),
        ]
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => write(),
            2 => prop::collection::vec(0..10_u8, 0..2).prop_map(Step::Go),
            2 => (0..3_usize).prop_map(Step::Over),
        ];
        prop::collection::vec(step, 0..200)
    }

    /// A schedule, and what a store would see of it.
    struct Scene {
        schedule: Schedule<Write>,
        side_by_side: bool,
        under_way: Vec<Batch<Write>>,
        /// In the order in which they were handed out or kept back.
        seen: Vec<Write>,
    }

    impl Scene {
        fn go(&mut self, kept: &[u8], most: usize) -> Result<(), TestCaseError> {
            loop {
                let mut seen = Vec::new();
                let next = self.schedule.next(most, |write| {
                    seen.push(write.clone());
                    (!kept.contains(&((write.number % 10) as u8))).then_some(write)
                });
                self.seen.extend(seen);
                let Some(batch) = next else { return Ok(()) };
                prop_assert!(!batch.writes.is_empty());
                let weight: usize = batch.writes.iter().map(Keyed::weight).sum();
                prop_assert!(weight <= most || batch.writes.len() == 1);
                for other in &self.under_way {
                    for (one, two) in batch.writes.iter().flat_map(|one| other.writes.iter().map(move |two| (one, two)))
                    {
                        prop_assert!(self.side_by_side, "one batch at a time");
                        prop_assert!(one.kind != two.kind, "one batch of a kind at a time");
                        prop_assert!(one.actor != two.actor, "{one:?} beside {two:?}");
                        prop_assert!(one.rooms.iter().all(|room| !two.rooms.contains(room)), "{one:?} beside {two:?}");
                    }
                }
                if self.side_by_side {
                    prop_assert!(batch.writes.iter().all(|write| write.kind == batch.writes[0].kind));
                    prop_assert!(batch.writes[0].kind != Kind::Together || batch.writes.len() == 1);
                }
                self.under_way.push(batch);
            }
        }

        /// Nobody waits who need not.
        fn check(&self) -> Result<(), TestCaseError> {
            for (place, one) in self.schedule.waiting.iter().enumerate() {
                let ahead = self.schedule.waiting.iter().take(place).map(|ahead| &ahead.write);
                let taken = self.under_way.iter().flat_map(|batch| &batch.writes);
                let shares = |other: &Write| {
                    other.actor == one.write.actor || other.rooms.iter().any(|room| one.write.rooms.contains(room))
                };
                let same_kind = |batch: &Batch<Write>| !self.side_by_side || batch.writes[0].kind == one.write.kind;
                let waits_for_its_kind = self.under_way.iter().any(same_kind);
                prop_assert!(waits_for_its_kind || ahead.chain(taken).any(shares), "{one:?} waits for nothing");
            }
            Ok(())
        }
    }

    proptest! {
        /// Whatever comes and ends when: no two batches share a room or a person, each person's and each room's writes go in
        /// their order, none waits for nothing, and all have gone in the end.
        #[test]
        fn nobody_is_in_two_batches_and_nobody_overtakes(side_by_side: bool, steps in steps()) {
            let schedule = Schedule::new(side_by_side);
            let mut scene = Scene { schedule, side_by_side, under_way: Vec::new(), seen: Vec::new() };
            let mut number = 0;
            for step in steps {
                match step {
                    Step::Push(kind, rooms, actor) => {
                        number += 1;
                        scene.schedule.push(Write { kind, rooms, actor, number });
                    }
                    Step::Go(kept) => {
                        scene.go(&kept, 5)?;
                        scene.check()?;
                    }
                    Step::Over(which) if !scene.under_way.is_empty() => {
                        let batch = scene.under_way.remove(which % scene.under_way.len());
                        scene.schedule.over(&batch.split().1);
                    }
                    Step::Over(_) => {}
                }
            }
            loop {
                scene.go(&[], 5)?;
                scene.check()?;
                let Some(batch) = scene.under_way.pop() else { break };
                scene.schedule.over(&batch.split().1);
            }
            prop_assert!(scene.schedule.is_idle());
            prop_assert!(scene.schedule.held.is_empty() && scene.schedule.under_way.is_empty());
            prop_assert_eq!(scene.seen.len(), number);
            for key in 0..8 {
                let of = |belongs: &dyn Fn(&Write) -> bool| -> Vec<usize> {
                    scene.seen.iter().filter(|write| belongs(write)).map(|write| write.number).collect()
                };
                prop_assert!(of(&|write| write.actor == key).is_sorted(), "{key} overtook themselves");
                prop_assert!(of(&|write| write.rooms.contains(&key)).is_sorted(), "writes of room {key} were turned");
            }
        }
    }

    #[test]
    fn messages_do_not_wait_for_other_work_unless_it_is_of_their_room_or_by_their_author() {
        let mut schedule = Schedule::new(true);
        let write = |kind, room, actor, number| Write { kind, rooms: vec![room], actor, number };
        schedule.push(write(Kind::Act, 1, 1, 1));
        let numbers = |batch: Option<Batch<Write>>| -> Vec<usize> {
            batch.iter().flat_map(|batch| &batch.writes).map(|write| write.number).collect()
        };
        let act = schedule.next(10, Some);
        for (room, actor, number) in [(1, 2, 2), (2, 1, 3), (2, 4, 4), (3, 3, 5)] {
            schedule.push(write(Kind::Send, room, actor, number));
        }
        assert_eq!(numbers(schedule.next(10, Some)), [5], "4 comes behind 3 in its room");
        schedule.over(&act.unwrap_or_else(|| unreachable!("nothing was in its way")).split().1);
        assert_eq!(numbers(schedule.next(10, Some)), Vec::<usize>::new(), "one batch of sends at a time");
    }

    #[test]
    fn what_was_refused_meanwhile_holds_nobody_up() {
        let mut schedule = Schedule::new(true);
        let write = |number| Write { kind: Kind::Send, rooms: vec![1], actor: 1, number };
        schedule.push(write(1));
        let batch = schedule.next(10, Some);
        schedule.push(write(2));
        assert_eq!(schedule.drain(), [write(2)]);
        schedule.over(&batch.unwrap_or_else(|| unreachable!("nothing was in its way")).split().1);
        schedule.push(write(3));
        assert_eq!(schedule.next(10, Some).map(|batch| batch.writes), Some(vec![write(3)]));
    }
}
