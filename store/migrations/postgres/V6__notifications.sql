-- What people should know, what they want to know of, and the work that waits for it: fan-outs and hand-outs.
--
-- A notification is a row, an event of the same number in its person's stream and one more in their unread counter, written in
-- the transaction of its cause and under the lock of the person, whom the caller has locked. Rows of notifications are locked
-- after the people, by person and number.

ALTER TABLE users
    -- Of notifications, exactly.
    ADD COLUMN unread bigint NOT NULL DEFAULT 0,
    -- 0 none, 1 mentions, 2 all; null: all
    ADD COLUMN level smallint,
    -- Quiet hours, in minutes; null: there are none.
    ADD COLUMN quiet_from smallint,
    ADD COLUMN quiet_to smallint,
    ADD COLUMN quiet_offset smallint;

-- The level in a room, where one was set.
CREATE TABLE preferences (
    level smallint NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    room text COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, room)
);

-- What announcements and notices say: once, however many get them. Goes with the last notification of it.
CREATE TABLE notices (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    title text NOT NULL,
    text text,
    -- JSON text, as meta of messages.
    data text
);

-- Each has its event under the same number in its person's stream, and goes with it.
CREATE TABLE notifications (
    seq bigint NOT NULL,
    at_ms bigint NOT NULL,
    acknowledge_by_ms bigint,
    read_at_ms bigint,
    acknowledged_at_ms bigint,
    -- When to look whether it must be handed out; null: never (any more).
    hand_out_at_ms bigint,
    notice bigint,
    id uuid NOT NULL,
    -- A hash of what it is about: a second one of the same is not written.
    key uuid NOT NULL,
    message uuid,
    task uuid,
    comment uuid,
    urgent boolean NOT NULL,
    silent boolean NOT NULL,
    -- The word of the wire.
    kind text NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    room text COLLATE "C",
    -- Null: time caused it.
    by_user text COLLATE "C",
    PRIMARY KEY (user_id, seq)
) WITH (fillfactor = 90);
CREATE UNIQUE INDEX notifications_by_id ON notifications (id);
CREATE UNIQUE INDEX notifications_by_key ON notifications (user_id, key);
CREATE INDEX notifications_unread ON notifications (user_id, seq) WHERE read_at_ms IS NULL;
CREATE INDEX notifications_to_hand_out ON notifications (hand_out_at_ms) WHERE hand_out_at_ms IS NOT NULL;
CREATE INDEX notifications_by_notice ON notifications (notice) WHERE notice IS NOT NULL;

-- The diary of what was handed to which connection.
CREATE TABLE deliveries (
    at_ms bigint NOT NULL,
    notification uuid NOT NULL,
    session text COLLATE "C" NOT NULL,
    PRIMARY KEY (notification, session)
);

-- Causes with more people than are notified at once, oldest first; gone when all of them are.
CREATE TABLE fan_outs (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    notice bigint,
    -- 1 those of users, 2 the members of the cause's room, 3 everybody
    addressed smallint NOT NULL,
    -- Everybody up to this id is done.
    done_to text COLLATE "C" NOT NULL DEFAULT '',
    cause jsonb NOT NULL,
    -- In the order of their ids.
    users text[] COLLATE "C",
    urgent boolean NOT NULL GENERATED ALWAYS AS (coalesce((cause ->> 'urgent')::boolean, false)) STORED
);
CREATE INDEX fan_outs_next ON fan_outs (urgent DESC, number);
CREATE INDEX fan_outs_by_notice ON fan_outs (notice) WHERE notice IS NOT NULL;

-- A UUIDv7: time and version before the chance of a UUIDv4, which has its variant already.
CREATE FUNCTION hallway_uuid7_v6(now_ms bigint) RETURNS uuid LANGUAGE sql VOLATILE AS
$$ SELECT (lpad(to_hex(now_ms), 12, '0') || '7' || substr(gen_random_uuid()::text, 16))::uuid $$;

-- What stands for a key: 16 bytes of its hash.
CREATE FUNCTION hallway_key_v6(key text) RETURNS uuid LANGUAGE sql IMMUTABLE AS
$$ SELECT encode(substring(sha256(convert_to(key, 'UTF8')) FROM 1 FOR 16), 'hex')::uuid $$;

-- Whether a time lies in quiet hours, which may pass midnight; false when there are none.
CREATE FUNCTION hallway_is_quiet_v6(from_minute integer, to_minute integer, utc_offset integer, at_ms bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
    SELECT coalesce(
        (at_ms / 60000 + utc_offset - from_minute) % 1440 < (to_minute - from_minute + 1440) % 1440, false)
$$;

-- Whether a person with this level wants to know.
CREATE FUNCTION hallway_wants_v6(level smallint, kind text, urgent boolean) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
    SELECT urgent OR level = 2 OR (level = 1 AND kind NOT IN ('task_changed', 'announcement'))
$$;

-- A notification as the wire shows it.
CREATE FUNCTION hallway_notification_v6(n notifications, t notices) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object('id', n.id, 'seq', n.seq, 'kind', n.kind, 'urgent', n.urgent, 'silent', n.silent,
        'room', n.room, 'message', n.message, 'task', n.task, 'comment', n.comment, 'by', n.by_user, 'at_ms', n.at_ms,
        'title', t.title, 'text', t.text, 'data', t.data::json, 'acknowledge_by_ms', n.acknowledge_by_ms,
        'read', n.read_at_ms IS NOT NULL, 'acknowledged', n.acknowledged_at_ms IS NOT NULL)
$$;

-- Notifies those of some causes who want it: not who caused it, not (any more) members of its room, not twice of the same.
-- The people are locked. Of two causes with one key the first holds. of: a number that a cause carries back to its caller.
-- Joins go by index, one person at a time: no plan may read all people for the sake of some.
CREATE FUNCTION hallway_notify_now_v6(causes jsonb, first_look_ms bigint, now_ms bigint)
RETURNS TABLE (of bigint, event json) LANGUAGE plpgsql VOLATILE SET enable_hashjoin = off SET enable_mergejoin = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    WITH said AS MATERIALIZED (
        SELECT i.n, coalesce((x ->> 'of')::bigint, i.n) AS of, x -> 'users' AS people, x ->> 'kind' AS kind,
            x ->> 'room' AS room, (x ->> 'message')::uuid AS message, (x ->> 'task')::uuid AS task,
            (x ->> 'comment')::uuid AS comment, x ->> 'by' AS by_user,
            coalesce((x ->> 'urgent')::boolean, false) AS urgent, hallway_key_v6(x ->> 'key') AS key,
            (x ->> 'notice')::bigint AS notice, coalesce((x ->> 'acknowledge_within_ms')::bigint, 30000) AS within_ms
        FROM jsonb_array_elements(causes) WITH ORDINALITY AS i(x, n)
    ), wanted AS MATERIALIZED (
        SELECT DISTINCT ON (p.user_id, c.key) c.n, c.of, c.kind, c.room, c.message, c.task, c.comment, c.by_user, c.urgent,
            c.key, c.notice, c.within_ms, p.user_id, u.last_seq, u.unread,
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
    ), numbered AS MATERIALIZED (
        SELECT w.*, hallway_uuid7_v6(now_ms) AS id, w.last_seq + row_number() OVER same AS seq,
            w.unread + row_number() OVER same AS unread_now, CASE WHEN w.urgent THEN now_ms + w.within_ms END AS by_ms
        FROM wanted w WINDOW same AS (PARTITION BY w.user_id ORDER BY w.n)
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
    SELECT n.of, json_build_object('stream', 'user:' || n.user_id, 'seq', n.seq, 'at_ms', now_ms,
        'body', json_build_object('notification.created', json_build_object('notification', json_build_object(
            'id', n.id, 'seq', n.seq, 'kind', n.kind, 'urgent', n.urgent, 'silent', n.silent,
            'room', n.room, 'message', n.message, 'task', n.task, 'comment', n.comment, 'by', n.by_user, 'at_ms', now_ms,
            'title', t.title, 'text', t.text, 'data', t.data::json, 'acknowledge_by_ms', n.by_ms,
            'read', false, 'acknowledged', false), 'unread', n.unread_now)))
    FROM numbered n LEFT JOIN LATERAL (SELECT * FROM notices WHERE notices.number = n.notice LIMIT 1) t ON true
    ORDER BY n.n, n.user_id;
END $$;

-- Notifies now, or leaves a fan-out job for a cause of more than 50 people; then one of its events says {"fans_out": true}.
CREATE FUNCTION hallway_notify_v6(causes jsonb, first_look_ms bigint, now_ms bigint)
RETURNS TABLE (of bigint, event json) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    one record;
    people text[];
    few jsonb := causes;
    most integer := (SELECT max(jsonb_array_length(x -> 'users') - coalesce(x -> 'users' ? (x ->> 'by'), false)::integer)
        FROM jsonb_array_elements(causes) x);
BEGIN
    IF most IS NULL OR most = 0 THEN
        RETURN; -- It is nobody's business but the actor's.
    ELSIF most > 50 THEN
        few := '[]';
        FOR one IN SELECT i.x || jsonb_build_object('of', coalesce((i.x ->> 'of')::bigint, i.n)) AS x
            FROM jsonb_array_elements(causes) WITH ORDINALITY AS i(x, n) ORDER BY i.n
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
            event := json_build_object('fans_out', true);
            RETURN NEXT;
        END LOOP;
    END IF;
    RETURN QUERY SELECT * FROM hallway_notify_now_v6(few, first_look_ms, now_ms);
END $$;

-- After how long notifications are first looked at to be handed out, as the caller has set it for this transaction; null: there
-- is nobody to hand them to.
CREATE FUNCTION hallway_first_look_v6() RETURNS bigint LANGUAGE sql STABLE AS
$$ SELECT nullif(current_setting('hallway.first_look_ms', true), '')::bigint $$;

-- The number of what an announcement or notice says.
CREATE FUNCTION hallway_say_v6(title_in text, text_in text, data_in text) RETURNS bigint LANGUAGE sql VOLATILE AS
$$ INSERT INTO notices (title, text, data) VALUES (title_in, text_in, data_in) RETURNING number $$;

-- Drops those of some notices that nothing speaks of any more. Whoever drops the last notification of one sees that it is.
CREATE FUNCTION hallway_drop_notices_v6(numbers bigint[]) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM 1 FROM notices WHERE number = ANY (numbers) ORDER BY number FOR UPDATE;
    DELETE FROM notices t WHERE t.number = ANY (numbers)
        AND NOT EXISTS (SELECT 1 FROM notifications n WHERE n.notice = t.number)
        AND NOT EXISTS (SELECT 1 FROM fan_outs f WHERE f.notice = t.number);
END $$;

-- Whom a run of sends may notify: those to be locked before it. A message that is answered may be one of the same run.
CREATE FUNCTION hallway_send_concerns_v6(
    rooms_in text[], actors_in text[], ids_in uuid[], replies_in uuid[], mentions_in text[]
) RETURNS text[] LANGUAGE sql VOLATILE AS $$
    SELECT array_agg(DISTINCT m.user_id ORDER BY m.user_id)
    FROM unnest(rooms_in, actors_in, replies_in, mentions_in) AS i(room, actor, reply_to, mentions)
    CROSS JOIN LATERAL (
        SELECT unnest(string_to_array(i.mentions, ' ')) AS user_id
        UNION ALL
        (SELECT sender FROM messages WHERE messages.room = i.room AND messages.id = i.reply_to LIMIT 1)
        UNION ALL
        SELECT o.actor FROM unnest(rooms_in, actors_in, ids_in) AS o(room, actor, id)
        WHERE o.room = i.room AND o.id = i.reply_to
        UNION ALL
        SELECT members.user_id FROM members WHERE i.room LIKE 'dm:%' AND members.room = i.room
    ) p
    CROSS JOIN LATERAL (
        SELECT members.user_id FROM members WHERE members.room = i.room AND members.user_id = p.user_id LIMIT 1) m
    WHERE p.user_id <> i.actor
$$;

-- Sends as hallway_send_v2, and the notifications of those that mention, answer or are in a direct room. notified: the events
-- of the notifications, a JSON array; null when there are none.
CREATE FUNCTION hallway_send_v3(
    rooms_in text[], actors_in text[], keys_in uuid[], hashes_in uuid[], ids_in uuid[], texts_in text[],
    replies_in uuid[], mentions_in text[], metas_in text[], first_look_ms bigint
) RETURNS TABLE (
    epoch text, verdict text, seq bigint, ordinal bigint, at_ms bigint, message uuid, left_ms bigint, notified text
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    concerned text[];
    sent jsonb;
    causes jsonb;
    now_ms bigint;
    told jsonb := '{}';
BEGIN
    PERFORM 1 FROM rooms r WHERE r.id = ANY (rooms_in) ORDER BY r.id FOR NO KEY UPDATE;
    concerned := hallway_send_concerns_v6(rooms_in, actors_in, ids_in, replies_in, mentions_in);
    PERFORM 1 FROM users u WHERE u.id = ANY (concerned) ORDER BY u.id FOR NO KEY UPDATE;
    SELECT jsonb_agg(to_jsonb(s) ORDER BY s.ord) INTO sent
    FROM hallway_send_v2(rooms_in, actors_in, keys_in, hashes_in, ids_in, texts_in, replies_in, mentions_in, metas_in)
        WITH ORDINALITY AS s(epoch, verdict, seq, ordinal, at_ms, message, left_ms, ord);
    SELECT max((s ->> 'at_ms')::bigint), jsonb_agg(jsonb_build_object('of', i.ord, 'kind', w.kind, 'users', w.people,
            'room', i.room, 'message', i.id, 'by', i.actor, 'key', 'm:' || i.id) ORDER BY i.ord, w.rank)
    INTO now_ms, causes
    FROM unnest(rooms_in, actors_in, ids_in, replies_in, mentions_in)
        WITH ORDINALITY AS i(room, actor, id, reply_to, mentions, ord)
    CROSS JOIN LATERAL (SELECT sent -> (i.ord - 1)::integer) AS one(s)
    CROSS JOIN LATERAL (
        SELECT 1, 'mention', to_jsonb(string_to_array(i.mentions, ' ')) WHERE i.mentions IS NOT NULL
        UNION ALL
        (SELECT 2, 'reply', jsonb_build_array(sender) FROM messages
            WHERE messages.room = i.room AND messages.id = i.reply_to LIMIT 1)
        UNION ALL
        SELECT 3, 'direct', jsonb_build_array(members.user_id) FROM members
        WHERE i.room LIKE 'dm:%' AND members.room = i.room
    ) AS w(rank, kind, people)
    WHERE s ->> 'verdict' = 'new';
    IF causes IS NOT NULL THEN
        SELECT coalesce(jsonb_object_agg(n.of, n.events), '{}') INTO told FROM (
            SELECT e.of, json_agg(e.event)::text AS events FROM hallway_notify_v6(causes, first_look_ms, now_ms) e
            GROUP BY e.of) n;
    END IF;
    RETURN QUERY
    SELECT s.epoch, s.verdict, s.seq, s.ordinal, s.at_ms, s.message, s.left_ms, told ->> s.ord::text
    FROM jsonb_to_recordset(sent) AS s(epoch text, verdict text, seq bigint, ordinal bigint, at_ms bigint, message uuid,
        left_ms bigint, ord bigint) ORDER BY s.ord;
END $$;

-- The actor's notifications are read: some, and all up to a number.
CREATE FUNCTION hallway_read_v6(me text, ids uuid[], up_to_in numeric, now_ms bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    seqs bigint[];
    head bigint := (SELECT last_seq FROM users WHERE id = me);
    up_to bigint := CASE WHEN up_to_in IS NOT NULL THEN least(up_to_in, head) END;
    total bigint;
    event json;
BEGIN
    seqs := ARRAY(
        SELECT seq FROM notifications WHERE id = ANY (ids) AND user_id = me AND read_at_ms IS NULL
        UNION SELECT seq FROM notifications WHERE user_id = me AND read_at_ms IS NULL AND seq <= up_to);
    IF cardinality(seqs) = 0 THEN
        RETURN hallway_accept_v1(head, '{}');
    END IF;
    PERFORM 1 FROM notifications WHERE user_id = me AND seq = ANY (seqs) ORDER BY seq FOR NO KEY UPDATE;
    UPDATE notifications SET read_at_ms = now_ms, hand_out_at_ms = NULL,
        acknowledged_at_ms = CASE WHEN urgent THEN coalesce(acknowledged_at_ms, now_ms) ELSE acknowledged_at_ms END
    WHERE user_id = me AND seq = ANY (seqs);
    UPDATE users SET unread = unread - cardinality(seqs) WHERE id = me RETURNING unread INTO total;
    event := hallway_user_event_v1(me, 25, 'notification.read',
        jsonb_build_object('ids', to_jsonb(ids), 'up_to_seq', up_to, 'unread', total), now_ms);
    RETURN hallway_accept_v1((event ->> 'seq')::bigint, ARRAY[event]);
END $$;

-- The actor acknowledges a notification, and has read it.
CREATE FUNCTION hallway_acknowledge_v6(me text, id_in uuid, now_ms bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    n notifications;
    total bigint;
    event json;
BEGIN
    SELECT * INTO n FROM notifications WHERE id = id_in AND user_id = me FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN hallway_refuse_v1('notification_not_found');
    ELSIF n.acknowledged_at_ms IS NOT NULL THEN
        RETURN hallway_accept_v1((SELECT last_seq FROM users WHERE id = me), '{}');
    END IF;
    UPDATE notifications SET acknowledged_at_ms = now_ms, read_at_ms = coalesce(read_at_ms, now_ms), hand_out_at_ms = NULL
    WHERE user_id = me AND seq = n.seq;
    UPDATE users SET unread = unread - (n.read_at_ms IS NULL)::integer WHERE id = me RETURNING unread INTO total;
    event := hallway_user_event_v1(me, 26, 'notification.acknowledged',
        jsonb_build_object('id', id_in, 'unread', total), now_ms);
    RETURN hallway_accept_v1((event ->> 'seq')::bigint, ARRAY[event]);
END $$;

-- What the actor wants to know of, in a room or wherever nothing is said about the room. wanted: a level's word, or null.
CREATE FUNCTION hallway_prefer_v6(me text, room_in text, wanted text, now_ms bigint) RETURNS json
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    number smallint := array_position(ARRAY['none', 'mentions', 'all'], wanted) - 1;
    event json;
BEGIN
    IF room_in IS NULL THEN
        UPDATE users SET level = number WHERE id = me;
    ELSIF NOT EXISTS (SELECT 1 FROM members WHERE room = room_in AND user_id = me) THEN
        RETURN hallway_refuse_v1(CASE WHEN EXISTS (SELECT 1 FROM rooms WHERE id = room_in AND public AND last_seq > 0)
            THEN 'not_a_member' ELSE 'room_not_found' END);
    ELSE
        -- What was said about rooms that were left goes with the next preference, so that they stay few.
        DELETE FROM preferences p WHERE p.user_id = me AND (p.room = room_in
            OR NOT EXISTS (SELECT 1 FROM members m WHERE m.room = p.room AND m.user_id = me));
        INSERT INTO preferences (user_id, room, level) SELECT me, room_in, number WHERE number IS NOT NULL;
    END IF;
    event := hallway_user_event_v1(me, 27, 'preference.changed',
        jsonb_build_object('room', room_in, 'level', wanted), now_ms);
    RETURN hallway_accept_v1((event ->> 'seq')::bigint, ARRAY[event]);
END $$;

-- The actor's quiet hours; null: there are none.
CREATE FUNCTION hallway_quiet_v6(me text, hours jsonb, now_ms bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    event json;
BEGIN
    UPDATE users SET quiet_from = (hours ->> 'from_minute')::smallint, quiet_to = (hours ->> 'to_minute')::smallint,
        quiet_offset = (hours ->> 'utc_offset_minutes')::smallint WHERE id = me;
    event := hallway_user_event_v1(me, 28, 'quiet.changed', jsonb_build_object('hours', hours), now_ms);
    RETURN hallway_accept_v1((event ->> 'seq')::bigint, ARRAY[event]);
END $$;

-- What V5 calls: {"fans_out": true} in place of an event says that a fan-out job was left.
CREATE OR REPLACE FUNCTION hallway_notify_v5(causes jsonb, now_ms bigint) RETURNS json[] LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN ARRAY(SELECT n.event FROM hallway_notify_v6(causes, hallway_first_look_v6(), now_ms) n);
END $$;

-- Whom a notify addresses, as long as they are few: at most 50 beside the actor. No row when they are more.
CREATE FUNCTION hallway_addressed_v6(w jsonb) RETURNS TABLE (id text) LANGUAGE sql STABLE AS $$
    WITH people AS MATERIALIZED (
        SELECT unnest(hallway_texts_v5(w -> 'users')) COLLATE "C" AS id
        UNION
        (SELECT m.user_id FROM members m WHERE m.room = w ->> 'room' ORDER BY m.user_id LIMIT 52)
        UNION
        (SELECT u.id FROM users u WHERE (w ->> 'everyone')::boolean ORDER BY u.id LIMIT 52)
    )
    SELECT p.id FROM people p WHERE p.id <> w ->> 'actor'
        AND (SELECT count(*) FROM people WHERE people.id <> w ->> 'actor') <= 50
$$;

-- As in V5, and whom an announcement or notice addresses. Who is named is made known.
ALTER FUNCTION hallway_recipients_v5(jsonb) RENAME TO hallway_recipients_of_tasks_v5;
CREATE FUNCTION hallway_recipients_v5(w jsonb) RETURNS TABLE (id text, makes boolean) LANGUAGE sql STABLE AS $$
    SELECT * FROM hallway_recipients_of_tasks_v5(w)
    UNION ALL
    SELECT a.id, w ->> 'room' IS NULL AND NOT (w ->> 'everyone')::boolean FROM hallway_addressed_v6(w) a
    WHERE w ->> 'op' = 'notify'
$$;

-- notify: a notification each when they are at most 50, else a fan-out job. Refused as rooms refuse their members; may_any: the
-- actor need not be one.
CREATE FUNCTION hallway_announce_v6(w jsonb, now_ms bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    me text := w ->> 'actor';
    way text := CASE WHEN w ->> 'room' IS NOT NULL THEN 'room' WHEN (w ->> 'everyone')::boolean THEN 'everyone' ELSE 'users' END;
    r rooms;
    mine members;
    head bigint;
    note bigint;
    cause jsonb;
    people text[];
    events json[] := '{}';
    fans_out boolean := false;
BEGIN
    IF way = 'room' THEN
        SELECT * INTO r FROM rooms WHERE id = w ->> 'room';
        SELECT * INTO mine FROM members WHERE room = r.id AND user_id = me;
        IF r.id IS NULL OR r.last_seq = 0 THEN
            RETURN hallway_refuse_v1('room_not_found');
        ELSIF NOT (w ->> 'may_any')::boolean THEN
            IF mine.role IS NULL THEN
                RETURN hallway_refuse_v1(CASE WHEN r.public THEN 'not_a_member' ELSE 'room_not_found' END);
            ELSIF mine.muted_until_ms > now_ms THEN
                RETURN hallway_refuse_v2('muted', mine.muted_until_ms, now_ms);
            END IF;
        END IF;
        IF r.kind = 1 OR (mine.role < 2 AND NOT (w ->> 'may_any')::boolean) THEN
            RETURN hallway_refuse_v1('forbidden');
        ELSIF r.archived THEN
            RETURN hallway_refuse_v1('room_archived');
        END IF;
        head := r.last_seq;
    END IF;
    note := hallway_say_v6(w ->> 'title', w ->> 'text', w ->> 'data');
    cause := jsonb_build_object('kind', CASE way WHEN 'users' THEN 'notice' ELSE 'announcement' END, 'room', r.id, 'by', me,
        'urgent', w -> 'urgent', 'key', coalesce('k:' || (w ->> 'notice_key'), 'n:' || (w ->> 'key')), 'acknowledge_within_ms', w -> 'acknowledge_within_ms');
    -- Who has come since the locks were taken is there too, unless somebody else works on them at this moment.
    people := ARRAY(SELECT u.id FROM users u WHERE u.id = ANY (ARRAY(SELECT a.id FROM hallway_addressed_v6(w) a))
        ORDER BY u.id FOR NO KEY UPDATE SKIP LOCKED);
    IF cardinality(people) > 0 THEN
        SELECT array_agg(n.event) INTO events FROM hallway_notify_now_v6(jsonb_build_array(cause || jsonb_build_object(
            'users', to_jsonb(people), 'notice', note)), hallway_first_look_v6(), now_ms) n;
    ELSIF way = 'users' THEN
        people := ARRAY(SELECT DISTINCT u COLLATE "C" FROM unnest(hallway_texts_v5(w -> 'users')) u WHERE u <> me ORDER BY 1);
        fans_out := cardinality(people) > 0;
    ELSE
        fans_out := way = 'everyone' AND EXISTS (SELECT 1 FROM users WHERE id <> me)
            OR way = 'room' AND EXISTS (SELECT 1 FROM members WHERE room = r.id AND user_id <> me);
    END IF;
    IF fans_out THEN
        INSERT INTO fan_outs (notice, addressed, cause, users) VALUES (note,
            array_position(ARRAY['users', 'room', 'everyone'], way), cause, CASE way WHEN 'users' THEN people END);
    ELSIF coalesce(cardinality(events), 0) = 0 THEN
        DELETE FROM notices WHERE number = note;
    END IF;
    RETURN json_build_object('seq', coalesce(head, (SELECT last_seq FROM users WHERE id = me)),
        'events', to_json(coalesce(events, '{}')), 'fans_out', fans_out);
END $$;

-- What V5 calls for writes that concern a person, who is locked.
CREATE OR REPLACE FUNCTION hallway_personal_v5(w jsonb, now_ms bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    me text := w ->> 'actor';
BEGIN
    RETURN CASE w ->> 'op'
        WHEN 'notify' THEN hallway_announce_v6(w, now_ms)
        WHEN 'read_notifications' THEN hallway_read_v6(me, hallway_texts_v5(w -> 'ids')::uuid[],
            (w ->> 'up_to_seq')::numeric, now_ms)
        WHEN 'acknowledge_notification' THEN hallway_acknowledge_v6(me, (w ->> 'notification')::uuid, now_ms)
        WHEN 'prefer' THEN hallway_prefer_v6(me, w ->> 'in_room', w ->> 'level', now_ms)
        WHEN 'set_quiet_hours' THEN hallway_quiet_v6(me, nullif(w -> 'hours', 'null'), now_ms)
    END;
END $$;

-- Notifies of the due times of at most so many tasks that have come. waits: for rooms that are locked; otherwise it leaves out
-- their tasks for now.
CREATE FUNCTION hallway_fire_due_v6(most bigint, first_look_ms bigint, waits boolean) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    now_ms bigint := hallway_now_v1();
    places text[];
    ids uuid[];
    causes jsonb;
    people text[];
    told json;
    looked_at bigint;
BEGIN
    SELECT array_agg(t.room), array_agg(t.id), count(*) INTO places, ids, looked_at FROM (
        SELECT room, id FROM tasks
        WHERE NOT deleted AND NOT due_fired AND status < 3 AND due_at_ms IS NOT NULL AND due_at_ms <= now_ms
        ORDER BY due_at_ms LIMIT most) t;
    IF ids IS NULL THEN
        RETURN json_build_object('epoch', (SELECT epoch FROM meta), 'events', '[]'::json, 'more', false);
    ELSIF waits THEN
        PERFORM 1 FROM rooms WHERE id = ANY (places) ORDER BY id FOR NO KEY UPDATE;
    ELSE
        places := ARRAY(SELECT id FROM rooms WHERE id = ANY (places) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED);
    END IF;
    -- Looked at again under the locks: another node may have told of them, another time may have been set.
    SELECT array_agg(t.id), jsonb_agg(jsonb_build_object('kind', 'task_due', 'room', t.room, 'task', t.id, 'urgent', false,
        'key', 'due:' || t.id || ':' || t.due_at_ms, 'users', a.people))
    INTO ids, causes
    FROM (SELECT DISTINCT unnest(places) AS room) p
    JOIN LATERAL (SELECT * FROM tasks WHERE tasks.room = p.room AND tasks.id = ANY (ids)) t ON true
    JOIN LATERAL (
        SELECT coalesce(jsonb_agg(user_id ORDER BY user_id), jsonb_build_array(t.creator)) AS people
        FROM task_assignees WHERE task_assignees.room = t.room AND task_assignees.task = t.id) a ON true
    WHERE NOT t.deleted AND NOT t.due_fired AND t.status < 3 AND t.due_at_ms <= now_ms;
    people := ARRAY(SELECT DISTINCT u COLLATE "C" FROM jsonb_array_elements(causes) x, jsonb_array_elements_text(x -> 'users') u);
    PERFORM 1 FROM users WHERE id = ANY (people) ORDER BY id FOR NO KEY UPDATE;
    SELECT json_agg(n.event) INTO told FROM hallway_notify_now_v6(causes, first_look_ms, now_ms) n;
    UPDATE tasks SET due_fired = true WHERE room = ANY (places) AND id = ANY (ids);
    RETURN json_build_object('epoch', (SELECT epoch FROM meta), 'events', coalesce(told, '[]'),
        'more', looked_at = most AND coalesce(cardinality(ids), 0) > 0);
END $$;

-- Carries out a step of a fan-out job that nobody else works on, urgent ones first, then the oldest: at most so many people by their ids.
CREATE FUNCTION hallway_fan_out_v6(most integer, first_look_ms bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    job fan_outs;
    people text[];
    told json;
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
    SELECT json_agg(n.event) INTO told FROM hallway_notify_now_v6(
        jsonb_build_array(job.cause || jsonb_build_object('users', to_jsonb(people), 'notice', job.notice)),
        first_look_ms, hallway_now_v1()) n;
    IF cardinality(people) = most THEN
        UPDATE fan_outs SET done_to = people[most] WHERE number = job.number;
    ELSE
        DELETE FROM fan_outs WHERE number = job.number;
        PERFORM hallway_drop_notices_v6(ARRAY[job.notice]) WHERE job.notice IS NOT NULL;
    END IF;
    RETURN json_build_object('epoch', (SELECT epoch FROM meta), 'events', coalesce(told, '[]'),
        'more', EXISTS (SELECT 1 FROM fan_outs));
END $$;

-- Claims notifications that are to be looked at; whoever dies meanwhile loses them to others after the lease.
CREATE FUNCTION hallway_claim_hand_outs_v6(most bigint, lease_ms bigint)
RETURNS TABLE (user_id text, notification text, acknowledge_in_ms bigint) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    now_ms bigint := hallway_now_v1();
BEGIN
    RETURN QUERY
    WITH due AS MATERIALIZED (
        SELECT user_id, seq FROM notifications WHERE hand_out_at_ms <= now_ms
        ORDER BY hand_out_at_ms LIMIT most FOR NO KEY UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE notifications n SET hand_out_at_ms = now_ms + lease_ms FROM due
        WHERE n.user_id = due.user_id AND n.seq = due.seq RETURNING n AS one
    )
    SELECT (c.one).user_id, hallway_notification_v6(c.one, t.said)::text,
        CASE WHEN (c.one).acknowledge_by_ms IS NOT NULL THEN greatest((c.one).acknowledge_by_ms - now_ms, 0) END
    FROM claimed c
    LEFT JOIN LATERAL (SELECT notices AS said FROM notices WHERE notices.number = (c.one).notice LIMIT 1) t ON true
    ORDER BY (c.one).at_ms, (c.one).user_id, (c.one).seq;
END $$;

-- As hallway_trim_v1; with events of a person's stream go the notifications of the same numbers, and what belongs to them. Those
-- that were unread are unread no more.
CREATE FUNCTION hallway_trim_v6(stream_in text, room_in text, user_in text, keep bigint)
RETURNS TABLE (first_seq bigint, last_seq bigint) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    gone uuid[];
    said bigint[];
    unread_gone bigint;
BEGIN
    RETURN QUERY SELECT * FROM hallway_trim_v1(stream_in, room_in, user_in, keep);
    -- The person is locked from here on; nobody writes or reads their notifications but through that lock.
    PERFORM 1 FROM notifications n JOIN users u ON u.id = n.user_id
    WHERE n.user_id = user_in AND n.seq < u.first_seq ORDER BY n.seq FOR UPDATE OF n;
    WITH dropped AS (
        DELETE FROM notifications n USING users u WHERE u.id = user_in AND n.user_id = user_in AND n.seq < u.first_seq
        RETURNING n.id, n.notice, n.read_at_ms
    )
    SELECT array_agg(id), array_agg(DISTINCT notice) FILTER (WHERE notice IS NOT NULL), count(*) FILTER (WHERE read_at_ms IS NULL)
    INTO gone, said, unread_gone FROM dropped;
    IF gone IS NULL THEN
        RETURN;
    END IF;
    UPDATE users u SET unread = u.unread - unread_gone WHERE u.id = user_in AND unread_gone > 0;
    DELETE FROM deliveries d WHERE d.notification = ANY (gone);
    DELETE FROM outbox_notifications o WHERE o.notification = ANY (gone);
    PERFORM hallway_drop_notices_v6(said) WHERE said IS NOT NULL;
END $$;
