//! A node in this process: real sockets on free ports, the embedded store in a temporary directory.
#![allow(dead_code, reason = "several test binaries share it, and each uses another part")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hallway_gateway::config::{Config, Secret};
use hallway_gateway::server::{DrainReport, Given, Node, open_store};
use hallway_store::Store;
use loadtest_client::token::{Claims, mint, sign};
use loadtest_client::{ConnectOptions, Connection};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::fault_store::FaultStore;
use super::seat::Seat;

/// How long a test waits for anything before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The secret of every node here.
pub(crate) const SECRET: &[u8] = b"integration-tests-only-0123456789abcdef";

/// A running node and its directory.
pub(crate) struct TestNode {
    node: Node,
    house: House,
}

/// What outlives a node: its configuration and its data.
struct House {
    config: Config,
    _data_dir: TempDir,
}

impl House {
    async fn launch(self, store: Option<Arc<dyn Store>>) -> TestNode {
        self.launch_with(Given { store, ..Given::default() }).await
    }

    async fn launch_with(self, given: Given) -> TestNode {
        let node = Node::start_with(self.config.clone(), &Secret::new(SECRET), given).await.unwrap();
        TestNode { node, house: self }
    }

    async fn launch_with_faults(self) -> (TestNode, Arc<FaultStore>) {
        let store = Arc::new(FaultStore::new(open_store(&self.config).await.unwrap()));
        let node = self.launch(Some(Arc::clone(&store) as _)).await;
        (node, store)
    }
}

/// An answer over plain HTTP.
pub(crate) struct HttpAnswer {
    pub(crate) status: u16,
    /// Status line and headers, in lower case.
    pub(crate) head: String,
    pub(crate) body: String,
}

impl TestNode {
    /// A node with the default limits, but for what tests need (`prepare`) and what `change` changes.
    pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::prepare(change).launch(None).await
    }

    /// The same, on a store that can be told to be slow or to fail.
    pub(crate) async fn start_with_faults(change: impl FnOnce(&mut Config)) -> (Self, Arc<FaultStore>) {
        Self::prepare(change).launch_with_faults().await
    }

    /// The same, with parts that are there already.
    #[allow(dead_code, reason = "not every test binary has several nodes")]
    pub(crate) async fn start_with(change: impl FnOnce(&mut Config), given: Given) -> Self {
        Self::prepare(change).launch_with(given).await
    }

    /// The node itself.
    #[allow(dead_code, reason = "not every test binary has several nodes")]
    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    /// Drains the node and starts it again on the same data, on other ports.
    pub(crate) async fn restart(self) -> Self {
        let Self { node, house } = self;
        node.drain().await;
        house.launch(None).await
    }

    /// The same, on a store that can be told to be slow or to fail.
    pub(crate) async fn restart_with_faults(self) -> (Self, Arc<FaultStore>) {
        let Self { node, house } = self;
        node.drain().await;
        house.launch_with_faults().await
    }

    fn prepare(change: impl FnOnce(&mut Config)) -> House {
        let data_dir = TempDir::new().unwrap();
        let mut config = Config::default();
        config.server.listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.server.admin_listen = SocketAddr::from(([127, 0, 0, 1], 0));
        config.server.data_dir = data_dir.path().to_owned();
        config.server.lanes = 2;
        // Nobody here has to notice before a node stops.
        config.limits.drain_notice_ms = 0;
        // A test asks again until something is so, and a quick machine asks more often than any client may.
        config.limits.requests_per_second_max = 1_000_000;
        change(&mut config);
        House { config, _data_dir: data_dir }
    }

    /// Drains the node.
    pub(crate) async fn drain(self) -> DrainReport {
        self.node.drain().await
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.node.address
    }

    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.node.admin_address
    }

    /// Where clients connect.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}/v1/ws", self.node.address)
    }

    /// The node's service, for what no client can do.
    pub(crate) fn service(&self) -> &hallway_gateway::service::Service {
        self.node.service()
    }

    /// A token with all scopes for an hour.
    pub(crate) fn token(&self, user: &str) -> String {
        mint(SECRET, user, Duration::from_secs(3600)).unwrap()
    }

    /// A token with these scopes that ends at this second.
    pub(crate) fn token_with(&self, user: &str, scope: &str, exp: u64) -> String {
        sign(SECRET, &Claims { sub: user, exp, scope }).unwrap()
    }

    /// How this user connects.
    pub(crate) fn options(&self, user: &str) -> ConnectOptions {
        let mut options = ConnectOptions::new(self.url(), self.token(user));
        options.timeout = PATIENCE;
        options
    }

    /// A connection that has said hello and whose first sync is complete.
    pub(crate) async fn connect(&self, user: &str) -> Seat {
        self.connect_with(&self.options(user)).await
    }

    /// The same, with other options.
    pub(crate) async fn connect_with(&self, options: &ConnectOptions) -> Seat {
        let mut seat = self.enter(options).await;
        seat.synced().await;
        seat
    }

    /// A connection that has said hello; the frames of its first sync are still to come.
    pub(crate) async fn enter(&self, options: &ConnectOptions) -> Seat {
        let (connection, welcome) = Connection::open(options).await.unwrap();
        Seat::new(connection, welcome)
    }

    /// A metric now, over all its labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        self.metric_of(name, "").await
    }

    /// A metric now, of the labels whose text holds `label`.
    pub(crate) async fn metric_of(&self, name: &str, label: &str) -> f64 {
        let text = http_get(self.admin_address(), "/metrics", &[]).await.body;
        let mut found = false;
        let mut sum = 0.0;
        for line in text.lines() {
            let Some(rest) = line.strip_prefix(name) else { continue };
            if rest.starts_with([' ', '{']) && rest.contains(label) {
                found = true;
                sum += rest.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
            }
        }
        assert!(found, "no metric {name} with {label:?}");
        sum
    }

    /// Waits until a metric satisfies a condition.
    pub(crate) async fn metric_until(&self, name: &str, label: &str, wanted: impl Fn(f64) -> bool) -> f64 {
        let until = tokio::time::Instant::now() + PATIENCE;
        loop {
            let value = self.metric_of(name, label).await;
            if wanted(value) {
                return value;
            }
            assert!(tokio::time::Instant::now() < until, "{name} {label} stays at {value}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// One GET, with more header lines.
pub(crate) async fn http_get(address: SocketAddr, path: &str, headers: &[&str]) -> HttpAnswer {
    let mut request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n");
    if !headers.iter().any(|line| line.to_ascii_lowercase().starts_with("connection:")) {
        request.push_str("Connection: close\r\n");
    }
    for line in headers {
        request.push_str(line);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    tokio::time::timeout(PATIENCE, read_answer(&mut socket)).await.expect("an HTTP answer")
}

async fn read_answer(socket: &mut TcpStream) -> HttpAnswer {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length =
                head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0) {
                let status = head.split(' ').nth(1).unwrap().parse().unwrap();
                return HttpAnswer { status, head, body: body.to_owned() };
            }
        }
        if socket.read_buf(&mut bytes).await.unwrap() == 0 {
            panic!("the HTTP answer ended early: {text:?}", text = String::from_utf8_lossy(&bytes));
        }
    }
}
