//! Values that cannot be printed, and the file that holds the shared secret of tokens.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rand::TryRng as _;
use rand::rngs::SysRng;

use super::Config;

/// Name of the development secret in the data directory.
pub const DEV_SECRET_FILE: &str = "dev-secret";
/// Shortest secret: as long as the hash of HS256.
pub const SECRET_MIN_BYTES: usize = 32;
/// No secret is longer; a larger file is the wrong file.
const SECRET_MAX_BYTES: usize = 4096;

/// Bytes that must not be seen: neither `Debug` nor `Display` shows them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Wraps the bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    /// The bytes, for the one place that computes with them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[secret]")
    }
}

/// The address of a Postgres store. Shown without its password.
#[derive(Clone, PartialEq)]
pub struct StoreUrl {
    url: Secret,
    shown: String,
}

impl StoreUrl {
    /// Checks the form. What is wrong is told without the value.
    ///
    /// # Errors
    /// What is missing.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text
            .strip_prefix("postgres://")
            .or_else(|| text.strip_prefix("postgresql://"))
            .ok_or("it does not begin with postgres://")?;
        if text.chars().any(|character| character.is_whitespace() || character.is_control()) {
            return Err("it holds white space");
        }
        let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, after) = rest.split_at(authority_end);
        let (user, host) = match authority.rsplit_once('@') {
            Some((credentials, host)) => (credentials.split(':').next().unwrap_or_default(), host),
            None => ("", authority),
        };
        if host.is_empty() || host.starts_with(':') {
            return Err("missing host");
        }
        // What follows `?` can hold a password too.
        let database = after.split(['?', '#']).next().unwrap_or_default();
        let user = if user.is_empty() { String::new() } else { format!("{user}@") };
        Ok(Self { url: Secret::new(text), shown: format!("postgres://{user}{host}{database}") })
    }

    /// The whole URL, password included, for the driver only.
    #[must_use]
    pub fn expose(&self) -> &str {
        std::str::from_utf8(self.url.expose()).unwrap_or_default()
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.shown)
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.shown)
    }
}

/// Why there is no secret to check tokens with.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("the secret file {path} cannot be {doing}: {cause}; {advice}")]
    File {
        path: PathBuf,
        doing: &'static str,
        #[source]
        cause: io::Error,
        advice: &'static str,
    },
    #[error(
        "the secret file {path} holds {length} bytes; write {SECRET_MIN_BYTES} to {SECRET_MAX_BYTES} random bytes as \
         text: `openssl rand -hex 32 > {path}`"
    )]
    Length { path: PathBuf, length: usize },
    #[error("the secret file {path} can be read by others (mode {mode:o}); run `chmod 600 {path}`")]
    Exposed { path: PathBuf, mode: u32 },
    #[error(
        "auth.secret_file is not set; set it to a file with at least {SECRET_MIN_BYTES} random bytes, or use --dev"
    )]
    Missing,
    #[error(
        "cluster.secret_file is not set; set it to a file with at least {SECRET_MIN_BYTES} random bytes, or use --dev"
    )]
    MissingCluster,
    #[error("webhooks.{name}.secret_file: {cause}")]
    Webhook {
        name: String,
        #[source]
        cause: Box<SecretError>,
    },
    #[error("webhooks.{name} has neither secret nor secret_file; set one, of at least {SECRET_MIN_BYTES} random bytes")]
    MissingWebhook { name: String },
    #[error("the operating system gives no randomness: {0}")]
    Randomness(String),
}

/// Reads a shared secret: the file's bytes without white space at the end.
///
/// # Errors
/// [`SecretError`] when it cannot be read or is too short.
pub fn read_secret_file(path: &Path) -> Result<Secret, SecretError> {
    let bytes = fs::read(path).map_err(|cause| SecretError::File {
        path: path.to_owned(),
        doing: "read",
        cause,
        advice: "set auth.secret_file (--secret-file), cluster.secret_file (--cluster-secret-file) or a webhook's secret_file \
                 to a file that exists and that this user may read",
    })?;
    let length = bytes.trim_ascii_end().len();
    if !(SECRET_MIN_BYTES..=SECRET_MAX_BYTES).contains(&length) {
        return Err(SecretError::Length { path: path.to_owned(), length });
    }
    Ok(Secret::new(&bytes[..length]))
}

impl Config {
    /// The file that holds the secret in force, if one is configured.
    #[must_use]
    pub fn secret_file(&self) -> Option<PathBuf> {
        match &self.auth.secret_file {
            Some(path) => Some(path.clone()),
            None if self.server.dev => Some(self.server.data_dir.join(DEV_SECRET_FILE)),
            None => None,
        }
    }

    /// Reads the secret. In development mode, when no file is configured, one is made if it is not there.
    ///
    /// # Errors
    /// [`SecretError`], with what to do.
    pub fn load_secret(&self) -> Result<Secret, SecretError> {
        let path = self.secret_file().ok_or(SecretError::Missing)?;
        if self.auth.secret_file.is_none() {
            return dev_secret(&path);
        }
        read_secret_file(&path)
    }
}

fn dev_secret(path: &Path) -> Result<Secret, SecretError> {
    let failed = |doing, cause| SecretError::File {
        path: path.to_owned(),
        doing,
        cause,
        advice: "set server.data_dir (or --data-dir) to a directory that this user may write",
    };
    if !path.exists() {
        write_dev_secret(path).map_err(|error| match error {
            MakeError::Io(cause) => failed("written", cause),
            MakeError::Randomness(text) => SecretError::Randomness(text),
        })?;
    }
    let mode = fs::metadata(path).map_err(|cause| failed("read", cause))?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Exposed { path: path.to_owned(), mode });
    }
    read_secret_file(path)
}

enum MakeError {
    Io(io::Error),
    Randomness(String),
}

/// Written beside and linked into place, so that nobody ever reads half a secret and the first of two starts wins.
fn write_dev_secret(path: &Path) -> Result<(), MakeError> {
    let mut bytes = [0_u8; SECRET_MIN_BYTES];
    SysRng.try_fill_bytes(&mut bytes).map_err(|error| MakeError::Randomness(error.to_string()))?;
    let mut text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    text.push('\n');
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(MakeError::Io)?;
    }
    let beside = path.with_extension(format!("new-{}", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        match fs::hard_link(&beside, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    })();
    let removed = fs::remove_file(&beside);
    written.and(removed).map_err(MakeError::Io)
}
