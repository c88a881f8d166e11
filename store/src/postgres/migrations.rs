//! Brings the tables and functions up to date. They only grow (expand, then contract), so a node of the last release
//! goes on working beside one of this.

use std::time::Duration;

use super::connection::{Connection, describe};
use super::options::Server;
use crate::StoreError;

mod embedded {
    refinery::embed_migrations!("migrations/postgres");
}

/// Of the advisory lock that lets one node migrate at a time; "hallway" in ASCII.
const LOCK: i64 = 0x68_61_6c_6c_77_61_79;
/// Time for all of it, waiting for another node included.
const TIMEOUT: Duration = Duration::from_mins(5);

/// Applies what is missing; waits while another node does.
pub(super) async fn migrate(server: &Server) -> Result<(), StoreError> {
    let unusable =
        |what: String| StoreError::Unusable(format!("the store's tables cannot be brought up to date: {what}"));
    let mut server = server.clone();
    server.config.options("-c client_min_messages=warning");
    let mut connection =
        Connection::open(&server).await.map_err(|error| StoreError::Unavailable(describe(&error).into()))?;
    let work = async {
        let lock = format!("SELECT pg_advisory_lock({LOCK})");
        connection.client().batch_execute(&lock).await.map_err(|error| unusable(describe(&error)))?;
        // The lock goes with the connection.
        embedded::migrations::runner()
            .run_async(connection.client())
            .await
            .map_err(|error| unusable(chain(&error)))
            .map(|_| ())
    };
    tokio::time::timeout(TIMEOUT, work).await.map_err(|_| unusable("it took over 5 minutes".to_owned()))?
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(inner) = next {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        next = inner.source();
    }
    text
}
