//! Where notifications are handed to the application, when nobody looked at them here.

use std::fmt;
use std::path::PathBuf;

use hyper::Uri;

use super::{Config, SECRET_MIN_BYTES, Secret, SecretError, read_secret_file};

/// Longest name of a target.
const NAME_MAX_BYTES: usize = 32;
/// Most targets: each of them gets everything that is handed out.
pub const WEBHOOK_TARGETS_MAX: usize = 8;

/// One target.
#[derive(Debug, Clone, PartialEq)]
pub struct WebhookConfig {
    pub url: Option<WebhookUrl>,
    /// Signs what is sent. One of these two.
    pub secret: Option<Secret>,
    pub secret_file: Option<PathBuf>,
    /// It may lie in the own network.
    pub allow_private: bool,
    /// How often one webhook is tried.
    pub attempts_max: u32,
    /// How long one attempt may take.
    pub timeout_ms: u64,
    /// Who may vouch for it, besides nobody.
    pub tls_ca_file: Option<PathBuf>,
}

impl Default for WebhookConfig {
    fn default() -> Self {
        Self {
            url: None,
            secret: None,
            secret_file: None,
            allow_private: false,
            attempts_max: 3,
            timeout_ms: 10_000,
            tls_ca_file: None,
        }
    }
}

/// Where a target is. Shown without what follows `?`, which may hold a password.
#[derive(Clone, PartialEq)]
pub struct WebhookUrl {
    uri: Uri,
}

impl WebhookUrl {
    /// Checks the form. What is wrong is told without the value.
    ///
    /// # Errors
    /// What is missing.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let uri: Uri = text.parse().map_err(|_| "it cannot be read")?;
        match uri.scheme_str() {
            Some("http" | "https") => {}
            _ => return Err("it begins with neither https:// nor http://"),
        }
        let authority = uri.authority().ok_or("missing host")?;
        if authority.host().is_empty() {
            return Err("missing host");
        }
        if authority.as_str().contains('@') {
            return Err("it holds a user or password, which is not sent: what is sent is signed");
        }
        if authority.as_str().rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']') && uri.port_u16().is_none())
        {
            return Err("its port is no number");
        }
        if text.contains('#') {
            return Err("it holds a fragment (#…), which is not sent");
        }
        Ok(Self { uri })
    }

    /// Whether the way is encrypted.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Name or address, as it stands there (of IPv6 without its brackets).
    #[must_use]
    pub fn host(&self) -> &str {
        self.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    /// The port, or that of the scheme.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.uri.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 })
    }

    /// Host and port as the header `host` names them.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.uri.authority().map_or("", |authority| authority.as_str())
    }

    /// Path and query, for the request only.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        self.uri.path_and_query().map_or("/", |path| path.as_str())
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://{}{}", self.uri.scheme_str().unwrap_or_default(), self.authority(), self.uri.path())
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

/// Whether a target may be called so: it is a key, part of a variable's name, and stands in the store.
pub(super) fn is_name(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
    (1..=NAME_MAX_BYTES).contains(&name.len()) && name.bytes().all(fits) && !name.contains("__")
}

impl WebhookConfig {
    /// Reads the secret that signs.
    ///
    /// # Errors
    /// [`SecretError`], with what to do.
    pub fn load_secret(&self, name: &str) -> Result<Secret, SecretError> {
        match (&self.secret, &self.secret_file) {
            (Some(secret), _) => Ok(secret.clone()),
            (None, Some(path)) => read_secret_file(path)
                .map_err(|cause| SecretError::Webhook { name: name.to_owned(), cause: Box::new(cause) }),
            (None, None) => Err(SecretError::MissingWebhook { name: name.to_owned() }),
        }
    }

    /// What is wrong with the target as a whole: key, problem, advice.
    pub(super) fn faults(&self, name: &str) -> Vec<(String, String, String)> {
        let mut faults = Vec::new();
        let mut fault = |key: &str, problem: &str, advice: &str| {
            let key = format!("webhooks.{name}.{key}");
            let problem = format!("{key} {problem}");
            faults.push((key, problem, advice.to_owned()));
        };
        match &self.url {
            None => fault("url", "is not set", "example: https://app.example.com/hallway"),
            Some(url) if !url.is_tls() && !self.allow_private => fault(
                "url",
                "begins with http://, which everybody on the way can read",
                "use https://, or set allow_private = true for a target inside your own network",
            ),
            Some(_) => {}
        }
        match (&self.secret, &self.secret_file) {
            (None, None) => fault(
                "secret_file",
                "is not set, and there is no default secret",
                "set it to a file with at least 32 random bytes (`openssl rand -hex 32 > FILE`), or set secret",
            ),
            (Some(_), Some(_)) => fault("secret_file", "is set, and secret too", "leave one of them out"),
            (Some(secret), None) if secret.expose().len() < SECRET_MIN_BYTES => {
                fault("secret", "is shorter than 32 bytes", "make one with `openssl rand -hex 32`");
            }
            _ => {}
        }
        faults
    }
}

impl Config {
    /// Whether there is anybody to hand notifications to.
    #[must_use]
    pub fn hands_out(&self) -> bool {
        !self.webhooks.is_empty()
    }
}
