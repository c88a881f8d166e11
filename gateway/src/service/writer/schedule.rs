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
    looks_cut_short: u64,
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
            looks_cut_short: 0,
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

    /// How often [`LOOKED_AT_MAX`] ended a look since this was last asked.
    pub(crate) fn looks_cut_short(&mut self) -> u64 {
        std::mem::take(&mut self.looks_cut_short)
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
        while let Some(one) = self.waiting.pop_front() {
            if passed.len() + taken.len() == LOOKED_AT_MAX {
                self.looks_cut_short += 1;
                self.waiting.push_front(one);
                break;
            }
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
#[path = "schedule_tests.rs"]
mod tests;
