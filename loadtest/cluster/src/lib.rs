//! What tests and load runs start, break and stop: a Postgres, a Redis, gateway nodes, and proxies between them.
//!
//! Everything here runs on the loopback, on free ports and in temporary directories, and is ended by its own process id when it
//! is dropped. Nothing of it is part of a node.
//!
//! Reading order: [`postgres`] and [`redis`] (servers that can be killed), [`proxy`] (a link that can be hurt), [`node`] (a gateway
//! process), [`cluster`] (all of it together).

mod certificates;
pub mod cluster;
pub mod node;
pub mod postgres;
mod process;
pub mod proxy;
pub mod redis;
mod sql;

pub use certificates::TlsFiles;
pub use cluster::{Cluster, ClusterSettings};
pub use node::{NodeProcess, NodeSettings};
pub use postgres::TemporaryPostgres;
pub use proxy::FaultProxy;
pub use redis::{TemporaryRedis, TemporaryRedisCluster, TemporarySentinel};
pub use sql::SqlSession;
