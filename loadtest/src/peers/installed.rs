//! What is there to be started, and in which version.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Serialize;

use super::kind::Kind;

/// nginx' own module, where Debian puts it.
const NCHAN_MODULE: &str = "/usr/lib/nginx/modules/ngx_nchan_module.so";

/// Where things are.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// `loadtest/peers`.
    pub(crate) peers: PathBuf,
    /// The gateway's program.
    pub(crate) hallway: PathBuf,
}

/// Something that can be started.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Installed {
    pub(crate) kind: Kind,
    pub(crate) version: String,
    pub(crate) settings: &'static str,
    /// The text of its program or configuration.
    pub(crate) configuration: Option<String>,
    #[serde(skip)]
    pub(crate) program: PathBuf,
    #[serde(skip)]
    pub(crate) file: Option<PathBuf>,
}

/// Looks for one; the error says what is missing.
pub(crate) fn find(kind: Kind, places: &Places) -> Result<Installed, String> {
    let file = kind.file().map(|name| places.peers.join(name));
    let configuration = match &file {
        None => None,
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?),
    };
    let (program, version) = match kind {
        Kind::Hallway | Kind::HallwayPostcard | Kind::HallwayDurable => {
            (places.hallway.clone(), says(&places.hallway, &["--version"], &places.peers)?)
        }
        Kind::BareEach | Kind::BareCoalesce => (
            std::env::current_exe().map_err(|error| error.to_string())?,
            format!("loadtest {}", env!("CARGO_PKG_VERSION")),
        ),
        Kind::Ws => node(places, &["ws"])?,
        Kind::Socketio => node(places, &["socket.io", "ws"])?,
        Kind::SocketioUws => node(places, &["socket.io", "uwebsockets"])?,
        Kind::Uws => node(places, &["uwebsockets"])?,
        Kind::Nchan => {
            if !Path::new(NCHAN_MODULE).exists() {
                return Err(format!("{NCHAN_MODULE} is not there"));
            }
            let program = on_path("nginx")?;
            let nchan = says(&on_path("dpkg-query")?, &["-W", "-f", "${Version}", "libnginx-mod-nchan"], &places.peers)
                .unwrap_or_else(|_| "of unknown version".to_owned());
            let version = format!("Nchan {nchan}, {}", says(&program, &["-v"], &places.peers)?);
            (program, version)
        }
        Kind::Nats => {
            let ours = places.peers.join("../../target/peers-venv/bin/nats-server");
            let program = if ours.exists() { ours } else { on_path("nats-server")? };
            let version = says(&program, &["--version"], &places.peers)?;
            (program, version)
        }
        Kind::Mosquitto => {
            let program = on_path("mosquitto")?;
            let version = says(&program, &["-h"], &places.peers)?;
            (program, version)
        }
    };
    Ok(Installed { kind, version, settings: kind.settings(), configuration, program, file })
}

/// Node, with packages that must load.
fn node(places: &Places, packages: &[&str]) -> Result<(PathBuf, String), String> {
    let program = on_path("node")?;
    let mut versions = Vec::new();
    for package in packages {
        let script =
            format!("require('{package}'); console.log('{package} ' + require('{package}/package.json').version)",);
        let mut version = says(&program, &["-e", &script], &places.peers)?;
        // `uwebsockets` is uWebSockets.js under another name, with numbers of its own; this tells which.
        let commit = places.peers.join("node_modules").join(package).join("source_commit");
        if let Ok(commit) = std::fs::read_to_string(commit) {
            version.push_str(&format!(" (commit {})", commit.trim()));
        }
        versions.push(version);
    }
    versions.push(format!("Node {}", says(&program, &["--version"], &places.peers)?));
    Ok((program, versions.join(", ")))
}

/// The first line that a program says, whether to its output or as an error.
fn says(program: &Path, arguments: &[&str], directory: &Path) -> Result<String, String> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    let text = String::from_utf8_lossy(&text).into_owned();
    // Mosquitto's help is no success.
    let failed = !output.status.success() && !text.contains("version");
    match text.lines().find(|line| !line.trim().is_empty()) {
        Some(line) if !failed => Ok(line.trim().to_owned()),
        Some(_) | None => {
            let why = text.lines().find(|line| line.contains("Error")).or(text.lines().next()).unwrap_or("");
            Err(format!("{} says: {why}", program.display()))
        }
    }
}

/// A program by its name: also where those of root are.
pub(crate) fn on_path(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| candidate.is_file())
        .ok_or_else(|| format!("{name} is not installed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let places = Places { peers: PathBuf::from("/nowhere/peers"), hallway: PathBuf::from("/nowhere/hallway") };
        for kind in [Kind::Hallway, Kind::Ws, Kind::Nchan, Kind::Nats, Kind::Mosquitto] {
            let why = find(kind, &places).err();
            assert!(why.as_ref().is_some_and(|why| why.contains("/nowhere/")), "{kind:?}: {why:?}");
        }
    }
}
