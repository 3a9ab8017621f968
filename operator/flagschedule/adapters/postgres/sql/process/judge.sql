-- Of the rows in taken, which a claim of the full text found, those that may be applied now; and the verdict on what
-- they expect.
--
-- A guarded row (one that expects values) is judged by the flag's values after all earlier changes. So it is kept
-- only if no earlier row of its flag is unfinished in the table, and no row of its flag that comes later is kept with
-- it. Rows that are suspended or held by a freeze do not count: it is not known when they go on. The end of a window
-- waits while its start is unfinished, unless both are kept.
WITH
-- For each flag of the batch its first guarded row that is due, also if another transaction has locked it.
guards AS MATERIALIZED (
    SELECT DISTINCT ON (s.flag_id) s.flag_id, s.scheduled_at, s.id
    FROM feature_flag_schedules AS s
    JOIN feature_flags AS f ON f.id = s.flag_id
    WHERE s.flag_id = ANY (ARRAY(SELECT t.flag_id FROM taken AS t))
      AND s.expect IS NOT NULL AND (s.status = 'pending' OR s.next_retry_at IS NOT NULL) AND NOT s.suspended
      AND (/* is_due */ false)
      AND NOT (/* held */ false)
    ORDER BY s.flag_id, s.scheduled_at, s.id
),
starts AS MATERIALIZED (
    SELECT s.id, s.status, s.status = 'pending' OR s.status = 'failed' AND s.next_retry_at IS NOT NULL AS unfinished
    FROM feature_flag_schedules AS s
    WHERE s.id = ANY (ARRAY(SELECT t.follows FROM taken AS t WHERE t.follows IS NOT NULL))
),
ordered AS MATERIALIZED (
    SELECT t.*
    FROM taken AS t
    LEFT JOIN guards AS g USING (flag_id)
    -- CASE ... IS NOT NULL, because from a bare condition the planner expects few rows, and would join each with each.
    WHERE CASE
        WHEN g.id IS NULL OR (t.scheduled_at, t.id) < (g.scheduled_at, g.id) THEN true
        WHEN t.id = g.id AND NOT EXISTS (
            SELECT FROM feature_flag_schedules AS s, (SELECT t.flag_key, t.environment) AS f
            WHERE s.flag_id = t.flag_id AND (s.status = 'pending' OR s.next_retry_at IS NOT NULL) AND NOT s.suspended
              AND (s.status = 'pending' AND s.scheduled_at <= now() OR s.status = 'failed')
              AND (s.scheduled_at, s.id) < (t.scheduled_at, t.id)
              AND NOT (/* held */ false)
        ) THEN true
    END IS NOT NULL
),
-- FOR NO KEY UPDATE reads the newest version, which may be newer than the snapshot. It does not wait: only the
-- transaction that has locked the flag writes the flag's watermark, and that is this one.
marks AS MATERIALIZED (
    SELECT w.flag_id,
           CASE WHEN w.enabled_at <= now() + interval '24 hours' THEN w.enabled_at END AS enabled_at, w.enabled_by,
           CASE WHEN w.rollout_percentage_at <= now() + interval '24 hours' THEN w.rollout_percentage_at END
               AS rollout_percentage_at, w.rollout_percentage_by
    FROM flag_schedule_watermarks AS w
    WHERE w.flag_id = ANY (ARRAY(SELECT o.flag_id FROM ordered AS o WHERE o.expect IS NOT NULL))
    FOR NO KEY UPDATE
)
-- Compared as jsonb, because another program may have written anything, and a cast would end the statement.
SELECT o.*,
       CASE
           -- A retry of a start whose end is due, too, and sets all that the start would set: it would switch the flag
           -- on for one batch. In the same batch an end wins by its time, so that this is for retries alone.
           WHEN v.verdict IS NULL AND o.status = 'failed' AND EXISTS (
               SELECT FROM feature_flag_schedules AS s, (SELECT o.flag_key, o.environment) AS f
               WHERE s.follows = o.id AND s.status = 'pending' AND NOT s.suspended AND s.scheduled_at <= now()
                 AND (o.updates -> 'enabled' IS NULL OR s.updates -> 'enabled' IS NOT NULL)
                 AND (o.updates -> 'rolloutPercentage' IS NULL OR s.updates -> 'rolloutPercentage' IS NOT NULL)
                 AND NOT (/* held */ false)
           ) THEN 'Superseded'
           ELSE v.verdict
       END AS verdict
FROM ordered AS o
LEFT JOIN marks AS w USING (flag_id)
LEFT JOIN starts AS b ON b.id = o.follows
CROSS JOIN LATERAL (
    SELECT
       CASE
           WHEN o.follows IS NOT NULL AND b.status IS DISTINCT FROM 'applied' AND b.unfinished IS NOT TRUE
               THEN 'NotStarted'
           WHEN o.expect IS NULL THEN NULL
           -- Superseded in all properties, so that the expectation does not matter.
           WHEN (o.updates -> 'enabled' IS NULL
                 OR coalesce((w.enabled_at, w.enabled_by) > (o.scheduled_at, o.id), false))
            AND (o.updates -> 'rolloutPercentage' IS NULL
                 OR coalesce((w.rollout_percentage_at, w.rollout_percentage_by) > (o.scheduled_at, o.id), false))
               THEN NULL
           WHEN coalesce(o.updates -> 'enabled' = to_jsonb(o.enabled), o.updates -> 'enabled' IS NULL)
            AND coalesce(o.updates -> 'rolloutPercentage' = to_jsonb(o.rollout_percentage),
                         o.updates -> 'rolloutPercentage' IS NULL)
               THEN 'AlreadySet'
           WHEN CASE WHEN jsonb_typeof(o.expect) = 'object'
                     THEN o.expect - '{enabled,rolloutPercentage}'::text[] = '{}' END
            AND coalesce(o.expect -> 'enabled' = to_jsonb(o.enabled), o.expect -> 'enabled' IS NULL)
            AND coalesce(o.expect -> 'rolloutPercentage' = to_jsonb(o.rollout_percentage),
                         o.expect -> 'rolloutPercentage' IS NULL)
               THEN NULL
           WHEN o.on_mismatch = 'Skip' THEN 'Skipped'
           ELSE 'ExpectationNotMet'
       END AS verdict
    OFFSET 0  -- keeps the verdict a column, or each of its uses would judge again
) AS v
WHERE CASE WHEN b.unfinished AND o.follows <> ALL (ARRAY(SELECT x.id FROM ordered AS x)) THEN NULL ELSE true END
    IS NOT NULL
