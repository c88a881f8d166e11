//! Memory that the kernel holds for sockets; it is in no process's resident set.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

/// Slab caches that sockets live in. Several names: kernels merge and rename them.
const CACHES: [&str; 12] = [
    "TCP",
    "TCPv6",
    "sock_inode_cache",
    "filp",
    "dentry",
    "eventpoll_epi",
    "eventpoll_pwq",
    "skbuff_head_cache",
    "skbuff_fclone_cache",
    "skbuff_small_head",
    "request_sock_TCP",
    "tw_sock_TCP",
];

/// What the kernel holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Kernel {
    /// Bytes of each cache's active objects; `None`: only root may look.
    pub(crate) slab_bytes: Option<BTreeMap<String, u64>>,
    /// Bytes of TCP buffers, of all sockets of the machine; `None`: not told.
    pub(crate) tcp_bytes: Option<u64>,
}

impl Kernel {
    /// Reads it now.
    pub(crate) fn now() -> Self {
        Self {
            slab_bytes: fs::read_to_string("/proc/slabinfo")
                .ok()
                .map(|text| parse_slab(&text))
                .filter(|map| !map.is_empty()),
            tcp_bytes: fs::read_to_string("/proc/net/sockstat").ok().and_then(|text| parse_sockstat(&text)),
        }
    }

    /// All caches together.
    pub(crate) fn slab_total_bytes(&self) -> Option<u64> {
        self.slab_bytes.as_ref().map(|caches| caches.values().sum())
    }
}

fn parse_slab(text: &str) -> BTreeMap<String, u64> {
    let mut caches = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let Some(name) = words.next().filter(|name| CACHES.contains(name)) else { continue };
        let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
        if let (Some(active), Some(_), Some(size)) = (number(), number(), number()) {
            caches.insert(name.to_owned(), active * size);
        }
    }
    caches
}

fn parse_sockstat(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP:"))?;
    let mut words = line.split_whitespace();
    words.find(|word| *word == "mem")?;
    Some(words.next()?.parse::<u64>().ok()? * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caches_and_buffers_are_read_in_bytes() {
        let slab = "slabinfo - version: 2.1\n# name <active_objs> <num_objs> <objsize>\n\
                    TCP 100 120 2048 15 8 : tunables 0 0 0\nkmalloc-8k 5 5 8192 4 8\n";
        assert_eq!(parse_slab(slab), BTreeMap::from([("TCP".to_owned(), 204_800)]));
        let page = rustix::param::page_size() as u64;
        assert_eq!(parse_sockstat("sockets: used 9\nTCP: inuse 5 orphan 0 tw 2 alloc 7 mem 3\n"), Some(3 * page));
    }
}
