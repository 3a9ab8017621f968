-- Hold all rows of an object's plan that are not finished, before anything is read of it: a person waits. An older view of
-- the object holds nothing.
UPDATE feature_flag_schedules AS s
SET suspended = true, updated_at = now()
FROM flag_plans AS p JOIN flag_plan_rows AS r ON r.lineage = p.lineage AND r.state IS NULL
WHERE p.uid = %(uid)s AND p.generation <= %(generation)s AND p.deleted_at IS NULL AND s.id = r.schedule_id
  AND NOT s.suspended AND (s.status = 'pending' OR s.status = 'failed' AND s.next_retry_at IS NOT NULL)
