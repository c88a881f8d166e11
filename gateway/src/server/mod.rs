//! The composition root: the only module that knows everybody. Opens the store, starts the parts, listens, and stops them
//! in order: accept loop, sessions, service and hub, store.

mod drain;
mod janitor;
mod listen;
mod open;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hallway_store::{Store, StoreError};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

use crate::auth::Authenticator;
use crate::bus::{Bus, BusError};
use crate::config::{Config, Secret, SecretError};
use crate::connection::Budget;
use crate::http::{Listener, Routes};
use crate::hub::Hub;
use crate::node::NodeId;
use crate::outbox::{OutboxError, Targets, Webhooks};
use crate::service::{Cluster, PageReader, Service};
use crate::session::Sessions;
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

pub use drain::DrainReport;
use open::open_way;
pub use open::{check_servers, open_store};

use drain::Drain;

/// Why a node does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error("cannot listen on {address} ({what}): {source}; choose another with --{what}")]
    Listen { what: &'static str, address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the store would not keep what it acknowledges: {0}")]
    UnsafeStore(String),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error(transparent)]
    ClusterSecret(#[from] SecretError),
    #[error("metrics cannot be set up: {0}")]
    Metrics(#[from] crate::telemetry::exporter::MetricsError),
    #[error("signals cannot be heard: {0}")]
    Signals(std::io::Error),
}

/// Parts of a node that are there before it starts; what is not is made as the configuration says.
#[derive(Default)]
pub struct Given {
    pub store: Option<Arc<dyn Store>>,
    pub bus: Option<Arc<dyn Bus>>,
    pub node: Option<NodeId>,
}

/// A running node.
pub struct Node {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where operators look.
    pub admin_address: SocketAddr,
    sessions: Arc<Sessions>,
    /// Delivers webhooks; begins nothing when the node begins to stop.
    outbox: Tasks,
    core: Tasks,
    store: Arc<dyn Store>,
    drain: Drain,
}

/// Runs a node until it is told to stop (SIGTERM or SIGINT), then drains it.
///
/// # Errors
/// [`ServeError`] when it cannot start.
pub async fn run(config: Config, secret: Secret, started: impl FnOnce(&Node)) -> Result<DrainReport, ServeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(ServeError::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ServeError::Signals)?;
    let node = Node::start(config, &secret).await?;
    started(&node);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(node.drain().await)
}

impl Node {
    /// Opens the store, starts the parts and listens.
    ///
    /// # Errors
    /// [`ServeError`] when the store cannot be used or an address is taken.
    pub async fn start(config: Config, secret: &Secret) -> Result<Self, ServeError> {
        Self::start_with(config, secret, Given::default()).await
    }

    /// The same on a store that is open already.
    ///
    /// # Errors
    /// [`ServeError`] when the store cannot be used or an address is taken.
    pub async fn start_with_store(config: Config, secret: &Secret, store: Arc<dyn Store>) -> Result<Self, ServeError> {
        Self::start_with(config, secret, Given { store: Some(store), ..Given::default() }).await
    }

    /// The same with parts that are there already.
    ///
    /// # Errors
    /// [`ServeError`] when the store cannot be used or an address is taken.
    pub async fn start_with(config: Config, secret: &Secret, given: Given) -> Result<Self, ServeError> {
        // An address that is taken is told before the store is touched.
        let (public, admin) = bind(&config)?;
        let targets = Targets::open(&config)?;
        let (core, session_tasks, outbox) = (Tasks::default(), Tasks::default(), Tasks::default());
        let way = open_way(&config, secret, given.bus, &core)?;
        let store = match given.store {
            Some(store) => store,
            None => open_store(&config).await?,
        };
        check_durability(&*store).await?;
        #[cfg(feature = "sabotage")]
        open::sabotage(&config).await?;
        let epoch = store.epoch().await?;
        let (metrics, exporter) = Metrics::new()?;
        let limits = config.limits.clone();
        let timeout = Duration::from_millis(limits.store_timeout_ms);
        let reader = PageReader::start(Arc::clone(&store), timeout, Arc::clone(&metrics), &core);
        let log = Arc::new(reader.clone());
        let lanes = config.server.lanes_in_force();
        let hub = Hub::start(lanes, epoch, limits.clone(), Arc::clone(&metrics), log, &core);
        let node_id = given.node.unwrap_or_else(NodeId::generate);
        hub.name_node(node_id);
        let cluster = Cluster::new(node_id, way, hub.clone(), Arc::clone(&store), &limits, Arc::clone(&metrics));
        // What others publish is heard before the tail begins: nothing lies between.
        cluster.start(&core).await;
        let counts = Arc::clone(&metrics);
        let service = Service::start(Arc::clone(&store), hub, cluster, limits.clone(), metrics, &core);
        let webhooks = Webhooks::start(Arc::clone(&store) as _, targets, &limits, counts, &outbox);
        service.start_hand_outs(webhooks, &core);
        service.start_upkeep(config.retention.max_age_hours, &core).await?;
        let budget = Arc::new(Budget::new(limits.backlogs_max_bytes, Arc::clone(service.metrics())));
        janitor::start(service.hub().clone(), Arc::clone(&budget), &core);
        let authenticator = Authenticator::new(secret, &config.auth);
        let sessions = Arc::new(Sessions::new(service, reader, authenticator, budget, session_tasks));
        let node = Self {
            address: local_address(&public, config.server.listen),
            admin_address: local_address(&admin, config.server.admin_listen),
            sessions: Arc::clone(&sessions),
            outbox,
            core,
            store,
            drain: Drain::new(&config),
        };
        let routes = Arc::new(Routes { sessions: Arc::clone(&sessions), exporter, server: config.server });
        listen::accept(public, Arc::clone(&routes), Listener::Public, &sessions.tasks, &sessions.tasks);
        listen::accept(admin, routes, Listener::Admin, &node.core, &node.core);
        info!(address = %node.address, admin = %node.admin_address, lanes, "listening");
        Ok(node)
    }

    /// The node's service, for tests in this process.
    #[must_use]
    pub fn service(&self) -> &Service {
        &self.sessions.service
    }
}

/// The listeners for clients and for operators.
fn bind(config: &Config) -> Result<(TcpListener, TcpListener), ServeError> {
    let public = listen::bind(config.server.listen, "listen", &config.limits)?;
    let admin = listen::bind(config.server.admin_listen, "admin-listen", &config.limits)?;
    Ok((public, admin))
}

fn local_address(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}

async fn check_durability(store: &dyn Store) -> Result<(), ServeError> {
    let durability = store.durability().await?;
    for (name, value) in &durability.settings {
        info!(%name, %value, "store setting");
    }
    for warning in &durability.warnings {
        warn!("{warning}");
    }
    if durability.safe() { Ok(()) } else { Err(ServeError::UnsafeStore(durability.unsafe_settings.join("; "))) }
}
