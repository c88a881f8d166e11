//! The hub without tasks: whoever holds it lets its owners and lanes work, turn by turn, at times that it says.
//!
//! Everything that decides is the real thing; only the loops of `owner` and `lane`, which wait, are left out.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use hallway_protocol::Epoch;

use super::lane::SharedLane;
use super::owner::{Owner, Reading};
use super::{Hub, LogPage, LogRead, LogReader};
use crate::config::Limits;
use crate::telemetry::metrics::Metrics;

/// A hub that does nothing by itself.
pub(crate) struct SteppedHub {
    pub(crate) hub: Hub,
    owners: Vec<SteppedOwner>,
    lanes: Vec<Arc<SharedLane>>,
}

struct SteppedOwner {
    owner: Owner,
    is_reading: bool,
}

/// A read that an owner waits for.
pub(crate) struct OwnerReading {
    owner: usize,
    reading: Reading,
}

/// Nobody reads through the hub: reads are handed out by [`SteppedHub::owner_turn`].
struct NoLog;

impl LogReader for NoLog {
    fn read(&self, _: Vec<LogRead>) -> Pin<Box<dyn Future<Output = Option<Vec<LogPage>>> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}

impl SteppedHub {
    pub(crate) fn new(lanes: usize, epoch: Epoch, limits: Limits, metrics: Arc<Metrics>, now: Instant) -> Self {
        let (hub, owners, lanes) = Hub::stepped(lanes, epoch, limits, metrics, Arc::new(NoLog), now);
        let owners = owners.into_iter().map(|owner| SteppedOwner { owner, is_reading: false }).collect();
        Self { hub, owners, lanes }
    }

    /// How many owners there are, and lanes.
    pub(crate) fn count(&self) -> usize {
        self.owners.len()
    }

    /// One turn of an owner with at most so many messages; what it wants to be read, if it begins a read.
    pub(crate) fn owner_turn(
        &mut self,
        index: usize,
        most: usize,
        now: Instant,
    ) -> Option<(OwnerReading, Vec<LogRead>)> {
        let stepped = &mut self.owners[index];
        let (reading, reads) = stepped.owner.turn(most, !stepped.is_reading, now)?;
        stepped.is_reading = true;
        Some((OwnerReading { owner: index, reading }, reads))
    }

    /// The answer to a read; `None`: it failed.
    pub(crate) fn owner_answered(&mut self, reading: OwnerReading, pages: Option<Vec<LogPage>>, now: Instant) {
        let stepped = &mut self.owners[reading.owner];
        stepped.is_reading = false;
        stepped.owner.answered(reading.reading, pages, now);
    }

    /// When an owner must have its next turn.
    pub(crate) fn owner_wakes_at(&self, index: usize, now: Instant) -> Instant {
        let stepped = &self.owners[index];
        if stepped.owner.has_messages() { now } else { stepped.owner.wakes_at(now, stepped.is_reading) }
    }

    /// What an owner does every second.
    pub(crate) fn sweep(&mut self, index: usize, now: Instant) {
        self.owners[index].owner.swept(now);
    }

    /// One turn of a lane's task; whether there is more to do.
    pub(crate) fn lane_turn(&self, index: usize) -> bool {
        self.lanes[index].turn()
    }

    /// Whether a lane has something to do.
    pub(crate) fn lane_has_messages(&self, index: usize) -> bool {
        self.lanes[index].has_messages()
    }
}
