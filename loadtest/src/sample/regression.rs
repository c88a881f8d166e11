//! A straight line through totals: its slope is "per connection", whatever the rest of the process weighs.

use serde::Serialize;

/// The line, and how far the points lie from it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Line {
    pub(crate) slope: f64,
    pub(crate) intercept: f64,
    /// The largest distance of a point from the line.
    pub(crate) residual_max: f64,
    /// The share of the variance that the line explains.
    pub(crate) r_squared: f64,
}

/// Least squares. `None` with fewer than two different places.
#[expect(clippy::cast_precision_loss, reason = "a handful of points")]
pub(crate) fn line(points: &[(f64, f64)]) -> Option<Line> {
    let count = points.len() as f64;
    let mean_x = points.iter().map(|(x, _)| x).sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, y)| y).sum::<f64>() / count;
    let spread: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if points.len() < 2 || spread == 0.0 {
        return None;
    }
    let slope = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum::<f64>() / spread;
    let intercept = mean_y - slope * mean_x;
    let off = |(x, y): &(f64, f64)| y - (intercept + slope * x);
    let variance: f64 = points.iter().map(|(_, y)| (y - mean_y).powi(2)).sum();
    let unexplained: f64 = points.iter().map(|point| off(point).powi(2)).sum();
    Some(Line {
        slope,
        intercept,
        residual_max: points.iter().map(|point| off(point).abs()).fold(0.0, f64::max),
        r_squared: if variance == 0.0 { 1.0 } else { 1.0 - unexplained / variance },
    })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_straight_line_is_found_whatever_it_is(
            slope in -10_000.0..10_000.0_f64,
            intercept in -1e9..1e9_f64,
            places in prop::collection::btree_set(0_u32..20_000, 2..8),
        ) {
            let points: Vec<(f64, f64)> =
                places.iter().map(|x| (f64::from(*x), intercept + slope * f64::from(*x))).collect();
            let found = line(&points).unwrap();
            let tolerance = 1e-6 * (1.0 + slope.abs() + intercept.abs());
            prop_assert!((found.slope - slope).abs() < tolerance);
            prop_assert!(found.residual_max < 1.0 + tolerance);
        }
    }

    #[test]
    fn the_residual_is_the_worst_point() {
        let found = line(&[(0.0, 0.0), (1.0, 4.0), (2.0, 2.0)]).unwrap();
        assert!((found.slope - 1.0).abs() < 1e-9);
        assert!((found.residual_max - 2.0).abs() < 1e-9);
        assert!(found.r_squared < 0.5);
    }

    #[test]
    fn one_place_gives_no_line() {
        assert_eq!(line(&[(5.0, 1.0), (5.0, 2.0)]), None);
        assert_eq!(line(&[]), None);
    }
}
