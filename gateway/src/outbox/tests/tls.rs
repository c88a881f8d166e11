//! Targets behind TLS: who vouches for them is checked, and so is their name.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hallway_store::Job;
use loadtest_cluster::TlsFiles;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, crypto};

use super::kit::{target, targets};
use crate::config::{Config, WebhookConfig};
use crate::outbox::Targets;
use crate::outbox::client::{Bounds, deliver};
use crate::outbox::verdict::Attempt;

/// An authority and a certificate of 127.0.0.1, and where they are while this lives.
fn files() -> (TlsFiles, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    (TlsFiles::make(directory.path(), "IP:127.0.0.1").unwrap(), directory)
}

fn acceptor(files: &TlsFiles) -> TlsAcceptor {
    let certificates = CertificateDer::pem_file_iter(&files.certificate).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(&files.key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// What one attempt comes to at a server with these files, called so; the server takes one connection.
async fn attempt(files: &TlsFiles, host: &str, ca_file: Option<&Path>) -> Attempt {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("https://{host}:{}/", listener.local_addr().unwrap().port());
    let config = WebhookConfig { tls_ca_file: ca_file.map(Path::to_owned), ..target(&url) };
    let targets = targets([("push", config)]);
    let target = targets.get("push").unwrap();
    let (name, body) = ("push".to_owned(), "{}".to_owned());
    let job = Job { number: 1, target: name, body, attempt: 1, attempts_max: 3, created_at_ms: 0 };
    let bounds = Bounds { connect: Duration::from_secs(10), response_max_bytes: 1024 };
    let serve = async {
        let (socket, _) = listener.accept().await.unwrap();
        if let Ok(mut socket) = acceptor(files).accept(socket).await {
            let _ = socket.read(&mut [0; 4096]).await;
            let _ = socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            let _ = socket.shutdown().await;
        }
    };
    tokio::join!(deliver(&target, &job, bounds), serve).0
}

#[tokio::test]
async fn a_target_is_trusted_when_its_authority_is_and_its_name_is_right() {
    let (files, _directory) = files();
    let authority = files.authority.clone();
    let taken = attempt(&files, "127.0.0.1", Some(&authority)).await;
    assert_eq!(taken, Attempt::Answered { status: 200, retry_after_ms: None });
    let (others, _elsewhere) = self::files();
    for (host, ca_file) in [
        // Somebody else's authority.
        ("127.0.0.1", others.authority),
        // The certificate is of 127.0.0.1 only.
        ("localhost", authority),
    ] {
        match attempt(&files, host, Some(&ca_file)).await {
            Attempt::Unanswered(why) => assert!(why.starts_with("TLS: "), "{why}"),
            other => panic!("{host} was trusted: {other:?}"),
        }
    }
}

#[test]
fn a_file_without_certificates_is_told_before_anything_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.crt");
    for content in ["", "-----BEGIN CERTIFICATE-----\nnonsense\n"] {
        std::fs::write(&file, content).unwrap();
        let push = WebhookConfig { tls_ca_file: Some(file.clone()), ..target("https://push.example/") };
        let config = Config { webhooks: [("push".to_owned(), push)].into(), ..Config::default() };
        let told = Targets::open(&config).err().unwrap().to_string();
        assert!(told.contains("webhooks.push") && told.contains("tls_ca_file"), "{told}");
    }
}
