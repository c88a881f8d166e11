//! A Redis Cluster of three primaries.

use std::io;

use super::server::TemporaryRedis;
use super::{free_ports, wait_until};

const SLOTS: [(&str, &str); 3] = [("0", "5460"), ("5461", "10922"), ("10923", "16383")];

/// A running Redis Cluster; it ends when this is dropped.
pub struct TemporaryRedisCluster {
    nodes: Vec<TemporaryRedis>,
}

impl TemporaryRedisCluster {
    /// Starts three nodes and joins them; returns when each of them says that the cluster works.
    ///
    /// # Errors
    /// When a node does not start, or they do not come together.
    pub fn start() -> io::Result<Self> {
        let buses: [u16; SLOTS.len()] = free_ports()?;
        let mut nodes = Vec::new();
        for (bus, (first, last)) in buses.iter().zip(SLOTS) {
            // The usual port of the cluster bus, 10,000 above the other, may not exist.
            let node = TemporaryRedis::start_with(&[
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus.to_string(),
                "--cluster-node-timeout",
                "2000",
            ])?;
            node.command(&["CLUSTER", "ADDSLOTSRANGE", first, last])?;
            nodes.push(node);
        }
        for (number, (node, bus)) in nodes.iter().zip(buses).enumerate() {
            if number > 0 {
                let port = node.port().to_string();
                nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus.to_string()])?;
            }
        }
        let cluster = Self { nodes };
        wait_until("the cluster is joined", || cluster.nodes.iter().all(|node| knows_all(node).unwrap_or(false)))?;
        Ok(cluster)
    }

    /// Its URL, with all nodes.
    #[must_use]
    pub fn url(&self) -> String {
        let others: Vec<String> =
            self.nodes[1..].iter().map(|node| format!("node=127.0.0.1:{}", node.port())).collect();
        format!("redis-cluster://127.0.0.1:{}?{}", self.nodes[0].port(), others.join("&"))
    }

    /// Its nodes.
    #[must_use]
    pub fn nodes(&self) -> &[TemporaryRedis] {
        &self.nodes
    }
}

fn knows_all(node: &TemporaryRedis) -> io::Result<bool> {
    let info = node.command(&["CLUSTER", "INFO"])?;
    let says = |line: &str| info.text().lines().any(|found| found.trim_end() == line);
    // A link that is still being opened would lose what is published meanwhile.
    let nodes = node.command(&["CLUSTER", "NODES"])?;
    let links = nodes.text().split_whitespace().filter(|word| *word == "connected").count();
    Ok(says("cluster_state:ok") && says("cluster_known_nodes:3") && links == SLOTS.len())
}
