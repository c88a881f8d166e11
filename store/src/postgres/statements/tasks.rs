//! Statements on tasks, and on what people say.
//!
//! A list goes along an index for each status (and priority) that is asked for, takes a page of each, and of these the first:
//! what was done long ago costs nothing. No row: the asker may not know; a row of nulls: there is nothing.
//!
//! Parameters of lists: asker, room, statuses, priorities, due from, due before, rank and id of the last task of the page before,
//! size, and (of somebody's tasks) the assignee.

/// A page of a room's tasks: for each of some ways along an index its first ids, and of all these the first.
macro_rules! room_list {
    ($ways:literal, $within:literal, $order:literal) => {
        concat!(
            "SELECT ",
            task_columns!(),
            " FROM members mine LEFT JOIN LATERAL ( \
                SELECT k.* FROM ",
            $ways,
            ", LATERAL (SELECT k.id, k.due_at_ms, k.priority FROM tasks k WHERE k.room = $2 AND NOT k.deleted AND ",
            $within,
            " ORDER BY ",
            $order,
            " LIMIT $9) k ORDER BY ",
            $order,
            " LIMIT $9) k ON true LEFT JOIN tasks t ON t.room = $2 AND t.id = k.id \
             WHERE mine.room = $2 AND mine.user_id = $1 ORDER BY ",
            $order
        )
    };
}

/// The same of somebody's tasks, of the rooms of the asker, or of one.
macro_rules! assignee_list {
    ($ways:literal, $within:literal, $order:literal) => {
        concat!(
            "SELECT ",
            task_columns!(),
            " FROM (SELECT 1 WHERE $2::text IS NULL \
                OR EXISTS (SELECT 1 FROM members WHERE room = $2 AND user_id = $1)) mine LEFT JOIN LATERAL ( \
                SELECT k.* FROM ",
            $ways,
            ", LATERAL (SELECT k.room, k.id, k.due_at_ms, k.priority \
                FROM (SELECT room, task AS id, status, priority, due_at_ms FROM task_assignees WHERE user_id = $10) k \
                WHERE ($2 IS NULL OR k.room = $2) \
                    AND EXISTS (SELECT 1 FROM members WHERE members.room = k.room AND members.user_id = $1) AND ",
            $within,
            " ORDER BY ",
            $order,
            " LIMIT $9) k ORDER BY ",
            $order,
            " LIMIT $9) k ON true LEFT JOIN tasks t ON t.room = k.room AND t.id = k.id ORDER BY ",
            $order
        )
    };
}

/// Of a list macro: the newest first.
macro_rules! by_newest {
    ($list:ident) => {
        $list!(
            "unnest($3::smallint[]) s, unnest($4::smallint[]) p",
            "k.status = s AND k.priority = p AND $7::bigint IS NOT NULL AND k.id < $8::uuid \
             AND ($5::bigint IS NULL OR k.due_at_ms >= $5) AND ($6::bigint IS NULL OR k.due_at_ms < $6)",
            "k.id DESC"
        )
    };
}

/// Of a list macro: what is due first, first.
macro_rules! by_due {
    ($list:ident) => {
        $list!(
            "unnest($3::smallint[]) s",
            "k.status = s AND k.priority = ANY ($4::smallint[]) AND k.due_at_ms IS NOT NULL \
             AND k.due_at_ms >= coalesce($5::bigint, 0) AND k.due_at_ms < coalesce($6::bigint, 9223372036854775807) \
             AND (k.due_at_ms, k.id) > ($7::bigint, $8::uuid)",
            "k.due_at_ms, k.id"
        )
    };
}

/// Of a list macro: the most urgent first, of those the newest.
macro_rules! by_priority {
    ($list:ident) => {
        $list!(
            "unnest($3::smallint[]) s, unnest($4::smallint[]) p",
            "k.status = s AND k.priority = p AND p <= $7::bigint \
             AND k.id < CASE WHEN p < $7 THEN 'ffffffff-ffff-ffff-ffff-ffffffffffff' ELSE $8::uuid END \
             AND ($5::bigint IS NULL OR k.due_at_ms >= $5) AND ($6::bigint IS NULL OR k.due_at_ms < $6)",
            "k.priority DESC, k.id DESC"
        )
    };
}

statements! {
    /// A task with what it waits on, its last comments, and whether the asker follows it.
    TASK = "SELECT hallway_task_v5(t)::text, \
            (SELECT json_agg(hallway_task_v5(o) ORDER BY o.id)::text \
                FROM task_dependencies d JOIN tasks o ON o.room = d.room AND o.id = d.waits_on \
                WHERE d.room = t.room AND d.task = t.id), \
            (SELECT json_agg(hallway_comment_v5(x.c) ORDER BY (x.c).seq)::text FROM ( \
                SELECT c FROM task_comments c WHERE c.room = t.room AND c.task = t.id ORDER BY c.seq DESC LIMIT $4) x), \
            EXISTS (SELECT 1 FROM task_followers f WHERE f.room = t.room AND f.task = t.id AND f.user_id = $1) \
        FROM members mine JOIN tasks t ON t.room = mine.room AND t.id = $3 \
        WHERE mine.room = $2 AND mine.user_id = $1";
    /// Comments of a task below a seq.
    TASK_COMMENTS = "SELECT (SELECT json_agg(hallway_comment_v5(x.c) ORDER BY (x.c).seq)::text FROM ( \
            SELECT c FROM task_comments c WHERE c.room = t.room AND c.task = t.id AND c.seq < $4 \
            ORDER BY c.seq DESC LIMIT $5) x) \
        FROM members mine JOIN tasks t ON t.room = mine.room AND t.id = $3 \
        WHERE mine.room = $2 AND mine.user_id = $1";

    /// Tasks of a room, the newest first.
    ROOM_TASKS_NEWEST = by_newest!(room_list);
    /// Tasks of a room by due time.
    ROOM_TASKS_DUE = by_due!(room_list);
    /// Tasks of a room by priority.
    ROOM_TASKS_PRIORITY = by_priority!(room_list);
    /// Tasks of somebody, the newest first.
    ASSIGNED_NEWEST = by_newest!(assignee_list);
    /// Tasks of somebody by due time.
    ASSIGNED_DUE = by_due!(assignee_list);
    /// Tasks of somebody by priority.
    ASSIGNED_PRIORITY = by_priority!(assignee_list);

    /// How many tasks there are of each status and overdue, in a room or in all of the asker, and a row for each of those who
    /// have most to do. Rooms count their tasks; what is looked at is not done.
    TASK_SUMMARY = "WITH mine AS MATERIALIZED ( \
            SELECT m.room, r.task_counts FROM members m JOIN rooms r ON r.id = m.room \
            WHERE m.user_id = $1 AND ($2::text IS NULL OR m.room = $2)), \
        now AS MATERIALIZED (SELECT hallway_now_v1() AS ms) \
        SELECT counts.*, late.size, work.user_id, work.unfinished, work.overdue \
        FROM (SELECT coalesce(sum(task_counts[1]), 0)::bigint, coalesce(sum(task_counts[2]), 0)::bigint, \
                coalesce(sum(task_counts[3]), 0)::bigint, coalesce(sum(task_counts[4]), 0)::bigint, \
                coalesce(sum(task_counts[5]), 0)::bigint FROM mine) counts \
        CROSS JOIN (SELECT count(*) AS size FROM mine, now, unnest('{0,1,2}'::smallint[]) s, LATERAL ( \
            SELECT 1 FROM tasks t WHERE t.room = mine.room AND t.status = s AND NOT t.deleted \
                AND t.due_at_ms IS NOT NULL AND t.due_at_ms < now.ms) t) late \
        LEFT JOIN LATERAL ( \
            SELECT a.user_id, count(*) AS unfinished, count(*) FILTER (WHERE a.due_at_ms < now.ms) AS overdue \
            FROM mine, now, LATERAL ( \
                SELECT k.user_id, k.due_at_ms FROM task_assignees k WHERE k.room = mine.room AND k.status < 3) a \
            GROUP BY a.user_id ORDER BY 2 DESC, 1 LIMIT $3) work ON true \
        WHERE $2 IS NULL OR EXISTS (SELECT 1 FROM mine) \
        ORDER BY work.unfinished DESC, work.user_id";

    /// What phrases may mean. Parameters: asker; of each question its kind (0 named, 1 room, 2 task, 3 last message, 4
    /// assignees, 5 the asker), the phrase, what lies beyond all that begins with it, what is meant (0 anything, 1 person, 2 room,
    /// 3 task, 4 message), the room, the task, and the first and last id that begin with the phrase; how many words are looked
    /// at in each room, how many answers there are. Answers: question, what, room, id, name.
    ///
    /// Words are taken from a name only where the phrase is somewhere in it, a name is folded once, and only the first answers of a
    /// question are put in order. Where there are enough tasks in the room that is spoken in, those elsewhere are only looked for under
    /// all of the phrase: by its beginning they would come behind.
    RESOLVE = "WITH mine AS MATERIALIZED (SELECT m.room, m.since_seq FROM members m WHERE m.user_id = $1), \
        my_rooms AS MATERIALIZED (SELECT r.id, r.name, hallway_fold_v5(r.name) AS folded, hallway_fold_v5(r.id) AS folded_id \
            FROM mine JOIN rooms r ON r.id = mine.room), \
        my_words AS MATERIALIZED (SELECT me.id, e.word FROM users me, \
            LATERAL unnest(hallway_words_v5(me.name) || hallway_fold_v5(me.id)) AS e(word) WHERE me.id = $1) \
        SELECT q.ord, c.what, c.room, c.id, c.name \
        FROM unnest($2::smallint[], $3::text[], $4::text[], $5::smallint[], $6::text[], $7::uuid[], $8::uuid[], $9::uuid[]) \
            WITH ORDINALITY AS q(kind, phrase, beyond, what, room, task, low, high, ord) \
        CROSS JOIN LATERAL (SELECT f.* FROM ( \
            SELECT 1 AS what, NULL::text AS room, u.id::text AS id, u.name, w.near, coalesce(k.name, k.id) AS sort, \
                k.id = q.phrase OR coalesce(k.name = q.phrase, false) AS exact \
            FROM (SELECT p.user_id, bool_or(p.near) AS near FROM ( \
                    SELECT k.user_id, coalesce(mine.room = q.room, false) AS near FROM mine, LATERAL ( \
                        SELECT w.user_id FROM member_words w \
                        WHERE w.room = mine.room AND w.word >= q.phrase AND w.word < q.beyond \
                        ORDER BY w.word, w.user_id LIMIT $10) k \
                    UNION ALL SELECT w.id, false FROM my_words w WHERE w.word >= q.phrase AND w.word < q.beyond) p \
                GROUP BY p.user_id) w JOIN users u ON u.id = w.user_id \
                CROSS JOIN LATERAL (SELECT hallway_fold_v5(u.id) AS id, hallway_fold_v5(u.name) AS name OFFSET 0) k \
            WHERE q.kind = 0 AND q.what IN (0, 1) \
            UNION ALL \
            SELECT 2, r.id, r.id, r.name, coalesce(r.id = q.room, false), hallway_fold_v5(coalesce(r.name, r.id)), \
                hallway_fold_v5(r.id) = q.phrase OR coalesce(hallway_fold_v5(r.name) = q.phrase, false) \
            FROM (SELECT w.id FROM my_rooms w WHERE w.folded_id >= q.phrase AND w.folded_id < q.beyond \
                    OR strpos(w.folded, q.phrase) > 0 AND EXISTS ( \
                        SELECT 1 FROM unnest(hallway_words_v5(w.name)) AS e(word) WHERE e.word >= q.phrase AND e.word < q.beyond) \
                UNION (SELECT w.room FROM channel_words w WHERE w.word >= q.phrase AND w.word < q.beyond \
                    ORDER BY w.word, w.room LIMIT $10)) w JOIN rooms r ON r.id = w.id \
            WHERE q.kind = 0 AND q.what IN (0, 2) \
            UNION ALL \
            SELECT 3, t.room, t.id::text, t.title, coalesce(t.room = q.room, false), k.title, \
                coalesce(t.id = q.low AND q.low = q.high, false) OR k.title = q.phrase \
            FROM (SELECT count(*) >= $11::bigint AS enough FROM ( \
                    SELECT DISTINCT w.task FROM mine, LATERAL ( \
                        SELECT w.task FROM task_words w WHERE w.room = mine.room AND w.word >= q.phrase AND w.word < q.beyond \
                        ORDER BY w.word, w.task LIMIT $10) w \
                    JOIN tasks t ON t.room = q.room AND t.id = w.task AND NOT t.deleted WHERE mine.room = q.room) near) near, \
                LATERAL (SELECT mine.room, k.task FROM mine, LATERAL ( \
                    SELECT w.task FROM task_words w WHERE w.room = mine.room AND w.word >= q.phrase AND w.word < q.beyond \
                        AND w.word <= CASE WHEN near.enough AND mine.room <> q.room THEN q.phrase ELSE q.beyond END \
                    ORDER BY w.word, w.task LIMIT $10) k \
                UNION SELECT mine.room, k.id FROM mine, LATERAL ( \
                    SELECT t.id FROM tasks t WHERE t.room = mine.room AND t.id >= q.low AND t.id <= q.high \
                    ORDER BY t.id LIMIT $10) k WHERE q.low IS NOT NULL) w \
                JOIN tasks t ON t.room = w.room AND t.id = w.task AND NOT t.deleted \
                CROSS JOIN LATERAL (SELECT hallway_fold_v5(t.title) AS title OFFSET 0) k \
            WHERE q.kind = 0 AND q.what IN (0, 3) \
            UNION ALL \
            SELECT 2, r.id, r.id, r.name, true, '', true FROM rooms r \
            WHERE q.kind = 1 AND r.id = q.room AND r.last_seq > 0 \
                AND (r.public OR EXISTS (SELECT 1 FROM mine WHERE mine.room = r.id)) \
            UNION ALL \
            SELECT 3, t.room, t.id::text, t.title, true, '', true FROM mine \
            JOIN tasks t ON t.room = mine.room AND t.id = q.task AND NOT t.deleted \
            WHERE q.kind = 2 AND (q.room IS NULL OR mine.room = q.room) \
            UNION ALL \
            SELECT 4, mine.room, s.id::text, NULL, true, '', true FROM mine, LATERAL ( \
                SELECT m.id FROM messages m WHERE m.room = mine.room AND m.seq >= mine.since_seq AND NOT m.deleted \
                ORDER BY m.seq DESC LIMIT 1) s \
            WHERE q.kind = 3 AND mine.room = q.room \
            UNION ALL \
            SELECT 1, NULL, u.id, u.name, true, '', true FROM mine \
            JOIN tasks t ON t.room = mine.room AND t.id = q.task AND NOT t.deleted \
            JOIN task_assignees a ON a.room = t.room AND a.task = t.id JOIN users u ON u.id = a.user_id \
            WHERE q.kind = 4 AND (q.room IS NULL OR mine.room = q.room) \
            UNION ALL \
            SELECT 1, NULL, $1, (SELECT name FROM users WHERE users.id = $1), true, '', true WHERE q.kind = 5 \
            ) f ORDER BY f.exact DESC, f.near DESC, f.sort, f.id, f.room \
                LIMIT CASE WHEN q.kind = 4 THEN NULL ELSE $11::bigint END) c \
        ORDER BY q.ord, c.exact DESC, c.near DESC, c.sort, c.id, c.room";
}
