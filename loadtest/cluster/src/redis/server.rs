//! One `redis-server`.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::Signal;
use uuid::Uuid;

use super::resp::{self, Reply};
use super::{free_ports, wait_until};
use crate::certificates::TlsFiles;
use crate::process;

const STARTS_MAX: usize = 5;
const SENTINEL_FILE: &str = "sentinel.conf";

/// A running server; it is killed and its directory removed when this is dropped.
pub struct TemporaryRedis {
    directory: PathBuf,
    arguments: Vec<String>,
    port: u16,
    tls_port: Option<u16>,
    server: Mutex<Option<Child>>,
}

impl TemporaryRedis {
    /// Starts a server; returns when it answers.
    ///
    /// # Errors
    /// When there is no `redis-server`, or it does not come up.
    pub fn start() -> io::Result<Self> {
        Self::start_with(&[])
    }

    /// Starts a server with further arguments (`--name value`).
    ///
    /// # Errors
    /// As [`TemporaryRedis::start`].
    pub fn start_with(arguments: &[&str]) -> io::Result<Self> {
        Self::prepared(|_| Ok(arguments.iter().map(|&argument| argument.to_owned()).collect()), false)
    }

    /// Starts a server that has a TLS port too; its certificates are made with `openssl`.
    ///
    /// # Errors
    /// As [`TemporaryRedis::start`], and when there is no `openssl` or `redis-server` knows no TLS.
    pub fn start_with_tls() -> io::Result<(Self, TlsFiles)> {
        let mut made = None;
        let server = Self::prepared(
            |directory| {
                let files = TlsFiles::make(directory, "IP:127.0.0.1,DNS:localhost")?;
                let arguments = tls_arguments(&files);
                made = Some(files);
                Ok(arguments)
            },
            true,
        )?;
        let files = made.ok_or_else(|| io::Error::other("no certificates were made"))?;
        Ok((server, files))
    }

    /// Starts a Sentinel with these lines of configuration, which it goes on writing itself.
    pub(super) fn sentinel(configuration: &str) -> io::Result<Self> {
        Self::prepared(
            |directory| {
                std::fs::write(directory.join(SENTINEL_FILE), configuration)?;
                Ok(vec!["--sentinel".to_owned()])
            },
            false,
        )
    }

    fn prepared(prepare: impl FnOnce(&Path) -> io::Result<Vec<String>>, has_tls: bool) -> io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("hallway-redis-{}", Uuid::now_v7().simple()));
        std::fs::create_dir(&directory)?;
        let mut server = Self { directory, arguments: Vec::new(), port: 0, tls_port: None, server: Mutex::new(None) };
        server.arguments = prepare(&server.directory)?;
        let mut last = io::Error::other("not started");
        for _ in 0..STARTS_MAX {
            let [port, tls_port] = free_ports()?;
            (server.port, server.tls_port) = (port, has_tls.then_some(tls_port));
            match server.restart() {
                Ok(()) => return Ok(server),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Its URL for this user of its.
    #[must_use]
    pub fn url_of(&self, user: &str, password: &str) -> String {
        format!("redis://{user}:{password}@127.0.0.1:{}", self.port)
    }

    /// Its URL with TLS, if it has it.
    #[must_use]
    pub fn tls_url(&self) -> Option<String> {
        self.tls_port.map(|port| format!("rediss://127.0.0.1:{port}"))
    }

    /// Its port, without TLS.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Sends one command and waits for its answer.
    ///
    /// # Errors
    /// When the server is not there, or answers with an error.
    pub fn command(&self, words: &[&str]) -> io::Result<Reply> {
        resp::ask(self.port, words)
    }

    /// How many PUBLISH commands it has been given since its start.
    ///
    /// # Errors
    /// As [`TemporaryRedis::command`].
    pub fn publishes(&self) -> io::Result<u64> {
        let statistics = self.command(&["INFO", "commandstats"])?;
        let line = statistics.text().lines().find_map(|line| line.strip_prefix("cmdstat_publish:calls="));
        let count = line.and_then(|line| line.split(',').next()).and_then(|count| count.parse().ok());
        Ok(count.unwrap_or(0))
    }

    /// Kills it, as a crash would.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill9(&self) -> io::Result<()> {
        let mut child = self.lock().take().ok_or_else(|| io::Error::other("the server is not running"))?;
        child.kill()?;
        child.wait().map(|_| ())
    }

    /// Starts it after [`TemporaryRedis::kill9`], empty; returns when it answers.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn restart(&self) -> io::Result<()> {
        let mut slot = self.lock();
        let mut child = self.spawn()?;
        let answers = || resp::ask(self.port, &["PING"]).is_ok();
        let ready = wait_until("redis-server answers", || answers() || !matches!(child.try_wait(), Ok(None)));
        if ready.is_err() || !matches!(child.try_wait(), Ok(None)) {
            let _ = child.kill();
            let _ = child.wait();
            return Err(io::Error::other(format!("redis-server did not start; its log: {}", self.log())));
        }
        *slot = Some(child);
        Ok(())
    }

    /// Stops its process in the middle of whatever it does; its connections stay open, and silent from the return of this call on.
    ///
    /// # Errors
    /// When it is not running.
    pub fn freeze(&self) -> io::Result<()> {
        let id = self.lock().as_ref().map(Child::id);
        process::freeze(&[id.ok_or_else(|| io::Error::other("the server is not running"))?])
    }

    /// Lets it go on after [`TemporaryRedis::freeze`].
    ///
    /// # Errors
    /// When it is not running.
    pub fn thaw(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        let server = self.lock();
        let child = server.as_ref().ok_or_else(|| io::Error::other("the server is not running"))?;
        process::signal(child, signal)
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = File::options().create(true).append(true).open(self.directory.join("log"))?;
        let mut command = Command::new("redis-server");
        command.current_dir(&self.directory);
        let port = self.port.to_string();
        let common = ["--port", &port, "--bind", "127.0.0.1", "--daemonize", "no"];
        if self.directory.join(SENTINEL_FILE).exists() {
            command.arg(SENTINEL_FILE).args(common);
        } else {
            command.args(common).args(["--save", "", "--appendonly", "no"]);
        }
        if let Some(port) = self.tls_port {
            command.args(["--tls-port", &port.to_string()]);
        }
        command.args(&self.arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn().map_err(
            |error| io::Error::new(error.kind(), format!("redis-server: {error}; apt-get install redis-server")),
        )
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TemporaryRedis {
    fn drop(&mut self) {
        if let Some(mut child) = self.lock().take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

fn tls_arguments(files: &TlsFiles) -> Vec<String> {
    let path = |path: &Path| path.to_string_lossy().into_owned();
    [
        ("--tls-cert-file", path(&files.certificate)),
        ("--tls-key-file", path(&files.key)),
        ("--tls-ca-cert-file", path(&files.authority)),
        ("--tls-auth-clients", "no".to_owned()),
    ]
    .into_iter()
    .flat_map(|(name, value)| [name.to_owned(), value])
    .collect()
}
