//! Statements that answer events with what they show: pages, and what a person missed.
//!
//! Their rows are of several kinds ([`super::super::pages`] has a number for each), one after the other in no order: heads, events,
//! and what these show as it is now, each thing once however many events show it. All have the same columns: kind of row, place of
//! the stream among those asked for, those of what is shown (below), and some numbers.
//!
//! Numbers of a stream are dense, so that a range of them is as long as it says; a message has its event's number, so that
//! `message.created` needs no row of the log.

/// The columns of what is shown, in the order in which [`super::super::rows`] reads them: seq, at_ms, id, by, text, meta, count,
/// version, changed_at_ms, deleted, of, people, extra, title, status, priority, due_at_ms, things, room. Those of a message `m`
/// end with its extra.
macro_rules! message_columns {
    () => {
        "m.seq, m.at_ms, m.id, m.sender, m.text, m.meta, m.ordinal, m.version, m.edited_at_ms, m.deleted, \
         m.reply_to, m.mentions, m.reactions::text"
    };
}

/// Of a task `t`: its assignees are people, what it waits on are things.
macro_rules! task_columns {
    () => {
        "t.seq, t.at_ms, t.id, t.creator, t.text, t.meta, t.comment_count::bigint, t.version, t.changed_at_ms, t.deleted, \
         NULL::uuid, ARRAY(SELECT a.user_id FROM task_assignees a WHERE a.room = t.room AND a.task = t.id ORDER BY 1), NULL::text, \
         t.title, t.status, t.priority, t.due_at_ms, \
         ARRAY(SELECT d.waits_on FROM task_dependencies d WHERE d.room = t.room AND d.task = t.id ORDER BY 1), t.room"
    };
}

/// Of a room `r`: its kind is its status, version 1 that all history is seen, priority 1 that it is public.
macro_rules! room_columns {
    () => {
        "NULL::bigint, r.created_at_ms, NULL::uuid, NULL::text, NULL::text, NULL::text, NULL::bigint, r.history_all::integer, \
         NULL::bigint, r.archived, NULL::uuid, NULL::text[], NULL::text, r.name, r.kind, r.public::integer::smallint, NULL::bigint, \
         NULL::uuid[], r.id"
    };
}

/// The events of each `q(place, stream, room, user_id, after, until)` but `message.created`.
macro_rules! others {
    () => {
        "others AS MATERIALIZED (SELECT q.place, q.room, q.user_id, e.seq, e.at_ms, e.kind, e.actor, e.message, e.detail \
            FROM q CROSS JOIN LATERAL ( \
                SELECT * FROM events WHERE events.stream = q.stream AND events.seq > q.after AND events.seq <= q.until \
                    AND events.kind <> 7 ORDER BY events.seq) e) "
    };
}

/// Rows of the events of each `q`, and of what they show.
macro_rules! rows_of_events {
    () => {
        concat!(
            // Messages that were created.
            "UNION ALL SELECT 2, q.place, ",
            message_columns!(),
            ", NULL, NULL, NULL, NULL, NULL, NULL, NULL \
            FROM q CROSS JOIN LATERAL ( \
                SELECT * FROM messages WHERE messages.room = q.room AND messages.seq > q.after AND messages.seq <= q.until \
                ORDER BY messages.seq) m ",
            // Events whose kind is their count, and what the log says of them is extra.
            "UNION ALL SELECT 3, o.place, o.seq, o.at_ms, o.message, o.actor, NULL, NULL, o.kind, NULL, NULL, NULL, NULL, NULL, \
                o.detail::text, NULL, NULL, NULL, NULL, NULL, NULL, NULL \
            FROM others o WHERE o.kind NOT IN (22, 24) ",
            // Messages that were edited.
            "UNION ALL SELECT 4, o.place, ",
            message_columns!(),
            ", NULL, NULL, NULL, NULL, NULL, NULL, NULL \
            FROM (SELECT DISTINCT place, room, message FROM others WHERE kind = 8) o CROSS JOIN LATERAL ( \
                SELECT * FROM messages WHERE messages.room = o.room AND messages.id = o.message LIMIT 1) m ",
            // Tasks.
            "UNION ALL SELECT 5, o.place, ",
            task_columns!(),
            ", NULL FROM (SELECT DISTINCT place, room, message FROM others WHERE kind IN (20, 21)) o CROSS JOIN LATERAL ( \
                SELECT * FROM tasks WHERE tasks.room = o.room AND tasks.id = o.message LIMIT 1) t ",
            // Comments with their events.
            "UNION ALL SELECT 6, o.place, o.seq, o.at_ms, c.id, c.sender, c.text, NULL, t.comment_count, NULL, c.at_ms, NULL, c.task, \
                c.mentions, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL \
            FROM others o LEFT JOIN LATERAL ( \
                SELECT * FROM task_comments WHERE task_comments.room = o.room AND task_comments.id = o.message LIMIT 1) c ON true \
            LEFT JOIN LATERAL (SELECT * FROM tasks WHERE tasks.room = o.room AND tasks.id = c.task LIMIT 1) t ON true \
            WHERE o.kind = 22 ",
            // Notifications with their events, whose detail is extra; whether each is urgent, silent, read, acknowledged is in numbers.
            "UNION ALL SELECT 7, o.place, o.seq, o.at_ms, n.id, n.by_user, t.text, t.data, NULL, NULL, n.at_ms, NULL, n.message, \
                ARRAY[n.kind], o.detail::text, t.title, NULL, NULL, n.acknowledge_by_ms, ARRAY[n.task, n.comment], n.room, \
                ARRAY[n.urgent::integer, n.silent::integer, (n.read_at_ms IS NOT NULL)::integer, \
                    (n.acknowledged_at_ms IS NOT NULL)::integer]::bigint[] \
            FROM others o LEFT JOIN LATERAL ( \
                SELECT * FROM notifications WHERE notifications.user_id = o.user_id AND notifications.seq = o.seq LIMIT 1) n ON true \
            LEFT JOIN LATERAL (SELECT * FROM notices WHERE notices.number = n.notice LIMIT 1) t ON true \
            WHERE o.kind = 24 ",
            // The room, where an event shows it.
            "UNION ALL SELECT 8, o.place, ",
            room_columns!(),
            ", NULL FROM (SELECT DISTINCT place, room FROM others WHERE kind IN (1, 2)) o CROSS JOIN LATERAL ( \
                SELECT * FROM rooms WHERE rooms.id = o.room LIMIT 1) r"
        )
    };
}

/// The first rows: of a stream (or of a person, without a place) its place, first and last seq, and by whom, count and changed_at_ms
/// as they are given.
macro_rules! head_row {
    ($kind:literal, $place:literal, $by:literal, $count:literal, $changed:literal) => {
        concat!(
            "SELECT ",
            $kind,
            "::integer, ",
            $place,
            "::bigint, first_seq, last_seq, NULL::uuid, ",
            $by,
            "::text, NULL::text, NULL::text, ",
            $count,
            "::bigint, NULL::integer, ",
            $changed,
            "::bigint, NULL::boolean, NULL::uuid, NULL::text[], NULL::text, NULL::text, NULL::smallint, NULL::smallint, \
             NULL::bigint, NULL::uuid[], NULL::text, NULL::bigint[] "
        )
    };
}

/// What a person has: `own`, a row with their stream, the epoch and since when tokens count; and `mine`, a row for each room.
macro_rules! own_and_mine {
    ($place:literal) => {
        concat!(
            "WITH known AS (INSERT INTO users (id) VALUES ($1) ON CONFLICT DO NOTHING), \
            own AS MATERIALIZED (SELECT meta.epoch, coalesce(u.first_seq, 1) AS first_seq, coalesce(u.last_seq, 0) AS last_seq, \
                    coalesce(u.revoked_before_ms, 0) AS revoked_before_ms \
                FROM meta LEFT JOIN users u ON u.id = $1), \
            mine AS MATERIALIZED (SELECT r.id, r.name, r.kind, r.public, r.history_all, r.archived, r.created_at_ms, r.first_seq, \
                    r.last_seq, m.role, m.joined_seq, m.since_seq, k.read_seq, r.message_count - k.ordinal AS unread, \
                    coalesce(m.muted_until_ms > (SELECT hallway_now_v1()), false) AS muted, ",
            $place,
            " FROM members m JOIN rooms r ON r.id = m.room \
                LEFT JOIN read_markers k ON k.user_id = m.user_id AND k.room = m.room WHERE m.user_id = $1) "
        )
    };
}

/// Rows of what a person has.
macro_rules! rows_of_own_and_mine {
    () => {
        concat!(
            head_row!("0", "NULL", "epoch", "revoked_before_ms", "NULL"),
            "FROM own UNION ALL SELECT 1, NULL, ",
            room_columns!(),
            ", ARRAY[role, joined_seq, since_seq, first_seq, last_seq, read_seq, unread, muted::integer]::bigint[] FROM mine r "
        )
    };
}

/// How many bytes of texts each event of a stream `s(stream, room, user_id, after, until)` shows, of those that show any.
macro_rules! bytes_of_events {
    () => {
        "SELECT m.seq, octet_length(m.text) + coalesce(octet_length(m.meta), 0) AS bytes FROM messages m \
            WHERE m.room = s.room AND m.seq > s.after AND m.seq <= s.until \
        UNION ALL SELECT e.seq, coalesce(CASE \
                WHEN e.kind IN (20, 21) THEN ( \
                    SELECT octet_length(title) + octet_length(text) + coalesce(octet_length(meta), 0) FROM tasks \
                    WHERE tasks.room = s.room AND tasks.id = e.message) \
                WHEN e.kind = 8 THEN ( \
                    SELECT octet_length(text) + coalesce(octet_length(meta), 0) FROM messages \
                    WHERE messages.room = s.room AND messages.id = e.message) \
                WHEN e.kind = 22 THEN ( \
                    SELECT octet_length(text) FROM task_comments \
                    WHERE task_comments.room = s.room AND task_comments.id = e.message) \
                ELSE ( \
                    SELECT (SELECT octet_length(title) + coalesce(octet_length(text), 0) + coalesce(octet_length(data), 0) \
                        FROM notices WHERE notices.number = n.notice) \
                    FROM notifications n WHERE n.user_id = s.user_id AND n.seq = e.seq) \
                END, 0) FROM events e \
            WHERE e.stream = s.stream AND e.seq > s.after AND e.seq <= s.until AND e.kind IN (8, 20, 21, 22, 24)"
    };
}

statements! {
    /// Events after positions: streams, their rooms and users (one is null), positions, limits.
    PAGES = concat!(
        "WITH q AS MATERIALIZED (SELECT g.place, g.stream, g.room, g.user_id, coalesce(h.first_seq, 1) AS first_seq, \
                coalesce(h.last_seq, 0) AS last_seq, greatest(g.after, h.first_seq - 1) AS after, \
                least(greatest(g.after, h.first_seq - 1), coalesce(h.last_seq, 0)) + g.size AS until \
            FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[]) \
                WITH ORDINALITY AS g(stream, room, user_id, after, size, place) \
            LEFT JOIN LATERAL ( \
                (SELECT first_seq, last_seq FROM rooms WHERE rooms.id = g.room LIMIT 1) UNION ALL \
                (SELECT first_seq, last_seq FROM users WHERE users.id = g.user_id LIMIT 1)) h ON true), ",
        others!(),
        head_row!("0", "NULL", "epoch", "NULL", "NULL"),
        "FROM (SELECT epoch, NULL::bigint AS first_seq, NULL::bigint AS last_seq FROM meta) own UNION ALL ",
        head_row!("9", "place", "NULL", "NULL", "NULL"),
        "FROM q ",
        rows_of_events!()
    );

    /// A user's stream and rooms.
    CONNECT = concat!(own_and_mine!("NULL AS place"), rows_of_own_and_mine!());
    /// The same, and rows of what the user missed: rooms (null: the user's own stream), positions, how many of each are
    /// wanted, and bounds of all of them in events and bytes. Numbers are dense, so that the heads tell how many events each stream has:
    /// what does not fit is not even looked at. Streams that have little come first. `few` are those that fit by their events. Of
    /// these only the sizes of texts are looked at; `q` are those that fit by their bytes as well, and the last one is cut.
    CONNECT_MISSED = concat!(
        own_and_mine!("array_position($2::text[], r.id) AS place"),
        ", seen AS ( \
            SELECT place, id AS room, first_seq, last_seq, \
                greatest(($3::bigint[])[place], since_seq - 1, first_seq - 1, last_seq - $4::bigint) AS after \
            FROM mine WHERE place IS NOT NULL \
            UNION ALL SELECT place, NULL, first_seq, last_seq, \
                greatest(($3::bigint[])[place], first_seq - 1, last_seq - $4::bigint) \
            FROM (SELECT first_seq, last_seq, array_position($2::text[], NULL) AS place FROM own) own WHERE place IS NOT NULL), \
        placed AS (SELECT seen.*, \
                (sum(last_seq - after) OVER (ORDER BY last_seq - after, place))::bigint - (last_seq - after) AS before \
            FROM seen WHERE last_seq > after), \
        few AS MATERIALIZED (SELECT place, room, CASE WHEN room IS NULL THEN 'user:' || $1 ELSE 'room:' || room END AS stream, \
                CASE WHEN room IS NULL THEN $1 END AS user_id, first_seq, last_seq, after, before, \
                after + least(last_seq - after, $5::bigint - before) AS until \
            FROM placed WHERE before < $5::bigint), \
        sized AS (SELECT s.*, b.bytes, (sum(b.bytes) OVER (ORDER BY s.before))::bigint - b.bytes AS held \
            FROM few s CROSS JOIN LATERAL (SELECT coalesce(sum(each.bytes), 0)::bigint AS bytes FROM (",
        bytes_of_events!(),
        ") each) b), \
        q AS MATERIALIZED (SELECT place, stream, room, user_id, first_seq, last_seq, after, before, \
                CASE WHEN held + bytes <= $6::bigint THEN until ELSE ( \
                    SELECT min(each.seq) - 1 FROM (SELECT one.seq, sum(one.bytes) OVER (ORDER BY one.seq) AS held FROM (",
        bytes_of_events!(),
        ") one) each WHERE s.held + each.held > $6::bigint) END AS until \
            FROM sized s WHERE held <= $6::bigint), ",
        others!(),
        rows_of_own_and_mine!(),
        "UNION ALL ",
        head_row!("9", "place", "NULL", "after", "before"),
        "FROM q WHERE until > after ",
        rows_of_events!()
    );
}
