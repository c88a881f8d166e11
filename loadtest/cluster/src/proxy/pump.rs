//! One connection through the proxy: both directions, until one end goes or a fault breaks it.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::Instant;

use super::{Faults, Flow, Link, add};

/// Read at once.
const CHUNK_BYTES: usize = 16 * 1024;
/// Kept back by a delay or a throttle; beyond that nothing is read.
const KEPT_MAX_BYTES: usize = 4 * 1024 * 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToServer,
    ToClient,
}

/// How a direction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Its source said goodbye, and that was passed on.
    Goodbye,
    /// An end broke.
    Failed,
    /// A fault broke it.
    Fault,
}

/// Whether a fault, or an end that failed, broke the connection; both ends must then be told the hard way.
pub(super) async fn run(client: &mut TcpStream, server: &mut TcpStream, link: &Link) -> bool {
    let marked = AtomicBool::new(false);
    let (client_read, client_write) = client.split();
    let (server_read, server_write) = server.split();
    let up = Pump::new(Direction::ToServer, link, &marked).run(client_read, server_write);
    let down = Pump::new(Direction::ToClient, link, &marked).run(server_read, client_write);
    tokio::pin!(up, down);
    let mut resets = link.resets.clone();
    resets.mark_unchanged();
    let (mut up_ended, mut down_ended) = (false, false);
    loop {
        let end = tokio::select! {
            _ = resets.changed() => return true,
            end = &mut up, if !up_ended => {
                up_ended = true;
                end
            }
            end = &mut down, if !down_ended => {
                down_ended = true;
                if end != End::Fault {
                    add(&link.counters.ended_by_server, 1);
                }
                end
            }
        };
        if end != End::Goodbye {
            return true;
        }
        if up_ended && down_ended {
            return false;
        }
    }
}

struct Pump<'a> {
    direction: Direction,
    link: &'a Link,
    marked: &'a AtomicBool,
    kept: VecDeque<(Instant, Vec<u8>)>,
    kept_bytes: usize,
    /// When a throttle lets the next byte through.
    free_at: Instant,
    /// Passed on since the faults last changed.
    passed_bytes: u64,
    lost: bool,
    source_ended: bool,
}

impl<'a> Pump<'a> {
    fn new(direction: Direction, link: &'a Link, marked: &'a AtomicBool) -> Self {
        Self {
            direction,
            link,
            marked,
            kept: VecDeque::new(),
            kept_bytes: 0,
            free_at: Instant::now(),
            passed_bytes: 0,
            lost: false,
            source_ended: false,
        }
    }

    async fn run(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> End {
        let mut faults = self.link.faults.clone();
        faults.mark_unchanged();
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let flow = self.flow(&faults.borrow());
            if self.lost && !flow.black_hole {
                return End::Fault;
            }
            if self.source_ended && self.kept.is_empty() && !flow.black_hole && !flow.hold {
                // If it cannot be told, it knows already.
                let _ = to.shutdown().await;
                return End::Goodbye;
            }
            let reads = !flow.hold && !self.source_ended && self.kept_bytes < KEPT_MAX_BYTES;
            let next = self.kept.front().map_or_else(Instant::now, |(at, _)| *at);
            tokio::select! {
                changed = faults.changed() => {
                    if changed.is_err() {
                        return End::Fault;
                    }
                    self.passed_bytes = 0;
                }
                read = from.read(&mut buffer), if reads => match read {
                    Ok(0) => self.source_ended = true,
                    Ok(count) => self.take(&buffer[..count], flow),
                    Err(_) => return End::Failed,
                },
                () = tokio::time::sleep_until(next), if !self.kept.is_empty() && !flow.hold => {
                    match self.pass(&mut to, flow).await {
                        Ok(true) => {}
                        Ok(false) => return End::Fault,
                        Err(_) => return End::Failed,
                    }
                }
            }
        }
    }

    /// What the present faults mean for this direction of this connection.
    fn flow(&self, faults: &Faults) -> Flow {
        if faults.marked_only && !self.marked.load(Ordering::Relaxed) {
            return Flow::default();
        }
        match self.direction {
            Direction::ToServer => faults.to_server,
            Direction::ToClient => faults.to_client,
        }
    }

    fn take(&mut self, bytes: &[u8], flow: Flow) {
        if self.direction == Direction::ToServer
            && let Some(mark) = self.link.mark
            && bytes.windows(mark.len()).any(|window| window == mark)
            && !self.marked.swap(true, Ordering::Relaxed)
        {
            add(&self.link.counters.marked, 1);
        }
        let count = bytes.len() as u64;
        if flow.black_hole {
            self.lost = true;
            add(&self.link.counters.bytes_lost, count);
            return;
        }
        let now = Instant::now();
        let mut due = now + flow.delay;
        if let Some(rate) = flow.bytes_per_second {
            self.free_at = self.free_at.max(now) + Duration::from_secs_f64(bytes.len() as f64 / f64::from(rate.max(1)));
            due = due.max(self.free_at);
        }
        if due > now {
            add(&self.link.counters.bytes_delayed, count);
        }
        self.kept_bytes += bytes.len();
        self.kept.push_back((due, bytes.to_vec()));
    }

    /// Passes on what is due first; whether the connection goes on.
    async fn pass(&mut self, to: &mut WriteHalf<'_>, flow: Flow) -> io::Result<bool> {
        let Some((_, mut bytes)) = self.kept.pop_front() else { return Ok(true) };
        self.kept_bytes -= bytes.len();
        let mut goes_on = true;
        if let Some(most) = flow.cut_after_bytes {
            let left = usize::try_from(most.saturating_sub(self.passed_bytes)).unwrap_or(usize::MAX);
            goes_on = bytes.len() < left;
            bytes.truncate(left);
        }
        to.write_all(&bytes).await?;
        let count = bytes.len() as u64;
        self.passed_bytes += count;
        let counter: &AtomicU64 = match self.direction {
            Direction::ToServer => &self.link.counters.bytes_to_server,
            Direction::ToClient => &self.link.counters.bytes_to_client,
        };
        add(counter, count);
        Ok(goes_on)
    }
}
