-- Status entries that no operator will serve: rows that other programs made have no object and no plan.
DELETE FROM flag_schedule_status_outbox
WHERE id = ANY (ARRAY(
    SELECT e.id
    FROM flag_schedule_status_outbox AS e
    WHERE e.created_at < now() - interval '1 minute'
      AND NOT EXISTS (
          SELECT FROM flag_schedule_objects AS o WHERE o.schedule_id = e.schedule_id AND o.deleted_at IS NULL
      )
      AND NOT EXISTS (
          SELECT FROM flag_plan_rows AS r JOIN flag_plans AS p ON p.uid = r.plan
          WHERE r.schedule_id = e.schedule_id AND p.deleted_at IS NULL
      )
    LIMIT /* limit */ 100
    FOR UPDATE SKIP LOCKED
))
