//! What can be done to a cluster, by name.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

/// A fault, the way it heals included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fault {
    /// kill -9 of a node under load.
    NodeKill,
    /// SIGTERM to a node: it says goodbye to its clients and ends.
    NodeDrain,
    /// SIGTERM to every node, one after the other, each started again before the next.
    RollingRestart,
    /// A node stands still for a moment, and what other nodes tell it piles up.
    BusLag,
    RedisKill,
    /// Killed and started at once, with nothing in it.
    RedisRestartEmpty,
    RedisFreeze,
    /// Every node's line to Redis loses everything, one way.
    RedisOneWay,
    /// One node hears nothing of what it subscribed to, on lines that look well.
    RedisDeaf,
    /// Redis throws subscribers out whose output buffer is full.
    RedisOverflow,
    /// One node loses Redis, keeps Postgres, and goes on acknowledging.
    RedisCutOneNode,
    PostgresKill,
    /// `pg_terminate_backend` for everybody, again and again.
    PostgresTerminate,
    PostgresFreeze,
    /// Every answer comes late.
    PostgresSlow,
    /// Somebody holds the lock that every write needs.
    PostgresLocked,
    /// A batch waits on a lock, its node is killed, the lock is let go, the batch commits.
    PostgresLockedNodeKill,
    /// The same command with the same nonce to two nodes at once.
    SameNonceTwoNodes,
    /// Two nodes write one room as fast as they can.
    TwoWritersOneRoom,
    /// Members join, leave and are kicked while messages flow.
    MembershipChurn,
    /// Everybody loses the line at once, and Redis (if it is ours) has just started again.
    ReconnectStorm,
    /// Some members stop reading while their room is flooded.
    SlowReader,
}

/// What a fault needs to be there, and to be ours to break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    Nothing,
    /// More than one node.
    Nodes,
    /// A Redis.
    Redis,
    /// A Redis that this run started.
    OwnRedis,
    /// A Postgres that this run started.
    OwnPostgres,
}

impl Fault {
    pub(crate) const ALL: [Self; 22] = [
        Self::NodeKill,
        Self::NodeDrain,
        Self::RollingRestart,
        Self::BusLag,
        Self::RedisKill,
        Self::RedisRestartEmpty,
        Self::RedisFreeze,
        Self::RedisOneWay,
        Self::RedisDeaf,
        Self::RedisOverflow,
        Self::RedisCutOneNode,
        Self::PostgresKill,
        Self::PostgresTerminate,
        Self::PostgresFreeze,
        Self::PostgresSlow,
        Self::PostgresLocked,
        Self::PostgresLockedNodeKill,
        Self::SameNonceTwoNodes,
        Self::TwoWritersOneRoom,
        Self::MembershipChurn,
        Self::ReconnectStorm,
        Self::SlowReader,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NodeKill => "node-kill",
            Self::NodeDrain => "node-drain",
            Self::RollingRestart => "rolling-restart",
            Self::BusLag => "bus-lag",
            Self::RedisKill => "redis-kill",
            Self::RedisRestartEmpty => "redis-restart-empty",
            Self::RedisFreeze => "redis-freeze",
            Self::RedisOneWay => "redis-one-way",
            Self::RedisDeaf => "redis-deaf",
            Self::RedisOverflow => "redis-overflow",
            Self::RedisCutOneNode => "redis-cut-one-node",
            Self::PostgresKill => "postgres-kill",
            Self::PostgresTerminate => "postgres-terminate",
            Self::PostgresFreeze => "postgres-freeze",
            Self::PostgresSlow => "postgres-slow",
            Self::PostgresLocked => "postgres-locked",
            Self::PostgresLockedNodeKill => "postgres-locked-node-kill",
            Self::SameNonceTwoNodes => "same-nonce-two-nodes",
            Self::TwoWritersOneRoom => "two-writers-one-room",
            Self::MembershipChurn => "membership-churn",
            Self::ReconnectStorm => "reconnect-storm",
            Self::SlowReader => "slow-reader",
        }
    }

    pub(crate) fn needs(self) -> Needs {
        match self {
            Self::NodeKill | Self::NodeDrain | Self::PostgresLockedNodeKill | Self::SameNonceTwoNodes => Needs::Nodes,
            Self::TwoWritersOneRoom | Self::RollingRestart | Self::BusLag => Needs::Nodes,
            Self::RedisKill | Self::RedisRestartEmpty | Self::RedisFreeze | Self::RedisOverflow => Needs::OwnRedis,
            Self::RedisOneWay | Self::RedisDeaf | Self::RedisCutOneNode => Needs::Redis,
            Self::PostgresKill | Self::PostgresFreeze => Needs::OwnPostgres,
            Self::PostgresTerminate | Self::PostgresSlow | Self::PostgresLocked => Needs::Nothing,
            Self::MembershipChurn | Self::SlowReader | Self::ReconnectStorm => Needs::Nothing,
        }
    }

    /// How long it lasts in a long run: what the promise names, else long enough for every time-out on the way.
    pub(crate) fn lasts_long(self) -> Duration {
        Duration::from_secs(match self {
            Self::RedisFreeze => 30,
            Self::RedisCutOneNode => 60,
            Self::RedisKill | Self::RedisOneWay | Self::RedisDeaf => 20,
            Self::BusLag => 3,
            _ => 10,
        })
    }

    /// How long it lasts in a short run.
    pub(crate) fn lasts_short(self) -> Duration {
        Duration::from_millis(match self {
            Self::BusLag => 3000,
            Self::PostgresKill | Self::RedisRestartEmpty => 1000,
            Self::PostgresFreeze | Self::PostgresLocked => 4000,
            _ => 2500,
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|fault| fault.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|fault| fault.name()).collect();
            format!("{text:?} is no fault; there are {}", names.join(", "))
        })
    }
}
