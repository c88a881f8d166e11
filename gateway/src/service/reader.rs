//! Reads of the log: what many ask for at once is read once, in one statement.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hallway_store::{PageRequest, Store};
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::hub::{LiveEvent, LogPage, LogRead, LogReader};
use crate::tasks::Tasks;
use crate::telemetry::metrics::Metrics;

/// Readers that may wait for the next statement.
const QUEUE_MAX_REQUESTS: usize = 4096;
/// Requests that share one statement.
const STATEMENT_MAX_STREAMS: usize = 512;

struct Wanted {
    requests: Vec<PageRequest>,
    reply: oneshot::Sender<Option<Vec<LogPage>>>,
}

/// The way to the reader task. Cheap to clone.
#[derive(Clone)]
pub struct PageReader {
    queue: mpsc::Sender<Wanted>,
}

impl PageReader {
    /// Starts the reader.
    #[must_use]
    pub fn start(store: Arc<dyn Store>, timeout: Duration, metrics: Arc<Metrics>, tasks: &Tasks) -> Self {
        let (queue, wanted) = mpsc::channel(QUEUE_MAX_REQUESTS);
        let stop = tasks.clone();
        tasks.spawn(async move { read_loop(store, timeout, metrics, wanted, stop).await });
        Self { queue }
    }

    /// Reads pages of several streams in one snapshot, shared with whoever asks for the same at the same time. `None` when
    /// the store did not answer: it was logged, try again later.
    pub async fn pages(&self, requests: Vec<PageRequest>) -> Option<Vec<LogPage>> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Wanted { requests, reply }).await.ok()?;
        answer.await.ok().flatten()
    }
}

impl LogReader for PageReader {
    fn read(&self, reads: Vec<LogRead>) -> Pin<Box<dyn Future<Output = Option<Vec<LogPage>>> + Send + '_>> {
        let requests = reads
            .into_iter()
            .map(|read| PageRequest { stream: read.stream, after: read.after, limit: read.limit })
            .collect();
        Box::pin(self.pages(requests))
    }
}

async fn read_loop(
    store: Arc<dyn Store>,
    timeout: Duration,
    metrics: Arc<Metrics>,
    mut wanted: mpsc::Receiver<Wanted>,
    tasks: Tasks,
) {
    let mut next: Option<Wanted> = None;
    loop {
        let first = match next.take() {
            Some(first) => first,
            None => tokio::select! {
                first = wanted.recv() => match first { Some(first) => first, None => return },
                () = tasks.stopped() => return,
            },
        };
        let mut asked = vec![first];
        let mut streams = asked[0].requests.len();
        while let Ok(more) = wanted.try_recv() {
            if streams + more.requests.len() > STATEMENT_MAX_STREAMS {
                next = Some(more);
                break;
            }
            streams += more.requests.len();
            asked.push(more);
        }
        answer(&*store, timeout, &metrics, asked).await;
    }
}

async fn answer(store: &dyn Store, timeout: Duration, metrics: &Metrics, asked: Vec<Wanted>) {
    let mut index_of: HashMap<PageRequest, usize> = HashMap::new();
    let mut distinct: Vec<PageRequest> = Vec::new();
    for request in asked.iter().flat_map(|wanted| &wanted.requests) {
        index_of.entry(request.clone()).or_insert_with(|| {
            distinct.push(request.clone());
            distinct.len() - 1
        });
    }
    metrics.store_pages.add(1);
    metrics.store_page_streams.add(distinct.len() as u64);
    let pages: Option<Vec<LogPage>> = match tokio::time::timeout(timeout, store.pages(distinct)).await {
        Ok(Ok(batch)) => Some(
            batch
                .pages
                .into_iter()
                .map(|page| LogPage {
                    epoch: batch.epoch.clone(),
                    first_seq: page.head.first_seq,
                    last_seq: page.head.last_seq,
                    events: page.events.into_iter().map(|event| Arc::new(LiveEvent::new(event))).collect(),
                })
                .collect(),
        ),
        Ok(Err(error)) => {
            warn!(%error, "reading the log failed");
            None
        }
        Err(_) => {
            warn!("reading the log took too long");
            None
        }
    };
    for wanted in asked {
        let answer = pages.as_ref().map(|pages| {
            wanted.requests.iter().filter_map(|request| pages.get(*index_of.get(request)?).cloned()).collect()
        });
        let _ = wanted.reply.send(answer);
    }
}
