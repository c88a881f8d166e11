//! What a token must look like.

use hallway_protocol::UserId;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Header};
use serde::{Deserialize, Serialize};

use super::Scopes;

/// Longest token.
pub const TOKEN_MAX_BYTES: usize = 8 * 1024;
/// Longest display name.
const NAME_MAX_BYTES: usize = 128;
/// No token lives longer: an `exp` beyond it is a mistake (milliseconds, for one).
const LIFE_MAX_MS: u64 = 10 * 366 * 24 * 60 * 60 * 1000;

/// Why a token was refused. Says nothing of its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("the token is longer than {TOKEN_MAX_BYTES} bytes")]
    TooLong,
    #[error("the token is not a JWT of three parts")]
    Malformed,
    #[error("the token's algorithm is not HS256")]
    Algorithm,
    #[error("the token's header holds {0}, which this server does not take")]
    Header(&'static str),
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token has expired; get a new one")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token's claim {0} is missing")]
    Missing(&'static str),
    #[error("the token's claim {0} is not what it should be")]
    Claim(&'static str),
    #[error("the token is for another audience")]
    Audience,
    #[error("the token is from another issuer")]
    Issuer,
    #[error("the token cannot be signed")]
    Mint,
}

/// The claims we read; others are ignored, doubled ones refused. Types are checked later, claim by claim, so that an
/// error can name the claim.
#[derive(Deserialize)]
pub(super) struct Claims {
    sub: Option<serde_json::Value>,
    exp: Option<serde_json::Value>,
    nbf: Option<serde_json::Value>,
    iat: Option<serde_json::Value>,
    iss: Option<serde_json::Value>,
    aud: Option<serde_json::Value>,
    name: Option<serde_json::Value>,
    scope: Option<serde_json::Value>,
}

/// What we sign ourselves.
#[derive(Serialize)]
pub(super) struct Minted<'a> {
    pub(super) sub: &'a str,
    pub(super) exp: u64,
    pub(super) iat: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) aud: Option<&'a str>,
    pub(super) scope: String,
}

/// Length, three parts, none empty, and a header that asks for nothing but HS256. Looks at no key and fetches nothing.
pub(super) fn check_form(token: &str) -> Result<(), AuthError> {
    if token.len() > TOKEN_MAX_BYTES {
        return Err(AuthError::TooLong);
    }
    let parts: Vec<&str> = token.split('.').collect();
    match parts.as_slice() {
        [header, claims, signature] => {
            if header.is_empty() || claims.is_empty() {
                return Err(AuthError::Malformed);
            }
            check_header(&jsonwebtoken::decode_header(token).map_err(|error| from_library(&error))?)?;
            if signature.is_empty() { Err(AuthError::Signature) } else { Ok(()) }
        }
        _ => Err(AuthError::Malformed),
    }
}

/// `kid` is let pass and never looked at: there is one key.
fn check_header(header: &Header) -> Result<(), AuthError> {
    if header.alg != Algorithm::HS256 {
        return Err(AuthError::Algorithm);
    }
    let refused = [
        ("jwk", header.jwk.is_some()),
        ("jku", header.jku.is_some()),
        ("x5u", header.x5u.is_some()),
        ("x5c", header.x5c.is_some()),
        ("x5t", header.x5t.is_some() || header.x5t_s256.is_some()),
        ("crit", header.crit.is_some() || header.extras.inner().contains_key("crit")),
        ("enc", header.enc.is_some()),
        ("zip", header.zip.is_some()),
        ("b64", header.extras.inner().contains_key("b64")),
    ];
    match refused.iter().find(|(_, present)| *present) {
        Some((name, _)) => Err(AuthError::Header(name)),
        None => Ok(()),
    }
}

/// The library's error without the parts of the token that it may quote.
pub(super) fn from_library(error: &jsonwebtoken::errors::Error) -> AuthError {
    match error.kind() {
        ErrorKind::InvalidSignature => AuthError::Signature,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName | ErrorKind::UnsupportedAlgorithm => {
            AuthError::Algorithm
        }
        _ => AuthError::Malformed,
    }
}

impl Claims {
    /// When the token ends for us.
    pub(super) fn check_times(&self, now_ms: u64, leeway_ms: u64) -> Result<u64, AuthError> {
        let exp = self.exp.as_ref().ok_or(AuthError::Missing("exp"))?;
        let exp_ms = seconds_as_ms(exp).ok_or(AuthError::Claim("exp"))?;
        if exp_ms > now_ms.saturating_add(LIFE_MAX_MS) {
            return Err(AuthError::Claim("exp"));
        }
        let ends_ms = exp_ms.saturating_add(leeway_ms);
        if ends_ms <= now_ms {
            return Err(AuthError::Expired);
        }
        if let Some(nbf) = &self.nbf {
            let begins_ms = seconds_as_ms(nbf).ok_or(AuthError::Claim("nbf"))?;
            if begins_ms > now_ms.saturating_add(leeway_ms) {
                return Err(AuthError::NotYetValid);
            }
        }
        Ok(ends_ms)
    }

    /// When the token was issued. One that says it in a way that we do not read is as one that does not say it.
    pub(super) fn issued_at_ms(&self) -> Option<u64> {
        self.iat.as_ref().and_then(seconds_as_ms)
    }

    pub(super) fn check_parties(&self, issuer: Option<&str>, audience: Option<&str>) -> Result<(), AuthError> {
        if let Some(wanted) = issuer {
            let given = self.iss.as_ref().ok_or(AuthError::Missing("iss"))?;
            if given.as_str() != Some(wanted) {
                return Err(AuthError::Issuer);
            }
        }
        if let Some(wanted) = audience {
            let given = self.aud.as_ref().ok_or(AuthError::Missing("aud"))?;
            let among = match given {
                serde_json::Value::Array(items) => items.iter().any(|item| item.as_str() == Some(wanted)),
                one => one.as_str() == Some(wanted),
            };
            if !among {
                return Err(AuthError::Audience);
            }
        }
        Ok(())
    }

    pub(super) fn user(&self) -> Result<UserId, AuthError> {
        let sub = self.sub.as_ref().ok_or(AuthError::Missing("sub"))?;
        sub.as_str().and_then(|text| UserId::new(text).ok()).ok_or(AuthError::Claim("sub"))
    }

    pub(super) fn display_name(&self) -> Result<Option<String>, AuthError> {
        let Some(name) = &self.name else { return Ok(None) };
        match name.as_str() {
            Some(text) if text.len() <= NAME_MAX_BYTES && !text.chars().any(char::is_control) => {
                Ok(Some(text.to_owned()))
            }
            _ => Err(AuthError::Claim("name")),
        }
    }

    pub(super) fn scopes(&self) -> Result<Scopes, AuthError> {
        match &self.scope {
            None => Ok(Scopes::DEFAULT),
            Some(serde_json::Value::String(words)) => Ok(Scopes::from_words(words.split_ascii_whitespace())),
            Some(serde_json::Value::Array(items)) => {
                let words: Option<Vec<&str>> = items.iter().map(serde_json::Value::as_str).collect();
                words.map(Scopes::from_words).ok_or(AuthError::Claim("scope"))
            }
            Some(_) => Err(AuthError::Claim("scope")),
        }
    }
}

/// Whole seconds since 1970, as milliseconds. Strings, fractions and negative numbers are refused.
fn seconds_as_ms(value: &serde_json::Value) -> Option<u64> {
    value.as_u64()?.checked_mul(1000)
}
