//! When what is sent: the open-loop schedule, or a number of messages under way.

use super::clock::SECOND_NS;
use super::job::{Pace, Phase};

/// Messages of one room that are handed out at once, so that a starved loop still reads in between.
const BURST_MAX: u32 = 1024;

/// The pacing of one phase.
pub(crate) struct Talk {
    pub(crate) phase: Phase,
    talkers_per_room: u32,
    /// Messages handed out so far.
    handed: u64,
    /// Saturated: by room, messages under way and whose turn it is.
    under_way: Vec<u32>,
    turns: Vec<u32>,
    /// Saturated: deliveries that each message under way still waits for, by talker and sequence number.
    remaining: Vec<u32>,
    slots: u32,
    /// Rooms that may send again.
    free: Vec<u32>,
}

impl Talk {
    /// Nothing has been sent.
    pub(crate) fn new(phase: Phase, rooms: u32, talkers_per_room: u32) -> Self {
        let slots = match phase.pace {
            Pace::Outstanding(most) => (most * 2).next_power_of_two(),
            Pace::Rate(_) | Pace::Once => 0,
        };
        Self {
            phase,
            talkers_per_room,
            handed: 0,
            under_way: vec![0; rooms as usize],
            turns: vec![0; rooms as usize],
            remaining: vec![0; (rooms * talkers_per_room * slots) as usize],
            slots,
            free: (0..rooms).collect(),
        }
    }

    fn rooms(&self) -> u64 {
        self.under_way.len() as u64
    }

    /// When the next message is due; `None`: when something arrives, or never.
    pub(crate) fn next_due_ns(&self) -> Option<u64> {
        let Pace::Rate(rate) = self.phase.pace else { return None };
        let due = self.phase.from_ns.saturating_add(due_after_ns(self.handed, rate));
        (due < self.phase.until_ns).then_some(due)
    }

    /// Whether all has been sent that will be.
    pub(crate) fn is_over(&self, now_ns: u64) -> bool {
        match self.phase.pace {
            Pace::Rate(_) => now_ns >= self.phase.until_ns && self.next_due_ns().is_none(),
            Pace::Outstanding(_) => now_ns >= self.phase.until_ns,
            Pace::Once => self.handed >= self.rooms(),
        }
    }

    /// Ends the sending.
    pub(crate) fn stop(&mut self, now_ns: u64) {
        self.phase.until_ns = self.phase.until_ns.min(now_ns);
        self.handed = u64::MAX / 2;
    }

    /// The talker and the intended time of the next message, if one may leave now.
    pub(crate) fn next(&mut self, now_ns: u64) -> Option<(u32, u64)> {
        if now_ns < self.phase.from_ns || self.is_over(now_ns) {
            return None;
        }
        match self.phase.pace {
            Pace::Rate(_) => {
                let due = self.next_due_ns().filter(|due| *due <= now_ns)?;
                let (room, round) = (self.handed % self.rooms(), self.handed / self.rooms());
                self.handed += 1;
                // Both are below 2^32: rooms and talkers of a worker.
                let slot = (round % u64::from(self.talkers_per_room)) as u32;
                Some((room as u32 * self.talkers_per_room + slot, due))
            }
            Pace::Once => {
                let room = self.handed as u32;
                self.handed += 1;
                Some((room * self.talkers_per_room, now_ns))
            }
            Pace::Outstanding(most) => {
                let most = most.min(BURST_MAX);
                while let Some(room) = self.free.last().copied() {
                    if self.under_way[room as usize] < most {
                        let slot = self.turns[room as usize];
                        self.turns[room as usize] = (slot + 1) % self.talkers_per_room;
                        return Some((room * self.talkers_per_room + slot, now_ns));
                    }
                    self.free.pop();
                }
                None
            }
        }
    }

    /// A message left, and waits for so many deliveries.
    pub(crate) fn sent(&mut self, talker: u32, sequence: u32, awaited: u32) {
        if self.slots == 0 {
            return;
        }
        if awaited == 0 {
            // Nobody will ever answer for this room, so nothing more is sent there.
            self.free.pop();
        } else {
            self.under_way[(talker / self.talkers_per_room) as usize] += 1;
            let slot = self.slot(talker, sequence);
            self.remaining[slot] = awaited;
        }
    }

    /// One of its deliveries came, or will never come.
    pub(crate) fn arrived(&mut self, talker: u32, sequence: u32) {
        if self.slots == 0 {
            return;
        }
        let slot = self.slot(talker, sequence);
        let remaining = &mut self.remaining[slot];
        if *remaining == 0 {
            return;
        }
        *remaining -= 1;
        if *remaining == 0 {
            let room = talker / self.talkers_per_room;
            let under_way = &mut self.under_way[room as usize];
            *under_way -= 1;
            self.free.push(room);
        }
    }

    fn slot(&self, talker: u32, sequence: u32) -> usize {
        talker as usize * self.slots as usize + (sequence & (self.slots - 1)) as usize
    }
}

/// How long after the beginning a message is due.
#[expect(clippy::cast_precision_loss, reason = "messages of a run are far below 2^53")]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive time within a run")]
fn due_after_ns(number: u64, rate: f64) -> u64 {
    (number as f64 / rate * SECOND_NS as f64) as u64
}
