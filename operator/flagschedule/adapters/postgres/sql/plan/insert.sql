-- New rows. What identifies each comes first: of a change that has a link already, no second row is ever made, unless the
-- caller says that its link shall point to the new row.
WITH wanted AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset(%(rows)s) AS x (
        id uuid, follows uuid, occurrence text, step text, part text, flag_key text, environment text, is_chain boolean,
        is_moved boolean, relinked boolean, scheduled_at timestamptz, updates jsonb, expect jsonb, on_mismatch text,
        max_retries integer, not_after timestamptz, retry_initial_seconds integer, retry_max_seconds integer
    )
),
relinked AS (
    UPDATE flag_plan_rows AS r
    SET schedule_id = w.id, plan = %(uid)s, due_at = w.scheduled_at, updates = w.updates, is_moved = w.is_moved,
        state = NULL, reason = NULL, applied_at = NULL, error = NULL
    FROM wanted AS w
    WHERE w.relinked AND (r.lineage, r.occurrence, r.step, r.part, r.flag_key, r.environment)
        = (%(lineage)s, w.occurrence, w.step, w.part, w.flag_key, w.environment)
    RETURNING r.schedule_id
),
linked AS (
    INSERT INTO flag_plan_rows
        (lineage, occurrence, step, part, flag_key, environment, plan, schedule_id, is_chain, is_moved, due_at, updates)
    SELECT %(lineage)s, w.occurrence, w.step, w.part, w.flag_key, w.environment, %(uid)s, w.id, w.is_chain, w.is_moved,
           w.scheduled_at, w.updates
    FROM wanted AS w
    WHERE NOT w.relinked
    ON CONFLICT DO NOTHING
    RETURNING schedule_id
)
INSERT INTO feature_flag_schedules
    (id, flag_id, scheduled_at, status, updates, expect, on_mismatch, follows, requires, max_retries,
     retry_initial_seconds, retry_max_seconds, suspended, not_after, cluster, namespace)
SELECT w.id, %(flag_id)s, w.scheduled_at, 'pending', w.updates, w.expect, w.on_mismatch, w.follows,
       CASE WHEN w.follows IS NOT NULL OR w.expect IS NOT NULL THEN 1 ELSE 0 END, w.max_retries,
       w.retry_initial_seconds, w.retry_max_seconds, %(suspended)s, w.not_after, %(cluster)s, %(namespace)s
FROM wanted AS w
WHERE w.id IN (SELECT l.schedule_id FROM linked AS l UNION ALL SELECT r.schedule_id FROM relinked AS r)
