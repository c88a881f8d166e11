//! A target that answers as it is told, and an outbox in memory.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use hallway_protocol::notification::{JobState, JobTrace};
use hallway_store::{DeadJobsPage, Job, JobClaim, JobOutcome, JobResult, NewJob, Outbox, StoreError};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::config::{Config, Limits, Secret, WebhookConfig, WebhookUrl};
use crate::outbox::{Targets, Webhooks};
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

pub(super) const SECRET: &str = "webhooks-of-tests-0123456789abcdef";
/// How long a test waits for anything before it fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// How the server answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Status(u16),
    /// To another address.
    Redirect(SocketAddr),
    /// When it is told to.
    Held,
    /// Bytes without an end.
    Endless,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// The application.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    shared: Arc<ServerShared>,
    tasks: Tasks,
}

struct ServerShared {
    answers: Mutex<(VecDeque<Answer>, Answer)>,
    asked: watch::Sender<Vec<Asked>>,
    released: watch::Sender<bool>,
    /// Under way now, and the most that ever were.
    under_way: Mutex<(usize, usize)>,
}

impl Server {
    /// Answers everything with this.
    pub(super) async fn start(always: Answer) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(ServerShared {
            answers: Mutex::new((VecDeque::new(), always)),
            asked: watch::Sender::new(Vec::new()),
            released: watch::Sender::new(false),
            under_way: Mutex::default(),
        });
        let (tasks, serving) = (Tasks::default(), Arc::clone(&shared));
        let connections = tasks.clone();
        tasks.spawn(async move {
            loop {
                tokio::select! {
                    taken = listener.accept() => {
                        let (socket, _) = taken.unwrap();
                        let shared = Arc::clone(&serving);
                        connections.spawn(async move {
                            let service = service_fn(move |request| Arc::clone(&shared).answer(request));
                            let _ = hyper::server::conn::http1::Builder::new()
                                .serve_connection(TokioIo::new(socket), service)
                                .await;
                        });
                    }
                    () = connections.stopped() => return,
                }
            }
        });
        Self { address, shared, tasks }
    }

    /// The next requests are answered so, one after the other, and all later ones as before.
    pub(super) fn then(&self, answers: &[Answer]) {
        self.shared.answers.lock().unwrap().0.extend(answers);
    }

    pub(super) fn always(&self, answer: Answer) {
        self.shared.answers.lock().unwrap().1 = answer;
    }

    /// Answers those that are held, and all later ones at once.
    pub(super) fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// Everything that came, once so much came.
    pub(super) async fn asked(&self, count: usize) -> Vec<Asked> {
        let mut asked = self.shared.asked.subscribe();
        let waited = tokio::time::timeout(PATIENCE, asked.wait_for(|asked| asked.len() >= count)).await;
        assert!(waited.is_ok(), "{} requests came, not {count}", self.count());
        self.shared.asked.borrow().clone()
    }

    pub(super) fn count(&self) -> usize {
        self.shared.asked.borrow().len()
    }

    pub(super) fn most_at_once(&self) -> usize {
        self.shared.under_way.lock().unwrap().1
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.stop();
    }
}

type Body = http_body_util::combinators::BoxBody<Bytes, Infallible>;

impl ServerShared {
    async fn answer(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        {
            let mut under_way = self.under_way.lock().unwrap();
            under_way.0 += 1;
            under_way.1 = under_way.1.max(under_way.0);
        }
        let path = parts.uri.path_and_query().unwrap().to_string();
        self.asked.send_modify(|asked| asked.push(Asked { path, headers: parts.headers, body }));
        let answer = {
            let mut answers = self.answers.lock().unwrap();
            answers.0.pop_front().unwrap_or(answers.1)
        };
        let mut response = Response::new(Full::new(Bytes::from_static(b"thank you")).boxed());
        match answer {
            Answer::Status(status) => *response.status_mut() = status.try_into().unwrap(),
            Answer::Redirect(to) => {
                *response.status_mut() = hyper::StatusCode::TEMPORARY_REDIRECT;
                response.headers_mut().insert("location", format!("http://{to}/").parse().unwrap());
            }
            Answer::Held => {
                let mut released = self.released.subscribe();
                let _ = released.wait_for(|released| *released).await;
            }
            Answer::Endless => *response.body_mut() = Endless.boxed(),
        }
        self.under_way.lock().unwrap().0 -= 1;
        Ok(response)
    }
}

struct Endless;

impl hyper::body::Body for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Infallible>>> {
        std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(Bytes::from_static(&[b'x'; 4096])))))
    }
}

/// The outbox in memory.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) rows: Mutex<BTreeMap<u64, Row>>,
    changed: watch::Sender<u64>,
    /// Most times that a claim or a finish fails yet.
    pub(super) failures: Mutex<u32>,
}

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) job: NewJob,
    pub(super) state: JobState,
    pub(super) attempts: u32,
    ready_at: Instant,
    pub(super) error: Option<String>,
}

impl Memory {
    pub(super) fn put(&self, target: &str, body: &str) -> u64 {
        let job = NewJob {
            target: target.to_owned(),
            priority: 0,
            attempts_max: 3,
            body: body.to_owned(),
            notifications: Vec::new(),
        };
        let mut rows = self.rows.lock().unwrap();
        let number = rows.len() as u64 + 1;
        let state = JobState::Waiting;
        rows.insert(number, Row { job, state, attempts: 0, ready_at: Instant::now(), error: None });
        number
    }

    pub(super) fn row(&self, number: u64) -> Row {
        self.rows.lock().unwrap()[&number].clone()
    }

    /// Waits until a job is in this state.
    pub(super) async fn until(&self, number: u64, state: JobState) -> Row {
        let mut changed = self.changed.subscribe();
        let waited = tokio::time::timeout(PATIENCE, changed.wait_for(|_| self.row(number).state == state)).await;
        assert!(waited.is_ok(), "the job stays {:?}", self.row(number));
        self.row(number)
    }

    /// Waits until a job is delivered or dead.
    pub(super) async fn until_finished(&self, number: u64) -> Row {
        let is_finished = |row: &Row| matches!(row.state, JobState::Done | JobState::Dead);
        let mut changed = self.changed.subscribe();
        let waited = tokio::time::timeout(PATIENCE, changed.wait_for(|_| is_finished(&self.row(number)))).await;
        assert!(waited.is_ok(), "the job stays {:?}", self.row(number));
        self.row(number)
    }

    fn fail(&self) -> Result<(), StoreError> {
        let mut failures = self.failures.lock().unwrap();
        match failures.checked_sub(1) {
            Some(rest) => {
                *failures = rest;
                Err(StoreError::Unavailable("told to fail".into()))
            }
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Outbox for Memory {
    async fn claim_jobs(&self, claim: JobClaim) -> Result<Vec<Job>, StoreError> {
        self.fail()?;
        let now = Instant::now();
        let mut rows = self.rows.lock().unwrap();
        let mut claimed = Vec::new();
        for (number, row) in rows.iter_mut() {
            let is_ready = matches!(row.state, JobState::Waiting | JobState::Claimed) && row.ready_at <= now;
            if claimed.len() >= claim.limit as usize || !is_ready || !claim.targets.contains(&row.job.target) {
                continue;
            }
            if row.attempts >= row.job.attempts_max {
                row.state = JobState::Dead;
                continue;
            }
            row.attempts += 1;
            row.state = JobState::Claimed;
            row.ready_at = now + Duration::from_millis(claim.lease_ms);
            claimed.push(Job {
                number: *number,
                target: row.job.target.clone(),
                body: row.job.body.clone(),
                attempt: row.attempts,
                attempts_max: row.job.attempts_max,
                created_at_ms: 0,
            });
        }
        Ok(claimed)
    }

    async fn finish_jobs(&self, results: Vec<JobResult>) -> Result<(), StoreError> {
        self.fail()?;
        for result in results {
            let mut rows = self.rows.lock().unwrap();
            let row = rows.get_mut(&result.number).unwrap();
            if row.attempts != result.attempt || row.state != JobState::Claimed {
                continue;
            }
            let is_last = row.attempts >= row.job.attempts_max;
            (row.state, row.error) = match result.outcome {
                JobOutcome::Delivered => (JobState::Done, None),
                JobOutcome::Failed { retry_after_ms, error } if !is_last => {
                    row.ready_at = Instant::now() + Duration::from_millis(retry_after_ms);
                    (JobState::Waiting, Some(error))
                }
                JobOutcome::Failed { error, .. } | JobOutcome::Refused { error } => (JobState::Dead, Some(error)),
            };
        }
        self.changed.send_modify(|changes| *changes += 1);
        Ok(())
    }

    async fn dead_jobs(&self, _: Option<u64>, _: u32) -> Result<DeadJobsPage, StoreError> {
        Ok(DeadJobsPage { jobs: Vec::<JobTrace>::new(), more: false })
    }

    async fn replay_jobs(&self, _: Vec<u64>, _: u32) -> Result<u64, StoreError> {
        Err(StoreError::Unusable("nothing is replayed here".to_owned()))
    }

    async fn trim_jobs(&self, _: u32, _: u32) -> Result<bool, StoreError> {
        Ok(false)
    }
}

/// A configuration with one target at this address.
pub(super) fn target(url: &str) -> WebhookConfig {
    WebhookConfig {
        url: Some(WebhookUrl::parse(url).unwrap()),
        secret: Some(Secret::new(SECRET)),
        allow_private: true,
        ..WebhookConfig::default()
    }
}

pub(super) fn targets(configured: impl IntoIterator<Item = (&'static str, WebhookConfig)>) -> Targets {
    let webhooks = configured.into_iter().map(|(name, target)| (name.to_owned(), target)).collect();
    Targets::open(&Config { webhooks, ..Config::default() }).unwrap()
}

/// A node's webhooks.
pub(super) struct Node {
    pub(super) webhooks: Webhooks,
    pub(super) metrics: Arc<Metrics>,
    tasks: Tasks,
}

impl Node {
    pub(super) fn start(store: &Arc<Memory>, targets: Targets, change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = Limits { webhook_retry_ms: 10, webhook_rest_ms: 50, ..Limits::default() };
        change(&mut limits);
        let (metrics, _exporter) = Metrics::new().unwrap();
        let tasks = Tasks::default();
        let webhooks = Webhooks::start(Arc::clone(store) as _, targets, &limits, Arc::clone(&metrics), &tasks);
        Self { webhooks, metrics, tasks }
    }

    /// Stops it, and waits for the end.
    pub(super) async fn stop(self) {
        self.tasks.stop();
        tokio::time::timeout(PATIENCE, self.tasks.ended()).await.unwrap();
    }
}
