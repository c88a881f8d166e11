//! The attacks on tokens, as one table.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW_MS: u64 = 1_800_000_000_000;
const NOW: u64 = NOW_MS / 1000;

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0_u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..=chunk.len() {
            out.push(char::from(ALPHABET[(word >> (18 - 6 * place) & 63) as usize]));
        }
    }
    out
}

/// Written out, so that the library does not judge its own work.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let mut block = [0_u8; 64];
    if key.len() > 64 {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::digest([&block.map(|byte| byte ^ 0x36)[..], message].concat());
    Sha256::digest([&block.map(|byte| byte ^ 0x5c)[..], &inner[..]].concat()).to_vec()
}

fn sign_raw(header: &str, claims: &str, key: &[u8]) -> String {
    let message = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
    format!("{message}.{}", base64url(&hmac(key, message.as_bytes())))
}

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT"}"#;

fn signed(claims: &serde_json::Value) -> String {
    sign_raw(HEADER, &claims.to_string(), SECRET)
}

fn good() -> serde_json::Value {
    json!({"sub": "ada", "exp": NOW + 60})
}

fn with(key: &str, value: serde_json::Value) -> serde_json::Value {
    let mut claims = good();
    claims[key] = value;
    claims
}

fn without(key: &str) -> serde_json::Value {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove(key);
    claims
}

fn authenticator(config: &AuthConfig) -> Authenticator {
    Authenticator::new(&Secret::new(SECRET), config)
}

fn verify(token: &str) -> Result<Identity, AuthError> {
    authenticator(&AuthConfig::default()).verify(token, NOW_MS)
}

#[test]
fn a_good_token_names_its_user_end_and_scopes() {
    let identity = verify(&signed(&with("name", json!("Ada Lovelace")))).unwrap();
    assert_eq!(identity.user.as_str(), "ada");
    assert_eq!(identity.name.as_deref(), Some("Ada Lovelace"));
    assert_eq!(identity.expires_at_ms, NOW_MS + 60_000);
    assert_eq!(identity.scopes, Scopes::READ.union(Scopes::WRITE), "a missing scope is read and write");
}

#[test]
fn a_minted_token_has_all_scopes_and_what_the_configuration_asks_for() {
    let config = AuthConfig {
        issuer: Some("https://id.example".to_owned()),
        audience: Some("hallway".to_owned()),
        ..AuthConfig::default()
    };
    let user = UserId::new("ada").unwrap();
    let token = mint_with(&Secret::new(SECRET), &config, &user, Scopes::ALL, NOW + 60).unwrap();
    assert_eq!(authenticator(&config).verify(&token, NOW_MS).unwrap().scopes, Scopes::ALL);
    let token = mint(&Secret::new(SECRET), &user, Duration::from_secs(60)).unwrap();
    assert_eq!(authenticator(&AuthConfig::default()).verify(&token, now_ms()).unwrap().user, user);
}

#[test]
fn scopes_come_as_words_or_as_a_list_and_unknown_ones_give_nothing() {
    let scopes = |value| verify(&signed(&with("scope", value))).map(|identity| identity.scopes);
    assert_eq!(scopes(json!("read  rooms:create")), Ok(Scopes::READ.union(Scopes::ROOMS_CREATE)));
    assert_eq!(scopes(json!(["write", "openid"])), Ok(Scopes::WRITE));
    assert_eq!(scopes(json!("")), Ok(Scopes::NONE));
    assert_eq!(scopes(json!("READ admin:everything")), Ok(Scopes::NONE));
    for odd in [json!(7), json!({"read": true}), json!(["read", 7]), json!(true)] {
        assert_eq!(scopes(odd), Err(AuthError::Claim("scope")));
    }
}

#[test]
fn no_forged_signature_passes() {
    let claims = good().to_string();
    let token = signed(&good());
    let (message, signature) = token.rsplit_once('.').unwrap();
    let public_key = "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A\n-----END PUBLIC KEY-----\n";
    let table = [
        ("empty signature", format!("{message}."), AuthError::Signature),
        ("no signature", message.to_owned(), AuthError::Malformed),
        ("cut signature", format!("{message}.{}", &signature[..20]), AuthError::Signature),
        ("signature of zeros", format!("{message}.{}", base64url(&[0; 32])), AuthError::Signature),
        ("another secret", sign_raw(HEADER, &claims, b"ffffffffffffffffffffffffffffffff"), AuthError::Signature),
        ("empty secret", sign_raw(HEADER, &claims, b""), AuthError::Signature),
        ("an RSA public key as the secret", sign_raw(HEADER, &claims, public_key.as_bytes()), AuthError::Signature),
        (
            "other claims",
            format!(
                "{}.{}.{signature}",
                base64url(HEADER.as_bytes()),
                base64url(with("sub", json!("eve")).to_string().as_bytes())
            ),
            AuthError::Signature,
        ),
        ("a fourth part", format!("{token}.x"), AuthError::Malformed),
        ("empty", String::new(), AuthError::Malformed),
        ("two dots", "..".to_owned(), AuthError::Malformed),
        ("no base64", "a b.c d.e f".to_owned(), AuthError::Malformed),
        ("NUL and more", "\0.\u{202e}.é".to_owned(), AuthError::Malformed),
    ];
    for (name, token, expected) in table {
        assert_eq!(verify(&token), Err(expected), "{name}");
    }
}

#[test]
fn the_algorithm_is_ours_and_not_the_tokens() {
    let claims = good().to_string();
    for algorithm in ["none", "None", "NONE", "nOnE", "HS384", "HS512", "RS256", "PS256", "ES256", "EdDSA", "hs256", ""]
    {
        let header = json!({"alg": algorithm, "typ": "JWT"}).to_string();
        let token = sign_raw(&header, &claims, SECRET);
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        for token in [token, unsigned] {
            let error = verify(&token).unwrap_err();
            assert!(matches!(error, AuthError::Algorithm | AuthError::Malformed), "{algorithm}: {error}");
        }
    }
    for header in [r"{}", r#"{"alg":null}"#, r#"{"alg":["HS256"]}"#, "[]", r#"{"alg":"HS256","alg":"none"}"#] {
        assert_eq!(verify(&sign_raw(header, &claims, SECRET)), Err(AuthError::Malformed), "{header}");
    }
}

#[test]
fn a_header_that_names_a_key_of_its_own_is_refused_even_when_well_signed() {
    let table = [
        ("jwk", json!({"kty": "oct", "k": "AAAA"})),
        ("jku", json!("http://127.0.0.1:1/keys")),
        ("x5u", json!("http://127.0.0.1:1/cert")),
        ("x5c", json!(["AAAA"])),
        ("x5t", json!("AAAA")),
        ("crit", json!(["exp"])),
        ("crit", json!([])),
        ("zip", json!("DEF")),
        ("enc", json!("A128GCM")),
        ("b64", json!(false)),
    ];
    for (name, value) in table {
        let header = json!({"alg": "HS256", name: value}).to_string();
        let error = verify(&sign_raw(&header, &good().to_string(), SECRET)).unwrap_err();
        assert_eq!(error, AuthError::Header(name));
    }
    // `kid` is common and harmless: it is never looked at.
    for kid in ["1", "../../dev/null", "' OR 1=1 --"] {
        let header = json!({"alg": "HS256", "kid": kid}).to_string();
        assert!(verify(&sign_raw(&header, &good().to_string(), SECRET)).is_ok());
        assert_eq!(verify(&sign_raw(&header, &good().to_string(), b"")), Err(AuthError::Signature));
    }
}

#[test]
fn a_token_without_a_sane_end_is_refused() {
    let table = [
        (without("exp"), AuthError::Missing("exp")),
        (with("exp", json!(null)), AuthError::Missing("exp")),
        (with("exp", json!("1900000000")), AuthError::Claim("exp")),
        (with("exp", json!(-1)), AuthError::Claim("exp")),
        (with("exp", json!(1.9e9)), AuthError::Claim("exp")),
        (with("exp", json!(u64::MAX)), AuthError::Claim("exp")),
        (with("exp", json!(NOW_MS)), AuthError::Claim("exp")),
        (with("exp", json!([NOW + 60])), AuthError::Malformed),
        (with("exp", json!(0)), AuthError::Expired),
        (with("exp", json!(NOW)), AuthError::Expired),
        (with("nbf", json!(NOW + 1)), AuthError::NotYetValid),
        (with("nbf", json!("soon")), AuthError::Claim("nbf")),
    ];
    for (claims, expected) in table {
        assert_eq!(verify(&signed(&claims)), Err(expected), "{claims}");
    }
    assert!(verify(&signed(&with("exp", json!(NOW + 1)))).is_ok());
    let huge = format!(r#"{{"sub":"ada","exp":1e400,"x":{}}}"#, NOW);
    assert_eq!(verify(&sign_raw(HEADER, &huge, SECRET)), Err(AuthError::Malformed));
}

#[test]
fn a_token_says_when_it_was_issued_or_counts_as_issued_before_everything() {
    let issued = |iat| verify(&signed(&with("iat", iat))).unwrap().issued_at_ms;
    assert_eq!(issued(json!(NOW - 7)), Some(NOW_MS - 7_000));
    for unreadable in [json!("yesterday"), json!(-1), json!(1.5), json!(null), json!(u64::MAX)] {
        assert_eq!(issued(unreadable.clone()), None, "{unreadable}");
    }
    assert_eq!(verify(&signed(&with("x", json!(1)))).unwrap().issued_at_ms, None);
}

#[test]
fn the_leeway_is_zero_unless_configured_and_moves_the_end() {
    let config = AuthConfig { clock_leeway_ms: 5_000, ..AuthConfig::default() };
    let late = signed(&with("exp", json!(NOW - 3)));
    assert_eq!(verify(&late), Err(AuthError::Expired));
    assert_eq!(authenticator(&config).verify(&late, NOW_MS).unwrap().expires_at_ms, NOW_MS + 2_000);
    assert!(authenticator(&config).verify(&signed(&with("nbf", json!(NOW + 5))), NOW_MS).is_ok());
    let too_late = signed(&with("exp", json!(NOW - 5)));
    assert_eq!(authenticator(&config).verify(&too_late, NOW_MS), Err(AuthError::Expired));
}

#[test]
fn issuer_and_audience_must_be_right_when_they_are_configured() {
    let config = AuthConfig {
        issuer: Some("https://id.example".to_owned()),
        audience: Some("hallway".to_owned()),
        ..AuthConfig::default()
    };
    let claims = |iss, aud| json!({"sub": "ada", "exp": NOW + 60, "iss": iss, "aud": aud});
    let iss = "https://id.example";
    let table = [
        (claims(json!(iss), json!("hallway")), Ok(())),
        (claims(json!(iss), json!(["other", "hallway"])), Ok(())),
        (claims(json!("https://id.example.evil"), json!("hallway")), Err(AuthError::Issuer)),
        (claims(json!([iss]), json!("hallway")), Err(AuthError::Issuer)),
        (claims(json!(null), json!("hallway")), Err(AuthError::Missing("iss"))),
        (claims(json!(iss), json!("Hallway")), Err(AuthError::Audience)),
        (claims(json!(iss), json!([])), Err(AuthError::Audience)),
        (claims(json!(iss), json!({"hallway": true})), Err(AuthError::Audience)),
        (claims(json!(iss), json!(null)), Err(AuthError::Missing("aud"))),
        (good(), Err(AuthError::Missing("iss"))),
    ];
    for (claims, expected) in table {
        assert_eq!(authenticator(&config).verify(&signed(&claims), NOW_MS).map(|_| ()), expected, "{claims}");
    }
    let other = claims(json!("https://elsewhere.example"), json!("other"));
    assert!(verify(&signed(&other)).is_ok(), "not configured: not checked");
}

#[test]
fn the_user_must_be_one_and_doubled_claims_are_refused() {
    for odd in [
        json!(""),
        json!("a b"),
        json!("*"),
        json!("a\r\nb"),
        json!("a\0b"),
        json!("аda"),
        json!(7),
        json!("x".repeat(65)),
    ] {
        assert_eq!(verify(&signed(&with("sub", odd))), Err(AuthError::Claim("sub")));
    }
    assert_eq!(verify(&signed(&without("sub"))), Err(AuthError::Missing("sub")));
    for odd in [json!(7), json!("a\u{7}b"), json!("x".repeat(129))] {
        assert_eq!(verify(&signed(&with("name", odd))), Err(AuthError::Claim("name")));
    }
    let doubled = format!(r#"{{"sub":"ada","sub":"eve","exp":{}}}"#, NOW + 60);
    assert_eq!(verify(&sign_raw(HEADER, &doubled, SECRET)), Err(AuthError::Malformed));
}

#[test]
fn a_huge_token_is_refused_before_anything_is_computed() {
    let token = signed(&with("padding", json!("x".repeat(TOKEN_MAX_BYTES))));
    assert_eq!(verify(&token), Err(AuthError::TooLong));
    let nested = format!("{}{}", "[".repeat(2000), "]".repeat(2000));
    let unread = format!(r#"{{"sub":"ada","exp":{},"x":{nested}}}"#, NOW + 60);
    assert!(verify(&sign_raw(HEADER, &unread, SECRET)).is_ok(), "what is not read is skipped, however deep");
    let read = format!(r#"{{"sub":{nested},"exp":{}}}"#, NOW + 60);
    assert_eq!(verify(&sign_raw(HEADER, &read, SECRET)), Err(AuthError::Malformed));
}

#[test]
fn no_error_holds_a_piece_of_the_token() {
    let marker = "hunter2-marker";
    let tokens = [
        sign_raw(&format!(r#"{{"alg":"{marker}"}}"#), &good().to_string(), SECRET),
        sign_raw(&format!("{{\"{marker}"), &good().to_string(), SECRET),
        sign_raw(HEADER, &format!("{{\"{marker}"), SECRET),
        signed(&with("sub", json!(format!("{marker} !")))),
        signed(&with("exp", json!(marker))),
        format!("{marker}.{marker}.{marker}"),
    ];
    for token in tokens {
        let error = verify(&token).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(marker));
    }
}
