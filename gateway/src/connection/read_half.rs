//! What tungstenite reads from and "writes" to.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::{FrameMeter, Outbound};

/// The inbound bytes of a connection, metered. Its writing side appends to the connection's backlog, so that control
/// frames never land inside a half-written frame.
pub struct ReadHalf {
    socket: Arc<TcpStream>,
    outbound: Arc<Outbound>,
    meter: FrameMeter,
}

impl ReadHalf {
    /// Reads from the socket, writes to the outbound side.
    #[must_use]
    pub fn new(socket: Arc<TcpStream>, outbound: Arc<Outbound>, meter: FrameMeter) -> Self {
        Self { socket, outbound, meter }
    }
}

impl AsyncRead for ReadHalf {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            std::task::ready!(this.socket.poll_read_ready(cx))?;
            match this.socket.try_read(buffer.initialize_unfilled()) {
                Ok(count) => {
                    let start = buffer.filled().len();
                    buffer.advance(count);
                    this.meter.take(&buffer.filled()[start..]).map_err(io::Error::other)?;
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for ReadHalf {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.outbound.push(Bytes::copy_from_slice(bytes));
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's task shuts the socket down once the backlog is written.
        Poll::Ready(Ok(()))
    }
}
