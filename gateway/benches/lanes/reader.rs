//! The process that reads: it opens the sockets, throws away what comes and says when enough has come. It is a process of its
//! own so that its CPU is not counted.
//!
//! The first connection is the control line: the writing side sends how many bytes it has written in all, and is answered
//! with one byte as soon as so many were read.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hallway_gateway::tasks::Tasks;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// The word on the command line that makes this program a reader.
pub(crate) const WORD: &str = "--read-from";
/// How long the reader may take to have read what was written.
const SETTLE_WITHIN: Duration = Duration::from_secs(30);
/// As in a node: `socket_send_buffer_bytes`, of which the kernel is told half.
const SEND_BUFFER_BYTES: usize = 131_072;
/// As in a node.
const NOT_SENT_LOW_WATER_BYTES: u32 = 16 * 1024;
/// Read at once: more than a batch holds.
const READ_BYTES: usize = 64 * 1024;

/// The reading process, seen from the writing side.
pub(crate) struct Reader {
    child: Child,
    control: TcpStream,
    written_bytes: u64,
}

impl Reader {
    /// Starts the process and accepts its connections, in the order in which it opens them.
    pub(crate) async fn start(count: usize) -> io::Result<(Self, Vec<Arc<TcpStream>>)> {
        let listener = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        listener.set_send_buffer_size(SEND_BUFFER_BYTES)?;
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())?;
        listener.listen(4096)?;
        let listener = StdListener::from(listener);
        let address = listener.local_addr()?.to_string();
        let mut command = Command::new(std::env::current_exe()?);
        let child = command.args([WORD, &address, &count.to_string()]).stdin(Stdio::null()).spawn()?;
        let control = accept(&listener)?;
        let sockets = (0..count).map(|_| accept(&listener).map(Arc::new)).collect::<io::Result<_>>()?;
        Ok((Self { child, control, written_bytes: 0 }, sockets))
    }

    /// Waits until the reader has so many bytes more.
    pub(crate) async fn has_read(&mut self, bytes: u64) {
        self.written_bytes += bytes;
        let written = self.written_bytes.to_le_bytes();
        let exchange = async {
            self.control.write_all(&written).await?;
            self.control.read_u8().await
        };
        let answer = tokio::time::timeout(SETTLE_WITHIN, exchange).await;
        answer.expect("what was written arrives in time").expect("the reader lives");
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn accept(listener: &StdListener) -> io::Result<TcpStream> {
    let (socket, _) = listener.accept()?;
    socket.set_nonblocking(true)?;
    let options = SockRef::from(&socket);
    options.set_tcp_nodelay(true)?;
    options.set_tcp_notsent_lowat(NOT_SENT_LOW_WATER_BYTES)?;
    TcpStream::from_std(socket)
}

#[derive(Default)]
struct Count {
    read_bytes: AtomicU64,
    wanted_bytes: AtomicU64,
    reached: Notify,
}

impl Count {
    fn is_reached(&self) -> bool {
        self.read_bytes.load(Ordering::Relaxed) >= self.wanted_bytes.load(Ordering::Relaxed)
    }
}

/// The reading process: ends when the writing side hangs up.
pub(crate) fn run(address: &str, count: usize) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let mut control = TcpStream::connect(address).await?;
        control.set_nodelay(true)?;
        let (tasks, shared) = (Tasks::default(), Arc::new(Count::default()));
        for _ in 0..count {
            let socket = TcpStream::connect(address).await?;
            tasks.spawn(read_all(socket, Arc::clone(&shared)));
        }
        loop {
            let mut wanted = [0; 8];
            if control.read_exact(&mut wanted).await.is_err() {
                return Ok(());
            }
            shared.wanted_bytes.store(u64::from_le_bytes(wanted), Ordering::Relaxed);
            while !shared.is_reached() {
                shared.reached.notified().await;
            }
            control.write_all(&[1]).await?;
        }
    })
}

async fn read_all(socket: TcpStream, count: Arc<Count>) {
    while socket.readable().await.is_ok() {
        match read_some(&socket) {
            Ok(0) => return,
            Ok(read) => {
                count.read_bytes.fetch_add(read as u64, Ordering::Relaxed);
                if count.is_reached() {
                    count.reached.notify_one();
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

fn read_some(socket: &TcpStream) -> io::Result<usize> {
    thread_local! {
        static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BYTES]);
    }
    BUFFER.with_borrow_mut(|buffer| socket.try_read(buffer))
}
