-- Live plans of this operator with a row that is due and held, and the freeze that ends last of those that hold each.
-- Otherwise as held_objects.sql.
SELECT DISTINCT ON (p.uid) p.uid, p.namespace, p.name, z.name AS freeze, z.reason, z.ends_at
FROM (
    /* due */ SELECT
) AS s
JOIN flag_plan_rows AS r ON r.schedule_id = s.id
JOIN flag_plans AS p ON p.uid = r.plan
CROSS JOIN LATERAL (SELECT r.flag_key, r.environment) AS f
JOIN flag_schedule_freezes AS z ON /* holds */ false
WHERE p.cluster = %(cluster)s AND p.deleted_at IS NULL
  AND (%(namespaces)s::text[] = '{}' OR p.namespace = ANY (%(namespaces)s))
  AND (%(since)s::timestamptz IS NULL OR greatest(s.scheduled_at, s.next_retry_at) > %(since)s)
ORDER BY p.uid, z.ends_at DESC NULLS FIRST, z.name
