//! A bounded queue with one reader, whose writers never wait unless they ask to.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// An empty queue keeps room for so many entries. What a crowd that comes at once needed beyond that is given back.
const KEPT_ENTRIES: usize = 256;

/// Many writers, one reader. `push` is for what must never be refused (orders whose number is bounded elsewhere), `offer`
/// for what can be read again from the log, `send` for writers that may wait.
#[derive(Debug)]
pub struct Inbox<T> {
    queue: Mutex<Queue<T>>,
    filled: Notify,
    drained: Notify,
    max: usize,
}

#[derive(Debug)]
struct Queue<T> {
    entries: VecDeque<T>,
    /// The reader was woken since the queue was last empty.
    woken: bool,
}

impl<T> Inbox<T> {
    /// A queue that holds `max` entries before `offer` refuses and `send` waits.
    #[must_use]
    pub fn new(max: u64) -> Self {
        Self {
            queue: Mutex::new(Queue { entries: VecDeque::new(), woken: false }),
            filled: Notify::new(),
            drained: Notify::new(),
            max: usize::try_from(max).unwrap_or(usize::MAX),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue<T>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends, whatever the length.
    pub fn push(&self, entry: T) {
        let was_woken = {
            let mut queue = self.queue();
            queue.entries.push_back(entry);
            std::mem::replace(&mut queue.woken, true)
        };
        if !was_woken {
            self.filled.notify_one();
        }
    }

    /// Appends if there is room.
    ///
    /// # Errors
    /// Gives the entry back when the queue is full.
    pub fn offer(&self, entry: T) -> Result<(), T> {
        let was_woken = {
            let mut queue = self.queue();
            if queue.entries.len() >= self.max {
                return Err(entry);
            }
            queue.entries.push_back(entry);
            std::mem::replace(&mut queue.woken, true)
        };
        if !was_woken {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Appends if there is room, and wakes nobody: the caller sees to it that the entry is taken.
    ///
    /// # Errors
    /// Gives the entry back when the queue is full.
    pub fn offer_quietly(&self, entry: T) -> Result<(), T> {
        let mut queue = self.queue();
        if queue.entries.len() >= self.max {
            return Err(entry);
        }
        queue.entries.push_back(entry);
        Ok(())
    }

    /// Wakes the reader whether there is an entry or not.
    pub fn wake(&self) {
        self.filled.notify_one();
    }

    /// Whether there is nothing to take.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue().entries.is_empty()
    }

    /// Resolves when the reader was woken since the last call; there may be nothing to take.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Appends, waiting for room.
    pub async fn send(&self, entry: T) {
        let mut entry = entry;
        loop {
            let room = self.drained.notified();
            match self.offer(entry) {
                Ok(()) => return,
                Err(back) => entry = back,
            }
            room.await;
        }
    }

    /// Moves up to `most` entries into `into`; waits until there is at least one.
    pub async fn receive(&self, into: &mut Vec<T>, most: usize) {
        loop {
            if self.take(into, most) {
                return;
            }
            self.filled.notified().await;
        }
    }

    /// Moves up to `most` entries into `into`, without waiting; whether there was any.
    pub fn take(&self, into: &mut Vec<T>, most: usize) -> bool {
        let (count, left) = {
            let mut queue = self.queue();
            let count = queue.entries.len().min(most);
            into.extend(queue.entries.drain(..count));
            queue.woken = !queue.entries.is_empty();
            if queue.entries.is_empty() && queue.entries.capacity() > KEPT_ENTRIES {
                queue.entries.shrink_to(KEPT_ENTRIES);
            }
            (count, queue.entries.len())
        };
        if left > 0 {
            // The next `receive` finds the rest even when no writer pushes again.
            self.filled.notify_one();
        }
        if count > 0 {
            self.drained.notify_waiters();
        }
        count > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_queue_gives_back_what_a_crowd_needed() {
        let inbox = Inbox::new(u64::MAX);
        (0..100 * KEPT_ENTRIES).for_each(|entry| inbox.push(entry));
        let mut taken = Vec::new();
        while inbox.take(&mut taken, 1000) {}
        assert_eq!(taken, (0..100 * KEPT_ENTRIES).collect::<Vec<_>>());
        let kept = inbox.queue().entries.capacity();
        assert!(kept <= 2 * KEPT_ENTRIES, "room for {kept} entries");
    }
}
