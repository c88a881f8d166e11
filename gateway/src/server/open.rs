//! Which store the configuration means.

use std::sync::Arc;

use hallway_store::postgres::{PostgresOptions, PostgresStore};
use hallway_store::sqlite::SqliteStore;
use hallway_store::{Store, StoreError};

use crate::config::Config;

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
