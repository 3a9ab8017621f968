-- Attempts that are past their time and whose row is gone. The row is looked up by a scalar subquery, for old
-- attempts only: a join may turn into a scan of all schedules.
FROM flag_schedule_attempts AS old
WHERE old.ctid >= %(first)s::tid AND old.ctid < %(end)s::tid
  AND old.attempted_at < now() - %(attempt_days)s * interval '24 hours'
  AND (SELECT s.id FROM feature_flag_schedules AS s WHERE s.id = old.schedule_id) IS NULL
