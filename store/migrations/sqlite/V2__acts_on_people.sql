-- Who may not come or write for how long, and the record of all acts on people.

-- A mute of a member; null: none was ever. It stands in sanctions too, so that leaving and coming back does not end it.
ALTER TABLE members ADD COLUMN muted_until_ms INTEGER;
-- Tokens issued before are refused.
ALTER TABLE users ADD COLUMN revoked_before_ms INTEGER NOT NULL DEFAULT 0;

CREATE TABLE sanctions (
    room     TEXT NOT NULL,
    kind     INTEGER NOT NULL,                 -- 1 ban, 2 mute
    user     TEXT NOT NULL,
    until_ms INTEGER NOT NULL,                 -- 2^53 - 1: until it is taken back
    at_ms    INTEGER NOT NULL,
    actor    TEXT NOT NULL,
    reason   TEXT,
    PRIMARY KEY (room, kind, user)
) STRICT, WITHOUT ROWID;
CREATE INDEX sanctions_by_end ON sanctions (until_ms);

-- In the order of time, so that the old end is dropped without an index on it.
CREATE TABLE audit (
    number   INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms    INTEGER NOT NULL,
    actor    TEXT NOT NULL,
    action   TEXT NOT NULL,
    room     TEXT,
    target   TEXT,
    session  TEXT,
    until_ms INTEGER,
    reason   TEXT
) STRICT;
CREATE INDEX audit_by_room ON audit (room, number) WHERE room IS NOT NULL;
CREATE INDEX audit_by_target ON audit (target, number) WHERE target IS NOT NULL;
CREATE INDEX audit_by_room_and_target ON audit (room, target, number) WHERE room IS NOT NULL;
