//! Pure: how far another node was heard, and when it must be asked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hallway_protocol::{RoomId, UserId};

use super::table::NodeIndex;
use super::{
    ANSWER_PAUSE, ASK_PAUSE_MAX, ASK_PAUSE_MIN, Devices, KEPT_CHANGES_MAX, KEPT_DELTAS_MAX, RoomCounts,
    SNAPSHOT_PARTS_MAX,
};

/// What a delta or a part of a snapshot says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entries {
    People(Vec<(UserId, Devices)>),
    Rooms(Vec<(RoomId, RoomCounts)>),
}

impl Entries {
    fn len(&self) -> usize {
        match self {
            Self::People(people) => people.len(),
            Self::Rooms(rooms) => rooms.len(),
        }
    }
}

/// What of a node's words is to be applied now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// These changes, after everything before.
    Change(Entries),
    /// Exactly this is there.
    Replace(Vec<Entries>),
}

/// A snapshot on its way.
#[derive(Debug)]
struct Partial {
    version: u64,
    parts: Vec<Option<Entries>>,
    missing: usize,
}

/// Another node.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) index: NodeIndex,
    heard_at: Instant,
    /// The version that is applied.
    version: u64,
    /// The greatest version that was heard of.
    highest: u64,
    /// Deltas beyond `version + 1`, by the version that they lead to.
    kept: BTreeMap<u64, Entries>,
    kept_changes: usize,
    partial: Option<Partial>,
    /// Not asked again before this.
    ask_after: Option<Instant>,
    ask_pause: Duration,
    answered_at: Option<Instant>,
}

impl Peer {
    pub(super) fn new(index: NodeIndex, now: Instant) -> Self {
        Self {
            index,
            heard_at: now,
            // A table of version 0 is empty, and so is what we have of it.
            version: 0,
            highest: 0,
            kept: BTreeMap::new(),
            kept_changes: 0,
            partial: None,
            ask_after: None,
            ask_pause: ASK_PAUSE_MIN,
            answered_at: None,
        }
    }

    /// It lives.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard_at = self.heard_at.max(now);
    }

    /// Whether it was not heard of for a lease.
    pub(super) fn is_gone(&self, lease: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.heard_at) > lease
    }

    /// Whether all that it is known to have told is applied.
    pub(super) fn is_complete(&self) -> bool {
        self.version >= self.highest
    }

    /// It says that its table has come to this version.
    pub(super) fn head(&mut self, version: u64) {
        self.highest = self.highest.max(version);
    }

    /// It says what led to a version.
    pub(super) fn delta(&mut self, version: u64, entries: Entries) -> Vec<Step> {
        self.head(version);
        if version <= self.version {
            return Vec::new();
        }
        self.keep(version, entries);
        self.following()
    }

    fn keep(&mut self, version: u64, entries: Entries) {
        let entries_len = entries.len();
        // The next one is never refused: it leaves at once.
        let is_next = version == self.version + 1;
        if self.kept.contains_key(&version)
            || (!is_next && (self.kept.len() >= KEPT_DELTAS_MAX || self.kept_changes + entries_len > KEPT_CHANGES_MAX))
        {
            return;
        }
        self.kept_changes += entries_len;
        self.kept.insert(version, entries);
    }

    /// What was kept and follows now, in order.
    fn following(&mut self) -> Vec<Step> {
        let mut steps = Vec::new();
        while let Some(entry) = self.kept.first_entry() {
            if *entry.key() > self.version + 1 {
                break;
            }
            let (version, entries) = entry.remove_entry();
            self.kept_changes -= entries.len();
            if version == self.version + 1 {
                self.version = version;
                steps.push(Step::Change(entries));
            }
        }
        self.rest_if_complete();
        steps
    }

    /// It says what its table held at a version, or a part of that.
    pub(super) fn part(&mut self, version: u64, part: u32, parts: u32, entries: Entries, now: Instant) -> Vec<Step> {
        if parts == 0 || part >= parts || parts > SNAPSHOT_PARTS_MAX {
            return Vec::new();
        }
        self.head(version);
        if version <= self.version || self.partial.as_ref().is_some_and(|partial| partial.version > version) {
            return Vec::new();
        }
        let count = parts as usize;
        let partial = match self.partial.take() {
            Some(partial) if partial.version == version && partial.parts.len() == count => partial,
            _ => Partial { version, parts: (0..count).map(|_| None).collect(), missing: count },
        };
        let partial = self.partial.insert(partial);
        let slot = &mut partial.parts[part as usize];
        if slot.is_none() {
            *slot = Some(entries);
            partial.missing -= 1;
            // It is on its way: no need to ask again while parts keep coming.
            self.ask_after = self.ask_after.map(|after| after.max(now + self.ask_pause));
        }
        if partial.missing > 0 {
            return Vec::new();
        }
        let whole = partial.parts.drain(..).flatten().collect();
        self.partial = None;
        self.version = version;
        let mut steps = vec![Step::Replace(whole)];
        steps.extend(self.following());
        steps
    }

    fn rest_if_complete(&mut self) {
        if self.is_complete() {
            self.ask_pause = ASK_PAUSE_MIN;
        }
        if self.partial.as_ref().is_some_and(|partial| partial.version <= self.version) {
            self.partial = None;
        }
    }

    /// Whether it is to be asked now; if so, not again for a while.
    pub(super) fn ask(&mut self, now: Instant) -> bool {
        if self.is_complete() || self.ask_after.is_some_and(|after| now < after) {
            return false;
        }
        self.ask_after = Some(now + self.ask_pause);
        self.ask_pause = (self.ask_pause * 2).min(ASK_PAUSE_MAX);
        true
    }

    /// Whether it is to be answered now; if so, not again for a while.
    pub(super) fn answer(&mut self, now: Instant) -> bool {
        if self.answered_at.is_some_and(|at| now.saturating_duration_since(at) < ANSWER_PAUSE) {
            return false;
        }
        self.answered_at = Some(now);
        true
    }

    #[cfg(test)]
    pub(super) fn kept(&self) -> (usize, usize) {
        (self.kept.len(), self.kept_changes)
    }
}
