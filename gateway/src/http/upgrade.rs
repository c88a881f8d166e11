//! From an HTTP request to a session (RFC 6455 section 4.2).

use std::sync::Arc;
use std::time::Duration;

use hallway_protocol::codec::Codec;
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONNECTION, HeaderMap, HeaderName, HeaderValue, ORIGIN, RETRY_AFTER, SEC_WEBSOCKET_ACCEPT,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::upgrade::Upgraded as HyperUpgraded;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rand::RngExt;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{Body, Routes, text};
use crate::session::Upgraded;
use crate::telemetry::labels::RefusedReason;

/// When clients that found the node full or stopping should try again: spread over this time.
const RETRY_AFTER_MS: std::ops::Range<u64> = 1000..3000;
/// The same as `Retry-After`, to the millisecond: whole seconds would bring many back at the same time.
const RETRY_AFTER_MS_NAME: HeaderName = HeaderName::from_static("retry-after-ms");

pub(super) async fn upgrade(routes: &Arc<Routes>, mut request: Request<Incoming>) -> Response<Body> {
    let metrics = routes.sessions.service.metrics();
    let checked = check(routes, request.headers());
    let (codec, accept, named) = match checked {
        Ok(checked) => checked,
        Err((reason, response)) => {
            metrics.connections_refused.add(reason);
            return *response;
        }
    };
    let refuse = |reason, message, after: Option<Duration>| {
        metrics.connections_refused.add(reason);
        let jittered = || Duration::from_millis(rand::rng().random_range(RETRY_AFTER_MS));
        come_back(message, after.unwrap_or_else(jittered))
    };
    let Some(place) = routes.sessions.place() else {
        return refuse(RefusedReason::Full, "this node is full: try again soon\n", None);
    };
    let permit = match routes.sessions.admission.admit().await {
        Ok(permit) => permit,
        Err(after) => return refuse(RefusedReason::Busy, "too many come at once: try again soon\n", Some(after)),
    };
    if routes.sessions.tasks.is_stopped() {
        return refuse(RefusedReason::Draining, "this node is stopping: try another\n", None);
    }
    let token = bearer(request.headers());
    let sessions = Arc::clone(&routes.sessions);
    let upgrade = hyper::upgrade::on(&mut request);
    routes.sessions.tasks.spawn(async move {
        let Ok(upgraded) = upgrade.await else { return };
        let Some(upgraded) = raw(upgraded) else { return };
        sessions.begin(upgraded, codec, token, place, permit).await;
    });
    switching(codec, &accept, named)
}

/// 503 with the time to wait: whole seconds for those who know only these, at least one.
fn come_back(message: &'static str, after: Duration) -> Response<Body> {
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, message);
    let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    let headers = response.headers_mut();
    headers.insert(RETRY_AFTER, HeaderValue::from(after_ms.div_ceil(1000).max(1)));
    headers.insert(RETRY_AFTER_MS_NAME, HeaderValue::from(after_ms));
    response
}

/// The TCP socket beneath hyper, and what hyper had read from it already.
fn raw(upgraded: HyperUpgraded) -> Option<Upgraded> {
    let parts = upgraded.downcast::<TokioIo<TcpStream>>().ok()?;
    Some(Upgraded { socket: parts.io.into_inner(), early: parts.read_buf })
}

type Refused = (RefusedReason, Box<Response<Body>>);

/// The codec, the accept key, and whether the client named a subprotocol.
fn check(routes: &Routes, headers: &HeaderMap) -> Result<(Codec, HeaderValue, bool), Refused> {
    let bad = |message: &'static str| (RefusedReason::BadRequest, Box::new(text(StatusCode::BAD_REQUEST, message)));
    if let Some(origin) = headers.get(ORIGIN) {
        let allowed = origin.to_str().is_ok_and(|origin| routes.server.origin_allowed(origin));
        if !allowed {
            let message = "this Origin is not in server.allowed_origins\n";
            return Err((RefusedReason::Origin, Box::new(text(StatusCode::FORBIDDEN, message))));
        }
    }
    if !has_token(headers, CONNECTION, "upgrade") || !has_token(headers, UPGRADE, "websocket") {
        let message = "/v1/ws speaks WebSocket: send Connection: Upgrade and Upgrade: websocket\n";
        let mut response = text(StatusCode::UPGRADE_REQUIRED, message);
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
        return Err((RefusedReason::BadRequest, Box::new(response)));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let mut response = text(StatusCode::UPGRADE_REQUIRED, "Sec-WebSocket-Version must be 13\n");
        response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        return Err((RefusedReason::BadRequest, Box::new(response)));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| bad("no Sec-WebSocket-Key\n"))?;
    let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()))
        .map_err(|_| bad("Sec-WebSocket-Key cannot be read\n"))?;
    let offered: Vec<&str> = headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
        .collect();
    if offered.is_empty() {
        return Ok((Codec::Json, accept, false));
    }
    let codec = offered
        .iter()
        .find_map(|name| Codec::from_subprotocol(name))
        .ok_or_else(|| bad("no subprotocol that this node knows: offer hallway.v1.json or hallway.v1.postcard\n"))?;
    Ok((codec, accept, true))
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|value| value.trim().eq_ignore_ascii_case(token))
}

fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

fn switching(codec: Codec, accept: &HeaderValue, named: bool) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept.clone());
    if named {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(codec.subprotocol()));
    }
    response
}
