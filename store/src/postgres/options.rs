//! How to reach the database.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::RootCertStore;

use super::tls::{self, Mode};
use crate::StoreError;

/// Settings of the connections.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Connections of this node at most.
    pub connections_max: u32,
    /// Time to get a connection, new or from the pool.
    pub connect_timeout: Duration,
    /// Time of one statement; the server ends it then, and says so.
    pub statement_timeout: Duration,
    /// Time that a statement waits for a locked row.
    pub lock_timeout: Duration,
    /// Who may vouch for the server; needed when [`checks_server`] says so.
    pub authorities: Option<Arc<RootCertStore>>,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            connections_max: 8,
            connect_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_millis(2400),
            lock_timeout: Duration::from_millis(500),
            authorities: None,
        }
    }
}

fn unusable(what: &str) -> StoreError {
    // The URL itself is not shown: it may hold a password.
    StoreError::Unusable(format!("store.url is not a postgres URL: {what}; example: postgres://user@db:5432/app"))
}

/// Where the database is, and how a connection to it is protected.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
    /// TLS is demanded of it, and nothing that shows who it is.
    pub(super) is_anybody: bool,
}

impl PostgresOptions {
    /// Whether a URL can be used with these settings, without connecting.
    ///
    /// # Errors
    /// [`StoreError::Unusable`] with what is wrong, and what to do.
    pub fn check(&self, url: &str) -> Result<(), StoreError> {
        parse(url, self).map(|_| ())
    }
}

/// Reads the URL.
pub(super) fn parse(url: &str, options: &PostgresOptions) -> Result<Server, StoreError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(unusable("it does not begin with postgres:// or postgresql://"));
    }
    let (mode, url) = tls::split(url)?;
    let mut config = url.parse::<Config>().map_err(|error| {
        let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
        unusable(&cause)
    })?;
    if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
        return Err(unusable("missing host"));
    }
    if config.get_dbname().is_none() {
        return Err(unusable("missing database name"));
    }
    if config.get_user().is_none() {
        return Err(unusable("missing user"));
    }
    config.connect_timeout(options.connect_timeout).keepalives_idle(Duration::from_secs(10));
    if config.get_application_name().is_none() {
        config.application_name("hallway");
    }
    let is_anybody = mode == Mode::Require && options.authorities.is_none();
    Ok(Server { config, tls: tls::connector(mode, options.authorities.clone())?, is_anybody })
}

/// Whether the URL wants the server to prove who it is, so that [`PostgresOptions::authorities`] are needed.
///
/// # Errors
/// [`StoreError::Unusable`] when what the URL says of TLS is not understood.
pub fn checks_server(url: &str) -> Result<bool, StoreError> {
    Ok(tls::split(url)?.0 >= Mode::VerifyCa)
}

/// The connections that do the work. Every function relies on READ COMMITTED: a new snapshot for each statement inside.
///
/// Plans are made once for a connection and by index only. The planner would otherwise plan the large statements of a write anew
/// at each call, which costs more than carrying them out; and a plan that was made while tables were small must not read them
/// from end to end later, be it to join them with a few rows.
pub(super) fn for_work(mut server: Server, options: &PostgresOptions) -> Server {
    let given = server.config.get_options().unwrap_or_default().to_owned();
    server.config.options(format!(
        "{given} -c lock_timeout={} -c statement_timeout={} -c default_transaction_isolation=read\\ committed -c jit=off \
         -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_mergejoin=off \
         -c enable_hashjoin=off",
        options.lock_timeout.as_millis(),
        options.statement_timeout.as_millis(),
    ));
    server
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn fault(url: &str) -> String {
        parse(url, &PostgresOptions::default()).err().unwrap().to_string()
    }

    #[test]
    fn a_faulty_url_is_told_what_is_missing_and_shown_an_example() {
        for (url, word) in [
            ("mysql://x", "does not begin with"),
            ("postgres:///app?user=me", "missing host"),
            ("postgres://db:5432/app", "missing user"),
            ("postgres://me:secret@db:99999/app", "port"),
            ("postgres://me:secret@db", "missing database"),
        ] {
            let message = fault(url);
            assert!(message.contains(word) && message.contains("example: postgres://"), "{url}: {message}");
            assert!(!message.contains("secret"), "the password is in {message}");
        }
    }
}
