//! Which store and which bus the configuration means.

use std::sync::Arc;

use hallway_store::postgres::{PostgresOptions, PostgresStore};
use hallway_store::sqlite::SqliteStore;
use hallway_store::{Store, StoreError};

use super::ServeError;
use crate::bus::envelope::ClusterKey;
use crate::bus::{Bus, BusError};
use crate::config::{Config, Secret};
use crate::service::cluster::Way;

/// Opens the store and brings its schema up to date.
///
/// # Errors
/// [`StoreError`] with what to do about it.
pub async fn open_store(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    if let Some(url) = &config.store.url {
        let options = PostgresOptions {
            connections_max: u32::try_from(config.store.pool_connections).unwrap_or(u32::MAX),
            ..PostgresOptions::default()
        };
        return Ok(Arc::new(PostgresStore::open(url.expose(), options).await?));
    }
    let data_dir = config.server.data_dir.clone();
    // Opening may migrate and recover a log: not on a worker of the runtime.
    let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&data_dir)).await;
    match opened {
        Ok(store) => Ok(Arc::new(store?)),
        Err(panic) => Err(StoreError::Unusable(format!("opening the store failed: {panic}"))),
    }
}

/// The way to the other nodes, over a bus that is there already or the one that is configured; `None` when there is neither.
pub(super) async fn open_way(
    config: &Config,
    tokens: &Secret,
    given: Option<Arc<dyn Bus>>,
) -> Result<Option<Way>, ServeError> {
    let bus = match (given, &config.bus.url) {
        (Some(bus), _) => bus,
        (None, Some(url)) => return Err(BusError::Unusable(format!("{url} is not understood yet")).into()),
        (None, None) => return Ok(None),
    };
    let secret = config.load_cluster_secret(tokens)?;
    let key = ClusterKey::from_secret(secret.expose()).map_err(|short| BusError::Unusable(short.to_string()))?;
    Ok(Some(Way { bus, key }))
}
