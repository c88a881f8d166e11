-- The tables. Ids compare byte by byte (COLLATE "C"), as the program does. Log tables have no foreign keys: checking one
-- would lock rows in an order of its own.

-- One row: the epoch, and the fingerprint of the store's life that it belongs to.
CREATE TABLE meta (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    epoch text NOT NULL,
    fingerprint text NOT NULL
);

CREATE TABLE rooms (
    first_seq bigint NOT NULL DEFAULT 1,
    last_seq bigint NOT NULL DEFAULT 0,
    message_count bigint NOT NULL DEFAULT 0,
    created_at_ms bigint NOT NULL,
    -- 0 channel, 1 direct
    kind smallint NOT NULL,
    public boolean NOT NULL,
    -- history: all (true) or since_join
    history_all boolean NOT NULL,
    archived boolean NOT NULL DEFAULT false,
    id text COLLATE "C" PRIMARY KEY,
    name text
) WITH (fillfactor = 70);
CREATE INDEX rooms_public ON rooms (id) WHERE public AND NOT archived AND kind = 0;

-- Roles: 0 guest, 1 member, 2 admin, 3 owner.
CREATE TABLE members (
    joined_seq bigint NOT NULL,
    -- The oldest event that this member may see.
    since_seq bigint NOT NULL,
    role smallint NOT NULL,
    room text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (room, user_id)
);
CREATE INDEX members_by_user ON members (user_id, room);

CREATE TABLE users (
    first_seq bigint NOT NULL DEFAULT 1,
    last_seq bigint NOT NULL DEFAULT 0,
    id text COLLATE "C" PRIMARY KEY
) WITH (fillfactor = 80);

-- Unread is the room's message_count less the ordinal at the marker; it is never stored.
CREATE TABLE read_markers (
    read_seq bigint NOT NULL,
    ordinal bigint NOT NULL,
    room text COLLATE "C" NOT NULL,
    user_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, room)
) WITH (fillfactor = 80);

-- The log. It names the message, and never holds its text; what else an event says is in detail.
CREATE TABLE events (
    seq bigint NOT NULL,
    at_ms bigint NOT NULL,
    tx xid8 NOT NULL DEFAULT pg_current_xact_id(),
    message uuid,
    kind smallint NOT NULL,
    stream text COLLATE "C" NOT NULL,
    actor text COLLATE "C",
    detail jsonb,
    PRIMARY KEY (stream, seq)
);
-- The tail: whatever was committed since a snapshot, in whatever order the transactions ended.
CREATE INDEX events_by_tx ON events (tx);
-- Retention by age; cheap because the log is written in the order of time.
CREATE INDEX events_by_time ON events USING brin (at_ms) WITH (pages_per_range = 32, autosummarize = on);

CREATE TABLE messages (
    seq bigint NOT NULL,
    ordinal bigint NOT NULL,
    at_ms bigint NOT NULL,
    edited_at_ms bigint,
    id uuid NOT NULL,
    reply_to uuid,
    version integer NOT NULL DEFAULT 1,
    deleted boolean NOT NULL DEFAULT false,
    room text COLLATE "C" NOT NULL,
    sender text COLLATE "C" NOT NULL,
    text text NOT NULL,
    mentions text[],
    -- JSON text, not jsonb: what an application put there comes back as it was.
    meta text,
    -- [{"emoji": …, "users": […]}], in the order in which they were put.
    reactions jsonb,
    PRIMARY KEY (room, id)
);
CREATE UNIQUE INDEX messages_by_seq ON messages (room, seq);

-- What was answered to a nonce. The key is a hash of stream, sender and nonce: 16 bytes instead of up to 200. Found under
-- the lock of the room, so it needs no unique index; partitions of 8 hours are dropped whole. The first partition catches
-- what comes while its slot was not made yet.
CREATE TABLE dedupe (
    key uuid NOT NULL,
    body_hash uuid NOT NULL,
    message uuid,
    seq bigint NOT NULL,
    at_ms bigint NOT NULL
) PARTITION BY RANGE (at_ms);
CREATE INDEX dedupe_by_key ON dedupe (key);
CREATE TABLE dedupe_late PARTITION OF dedupe DEFAULT;
