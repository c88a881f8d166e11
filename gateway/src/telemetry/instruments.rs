//! What a metric can be. Counters and gauges are plain atomics that OpenTelemetry reads when it is asked; histograms are
//! OpenTelemetry's own, for places that are not hot.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Histogram, Meter};

use super::labels::Label;
use super::metrics::{MetricRow, Metrics};

/// A kind of metric: how it is made from its row, and how OpenTelemetry comes to read it.
pub(super) trait Instrument: Sized {
    /// Its name in documents.
    const KIND: &'static str;

    /// Makes it.
    fn create(meter: &Meter, row: &MetricRow) -> Self;

    /// Lets OpenTelemetry read it; `of` finds it in the catalogue.
    fn observe(meter: &Meter, row: &'static MetricRow, metrics: Arc<Metrics>, of: fn(&Metrics) -> &Self);
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Instrument for Counter {
    const KIND: &'static str = "counter";

    fn create(_meter: &Meter, _row: &MetricRow) -> Self {
        Self::default()
    }

    fn observe(meter: &Meter, row: &'static MetricRow, metrics: Arc<Metrics>, of: fn(&Metrics) -> &Self) {
        meter
            .u64_observable_counter(row.name)
            .with_unit(row.unit)
            .with_description(row.description)
            .with_callback(move |observer| observer.observe(of(&metrics).get(), &[]))
            .build();
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Adds to it (or takes away).
    pub fn add(&self, amount: i64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Instrument for Gauge {
    const KIND: &'static str = "gauge";

    fn create(_meter: &Meter, _row: &MetricRow) -> Self {
        Self::default()
    }

    fn observe(meter: &Meter, row: &'static MetricRow, metrics: Arc<Metrics>, of: fn(&Metrics) -> &Self) {
        meter
            .i64_observable_gauge(row.name)
            .with_unit(row.unit)
            .with_description(row.description)
            .with_callback(move |observer| observer.observe(of(&metrics).get(), &[]))
            .build();
    }
}

/// One counter for each value of a label.
#[derive(Debug)]
pub struct Labelled<L> {
    counts: Box<[AtomicU64]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label> Labelled<L> {
    /// Counts one.
    pub fn add(&self, label: impl Into<L>) {
        if let Some(count) = self.counts.get(label.into().index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts so many.
    pub fn add_many(&self, label: impl Into<L>, amount: u64) {
        if let Some(count) = self.counts.get(label.into().index()) {
            count.fetch_add(amount, Ordering::Relaxed);
        }
    }

    /// How often it was counted.
    #[must_use]
    pub fn get(&self, label: impl Into<L>) -> u64 {
        self.counts.get(label.into().index()).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    /// Over all values.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

impl<L: Label + 'static> Instrument for Labelled<L> {
    const KIND: &'static str = "counter";

    fn create(_meter: &Meter, _row: &MetricRow) -> Self {
        Self { counts: L::values().iter().map(|_| AtomicU64::new(0)).collect(), label: PhantomData }
    }

    fn observe(meter: &Meter, row: &'static MetricRow, metrics: Arc<Metrics>, of: fn(&Metrics) -> &Self) {
        let attributes: Vec<[KeyValue; 1]> =
            L::values().into_iter().map(|value| [KeyValue::new(L::NAME, value)]).collect();
        meter
            .u64_observable_counter(row.name)
            .with_unit(row.unit)
            .with_description(row.description)
            .with_callback(move |observer| {
                for (count, attributes) in of(&metrics).counts.iter().zip(&attributes) {
                    observer.observe(count.load(Ordering::Relaxed), attributes);
                }
            })
            .build();
    }
}

/// How long something took: 0.1 ms to 10 s.
#[derive(Debug)]
pub struct Durations(Histogram<f64>);

const DURATION_BOUNDS_SECONDS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

impl Durations {
    /// Records one.
    pub fn record(&self, duration: Duration) {
        self.0.record(duration.as_secs_f64(), &[]);
    }
}

impl Instrument for Durations {
    const KIND: &'static str = "histogram";

    fn create(meter: &Meter, row: &MetricRow) -> Self {
        Self(histogram(meter, row, DURATION_BOUNDS_SECONDS))
    }

    fn observe(_meter: &Meter, _row: &'static MetricRow, _metrics: Arc<Metrics>, _of: fn(&Metrics) -> &Self) {}
}

/// How many there were: 1 to 1,024.
#[derive(Debug)]
pub struct Sizes(Histogram<f64>);

const SIZE_BOUNDS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

impl Sizes {
    /// Records one.
    pub fn record(&self, size: usize) {
        #[expect(clippy::cast_precision_loss, reason = "sizes are small; a bucket does not see the last bits")]
        self.0.record(size as f64, &[]);
    }
}

impl Instrument for Sizes {
    const KIND: &'static str = "histogram";

    fn create(meter: &Meter, row: &MetricRow) -> Self {
        Self(histogram(meter, row, SIZE_BOUNDS))
    }

    fn observe(_meter: &Meter, _row: &'static MetricRow, _metrics: Arc<Metrics>, _of: fn(&Metrics) -> &Self) {}
}

fn histogram(meter: &Meter, row: &MetricRow, bounds: &[f64]) -> Histogram<f64> {
    meter
        .f64_histogram(row.name)
        .with_unit(row.unit)
        .with_description(row.description)
        .with_boundaries(bounds.to_vec())
        .build()
}
