//! One connection, from its opening to its end. It is never repaired: another one takes its place.

use std::time::Duration;

use fred::clients::Client;
use fred::interfaces::{ClientLike as _, EventInterface as _};
use fred::types::ConnectHandle;
use fred::types::config::{Config, ConnectionConfig, Options, PerformanceConfig, ServerConfig, TcpConfig};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{ANSWER_TIMEOUT, COMMANDS_MAX, CONNECT_TIMEOUT, RECONNECT_INTERVAL, REFUSED_INTERVAL, Trouble};

/// An open connection. Dropping it closes it, with all that waits in it.
pub(super) struct Connection {
    pub(super) client: Client,
    driver: Driver,
}

/// fred's task, which does everything and would outlive its client.
struct Driver(ConnectHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Opens a connection whose commands time out, and that holds so many heard messages.
    pub(super) async fn open(config: &Config, command_timeout: Duration, messages: usize) -> Result<Self, Trouble> {
        let mut opening_max = CONNECT_TIMEOUT * 3;
        match &config.server {
            // A client is dear to build: see first whether anybody is there.
            ServerConfig::Centralized { server } => probe(&server.host, server.port).await?,
            // They are asked one after the other.
            ServerConfig::Sentinel { hosts, .. } => {
                opening_max += CONNECT_TIMEOUT * u32::try_from(hosts.len()).unwrap_or(u32::MAX);
            }
            _ => {}
        }
        let performance = PerformanceConfig {
            default_command_timeout: command_timeout,
            broadcast_channel_capacity: messages,
            ..PerformanceConfig::default()
        };
        // No policy: it lives once.
        let client = Client::new(config.clone(), Some(performance), Some(settings()), None);
        let mut opened = client.reconnect_rx();
        let mut driver = Driver(client.connect());
        let outcome = timeout(opening_max, async {
            tokio::select! {
                _ = opened.recv() => Ok(()),
                ended = &mut driver.0 => Err(end(ended)),
            }
        });
        outcome.await.unwrap_or(Err(Trouble::NotOpened))?;
        Ok(Self { client, driver })
    }

    /// Waits until it has ended, and says why.
    pub(super) async fn ended(&mut self) -> Trouble {
        end((&mut self.driver.0).await)
    }
}

fn end<E: std::fmt::Display>(ended: Result<Result<(), fred::error::Error>, E>) -> Trouble {
    match ended {
        Ok(Ok(())) => Trouble::Closed,
        Ok(Err(error)) => error.into(),
        Err(error) => Trouble::Failed(error.to_string()),
    }
}

async fn probe(host: &str, port: u16) -> Result<(), Trouble> {
    let failed = |error: std::io::Error| Trouble::Failed(format!("{host}:{port}: {error}"));
    timeout(CONNECT_TIMEOUT, TcpStream::connect((host, port)))
        .await
        .map_err(|_| Trouble::NotOpened)?
        .map_err(failed)?;
    Ok(())
}

fn settings() -> ConnectionConfig {
    ConnectionConfig {
        connection_timeout: CONNECT_TIMEOUT,
        internal_command_timeout: CONNECT_TIMEOUT,
        max_command_attempts: 1,
        max_command_buffer_len: COMMANDS_MAX,
        tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
        ..ConnectionConfig::default()
    }
}

/// Asks for a sign of life. Answers come in order: everything that was sent before has been done when this returns.
pub(super) async fn ping(client: &Client, number: u64) -> Result<(), Trouble> {
    let options = Options { timeout: Some(ANSWER_TIMEOUT), ..Options::default() };
    let token = number.to_string();
    let answer: String = client.with_options(&options).ping(Some(token.clone())).await?;
    // A command that was refused without having been waited for puts all later answers in the wrong place.
    if answer == token { Ok(()) } else { Err(Trouble::OutOfStep) }
}

/// Says once that a connection is lost, and once that there is one again, however often that was tried in between.
pub(super) struct Outage {
    role: &'static str,
    is_told: bool,
}

impl Outage {
    pub(super) const fn none(role: &'static str) -> Self {
        Self { role, is_told: false }
    }

    /// How long to wait before the next try.
    pub(super) fn begins(&mut self, trouble: &Trouble) -> Duration {
        if !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!(role = self.role, error = %trouble, "the connection to Redis is lost; trying again");
        }
        if matches!(trouble, Trouble::Refused(_)) { REFUSED_INTERVAL } else { RECONNECT_INTERVAL }
    }

    pub(super) fn ends(&mut self) {
        if std::mem::take(&mut self.is_told) {
            tracing::info!(role = self.role, "connected to Redis again");
        }
    }
}
