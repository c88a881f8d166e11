//! The gateway as a process that can be killed, stopped and started again on the same addresses and data.
//!
//! What it prints goes to a file, whose end is shown when the test that owns the process fails. Dropped, it is killed by
//! its own process id.
#![allow(dead_code, reason = "several test binaries may share it, and each uses another part")]

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a start may take on a machine that does something else as well.
pub(crate) const READY_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at something that is waited for.
pub(crate) const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// Lines of the log that a failed test shows.
const LOG_LINES_SHOWN: usize = 60;

/// The binary under test, as cargo built it for tests.
pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_hallway");

/// How a node is started; the same at each start.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) data_dir: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) admin_listen: SocketAddr,
    pub(crate) store_url: Option<String>,
    /// Environment variables on top of the configuration.
    pub(crate) environment: Vec<(String, String)>,
    /// What runs the binary, with its arguments: a tracer.
    pub(crate) wrapper: Vec<String>,
    pub(crate) log: PathBuf,
}

impl Settings {
    /// A development node on free ports, with its data in `directory`/data and its log in `directory`/node.log.
    pub(crate) fn new(directory: &Path) -> Self {
        Self {
            data_dir: directory.join("data"),
            listen: free_address(),
            admin_listen: free_address(),
            store_url: None,
            environment: Vec::new(),
            wrapper: Vec::new(),
            log: directory.join("node.log"),
        }
    }

    /// The same with an environment variable.
    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where clients connect.
    pub(crate) fn url(&self) -> String {
        format!("ws://{}/v1/ws", self.listen)
    }

    /// The development secret; it is there once the node was ready.
    pub(crate) fn secret(&self) -> Vec<u8> {
        let text = std::fs::read(self.secret_file()).expect("a node in development mode has made its secret");
        text.trim_ascii_end().to_vec()
    }

    pub(crate) fn secret_file(&self) -> PathBuf {
        self.data_dir.join("dev-secret")
    }

    /// `hallway serve …` without the things that only a child process needs.
    pub(crate) fn command(&self) -> Command {
        let mut words = self.wrapper.clone();
        words.push(BINARY.to_owned());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args(["serve", "--dev"]);
        command.arg("--data-dir").arg(&self.data_dir);
        command.args(["--listen", &self.listen.to_string(), "--admin-listen", &self.admin_listen.to_string()]);
        if let Some(url) = &self.store_url {
            command.args(["--store-url", url]);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value))).stdin(Stdio::null());
        command
    }

    /// The end of what the node printed.
    pub(crate) fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

/// A node that runs, or ran until it was killed.
#[derive(Debug)]
pub(crate) struct NodeProcess {
    pub(crate) settings: Settings,
    child: Option<Child>,
}

impl NodeProcess {
    /// Starts a node and does not wait.
    pub(crate) fn spawn(settings: Settings) -> Self {
        let mut node = Self { settings, child: None };
        node.start();
        node
    }

    /// Starts a node and waits until it is ready.
    pub(crate) async fn spawn_ready(settings: Settings) -> Self {
        let mut node = Self::spawn(settings);
        node.wait_ready(READY_WITHIN).await;
        node
    }

    /// Starts it again, on the same addresses and data.
    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "it runs already");
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.settings.log).expect("a log file");
        let log_too = log.try_clone().expect("a second handle of the log file");
        let child = self.settings.command().stdout(log).stderr(log_too).spawn();
        self.child = Some(child.expect("the node's process starts"));
    }

    /// Waits until `/readyz` says yes.
    pub(crate) async fn wait_ready(&mut self, limit: Duration) {
        let until = Instant::now() + limit;
        loop {
            if self.is_ready().await {
                return;
            }
            if let Some(status) = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                panic!("the node ended before it was ready: {status}");
            }
            assert!(Instant::now() < until, "the node was not ready within {limit:?}");
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    /// Whether the node says that it can do its work.
    pub(crate) async fn is_ready(&self) -> bool {
        http_status(self.settings.admin_listen, "/readyz").await == Some(200)
    }

    /// Waits until the readiness is as wanted; says how long it took.
    pub(crate) async fn wait_readiness(&self, wanted: bool, limit: Duration) -> Duration {
        let began = Instant::now();
        while self.is_ready().await != wanted {
            assert!(began.elapsed() < limit, "/readyz did not become {wanted} within {limit:?}");
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        began.elapsed()
    }

    /// The process, while it runs.
    pub(crate) fn id(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// kill -9: nothing in the process can do anything about it.
    pub(crate) fn kill9(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("a child of ours can be killed");
        let status = child.wait().expect("a child of ours can be waited for");
        assert_eq!(status.signal(), Some(9), "the node had ended before it was killed: {status}");
    }

    /// SIGTERM, without waiting.
    pub(crate) fn terminate(&self) {
        let id = self.id().to_string();
        let told = Command::new("kill").args(["-TERM", &id]).status().expect("kill can be run");
        assert!(told.success(), "SIGTERM could not be sent to {id}");
    }

    /// Waits for the end of the process.
    pub(crate) async fn wait_exit(&mut self, limit: Duration) -> ExitStatus {
        let until = Instant::now() + limit;
        let mut child = self.child.take().expect("it runs");
        loop {
            if let Some(status) = child.try_wait().expect("a child of ours can be waited for") {
                return status;
            }
            if Instant::now() > until {
                self.child = Some(child);
                panic!("the node did not end within {limit:?}");
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let mut shown = String::new();
            let _ = writeln!(shown, "--- the node said at last ---\n{}\n---", self.settings.log_tail());
            eprint!("{shown}");
        }
    }
}

/// An address of the loopback where nobody listens now.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("a bound listener has an address")
}

/// The status of a GET, or nothing when nobody answers.
async fn http_status(address: SocketAddr, path: &str) -> Option<u16> {
    let exchange = async {
        let mut socket = TcpStream::connect(address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.ok()?;
        String::from_utf8_lossy(&answer).split_whitespace().nth(1)?.parse().ok()
    };
    tokio::time::timeout(Duration::from_secs(5), exchange).await.ok().flatten()
}
