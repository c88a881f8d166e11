//! The metric catalogue: every metric of a node, with its unit and meaning, in one table. `docs/operations.md` lists the
//! same; a test compares.
//!
//! Hot paths touch plain atomics; OpenTelemetry reads them when it is asked.

use std::sync::Arc;

use opentelemetry::metrics::Meter;

use super::exporter::{Exporter, MetricsError};
use super::instruments::Instrument;
pub use super::instruments::{Counter, Durations, Gauge, Labelled, Sizes};
use super::labels::{CloseReason, CommandLabel, RefusedReason};
use hallway_protocol::ErrorCode;
use hallway_protocol::frame::ResetReason;

/// One row of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct MetricRow {
    /// As Prometheus sees it.
    pub name: &'static str,
    pub kind: &'static str,
    pub unit: &'static str,
    pub description: &'static str,
}

macro_rules! catalogue {
    ($($field:ident: $type:ty = $name:literal, $unit:literal, $description:literal;)*) => {
        /// Every metric, as something to count on.
        #[derive(Debug)]
        pub struct Metrics { $(#[doc = $description] pub $field: $type,)* }

        /// The whole catalogue.
        pub const CATALOGUE: &[MetricRow] = &[$(MetricRow {
            name: $name, kind: <$type as Instrument>::KIND, unit: $unit, description: $description,
        }),*];

        impl Metrics {
            fn create(meter: &Meter) -> Self {
                let mut rows = CATALOGUE.iter();
                let mut next = || rows.next().unwrap_or(&CATALOGUE[0]);
                Self { $($field: Instrument::create(meter, next()),)* }
            }

            fn observe(self: &Arc<Self>, meter: &Meter) {
                let mut rows = CATALOGUE.iter();
                let mut next = || rows.next().unwrap_or(&CATALOGUE[0]);
                $(<$type as Instrument>::observe(meter, next(), Arc::clone(self), |metrics| &metrics.$field);)*
            }
        }
    };
}

catalogue! {
    connections_open: Gauge = "hallway_connections_open", "connections", "WebSocket connections that are open";
    connections_identified: Gauge = "hallway_connections_identified", "connections", "Open connections that have said a valid hello";
    connections_opened: Counter = "hallway_connections_opened_total", "connections", "WebSocket connections accepted";
    connections_closed: Labelled<CloseReason> = "hallway_connections_closed_total", "connections", "Connections that ended, by reason: a close code's word, client, or lost";
    connections_refused: Labelled<RefusedReason> = "hallway_connections_refused_total", "connections", "Connections turned away before or at the upgrade, by reason";
    requests: Labelled<CommandLabel> = "hallway_requests_total", "requests", "Requests read, by command";
    errors: Labelled<ErrorCode> = "hallway_errors_total", "errors", "Errors answered, by code";
    requests_in_flight: Gauge = "hallway_requests_in_flight", "requests", "Requests read and not answered yet";
    request_duration: Durations = "hallway_request_duration_seconds", "seconds", "From a request read to its answer in the backlog";
    events_committed: Counter = "hallway_events_committed_total", "events", "Events that this node committed";
    commit_batch_writes: Sizes = "hallway_commit_batch_writes", "writes", "Writes in one batch handed to the store";
    commit_duration: Durations = "hallway_commit_duration_seconds", "seconds", "Time the store took for a batch";
    deliveries: Counter = "hallway_deliveries_total", "deliveries", "Event frames appended to connections, live and from the log";
    delivered_bytes: Counter = "hallway_delivered_bytes_total", "bytes", "Bytes of those frames";
    socket_writes: Counter = "hallway_socket_writes_total", "writes", "Write calls to client sockets";
    lagging: Counter = "hallway_lagging_total", "connections", "Times that a full backlog turned a connection's streams Behind";
    backlog_bytes: Gauge = "hallway_backlog_bytes", "bytes", "Bytes waiting for clients that the kernel did not take yet";
    lane_overflows: Counter = "hallway_lane_overflows_total", "entries", "Entries that a full lane inbox did not take; their streams turned Behind";
    gaps: Counter = "hallway_gaps_total", "gaps", "Gaps that a stream's sequencer filled from the store";
    streams: Gauge = "hallway_streams", "streams", "Streams whose state is held on this node";
    ring_bytes: Gauge = "hallway_ring_bytes", "bytes", "Bytes of recent events held in memory";
    store_pages: Counter = "hallway_store_pages_total", "reads", "Reads of event pages from the store";
    store_page_streams: Counter = "hallway_store_page_streams_total", "streams", "Streams asked for in those reads";
    syncs: Counter = "hallway_syncs_total", "syncs", "Clients brought up to date, by hello or sync";
    sync_duration: Durations = "hallway_sync_duration_seconds", "seconds", "From hello or sync read to its last page in the backlog";
    resets: Labelled<ResetReason> = "hallway_resets_total", "streams", "Streams that a client was told to forget, by reason";
    store_up: Gauge = "hallway_store_up", "boolean", "1 while the store answers, else 0";
    signals: Counter = "hallway_signals_total", "signals", "Ephemeral frames (typing, signal) taken from clients";
}

impl Metrics {
    /// The metrics of one node, and what renders them for Prometheus.
    ///
    /// # Errors
    /// [`MetricsError`] when the exporter cannot be set up.
    pub fn new() -> Result<(Arc<Self>, Exporter), MetricsError> {
        let (exporter, meter) = Exporter::new()?;
        let metrics = Arc::new(Self::create(&meter));
        metrics.observe(&meter);
        Ok((metrics, exporter))
    }
}
