-- Tasks, and several writes that are carried out together.
--
-- Tasks, their comments and their events live in the room's stream; every write about a task holds the room's lock, so
-- versions, cycles and counts are judged under it. Nodes of the last release know nothing of tasks, and their functions do
-- what they did.

-- Names as they are compared (as in names.rs), by the best rules that this server has: a database in the C locale knows the
-- letters of ASCII only. hallway_fold_v5: in small letters, without space around it. hallway_words_v5: the folded name, and
-- each of its words.
DO $$
DECLARE
    rules text := coalesce((SELECT collname FROM pg_collation WHERE collname IN ('und-x-icu', 'pg_c_utf8')
        AND collencoding IN (-1, pg_char_to_encoding(getdatabaseencoding())) ORDER BY collname DESC LIMIT 1), 'default');
BEGIN
    EXECUTE format('CREATE FUNCTION hallway_fold_v5(given text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
        ''SELECT lower(btrim(given) COLLATE %I) COLLATE "C"''', rules);
    EXECUTE format('CREATE FUNCTION hallway_words_v5(given text) RETURNS text[] LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS
        ''DECLARE folded text := hallway_fold_v5(given); BEGIN
            RETURN ARRAY(SELECT DISTINCT word COLLATE "C" FROM unnest(folded
                || regexp_split_to_array(folded COLLATE %I, ''''[^[:alnum:]]+'''')) word WHERE word <> '''''''');
        END''', rules);
END $$;

-- What came while its partition was not made yet may be much: its end is found by time.
CREATE INDEX dedupe_late_by_time ON dedupe_late (at_ms);

ALTER TABLE users ADD COLUMN name text;
-- How many tasks there are of each status, without deleted ones; null: there never was one.
ALTER TABLE rooms ADD COLUMN task_counts integer[];

CREATE TABLE tasks (
    seq bigint NOT NULL,
    at_ms bigint NOT NULL,
    changed_at_ms bigint NOT NULL,
    due_at_ms bigint,
    id uuid NOT NULL,
    version integer NOT NULL DEFAULT 1,
    comment_count integer NOT NULL DEFAULT 0,
    -- 0 open, 1 in_progress, 2 blocked, 3 done, 4 cancelled
    status smallint NOT NULL DEFAULT 0,
    -- 0 low, 1 normal, 2 high, 3 urgent
    priority smallint NOT NULL,
    -- Its due time was told.
    due_fired boolean NOT NULL DEFAULT false,
    deleted boolean NOT NULL DEFAULT false,
    room text COLLATE "C" NOT NULL,
    creator text COLLATE "C" NOT NULL,
    title text NOT NULL,
    text text NOT NULL,
    meta text,
    PRIMARY KEY (room, id)
);
-- A list goes along one of these for each status (and priority) and takes the first of all.
CREATE INDEX tasks_by_status ON tasks (room, status, priority, id) WHERE NOT deleted;
CREATE INDEX tasks_by_due ON tasks (room, status, due_at_ms, id) WHERE NOT deleted AND due_at_ms IS NOT NULL;
CREATE INDEX tasks_to_fire ON tasks (due_at_ms)
    WHERE NOT deleted AND NOT due_fired AND status < 3 AND due_at_ms IS NOT NULL;

-- status, priority and due time are the task's, so that the list of a person needs no other table to find its page.
CREATE TABLE task_assignees (
    due_at_ms bigint,
    task uuid NOT NULL,
    status smallint NOT NULL,
    priority smallint NOT NULL,
    room text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (room, task, user_id)
);
CREATE INDEX task_assignees_by_status ON task_assignees (user_id, status, priority, task, room);
CREATE INDEX task_assignees_by_due ON task_assignees (user_id, status, due_at_ms, task, room) WHERE due_at_ms IS NOT NULL;
CREATE INDEX task_assignees_at_work ON task_assignees (room, user_id, due_at_ms) WHERE status < 3;

CREATE TABLE task_followers (
    task uuid NOT NULL,
    room text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (room, task, user_id)
);

CREATE TABLE task_dependencies (
    task uuid NOT NULL,
    waits_on uuid NOT NULL,
    room text COLLATE "C" NOT NULL,
    PRIMARY KEY (room, task, waits_on)
);
CREATE INDEX task_dependencies_back ON task_dependencies (room, waits_on, task);

CREATE TABLE task_comments (
    seq bigint NOT NULL,
    at_ms bigint NOT NULL,
    id uuid NOT NULL,
    task uuid NOT NULL,
    room text COLLATE "C" NOT NULL,
    sender text COLLATE "C" NOT NULL,
    text text NOT NULL,
    mentions text[],
    PRIMARY KEY (room, id)
);
CREATE UNIQUE INDEX task_comments_by_task ON task_comments (room, task, seq);

-- What is looked for by what people say, room by room, so that nobody's question looks at what is not theirs.
CREATE TABLE task_words (
    task uuid NOT NULL,
    room text COLLATE "C" NOT NULL,
    word text COLLATE "C" NOT NULL,
    PRIMARY KEY (room, word, task)
);
CREATE INDEX task_words_of ON task_words (room, task);
CREATE TABLE member_words (
    room text COLLATE "C" NOT NULL,
    word text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (room, word, user_id)
);
CREATE INDEX member_words_of ON member_words (user_id, room);
-- Of public channels that are not archived.
CREATE TABLE channel_words (
    word text COLLATE "C" NOT NULL,
    room text COLLATE "C" NOT NULL,
    PRIMARY KEY (word, room)
);
CREATE INDEX channel_words_of ON channel_words (room);

-- The words of members and channels are kept by triggers: functions of every release make members and channels. A membership
-- and a name change under the lock of the user, a channel under its own.
CREATE FUNCTION hallway_member_trigger_v5() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    named text;
BEGIN
    IF TG_OP = 'DELETE' THEN
        DELETE FROM member_words WHERE user_id = OLD.user_id AND room = OLD.room;
        RETURN NULL;
    END IF;
    INSERT INTO member_words (room, word, user_id) VALUES (NEW.room, hallway_fold_v5(NEW.user_id), NEW.user_id);
    SELECT name INTO named FROM users WHERE id = NEW.user_id;
    IF named IS NOT NULL THEN
        INSERT INTO member_words (room, word, user_id) SELECT NEW.room, unnest(hallway_words_v5(named)), NEW.user_id
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION hallway_name_trigger_v5() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    words text[] := hallway_words_v5(NEW.name) || hallway_fold_v5(NEW.id);
BEGIN
    DELETE FROM member_words WHERE user_id = NEW.id;
    INSERT INTO member_words (room, word, user_id)
    SELECT m.room, w.word, NEW.id FROM members m, unnest(words) AS w(word)
    WHERE m.user_id = NEW.id AND w.word IS NOT NULL ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE FUNCTION hallway_channel_trigger_v5() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM channel_words WHERE room = NEW.id;
    IF NEW.public AND NOT NEW.archived AND NEW.kind = 0 THEN
        INSERT INTO channel_words (word, room)
        SELECT w.word, NEW.id FROM unnest(hallway_words_v5(NEW.name) || hallway_fold_v5(NEW.id)) AS w(word)
        WHERE w.word IS NOT NULL ON CONFLICT DO NOTHING;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER channel_words AFTER UPDATE OF name, public, archived, kind ON rooms FOR EACH ROW
    EXECUTE FUNCTION hallway_channel_trigger_v5();
CREATE TRIGGER member_words AFTER INSERT OR DELETE ON members FOR EACH ROW EXECUTE FUNCTION hallway_member_trigger_v5();
CREATE TRIGGER name_words AFTER UPDATE OF name ON users FOR EACH ROW
    WHEN (OLD.name IS DISTINCT FROM NEW.name) EXECUTE FUNCTION hallway_name_trigger_v5();
INSERT INTO member_words (room, word, user_id) SELECT room, hallway_fold_v5(user_id), user_id FROM members;
INSERT INTO channel_words (word, room)
SELECT DISTINCT w.word, r.id FROM rooms r, unnest(hallway_words_v5(r.name) || hallway_fold_v5(r.id)) AS w(word)
WHERE r.public AND NOT r.archived AND r.kind = 0 AND w.word IS NOT NULL;

-- A task as the wire shows it.
CREATE FUNCTION hallway_task_v5(t tasks) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object('id', t.id, 'room', t.room, 'seq', t.seq, 'version', t.version, 'title', t.title,
        'text', t.text, 'status', (ARRAY['open', 'in_progress', 'blocked', 'done', 'cancelled'])[t.status + 1],
        'priority', (ARRAY['low', 'normal', 'high', 'urgent'])[t.priority + 1], 'due_at_ms', t.due_at_ms,
        'creator', t.creator, 'at_ms', t.at_ms, 'changed_at_ms', t.changed_at_ms,
        'assignees', ARRAY(SELECT a.user_id FROM task_assignees a WHERE a.room = t.room AND a.task = t.id ORDER BY 1),
        'waits_on', ARRAY(SELECT d.waits_on FROM task_dependencies d WHERE d.room = t.room AND d.task = t.id ORDER BY 1),
        'comment_count', t.comment_count, 'meta', t.meta::json, 'deleted', t.deleted)
$$;

-- A comment as the wire shows it.
CREATE FUNCTION hallway_comment_v5(c task_comments) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object('id', c.id, 'task', c.task, 'seq', c.seq, 'sender', c.sender, 'at_ms', c.at_ms,
        'text', c.text, 'mentions', to_json(coalesce(c.mentions, '{}')))
$$;

-- Notifies of what has happened and answers the events that this made; {"fans_out": true} in place of one says that a
-- fan-out job was left. A cause: {"kind", "users": […], "room", "message", "task", "comment", "by", "urgent", "key",
-- "notice", "acknowledge_within_ms"}. Whom it names is locked already (hallway_recipients_v5). The next migration replaces it.
CREATE FUNCTION hallway_notify_v5(causes jsonb, now_ms bigint) RETURNS json[] LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN '{}';
END $$;

-- Carries out what concerns a person and no room: notify, read_notifications, acknowledge_notification, prefer,
-- set_quiet_hours. The nonce was looked for, and is kept by the caller. The next migration replaces it.
CREATE FUNCTION hallway_personal_v5(w jsonb, now_ms bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN hallway_refuse_v1('forbidden');
END $$;

CREATE FUNCTION hallway_texts_v5(given jsonb) RETURNS text[] LANGUAGE sql IMMUTABLE AS
$$ SELECT ARRAY(SELECT jsonb_array_elements_text(coalesce(nullif(given, 'null'), '[]'))) $$;

-- Whom a write may write to beside those that it acts on, found under the locks of the rooms: who may be notified. makes:
-- their row is made when it is not there.
CREATE FUNCTION hallway_recipients_v5(w jsonb) RETURNS TABLE (id text, makes boolean) LANGUAGE sql STABLE AS $$
    SELECT m.user_id, false FROM members m
    WHERE m.room = w ->> 'room' AND m.user_id = ANY (hallway_texts_v5(w -> 'assignees') || hallway_texts_v5(w -> 'add_users')
        || CASE WHEN w ->> 'op' IN ('comment_task', 'send_message') THEN string_to_array(w ->> 'mentions', ' ') END
        -- Who follows a task by an earlier write of the same run; who says something reads it.
        || CASE WHEN w ->> 'op' IN ('create_task', 'comment_task', 'follow_task', 'send_message') THEN ARRAY[w ->> 'actor'] END)
    UNION ALL
    SELECT f.user_id, false FROM task_followers f
    WHERE f.room = w ->> 'room' AND f.task = (w ->> 'task')::uuid
        AND w ->> 'op' IN ('edit_task', 'move_task', 'assign_task', 'link_task', 'comment_task')
    UNION ALL
    SELECT s.sender, false FROM messages s WHERE s.room = w ->> 'room' AND s.id = (w ->> 'reply_to')::uuid
    UNION ALL
    SELECT m.user_id, false FROM members m
    WHERE w ->> 'op' = 'send_message' AND m.room = w ->> 'room' AND w ->> 'room' LIKE 'dm:%'
    UNION ALL
    SELECT w ->> 'actor', true WHERE w ->> 'op' IN
        ('set_profile', 'read_notifications', 'acknowledge_notification', 'prefer', 'set_quiet_hours', 'notify')
$$;

-- Locks whatever these writes may write to: rooms by id, then users by id. Answers the users that it made for it.
CREATE FUNCTION hallway_lock_v5(writes jsonb) RETURNS text[] LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    one record;
    made_users text[] := '{}';
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
        SELECT v.id COLLATE "C" AS id, bool_or(v.makes) AS makes
        FROM jsonb_array_elements(writes) x, LATERAL (
            SELECT x ->> 'actor', true WHERE x ->> 'op' IN ('create_room', 'open_direct', 'join', 'leave')
            UNION ALL
            SELECT x ->> 'user', true WHERE x ->> 'op' IN ('open_direct', 'invite', 'remove', 'kick', 'ban', 'mute', 'unmute',
                'revoke_session', 'revoke_user')
            UNION ALL
            SELECT r.id, r.makes FROM hallway_recipients_v5(x) r) AS v(id, makes)
        WHERE v.id IS NOT NULL GROUP BY 1 ORDER BY 1
    LOOP
        IF one.makes THEN
            INSERT INTO users (id) VALUES (one.id) ON CONFLICT DO NOTHING;
            IF FOUND THEN
                made_users := made_users || one.id;
            END IF;
        END IF;
        PERFORM 1 FROM users WHERE id = one.id FOR NO KEY UPDATE;
    END LOOP;
    RETURN made_users;
END $$;

-- A refusal leaves nothing behind: rooms and users that were made to be locked.
CREATE FUNCTION hallway_tidy_v5(writes jsonb, made_users text[]) RETURNS void LANGUAGE sql VOLATILE AS $$
    DELETE FROM rooms WHERE id IN (SELECT x ->> 'room' FROM jsonb_array_elements(writes) x
        WHERE x ->> 'op' IN ('create_room', 'open_direct')) AND last_seq = 0;
    DELETE FROM users WHERE id = ANY (made_users) AND last_seq = 0;
$$;

-- An accepted write with what it makes people know.
CREATE FUNCTION hallway_accept_v5(event json, causes jsonb, now_ms bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    told json[] := hallway_notify_v5(causes, now_ms);
BEGIN
    RETURN json_build_object('seq', (event ->> 'seq')::bigint,
        'events', array_to_json(event || ARRAY(SELECT e FROM unnest(told) e WHERE e ->> 'fans_out' IS NULL)),
        'fans_out', EXISTS (SELECT 1 FROM unnest(told) e WHERE e ->> 'fans_out' IS NOT NULL));
END $$;

-- A cause that is about a task.
CREATE FUNCTION hallway_task_cause_v5(kind text, w jsonb, key text, users_in text[]) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
    SELECT jsonb_build_object('kind', kind, 'users', to_jsonb(users_in), 'room', w ->> 'room', 'message', NULL,
        'task', w ->> 'task', 'comment', CASE w ->> 'op' WHEN 'comment_task' THEN w ->> 'object' END, 'by', w ->> 'actor',
        'urgent', false, 'key', key, 'notice', NULL, 'acknowledge_within_ms', NULL)
$$;

-- A task goes from one status to another; null: it was not there, or is not any more.
CREATE FUNCTION hallway_count_task_v5(room_in text, gone smallint, come smallint) RETURNS void LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    counts integer[];
BEGIN
    SELECT coalesce(task_counts, '{0,0,0,0,0}') INTO counts FROM rooms WHERE id = room_in;
    IF gone IS NOT NULL THEN
        counts[gone + 1] := counts[gone + 1] - 1;
    END IF;
    IF come IS NOT NULL THEN
        counts[come + 1] := counts[come + 1] + 1;
    END IF;
    UPDATE rooms SET task_counts = counts WHERE id = room_in;
END $$;

CREATE FUNCTION hallway_create_task_v5(w jsonb, r rooms, now_ms bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    id_in uuid := (w ->> 'task')::uuid;
    people text[] := ARRAY(SELECT DISTINCT unnest(hallway_texts_v5(w -> 'assignees')) COLLATE "C" ORDER BY 1);
    others uuid[] := ARRAY(SELECT DISTINCT unnest(hallway_texts_v5(w -> 'waits_on')::uuid[]));
    t tasks;
BEGIN
    IF EXISTS (SELECT 1 FROM tasks WHERE room = r.id AND id = id_in) THEN
        RETURN hallway_refuse_v1('id_taken');
    ELSIF cardinality(people) <> (SELECT count(*) FROM members WHERE room = r.id AND user_id = ANY (people)) THEN
        RETURN hallway_refuse_v1('target_not_a_member');
    ELSIF id_in = ANY (others) THEN
        RETURN hallway_refuse_v1('task_cycle');
    ELSIF cardinality(others) <> (SELECT count(*) FROM tasks WHERE room = r.id AND id = ANY (others) AND NOT deleted) THEN
        RETURN hallway_refuse_v1('task_not_found');
    ELSIF cardinality(people) > (w ->> 'most')::integer OR cardinality(others) > (w ->> 'most')::integer THEN
        RETURN hallway_refuse_v1('too_many_links');
    END IF;
    INSERT INTO tasks (room, id, seq, at_ms, changed_at_ms, due_at_ms, priority, creator, title, text, meta)
    VALUES (r.id, id_in, r.last_seq + 1, now_ms, now_ms, (w ->> 'due_at_ms')::bigint, (w ->> 'priority')::smallint,
        w ->> 'actor', w ->> 'title', w ->> 'text', w ->> 'meta') RETURNING * INTO t;
    INSERT INTO task_assignees (room, task, user_id, status, priority, due_at_ms)
    SELECT r.id, id_in, person, t.status, t.priority, t.due_at_ms FROM unnest(people) person;
    INSERT INTO task_followers (room, task, user_id)
    SELECT r.id, id_in, person FROM unnest(people || ARRAY[w ->> 'actor']) person ON CONFLICT DO NOTHING;
    INSERT INTO task_dependencies (room, task, waits_on) SELECT r.id, id_in, other FROM unnest(others) other;
    INSERT INTO task_words (room, word, task) SELECT r.id, word, id_in FROM unnest(hallway_words_v5(t.title)) word
    ON CONFLICT DO NOTHING;
    PERFORM hallway_count_task_v5(r.id, NULL, t.status);
    RETURN hallway_accept_v5(hallway_room_event_v1(r.id, 20, 'task.created', t.id, t.creator, NULL,
        json_build_object('task', hallway_task_v5(t)), now_ms),
        jsonb_build_array(hallway_task_cause_v5('assigned', w, 't:' || t.id || ':1', people)), now_ms);
END $$;

CREATE FUNCTION hallway_comment_task_v5(w jsonb, r rooms, t tasks, now_ms bigint) RETURNS json
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    c task_comments;
    followers text[];
BEGIN
    IF EXISTS (SELECT 1 FROM task_comments WHERE room = r.id AND id = (w ->> 'object')::uuid) THEN
        RETURN hallway_refuse_v1('id_taken');
    ELSIF t.comment_count >= (w ->> 'comments_most')::integer THEN
        RETURN hallway_refuse_v1('too_many_comments');
    END IF;
    INSERT INTO task_comments (room, id, task, seq, at_ms, sender, text, mentions)
    VALUES (r.id, (w ->> 'object')::uuid, t.id, r.last_seq + 1, now_ms, w ->> 'actor', w ->> 'text',
        string_to_array(w ->> 'mentions', ' ')) RETURNING * INTO c;
    UPDATE tasks SET comment_count = t.comment_count + 1 WHERE room = r.id AND id = t.id;
    followers := ARRAY(SELECT user_id FROM task_followers WHERE room = r.id AND task = t.id ORDER BY 1);
    INSERT INTO task_followers (room, task, user_id) VALUES (r.id, t.id, w ->> 'actor') ON CONFLICT DO NOTHING;
    -- A mentioned follower gets the mention: the second of a key is dropped.
    RETURN hallway_accept_v5(hallway_room_event_v1(r.id, 22, 'task.commented', c.id, c.sender, NULL,
        json_build_object('comment', hallway_comment_v5(c), 'comment_count', t.comment_count + 1), now_ms),
        jsonb_build_array(hallway_task_cause_v5('mention', w, 'c:' || c.id, coalesce(c.mentions, '{}')),
            hallway_task_cause_v5('task_changed', w, 'c:' || c.id, followers)), now_ms);
END $$;

CREATE FUNCTION hallway_delete_task_v5(w jsonb, r rooms, t tasks, now_ms bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    event json;
BEGIN
    UPDATE tasks SET title = '', text = '', meta = NULL, due_at_ms = NULL, deleted = true, version = t.version + 1,
        changed_at_ms = now_ms WHERE room = r.id AND id = t.id;
    UPDATE task_comments SET text = '', mentions = NULL WHERE room = r.id AND task = t.id;
    DELETE FROM task_assignees WHERE room = r.id AND task = t.id;
    DELETE FROM task_followers WHERE room = r.id AND task = t.id;
    DELETE FROM task_dependencies WHERE room = r.id AND task = t.id;
    DELETE FROM task_dependencies WHERE room = r.id AND waits_on = t.id;
    DELETE FROM task_words WHERE room = r.id AND task = t.id;
    PERFORM hallway_count_task_v5(r.id, t.status, NULL);
    event := hallway_room_event_v1(r.id, 23, 'task.deleted', t.id, w ->> 'actor',
        jsonb_build_object('id', t.id, 'version', t.version + 1, 'by', w ->> 'actor'), NULL, now_ms);
    RETURN hallway_accept_v1((event ->> 'seq')::bigint, ARRAY[event]);
END $$;

-- The new version of a task, and its event. users_in: those who are assigned by it.
CREATE FUNCTION hallway_changed_task_v5(w jsonb, t tasks, change text, users_in text[], now_ms bigint) RETURNS json
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    followers text[];
    key text := 't:' || t.id || ':' || (t.version + 1);
BEGIN
    UPDATE tasks SET version = version + 1, changed_at_ms = now_ms WHERE room = t.room AND id = t.id RETURNING * INTO t;
    followers := ARRAY(SELECT user_id FROM task_followers WHERE room = t.room AND task = t.id
        AND user_id <> ALL (users_in) ORDER BY 1);
    INSERT INTO task_followers (room, task, user_id) SELECT t.room, t.id, unnest(users_in) ON CONFLICT DO NOTHING;
    RETURN hallway_accept_v5(hallway_room_event_v1(t.room, 21, 'task.changed', t.id, w ->> 'actor',
        jsonb_build_object('change', change, 'by', w ->> 'actor'),
        json_build_object('task', hallway_task_v5(t), 'change', change, 'by', w ->> 'actor'), now_ms),
        jsonb_build_array(hallway_task_cause_v5('assigned', w, key, users_in),
            hallway_task_cause_v5('task_changed', w, key, followers)), now_ms);
END $$;

CREATE FUNCTION hallway_edit_task_v5(w jsonb, r rooms, t tasks, now_ms bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    old tasks := t;
BEGIN
    t.title := coalesce(w ->> 'title', t.title);
    t.text := coalesce(w ->> 'text', t.text);
    t.meta := coalesce(w ->> 'meta', t.meta);
    t.priority := coalesce((w ->> 'priority')::smallint, t.priority);
    IF (w ->> 'sets_due')::boolean THEN
        t.due_at_ms := (w ->> 'due_at_ms')::bigint;
    END IF;
    IF t IS NOT DISTINCT FROM old THEN
        RETURN hallway_accept_v1(r.last_seq, '{}');
    END IF;
    UPDATE tasks SET title = t.title, text = t.text, meta = t.meta, priority = t.priority, due_at_ms = t.due_at_ms,
        due_fired = due_fired AND t.due_at_ms IS NOT DISTINCT FROM old.due_at_ms
    WHERE room = r.id AND id = t.id;
    UPDATE task_assignees SET priority = t.priority, due_at_ms = t.due_at_ms
    WHERE room = r.id AND task = t.id AND (priority, due_at_ms) IS DISTINCT FROM (t.priority, t.due_at_ms);
    IF t.title <> old.title THEN
        DELETE FROM task_words WHERE room = r.id AND task = t.id;
        INSERT INTO task_words (room, word, task) SELECT r.id, word, t.id FROM unnest(hallway_words_v5(t.title)) word
        ON CONFLICT DO NOTHING;
    END IF;
    RETURN hallway_changed_task_v5(w, t, 'edited', '{}', now_ms);
END $$;

CREATE FUNCTION hallway_move_task_v5(w jsonb, r rooms, t tasks, now_ms bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    wanted smallint := (w ->> 'status')::smallint;
    waits uuid[];
BEGIN
    IF wanted = t.status THEN
        RETURN hallway_accept_v1(r.last_seq, '{}');
    ELSIF NOT w -> 'from' @> to_jsonb(t.status) THEN
        RETURN json_build_object('refused', 'illegal_move', 'from', t.status);
    ELSIF wanted = 3 THEN
        waits := ARRAY(SELECT o.id FROM task_dependencies d JOIN tasks o ON o.room = d.room AND o.id = d.waits_on
            WHERE d.room = r.id AND d.task = t.id AND o.status < 3 ORDER BY o.id);
        IF waits <> '{}' THEN
            RETURN json_build_object('refused', 'task_waits', 'waits', waits);
        END IF;
    END IF;
    UPDATE tasks SET status = wanted WHERE room = r.id AND id = t.id;
    UPDATE task_assignees SET status = wanted WHERE room = r.id AND task = t.id;
    PERFORM hallway_count_task_v5(r.id, t.status, wanted);
    RETURN hallway_changed_task_v5(w, t, 'moved', '{}', now_ms);
END $$;

CREATE FUNCTION hallway_assign_task_v5(w jsonb, r rooms, t tasks, now_ms bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    gone text[] := hallway_texts_v5(w -> 'remove_users');
    present text[] := ARRAY(SELECT user_id FROM task_assignees WHERE room = r.id AND task = t.id);
    come text[] := ARRAY(SELECT DISTINCT u COLLATE "C" FROM unnest(hallway_texts_v5(w -> 'add_users')) u
        WHERE u <> ALL (gone) AND u <> ALL (present) ORDER BY 1);
    lost integer := (SELECT count(*) FROM unnest(present) u WHERE u = ANY (gone));
BEGIN
    IF cardinality(come) <> (SELECT count(*) FROM members WHERE room = r.id AND user_id = ANY (come)) THEN
        RETURN hallway_refuse_v1('target_not_a_member');
    ELSIF cardinality(present) + cardinality(come) - lost > (w ->> 'most')::integer THEN
        RETURN hallway_refuse_v1('too_many_links');
    ELSIF cardinality(come) + lost = 0 THEN
        RETURN hallway_accept_v1(r.last_seq, '{}');
    END IF;
    DELETE FROM task_assignees WHERE room = r.id AND task = t.id AND user_id = ANY (gone);
    INSERT INTO task_assignees (room, task, user_id, status, priority, due_at_ms)
    SELECT r.id, t.id, u, t.status, t.priority, t.due_at_ms FROM unnest(come) u;
    RETURN hallway_changed_task_v5(w, t, 'assigned', come, now_ms);
END $$;

CREATE FUNCTION hallway_link_task_v5(w jsonb, r rooms, t tasks, now_ms bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    gone uuid[] := hallway_texts_v5(w -> 'remove_tasks')::uuid[];
    present uuid[] := ARRAY(SELECT waits_on FROM task_dependencies WHERE room = r.id AND task = t.id);
    come uuid[] := ARRAY(SELECT DISTINCT u FROM unnest(hallway_texts_v5(w -> 'add_tasks')::uuid[]) u
        WHERE u <> ALL (gone) AND u <> ALL (present));
    lost integer := (SELECT count(*) FROM unnest(present) u WHERE u = ANY (gone));
BEGIN
    IF cardinality(come) <> (SELECT count(*) FROM tasks WHERE room = r.id AND id = ANY (come) AND NOT deleted) THEN
        RETURN hallway_refuse_v1('task_not_found');
    ELSIF cardinality(present) + cardinality(come) - lost > (w ->> 'most')::integer THEN
        RETURN hallway_refuse_v1('too_many_links');
    ELSIF EXISTS (
        WITH RECURSIVE ahead(id) AS (
            SELECT unnest(come)
            UNION
            SELECT d.waits_on FROM ahead a JOIN task_dependencies d ON d.room = r.id AND d.task = a.id
        ) SELECT 1 FROM ahead WHERE id = t.id) THEN
        RETURN hallway_refuse_v1('task_cycle');
    ELSIF cardinality(come) + lost = 0 THEN
        RETURN hallway_accept_v1(r.last_seq, '{}');
    END IF;
    DELETE FROM task_dependencies WHERE room = r.id AND task = t.id AND waits_on = ANY (gone);
    INSERT INTO task_dependencies (room, task, waits_on) SELECT r.id, t.id, u FROM unnest(come) u;
    RETURN hallway_changed_task_v5(w, t, 'linked', '{}', now_ms);
END $$;

-- A write on tasks, by a member who is not muted.
CREATE FUNCTION hallway_work_v5(w jsonb, r rooms, mine members, now_ms bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    op text := w ->> 'op';
    t tasks;
BEGIN
    IF mine.role < 1 AND op <> 'follow_task' THEN
        RETURN hallway_refuse_v1('forbidden');
    ELSIF r.archived THEN
        RETURN hallway_refuse_v1('room_archived');
    ELSIF op = 'create_task' THEN
        RETURN hallway_create_task_v5(w, r, now_ms);
    END IF;
    SELECT * INTO t FROM tasks WHERE room = r.id AND id = (w ->> 'task')::uuid;
    IF NOT FOUND THEN
        RETURN hallway_refuse_v1('task_not_found');
    ELSIF t.deleted THEN
        RETURN hallway_refuse_v1('task_deleted');
    ELSIF op = 'follow_task' AND (w ->> 'follow')::boolean THEN
        INSERT INTO task_followers (room, task, user_id) VALUES (r.id, t.id, w ->> 'actor') ON CONFLICT DO NOTHING;
        RETURN hallway_accept_v1(r.last_seq, '{}');
    ELSIF op = 'follow_task' THEN
        DELETE FROM task_followers WHERE room = r.id AND task = t.id AND user_id = w ->> 'actor';
        RETURN hallway_accept_v1(r.last_seq, '{}');
    ELSIF op = 'comment_task' THEN
        RETURN hallway_comment_task_v5(w, r, t, now_ms);
    ELSIF op = 'delete_task' AND t.creator <> w ->> 'actor' AND mine.role < 2 THEN
        RETURN hallway_refuse_v1('forbidden');
    ELSIF (w ->> 'version')::bigint <> t.version THEN
        RETURN json_build_object('refused', 'task_stale', 'task', hallway_task_v5(t));
    END IF;
    RETURN CASE op
        WHEN 'edit_task' THEN hallway_edit_task_v5(w, r, t, now_ms)
        WHEN 'move_task' THEN hallway_move_task_v5(w, r, t, now_ms)
        WHEN 'assign_task' THEN hallway_assign_task_v5(w, r, t, now_ms)
        WHEN 'link_task' THEN hallway_link_task_v5(w, r, t, now_ms)
        WHEN 'delete_task' THEN hallway_delete_task_v5(w, r, t, now_ms)
    END;
END $$;

-- One message, by a member who is not muted; what hallway_send_v2 does for many.
CREATE FUNCTION hallway_say_v5(w jsonb, r rooms, mine members, now_ms bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    m messages;
    base jsonb;
BEGIN
    IF mine.role < 1 THEN
        RETURN hallway_refuse_v1('forbidden');
    ELSIF r.archived THEN
        RETURN hallway_refuse_v1('room_archived');
    ELSIF EXISTS (SELECT 1 FROM messages WHERE room = r.id AND id = (w ->> 'object')::uuid) THEN
        RETURN hallway_refuse_v1('id_taken');
    END IF;
    INSERT INTO messages (room, id, seq, ordinal, sender, at_ms, text, reply_to, mentions, meta)
    VALUES (r.id, (w ->> 'object')::uuid, r.last_seq + 1, r.message_count + 1, w ->> 'actor', now_ms, w ->> 'text',
        (w ->> 'reply_to')::uuid, string_to_array(w ->> 'mentions', ' '), w ->> 'meta') RETURNING * INTO m;
    UPDATE rooms SET message_count = m.ordinal WHERE id = r.id;
    INSERT INTO read_markers AS k (user_id, room, read_seq, ordinal) VALUES (m.sender, r.id, m.seq, m.ordinal)
    ON CONFLICT (user_id, room) DO UPDATE
        SET read_seq = EXCLUDED.read_seq, ordinal = EXCLUDED.ordinal WHERE k.read_seq < EXCLUDED.read_seq;
    base := jsonb_build_object('room', r.id, 'message', m.id, 'task', NULL, 'comment', NULL, 'by', m.sender, 'urgent', false,
        'key', 'm:' || m.id, 'notice', NULL, 'acknowledge_within_ms', NULL);
    -- In this order: of several of one key a person gets the first.
    RETURN hallway_accept_v5(hallway_room_event_v1(r.id, 7, 'message.created', m.id, NULL, NULL,
        json_build_object('message', hallway_message_v1(m)), now_ms), jsonb_build_array(
            base || jsonb_build_object('kind', 'mention', 'users', coalesce(m.mentions, '{}')),
            base || jsonb_build_object('kind', 'reply', 'users',
                ARRAY(SELECT sender FROM messages WHERE room = r.id AND id = m.reply_to)),
            base || jsonb_build_object('kind', 'direct', 'users',
                ARRAY(SELECT user_id FROM members WHERE room = r.id AND r.kind = 1))), now_ms);
END $$;

-- set_profile: the own name.
CREATE FUNCTION hallway_profile_v5(w jsonb, now_ms bigint) RETURNS json LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    event json;
BEGIN
    UPDATE users SET name = w ->> 'name' WHERE id = w ->> 'user';
    event := hallway_user_event_v1(w ->> 'user', 29, 'profile.changed', jsonb_build_object('name', w ->> 'name'), now_ms);
    RETURN hallway_accept_v1((event ->> 'seq')::bigint, ARRAY[event]);
END $$;

-- One write: the nonce first, then the room, then what the write is.
CREATE FUNCTION hallway_act_one_v5(w jsonb, rooms_max integer, reactions_max integer, now_ms bigint) RETURNS json
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
        RETURN json_build_object('seq', known.seq, 'at_ms', known.at_ms, 'object', known.message, 'repeated', true);
    END IF;
    SELECT * INTO r FROM rooms WHERE id = w ->> 'room';
    SELECT * INTO mine FROM members WHERE room = w ->> 'room' AND user_id = w ->> 'actor';
    IF op IN ('revoke_session', 'revoke_user') THEN
        answer := hallway_revoke_v2(w, now_ms);
    ELSIF op = 'set_profile' THEN
        answer := hallway_profile_v5(w, now_ms);
    ELSIF op IN ('notify', 'read_notifications', 'acknowledge_notification', 'prefer', 'set_quiet_hours') THEN
        answer := hallway_personal_v5(w, now_ms);
    ELSIF op IN ('create_room', 'open_direct') THEN
        answer := hallway_make_v1(w, r, rooms_max, now_ms);
    ELSIF r.id IS NULL OR r.last_seq = 0 OR (mine.role IS NULL AND NOT r.public) THEN
        RETURN hallway_refuse_v1('room_not_found');
    ELSIF op = 'send_message' OR op LIKE '%\_task' THEN
        IF mine.role IS NULL THEN
            RETURN hallway_refuse_v1('not_a_member');
        ELSIF mine.muted_until_ms > now_ms THEN
            RETURN hallway_refuse_v2('muted', mine.muted_until_ms, now_ms);
        ELSIF op = 'send_message' THEN
            answer := hallway_say_v5(w, r, mine, now_ms);
        ELSE
            answer := hallway_work_v5(w, r, mine, now_ms);
        END IF;
    ELSE
        answer := hallway_in_room_v2(w, r, mine, rooms_max, reactions_max, now_ms);
    END IF;
    IF answer ->> 'seq' IS NOT NULL THEN
        INSERT INTO dedupe (key, body_hash, message, seq, at_ms) VALUES ((w ->> 'key')::uuid, (w ->> 'hash')::uuid,
            (w ->> 'object')::uuid, (answer ->> 'seq')::bigint, now_ms);
    END IF;
    RETURN answer;
END $$;

-- A run of writes in order, under locks that are taken for all of them first. Answers the epoch and one result each.
CREATE FUNCTION hallway_act_v5(writes jsonb, rooms_max integer, reactions_max integer) RETURNS json
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    w jsonb;
    made_users text[] := hallway_lock_v5(writes);
    now_ms bigint := hallway_now_v1();
    results json[] := '{}';
BEGIN
    FOR w IN SELECT x FROM jsonb_array_elements(writes) WITH ORDINALITY AS i(x, ord) ORDER BY ord LOOP
        results := results || hallway_act_one_v5(w, rooms_max, reactions_max, now_ms);
    END LOOP;
    PERFORM hallway_tidy_v5(writes, made_users);
    RETURN json_build_object('epoch', (SELECT epoch FROM meta), 'at_ms', now_ms, 'results', to_json(results));
END $$;

-- All of them or none: the first that is refused takes the others back, and is the last of the results.
CREATE FUNCTION hallway_together_v5(writes jsonb, rooms_max integer, reactions_max integer) RETURNS json
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    w jsonb;
    made_users text[] := hallway_lock_v5(writes);
    now_ms bigint := hallway_now_v1();
    results json[] := '{}';
    answer json;
BEGIN
    BEGIN
        FOR w IN SELECT x FROM jsonb_array_elements(writes) WITH ORDINALITY AS i(x, ord) ORDER BY ord LOOP
            answer := hallway_act_one_v5(w, rooms_max, reactions_max, now_ms);
            results := results || answer;
            IF answer ->> 'refused' IS NOT NULL THEN
                RAISE EXCEPTION 'refused' USING ERRCODE = 'HW001';
            END IF;
        END LOOP;
    EXCEPTION WHEN SQLSTATE 'HW001' THEN
        NULL; -- What was done since BEGIN is undone; the locks stay, and so do the results.
    END;
    PERFORM hallway_tidy_v5(writes, made_users);
    RETURN json_build_object('epoch', (SELECT epoch FROM meta), 'at_ms', now_ms, 'results', to_json(results));
END $$;
