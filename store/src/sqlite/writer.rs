//! The thread that owns the writing connection.

use std::sync::Mutex;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::closed;
use crate::StoreError;
use crate::error::Cause;

/// Jobs that wait for the writer; who comes then waits to hand over, which is definite.
const QUEUE_MAX: usize = 64;

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Hands jobs to the writer's thread, which ends when this is closed or dropped.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Writer {
    pub(super) fn start(mut connection: Connection) -> Result<Self, StoreError> {
        let (jobs, mut waiting) = mpsc::channel::<Job>(QUEUE_MAX);
        let thread = std::thread::Builder::new()
            .name("sqlite-writer".to_owned())
            .spawn(move || {
                while let Some(job) = waiting.blocking_recv() {
                    // A panic in one job must not take the writer along; its transaction was rolled back on the way out.
                    let job = std::panic::AssertUnwindSafe(|| job(&mut connection));
                    if std::panic::catch_unwind(job).is_err() {
                        tracing::error!("a job of the store's writer panicked");
                    }
                }
            })
            .map_err(|error| StoreError::Unusable(format!("cannot start the writer's thread: {error}")))?;
        Ok(Self { jobs: Mutex::new(Some(jobs)), thread: Mutex::new(Some(thread)) })
    }

    /// Runs a job on the writer's thread. It is carried out even if the caller goes away.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let jobs = self.jobs.lock().ok().and_then(|jobs| jobs.clone()).ok_or_else(closed)?;
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // The caller may have hung up; the work is done all the same.
            let _ = answer.send(job(connection));
        });
        jobs.send(job).await.map_err(|_| closed())?;
        drop(jobs);
        answered.await.unwrap_or_else(|_| {
            Err(StoreError::OutcomeUnknown(Cause::from("the store's writer ended before it answered")))
        })
    }

    /// Takes no more jobs, finishes those that wait, and closes the connection.
    pub(super) async fn close(&self) {
        if let Ok(mut jobs) = self.jobs.lock() {
            jobs.take();
        }
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            // Its panics are caught inside; there is nothing to learn from the result.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if let Ok(mut jobs) = self.jobs.lock() {
            jobs.take();
        }
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}
