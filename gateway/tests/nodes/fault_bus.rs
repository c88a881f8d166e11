//! A bus that loses, hangs or is deaf when it is told to, around a real one. It also remembers what was published.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use hallway_gateway::bus::{Bus, BusError, Channel, Heard};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;

/// See the module.
pub(crate) struct FaultBus {
    inner: Arc<dyn Bus>,
    /// Nothing that is published arrives anywhere; the publisher is told that it went well.
    pub(crate) loses: AtomicBool,
    /// Of what is heard, some is lost, some is heard twice and some later than what follows it: chosen by this generator.
    unruly: Mutex<Option<StdRng>>,
    late: Mutex<VecDeque<Heard>>,
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
            unruly: Mutex::default(),
            late: Mutex::default(),
            hangs: watch::Sender::new(false),
            is_deaf: AtomicBool::new(false),
            published: Mutex::default(),
            subscribed: Mutex::default(),
        }
    }

    pub(crate) fn hangs(&self, hangs: bool) {
        self.hangs.send_replace(hangs);
    }

    /// From now on it loses, repeats and reorders.
    pub(crate) fn be_unruly(&self, seed: u64) {
        *self.unruly.lock().unwrap() = Some(StdRng::seed_from_u64(seed));
    }

    /// What becomes of something that was heard.
    fn let_through(&self, heard: Heard) -> Option<Heard> {
        let mut unruly = self.unruly.lock().unwrap();
        let Some(random) = unruly.as_mut() else { return Some(heard) };
        let mut late = self.late.lock().unwrap();
        match random.random_range(0..6) {
            0 => None,
            1 => {
                late.push_back(heard.clone());
                Some(heard)
            }
            2 => {
                late.push_back(heard);
                None
            }
            3 => {
                late.push_back(heard);
                late.pop_front()
            }
            _ => Some(heard),
        }
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
            if !self.is_deaf.load(Ordering::SeqCst)
                && let Some(heard) = self.let_through(heard)
            {
                return heard;
            }
        }
    }
}
