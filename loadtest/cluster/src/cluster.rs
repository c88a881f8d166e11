//! A cluster on this machine: one Postgres, one Redis, nodes, and a proxy on every link between them.
//!
//! ```text
//! clients ── node 0 ── proxy ─┬─ Postgres
//!         └─ node 1 ── proxy ─┘
//! ```
//! The same again towards Redis. Each link can be hurt alone.

use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use uuid::Uuid;

use crate::node::{NodeProcess, NodeSettings, READY_WITHIN};
use crate::postgres::TemporaryPostgres;
use crate::proxy::FaultProxy;
use crate::redis::TemporaryRedis;

/// What marks the connection on which a node listens to Redis.
const SUBSCRIBER_MARK: &[u8] = b"SUBSCRIBE";
const POSTGRES_PORT: u16 = 5432;
const REDIS_PORT: u16 = 6379;

/// Ports of one node when they are counted from a given one: for clients and for operators.
const PORTS_PER_NODE: u16 = 2;

/// What a cluster is made of.
#[derive(Debug, Clone, Default)]
pub struct ClusterSettings {
    pub nodes: usize,
    /// The gateway; without it the one beside the running executable.
    pub binary: Option<PathBuf>,
    /// A Postgres that is there; without it one is started.
    pub postgres: Option<String>,
    /// A Redis that is there; without it one is started.
    pub redis: Option<String>,
    /// No Redis at all: nodes hear of each other through the store alone.
    pub without_redis: bool,
    /// Nodes listen from this port on; without it on free ones.
    pub base_port: Option<u16>,
    /// Nodes speak to the servers without the proxies: for measuring.
    pub direct: bool,
    /// Environment variables of every node.
    pub environment: Vec<(String, String)>,
}

/// A node and its links.
#[derive(Debug)]
pub struct ClusterNode {
    pub process: NodeProcess,
    pub postgres: FaultProxy,
    /// The connection on which the node listens is marked.
    pub redis: Option<FaultProxy>,
}

/// A cluster that runs; all of it ends when this is dropped.
pub struct Cluster {
    // Nodes end before what they use, and the directory goes last.
    pub nodes: Vec<ClusterNode>,
    /// The server that was started for this cluster.
    pub postgres: Option<TemporaryPostgres>,
    pub redis: Option<TemporaryRedis>,
    /// Past all proxies.
    pub postgres_url: String,
    pub redis_url: Option<String>,
    pub secret: Vec<u8>,
    pub secret_file: PathBuf,
    directory: Directory,
}

impl Cluster {
    /// Starts everything and waits until every node is ready.
    ///
    /// # Errors
    /// When something does not start; the message says what, and shows the end of its log.
    pub async fn start(settings: ClusterSettings) -> io::Result<Self> {
        let directory = Directory::new()?;
        let binary = match &settings.binary {
            Some(binary) => binary.clone(),
            None => binary_beside_this()?,
        };
        let postgres = match settings.postgres {
            Some(_) => None,
            None => Some(blocking(TemporaryPostgres::start).await?),
        };
        let given = settings.postgres.clone();
        let postgres_url = given.or_else(|| postgres.as_ref().map(TemporaryPostgres::url)).unwrap_or_default();
        let redis = match settings.redis {
            _ if settings.without_redis => None,
            Some(_) => None,
            None => Some(blocking(TemporaryRedis::start).await?),
        };
        let given = settings.redis.clone();
        let redis_url = given.or_else(|| redis.as_ref().map(TemporaryRedis::url));
        let secret = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
        let secret_file = directory.secret("secret", &secret)?;
        let mut cluster = Self {
            nodes: Vec::new(),
            postgres,
            redis,
            postgres_url,
            redis_url,
            secret: secret.into_bytes(),
            secret_file,
            directory,
        };
        for number in 0..settings.nodes {
            let node = cluster.add_node(&settings, &binary, number).await?;
            cluster.nodes.push(node);
        }
        for node in &mut cluster.nodes {
            node.process.wait_ready(READY_WITHIN).await?;
        }
        Ok(cluster)
    }

    /// Where a node's log is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory.0
    }

    /// Where clients connect, node by node.
    #[must_use]
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.process.settings.url()).collect()
    }

    async fn add_node(&self, settings: &ClusterSettings, binary: &Path, number: usize) -> io::Result<ClusterNode> {
        let (server, _) = address_of(&self.postgres_url, POSTGRES_PORT)?;
        let postgres = FaultProxy::start(server).await?;
        let directory = self.directory.0.join(format!("node-{number}"));
        std::fs::create_dir(&directory)?;
        let mut node = NodeSettings::new(binary.to_owned(), &directory)?;
        if let Some(base) = settings.base_port {
            let port = u16::try_from(number).ok().and_then(|number| base.checked_add(number * PORTS_PER_NODE));
            let port = port.ok_or_else(|| io::Error::other("the ports do not suffice"))?;
            node.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            node.admin_listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port + 1));
        }
        let secret_file = self.secret_file.display().to_string();
        let by_way_of = |url: &str, port: u16, proxy: &FaultProxy| match settings.direct {
            true => Ok(url.to_owned()),
            false => through(url, port, proxy.address()),
        };
        let to_postgres = by_way_of(&self.postgres_url, POSTGRES_PORT, &postgres)?;
        node = node.with("HALLWAY__STORE__URL", &to_postgres).with("HALLWAY__AUTH__SECRET_FILE", &secret_file);
        let redis = match &self.redis_url {
            None => None,
            Some(url) => {
                let (server, _) = address_of(url, REDIS_PORT)?;
                let redis = FaultProxy::start_with_mark(server, Some(SUBSCRIBER_MARK)).await?;
                // Two clusters may share a Redis.
                let prefix = self.directory.0.file_name().unwrap_or_default().to_string_lossy();
                node = node
                    .with("HALLWAY__BUS__URL", &by_way_of(url, REDIS_PORT, &redis)?)
                    .with("HALLWAY__BUS__CHANNEL_PREFIX", &prefix)
                    .with("HALLWAY__CLUSTER__SECRET_FILE", &secret_file);
                Some(redis)
            }
        };
        node.environment.extend(settings.environment.iter().cloned());
        let process = NodeProcess::spawn(node)?;
        Ok(ClusterNode { process, postgres, redis })
    }
}

/// Runs what waits for a process, away from the runtime's workers.
///
/// # Errors
/// Of the work itself.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The gateway that was built together with the running executable (which may be a test, one folder deeper).
fn binary_beside_this() -> io::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let found = this.ancestors().skip(1).take(2).map(|folder| folder.join("hallway")).find(|path| path.is_file());
    found.ok_or_else(|| {
        let beside = this.parent().unwrap_or(&this).display();
        io::Error::other(format!("no hallway in {beside}: cargo build -p hallway-gateway, or name it with --binary"))
    })
}

/// A server's address in a URL, and where in the text it stands.
fn address_of(url: &str, default_port: u16) -> io::Result<(SocketAddr, std::ops::Range<usize>)> {
    let wrong =
        |what: &str| io::Error::other(format!("{what} in a server's URL; example: postgres://user@host:5432/app"));
    let begin = url.find("://").ok_or_else(|| wrong("no scheme"))? + 3;
    let end = url[begin..].find(['/', '?']).map_or(url.len(), |at| begin + at);
    let host_begin = url[begin..end].rfind('@').map_or(begin, |at| begin + at + 1);
    let host = &url[host_begin..end];
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let text = if has_port { host.to_owned() } else { format!("{host}:{default_port}") };
    // Names are looked up once, at the start.
    let address = text.to_socket_addrs()?.next().ok_or_else(|| wrong("a host without an address"))?;
    Ok((address, host_begin..end))
}

/// The same URL by way of a proxy.
fn through(url: &str, default_port: u16, proxy: SocketAddr) -> io::Result<String> {
    let (_, place) = address_of(url, default_port)?;
    Ok(format!("{}{proxy}{}", &url[..place.start], &url[place.end..]))
}

/// A directory that goes with its owner.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn new() -> io::Result<Self> {
        let path = std::env::temp_dir().join(format!("hallway-cluster-{}", Uuid::now_v7().simple()));
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    fn secret(&self, name: &str, secret: &str) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        let mut file = std::fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
        file.write_all(secret.as_bytes())?;
        Ok(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_url_goes_through_a_proxy_with_everything_else_as_it_was() {
        let proxy = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let long = "postgres://me:p%40ss@127.0.0.1:5433/app?sslmode=disable";
        assert_eq!(through(long, 5432, proxy).unwrap(), "postgres://me:p%40ss@127.0.0.1:9/app?sslmode=disable");
        assert_eq!(through("redis://127.0.0.1", 6379, proxy).unwrap(), "redis://127.0.0.1:9");
        assert_eq!(address_of("redis://127.0.0.1", 6379).unwrap().0.port(), 6379);
        assert!(address_of("127.0.0.1:5432", 5432).is_err());
    }
}
