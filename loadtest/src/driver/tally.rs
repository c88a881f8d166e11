//! What one phase of talking is measured by.

use hdrhistogram::Histogram;

use super::clock::SECOND_NS;
use super::connection::{End, shown};
use super::histogram;
use super::job::{Counts, Phase, Talked};

/// After this a send counts as late.
const LATE_AFTER_NS: u64 = 10_000_000;
/// Without any delivery for this long nothing more will come.
const QUIET_NS: u64 = 5 * SECOND_NS;
/// However much still comes, a phase is over this long after its last message.
const DRAIN_MAX_NS: u64 = 120 * SECOND_NS;

pub(crate) struct Tally {
    from_ns: u64,
    until_ns: u64,
    counts: Counts,
    talked: Talked,
    latencies: Histogram<u64>,
    last_delivery_ns: u64,
    cpu_at_start_ns: Option<u64>,
    cpu_measured: bool,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self {
            from_ns: 0,
            until_ns: 0,
            counts: Counts::default(),
            talked: Talked::default(),
            latencies: histogram::empty(),
            last_delivery_ns: 0,
            cpu_at_start_ns: None,
            cpu_measured: false,
        }
    }

    pub(crate) fn begin(&mut self, phase: Phase) {
        *self = Self { counts: self.counts, from_ns: phase.measured_from_ns, until_ns: phase.until_ns, ..Self::new() };
    }

    /// A message left.
    pub(crate) fn sent(&mut self, due_ns: u64, now_ns: u64) {
        let late = now_ns.saturating_sub(due_ns) > LATE_AFTER_NS;
        self.counts.sent += 1;
        self.counts.late += u64::from(late);
        if self.is_measured(due_ns) {
            self.talked.sent += 1;
            self.talked.late += u64::from(late);
        }
    }

    /// A body came that was due.
    pub(crate) fn arrived(&mut self, due_ns: u64, now_ns: u64, timed: bool) {
        self.counts.delivered += 1;
        self.last_delivery_ns = now_ns;
        if self.is_measured(now_ns) {
            self.talked.delivered += 1;
        }
        if timed && self.is_measured(due_ns) {
            histogram::record(&mut self.latencies, now_ns.saturating_sub(due_ns));
        }
    }

    fn is_measured(&self, at_ns: u64) -> bool {
        (self.from_ns..self.until_ns).contains(&at_ns)
    }

    pub(crate) fn refused(&mut self, payload: &[u8]) {
        self.talked.refused += 1;
        self.talked.first_refusal.get_or_insert_with(|| shown(payload));
    }

    pub(crate) fn closed(&mut self, end: &End) {
        self.talked.closed += 1;
        self.talked.first_closure.get_or_insert_with(|| end.to_string());
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// Notes the process's own processor time at both ends of the measured time.
    pub(crate) fn look_around(&mut self, now_ns: u64) {
        if self.cpu_at_start_ns.is_none() && self.is_measured(now_ns) {
            self.cpu_at_start_ns = Some(cpu_ns());
        }
        if let Some(start) = self.cpu_at_start_ns
            && !self.cpu_measured
            && now_ns >= self.until_ns
        {
            self.cpu_measured = true;
            self.talked.client_cpu_ns = cpu_ns() - start;
        }
    }

    /// Whether nothing more is to be waited for.
    pub(crate) fn is_drained(&self, owed: u64, phase: Phase, now_ns: u64) -> bool {
        let since = self.last_delivery_ns.max(phase.from_ns).max(phase.until_ns.min(now_ns));
        owed == 0 || now_ns.saturating_sub(since) > QUIET_NS || now_ns.saturating_sub(phase.until_ns) > DRAIN_MAX_NS
    }

    pub(crate) fn talked(&mut self) -> Talked {
        let mut talked = std::mem::take(&mut self.talked);
        talked.latencies = histogram::pairs(&self.latencies);
        talked
    }
}

/// Processor time of this process.
fn cpu_ns() -> u64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    spent.tv_sec.unsigned_abs() * SECOND_NS + spent.tv_nsec.unsigned_abs()
}
