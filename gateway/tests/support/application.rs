//! The application that webhooks go to: an HTTP server on the loopback that checks signatures, keeps what came, and answers
//! as it is told.
#![allow(dead_code, reason = "several test binaries share it, and each uses another part")]

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use hallway_gateway::outbox::{ATTEMPT_HEADER, JOB_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
use hallway_gateway::tasks::Tasks;
use hmac::{Hmac, KeyInit as _, Mac as _};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What webhooks are signed with.
pub(crate) const SECRET: &str = "the-application-knows-0123456789abcdef";
/// How long a test waits for a webhook before it fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// A webhook as it came.
#[derive(Debug, Clone)]
pub(crate) struct Hook {
    pub(crate) job: u64,
    pub(crate) attempt: u32,
    /// Whether the answer was that it was taken.
    pub(crate) taken: bool,
    pub(crate) body: Value,
}

impl Hook {
    /// Who is told what: user, reason, title.
    pub(crate) fn told(&self) -> Vec<(String, String, String)> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let items = self.body["notifications"].as_array().expect("a list");
        let told = items.iter().map(|item| (&item["user"], &item["why"], &item["notification"]["title"]));
        told.map(|(user, why, title)| (text(user), text(why), text(title))).collect()
    }
}

pub(crate) struct Application {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    tasks: Tasks,
}

struct Shared {
    hooks: watch::Sender<Vec<Hook>>,
    status: AtomicU16,
    /// Answers nothing.
    holds: AtomicBool,
    faults: Mutex<Vec<String>>,
}

impl Application {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let shared = Arc::new(Shared {
            hooks: watch::Sender::default(),
            status: AtomicU16::new(200),
            holds: AtomicBool::new(false),
            faults: Mutex::default(),
        });
        let (tasks, serving) = (Tasks::default(), Arc::clone(&shared));
        let connections = tasks.clone();
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    taken = listener.accept() => {
                        let Ok((socket, _)) = taken else { continue };
                        let shared = Arc::clone(&serving);
                        connections.spawn(async move {
                            let service = service_fn(move |request| Arc::clone(&shared).answer(request));
                            let io = TokioIo::new(socket);
                            let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
                        });
                    }
                    () = connections.stopped() => return,
                }
            }
        });
        Self { address, shared, tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    /// Everything is answered with this status from now on.
    pub(crate) fn answers(&self, status: u16) {
        self.shared.status.store(status, Ordering::SeqCst);
    }

    /// Nothing is answered from now on, or everything again that comes from now on.
    pub(crate) fn holds(&self, holds: bool) {
        self.shared.holds.store(holds, Ordering::SeqCst);
    }

    pub(crate) fn hooks(&self) -> Vec<Hook> {
        assert_eq!(*self.shared.faults.lock().expect("nobody panicked with it"), Vec::<String>::new());
        self.shared.hooks.borrow().clone()
    }

    /// All webhooks that came, once they satisfy a condition.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&[Hook]) -> bool) -> Vec<Hook> {
        let mut hooks = self.shared.hooks.subscribe();
        let waited = tokio::time::timeout(PATIENCE, hooks.wait_for(|hooks| wanted(hooks))).await.is_ok();
        assert!(waited, "waited in vain for {what}; there are {:?}", self.hooks());
        self.hooks()
    }

    /// What everybody was told in webhooks that were taken.
    pub(crate) fn told(&self) -> Vec<(String, String, String)> {
        self.hooks().iter().filter(|hook| hook.taken).flat_map(Hook::told).collect()
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

impl Shared {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length will do");
        mac.update(header(TIMESTAMP_HEADER).as_bytes());
        mac.update(b".");
        mac.update(&body);
        let expected: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        if header(SIGNATURE_HEADER) != format!("v1={expected}") {
            self.faults.lock().expect("nobody panicked with it").push("a webhook is not signed by us".to_owned());
        }
        let status = self.status.load(Ordering::SeqCst);
        let hook = Hook {
            job: header(JOB_HEADER).parse().unwrap_or_default(),
            attempt: header(ATTEMPT_HEADER).parse().unwrap_or_default(),
            taken: status < 300 && !self.holds.load(Ordering::SeqCst),
            body: serde_json::from_slice(&body).unwrap_or_default(),
        };
        self.hooks.send_modify(|hooks| hooks.push(hook));
        if self.holds.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let mut response = Response::new(Full::new(Bytes::new()));
        *response.status_mut() = status.try_into().expect("a status");
        Ok(response)
    }
}
