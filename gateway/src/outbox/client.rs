//! One attempt: resolve, check the address, connect to it, ask once.
//!
//! A connection serves one request. Nothing is followed, nothing is kept, and the answer's body is read only so far and thrown
//! away: what it says may be anybody's data.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hallway_store::Job;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::address;
use super::signature::{ATTEMPT_HEADER, JOB_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, sign};
use super::target::Target;
use super::verdict::{Attempt, retry_after_ms};

/// Addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;
/// Bytes of the answer's head.
const HEAD_MAX_BYTES: usize = 16 * 1024;

/// What an attempt may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) connect: Duration,
    pub(super) response_max_bytes: usize,
}

trait Way: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Way for T {}

/// Delivers a job, or says why not.
pub(super) async fn deliver(target: &Target, job: &Job, bounds: Bounds) -> Attempt {
    let whole = async {
        let way = match timeout(bounds.connect, connect(target)).await {
            Ok(Ok(way)) => way,
            Ok(Err(failed)) => return failed,
            Err(_) => return Attempt::Unanswered(format!("no connection within {} ms", bounds.connect.as_millis())),
        };
        exchange(target, job, way, bounds).await
    };
    match timeout(target.timeout, whole).await {
        Ok(attempt) => attempt,
        Err(_) => Attempt::Unanswered(format!("no answer within {} ms", target.timeout.as_millis())),
    }
}

async fn connect(target: &Target) -> Result<Box<dyn Way>, Attempt> {
    let socket = connect_to_one_of(resolve(target).await?).await?;
    // A webhook is one write; waiting for more of it helps nobody.
    let _ = socket.set_nodelay(true);
    let Some((tls, server)) = &target.tls else { return Ok(Box::new(socket)) };
    match tls.connect(server.clone(), socket).await {
        Ok(socket) => Ok(Box::new(socket)),
        Err(error) => Err(Attempt::Unanswered(format!("TLS: {error}"))),
    }
}

/// The addresses of the target that it may have.
async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, Attempt> {
    let found = tokio::net::lookup_host((target.url.host(), target.url.port())).await;
    let found =
        found.map_err(|error| Attempt::Unanswered(format!("{} was not resolved: {error}", target.url.host())))?;
    let mut refused = None;
    let mut taken = Vec::new();
    for socket in found {
        match address::refusal(socket.ip()) {
            Some(why) if !target.allow_private => refused = Some((socket.ip(), why)),
            _ => taken.push(socket),
        }
    }
    taken.truncate(ADDRESSES_MAX);
    match (taken.is_empty(), refused) {
        (false, _) => Ok(taken),
        (true, Some((address, why))) => Err(Attempt::Forbidden(format!(
            "{} is {address}, which is {why}: set allow_private for this target if it is yours",
            target.url.host()
        ))),
        (true, None) => Err(Attempt::Unanswered(format!("{} has no address", target.url.host()))),
    }
}

async fn connect_to_one_of(addresses: Vec<SocketAddr>) -> Result<TcpStream, Attempt> {
    let mut last = "no address".to_owned();
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => return Ok(socket),
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    Err(Attempt::Unanswered(last))
}

async fn exchange(target: &Target, job: &Job, way: Box<dyn Way>, bounds: Bounds) -> Attempt {
    let failed = |error: &dyn std::fmt::Display| Attempt::Unanswered(format!("HTTP: {error}"));
    let begun = hyper::client::conn::http1::Builder::new().max_buf_size(HEAD_MAX_BYTES).handshake(TokioIo::new(way));
    let (mut sender, connection) = match begun.await {
        Ok(begun) => begun,
        Err(error) => return failed(&error),
    };
    let request = match request(target, job) {
        Ok(request) => request,
        Err(error) => return failed(&error),
    };
    let asked = async {
        match sender.send_request(request).await {
            Ok(response) => answered(response, bounds.response_max_bytes).await,
            Err(error) => failed(&error),
        }
    };
    // When the connection ends first, what it had for the request is there all the same.
    let driven = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        attempt = asked => attempt,
        attempt = driven => attempt,
    }
}

fn request(target: &Target, job: &Job) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let body = Bytes::copy_from_slice(job.body.as_bytes());
    Request::post(target.url.path_and_query())
        .header(HOST, target.url.authority())
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("hallway/", env!("CARGO_PKG_VERSION")))
        .header(CONNECTION, "close")
        .header(JOB_HEADER, job.number)
        .header(ATTEMPT_HEADER, job.attempt)
        .header(TIMESTAMP_HEADER, since_1970.as_secs())
        .header(SIGNATURE_HEADER, sign(&target.secret, since_1970.as_secs(), &body))
        .body(Full::new(body))
}

/// The status counts as soon as it is there; the body is read as a courtesy, so far and no further.
async fn answered(response: Response<Incoming>, body_max_bytes: usize) -> Attempt {
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| retry_after_ms(value.to_str().ok()?));
    let status = response.status().as_u16();
    let mut body = response.into_body();
    let mut left = body_max_bytes;
    let drained = async {
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(length) {
                Some(rest) if rest > 0 => left = rest,
                _ => return,
            }
        }
    };
    let _ = timeout(BODY_PATIENCE, drained).await;
    Attempt::Answered { status, retry_after_ms: retry_after }
}

/// How long the rest of an answer is read whose status is known.
const BODY_PATIENCE: Duration = Duration::from_millis(500);
