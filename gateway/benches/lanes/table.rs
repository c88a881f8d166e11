//! What was measured, as the table that `docs/performance.md` shows.

use std::fmt;

use crate::writers::{Load, Sample};

/// Samples of both writers, pairwise by round.
#[derive(Default)]
pub(crate) struct Table {
    pairs: Vec<(Load, Sample, Sample)>,
}

impl Table {
    pub(crate) fn add(&mut self, load: Load, bare: Sample, lanes: Sample) {
        self.pairs.push((load, bare, lanes));
    }

    fn median_of(&self, load: Load, value: impl Fn(&Sample, &Sample) -> f64) -> f64 {
        let of_load = self.pairs.iter().filter(|(other, _, _)| *other == load);
        let mut values: Vec<f64> = of_load.map(|(_, bare, lanes)| value(bare, lanes)).collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match values.len() {
            0 => f64::NAN,
            odd if odd % 2 == 1 => values[middle],
            _ => f64::midpoint(values[middle - 1], values[middle]),
        }
    }

    /// Median of the rounds' ratios: what disturbs a round disturbs both of it.
    fn ratio(&self, load: Load) -> f64 {
        self.median_of(load, |bare, lanes| lanes.ns_per_delivery / bare.ns_per_delivery)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(to, "| shape | bare ns/delivery | lanes ns/delivery | ratio | lanes' system calls/delivery |")?;
        writeln!(to, "|---|---|---|---|---|")?;
        for load in Load::ALL {
            let bare = self.median_of(load, |bare, _| bare.ns_per_delivery);
            let lanes = self.median_of(load, |_, lanes| lanes.ns_per_delivery);
            let writes = self.median_of(load, |_, lanes| lanes.writes_per_delivery);
            let (name, ratio) = (load.name, self.ratio(load));
            writeln!(to, "| {name} | {bare:.0} | {lanes:.0} | {ratio:.2} | {writes:.3} |")?;
        }
        writeln!(to, "\nsaturated lanes/bare {:.2}x", self.ratio(Load::SATURATED))
    }
}
