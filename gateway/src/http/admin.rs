//! Readiness and metrics.

use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};

use super::{Body, text};
use crate::session::Sessions;
use crate::telemetry::Exporter;

pub(super) fn ready(sessions: &Sessions) -> Response<Body> {
    if sessions.farewell.is_leaving() {
        return text(StatusCode::SERVICE_UNAVAILABLE, "not ready: the node is stopping\n");
    }
    let readiness = sessions.service.readiness();
    if !readiness.store_up {
        return text(StatusCode::SERVICE_UNAVAILABLE, "not ready: the store does not answer\n");
    }
    if !readiness.bus_up {
        return text(
            StatusCode::OK,
            "ready, degraded: the bus does not answer, other nodes are heard through the store\n",
        );
    }
    text(StatusCode::OK, "ready\n")
}

pub(super) fn metrics(exporter: &Exporter) -> Response<Body> {
    let Ok(rendered) = exporter.render() else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be rendered\n");
    };
    let mut response = text(StatusCode::OK, rendered);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4"));
    response
}
