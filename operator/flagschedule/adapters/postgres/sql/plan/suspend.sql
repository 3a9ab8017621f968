-- Hold all rows of a plan that are not finished, or let them go on: one statement for any number of them.
UPDATE feature_flag_schedules AS s
SET suspended = %(suspended)s, updated_at = now()
FROM flag_plan_rows AS r
WHERE r.lineage = %(lineage)s AND r.state IS NULL AND s.id = r.schedule_id AND s.suspended <> %(suspended)s
  AND (s.status = 'pending' OR s.status = 'failed' AND s.next_retry_at IS NOT NULL)
