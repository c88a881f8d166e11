//! Pure: how long a failed webhook waits for its next attempt.

/// No pause is longer, whatever a target asks for.
pub(super) const PAUSE_MAX_MS: u64 = 300_000;

/// The pause after a failed attempt (from 1): `base_ms`, twice as long after each further one, and up to half as much more by
/// `chance` (0 to 1), so that jobs that failed together do not come back together. At least what the target asked for.
pub(super) fn pause_ms(attempt: u32, base_ms: u64, chance: f64, asked_ms: Option<u64>) -> u64 {
    let doublings = attempt.saturating_sub(1).min(20);
    let pause_ms = base_ms.saturating_mul(1 << doublings).min(PAUSE_MAX_MS);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a pause is a small number"
    )]
    let more_ms = (pause_ms as f64 / 2.0 * chance.clamp(0.0, 1.0)) as u64;
    (pause_ms + more_ms).max(asked_ms.unwrap_or(0)).min(PAUSE_MAX_MS)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pauses_double_from_two_seconds() {
        let pauses: Vec<u64> = (1..=4).map(|attempt| pause_ms(attempt, 2_000, 0.0, None)).collect();
        assert_eq!(pauses, [2_000, 4_000, 8_000, 16_000]);
        assert_eq!(pause_ms(1, 2_000, 1.0, None), 3_000);
        assert_eq!(pause_ms(1, 2_000, 0.5, Some(60_000)), 60_000, "the target asked for more");
        assert_eq!(pause_ms(3, 2_000, 0.0, Some(1_000)), 8_000, "less is not granted");
    }

    proptest! {
        #[test]
        fn a_pause_is_never_shorter_than_the_base_nor_longer_than_the_bound(
            attempt in 0..100_u32, base_ms in 1..PAUSE_MAX_MS, chance in -1.0..2.0_f64, asked_ms in prop::option::of(any::<u64>()),
        ) {
            let pause_ms = pause_ms(attempt, base_ms, chance, asked_ms);
            prop_assert!((base_ms..=PAUSE_MAX_MS).contains(&pause_ms));
        }
    }
}
