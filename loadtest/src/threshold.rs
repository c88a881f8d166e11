//! `delivery.p99<50ms`: what must hold, or the run fails.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::arguments::parse_duration;
use crate::metrics::{Metric, Stat};

/// One condition on the measurements.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Threshold {
    pub(crate) metric: Metric,
    pub(crate) stat: Stat,
    pub(crate) or_equal: bool,
    pub(crate) value: Duration,
}

/// Why a text is no threshold.
#[derive(Debug, thiserror::Error)]
#[error(
    "{text:?} is not a threshold ({why}); write METRIC.STAT<VALUE with a metric of {metrics}, a stat of {stats}, \
    < or <=, and a value in us, ms or s, for example delivery.p99<50ms"
)]
pub(crate) struct InvalidThreshold {
    text: String,
    why: &'static str,
    metrics: String,
    stats: String,
}

fn names<T: fmt::Display>(all: &[T]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
}

impl FromStr for Threshold {
    type Err = InvalidThreshold;

    fn from_str(text: &str) -> Result<Self, InvalidThreshold> {
        let wrong = |why| InvalidThreshold {
            text: text.to_owned(),
            why,
            metrics: names(&Metric::ALL),
            stats: names(&Stat::ALL),
        };
        let (left, right) = text.split_once('<').ok_or_else(|| wrong("it has no <"))?;
        let (or_equal, right) = right.strip_prefix('=').map_or((false, right), |rest| (true, rest));
        let (metric, stat) = left.trim().split_once('.').ok_or_else(|| wrong("it has no . between metric and stat"))?;
        let find_metric = Metric::ALL.into_iter().find(|known| known.to_string() == metric);
        let find_stat = Stat::ALL.into_iter().find(|known| known.to_string() == stat);
        Ok(Self {
            metric: find_metric.ok_or_else(|| wrong("no such metric"))?,
            stat: find_stat.ok_or_else(|| wrong("no such stat"))?,
            or_equal,
            value: parse_duration(right.trim()).map_err(|_| wrong("its value cannot be read"))?,
        })
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.or_equal { "<=" } else { "<" };
        write!(out, "{}.{}{sign}{:?}", self.metric, self.stat, self.value)
    }
}

impl Threshold {
    /// Whether a measured value is good enough; nothing measured is not.
    pub(crate) fn holds(&self, measured_us: Option<u64>) -> bool {
        let Some(measured_us) = measured_us else { return false };
        let measured = Duration::from_micros(measured_us);
        measured < self.value || (self.or_equal && measured == self.value)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    #[test]
    fn less_is_less_and_or_equal_is_or_equal() {
        let less: Threshold = "delivery.p99<50ms".parse().unwrap();
        assert!(less.holds(Some(49_999)) && !less.holds(Some(50_000)) && !less.holds(None));
        let or_equal: Threshold = "ack.p99.9<=50ms".parse().unwrap();
        assert!(or_equal.holds(Some(50_000)) && !or_equal.holds(Some(50_001)));
        assert_eq!(or_equal.to_string(), "ack.p99.9<=50ms");
    }
}
