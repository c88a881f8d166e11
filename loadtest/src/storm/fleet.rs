//! The workers, seen from the coordinator. Dropping it ends them.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::job::{Ended, Job, Order, Report};
use crate::run::Failure;

/// Reports that wait to be read.
const REPORTS_MAX: usize = 1024;
/// A worker that has to connect all its clients, or to read everything once more, may take so long.
const ANSWER_WITHIN: Duration = Duration::from_secs(300);

struct Worker {
    child: Child,
    input: ChildStdin,
}

pub(super) struct Fleet {
    workers: Vec<Worker>,
    reports: mpsc::Receiver<(usize, Report)>,
}

impl Fleet {
    /// Starts one worker for each job.
    pub(super) fn start(jobs: &[Job]) -> Result<Self, Failure> {
        let (outbox, reports) = mpsc::channel(REPORTS_MAX);
        let mut fleet = Self { workers: Vec::new(), reports };
        for (number, job) in jobs.iter().enumerate() {
            let mut child = Command::new(std::env::current_exe()?)
                .arg("storm-worker")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let (input, output) = (child.stdin.take(), child.stdout.take());
            let input = input.ok_or("the worker has no input")?;
            fleet.workers.push(Worker { child, input });
            let output = BufReader::new(output.ok_or("the worker has no output")?);
            let outbox = outbox.clone();
            std::thread::Builder::new().name(format!("storm-{number}")).spawn(move || {
                let mut has_ended = false;
                for line in output.lines() {
                    // What is said for people is not for us.
                    if line.as_ref().is_ok_and(|line| !line.starts_with('{')) {
                        continue;
                    }
                    let report = line.map_err(serde_json::Error::io).and_then(|line| serde_json::from_str(&line));
                    let report = report.unwrap_or_else(|error| Report::Failed(format!("an odd report: {error}")));
                    has_ended |= matches!(report, Report::Ended(_));
                    if outbox.blocking_send((number, report)).is_err() {
                        return;
                    }
                }
                if !has_ended {
                    let _ = outbox.blocking_send((number, Report::Failed("it ended".to_owned())));
                }
            })?;
            fleet.say(number, &serde_json::to_string(job)?)?;
        }
        Ok(fleet)
    }

    fn say(&mut self, number: usize, line: &str) -> Result<(), Failure> {
        let input = &mut self.workers[number].input;
        writeln!(input, "{line}")?;
        Ok(input.flush()?)
    }

    fn say_to_all(&mut self, order: Order) -> Result<(), Failure> {
        let line = serde_json::to_string(&order)?;
        (0..self.workers.len()).try_for_each(|number| self.say(number, &line))
    }

    async fn next(&mut self, until: Instant) -> Result<Option<(usize, Report)>, Failure> {
        match tokio::time::timeout_at(until.into(), self.reports.recv()).await {
            Err(_) => Ok(None),
            Ok(None) => Err("the workers are gone".into()),
            Ok(Some((number, Report::Failed(why)))) => Err(format!("worker {number} gave up: {why}").into()),
            Ok(Some(report)) => Ok(Some(report)),
        }
    }

    /// Waits until all clients are in their rooms; says how many there are.
    pub(super) async fn ready(&mut self) -> Result<u64, Failure> {
        let until = Instant::now() + ANSWER_WITHIN;
        let (mut waiting, mut sum) = (self.workers.len(), 0);
        while waiting > 0 {
            match self.next(until).await? {
                None => return Err(format!("not all clients were connected within {ANSWER_WITHIN:?}").into()),
                Some((_, Report::Ready { clients })) => {
                    waiting -= 1;
                    sum += clients;
                }
                Some(_) => {}
            }
        }
        Ok(sum)
    }

    /// A node was killed. How many clients lost it, and when the last of them was back, if all were by `until`.
    pub(super) async fn storm(&mut self, node: usize, until: Instant) -> Result<(u64, Option<Instant>), Failure> {
        self.say_to_all(Order::Lost { node })?;
        let mut all: Vec<Option<(u64, u64)>> = vec![None; self.workers.len()];
        let lost = |all: &[Option<(u64, u64)>]| all.iter().flatten().map(|(lost, _)| lost).sum();
        while let Some((number, report)) = self.next(until).await? {
            if let Report::Back { lost, back } = report {
                all[number] = Some((lost, back));
            }
            if all.iter().all(|one| one.is_some_and(|(lost, back)| lost == back)) {
                return Ok((lost(&all), Some(Instant::now())));
            }
        }
        Ok((lost(&all), None))
    }

    /// Ends the talking and collects what everybody saw.
    pub(super) async fn end(&mut self) -> Result<Ended, Failure> {
        self.say_to_all(Order::End)?;
        let until = Instant::now() + ANSWER_WITHIN;
        let (mut waiting, mut sum) = (self.workers.len(), Ended::default());
        while waiting > 0 {
            match self.next(until).await? {
                None => return Err(format!("not all workers ended within {ANSWER_WITHIN:?}").into()),
                Some((_, Report::Ended(ended))) => {
                    waiting -= 1;
                    sum.add(*ended);
                }
                Some(_) => {}
            }
        }
        Ok(sum)
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            let _ = worker.child.kill();
            let _ = worker.child.wait();
        }
    }
}
