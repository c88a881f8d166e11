//! `check-config`, `print-config`, `migrate`, `new-epoch`.

use std::sync::Arc;

use hallway_store::Store;

use super::{CliError, as_toml, block_on};
use crate::config::{Config, read_secret_file};
use crate::outbox::Targets;

/// Loading the configuration found no fault; what is left are the files that it names, and what its URLs ask for.
pub(super) fn check_config(config: &Config) -> Result<(), CliError> {
    if config.auth.secret_file.is_some() {
        config.load_secret()?;
    }
    if let Some(path) = &config.cluster.secret_file {
        read_secret_file(path)?;
    }
    crate::server::check_servers(config).map_err(|error| CliError::Failed(error.to_string()))?;
    Targets::open(config).map_err(|error| CliError::Failed(error.to_string()))?;
    let mode = if config.server.dev { "development mode, " } else { "" };
    let store = config.store.url.as_ref().map_or_else(|| "the embedded store".to_owned(), ToString::to_string);
    println!("the configuration is good: {mode}listening on {}, {store}", config.server.listen);
    Ok(())
}

pub(super) fn print_config(config: &Config) -> Result<(), CliError> {
    print!("{}", as_toml(config));
    Ok(())
}

/// Opening a store brings its schema up to date.
pub(super) fn migrate(config: &Config) -> Result<(), CliError> {
    block_on(async {
        open_store(config).await?.close().await;
        println!("the schema is up to date");
        Ok(())
    })
}

pub(super) fn new_epoch(config: &Config) -> Result<(), CliError> {
    block_on(async {
        let store = open_store(config).await?;
        let epoch = store.new_epoch().await.map_err(|error| CliError::Failed(error.to_string()));
        store.close().await;
        println!("new epoch {}: every client will be told to forget what it holds", epoch?);
        Ok(())
    })
}

async fn open_store(config: &Config) -> Result<Arc<dyn Store>, CliError> {
    crate::server::open_store(config).await.map_err(|error| CliError::Failed(error.to_string()))
}
