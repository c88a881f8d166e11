//! A lane as the rest of the hub sees it: an inbox, and tables that one thread at a time works on.
//!
//! Small work costs more to hand to another thread than to do, so who brings it does it: after its entries are in the
//! inbox, a session or an owner calls [`SharedLane::drive`], which works them off if that is quick. Whatever is not, and all
//! that is brought by others, is the task's. Nobody waits for the lane: who finds it taken goes away, because
//!
//! **Invariant:** whoever lets go of the lane looks at the inbox and at the work left after that, and wakes the task when
//! there is some. An entry that came while the lane was taken is seen by this look, or by its own writer's attempt.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use super::{Lane, LaneMessage};
use crate::hub::facade::Owners;
use crate::hub::{Diary, Inbox};
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

/// Entries taken from the inbox at once: what is due for a socket within them leaves in one system call.
const DRAIN_MAX_ENTRIES: usize = 64;
/// Frames that wait for their turn before no more entries are taken.
const QUEUED_MAX_FRAMES: usize = 4096;
/// Sockets that a turn of the lane's task writes to.
const SLICE_MAX_SOCKETS: usize = 512;
/// Sockets that whoever brings something writes to itself. More are the task's, and the tasks of all lanes at once.
const DRIVE_MAX_SOCKETS: usize = 64;

/// Cheap to share; see the module.
pub(in crate::hub) struct SharedLane {
    inbox: Inbox<LaneMessage>,
    held: Mutex<Held>,
}

/// What is worked on by one thread at a time.
struct Held {
    lane: Lane,
    taken: Vec<LaneMessage>,
}

impl SharedLane {
    pub(in crate::hub) fn new(
        index: usize,
        inbox_max: u64,
        owners: Arc<Owners>,
        metrics: Arc<Metrics>,
        diary: Arc<Diary>,
    ) -> Self {
        let held =
            Held { lane: Lane::new(index, owners, metrics, diary), taken: Vec::with_capacity(DRAIN_MAX_ENTRIES) };
        Self { inbox: Inbox::new(inbox_max), held: Mutex::new(held) }
    }

    /// Tells the lane something that must not be lost, and wakes its task.
    pub(in crate::hub) fn push(&self, message: LaneMessage) {
        self.inbox.push(message);
    }

    /// The same for what can be read again from the log. Whether there was room.
    #[must_use]
    pub(in crate::hub) fn offer(&self, message: LaneMessage) -> bool {
        self.inbox.offer(message).is_ok()
    }

    /// The same without waking the task: the caller drives the lane soon.
    #[must_use]
    pub(in crate::hub) fn offer_quietly(&self, message: LaneMessage) -> bool {
        self.inbox.offer_quietly(message).is_ok()
    }

    /// Works off what is in the inbox, if nobody else does and it is little; otherwise leaves it to the task.
    pub(in crate::hub) fn drive(&self) {
        if self.inbox.is_empty() {
            return;
        }
        let Some(mut held) = self.hold() else { return };
        held.take(&self.inbox);
        if held.lane.sockets_due(DRIVE_MAX_SOCKETS) <= DRIVE_MAX_SOCKETS {
            held.lane.serve_round(DRIVE_MAX_SOCKETS);
        }
        if self.let_go(held) {
            self.inbox.wake();
        }
    }

    /// The lane's task.
    pub(in crate::hub) async fn run(self: Arc<Self>, tasks: Tasks) {
        while !tasks.is_stopped() {
            tokio::select! {
                () = self.inbox.filled() => {}
                () = tasks.stopped() => return,
            }
            while self.turn() && !tasks.is_stopped() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// One turn of the task; whether there is more to do. When the lane is taken, whoever has it looks after that.
    pub(in crate::hub) fn turn(&self) -> bool {
        let Some(mut held) = self.hold() else { return false };
        held.take(&self.inbox);
        held.lane.serve_round(SLICE_MAX_SOCKETS);
        self.let_go(held)
    }

    /// Whether something is in the inbox.
    #[cfg(test)]
    pub(in crate::hub) fn has_messages(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// Whether the task was woken since the last look.
    #[cfg(test)]
    pub(super) fn was_woken(&self) -> bool {
        futures_util::FutureExt::now_or_never(self.inbox.filled()).is_some()
    }

    fn hold(&self) -> Option<MutexGuard<'_, Held>> {
        match self.held.try_lock() {
            Ok(held) => Some(held),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Returns whether there is something to do. The look at the inbox must come after the lane is free, and must take the
    /// inbox's lock: an entry that it does not see was put there later, and its writer finds the lane free.
    fn let_go(&self, held: MutexGuard<'_, Held>) -> bool {
        let has_work = held.lane.has_work();
        drop(held);
        has_work || !self.inbox.is_empty()
    }
}

impl Held {
    fn take(&mut self, inbox: &Inbox<LaneMessage>) {
        if self.lane.queued_frames() < QUEUED_MAX_FRAMES {
            inbox.take(&mut self.taken, DRAIN_MAX_ENTRIES);
        }
        for message in self.taken.drain(..) {
            self.lane.take(message);
        }
    }
}
