-- A node delivers to the targets that its configuration has. A job for another one is another node's: claiming it would use up
-- its attempts where nobody can deliver it.

-- Claims jobs of these targets that are ready, of higher priority first and then in their order. Looks at one target after the
-- other by the index, so that what waits for one is no work for the others.
CREATE FUNCTION hallway_claim_jobs_v9(most bigint, lease_ms bigint, targets text[]) RETURNS TABLE (
    number bigint, target text, body text, attempts integer, attempts_max integer, created_at_ms bigint
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    now_ms bigint := hallway_now_v1();
    one text;
    found_ones bigint[] := '{}';
BEGIN
    -- Whose target it was does not matter: its last attempt was not heard of.
    UPDATE outbox SET state = 3, finished_at_ms = now_ms, error = 'its last attempt was not heard of again'
    WHERE number = ANY (ARRAY(
        SELECT o.number FROM outbox o WHERE o.state = 1 AND o.ready_at_ms <= now_ms AND o.attempts >= o.attempts_max
        ORDER BY o.ready_at_ms LIMIT 500 FOR NO KEY UPDATE SKIP LOCKED));
    FOR one IN SELECT DISTINCT t FROM unnest(targets) t ORDER BY t LOOP
        found_ones := found_ones || ARRAY(
            SELECT o.number FROM outbox o
            WHERE o.state < 2 AND o.target = one AND o.ready_at_ms <= now_ms AND o.attempts < o.attempts_max
            ORDER BY o.priority DESC, o.number LIMIT most FOR NO KEY UPDATE SKIP LOCKED);
    END LOOP;
    RETURN QUERY
    WITH chosen AS MATERIALIZED (
        SELECT o.number FROM outbox o WHERE o.number = ANY (found_ones) ORDER BY o.priority DESC, o.number LIMIT most
    ), claimed AS (
        UPDATE outbox o SET state = 1, attempts = o.attempts + 1, ready_at_ms = now_ms + lease_ms
        WHERE o.number = ANY (ARRAY(SELECT chosen.number FROM chosen)) RETURNING o.*
    )
    SELECT c.number, c.target, c.body, c.attempts, c.attempts_max, c.created_at_ms FROM claimed c
    ORDER BY c.priority DESC, c.number;
END $$;
