//! What every bus promises, tried on each of them: inside the process, over one Redis, over a Redis Cluster and behind Sentinel; and
//! what the way over Redis promises beside it, when that is cut, frozen, killed or refused.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conformance;
mod meeting;
mod redis;
mod redis_groups;
