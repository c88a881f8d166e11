//! Throw-away Redis servers: a single one, a Redis Cluster of three, and a primary with its replica behind Sentinel.
//!
//! Each keeps nothing on disk, so one that starts again is empty. They run on the loopback, on free ports, with their own
//! temporary directories, and end when they are dropped. `resp` talks to them, as `redis-cli` would.

mod cluster;
mod resp;
mod sentinel;
mod server;

pub use cluster::TemporaryRedisCluster;
pub use resp::Reply;
pub use sentinel::TemporarySentinel;
pub use server::TemporaryRedis;

use std::io;
use std::net::TcpListener;
use std::time::{Duration, Instant};

/// How long a server may take until it does what was waited for.
const READY_TIMEOUT: Duration = Duration::from_secs(20);
const READY_POLL: Duration = Duration::from_millis(10);

/// Waits until this holds.
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) -> io::Result<()> {
    let deadline = Instant::now() + READY_TIMEOUT;
    while !holds() {
        if Instant::now() > deadline {
            return Err(io::Error::new(io::ErrorKind::TimedOut, format!("waited too long: {what}")));
        }
        std::thread::park_timeout(READY_POLL);
    }
    Ok(())
}

/// Ports that are free now, all different.
fn free_ports<const COUNT: usize>() -> io::Result<[u16; COUNT]> {
    let mut ports = [0; COUNT];
    // All are held until the last is found.
    let listeners = (0..COUNT).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<Vec<_>>>()?;
    for (port, listener) in ports.iter_mut().zip(listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
