-- The freeze that holds what is due of a plan; of several the one that ends last. No row where none does.
SELECT z.name AS freeze, z.reason, z.ends_at
FROM flag_plan_rows AS r
JOIN feature_flag_schedules AS s ON s.id = r.schedule_id
CROSS JOIN LATERAL (SELECT r.flag_key, r.environment) AS f
JOIN flag_schedule_freezes AS z ON /* holds */ false
WHERE r.lineage = %(lineage)s AND r.state IS NULL AND NOT s.suspended
  AND (/* is_due */ false)
ORDER BY z.ends_at DESC NULLS FIRST, z.name
LIMIT 1
