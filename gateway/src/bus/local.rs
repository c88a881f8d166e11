//! The bus inside one process: nodes that share a [`LocalExchange`] hear each other, a [`LocalBus::alone`] hears only itself.
//!
//! As on a server, who publishes into a channel that it follows hears itself, and a node that does not listen loses messages and is
//! told so. Nothing here waits.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;

use super::inbox::Inbox;
use super::{Bus, BusError, Channel, Heard};

/// Where the nodes of one process meet.
#[derive(Debug, Clone, Default)]
pub struct LocalExchange {
    subscribers: Arc<Mutex<HashMap<Channel, Vec<Arc<Inbox>>>>>,
}

impl LocalExchange {
    /// A way to all others who joined.
    #[must_use]
    pub fn join(&self) -> LocalBus {
        LocalBus { exchange: self.clone(), inbox: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Channel, Vec<Arc<Inbox>>>> {
        self.subscribers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One node's way to the others of its exchange. Its subscriptions end with it.
pub struct LocalBus {
    exchange: LocalExchange,
    inbox: Arc<Inbox>,
}

impl LocalBus {
    /// The bus of a node that is the whole cluster.
    #[must_use]
    pub fn alone() -> Self {
        LocalExchange::default().join()
    }
}

impl fmt::Debug for LocalBus {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("LocalBus").finish_non_exhaustive()
    }
}

#[async_trait]
impl Bus for LocalBus {
    async fn publish(&self, messages: Vec<(Channel, Bytes)>) -> Result<(), BusError> {
        // Under the lock, so that all subscribers of a channel hear the same order.
        let subscribers = self.exchange.lock();
        for (channel, payload) in messages {
            for inbox in subscribers.get(&channel).into_iter().flatten() {
                inbox.put(channel.clone(), payload.clone());
            }
        }
        Ok(())
    }

    async fn subscribe(&self, channels: Vec<Channel>) -> Result<(), BusError> {
        let mut subscribers = self.exchange.lock();
        for channel in channels {
            let inboxes = subscribers.entry(channel).or_default();
            if !inboxes.iter().any(|inbox| Arc::ptr_eq(inbox, &self.inbox)) {
                inboxes.push(Arc::clone(&self.inbox));
            }
        }
        Ok(())
    }

    async fn unsubscribe(&self, channels: Vec<Channel>) -> Result<(), BusError> {
        let mut subscribers = self.exchange.lock();
        for channel in channels {
            if let Some(inboxes) = subscribers.get_mut(&channel) {
                inboxes.retain(|inbox| !Arc::ptr_eq(inbox, &self.inbox));
                if inboxes.is_empty() {
                    subscribers.remove(&channel);
                }
            }
        }
        Ok(())
    }

    async fn receive(&self) -> Heard {
        self.inbox.take().await
    }
}

impl Drop for LocalBus {
    fn drop(&mut self) {
        self.exchange.lock().retain(|_, inboxes| {
            inboxes.retain(|inbox| !Arc::ptr_eq(inbox, &self.inbox));
            !inboxes.is_empty()
        });
    }
}
