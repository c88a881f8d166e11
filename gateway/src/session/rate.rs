//! Pure: how fast one connection may ask (a token bucket).

use std::time::{Duration, Instant};

/// `per_second` requests per second, and as many at once after a pause of a second.
#[derive(Debug)]
pub(super) struct Rate {
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Rate {
    pub(super) fn new(per_second: u64, now: Instant) -> Self {
        let per_second = per_second as f64;
        Self { per_second, left: per_second, at: now }
    }

    /// Takes a request that counts as so many.
    ///
    /// # Errors
    /// How long to wait when it came too early.
    pub(super) fn take(&mut self, count: usize, now: Instant) -> Result<(), Duration> {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * self.per_second).min(self.per_second);
        self.at = now;
        // One that is larger than the bucket empties it.
        let cost = (count as f64).min(self.per_second);
        if self.left >= cost {
            self.left -= cost;
            return Ok(());
        }
        Err(Duration::from_secs_f64((cost - self.left) / self.per_second))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a failed test panics")]
    use super::*;

    #[test]
    fn a_burst_passes_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut rate = Rate::new(10, start);
        assert!((0..10).all(|_| rate.take(1, start).is_ok()));
        let wait = rate.take(1, start).unwrap_err();
        assert!(wait > Duration::from_millis(90) && wait <= Duration::from_millis(100), "{wait:?}");
        assert!(rate.take(1, start + wait + Duration::from_millis(1)).is_ok());
        assert!(rate.take(1, start + wait + Duration::from_millis(2)).is_err());
    }

    #[test]
    fn several_at_once_count_as_what_they_are() {
        let start = Instant::now();
        let mut rate = Rate::new(10, start);
        assert!(rate.take(8, start).is_ok());
        let wait = rate.take(8, start).unwrap_err();
        assert!(wait > Duration::from_millis(590) && wait <= Duration::from_millis(600), "{wait:?}");
        assert!(rate.take(8, start + wait).is_ok());
        assert!(
            rate.take(50, start + wait + Duration::from_secs(1)).is_ok(),
            "more than a second's worth waits for a full one"
        );
    }
}
