//! A distribution in microseconds that can be sent from one process to another.

use hdrhistogram::Histogram;

/// Longest latency that is told apart.
const LONGEST_US: u64 = 600_000_000;

/// An empty one, three digits.
#[expect(clippy::expect_used, reason = "the bounds are constants that the library takes")]
pub(crate) fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, 3).expect("valid bounds")
}

/// Records one latency.
pub(crate) fn record(histogram: &mut Histogram<u64>, latency_ns: u64) {
    histogram.saturating_record((latency_ns / 1_000).max(1));
}

/// Each value with how often it was seen.
pub(crate) fn pairs(histogram: &Histogram<u64>) -> Vec<(u64, u64)> {
    histogram.iter_recorded().map(|step| (step.value_iterated_to(), step.count_at_value())).collect()
}

/// Adds what [`pairs`] gave.
pub(crate) fn add(histogram: &mut Histogram<u64>, pairs: &[(u64, u64)]) {
    for (value, count) in pairs {
        histogram.saturating_record_n((*value).clamp(1, LONGEST_US), *count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_survives_the_way_to_another_process() {
        let (mut here, mut there) = (empty(), empty());
        for latency_us in [1, 7, 160, 5_000, 5_001, 2_000_000] {
            record(&mut here, latency_us * 1_000);
        }
        add(&mut there, &pairs(&here));
        assert_eq!(there, here);
    }
}
