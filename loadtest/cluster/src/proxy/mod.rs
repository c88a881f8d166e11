//! A TCP proxy that breaks things on request.
//!
//! One listener per link (this node to this server), so that each link can be hurt alone. Faults are set while it runs and
//! take effect on the connections that are there. What it counts shows afterwards that a fault bit.
//!
//! **Invariant:** bytes come through in order and unchanged, or not at all: a connection that lost bytes to a black hole is
//! reset when the hole closes, because whatever came then would be out of step. To the ends that is a line that went silent
//! and, much later, broke: what a cut cable does.

mod pump;

use std::collections::BTreeSet;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// What one direction of a link does to what comes along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Flow {
    /// Everything comes so much later.
    pub delay: Duration,
    /// Nothing is taken any more; it waits where it is, and comes once this ends.
    pub hold: bool,
    /// Everything is taken and lost. When this ends, connections that lost something are reset.
    pub black_hole: bool,
    /// At most so much.
    pub bytes_per_second: Option<u32>,
    /// The connection is reset after so many more bytes.
    pub cut_after_bytes: Option<u64>,
}

/// What a link suffers from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    pub to_server: Flow,
    pub to_client: Flow,
    /// New connections are reset.
    pub refuse_new: bool,
    /// The flows concern only connections on which the mark was seen.
    pub marked_only: bool,
}

impl Faults {
    /// The same flow both ways.
    #[must_use]
    pub fn both_ways(flow: Flow) -> Self {
        Self { to_server: flow, to_client: flow, ..Self::default() }
    }

    /// Silence both ways and no new connections: the server is out of reach.
    #[must_use]
    pub fn cut_off() -> Self {
        let silence = Flow { black_hole: true, ..Flow::default() };
        Self { refuse_new: true, ..Self::both_ways(silence) }
    }
}

/// What happened on a link since it was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    pub connections: u64,
    /// Connections that could not be made on to the server.
    pub unreachable: u64,
    pub refused: u64,
    /// Connections that the proxy broke.
    pub reset: u64,
    /// Connections that the server ended.
    pub ended_by_server: u64,
    /// Connections on which the mark was seen.
    pub marked: u64,
    pub bytes_to_server: u64,
    pub bytes_to_client: u64,
    /// Bytes that a black hole took.
    pub bytes_lost: u64,
    /// Bytes that came later than they could have.
    pub bytes_delayed: u64,
}

impl Counts {
    /// What was added since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            connections: self.connections - before.connections,
            unreachable: self.unreachable - before.unreachable,
            refused: self.refused - before.refused,
            reset: self.reset - before.reset,
            ended_by_server: self.ended_by_server - before.ended_by_server,
            marked: self.marked - before.marked,
            bytes_to_server: self.bytes_to_server - before.bytes_to_server,
            bytes_to_client: self.bytes_to_client - before.bytes_to_client,
            bytes_lost: self.bytes_lost - before.bytes_lost,
            bytes_delayed: self.bytes_delayed - before.bytes_delayed,
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            connections: self.connections + other.connections,
            unreachable: self.unreachable + other.unreachable,
            refused: self.refused + other.refused,
            reset: self.reset + other.reset,
            ended_by_server: self.ended_by_server + other.ended_by_server,
            marked: self.marked + other.marked,
            bytes_to_server: self.bytes_to_server + other.bytes_to_server,
            bytes_to_client: self.bytes_to_client + other.bytes_to_client,
            bytes_lost: self.bytes_lost + other.bytes_lost,
            bytes_delayed: self.bytes_delayed + other.bytes_delayed,
        }
    }
}

#[derive(Debug, Default)]
struct Counters {
    connections: AtomicU64,
    unreachable: AtomicU64,
    refused: AtomicU64,
    reset: AtomicU64,
    ended_by_server: AtomicU64,
    marked: AtomicU64,
    bytes_to_server: AtomicU64,
    bytes_to_client: AtomicU64,
    bytes_lost: AtomicU64,
    bytes_delayed: AtomicU64,
}

fn add(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}

/// What all connections of a link know.
#[derive(Debug)]
struct Link {
    server: SocketAddr,
    mark: Option<&'static [u8]>,
    faults: watch::Receiver<Faults>,
    resets: watch::Receiver<u64>,
    counters: Counters,
    /// Ports of the connections to the server: by them the server knows its clients.
    ports: Mutex<BTreeSet<u16>>,
}

impl Link {
    fn ports(&self) -> MutexGuard<'_, BTreeSet<u16>> {
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A link to a server; it ends, with its connections, when this is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    faults: watch::Sender<Faults>,
    resets: watch::Sender<u64>,
    link: Arc<Link>,
    task: JoinHandle<()>,
}

impl FaultProxy {
    /// Listens on a free port of the loopback for connections to `server`. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When nothing can be listened on.
    pub async fn start(server: SocketAddr) -> io::Result<Self> {
        Self::start_with_mark(server, None).await
    }

    /// The same; connections on which the client sends `mark` are told apart (a command's name, say).
    ///
    /// # Errors
    /// When nothing can be listened on.
    pub async fn start_with_mark(server: SocketAddr, mark: Option<&'static [u8]>) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (faults, faults_seen) = watch::channel(Faults::default());
        let (resets, resets_seen) = watch::channel(0);
        let counters = Counters::default();
        let link = Arc::new(Link {
            server,
            mark,
            faults: faults_seen,
            resets: resets_seen,
            counters,
            ports: Mutex::default(),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&link)));
        Ok(Self { address, faults, resets, link, task })
    }

    /// Where to connect instead of to the server.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the link suffers from these, and from nothing else.
    pub fn set(&self, faults: Faults) {
        self.faults.send_replace(faults);
    }

    /// The link is well again.
    pub fn heal(&self) {
        self.set(Faults::default());
    }

    /// Breaks all connections that are there.
    pub fn reset(&self) {
        self.resets.send_modify(|resets| *resets += 1);
    }

    /// The ports from which the server sees its present connections come.
    #[must_use]
    pub fn ports(&self) -> Vec<u16> {
        self.link.ports().iter().copied().collect()
    }

    /// What happened until now.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let counters = &self.link.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counts {
            connections: read(&counters.connections),
            unreachable: read(&counters.unreachable),
            refused: read(&counters.refused),
            reset: read(&counters.reset),
            ended_by_server: read(&counters.ended_by_server),
            marked: read(&counters.marked),
            bytes_to_server: read(&counters.bytes_to_server),
            bytes_to_client: read(&counters.bytes_to_client),
            bytes_lost: read(&counters.bytes_lost),
            bytes_delayed: read(&counters.bytes_delayed),
        }
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, link: Arc<Link>) {
    // Dropped with this task, and the connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) if link.faults.borrow().refuse_new => {
                    add(&link.counters.refused, 1);
                    break_off(&client);
                }
                Ok((client, _)) => {
                    connections.spawn(connection(client, Arc::clone(&link)));
                }
                // Out of files: it gets better or the test fails elsewhere.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(mut client: TcpStream, link: Arc<Link>) {
    add(&link.counters.connections, 1);
    let Ok(mut server) = TcpStream::connect(link.server).await else {
        add(&link.counters.unreachable, 1);
        break_off(&client);
        return;
    };
    // Without these it is only slower.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let port = server.local_addr().map_or(0, |address| address.port());
    link.ports().insert(port);
    let broken = pump::run(&mut client, &mut server, &link).await;
    link.ports().remove(&port);
    if broken {
        add(&link.counters.reset, 1);
        break_off(&client);
        break_off(&server);
    }
}

/// What comes next is a reset, not an orderly end.
fn break_off(socket: &TcpStream) {
    // If it cannot be set, the end is an orderly one: an end all the same.
    let _ = socket.set_zero_linger();
}
