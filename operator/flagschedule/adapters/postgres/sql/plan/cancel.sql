-- Give rows up. One that was changed since it was read is left alone, and the caller starts again.
WITH given_up AS (
    UPDATE feature_flag_schedules AS s
    SET status = 'cancelled', reason = x.reason, next_retry_at = NULL, updated_at = now()
    FROM jsonb_to_recordset(%(rows)s) AS x (id uuid, status text, arming integer, reason text)
    WHERE s.id = x.id AND s.status = x.status AND s.arming = x.arming
      AND (s.status = 'pending' OR s.next_retry_at IS NOT NULL)
    RETURNING s.id, s.reason
),
kept AS (
    UPDATE flag_plan_rows AS r
    SET state = 'cancelled', reason = g.reason, applied_at = NULL, error = NULL
    FROM given_up AS g
    WHERE r.schedule_id = g.id
)
SELECT count(*) AS count FROM given_up
