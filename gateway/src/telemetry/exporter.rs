//! Metrics for Prometheus, through OpenTelemetry.

use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::{Encoder as _, Registry, TextEncoder};

/// Metrics cannot be set up or rendered.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error("the metrics exporter cannot be set up: {0}")]
    Setup(#[source] opentelemetry_sdk::error::OTelSdkError),
    #[error("metrics cannot be rendered: {0}")]
    Render(#[source] prometheus::Error),
}

/// Renders the metrics of a node. Keep it: metrics end with it.
#[derive(Debug)]
pub struct Exporter {
    registry: Registry,
    _provider: SdkMeterProvider,
}

impl Exporter {
    pub(super) fn new() -> Result<(Self, Meter), MetricsError> {
        let registry = Registry::new();
        // Names come out as the catalogue has them: nothing is appended.
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .without_units()
            .without_counter_suffixes()
            .without_target_info()
            .scope_info_enabled(false)
            .build()
            .map_err(MetricsError::Setup)?;
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        let meter = provider.meter("hallway");
        Ok((Self { registry, _provider: provider }, meter))
    }

    /// All metrics in Prometheus' text format.
    ///
    /// # Errors
    /// [`MetricsError::Render`] when the encoder fails.
    pub fn render(&self) -> Result<String, MetricsError> {
        let mut out = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut out).map_err(MetricsError::Render)?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }
}
