//! HTTP: the upgrade to WebSocket on the public listener, health and metrics on both or on the admin's.
//!
//! | route | public | admin |
//! |---|---|---|
//! | `GET /v1/ws` | upgrade | – |
//! | `GET /healthz` | the process lives | the same |
//! | `GET /readyz` | the store answers and the node is not draining | the same |
//! | `GET /version` | the version | the same |
//! | `GET /metrics` | – | Prometheus text |

mod admin;
mod upgrade;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use crate::config::ServerConfig;
use crate::session::Sessions;
use crate::tasks::Tasks;
use crate::telemetry::Exporter;

/// What the routes need.
pub struct Routes {
    pub sessions: Arc<Sessions>,
    pub exporter: Exporter,
    pub server: ServerConfig,
}

/// Which listener a connection came in on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    Public,
    Admin,
}

type Body = Full<Bytes>;

impl Routes {
    /// Serves one TCP connection until it ends or becomes a session. After `stop` only what was begun is finished; the
    /// admin's listener stops last, so that a node that is draining says that it is not ready.
    pub async fn serve(self: Arc<Self>, socket: TcpStream, listener: Listener, stop: Tasks) {
        let timeout = Duration::from_millis(self.sessions.service.limits().hello_timeout_ms);
        let routes = Arc::clone(&self);
        let service = service_fn(move |request| {
            let routes = Arc::clone(&routes);
            async move { Ok::<_, Infallible>(routes.route(request, listener).await) }
        });
        let connection = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(timeout)
            .max_buf_size(32 * 1024)
            .serve_connection(TokioIo::new(socket), service)
            .with_upgrades();
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            // A client that sends no whole request, or hangs up, is nobody's fault.
            _ = connection.as_mut() => {}
            () = stop.stopped() => {
                connection.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(timeout, connection).await;
            }
        }
    }

    async fn route(self: &Arc<Self>, request: Request<Incoming>, listener: Listener) -> Response<Body> {
        if request.method() != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET is understood here\n");
        }
        match (request.uri().path(), listener) {
            ("/v1/ws", Listener::Public) => upgrade::upgrade(self, request).await,
            ("/healthz", _) => text(StatusCode::OK, "alive\n"),
            ("/readyz", _) => admin::ready(&self.sessions),
            ("/version", _) => text(StatusCode::OK, concat!(env!("CARGO_PKG_VERSION"), "\n")),
            ("/metrics", Listener::Admin) => admin::metrics(&self.exporter),
            _ => text(StatusCode::NOT_FOUND, "nothing here; the WebSocket is at /v1/ws\n"),
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
