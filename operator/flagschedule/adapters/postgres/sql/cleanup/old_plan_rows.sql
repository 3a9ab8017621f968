-- What identifies changes that were due long ago and whose row is gone. The steps of a chain stay as long as their plan.
FROM flag_plan_rows AS old
WHERE old.ctid >= %(first)s::tid AND old.ctid < %(end)s::tid
  AND old.due_at < now() - %(record_days)s * interval '24 hours'
  AND (SELECT s.id FROM feature_flag_schedules AS s WHERE s.id = old.schedule_id) IS NULL
  AND (NOT old.is_chain OR (
      SELECT count(*) FROM flag_plans AS p
      WHERE p.lineage = old.lineage
        AND (p.deleted_at IS NULL OR p.deleted_at >= now() - %(record_days)s * interval '24 hours')
  ) = 0)
