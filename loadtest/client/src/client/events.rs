//! The observer for those who want a queue.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::mpsc;

use super::{Notice, Observer};
use crate::positions::Step;

/// What a client sees, to be taken one by one. Repeats are dropped before they come here.
#[derive(Debug)]
pub struct Events {
    inbox: mpsc::Receiver<Notice>,
}

impl Events {
    /// The next notice; `None` when the client has ended.
    pub async fn next(&mut self) -> Option<Notice> {
        self.inbox.recv().await
    }
}

type Reserve = Pin<Box<dyn Future<Output = Option<mpsc::OwnedPermit<Notice>>> + Send>>;

pub(super) struct Queue {
    outbox: mpsc::Sender<Notice>,
    permit: Option<mpsc::OwnedPermit<Notice>>,
    waiting: Option<Reserve>,
}

pub(super) fn queue(capacity: usize) -> (Queue, Events) {
    // Two more, for what the task says between two reads: that it disconnected, and that it connected again.
    let (outbox, inbox) = mpsc::channel(capacity.max(1) + 2);
    (Queue { outbox, permit: None, waiting: None }, Events { inbox })
}

impl Observer for Queue {
    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.permit.is_some() || self.outbox.is_closed() {
            return Poll::Ready(());
        }
        if self.waiting.is_none() {
            match self.outbox.clone().try_reserve_owned() {
                Ok(permit) => {
                    self.permit = Some(permit);
                    return Poll::Ready(());
                }
                Err(mpsc::error::TrySendError::Closed(_)) => return Poll::Ready(()),
                Err(mpsc::error::TrySendError::Full(outbox)) => {
                    self.waiting = Some(Box::pin(async move { outbox.reserve_owned().await.ok() }));
                }
            }
        }
        let Some(waiting) = &mut self.waiting else { return Poll::Ready(()) };
        match waiting.as_mut().poll(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(permit) => {
                self.waiting = None;
                self.permit = permit;
                Poll::Ready(())
            }
        }
    }

    fn observe(&mut self, notice: Notice) {
        if matches!(notice, Notice::Event { step: Step::Repeat, .. } | Notice::UnknownEvent { step: Step::Repeat, .. })
        {
            return;
        }
        match self.permit.take() {
            Some(permit) => {
                permit.send(notice);
            }
            // Nobody listens any more, or the task spoke without asking first (it waits for room before it does).
            None => {
                let _ = self.outbox.try_send(notice);
            }
        }
    }
}
