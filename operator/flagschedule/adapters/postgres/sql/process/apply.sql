-- Brings a batch of due schedules to its outcome: one statement, one transaction, nothing half done.
--
-- For each flag and property the schedule with the latest (scheduled_at, id) wins, for any order of
-- application, retries, workers or crashes. The winner of the batch is compared with the watermark by
-- INSERT ... ON CONFLICT, which works on the newest committed row; a plain SELECT would read a snapshot
-- that is older than the lock.
--
-- What is recorded is what the database returned. If a flag does not have a requested value afterwards, because a
-- trigger, a rule or a policy of the host prevented it, the statement ends with an error, so that no watermark moves.
-- The processor then finds out which row it was.
--
-- Two texts from one file. The plain one is for rows that expect nothing, while no freeze is active; otherwise its gate
-- claims no row. The full one judges expectations, windows and freezes, too, and costs a fifth more.
-- Lines that end with `-- plain` belong to the plain text alone, lines that begin with `-- full:` to the full one.
--
-- Joins go through arrays (unnest of a row of arrays), so that the planner expects a handful of rows and
-- uses index loops; for a join of the parts themselves it may scan the whole table.
WITH gate AS MATERIALIZED (
    /* gate */ SELECT
),
-- full: taken AS MATERIALIZED (
-- full:     /* taken */ SELECT
-- full: ),
claimed AS MATERIALIZED (
    /* claim */ SELECT
),
-- A row with a fault has no new values.
candidates AS MATERIALIZED (
    SELECT j.id, j.flag_id, j.scheduled_at, j.arming, j.retry_count, j.status = 'failed' AS retried, j.flag_key,
           j.environment, j.enabled, j.rollout_percentage, j.updated_at, j.fault,
           -- full: j.fault IS NULL AND j.verdict = 'AlreadySet' AS already_set, j.expect,
           -- full: j.fault IS NULL AND j.verdict = 'Superseded' AS overtaken,
           CASE WHEN j.fault IS NULL
                -- full: AND j.verdict IS DISTINCT FROM 'Superseded'
                THEN (j.updates ->> 'enabled')::boolean END AS new_enabled,
           CASE WHEN j.fault IS NULL
                -- full: AND j.verdict IS DISTINCT FROM 'Superseded'
                THEN (j.updates ->> 'rolloutPercentage')::numeric::integer END
               AS new_rollout_percentage
    FROM (
        -- If the start of a window has a fault, its end in the same batch has the fault NotStarted.
        -- full: SELECT i.*,
        -- full:        CASE WHEN i.fault_alone IS NULL AND i.follows IS NOT NULL
        -- full:                  AND max(i.fault_alone) FILTER (WHERE i.follows IS NULL)
        -- full:                      OVER (PARTITION BY coalesce(i.follows, i.id)) IS NOT NULL
        -- full:             THEN 'NotStarted' ELSE i.fault_alone END AS fault
        -- full: FROM (
        SELECT c.*,
               -- CASE, because AND may evaluate both of its sides, and an operator that finds no object would raise.
               CASE
                   WHEN c.status = 'pending' AND c.not_after < now() THEN 'DeadlineExceeded'
                   WHEN jsonb_typeof(c.updates) <> 'object' THEN 'InvalidUpdates'
                   WHEN c.updates = '{}' OR c.updates - '{enabled,rolloutPercentage}'::text[] <> '{}'
                       THEN 'InvalidUpdates'
                   WHEN jsonb_typeof(c.updates -> 'enabled') <> 'boolean' THEN 'InvalidUpdates'
                   WHEN jsonb_typeof(c.updates -> 'rolloutPercentage') <> 'number' THEN 'InvalidUpdates'
                   -- jsonb writes a number without exponent and keeps its zeros: 1e1 is 10, 5.0 is 5.0.
                   WHEN c.updates ->> 'rolloutPercentage' !~ '^(100|[1-9]?[0-9])([.]0+)?$' THEN 'InvalidUpdates'
                   -- full: ELSE CASE WHEN c.verdict NOT IN ('AlreadySet', 'Superseded') THEN c.verdict END
               END AS fault  -- plain
               -- full: END AS fault_alone
        FROM claimed AS c
        -- full: OFFSET 0) AS i
        OFFSET 0  -- keeps the fault a column, or each of its uses would judge again
    ) AS j
),
-- Per flag, the batch's latest schedule for each property.
latest_enabled AS (
    SELECT DISTINCT ON (c.flag_id) c.flag_id, c.new_enabled, c.scheduled_at, c.id
    FROM candidates AS c
    WHERE c.new_enabled IS NOT NULL
    ORDER BY c.flag_id, c.scheduled_at DESC, c.id DESC
),
latest_rollout_percentage AS (
    SELECT DISTINCT ON (c.flag_id) c.flag_id, c.new_rollout_percentage, c.scheduled_at, c.id
    FROM candidates AS c
    WHERE c.new_rollout_percentage IS NOT NULL
    ORDER BY c.flag_id, c.scheduled_at DESC, c.id DESC
),
latest AS MATERIALIZED (
    SELECT flag_id, e.new_enabled AS enabled, e.scheduled_at AS enabled_at, e.id AS enabled_by,
           r.new_rollout_percentage AS rollout_percentage, r.scheduled_at AS rollout_percentage_at,
           r.id AS rollout_percentage_by
    FROM latest_enabled AS e
    FULL JOIN latest_rollout_percentage AS r USING (flag_id)
),
-- Time and id are compared as a pair: two schedules may have the same time. A property without a watermark can be set
-- by any schedule. So can one whose watermark lies more than a day ahead, because clocks may differ after a failover:
-- no schedule that was due can have set it, and until then no other one could change the flag.
watermarks AS (
    INSERT INTO flag_schedule_watermarks AS w
        (flag_id, enabled_at, enabled_by, rollout_percentage_at, rollout_percentage_by)
    SELECT l.flag_id, l.enabled_at, l.enabled_by, l.rollout_percentage_at, l.rollout_percentage_by
    FROM latest AS l
    ON CONFLICT (flag_id) DO UPDATE SET
        enabled_at = CASE
            WHEN (excluded.enabled_at, excluded.enabled_by) >= (w.enabled_at, w.enabled_by)
                OR w.enabled_at IS NULL OR w.enabled_at > now() + interval '24 hours'
            THEN excluded.enabled_at ELSE w.enabled_at END,
        enabled_by = CASE
            WHEN (excluded.enabled_at, excluded.enabled_by) >= (w.enabled_at, w.enabled_by)
                OR w.enabled_at IS NULL OR w.enabled_at > now() + interval '24 hours'
            THEN excluded.enabled_by ELSE w.enabled_by END,
        rollout_percentage_at = CASE
            WHEN (excluded.rollout_percentage_at, excluded.rollout_percentage_by)
                >= (w.rollout_percentage_at, w.rollout_percentage_by)
                OR w.rollout_percentage_at IS NULL OR w.rollout_percentage_at > now() + interval '24 hours'
            THEN excluded.rollout_percentage_at ELSE w.rollout_percentage_at END,
        rollout_percentage_by = CASE
            WHEN (excluded.rollout_percentage_at, excluded.rollout_percentage_by)
                >= (w.rollout_percentage_at, w.rollout_percentage_by)
                OR w.rollout_percentage_at IS NULL OR w.rollout_percentage_at > now() + interval '24 hours'
            THEN excluded.rollout_percentage_by ELSE w.rollout_percentage_by END
    RETURNING w.flag_id, w.enabled_by, w.rollout_percentage_by
),
-- What the batch really sets; null where a later schedule outside of the batch has set the property already.
won AS MATERIALIZED (
    SELECT l.flag_id, w.enabled_by, w.rollout_percentage_by,
           -- full: EXISTS (SELECT FROM candidates AS c WHERE c.already_set AND c.flag_id = l.flag_id) AS already_set,
           CASE WHEN w.enabled_by = l.enabled_by THEN l.enabled END AS enabled,
           CASE WHEN w.rollout_percentage_by = l.rollout_percentage_by THEN l.rollout_percentage END
               AS rollout_percentage
    FROM latest AS l
    JOIN watermarks AS w USING (flag_id)
),
changes AS MATERIALIZED (
    SELECT array_agg(w.flag_id) AS flag_ids,
           array_agg(w.enabled) AS enabled,
           array_agg(w.rollout_percentage) AS rollout_percentages
    FROM won AS w
    WHERE (w.enabled IS NOT NULL OR w.rollout_percentage IS NOT NULL)
      -- A guarded row is the only one of its flag in the batch.
      -- full: AND NOT w.already_set
),
flags AS (
    UPDATE feature_flags AS f
    SET enabled = coalesce(x.enabled, f.enabled),
        rollout_percentage = coalesce(x.rollout_percentage, f.rollout_percentage),
        updated_at = clock_timestamp()
    FROM changes AS c, unnest(c.flag_ids, c.enabled, c.rollout_percentages) AS x (flag_id, enabled, rollout_percentage)
    WHERE f.id = x.flag_id
    RETURNING f.id, f.environment, f.enabled, f.rollout_percentage,
              CASE
                  WHEN coalesce(f.enabled = x.enabled, x.enabled IS NULL)
                       AND coalesce(f.rollout_percentage = x.rollout_percentage, x.rollout_percentage IS NULL) THEN NULL
                  WHEN x.enabled IS NOT NULL AND x.enabled IS DISTINCT FROM f.enabled
                      THEN 'enabled ' || coalesce(f.enabled::text, 'null')
                  ELSE 'rolloutPercentage ' || coalesce(f.rollout_percentage::text, 'null')
              END AS instead
),
-- The time of the change, after all locks were granted and all flags changed; and that of the claim, if it was much
-- earlier. If a flag is not as requested, this ends the statement with an error that says what the flag has instead.
made AS MATERIALIZED (
    SELECT clock_timestamp() AS at,
           CASE WHEN clock_timestamp() > now() + interval '100 milliseconds' THEN now() END AS claimed_at,
           CASE WHEN count(*) - count(f.instead) <> (SELECT coalesce(cardinality(c.flag_ids), 0) FROM changes AS c)
                THEN flag_schedule_refuse(coalesce(min(f.instead), 'nothing')) END AS refused
    FROM flags AS f
),
results AS MATERIALIZED (
    SELECT c.id, c.arming, c.retry_count, c.retried, c.flag_key, c.environment,
           c.updated_at AS before_updated_at,
           c.enabled AS before_enabled, c.rollout_percentage AS before_rollout_percentage,
           -- What this schedule itself set; and what a trigger changed with it, if no other schedule set that.
           -- full: CASE WHEN c.already_set THEN c.enabled ELSE
           CASE WHEN c.fault IS NULL AND (w.enabled_by = c.id
                                          OR w.enabled IS NULL AND w.rollout_percentage_by = c.id)
                THEN f.enabled ELSE c.enabled END
           -- full: END
           AS after_enabled,
           -- full: CASE WHEN c.already_set THEN c.rollout_percentage ELSE
           CASE WHEN c.fault IS NULL AND (w.rollout_percentage_by = c.id
                                          OR w.rollout_percentage IS NULL AND w.enabled_by = c.id)
                THEN f.rollout_percentage ELSE c.rollout_percentage END
           -- full: END
           AS after_rollout_percentage,
           c.fault IS NULL AND w.enabled_by = c.id AS set_enabled,
           c.fault IS NULL AND w.rollout_percentage_by = c.id AS set_rollout_percentage,
           CASE WHEN c.fault IS NULL THEN 'applied'
                -- full: WHEN c.fault IN ('Skipped', 'NotStarted') THEN 'cancelled'
                ELSE 'failed' END AS state,
           CASE
               WHEN c.fault IS NOT NULL THEN c.fault
               -- full: WHEN c.already_set THEN 'AlreadySet'
               -- full: WHEN c.overtaken THEN 'Superseded'
               WHEN (c.new_enabled IS NULL OR w.enabled_by = c.id)
                    AND (c.new_rollout_percentage IS NULL OR w.rollout_percentage_by = c.id) THEN 'Applied'
               WHEN w.enabled_by = c.id OR w.rollout_percentage_by = c.id THEN 'PartlySuperseded'
               ELSE 'Superseded'
           END AS reason,
           CASE c.fault
               WHEN 'DeadlineExceeded' THEN 'the first attempt came later than its starting deadline allows'
               WHEN 'InvalidUpdates' THEN 'the updates must be enabled (true or false) and/or '
                   'rolloutPercentage (a whole number from 0 to 100), and nothing else'
               -- full: WHEN 'NotStarted' THEN 'the start of its window was not applied'
               -- full: ELSE CASE WHEN c.fault IN ('ExpectationNotMet', 'Skipped') THEN format(
               -- full:     'expected %s, but the flag has %s',
               -- full:     left(concat_ws(', ', 'enabled=' || (c.expect ->> 'enabled'),
               -- full:                    'rolloutPercentage=' || (c.expect ->> 'rolloutPercentage')), 100),
               -- full:     concat_ws(', ', CASE WHEN c.expect ? 'enabled' THEN 'enabled=' || coalesce(c.enabled::text, 'null') END,
               -- full:               CASE WHEN c.expect ? 'rolloutPercentage'
               -- full:                    THEN 'rolloutPercentage=' || coalesce(c.rollout_percentage::text, 'null') END)) END
           END AS error
    FROM candidates AS c
    LEFT JOIN won AS w USING (flag_id)
    LEFT JOIN flags AS f ON f.id = c.flag_id
),
lists AS MATERIALIZED (
    SELECT array_agg(r.id) AS ids,
           array_agg(r.state) AS states,
           array_agg(r.reason) AS reasons,
           array_agg(r.error) AS errors,
           array_agg(r.flag_key) AS flag_keys,
           array_agg(r.environment) AS environments,
           array_agg(r.retry_count) AS retry_counts,
           array_agg(r.retried) AS retried
    FROM results AS r
),
schedules AS (
    UPDATE feature_flag_schedules AS s
    SET status = x.state,
        reason = x.reason,
        applied_at = CASE WHEN x.state = 'applied' THEN (SELECT m.at FROM made AS m) END,
        next_retry_at = NULL,
        last_error = x.error,
        error_message = x.error,
        set_aside_count = CASE WHEN x.state = 'failed' THEN 0 ELSE s.set_aside_count END,
        updated_at = now()
    FROM lists AS l, unnest(l.ids, l.states, l.reasons, l.errors) AS x (id, state, reason, error)
    WHERE s.id = x.id
),
attempts AS (
    INSERT INTO flag_schedule_attempts
        (schedule_id, arming, attempt, run_id, claimed_at, attempted_at, before_updated_at, before_rollout_percentage,
         after_rollout_percentage, before_enabled, after_enabled, set_enabled, set_rollout_percentage,
         outcome, reason, error)
    SELECT r.id, r.arming, least(r.retry_count, 2147483646) + 1, %(run_id)s,
           m.claimed_at, m.at, r.before_updated_at,
           r.before_rollout_percentage, r.after_rollout_percentage, r.before_enabled, r.after_enabled,
           r.set_enabled, r.set_rollout_percentage,
           r.state, r.reason, r.error
    FROM results AS r, made AS m
    -- A row that another program set back to pending by hand has its attempts already: apply it all the same.
    ON CONFLICT DO NOTHING
),
statuses AS (
    INSERT INTO flag_schedule_status_outbox (schedule_id)
    SELECT unnest(l.ids) FROM lists AS l
),
caches AS (
    INSERT INTO flag_schedule_cache_outbox (environment)
    SELECT DISTINCT f.environment FROM flags AS f
    RETURNING id, environment
)
-- The answer column by column: to make an array of each row would look up the types of its fields for each row.
SELECT json_build_array(to_json(l.ids), to_json(l.flag_keys), to_json(l.environments), to_json(l.states),
                        to_json(l.reasons), to_json(l.retry_counts), to_json(l.errors), to_json(l.retried)) AS handled,
       (SELECT json_object_agg(c.id, c.environment) FROM caches AS c) AS cache_entries,
       -- Where the next batch begins, how many rows were claimed, and whether the next batch needs the full text.
       (SELECT json_build_array(max(c.scheduled_at)) FROM claimed AS c) AS latest,  -- plain
       coalesce(cardinality(l.ids), 0) AS claimed,  -- plain
       -- full: (SELECT json_build_array(c.scheduled_at, c.id, c.next_retry_at) FROM taken AS c
       -- full:  ORDER BY c.next_retry_at DESC NULLS LAST, c.scheduled_at DESC, c.id DESC LIMIT 1) AS latest,
       -- full: (SELECT count(*) FROM taken) AS claimed,
       (SELECT g.closed FROM gate AS g) AS closed
FROM lists AS l
