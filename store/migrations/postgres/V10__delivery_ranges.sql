-- Whoever comes back is handed many notifications at once. The diary says that in one row instead of one for each.

-- The connection was handed a range of its person's stream without a hole: from that number to this notification, which is the
-- last one. By its last notification, not by person: those are few, and new ones stand at the end of the index. A range holds at
-- most 256 numbers, so those that a number may lie in are found by the notifications after it.
CREATE TABLE delivery_ranges (
    at_ms bigint NOT NULL,
    from_seq bigint NOT NULL,
    notification uuid NOT NULL,
    session text COLLATE "C" NOT NULL,
    PRIMARY KEY (notification, session, from_seq)
);

-- As before; ranges go with their last notification, as single deliveries (which nodes of the last release note) with theirs.
CREATE OR REPLACE FUNCTION hallway_trim_v6(stream_in text, room_in text, user_in text, keep bigint)
RETURNS TABLE (first_seq bigint, last_seq bigint) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    gone uuid[];
    said bigint[];
    unread_gone bigint;
BEGIN
    RETURN QUERY SELECT * FROM hallway_trim_v1(stream_in, room_in, user_in, keep);
    -- The person is locked from here on; nobody writes or reads their notifications but through that lock.
    PERFORM 1 FROM notifications n JOIN users u ON u.id = n.user_id
    WHERE n.user_id = user_in AND n.seq < u.first_seq ORDER BY n.seq FOR UPDATE OF n;
    WITH dropped AS (
        DELETE FROM notifications n USING users u WHERE u.id = user_in AND n.user_id = user_in AND n.seq < u.first_seq
        RETURNING n.id, n.notice, n.read_at_ms
    )
    SELECT array_agg(id), array_agg(DISTINCT notice) FILTER (WHERE notice IS NOT NULL), count(*) FILTER (WHERE read_at_ms IS NULL)
    INTO gone, said, unread_gone FROM dropped;
    IF gone IS NULL THEN
        RETURN;
    END IF;
    UPDATE users u SET unread = u.unread - unread_gone WHERE u.id = user_in AND unread_gone > 0;
    DELETE FROM deliveries d WHERE d.notification = ANY (gone);
    DELETE FROM delivery_ranges d WHERE d.notification = ANY (gone);
    DELETE FROM outbox_notifications o WHERE o.notification = ANY (gone);
    PERFORM hallway_drop_notices_v6(said) WHERE said IS NOT NULL;
END $$;
