//! The metric catalogue: every metric of a node, with its unit and meaning, in one table. `docs/operations.md` lists the
//! same; a test compares.
//!
//! Hot paths touch plain atomics; OpenTelemetry reads them when it is asked.

use std::sync::Arc;

use opentelemetry::metrics::Meter;

use super::exporter::{Exporter, MetricsError};
use super::instruments::Instrument;
pub use super::instruments::{Counter, Durations, Gauge, Labelled, Sizes};
use super::labels::{
    BusPath, BusRefused, CloseReason, CommandLabel, DrainOutcome, GapCause, HandOutLabel, NotificationLabel,
    RefusedReason, WebhookOutcome, WorkLabel,
};
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
    gaps: Labelled<GapCause> = "hallway_gaps_total", "gaps", "Gaps that a stream's sequencer filled from the store, by what told of them";
    streams: Gauge = "hallway_streams", "streams", "Streams whose state is held on this node";
    ring_bytes: Gauge = "hallway_ring_bytes", "bytes", "Bytes of recent events held in memory";
    store_pages: Counter = "hallway_store_pages_total", "reads", "Reads of event pages from the store";
    store_page_streams: Counter = "hallway_store_page_streams_total", "streams", "Streams asked for in those reads";
    store_missed_events: Counter = "hallway_store_missed_events_total", "events", "Missed events that were read together with a person's rooms";
    syncs: Counter = "hallway_syncs_total", "syncs", "Clients brought up to date, by hello or sync";
    sync_duration: Durations = "hallway_sync_duration_seconds", "seconds", "From hello or sync read to its last page in the backlog";
    resets: Labelled<ResetReason> = "hallway_resets_total", "streams", "Streams that a client was told to forget, by reason";
    store_up: Gauge = "hallway_store_up", "boolean", "1 while the store answers, else 0";
    signals: Counter = "hallway_signals_total", "signals", "Ephemeral frames (typing, signal) taken from clients";
    bus_up: Gauge = "hallway_bus_up", "boolean", "1 while this node hears itself through the bus, else 0; 1 without a bus";
    bus_probe_duration: Durations = "hallway_bus_probe_seconds", "seconds", "From this node to itself through the bus";
    bus_published: Labelled<BusPath> = "hallway_bus_published_total", "messages", "Messages published to other nodes, by path";
    bus_published_bytes: Counter = "hallway_bus_published_bytes_total", "bytes", "Bytes of those messages";
    bus_events_published: Labelled<BusPath> = "hallway_bus_events_published_total", "events", "Events in those messages, by path; one that takes several ways counts for each";
    bus_publish_failures: Counter = "hallway_bus_publish_failures_total", "messages", "Messages that the bus may not have taken";
    bus_received: Labelled<BusPath> = "hallway_bus_received_total", "messages", "Messages of other nodes that were taken, by path";
    bus_received_bytes: Counter = "hallway_bus_received_bytes_total", "bytes", "Bytes of those messages";
    bus_events_received: Labelled<BusPath> = "hallway_bus_events_received_total", "events", "Events in those messages, by path";
    bus_refused: Labelled<BusRefused> = "hallway_bus_refused_total", "messages", "Messages or parts of them that were not taken, by reason";
    bus_missed: Counter = "hallway_bus_missed_total", "times", "Times that something was known to be missed on the bus";
    bus_connections_lost: Counter = "hallway_bus_connections_lost_total", "connections", "Connections to the bus that ended, fell silent or were deaf, and were replaced";
    bus_lagged: Counter = "hallway_bus_lagged_total", "messages", "Messages from the bus that came faster than this node took them, and were lost";
    bus_queue_drops: Counter = "hallway_bus_queue_drops_total", "messages", "Events and frames that a full queue to the bus did not take; the tail delivers the events";
    bus_full_owners: Counter = "hallway_bus_full_owners_total", "messages", "Messages whose events were handed over as heads because the owners were full";
    bus_subscriptions: Gauge = "hallway_bus_room_subscriptions", "rooms", "Large rooms whose channel this node hears";
    cluster_nodes: Gauge = "hallway_cluster_nodes", "nodes", "Nodes known to live, this one included";
    member_lists: Gauge = "hallway_member_lists_people", "people", "Members in the cached lists that say where a room's events go";
    member_list_loads: Counter = "hallway_member_list_loads_total", "reads", "Reads of member lists from the store";
    tail_stalled: Gauge = "hallway_tail_stalled", "boolean", "1 while a long transaction holds up the store's tail and heads are asked for instead";
    tail_age: Gauge = "hallway_tail_age_seconds", "seconds", "For how long the cursor of the store's tail has been holding up what lies behind it";
    tail_rows: Counter = "hallway_tail_rows_total", "events", "Events that polls of the store's tail looked at";
    tail_heads: Counter = "hallway_tail_heads_total", "streams", "Streams whose heads were asked for because the tail was held up";
    membership_looks_cut_short: Counter = "hallway_membership_looks_cut_short_total", "looks", "Looks through a trimmed log for the end of a membership that ended after 64 pages: it counts as ended before what the log still has";
    commits_under_way: Gauge = "hallway_commits_under_way", "batches", "Batches of writes that the store is carrying out";
    writer_looks_cut_short: Counter = "hallway_writer_looks_cut_short_total", "looks", "Looks for a batch that ended after 4,096 waiting writes: what stood behind them waited for another batch";
    writes_parked: Gauge = "hallway_writes_parked", "writes", "Writes that wait for rooms which someone else has locked in the store";
    presence_watched: Gauge = "hallway_presence_watched", "people", "People on the watch lists of this node's connections, all lists together";
    presence_frames: Counter = "hallway_presence_frames_total", "frames", "Presence frames handed to watching connections";
    presence_drops: Counter = "hallway_presence_drops_total", "frames", "Presence frames that a full backlog did not take; their watchers are told when they read again";
    directory_people: Gauge = "hallway_directory_people", "people", "People known to be connected, at any node";
    admitted: Counter = "hallway_admitted_total", "connections", "Connections that were let in to say hello and sync";
    admission_limit: Gauge = "hallway_admission_limit", "connections", "How many may be between their upgrade and the end of their first sync, at present";
    admission_waiting: Gauge = "hallway_admission_waiting", "connections", "Connections that wait before the upgrade";
    admission_wait: Durations = "hallway_admission_wait_seconds", "seconds", "How long those waited that were let in after waiting";
    admitted_sync: Durations = "hallway_admitted_sync_seconds", "seconds", "From being let in to the end of the first sync";
    draining: Gauge = "hallway_draining", "boolean", "1 while the node is stopping";
    drained: Labelled<DrainOutcome> = "hallway_drained_total", "connections", "Connections that a drain took leave of, by outcome";
    notifications_created: Labelled<NotificationLabel> = "hallway_notifications_created_total", "notifications", "Notifications that this node committed, by kind";
    notification_batch_recipients: Sizes = "hallway_notification_batch_recipients", "people", "People whose notifications left together";
    notification_batch_wait: Durations = "hallway_notification_batch_wait_seconds", "seconds", "How long the first notification of a batch waited for others";
    work_steps: Labelled<WorkLabel> = "hallway_work_steps_total", "steps", "Steps of the store's own work that wrote something, by work: fan-out jobs, due times";
    webhooks: Labelled<WebhookOutcome> = "hallway_webhooks_total", "attempts", "Attempts to deliver a webhook, by what they came to";
    webhooks_in_flight: Gauge = "hallway_webhooks_in_flight", "webhooks", "Webhooks that this node is delivering";
    webhook_duration: Durations = "hallway_webhook_seconds", "seconds", "From a webhook's connect to its answer, or the end of the attempt";
    webhook_targets_resting: Gauge = "hallway_webhook_targets_resting", "targets", "Targets that are left alone after failures, or tried again but not known to work";
    hand_outs: Labelled<HandOutLabel> = "hallway_hand_outs_total", "notifications", "Notifications that were looked at for the application, by what became of them";
    delivery_notes: Counter = "hallway_delivery_notes_total", "notes", "Notes of which notifications were handed to which connection, written to the store: one for each run of them";
    delivery_notes_dropped: Counter = "hallway_delivery_notes_dropped_total", "notes", "Such notes that were lost: too many at once, or the store did not take them";
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

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use hallway_protocol::command::Ping;
    use hallway_protocol::{CloseCode, Command};

    use super::*;
    use crate::telemetry::labels::Label;

    #[test]
    fn every_metric_is_exported_under_the_name_of_its_row() {
        let (metrics, exporter) = Metrics::new().unwrap();
        metrics.request_duration.record(Duration::from_millis(3));
        metrics.commit_duration.record(Duration::from_micros(50));
        metrics.sync_duration.record(Duration::from_secs(20));
        metrics.bus_probe_duration.record(Duration::from_micros(200));
        metrics.admission_wait.record(Duration::from_millis(1));
        metrics.admitted_sync.record(Duration::from_millis(10));
        metrics.webhook_duration.record(Duration::from_millis(10));
        metrics.commit_batch_writes.record(7);
        metrics.notification_batch_recipients.record(50);
        metrics.notification_batch_wait.record(Duration::from_millis(50));
        let text = exporter.render().unwrap();
        for row in CATALOGUE {
            assert!(text.contains(&format!("# TYPE {} {}\n", row.name, row.kind)), "{} in:\n{text}", row.name);
            assert!(text.contains(&format!("# HELP {} {}\n", row.name, row.description)), "{}", row.name);
        }
        let exported = text.lines().filter(|line| line.starts_with("# TYPE")).count();
        assert_eq!(exported, CATALOGUE.len(), "nothing but the catalogue:\n{text}");
        assert!(text.contains("hallway_request_duration_seconds_bucket{le=\"0.005\"} 1\n"), "{text}");
        assert!(text.contains("hallway_sync_duration_seconds_bucket{le=\"10\"} 0\n"), "{text}");
    }

    #[test]
    fn counts_are_exported_with_their_labels() {
        let (metrics, exporter) = Metrics::new().unwrap();
        metrics.deliveries.add(5);
        metrics.connections_open.add(3);
        metrics.connections_open.add(-1);
        metrics.errors.add(ErrorCode::Internal);
        metrics.requests.add(&Command::Ping(Ping {}));
        metrics.connections_closed.add(CloseCode::Flood);
        metrics.connections_closed.add(CloseReason::Lost);
        metrics.connections_refused.add(RefusedReason::Files);
        metrics.resets.add(ResetReason::Ahead);
        let text = exporter.render().unwrap();
        for line in [
            "hallway_deliveries_total 5",
            "hallway_connections_open 2",
            "hallway_errors_total{code=\"internal\"} 1",
            "hallway_errors_total{code=\"bad_frame\"} 0",
            "hallway_requests_total{command=\"ping\"} 1",
            "hallway_connections_closed_total{reason=\"flood\"} 1",
            "hallway_connections_closed_total{reason=\"lost\"} 1",
            "hallway_connections_closed_total{reason=\"client\"} 0",
            "hallway_connections_refused_total{reason=\"files\"} 1",
            "hallway_resets_total{reason=\"ahead\"} 1",
        ] {
            assert!(text.lines().any(|exported| exported == line), "{line} in:\n{text}");
        }
        assert_eq!((metrics.errors.get(ErrorCode::Internal), metrics.errors.total()), (1, 1));
    }

    #[test]
    fn every_label_value_has_its_own_place_and_word() {
        for (place, code) in ErrorCode::ALL.iter().enumerate() {
            assert_eq!((code.index(), ErrorCode::values()[place]), (place, code.as_str()));
        }
        for (place, code) in CloseCode::ALL.iter().enumerate() {
            assert_eq!((CloseReason::Code(*code).index(), CloseReason::values()[place]), (place, code.reason()));
        }
        assert_eq!(CloseReason::values()[CloseReason::Client.index()], "client");
        assert_eq!(RefusedReason::values()[RefusedReason::Files.index()], "files");
        let resets = [
            ResetReason::New,
            ResetReason::Limit,
            ResetReason::Epoch,
            ResetReason::Trimmed,
            ResetReason::Joined,
            ResetReason::Ahead,
        ];
        for (place, reason) in resets.iter().enumerate() {
            let word = serde_json::to_value(reason).unwrap();
            assert_eq!((reason.index(), Some(ResetReason::values()[place])), (place, word.as_str()));
        }
    }

    #[test]
    fn the_catalogue_keeps_the_naming_rules() {
        for row in CATALOGUE {
            assert!(row.name.starts_with("hallway_"), "{}", row.name);
            assert_eq!(row.name.ends_with("_total"), row.kind == "counter", "{}", row.name);
            assert_eq!(CATALOGUE.iter().filter(|other| other.name == row.name).count(), 1, "{}", row.name);
        }
    }
}
