//! When who connects: at a rate, or as fast as it goes, with a bounded number of handshakes under way.

use hdrhistogram::Histogram;

use super::clock::SECOND_NS;
use super::histogram;
use super::job::Connected;

/// Handshakes under way at once.
const HANDSHAKES_MAX: usize = 256;
/// Without any handshake coming to its end for this long, those under way have failed.
const STALLED_AFTER_NS: u64 = 30 * SECOND_NS;

/// One round of connecting.
pub(crate) struct Connecting {
    rate: f64,
    began_ns: u64,
    wanted: usize,
    begun: usize,
    under_way: usize,
    last_progress_ns: u64,
    latencies: Histogram<u64>,
    opened: u64,
    failed: u64,
    first_failure: Option<String>,
}

impl Connecting {
    pub(crate) fn new(wanted: usize, rate: f64, now_ns: u64) -> Self {
        Self {
            rate,
            began_ns: now_ns,
            wanted,
            begun: 0,
            under_way: 0,
            last_progress_ns: now_ns,
            latencies: histogram::empty(),
            opened: 0,
            failed: 0,
            first_failure: None,
        }
    }

    /// Whether another one may begin now.
    #[expect(clippy::cast_precision_loss, reason = "nanoseconds of a run are below 2^53")]
    pub(crate) fn may_begin(&self, now_ns: u64) -> bool {
        let allowed = self.rate * (now_ns - self.began_ns) as f64 / SECOND_NS as f64;
        self.begun < self.wanted
            && self.under_way < HANDSHAKES_MAX
            && (self.rate <= 0.0 || (self.begun as f64) < allowed + 1.0)
    }

    /// Whether the next one waits for its time.
    pub(crate) fn is_paced(&self) -> bool {
        self.rate > 0.0 && self.begun < self.wanted
    }

    pub(crate) fn began(&mut self) {
        self.begun += 1;
        self.under_way += 1;
    }

    pub(crate) fn opened(&mut self, latency_ns: u64, now_ns: u64) {
        self.opened += 1;
        self.under_way = self.under_way.saturating_sub(1);
        self.last_progress_ns = now_ns;
        histogram::record(&mut self.latencies, latency_ns);
    }

    pub(crate) fn failed(&mut self, why: &dyn std::fmt::Display, now_ns: u64) {
        self.failed += 1;
        self.under_way = self.under_way.saturating_sub(1);
        self.last_progress_ns = now_ns;
        self.first_failure.get_or_insert_with(|| why.to_string());
    }

    /// Whether nothing goes on any more although something is under way.
    pub(crate) fn is_stalled(&self, now_ns: u64) -> bool {
        self.under_way > 0 && now_ns.saturating_sub(self.last_progress_ns) > STALLED_AFTER_NS
    }

    /// The end, when all have begun and none is under way, or when one has failed: then no others begin.
    pub(crate) fn outcome(&self, now_ns: u64) -> Option<Connected> {
        let all = self.begun == self.wanted || self.failed > 0;
        (all && self.under_way == 0).then(|| Connected {
            opened: self.opened,
            failed: self.failed,
            first_failure: self.first_failure.clone(),
            took_ns: now_ns - self.began_ns,
            latencies: histogram::pairs(&self.latencies),
        })
    }
}
