-- Streams are named by a number inside the database: a room's `number`, a user's `number` with its sign turned, 0 for
-- the system stream. Names of rooms and users stand once, so that a message costs few bytes.

-- One row: which life of the store this is (see src/sqlite/life.rs).
CREATE TABLE life (
    only_row    INTEGER PRIMARY KEY CHECK (only_row = 1),
    epoch       TEXT NOT NULL,
    fingerprint TEXT NOT NULL
) STRICT;

CREATE TABLE rooms (
    number        INTEGER PRIMARY KEY,
    id            TEXT NOT NULL UNIQUE,
    kind          INTEGER NOT NULL,            -- 1 channel, 2 direct
    visibility    INTEGER NOT NULL,            -- 1 public, 2 private
    history       INTEGER NOT NULL,            -- 1 all, 2 since_join
    name          TEXT,
    archived      INTEGER NOT NULL DEFAULT 0,
    created_at_ms INTEGER NOT NULL,
    first_seq     INTEGER NOT NULL DEFAULT 1,
    last_seq      INTEGER NOT NULL DEFAULT 0,
    message_count INTEGER NOT NULL DEFAULT 0,
    oldest_at_ms  INTEGER                      -- of the event first_seq; null when no event is kept
) STRICT;
CREATE INDEX rooms_public ON rooms (id) WHERE kind = 1 AND visibility = 1 AND archived = 0;
CREATE INDEX rooms_oldest ON rooms (oldest_at_ms) WHERE oldest_at_ms IS NOT NULL;

CREATE TABLE users (
    number       INTEGER PRIMARY KEY,
    id           TEXT NOT NULL UNIQUE,
    first_seq    INTEGER NOT NULL DEFAULT 1,
    last_seq     INTEGER NOT NULL DEFAULT 0,
    room_count   INTEGER NOT NULL DEFAULT 0,
    oldest_at_ms INTEGER
) STRICT;
CREATE INDEX users_oldest ON users (oldest_at_ms) WHERE oldest_at_ms IS NOT NULL;

CREATE TABLE members (
    room      TEXT NOT NULL,
    user      TEXT NOT NULL,
    role      INTEGER NOT NULL,                -- 1 guest, 2 member, 3 admin, 4 owner
    since_seq INTEGER NOT NULL,                -- the event that made them a member
    PRIMARY KEY (room, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX members_of_user ON members (user, room);
CREATE INDEX members_owners ON members (room, user) WHERE role = 4;

-- Kind, object and actor; never a message's text.
CREATE TABLE events (
    stream      INTEGER NOT NULL,
    seq         INTEGER NOT NULL,
    kind        INTEGER NOT NULL,              -- as in the wire's table of events
    at_ms       INTEGER NOT NULL,
    object      ANY,                           -- message id, user or room; null in message.created
    message_seq INTEGER,                       -- of message.edited: the message's own seq
    actor       TEXT,
    detail      TEXT,                          -- JSON, by kind
    PRIMARY KEY (stream, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    room         INTEGER NOT NULL,
    seq          INTEGER NOT NULL,
    id           BLOB NOT NULL,
    ordinal      INTEGER NOT NULL,
    sender       TEXT NOT NULL,
    at_ms        INTEGER NOT NULL,
    text         TEXT NOT NULL,
    version      INTEGER NOT NULL DEFAULT 1,
    deleted      INTEGER NOT NULL DEFAULT 0,
    reply_to     BLOB,
    mentions     TEXT,                         -- JSON: [user, …]
    meta         TEXT,                         -- JSON object
    reactions    TEXT,                         -- JSON: [[emoji, [user, …]], …]
    edited_at_ms INTEGER,
    PRIMARY KEY (room, seq)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX messages_id ON messages (room, id);

CREATE TABLE read_markers (
    user    TEXT NOT NULL,
    room    TEXT NOT NULL,
    seq     INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,                  -- of the last message at or before seq
    PRIMARY KEY (user, room)
) STRICT, WITHOUT ROWID;

-- In the order of time, so that the old end is dropped without an index on it.
CREATE TABLE dedupe (
    number    INTEGER PRIMARY KEY,
    key       BLOB NOT NULL UNIQUE,            -- half a SHA-256 of stream, sender and nonce
    body_hash BLOB NOT NULL,
    seq       INTEGER NOT NULL,
    at_ms     INTEGER NOT NULL,
    id        BLOB
) STRICT;
