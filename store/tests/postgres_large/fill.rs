//! A database as it is after a while: 1,000 rooms of 10 members, 1,000,000 messages, 100,000 tasks, 50,000 notifications.
//!
//! Room `rN` is owned by `u(N mod 200)`; its other members are those 20, 40, … 180 behind them, so that everybody is in 50 rooms.
//! Two of them have each of its 100 tasks.

use crate::postgres_kit::Side;

/// Ids of version 7 that are made from numbers.
pub(crate) fn id_of(number: u64) -> uuid::Uuid {
    format!("018f{number:08x}70008000{number:012x}").parse().unwrap()
}

/// What is not read again after a crash need not be logged; plans and reads are the same.
const UNLOGGED: &[&str] = &[
    "messages",
    "events",
    "dedupe_late",
    "tasks",
    "task_assignees",
    "task_followers",
    "task_dependencies",
    "task_comments",
    "task_words",
    "notifications",
];

const FILL: &str = "
    SET synchronous_commit = off;
    CREATE FUNCTION id_of(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS
        $$ SELECT ('018f' || lpad(to_hex(n), 8, '0') || '70008000' || lpad(to_hex(n), 12, '0'))::uuid $$;
    INSERT INTO users (id, last_seq, name)
        SELECT 'u' || n, 50, (ARRAY['Anna', 'Bob', 'Carla', 'Dan', 'Élodie'])[n % 5 + 1] || ' Number ' || n
        FROM generate_series(0, 199) n;
    INSERT INTO rooms (id, kind, public, history_all, created_at_ms, last_seq, message_count, name, task_counts)
        SELECT 'r' || n, 0, n % 2 = 0, true, 1, 1100, 1000, 'Room of team ' || n, '{40,20,10,20,10}'
        FROM generate_series(0, 999) n;
    INSERT INTO channel_words SELECT DISTINCT unnest(hallway_words_v5(name) || id), id FROM rooms WHERE public;
    INSERT INTO members (room, user_id, role, joined_seq, since_seq)
        SELECT 'r' || n, 'u' || (n + 20 * m) % 200, CASE m WHEN 0 THEN 3 ELSE 1 END, 1, 1
        FROM generate_series(0, 999) n, generate_series(0, 9) m;
    INSERT INTO read_markers (room, user_id, read_seq, ordinal) SELECT room, user_id, 900, 900 FROM members;
    INSERT INTO messages (room, id, seq, ordinal, sender, at_ms, text)
        SELECT 'r' || n, id_of(s * 1000 + n), s, s, 'u' || n % 200, 1700000000000 + s * 1000 + n,
            'A message of some words, as people write them'
        FROM generate_series(0, 999) n CROSS JOIN LATERAL generate_series(1, 1000) s;
    INSERT INTO events (stream, seq, at_ms, kind, message) SELECT 'room:' || room, seq, at_ms, 7, id FROM messages;
    INSERT INTO dedupe SELECT id_of(s), id_of(s), id_of(s), 1, 1 FROM generate_series(1, 100000) s;
    INSERT INTO tasks (room, id, seq, at_ms, changed_at_ms, due_at_ms, status, priority, creator, title, text)
        SELECT 'r' || n, id_of(s * 1000 + n), 1000 + s, 1700000000000, 1700000000000,
            CASE WHEN s % 3 = 0 THEN hallway_now_v1() + (s - 50) * 3600000 END,
            (ARRAY[0, 0, 0, 0, 1, 1, 2, 3, 3, 4])[s % 10 + 1], s % 4, 'u' || n % 200,
            (ARRAY['Book', 'Write', 'Call', 'Order', 'Check'])[s % 5 + 1] || ' the '
                || (ARRAY['room', 'report', 'budget', 'printer'])[n % 4 + 1] || ' ' || s,
            'What is to be done, in some words'
        FROM generate_series(0, 999) n CROSS JOIN LATERAL generate_series(1, 100) s;
    INSERT INTO events (stream, seq, at_ms, kind, message) SELECT 'room:' || room, seq, at_ms, 20, id FROM tasks;
    INSERT INTO task_assignees (room, task, user_id, status, priority, due_at_ms)
        SELECT t.room, t.id, 'u' || (substr(t.room, 2)::integer + 20 * m) % 200, t.status, t.priority, t.due_at_ms
        FROM tasks t, generate_series(1, 2) m;
    INSERT INTO task_followers SELECT task, room, user_id FROM task_assignees;
    INSERT INTO task_dependencies (room, task, waits_on)
        SELECT 'r' || n, id_of((s + 1) * 1000 + n), id_of(s * 1000 + n)
        FROM generate_series(0, 999) n, generate_series(1, 99, 2) s;
    INSERT INTO task_comments (room, id, task, seq, at_ms, sender, text)
        SELECT room, id, id, seq, at_ms, creator, 'Something that was said' FROM tasks;
    INSERT INTO notifications (user_id, seq, at_ms, id, key, urgent, silent, kind, room, task, by_user)
        SELECT 'u' || n, s, 1700000000000, id_of(7000000 + n * 1000 + s), id_of(7000000 + n * 1000 + s), s % 50 = 0, false,
            'assigned', 'r' || n, id_of(2000 + n), 'u' || (n + 1) % 200
        FROM generate_series(0, 199) n, generate_series(1, 250) s;
    INSERT INTO events (stream, seq, at_ms, kind, detail)
        SELECT 'user:' || user_id, seq, at_ms, 24, jsonb_build_object('unread', seq) FROM notifications;
    INSERT INTO deliveries (notification, session, at_ms) SELECT id, 'session-' || seq, 1700000000000 FROM notifications;
    INSERT INTO delivery_ranges (notification, session, from_seq, at_ms)
        SELECT id, 'range-' || seq, greatest(seq - 255, 1), 1700000000000 FROM notifications;
    UPDATE users SET last_seq = 250, unread = 250;
    INSERT INTO notices (title) SELECT 'Notice ' || n FROM generate_series(1, 5000) n;
    INSERT INTO outbox (state, priority, attempts, attempts_max, created_at_ms, ready_at_ms, finished_at_ms, target, body)
        SELECT 2, 1, 1, 3, 1, 1, 1, 'app', '{}' FROM generate_series(1, 5000) n;
    INSERT INTO task_words (room, word, task)
        SELECT room, unnest(string_to_array(lower(title), ' ') || lower(title)), id FROM tasks;";

/// Fills the database of a store that was opened, and has its statistics taken.
pub(crate) async fn fill(side: &Side) {
    let unlogged: Vec<String> = UNLOGGED.iter().map(|table| format!("ALTER TABLE {table} SET UNLOGGED")).collect();
    side.run(&unlogged.join("; ")).await;
    side.run(FILL).await;
    side.run("VACUUM ANALYZE").await;
}
