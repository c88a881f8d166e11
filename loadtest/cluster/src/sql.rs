//! A connection to Postgres for whoever breaks things in it.

use std::io;

use tokio::task::JoinHandle;
use tokio_postgres::{Client, NoTls};

/// One session; it ends when this is dropped, and a transaction that is open in it is rolled back.
#[derive(Debug)]
pub struct SqlSession {
    client: Client,
    driver: JoinHandle<()>,
}

impl SqlSession {
    /// Connects.
    ///
    /// # Errors
    /// When the server is not there or refuses.
    pub async fn connect(url: &str) -> io::Result<Self> {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.map_err(io::Error::other)?;
        let driver = tokio::spawn(async move {
            // How it ended is told to whoever asks next.
            let _ = connection.await;
        });
        Ok(Self { client, driver })
    }

    /// Runs statements.
    ///
    /// # Errors
    /// What the server says.
    pub async fn run(&self, statements: &str) -> io::Result<()> {
        self.client.batch_execute(statements).await.map_err(io::Error::other)
    }

    /// The one number that a query gives.
    ///
    /// # Errors
    /// What the server says.
    pub async fn number(&self, query: &str) -> io::Result<i64> {
        let row = self.client.query_one(query, &[]).await.map_err(io::Error::other)?;
        row.try_get(0).map_err(io::Error::other)
    }
}

impl Drop for SqlSession {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
