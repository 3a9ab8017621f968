-- Objects of this operator whose schedules are due and held, and the freeze that ends last of those that hold each.
-- Those that came due since the last look only, if it is given. The flag as the record names it: who locks the table of
-- flags delays no status.
SELECT o.uid, o.namespace, o.name, z.name AS freeze, z.reason, z.ends_at
FROM (
    /* due */ SELECT
) AS s
JOIN flag_schedule_objects AS o ON o.schedule_id = s.id
CROSS JOIN LATERAL (
    SELECT z.name, z.reason, z.ends_at
    FROM flag_schedule_freezes AS z, (SELECT o.flag_key, o.environment) AS f
    WHERE /* holds */ false
    ORDER BY z.ends_at DESC NULLS FIRST, z.name
    LIMIT 1
) AS z
WHERE o.cluster = %(cluster)s AND o.deleted_at IS NULL
  AND (%(namespaces)s::text[] = '{}' OR o.namespace = ANY (%(namespaces)s))
  AND (%(since)s::timestamptz IS NULL OR greatest(s.scheduled_at, s.next_retry_at) > %(since)s)
