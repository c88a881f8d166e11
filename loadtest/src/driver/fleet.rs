//! All workers together, seen from the coordinator.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::clock::now_ns;
use super::histogram;
use super::job::{Connected, Counts, Job, Order, Pace, Phase, Report, Talked, Verdict};
use crate::run::Failure;

/// Most files that a worker may have open: the machine's hard limit.
pub(crate) const FILES_MAX: u64 = 20_000;
/// Files that a worker needs besides its connections.
pub(crate) const SPARE_FILES: u64 = 32;
/// Reports that wait to be read.
const REPORTS_MAX: usize = 1024;
/// Without a word from a worker for this long it counts as dead: it says something every second.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Time that a worker has to end by itself once its input is closed.
const END_WITHIN: Duration = Duration::from_secs(5);

struct Worker {
    child: Child,
    input: Option<ChildStdin>,
    seats: usize,
    rooms: usize,
    counts: Counts,
}

/// Worker processes, and what they say. Dropping it ends them.
pub(crate) struct Fleet {
    workers: Vec<Worker>,
    inbox: Receiver<(usize, Report)>,
    /// What came while time was waited for.
    early: VecDeque<Report>,
    /// Gets the totals about once a second.
    progress: Box<dyn FnMut(Counts)>,
    opened: usize,
}

impl Fleet {
    /// Starts one worker for each job.
    pub(crate) fn start(jobs: &[Job], progress: Box<dyn FnMut(Counts)>) -> Result<Self, Failure> {
        let (outbox, inbox) = sync_channel(REPORTS_MAX);
        let mut fleet = Self { workers: Vec::new(), inbox, early: VecDeque::new(), progress, opened: 0 };
        for (number, job) in jobs.iter().enumerate() {
            let mut child = Command::new(std::env::current_exe()?)
                .arg("worker")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()?;
            let (input, output) = (child.stdin.take(), child.stdout.take());
            // In the list first: whatever fails from here on, the child is ended.
            fleet.workers.push(Worker {
                child,
                input,
                seats: job.seats.len(),
                rooms: job.rooms.len(),
                counts: Counts::default(),
            });
            let output = output.ok_or("the worker has no output")?;
            let outbox = outbox.clone();
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || listen(number, BufReader::new(output), &outbox))?;
            fleet.say(number, &serde_json::to_vec(job)?)?;
        }
        fleet.collect(|report| matches!(report, Report::Ready).then_some(()))?;
        Ok(fleet)
    }

    fn say(&mut self, number: usize, line: &[u8]) -> Result<(), Failure> {
        let input = self.workers[number].input.as_mut().ok_or("the worker's input is closed")?;
        input.write_all(line)?;
        input.write_all(b"\n")?;
        input.flush()?;
        Ok(())
    }

    fn order(&mut self, number: usize, order: &Order) -> Result<(), Failure> {
        self.say(number, &serde_json::to_vec(order)?)
    }

    /// Waits until every worker has given the answer that is looked for.
    fn collect<T>(&mut self, mut wanted: impl FnMut(Report) -> Option<T>) -> Result<Vec<T>, Failure> {
        let mut answers = Vec::new();
        while answers.len() < self.workers.len() {
            let report = match self.early.pop_front() {
                Some(report) => Some(report),
                None => self.next(SILENCE_MAX, true)?,
            };
            match report {
                Some(report) => answers.extend(wanted(report)),
                None => return Err(format!("a worker said nothing for {SILENCE_MAX:?}").into()),
            }
        }
        Ok(answers)
    }

    /// The next report that is more than a count. `None`: nothing came in time; counts may prolong it.
    fn next(&mut self, limit: Duration, counts_prolong: bool) -> Result<Option<Report>, Failure> {
        let mut until = Instant::now() + limit;
        loop {
            match self.inbox.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok((_, Report::Failed(why))) => return Err(format!("a worker gave up: {why}").into()),
                Ok((number, Report::Counts(counts))) => {
                    self.workers[number].counts = counts;
                    if counts_prolong {
                        until = Instant::now() + limit;
                    }
                    if number == 0 {
                        let total = self.counts();
                        (self.progress)(total);
                    }
                }
                Ok((_, report)) => return Ok(Some(report)),
                Err(RecvTimeoutError::Timeout) => return Ok(None),
                Err(RecvTimeoutError::Disconnected) => return Err("all workers are gone".into()),
            }
        }
    }

    fn counts(&self) -> Counts {
        self.workers.iter().fold(Counts::default(), |sum, worker| Counts {
            connected: sum.connected + worker.counts.connected,
            sent: sum.sent + worker.counts.sent,
            delivered: sum.delivered + worker.counts.delivered,
            late: sum.late + worker.counts.late,
        })
    }

    /// Opens connections until `total` are open. Fails when any fails.
    pub(crate) fn connect_until(&mut self, total: usize) -> Result<Connected, Failure> {
        let (before, seats) = (self.opened, self.workers.iter().map(|worker| worker.seats).sum::<usize>().max(1));
        let mut passed = 0;
        for number in 0..self.workers.len() {
            // Rounded so that all shares together are the total.
            let from = passed;
            passed += self.workers[number].seats;
            let share = |open: usize| passed * open / seats - from * open / seats;
            let more = share(total) - share(before);
            self.order(number, &Order::Connect { more })?;
        }
        let mut sum = Connected::default();
        for one in self.collect(|report| if let Report::Connected(one) = report { Some(one) } else { None })? {
            sum.opened += one.opened;
            sum.failed += one.failed;
            sum.first_failure = sum.first_failure.or(one.first_failure);
            sum.took_ns = sum.took_ns.max(one.took_ns);
            sum.latencies.extend(one.latencies);
        }
        self.opened = total;
        match &sum.first_failure {
            Some(why) => Err(format!("{} of {} connections failed: {why}", sum.failed, sum.opened + sum.failed).into()),
            None => Ok(sum),
        }
    }

    /// Closes all connections.
    pub(crate) fn disconnect(&mut self) -> Result<(), Failure> {
        for number in 0..self.workers.len() {
            self.order(number, &Order::Disconnect)?;
        }
        self.collect(|report| matches!(report, Report::Disconnected).then_some(()))?;
        self.opened = 0;
        Ok(())
    }

    /// Begins a phase; each worker gets its share of a rate.
    pub(crate) fn begin(&mut self, phase: Phase) -> Result<(), Failure> {
        let rooms: usize = self.workers.iter().map(|worker| worker.rooms).sum();
        for number in 0..self.workers.len() {
            let pace = match phase.pace {
                #[expect(clippy::cast_precision_loss, reason = "there are fewer rooms than 2^53")]
                Pace::Rate(rate) => Pace::Rate(rate * self.workers[number].rooms as f64 / rooms as f64),
                other => other,
            };
            self.order(number, &Order::Talk(Phase { pace, ..phase }))?;
        }
        Ok(())
    }

    /// Lets the workers work until a time of [`now_ns`].
    pub(crate) fn wait_until(&mut self, at_ns: u64) -> Result<(), Failure> {
        loop {
            let left = at_ns.saturating_sub(now_ns());
            if left == 0 {
                return Ok(());
            }
            // A phase may end in the moment that is waited for.
            let early = self.next(Duration::from_nanos(left), false)?;
            self.early.extend(early);
        }
    }

    /// Waits for the end of a phase: everything arrived, or nothing more will.
    pub(crate) fn end(&mut self) -> Result<Talked, Failure> {
        let mut sum = Talked::default();
        for one in self.collect(|report| if let Report::Talked(one) = report { Some(one) } else { None })? {
            sum.sent += one.sent;
            sum.late += one.late;
            sum.delivered += one.delivered;
            sum.latencies.extend(one.latencies);
            sum.client_cpu_ns += one.client_cpu_ns;
            sum.refused += one.refused;
            sum.first_refusal = sum.first_refusal.or(one.first_refusal);
            sum.closed += one.closed;
            sum.first_closure = sum.first_closure.or(one.first_closure);
        }
        Ok(sum)
    }

    /// What all ledgers say.
    pub(crate) fn judge(&mut self) -> Result<Verdict, Failure> {
        for number in 0..self.workers.len() {
            self.order(number, &Order::Judge)?;
        }
        let mut sum = Verdict::default();
        for one in self.collect(|report| if let Report::Judged(one) = report { Some(one) } else { None })? {
            sum.add(one);
        }
        Ok(sum)
    }

    /// How many workers there are.
    pub(crate) fn workers(&self) -> usize {
        self.workers.len()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            worker.input = None;
        }
        let until = Instant::now() + END_WITHIN;
        for worker in &mut self.workers {
            while matches!(worker.child.try_wait(), Ok(None)) && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(5));
            }
            // One that ended by itself cannot be killed any more, and is reaped all the same.
            let _ = worker.child.kill();
            let _ = worker.child.wait();
        }
    }
}

fn listen(number: usize, output: impl BufRead, outbox: &SyncSender<(usize, Report)>) {
    for line in output.lines() {
        let report = match line.map_err(serde_json::Error::io).and_then(|line| serde_json::from_str(&line)) {
            Ok(report) => report,
            Err(error) => Report::Failed(format!("its report cannot be read: {error}")),
        };
        if outbox.send((number, report)).is_err() {
            return;
        }
    }
    // Nobody listens any more when the fleet ended the worker itself.
    let _ = outbox.send((number, Report::Failed("it ended".to_owned())));
}

/// The latencies of all workers as one distribution.
pub(crate) fn distribution(pairs: &[(u64, u64)]) -> Histogram<u64> {
    let mut sum = histogram::empty();
    histogram::add(&mut sum, pairs);
    sum
}
