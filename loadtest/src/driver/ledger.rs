//! The light ledger: for each connection and talker the next sequence number, and nothing else while all goes well.
//!
//! Numbers begin at 0. What is skipped counts as missing until it comes (I4, out of order) or the phase is settled (I1,
//! lost). Talkers are counted here from the job's first.

use std::collections::{BTreeSet, HashMap};

use super::body::Stamp;
use super::job::{Job, Verdict};

/// Violations told in words.
const EXAMPLES_MAX: usize = 5;
/// Skipped numbers that are remembered; beyond it what comes late counts as a repeat.
const MISSING_MAX: usize = 1_000_000;

/// A body that was due and came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) talker: u32,
    pub(crate) sequence: u32,
    /// Whether its message waits for this connection.
    pub(crate) awaited: bool,
    /// Whether the connection's latencies are of interest.
    pub(crate) timed: bool,
}

struct Account {
    /// Its rooms, in `places`, sorted.
    places: std::ops::Range<usize>,
    /// Where its numbers begin in `next`.
    next_from: usize,
    listens: bool,
    /// Open, listening and not muted: messages wait for it.
    awaited: bool,
}

pub(crate) struct Ledger {
    first_publisher: u32,
    talkers_per_room: u32,
    echoes: bool,
    /// The connections that talk, by talker.
    talkers: Vec<u32>,
    published: Vec<u32>,
    /// Connections that each room's messages wait for.
    awaited_in: Vec<u32>,
    accounts: Vec<Account>,
    places: Vec<u32>,
    next: Vec<u32>,
    missing: HashMap<(u32, u32), BTreeSet<u32>>,
    missing_count: usize,
    /// Deliveries to awaited connections that have not come yet.
    owed: u64,
    verdict: Verdict,
}

impl Ledger {
    pub(crate) fn new(job: &Job) -> Self {
        let talkers: Vec<u32> = job.rooms.iter().flat_map(|room| room.talkers.iter().copied()).collect();
        let (mut places, mut accounts, mut numbers) = (Vec::new(), Vec::with_capacity(job.seats.len()), 0);
        for seat in &job.seats {
            let from = places.len();
            places.extend_from_slice(&seat.rooms);
            places[from..].sort_unstable();
            accounts.push(Account {
                places: from..places.len(),
                next_from: numbers,
                listens: seat.listens && !seat.mutable,
                awaited: false,
            });
            numbers += seat.rooms.len() * job.talkers_per_room as usize;
        }
        Self {
            first_publisher: job.first_publisher,
            talkers_per_room: job.talkers_per_room,
            echoes: job.echoes,
            published: vec![0; talkers.len()],
            talkers,
            awaited_in: vec![0; job.rooms.len()],
            accounts,
            places,
            next: vec![0; numbers],
            missing: HashMap::new(),
            missing_count: 0,
            owed: 0,
            verdict: Verdict::default(),
        }
    }

    /// Writes down that a talker publishes: its connection, the message's stamp, and how many connections it waits for.
    pub(crate) fn publish(&mut self, talker: u32, due_ns: u64) -> (u32, Stamp, u32) {
        let seat = self.talkers[talker as usize];
        let sequence = self.published[talker as usize];
        self.published[talker as usize] += 1;
        self.verdict.published += 1;
        let itself = u32::from(!self.echoes && self.accounts[seat as usize].awaited);
        let awaited = self.awaited_in[(talker / self.talkers_per_room) as usize] - itself;
        self.owed += u64::from(awaited);
        (seat, Stamp { publisher: self.first_publisher + talker, sequence, due_ns }, awaited)
    }

    /// Judges a body that came to a connection. `None`: it was not due.
    pub(crate) fn receive(&mut self, seat: u32, stamp: Option<Stamp>) -> Option<Arrival> {
        self.verdict.received += 1;
        let Some(stamp) = stamp else {
            self.verdict.phantom += 1;
            self.example(|| format!("I2: connection {seat} got a body that nobody made"));
            return None;
        };
        let talker = stamp.publisher.wrapping_sub(self.first_publisher);
        let Some(published) = self.published.get(talker as usize).copied() else {
            self.verdict.foreign += 1;
            self.example(|| format!("I8: connection {seat} got a body of publisher {}", stamp.publisher));
            return None;
        };
        let Some(index) = self.index_of(seat, talker) else {
            self.verdict.foreign += 1;
            self.example(|| format!("I8: connection {seat} got a body of a room that it is not in (talker {talker})"));
            return None;
        };
        let own = self.talkers[talker as usize] == seat;
        if stamp.sequence >= published || (own && !self.echoes) {
            self.verdict.phantom += 1;
            let sequence = stamp.sequence;
            self.example(|| format!("I2: connection {seat} got {sequence} of talker {talker}: own, or not sent yet"));
            return None;
        }
        let account = &self.accounts[seat as usize];
        let (awaited, timed) = (account.awaited, account.listens);
        let due = self.next[index];
        if stamp.sequence < due {
            return self.late(seat, talker, stamp.sequence);
        }
        self.next[index] = stamp.sequence + 1;
        if stamp.sequence > due && timed {
            self.skip(seat, talker, due..stamp.sequence);
        }
        if awaited {
            self.owed = self.owed.saturating_sub(1);
        }
        Some(Arrival { talker, sequence: stamp.sequence, awaited, timed })
    }

    fn skip(&mut self, seat: u32, talker: u32, skipped: std::ops::Range<u32>) {
        self.example(|| format!("connection {seat} skipped {skipped:?} of talker {talker}"));
        let set = self.missing.entry((seat, talker)).or_default();
        for sequence in skipped {
            if self.missing_count < MISSING_MAX {
                set.insert(sequence);
                self.missing_count += 1;
            } else {
                self.verdict.lost += 1;
            }
        }
    }

    /// Something came whose successor came before.
    fn late(&mut self, seat: u32, talker: u32, sequence: u32) -> Option<Arrival> {
        let Account { awaited, listens: timed, .. } = self.accounts[seat as usize];
        let was_missing = self.missing.get_mut(&(seat, talker)).is_some_and(|set| set.remove(&sequence));
        if !was_missing {
            // Who may miss something is not asked in which order the rest came, but nothing comes twice to anybody.
            self.verdict.repeated += 1;
            self.example(|| format!("I3: connection {seat} got {sequence} of talker {talker} again"));
            return None;
        }
        self.missing_count -= 1;
        self.verdict.reordered += 1;
        self.example(|| format!("I4: connection {seat} got {sequence} of talker {talker} after its successor"));
        if awaited {
            self.owed = self.owed.saturating_sub(1);
        }
        Some(Arrival { talker, sequence, awaited, timed })
    }

    /// Where a connection's next number of a talker stands; `None`: it is not in the talker's room.
    fn index_of(&self, seat: u32, talker: u32) -> Option<usize> {
        let account = &self.accounts[seat as usize];
        let (room, slot) = (talker / self.talkers_per_room, talker % self.talkers_per_room);
        let places = &self.places[account.places.clone()];
        let place = if places.first() == Some(&room) { 0 } else { places.binary_search(&room).ok()? };
        Some(account.next_from + place * self.talkers_per_room as usize + slot as usize)
    }

    /// Every number that an account holds: the talker and the index in `next`.
    fn numbers(&self, seat: u32) -> impl Iterator<Item = (u32, usize)> + use<> {
        let account = &self.accounts[seat as usize];
        let (rooms, per_room) = (self.places[account.places.clone()].to_vec(), self.talkers_per_room);
        let talkers = rooms.into_iter().flat_map(move |room| room * per_room..(room + 1) * per_room);
        talkers.zip(account.next_from..)
    }

    /// A connection is ready: what is published from now on is for it.
    pub(crate) fn open(&mut self, seat: u32) {
        for (talker, index) in self.numbers(seat) {
            self.next[index] = self.published[talker as usize];
        }
        let account = &mut self.accounts[seat as usize];
        if account.listens && !account.awaited {
            account.awaited = true;
            for place in account.places.clone() {
                self.awaited_in[self.places[place] as usize] += 1;
            }
        }
    }

    /// A connection is gone, or is not waited for any more. Says what was still on its way to it.
    pub(crate) fn close(&mut self, seat: u32) -> Vec<(u32, std::ops::Range<u32>)> {
        let mut on_their_way = Vec::new();
        if !std::mem::take(&mut self.accounts[seat as usize].awaited) {
            return on_their_way;
        }
        for (talker, index) in self.numbers(seat) {
            let (next, published) = (self.next[index], self.published[talker as usize]);
            if next < published && !self.is_own(seat, talker) {
                self.owed = self.owed.saturating_sub(u64::from(published - next));
                on_their_way.push((talker, next..published));
            }
        }
        for place in self.accounts[seat as usize].places.clone() {
            self.awaited_in[self.places[place] as usize] -= 1;
        }
        on_their_way
    }

    fn is_own(&self, seat: u32, talker: u32) -> bool {
        !self.echoes && self.talkers[talker as usize] == seat
    }

    /// The end of a phase: what did not come until now is lost.
    pub(crate) fn settle(&mut self) {
        for ((seat, talker), set) in std::mem::take(&mut self.missing) {
            if self.accounts[seat as usize].awaited && !set.is_empty() {
                self.verdict.lost += set.len() as u64;
                self.example(|| format!("I1: connection {seat} never got {} of talker {talker}", set.len()));
            }
        }
        self.missing_count = 0;
        for seat in 0..self.accounts.len() as u32 {
            let awaited = self.accounts[seat as usize].awaited;
            for (talker, index) in self.numbers(seat) {
                let (next, published) = (self.next[index], self.published[talker as usize]);
                if awaited && next < published && !self.is_own(seat, talker) {
                    self.verdict.lost += u64::from(published - next);
                    self.example(|| format!("I1: connection {seat} never got {next}..{published} of talker {talker}"));
                }
                if awaited {
                    self.next[index] = published;
                }
            }
        }
        self.owed = 0;
    }

    /// Deliveries that have not come yet.
    pub(crate) fn owed(&self) -> u64 {
        self.owed
    }

    pub(crate) fn verdict(&self) -> Verdict {
        self.verdict.clone()
    }

    fn example(&mut self, words: impl FnOnce() -> String) {
        if self.verdict.examples.len() < EXAMPLES_MAX {
            self.verdict.examples.push(words());
        }
    }
}
