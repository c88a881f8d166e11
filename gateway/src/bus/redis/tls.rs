//! TLS to Redis, by rustls with ring.
//!
//! The provider is handed over explicitly: nothing is installed for the whole process, so the rest of it (the signatures of tokens)
//! is not touched.

use std::path::Path;
use std::sync::Arc;

use fred::rustls::pki_types::CertificateDer;
use fred::rustls::pki_types::pem::PemObject as _;
use fred::rustls::{ClientConfig, RootCertStore, crypto};
use fred::types::config::{TlsConfig, TlsConnector};

use crate::bus::BusError;

/// Trusts the authorities of this file, or else those of the system.
pub(super) fn connector(ca_file: Option<&Path>) -> Result<TlsConfig, BusError> {
    let roots = match ca_file {
        Some(path) => roots_from(path)?,
        None => roots_of_system()?,
    };
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| BusError::Unusable(format!("TLS cannot be set up: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConfig::from(TlsConnector::from(config)))
}

fn roots_from(path: &Path) -> Result<RootCertStore, BusError> {
    let unusable = |what: String| BusError::Unusable(format!("bus.tls_ca_file {}: {what}", path.display()));
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("it holds no certificate; it takes one or more in PEM".to_owned()));
    }
    Ok(roots)
}

fn roots_of_system() -> Result<RootCertStore, BusError> {
    let mut roots = RootCertStore::empty();
    let found = fred::rustls_native_certs::load_native_certs();
    // A store of a hundred authorities may have one that cannot be read.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(BusError::Unusable(
            "bus.url asks for TLS, but the system has no certificates of authorities: set bus.tls_ca_file".to_owned(),
        ));
    }
    Ok(roots)
}
