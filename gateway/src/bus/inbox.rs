//! What waits for one node to be received: bounded in messages and in bytes. What comes on top is lost, and said to be lost in its
//! place.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{Channel, Heard};

/// Most messages that wait. One more is lost, and [`Heard::Missed`] said.
pub const INBOX_MAX_MESSAGES: usize = 65_536;
/// Most bytes of messages that wait. One more message is lost, and [`Heard::Missed`] said.
pub const INBOX_MAX_BYTES: usize = 64 * 1024 * 1024;

#[derive(Debug, Default)]
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    filled: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Heard>,
    bytes: usize,
}

impl Inbox {
    /// Adds a message, or the word that it was missed; says whether it was added.
    pub(super) fn put(&self, channel: Channel, payload: Bytes) -> bool {
        let mut queue = self.lock();
        let fits = queue.waiting.len() < INBOX_MAX_MESSAGES && queue.bytes + payload.len() <= INBOX_MAX_BYTES;
        if fits {
            queue.bytes += payload.len();
            queue.waiting.push_back(Heard::Message { channel, payload });
        } else {
            queue.put_missed();
        }
        drop(queue);
        self.filled.notify_one();
        fits
    }

    /// Says that something was missed after all that waits.
    pub(super) fn put_missed(&self) {
        self.lock().put_missed();
        self.filled.notify_one();
    }

    /// The next thing heard; waits for it. One caller at a time.
    pub(super) async fn take(&self) -> Heard {
        loop {
            if let Some(heard) = self.lock().pop() {
                return heard;
            }
            // What was put since then left a permit, which ends this wait at once.
            self.filled.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// Missing something twice in a row is missing something.
    fn put_missed(&mut self) {
        if self.waiting.back() != Some(&Heard::Missed) {
            self.waiting.push_back(Heard::Missed);
        }
    }

    fn pop(&mut self) -> Option<Heard> {
        let heard = self.waiting.pop_front()?;
        if let Heard::Message { payload, .. } = &heard {
            self.bytes -= payload.len();
        }
        Some(heard)
    }
}
