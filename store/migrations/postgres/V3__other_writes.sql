-- Every write that is not a message send: rare, so carried out one by one, under locks that were taken for all of them
-- first: rooms by id, then users by id.

CREATE FUNCTION hallway_role_v1(role smallint) RETURNS text LANGUAGE sql IMMUTABLE AS
$$ SELECT (ARRAY['guest', 'member', 'admin', 'owner'])[role + 1] $$;

-- A room as the wire shows it.
CREATE FUNCTION hallway_info_v1(r rooms) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object('room', r.id, 'kind', CASE r.kind WHEN 1 THEN 'direct' ELSE 'channel' END,
        'visibility', CASE WHEN r.public THEN 'public' ELSE 'private' END,
        'history', CASE WHEN r.history_all THEN 'all' ELSE 'since_join' END,
        'name', r.name, 'archived', r.archived, 'created_at_ms', r.created_at_ms)
$$;

-- A message as the wire shows it.
CREATE FUNCTION hallway_message_v1(m messages) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object('id', m.id, 'seq', m.seq, 'ordinal', m.ordinal, 'sender', m.sender, 'at_ms', m.at_ms,
        'text', m.text, 'reply_to', m.reply_to, 'mentions', to_json(coalesce(m.mentions, '{}')), 'meta', m.meta::json,
        'version', m.version, 'edited_at_ms', m.edited_at_ms, 'deleted', m.deleted,
        'reactions', coalesce(m.reactions, '[]'))
$$;

-- Appends to a room's stream. detail is what the log keeps, body what the wire shows; they are the same but for kinds
-- whose object is joined when it is read.
CREATE FUNCTION hallway_room_event_v1(
    room_in text, kind_in integer, wire text, message_in uuid, actor_in text, detail_in jsonb, body json, now_ms bigint
) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    next bigint;
BEGIN
    UPDATE rooms SET last_seq = last_seq + 1 WHERE id = room_in RETURNING last_seq INTO next;
    INSERT INTO events (stream, seq, at_ms, kind, message, actor, detail)
    VALUES ('room:' || room_in, next, now_ms, kind_in, message_in, actor_in, detail_in);
    RETURN json_build_object('stream', 'room:' || room_in, 'seq', next, 'at_ms', now_ms,
        'body', json_build_object(wire, coalesce(body, detail_in::json)));
END $$;

CREATE FUNCTION hallway_user_event_v1(user_in text, kind_in integer, wire text, detail_in jsonb, now_ms bigint)
RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    next bigint;
BEGIN
    UPDATE users SET last_seq = last_seq + 1 WHERE id = user_in RETURNING last_seq INTO next;
    INSERT INTO events (stream, seq, at_ms, kind, detail)
    VALUES ('user:' || user_in, next, now_ms, kind_in, detail_in);
    RETURN json_build_object('stream', 'user:' || user_in, 'seq', next, 'at_ms', now_ms,
        'body', json_build_object(wire, detail_in));
END $$;

-- member.joined, and membership.changed for the user. The read marker begins at the joining.
CREATE FUNCTION hallway_enter_v1(room_in text, user_in text, role_in integer, by_in text, now_ms bigint)
RETURNS json[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    joined json;
    place bigint;
    since bigint;
BEGIN
    joined := hallway_room_event_v1(room_in, 4, 'member.joined', NULL, by_in, jsonb_build_object(
        'user', user_in, 'role', hallway_role_v1(role_in::smallint), 'by', by_in), NULL, now_ms);
    place := (joined ->> 'seq')::bigint;
    SELECT CASE WHEN history_all THEN 1 ELSE place END INTO since FROM rooms WHERE id = room_in;
    INSERT INTO members (room, user_id, role, joined_seq, since_seq) VALUES (room_in, user_in, role_in, place, since);
    INSERT INTO read_markers (user_id, room, read_seq, ordinal)
    SELECT user_in, room_in, place, message_count FROM rooms WHERE id = room_in
    ON CONFLICT (user_id, room) DO UPDATE SET read_seq = EXCLUDED.read_seq, ordinal = EXCLUDED.ordinal;
    RETURN ARRAY[joined, hallway_user_event_v1(user_in, 11, 'membership.changed', jsonb_build_object(
        'room', room_in, 'role', hallway_role_v1(role_in::smallint), 'room_seq', place, 'joined_seq', place,
        'visible_from_seq', since), now_ms)];
END $$;

-- member.removed, and membership.changed for the user.
CREATE FUNCTION hallway_depart_v1(room_in text, user_in text, by_in text, now_ms bigint)
RETURNS json[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    removed json;
BEGIN
    removed := hallway_room_event_v1(room_in, 6, 'member.removed', NULL, by_in,
        jsonb_build_object('user', user_in, 'by', by_in), NULL, now_ms);
    DELETE FROM members WHERE room = room_in AND user_id = user_in;
    DELETE FROM read_markers WHERE room = room_in AND user_id = user_in;
    RETURN ARRAY[removed, hallway_user_event_v1(user_in, 11, 'membership.changed', jsonb_build_object(
        'room', room_in, 'role', NULL, 'room_seq', (removed ->> 'seq')::bigint, 'joined_seq', 0,
        'visible_from_seq', 0), now_ms)];
END $$;

CREATE FUNCTION hallway_refuse_v1(why text) RETURNS json LANGUAGE sql IMMUTABLE AS
$$ SELECT json_build_object('refused', why) $$;

-- An accepted write; its place is its last event in the room's stream.
CREATE FUNCTION hallway_accept_v1(place bigint, events json[]) RETURNS json LANGUAGE sql IMMUTABLE AS
$$ SELECT json_build_object('seq', place, 'events', to_json(events)) $$;

CREATE FUNCTION hallway_is_full_v1(user_in text, most integer) RETURNS boolean LANGUAGE sql VOLATILE AS
$$ SELECT count(*) >= most FROM members WHERE user_id = user_in $$;

-- create_room and open_direct.
CREATE FUNCTION hallway_make_v1(w jsonb, r rooms, rooms_max integer, now_ms bigint) RETURNS json
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    direct boolean := w ->> 'op' = 'open_direct';
    by_in text := w ->> 'actor';
    events json[];
    place bigint;
BEGIN
    IF direct = (r.id NOT LIKE 'dm:%') OR (direct AND by_in = w ->> 'user') THEN
        RETURN hallway_refuse_v1('forbidden');
    ELSIF r.last_seq > 0 AND NOT direct THEN
        RETURN hallway_refuse_v1('room_exists');
    ELSIF r.last_seq > 0 THEN
        SELECT joined_seq INTO place FROM members WHERE room = r.id AND user_id = by_in;
        IF NOT FOUND THEN
            RETURN hallway_refuse_v1('room_not_found');
        END IF;
        RETURN hallway_accept_v1(place, '{}');
    ELSIF hallway_is_full_v1(by_in, rooms_max) OR (direct AND hallway_is_full_v1(w ->> 'user', rooms_max)) THEN
        RETURN hallway_refuse_v1('too_many_rooms');
    END IF;
    UPDATE rooms SET created_at_ms = now_ms, kind = direct::integer, name = w ->> 'name',
        public = NOT direct AND w ->> 'visibility' = 'public', history_all = direct OR w ->> 'history' = 'all'
    WHERE id = r.id RETURNING * INTO r;
    events := ARRAY[hallway_room_event_v1(r.id, 1, 'room.created', NULL, by_in, jsonb_build_object('by', by_in),
        json_build_object('info', hallway_info_v1(r), 'by', by_in), now_ms)]
        || hallway_enter_v1(r.id, by_in, CASE WHEN direct THEN 1 ELSE 3 END, by_in, now_ms);
    IF direct THEN
        events := events || hallway_enter_v1(r.id, w ->> 'user', 1, by_in, now_ms);
    END IF;
    RETURN hallway_accept_v1(CASE WHEN direct THEN 3 ELSE 2 END, events);
END $$;

-- Writes on settings and members. mine: the actor's membership, if any.
CREATE FUNCTION hallway_manage_v1(w jsonb, r rooms, mine members, rooms_max integer, now_ms bigint) RETURNS json
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    op text := w ->> 'op';
    actor_in text := w ->> 'actor';
    target text := w ->> 'user';
    wanted smallint := (w ->> 'role')::smallint;
    other members;
    found_other boolean;
    owners bigint;
    events json[];
BEGIN
    IF r.kind = 1 THEN
        RETURN hallway_refuse_v1('forbidden');
    ELSIF r.archived THEN
        RETURN hallway_refuse_v1('room_archived');
    ELSIF (op IN ('update_room', 'invite', 'remove') AND mine.role < 2) OR (op = 'archive_room' AND mine.role < 3) THEN
        RETURN hallway_refuse_v1('forbidden');
    END IF;
    SELECT count(*) INTO owners FROM members WHERE room = r.id AND role = 3;
    SELECT * INTO other FROM members WHERE room = r.id AND user_id = target;
    found_other := FOUND;
    IF op = 'update_room' THEN
        UPDATE rooms SET name = coalesce(w ->> 'name', name),
            public = CASE WHEN w ->> 'visibility' IS NULL THEN public ELSE w ->> 'visibility' = 'public' END
        WHERE id = r.id RETURNING * INTO r;
        events := ARRAY[hallway_room_event_v1(r.id, 2, 'room.updated', NULL, actor_in,
            jsonb_build_object('by', actor_in), json_build_object('info', hallway_info_v1(r), 'by', actor_in), now_ms)];
    ELSIF op = 'archive_room' THEN
        UPDATE rooms SET archived = true WHERE id = r.id;
        events := ARRAY[hallway_room_event_v1(r.id, 3, 'room.archived', NULL, actor_in,
            jsonb_build_object('by', actor_in), NULL, now_ms)];
    ELSIF op = 'leave' THEN
        IF mine.role = 3 AND owners = 1 AND EXISTS (SELECT 1 FROM members WHERE room = r.id AND user_id <> actor_in) THEN
            RETURN hallway_refuse_v1('last_owner');
        END IF;
        events := hallway_depart_v1(r.id, actor_in, actor_in, now_ms);
    ELSIF op = 'remove' THEN
        IF NOT found_other THEN
            RETURN hallway_refuse_v1('target_not_a_member');
        ELSIF target = actor_in OR (mine.role < 3 AND other.role >= mine.role) THEN
            RETURN hallway_refuse_v1('forbidden');
        END IF;
        events := hallway_depart_v1(r.id, target, actor_in, now_ms);
    ELSE -- invite
        IF wanted > mine.role OR (found_other AND other.role > mine.role) THEN
            RETURN hallway_refuse_v1('forbidden');
        ELSIF NOT found_other THEN
            IF hallway_is_full_v1(target, rooms_max) THEN
                RETURN hallway_refuse_v1('too_many_rooms');
            END IF;
            events := hallway_enter_v1(r.id, target, wanted, actor_in, now_ms);
        ELSIF other.role = wanted THEN
            RETURN hallway_accept_v1(other.joined_seq, '{}');
        ELSIF other.role = 3 AND owners = 1 THEN
            RETURN hallway_refuse_v1('last_owner');
        ELSE
            UPDATE members SET role = wanted WHERE room = r.id AND user_id = target;
            events := ARRAY[hallway_room_event_v1(r.id, 5, 'member.updated', NULL, actor_in, jsonb_build_object(
                'user', target, 'role', hallway_role_v1(wanted), 'by', actor_in), NULL, now_ms)];
            events := events || hallway_user_event_v1(target, 11, 'membership.changed', jsonb_build_object(
                'room', r.id, 'role', hallway_role_v1(wanted), 'room_seq', r.last_seq + 1,
                'joined_seq', other.joined_seq, 'visible_from_seq', other.since_seq), now_ms);
        END IF;
    END IF;
    RETURN hallway_accept_v1((events[1] ->> 'seq')::bigint, events);
END $$;

-- The reactions with one put or taken; NULL when that changes nothing.
CREATE FUNCTION hallway_reacted_v1(old jsonb, emoji_in text, user_in text, taken boolean) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    place integer;
    users jsonb;
BEGIN
    SELECT ord - 1, item -> 'users' INTO place, users
    FROM jsonb_array_elements(old) WITH ORDINALITY AS i(item, ord) WHERE item ->> 'emoji' = emoji_in;
    IF coalesce(users ? user_in, false) <> taken THEN
        RETURN NULL;
    ELSIF place IS NULL THEN
        RETURN old || jsonb_build_array(jsonb_build_object('emoji', emoji_in, 'users', jsonb_build_array(user_in)));
    ELSIF NOT taken THEN
        RETURN jsonb_set(old, ARRAY[place::text, 'users'], users || to_jsonb(user_in));
    ELSIF jsonb_array_length(users) = 1 THEN
        RETURN old - place;
    END IF;
    RETURN jsonb_set(old, ARRAY[place::text, 'users'], users - user_in);
END $$;

-- Writes on a message that exists.
CREATE FUNCTION hallway_amend_v1(w jsonb, r rooms, mine members, reactions_max integer, now_ms bigint) RETURNS json
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    op text := w ->> 'op';
    actor_in text := w ->> 'actor';
    m messages;
    changed jsonb;
    event json;
BEGIN
    IF r.archived THEN
        RETURN hallway_refuse_v1('room_archived');
    ELSIF mine.role < 1 THEN
        RETURN hallway_refuse_v1('forbidden');
    END IF;
    SELECT * INTO m FROM messages WHERE room = r.id AND id = (w ->> 'message')::uuid AND seq >= mine.since_seq;
    IF NOT FOUND THEN
        RETURN hallway_refuse_v1('message_not_found');
    ELSIF (op = 'edit_message' AND m.sender <> actor_in)
        OR (op = 'delete_message' AND m.sender <> actor_in AND mine.role < 2) THEN
        RETURN hallway_refuse_v1('forbidden');
    ELSIF m.deleted THEN
        RETURN hallway_refuse_v1('message_deleted');
    END IF;
    IF op = 'edit_message' THEN
        IF (w ->> 'version')::integer <> m.version THEN
            RETURN json_build_object('refused', 'version_conflict', 'current', m.version);
        END IF;
        UPDATE messages SET text = w ->> 'text', meta = w ->> 'meta', version = version + 1, edited_at_ms = now_ms,
            mentions = string_to_array(w ->> 'mentions', ' ')
        WHERE room = r.id AND id = m.id RETURNING * INTO m;
        event := hallway_room_event_v1(r.id, 8, 'message.edited', m.id, actor_in,
            jsonb_build_object('seq', m.seq, 'ordinal', m.ordinal, 'version', m.version), json_build_object('message', hallway_message_v1(m)), now_ms);
    ELSIF op = 'delete_message' THEN
        UPDATE messages SET text = '', meta = NULL, mentions = NULL, reactions = NULL, deleted = true, version = version + 1
        WHERE room = r.id AND id = m.id RETURNING * INTO m;
        event := hallway_room_event_v1(r.id, 9, 'message.deleted', m.id, actor_in,
            jsonb_build_object('id', m.id, 'version', m.version, 'by', actor_in), NULL, now_ms);
    ELSE -- react
        changed := hallway_reacted_v1(coalesce(m.reactions, '[]'), w ->> 'emoji', actor_in, (w ->> 'taken')::boolean);
        IF changed IS NULL THEN
            RETURN hallway_accept_v1(r.last_seq, '{}');
        ELSIF (SELECT sum(jsonb_array_length(item -> 'users')) FROM jsonb_array_elements(changed) item) > reactions_max THEN
            RETURN hallway_refuse_v1('too_many_reactions');
        END IF;
        UPDATE messages SET reactions = nullif(changed, '[]') WHERE room = r.id AND id = m.id;
        event := hallway_room_event_v1(r.id, 10, 'message.reacted', m.id, actor_in, jsonb_build_object('id', m.id,
            'user', actor_in, 'emoji', w ->> 'emoji', 'removed', (w ->> 'taken')::boolean), NULL, now_ms);
    END IF;
    RETURN hallway_accept_v1((event ->> 'seq')::bigint, ARRAY[event]);
END $$;

-- One write: the nonce first, then the room, then what the write is.
CREATE FUNCTION hallway_act_one_v1(w jsonb, rooms_max integer, reactions_max integer, now_ms bigint) RETURNS json
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    op text := w ->> 'op';
    known dedupe;
    r rooms;
    mine members;
    is_member boolean;
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
    is_member := FOUND;
    IF op IN ('create_room', 'open_direct') THEN
        answer := hallway_make_v1(w, r, rooms_max, now_ms);
    ELSIF r.id IS NULL OR r.last_seq = 0 OR (NOT is_member AND NOT r.public) THEN
        RETURN hallway_refuse_v1('room_not_found');
    ELSIF op = 'join' THEN
        IF r.kind = 1 THEN
            RETURN hallway_refuse_v1('forbidden');
        ELSIF r.archived THEN
            RETURN hallway_refuse_v1('room_archived');
        ELSIF is_member THEN
            answer := hallway_accept_v1(mine.joined_seq, '{}');
        ELSIF hallway_is_full_v1(w ->> 'actor', rooms_max) THEN
            RETURN hallway_refuse_v1('too_many_rooms');
        ELSE
            answer := hallway_accept_v1(r.last_seq + 1, hallway_enter_v1(r.id, w ->> 'actor', 1, w ->> 'actor', now_ms));
        END IF;
    ELSIF NOT is_member THEN
        RETURN hallway_refuse_v1('not_a_member');
    ELSIF op IN ('edit_message', 'delete_message', 'react') THEN
        answer := hallway_amend_v1(w, r, mine, reactions_max, now_ms);
    ELSE
        answer := hallway_manage_v1(w, r, mine, rooms_max, now_ms);
    END IF;
    IF answer ->> 'seq' IS NOT NULL THEN
        INSERT INTO dedupe (key, body_hash, message, seq, at_ms) VALUES ((w ->> 'key')::uuid, (w ->> 'hash')::uuid,
            (w ->> 'message')::uuid, (answer ->> 'seq')::bigint, now_ms);
    END IF;
    RETURN answer;
END $$;

-- A run of writes in order. Answers the epoch and one result each.
CREATE FUNCTION hallway_act_v1(writes jsonb, rooms_max integer, reactions_max integer) RETURNS json
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
        FROM jsonb_array_elements(writes) x GROUP BY 1 ORDER BY 1
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
            (CASE WHEN x ->> 'op' IN ('open_direct', 'invite', 'remove') THEN x ->> 'user' END)) AS v(u)
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
        results := results || hallway_act_one_v1(w, rooms_max, reactions_max, now_ms);
    END LOOP;
    -- A refusal leaves nothing behind.
    DELETE FROM rooms WHERE id IN (SELECT x ->> 'room' FROM jsonb_array_elements(writes) x) AND last_seq = 0;
    DELETE FROM users WHERE id = ANY (made_users) AND last_seq = 0;
    RETURN json_build_object('epoch', (SELECT epoch FROM meta), 'at_ms', now_ms, 'results', to_json(results));
END $$;

-- Read markers, forward only. Users are locked first, so nobody joins or leaves meanwhile; the markers are taken in the
-- order of room and user, as a send takes them.
CREATE FUNCTION hallway_mark_read_v1(users_in text[], rooms_in text[], seqs_in bigint[]) RETURNS json
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    one record;
    now_ms bigint;
    place bigint;
    place_ordinal bigint;
    total bigint;
    old read_markers;
    event json;
    results json[] := array_fill(NULL::json, ARRAY[cardinality(users_in)]);
BEGIN
    PERFORM 1 FROM users WHERE id = ANY (users_in) ORDER BY id FOR NO KEY UPDATE;
    now_ms := hallway_now_v1();
    FOR one IN
        SELECT i.* FROM unnest(users_in, rooms_in, seqs_in) WITH ORDINALITY AS i(user_id, room, seq, ord)
        WHERE EXISTS (SELECT 1 FROM members m WHERE m.room = i.room AND m.user_id = i.user_id)
        ORDER BY i.room COLLATE "C", i.user_id COLLATE "C", i.ord
    LOOP
        SELECT * INTO old FROM read_markers r WHERE r.user_id = one.user_id AND r.room = one.room FOR NO KEY UPDATE;
        SELECT least(one.seq, last_seq), message_count INTO place, total FROM rooms WHERE id = one.room;
        event := NULL;
        IF place > old.read_seq THEN
            SELECT coalesce(
                (SELECT m.ordinal FROM messages m WHERE m.room = one.room AND m.seq <= place ORDER BY m.seq DESC LIMIT 1),
                (SELECT m.ordinal - 1 FROM messages m WHERE m.room = one.room AND m.seq > place ORDER BY m.seq LIMIT 1),
                total) INTO place_ordinal;
            place_ordinal := greatest(place_ordinal, old.ordinal);
            UPDATE read_markers r SET read_seq = place, ordinal = place_ordinal
            WHERE r.user_id = one.user_id AND r.room = one.room;
            old.read_seq := place;
            old.ordinal := place_ordinal;
            event := hallway_user_event_v1(one.user_id, 12, 'read.marked', jsonb_build_object('room', one.room,
                'read_seq', place, 'unread', total - place_ordinal), now_ms);
        END IF;
        results[one.ord] := json_build_object('read_seq', old.read_seq, 'unread', total - old.ordinal, 'event', event);
    END LOOP;
    RETURN json_build_object('epoch', (SELECT epoch FROM meta), 'results', to_json(results));
END $$;
