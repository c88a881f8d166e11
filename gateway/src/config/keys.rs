//! One row per key: how its value is read and checked.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::limits::{LimitRow, Limits};
use super::{BusUrl, Config, LogFormat, Secret, StoreUrl, WEBHOOK_TARGETS_MAX, WebhookConfig, WebhookUrl};

/// Longest `bus.channel_prefix`.
const CHANNEL_PREFIX_MAX_BYTES: usize = 64;

/// A value as it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Raw {
    Text(String),
    Number(i128),
    Flag(bool),
    List(Vec<String>),
    /// From the environment or a flag: takes whatever type the key has.
    Word(String),
    /// A type that no key has.
    Other(String),
}

/// Why a value does not fit: the sentence after the key's name and value, and what to do.
pub(super) struct Misfit {
    pub(super) problem: String,
    pub(super) advice: String,
}

fn misfit(problem: impl Into<String>, advice: impl Into<String>) -> Misfit {
    Misfit { problem: problem.into(), advice: advice.into() }
}

type Set = fn(&mut Config, &Raw) -> Result<(), Misfit>;

/// Every key but the limits.
const KEYS: &[(&str, Set)] = &[
    ("server.listen", |config, raw| put(&mut config.server.listen, address(raw, "127.0.0.1:8080"))),
    ("server.admin_listen", |config, raw| put(&mut config.server.admin_listen, address(raw, "127.0.0.1:8081"))),
    ("server.data_dir", |config, raw| put(&mut config.server.data_dir, path(raw))),
    ("server.dev", |config, raw| put(&mut config.server.dev, raw.flag())),
    ("server.lanes", |config, raw| put(&mut config.server.lanes, size(raw, 0, 1024, "lanes"))),
    ("server.allowed_origins", |config, raw| put(&mut config.server.allowed_origins, origins(raw))),
    ("store.url", |config, raw| put(&mut config.store.url, store_url(raw))),
    ("store.pool_connections", |config, raw| {
        put(&mut config.store.pool_connections, size(raw, 2, 1000, "connections"))
    }),
    ("store.tls_ca_file", |config, raw| put(&mut config.store.tls_ca_file, Ok(raw.optional()?.map(PathBuf::from)))),
    ("bus.url", |config, raw| put(&mut config.bus.url, bus_url(raw))),
    ("bus.channel_prefix", |config, raw| put(&mut config.bus.channel_prefix, channel_prefix(raw))),
    ("bus.tls_ca_file", |config, raw| put(&mut config.bus.tls_ca_file, Ok(raw.optional()?.map(PathBuf::from)))),
    ("cluster.secret_file", |config, raw| put(&mut config.cluster.secret_file, Ok(raw.optional()?.map(PathBuf::from)))),
    ("auth.secret_file", |config, raw| put(&mut config.auth.secret_file, Ok(raw.optional()?.map(PathBuf::from)))),
    ("auth.issuer", |config, raw| put(&mut config.auth.issuer, raw.optional())),
    ("auth.audience", |config, raw| put(&mut config.auth.audience, raw.optional())),
    ("auth.clock_leeway_ms", |config, raw| {
        put(&mut config.auth.clock_leeway_ms, raw.number(0, 300_000, "milliseconds"))
    }),
    ("retention.max_age_hours", |config, raw| {
        put(&mut config.retention.max_age_hours, raw.number(0, 1_000_000, "hours"))
    }),
    ("log.filter", |config, raw| put(&mut config.log.filter, filter(raw))),
    ("log.format", |config, raw| put(&mut config.log.format, format(raw))),
];

/// The section whose keys are targets.
pub(super) const WEBHOOKS: &str = "webhooks";

type SetWebhook = fn(&mut WebhookConfig, &Raw) -> Result<(), Misfit>;

/// Every key of a target: `webhooks.NAME.KEY`.
const WEBHOOK_KEYS: &[(&str, SetWebhook)] = &[
    ("url", |target, raw| put(&mut target.url, webhook_url(raw))),
    ("secret", |target, raw| put(&mut target.secret, Ok(raw.optional()?.map(Secret::new)))),
    ("secret_file", |target, raw| put(&mut target.secret_file, Ok(raw.optional()?.map(PathBuf::from)))),
    ("allow_private", |target, raw| put(&mut target.allow_private, raw.flag())),
    ("attempts_max", |target, raw| {
        let attempts = raw.number(1, 20, "attempts")?;
        put(&mut target.attempts_max, Ok(u32::try_from(attempts).unwrap_or(1)))
    }),
    ("timeout_ms", |target, raw| put(&mut target.timeout_ms, raw.number(100, 60_000, "milliseconds"))),
    ("tls_ca_file", |target, raw| put(&mut target.tls_ca_file, Ok(raw.optional()?.map(PathBuf::from)))),
];

/// The keys of a target, for documents.
pub(super) fn webhook_names(target: &str) -> impl Iterator<Item = String> {
    WEBHOOK_KEYS.iter().map(move |(key, _)| format!("{WEBHOOKS}.{target}.{key}"))
}

/// Every key, limits included.
pub(super) fn names() -> impl Iterator<Item = String> {
    KEYS.iter()
        .map(|(name, _)| (*name).to_owned())
        .chain(Limits::TABLE.iter().map(|row| format!("limits.{}", row.name)))
}

/// Whether a value of this key must not be shown.
pub(super) fn is_secret(key: &str) -> bool {
    let is_of_target = |key: &str| key.ends_with(".secret") || key.ends_with(".url");
    key == "store.url" || key == "bus.url" || key.starts_with("webhooks.") && is_of_target(key)
}

/// Sets a key; `None` when there is no such key.
pub(super) fn set(config: &mut Config, key: &str, raw: &Raw) -> Option<Result<(), Misfit>> {
    if let Some((_, set)) = KEYS.iter().find(|(name, _)| *name == key) {
        return Some(set(config, raw));
    }
    if let Some((name, key)) = key.strip_prefix("webhooks.").and_then(|rest| rest.split_once('.')) {
        let (_, set) = WEBHOOK_KEYS.iter().find(|(known, _)| *known == key)?;
        return Some(set_webhook(config, name, *set, raw));
    }
    let name = key.strip_prefix("limits.")?;
    let row: &LimitRow = Limits::TABLE.iter().find(|row| row.name == name)?;
    let slot = config.limits.slot(name)?;
    Some(put(slot, raw.number(row.min, row.max, row.unit)))
}

fn set_webhook(config: &mut Config, name: &str, set: SetWebhook, raw: &Raw) -> Result<(), Misfit> {
    if !super::webhooks::is_name(name) {
        return Err(misfit(
            "belongs to a target whose name is none",
            "call it by 1 to 32 of a-z 0-9 - _ (one in a row)",
        ));
    }
    if !config.webhooks.contains_key(name) && config.webhooks.len() >= WEBHOOK_TARGETS_MAX {
        return Err(misfit("is one target too many", format!("configure at most {WEBHOOK_TARGETS_MAX}")));
    }
    set(config.webhooks.entry(name.to_owned()).or_default(), raw)
}

fn put<T>(slot: &mut T, value: Result<T, Misfit>) -> Result<(), Misfit> {
    *slot = value?;
    Ok(())
}

impl Raw {
    /// The value for a message.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Text(text) | Self::Word(text) => format!("{:?}", text.chars().take(80).collect::<String>()),
            Self::Number(number) => number.to_string(),
            Self::Flag(flag) => flag.to_string(),
            Self::List(items) => format!("{items:?}").chars().take(120).collect(),
            Self::Other(what) => what.clone(),
        }
    }

    fn text(&self) -> Result<&str, Misfit> {
        match self {
            Self::Text(text) | Self::Word(text) => Ok(text),
            _ => Err(misfit("is not a string", "put it in quotes")),
        }
    }

    /// An empty string means "not set".
    fn optional(&self) -> Result<Option<String>, Misfit> {
        let text = self.text()?;
        Ok((!text.is_empty()).then(|| text.to_owned()))
    }

    fn flag(&self) -> Result<bool, Misfit> {
        match self {
            Self::Flag(flag) => Ok(*flag),
            Self::Word(word) if word == "true" => Ok(true),
            Self::Word(word) if word == "false" => Ok(false),
            _ => Err(misfit("is neither true nor false", "write true or false, without quotes")),
        }
    }

    fn number(&self, min: u64, max: u64, unit: &str) -> Result<u64, Misfit> {
        let advice = || format!("set a whole number of {unit} from {min} to {max}, without quotes");
        let number = match self {
            Self::Number(number) => *number,
            Self::Word(word) => word.parse::<i128>().map_err(|_| misfit("is not a number", advice()))?,
            _ => return Err(misfit("is not a number", advice())),
        };
        match u64::try_from(number) {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            _ => Err(misfit(format!("{unit} is out of range"), advice())),
        }
    }
}

fn size(raw: &Raw, min: u64, max: u64, unit: &str) -> Result<usize, Misfit> {
    let number = raw.number(min, max, unit)?;
    usize::try_from(number).map_err(|_| misfit("is too large for this machine", "set a smaller number"))
}

fn address(raw: &Raw, example: &str) -> Result<SocketAddr, Misfit> {
    let advice = format!("example: {example}");
    let text = raw.text()?;
    text.parse().map_err(|_| misfit("is not an IP address with a port", advice))
}

fn path(raw: &Raw) -> Result<PathBuf, Misfit> {
    raw.optional()?.map(PathBuf::from).ok_or_else(|| misfit("is empty", "example: /var/lib/hallway"))
}

fn store_url(raw: &Raw) -> Result<Option<StoreUrl>, Misfit> {
    let Some(text) = raw.optional()? else { return Ok(None) };
    StoreUrl::parse(&text)
        .map(Some)
        .map_err(|problem| misfit(format!("is not a postgres URL: {problem}"), "example: postgres://user@db:5432/app"))
}

fn bus_url(raw: &Raw) -> Result<Option<BusUrl>, Misfit> {
    let Some(text) = raw.optional()? else { return Ok(None) };
    BusUrl::parse(&text)
        .map(Some)
        .map_err(|problem| misfit(format!("is not the URL of a bus: {problem}"), "example: redis://user@cache:6379"))
}

fn webhook_url(raw: &Raw) -> Result<Option<WebhookUrl>, Misfit> {
    let Some(text) = raw.optional()? else { return Ok(None) };
    WebhookUrl::parse(&text).map(Some).map_err(|problem| {
        misfit(format!("is no URL for webhooks: {problem}"), "example: https://app.example.com/hallway")
    })
}

/// Bytes that are no pattern and no separator to any server.
fn channel_prefix(raw: &Raw) -> Result<String, Misfit> {
    let text = raw.text()?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-');
    if text.is_empty() || text.len() > CHANNEL_PREFIX_MAX_BYTES || !text.bytes().all(fits) {
        return Err(misfit("is no prefix", "set 1 to 64 of A-Z a-z 0-9 _ . : -"));
    }
    Ok(text.to_owned())
}

fn origins(raw: &Raw) -> Result<Vec<String>, Misfit> {
    let items: Vec<String> = match raw {
        Raw::List(items) => items.clone(),
        Raw::Word(word) => word.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
        _ => return Err(misfit("is not a list of strings", "example: [\"https://app.example.com\"]")),
    };
    match items.iter().find(|item| !super::load::is_origin(item)) {
        Some(item) => Err(misfit(
            format!("holds {item:?}, which is not an exact origin (scheme, host and port; no path, no *, lower case)"),
            "example: [\"https://app.example.com\"]",
        )),
        None => Ok(items),
    }
}

fn filter(raw: &Raw) -> Result<String, Misfit> {
    let text = raw.text()?;
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => {
            Err(misfit(format!("is not a log filter: {error}"), "example: info or info,hallway_gateway=debug"))
        }
    }
}

fn format(raw: &Raw) -> Result<LogFormat, Misfit> {
    match raw.text()? {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(misfit("is no log format", "set text or json")),
    }
}
