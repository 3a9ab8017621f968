-- Outcomes are kept with what identifies them, so that they outlive their rows, and so that open ones are few.
UPDATE flag_plan_rows AS r
SET state = s.status, reason = s.reason, applied_at = s.applied_at, error = left(s.last_error, 1024)
FROM feature_flag_schedules AS s
WHERE r.lineage = %(lineage)s AND r.state IS NULL AND s.id = r.schedule_id
  AND NOT (s.status = 'pending' OR s.status = 'failed' AND s.next_retry_at IS NOT NULL)
