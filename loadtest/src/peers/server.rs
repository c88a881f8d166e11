//! One started server: on free ports of this machine, in a directory of its own, ended by its number.
//!
//! **Invariant:** whoever drops it ends it, and waits until it has ended.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::installed::{Installed, on_path};
use super::kind::Kind;
use crate::run::Failure;

/// Time in which a server must listen.
const LISTEN_WITHIN: Duration = Duration::from_secs(20);
/// Time in which it must end once it was asked to.
const END_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Where everything listens.
const HOST: Ipv4Addr = Ipv4Addr::LOCALHOST;

/// A server that listens.
pub(crate) struct Server {
    child: Child,
    pub(crate) kind: Kind,
    pub(crate) address: SocketAddr,
    /// What clients must know, where a peer checks it. Hallway has its own secret.
    pub(crate) token: Option<String>,
    directory: TempDir,
}

impl Server {
    /// Starts it and waits until it listens.
    pub(crate) fn start(installed: &Installed) -> Result<Self, Failure> {
        let directory = tempfile::Builder::new().prefix("loadtest-peer-").tempdir()?;
        let [port, spare_port] = free_ports()?;
        let address = SocketAddr::from((HOST, port));
        let token = checks_token(installed.kind).then(|| uuid::Uuid::now_v7().simple().to_string());
        let log = File::create(directory.path().join("output.log"))?;
        let child = command(installed, directory.path(), [port, spare_port], token.as_deref().unwrap_or(""))?
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", installed.program.display()))?;
        let mut server = Self { child, kind: installed.kind, address, token, directory };
        server.wait_until_it_listens()?;
        Ok(server)
    }

    /// The number of its first process; others are its children.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where its files are; Hallway's secret is among them.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    fn wait_until_it_listens(&mut self) -> Result<(), Failure> {
        let until = Instant::now() + LISTEN_WITHIN;
        loop {
            if TcpStream::connect_timeout(&self.address, LOOK_EVERY).is_ok() {
                return Ok(());
            }
            let ended = self.child.try_wait()?;
            if ended.is_none() && Instant::now() < until {
                std::thread::sleep(LOOK_EVERY);
                continue;
            }
            let what = ended.map_or_else(|| format!("did not listen within {LISTEN_WITHIN:?}"), |s| s.to_string());
            return Err(format!("{}: {what}: {}", self.kind.name(), self.last_words()).into());
        }
    }

    /// The end of what it wrote.
    pub(crate) fn last_words(&self) -> String {
        let text = std::fs::read(self.directory.path().join("output.log")).unwrap_or_default();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Asked first: nginx ends its worker then.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let until = Instant::now() + END_WITHIN;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < until {
            std::thread::sleep(LOOK_EVERY);
        }
        // One that has ended cannot be killed any more, and is reaped all the same.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two ports that were free a moment ago.
fn free_ports() -> Result<[u16; 2], Failure> {
    let held = [TcpListener::bind((HOST, 0))?, TcpListener::bind((HOST, 0))?];
    Ok([held[0].local_addr()?.port(), held[1].local_addr()?.port()])
}

fn checks_token(kind: Kind) -> bool {
    kind.protocol().is_some() && !matches!(kind, Kind::BareEach | Kind::BareCoalesce | Kind::Mosquitto)
}

/// A command whose process the kernel ends when this one does, however that happens; where there is no `setpriv` an end by
/// force leaves it running.
fn started_by(program: &Path) -> Command {
    let Ok(setpriv) = on_path("setpriv") else { return Command::new(program) };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}

fn command(installed: &Installed, directory: &Path, ports: [u16; 2], token: &str) -> Result<Command, Failure> {
    let [port, spare_port] = ports;
    let address = format!("{HOST}:{port}");
    let mut command = started_by(&installed.program);
    match installed.kind {
        Kind::Hallway | Kind::HallwayPostcard | Kind::HallwayDurable => {
            let admin = format!("{HOST}:{spare_port}");
            command.args(["serve", "--dev", "--listen", &address, "--admin-listen", &admin, "--data-dir"]);
            command.arg(directory);
            // One publisher asks more than a person would.
            command.env("HALLWAY__LIMITS__REQUESTS_PER_SECOND_MAX", "1000000");
            command.env("HALLWAY__LOG__FILTER", "warn");
        }
        Kind::BareEach => {
            command.args(["bare", "--mode", "each", "--listen", &address]);
        }
        Kind::BareCoalesce => {
            command.args(["bare", "--mode", "coalesce", "--listen", &address]);
        }
        Kind::Ws | Kind::Socketio | Kind::SocketioUws | Kind::Uws => {
            command.args(&installed.file).args([&HOST.to_string(), &port.to_string(), token]);
            if installed.kind == Kind::SocketioUws {
                command.arg("uws");
            }
            command.env("NODE_ENV", "production");
        }
        Kind::Nchan | Kind::Nats | Kind::Mosquitto => {
            let template = installed.configuration.as_deref().unwrap_or("");
            let path = directory.join("configuration");
            std::fs::write(&path, rendered(template, directory, ports, token))?;
            command.arg("-c").arg(path);
        }
    }
    Ok(command)
}

/// A template with its names replaced.
fn rendered(template: &str, directory: &Path, [port, spare_port]: [u16; 2], token: &str) -> String {
    template
        .replace("{directory}", &directory.display().to_string())
        .replace("{host}", &HOST.to_string())
        .replace("{port}", &port.to_string())
        .replace("{spare_port}", &spare_port.to_string())
        .replace("{token}", token)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn installed(kind: Kind, program: &str) -> Installed {
        Installed {
            kind,
            version: String::new(),
            settings: "",
            configuration: Some("not found {port}".to_owned()),
            program: program.into(),
            file: None,
        }
    }

    #[test]
    fn a_server_that_ends_at_once_is_told_with_its_last_words() {
        // `cat -c FILE` complains.
        let error = Server::start(&installed(Kind::Nats, "/bin/cat")).err().unwrap().to_string();
        assert!(error.starts_with("nats: exit status: 1: ") && error.contains("cat:"), "{error}");
        let error = Server::start(&installed(Kind::Nats, "/nowhere/nats")).err().unwrap().to_string();
        assert!(error.contains("/nowhere/nats: "), "{error}");
    }

    #[test]
    fn a_template_knows_its_ports() {
        let text = rendered("{host}:{port} {spare_port} {directory} \"{token}\"", Path::new("/d"), [1, 2], "t");
        assert_eq!(text, "127.0.0.1:1 2 /d \"t\"");
    }
}
