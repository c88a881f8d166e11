//! The gateway as a process that can be killed, frozen, drained and started again on the same addresses and data.
//!
//! What it prints goes to a file. Dropped, it is killed by its own process id.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process;

/// How long a start may take on a machine that does something else as well.
pub const READY_WITHIN: Duration = Duration::from_secs(60);
/// Between two looks at something that is waited for.
pub const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// How long the admin listener may take for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Lines of the log that are shown when something went wrong.
const LOG_LINES_SHOWN: usize = 60;

/// How a node is started; the same at each start.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    pub binary: PathBuf,
    /// What runs the binary, with its arguments: a tracer.
    pub wrapper: Vec<String>,
    pub data_directory: PathBuf,
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    /// Further arguments of `serve`.
    pub arguments: Vec<String>,
    /// Environment variables on top of the configuration.
    pub environment: Vec<(String, String)>,
    pub log: PathBuf,
}

impl NodeSettings {
    /// A node on free ports, with its data in `directory`/data and its log in `directory`/node.log.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn new(binary: PathBuf, directory: &Path) -> io::Result<Self> {
        Ok(Self {
            binary,
            wrapper: Vec::new(),
            data_directory: directory.join("data"),
            listen: free_address()?,
            admin_listen: free_address()?,
            arguments: Vec::new(),
            environment: Vec::new(),
            log: directory.join("node.log"),
        })
    }

    /// The same with an environment variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Where clients connect.
    #[must_use]
    pub fn url(&self) -> String {
        format!("ws://{}/v1/ws", self.listen)
    }

    /// The end of what the node printed.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }

    fn command(&self) -> Command {
        let mut words = self.wrapper.iter().map(PathBuf::from).chain([self.binary.clone()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).arg("serve").arg("--data-dir").arg(&self.data_directory);
        command.args(["--listen", &self.listen.to_string(), "--admin-listen", &self.admin_listen.to_string()]);
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null());
        command
    }
}

/// A node that runs, or ran until it ended.
#[derive(Debug)]
pub struct NodeProcess {
    pub settings: NodeSettings,
    child: Option<Child>,
}

impl NodeProcess {
    /// Starts a node and does not wait.
    ///
    /// # Errors
    /// When the binary cannot be run.
    pub fn spawn(settings: NodeSettings) -> io::Result<Self> {
        let mut node = Self { settings, child: None };
        node.start()?;
        Ok(node)
    }

    /// Starts it again, on the same addresses and data.
    ///
    /// # Errors
    /// When it runs already, or cannot be run.
    pub fn start(&mut self) -> io::Result<()> {
        if self.child.is_some() {
            return Err(io::Error::other("the node runs already"));
        }
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.settings.log)?;
        let mut command = self.settings.command();
        let child = command.stdout(log.try_clone()?).stderr(log).spawn();
        let named = |error| io::Error::other(format!("{}: {error}", self.settings.binary.display()));
        self.child = Some(child.map_err(named)?);
        Ok(())
    }

    /// Waits until `/readyz` says yes; says how long it took.
    ///
    /// # Errors
    /// When the node ends, or is not ready in time; with the end of its log.
    pub async fn wait_ready(&mut self, limit: Duration) -> io::Result<Duration> {
        let began = Instant::now();
        while !self.is_ready().await {
            if let Some(status) = self.child_mut()?.try_wait()? {
                self.child = None;
                return Err(self.failure(&format!("the node ended before it was ready: {status}")));
            }
            if began.elapsed() > limit {
                return Err(self.failure(&format!("the node was not ready within {limit:?}")));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        Ok(began.elapsed())
    }

    /// Whether the node says that it can do its work.
    pub async fn is_ready(&self) -> bool {
        matches!(self.get("/readyz").await, Some((200, _)))
    }

    /// Status and body of a GET from the admin listener; nothing when nobody answers.
    pub async fn get(&self, path: &str) -> Option<(u16, String)> {
        get(self.settings.admin_listen, path).await
    }

    /// A metric's value, all its labels together; nothing when nobody answers or it is not there.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let (_, text) = self.get("/metrics").await?;
        sum_of(&text, name)
    }

    /// The process, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// kill -9: nothing in the process can do anything about it.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill9(&mut self) -> io::Result<ExitStatus> {
        let mut child = self.child.take().ok_or_else(not_running)?;
        child.kill()?;
        child.wait()
    }

    /// SIGTERM, without waiting.
    ///
    /// # Errors
    /// When it does not run.
    pub fn terminate(&self) -> io::Result<()> {
        process::signal(self.child()?, Signal::TERM)
    }

    /// SIGSTOP: it stays there and does nothing from the return of this call on.
    ///
    /// # Errors
    /// When it does not run.
    pub fn freeze(&self) -> io::Result<()> {
        process::freeze(&[self.child()?.id()])
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    pub fn thaw(&self) -> io::Result<()> {
        process::signal(self.child()?, Signal::CONT)
    }

    /// Waits for the end of the process.
    ///
    /// # Errors
    /// When it does not run, or does not end in time.
    pub async fn wait_exit(&mut self, limit: Duration) -> io::Result<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child_mut()?.try_wait()? {
                self.child = None;
                return Ok(status);
            }
            if began.elapsed() > limit {
                return Err(self.failure(&format!("the node did not end within {limit:?}")));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    fn child(&self) -> io::Result<&Child> {
        self.child.as_ref().ok_or_else(not_running)
    }

    fn child_mut(&mut self) -> io::Result<&mut Child> {
        self.child.as_mut().ok_or_else(not_running)
    }

    fn failure(&self, what: &str) -> io::Error {
        let NodeSettings { listen, .. } = self.settings;
        io::Error::other(format!("{listen}: {what}; it said at last:\n{}", self.settings.log_tail()))
    }
}

impl Drop for NodeProcess {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that has ended cannot be killed any more, and is reaped all the same.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn not_running() -> io::Error {
    io::Error::other("the node does not run")
}

/// An address of the loopback where nobody listens now.
///
/// # Errors
/// When there is none.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Status and body of a GET; nothing when nobody answers.
async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let exchange = async {
        let mut socket = TcpStream::connect(address).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split_whitespace().nth(1)?.parse().ok()?, body.to_owned()))
    };
    tokio::time::timeout(ANSWER_WITHIN, exchange).await.ok().flatten()
}

/// The sum over all labels of a metric in Prometheus' text format.
fn sum_of(text: &str, name: &str) -> Option<f64> {
    let mut sum = None;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(name) else { continue };
        if !(rest.starts_with('{') || rest.starts_with(' ')) {
            continue;
        }
        let value: f64 = rest.rsplit(' ').next()?.parse().ok()?;
        sum = Some(sum.unwrap_or(0.0) + value);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_the_sum_of_its_labels_and_not_of_its_namesakes() {
        let text = "# HELP a_total x\na_total{code=\"x y\"} 2\na_total{code=\"z\"} 3\na_total_more 7\nb 1.5\n";
        assert_eq!(sum_of(text, "a_total"), Some(5.0));
        assert_eq!(sum_of(text, "b"), Some(1.5));
        assert_eq!(sum_of(text, "c"), None);
    }
}
