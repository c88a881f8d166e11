//! What tests and load runs start, break and stop: a Postgres, a Redis, gateway nodes, and proxies between them.
//!
//! Everything here runs on the loopback, on free ports and in temporary directories, and is ended by its own process id when it
//! is dropped. Nothing of it is part of a node.

pub mod postgres;

pub use postgres::TemporaryPostgres;
