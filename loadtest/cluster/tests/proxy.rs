//! Goal: a fault that was set is felt, alone, and counted; a healed link works. Method: an echo server behind the proxy.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use loadtest_cluster::proxy::{FaultProxy, Faults, Flow};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const LONG: Duration = Duration::from_secs(20);
/// What must not come cannot be waited for any longer.
const SHORT: Duration = Duration::from_millis(200);

async fn echo_server() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = socket.split();
                tokio::io::copy(&mut read, &mut write).await
            });
        }
    });
    address
}

async fn start() -> FaultProxy {
    FaultProxy::start_with_mark(echo_server().await, Some(b"SUBSCRIBE")).await.unwrap()
}

async fn connect(proxy: &FaultProxy) -> TcpStream {
    TcpStream::connect(proxy.address()).await.unwrap()
}

/// Sends and waits for the same to come back.
async fn echo(socket: &mut TcpStream, bytes: &[u8], limit: Duration) -> std::io::Result<()> {
    let exchange = async {
        socket.write_all(bytes).await?;
        let mut back = vec![0; bytes.len()];
        socket.read_exact(&mut back).await?;
        assert_eq!(back, bytes);
        Ok(())
    };
    tokio::time::timeout(limit, exchange).await.map_err(std::io::Error::other)?
}

/// Waits for the end of the connection.
async fn ends(socket: &mut TcpStream) -> bool {
    let read = async {
        let mut buffer = [0; 64];
        while matches!(socket.read(&mut buffer).await, Ok(count) if count > 0) {}
    };
    tokio::time::timeout(LONG, read).await.is_ok()
}

#[tokio::test]
async fn without_a_fault_everything_comes_through_and_is_counted() {
    let proxy = start().await;
    let mut socket = connect(&proxy).await;
    let bytes: Vec<u8> = (0..100_000_u32).map(|number| number.to_le_bytes()[0]).collect();
    echo(&mut socket, &bytes[..50_000], LONG).await.unwrap();
    echo(&mut socket, &bytes[50_000..], LONG).await.unwrap();
    let counts = proxy.counts();
    assert_eq!((counts.connections, counts.bytes_to_server, counts.bytes_to_client), (1, 100_000, 100_000));
    assert_eq!((counts.bytes_lost, counts.bytes_delayed, counts.reset), (0, 0, 0));
    assert_eq!(proxy.ports().len(), 1);
}

#[tokio::test]
async fn a_delay_delays_and_keeps_the_order() {
    let proxy = start().await;
    let mut socket = connect(&proxy).await;
    let delay = Duration::from_millis(60);
    proxy.set(Faults { to_client: Flow { delay, ..Flow::default() }, ..Faults::default() });
    let began = Instant::now();
    for number in 0..3_u8 {
        echo(&mut socket, &[number; 100], LONG).await.unwrap();
    }
    assert!(began.elapsed() >= delay * 3);
    assert_eq!(proxy.counts().bytes_delayed, 300);
}

#[tokio::test]
async fn a_black_hole_swallows_one_way_and_the_line_breaks_when_it_closes() {
    let proxy = start().await;
    let mut socket = connect(&proxy).await;
    echo(&mut socket, b"hello", LONG).await.unwrap();
    let hole = Flow { black_hole: true, ..Flow::default() };
    proxy.set(Faults { to_client: hole, ..Faults::default() });
    assert!(echo(&mut socket, b"anybody", SHORT).await.is_err());
    let counts = proxy.counts();
    assert_eq!((counts.bytes_to_server, counts.bytes_lost), (12, 7));
    proxy.heal();
    assert!(ends(&mut socket).await);
    echo(&mut connect(&proxy).await, b"again", LONG).await.unwrap();
}

#[tokio::test]
async fn a_held_link_delivers_later_and_breaks_nothing() {
    let proxy = start().await;
    let mut socket = connect(&proxy).await;
    proxy.set(Faults::both_ways(Flow { hold: true, ..Flow::default() }));
    assert!(echo(&mut socket, b"slow", SHORT).await.is_err());
    proxy.heal();
    let mut back = [0; 4];
    tokio::time::timeout(LONG, socket.read_exact(&mut back)).await.unwrap().unwrap();
    assert_eq!(&back, b"slow");
}

#[tokio::test]
async fn a_cut_after_n_bytes_lets_through_n_bytes() {
    let proxy = start().await;
    let mut socket = connect(&proxy).await;
    proxy.set(Faults { to_server: Flow { cut_after_bytes: Some(6), ..Flow::default() }, ..Faults::default() });
    assert!(echo(&mut socket, b"0123456789", LONG).await.is_err());
    assert_eq!(proxy.counts().bytes_to_server, 6);
    assert!(ends(&mut socket).await);
}

#[tokio::test]
async fn a_throttle_takes_its_time() {
    let proxy = start().await;
    let mut socket = connect(&proxy).await;
    let slow = Flow { bytes_per_second: Some(10_000), ..Flow::default() };
    proxy.set(Faults { to_server: slow, ..Faults::default() });
    let began = Instant::now();
    echo(&mut socket, &[7; 3000], LONG).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(290));
}

#[tokio::test]
async fn a_reset_breaks_what_is_there_and_refusing_what_comes() {
    let proxy = start().await;
    let mut socket = connect(&proxy).await;
    echo(&mut socket, b"hello", LONG).await.unwrap();
    proxy.reset();
    assert!(ends(&mut socket).await);
    proxy.set(Faults { refuse_new: true, ..Faults::default() });
    assert!(echo(&mut connect(&proxy).await, b"hello", LONG).await.is_err());
    proxy.heal();
    echo(&mut connect(&proxy).await, b"hello", LONG).await.unwrap();
    assert_eq!((proxy.counts().refused, proxy.counts().reset), (1, 1));
}

#[tokio::test]
async fn only_marked_connections_suffer_when_told_so() {
    let proxy = start().await;
    let (mut plain, mut marked) = (connect(&proxy).await, connect(&proxy).await);
    echo(&mut plain, b"PUBLISH", LONG).await.unwrap();
    echo(&mut marked, b"SUBSCRIBE", LONG).await.unwrap();
    let hole = Flow { black_hole: true, ..Flow::default() };
    proxy.set(Faults { to_client: hole, marked_only: true, ..Faults::default() });
    echo(&mut plain, b"PUBLISH", LONG).await.unwrap();
    assert!(echo(&mut marked, b"PING", SHORT).await.is_err());
    assert_eq!(proxy.counts().marked, 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_end_for_the_client() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxy = FaultProxy::start(gone).await.unwrap();
    assert!(ends(&mut connect(&proxy).await).await);
    assert_eq!(proxy.counts().unreachable, 1);
}
