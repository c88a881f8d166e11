//! Statements on notifications, the work that waits for them, and webhooks.

statements! {
    /// A person's notifications, newest first, and how many are unread; a row without a notification when there are none.
    NOTIFICATIONS = "SELECT u.unread, n.notification FROM users u \
        LEFT JOIN LATERAL ( \
            SELECT o.seq, hallway_notification_v6(o, t)::text AS notification \
            FROM notifications o LEFT JOIN notices t ON t.number = o.notice \
            WHERE o.user_id = $1 AND o.seq < $2 ORDER BY o.seq DESC LIMIT $3) n ON true \
        WHERE u.id = $1 ORDER BY n.seq DESC";
    /// Those that are unread; rows as in all.
    NOTIFICATIONS_UNREAD = "SELECT u.unread, n.notification FROM users u \
        LEFT JOIN LATERAL ( \
            SELECT o.seq, hallway_notification_v6(o, t)::text AS notification \
            FROM notifications o LEFT JOIN notices t ON t.number = o.notice \
            WHERE o.user_id = $1 AND o.seq < $2 AND o.read_at_ms IS NULL ORDER BY o.seq DESC LIMIT $3) n ON true \
        WHERE u.id = $1 ORDER BY n.seq DESC";
    /// What a person is notified of: a row for each room that something is said about, at least one.
    PREFERENCES = "SELECT u.level, u.quiet_from, u.quiet_to, u.quiet_offset, p.room, p.level FROM users u \
        LEFT JOIN (preferences p JOIN members m ON m.room = p.room AND m.user_id = p.user_id) ON p.user_id = u.id \
        WHERE u.id = $1 ORDER BY p.room";
    /// A step of a fan-out job.
    FAN_OUT = "SELECT epoch, more, first, people, seqs, ids, silences, unreads FROM hallway_fan_out_v11($1, $2)";
    /// Due times that have come.
    FIRE_DUE = "SELECT hallway_fire_due_v6($1, $2, $3)::text";
    /// Claims notifications that may have to be handed out.
    CLAIM_HAND_OUTS = "SELECT user_id, notification, acknowledge_in_ms FROM hallway_claim_hand_outs_v6($1, $2)";
    /// Says what becomes of them, and writes jobs.
    SETTLE_HAND_OUTS = "SELECT hallway_settle_hand_outs_v7($1, $2, $3)::text";
    /// Notes what was handed to whom; in one order, so that two diaries never wait for each other in a circle.
    NOTE_DELIVERIES = "INSERT INTO delivery_ranges (notification, session, from_seq, at_ms) \
        SELECT i.last, i.session, i.from_seq, min(i.at_ms) \
        FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[]) AS i(last, session, from_seq, at_ms) \
        JOIN LATERAL (SELECT 1 FROM notifications WHERE notifications.id = i.last LIMIT 1) n ON true \
        GROUP BY 1, 2, 3 ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING";
    /// What became of a notification. It was handed over alone (nodes of the last release say so), or in a range that ends with
    /// it or with one of those after it, no further than the last parameter.
    TRACE = "SELECT n.user_id, hallway_notification_v6(n, t)::text, n.read_at_ms, n.acknowledged_at_ms, \
            (SELECT coalesce(json_agg(d ORDER BY d.at_ms, d.session), '[]')::text FROM ( \
                SELECT h.session, min(h.at_ms) AS at_ms FROM ( \
                    SELECT session, at_ms FROM deliveries WHERE notification = n.id \
                    UNION ALL \
                    SELECT r.session, r.at_ms FROM notifications l CROSS JOIN LATERAL ( \
                        SELECT session, at_ms FROM delivery_ranges \
                        WHERE delivery_ranges.notification = l.id AND delivery_ranges.from_seq <= n.seq OFFSET 0) r \
                    WHERE l.user_id = n.user_id AND l.seq >= n.seq AND l.seq < n.seq + $3) h \
                GROUP BY h.session ORDER BY 2, 1 LIMIT $2) d), \
            (SELECT coalesce(json_agg(hallway_job_v7(o) ORDER BY o.number), '[]')::text FROM ( \
                SELECT job FROM outbox_notifications WHERE notification = n.id ORDER BY job LIMIT $2) j \
                JOIN outbox o ON o.number = j.job) \
        FROM notifications n LEFT JOIN notices t ON t.number = n.notice WHERE n.id = $1";

    /// Claims webhooks.
    CLAIM_JOBS = "SELECT number, target, body, attempts, attempts_max, created_at_ms FROM hallway_claim_jobs_v9($1, $2, $3)";
    /// Says what became of them.
    FINISH_JOBS = "SELECT hallway_finish_jobs_v7($1, $2, $3, $4)::text";
    /// Those that were given up, newest first.
    DEAD_JOBS = "SELECT hallway_job_v7(o)::text FROM outbox o WHERE o.state = 3 AND o.number < $1 \
        ORDER BY o.number DESC LIMIT $2";
    /// Tries some of them again.
    REPLAY_JOBS = "SELECT hallway_replay_jobs_v7($1, $2)";
    /// Drops what is beyond what is kept.
    TRIM_JOBS = "SELECT hallway_trim_jobs_v7($1, $2, $3)";
}
