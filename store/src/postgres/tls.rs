//! TLS to the server: what `sslmode` asks for, and who has to vouch for whom.
//!
//! The modes mean what they mean to every client of Postgres
//! (<https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-PROTECTION>). rustls with ring does the work; the provider is
//! handed over explicitly, so that nothing is installed for the whole process.

use std::sync::Arc;

use tokio_postgres_rustls::MakeRustlsConnect;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::StoreError;

/// Servers of version 17 on ask for it when a connection begins with TLS at once (`sslnegotiation=direct`).
const PROTOCOL: &[u8] = b"postgresql";

/// What `sslmode` in the URL asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Mode {
    Disable,
    /// Encrypted when the server offers it. What a URL without a mode means.
    Prefer,
    /// Encrypted, whoever answers; with authorities given, as [`Mode::VerifyCa`].
    Require,
    /// Somebody trusted vouches for the server.
    VerifyCa,
    /// And for the name that the URL calls it by.
    VerifyFull,
}

const MODES: [(&str, Mode); 5] = [
    ("disable", Mode::Disable),
    ("prefer", Mode::Prefer),
    ("require", Mode::Require),
    ("verify-ca", Mode::VerifyCa),
    ("verify-full", Mode::VerifyFull),
];

/// Reads the mode. Where the URL names one it comes back with one that the driver knows: it does not look at certificates, the
/// connector does.
pub(super) fn split(url: &str) -> Result<(Mode, String), StoreError> {
    let Some((base, query)) = url.split_once('?') else { return Ok((Mode::Prefer, url.to_owned())) };
    let mut mode = None;
    let mut kept = Vec::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("sslmode", name)) => mode = Some(named(name)?),
            Some((name @ ("sslrootcert" | "sslcert" | "sslkey" | "sslcrl"), _)) => return Err(elsewhere(name)),
            _ => kept.push(pair),
        }
    }
    // Where it names none nothing is added: it would overrule one whose name is spelt in another way (`ssl%6Dode`).
    match mode {
        None => {}
        Some(Mode::Disable) => kept.push("sslmode=disable"),
        Some(Mode::Prefer) => kept.push("sslmode=prefer"),
        Some(Mode::Require | Mode::VerifyCa | Mode::VerifyFull) => kept.push("sslmode=require"),
    }
    Ok((mode.unwrap_or(Mode::Prefer), format!("{base}?{}", kept.join("&"))))
}

fn named(name: &str) -> Result<Mode, StoreError> {
    let known = MODES.iter().find_map(|(known, mode)| (*known == name).then_some(*mode));
    known.ok_or_else(|| {
        let names = MODES.map(|(name, _)| name).join(", ");
        StoreError::Unusable(format!("sslmode={name} in store.url is none of {names}"))
    })
}

fn elsewhere(name: &str) -> StoreError {
    StoreError::Unusable(match name {
        "sslrootcert" => "store.url has sslrootcert: leave it out and set store.tls_ca_file".to_owned(),
        "sslcrl" => "store.url has sslcrl, but lists of revoked certificates are not read: leave it out".to_owned(),
        _ => format!(
            "store.url has {name}, but nodes have no certificate of their own: use a password, and leave it out"
        ),
    })
}

/// Makes what encrypts the connections, and checks who answers as far as the mode says.
pub(super) fn connector(mode: Mode, authorities: Option<Arc<RootCertStore>>) -> Result<MakeRustlsConnect, StoreError> {
    let provider = Arc::new(ring::default_provider());
    let unusable = |what: String| StoreError::Unusable(format!("TLS to Postgres cannot be set up: {what}"));
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?;
    let mut config = match (mode, authorities) {
        (Mode::Disable | Mode::Prefer, Some(_)) => {
            return Err(StoreError::Unusable(
                "store.tls_ca_file is set, but sslmode in store.url asks nobody to vouch for the server: write \
                 sslmode=verify-full"
                    .to_owned(),
            ));
        }
        (Mode::VerifyCa | Mode::VerifyFull, None) => {
            return Err(unusable("nobody may vouch for the server".to_owned()));
        }
        (Mode::VerifyFull, Some(authorities)) => builder.with_root_certificates(authorities).with_no_client_auth(),
        (_, authorities) => {
            let checks = NameIsAnybodys::new(&provider, authorities);
            builder.dangerous().with_custom_certificate_verifier(Arc::new(checks)).with_no_client_auth()
        }
    };
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(MakeRustlsConnect::new(config))
}

/// Checks that the server holds the key of its certificate and, when there are authorities, that one of them vouches for it; not
/// what it is called.
#[derive(Debug)]
struct NameIsAnybodys {
    authorities: Option<Arc<RootCertStore>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl NameIsAnybodys {
    fn new(provider: &CryptoProvider, authorities: Option<Arc<RootCertStore>>) -> Self {
        Self { authorities, algorithms: provider.signature_verification_algorithms }
    }
}

impl ServerCertVerifier for NameIsAnybodys {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(authorities) = &self.authorities {
            let certificate = ParsedCertificate::try_from(end_entity)?;
            let algorithms = self.algorithms.all;
            verify_server_cert_signed_by_trust_anchor(&certificate, authorities, intermediates, now, algorithms)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    #[test]
    fn the_mode_is_read_and_the_rest_of_the_url_is_left_alone() {
        for (query, mode, kept) in [
            ("", Mode::Prefer, ""),
            ("?", Mode::Prefer, "?"),
            ("?sslmode=disable", Mode::Disable, "?sslmode=disable"),
            ("?a=b&sslmode=verify-full&c=d%26", Mode::VerifyFull, "?a=b&c=d%26&sslmode=require"),
            ("?sslmode=verify-ca", Mode::VerifyCa, "?sslmode=require"),
            ("?sslmode=require&channel_binding=require", Mode::Require, "?channel_binding=require&sslmode=require"),
            ("?connect_timeout=3", Mode::Prefer, "?connect_timeout=3"),
            ("?ssl%6Dode=require", Mode::Prefer, "?ssl%6Dode=require"),
        ] {
            let (found, url) = split(&format!("postgres://me@db/app{query}")).unwrap();
            assert_eq!((found, url), (mode, format!("postgres://me@db/app{kept}")));
        }
    }

    #[test]
    fn what_is_not_understood_is_told_with_what_would_be() {
        for (query, words) in [
            ("sslmode=verify", "none of disable, prefer, require, verify-ca, verify-full"),
            ("sslrootcert=/ca.pem", "set store.tls_ca_file"),
            ("sslkey=/key.pem", "use a password"),
            ("sslcrl=/crl.pem", "revoked"),
        ] {
            let error = split(&format!("postgres://me:secret@db/app?{query}")).unwrap_err().to_string();
            assert!(error.contains(words) && !error.contains("secret"), "{query}: {error}");
        }
    }

    #[test]
    fn authorities_that_nobody_would_be_checked_by_are_refused_and_so_is_a_check_without_any() {
        let some = || Some(Arc::new(RootCertStore::empty()));
        for (mode, authorities, words) in [
            (Mode::Disable, some(), "sslmode=verify-full"),
            (Mode::Prefer, some(), "sslmode=verify-full"),
            (Mode::VerifyCa, None, "nobody may vouch"),
            (Mode::VerifyFull, None, "nobody may vouch"),
        ] {
            let error = connector(mode, authorities).err().unwrap().to_string();
            assert!(error.contains(words), "{mode:?}: {error}");
        }
    }
}
