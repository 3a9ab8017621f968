-- Hold the rows of an object's plan that are not finished, before anything is read of it: a person waits. A row that is
-- locked keeps no other one; planning suspends it afterwards. An older view of the object holds nothing.
UPDATE feature_flag_schedules AS s
SET suspended = true, updated_at = now()
WHERE s.id = ANY (ARRAY(
    SELECT s.id
    FROM flag_plans AS p
    JOIN flag_plan_rows AS r ON r.lineage = p.lineage AND r.state IS NULL
    JOIN feature_flag_schedules AS s ON s.id = r.schedule_id
    WHERE p.uid = %(uid)s AND p.generation <= %(generation)s AND p.deleted_at IS NULL
      AND NOT s.suspended AND (s.status = 'pending' OR s.status = 'failed' AND s.next_retry_at IS NOT NULL)
    FOR UPDATE OF s SKIP LOCKED
))
