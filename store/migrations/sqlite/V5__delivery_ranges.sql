-- Whoever comes back is handed many notifications at once. The diary says that in one row instead of one for each.

-- The connection was handed a range of its person's stream without a hole: from that number to this notification.
CREATE TABLE delivery_ranges (
    notification BLOB NOT NULL,
    session      TEXT NOT NULL,
    from_seq     INTEGER NOT NULL,
    at_ms        INTEGER NOT NULL,
    PRIMARY KEY (notification, session, from_seq)
) STRICT, WITHOUT ROWID;
