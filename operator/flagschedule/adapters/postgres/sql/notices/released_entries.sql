-- Status entries of this cluster's objects and plans that are deleted: there is no status to write any more, but what
-- happened gets its notice. The processor deletes them after a minute.
SELECT e.id
FROM flag_schedule_status_outbox AS e
JOIN flag_schedule_objects AS o ON o.schedule_id = e.schedule_id
WHERE o.cluster = %(cluster)s AND o.deleted_at IS NOT NULL
  AND (%(namespaces)s::text[] = '{}' OR o.namespace = ANY (%(namespaces)s))
UNION ALL
SELECT e.id
FROM flag_schedule_status_outbox AS e
JOIN flag_plan_rows AS r ON r.schedule_id = e.schedule_id
JOIN flag_plans AS p ON p.uid = r.plan
WHERE p.cluster = %(cluster)s AND p.deleted_at IS NOT NULL
  AND (%(namespaces)s::text[] = '{}' OR p.namespace = ANY (%(namespaces)s))
LIMIT 1000
