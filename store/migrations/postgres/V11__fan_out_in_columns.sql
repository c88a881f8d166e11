-- A fan-out that costs the server less for each person: they are read once, when they are locked, and written at the place where
-- they were found; what all are told alike is answered once, and what differs in columns beside it.

-- Carries out a step of a fan-out job that nobody else works on, urgent ones first, then the oldest: at most so many people by
-- their ids. Notifies those who want it: not who caused it, not (any more) members of its room, not twice of the same. first: the
-- notification of the first of them, as the wire shows it; the others' differ in seqs, ids and silences. unreads: those included.
CREATE FUNCTION hallway_fan_out_v11(most integer, first_look_ms bigint) RETURNS TABLE (
    epoch text, more boolean, first text, people text[], seqs bigint[], ids uuid[], silences boolean[], unreads bigint[]
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    job fan_outs;
    chunk text[];
    places tid[];
    heads bigint[];
    counts bigint[];
    levels smallint[];
    quiet boolean[];
    now_ms bigint;
    time_of_id text;
    key_in uuid;
    kind_in text;
    room_in text;
    by_in text;
    -- From which level on a person wants to know.
    level_in smallint;
    acknowledge_ms bigint;
    moved bigint;
BEGIN
    SELECT * INTO job FROM fan_outs ORDER BY urgent DESC, number LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF FOUND THEN
        IF job.addressed = 1 THEN
            chunk := ARRAY(SELECT u COLLATE "C" FROM unnest(job.users) u WHERE u COLLATE "C" > job.done_to ORDER BY 1 LIMIT most);
            -- Those who were never here are made known; in one order with the locks of the others.
            INSERT INTO users (id) SELECT u FROM unnest(chunk) u ORDER BY u COLLATE "C"
            ON CONFLICT (id) DO UPDATE SET last_seq = users.last_seq WHERE false;
        ELSIF job.addressed = 2 THEN
            chunk := ARRAY(SELECT user_id FROM members WHERE room = job.cause ->> 'room' AND user_id > job.done_to
                ORDER BY user_id LIMIT most);
        END IF;
        IF job.addressed < 3 THEN
            SELECT array_agg(u.id), array_agg(u.ctid), array_agg(u.last_seq), array_agg(u.unread), array_agg(u.level),
                array_agg(u.quiet)
            INTO people, places, heads, counts, levels, quiet
            FROM (
                SELECT id, ctid, last_seq, unread, level, quiet_from IS NOT NULL
                    AND hallway_is_quiet_v6(quiet_from, quiet_to, quiet_offset, hallway_now_v1()) AS quiet
                FROM users WHERE id = ANY (chunk) ORDER BY id FOR NO KEY UPDATE
            ) u;
        ELSE
            SELECT array_agg(u.id), array_agg(u.ctid), array_agg(u.last_seq), array_agg(u.unread), array_agg(u.level),
                array_agg(u.quiet)
            INTO people, places, heads, counts, levels, quiet
            FROM (
                SELECT id, ctid, last_seq, unread, level, quiet_from IS NOT NULL
                    AND hallway_is_quiet_v6(quiet_from, quiet_to, quiet_offset, hallway_now_v1()) AS quiet
                FROM users WHERE id > job.done_to ORDER BY id LIMIT most FOR NO KEY UPDATE
            ) u;
            chunk := people;
        END IF;
        now_ms := hallway_now_v1();
        time_of_id := lpad(to_hex(now_ms), 12, '0') || '7';
        key_in := hallway_key_v6(job.cause ->> 'key');
        kind_in := job.cause ->> 'kind';
        room_in := job.cause ->> 'room';
        by_in := job.cause ->> 'by';
        level_in := (SELECT min(l) FROM generate_series(0, 2) l WHERE hallway_wants_v6(l::smallint, kind_in, job.urgent));
        acknowledge_ms := CASE WHEN job.urgent THEN now_ms + coalesce((job.cause ->> 'acknowledge_within_ms')::bigint, 30000) END;
        -- Joins go by index or by place, one person at a time: no plan may read all people for the sake of some.
        WITH told AS MATERIALIZED (
            SELECT p.user_id, p.place, p.head + 1 AS seq, p.count + 1 AS unread, p.quiet AND NOT job.urgent AS silent,
                (time_of_id || substr(gen_random_uuid()::text, 16))::uuid AS id
            FROM unnest(people, places, heads, counts, levels, quiet) AS p(user_id, place, head, count, level, quiet)
            WHERE p.user_id IS DISTINCT FROM by_in
                AND coalesce(CASE WHEN room_in IS NOT NULL THEN (SELECT l.level FROM preferences l
                    WHERE l.user_id = p.user_id AND l.room = room_in LIMIT 1) END, p.level, 2) >= level_in
                AND (room_in IS NULL OR (SELECT true FROM members m WHERE m.room = room_in AND m.user_id = p.user_id LIMIT 1))
                AND (SELECT true FROM notifications n WHERE n.user_id = p.user_id AND n.key = key_in LIMIT 1) IS NULL
        ), new_notifications AS (
            INSERT INTO notifications (user_id, seq, id, key, kind, urgent, silent, room, message, task, comment, by_user, notice,
                at_ms, acknowledge_by_ms, hand_out_at_ms)
            SELECT user_id, seq, id, key_in, kind_in, job.urgent, silent, room_in, (job.cause ->> 'message')::uuid,
                (job.cause ->> 'task')::uuid, (job.cause ->> 'comment')::uuid, by_in, job.notice, now_ms, acknowledge_ms,
                CASE WHEN NOT silent THEN now_ms + first_look_ms END
            FROM told
        ), new_events AS (
            INSERT INTO events (stream, seq, at_ms, kind, message, detail)
            SELECT 'user:' || user_id, seq, now_ms, 24, id, jsonb_build_object('unread', unread) FROM told
        ), new_heads AS (
            UPDATE users u SET last_seq = t.seq, unread = t.unread FROM told t
            WHERE u.ctid = t.place AND u.id = t.user_id RETURNING 1
        )
        SELECT array_agg(t.user_id), array_agg(t.seq), array_agg(t.id), array_agg(t.silent), array_agg(t.unread),
            (SELECT count(*) FROM new_heads)
        INTO people, seqs, ids, silences, unreads, moved FROM told t;
        IF moved <> coalesce(cardinality(people), 0) THEN
            RAISE EXCEPTION 'of % people who are notified % were where they had been locked', cardinality(people), moved;
        END IF;
        first := (SELECT hallway_notification_v6(n, t)::text FROM notifications n LEFT JOIN notices t ON t.number = n.notice
            WHERE n.user_id = people[1] AND n.seq = seqs[1]);
        IF cardinality(chunk) = most THEN
            UPDATE fan_outs SET done_to = chunk[most] WHERE number = job.number;
        ELSE
            DELETE FROM fan_outs WHERE number = job.number;
            PERFORM hallway_drop_notices_v6(ARRAY[job.notice]) WHERE job.notice IS NOT NULL;
        END IF;
        more := EXISTS (SELECT 1 FROM fan_outs);
    ELSE
        more := false;
    END IF;
    epoch := (SELECT m.epoch FROM meta m);
    RETURN NEXT;
END $$;
