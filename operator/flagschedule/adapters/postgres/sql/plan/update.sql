-- Rows get new content, and their next attempt is a first one. One that was changed since it was read is left alone.
WITH changed AS (
    UPDATE feature_flag_schedules AS s
    SET scheduled_at = x.scheduled_at, updates = x.updates, expect = x.expect, on_mismatch = x.on_mismatch,
        requires = CASE WHEN s.follows IS NOT NULL OR x.expect IS NOT NULL THEN 1 ELSE 0 END,
        max_retries = x.max_retries, not_after = x.not_after, retry_initial_seconds = x.retry_initial_seconds,
        retry_max_seconds = x.retry_max_seconds, suspended = %(suspended)s,
        status = 'pending', reason = NULL, arming = s.arming + 1, retry_count = 0, next_retry_at = NULL,
        set_aside_until = NULL, set_aside_count = 0, last_error = NULL, error_message = NULL, updated_at = now()
    FROM jsonb_to_recordset(%(rows)s) AS x (
        id uuid, status text, arming integer, scheduled_at timestamptz, updates jsonb, expect jsonb, on_mismatch text,
        max_retries integer, not_after timestamptz, retry_initial_seconds integer, retry_max_seconds integer
    )
    WHERE s.id = x.id AND s.status = x.status AND s.arming = x.arming AND s.status <> 'applied'
    RETURNING s.id, s.scheduled_at, s.updates
),
kept AS (
    UPDATE flag_plan_rows AS r
    SET state = NULL, reason = NULL, applied_at = NULL, error = NULL, due_at = c.scheduled_at, updates = c.updates,
        plan = %(uid)s
    FROM changed AS c
    WHERE r.schedule_id = c.id
)
SELECT count(*) AS count FROM changed
