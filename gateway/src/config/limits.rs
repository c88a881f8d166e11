//! Every limit of a node, in one table: name, unit, default, allowed range, what happens when it is reached, the metric
//! that shows it and the test that proves it. `tests/tidy.rs` checks each row.

macro_rules! limits {
    ($($(#[$doc:meta])* $name:ident: $unit:literal = $default:literal in $min:literal..=$max:literal,
        reached: $reached:literal, metric: $metric:literal, test: $test:literal;)*) => {
        /// The limits in force. Each is set by `limits.<name>` in the configuration.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct Limits { $($(#[$doc])* pub $name: u64,)* }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl Limits {
            /// The whole table, for documents and for the test that checks it.
            pub const TABLE: &'static [LimitRow] = &[$(LimitRow {
                name: stringify!($name), unit: $unit, default: $default, min: $min, max: $max,
                reached: $reached, metric: $metric, test: $test,
            }),*];

            /// Every limit with its value in force.
            #[must_use]
            pub fn values(&self) -> Vec<(&'static LimitRow, u64)> {
                Self::TABLE.iter().zip([$(self.$name),*]).collect()
            }

            /// Where the limit of this name is kept.
            pub(super) fn slot(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)*
                    _ => None,
                }
            }
        }
    };
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct LimitRow {
    pub name: &'static str,
    pub unit: &'static str,
    pub default: u64,
    pub min: u64,
    pub max: u64,
    pub reached: &'static str,
    pub metric: &'static str,
    pub test: &'static str,
}

limits! {
    /// Connections that one node holds.
    connections_max: "connections" = 18000 in 1..=1000000,
        reached: "the upgrade is answered with 503 and Retry-After", metric: "hallway_connections_refused_total",
        test: "a_full_node_says_503_and_when_to_come_back";
    /// Connections that have not said a valid hello yet.
    unidentified_max: "connections" = 2000 in 1..=1000000,
        reached: "the upgrade is answered with 503 and Retry-After", metric: "hallway_connections_refused_total",
        test: "sockets_that_never_authenticate_are_capped_and_closed";
    /// Connections of one user on this node.
    user_connections_max: "connections" = 50 in 1..=10000,
        reached: "hello is refused with limit_reached", metric: "hallway_errors_total",
        test: "a_user_has_a_bounded_number_of_devices";
    /// Time for the HTTP request head, and then for a valid hello.
    hello_timeout_ms: "milliseconds" = 10000 in 100..=120000,
        reached: "the connection is closed with 4004", metric: "hallway_connections_closed_total",
        test: "sockets_that_never_authenticate_are_capped_and_closed";
    /// Frames in a row that are no valid request.
    bad_frames_max: "frames" = 32 in 1..=1000,
        reached: "the connection is closed with 4501", metric: "hallway_connections_closed_total",
        test: "a_client_that_sends_only_rubbish_is_closed";
    /// The server pings this often.
    heartbeat_interval_ms: "milliseconds" = 25000 in 100..=600000,
        reached: "a ping is sent", metric: "hallway_connections_closed_total",
        test: "a_silent_client_is_closed_by_the_heartbeat";
    /// Silence after which a client counts as gone.
    heartbeat_timeout_ms: "milliseconds" = 60000 in 200..=1200000,
        reached: "the connection is closed with 4001", metric: "hallway_connections_closed_total",
        test: "a_silent_client_is_closed_by_the_heartbeat";
    /// Time in which a client with waiting bytes must take at least one.
    write_timeout_ms: "milliseconds" = 30000 in 100..=600000,
        reached: "the connection is closed with 4002", metric: "hallway_connections_closed_total",
        test: "a_reader_that_takes_no_byte_is_closed_by_the_write_timeout";
    /// Largest message from a client.
    message_max_bytes: "bytes" = 131072 in 1024..=1048576,
        reached: "the connection is closed with 1009", metric: "hallway_connections_closed_total",
        test: "a_message_of_one_mebibyte_is_refused_and_nothing_is_lost";
    /// WebSocket frames that one message may come in, and control frames between two messages.
    message_frames_max: "frames" = 256 in 1..=65536,
        reached: "the connection is closed with 4502", metric: "hallway_connections_closed_total",
        test: "a_fragment_flood_is_closed";
    /// Bytes waiting for one client that does not read fast enough.
    backlog_max_bytes: "bytes" = 262144 in 16384..=16777216,
        reached: "its streams turn Behind and are read from the log later", metric: "hallway_lagging_total",
        test: "a_reader_that_stops_costs_nobody_else_anything";
    /// The kernel's send buffer of one connection, as the kernel counts it (about half of it is payload). Smaller than two
    /// segments, a page of a sync waits for the client's delayed acknowledgement, 40 ms at a time.
    socket_send_buffer_bytes: "bytes" = 262144 in 4096..=4194304,
        reached: "bytes wait in the backlog", metric: "hallway_backlog_bytes",
        test: "a_reader_that_stops_costs_nobody_else_anything";
    /// Bytes waiting for all clients of the node together.
    backlogs_max_bytes: "bytes" = 1073741824 in 1048576..=1099511627776,
        reached: "the connection with the oldest waiting byte is closed with 4003", metric: "hallway_connections_closed_total",
        test: "the_memory_budget_closes_the_slowest_first";
    /// Requests of one connection that are being carried out.
    requests_in_flight_max: "requests" = 64 in 1..=1024,
        reached: "nothing more is read from it until one is answered", metric: "hallway_requests_in_flight",
        test: "requests_beyond_the_limit_wait_and_are_all_answered";
    /// Requests of one connection per second, and as many at once.
    requests_per_second_max: "requests per second" = 2000 in 1..=1000000,
        reached: "rate_limited with retry_after_ms; nothing is lost", metric: "hallway_errors_total",
        test: "a_request_flood_is_told_when_to_come_back";
    /// Writes that wait for the store.
    writer_queue_max: "writes" = 8192 in 1..=1000000,
        reached: "overloaded, definite", metric: "hallway_errors_total",
        test: "a_full_writer_queue_refuses_definitely";
    /// Time a write may wait before it is handed to the store.
    writer_wait_max_ms: "milliseconds" = 3000 in 10..=60000,
        reached: "store_unavailable, definite", metric: "hallway_errors_total",
        test: "a_write_that_waits_too_long_is_refused_definitely";
    /// Time the store may take for a batch.
    store_timeout_ms: "milliseconds" = 3000 in 10..=60000,
        reached: "outcome_unknown for every write of the batch", metric: "hallway_errors_total",
        test: "a_store_that_does_not_answer_is_an_unknown_outcome";
    /// Events in one page read from the store.
    page_events_max: "events" = 500 in 1..=10000,
        reached: "the next page is read after it", metric: "hallway_store_pages_total",
        test: "a_long_absence_comes_in_pages_without_a_gap";
    /// Recent events kept in memory per stream.
    ring_events_max: "events" = 256 in 1..=65536,
        reached: "the oldest is forgotten and read from the store", metric: "hallway_ring_bytes",
        test: "a_storm_of_reconnects_costs_few_history_reads";
    /// Bytes of recent events kept per stream.
    ring_max_bytes: "bytes" = 131072 in 1024..=16777216,
        reached: "the oldest is forgotten and read from the store", metric: "hallway_ring_bytes",
        test: "rings_are_bounded_in_bytes";
    /// Events held per stream while a gap before them is filled.
    held_events_max: "events" = 256 in 1..=65536,
        reached: "later ones are forgotten and read from the store", metric: "hallway_gaps_total",
        test: "a_gap_holds_a_bounded_number_of_events";
    /// Events and orders waiting for one lane.
    lane_inbox_max: "entries" = 65536 in 16..=16777216,
        reached: "the streams that did not fit turn Behind and are read from the log", metric: "hallway_lane_overflows_total",
        test: "a_full_lane_inbox_loses_nothing";
    /// Time a stream's state outlives its last local reader.
    stream_linger_ms: "milliseconds" = 60000 in 0..=3600000,
        reached: "it is forgotten", metric: "hallway_streams",
        test: "streams_without_readers_are_forgotten";
    /// Time a whole drain may take.
    drain_deadline_ms: "milliseconds" = 20000 in 100..=600000,
        reached: "what is left is closed at once and counted as forced", metric: "hallway_connections_closed_total",
        test: "sigterm_drains_and_says_when_to_come_back";
    /// Events that a poll of the store's tail may cover before heads are asked for instead.
    tail_rows_max: "events" = 50000 in 1..=50000,
        reached: "the heads of the node's streams are asked for until the cursor moves", metric: "hallway_tail_stalled",
        test: "a_long_transaction_elsewhere_stops_nothing_and_polls_stay_cheap";
    /// Time that the cursor of the store's tail may stand still with something behind it.
    tail_stall_ms: "milliseconds" = 30000 in 100..=3600000,
        reached: "the heads of the node's streams are asked for until the cursor moves", metric: "hallway_tail_stalled",
        test: "a_long_transaction_elsewhere_stops_nothing_and_polls_stay_cheap";
    /// Members from which a room is large: its events go into a channel of its own instead of to its members' nodes.
    large_room_threshold_members: "members" = 100 in 2..=100000,
        reached: "nodes with readers hear the room's channel", metric: "hallway_bus_room_subscriptions",
        test: "a_room_that_crosses_the_threshold_is_not_even_late";
    /// Members in the cached lists that say where a room's events go, all rooms together.
    member_lists_max_people: "people" = 500000 in 100..=100000000,
        reached: "lists not used for longest are forgotten; those rooms go to every node until read again", metric: "hallway_member_lists_people",
        test: "lists_of_members_are_bounded_in_people";
    /// Events and frames that wait for the bus.
    bus_queue_max_messages: "messages" = 16384 in 1..=1000000,
        reached: "what does not fit is dropped; the tail delivers the events", metric: "hallway_bus_queue_drops_total",
        test: "a_bus_that_does_not_answer_keeps_nobody_waiting_and_the_tail_delivers";
    /// How often a node says that it lives.
    node_heartbeat_ms: "milliseconds" = 1000 in 10..=60000,
        reached: "it says so", metric: "hallway_cluster_nodes",
        test: "a_node_that_is_gone_is_missed_after_its_lease";
    /// Silence after which a node counts as gone, with everybody on it.
    node_lease_ms: "milliseconds" = 5000 in 50..=600000,
        reached: "nobody is present through it any more", metric: "hallway_cluster_nodes",
        test: "a_node_that_is_gone_is_missed_after_its_lease";
    /// People that one connection watches.
    presence_watch_max_users: "people" = 500 in 1..=500,
        reached: "presence.watch is refused with limit_reached", metric: "hallway_errors_total",
        test: "a_connection_watches_a_bounded_number_of_people";
    /// People on the watch lists of all connections of the node together.
    presence_watched_max: "people" = 1000000 in 1..=100000000,
        reached: "presence.watch is refused with limit_reached", metric: "hallway_presence_watched",
        test: "the_lists_of_all_connections_together_are_bounded";
    /// Connections between their upgrade and the end of their first sync, at most; how many there may be follows from
    /// how long syncs take.
    admission_max: "connections" = 512 in 8..=100000,
        reached: "the next ones wait before the upgrade", metric: "hallway_admission_limit",
        test: "a_storm_beyond_what_the_store_takes_is_spread_out_and_all_get_in";
    /// Time from hello to the end of the first sync that is aimed at.
    admission_target_ms: "milliseconds" = 30 in 1..=60000,
        reached: "fewer connections are admitted at a time", metric: "hallway_admission_limit",
        test: "a_storm_beyond_what_the_store_takes_is_spread_out_and_all_get_in";
    /// Connections that wait before the upgrade.
    admission_queue_max: "connections" = 1000 in 0..=100000,
        reached: "the upgrade is answered with 503, Retry-After and retry-after-ms", metric: "hallway_connections_refused_total",
        test: "a_storm_beyond_what_the_store_takes_is_spread_out_and_all_get_in";
    /// Time that they wait.
    admission_wait_max_ms: "milliseconds" = 2000 in 0..=60000,
        reached: "the upgrade is answered with 503, Retry-After and retry-after-ms", metric: "hallway_connections_refused_total",
        test: "a_storm_beyond_what_the_store_takes_is_spread_out_and_all_get_in";
    /// Time between "not ready" and the end of accepting, for balancers to notice; at most half of the deadline, and
    /// none in development mode.
    drain_notice_ms: "milliseconds" = 3000 in 0..=300000,
        reached: "no connection is accepted any more", metric: "hallway_draining",
        test: "a_node_that_leaves_serves_on_until_it_was_noticed";
    /// Connections that a drain tells at once to come back.
    drain_batch_connections: "connections" = 200 in 1..=1000000,
        reached: "the next ones are told an interval later, so that all are told within the deadline", metric: "hallway_drained_total",
        test: "sigterm_drains_and_says_when_to_come_back";
    /// How many clients a drain sends to the other nodes per second.
    drain_reconnects_per_second: "connections per second" = 1000 in 1..=1000000,
        reached: "clients are told to come back later, up to 30 seconds", metric: "hallway_drained_total",
        test: "clients_of_a_drain_are_sent_back_spread_over_their_number";
    /// People whose notifications leave a node together, at most.
    notification_batch_recipients_max: "people" = 50 in 1..=10000,
        reached: "the batch leaves at once", metric: "hallway_notification_batch_recipients",
        test: "notifications_leave_together_and_at_once_when_a_batch_is_full";
    /// Time that a notification waits for others; urgent ones do not.
    notification_batch_wait_ms: "milliseconds" = 50 in 0..=5000,
        reached: "the batch leaves as it is", metric: "hallway_notification_batch_wait_seconds",
        test: "a_notification_waits_for_others_and_an_urgent_one_for_nobody";
    /// How often a node looks for fan-out jobs that nobody told it of: those of a node that died.
    fan_out_poll_ms: "milliseconds" = 1000 in 10..=60000,
        reached: "it looks", metric: "hallway_work_steps_total",
        test: "a_fan_out_that_a_dead_node_left_behind_is_finished";
    /// How often a node looks for due times that have come.
    due_poll_ms: "milliseconds" = 1000 in 10..=60000,
        reached: "it looks", metric: "hallway_work_steps_total",
        test: "a_due_time_is_told_once";
    /// Webhooks that one node delivers at a time.
    webhooks_in_flight_max: "webhooks" = 10 in 1..=1000,
        reached: "the next ones wait in the store", metric: "hallway_webhooks_in_flight",
        test: "no_more_webhooks_are_under_way_than_there_are_places";
    /// Time to resolve a target's name, to connect and to agree on TLS.
    webhook_connect_timeout_ms: "milliseconds" = 3000 in 10..=60000,
        reached: "the attempt failed", metric: "hallway_webhooks_total",
        test: "a_target_that_takes_no_connection_in_time_fails";
    /// Bytes of a target's answer that are read.
    webhook_response_max_bytes: "bytes" = 65536 in 0..=16777216,
        reached: "the connection is closed; the status counts", metric: "hallway_webhooks_total",
        test: "an_endless_answer_is_not_read_to_its_end";
    /// Time after which a failed webhook is tried again; each further time twice as long, and up to half as much more by chance.
    webhook_retry_ms: "milliseconds" = 2000 in 10..=300000,
        reached: "it is ready again", metric: "hallway_webhooks_total",
        test: "a_webhook_that_fails_is_tried_again_and_in_the_end_dead";
    /// Failures in a row after which a target is left alone.
    webhook_failures_max: "failures" = 5 in 1..=1000,
        reached: "its webhooks wait in the store", metric: "hallway_webhook_targets_resting",
        test: "a_target_that_fails_is_left_alone_and_tried_with_one";
    /// How long it is left alone.
    webhook_rest_ms: "milliseconds" = 30000 in 10..=3600000,
        reached: "it is tried with one webhook", metric: "hallway_webhook_targets_resting",
        test: "a_target_that_fails_is_left_alone_and_tried_with_one";
    /// Delivered webhooks that are kept, for traces.
    webhooks_done_kept: "webhooks" = 10000 in 0..=10000000,
        reached: "the oldest are dropped within a minute or two", metric: "hallway_webhooks_total",
        test: "finished_webhooks_are_kept_to_their_bounds";
    /// Webhooks that were given up and are kept, for replays.
    webhooks_dead_kept: "webhooks" = 10000 in 0..=10000000,
        reached: "the oldest are dropped within a minute or two", metric: "hallway_webhooks_total",
        test: "finished_webhooks_are_kept_to_their_bounds";
    /// Time after which it is looked whether the person of a notification is there.
    hand_out_first_look_ms: "milliseconds" = 2000 in 0..=3600000,
        reached: "who is nowhere connected has it handed to the application", metric: "hallway_hand_outs_total",
        test: "what_somebody_offline_is_notified_of_is_handed_out_and_signed";
    /// Notes of which notifications were handed to which connection, each a run of them, on their way to the store.
    delivery_notes_max: "notes" = 65536 in 1..=10000000,
        reached: "what does not fit is missing in traces", metric: "hallway_delivery_notes_dropped_total",
        test: "a_full_diary_drops_notes_and_says_how_many";
}
