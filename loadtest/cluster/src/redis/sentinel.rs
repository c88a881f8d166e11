//! A primary and its replica, watched by one Sentinel.

use std::io;

use super::resp::{self, Reply};
use super::server::TemporaryRedis;
use super::wait_until;

/// What the Sentinel calls the primary.
const SERVICE: &str = "main";

/// Running servers; they end when this is dropped.
pub struct TemporarySentinel {
    primary: TemporaryRedis,
    replica: TemporaryRedis,
    sentinel: TemporaryRedis,
}

impl TemporarySentinel {
    /// Starts all three; returns when the Sentinel could replace the primary.
    ///
    /// # Errors
    /// When one does not start, or they do not find each other.
    pub fn start() -> io::Result<Self> {
        let primary = TemporaryRedis::start()?;
        let primary_port = primary.port().to_string();
        let replica = TemporaryRedis::start_with(&["--replicaof", "127.0.0.1", &primary_port])?;
        let configuration = format!(
            "sentinel monitor {SERVICE} 127.0.0.1 {primary_port} 1\n\
             sentinel down-after-milliseconds {SERVICE} 500\n\
             sentinel failover-timeout {SERVICE} 3000\n"
        );
        let sentinel = TemporaryRedis::sentinel(&configuration)?;
        let servers = Self { primary, replica, sentinel };
        wait_until("the replica follows and the Sentinel knows it", || {
            let followed = servers.replica.command(&["INFO", "replication"]);
            let is_followed = followed.is_ok_and(|info| info.text().contains("master_link_status:up"));
            let known = servers.ask(&["SENTINEL", "REPLICAS", SERVICE]);
            is_followed && known.is_ok_and(|known| known.to_string().contains("master-link-status\nok"))
        })?;
        Ok(servers)
    }

    /// The URL of the primary, whichever it is, by way of the Sentinel.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis-sentinel://127.0.0.1:{}?sentinelServiceName={SERVICE}", self.sentinel.port())
    }

    /// The server that is the primary at first.
    #[must_use]
    pub const fn primary(&self) -> &TemporaryRedis {
        &self.primary
    }

    /// The server that follows it at first.
    #[must_use]
    pub const fn replica(&self) -> &TemporaryRedis {
        &self.replica
    }

    /// The port of the server that the Sentinel takes for the primary.
    ///
    /// # Errors
    /// When the Sentinel does not answer.
    pub fn primary_port(&self) -> io::Result<u16> {
        let address = self.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE])?;
        let Reply::Array(parts) = address else { return Err(io::Error::other("there is no primary")) };
        parts.get(1).and_then(|port| port.text().parse().ok()).ok_or_else(|| io::Error::other("not an address"))
    }

    fn ask(&self, words: &[&str]) -> io::Result<Reply> {
        resp::ask(self.sentinel.port(), words)
    }
}
