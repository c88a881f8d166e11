//! Who may vouch for a server that a node connects to: the store, the bus, a webhook's target.
//!
//! By rustls with ring. The provider is handed over explicitly: nothing is installed for the whole process, so the rest of it (the
//! signatures of tokens) is not touched.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject as _};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore, crypto};

/// Why nobody can be trusted.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{setting} {}: {cause}", .path.display())]
    Unreadable {
        setting: &'static str,
        path: PathBuf,
        #[source]
        cause: pem::Error,
    },
    #[error("{setting} {}: {cause}", .path.display())]
    Unfit {
        setting: &'static str,
        path: PathBuf,
        #[source]
        cause: rustls::Error,
    },
    #[error("{setting} {}: it holds no certificate; it takes one or more in PEM", .path.display())]
    Empty { setting: &'static str, path: PathBuf },
    #[error("TLS is asked for, but the system has no certificates of authorities: set {setting}")]
    NoneHere { setting: &'static str },
    #[error("TLS cannot be set up: {cause}")]
    Unusable {
        #[from]
        cause: rustls::Error,
    },
}

/// The authorities in this file, or else those of the system. `setting` is what the file is called in the configuration.
///
/// # Errors
/// [`TlsError`] with what to do.
pub fn authorities(setting: &'static str, file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = file else {
        // A store of a hundred authorities may have one that cannot be read.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return if roots.is_empty() { Err(TlsError::NoneHere { setting }) } else { Ok(roots) };
    };
    let unreadable = |cause| TlsError::Unreadable { setting, path: path.to_owned(), cause };
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        let certificate = certificate.map_err(unreadable)?;
        roots.add(certificate).map_err(|cause| TlsError::Unfit { setting, path: path.to_owned(), cause })?;
    }
    if roots.is_empty() { Err(TlsError::Empty { setting, path: path.to_owned() }) } else { Ok(roots) }
}

/// A client that believes those authorities, and has no certificate of its own.
///
/// # Errors
/// [`TlsError`] with what to do.
pub fn client(setting: &'static str, file: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let roots = authorities(setting, file)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()));
    Ok(builder.with_safe_default_protocol_versions()?.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test panics")]
    use super::*;

    #[test]
    fn a_file_that_vouches_for_nobody_is_named_with_its_setting_and_what_it_takes() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        let told = || authorities("store.tls_ca_file", Some(&file)).unwrap_err().to_string();
        assert!(told().starts_with("store.tls_ca_file ") && told().contains("ca.pem"), "{}", told());
        for (text, words) in [
            ("", "it holds no certificate; it takes one or more in PEM"),
            ("-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n", "invalid peer certificate"),
        ] {
            std::fs::write(&file, text).unwrap();
            assert!(told().contains(words), "{}", told());
        }
    }
}
