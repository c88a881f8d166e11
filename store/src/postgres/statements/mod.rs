//! Every statement that the back end runs, by name, so that a test can ask Postgres how it would run each.
//!
//! Those on rooms, messages and people stand here, others in a file for each subject.

macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        $($(#[$doc])* pub const $name: &str = $sql;)*

        /// Every statement of this file with its name.
        pub const ALL: &[(&str, &str)] = &[$((stringify!($name), $name)),*];
    };
}

/// A run of writes; whether it is all or none.
macro_rules! act {
    ($together:literal) => {
        concat!(
            "SELECT hallway_act_v8($1, $2, $3, ",
            $together,
            ", $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)::text FROM set_config('hallway.first_look_ms', $4, true)"
        )
    };
}

#[macro_use]
pub mod pages;
pub mod notes;
pub mod tasks;

/// Every statement with its name.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str)> {
    [ALL, notes::ALL, pages::ALL, tasks::ALL].into_iter().flatten().copied()
}

statements! {
    /// A run of message sends.
    SEND = "SELECT epoch, verdict, seq, ordinal, at_ms, message, left_ms \
            FROM hallway_send_v2($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    /// A run of message sends of which some notify people; last: after how long notifications are first looked at to be handed out.
    SEND_NOTIFYING = "SELECT epoch, verdict, seq, ordinal, at_ms, message, left_ms, notified \
            FROM hallway_send_v3($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
    /// A run of other writes; fourth: as the last of sends that notify, or empty; then what they concern (`concerns`).
    ACT = act!("false");
    /// Some writes, all or none.
    TOGETHER = act!("true");
    /// Moves read markers.
    MARK_READ = "SELECT hallway_mark_read_v1($1, $2, $3)::text";

    /// Which of these rooms someone else has locked at this moment.
    LOCKED_ROOMS = "WITH free AS MATERIALIZED ( \
            SELECT id FROM rooms WHERE id = ANY ($1::text[]) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED) \
        SELECT id FROM rooms WHERE id = ANY ($1::text[]) AND id NOT IN (SELECT id FROM free)";

    /// Heads of streams: their rooms and users (one is null).
    HEADS = "SELECT meta.epoch, coalesce(h.first_seq, 1), coalesce(h.last_seq, 0) \
        FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS q(room, user_id, ord) \
        CROSS JOIN meta \
        LEFT JOIN LATERAL ( \
            (SELECT first_seq, last_seq FROM rooms WHERE rooms.id = q.room LIMIT 1) UNION ALL \
            (SELECT first_seq, last_seq FROM users WHERE users.id = q.user_id LIMIT 1)) h ON true \
        ORDER BY q.ord";
    /// Heads of the streams that were written to since a cursor, the next cursor, and how many events were looked at, of one
    /// snapshot. It looks at a bounded number of events: a cursor that stands still leaves more and more behind it.
    TAIL = "SELECT meta.epoch, pg_snapshot_xmin(pg_current_snapshot())::text, t.stream, t.seq, t.size FROM meta \
        LEFT JOIN (SELECT e.stream, max(e.seq) AS seq, count(*) AS size \
            FROM (SELECT stream, seq FROM events WHERE tx >= $1::text::xid8 LIMIT $2) e GROUP BY e.stream) t ON true";
    /// A cursor that starts at now.
    TAIL_START = "SELECT meta.epoch, pg_snapshot_xmin(pg_current_snapshot())::text, NULL::text, NULL::bigint, \
        NULL::bigint FROM meta";

    /// One room, as a user may see it.
    ROOM = "SELECT hallway_info_v1(r)::text, m.role, m.joined_seq FROM rooms r \
        LEFT JOIN members m ON m.room = r.id AND m.user_id = $1 \
        WHERE r.id = $2 AND r.last_seq > 0 AND (r.public OR m.role IS NOT NULL)";
    /// A user's rooms.
    LIST_MINE = "SELECT hallway_info_v1(r)::text FROM members m JOIN rooms r ON r.id = m.room \
        WHERE m.user_id = $1 AND m.room > $2 ORDER BY m.room LIMIT $3";
    /// Public channels.
    LIST_PUBLIC = "SELECT hallway_info_v1(r)::text FROM rooms r \
        WHERE r.public AND NOT r.archived AND r.kind = 0 AND r.id > $1 ORDER BY r.id LIMIT $2";
    /// Members of a room; no row when the asker may not know, a row of nulls when there are none.
    MEMBERS = "SELECT p.user_id, p.role, p.joined_seq FROM rooms r \
        LEFT JOIN members mine ON mine.room = r.id AND mine.user_id = $1 \
        LEFT JOIN LATERAL ( \
            SELECT * FROM members WHERE members.room = r.id AND members.user_id > $3 \
            ORDER BY members.user_id LIMIT $4) p ON true \
        WHERE r.id = $2 AND r.last_seq > 0 AND (r.public OR mine.role IS NOT NULL) \
        ORDER BY p.user_id";
    /// Messages below a seq, newest first; no row when the asker is no member, a row of nulls when there are none.
    HISTORY_BEFORE = concat!(
        "SELECT EXISTS (SELECT 1 FROM messages n WHERE n.room = $2 AND n.seq >= greatest($3, mine.since_seq)), ",
        message_columns!(),
        " FROM members mine LEFT JOIN LATERAL ( \
            SELECT * FROM messages WHERE messages.room = $2 AND messages.seq < $3 AND messages.seq >= mine.since_seq \
            ORDER BY messages.seq DESC LIMIT $4) m ON true \
        WHERE mine.room = $2 AND mine.user_id = $1 ORDER BY m.seq DESC"
    );
    /// Messages above a seq, oldest first; rows as in the other direction.
    HISTORY_AFTER = concat!(
        "SELECT EXISTS (SELECT 1 FROM messages n \
            WHERE n.room = $2 AND n.seq <= $3 AND n.seq >= mine.since_seq), ",
        message_columns!(),
        " FROM members mine LEFT JOIN LATERAL ( \
            SELECT * FROM messages \
            WHERE messages.room = $2 AND messages.seq > $3 AND messages.seq >= mine.since_seq \
            ORDER BY messages.seq LIMIT $4) m ON true \
        WHERE mine.room = $2 AND mine.user_id = $1 ORDER BY m.seq"
    );

    /// Members of rooms, at most so many of each.
    AUDIENCES = "SELECT meta.epoch, coalesce(r.last_seq, 0), p.people FROM unnest($1::text[]) WITH ORDINALITY AS q(room, ord) \
        CROSS JOIN meta \
        LEFT JOIN rooms r ON r.id = q.room \
        LEFT JOIN LATERAL ( \
            SELECT array_agg(few.user_id) AS people FROM ( \
                SELECT members.user_id FROM members WHERE members.room = q.room \
                ORDER BY members.user_id LIMIT $2) few) p ON true \
        ORDER BY q.ord";

    /// Those of some people who share a room with somebody.
    ACQUAINTANCES = "SELECT q.other FROM unnest($2::text[]) WITH ORDINALITY AS q(other, ord) \
        WHERE q.other = $1 OR EXISTS ( \
            SELECT 1 FROM members theirs JOIN members mine ON mine.room = theirs.room AND mine.user_id = $1 \
            WHERE theirs.user_id = q.other) \
        ORDER BY q.ord";

    /// The cheapest question.
    PROBE = "SELECT 1";
    /// The epoch; renewed when the fingerprint differs, or when told so.
    EPOCH = "SELECT hallway_epoch_v1($1)";
    /// Settings that durability rests on.
    DURABILITY = "SELECT name, setting FROM pg_settings \
        WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes', 'server_version', 'wal_sync_method', \
            'synchronous_standby_names') ORDER BY name";
    /// Drops a prefix of a stream.
    TRIM = "SELECT first_seq, last_seq FROM hallway_trim_v6($1, $2, $3, $4)";
    /// Streams with events older than a time. It looks at a bounded number of events, found by their time: going along the
    /// streams until enough of them have old events would read all of them when none has.
    EXPIRED = "WITH old AS MATERIALIZED (SELECT stream, seq FROM events WHERE at_ms < $1 LIMIT 100000) \
        SELECT stream, max(seq) + 1 FROM old GROUP BY stream LIMIT $2";
    /// Turns the partitions of nonces.
    TRIM_NONCES = "SELECT hallway_trim_nonces_v1($1, $2)";

    /// A member's mute, and now.
    MUTE = "SELECT muted_until_ms, hallway_now_v1() FROM members WHERE user_id = $1 AND room = $2";
    /// Bans in force; no row when the asker is no admin, a row of nulls when there are none.
    BANS = "SELECT s.user_id, s.actor, s.at_ms, s.until_ms, s.reason \
        FROM members mine LEFT JOIN LATERAL ( \
            SELECT * FROM sanctions WHERE sanctions.room = $2 AND sanctions.kind = 1 AND sanctions.user_id > $3 \
                AND sanctions.until_ms > (SELECT hallway_now_v1()) \
            ORDER BY sanctions.user_id LIMIT $4) s ON true \
        WHERE mine.room = $2 AND mine.user_id = $1 AND mine.role >= 2 ORDER BY s.user_id";
    /// The whole record; rows as in the others.
    AUDIT_ALL = "SELECT a.number, a.at_ms, a.actor, a.action, a.room, a.target, a.session, a.until_ms, a.reason \
        FROM audit a WHERE a.number < $1 ORDER BY a.number DESC LIMIT $2";
    /// The record of a user.
    AUDIT_TARGET = "SELECT a.number, a.at_ms, a.actor, a.action, a.room, a.target, a.session, a.until_ms, a.reason \
        FROM audit a WHERE a.target = $3 AND a.number < $1 ORDER BY a.number DESC LIMIT $2";
    /// The record of a room; no row when there is a viewer who is no admin of it, a row of nulls when there is none.
    AUDIT_ROOM = "SELECT a.number, a.at_ms, a.actor, a.action, a.room, a.target, a.session, a.until_ms, a.reason \
        FROM (SELECT 1 WHERE $4::text IS NULL \
            OR EXISTS (SELECT 1 FROM members WHERE room = $3 AND user_id = $4 AND role >= 2)) ok \
        LEFT JOIN LATERAL ( \
            SELECT * FROM audit WHERE audit.room = $3 AND audit.number < $1 ORDER BY audit.number DESC LIMIT $2) a ON true \
        ORDER BY a.number DESC";
    /// The record of a user in a room; rows as in that of a room.
    AUDIT_ROOM_TARGET = "SELECT a.number, a.at_ms, a.actor, a.action, a.room, a.target, a.session, a.until_ms, a.reason \
        FROM (SELECT 1 WHERE $4::text IS NULL \
            OR EXISTS (SELECT 1 FROM members WHERE room = $3 AND user_id = $4 AND role >= 2)) ok \
        LEFT JOIN LATERAL ( \
            SELECT * FROM audit WHERE audit.room = $3 AND audit.target = $5 AND audit.number < $1 \
            ORDER BY audit.number DESC LIMIT $2) a ON true \
        ORDER BY a.number DESC";
    /// Drops what has ended and what is too old.
    TRIM_RECORDS = "SELECT hallway_trim_records_v2($1, $2)";
}
