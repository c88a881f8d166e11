//! A bus that loses, hangs or is deaf when it is told to, around a real one. It also remembers what was published.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use hallway_gateway::bus::{Bus, BusError, Channel, Heard};
use tokio::sync::watch;

/// See the module.
pub(crate) struct FaultBus {
    inner: Arc<dyn Bus>,
    /// Nothing that is published arrives anywhere; the publisher is told that it went well.
    pub(crate) loses: AtomicBool,
    /// Publishing does not return.
    hangs: watch::Sender<bool>,
    /// Nothing is heard.
    pub(crate) is_deaf: AtomicBool,
    published: Mutex<Vec<(Channel, Bytes)>>,
    subscribed: Mutex<Vec<Channel>>,
}

impl FaultBus {
    pub(crate) fn new(inner: Arc<dyn Bus>) -> Self {
        Self {
            inner,
            loses: AtomicBool::new(false),
            hangs: watch::Sender::new(false),
            is_deaf: AtomicBool::new(false),
            published: Mutex::default(),
            subscribed: Mutex::default(),
        }
    }

    pub(crate) fn hangs(&self, hangs: bool) {
        self.hangs.send_replace(hangs);
    }

    /// What was published since the last call.
    pub(crate) fn take_published(&self) -> Vec<(Channel, Bytes)> {
        std::mem::take(&mut self.published.lock().unwrap())
    }

    /// Every channel that was ever subscribed to, in order.
    pub(crate) fn subscribed(&self) -> Vec<Channel> {
        self.subscribed.lock().unwrap().clone()
    }

    /// Publishes as anybody could who reaches the server.
    pub(crate) async fn publish_raw(&self, channel: Channel, payload: Bytes) {
        self.inner.publish(vec![(channel, payload)]).await.unwrap();
    }
}

#[async_trait]
impl Bus for FaultBus {
    async fn publish(&self, messages: Vec<(Channel, Bytes)>) -> Result<(), BusError> {
        self.published.lock().unwrap().extend(messages.iter().cloned());
        self.hangs.subscribe().wait_for(|hangs| !hangs).await.unwrap();
        if self.loses.load(Ordering::SeqCst) { Ok(()) } else { self.inner.publish(messages).await }
    }

    async fn subscribe(&self, channels: Vec<Channel>) -> Result<(), BusError> {
        self.subscribed.lock().unwrap().extend(channels.iter().cloned());
        self.inner.subscribe(channels).await
    }

    async fn unsubscribe(&self, channels: Vec<Channel>) -> Result<(), BusError> {
        self.inner.unsubscribe(channels).await
    }

    async fn receive(&self) -> Heard {
        loop {
            let heard = self.inner.receive().await;
            if !self.is_deaf.load(Ordering::SeqCst) {
                return heard;
            }
        }
    }
}
