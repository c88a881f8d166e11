//! A throw-away Postgres for tests.
//!
//! The server runs in a directory of its own, on a free port of the loopback, as the user `postgres` when the test is
//! root (Postgres refuses to run as root), and durably: tests kill it. Tests in one process share one server
//! ([`TemporaryPostgres::shared`]) and have a database each; a test that kills the server starts its own. Runners that
//! start a process per test pay about a second for each, so a suite of many cases is better one test.

use std::ffi::OsStr;
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tokio_postgres::NoTls;
use uuid::Uuid;

use crate::certificates::TlsFiles;
use crate::process;

/// How long a start, with its crash recovery, may take.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const STARTS_MAX: usize = 5;

static SHARED: Mutex<Weak<TemporaryPostgres>> = Mutex::new(Weak::new());

/// Who runs the server.
#[derive(Debug, Clone, Copy)]
struct Account {
    user: u32,
    group: u32,
}

/// A running server; it is stopped and its directory removed when this is dropped.
#[derive(Debug)]
pub struct TemporaryPostgres {
    directory: PathBuf,
    binaries: PathBuf,
    account: Option<Account>,
    port: u16,
    server: Mutex<Option<Child>>,
}

impl TemporaryPostgres {
    /// Makes a cluster and starts it; returns when it takes connections.
    ///
    /// # Errors
    /// When the binaries are not there (the message says what to install) or do not work.
    pub fn start() -> io::Result<Self> {
        Self::prepared(|_| Ok(()))
    }

    /// As [`TemporaryPostgres::start`], and it offers TLS, as 127.0.0.1. Who comes without it is taken too, but for the role `app`,
    /// whose password is `secret`, and which comes with TLS only.
    ///
    /// # Errors
    /// As [`TemporaryPostgres::start`], and when there is no `openssl`.
    pub fn start_with_tls() -> io::Result<(Self, TlsFiles)> {
        let mut made = None;
        let server = Self::prepared(|server| {
            let files = TlsFiles::make(&server.directory, "IP:127.0.0.1")?;
            server.offer_tls(&files)?;
            made = Some(files);
            Ok(())
        })?;
        let files = made.ok_or_else(|| io::Error::other("no certificates were made"))?;
        Ok((server, files))
    }

    fn offer_tls(&self, files: &TlsFiles) -> io::Result<()> {
        // The server reads no key that others may read, or that is another account's.
        std::fs::set_permissions(&files.key, std::fs::Permissions::from_mode(0o600))?;
        if let Some(account) = self.account {
            chown(&files.key, Some(account.user), Some(account.group))?;
            chown(&files.certificate, Some(account.user), Some(account.group))?;
        }
        let path = |path: &Path| path.display().to_string();
        let settings = format!(
            "ssl = on\nssl_cert_file = '{}'\nssl_key_file = '{}'\n",
            path(&files.certificate),
            path(&files.key)
        );
        let settings_file = self.data().join("postgresql.auto.conf");
        std::fs::write(&settings_file, settings)?;
        let rules_file = self.data().join("pg_hba.conf");
        let rules = std::fs::read_to_string(&rules_file)?;
        let first = "hostssl all app 127.0.0.1/32 scram-sha-256\nhostnossl all app 127.0.0.1/32 reject\n";
        std::fs::write(&rules_file, format!("{first}{rules}"))
    }

    fn prepared(prepare: impl FnOnce(&Self) -> io::Result<()>) -> io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("hallway-postgres-{}", Uuid::now_v7().simple()));
        std::fs::create_dir(&directory)?;
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o700))?;
        let mut server =
            Self { directory, binaries: find_binaries()?, account: account()?, port: 0, server: Mutex::new(None) };
        if let Some(account) = server.account {
            chown(&server.directory, Some(account.user), Some(account.group))?;
        }
        // Nothing is worth keeping yet, so initdb need not sync; the server itself does.
        let data = server.data();
        server.run(
            "initdb",
            &[
                OsStr::new("--pgdata"),
                data.as_os_str(),
                OsStr::new("--username=postgres"),
                OsStr::new("--auth=trust"),
                OsStr::new("--encoding=UTF8"),
                OsStr::new("--locale=C"),
                OsStr::new("--no-sync"),
                OsStr::new("--no-instructions"),
            ],
        )?;
        prepare(&server)?;
        let mut last = io::Error::other("not started");
        for _ in 0..STARTS_MAX {
            server.port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            match server.restart() {
                Ok(()) => return Ok(server),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The server that the tests of this process share; started by the first, stopped by the last.
    ///
    /// # Errors
    /// As [`TemporaryPostgres::start`].
    pub fn shared() -> io::Result<Arc<Self>> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            return Ok(server);
        }
        let server = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&server);
        Ok(server)
    }

    /// URL of the database that every cluster has.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of("postgres")
    }

    /// URL of a database.
    #[must_use]
    pub fn url_of(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database and returns its URL.
    ///
    /// # Errors
    /// When the server refuses or is not there.
    pub async fn database(&self) -> Result<String, tokio_postgres::Error> {
        let name = format!("t{}", Uuid::now_v7().simple());
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await?;
        let driver = tokio::spawn(connection);
        client.batch_execute(&format!("CREATE DATABASE {name}")).await?;
        drop(client);
        driver.abort();
        Ok(self.url_of(&name))
    }

    /// Kills the server as a crash would; its back ends notice and end.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill9(&self) -> io::Result<()> {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let mut child = server.take().ok_or_else(|| io::Error::other("the server is not running"))?;
        child.kill()?;
        child.wait().map(|_| ())
    }

    /// Starts the server after [`TemporaryPostgres::kill9`]; returns when it takes connections.
    ///
    /// # Errors
    /// When it does not come up in time.
    pub fn restart(&self) -> io::Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        let mut slot = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        // Back ends of a killed server hold its shared memory for up to two seconds: try until it starts.
        while Instant::now() < deadline {
            let mut child = self.spawn()?;
            while child.try_wait()?.is_none() {
                if self.is_ready() {
                    *slot = Some(child);
                    return Ok(());
                }
                if Instant::now() > deadline {
                    child.kill()?;
                    child.wait()?;
                    break;
                }
                std::thread::park_timeout(Duration::from_millis(20));
            }
            if !self.data().join("postmaster.pid").exists() && self.port_is_taken() {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
        let log = std::fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        Err(io::Error::other(format!("postgres did not start; its log: {log}")))
    }

    /// The server's process, while it runs.
    #[must_use]
    pub fn id(&self) -> Option<u32> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(Child::id)
    }

    /// SIGSTOP to the server and every back end: from the return of this call on connections stay and nobody answers.
    ///
    /// # Errors
    /// When it is not running.
    pub fn freeze(&self) -> io::Result<()> {
        let server = self.running()?;
        // The server first: a frozen one starts no back end that would be missed, and takes leave of none that ends.
        process::freeze(&[server])?;
        process::freeze(&process::children(server)?)
    }

    /// SIGCONT to all of them.
    ///
    /// # Errors
    /// When it is not running.
    pub fn thaw(&self) -> io::Result<()> {
        let server = self.running()?;
        for child in process::children(server)? {
            process::signal_id(child, Signal::CONT)?;
        }
        // The server last: until then no back end's id can be another's.
        process::signal_id(server, Signal::CONT)
    }

    fn running(&self) -> io::Result<u32> {
        self.id().ok_or_else(|| io::Error::other("the server is not running"))
    }

    fn port_is_taken(&self) -> bool {
        TcpListener::bind(("127.0.0.1", self.port)).is_err()
    }

    fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.binaries.join(program));
        command.current_dir(&self.directory).stdin(Stdio::null());
        if let Some(account) = self.account {
            command.gid(account.group).uid(account.user);
        }
        command
    }

    fn run(&self, program: &str, arguments: &[&OsStr]) -> io::Result<()> {
        let output = self.command(program).args(arguments).output()?;
        if output.status.success() {
            return Ok(());
        }
        let text = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(format!("{program} failed: {text}")))
    }

    fn spawn(&self) -> io::Result<Child> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.directory.join("log"))?;
        self.command("postgres")
            .arg("-D")
            .arg(self.data())
            .arg("-k")
            .arg(&self.directory)
            .args(["-p", &self.port.to_string(), "-c", "listen_addresses=127.0.0.1"])
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    }

    fn is_ready(&self) -> bool {
        let port = self.port.to_string();
        let arguments = ["-q", "-h", "127.0.0.1", "-p", &port, "-t", "1"].map(OsStr::new);
        self.run("pg_isready", &arguments).is_ok()
    }
}

impl Drop for TemporaryPostgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.server.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let data = self.data();
            let arguments = ["stop", "-s", "-m", "immediate", "-D"].map(OsStr::new);
            if self.run("pg_ctl", &[&arguments[..], &[data.as_os_str()]].concat()).is_err() {
                let _ = child.kill();
            }
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Where `initdb` and `postgres` are: on the path, or where Debian keeps them.
fn find_binaries() -> io::Result<PathBuf> {
    let has_all =
        |directory: &Path| ["initdb", "postgres", "pg_isready"].iter().all(|name| directory.join(name).exists());
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<PathBuf> = std::env::split_paths(&path).collect();
    if let Ok(versions) = std::fs::read_dir("/usr/lib/postgresql") {
        let mut versions: Vec<PathBuf> = versions.flatten().map(|entry| entry.path().join("bin")).collect();
        versions.sort();
        candidates.extend(versions.into_iter().rev());
    }
    candidates.into_iter().find(|directory| has_all(directory)).ok_or_else(|| {
        io::Error::other("no initdb and postgres on the PATH or in /usr/lib/postgresql: apt-get install postgresql")
    })
}

/// The account `postgres` when this process is root; otherwise the server runs as we do.
fn account() -> io::Result<Option<Account>> {
    let ask = |arguments: &[&str]| -> io::Result<u32> {
        let output = Command::new("id").args(arguments).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        text.trim().parse().map_err(|_| io::Error::other("no user postgres: apt-get install postgresql"))
    };
    if ask(&["-u"])? != 0 {
        return Ok(None);
    }
    Ok(Some(Account { user: ask(&["-u", "postgres"])?, group: ask(&["-g", "postgres"])? }))
}
