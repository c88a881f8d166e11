//! Listening sockets and the accept loop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, warn};

use super::ServeError;
use crate::config::Limits;
use crate::http::{Listener, Routes};
use crate::tasks::Tasks;

/// Connections that the kernel keeps for us until they are accepted.
const ACCEPT_QUEUE: i32 = 4096;
/// Unsent bytes beyond which the kernel does not call a socket writable: what waits, waits in our bounded backlog.
const NOT_SENT_LOW_WATER_BYTES: u32 = 16 * 1024;
/// Pause when no more files can be opened; without it the loop would spin.
const ACCEPT_RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Binds an address; accepted sockets inherit the bound on the kernel's send buffer.
pub(super) fn bind(address: SocketAddr, what: &'static str, limits: &Limits) -> Result<TcpListener, ServeError> {
    let fail = |source| ServeError::Listen { what, address, source };
    let socket =
        Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP)).map_err(fail)?;
    socket.set_reuse_address(true).map_err(fail)?;
    let send_buffer = usize::try_from(limits.socket_send_buffer_bytes).unwrap_or(usize::MAX);
    // The kernel doubles what it is told, for its own bookkeeping.
    socket.set_send_buffer_size(send_buffer / 2).map_err(fail)?;
    socket.bind(&address.into()).map_err(fail)?;
    socket.listen(ACCEPT_QUEUE).map_err(fail)?;
    TcpListener::from_std(socket.into()).map_err(fail)
}

/// Accepts until `stop`; each connection is a task of `owner`.
pub(super) fn accept(listener: TcpListener, routes: Arc<Routes>, kind: Listener, stop: &Tasks, owner: &Tasks) {
    let (stop, owner) = (stop.clone(), owner.clone());
    let write_timeout = Duration::from_millis(routes.sessions.service.limits().write_timeout_ms);
    owner.clone().spawn(async move {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.stopped() => return,
            };
            match accepted {
                Ok((socket, _)) => {
                    prepare(&socket, write_timeout);
                    owner.spawn(Arc::clone(&routes).serve(socket, kind, stop.clone()));
                }
                Err(error) => {
                    warn!(%error, "accepting a connection failed");
                    tokio::time::sleep(ACCEPT_RETRY_PAUSE).await;
                }
            }
        }
    });
}

fn prepare(socket: &TcpStream, write_timeout: Duration) {
    let socket = SockRef::from(socket);
    let settings = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_user_timeout(Some(write_timeout)))
        .and_then(|()| socket.set_tcp_notsent_lowat(NOT_SENT_LOW_WATER_BYTES));
    if let Err(error) = settings {
        // The connection works without them; its client may already be gone.
        debug!(%error, "socket options could not be set");
    }
}
