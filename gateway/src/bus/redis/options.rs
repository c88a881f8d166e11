//! Where Redis is and how to talk to it.

use std::fmt;
use std::path::PathBuf;

use fred::types::RespVersion;
use fred::types::config::{Config, ServerConfig, TlsConfig, TlsConnector};

use crate::bus::BusError;
use crate::tls;

/// Longest prefix of channels, in bytes.
pub const CHANNEL_PREFIX_MAX_BYTES: usize = 64;

const SCHEMES: &[&str] = &["redis", "rediss", "redis-cluster", "rediss-cluster", "redis-sentinel", "rediss-sentinel"];
const EXAMPLES: &str = "redis://user:password@host:6379, rediss://… (TLS), \
     redis-cluster://host1:6379?node=host2:6379&node=host3:6379, \
     redis-sentinel://host1:26379?node=host2:26379&sentinelServiceName=name";

/// The settings. Their `Debug` does not show the URL, which may hold a password.
#[derive(Clone)]
pub struct RedisOptions {
    /// Where Redis is: `redis://`, `redis-cluster://` or `redis-sentinel://`, with an `s` after `redis` for TLS.
    pub url: String,
    /// What the names of all channels begin with. Clusters of nodes that share a Redis have different ones.
    pub channel_prefix: String,
    /// Certificates (PEM) of the authorities that vouch for the server, instead of the system's.
    pub tls_ca_file: Option<PathBuf>,
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("RedisOptions")
            .field("channel_prefix", &self.channel_prefix)
            .field("tls_ca_file", &self.tls_ca_file)
            .finish_non_exhaustive()
    }
}

impl RedisOptions {
    /// Whether these settings can work, without connecting.
    ///
    /// # Errors
    /// What is wrong, and what to do.
    pub fn check(&self) -> Result<(), BusError> {
        self.servers().map(|_| ())
    }

    pub(super) fn servers(&self) -> Result<Servers, BusError> {
        self.check_prefix()?;
        let unusable = |what: &str| BusError::Unusable(format!("{what}; examples: {EXAMPLES}"));
        let (scheme, rest) =
            self.url.split_once("://").ok_or_else(|| unusable("bus.url is not a URL: it has no scheme"))?;
        if !SCHEMES.contains(&scheme) {
            return Err(unusable(&format!("bus.url begins with {scheme:?}, which is none of {SCHEMES:?}")));
        }
        // With the TLS scheme, fred would load the system's certificates before it could be told of others.
        let has_tls = scheme.starts_with("rediss");
        let plain = format!("{}://{rest}", scheme.replacen("rediss", "redis", 1));
        // fred's errors about a URL show none of it but a wrong `node`.
        let mut config = Config::from_url(&plain)
            .map_err(|error| unusable(&format!("bus.url ({scheme}://…) cannot be read: {}", error.details())))?;
        if config.username.is_some() && config.password.is_none() {
            return Err(unusable(&format!("bus.url ({scheme}://…) names a user without a password")));
        }
        // fred greets with a line of words, in which these would mean something else.
        let is_greetable = |text: &String| !text.contains(|letter: char| letter <= ' ' || "\"'\u{7f}".contains(letter));
        if !config.username.iter().chain(&config.password).all(is_greetable) {
            return Err(unusable(
                "the user or the password in bus.url holds a space, a quote or a control character; use others",
            ));
        }
        match (has_tls, &self.tls_ca_file) {
            (true, file) => {
                let client = tls::client("bus.tls_ca_file", file.as_deref());
                let client = client.map_err(|error| BusError::Unusable(error.to_string()))?;
                config.tls = Some(TlsConfig::from(TlsConnector::from(client)));
            }
            (false, Some(_)) => {
                return Err(unusable("bus.tls_ca_file is set, but bus.url has no TLS: write rediss instead of redis"));
            }
            (false, None) => {}
        }
        // Channels are the same in all databases. RESP3 takes other commands on a subscribed connection, which confirms.
        config.database = None;
        config.version = RespVersion::RESP3;
        let all = match &config.server {
            ServerConfig::Clustered { hosts, .. } => {
                let single = |server: &fred::types::config::Server| Config {
                    server: ServerConfig::Centralized { server: server.clone() },
                    ..config.clone()
                };
                hosts.iter().map(single).collect()
            }
            _ => vec![config],
        };
        Ok(Servers { all, at: 0 })
    }

    fn check_prefix(&self) -> Result<(), BusError> {
        let prefix = &self.channel_prefix;
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
        if prefix.is_empty() || prefix.len() > CHANNEL_PREFIX_MAX_BYTES || !prefix.bytes().all(is_allowed) {
            return Err(BusError::Unusable(format!(
                "bus.channel_prefix is {prefix:?}; it takes 1 to {CHANNEL_PREFIX_MAX_BYTES} of the characters A-Z a-z 0-9 _ . : -"
            )));
        }
        Ok(())
    }
}

/// Servers of which any will do, tried one after the other.
#[derive(Clone)]
pub(super) struct Servers {
    all: Vec<Config>,
    at: usize,
}

impl Servers {
    /// Begins anywhere, so that nodes spread.
    pub(super) fn at_random(mut self) -> Self {
        self.at = rand::random_range(0..self.all.len());
        self
    }

    /// Begins one further than the other.
    pub(super) fn after(mut self, other: &Self) -> Self {
        self.at = (other.at + 1) % self.all.len();
        self
    }

    pub(super) fn current(&self) -> &Config {
        &self.all[self.at]
    }

    pub(super) fn advance(&mut self) {
        self.at = (self.at + 1) % self.all.len();
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn options(url: &str) -> RedisOptions {
        RedisOptions { url: url.to_owned(), channel_prefix: "hallway".to_owned(), tls_ca_file: None }
    }

    fn hosts(servers: &Servers) -> Vec<String> {
        servers.all.iter().flat_map(|config| config.server.hosts()).map(|server| server.to_string()).collect()
    }

    #[test]
    fn urls_of_every_kind_of_redis_are_taken() {
        let single = options("redis://user:pass%40word@example:7000/5").servers().unwrap();
        assert_eq!(hosts(&single), ["example:7000"]);
        let config = single.current();
        assert_eq!((config.username.as_deref(), config.password.as_deref()), (Some("user"), Some("pass@word")));
        assert_eq!((config.database, config.tls.is_some()), (None, false));
        assert_eq!(hosts(&options("redis://:secret@example").servers().unwrap()), ["example:6379"]);

        let cluster = options("redis-cluster://u:p@one:1?node=two:2&node=three:3").servers().unwrap();
        let mut found = hosts(&cluster);
        found.sort();
        assert_eq!(found, ["one:1", "three:3", "two:2"]);
        assert!(cluster.all.iter().all(|config| config.server.is_centralized() && config.password.is_some()));

        let url = "redis-sentinel://u:p@one:1?node=two:2&sentinelServiceName=main&sentinelPassword=s";
        let sentinel = options(url).servers().unwrap();
        assert_eq!((sentinel.all.len(), hosts(&sentinel).len()), (1, 2));
    }

    #[test]
    fn a_url_that_cannot_work_is_refused_with_the_reason_and_without_the_password() {
        for (url, reason) in [
            ("", "no scheme"),
            ("localhost:6379", "no scheme"),
            ("http://u:hush@host", "\"http\""),
            ("redis+unix:///hush.sock", "\"redis+unix\""),
            ("redis://u:hush@", "cannot be read"),
            ("redis://u:hush@host:port", "cannot be read"),
            ("redis://u:hu/sh@host:6379", "cannot be read"),
            ("redis://user@host", "without a password"),
            ("redis://user:hush%20hush@host", "a space"),
            ("redis://user:hush%22@host", "a quote"),
            ("redis://us%0d%0aer:hush@host", "a control character"),
            ("redis-sentinel://u:hush@host:26379", "service name"),
            ("redis-cluster://u:hush@host:1?node=two", "two"),
        ] {
            let told = options(url).check().unwrap_err().to_string();
            assert!(told.contains(reason), "{url}: {told}");
            assert!(told.contains("redis-sentinel://"), "an example is shown: {told}");
            assert!(!told.contains("hush") && !told.contains("hu/sh"), "{told}");
        }
    }

    #[test]
    fn a_prefix_is_a_name_and_nothing_that_a_pattern_could_match() {
        for prefix in ["", "a b", "a*", "ä", "a\r\n", &"x".repeat(65)] {
            let options = RedisOptions { channel_prefix: prefix.to_owned(), ..options("redis://host") };
            assert!(options.check().unwrap_err().to_string().contains("bus.channel_prefix"), "{prefix:?}");
        }
        options("redis://host").check().unwrap();
    }

    #[test]
    fn an_authority_without_tls_or_without_certificates_is_a_mistake() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let with = |url: &str| RedisOptions { tls_ca_file: Some(file.path().to_owned()), ..options(url) };
        assert!(with("redis://host").check().unwrap_err().to_string().contains("rediss"));
        let told = with("rediss://host").check().unwrap_err().to_string();
        assert!(told.contains("no certificate") && told.contains(&file.path().display().to_string()), "{told}");
    }

    #[test]
    fn settings_do_not_show_the_password() {
        assert!(!format!("{:?}", options("redis://u:hush@host")).contains("hush"));
    }

    #[test]
    fn the_two_connections_begin_at_two_servers_and_go_on_to_all() {
        let servers = options("redis-cluster://one:1?node=two:2&node=three:3").servers().unwrap();
        let there = servers.clone().at_random();
        let mut here = servers.after(&there);
        assert_ne!(there.current(), here.current());
        let mut seen = vec![here.current().clone()];
        for _ in 0..2 {
            here.advance();
            assert!(!seen.contains(here.current()));
            seen.push(here.current().clone());
        }
    }
}
