//! What an owner reads from the log for itself: heads of newborn streams, and gaps.

use std::time::{Duration, Instant};

use hallway_protocol::StreamId;

use super::sequencer::Want;
use super::{Entry, LogRead, Owner, RETRY_PAUSE, ReadDone, ReadKind, ReadSlot, SWEEP_PERIOD};
use crate::telemetry::labels::GapCause;

/// Streams in one read of the log.
const READ_MAX_STREAMS: usize = 256;

/// How long a gap waits for the fast path.
#[derive(Clone, Copy)]
struct Patience {
    gap: Duration,
    /// For so long a node may hold back a notification, for a batch.
    batch: Duration,
}

impl Patience {
    /// What is missing in a person's stream may be a notification that its node still holds back, while the store's tail or another
    /// node's event tells of it. A device that is being brought up to date does not wait for that.
    fn of(self, entry: &Entry) -> Duration {
        let may_wait = matches!(entry.sequencer.gap_cause(), Some(GapCause::Event | GapCause::Tail));
        if may_wait && matches!(entry.id, StreamId::User(_)) { self.gap + self.batch } else { self.gap }
    }
}

impl Owner {
    /// Chooses what to read next: heads of newborns first, then gaps whose patience is over, all in one statement.
    pub(super) fn next_read(&mut self, now: Instant) -> Option<(Vec<ReadSlot>, Vec<LogRead>)> {
        if now < self.read_after {
            return None;
        }
        let mut slots = Vec::new();
        let mut reads = Vec::new();
        let limit = u32::try_from(self.shared.limits.ring_events_max).unwrap_or(u32::MAX);
        // Somebody reads what is claimed.
        let newborns = self.newborns.iter().filter(|(slot, _)| !self.claims.contains_key(slot));
        for (slot, waiting) in newborns.take(READ_MAX_STREAMS) {
            let Some(entry) = self.entries[*slot as usize].as_ref() else { continue };
            let head = waiting.iter().map(|attach| attach.head).max().unwrap_or(0);
            let next = waiting.iter().map(|attach| attach.next).min().unwrap_or(1);
            // What the first readers need, as far as the ring holds it: a storm of them then costs one read.
            let after = next.saturating_sub(1).max(head.saturating_sub(u64::from(limit))).min(head);
            reads.push(LogRead { stream: entry.id.clone(), after, limit });
            slots.push((*slot, ReadKind::Birth, entry.id.clone()));
        }
        let patience = self.patience();
        self.open.retain(|slot| {
            let entry = self.entries[*slot as usize].as_ref();
            entry.is_some_and(|entry| entry.sequencer.want(patience.of(entry)) != Want::Nothing)
        });
        for slot in &self.open {
            let Some(entry) = self.entries[*slot as usize].as_mut() else { continue };
            let Want::EventsAfter(after, due) = entry.sequencer.want(patience.of(entry)) else { continue };
            if due > now || reads.len() >= READ_MAX_STREAMS {
                continue;
            }
            if let Some(cause) = entry.sequencer.reading() {
                self.shared.metrics.gaps.add(cause);
            }
            reads.push(LogRead { stream: entry.id.clone(), after, limit });
            slots.push((*slot, ReadKind::Gap, entry.id.clone()));
        }
        (!reads.is_empty()).then_some((slots, reads))
    }

    pub(super) fn read_done(&mut self, (slots, pages): ReadDone, now: Instant) {
        // Pages of another epoch say nothing about our numbers: those of an old one were asked for before we forgot it, those
        // of a new one come before we were told of it.
        let epoch = self.shared.epoch();
        let Some(pages) = pages.filter(|pages| pages.iter().all(|page| page.epoch == epoch)) else {
            self.read_after = now + RETRY_PAUSE;
            for (slot, kind, id) in slots {
                let Some(entry) = self.entry_if(slot, &id) else { continue };
                if matches!(kind, ReadKind::Gap) {
                    entry.sequencer.page_failed(now);
                }
                self.open.insert(slot);
            }
            return;
        };
        for ((slot, kind, id), page) in slots.into_iter().zip(pages) {
            let Some(entry) = self.entry_if(slot, &id) else { continue };
            match kind {
                ReadKind::Birth => {
                    if entry.sequencer.delivered().is_none() {
                        let complete = page.events.last().is_some_and(|event| event.seq() == page.last_seq);
                        if complete {
                            page.events.iter().for_each(|event| entry.ring.push(event));
                        }
                    }
                    self.seed(slot, page.last_seq, now);
                }
                ReadKind::Gap => {
                    let before = entry.sequencer.delivered();
                    let ready = entry.sequencer.page(page.first_seq, page.last_seq, page.events, now);
                    if ready.is_empty() && entry.sequencer.delivered() != before {
                        // All of it was trimmed: no event will tell the lanes, so they are told by the head.
                        let lanes: Vec<usize> = entry.readers.lanes().collect();
                        self.overflowed.extend(lanes.into_iter().map(|lane| (lane, slot)));
                    }
                    self.deliver(slot, ready);
                }
            }
        }
    }

    /// The entry, unless the slot was given to another stream meanwhile.
    fn entry_if(&mut self, slot: u32, id: &StreamId) -> Option<&mut Entry> {
        self.entries.get_mut(slot as usize)?.as_mut().filter(|entry| entry.id == *id)
    }

    fn patience(&self) -> Patience {
        let gap = self.shared.gap_patience();
        // Without the fast path nothing is to be waited for.
        let batch_ms = if gap.is_zero() { 0 } else { self.shared.limits.notification_batch_wait_ms };
        Patience { gap, batch: Duration::from_millis(batch_ms) }
    }

    pub(super) fn wake_at(&self, now: Instant, reading: bool) -> Instant {
        let far = now + SWEEP_PERIOD;
        let patience = self.patience();
        let gaps = self.open.iter().filter_map(|slot| {
            let entry = self.entries[*slot as usize].as_ref()?;
            match entry.sequencer.want(patience.of(entry)) {
                Want::EventsAfter(_, due) if !reading => Some(due.max(self.read_after)),
                _ => None,
            }
        });
        let is_wanted = !reading && self.newborns.keys().any(|slot| !self.claims.contains_key(slot));
        let newborn = is_wanted.then_some(self.read_after);
        let overflow = (!self.overflowed.is_empty()).then_some(self.tell_at);
        gaps.chain(newborn).chain(overflow).min().unwrap_or(far)
    }
}
