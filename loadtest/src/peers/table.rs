//! Pure: medians over the runs, ratios within them, and how both are shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::kind::{Kind, Role};
use super::measure::{Faults, Sample};
use super::shape::Shape;

/// A late send in this many percent: the client was the bottleneck.
const LATE_PERCENT_MAX: f64 = 1.0;

/// One measurement of one run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cell {
    pub(crate) run: u32,
    pub(crate) shape: Shape,
    pub(crate) kind: Kind,
    /// What it gave, or why it failed.
    pub(crate) result: Result<Sample, String>,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Figure {
    KibPerConnection,
    CpuPerMillion,
    P50Ms,
    P99Ms,
    DeliveriesPerSecond,
}

impl Figure {
    fn of(self, sample: &Sample) -> Option<f64> {
        match self {
            Self::KibPerConnection => sample.kib_per_connection,
            Self::CpuPerMillion => sample.cpu_s_per_million,
            Self::P50Ms => sample.p50_ms,
            Self::P99Ms => sample.p99_ms,
            Self::DeliveriesPerSecond => sample.deliveries_per_second,
        }
    }

    fn heading(self) -> &'static str {
        match self {
            Self::KibPerConnection => "KiB/conn",
            Self::CpuPerMillion => "CPU-s/M",
            Self::P50Ms => "p50 ms",
            Self::P99Ms => "p99 ms",
            Self::DeliveriesPerSecond => "deliv./s",
        }
    }

    fn shown(self, value: Option<f64>) -> String {
        match (self, value) {
            (_, None) => "-".to_owned(),
            (Self::DeliveriesPerSecond, Some(value)) => format!("{value:.0}"),
            (_, Some(value)) => format!("{value:.2}"),
        }
    }

    /// What a shape is measured by. Throughput is no virtue by itself, so there is no ratio of it.
    fn all_of(shape: Shape) -> &'static [Self] {
        match shape {
            Shape::Idle => &[Self::KibPerConnection],
            Shape::Fanout => &[Self::CpuPerMillion, Self::DeliveriesPerSecond],
            Shape::Latency | Shape::Chat => &[Self::P50Ms, Self::P99Ms, Self::CpuPerMillion],
        }
    }
}

/// The middle one, or the mean of the middle two.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        length if length % 2 == 1 => Some(sorted[half]),
        _ => Some(f64::midpoint(sorted[half - 1], sorted[half])),
    }
}

/// Everything that was measured.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) cells: Vec<Cell>,
}

/// Hallway against another, in the median of the runs that have both.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Ratio {
    pub(crate) shape: Shape,
    pub(crate) figure: Figure,
    /// Whose figure, in which codec.
    pub(crate) subject: Kind,
    /// Against the floor or a peer.
    pub(crate) against: Kind,
    pub(crate) ratio: f64,
    pub(crate) runs: usize,
}

/// Medians of one server under one load.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    pub(crate) shape: Shape,
    pub(crate) kind: Kind,
    pub(crate) role: Role,
    pub(crate) medians: BTreeMap<Figure, f64>,
    /// Of all runs together.
    pub(crate) faults: Faults,
    pub(crate) runs: usize,
    pub(crate) failures: Vec<String>,
    /// The client itself was late, in the worst run.
    pub(crate) late_percent_max: f64,
}

impl Table {
    fn samples(&self, shape: Shape, kind: Kind) -> impl Iterator<Item = (u32, &Sample)> {
        self.cells
            .iter()
            .filter(move |cell| cell.shape == shape && cell.kind == kind)
            .filter_map(|cell| Some((cell.run, cell.result.as_ref().ok()?)))
    }

    fn values(&self, shape: Shape, kind: Kind, figure: Figure) -> BTreeMap<u32, f64> {
        self.samples(shape, kind).filter_map(|(run, sample)| Some((run, figure.of(sample)?))).collect()
    }

    /// Medians of everybody who was tried under a load, in the order of first trial by kind.
    pub(crate) fn rows(&self, shape: Shape) -> Vec<Row> {
        let kinds: std::collections::BTreeSet<Kind> =
            self.cells.iter().filter(|cell| cell.shape == shape).map(|cell| cell.kind).collect();
        kinds.into_iter().map(|kind| self.row(shape, kind)).collect()
    }

    fn row(&self, shape: Shape, kind: Kind) -> Row {
        let mut faults = Faults::default();
        let (mut runs, mut late_percent_max) = (0, 0.0_f64);
        for (_, sample) in self.samples(shape, kind) {
            faults.add(sample.faults);
            late_percent_max = late_percent_max.max(sample.late_percent);
            runs += 1;
        }
        let medians = Figure::all_of(shape)
            .iter()
            .filter_map(|figure| {
                let values: Vec<f64> = self.values(shape, kind, *figure).into_values().collect();
                Some((*figure, median(&values)?))
            })
            .collect();
        let failures = self
            .cells
            .iter()
            .filter(|cell| cell.shape == shape && cell.kind == kind)
            .filter_map(|cell| cell.result.as_ref().err().map(|why| format!("run {}: {why}", cell.run)))
            .collect();
        Row { shape, kind, role: kind.role(), medians, faults, runs, failures, late_percent_max }
    }

    /// Hallway's `signal`, in each codec, against the floor and against the peer that is best in the median.
    pub(crate) fn ratios(&self, shape: Shape) -> Vec<Ratio> {
        let rows = self.rows(shape);
        let mut ratios = Vec::new();
        for figure in Figure::all_of(shape).iter().filter(|figure| **figure != Figure::DeliveriesPerSecond) {
            let best = rows
                .iter()
                .filter(|row| row.role == Role::Peer)
                .filter_map(|row| Some((row.kind, *row.medians.get(figure)?)))
                .min_by(|one, other| one.1.total_cmp(&other.1))
                .map(|(kind, _)| kind);
            for subject in rows.iter().filter(|row| row.role == Role::Subject) {
                let others = std::iter::once(shape.floor()).chain(best);
                ratios.extend(others.filter_map(|against| self.ratio(shape, *figure, subject.kind, against)));
            }
        }
        ratios
    }

    fn ratio(&self, shape: Shape, figure: Figure, subject: Kind, against: Kind) -> Option<Ratio> {
        let (ours, theirs) = (self.values(shape, subject, figure), self.values(shape, against, figure));
        let each: Vec<f64> = ours
            .iter()
            .filter_map(|(run, value)| Some(value / theirs.get(run).filter(|value| **value > 0.0)?))
            .collect();
        Some(Ratio { shape, figure, subject, against, ratio: median(&each)?, runs: each.len() })
    }

    /// The table of one load, for people.
    pub(crate) fn shown(&self, shape: Shape, title: &str) -> String {
        let (stronger, equal): (Vec<Row>, Vec<Row>) =
            self.rows(shape).into_iter().partition(|row| row.role == Role::Stronger);
        let mut out = format!("{title}\n");
        let headings: String = Figure::all_of(shape).iter().map(|figure| format!("{:>10}", figure.heading())).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(out, "  {:<16}{headings}  runs", "");
        for row in &equal {
            out.push_str(&line(row));
        }
        for ratio in self.ratios(shape) {
            let Ratio { figure, subject, against, ratio, runs, .. } = ratio;
            let kind = if against.role() == Role::Floor { "floor" } else { "best peer" };
            let _ = writeln!(
                out,
                "  {}/{} {} {ratio:.2}x ({kind}, median of {runs} runs)",
                subject.name(),
                against.name(),
                figure.heading()
            );
        }
        if !stronger.is_empty() {
            let _ =
                writeln!(out, "  another guarantee (committed and acknowledged), not to be compared with the above:");
        }
        for row in &stronger {
            out.push_str(&line(row));
        }
        out
    }
}

fn line(row: &Row) -> String {
    let figures: String = Figure::all_of(row.shape)
        .iter()
        .map(|figure| format!("{:>10}", figure.shown(row.medians.get(figure).copied())))
        .collect();
    let mut notes = vec![row.faults.words()];
    if row.shape != Shape::Idle && row.kind.echoes() {
        notes.push("senders hear themselves".to_owned());
    }
    if row.late_percent_max > LATE_PERCENT_MAX {
        notes.push(format!("the client was late: {:.1} %", row.late_percent_max));
    }
    notes.extend(row.failures.iter().map(|why| format!("FAILED {why}")));
    notes.retain(|note| !note.is_empty());
    format!("  {:<16}{figures}  {:>4}  {}\n", row.kind.name(), row.runs, notes.join("; ")).replace("  \n", "\n")
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;

    fn cell(run: u32, kind: Kind, cpu: f64) -> Cell {
        let sample = Sample { cpu_s_per_million: Some(cpu), ..Sample::default() };
        Cell { run, shape: Shape::Fanout, kind, result: Ok(sample) }
    }

    fn table() -> Table {
        let mut cells = Vec::new();
        // The machine slows down from run to run; the ratios do not care.
        for (run, speed) in [(1, 1.0), (2, 2.0), (3, 10.0)] {
            cells.push(cell(run, Kind::Hallway, 0.22 * speed));
            cells.push(cell(run, Kind::HallwayPostcard, 0.21 * speed));
            cells.push(cell(run, Kind::BareCoalesce, 0.2 * speed));
            cells.push(cell(run, Kind::Ws, 8.0 * speed));
            cells.push(cell(run, Kind::Uws, 0.275 * speed));
            cells.push(cell(run, Kind::HallwayDurable, 0.01));
        }
        Table { cells }
    }

    #[test]
    fn the_median_of_few_and_of_none() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0]), Some(2.5));
    }

    #[test]
    fn hallway_is_compared_within_each_run_with_its_floor_and_the_best_peer() {
        let ratios = table().ratios(Shape::Fanout);
        let seen: Vec<(Kind, Kind, String)> =
            ratios.iter().map(|one| (one.subject, one.against, format!("{:.2}", one.ratio))).collect();
        let expected = [
            (Kind::Hallway, Kind::BareCoalesce, "1.10"),
            (Kind::Hallway, Kind::Uws, "0.80"),
            (Kind::HallwayPostcard, Kind::BareCoalesce, "1.05"),
            (Kind::HallwayPostcard, Kind::Uws, "0.76"),
        ];
        assert_eq!(seen, expected.map(|(subject, against, ratio)| (subject, against, ratio.to_owned())));
    }

    #[test]
    fn what_promises_more_stands_apart_and_what_failed_is_said() {
        let mut table = table();
        table.cells.push(Cell {
            run: 1,
            shape: Shape::Fanout,
            kind: Kind::Nats,
            result: Err("no such port".to_owned()),
        });
        let lost = Faults { lost: 7, ..Faults::default() };
        table.cells[3].result.as_mut().unwrap().faults = lost;
        let shown = table.shown(Shape::Fanout, "saturated");
        let place = |text: &str| shown.find(text).unwrap_or_else(|| panic!("no {text:?} in\n{shown}"));
        assert!(place("hallway-durable") > place("another guarantee"));
        assert!(place("hallway/uws CPU-s/M 0.80x (best peer, median of 3 runs)") < place("another guarantee"));
        place("7 lost");
        place("FAILED run 1: no such port");
    }
}
