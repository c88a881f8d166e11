//! The way between nodes: the only place where hub, bus, directory and store meet for the cluster.
//!
//! ```text
//!  writer, marks ──events──► outbound ──one message a batch and target──► bus ──► inbound ──► hub of the other node
//!  commands ──typing, signal──►  │ route: who is reached how                        │ directory, answers, probe
//!                                └─ members: lists of rooms, subscriptions          └─ missed something: the tail, soon
//!  hub: who came, who went ──► roll ──deltas, heartbeats, probes──► outbound
//! ```
//!
//! Everything here is speed. What is late, lost, repeated or forged between nodes changes nothing that is promised: the owners
//! of the streams put what comes in order, and the store's tail finds what did not come. So nobody waits for anything here:
//! what does not fit into the queue to the bus is dropped and counted.
//!
//! What travels is described in `frames`. What a module above wants to know of another node it asks with [`Cluster::ask`] under a
//! [`topic`], and has it answered there by what it registered with [`Cluster::answer`].
//!
//! **Invariant:** events are handed to the hub of this node before they are handed to the bus, and acknowledged without waiting
//! for either.
//!
//! **Invariant:** nothing heard is taken unless it was sealed with the cluster's secret; nothing heard panics.
//!
//! **Invariant:** a node that is alone (no `bus.url`) does nothing of this for a message.
//!
//! Reading order: `route`, `interest`, `health` (pure: where to, what to hear, whether it works), `frames` (pure: what travels),
//! `outbound`, `inbound`, `roll` (who is where), `members` (lists and subscriptions), `ask`.

mod ask;
mod frames;
mod health;
mod inbound;
mod interest;
mod members;
mod outbound;
mod roll;
mod route;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hallway_protocol::{RoomId, UserId};
use hallway_store::Store;
use tokio::sync::Notify;
use tracing::{info, warn};

pub use ask::{Answerer, Answers, topic};

use crate::bus::envelope::{ClusterKey, Frame};
use crate::bus::redis::RedisHealth;
use crate::bus::{Bus, Channel};
use crate::config::Limits;
use crate::connection::Encoded;
use crate::directory::{Devices, Directory, Notice, Told};
use crate::hub::{Hub, Inbox, LiveEvent, PeopleWatch};
use crate::node::NodeId;
use crate::sabotage::{Mutant, is_on};
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

use ask::Asked;
use health::Health;
use outbound::Item;
use route::Routes;

/// The tail is asked to run at once at most this often.
const TAIL_SOON_PAUSE: Duration = Duration::from_millis(100);
/// How long a node that stops waits until the others can know.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// How a node reaches the others.
pub struct Way {
    pub bus: Arc<dyn Bus>,
    pub key: ClusterKey,
    /// What is known of its connections, if it has any.
    pub redis: Option<Arc<RedisHealth>>,
}

/// This node among the others. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    node: NodeId,
    hub: Hub,
    store: Arc<dyn Store>,
    limits: Limits,
    metrics: Arc<Metrics>,
    /// `None`: the node is alone.
    way: Option<Way>,
    /// What waits for the bus.
    queue: Inbox<Item>,
    state: Mutex<State>,
    health: Mutex<Health>,
    asked: Asked,
    /// The members of rooms are wanted.
    wanted: Notify,
    /// Whose presence changed, anywhere.
    presence: PeopleWatch,
    tail_soon: Notify,
    /// Since `begun`, in milliseconds.
    tail_asked_ms: AtomicU64,
    begun: Instant,
}

/// What routes are made of. Locked for moments, never across a wait.
struct State {
    directory: Directory,
    routes: Routes,
}

impl Cluster {
    /// A node that is not started yet; with no way to others it is alone.
    #[must_use]
    pub fn new(
        node: NodeId,
        way: Option<Way>,
        hub: Hub,
        store: Arc<dyn Store>,
        limits: &Limits,
        metrics: Arc<Metrics>,
    ) -> Self {
        let count = |limit: u64| usize::try_from(limit).unwrap_or(usize::MAX);
        let large_from = u32::try_from(limits.large_room_threshold_members).unwrap_or(u32::MAX);
        let directory = Directory::new(Duration::from_millis(limits.node_lease_ms)).of_node(node);
        let routes = Routes::new(large_from, count(limits.member_lists_max_people));
        metrics.bus_up.set(1);
        metrics.cluster_nodes.set(1);
        Self {
            inner: Arc::new(Inner {
                node,
                hub,
                store,
                limits: limits.clone(),
                metrics,
                way,
                queue: Inbox::new(limits.bus_queue_max_messages),
                state: Mutex::new(State { directory, routes }),
                health: Mutex::new(Health::new(true)),
                asked: Asked::default(),
                wanted: Notify::new(),
                presence: PeopleWatch::default(),
                tail_soon: Notify::new(),
                tail_asked_ms: AtomicU64::new(0),
                begun: Instant::now(),
            }),
        }
    }

    /// Begins to hear and to speak; all of it ends with `tasks`. When it returns, what others publish is heard, if the bus
    /// answers: so the store's tail is to be followed from a moment after this.
    pub async fn start(&self, tasks: &Tasks) {
        let people = self.inner.hub.watch_people();
        if let Some(way) = &self.inner.way {
            let subscribed = way.bus.subscribe(vec![Channel::All, Channel::Node(self.inner.node)]).await;
            if let Err(error) = &subscribed {
                warn!(%error, "the bus does not answer: other nodes are heard through the store, half a second later");
            }
            *self.health() = Health::new(subscribed.is_ok());
            self.note_health(subscribed.is_ok());
            let rooms = self.inner.hub.watch_rooms();
            tasks.spawn(outbound::run(self.clone(), tasks.clone()));
            tasks.spawn(inbound::run(self.clone(), tasks.clone()));
            tasks.spawn(members::run(self.clone(), rooms, tasks.clone()));
            let heartbeat = self.state().directory.heartbeat();
            self.tell(Channel::All, &heartbeat);
            self.tell(Channel::All, &Notice::Ask);
            info!(node = %self.inner.node, "in a cluster");
        }
        tasks.spawn(roll::run(self.clone(), people, tasks.clone()));
    }

    /// Whether there is no way to other nodes.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.inner.way.is_none()
    }

    /// This node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.inner.node
    }

    /// Hands over what was committed here, for the other nodes. Never waits: what the queue does not take is left to the tail.
    pub fn publish(&self, events: Vec<Arc<LiveEvent>>) {
        if !self.is_alone() {
            events.into_iter().for_each(|event| self.queue(Item::Event(event)));
        }
    }

    /// Hands over a frame for everyone who follows a room right now, at other nodes.
    pub fn ephemeral(&self, room: &RoomId, frame: &Arc<Encoded>) {
        if !self.is_alone() {
            self.queue(Item::Ephemeral(room.clone(), Arc::clone(frame)));
        }
    }

    /// Whether this node hears itself through the bus; `None` when it needs none.
    #[must_use]
    pub fn bus_up(&self) -> Option<bool> {
        self.inner.way.as_ref().map(|_| self.health().is_up())
    }

    /// Has the store's tail read soon: whoever lost messages on the fast path calls it. Many calls are one.
    pub fn want_tail(&self) {
        self.inner.tail_soon.notify_one();
    }

    /// Resolves when the store's tail should be read at once.
    pub async fn tail_wanted(&self) {
        self.inner.tail_soon.notified().await;
    }

    /// Somebody's devices on all nodes.
    #[must_use]
    pub fn devices(&self, user: &UserId) -> Devices {
        self.state().directory.devices(user)
    }

    /// Looks something up in the directory.
    pub fn in_directory<T>(&self, look: impl FnOnce(&Directory) -> T) -> T {
        look(&self.state().directory)
    }

    /// Says something to the directory about this node; the others are told with the next heartbeat at the latest.
    pub fn change_directory<T>(&self, change: impl FnOnce(&mut Directory) -> T) -> T {
        change(&mut self.state().directory)
    }

    /// The other nodes where somebody has sockets.
    #[must_use]
    pub fn nodes_of(&self, user: &UserId) -> Vec<NodeId> {
        self.state().directory.nodes_of(user).collect()
    }

    /// Collects those whose presence changed, at whichever node. For one reader.
    #[must_use]
    pub fn presence_watch(&self) -> &PeopleWatch {
        &self.inner.presence
    }

    /// Says goodbye: when it returns, the others know that nobody is here any more, if the bus answers in time.
    pub async fn farewell(&self) {
        if self.is_alone() {
            return;
        }
        self.tell(Channel::All, &Notice::Farewell);
        let (done, said) = tokio::sync::oneshot::channel();
        self.inner.queue.push(Item::Fence(done));
        if tokio::time::timeout(FAREWELL_TIMEOUT, said).await.is_err() {
            info!("the other nodes could not be told; they will notice when the lease is over");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.inner.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self, item: Item) {
        if self.inner.queue.offer(item).is_err() {
            self.inner.metrics.bus_queue_drops.add(1);
        }
    }

    /// Sends what the directory says. Such notices are few, and not dropped.
    fn tell(&self, channel: Channel, notice: &Notice) {
        self.send(channel, frames::notice(notice));
    }

    /// Sends a frame whose number is bounded where it is made.
    fn send(&self, channel: Channel, frame: Frame) {
        if !self.is_alone() {
            self.inner.queue.push(Item::To(channel, frame));
        }
    }

    /// Does what the directory told.
    fn act(&self, told: Vec<Told>) {
        if told.is_empty() {
            return;
        }
        self.state().routes.directory_changed();
        for told in told {
            match told {
                Told::Joined(node) => info!(%node, "a node is there"),
                Told::Left(node) => info!(%node, "a node is gone"),
                Told::Changed(user) => self.inner.presence.note(&user),
                Told::Ask(node) => self.tell(Channel::Node(node), &Notice::Ask),
                Told::Answer(node, notices) => {
                    notices.iter().for_each(|notice| self.tell(Channel::Node(node), notice));
                }
            }
        }
        let nodes = self.state().directory.nodes().count() + 1;
        self.inner.metrics.cluster_nodes.set(i64::try_from(nodes).unwrap_or(i64::MAX));
    }

    /// Something may have been missed: the tail finds what.
    fn missed(&self) {
        self.inner.metrics.bus_missed.add(1);
        if is_on(Mutant::IgnoreMissedAndNoTail) {
            return;
        }
        let now_ms = u64::try_from(self.inner.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let last_ms = self.inner.tail_asked_ms.load(Ordering::Relaxed);
        // More often there is nothing to gain: the tail runs by itself soon enough.
        if last_ms == 0 || now_ms.saturating_sub(last_ms) >= TAIL_SOON_PAUSE.as_millis() as u64 {
            self.inner.tail_asked_ms.store(now_ms.max(1), Ordering::Relaxed);
            self.inner.tail_soon.notify_one();
        }
    }

    fn note_health(&self, is_up: bool) {
        let was_up = self.inner.metrics.bus_up.get() == 1;
        self.inner.metrics.bus_up.set(i64::from(is_up));
        self.inner.hub.set_fast_path(is_up);
        match (was_up, is_up) {
            (true, false) => warn!("this node does not hear itself through the bus: degraded, events come by the tail"),
            (false, true) => info!("this node hears itself through the bus again"),
            _ => {}
        }
    }
}
