-- Tasks, what is said about them, and the names by which people, rooms and tasks are found.

ALTER TABLE users ADD COLUMN name TEXT;

-- Tasks outlive the events that made them. A deleted one stays, empty, so that its id stays taken and its events show it.
CREATE TABLE tasks (
    room          INTEGER NOT NULL,            -- the room's number
    id            BLOB NOT NULL,
    seq           INTEGER NOT NULL,
    version       INTEGER NOT NULL DEFAULT 1,
    title         TEXT NOT NULL,
    text          TEXT NOT NULL,
    status        INTEGER NOT NULL,            -- 0 open, 1 in progress, 2 blocked, 3 done, 4 cancelled
    priority      INTEGER NOT NULL,            -- 0 low, 1 normal, 2 high, 3 urgent
    due_at_ms     INTEGER,
    due_fired     INTEGER NOT NULL DEFAULT 0,  -- its due time was told
    creator       TEXT NOT NULL,
    at_ms         INTEGER NOT NULL,
    changed_at_ms INTEGER NOT NULL,
    comment_count INTEGER NOT NULL DEFAULT 0,
    meta          TEXT,                        -- JSON object
    deleted       INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (room, id)
) STRICT, WITHOUT ROWID;
-- A list goes along one of these for each status (and priority), and takes the first of all.
CREATE INDEX tasks_by_status ON tasks (room, status, priority, id) WHERE deleted = 0;
CREATE INDEX tasks_by_due ON tasks (room, status, due_at_ms, id) WHERE deleted = 0 AND due_at_ms IS NOT NULL;
CREATE INDEX tasks_to_fire ON tasks (due_at_ms)
    WHERE deleted = 0 AND due_fired = 0 AND status < 3 AND due_at_ms IS NOT NULL;

-- With the task's status, priority and due time, so that the list of a person needs no other table to find its page.
CREATE TABLE task_assignees (
    room      INTEGER NOT NULL,
    task      BLOB NOT NULL,
    user      TEXT NOT NULL,
    status    INTEGER NOT NULL,
    priority  INTEGER NOT NULL,
    due_at_ms INTEGER,
    PRIMARY KEY (room, task, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_assignees_by_status ON task_assignees (user, status, priority, task);
CREATE INDEX task_assignees_by_due ON task_assignees (user, status, due_at_ms, task) WHERE due_at_ms IS NOT NULL;
CREATE INDEX task_assignees_at_work ON task_assignees (room, user, due_at_ms) WHERE status < 3;

CREATE TABLE task_followers (
    room INTEGER NOT NULL,
    task BLOB NOT NULL,
    user TEXT NOT NULL,
    PRIMARY KEY (room, task, user)
) STRICT, WITHOUT ROWID;

CREATE TABLE task_dependencies (
    room     INTEGER NOT NULL,
    task     BLOB NOT NULL,
    waits_on BLOB NOT NULL,
    PRIMARY KEY (room, task, waits_on)
) STRICT, WITHOUT ROWID;
CREATE INDEX task_dependencies_back ON task_dependencies (room, waits_on, task);

CREATE TABLE task_comments (
    room     INTEGER NOT NULL,
    seq      INTEGER NOT NULL,
    id       BLOB NOT NULL,
    task     BLOB NOT NULL,
    sender   TEXT NOT NULL,
    at_ms    INTEGER NOT NULL,
    text     TEXT NOT NULL,                    -- empty when the task was deleted
    mentions TEXT,                             -- JSON: [user, …]
    PRIMARY KEY (room, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX task_comments_id ON task_comments (room, id);
CREATE INDEX task_comments_of ON task_comments (room, task, seq);

-- Under what names are found: all of the name and each of its words, folded (see src/names.rs).
CREATE TABLE words (
    kind   INTEGER NOT NULL,                   -- 1 person, 2 room, 3 task
    place  INTEGER NOT NULL,                   -- of a task its room; of others 0
    word   TEXT NOT NULL,
    object ANY NOT NULL,                       -- number of the user or room, id of the task
    PRIMARY KEY (kind, place, word, object)
) STRICT, WITHOUT ROWID;
-- Ids are ASCII: this folds them.
CREATE INDEX users_folded ON users (lower(id));
CREATE INDEX rooms_folded ON rooms (lower(id));
-- Whether the words of a room's name are kept. Those of rooms that are older than this are written when the store is opened.
ALTER TABLE rooms ADD COLUMN worded INTEGER NOT NULL DEFAULT 0;
CREATE INDEX rooms_not_worded ON rooms (number) WHERE worded = 0;
