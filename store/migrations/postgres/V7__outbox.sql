-- Webhooks that are to be delivered, and what becomes of notifications that were looked at. Jobs are claimed under leases, by the
-- store's clock; rows are locked by their numbers, or not waited for.

CREATE TABLE outbox (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    created_at_ms bigint NOT NULL,
    -- Waiting: when it is tried next. Claimed: when the lease ends.
    ready_at_ms bigint NOT NULL,
    finished_at_ms bigint,
    attempts integer NOT NULL DEFAULT 0,
    attempts_max integer NOT NULL,
    -- 0 waiting, 1 claimed, 2 done, 3 dead
    state smallint NOT NULL DEFAULT 0,
    priority smallint NOT NULL,
    target text COLLATE "C" NOT NULL,
    -- JSON text: the body of the request.
    body text NOT NULL,
    -- Why the last attempt failed.
    error text
) WITH (fillfactor = 80);
CREATE INDEX outbox_ready ON outbox (target, priority DESC, number) WHERE state < 2;
CREATE INDEX outbox_leased ON outbox (ready_at_ms) WHERE state = 1;
CREATE INDEX outbox_finished ON outbox (state, number) WHERE state >= 2;

-- Which notifications a job carries.
CREATE TABLE outbox_notifications (
    job bigint NOT NULL,
    notification uuid NOT NULL,
    PRIMARY KEY (notification, job)
);
CREATE INDEX outbox_notifications_by_job ON outbox_notifications (job);

-- A job as a trace and the list of dead ones show it.
CREATE FUNCTION hallway_job_v7(o outbox) RETURNS json LANGUAGE sql STABLE AS $$
    SELECT json_build_object('job', o.number, 'target', o.target,
        'state', (ARRAY['waiting', 'claimed', 'done', 'dead'])[o.state + 1], 'attempts', o.attempts,
        'created_at_ms', o.created_at_ms, 'finished_at_ms', o.finished_at_ms, 'error', o.error)
$$;

-- What becomes of claimed notifications: they are looked at again after so long, or (null) not again. What was read meanwhile
-- stays settled. Jobs: [{"target", "priority", "attempts_max", "body", "notifications": […]}].
CREATE FUNCTION hallway_settle_hand_outs_v7(ids uuid[], after_ms bigint[], jobs jsonb) RETURNS void
LANGUAGE plpgsql VOLATILE SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    now_ms bigint := hallway_now_v1();
    job jsonb;
    made bigint;
BEGIN
    PERFORM 1 FROM notifications WHERE id = ANY (ids) ORDER BY user_id, seq FOR NO KEY UPDATE;
    UPDATE notifications n SET hand_out_at_ms = now_ms + i.after FROM unnest(ids, after_ms) AS i(id, after)
    WHERE n.id = i.id AND n.hand_out_at_ms IS NOT NULL;
    FOR job IN SELECT x FROM jsonb_array_elements(jobs) WITH ORDINALITY AS i(x, n) ORDER BY n LOOP
        INSERT INTO outbox (created_at_ms, ready_at_ms, attempts_max, priority, target, body)
        VALUES (now_ms, now_ms, (job ->> 'attempts_max')::integer, (job ->> 'priority')::smallint, job ->> 'target',
            job ->> 'body') RETURNING number INTO made;
        INSERT INTO outbox_notifications (notification, job)
        SELECT DISTINCT (t #>> '{}')::uuid, made FROM jsonb_array_elements(job -> 'notifications') t ORDER BY 1;
    END LOOP;
END $$;

-- Claims jobs that are ready, of higher priority first and then in their order, leaving out some targets. Goes from target to
-- target by the index, so that what waits for one is no work for the others.
CREATE FUNCTION hallway_claim_jobs_v7(most bigint, lease_ms bigint, without text[]) RETURNS TABLE (
    number bigint, target text, body text, attempts integer, attempts_max integer, created_at_ms bigint
) LANGUAGE plpgsql VOLATILE AS $$
#variable_conflict use_column
DECLARE
    now_ms bigint := hallway_now_v1();
    one text := '';
    found_ones bigint[] := '{}';
BEGIN
    UPDATE outbox SET state = 3, finished_at_ms = now_ms, error = 'its last attempt was not heard of again'
    WHERE number = ANY (ARRAY(
        SELECT o.number FROM outbox o WHERE o.state = 1 AND o.ready_at_ms <= now_ms AND o.attempts >= o.attempts_max
        ORDER BY o.ready_at_ms LIMIT 500 FOR NO KEY UPDATE SKIP LOCKED));
    LOOP
        SELECT o.target INTO one FROM outbox o WHERE o.state < 2 AND o.target > one ORDER BY o.target LIMIT 1;
        EXIT WHEN NOT FOUND;
        CONTINUE WHEN one = ANY (without);
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

-- What became of claimed jobs: errors is null for what was delivered, retries is null for what is not tried again. What another
-- claim took over, or was given up meanwhile, is left alone.
CREATE FUNCTION hallway_finish_jobs_v7(numbers bigint[], attempts_in integer[], errors text[], retries bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    now_ms bigint := hallway_now_v1();
BEGIN
    PERFORM 1 FROM outbox o WHERE o.number = ANY (numbers) ORDER BY o.number FOR NO KEY UPDATE;
    WITH judged AS (
        SELECT o.number, i.error, i.retry,
            CASE WHEN i.error IS NULL THEN 2 WHEN i.retry IS NULL OR o.attempts >= o.attempts_max THEN 3 ELSE 0 END AS state
        FROM unnest(numbers, attempts_in, errors, retries) AS i(number, attempt, error, retry)
        JOIN LATERAL (SELECT * FROM outbox WHERE outbox.number = i.number LIMIT 1) o ON true
        WHERE o.state = 1 AND o.attempts = i.attempt
    )
    UPDATE outbox o SET state = j.state, error = j.error,
        ready_at_ms = CASE j.state WHEN 0 THEN now_ms + j.retry ELSE o.ready_at_ms END,
        finished_at_ms = CASE WHEN j.state > 0 THEN now_ms END
    FROM judged j WHERE o.number = j.number;
END $$;

-- Makes jobs that were given up ready as if they were new: these, or (none named) the oldest. How many.
CREATE FUNCTION hallway_replay_jobs_v7(numbers bigint[], most bigint) RETURNS bigint LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    now_ms bigint := hallway_now_v1();
    many bigint;
BEGIN
    IF cardinality(numbers) = 0 THEN
        numbers := ARRAY(SELECT number FROM outbox WHERE state = 3 ORDER BY number LIMIT most);
    END IF;
    PERFORM 1 FROM outbox WHERE number = ANY (numbers) ORDER BY number FOR NO KEY UPDATE;
    UPDATE outbox SET state = 0, attempts = 0, error = NULL, finished_at_ms = NULL, ready_at_ms = now_ms
    WHERE number = ANY (numbers) AND state = 3;
    GET DIAGNOSTICS many = ROW_COUNT;
    RETURN many;
END $$;

-- Drops what was delivered beyond the newest so many, and what was given up likewise, a bounded number of each; true: call again.
CREATE FUNCTION hallway_trim_jobs_v7(done_kept bigint, dead_kept bigint, most bigint) RETURNS boolean
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    now_gone bigint[];
    more boolean := false;
    one record;
BEGIN
    FOR one IN SELECT * FROM (VALUES (2::smallint, done_kept), (3::smallint, dead_kept)) AS v(state, kept) LOOP
        now_gone := ARRAY(
            SELECT o.number FROM outbox o WHERE o.state = one.state AND o.number <= (
                SELECT b.number FROM outbox b WHERE b.state = one.state ORDER BY b.number DESC OFFSET one.kept LIMIT 1)
            ORDER BY o.number LIMIT most FOR UPDATE SKIP LOCKED);
        DELETE FROM outbox_notifications WHERE job = ANY (now_gone);
        DELETE FROM outbox WHERE number = ANY (now_gone);
        more := more OR cardinality(now_gone) = most;
    END LOOP;
    RETURN more;
END $$;
