//! An owner's loop, one turn at a time and at a time that the caller says: what [`Owner::run`] does, without its waiting.

use std::time::Instant;

use super::{DRAIN_MAX_MESSAGES, LogPage, LogRead, Owner, ReadSlot};

/// What is being read, to be given back with the answer.
pub(in crate::hub) struct Reading {
    slots: Vec<ReadSlot>,
}

impl Owner {
    /// As the loop does: what is in the inbox (at most so much), then lanes that missed something, then what to read next.
    pub(in crate::hub) fn turn(
        &mut self,
        most: usize,
        may_read: bool,
        now: Instant,
    ) -> Option<(Reading, Vec<LogRead>)> {
        let mut batch = Vec::new();
        self.inbox.take(&mut batch, most.min(DRAIN_MAX_MESSAGES));
        for message in batch {
            self.take(message, now);
        }
        self.tell_overflowed(now);
        let (slots, reads) = may_read.then(|| self.next_read(now)).flatten()?;
        Some((Reading { slots }, reads))
    }

    /// Whether something is in the inbox.
    pub(in crate::hub) fn has_messages(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// A read has ended.
    pub(in crate::hub) fn answered(&mut self, reading: Reading, pages: Option<Vec<LogPage>>, now: Instant) {
        self.read_done((reading.slots, pages), now);
    }

    /// When the loop would wake by itself.
    pub(in crate::hub) fn wakes_at(&self, now: Instant, is_reading: bool) -> Instant {
        self.wake_at(now, is_reading)
    }

    /// What the loop does every second.
    pub(in crate::hub) fn swept(&mut self, now: Instant) {
        self.sweep(now);
    }
}
