-- Writes that cost the server less. Nothing here means anything new: every function that a node calls keeps its form, its
-- answers and its order of locks, so nodes of the last release run these, too.
--
-- What made writes dear was planning: a function in SQL whose body cannot be put into its caller's plan is parsed and planned
-- anew in every transaction, at each place where it is called. So these become plpgsql, which keeps its plans as long as the
-- connection lives, or STABLE, as their bodies are, which lets the planner put them into their callers.

CREATE OR REPLACE FUNCTION hallway_refuse_v1(why text) RETURNS json LANGUAGE sql STABLE AS
$$ SELECT json_build_object('refused', why) $$;

CREATE OR REPLACE FUNCTION hallway_refuse_v2(why text, until_ms bigint, now_ms bigint) RETURNS json LANGUAGE sql STABLE AS
$$ SELECT json_build_object('refused', why, 'left_ms', hallway_left_v2(until_ms, now_ms)) $$;

CREATE OR REPLACE FUNCTION hallway_accept_v1(place bigint, events json[]) RETURNS json LANGUAGE sql STABLE AS
$$ SELECT json_build_object('seq', place, 'events', to_json(events)) $$;

CREATE OR REPLACE FUNCTION hallway_is_full_v1(user_in text, most integer) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN (SELECT count(*) >= most FROM members WHERE user_id = user_in);
END $$;

CREATE OR REPLACE FUNCTION hallway_banned_v2(room_in text, user_in text, why text, now_ms bigint) RETURNS json
LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN (SELECT hallway_refuse_v2(why, until_ms, now_ms) FROM sanctions
        WHERE room = room_in AND kind = 1 AND user_id = user_in AND until_ms > now_ms);
END $$;

CREATE OR REPLACE FUNCTION hallway_texts_v5(given jsonb) RETURNS text[] LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF given IS NULL OR given = 'null' OR given = '[]' THEN
        RETURN '{}';
    END IF;
    RETURN ARRAY(SELECT jsonb_array_elements_text(given));
END $$;

CREATE OR REPLACE FUNCTION hallway_task_v5(t tasks) RETURNS json LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN json_build_object('id', t.id, 'room', t.room, 'seq', t.seq, 'version', t.version, 'title', t.title,
        'text', t.text, 'status', (ARRAY['open', 'in_progress', 'blocked', 'done', 'cancelled'])[t.status + 1],
        'priority', (ARRAY['low', 'normal', 'high', 'urgent'])[t.priority + 1], 'due_at_ms', t.due_at_ms,
        'creator', t.creator, 'at_ms', t.at_ms, 'changed_at_ms', t.changed_at_ms,
        'assignees', ARRAY(SELECT a.user_id FROM task_assignees a WHERE a.room = t.room AND a.task = t.id ORDER BY 1),
        'waits_on', ARRAY(SELECT d.waits_on FROM task_dependencies d WHERE d.room = t.room AND d.task = t.id ORDER BY 1),
        'comment_count', t.comment_count, 'meta', t.meta::json, 'deleted', t.deleted);
END $$;

CREATE OR REPLACE FUNCTION hallway_task_cause_v5(kind text, w jsonb, key text, users_in text[]) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object('kind', kind, 'users', to_jsonb(users_in), 'room', w ->> 'room', 'message', NULL,
        'task', w ->> 'task', 'comment', CASE w ->> 'op' WHEN 'comment_task' THEN w ->> 'object' END, 'by', w ->> 'actor',
        'urgent', false, 'key', key, 'notice', NULL, 'acknowledge_within_ms', NULL)
$$;

CREATE OR REPLACE FUNCTION hallway_say_v6(title_in text, text_in text, data_in text) RETURNS bigint
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    made bigint;
BEGIN
    INSERT INTO notices (title, text, data) VALUES (title_in, text_in, data_in) RETURNING number INTO made;
    RETURN made;
END $$;

CREATE OR REPLACE FUNCTION hallway_tidy_v5(writes jsonb, made_users text[]) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    IF writes @? '$[*].op ? (@ == "create_room" || @ == "open_direct")' THEN
        DELETE FROM rooms WHERE id IN (SELECT x ->> 'room' FROM jsonb_array_elements(writes) x
            WHERE x ->> 'op' IN ('create_room', 'open_direct')) AND last_seq = 0;
    END IF;
    IF made_users <> '{}' THEN
        DELETE FROM users WHERE id = ANY (made_users) AND last_seq = 0;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION hallway_key_v6(key text) RETURNS uuid LANGUAGE sql STABLE AS
$$ SELECT encode(substring(sha256(convert_to(key, 'UTF8')) FROM 1 FOR 16), 'hex')::uuid $$;

-- Notifies those of some causes who want it, as hallway_notify_now_v6 says it. event: JSON. What all who are told of a cause are
-- told alike is written once; joins go by index, one person at a time: no plan may read all people for the sake of some.
CREATE FUNCTION hallway_tell_v8(causes jsonb, first_look_ms bigint, now_ms bigint)
RETURNS TABLE (of bigint, event text) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    -- Of a UUIDv7, before the chance of a UUIDv4, which has its variant already.
    time_of_id text := lpad(to_hex(now_ms), 12, '0') || '7';
BEGIN
    RETURN QUERY
    WITH said AS MATERIALIZED (
        SELECT i.n, coalesce((x ->> 'of')::bigint, i.n) AS of, x -> 'users' AS people, x ->> 'kind' AS kind,
            x ->> 'room' AS room, (x ->> 'message')::uuid AS message, (x ->> 'task')::uuid AS task,
            (x ->> 'comment')::uuid AS comment, x ->> 'by' AS by_user, u.urgent, hallway_key_v6(x ->> 'key') AS key,
            t.number AS notice, u.by_ms, substr(json_build_object('kind', x ->> 'kind', 'urgent', u.urgent,
                'room', x ->> 'room', 'message', x ->> 'message', 'task', x ->> 'task', 'comment', x ->> 'comment',
                'by', x ->> 'by', 'at_ms', now_ms, 'title', t.title, 'text', t.text, 'data', t.data::json,
                'acknowledge_by_ms', u.by_ms, 'read', false, 'acknowledged', false)::text, 2) AS alike
        FROM jsonb_array_elements(causes) WITH ORDINALITY AS i(x, n)
        CROSS JOIN LATERAL (SELECT coalesce((x ->> 'urgent')::boolean, false) AS urgent, CASE WHEN (x ->> 'urgent')::boolean
            THEN now_ms + coalesce((x ->> 'acknowledge_within_ms')::bigint, 30000) END AS by_ms) u
        LEFT JOIN LATERAL (SELECT * FROM notices WHERE notices.number = (x ->> 'notice')::bigint LIMIT 1) t ON true
    ), numbered AS MATERIALIZED (
        SELECT w.*, (time_of_id || substr(gen_random_uuid()::text, 16))::uuid AS id,
            w.last_seq + row_number() OVER same AS seq, w.unread + row_number() OVER same AS unread_now
        FROM (
            SELECT DISTINCT ON (p.user_id, c.key) c.n, c.of, c.kind, c.room, c.message, c.task, c.comment, c.by_user, c.urgent,
                c.key, c.notice, c.by_ms, c.alike, p.user_id, u.last_seq, u.unread,
                NOT c.urgent AND hallway_is_quiet_v6(u.quiet_from, u.quiet_to, u.quiet_offset, now_ms) AS silent
            FROM said c
            CROSS JOIN LATERAL (SELECT t COLLATE "C" AS user_id FROM jsonb_array_elements_text(c.people) AS t) p
            CROSS JOIN LATERAL (SELECT * FROM users WHERE users.id = p.user_id LIMIT 1) u
            LEFT JOIN LATERAL (
                SELECT true AS is_member FROM members WHERE members.room = c.room AND members.user_id = p.user_id LIMIT 1
            ) m ON true
            LEFT JOIN LATERAL (
                SELECT level FROM preferences WHERE preferences.user_id = p.user_id AND preferences.room = c.room LIMIT 1
            ) l ON true
            LEFT JOIN LATERAL (
                SELECT true AS is_told FROM notifications
                WHERE notifications.user_id = p.user_id AND notifications.key = c.key LIMIT 1
            ) k ON true
            WHERE p.user_id IS DISTINCT FROM c.by_user AND (c.room IS NULL OR m.is_member) AND k.is_told IS NULL
                AND hallway_wants_v6(coalesce(l.level, u.level, 2::smallint), c.kind, c.urgent)
            ORDER BY p.user_id, c.key, c.n
        ) w WINDOW same AS (PARTITION BY w.user_id ORDER BY w.n)
    ), new_notifications AS (
        INSERT INTO notifications (user_id, seq, id, key, kind, urgent, silent, room, message, task, comment, by_user, notice, at_ms,
            acknowledge_by_ms, hand_out_at_ms)
        SELECT user_id, seq, id, key, kind, urgent, silent, room, message, task, comment, by_user, notice, now_ms, by_ms,
            CASE WHEN NOT silent THEN now_ms + first_look_ms END
        FROM numbered
    ), new_events AS (
        INSERT INTO events (stream, seq, at_ms, kind, message, detail)
        SELECT 'user:' || user_id, seq, now_ms, 24, id, jsonb_build_object('unread', unread_now) FROM numbered
    ), heads AS (
        UPDATE users SET last_seq = h.seq, unread = h.unread
        FROM (SELECT user_id, max(seq) AS seq, max(unread_now) AS unread FROM numbered GROUP BY user_id) h
        WHERE users.id = h.user_id
    )
    SELECT n.of, '{"stream":' || to_json('user:' || n.user_id) || ',"seq":' || n.seq || ',"at_ms":' || now_ms
        || ',"body":{"notification.created":{"notification":{"id":"' || n.id || '","seq":' || n.seq || ',"silent":' || n.silent
        || ',' || n.alike || ',"unread":' || n.unread_now || '}}}'
    FROM numbered n ORDER BY n.n, n.user_id;
END $$;
CREATE OR REPLACE FUNCTION hallway_notify_now_v6(causes jsonb, first_look_ms bigint, now_ms bigint)
RETURNS TABLE (of bigint, event json) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN QUERY SELECT t.of, t.event::json FROM hallway_tell_v8(causes, first_look_ms, now_ms) t;
END $$;

-- What a write on tasks or messages came to: its place and its event, or the answer that needs no event; and what people are to
-- be told of (as hallway_tell_v8 reads it).
CREATE TYPE hallway_done_v8 AS (seq bigint, answer json, event json, causes jsonb);

-- A cause that is about a task; null when it is nobody's business but the actor's.
CREATE FUNCTION hallway_task_cause_v8(number integer, kind text, w jsonb, key text, people text[]) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT CASE WHEN people <> '{}' AND people <> ARRAY[w ->> 'actor'] THEN jsonb_build_object('of', number, 'kind', kind,
        'users', people, 'room', w ->> 'room', 'task', w ->> 'task',
        'comment', CASE w ->> 'op' WHEN 'comment_task' THEN w ->> 'object' END, 'by', w ->> 'actor', 'key', key) END
$$;

-- Its event, as the wire shows it.
CREATE FUNCTION hallway_shown_v8(room_in text, seq bigint, now_ms bigint, kind text, body json) RETURNS json
LANGUAGE sql STABLE AS $$
    SELECT json_build_object('stream', 'room:' || room_in, 'seq', seq, 'at_ms', now_ms, 'body', json_build_object(kind, body))
$$;

-- How many tasks there are of each status when one goes from one to another; null: it was not there, or is not any more.
CREATE FUNCTION hallway_counted_v8(counts integer[], gone smallint, come smallint) RETURNS integer[]
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    counts := coalesce(counts, '{0,0,0,0,0}');
    IF gone IS NOT NULL THEN
        counts[gone + 1] := counts[gone + 1] - 1;
    END IF;
    IF come IS NOT NULL THEN
        counts[come + 1] := counts[come + 1] + 1;
    END IF;
    RETURN counts;
END $$;

CREATE FUNCTION hallway_create_task_v8(w jsonb, r rooms, number integer, now_ms bigint) RETURNS hallway_done_v8
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    people text[] := '{}';
    others uuid[] := '{}';
    t tasks;
BEGIN
    IF w -> 'assignees' <> '[]' THEN
        people := ARRAY(SELECT DISTINCT jsonb_array_elements_text(w -> 'assignees') COLLATE "C" ORDER BY 1);
    END IF;
    IF w -> 'waits_on' <> '[]' THEN
        others := ARRAY(SELECT DISTINCT jsonb_array_elements_text(w -> 'waits_on')::uuid);
    END IF;
    IF EXISTS (SELECT 1 FROM tasks WHERE room = r.id AND id = (w ->> 'task')::uuid) THEN
        RETURN ROW(NULL, hallway_refuse_v1('id_taken'), NULL, NULL)::hallway_done_v8;
    ELSIF people <> '{}' AND cardinality(people) <>
        (SELECT count(*) FROM members WHERE room = r.id AND user_id = ANY (people)) THEN
        RETURN ROW(NULL, hallway_refuse_v1('target_not_a_member'), NULL, NULL)::hallway_done_v8;
    ELSIF (w ->> 'task')::uuid = ANY (others) THEN
        RETURN ROW(NULL, hallway_refuse_v1('task_cycle'), NULL, NULL)::hallway_done_v8;
    ELSIF others <> '{}' AND cardinality(others) <>
        (SELECT count(*) FROM tasks WHERE room = r.id AND id = ANY (others) AND NOT deleted) THEN
        RETURN ROW(NULL, hallway_refuse_v1('task_not_found'), NULL, NULL)::hallway_done_v8;
    ELSIF cardinality(people) > (w ->> 'most')::integer OR cardinality(others) > (w ->> 'most')::integer THEN
        RETURN ROW(NULL, hallway_refuse_v1('too_many_links'), NULL, NULL)::hallway_done_v8;
    END IF;
    WITH head AS (
        UPDATE rooms SET last_seq = r.last_seq + 1, task_counts = hallway_counted_v8(r.task_counts, NULL, 0::smallint)
        WHERE id = r.id
    ), said AS (
        INSERT INTO events (stream, seq, at_ms, kind, message, actor)
        VALUES ('room:' || r.id, r.last_seq + 1, now_ms, 20, (w ->> 'task')::uuid, w ->> 'actor')
    ), follow AS (
        INSERT INTO task_followers (room, task, user_id)
        SELECT r.id, (w ->> 'task')::uuid, person FROM unnest(people || (w ->> 'actor')) person ON CONFLICT DO NOTHING
    ), words AS (
        INSERT INTO task_words (room, word, task)
        SELECT r.id, word, (w ->> 'task')::uuid FROM unnest(hallway_words_v5(w ->> 'title')) word ON CONFLICT DO NOTHING
    )
    INSERT INTO tasks (room, id, seq, at_ms, changed_at_ms, due_at_ms, priority, creator, title, text, meta)
    VALUES (r.id, (w ->> 'task')::uuid, r.last_seq + 1, now_ms, now_ms, (w ->> 'due_at_ms')::bigint,
        (w ->> 'priority')::smallint, w ->> 'actor', w ->> 'title', w ->> 'text', w ->> 'meta') RETURNING * INTO t;
    IF people <> '{}' THEN
        INSERT INTO task_assignees (room, task, user_id, status, priority, due_at_ms)
        SELECT r.id, t.id, person, t.status, t.priority, t.due_at_ms FROM unnest(people) person;
    END IF;
    IF others <> '{}' THEN
        INSERT INTO task_dependencies (room, task, waits_on) SELECT r.id, t.id, other FROM unnest(others) other;
    END IF;
    RETURN ROW(t.seq, NULL, hallway_shown_v8(r.id, t.seq, now_ms, 'task.created', json_build_object('task', hallway_task_v5(t))),
        hallway_task_cause_v8(number, 'assigned', w, 't:' || t.id || ':1', people))::hallway_done_v8;
END $$;

CREATE FUNCTION hallway_comment_task_v8(w jsonb, r rooms, t tasks, number integer, now_ms bigint) RETURNS hallway_done_v8
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    c task_comments;
    followers text[];
BEGIN
    IF EXISTS (SELECT 1 FROM task_comments WHERE room = r.id AND id = (w ->> 'object')::uuid) THEN
        RETURN ROW(NULL, hallway_refuse_v1('id_taken'), NULL, NULL)::hallway_done_v8;
    ELSIF t.comment_count >= (w ->> 'comments_most')::integer THEN
        RETURN ROW(NULL, hallway_refuse_v1('too_many_comments'), NULL, NULL)::hallway_done_v8;
    END IF;
    followers := ARRAY(SELECT user_id FROM task_followers WHERE room = r.id AND task = t.id ORDER BY 1);
    IF (w ->> 'actor') <> ALL (followers) THEN
        INSERT INTO task_followers (room, task, user_id) VALUES (r.id, t.id, w ->> 'actor');
    END IF;
    WITH head AS (
        UPDATE rooms SET last_seq = r.last_seq + 1 WHERE id = r.id
    ), said AS (
        INSERT INTO events (stream, seq, at_ms, kind, message, actor)
        VALUES ('room:' || r.id, r.last_seq + 1, now_ms, 22, (w ->> 'object')::uuid, w ->> 'actor')
    ), task AS (
        UPDATE tasks SET comment_count = t.comment_count + 1 WHERE room = r.id AND id = t.id
    )
    INSERT INTO task_comments (room, id, task, seq, at_ms, sender, text, mentions)
    VALUES (r.id, (w ->> 'object')::uuid, t.id, r.last_seq + 1, now_ms, w ->> 'actor', w ->> 'text',
        string_to_array(w ->> 'mentions', ' ')) RETURNING * INTO c;
    -- A mentioned follower gets the mention: the second of a key is dropped.
    RETURN ROW(c.seq, NULL, hallway_shown_v8(r.id, c.seq, now_ms, 'task.commented',
            json_build_object('comment', hallway_comment_v5(c), 'comment_count', t.comment_count + 1)),
        nullif(jsonb_build_array(hallway_task_cause_v8(number, 'mention', w, 'c:' || c.id, c.mentions),
            hallway_task_cause_v8(number, 'task_changed', w, 'c:' || c.id, followers)), '[null, null]'))::hallway_done_v8;
END $$;

-- edit_task, move_task, assign_task and link_task, on the version that was named.
CREATE FUNCTION hallway_change_task_v8(w jsonb, r rooms, t tasks, number integer, now_ms bigint) RETURNS hallway_done_v8
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    op text := w ->> 'op';
    old tasks := t;
    is_changed boolean := false;
    gone text[];
    present text[];
    come text[] := '{}';
    lost integer;
    waits uuid[];
    followers text[];
    change text;
BEGIN
    IF op = 'move_task' THEN
        t.status := (w ->> 'status')::smallint;
        is_changed := t.status <> old.status;
        change := 'moved';
        IF is_changed AND NOT w -> 'from' @> to_jsonb(old.status) THEN
            RETURN ROW(NULL, json_build_object('refused', 'illegal_move', 'from', old.status), NULL, NULL)::hallway_done_v8;
        ELSIF is_changed AND t.status = 3 THEN
            waits := ARRAY(SELECT o.id FROM task_dependencies d JOIN tasks o ON o.room = d.room AND o.id = d.waits_on
                WHERE d.room = r.id AND d.task = old.id AND o.status < 3 ORDER BY o.id);
            IF waits <> '{}' THEN
                RETURN ROW(NULL, json_build_object('refused', 'task_waits', 'waits', waits), NULL, NULL)::hallway_done_v8;
            END IF;
        END IF;
    ELSIF op = 'edit_task' THEN
        t.title := coalesce(w ->> 'title', t.title);
        t.text := coalesce(w ->> 'text', t.text);
        t.meta := coalesce(w ->> 'meta', t.meta);
        t.priority := coalesce((w ->> 'priority')::smallint, t.priority);
        IF (w ->> 'sets_due')::boolean THEN
            t.due_at_ms := (w ->> 'due_at_ms')::bigint;
        END IF;
        is_changed := t IS DISTINCT FROM old;
        change := 'edited';
        t.due_fired := old.due_fired AND t.due_at_ms IS NOT DISTINCT FROM old.due_at_ms;
        IF t.title <> old.title THEN
            DELETE FROM task_words WHERE room = r.id AND task = t.id;
            INSERT INTO task_words (room, word, task) SELECT r.id, word, t.id FROM unnest(hallway_words_v5(t.title)) word
            ON CONFLICT DO NOTHING;
        END IF;
    ELSIF op = 'assign_task' THEN
        gone := hallway_texts_v5(w -> 'remove_users');
        present := ARRAY(SELECT user_id FROM task_assignees WHERE room = r.id AND task = t.id);
        come := ARRAY(SELECT DISTINCT u COLLATE "C" FROM unnest(hallway_texts_v5(w -> 'add_users')) u
            WHERE u <> ALL (gone) AND u <> ALL (present) ORDER BY 1);
        lost := (SELECT count(*) FROM unnest(present) u WHERE u = ANY (gone));
        change := 'assigned';
        is_changed := cardinality(come) + lost > 0;
        IF cardinality(come) <> (SELECT count(*) FROM members WHERE room = r.id AND user_id = ANY (come)) THEN
            RETURN ROW(NULL, hallway_refuse_v1('target_not_a_member'), NULL, NULL)::hallway_done_v8;
        ELSIF cardinality(present) + cardinality(come) - lost > (w ->> 'most')::integer THEN
            RETURN ROW(NULL, hallway_refuse_v1('too_many_links'), NULL, NULL)::hallway_done_v8;
        END IF;
        DELETE FROM task_assignees WHERE room = r.id AND task = t.id AND user_id = ANY (gone);
        INSERT INTO task_assignees (room, task, user_id, status, priority, due_at_ms)
        SELECT r.id, t.id, u, t.status, t.priority, t.due_at_ms FROM unnest(come) u;
    ELSE
        RETURN hallway_link_task_v8(w, r, t, number, now_ms);
    END IF;
    IF NOT is_changed THEN
        RETURN ROW(r.last_seq, hallway_accept_v1(r.last_seq, '{}'), NULL, NULL)::hallway_done_v8;
    END IF;
    IF (t.status, t.priority, t.due_at_ms) IS DISTINCT FROM (old.status, old.priority, old.due_at_ms) THEN
        UPDATE task_assignees SET status = t.status, priority = t.priority, due_at_ms = t.due_at_ms
        WHERE room = r.id AND task = t.id;
    END IF;
    RETURN hallway_changed_task_v8(w, r, t, old.status, change, come, number, now_ms);
END $$;

CREATE FUNCTION hallway_link_task_v8(w jsonb, r rooms, t tasks, number integer, now_ms bigint) RETURNS hallway_done_v8
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    gone uuid[] := hallway_texts_v5(w -> 'remove_tasks')::uuid[];
    present uuid[] := ARRAY(SELECT waits_on FROM task_dependencies WHERE room = r.id AND task = t.id);
    come uuid[] := ARRAY(SELECT DISTINCT u FROM unnest(hallway_texts_v5(w -> 'add_tasks')::uuid[]) u
        WHERE u <> ALL (gone) AND u <> ALL (present));
    lost integer := (SELECT count(*) FROM unnest(present) u WHERE u = ANY (gone));
BEGIN
    IF cardinality(come) <> (SELECT count(*) FROM tasks WHERE room = r.id AND id = ANY (come) AND NOT deleted) THEN
        RETURN ROW(NULL, hallway_refuse_v1('task_not_found'), NULL, NULL)::hallway_done_v8;
    ELSIF cardinality(present) + cardinality(come) - lost > (w ->> 'most')::integer THEN
        RETURN ROW(NULL, hallway_refuse_v1('too_many_links'), NULL, NULL)::hallway_done_v8;
    ELSIF come <> '{}' AND EXISTS (
        WITH RECURSIVE ahead(id) AS (
            SELECT unnest(come)
            UNION
            SELECT d.waits_on FROM ahead a JOIN task_dependencies d ON d.room = r.id AND d.task = a.id
        ) SELECT 1 FROM ahead WHERE id = t.id) THEN
        RETURN ROW(NULL, hallway_refuse_v1('task_cycle'), NULL, NULL)::hallway_done_v8;
    ELSIF cardinality(come) + lost = 0 THEN
        RETURN ROW(r.last_seq, hallway_accept_v1(r.last_seq, '{}'), NULL, NULL)::hallway_done_v8;
    END IF;
    DELETE FROM task_dependencies WHERE room = r.id AND task = t.id AND waits_on = ANY (gone);
    INSERT INTO task_dependencies (room, task, waits_on) SELECT r.id, t.id, u FROM unnest(come) u;
    RETURN hallway_changed_task_v8(w, r, t, t.status, 'linked', '{}', number, now_ms);
END $$;

-- Writes the new version of a task (t is how it is to be) and its event. come: those who are assigned by it.
CREATE FUNCTION hallway_changed_task_v8(
    w jsonb, r rooms, t tasks, was smallint, change text, come text[], number integer, now_ms bigint
) RETURNS hallway_done_v8 LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    followers text[];
BEGIN
    WITH head AS (
        UPDATE rooms SET last_seq = r.last_seq + 1, task_counts = CASE WHEN t.status = was THEN r.task_counts
            ELSE hallway_counted_v8(r.task_counts, was, t.status) END WHERE id = r.id
    ), said AS (
        INSERT INTO events (stream, seq, at_ms, kind, message, actor, detail)
        VALUES ('room:' || r.id, r.last_seq + 1, now_ms, 21, t.id, w ->> 'actor',
            jsonb_build_object('change', change, 'by', w ->> 'actor'))
    )
    UPDATE tasks SET title = t.title, text = t.text, meta = t.meta, priority = t.priority, due_at_ms = t.due_at_ms,
        due_fired = t.due_fired, status = t.status, version = t.version + 1, changed_at_ms = now_ms
    WHERE room = r.id AND id = t.id RETURNING * INTO t;
    followers := ARRAY(SELECT user_id FROM task_followers WHERE room = r.id AND task = t.id
        AND user_id <> ALL (come) ORDER BY 1);
    IF come <> '{}' THEN
        INSERT INTO task_followers (room, task, user_id) SELECT r.id, t.id, unnest(come) ON CONFLICT DO NOTHING;
    END IF;
    RETURN ROW(r.last_seq + 1, NULL, hallway_shown_v8(r.id, r.last_seq + 1, now_ms, 'task.changed',
            json_build_object('task', hallway_task_v5(t), 'change', change, 'by', w ->> 'actor')),
        nullif(jsonb_build_array(
            hallway_task_cause_v8(number, 'assigned', w, 't:' || t.id || ':' || t.version, come),
            hallway_task_cause_v8(number, 'task_changed', w, 't:' || t.id || ':' || t.version, followers)), '[null, null]'))::hallway_done_v8;
END $$;

CREATE FUNCTION hallway_delete_task_v8(w jsonb, r rooms, t tasks, now_ms bigint) RETURNS hallway_done_v8
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    body jsonb := jsonb_build_object('id', t.id, 'version', t.version + 1, 'by', w ->> 'actor');
BEGIN
    WITH head AS (
        UPDATE rooms SET last_seq = r.last_seq + 1, task_counts = hallway_counted_v8(r.task_counts, t.status, NULL)
        WHERE id = r.id
    ), said AS (
        INSERT INTO events (stream, seq, at_ms, kind, message, actor, detail)
        VALUES ('room:' || r.id, r.last_seq + 1, now_ms, 23, t.id, w ->> 'actor', body)
    )
    UPDATE tasks SET title = '', text = '', meta = NULL, due_at_ms = NULL, deleted = true, version = t.version + 1,
        changed_at_ms = now_ms WHERE room = r.id AND id = t.id;
    UPDATE task_comments SET text = '', mentions = NULL WHERE room = r.id AND task = t.id;
    DELETE FROM task_assignees WHERE room = r.id AND task = t.id;
    DELETE FROM task_followers WHERE room = r.id AND task = t.id;
    DELETE FROM task_dependencies WHERE room = r.id AND task = t.id;
    DELETE FROM task_dependencies WHERE room = r.id AND waits_on = t.id;
    DELETE FROM task_words WHERE room = r.id AND task = t.id;
    RETURN ROW(r.last_seq + 1, NULL, hallway_shown_v8(r.id, r.last_seq + 1, now_ms, 'task.deleted', body::json), NULL)::hallway_done_v8;
END $$;

-- One message; what hallway_send_v2 does for many.
CREATE FUNCTION hallway_say_v8(w jsonb, r rooms, number integer, now_ms bigint) RETURNS hallway_done_v8
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    m messages;
    causes jsonb;
BEGIN
    IF EXISTS (SELECT 1 FROM messages WHERE room = r.id AND id = (w ->> 'object')::uuid) THEN
        RETURN ROW(NULL, hallway_refuse_v1('id_taken'), NULL, NULL)::hallway_done_v8;
    END IF;
    WITH head AS (
        UPDATE rooms SET last_seq = r.last_seq + 1, message_count = r.message_count + 1 WHERE id = r.id
    ), said AS (
        INSERT INTO events (stream, seq, at_ms, kind, message)
        VALUES ('room:' || r.id, r.last_seq + 1, now_ms, 7, (w ->> 'object')::uuid)
    ), marker AS (
        INSERT INTO read_markers AS k (user_id, room, read_seq, ordinal)
        VALUES (w ->> 'actor', r.id, r.last_seq + 1, r.message_count + 1) ON CONFLICT (user_id, room) DO UPDATE
            SET read_seq = EXCLUDED.read_seq, ordinal = EXCLUDED.ordinal WHERE k.read_seq < EXCLUDED.read_seq
    )
    INSERT INTO messages (room, id, seq, ordinal, sender, at_ms, text, reply_to, mentions, meta)
    VALUES (r.id, (w ->> 'object')::uuid, r.last_seq + 1, r.message_count + 1, w ->> 'actor', now_ms, w ->> 'text',
        (w ->> 'reply_to')::uuid, string_to_array(w ->> 'mentions', ' '), w ->> 'meta') RETURNING * INTO m;
    IF m.mentions IS NOT NULL OR m.reply_to IS NOT NULL OR r.kind = 1 THEN
        -- In this order: of several of one key a person gets the first.
        causes := (SELECT jsonb_agg(jsonb_build_object('of', number, 'kind', c.kind, 'users', c.people, 'room', r.id, 'message',
                m.id, 'by', m.sender, 'key', 'm:' || m.id) ORDER BY c.rank)
            FROM (VALUES (1, 'mention', coalesce(m.mentions, '{}')),
                (2, 'reply', ARRAY(SELECT sender FROM messages WHERE room = r.id AND id = m.reply_to)),
                (3, 'direct', ARRAY(SELECT user_id FROM members WHERE room = r.id AND r.kind = 1))) AS c(rank, kind, people)
            WHERE c.people <> '{}');
    END IF;
    RETURN ROW(m.seq, NULL, hallway_shown_v8(r.id, m.seq, now_ms, 'message.created',
        json_build_object('message', hallway_message_v1(m))), causes)::hallway_done_v8;
END $$;

-- A write on tasks or messages, as hallway_act_one_v5 says it.
CREATE FUNCTION hallway_work_v8(w jsonb, number integer, now_ms bigint) RETURNS hallway_done_v8 LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    op text := w ->> 'op';
    r rooms;
    mine members;
    t tasks;
BEGIN
    SELECT * INTO r FROM rooms WHERE id = w ->> 'room';
    SELECT * INTO mine FROM members WHERE room = w ->> 'room' AND user_id = w ->> 'actor';
    IF r.id IS NULL OR r.last_seq = 0 OR (mine.role IS NULL AND NOT r.public) THEN
        RETURN ROW(NULL, hallway_refuse_v1('room_not_found'), NULL, NULL)::hallway_done_v8;
    ELSIF mine.role IS NULL THEN
        RETURN ROW(NULL, hallway_refuse_v1('not_a_member'), NULL, NULL)::hallway_done_v8;
    ELSIF mine.muted_until_ms > now_ms THEN
        RETURN ROW(NULL, hallway_refuse_v2('muted', mine.muted_until_ms, now_ms), NULL, NULL)::hallway_done_v8;
    ELSIF mine.role < 1 AND op <> 'follow_task' THEN
        RETURN ROW(NULL, hallway_refuse_v1('forbidden'), NULL, NULL)::hallway_done_v8;
    ELSIF r.archived THEN
        RETURN ROW(NULL, hallway_refuse_v1('room_archived'), NULL, NULL)::hallway_done_v8;
    ELSIF op = 'send_message' THEN
        RETURN hallway_say_v8(w, r, number, now_ms);
    ELSIF op = 'create_task' THEN
        RETURN hallway_create_task_v8(w, r, number, now_ms);
    END IF;
    SELECT * INTO t FROM tasks WHERE room = r.id AND id = (w ->> 'task')::uuid;
    IF t.id IS NULL THEN
        RETURN ROW(NULL, hallway_refuse_v1('task_not_found'), NULL, NULL)::hallway_done_v8;
    ELSIF t.deleted THEN
        RETURN ROW(NULL, hallway_refuse_v1('task_deleted'), NULL, NULL)::hallway_done_v8;
    ELSIF op = 'follow_task' THEN
        IF (w ->> 'follow')::boolean THEN
            INSERT INTO task_followers (room, task, user_id) VALUES (r.id, t.id, w ->> 'actor') ON CONFLICT DO NOTHING;
        ELSE
            DELETE FROM task_followers WHERE room = r.id AND task = t.id AND user_id = w ->> 'actor';
        END IF;
        RETURN ROW(r.last_seq, hallway_accept_v1(r.last_seq, '{}'), NULL, NULL)::hallway_done_v8;
    ELSIF op = 'comment_task' THEN
        RETURN hallway_comment_task_v8(w, r, t, number, now_ms);
    ELSIF op = 'delete_task' AND t.creator <> w ->> 'actor' AND mine.role < 2 THEN
        RETURN ROW(NULL, hallway_refuse_v1('forbidden'), NULL, NULL)::hallway_done_v8;
    ELSIF (w ->> 'version')::bigint <> t.version THEN
        RETURN ROW(NULL, json_build_object('refused', 'task_stale', 'task', hallway_task_v5(t)), NULL, NULL)::hallway_done_v8;
    ELSIF op = 'delete_task' THEN
        RETURN hallway_delete_task_v8(w, r, t, now_ms);
    END IF;
    RETURN hallway_change_task_v8(w, r, t, number, now_ms);
END $$;

-- Locks what a run of writes may write to, as hallway_lock_v5 does: rooms by id, then users by id, those who may be notified. The
-- caller says whom and what to look for: people named in rooms, tasks whose followers are told, messages that are
-- answered, direct rooms where something is said.
CREATE FUNCTION hallway_lock_v8(
    places text[], named_in text[], named text[], tasks_in text[], tasks uuid[], replies_in text[], replies uuid[],
    direct text[]
) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    people text[] := '{}';
BEGIN
    IF cardinality(places) = 1 THEN
        PERFORM 1 FROM rooms WHERE id = places[1] FOR NO KEY UPDATE;
    ELSE
        PERFORM 1 FROM rooms WHERE id = ANY (places) ORDER BY id FOR NO KEY UPDATE;
    END IF;
    -- New statements, so new snapshots.
    IF cardinality(tasks) = 1 THEN
        people := ARRAY(SELECT user_id FROM task_followers WHERE room = tasks_in[1] AND task = tasks[1]);
    ELSIF tasks <> '{}' THEN
        people := ARRAY(SELECT f.user_id FROM unnest(tasks_in, tasks) AS t(room, id)
            CROSS JOIN LATERAL (SELECT user_id FROM task_followers WHERE room = t.room AND task = t.id) f);
    END IF;
    IF named <> '{}' THEN
        people := people || ARRAY(SELECT m.user_id FROM unnest(named_in, named) AS n(room, id)
            CROSS JOIN LATERAL (SELECT user_id FROM members WHERE room = n.room AND user_id = n.id LIMIT 1) m);
    END IF;
    IF replies <> '{}' THEN
        people := people || ARRAY(SELECT m.sender FROM unnest(replies_in, replies) AS r(room, id)
            CROSS JOIN LATERAL (SELECT sender FROM messages WHERE room = r.room AND id = r.id LIMIT 1) m);
    END IF;
    IF direct <> '{}' THEN
        people := people || ARRAY(SELECT m.user_id FROM unnest(direct) AS p(room)
            CROSS JOIN LATERAL (SELECT user_id FROM members WHERE room = p.room) m);
    END IF;
    IF people <> '{}' THEN
        PERFORM 1 FROM users WHERE id = ANY (people) ORDER BY id FOR NO KEY UPDATE;
    END IF;
END $$;

-- Carries out a run of writes in order, under locks that are held; one result each. together: ends with the first that is refused.
-- What they make people know is written for all of them at once, at the end or before a write of another kind, which may
-- change who wants to know it.
CREATE FUNCTION hallway_carry_out_v8(
    writes jsonb, keys uuid[], rooms_max integer, reactions_max integer, together boolean, now_ms bigint
) RETURNS json[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    first_look_ms bigint := hallway_first_look_v6();
    -- Whether some were done before, or two of the run are one intent: then each nonce is looked for in its turn.
    looks boolean := EXISTS (SELECT 1 FROM dedupe WHERE key = ANY (keys))
        OR cardinality(keys) > 1 AND (SELECT count(DISTINCT k) FROM unnest(keys) k) < cardinality(keys);
    w jsonb;
    known dedupe;
    done hallway_done_v8;
    results json[] := '{}';
    causes jsonb := '[]';
    events json[] := '{}';
    seqs bigint[] := '{}';
BEGIN
    FOR number IN 1 .. cardinality(keys) LOOP
        w := writes -> number - 1;
        done := NULL;
        IF NOT (w ->> 'op' = 'send_message' OR w ->> 'op' LIKE '%\_task') THEN
            IF causes <> '[]' THEN
                results := hallway_add_told_v8(results, events, seqs, causes, first_look_ms, now_ms);
                causes := '[]';
            END IF;
            -- It looks for its nonce and keeps it itself.
            done.answer := hallway_act_one_v5(w, rooms_max, reactions_max, now_ms);
        ELSE
            IF looks THEN
                SELECT * INTO known FROM dedupe WHERE key = keys[number] LIMIT 1;
                IF NOT FOUND THEN
                    known := NULL;
                ELSIF known.body_hash <> (w ->> 'hash')::uuid THEN
                    done.answer := hallway_refuse_v1('nonce_conflict');
                ELSE
                    done.answer := json_build_object('seq', known.seq, 'at_ms', known.at_ms, 'object', known.message,
                        'repeated', true);
                END IF;
            END IF;
            IF done.answer IS NULL THEN
                done := hallway_work_v8(w, number, now_ms);
                IF looks AND done.seq IS NOT NULL THEN
                    INSERT INTO dedupe (key, body_hash, message, seq, at_ms)
                    VALUES (keys[number], (w ->> 'hash')::uuid, (w ->> 'object')::uuid, done.seq, now_ms);
                END IF;
            END IF;
        END IF;
        seqs[number] := done.seq;
        events[number] := done.event;
        causes := causes || coalesce(done.causes, '[]');
        results := results || coalesce(done.answer, json_build_object('seq', done.seq, 'events', json_build_array(done.event)));
        EXIT WHEN together AND done.seq IS NULL AND done.answer ->> 'refused' IS NOT NULL;
    END LOOP;
    IF causes <> '[]' THEN
        results := hallway_add_told_v8(results, events, seqs, causes, first_look_ms, now_ms);
    END IF;
    IF NOT looks THEN
        INSERT INTO dedupe (key, body_hash, message, seq, at_ms)
        SELECT i.key, (writes -> (i.n - 1)::integer ->> 'hash')::uuid, (writes -> (i.n - 1)::integer ->> 'object')::uuid, i.seq, now_ms
        FROM unnest(keys, seqs) WITH ORDINALITY AS i(key, seq, n) WHERE i.seq IS NOT NULL;
    END IF;
    RETURN results;
END $$;

-- Notifies, and puts what this said into the results of those who caused it.
CREATE FUNCTION hallway_add_told_v8(
    results json[], events json[], seqs bigint[], causes jsonb, first_look_ms bigint, now_ms bigint
) RETURNS json[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    one record;
BEGIN
    FOR one IN
        SELECT t.of, string_agg(',' || t.event, '' ORDER BY t.place) AS told, bool_or(t.event IS NULL) AS fans_out
        FROM hallway_told_v8(causes, first_look_ms, now_ms) WITH ORDINALITY AS t(of, event, place) GROUP BY t.of
    LOOP
        results[one.of] := '{"seq":' || seqs[one.of] || ',"events":[' || events[one.of] || coalesce(one.told, '')
            || '],"fans_out":' || one.fans_out || '}';
    END LOOP;
    RETURN results;
END $$;

-- Notifies, or leaves a fan-out job for a cause of more than 50 people; then an event is null. None is urgent or has a notice.
CREATE FUNCTION hallway_told_v8(causes jsonb, first_look_ms bigint, now_ms bigint)
RETURNS TABLE (of bigint, event text) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    one record;
    people text[];
    few jsonb := causes;
BEGIN
    IF causes @? '$[*].users[50]' THEN
        few := '[]';
        FOR one IN SELECT i.x || jsonb_build_object('of', coalesce((i.x ->> 'of')::bigint, i.n)) AS x
            FROM jsonb_array_elements(causes) WITH ORDINALITY AS i(x, n) WHERE i.x <> 'null' ORDER BY i.n
        LOOP
            people := ARRAY(SELECT DISTINCT u COLLATE "C" FROM jsonb_array_elements_text(one.x -> 'users') u
                WHERE u IS DISTINCT FROM one.x ->> 'by' ORDER BY 1);
            IF cardinality(people) <= 50 THEN
                few := few || jsonb_build_array(one.x);
                CONTINUE;
            END IF;
            INSERT INTO fan_outs (notice, addressed, cause, users)
            VALUES ((one.x ->> 'notice')::bigint, 1, one.x - 'users' - 'of', people);
            of := (one.x ->> 'of')::bigint;
            event := NULL;
            RETURN NEXT;
        END LOOP;
    END IF;
    RETURN QUERY SELECT * FROM hallway_tell_v8(few, first_look_ms, now_ms);
END $$;

-- A run of writes in order, under locks that are taken for all of them first; together: all of them or none, the first that is
-- refused takes the others back and is the last of the results. any: there are others than those on tasks and messages, and the
-- locks are to be found in the writes. Answers the epoch and one result each.
CREATE FUNCTION hallway_act_v8(
    writes jsonb, rooms_max integer, reactions_max integer, together boolean, is_any boolean, keys uuid[], places text[],
    named_in text[], named text[], tasks_in text[], tasks uuid[], replies_in text[], replies uuid[],
    direct text[]
) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    made_users text[];
    now_ms bigint;
    results json[];
BEGIN
    IF is_any THEN
        made_users := hallway_lock_v5(writes);
    ELSE
        PERFORM hallway_lock_v8(places, named_in, named, tasks_in, tasks, replies_in, replies, direct);
    END IF;
    now_ms := hallway_now_v1();
    IF together THEN
        BEGIN
            results := hallway_carry_out_v8(writes, keys, rooms_max, reactions_max, true, now_ms);
            IF results[cardinality(results)] ->> 'refused' IS NOT NULL THEN
                RAISE EXCEPTION 'refused' USING ERRCODE = 'HW001';
            END IF;
        EXCEPTION WHEN SQLSTATE 'HW001' THEN
            NULL; -- What was done since BEGIN is undone; the locks stay, and so do the results.
        END;
    ELSE
        results := hallway_carry_out_v8(writes, keys, rooms_max, reactions_max, false, now_ms);
    END IF;
    IF is_any THEN
        PERFORM hallway_tidy_v5(writes, made_users);
    END IF;
    RETURN json_build_object('epoch', (SELECT epoch FROM meta), 'at_ms', now_ms, 'results', to_json(results));
END $$;

-- Sends as in V4, of which some may be one intent, or name one id. Rare: its windows cost more than all else of a small run.
CREATE FUNCTION hallway_send_any_v8(
    rooms_in text[], actors_in text[], keys_in uuid[], hashes_in uuid[], ids_in uuid[], texts_in text[],
    replies_in uuid[], mentions_in text[], metas_in text[]
) RETURNS TABLE (epoch text, verdict text, seq bigint, ordinal bigint, at_ms bigint, message uuid, left_ms bigint)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    now_ms bigint;
BEGIN
    PERFORM 1 FROM rooms r WHERE r.id = ANY (rooms_in) ORDER BY r.id FOR NO KEY UPDATE;
    now_ms := hallway_now_v1();
    -- A new statement, so a new snapshot: everything that was committed by those who held the locks before us is seen.
    RETURN QUERY
    WITH judged AS MATERIALIZED (
        SELECT i.*, r.last_seq, r.message_count,
            m.muted_until_ms, d.seq AS old_seq, d.at_ms AS old_at_ms, d.message AS old_message, d.body_hash AS old_hash,
            CASE
                WHEN d.key IS NOT NULL THEN 'repeated'
                WHEN r.id IS NULL OR (m.role IS NULL AND NOT r.public) THEN 'room_not_found'
                WHEN m.role IS NULL THEN 'not_a_member'
                WHEN m.muted_until_ms > now_ms THEN 'muted'
                WHEN m.role < 1 THEN 'forbidden'
                WHEN r.archived THEN 'room_archived'
                WHEN x.taken THEN 'id_taken'
                ELSE 'new'
            END AS verdict,
            row_number() OVER (PARTITION BY i.key ORDER BY i.ord) AS attempt
        FROM unnest(rooms_in, actors_in, keys_in, hashes_in, ids_in, texts_in, replies_in, mentions_in, metas_in)
            WITH ORDINALITY AS i(room, actor, key, hash, id, text, reply_to, mentions, meta, ord)
        LEFT JOIN LATERAL (SELECT * FROM rooms WHERE rooms.id = i.room LIMIT 1) r ON true
        LEFT JOIN LATERAL (
            SELECT role, muted_until_ms FROM members WHERE members.room = i.room AND members.user_id = i.actor LIMIT 1) m ON true
        LEFT JOIN LATERAL (SELECT * FROM dedupe WHERE dedupe.key = i.key LIMIT 1) d ON true
        LEFT JOIN LATERAL (
            SELECT true AS taken FROM messages WHERE messages.room = i.room AND messages.id = i.id LIMIT 1) x ON true
    ), unique_ids AS (
        SELECT *, CASE WHEN verdict = 'new' AND row_number() OVER (
            PARTITION BY room, id, verdict = 'new' AND attempt = 1 ORDER BY ord) > 1 THEN 'id_taken' ELSE verdict END AS ruling
        FROM judged
    ), numbered AS MATERIALIZED (
        SELECT *, ruling = 'new' AND attempt = 1 AS accepted,
            last_seq + count(*) FILTER (WHERE ruling = 'new' AND attempt = 1) OVER (PARTITION BY room ORDER BY ord) AS seq,
            message_count
                + count(*) FILTER (WHERE ruling = 'new' AND attempt = 1) OVER (PARTITION BY room ORDER BY ord) AS ordinal
        FROM unique_ids
    ), new_messages AS (
        INSERT INTO messages (room, id, seq, ordinal, sender, at_ms, text, reply_to, mentions, meta)
        SELECT room, id, seq, ordinal, actor, now_ms, text, reply_to, string_to_array(mentions, ' '), meta
        FROM numbered WHERE accepted ORDER BY ord
    ), new_events AS (
        INSERT INTO events (stream, seq, at_ms, kind, message)
        SELECT 'room:' || room, seq, now_ms, 7, id FROM numbered WHERE accepted ORDER BY ord
    ), new_nonces AS (
        INSERT INTO dedupe (key, body_hash, message, seq, at_ms)
        SELECT key, hash, id, seq, now_ms FROM numbered WHERE accepted ORDER BY ord
    ), heads AS (
        UPDATE rooms SET last_seq = n.seq, message_count = n.ordinal
        FROM (SELECT room, max(seq) AS seq, max(ordinal) AS ordinal FROM numbered WHERE accepted GROUP BY room) n
        WHERE rooms.id = n.room
    ), markers AS (
        -- In the order of room and user, as in hallway_mark_read: neither waits for the other in a circle.
        INSERT INTO read_markers AS r (user_id, room, read_seq, ordinal)
        SELECT actor, room, max(seq), max(ordinal) FROM numbered WHERE accepted GROUP BY actor, room ORDER BY room, actor
        ON CONFLICT (user_id, room) DO UPDATE
            SET read_seq = EXCLUDED.read_seq, ordinal = EXCLUDED.ordinal WHERE r.read_seq < EXCLUDED.read_seq
    ), answers AS (
        SELECT n.*, first_value(n.accepted) OVER same AS leader_accepted, first_value(n.seq) OVER same AS leader_seq,
            first_value(n.hash) OVER same AS leader_hash, first_value(n.id) OVER same AS leader_id
        FROM numbered n WINDOW same AS (PARTITION BY n.key ORDER BY n.ord)
    )
    SELECT meta.epoch,
        CASE
            WHEN a.verdict = 'repeated' THEN CASE WHEN a.old_hash = a.hash THEN 'repeated' ELSE 'nonce_conflict' END
            WHEN a.accepted THEN 'new'
            WHEN a.attempt = 1 THEN a.ruling
            WHEN NOT a.leader_accepted THEN CASE a.verdict WHEN 'new' THEN 'again' ELSE a.verdict END
            WHEN a.leader_hash = a.hash THEN 'repeated'
            ELSE 'nonce_conflict'
        END,
        CASE WHEN a.verdict = 'repeated' THEN a.old_seq ELSE a.leader_seq END,
        a.ordinal,
        CASE WHEN a.verdict = 'repeated' THEN a.old_at_ms ELSE now_ms END,
        CASE WHEN a.verdict = 'repeated' THEN a.old_message ELSE a.leader_id END,
        CASE WHEN a.verdict = 'muted' THEN hallway_left_v2(a.muted_until_ms, now_ms) END
    FROM answers a CROSS JOIN meta ORDER BY a.ord;
END $$;

-- Sends as in V4; those that are each an intent and an id of their own, as nearly all runs are, need no look at one another.
CREATE OR REPLACE FUNCTION hallway_send_v2(
    rooms_in text[], actors_in text[], keys_in uuid[], hashes_in uuid[], ids_in uuid[], texts_in text[],
    replies_in uuid[], mentions_in text[], metas_in text[]
) RETURNS TABLE (epoch text, verdict text, seq bigint, ordinal bigint, at_ms bigint, message uuid, left_ms bigint)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    now_ms bigint;
    one record;
BEGIN
    IF cardinality(keys_in) > 1 AND (SELECT least(count(DISTINCT i.key), count(DISTINCT i.id))
        FROM unnest(keys_in, ids_in) AS i(key, id)) < cardinality(keys_in) THEN
        RETURN QUERY SELECT * FROM hallway_send_any_v8(rooms_in, actors_in, keys_in, hashes_in, ids_in, texts_in, replies_in,
            mentions_in, metas_in);
        RETURN;
    END IF;
    PERFORM 1 FROM rooms r WHERE r.id = ANY (rooms_in) ORDER BY r.id FOR NO KEY UPDATE;
    now_ms := hallway_now_v1();
    -- A new statement, so a new snapshot: everything that was committed by those who held the locks before us is seen.
    IF cardinality(keys_in) = 1 THEN
        SELECT i.room, r.last_seq + 1 AS seq, r.message_count + 1 AS ordinal, m.muted_until_ms, meta.epoch,
            d.seq AS old_seq, d.at_ms AS old_at_ms, d.message AS old_message,
            CASE
                WHEN d.key IS NOT NULL THEN CASE WHEN d.body_hash = hashes_in[1] THEN 'repeated' ELSE 'nonce_conflict' END
                WHEN r.id IS NULL OR (m.role IS NULL AND NOT r.public) THEN 'room_not_found'
                WHEN m.role IS NULL THEN 'not_a_member'
                WHEN m.muted_until_ms > now_ms THEN 'muted'
                WHEN m.role < 1 THEN 'forbidden'
                WHEN r.archived THEN 'room_archived'
                WHEN x.taken THEN 'id_taken'
                ELSE 'new'
            END AS verdict INTO one
        FROM (SELECT rooms_in[1] AS room, actors_in[1] AS actor, keys_in[1] AS key, ids_in[1] AS id) i
        CROSS JOIN meta
        LEFT JOIN LATERAL (SELECT * FROM rooms WHERE rooms.id = i.room LIMIT 1) r ON true
        LEFT JOIN LATERAL (
            SELECT role, muted_until_ms FROM members WHERE members.room = i.room AND members.user_id = i.actor LIMIT 1) m ON true
        LEFT JOIN LATERAL (SELECT * FROM dedupe WHERE dedupe.key = i.key LIMIT 1) d ON true
        LEFT JOIN LATERAL (
            SELECT true AS taken FROM messages WHERE messages.room = i.room AND messages.id = i.id LIMIT 1) x ON true;
        IF one.verdict = 'new' THEN
            WITH new_event AS (
                INSERT INTO events (stream, seq, at_ms, kind, message)
                VALUES ('room:' || one.room, one.seq, now_ms, 7, ids_in[1])
            ), new_nonce AS (
                INSERT INTO dedupe (key, body_hash, message, seq, at_ms)
                VALUES (keys_in[1], hashes_in[1], ids_in[1], one.seq, now_ms)
            ), head AS (
                UPDATE rooms SET last_seq = one.seq, message_count = one.ordinal WHERE rooms.id = one.room
            ), marker AS (
                INSERT INTO read_markers AS r (user_id, room, read_seq, ordinal)
                VALUES (actors_in[1], one.room, one.seq, one.ordinal) ON CONFLICT (user_id, room) DO UPDATE
                    SET read_seq = EXCLUDED.read_seq, ordinal = EXCLUDED.ordinal WHERE r.read_seq < EXCLUDED.read_seq
            )
            INSERT INTO messages (room, id, seq, ordinal, sender, at_ms, text, reply_to, mentions, meta)
            VALUES (one.room, ids_in[1], one.seq, one.ordinal, actors_in[1], now_ms, texts_in[1], replies_in[1],
                string_to_array(mentions_in[1], ' '), metas_in[1]);
        END IF;
        RETURN QUERY SELECT one.epoch, one.verdict, coalesce(one.old_seq, one.seq), one.ordinal, coalesce(one.old_at_ms, now_ms),
            CASE WHEN one.old_seq IS NULL THEN ids_in[1] ELSE one.old_message END,
            CASE WHEN one.verdict = 'muted' THEN hallway_left_v2(one.muted_until_ms, now_ms) END;
        RETURN;
    END IF;
    RETURN QUERY
    WITH numbered AS MATERIALIZED (
        SELECT j.*, j.verdict = 'new' AS accepted, j.last_seq + count(*) FILTER (WHERE j.verdict = 'new') OVER same AS seq,
            j.message_count + count(*) FILTER (WHERE j.verdict = 'new') OVER same AS ordinal
        FROM (
            SELECT i.*, r.last_seq, r.message_count,
                m.muted_until_ms, d.seq AS old_seq, d.at_ms AS old_at_ms, d.message AS old_message, d.body_hash AS old_hash,
                CASE
                    WHEN d.key IS NOT NULL THEN CASE WHEN d.body_hash = i.hash THEN 'repeated' ELSE 'nonce_conflict' END
                    WHEN r.id IS NULL OR (m.role IS NULL AND NOT r.public) THEN 'room_not_found'
                    WHEN m.role IS NULL THEN 'not_a_member'
                    WHEN m.muted_until_ms > now_ms THEN 'muted'
                    WHEN m.role < 1 THEN 'forbidden'
                    WHEN r.archived THEN 'room_archived'
                    WHEN x.taken THEN 'id_taken'
                    ELSE 'new'
                END AS verdict
            FROM unnest(rooms_in, actors_in, keys_in, hashes_in, ids_in, texts_in, replies_in, mentions_in, metas_in)
                WITH ORDINALITY AS i(room, actor, key, hash, id, text, reply_to, mentions, meta, ord)
            LEFT JOIN LATERAL (SELECT * FROM rooms WHERE rooms.id = i.room LIMIT 1) r ON true
            LEFT JOIN LATERAL (
                SELECT role, muted_until_ms FROM members WHERE members.room = i.room AND members.user_id = i.actor LIMIT 1) m ON true
            LEFT JOIN LATERAL (SELECT * FROM dedupe WHERE dedupe.key = i.key LIMIT 1) d ON true
            LEFT JOIN LATERAL (
                SELECT true AS taken FROM messages WHERE messages.room = i.room AND messages.id = i.id LIMIT 1) x ON true
        ) j WINDOW same AS (PARTITION BY j.room ORDER BY j.ord)
    ), new_messages AS (
        INSERT INTO messages (room, id, seq, ordinal, sender, at_ms, text, reply_to, mentions, meta)
        SELECT room, id, seq, ordinal, actor, now_ms, text, reply_to, string_to_array(mentions, ' '), meta
        FROM numbered WHERE accepted
    ), new_events AS (
        INSERT INTO events (stream, seq, at_ms, kind, message)
        SELECT 'room:' || room, seq, now_ms, 7, id FROM numbered WHERE accepted
    ), new_nonces AS (
        INSERT INTO dedupe (key, body_hash, message, seq, at_ms)
        SELECT key, hash, id, seq, now_ms FROM numbered WHERE accepted
    ), heads AS (
        UPDATE rooms SET last_seq = n.seq, message_count = n.ordinal
        FROM (SELECT room, max(seq) AS seq, max(ordinal) AS ordinal FROM numbered WHERE accepted GROUP BY room) n
        WHERE rooms.id = n.room
    ), markers AS (
        -- In the order of room and user, as in hallway_mark_read: neither waits for the other in a circle.
        INSERT INTO read_markers AS r (user_id, room, read_seq, ordinal)
        SELECT actor, room, max(seq), max(ordinal) FROM numbered WHERE accepted GROUP BY actor, room ORDER BY room, actor
        ON CONFLICT (user_id, room) DO UPDATE
            SET read_seq = EXCLUDED.read_seq, ordinal = EXCLUDED.ordinal WHERE r.read_seq < EXCLUDED.read_seq
    )
    SELECT meta.epoch, a.verdict, CASE WHEN a.old_seq IS NOT NULL THEN a.old_seq ELSE a.seq END, a.ordinal,
        coalesce(a.old_at_ms, now_ms), CASE WHEN a.old_seq IS NOT NULL THEN a.old_message ELSE a.id END,
        CASE WHEN a.verdict = 'muted' THEN hallway_left_v2(a.muted_until_ms, now_ms) END
    FROM numbered a CROSS JOIN meta ORDER BY a.ord;
END $$;

-- Sends as hallway_send_v2, and the notifications of those that mention, answer or are in a direct room. notified: the events
-- of the notifications, a JSON array; null when there are none.
CREATE OR REPLACE FUNCTION hallway_send_v3(
    rooms_in text[], actors_in text[], keys_in uuid[], hashes_in uuid[], ids_in uuid[], texts_in text[],
    replies_in uuid[], mentions_in text[], metas_in text[], first_look_ms bigint
) RETURNS TABLE (
    epoch text, verdict text, seq bigint, ordinal bigint, at_ms bigint, message uuid, left_ms bigint, notified text
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    concerned text[];
    epochs text[];
    verdicts text[];
    seqs bigint[];
    ordinals bigint[];
    times bigint[];
    messages_out uuid[];
    left_out bigint[];
    causes jsonb;
    told text[] := array_fill(NULL::text, ARRAY[cardinality(rooms_in)]);
    one record;
BEGIN
    PERFORM 1 FROM rooms r WHERE r.id = ANY (rooms_in) ORDER BY r.id FOR NO KEY UPDATE;
    concerned := hallway_send_concerns_v6(rooms_in, actors_in, ids_in, replies_in, mentions_in);
    PERFORM 1 FROM users u WHERE u.id = ANY (concerned) ORDER BY u.id FOR NO KEY UPDATE;
    SELECT array_agg(s.epoch), array_agg(s.verdict), array_agg(s.seq), array_agg(s.ordinal), array_agg(s.at_ms),
        array_agg(s.message), array_agg(s.left_ms)
    INTO epochs, verdicts, seqs, ordinals, times, messages_out, left_out
    FROM hallway_send_v2(rooms_in, actors_in, keys_in, hashes_in, ids_in, texts_in, replies_in, mentions_in, metas_in) s;
    SELECT jsonb_agg(jsonb_build_object('of', i.ord, 'kind', w.kind, 'users', w.people, 'room', i.room, 'message', i.id,
            'by', i.actor, 'key', 'm:' || i.id) ORDER BY i.ord, w.rank)
    INTO causes
    FROM unnest(rooms_in, actors_in, ids_in, replies_in, mentions_in, verdicts)
        WITH ORDINALITY AS i(room, actor, id, reply_to, mentions, verdict, ord)
    CROSS JOIN LATERAL (
        SELECT 1, 'mention', string_to_array(i.mentions, ' ') WHERE i.mentions IS NOT NULL
        UNION ALL
        (SELECT 2, 'reply', ARRAY[sender] FROM messages WHERE messages.room = i.room AND messages.id = i.reply_to LIMIT 1)
        UNION ALL
        SELECT 3, 'direct', ARRAY[members.user_id] FROM members WHERE i.room LIKE 'dm:%' AND members.room = i.room
    ) AS w(rank, kind, people)
    WHERE i.verdict = 'new' AND (i.mentions IS NOT NULL OR i.reply_to IS NOT NULL OR i.room LIKE 'dm:%');
    IF causes IS NOT NULL THEN
        FOR one IN SELECT t.of, '[' || string_agg(coalesce(t.event, '{"fans_out":true}'), ',' ORDER BY t.place) || ']' AS events
            FROM hallway_told_v8(causes, first_look_ms, (SELECT max(u) FROM unnest(times) u))
                WITH ORDINALITY AS t(of, event, place) GROUP BY t.of
        LOOP
            told[one.of] := one.events;
        END LOOP;
    END IF;
    RETURN QUERY
    SELECT * FROM unnest(epochs, verdicts, seqs, ordinals, times, messages_out, left_out, told);
END $$;

-- As in V6.
CREATE OR REPLACE FUNCTION hallway_fan_out_v6(most integer, first_look_ms bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    job fan_outs;
    people text[];
    told text;
BEGIN
    SELECT * INTO job FROM fan_outs ORDER BY urgent DESC, number LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN json_build_object('epoch', (SELECT epoch FROM meta), 'events', '[]'::json, 'more', false);
    END IF;
    IF job.addressed = 1 THEN
        people := ARRAY(SELECT u COLLATE "C" FROM unnest(job.users) u WHERE u COLLATE "C" > job.done_to ORDER BY 1 LIMIT most);
        -- Those who were never here are made known; in one order with the locks of the others.
        INSERT INTO users (id) SELECT u FROM unnest(people) u ORDER BY u COLLATE "C"
        ON CONFLICT (id) DO UPDATE SET last_seq = users.last_seq WHERE false;
    ELSE
        IF job.addressed = 2 THEN
            people := ARRAY(SELECT user_id FROM members WHERE room = job.cause ->> 'room' AND user_id > job.done_to
                ORDER BY user_id LIMIT most);
        ELSE
            people := ARRAY(SELECT id FROM users WHERE id > job.done_to ORDER BY id LIMIT most);
        END IF;
        PERFORM 1 FROM users WHERE id = ANY (people) ORDER BY id FOR NO KEY UPDATE;
    END IF;
    SELECT '[' || string_agg(n.event, ',') || ']' INTO told FROM hallway_tell_v8(
        jsonb_build_array(job.cause || jsonb_build_object('users', to_jsonb(people), 'notice', job.notice)),
        first_look_ms, hallway_now_v1()) n;
    IF cardinality(people) = most THEN
        UPDATE fan_outs SET done_to = people[most] WHERE number = job.number;
    ELSE
        DELETE FROM fan_outs WHERE number = job.number;
        PERFORM hallway_drop_notices_v6(ARRAY[job.notice]) WHERE job.notice IS NOT NULL;
    END IF;
    RETURN json_build_object('epoch', (SELECT epoch FROM meta), 'events', coalesce(told, '[]')::json,
        'more', EXISTS (SELECT 1 FROM fan_outs));
END $$;
