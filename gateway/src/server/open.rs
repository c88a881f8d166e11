//! Which store the configuration means.

use std::sync::Arc;

use hallway_store::sqlite::SqliteStore;
use hallway_store::{Store, StoreError};

use crate::config::Config;

/// Opens the store and brings its schema up to date.
///
/// # Errors
/// [`StoreError`] with what to do about it.
pub async fn open_store(config: &Config) -> Result<Arc<dyn Store>, StoreError> {
    let data_dir = config.server.data_dir.clone();
    // Opening may migrate and recover a log: not on a worker of the runtime.
    let opened = tokio::task::spawn_blocking(move || SqliteStore::open(&data_dir)).await;
    match opened {
        Ok(store) => Ok(Arc::new(store?)),
        Err(panic) => Err(StoreError::Unusable(format!("opening the store failed: {panic}"))),
    }
}
