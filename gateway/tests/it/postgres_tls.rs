//! A node whose database is behind TLS.

use std::path::Path;

use hallway_gateway::config::{Config, StoreUrl};
use hallway_gateway::server::open_store;
use loadtest_cluster::{TemporaryPostgres, TlsFiles};

use crate::node::TestNode;

fn behind_tls(config: &mut Config, url: &str, sslmode: &str, authority: Option<&Path>) {
    config.store.url = Some(StoreUrl::parse(&format!("{url}?sslmode={sslmode}")).unwrap());
    config.store.tls_ca_file = authority.map(Path::to_owned);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_serves_from_a_database_that_its_authority_vouches_for_and_begins_with_no_other() {
    let (server, files) = TemporaryPostgres::start_with_tls().unwrap();
    let url = server.database().await.unwrap();
    let node = TestNode::start(|config| behind_tls(config, &url, "verify-full", Some(&files.authority))).await;
    let mut ada = node.connect("ada").await;
    ada.create("lobby", "public").await;
    ada.say("lobby", "nobody else can read this on its way").await;

    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = TlsFiles::make(elsewhere.path(), "IP:127.0.0.1").unwrap();
    let no_file = elsewhere.path().join("nowhere.pem");
    for (sslmode, authority, words) in [
        ("verify-full", Some(stranger.authority.as_path()), "invalid peer certificate"),
        // Those of the system do not know it either.
        ("verify-full", None, "store.tls_ca_file|invalid peer certificate"),
        ("verify-full", Some(no_file.as_path()), "store.tls_ca_file"),
        ("prefer", Some(files.authority.as_path()), "sslmode=verify-full"),
        ("verify-all", None, "none of disable, prefer, require, verify-ca, verify-full"),
    ] {
        let mut config = Config::default();
        behind_tls(&mut config, &url, sslmode, authority);
        let told = open_store(&config).await.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(words.split('|').any(|words| told.contains(words)), "{sslmode} with {authority:?}: {told:?}");
    }
}
