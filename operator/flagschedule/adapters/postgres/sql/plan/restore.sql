-- Rows whose change was made, as the status of their plan says; a restored database has lost that.
WITH restored AS (
    UPDATE feature_flag_schedules AS s
    SET status = 'applied', reason = 'RestoredFromStatus', applied_at = x.applied_at, updated_at = now()
    FROM jsonb_to_recordset(%(rows)s) AS x (id uuid, status text, arming integer, applied_at timestamptz)
    WHERE s.id = x.id AND s.status = 'pending' AND s.arming = x.arming
    RETURNING s.id, s.applied_at
),
kept AS (
    UPDATE flag_plan_rows AS r
    SET state = 'applied', reason = 'RestoredFromStatus', applied_at = x.applied_at, error = NULL
    FROM restored AS x
    WHERE r.schedule_id = x.id
)
SELECT count(*) AS count FROM restored
