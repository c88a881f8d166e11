-- What people should know, what they want to know of, and the work that waits: fan-outs, hand-outs, webhooks.

ALTER TABLE users ADD COLUMN unread INTEGER NOT NULL DEFAULT 0;   -- of notifications, exactly
ALTER TABLE users ADD COLUMN level  INTEGER;                      -- 1 none, 2 mentions, 3 all; null: all
ALTER TABLE users ADD COLUMN quiet  TEXT;                         -- JSON: the quiet hours; null: there are none

-- The level in a room, where one was set.
CREATE TABLE preferences (
    user  TEXT NOT NULL,
    room  TEXT NOT NULL,
    level INTEGER NOT NULL,
    PRIMARY KEY (user, room)
) STRICT, WITHOUT ROWID;

-- What announcements and notices say: once, however many get them. Goes with the last notification of it.
CREATE TABLE notices (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    title  TEXT NOT NULL,
    text   TEXT,
    data   TEXT                                -- JSON object
) STRICT;

-- Each has its event under the same number in the stream of its person, and goes with it.
CREATE TABLE notifications (
    user               INTEGER NOT NULL,       -- the user's number
    seq                INTEGER NOT NULL,
    id                 BLOB NOT NULL,
    key                TEXT NOT NULL,          -- of what it is about: a second one is not written
    kind               TEXT NOT NULL,          -- the word of the wire
    urgent             INTEGER NOT NULL,
    silent             INTEGER NOT NULL,
    room               TEXT,
    message            BLOB,
    task               BLOB,
    comment            BLOB,
    actor              TEXT,                   -- null: time caused it
    notice             INTEGER,
    at_ms              INTEGER NOT NULL,
    acknowledge_by_ms  INTEGER,
    read_at_ms         INTEGER,
    acknowledged_at_ms INTEGER,
    hand_out_at_ms     INTEGER,                -- when to look at it (again); null: never
    PRIMARY KEY (user, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX notifications_id ON notifications (id);
CREATE UNIQUE INDEX notifications_key ON notifications (user, key);
CREATE INDEX notifications_unread ON notifications (user, seq) WHERE read_at_ms IS NULL;
CREATE INDEX notifications_hand_out ON notifications (hand_out_at_ms) WHERE hand_out_at_ms IS NOT NULL;
CREATE INDEX notifications_notice ON notifications (notice) WHERE notice IS NOT NULL;

-- The diary of what was handed to which connection.
CREATE TABLE deliveries (
    notification BLOB NOT NULL,
    session      TEXT NOT NULL,
    at_ms        INTEGER NOT NULL,
    PRIMARY KEY (notification, session)
) STRICT, WITHOUT ROWID;

-- Causes with more people than are notified at once, oldest first; gone when all are.
CREATE TABLE fan_outs (
    number    INTEGER PRIMARY KEY AUTOINCREMENT,
    cause     TEXT NOT NULL,                   -- JSON
    addressed INTEGER NOT NULL,                -- 1 those of users, 2 the members of the cause's room, 3 everyone
    users     TEXT,                            -- JSON: [user, …], in the order of their ids
    notice    INTEGER,
    done_to   TEXT NOT NULL DEFAULT '',        -- all users up to this id are done
    urgent    INTEGER NOT NULL                 -- those come first
) STRICT;
CREATE INDEX fan_outs_next ON fan_outs (urgent DESC, number);
CREATE INDEX fan_outs_notice ON fan_outs (notice) WHERE notice IS NOT NULL;

-- Webhooks.
CREATE TABLE outbox (
    number         INTEGER PRIMARY KEY AUTOINCREMENT,
    target         TEXT NOT NULL,
    priority       INTEGER NOT NULL,
    state          INTEGER NOT NULL DEFAULT 1, -- 1 waiting, 2 claimed, 3 done, 4 dead
    ready_at_ms    INTEGER,                    -- when waiting: of the next attempt; when claimed: the lease's end; else null
    attempts       INTEGER NOT NULL DEFAULT 0,
    attempts_max   INTEGER NOT NULL,
    created_at_ms  INTEGER NOT NULL,
    finished_at_ms INTEGER,
    error          TEXT,                       -- of the last attempt
    body           TEXT NOT NULL
) STRICT;
CREATE INDEX outbox_ready ON outbox (priority, target, ready_at_ms) WHERE ready_at_ms IS NOT NULL;
CREATE INDEX outbox_last_attempt ON outbox (ready_at_ms) WHERE state = 2 AND attempts >= attempts_max;
CREATE INDEX outbox_done ON outbox (number) WHERE state = 3;
CREATE INDEX outbox_dead ON outbox (number) WHERE state = 4;

-- Which notifications a webhook carries.
CREATE TABLE outbox_notifications (
    notification BLOB NOT NULL,
    job          INTEGER NOT NULL,
    PRIMARY KEY (notification, job)
) STRICT, WITHOUT ROWID;
CREATE INDEX outbox_notifications_job ON outbox_notifications (job);
