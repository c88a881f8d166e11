//! `hallway token`, and the secret that development tokens are signed with.

use super::CliError;
use super::arguments::{SecretArguments, TokenArguments};
use crate::auth;
use crate::config::{Config, DEV_SECRET_FILE, Flags, Secret, read_secret_file};

pub(super) fn run(arguments: &TokenArguments) -> Result<(), CliError> {
    println!("{}", auth::mint(&secret(&arguments.secret)?, &arguments.user, arguments.ttl)?);
    Ok(())
}

/// The secret that was named, or that of the node in development mode.
pub(super) fn secret(arguments: &SecretArguments) -> Result<Secret, CliError> {
    if let Some(path) = &arguments.secret_file {
        return Ok(read_secret_file(path)?);
    }
    let flags = Flags { data_dir: arguments.data_dir.clone(), dev: true, ..Flags::default() };
    let config = Config::from_process(&flags)?;
    if let Some(path) = &config.auth.secret_file {
        return Ok(read_secret_file(path)?);
    }
    let path = config.server.data_dir.join(DEV_SECRET_FILE);
    if !path.exists() {
        return Err(CliError::Failed(format!(
            "there is no development secret at {}; start a node first (`hallway serve`), or name its --data-dir or a \
             --secret-file",
            path.display()
        )));
    }
    Ok(read_secret_file(&path)?)
}
