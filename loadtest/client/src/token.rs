//! Tokens for development and tests: HS256 over the node's development secret.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// Every scope that a node knows; development tokens have all.
pub const ALL_SCOPES: &str = "rooms:create read write admin";

/// What a token says.
#[derive(Debug, Clone, Serialize)]
pub struct Claims<'a> {
    pub sub: &'a str,
    /// Seconds since 1970.
    pub exp: u64,
    /// Space-separated.
    pub scope: &'a str,
}

/// Why no token could be made.
#[derive(Debug, thiserror::Error)]
#[error("the token for {user:?} could not be signed")]
pub struct TokenError {
    user: String,
    source: jsonwebtoken::errors::Error,
}

/// A token for `user` with every scope, valid for `ttl` from now by this machine's clock.
///
/// # Errors
/// [`TokenError`] when signing fails.
pub fn mint(secret: &[u8], user: &str, ttl: Duration) -> Result<String, TokenError> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    sign(secret, &Claims { sub: user, exp: (now + ttl).as_secs(), scope: ALL_SCOPES })
}

/// Signs any claims, also wrong ones: for tests.
///
/// # Errors
/// [`TokenError`] when signing fails.
pub fn sign(secret: &[u8], claims: &Claims<'_>) -> Result<String, TokenError> {
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    let key = jsonwebtoken::EncodingKey::from_secret(secret);
    jsonwebtoken::encode(&header, claims, &key).map_err(|source| TokenError { user: claims.sub.to_owned(), source })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_three_parts_and_differs_by_user() {
        let token = mint(b"secret", "ada", Duration::from_secs(60)).unwrap();
        assert_eq!(token.split('.').count(), 3);
        assert_ne!(token, mint(b"secret", "bob", Duration::from_secs(60)).unwrap());
    }
}
