-- Who may not come or write for how long, and the record of all acts on people.
--
-- Nodes of the last release go on calling hallway_send_v1 and hallway_act_v1. Those keep their form but are judged by the
-- new rules from here on: whoever is muted or banned must not get around it by finding an old node. What an old node has
-- no word for is told to it as forbidden.

-- A mute of a member; null: none was ever. It stands in sanctions too, so that leaving and coming back does not end it.
ALTER TABLE members ADD COLUMN muted_until_ms bigint;
-- Tokens issued before are refused.
ALTER TABLE users ADD COLUMN revoked_before_ms bigint NOT NULL DEFAULT 0;

CREATE TABLE sanctions (
    -- 2^53 - 1: until it is taken back.
    until_ms bigint NOT NULL,
    at_ms bigint NOT NULL,
    -- 1 ban, 2 mute
    kind smallint NOT NULL,
    room text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    actor text COLLATE "C" NOT NULL,
    reason text,
    PRIMARY KEY (room, kind, user_id)
);
CREATE INDEX sanctions_by_end ON sanctions (until_ms);

CREATE TABLE audit (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at_ms bigint NOT NULL,
    until_ms bigint,
    actor text COLLATE "C" NOT NULL,
    action text NOT NULL,
    room text COLLATE "C",
    target text COLLATE "C",
    session text,
    reason text
);
CREATE INDEX audit_by_room ON audit (room, number) WHERE room IS NOT NULL;
CREATE INDEX audit_by_target ON audit (target, number) WHERE target IS NOT NULL;
CREATE INDEX audit_by_room_and_target ON audit (room, target, number) WHERE room IS NOT NULL;

-- What is left of a ban or mute that is in force; null when it has no end.
CREATE FUNCTION hallway_left_v2(until_ms bigint, now_ms bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT CASE WHEN until_ms < 9007199254740991 THEN until_ms - now_ms END $$;

-- An end as it is shown.
CREATE FUNCTION hallway_until_v2(until_ms bigint) RETURNS bigint LANGUAGE sql IMMUTABLE AS
$$ SELECT nullif(until_ms, 9007199254740991) $$;

CREATE FUNCTION hallway_refuse_v2(why text, until_ms bigint, now_ms bigint) RETURNS json LANGUAGE sql IMMUTABLE AS
$$ SELECT json_build_object('refused', why, 'left_ms', hallway_left_v2(until_ms, now_ms)) $$;

-- Message sends as in V2, and nothing of those who are muted.
CREATE FUNCTION hallway_send_v2(
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

CREATE OR REPLACE FUNCTION hallway_send_v1(
    rooms_in text[], actors_in text[], keys_in uuid[], hashes_in uuid[], ids_in uuid[], texts_in text[],
    replies_in uuid[], mentions_in text[], metas_in text[]
) RETURNS TABLE (epoch text, verdict text, seq bigint, ordinal bigint, at_ms bigint, message uuid)
LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT s.epoch, CASE WHEN s.verdict = 'muted' THEN 'forbidden' ELSE s.verdict END, s.seq, s.ordinal, s.at_ms, s.message
    FROM hallway_send_v2(rooms_in, actors_in, keys_in, hashes_in, ids_in, texts_in, replies_in, mentions_in, metas_in) s;
END $$;

-- mute.changed, for the user. until_in: null when it ended.
CREATE FUNCTION hallway_tell_mute_v2(room_in text, user_in text, until_in bigint, place bigint, now_ms bigint)
RETURNS json LANGUAGE sql VOLATILE AS $$
    SELECT hallway_user_event_v1(user_in, 19, 'mute.changed', jsonb_build_object('room', room_in,
        'muted', until_in IS NOT NULL, 'until_ms', hallway_until_v2(until_in), 'room_seq', place), now_ms)
$$;

-- As in V3; someone who was muted when they left is muted again.
CREATE OR REPLACE FUNCTION hallway_enter_v1(room_in text, user_in text, role_in integer, by_in text, now_ms bigint)
RETURNS json[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    joined json;
    place bigint;
    since bigint;
    mute bigint;
    events json[];
BEGIN
    joined := hallway_room_event_v1(room_in, 4, 'member.joined', NULL, by_in, jsonb_build_object(
        'user', user_in, 'role', hallway_role_v1(role_in::smallint), 'by', by_in), NULL, now_ms);
    place := (joined ->> 'seq')::bigint;
    SELECT CASE WHEN history_all THEN 1 ELSE place END INTO since FROM rooms WHERE id = room_in;
    SELECT until_ms INTO mute FROM sanctions
    WHERE room = room_in AND kind = 2 AND user_id = user_in AND until_ms > now_ms;
    INSERT INTO members (room, user_id, role, joined_seq, since_seq, muted_until_ms)
    VALUES (room_in, user_in, role_in, place, since, mute);
    INSERT INTO read_markers (user_id, room, read_seq, ordinal)
    SELECT user_in, room_in, place, message_count FROM rooms WHERE id = room_in
    ON CONFLICT (user_id, room) DO UPDATE SET read_seq = EXCLUDED.read_seq, ordinal = EXCLUDED.ordinal;
    events := ARRAY[joined, hallway_user_event_v1(user_in, 11, 'membership.changed', jsonb_build_object(
        'room', room_in, 'role', hallway_role_v1(role_in::smallint), 'room_seq', place, 'joined_seq', place,
        'visible_from_seq', since), now_ms)];
    IF mute IS NOT NULL THEN
        events := events || hallway_tell_mute_v2(room_in, user_in, mute, place, now_ms);
    END IF;
    RETURN events;
END $$;

-- kick, ban, unban, mute and unmute, by an admin or owner; each is recorded.
CREATE FUNCTION hallway_sanction_v2(w jsonb, r rooms, mine members, now_ms bigint) RETURNS json
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    op text := w ->> 'op';
    actor_in text := w ->> 'actor';
    target text := w ->> 'user';
    end_ms bigint := least(coalesce((w ->> 'until_ms')::bigint, 9007199254740991), 9007199254740991);
    kind_in smallint := CASE WHEN op IN ('ban', 'unban') THEN 1 ELSE 2 END;
    other members;
    is_present boolean;
    said jsonb;
    events json[];
BEGIN
    SELECT * INTO other FROM members WHERE room = r.id AND user_id = target;
    is_present := FOUND;
    IF op IN ('kick', 'mute') AND NOT is_present THEN
        RETURN hallway_refuse_v1('target_not_a_member');
    ELSIF target = actor_in OR (is_present AND mine.role < 3 AND other.role >= mine.role) THEN
        RETURN hallway_refuse_v1('forbidden');
    END IF;
    IF op IN ('ban', 'mute') THEN
        INSERT INTO sanctions AS s (room, kind, user_id, until_ms, at_ms, actor, reason)
        VALUES (r.id, kind_in, target, end_ms, now_ms, actor_in, w ->> 'reason')
        ON CONFLICT (room, kind, user_id) DO UPDATE SET until_ms = EXCLUDED.until_ms, at_ms = EXCLUDED.at_ms,
            actor = EXCLUDED.actor, reason = EXCLUDED.reason;
    ELSIF op IN ('unban', 'unmute') THEN
        DELETE FROM sanctions WHERE room = r.id AND kind = kind_in AND user_id = target AND until_ms > now_ms;
        IF NOT FOUND THEN
            RETURN hallway_accept_v1(r.last_seq, '{}');
        END IF;
    END IF;
    INSERT INTO audit (at_ms, actor, action, room, target, until_ms, reason)
    VALUES (now_ms, actor_in, 'room.' || op, r.id, target,
        CASE WHEN op IN ('ban', 'mute') THEN (w ->> 'until_ms')::bigint END, w ->> 'reason');
    IF op = 'kick' THEN
        events := hallway_depart_v1(r.id, target, actor_in, now_ms);
        RETURN hallway_accept_v1((events[1] ->> 'seq')::bigint, events);
    END IF;
    said := jsonb_build_object('user', target, 'by', actor_in);
    IF op IN ('ban', 'mute') THEN
        said := said || jsonb_build_object('until_ms', hallway_until_v2(end_ms));
    END IF;
    events := ARRAY[hallway_room_event_v1(r.id,
        CASE op WHEN 'ban' THEN 13 WHEN 'unban' THEN 14 WHEN 'mute' THEN 15 ELSE 16 END,
        CASE op WHEN 'ban' THEN 'member.banned' WHEN 'unban' THEN 'member.unbanned' WHEN 'mute' THEN 'member.muted'
            ELSE 'member.unmuted' END, NULL, actor_in, said, NULL, now_ms)];
    IF op = 'ban' AND is_present THEN
        -- The removal is the last event that the banned one gets.
        events := events || hallway_depart_v1(r.id, target, actor_in, now_ms);
        RETURN hallway_accept_v1((events[2] ->> 'seq')::bigint, events);
    ELSIF op IN ('mute', 'unmute') THEN
        UPDATE members SET muted_until_ms = CASE op WHEN 'mute' THEN end_ms END WHERE room = r.id AND user_id = target;
        events := events || hallway_tell_mute_v2(r.id, target, CASE op WHEN 'mute' THEN end_ms END,
            (events[1] ->> 'seq')::bigint, now_ms);
    END IF;
    RETURN hallway_accept_v1((events[1] ->> 'seq')::bigint, events);
END $$;

-- revoke_session and revoke_user: into the user's stream.
CREATE FUNCTION hallway_revoke_v2(w jsonb, now_ms bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    target text := w ->> 'user';
    event json;
BEGIN
    IF w ->> 'op' = 'revoke_session' THEN
        event := hallway_user_event_v1(target, 17, 'session.revoked',
            jsonb_build_object('session', w ->> 'session', 'by', w ->> 'actor'), now_ms);
    ELSE
        event := hallway_user_event_v1(target, 18, 'user.revoked',
            jsonb_build_object('by', w ->> 'actor', 'before_ms', now_ms), now_ms);
        UPDATE users SET revoked_before_ms = greatest(revoked_before_ms, now_ms) WHERE id = target;
    END IF;
    INSERT INTO audit (at_ms, actor, action, target, session, reason)
    VALUES (now_ms, w ->> 'actor', CASE w ->> 'op' WHEN 'revoke_session' THEN 'session.revoke' ELSE 'user.revoke' END,
        target, w ->> 'session', w ->> 'reason');
    RETURN hallway_accept_v1((event ->> 'seq')::bigint, ARRAY[event]);
END $$;

-- The refusal of someone banned from the room; null when they are not.
CREATE FUNCTION hallway_banned_v2(room_in text, user_in text, why text, now_ms bigint) RETURNS json LANGUAGE sql VOLATILE AS $$
    SELECT hallway_refuse_v2(why, until_ms, now_ms) FROM sanctions
    WHERE room = room_in AND kind = 1 AND user_id = user_in AND until_ms > now_ms
$$;

-- What a write on an existing room comes to. mine: the actor's membership, if any.
CREATE FUNCTION hallway_in_room_v2(
    w jsonb, r rooms, mine members, rooms_max integer, reactions_max integer, now_ms bigint
) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    op text := w ->> 'op';
    is_member boolean := mine.role IS NOT NULL;
BEGIN
    IF op = 'join' AND r.kind = 1 THEN
        RETURN hallway_refuse_v1('forbidden');
    ELSIF op = 'join' AND r.archived THEN
        RETURN hallway_refuse_v1('room_archived');
    ELSIF op = 'join' AND is_member THEN
        RETURN hallway_accept_v1(mine.joined_seq, '{}');
    ELSIF op = 'join' THEN
        RETURN coalesce(hallway_banned_v2(r.id, w ->> 'actor', 'banned', now_ms),
            CASE WHEN hallway_is_full_v1(w ->> 'actor', rooms_max) THEN hallway_refuse_v1('too_many_rooms')
            ELSE hallway_accept_v1(r.last_seq + 1,
                hallway_enter_v1(r.id, w ->> 'actor', 1, w ->> 'actor', now_ms)) END);
    ELSIF NOT is_member THEN
        RETURN hallway_refuse_v1('not_a_member');
    ELSIF op <> 'leave' AND mine.muted_until_ms > now_ms THEN
        RETURN hallway_refuse_v2('muted', mine.muted_until_ms, now_ms);
    ELSIF op IN ('edit_message', 'delete_message', 'react') THEN
        RETURN hallway_amend_v1(w, r, mine, reactions_max, now_ms);
    ELSIF op IN ('kick', 'ban', 'unban', 'mute', 'unmute') THEN
        IF r.kind = 1 OR mine.role < 2 THEN
            RETURN hallway_refuse_v1('forbidden');
        ELSIF r.archived THEN
            RETURN hallway_refuse_v1('room_archived');
        END IF;
        RETURN hallway_sanction_v2(w, r, mine, now_ms);
    ELSIF op = 'invite' AND mine.role >= 2 AND r.kind = 0 AND NOT r.archived AND (w ->> 'role')::smallint <= mine.role THEN
        RETURN coalesce(hallway_banned_v2(r.id, w ->> 'user', 'target_banned', now_ms),
            hallway_manage_v1(w, r, mine, rooms_max, now_ms));
    END IF;
    RETURN hallway_manage_v1(w, r, mine, rooms_max, now_ms);
END $$;

-- One write: the nonce first, then the room, then what the write is.
CREATE FUNCTION hallway_act_one_v2(w jsonb, rooms_max integer, reactions_max integer, now_ms bigint) RETURNS json
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    op text := w ->> 'op';
    known dedupe;
    r rooms;
    mine members;
    answer json;
BEGIN
    SELECT * INTO known FROM dedupe WHERE key = (w ->> 'key')::uuid LIMIT 1;
    IF FOUND AND known.body_hash <> (w ->> 'hash')::uuid THEN
        RETURN hallway_refuse_v1('nonce_conflict');
    ELSIF FOUND THEN
        RETURN json_build_object('seq', known.seq, 'at_ms', known.at_ms, 'message', known.message, 'repeated', true);
    END IF;
    SELECT * INTO r FROM rooms WHERE id = w ->> 'room';
    SELECT * INTO mine FROM members WHERE room = w ->> 'room' AND user_id = w ->> 'actor';
    IF op IN ('revoke_session', 'revoke_user') THEN
        answer := hallway_revoke_v2(w, now_ms);
    ELSIF op IN ('create_room', 'open_direct') THEN
        answer := hallway_make_v1(w, r, rooms_max, now_ms);
    ELSIF r.id IS NULL OR r.last_seq = 0 OR (mine.role IS NULL AND NOT r.public) THEN
        RETURN hallway_refuse_v1('room_not_found');
    ELSE
        answer := hallway_in_room_v2(w, r, mine, rooms_max, reactions_max, now_ms);
    END IF;
    IF answer ->> 'seq' IS NOT NULL THEN
        INSERT INTO dedupe (key, body_hash, message, seq, at_ms) VALUES ((w ->> 'key')::uuid, (w ->> 'hash')::uuid,
            (w ->> 'message')::uuid, (answer ->> 'seq')::bigint, now_ms);
    END IF;
    RETURN answer;
END $$;

-- A run of writes in order, under locks that are taken for all of them first: rooms by id, then users by id. Answers the
-- epoch and one result each.
CREATE FUNCTION hallway_act_v2(writes jsonb, rooms_max integer, reactions_max integer) RETURNS json
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    one record;
    w jsonb;
    now_ms bigint;
    made_users text[] := '{}';
    results json[] := '{}';
BEGIN
    FOR one IN
        SELECT (x ->> 'room') COLLATE "C" AS id, bool_or(x ->> 'op' IN ('create_room', 'open_direct')) AS makes
        FROM jsonb_array_elements(writes) x WHERE x ->> 'room' IS NOT NULL GROUP BY 1 ORDER BY 1
    LOOP
        -- A room that is to be made gets its row, and so its lock, now; its number 0 says that it is not there yet.
        IF one.makes THEN
            INSERT INTO rooms (id, kind, public, history_all, created_at_ms) VALUES (one.id, 0, false, false, 0)
            ON CONFLICT DO NOTHING;
        END IF;
        PERFORM 1 FROM rooms WHERE id = one.id FOR NO KEY UPDATE;
    END LOOP;
    FOR one IN
        SELECT DISTINCT u COLLATE "C" AS id FROM jsonb_array_elements(writes) x, LATERAL (VALUES
            (CASE WHEN x ->> 'op' IN ('create_room', 'open_direct', 'join', 'leave') THEN x ->> 'actor' END),
            (CASE WHEN x ->> 'op' IN ('open_direct', 'invite', 'remove', 'kick', 'ban', 'mute', 'unmute',
                'revoke_session', 'revoke_user') THEN x ->> 'user' END)) AS v(u)
        WHERE u IS NOT NULL ORDER BY 1
    LOOP
        INSERT INTO users (id) VALUES (one.id) ON CONFLICT DO NOTHING;
        IF FOUND THEN
            made_users := made_users || one.id;
        END IF;
        PERFORM 1 FROM users WHERE id = one.id FOR NO KEY UPDATE;
    END LOOP;
    now_ms := hallway_now_v1();
    FOR w IN SELECT x FROM jsonb_array_elements(writes) WITH ORDINALITY AS i(x, ord) ORDER BY ord LOOP
        results := results || hallway_act_one_v2(w, rooms_max, reactions_max, now_ms);
    END LOOP;
    -- A refusal leaves nothing behind.
    DELETE FROM rooms WHERE id IN (SELECT x ->> 'room' FROM jsonb_array_elements(writes) x) AND last_seq = 0;
    DELETE FROM users WHERE id = ANY (made_users) AND last_seq = 0;
    RETURN json_build_object('epoch', (SELECT epoch FROM meta), 'at_ms', now_ms, 'results', to_json(results));
END $$;

CREATE OR REPLACE FUNCTION hallway_act_v1(writes jsonb, rooms_max integer, reactions_max integer) RETURNS json
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    answer json := hallway_act_v2(writes, rooms_max, reactions_max);
BEGIN
    RETURN json_build_object('epoch', answer -> 'epoch', 'at_ms', answer -> 'at_ms', 'results', (
        SELECT json_agg(CASE WHEN x ->> 'refused' IN ('muted', 'banned', 'target_banned') THEN hallway_refuse_v1('forbidden')
            ELSE x END ORDER BY ord)
        FROM json_array_elements(answer -> 'results') WITH ORDINALITY AS i(x, ord)));
END $$;

-- Drops bans and mutes that have ended and entries that are too old; true: call again. It waits for nobody.
CREATE FUNCTION hallway_trim_records_v2(kept_ms bigint, most bigint) RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    now_ms bigint := hallway_now_v1();
    ended bigint;
    old bigint;
BEGIN
    DELETE FROM sanctions WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM sanctions WHERE until_ms <= now_ms ORDER BY until_ms LIMIT most FOR UPDATE SKIP LOCKED));
    GET DIAGNOSTICS ended = ROW_COUNT;
    DELETE FROM audit WHERE number = ANY (ARRAY(
        SELECT a.number FROM (SELECT number, at_ms FROM audit ORDER BY number LIMIT most) a
        WHERE a.at_ms < now_ms - kept_ms));
    GET DIAGNOSTICS old = ROW_COUNT;
    RETURN greatest(ended, old) = most;
END $$;
