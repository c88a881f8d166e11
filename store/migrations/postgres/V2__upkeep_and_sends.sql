-- Functions are versioned: a node of the last release goes on calling the last one while the cluster is rolled over.
-- They are VOLATILE and each is called alone, in its own transaction at READ COMMITTED, so that every statement inside sees
-- what was committed before it began: locks first, then look.

CREATE FUNCTION hallway_now_v1() RETURNS bigint LANGUAGE sql VOLATILE AS
$$ SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint $$;

-- What tells one life of the store from another: a restored copy differs in the oid of rooms (dump) or in the timeline
-- (recovery to a point in time, promotion); another cluster in its identifier; a copied database in its own oid.
CREATE FUNCTION hallway_fingerprint_v1() RETURNS text LANGUAGE sql VOLATILE AS
$$ SELECT (SELECT system_identifier FROM pg_control_system())
    || '/' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)
    || '/' || (SELECT oid FROM pg_database WHERE datname = current_database())
    || '/' || 'rooms'::regclass::oid $$;

CREATE FUNCTION hallway_epoch_v1(renew boolean) RETURNS text LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    present text := hallway_fingerprint_v1();
    answer text;
BEGIN
    SELECT epoch INTO answer FROM meta WHERE fingerprint = present;
    IF FOUND AND NOT renew THEN
        RETURN answer;
    END IF;
    INSERT INTO meta (epoch, fingerprint) VALUES (gen_random_uuid()::text, '') ON CONFLICT DO NOTHING;
    PERFORM 1 FROM meta FOR UPDATE;
    UPDATE meta SET epoch = gen_random_uuid()::text, fingerprint = present WHERE renew OR fingerprint <> present;
    SELECT epoch INTO answer FROM meta;
    RETURN answer;
END $$;

-- Makes the partitions of this and the next slot, drops those whose slot ended before the window; true: call again.
CREATE FUNCTION hallway_trim_nonces_v1(slot_ms bigint, window_ms bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    now_ms bigint := hallway_now_v1();
    slot bigint;
    part record;
    gone bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(hashtext('hallway dedupe')) THEN
        RETURN false; -- another node is doing it
    END IF;
    FOR slot IN SELECT now_ms / slot_ms + ahead FROM generate_series(0, 1) ahead LOOP
        IF to_regclass('dedupe_' || slot) IS NULL THEN
            BEGIN
                EXECUTE format('CREATE TABLE dedupe_%s PARTITION OF dedupe FOR VALUES FROM (%s) TO (%s)',
                    slot, slot * slot_ms, (slot + 1) * slot_ms);
            EXCEPTION WHEN check_violation THEN
                NULL; -- its nonces lie in dedupe_late already: they stay there and are deleted below in time
            END;
        END IF;
    END LOOP;
    FOR part IN
        SELECT c.relname, substr(c.relname, 8)::bigint AS slot
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'dedupe'::regclass AND c.relname ~ '^dedupe_[0-9]+$'
    LOOP
        IF (part.slot + 1) * slot_ms <= now_ms - window_ms THEN
            EXECUTE format('DROP TABLE %I', part.relname);
        END IF;
    END LOOP;
    DELETE FROM dedupe_late WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM dedupe_late WHERE at_ms < now_ms - window_ms LIMIT 5000));
    GET DIAGNOSTICS gone = ROW_COUNT;
    RETURN gone = 5000;
END $$;

-- The hot path: message sends. One row each, in order: the verdict and, where there is one, its result. Verdicts: new,
-- repeated, again (a repeat inside the batch of a send that was refused: hand it in once more), or a refusal.
CREATE FUNCTION hallway_send_v1(
    rooms_in text[], actors_in text[], keys_in uuid[], hashes_in uuid[], ids_in uuid[], texts_in text[],
    replies_in uuid[], mentions_in text[], metas_in text[]
) RETURNS TABLE (epoch text, verdict text, seq bigint, ordinal bigint, at_ms bigint, message uuid)
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
            d.seq AS old_seq, d.at_ms AS old_at_ms, d.message AS old_message, d.body_hash AS old_hash,
            CASE
                WHEN d.key IS NOT NULL THEN 'repeated'
                WHEN r.id IS NULL OR (m.role IS NULL AND NOT r.public) THEN 'room_not_found'
                WHEN m.role IS NULL THEN 'not_a_member'
                WHEN r.archived THEN 'room_archived'
                WHEN m.role < 1 THEN 'forbidden'
                WHEN x.taken THEN 'id_taken'
                ELSE 'new'
            END AS verdict,
            row_number() OVER (PARTITION BY i.key ORDER BY i.ord) AS attempt
        FROM unnest(rooms_in, actors_in, keys_in, hashes_in, ids_in, texts_in, replies_in, mentions_in, metas_in)
            WITH ORDINALITY AS i(room, actor, key, hash, id, text, reply_to, mentions, meta, ord)
        LEFT JOIN LATERAL (SELECT * FROM rooms WHERE rooms.id = i.room LIMIT 1) r ON true
        LEFT JOIN LATERAL (
            SELECT role FROM members WHERE members.room = i.room AND members.user_id = i.actor LIMIT 1) m ON true
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
        CASE WHEN a.verdict = 'repeated' THEN a.old_message ELSE a.leader_id END
    FROM answers a CROSS JOIN meta ORDER BY a.ord;
END $$;

-- Drops a prefix of a stream and the messages that were created there. Exactly one of room and user is given.
CREATE FUNCTION hallway_trim_v1(stream_in text, room_in text, user_in text, keep bigint)
RETURNS TABLE (first_seq bigint, last_seq bigint) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    old_first bigint;
    head bigint;
BEGIN
    SELECT r.first_seq, r.last_seq INTO old_first, head FROM rooms r WHERE r.id = room_in FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        SELECT u.first_seq, u.last_seq INTO old_first, head FROM users u WHERE u.id = user_in FOR NO KEY UPDATE;
    END IF;
    IF head IS NULL THEN
        RETURN QUERY SELECT 1::bigint, 0::bigint;
        RETURN;
    END IF;
    keep := greatest(old_first, least(keep, head + 1));
    DELETE FROM events e WHERE e.stream = stream_in AND e.seq < keep;
    DELETE FROM messages m WHERE m.room = room_in AND m.seq < keep;
    UPDATE rooms r SET first_seq = keep WHERE r.id = room_in AND r.first_seq < keep;
    UPDATE users u SET first_seq = keep WHERE u.id = user_in AND u.first_seq < keep;
    RETURN QUERY SELECT keep, head;
END $$;
