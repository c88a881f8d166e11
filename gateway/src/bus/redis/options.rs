//! Where Redis is and how to talk to it.

use std::fmt;
use std::path::PathBuf;

use fred::types::RespVersion;
use fred::types::config::{Config, ServerConfig};

use super::tls;
use crate::bus::BusError;

/// Longest prefix of channels, in bytes.
pub const CHANNEL_PREFIX_MAX_BYTES: usize = 64;

const SCHEMES: &[&str] = &["redis", "rediss", "redis-cluster", "rediss-cluster", "redis-sentinel", "rediss-sentinel"];
const EXAMPLES: &str = "redis://user:password@host:6379, rediss://… (TLS), \
     redis-cluster://host1:6379?node=host2:6379&node=host3:6379, \
     redis-sentinel://host1:26379?node=host2:26379&sentinelServiceName=name";

/// The settings. Their `Debug` does not show the URL, which may hold a password.
#[derive(Clone)]
pub struct RedisOptions {
    /// Where Redis is: `redis://`, `redis-cluster://` or `redis-sentinel://`, with an `s` after `redis` for TLS.
    pub url: String,
    /// What the names of all channels begin with. Clusters of nodes that share a Redis have different ones.
    pub channel_prefix: String,
    /// Certificates (PEM) of the authorities that vouch for the server, instead of the system's.
    pub tls_ca_file: Option<PathBuf>,
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RedisOptions")
            .field("channel_prefix", &self.channel_prefix)
            .field("tls_ca_file", &self.tls_ca_file)
            .finish_non_exhaustive()
    }
}

impl RedisOptions {
    /// Whether these settings can work, without connecting.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn check(&self) -> Result<(), BusError> {
        self.servers().map(|_| ())
    }

    pub(super) fn servers(&self) -> Result<Servers, BusError> {
        self.check_prefix()?;
        let unusable = |what: &str| BusError::Unusable(format!("{what}; examples: {EXAMPLES}"));
        let (scheme, rest) =
            self.url.split_once("://").ok_or_else(|| unusable("bus.url is not a URL: it has no scheme"))?;
        if !SCHEMES.contains(&scheme) {
            return Err(unusable(&format!("bus.url begins with {scheme:?}, which is none of {SCHEMES:?}")));
        }
        // With the TLS scheme, fred would load the system's certificates before it could be told of others.
        let has_tls = scheme.starts_with("rediss");
        let plain = format!("{}://{rest}", scheme.replacen("rediss", "redis", 1));
        // fred's errors about a URL show none of it but a wrong `node`.
        let mut config = Config::from_url(&plain)
            .map_err(|error| unusable(&format!("bus.url ({scheme}://…) cannot be read: {}", error.details())))?;
        if config.username.is_some() && config.password.is_none() {
            return Err(unusable(&format!("bus.url ({scheme}://…) names a user without a password")));
        }
        match (has_tls, &self.tls_ca_file) {
            (true, file) => config.tls = Some(tls::connector(file.as_deref())?),
            (false, Some(_)) => {
                return Err(unusable("bus.tls_ca_file is set, but bus.url has no TLS: write rediss instead of redis"));
            }
            (false, None) => {}
        }
        // Channels are the same in all databases. RESP3 takes other commands on a subscribed connection, which confirms.
        config.database = None;
        config.version = RespVersion::RESP3;
        let all = match &config.server {
            ServerConfig::Clustered { hosts, .. } => {
                let single = |server: &fred::types::config::Server| Config {
                    server: ServerConfig::Centralized { server: server.clone() },
                    ..config.clone()
                };
                hosts.iter().map(single).collect()
            }
            _ => vec![config],
        };
        Ok(Servers { all, at: 0 })
    }

    fn check_prefix(&self) -> Result<(), BusError> {
        let prefix = &self.channel_prefix;
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
        if prefix.is_empty() || prefix.len() > CHANNEL_PREFIX_MAX_BYTES || !prefix.bytes().all(is_allowed) {
            return Err(BusError::Unusable(format!(
                "bus.channel_prefix is {prefix:?}; it takes 1 to {CHANNEL_PREFIX_MAX_BYTES} of the characters A-Z a-z 0-9 _ . : -"
            )));
        }
        Ok(())
    }
}

/// Servers of which any will do, tried one after the other.
#[derive(Clone)]
pub(super) struct Servers {
    all: Vec<Config>,
    at: usize,
}

impl Servers {
    /// Begins anywhere, so that nodes spread.
    pub(super) fn at_random(mut self) -> Self {
        self.at = rand::random_range(0..self.all.len());
        self
    }

    /// Begins one further than the other.
    pub(super) fn after(mut self, other: &Self) -> Self {
        self.at = (other.at + 1) % self.all.len();
        self
    }

    pub(super) fn current(&self) -> &Config {
        &self.all[self.at]
    }

    pub(super) fn advance(&mut self) {
        self.at = (self.at + 1) % self.all.len();
    }
}
