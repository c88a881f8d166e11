//! The targets of the configuration, with what is needed to reach them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::OutboxError;
use crate::config::{Config, Secret, WebhookConfig, WebhookUrl};
use crate::tls;

/// One of them.
pub(super) struct Target {
    pub(super) url: WebhookUrl,
    pub(super) secret: Secret,
    pub(super) allow_private: bool,
    pub(super) attempts_max: u32,
    pub(super) timeout: Duration,
    /// With the name that its certificate must have.
    pub(super) tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// All of them, by name. Cheap to clone.
#[derive(Clone, Default)]
pub struct Targets(Arc<BTreeMap<String, Arc<Target>>>);

impl Targets {
    /// Reads the secrets and certificates that the configuration names.
    ///
    /// # Errors
    /// [`OutboxError`] with what to do.
    pub fn open(config: &Config) -> Result<Self, OutboxError> {
        let target = |(name, config): (&String, &WebhookConfig)| Ok((name.clone(), Arc::new(open(name, config)?)));
        Ok(Self(Arc::new(config.webhooks.iter().map(target).collect::<Result<_, OutboxError>>()?)))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their names, with how often a webhook to each is tried.
    pub fn attempts(&self) -> impl Iterator<Item = (&str, u32)> {
        self.0.iter().map(|(name, target)| (name.as_str(), target.attempts_max))
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<Target>> {
        self.0.get(name).cloned()
    }

    /// The longest time that an attempt may take.
    pub(super) fn timeout_max(&self) -> Duration {
        self.0.values().map(|target| target.timeout).max().unwrap_or_default()
    }
}

fn open(name: &str, config: &WebhookConfig) -> Result<Target, OutboxError> {
    let url = config.url.clone().ok_or_else(|| OutboxError::NoUrl { name: name.to_owned() })?;
    let tls = if url.is_tls() { Some(reached_by(name, &url, config.tls_ca_file.as_deref())?) } else { None };
    Ok(Target {
        secret: config.load_secret(name)?,
        allow_private: config.allow_private,
        attempts_max: config.attempts_max,
        timeout: Duration::from_millis(config.timeout_ms),
        tls,
        url,
    })
}

/// What encrypts the way to a target, and the name that its certificate must have.
fn reached_by(
    name: &str,
    url: &WebhookUrl,
    ca_file: Option<&Path>,
) -> Result<(TlsConnector, ServerName<'static>), OutboxError> {
    let unusable = |what: String| OutboxError::Tls { name: name.to_owned(), what };
    let client = tls::client("tls_ca_file", ca_file).map_err(|error| unusable(error.to_string()))?;
    let server = ServerName::try_from(url.host().to_owned())
        .map_err(|_| unusable(format!("{} is neither a host name nor an address", url.host())))?;
    Ok((TlsConnector::from(Arc::new(client)), server))
}
