//! What the scenarios take that start a whole cluster.

use std::path::PathBuf;

use clap::Args;
use loadtest_cluster::ClusterSettings;

/// Most nodes on one machine.
const NODES_MAX: u64 = 16;

/// Options of `cluster`.
#[derive(Debug, Args)]
pub(crate) struct ClusterArguments {
    #[command(flatten)]
    pub(crate) parts: Parts,
    /// Nodes listen from this port on, two ports each [default: free ports].
    #[arg(long)]
    base_port: Option<u16>,
}

/// What a cluster is made of.
#[derive(Debug, Args)]
pub(crate) struct Parts {
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=NODES_MAX))]
    pub(crate) nodes: u64,
    /// The gateway [default: the one beside this program].
    #[arg(long)]
    binary: Option<PathBuf>,
    /// A Postgres that is there, with a database for this [default: one is started in a temporary directory].
    #[arg(long)]
    postgres: Option<String>,
}

impl Parts {
    pub(crate) fn settings(&self) -> ClusterSettings {
        ClusterSettings {
            nodes: usize::try_from(self.nodes).unwrap_or(usize::MAX),
            binary: self.binary.clone(),
            postgres: self.postgres.clone(),
            ..ClusterSettings::default()
        }
    }
}

impl ClusterArguments {
    pub(crate) fn settings(&self) -> ClusterSettings {
        ClusterSettings { base_port: self.base_port, ..self.parts.settings() }
    }
}
