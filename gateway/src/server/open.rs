//! Which store and which bus the configuration means.

use std::sync::Arc;

use hallway_store::postgres::{self, PostgresOptions, PostgresStore};
use hallway_store::sqlite::SqliteStore;
use hallway_store::{HandOutRules, Store, StoreError};
use tokio_rustls::rustls::RootCertStore;

use super::ServeError;
use crate::bus::envelope::ClusterKey;
use crate::bus::local::LocalBus;
use crate::bus::redis::{RedisBus, RedisOptions};
use crate::bus::{Bus, BusError};
use crate::config::{BusUrl, Config, Secret, StoreUrl};
use crate::service::cluster::Way;
use crate::tasks::Tasks;
use crate::tls;

/// What a store does about the application's webhooks.
fn hand_out_rules(config: &Config) -> HandOutRules {
    HandOutRules { hands_out: config.hands_out(), first_look_ms: config.limits.hand_out_first_look_ms }
}

/// Who may vouch for Postgres, if anybody has to.
fn authorities(config: &Config, url: &StoreUrl) -> Result<Option<Arc<RootCertStore>>, StoreError> {
    let file = config.store.tls_ca_file.as_deref();
    if file.is_none() && !postgres::checks_server(url.expose())? {
        return Ok(None);
    }
    let roots = tls::authorities("store.tls_ca_file", file).map_err(|error| StoreError::Unusable(error.to_string()))?;
    Ok(Some(Arc::new(roots)))
}

fn postgres_options(url: &StoreUrl, config: &Config) -> Result<PostgresOptions, StoreError> {
    Ok(PostgresOptions {
        connections_max: u32::try_from(config.store.pool_connections).unwrap_or(u32::MAX),
        authorities: authorities(config, url)?,
        ..PostgresOptions::default()
    })
}

/// Whether the store and the bus are described as they have to be, as far as can be told without connecting.
///
/// # Errors
/// [`ServeError`] with what to do about it.
pub fn check_servers(config: &Config) -> Result<(), ServeError> {
    if let Some(url) = &config.store.url {
        postgres_options(url, config)?.check(url.expose())?;
    }
    if let Some(url) = &config.bus.url {
        redis_options(url, config).check()?;
    }
    Ok(())
}

/// Opens the store and brings its schema up to date.
///
/// # Errors
/// [`StoreError`] with what to do about it.
pub async fn open_store(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    if let Some(url) = &config.store.url {
        let store = PostgresStore::open(url.expose(), postgres_options(url, config)?).await?;
        return Ok(Arc::new(store.with_hand_outs(hand_out_rules(config))));
    }
    let (data_dir, rules) = (config.server.data_dir.clone(), hand_out_rules(config));
    // Opening may migrate and recover a log: not on a worker of the runtime.
    let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&data_dir)).await;
    match opened {
        Ok(store) => Ok(Arc::new(store?.with_hand_outs(rules))),
        Err(panic) => Err(StoreError::Unusable(format!("opening the store failed: {panic}"))),
    }
}

/// The way to the other nodes, over a bus that is there already or the one that is configured; `None` when there is neither.
pub(super) fn open_way(
    config: &Config,
    tokens: &Secret,
    given: Option<Arc<dyn Bus>>,
    tasks: &Tasks,
) -> Result<Option<Way>, ServeError> {
    if given.is_none() && config.bus.url.is_none() {
        return Ok(None);
    }
    let secret = config.load_cluster_secret(tokens)?;
    let key = ClusterKey::from_secret(secret.expose()).map_err(|short| BusError::Unusable(short.to_string()))?;
    let (bus, redis): (Arc<dyn Bus>, _) = match (given, &config.bus.url) {
        (None, Some(url)) => {
            let bus = RedisBus::open(&redis_options(url, config), tasks)?;
            let health = bus.health();
            (Arc::new(bus), Some(health))
        }
        (given, _) => (given.unwrap_or_else(|| Arc::new(LocalBus::alone())), None),
    };
    Ok(Some(Way { bus, key, redis }))
}

fn redis_options(url: &BusUrl, config: &Config) -> RedisOptions {
    RedisOptions {
        url: url.expose().to_owned(),
        channel_prefix: config.bus.channel_prefix.clone(),
        tls_ca_file: config.bus.tls_ca_file.clone(),
    }
}

/// What a mutant changes in the database of its test.
#[cfg(feature = "sabotage")]
pub(super) async fn sabotage(config: &Config) -> Result<(), StoreError> {
    use crate::sabotage::{Mutant, is_on};
    match &config.store.url {
        Some(url) if is_on(Mutant::NonceInTheLocksSnapshot) => {
            hallway_store::postgres::look_for_nonces_before_the_locks(url.expose()).await
        }
        _ => Ok(()),
    }
}
