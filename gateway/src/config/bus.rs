//! The way between the nodes of a cluster, and the secret that they share.

use std::fmt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::{Config, Secret, SecretError, read_secret_file};

/// Schemes of a bus, each with whether it speaks TLS.
const SCHEMES: &[(&str, bool)] = &[
    ("redis://", false),
    ("rediss://", true),
    ("redis-cluster://", false),
    ("rediss-cluster://", true),
    ("redis-sentinel://", false),
    ("rediss-sentinel://", true),
];

/// Says what the secret of the tokens is used for besides, in development mode.
const DEV_PURPOSE: &[u8] = b"hallway: the cluster's secret in development mode";

/// How nodes reach each other.
#[derive(Debug, Clone, PartialEq)]
pub struct BusConfig {
    /// Redis. Without it the node is alone.
    pub url: Option<BusUrl>,
    /// How the channels of this cluster begin.
    pub channel_prefix: String,
    /// Who may vouch for the server.
    pub tls_ca_file: Option<PathBuf>,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self { url: None, channel_prefix: "hallway".to_owned(), tls_ca_file: None }
    }
}

/// What the nodes of a cluster share.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterConfig {
    /// Holds their secret.
    pub secret_file: Option<PathBuf>,
}

/// The address of a bus. Shown without its password.
#[derive(Clone, PartialEq)]
pub struct BusUrl {
    url: Secret,
    shown: String,
    is_tls: bool,
}

impl BusUrl {
    /// Checks the form. What is wrong is told without the value.
    ///
    /// # Errors
    /// What is missing.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let found = SCHEMES.iter().find_map(|(scheme, tls)| Some((*scheme, *tls, text.strip_prefix(scheme)?)));
        let (scheme, is_tls, rest) = found.ok_or("it begins with none of redis://, rediss:// and their kin")?;
        if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err("it holds white space");
        }
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, after) = rest.split_at(authority_end);
        let (user, host) = match authority.rsplit_once('@') {
            Some((credentials, host)) => (credentials.split(':').next().unwrap_or_default(), host),
            None => ("", authority),
        };
        if host.is_empty() || host.starts_with(':') {
            return Err("missing host");
        }
        // What follows `?` can hold a password too.
        let database = after.split(['?', '#']).next().unwrap_or_default();
        let user = if user.is_empty() { String::new() } else { format!("{user}@") };
        Ok(Self { url: Secret::new(text), shown: format!("{scheme}{user}{host}{database}"), is_tls })
    }

    /// The whole URL, password included, for the driver only.
    #[must_use]
    pub fn expose(&self) -> &str {
        std::str::from_utf8(self.url.expose()).unwrap_or_default()
    }

    /// Whether the way is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }
}

impl fmt::Display for BusUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.shown)
    }
}

impl fmt::Debug for BusUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.shown)
    }
}

impl Config {
    /// The secret that the nodes of this cluster share. In development mode, when no file is configured, it follows from the
    /// secret of the tokens.
    ///
    /// # Errors
    /// [`SecretError`], with what to do.
    pub fn load_cluster_secret(&self, tokens: &Secret) -> Result<Secret, SecretError> {
        let path: Option<&Path> = self.cluster.secret_file.as_deref();
        match path {
            Some(path) => read_secret_file(path),
            None if self.server.dev => {
                let mut derived = Sha256::new();
                derived.update(DEV_PURPOSE);
                derived.update(tokens.expose());
                Ok(Secret::new(derived.finalize().to_vec()))
            }
            None => Err(SecretError::MissingCluster),
        }
    }
}
