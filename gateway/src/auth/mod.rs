//! Who somebody is: tokens, and what they allow.
//!
//! A token is a JWT signed with HS256 and the node's shared secret. Claims: `sub` (user id), `exp` (whole seconds), and
//! optionally `nbf`, `iss`, `aud`, `name`, `scope`.
//!
//! Reading order: [`Authenticator`], `token` (what a token must look like), [`Scopes`].
//!
//! **Invariant:** the algorithm is ours, never the token's; a header that asks for any other key is refused.
//!
//! **Invariant:** no error and no log line holds a token or a claim of one that was refused.

mod scopes;
#[cfg(test)]
mod tests;
mod token;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hallway_protocol::UserId;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};

use crate::config::{AuthConfig, Secret};

pub use scopes::Scopes;
pub use token::{AuthError, TOKEN_MAX_BYTES};
use token::{Claims, Minted};

/// Who a token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub user: UserId,
    /// For people to read, as the token's issuer gave it.
    pub name: Option<String>,
    /// When a connection with this token ends: `exp`, plus `auth.clock_leeway_ms`.
    pub expires_at_ms: u64,
    /// `iat`. A token without it is older than any revocation.
    pub issued_at_ms: Option<u64>,
    pub scopes: Scopes,
}

/// Checks tokens.
#[derive(Debug)]
pub struct Authenticator {
    key: DecodingKey,
    validation: Validation,
    issuer: Option<String>,
    audience: Option<String>,
    leeway_ms: u64,
}

impl Authenticator {
    /// With the node's secret and what its tokens must say.
    #[must_use]
    pub fn new(secret: &Secret, config: &AuthConfig) -> Self {
        let mut validation = Validation::new(Algorithm::HS256);
        // Only the signature is left to the library: it reads its own clock, and lets absent or odd claims pass.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Self {
            key: DecodingKey::from_secret(secret.expose()),
            validation,
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            leeway_ms: config.clock_leeway_ms,
        }
    }

    /// Who the token speaks for.
    ///
    /// # Errors
    /// [`AuthError`], which may be shown to the client.
    pub fn verify(&self, token: &str, now_ms: u64) -> Result<Identity, AuthError> {
        token::check_form(token)?;
        let claims: Claims = jsonwebtoken::decode(token, &self.key, &self.validation)
            .map_err(|error| token::from_library(&error))?
            .claims;
        let expires_at_ms = claims.check_times(now_ms, self.leeway_ms)?;
        claims.check_parties(self.issuer.as_deref(), self.audience.as_deref())?;
        Ok(Identity {
            user: claims.user()?,
            name: claims.display_name()?,
            scopes: claims.scopes()?,
            expires_at_ms,
            issued_at_ms: claims.issued_at_ms(),
        })
    }
}

/// Signs a token with all scopes, for development and tests.
///
/// # Errors
/// [`AuthError::Mint`] when it cannot be signed.
pub fn mint(secret: &Secret, user: &UserId, ttl: Duration) -> Result<String, AuthError> {
    mint_with(secret, &AuthConfig::default(), user, Scopes::ALL, now_ms() / 1000 + ttl.as_secs())
}

/// Signs a token that a node of this configuration takes.
///
/// # Errors
/// [`AuthError::Mint`] when it cannot be signed.
pub fn mint_with(
    secret: &Secret,
    config: &AuthConfig,
    user: &UserId,
    scopes: Scopes,
    expires_at_seconds: u64,
) -> Result<String, AuthError> {
    let claims = Minted {
        sub: user.as_str(),
        exp: expires_at_seconds,
        iat: now_ms() / 1000,
        iss: config.issuer.as_deref(),
        aud: config.audience.as_deref(),
        scope: scopes.to_string(),
    };
    let key = EncodingKey::from_secret(secret.expose());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(|_| AuthError::Mint)
}

/// The wall clock, which judges tokens at the door and nothing else. Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
