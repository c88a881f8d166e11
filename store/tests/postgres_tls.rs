//! TLS to Postgres: what each `sslmode` encrypts and whom it believes.
#![cfg(feature = "conformance")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::sync::Arc;

use hallway_store::postgres::{PostgresOptions, PostgresStore, checks_server};
use hallway_store::{StoreError, Upkeep as _};
use loadtest_cluster::{SqlSession, TemporaryPostgres, TlsFiles};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;

fn authorities(file: &Path) -> Option<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(CertificateDer::pem_file_iter(file).unwrap().map(Result::unwrap));
    assert_eq!(added, 1);
    Some(Arc::new(roots))
}

/// A server with a database for one test, who vouches for it, and somebody who never does.
struct Case {
    server: TemporaryPostgres,
    files: TlsFiles,
    stranger: TlsFiles,
    _elsewhere: tempfile::TempDir,
}

impl Case {
    async fn start() -> Self {
        let (server, files) = TemporaryPostgres::start_with_tls().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let stranger = TlsFiles::make(elsewhere.path(), "IP:127.0.0.1").unwrap();
        let owner = SqlSession::connect(&server.url()).await.unwrap();
        owner.run("CREATE ROLE app LOGIN PASSWORD 'secret'").await.unwrap();
        owner.run("CREATE DATABASE app OWNER app").await.unwrap();
        Self { server, files, stranger, _elsewhere: elsewhere }
    }

    /// URL of the database for the role that has to bring a password and TLS.
    fn url(&self, query: &str) -> String {
        let port = self.server.url().rsplit_once(':').unwrap().1.split_once('/').unwrap().0.to_owned();
        format!("postgres://app:secret@127.0.0.1:{port}/app?{query}")
    }

    async fn open(&self, query: &str, authority: Option<&Path>) -> Result<PostgresStore, StoreError> {
        let options = PostgresOptions { authorities: authority.and_then(authorities), ..PostgresOptions::default() };
        PostgresStore::open(&self.url(query), options).await
    }

    /// How many of the store's connections are encrypted, and how many are not.
    async fn encrypted(&self) -> (i64, i64) {
        let owner = SqlSession::connect(&self.server.url()).await.unwrap();
        let count = |is: &'static str| {
            format!(
                "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'hallway' AND {is}"
            )
        };
        (owner.number(&count("ssl")).await.unwrap(), owner.number(&count("NOT ssl")).await.unwrap())
    }
}

#[tokio::test]
async fn every_connection_is_encrypted_and_bound_to_its_channel_when_the_mode_says_so() {
    let case = Case::start().await;
    let authority = Some(case.files.authority.as_path());
    for (query, authority) in [
        ("", None),
        ("sslmode=prefer", None),
        ("sslmode=require", None),
        ("sslmode=require&channel_binding=require", None),
        ("sslmode=require", authority),
        ("sslmode=verify-ca", authority),
        ("sslmode=verify-full", authority),
        ("sslmode=verify-full&channel_binding=require", authority),
    ] {
        let store = case.open(query, authority).await.unwrap_or_else(|error| panic!("{query}: {error}"));
        let (encrypted, plain) = case.encrypted().await;
        assert!(encrypted > 0 && plain == 0, "{query}: {encrypted} encrypted, {plain} not");
        store.close().await;
    }
    // The server takes this role with TLS only.
    let error = case.open("sslmode=disable", None).await.err().unwrap().to_string();
    assert!(error.contains("pg_hba.conf"), "{error}");
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_not_told_the_password() {
    let case = Case::start().await;
    let authority = Some(case.files.authority.as_path());
    let stranger = Some(case.stranger.authority.as_path());
    for query in ["sslmode=require", "sslmode=verify-ca", "sslmode=verify-full"] {
        let error = case.open(query, stranger).await.err().unwrap().to_string();
        assert!(error.contains("invalid peer certificate"), "{query}: {error}");
    }
    // The same server by a name that its certificate does not have: only the strictest mode minds.
    let elsewhere = case.url("").replace("@127.0.0.1:", "@db.example:");
    for (mode, is_taken) in [("require", true), ("verify-ca", true), ("verify-full", false)] {
        let url = format!("{elsewhere}hostaddr=127.0.0.1&sslmode={mode}");
        let options = PostgresOptions { authorities: authority.and_then(authorities), ..PostgresOptions::default() };
        match PostgresStore::open(&url, options).await {
            Ok(store) => {
                assert!(is_taken, "{mode} takes a server by a name that is not its own");
                store.close().await;
            }
            Err(error) => {
                assert!(!is_taken && error.to_string().contains("not valid for name"), "{mode}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_when_it_has_to_have_it_and_taken_when_it_may() {
    let server = TemporaryPostgres::start().unwrap();
    let open = |mode: &str| {
        let url = format!("{}?sslmode={mode}", server.url());
        async move { PostgresStore::open(&url, PostgresOptions::default()).await }
    };
    let error = open("require").await.err().unwrap().to_string();
    assert!(error.contains("server does not support TLS"), "{error}");
    for mode in ["disable", "prefer"] {
        open(mode).await.unwrap().close().await;
    }
}

#[test]
fn authorities_are_asked_for_only_by_a_url_whose_server_is_checked() {
    for (mode, is_checked) in
        [("disable", false), ("prefer", false), ("require", false), ("verify-ca", true), ("verify-full", true)]
    {
        assert_eq!(checks_server(&format!("postgres://me@db/app?sslmode={mode}")).unwrap(), is_checked, "{mode}");
    }
    assert!(!checks_server("postgres://me@db/app").unwrap());
}
