//! Layers a configuration and checks what no single key can show.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::fault::{ConfigErrors, Fault, Source};
use super::file::{self, Given};
use super::keys::{self, Raw};
use super::{Config, limits};

/// Where an embedded node keeps its files when nobody says.
pub(super) const DEFAULT_DATA_DIR: &str = "~/.local/share/hallway";
const ENV_PREFIX: &str = "HALLWAY__";

/// What the command line of `serve` and its relatives can set. `None`: not given.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// The configuration file.
    pub config: Option<PathBuf>,
    pub listen: Option<String>,
    pub admin_listen: Option<String>,
    pub data_dir: Option<String>,
    pub store_url: Option<String>,
    pub secret_file: Option<String>,
    pub bus_url: Option<String>,
    pub cluster_secret_file: Option<String>,
    pub dev: bool,
}

impl Flags {
    fn given(&self) -> Vec<Given> {
        let words = [
            ("server.listen", "--listen", &self.listen),
            ("server.admin_listen", "--admin-listen", &self.admin_listen),
            ("server.data_dir", "--data-dir", &self.data_dir),
            ("store.url", "--store-url", &self.store_url),
            ("auth.secret_file", "--secret-file", &self.secret_file),
            ("bus.url", "--bus-url", &self.bus_url),
            ("cluster.secret_file", "--cluster-secret-file", &self.cluster_secret_file),
        ];
        let mut given: Vec<Given> = words
            .into_iter()
            .filter_map(|(key, flag, word)| {
                let value = Raw::Word(word.clone()?);
                Some(Given { key: key.to_owned(), value, source: Source::Flag(flag) })
            })
            .collect();
        if self.dev {
            given.push(Given { key: "server.dev".to_owned(), value: Raw::Flag(true), source: Source::Flag("--dev") });
        }
        given
    }
}

/// A configuration on its way: what was set, by whom, and what was wrong.
struct Layers {
    config: Config,
    sources: BTreeMap<String, Source>,
    faults: Vec<Fault>,
}

impl Config {
    /// The configuration of this process: `flags.config`, its environment, `flags`.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every fault.
    pub fn from_process(flags: &Flags) -> Result<Self, ConfigErrors> {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
        let environment = std::env::vars_os()
            .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()));
        let environment: BTreeMap<String, String> = environment.collect();
        let config = Self::load(flags, environment.clone(), flags.config.as_deref())?;
        #[cfg(all(feature = "sabotage", not(test)))]
        config.sabotage(environment.get("HALLWAY_SABOTAGE").map_or("", String::as_str))?;
        Ok(config)
    }

    /// A build that breaks on purpose serves nobody but tests.
    #[cfg(all(feature = "sabotage", not(test)))]
    fn sabotage(&self, chosen: &str) -> Result<(), ConfigErrors> {
        let fault = |problem: String, advice: &str| {
            let source = Source::Env("HALLWAY_SABOTAGE".to_owned());
            ConfigErrors(vec![Fault { problem, source, advice: advice.to_owned() }])
        };
        if !self.server.dev {
            let problem = "this build has the feature sabotage: it breaks on purpose".to_owned();
            return Err(fault(problem, "build without --features sabotage, or use --dev"));
        }
        crate::sabotage::choose(chosen).map_err(|problem| fault(problem, "see gateway/src/sabotage.rs"))
    }

    /// Layers defaults, a file, the environment and flags, then checks the whole. Reads the file and nothing else.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every fault.
    pub fn load(
        flags: &Flags,
        environment: impl IntoIterator<Item = (String, String)>,
        file: Option<&Path>,
    ) -> Result<Self, ConfigErrors> {
        let mut layers = Layers { config: Self::default(), sources: BTreeMap::new(), faults: Vec::new() };
        if let Some(path) = file {
            layers.file(path);
        }
        let environment: BTreeMap<String, String> = environment.into_iter().collect();
        layers.environment(&environment);
        flags.given().into_iter().for_each(|given| layers.set(given));
        layers.complete(file.is_some(), &environment);
        layers.check();
        layers.finish()
    }

    /// The defaults with the keys of a TOML text over them; no check across keys.
    ///
    /// # Errors
    /// [`ConfigErrors`] with every fault.
    pub fn from_toml(text: &str) -> Result<Self, ConfigErrors> {
        let mut layers = Layers { config: Self::default(), sources: BTreeMap::new(), faults: Vec::new() };
        layers.text(Path::new("hallway.toml"), text);
        layers.finish()
    }
}

impl Layers {
    fn file(&mut self, path: &Path) {
        match std::fs::read_to_string(path) {
            Ok(text) => self.text(path, &text),
            Err(error) => self.faults.push(Fault {
                problem: format!("the configuration file {} cannot be read: {error}", path.display()),
                source: Source::Flag("--config"),
                advice: "name a file that exists, or leave --config out".to_owned(),
            }),
        }
    }

    fn text(&mut self, path: &Path, text: &str) {
        match file::read(path, text) {
            Ok(given) => given.into_iter().for_each(|given| self.set(given)),
            Err(fault) => self.faults.push(fault),
        }
    }

    fn environment(&mut self, environment: &BTreeMap<String, String>) {
        for (name, value) in environment {
            if let Some(rest) = name.strip_prefix(ENV_PREFIX) {
                let mut key = rest.to_ascii_lowercase().replacen("__", ".", 1);
                if key.starts_with("webhooks.") {
                    // HALLWAY__WEBHOOKS__PUSH__URL
                    key = key.replacen("__", ".", 1);
                }
                self.set(Given { key, value: Raw::Word(value.clone()), source: Source::Env(name.clone()) });
            }
        }
    }

    fn set(&mut self, Given { key, value, source }: Given) {
        match keys::set(&mut self.config, &key, &value) {
            Some(Ok(())) => {
                self.sources.insert(key, source);
            }
            Some(Err(misfit)) => {
                let shown = if keys::is_secret(&key) { String::new() } else { format!(" = {}", value.shown()) };
                self.fault(format!("{key}{shown} {}", misfit.problem), source, misfit.advice);
            }
            None => {
                let advice = did_you_mean(&key, &source);
                self.fault(format!("{key} is not a configuration key"), source, advice);
            }
        }
    }

    fn fault(&mut self, problem: String, source: Source, advice: String) {
        self.faults.push(Fault { problem, source, advice });
    }

    /// Fills in what follows from the rest: the data directory, and development mode when nothing was configured.
    fn complete(&mut self, has_file: bool, environment: &BTreeMap<String, String>) {
        let variable = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        if !self.sources.contains_key("server.data_dir")
            && let Some(directory) = variable("XDG_DATA_HOME").filter(|directory| Path::new(directory).is_absolute())
        {
            self.config.server.data_dir = Path::new(directory).join("hallway");
        }
        if let Ok(below_home) = self.config.server.data_dir.strip_prefix("~") {
            match variable("HOME") {
                Some(home) => self.config.server.data_dir = Path::new(home).join(below_home),
                None => {
                    let source = self.source("server.data_dir");
                    let problem =
                        format!("server.data_dir = {:?} needs HOME, which is not set", self.config.server.data_dir);
                    self.fault(problem, source, "set server.data_dir to a whole path".to_owned());
                }
            }
        }
        let configured = has_file || self.config.auth.secret_file.is_some() || self.config.store.url.is_some();
        if !configured && !self.sources.contains_key("server.dev") {
            self.config.server.dev = true;
        }
    }

    fn check(&mut self) {
        self.check_development_mode();
        self.check_store();
        self.check_cluster();
        for (name, target) in self.config.webhooks.clone() {
            for (key, problem, advice) in target.faults(&name) {
                // A value that was refused is told once.
                if !self.faults.iter().any(|fault| fault.problem.starts_with(&key)) {
                    let source = self.source(&key);
                    self.fault(problem, source, advice);
                }
            }
        }
        if self.config.server.listen == self.config.server.admin_listen && self.config.server.listen.port() != 0 {
            let problem = format!("server.admin_listen = {} is server.listen too", self.config.server.admin_listen);
            let source = self.source("server.admin_listen");
            self.fault(problem, source, "give the two listeners different ports".to_owned());
        }
        let limits = self.config.limits.clone();
        self.check_order(
            "heartbeat_interval_ms",
            limits.heartbeat_interval_ms,
            "heartbeat_timeout_ms",
            limits.heartbeat_timeout_ms,
        );
        self.check_order(
            "backlog_max_bytes",
            limits.backlog_max_bytes,
            "backlogs_max_bytes",
            limits.backlogs_max_bytes,
        );
        self.check_order("node_heartbeat_ms", limits.node_heartbeat_ms, "node_lease_ms", limits.node_lease_ms);
    }

    /// The embedded store is no server that somebody could vouch for.
    fn check_store(&mut self) {
        if self.config.store.url.is_none() && self.config.store.tls_ca_file.is_some() {
            let problem = "store.tls_ca_file is set without store.url".to_owned();
            let source = self.source("store.tls_ca_file");
            self.fault(problem, source, "set store.url to a Postgres, or leave store.tls_ca_file out".to_owned());
        }
    }

    /// A bus connects nodes that share a store, and takes only what is sealed with their secret.
    fn check_cluster(&mut self) {
        if self.config.bus.url.is_none() {
            return;
        }
        if self.config.store.url.is_none() {
            let problem =
                "bus.url is set without store.url: the embedded store has one node, which needs no bus".to_owned();
            let source = self.source("bus.url");
            self.fault(
                problem,
                source,
                "set store.url to the Postgres that all nodes share, or leave bus.url out".to_owned(),
            );
        }
        if self.config.cluster.secret_file.is_none() && !self.config.server.dev {
            let problem = "bus.url is set without cluster.secret_file, and there is no default secret".to_owned();
            let advice = format!(
                "set it to a file with at least {} random bytes (`openssl rand -hex 32 > FILE`), the same for all nodes",
                super::SECRET_MIN_BYTES
            );
            self.fault(problem, Source::Default, advice);
        }
    }

    fn check_development_mode(&mut self) {
        let server = self.config.server.clone();
        if !server.dev {
            if self.config.auth.secret_file.is_none() {
                let problem = "auth.secret_file is not set, and there is no default secret".to_owned();
                let advice = format!(
                    "set it to a file with at least {} random bytes (`openssl rand -hex 32 > FILE`), or use --dev",
                    super::SECRET_MIN_BYTES
                );
                self.fault(problem, Source::Default, advice);
            }
            return;
        }
        let why = match self.sources.get("server.dev") {
            Some(source) => format!("server.dev is true, {source}"),
            None => "no configuration file, auth.secret_file or store.url was given".to_owned(),
        };
        for (key, address) in [("server.listen", server.listen), ("server.admin_listen", server.admin_listen)] {
            if !address.ip().is_loopback() {
                let source = self.source(key);
                let problem = format!("{key} = {address} is open to others, which development mode refuses ({why})");
                let advice = "listen on 127.0.0.1, or leave development mode by setting auth.secret_file".to_owned();
                self.fault(problem, source, advice);
            }
        }
    }

    /// Two limits of which the first must be the smaller one.
    fn check_order(&mut self, small: &str, small_value: u64, large: &str, large_value: u64) {
        if small_value >= large_value {
            let unit = limits::Limits::TABLE.iter().find(|row| row.name == large).map_or("", |row| row.unit);
            let key = format!("limits.{large}");
            let source = self.source(&key);
            let problem = format!("{key} = {large_value} {unit} is not above limits.{small} = {small_value}");
            self.fault(problem, source, format!("raise {large} or lower {small}"));
        }
    }

    fn source(&self, key: &str) -> Source {
        self.sources.get(key).cloned().unwrap_or(Source::Default)
    }

    fn finish(self) -> Result<Config, ConfigErrors> {
        if self.faults.is_empty() { Ok(self.config) } else { Err(ConfigErrors(self.faults)) }
    }
}

/// The nearest key that exists, written as this source would write it.
fn did_you_mean(key: &str, source: &Source) -> String {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let target = key.strip_prefix("webhooks.").and_then(|rest| rest.split('.').next()).unwrap_or("NAME");
    let nearest = keys::names()
        .chain(keys::webhook_names(target))
        .map(|name| {
            // A right key in the wrong section is as near as a small slip.
            let whole = strsim::jaro_winkler(&name, key);
            let score = if last(&name) == last(key) { whole.max(0.9) } else { whole };
            (score, strsim::levenshtein(&name, key), name)
        })
        .filter(|(score, distance, _)| *score >= 0.9 || *distance <= 3)
        .min_by(|(_, left, _), (_, right, _)| left.cmp(right));
    match nearest {
        Some((_, _, name)) => {
            let written = match source {
                Source::Env(_) => format!("{ENV_PREFIX}{}", name.replace('.', "__").to_ascii_uppercase()),
                _ => name,
            };
            format!("did you mean {written}?")
        }
        None => "`hallway print-config` shows every key".to_owned(),
    }
}

/// `scheme://host[:port]`, exactly as a browser sends it.
pub(super) fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let scheme_ok =
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || b"+-.".contains(&byte));
    let host_ok = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte));
    scheme_ok && host_ok
}

/// Whether an origin is a page of this machine.
pub(super) fn is_loopback_origin(origin: &str) -> bool {
    let Some(authority) = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) else {
        return false;
    };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (authority, "0"),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    port.parse::<u16>().is_ok()
        && (host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()))
}
