//! Configuration: file < environment (`HALLWAY__SECTION__KEY`) < flags.
//!
//! `hallway.default.toml`, compiled in, is the documentation: every key with its meaning and its default. A key that is
//! not in it is a fault, and all faults are told at once, each with its value, where it came from and what to do.
//!
//! Reading order: the structs below, `keys` (one row per key), `load` (layers and checks), `fault`, [`Secret`].
//!
//! **Invariant:** loading reads the configuration file and nothing else; secrets are read (or made) by
//! [`Config::load_secret`] and its kin only.
//!
//! **Invariant:** nothing here prints a secret, or the password of a store or a bus.

mod bus;
mod fault;
mod file;
mod keys;
pub mod limits;
mod load;
mod secret;
mod webhooks;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

pub use bus::{BusConfig, BusUrl, ClusterConfig};
pub use fault::{ConfigErrors, Fault, Source};
pub use limits::Limits;
pub use load::Flags;
pub use secret::{DEV_SECRET_FILE, SECRET_MIN_BYTES, Secret, SecretError, StoreUrl, read_secret_file};
pub use webhooks::{WEBHOOK_TARGETS_MAX, WebhookConfig, WebhookUrl};

/// The defaults, as a file with a comment for every key.
pub const DEFAULT_TOML: &str = include_str!("../../hallway.default.toml");

/// Everything that a node can be told.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    pub server: ServerConfig,
    pub store: StoreConfig,
    pub bus: BusConfig,
    pub cluster: ClusterConfig,
    pub auth: AuthConfig,
    pub retention: RetentionConfig,
    pub log: LogConfig,
    pub limits: Limits,
    /// Targets by their names.
    pub webhooks: BTreeMap<String, WebhookConfig>,
}

/// Where the node listens and keeps its files.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerConfig {
    /// For clients: `/v1/ws`.
    pub listen: SocketAddr,
    /// For operators: health and metrics.
    pub admin_listen: SocketAddr,
    /// The embedded store and the development secret.
    pub data_dir: PathBuf,
    /// Development mode is in force, asked for or implied.
    pub dev: bool,
    /// Tasks that write to sockets; 0: one per core.
    pub lanes: usize,
    /// Exact origins whose browsers may connect.
    pub allowed_origins: Vec<String>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            admin_listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8081)),
            data_dir: PathBuf::from(load::DEFAULT_DATA_DIR),
            dev: false,
            lanes: 0,
            allowed_origins: Vec::new(),
        }
    }
}

impl ServerConfig {
    /// Lanes in force: those that are set, else one per core.
    #[must_use]
    pub fn lanes_in_force(&self) -> usize {
        if self.lanes > 0 { self.lanes } else { std::thread::available_parallelism().map_or(1, usize::from) }
    }

    /// Whether a request with this `Origin` header may be upgraded.
    #[must_use]
    pub fn origin_allowed(&self, origin: &str) -> bool {
        self.allowed_origins.iter().any(|allowed| allowed == origin)
            || (self.dev && self.allowed_origins.is_empty() && load::is_loopback_origin(origin))
    }
}

/// Which store, and how to reach it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreConfig {
    /// Postgres. Without it: the embedded store in `server.data_dir`.
    pub url: Option<StoreUrl>,
    /// Connections kept open to Postgres.
    pub pool_connections: usize,
    /// Who may vouch for the server.
    pub tls_ca_file: Option<PathBuf>,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self { url: None, pool_connections: 8, tls_ca_file: None }
    }
}

/// Who may come in.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct AuthConfig {
    /// Holds the shared secret of HS256 tokens.
    pub secret_file: Option<PathBuf>,
    /// What `iss` of a token must be.
    pub issuer: Option<String>,
    /// What `aud` of a token must be or contain.
    pub audience: Option<String>,
    /// How far the clocks of the token's issuer and this node may differ.
    pub clock_leeway_ms: u64,
}

/// How long events are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RetentionConfig {
    /// Older events are trimmed; 0: nothing is.
    pub max_age_hours: u64,
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// Levels, by module: `info,hallway_gateway=debug`.
    pub filter: String,
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Text }
    }
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}
